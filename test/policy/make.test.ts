// What a policy is made of, here and in a thread: the same, and while a thread checks many rows calls are answered.
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import type { Log, PolicyEngine } from '../../proxy/model.ts'
import { readBundle } from '../../proxy/policy/bundle.ts'
import { makeOf, type Made, type ToMake } from '../../proxy/policy/make.ts'
import {
  openPolicySource,
  type PolicySource,
  type PolicySourceOptions,
} from '../../proxy/policy/source.ts'
import { makeAside, Unfinished } from '../../proxy/policy/threads.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'

const shipped = fileURLToPath(new URL('../../policies/bundle.tar.gz', import.meta.url))
const { providers } = compileProviders(
  readProviderFiles(fileURLToPath(new URL('../../providers', import.meta.url))),
)
const quiet = (): void => undefined
const log: Log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
const clock = { now: () => Date.now(), mono: () => performance.now() }

type Rows = Readonly<Record<string, object>>
const rowsOf = (many: number, more: Rows = {}): Rows => ({
  ...Object.fromEntries(
    Array.from({ length: many }, (_, i) => [
      `r${i}`,
      { operations: ['*'], roles: ['dev'], path: ['repos', 'acme', `app-${i}`, '**'] },
    ]),
  ),
  ...more,
})
const toMake = async (tables: Readonly<Record<string, object>>): Promise<ToMake> => ({
  bundle: await readBundle(readFileSync(shipped)),
  where: 'the bundle',
  files: Object.entries(tables).map(([name, table]) => ({
    name: `${name}.json`,
    where: `tables/${name}.json`,
    bytes: Buffer.from(JSON.stringify(table)),
  })),
  catalogues: [...providers.values()],
  connections: ['github'],
  seals: true,
})
const PATIENCE = 120_000
const WANTED = new AbortController().signal
const plain = ({ tables, vain, ready: { data, ...ready } }: Made) => ({
  tables: [...tables].map(([name, { where, own, value }]) => [name, where, own, value]),
  vain,
  ready,
  data: JSON.parse(Buffer.from(data).toString('utf8')) as unknown,
})

test('a thread makes the same as this one', async () => {
  const of = await toMake({
    grants: {
      github: rowsOf(20, {
        night: { operations: ['issues.create'], access: ['write'], when: [{ zone: 'Asia/Tokyo' }] },
        vain: { operations: ['no.such'] },
      }),
    },
    role_grants: {},
    agents: { '*': [{ connections: ['other'] }] },
    probes: {},
  })
  const here = plain(makeOf(of))
  expect(here.vain).toHaveLength(2)
  expect(here.ready).toMatchObject({
    alone: false,
    ceilings: true,
    asks: { zones: ['Asia/Tokyo'] },
  })
  expect(plain(await makeAside(of, PATIENCE, WANTED))).toEqual(here)
})

test('what is wrong is said by a thread as it is here', async () => {
  const of = await toMake({ grants: { github: { r: { operations: [] }, s: { path: [] } } } })
  let here = ''
  try {
    makeOf(of)
  } catch (error) {
    here = String(error)
  }
  expect(here).toContain('tables/grants.json: github.s.operations: is missing')
  await expect(makeAside(of, PATIENCE, WANTED)).rejects.toThrow(here.slice('Error: '.length))
})

test('rows that have members sealed are refused where nothing keeps them', async () => {
  const seal = { type: 'seal', properties: { in: 'response', pointers: ['/id'] } }
  const of = await toMake({
    grants: { github: { kept: { operations: ['issues.get'], obligations: { all: seal } } } },
  })
  expect([...makeOf(of).tables.keys()]).toContain('grants')
  expect(() => makeOf({ ...of, seals: false })).toThrow(
    'tables/grants.json: github.kept.obligations.all: seal needs audit.inputs: sealed',
  )
})

test('a row whose every call would be refused because of what it has sealed is told when it is loaded', async () => {
  const seal = { type: 'seal', properties: { in: 'request', pointers: ['/id'] } }
  const of = (kinds: readonly string[]) =>
    toMake({ grants: { github: { r: { operations: ['*'], kinds, obligations: { all: seal } } } } })
  const graphql = await of(['graphql', 'mcp'])
  expect(() => makeOf(graphql)).toThrow(
    'tables/grants.json: github.r.obligations.all: seal keeps nothing of graphql and mcp calls',
  )
  const mixed = await of(['rest', 'graphql'])
  expect(() => makeOf(mixed)).not.toThrow()
})

test('a check that does not end is given up', async () => {
  const of = await toMake({ grants: { github: rowsOf(1_000) } })
  await expect(makeAside(of, 1, WANTED)).rejects.toThrow(
    'the policy tables were not checked in 1 ms',
  )
})

let folder = ''
let source: PolicySource | null = null
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-make-'))
  mkdirSync(join(folder, 'tables'))
  copyFileSync(shipped, join(folder, 'bundle.tar.gz'))
})
afterEach(async () => {
  await source?.close()
  source = null
  rmSync(folder, { recursive: true })
})
const open = (more: Partial<PolicySourceOptions> = {}): Promise<PolicySource> =>
  openPolicySource({
    bundle: join(folder, 'bundle.tar.gz'),
    data: join(folder, 'tables'),
    providers: providers.values(),
    connections: ['github'],
    inputLimit: 32_768,
    log,
    clock,
    onChange: quiet,
    poll: 3_600_000,
    ...more,
  })
const cpu = (): number => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}

test('calls are answered while many rows are checked, which costs their thread next to nothing', async () => {
  const grants = join(folder, 'tables/grants.json')
  const many = { github: rowsOf(30_000, { odd: { operations: ['*'], path: ['a/b'] } }) }
  writeFileSync(grants, JSON.stringify({ github: rowsOf(3) }))
  writeFileSync(join(folder, 'tables/role_grants.json'), '{}')
  source = await open()
  const of = await toMake({ grants: many, role_grants: {} })
  const before = cpu()
  expect(() => makeOf(of)).toThrow('is no segment')
  const checking = cpu() - before

  writeFileSync(grants, JSON.stringify(many))
  let answered = 0
  const began = cpu()
  const calls = setInterval(() => {
    const answer = source?.current()?.evaluate('{"version":1}')
    if (answer !== undefined && 'allow' in answer) answered += 1
  }, 5)
  await expect(source.reload()).rejects.toThrow('is no segment')
  clearInterval(calls)
  expect(answered).toBeGreaterThan(10)
  expect(cpu() - began).toBeLessThan(checking / 2)
}, 180_000)

test('a check that nobody waits for any more is ended, and nothing is told of it', async () => {
  const grants = join(folder, 'tables/grants.json')
  writeFileSync(join(folder, 'tables/role_grants.json'), '{}')
  const errors: string[] = []
  let checked = (): void => undefined
  const begun = new Promise<void>((resolve) => {
    checked = resolve
  })
  source = await open({
    log: { ...log, error: (_, msg) => void errors.push(msg) },
    makeAside: (...check) => {
      checked()
      return makeAside(...check)
    },
  })
  const { current } = source
  const serving = current()
  writeFileSync(grants, JSON.stringify({ github: rowsOf(60_000) }))
  const reloading = source.reload()
  const ended = expect(reloading).rejects.toThrow(Unfinished)
  await begun
  await source.close()
  await ended
  expect([current() === serving, errors]).toEqual([true, []])
})

test('a thread that died says nothing of the tables: the old ones serve, and these are checked again by and by', async () => {
  let mono = 0
  let asked = 0
  const died = 'the thread that checks the policy tables ended'
  const grants = join(folder, 'tables/grants.json')
  writeFileSync(grants, JSON.stringify({ github: rowsOf(3) }))
  writeFileSync(join(folder, 'tables/role_grants.json'), '{}')
  const loaded: PolicyEngine[] = []
  source = await open({
    clock: { ...clock, mono: () => mono },
    poll: 5,
    onChange: (engine) => loaded.push(engine),
    makeAside: (of) =>
      ++asked === 1 ? Promise.reject(new Unfinished(died)) : Promise.resolve(makeOf(of)),
  })
  writeFileSync(grants, JSON.stringify({ github: rowsOf(4_500) }))
  await expect.poll(() => source?.problem()).toBe(died)
  expect([source.current(), loaded.length, asked]).toEqual([loaded[0], 1, 1])
  mono = 299_999
  await sleep(100) // Twenty looks.
  expect(asked).toBe(1)
  mono = 300_000
  await expect.poll(() => source?.problem()).toBe(null)
  expect([source.current(), loaded.length, asked]).toEqual([loaded[1], 2, 2])
})
