// Whatever breaks: nothing leaves, the right code comes, the others are served, and the evidence says which it was.
import {
  copyFileSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  chmodSync,
  truncateSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { newKeyRing } from '../../proxy/vault/seal.ts'
import { BUNDLE, PEOPLE, prepareFolder, startChild, startDeputy, until } from '../support/deputy.ts'
import type { Deputy, Fields, Setup } from '../support/deputy.ts'
import { lines, sendRaw } from '../support/raw.ts'
import type { RawAnswer } from '../support/raw.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'
import { paced } from '../support/pace.ts'

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/policies/${name}.tar.gz`, import.meta.url))
const tokenOf = (person: string): string => `at-${person}-0123456789abcdef`
let upstream: Upstream
const open: { close: () => Promise<void> }[] = []

beforeAll(async () => {
  upstream = await startUpstream()
  for (const person of ['alice', 'bob', 'carol']) upstream.people.set(tokenOf(person), person)
})
afterAll(() => upstream.close())
beforeEach(() => {
  upstream.seen.length = 0
  upstream.handle = null
  upstream.token = null
})
afterEach(async () => {
  await Promise.all(open.splice(0).map((deputy) => deputy.close()))
})

const held = ['alice', 'bob'].flatMap((person) =>
  ['acme', 'stream'].map((connection) => ({ person, connection, token: tokenOf(person) })),
)
const setup = (more: Partial<Setup> = {}): Setup => ({ upstream: upstream.origin, held, ...more })
const start = async (more: Partial<Setup> = {}, dir?: string): Promise<Deputy> => {
  const deputy = await startDeputy(setup(more), dir)
  open.push(deputy)
  return deputy
}
const call = (
  deputy: Pick<Deputy, 'agent'>,
  person = 'alice',
  { method = 'GET', host = 'api.acme.test', path = 'a' } = {},
): Promise<RawAnswer> =>
  sendRaw(
    deputy.agent,
    lines(
      `${method} /${host}/${path} HTTP/1.1`,
      `Host: ${new URL(deputy.agent).host}`,
      `Deputy-User: ${person}`,
      ...(method === 'GET' ? [] : ['Content-Length: 0']),
    ),
  )
const verdict = async (asked: Promise<RawAnswer>): Promise<readonly [number, unknown]> => {
  const answer = await asked
  expect(answer.headers.get('deputy-answer')?.[0]).toBe(answer.json['code'])
  return [answer.status, answer.json['code'] ?? answer.json['login']]
}
const ready = async (deputy: Deputy): Promise<number> => {
  const origin = deputy.admin.startsWith('http') ? deputy.admin : `http://${deputy.admin}`
  return (await fetch(`${origin}/readyz`)).status
}
/** Every allow has exactly one outcome, also where nothing left. */
const balanced = async (deputy: Deputy): Promise<void> => {
  const exchanges = (wanted: string) =>
    deputy
      .evidence()
      .filter(({ event, decision }) =>
        wanted === 'outcome'
          ? event === 'outcome'
          : event === 'decision' && (decision as { effect: string }).effect === 'allow',
      )
      .map(({ exchange }) => JSON.stringify(exchange))
      .toSorted((a, b) => a.localeCompare(b))
  // It is written after the answer was.
  await expect.poll(() => exchanges('outcome')).toEqual([...new Set(exchanges('allow'))])
}

describe('policy', () => {
  test('that is missing: every call is 503 until one is there', async () => {
    const dir = await prepareFolder(
      setup({ config: { policy: { bundle: './bundle.tar.gz', data: './tables' } } }),
    )
    const deputy = await start({}, dir)
    expect(await verdict(call(deputy))).toEqual([503, 'policy_unavailable'])
    expect(upstream.seen).toEqual([])
    expect(await ready(deputy)).toBe(503)
    const decision = deputy.evidence().findLast(({ event }) => event === 'decision')
    expect(decision).toMatchObject({ decision: { effect: 'error', reasons: ['policy_missing'] } })
    copyFileSync(BUNDLE, join(dir, 'bundle.tar.gz'))
    await expect.poll(async () => (await call(deputy)).status).toBe(200)
    expect(await ready(deputy)).toBe(200)
    await balanced(deputy)
  })
  test.each(['open', 'mute', 'foreign'])(
    'that fails its self-test (%s) never serves',
    async (name) => {
      const deputy = await start({ config: { policy: { bundle: fixture(name) } } })
      expect(await verdict(call(deputy))).toEqual([503, 'policy_unavailable'])
      expect(upstream.seen).toEqual([])
    },
  )
  test('that is broken later: the last good one goes on', async () => {
    const dir = await prepareFolder(
      setup({ config: { policy: { bundle: './bundle.tar.gz', data: './tables' } } }),
    )
    copyFileSync(BUNDLE, join(dir, 'bundle.tar.gz'))
    const deputy = await start({}, dir)
    expect(await verdict(call(deputy))).toEqual([200, 'alice'])
    writeFileSync(join(dir, 'bundle.tar.gz'), randomBytes(500))
    await until(
      () => deputy.logged().includes('the last good one serves on'),
      'the log says so',
      4_000,
    )
    expect(await verdict(call(deputy))).toEqual([200, 'alice'])
    expect(await verdict(call(deputy, 'mallory'))).toEqual([403, 'policy_denied'])
  })
  /** Allows everything, and goes wrong where the path asks for it. */
  const wild = (): Promise<Deputy> =>
    start({ tables: null, config: { policy: { bundle: fixture('wild') } } })
  test('that answers with a malformed document: 503 for these calls, the rest is served', async () => {
    const deputy = await wild()
    expect(await verdict(call(deputy, 'alice', { path: 'malformed' }))).toEqual([
      503,
      'policy_unavailable',
    ])
    expect(upstream.seen).toEqual([])
    expect(await verdict(call(deputy))).toEqual([200, 'alice'])
    await balanced(deputy)
  })
  test('that contradicts itself and aborts: 503, and the next call is served', async () => {
    const deputy = await wild()
    for (let i = 0; i < 3; i++) {
      expect(await verdict(call(deputy, 'alice', { path: 'contradicted' }))).toEqual([
        503,
        'policy_unavailable',
      ])
      expect(await verdict(call(deputy, 'bob'))).toEqual([200, 'bob'])
    }
    expect(upstream.seen.every(({ who }) => who === 'bob')).toBe(true)
    expect(deputy.evidence().find(({ event }) => event === 'decision')).toMatchObject({
      decision: { effect: 'error', reasons: ['policy_error'] },
    })
  })
  test('with an obligation that nobody knows: the call is refused', async () => {
    const deputy = await wild()
    expect(await verdict(call(deputy, 'alice', { path: 'obliged' }))).toEqual([
      403,
      'obligation_refused',
    ])
    expect(upstream.seen).toEqual([])
    await until(() => deputy.evidence().some(({ event }) => event === 'outcome'), 'the outcome')
    expect(deputy.evidence().findLast(({ event }) => event === 'outcome')).toMatchObject({
      result: 'obligation_refused',
      sent: false,
    })
    await balanced(deputy)
  })
  test('that is slow for some: they get 503, the others are served meanwhile', async () => {
    const deputy = await wild()
    const late = () => verdict(call(deputy, 'bob', { path: 'late' }))
    await late()
    const slow = Array.from({ length: 5 }, late)
    const began = performance.now()
    await expect.poll(async () => (await call(deputy, 'alice')).status).toBe(200)
    expect(performance.now() - began).toBeLessThan(paced(2_000))
    for (const [status] of await Promise.all(slow)) expect(status).toBe(503)
    expect(upstream.seen.every(({ who }) => who === 'alice')).toBe(true)
  })
})

describe('the vault', () => {
  test('whose file is destroyed under it: 503, nothing leaves', async () => {
    const deputy = await start()
    for (const name of ['deputy.db', 'deputy.db-wal']) {
      const path = join(deputy.dir, name)
      if (statSync(path, { throwIfNoEntry: false }) === undefined) continue
      const { size } = statSync(path)
      truncateSync(path, 0)
      writeFileSync(path, randomBytes(size))
    }
    expect(await verdict(call(deputy, 'bob'))).toEqual([503, 'vault_unavailable'])
    expect(upstream.seen).toEqual([])
    expect(await ready(deputy)).toBe(503)
  })
  test('with a row copied to another person: that one gets 503, the owner is served', async () => {
    const dir = await prepareFolder(setup())
    const db = new DatabaseSync(join(dir, 'deputy.db'))
    db.exec(
      "UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE user_id = 'alice' AND connection = 'acme') WHERE user_id = 'bob' AND connection = 'acme'",
    )
    db.close()
    const deputy = await start({}, dir)
    expect(await verdict(call(deputy, 'bob'))).toEqual([503, 'vault_unavailable'])
    expect(upstream.seen).toEqual([])
    expect(await verdict(call(deputy, 'alice'))).toEqual([200, 'alice'])
    await until(
      () => deputy.evidence().some(({ result }) => result === 'vault_unavailable'),
      'the evidence',
    )
    await balanced(deputy)
  })
  test('with other keys opens nothing', async () => {
    const dir = await prepareFolder(setup())
    writeFileSync(join(dir, 'keys.json'), newKeyRing(Date.now(), randomBytes))
    const deputy = await start({}, dir)
    expect(await verdict(call(deputy))).toEqual([503, 'vault_unavailable'])
    expect(upstream.seen).toEqual([])
  })
  test('that somebody else has: deputy does not start, and says why', async () => {
    const first = await start()
    const path = join(first.dir, 'deputy.db')
    await expect(
      startDeputy(
        setup({ held: [], config: { vault: { store: `sqlite:${path}`, keys: './keys.json' } } }),
      ),
    ).rejects.toThrow(path)
    expect(await verdict(call(first))).toEqual([200, 'alice'])
  })
  test('that is no database: deputy does not start', async () => {
    const dir = await prepareFolder(setup({ held: [] }))
    rmSync(join(dir, 'deputy.db'), { force: true })
    writeFileSync(join(dir, 'deputy.db'), 'x'.repeat(5_000))
    await expect(startDeputy(setup(), dir)).rejects.toThrow('deputy.db')
  })
})

describe('the evidence', () => {
  test('that cannot be written any more: 503 and nothing leaves', async () => {
    const child = await startChild(setup({ config: { audit: { sink: ['stdout'] } } }))
    open.push(child)
    expect(await verdict(call(child))).toEqual([200, 'alice'])
    child.cutStdout()
    upstream.seen.length = 0
    await expect.poll(() => verdict(call(child))).toEqual([503, 'audit_unavailable'])
    upstream.seen.length = 0
    for (const person of ['alice', 'bob'])
      expect(await verdict(call(child, person))).toEqual([503, 'audit_unavailable'])
    expect(upstream.seen).toEqual([])
    expect(child.alive()).toBe(true)
    expect(await ready(child)).toBe(503)
  })
  test('that may be lacking: the call passes, and the log says what is missing', async () => {
    const child = await startChild(
      setup({ config: { audit: { sink: ['stdout'], required: false } } }),
    )
    open.push(child)
    expect(await verdict(call(child))).toEqual([200, 'alice'])
    child.cutStdout()
    for (let i = 0; i < 3; i++) expect(await verdict(call(child))).toEqual([200, 'alice'])
    await until(() => child.logged().includes('could not be written'), 'the log says so')
  })
  test('on a full disk: deputy does not start', async () => {
    const dir = await prepareFolder(setup())
    symlinkSync('/dev/full', join(dir, 'audit.jsonl'))
    await expect(startDeputy(setup(), dir)).rejects.toThrow(/audit/)
  })
  test('in a file that is a folder: deputy does not start', async () => {
    await expect(
      startDeputy(setup({ config: { audit: { sink: ['file:tables'] } } })),
    ).rejects.toThrow(/audit\.sink.*tables/)
  })
  test('that another process writes: deputy does not start', async () => {
    const first = await start()
    await expect(
      startDeputy(
        setup({ config: { audit: { sink: [`file:${join(first.dir, 'audit.jsonl')}`] } } }),
      ),
    ).rejects.toThrow(/audit\.sink/)
  })
})

describe('entitlements', () => {
  const write = (deputy: Deputy, text: string): void =>
    writeFileSync(join(deputy.dir, 'people.yaml'), text)
  const people = (...list: readonly Fields[]): string => JSON.stringify({ people: list })
  test('that are withdrawn end the next call, also for a group and for somebody set inactive', async () => {
    const deputy = await start()
    expect(await verdict(call(deputy))).toEqual([200, 'alice'])
    const bob = { id: 'bob', groups: ['staff'] }
    for (const gone of [
      people(bob),
      people(bob, { id: 'alice', groups: [] }),
      people(bob, { id: 'alice', groups: ['staff'], active: false }),
    ]) {
      write(deputy, gone)
      await expect.poll(() => verdict(call(deputy))).toEqual([403, 'policy_denied'])
      upstream.seen.length = 0
      expect(await verdict(call(deputy, 'alice', { method: 'POST' }))).toEqual([
        403,
        'policy_denied',
      ])
      expect(upstream.seen).toEqual([])
      expect(await verdict(call(deputy, 'bob'))).toEqual([200, 'bob'])
      write(deputy, people(...PEOPLE))
      await expect.poll(() => verdict(call(deputy))).toEqual([200, 'alice'])
    }
    await balanced(deputy)
  })
  test.each([
    ['broken', (path: string) => writeFileSync(path, 'people: [')],
    [
      'of another shape',
      (path: string) => writeFileSync(path, '{"people":[{"id":"alice","groups":"staff"}]}'),
    ],
    ['removed', (path: string) => rmSync(path)],
  ])('whose file is %s: nothing is allowed on what it said before', async (_name, harm) => {
    const deputy = await start()
    expect(await verdict(call(deputy))).toEqual([200, 'alice'])
    harm(join(deputy.dir, 'people.yaml'))
    await expect.poll(() => verdict(call(deputy))).toEqual([503, 'entitlements_unavailable'])
    upstream.seen.length = 0
    expect(await verdict(call(deputy, 'alice', { method: 'POST' }))).toEqual([
      503,
      'entitlements_unavailable',
    ])
    expect(upstream.seen).toEqual([])
    write(deputy, people(...PEOPLE))
    await expect.poll(() => verdict(call(deputy))).toEqual([200, 'alice'])
  })
  test('whose file is missing at the start: deputy does not start', async () => {
    const dir = await prepareFolder(setup())
    rmSync(join(dir, 'people.yaml'))
    await expect(startDeputy(setup(), dir)).rejects.toThrow(/entitlements\.file.*people\.yaml/s)
  })
})

describe('tokens', () => {
  const expired = (refresh: string | null) => [
    { person: 'alice', token: tokenOf('alice'), refresh, expiresIn: -10, agedMs: 3_600_000 },
    { person: 'bob', token: tokenOf('bob') },
  ]
  test('that have expired while the token endpoint is down: 502, nothing leaves, the others are served', async () => {
    const deputy = await start({ held: expired('rt-alice-1') })
    upstream.token = (_form, res) => void res.writeHead(503).end('sorry')
    expect(await verdict(call(deputy))).toEqual([502, 'credential_unavailable'])
    expect(upstream.seen).toEqual([])
    expect(await verdict(call(deputy, 'bob'))).toEqual([200, 'bob'])
    await until(
      () => deputy.evidence().some(({ result }) => result === 'credential_unavailable'),
      'the evidence',
    )
    await balanced(deputy)
  })
  test('that have expired for good: the person is asked, never another account used', async () => {
    const deputy = await start({ held: expired(null) })
    expect(await verdict(call(deputy))).toEqual([403, 'reauthorization_required'])
    expect(upstream.seen).toEqual([])
  })
  test('that nobody gave: the person is asked, with the least that is needed', async () => {
    const deputy = await start({ held: [] })
    const answer = await call(deputy)
    expect([answer.status, answer.json['code']]).toEqual([403, 'consent_required'])
    expect(String(answer.json['url']).startsWith(deputy.connect)).toBe(true)
    expect(upstream.seen).toEqual([])
  })
  test('with characters that no header can hold are never sent', async () => {
    const deputy = await start({ held: [{ person: 'alice', token: 'abc\r\nX-Evil: 1' }] })
    expect(await verdict(call(deputy))).toEqual([502, 'credential_unavailable'])
    expect(upstream.seen).toEqual([])
    await balanced(deputy)
  })
})

describe('the provider', () => {
  test('that is down: 502, and the evidence says that nothing left', async () => {
    const probe = createServer()
    await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
    const { port } = probe.address() as AddressInfo
    await new Promise((resolve) => probe.close(resolve))
    const deputy = await start({ upstream: `http://127.0.0.1:${port}` })
    expect(await verdict(call(deputy))).toEqual([502, 'upstream_unreachable'])
    await until(() => deputy.evidence().some(({ event }) => event === 'outcome'), 'the outcome')
    expect(deputy.evidence().findLast(({ event }) => event === 'outcome')).toMatchObject({
      result: 'upstream_unreachable',
      sent: false,
    })
  })
  test('at a private address that nobody allowed: 502, and nothing is dialled', async () => {
    const before = upstream.bytes().length
    const deputy = await start({ config: { network: { allow_private: [] } } })
    expect(await verdict(call(deputy))).toEqual([502, 'upstream_prohibited'])
    expect(upstream.bytes().length).toBe(before)
  })
  test('that never answers: 504', async () => {
    upstream.handle = () => undefined
    const deputy = await start({ config: { upstream: { idle_timeout: '1s' } } })
    expect(await verdict(call(deputy))).toEqual([504, 'upstream_timeout'])
    await balanced(deputy)
  })
})

describe('start', () => {
  test('keys that everybody may read are refused', async () => {
    const dir = await prepareFolder(setup())
    chmodSync(join(dir, 'keys.json'), 0o644)
    await expect(startDeputy(setup(), dir)).rejects.toThrow(/vault\.keys.*chmod 600/s)
  })
  test('every problem is named at once, and no secret with it', async () => {
    const dir = await prepareFolder(setup())
    writeFileSync(join(dir, 'keys.json'), '{"keys":"hunter2-canary"}')
    rmSync(join(dir, 'people.yaml'))
    const failed = startDeputy(setup(), dir)
    await expect(failed).rejects.toThrow(/vault\.keys[\s\S]*entitlements\.file/)
    await expect(failed).rejects.not.toThrow(/hunter2/)
  })
  test('a port that is taken is named, and nothing stays open', async () => {
    const first = await start()
    const port = new URL(first.agent).port
    await expect(
      startDeputy(
        setup({
          config: {
            listeners: { agent: `127.0.0.1:${port}`, admin: '127.0.0.1:0', connect: '127.0.0.1:0' },
          },
        }),
      ),
    ).rejects.toThrow(`127.0.0.1:${port}`)
    expect(await verdict(call(first))).toEqual([200, 'alice'])
  })
  test('files that hold secrets are for their owner alone', async () => {
    const child = await startChild(setup())
    open.push(child)
    await call(child)
    for (const name of ['deputy.db', 'audit.jsonl', '.deputy-code'])
      expect([name, (statSync(join(child.dir, name)).mode & 0o077).toString(8)]).toEqual([
        name,
        '0',
      ])
    expect(readFileSync(join(child.dir, '.deputy-code'), 'utf8').trim()).not.toBe('')
  })
})
