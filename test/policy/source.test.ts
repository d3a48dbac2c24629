import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { execFileSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import type { Log, PolicyEngine } from '../../proxy/model.ts'
import { loadTables, openPolicySource } from '../../proxy/policy/source.ts'
import type { PolicySource, PolicySourceOptions } from '../../proxy/policy/source.ts'

const shipped = fileURLToPath(new URL('../../policies/bundle.tar.gz', import.meta.url))
const odd = fileURLToPath(new URL('../fixtures/policies/odd.tar.gz', import.meta.url))
const open = fileURLToPath(new URL('../fixtures/policies/open.tar.gz', import.meta.url))
const definitions = fileURLToPath(new URL('../../providers', import.meta.url))
const clock = { now: () => Date.now(), mono: () => performance.now() }

let folder = ''
let errors: string[] = []
let warnings: string[] = []
let changes: PolicyEngine[] = []
let source: PolicySource | null = null
const quiet = (): void => undefined
const log: Log = {
  debug: quiet,
  info: quiet,
  warn: (fields) => void warnings.push('row' in fields ? String(fields.row) : ''),
  error: (_fields, msg) => void errors.push(msg),
}

const start = async (more: Partial<PolicySourceOptions> = {}): Promise<PolicySource> => {
  source = await openPolicySource({
    bundle: join(folder, 'bundle.tar.gz'),
    data: null,
    providers: [],
    connections: [],
    inputLimit: 32_768,
    log,
    clock,
    onChange: (engine) => void changes.push(engine),
    poll: 50,
    ...more,
  })
  return source
}
const revision = (): string | undefined => source?.current()?.revision
const patient = { interval: 50 }

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-source-'))
  errors = []
  warnings = []
  changes = []
})
afterEach(async () => {
  await source?.close()
  source = null
  rmSync(folder, { recursive: true })
})

/** As a careful writer does it. */
const put = (from: string): void => {
  copyFileSync(from, join(folder, 'next'))
  renameSync(join(folder, 'next'), join(folder, 'bundle.tar.gz'))
}

describe('a bundle file', () => {
  test('serves, and its successor serves soon after it was put there', async () => {
    put(shipped)
    await start()
    expect(changes.map((engine) => engine.revision)).toEqual([revision()])
    put(odd)
    await expect.poll(revision, patient).toBe('odd')
    expect(changes).toHaveLength(2)
    expect(source?.problem()).toBeNull()
  })

  test('that is bad changes nothing but the log, once; a good one serves again', async () => {
    put(odd)
    await start()
    put(open)
    await expect
      .poll(() => errors, patient)
      .toEqual(['the new policy is refused, the last good one serves on'])
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(errors).toHaveLength(1)
    expect(revision()).toBe('odd')
    expect(source?.problem()).toMatch(/self-test/)
    expect(source?.failures()).toBe(1)
    put(shipped)
    await expect.poll(revision, patient).not.toBe('odd')
    expect(source?.problem()).toBeNull()
  })

  test('that is missing leaves no policy, until it comes', async () => {
    await start()
    expect(source?.current()).toBeNull()
    expect(errors).toEqual(['no policy serves: every call is refused'])
    await expect(source?.reload()).rejects.toThrow(/ENOENT/)
    put(odd)
    await expect.poll(revision, patient).toBe('odd')
  })

  test('written in place over a longer time ends as the whole new file', async () => {
    put(odd)
    await start()
    writeFileSync(join(folder, 'bundle.tar.gz'), 'half')
    await new Promise((resolve) => setTimeout(resolve, 20))
    copyFileSync(shipped, join(folder, 'bundle.tar.gz'))
    await expect.poll(revision, patient).not.toBe('odd')
  })

  test('behind the turning links of a Kubernetes volume is seen to change', async () => {
    for (const [name, from] of [
      ['one', shipped],
      ['two', odd],
    ] as const) {
      mkdirSync(join(folder, `..${name}`))
      copyFileSync(from, join(folder, `..${name}`, 'bundle.tar.gz'))
    }
    symlinkSync('..one', join(folder, '..data'))
    symlinkSync('..data/bundle.tar.gz', join(folder, 'bundle.tar.gz'))
    await start()
    expect(revision()).not.toBe('odd')
    symlinkSync('..two', join(folder, '..tmp'))
    renameSync(join(folder, '..tmp'), join(folder, '..data'))
    await expect.poll(revision, patient).toBe('odd')
  })

  test('that lies elsewhere, behind a link, is seen to change', async () => {
    const other = mkdtempSync(join(tmpdir(), 'deputy-elsewhere-'))
    copyFileSync(shipped, join(other, 'real.tar.gz'))
    symlinkSync(join(other, 'real.tar.gz'), join(folder, 'bundle.tar.gz'))
    await start()
    copyFileSync(odd, join(other, 'real.tar.gz'))
    await expect.poll(revision, patient).toBe('odd')
    rmSync(other, { recursive: true })
  })
})

test('an unpacked bundle serves from its directory', async () => {
  execFileSync('tar', ['xzf', shipped, '-C', folder], { stdio: 'ignore' })
  await start({ bundle: folder })
  expect(source?.problem()).toBeNull()
  expect(changes).toHaveLength(1)
})

describe('tables', () => {
  const table = (name: string, text: string): void =>
    writeFileSync(join(folder, 'tables', name), text)
  beforeEach(() => mkdirSync(join(folder, 'tables')))

  test('that change make a new engine with another digest', async () => {
    put(shipped)
    table('group_roles.yaml', 'staff: [reader]\n')
    await start({ data: join(folder, 'tables') })
    const first = source?.current()?.digest
    table('group_roles.yaml', 'staff: [developer]\n')
    await expect.poll(() => changes.length, patient).toBe(2)
    expect(source?.current()?.digest).not.toBe(first)
  })

  const row = {
    kinds: ['rest'],
    access: ['read'],
    operations: ['*'],
    path: ['**'],
    agents: ['*'],
    entitlement: '*',
    scopes: [],
    max_entitlement_age_s: 300,
    obligations: {},
    step_up: {},
    approval: {},
  }
  const grants = (changes: object): void =>
    table('grants.json', JSON.stringify({ github: { 'gh-read': { ...row, ...changes } } }))

  test('that are wrong are refused with file, row and member; the last good ones serve on', async () => {
    put(shipped)
    grants({})
    await start({ data: join(folder, 'tables') })
    const first = source?.current()?.digest
    expect(first).toBeDefined()
    grants({ acess: ['read'], approval: { boss: { approvers: [], ttl_s: 1 } } })
    await expect
      .poll(() => errors, patient)
      .toEqual(['the new policy is refused, the last good one serves on'])
    expect(source?.problem()).toContain(
      `${join(folder, 'tables/grants.json')}: github.gh-read: there is no member "acess": is access meant?`,
    )
    grants({ kinds: [] })
    await expect
      .poll(() => source?.problem(), patient)
      .toContain('grants.json: github.gh-read.kinds: [] matches nothing')
    expect([source?.current()?.digest, changes.length]).toEqual([first, 1])
    table('grant.yaml', '{}')
    grants({ access: ['read', 'write'] })
    await expect.poll(() => source?.problem(), patient).toContain('there is no table "grant"')
    rmSync(join(folder, 'tables/grant.yaml'))
    await expect.poll(() => changes.length, patient).toBe(2)
    expect(source?.problem()).toBeNull()
  })

  test('of a bundle are looked at like those of a folder', async () => {
    execFileSync('tar', ['xzf', shipped, '-C', folder], { stdio: 'ignore' })
    const data = JSON.parse(readFileSync(join(folder, 'data.json'), 'utf8')) as {
      deputy_data: { group_roles: object }
    }
    data.deputy_data.group_roles = { staff: 'reader' }
    writeFileSync(join(folder, 'data.json'), JSON.stringify(data))
    rmSync(join(folder, 'tables'), { recursive: true })
    await start({ bundle: folder })
    expect(source?.current()).toBeNull()
    expect(source?.problem()).toContain('deputy_data.group_roles: staff: must be a list')
  })

  test('with a row that never matches serve, and the log and `vain` name it', async () => {
    put(shipped)
    grants({ path: ['repo', '**'] })
    const { providers } = compileProviders(readProviderFiles(definitions))
    await start({ data: join(folder, 'tables'), providers: providers.values() })
    expect(source?.problem()).toBeNull()
    expect(warnings).toEqual([
      expect.stringContaining('grants.json: github.gh-read.path: no operation of github fits'),
    ])
    expect(source?.vain()).toEqual(warnings)
    grants({})
    await expect.poll(() => source?.vain(), patient).toEqual([])
  })

  test('that are bad are refused together, each with its file and where it can be with its line', async () => {
    table('a.json', '{"x": 1,\n"y": {"k": 1, "k": 2}}')
    table('b.yaml', 'x: 1\ny: 2\nx: 3\n')
    table('c.yaml', '[1, 2]')
    table('d.json', `{"x":${'['.repeat(80)}${']'.repeat(80)}}`)
    table('e.yaml', `x: ${'['.repeat(80)}${']'.repeat(80)}`)
    table('f.txt', '')
    table('g.json', '{}')
    table('g.yaml', '{}')
    table('h.yaml', 'x: .inf')
    table('i.yaml', 'x: !!js/function y')
    table('j.json', '{"x": }')
    const message = await loadTables(join(folder, 'tables')).then(
      () => '',
      (error: unknown) => String(error),
    )
    for (const part of [
      /a\.json: line 2: key "k" is there twice/,
      /b\.yaml: line 3: /,
      /c\.yaml: not an object/,
      /d\.json: line 1: nested deeper than 64/,
      /e\.yaml: nested deeper than 64/,
      /f\.txt: not the name of a table/,
      /g\.yaml: another file already holds g/,
      /h\.yaml: a number is not finite/,
      /i\.yaml: line 1: /,
      /j\.json: /,
    ])
      expect(message).toMatch(part)
  })

  test('with keys that JavaScript gives a meaning to are data like any other', async () => {
    table('a.json', '{"__proto__": {"polluted": true}, "constructor": {}}')
    table('b.yaml', '__proto__: {polluted: true}\n')
    const tables = [...(await loadTables(join(folder, 'tables')))]
    expect(JSON.stringify(tables.map(([name, { value }]) => [name, value]))).toBe(
      '[["a",{"__proto__":{"polluted":true},"constructor":{}}],["b",{"__proto__":{"polluted":true}}]]',
    )
    expect('polluted' in {}).toBe(false)
  })
})
