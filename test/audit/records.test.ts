import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Name } from '../../proxy/audit/names.ts'
import type { Decision, Injected, Person } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { createEvidence } from '../../proxy/audit/records.ts'
import type { Decided, Finished } from '../../proxy/audit/records.ts'
import type { Body } from '../../proxy/pipeline/inspect.ts'

const JWT = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln'

const ALICE = { id: 'alice@example.com', realm: 'corp', tenant: 'acme' }
const USED: Injected = {
  token: secret('at-0123456789'),
  credential: 'c1',
  generation: 3,
  account: 'alice-at-acme',
  scopes: ['notes'],
  refreshed: true,
}

type Line = Readonly<Record<string, unknown>>
const hmacOf = (purpose: string, text: string): string => `${purpose}-${text.length}`
const nameOf = ({ id }: Person): Name => {
  const mask = (purpose: string, text: string): string => `hmac:${hmacOf(purpose, text)}`
  return { id: mask('user', id), mask }
}
/** Evidence whose lines can be read; `lost` fails every write. */
const make = ({
  hashed = false,
  lost = false,
  inputs = undefined as Parameters<typeof createEvidence>[0]['inputs'],
} = {}) => {
  const written: Line[] = []
  const logged: string[] = []
  const now = { ms: 1_000 }
  const quiet = () => undefined
  let shared: Promise<void> | null = null
  const evidence = createEvidence({
    journal: {
      append: (event, fields) => {
        written.push(JSON.parse(`{"event":"${event}"${fields}}`) as Line)
        if (!lost) return Promise.resolve()
        return (shared ??= Promise.reject(new Error('full')))
      },
      healthy: () => true,
      lines: () => written.length,
      close: () => Promise.resolve(),
    },
    clock: { now: Date.now, mono: () => now.ms },
    log: { debug: quiet, info: quiet, warn: quiet, error: (_, msg) => void logged.push(msg) },
    names: hashed ? { of: nameOf, known: nameOf, close: quiet } : null,
    hmac: hmacOf,
    ...(inputs === undefined ? {} : { inputs }),
  })
  return { evidence, written, logged, now }
}

type More = {
  readonly decision?: Partial<Decision>
  readonly segments?: readonly string[]
  readonly secretSegments?: readonly string[]
  readonly query?: readonly string[]
  readonly what?: Partial<Decided>
}
/** The record of one decision. */
const decided = async (
  { decision = {}, segments = ['a'], secretSegments = [], query = [], what = {} }: More,
  hashed = false,
  inputs?: Parameters<typeof createEvidence>[0]['inputs'],
): Promise<Line> => {
  const { evidence, written } = make({ hashed, inputs })
  const raw = segments.map(encodeURIComponent)
  const given = {
    id: 'x1',
    via: 'proxy',
    n: 1,
    traceparent: null,
    principal: { person: ALICE, agent: 'agent:triage', run: null, verified: true },
    route: {
      connection: { name: 'github', provider: { id: 'github', secretSegments } },
      host: 'api.github.com',
      target: {
        method: 'GET',
        path: `/${raw.join('/')}`,
        segments,
        raw,
        query: query.map((name) => ({ name, value: 'v' })),
      },
    },
    operation: { id: 'issues.get', access: 'read' },
    body: null,
    stripped: [],
    facts: { entitlements: { active: true, source: 'file', digest: 'sha256:0' }, ageMs: () => 0.6 },
    holding: { kind: 'none' },
    decision: {
      id: 'd1',
      effect: 'allow',
      reasons: [],
      grants: [],
      obligations: {},
      revision: 'r',
      digest: 'd',
      ...decision,
    },
    ...what,
  }
  await evidence.decided(given as unknown as Decided)
  evidence.close()
  expect(written).toHaveLength(1)
  return written[0] ?? {}
}
const recorded = async (decision: Partial<Decision>, hashed = false) =>
  (await decided({ decision }, hashed))['decision'] as Line

test('codes stay codes, and beside them stands what they say, at most 256 characters of each', async () => {
  const long = '\u{1f600}'.repeat(300)
  expect(
    await recorded({
      effect: 'deny',
      reasons: [
        { code: 'not_yours', msg: 'issue 7 is "somebody" else\u2019s\n' },
        { code: 'long', msg: long },
      ],
    }),
  ).toEqual({
    effect: 'deny',
    id: 'd1',
    reasons: ['not_yours', 'long'],
    messages: ['issue 7 is "somebody" else\u2019s\n', '\u{1f600}'.repeat(256)],
    grants: [],
    obligations: [],
  })
  expect(await recorded({ effect: 'allow', reasons: [] })).toEqual({
    effect: 'allow',
    id: 'd1',
    reasons: [],
    grants: [],
    obligations: [],
  })
})

test('a message hides what the record hides: credentials always, people and addresses under `hashed`', async () => {
  const reasons = [
    { code: 'a', msg: `alice@example.com sent "${JWT}" to bob@example.com, not carol` },
  ]
  expect((await recorded({ effect: 'deny', reasons }))['messages']).toEqual([
    `alice@example.com sent "hmac:message-${JWT.length}" to bob@example.com, not carol`,
  ])
  expect((await recorded({ effect: 'deny', reasons }, true))['messages']).toEqual([
    `hmac:user-17 sent "hmac:message-${JWT.length}" to hmac:message-15, not carol`,
  ])
})

describe('a decision', () => {
  test('tells who did what for whom, and what was known', async () => {
    expect(await decided({})).toEqual({
      event: 'decision',
      exchange: 'x1',
      n: 1,
      trace_id: null,
      user: { ...ALICE, verified: true },
      agent: { id: 'agent:triage' },
      run: null,
      connection: 'github',
      provider: 'github',
      operation: { id: 'issues.get', access: 'read' },
      request: {
        method: 'GET',
        host: 'api.github.com',
        path: '/a',
        query_keys: [],
        body_digest: null,
      },
      stripped: [],
      entitlements: { source: 'file', age_ms: 1, digest: 'sha256:0' },
      decision: { effect: 'allow', id: 'd1', reasons: [], grants: [], obligations: [] },
      policy: { revision: 'r', digest: 'd' },
    })
    const trace = '0123456789abcdef0123456789abcdef'
    const what = {
      part: 2,
      traceparent: `00-${trace}-0123456789abcdef-01`,
      body: { digest: 'sha256:1' } as unknown as Body,
      graphql: {
        type: 'mutation',
        name: 'n',
        fields: ['addStar'],
        depth: 1,
        types: [],
        selects: [],
      },
      stripped: ['query:token'],
    } as const
    expect(await decided({ what })).toMatchObject({
      part: 2,
      trace_id: trace,
      operation: { graphql: { type: 'mutation', field: 'addStar' } },
      request: { body_digest: 'sha256:1' },
      stripped: ['query:token'],
    })
    for (const traceparent of [`01-${trace}-0123456789abcdef-01`, 'x'])
      expect(await decided({ what: { traceparent } })).toMatchObject({ trace_id: null })
    const read = { digest: null } as unknown as Body
    expect(await decided({ what: { body: read } })).toMatchObject({
      request: { body_digest: null },
    })
  })

  const shortest = `sk-${'a'.repeat(17)}`
  const short = `sk-${'a'.repeat(16)}`
  const long = 'word-'.repeat(26)
  test.each([
    [['notes', short, 'a b'], `/notes/${short}/a%20b`, null],
    [['notes', shortest, 'a b'], '/notes/hmac:segment-20/a%20b', null],
    [[long.slice(0, 128)], `/${long.slice(0, 128)}`, null],
    [[long.slice(0, 129), 'x'], '/hmac:segment-129/x', null],
    [['hooks', 'quiet', 'x'], '/hooks/hmac:segment-5/x', null],
    [['quiet', 'hooks'], '/quiet/hooks', null],
    [['a@b', 'x'], '/a%40b/x', '/hmac:segment-3/x'],
  ])('of the path %j shows %s', async (segments, path, hashed) => {
    const more = { segments, secretSegments: ['hooks'] }
    expect(await decided(more)).toMatchObject({ request: { path } })
    expect(await decided(more, true)).toMatchObject({ request: { path: hashed ?? path } })
  })

  test('tells by which door it came, of which workload its agent is, and of whom each fact', async () => {
    const part = { source: 'file', active: true, digest: 'sha256:1', groups: ['staff'] }
    const workload = { name: 'triage', subject: 'sub' }
    const what = {
      via: 'tool',
      principal: { person: ALICE, agent: 'a', run: null, verified: true, workload },
      facts: {
        entitlements: { source: 'file', digest: 'sha256:0', parts: [part] },
        ageMs: () => 0,
      },
    } as unknown as Partial<Decided>
    expect(await decided({ what })).toMatchObject({
      via: 'tool',
      agent: { id: 'a', workload: { ...workload, verified: true } },
      entitlements: { parts: [{ source: 'file', active: true, digest: 'sha256:1' }] },
    })
    const plain = await decided({})
    expect(plain).not.toHaveProperty('via')
    expect(plain['agent']).not.toHaveProperty('workload')
    expect(plain['entitlements']).not.toHaveProperty('parts')
  })
  test('hides in the name of a call of MCP what is long, a credential, or under `hashed` an address', async () => {
    const named = async (method: string, name: string | null, hashed = false) => {
      const mcp = { method, name } as unknown as NonNullable<Decided['mcp']>
      const { operation } = await decided({ what: { mcp } }, hashed)
      return (operation as Line)['mcp']
    }
    const method = 'resources/read'
    const long = 'doc '.repeat(32)
    for (const name of ['notes', long, 'mailto:a@b.example'])
      expect(await named(method, name)).toEqual({ method, name })
    expect(await named('ping', null)).toEqual({ method: 'ping' })
    expect(await named(method, `${long}x`)).toEqual({ method, name: 'hmac:mcp-129' })
    expect(await named(method, JWT)).toEqual({ method, name: `hmac:mcp-${JWT.length}` })
    expect(await named(method, 'a@b.example', true)).toEqual({ method, name: 'hmac:mcp-11' })
    expect(await named(method, 'notes', true)).toEqual({ method, name: 'notes' })
    expect(await named(`${long}x`, null)).toEqual({ method: 'hmac:mcp-129' })
    expect((await decided({}))['operation']).not.toHaveProperty('mcp')
  })
  test('names the sealed input that policy was asked, where it was asked and one is kept', async () => {
    const kept: unknown[] = []
    const inputs = {
      keep: async (...of: readonly unknown[]) => {
        kept.push(of)
        return 'sha256:in'
      },
      members: async () => null,
    }
    const asked = ['{}', []] as unknown as NonNullable<Decision['asked']>
    expect(await decided({ decision: { asked } }, false, inputs)).toHaveProperty(
      'input',
      'sha256:in',
    )
    expect(kept).toEqual([[{ exchange: 'x1', n: 1, part: undefined }, asked]])
    const large = { asked, reasons: [{ code: 'policy_input_too_large', msg: '' }] }
    for (const [decision, keep] of [
      [{}, inputs],
      [large, inputs],
      [{ asked }, undefined],
      [{ asked }, { ...inputs, keep: async () => null }],
    ] as const)
      expect(await decided({ decision }, false, keep)).not.toHaveProperty('input')
    expect(kept).toHaveLength(1)
  })
  test('tells what authorization services said of the call, and nothing where none was asked', async () => {
    const checks = { answers: { can_edit: true, in_region: false }, ms: 3.0625 }
    const said = await decided({ decision: { checks } })
    expect(said['checks']).toEqual({ answers: checks.answers, duration_ms: 3.1 })
    expect(await decided({})).not.toHaveProperty('checks')
  })
  test('shows names of parameters and fields, unless they are words that only machines make', async () => {
    const query = ['page', short, shortest, 'a b', 'x'.repeat(64), 'x'.repeat(65)]
    expect(await decided({ query })).toMatchObject({
      request: {
        query_keys: [
          'page',
          short,
          'hmac:query-20',
          'hmac:query-3',
          'x'.repeat(64),
          'hmac:query-65',
        ],
      },
    })
    const graphql = (field: string) =>
      decided({
        what: {
          graphql: { type: 'query', name: '', fields: [field], depth: 1, types: [], selects: [] },
        },
      })
    const made = 'ghp_0123456789abcdefghij'
    expect(await graphql(made)).toMatchObject({
      operation: { graphql: { field: `hmac:field-${made.length}` } },
    })
  })

  test('hides in a message what is a credential, and is not short', async () => {
    const msg = `${short} ${shortest}`
    expect((await recorded({ effect: 'deny', reasons: [{ code: 'a', msg }] }))['messages']).toEqual(
      [`${short} hmac:message-20`],
    )
  })

  test('under `hashed` names nobody, who is named as they are otherwise', async () => {
    expect((await decided({}, true))['user']).toEqual({
      ...ALICE,
      id: 'hmac:user-17',
      verified: true,
    })
    const odd = { ...ALICE, id: '$&' }
    const principal = { person: odd, agent: 'a', run: 'r1', verified: false }
    const reasons = [{ code: 'a', msg: 'it was $&' }]
    const what = { principal } as unknown as Partial<Decided>
    expect(await decided({ decision: { effect: 'deny', reasons }, what })).toMatchObject({
      user: { id: '$&', verified: false },
      run: 'r1',
      decision: { messages: ['it was $&'] },
    })
  })
})

describe('an outcome', () => {
  const finished = (
    more: Partial<Finished['outcome']>,
    beside: Partial<Finished> = {},
    { evidence, written } = make(),
  ): Line | undefined => {
    const outcome = {
      result: 'ok' as const,
      sent: true,
      status: 200,
      bytesIn: 1,
      bytesOut: 2,
      credential: null,
      masked: 0,
      unrewritten: false,
      stripped: [],
      dropped: [],
      ...more,
    }
    const about = { id: 'x1', person: ALICE, connection: 'acme', durationMs: 1.26, outcome }
    evidence.finished({ ...about, ...beside })
    return written.at(-1)
  }
  test('tells what was sent and what came back, and no more than there is', () => {
    const plain = {
      event: 'outcome',
      exchange: 'x1',
      result: 'ok',
      sent: true,
      status: 200,
      credential: null,
      bytes_in: 1,
      bytes_out: 2,
      duration_ms: 1.3,
    }
    expect(finished({})).toEqual(plain)
    expect(finished({ status: null, sent: false })).toEqual({ ...plain, status: null, sent: false })
    const said = { hook: 'dlp', when: 'before', said: 'allow', codes: [], ms: 1 } as const
    expect(finished({}, { hooked: [said] })).toEqual({ ...plain, hooks: [said] })
    expect(finished({ redacted: 2 })).toEqual({ ...plain, redacted: { response: 2 } })
    const taken = { pointers: ['/a'], digest: 'sha256:x' }
    expect(finished({}, { taken })).toEqual({
      ...plain,
      redacted: { request: ['/a'], body_digest: 'sha256:x', response: 0 },
    })
    const more = { masked: 1, unrewritten: true, stripped: ['trailer:a'], dropped: ['trailer:b'] }
    expect(finished(more)).toEqual({ ...plain, ...more })
  })
  test('names the credential that was used, never the token', () => {
    const credential = {
      connection: 'acme',
      generation: 3,
      account: 'alice-at-acme',
      scopes: ['notes'],
      refreshed: true,
    }
    for (const _ of [1, 2]) expect(finished({ credential: USED })).toMatchObject({ credential })
    expect(finished({ credential: USED }, {}, make({ hashed: true }))).toMatchObject({
      credential: { ...credential, account: 'hmac:account-13' },
    })
  })
  test('that cannot be written is said once for each write', async () => {
    const one = make({ lost: true })
    finished({}, {}, one)
    finished({}, {}, one)
    await expect.poll(() => one.logged).toEqual(['an evidence record could not be written'])
  })
})

describe('refusals', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }))
  afterEach(() => void vi.useRealTimers())
  test('are written up to fifty in a second, and summed beyond', () => {
    const { evidence, written, now } = make()
    const summed = () => written.filter((line) => 'summed' in line)
    for (let i = 0; i < 50; i++) evidence.refused(`x${i}`, 'unauthenticated', null)
    vi.advanceTimersByTime(1_000)
    expect(written).toHaveLength(50)
    expect(written[0]).toEqual({ event: 'refused', exchange: 'x0', code: 'unauthenticated' })
    evidence.refused('x', 'unauthenticated', null)
    evidence.refused('x', 'unauthenticated', null)
    evidence.refused('x', 'route_not_found', ALICE)
    expect(written).toHaveLength(50)
    vi.advanceTimersByTime(1_000)
    const counts = { event: 'refused', summed: { unauthenticated: 2, route_not_found: 1 } }
    expect(summed()).toEqual([counts])
    now.ms += 1_000
    evidence.refused('y', 'route_not_found', ALICE)
    expect(written.at(-1)).toEqual({
      event: 'refused',
      exchange: 'y',
      code: 'route_not_found',
      user: ALICE,
    })
    evidence.close()
    expect(summed()).toEqual([counts])
  })
  test('are summed in the end, too', () => {
    const { evidence, written } = make({ hashed: true })
    for (let i = 0; i < 51; i++) evidence.refused(`x${i}`, 'unauthenticated', ALICE)
    evidence.close()
    expect(written[0]?.['user']).toEqual({ ...ALICE, id: 'hmac:user-17' })
    expect(written.at(-1)).toEqual({ event: 'refused', summed: { unauthenticated: 1 } })
    vi.advanceTimersByTime(5_000)
    expect(written).toHaveLength(51)
  })
})

test('other events say under `hashed` who, whose and from where by a hash alone', async () => {
  const fields = {
    account: 'alice-at-acme',
    user: ALICE,
    by: ALICE,
    from: { address: '10.0.0.1', proxied: true },
    other: { id: 'o1', address: 'here' },
    name: 'text',
    n: 7,
  }
  const event = async (given: Readonly<Record<string, unknown>>, hashed: boolean) => {
    const { evidence, written } = make({ hashed })
    await evidence.event('session.started', given)
    return written[0]
  }
  expect(await event(fields, false)).toEqual({ event: 'session.started', ...fields })
  const masked = { ...ALICE, id: 'hmac:user-17' }
  expect(await event(fields, true)).toEqual({
    event: 'session.started',
    ...fields,
    account: 'hmac:account-13',
    user: masked,
    by: masked,
    from: { address: 'hmac:address-8', proxied: true },
  })
  const without = { user: null, account: null, by: 'operator', from: { proxied: false } }
  expect(await event(without, true)).toEqual({ event: 'session.started', ...without })
  expect(await event({ user: ALICE, account: 7 }, true)).toMatchObject({
    account: 'hmac:account-1',
  })
  // Whose it is, is not said, so it stands under nobody's key.
  expect(await event({ account: 7 }, true)).toMatchObject({ account: 'hmac2:nobody' })
  const nobody = { user: { realm: 'corp' }, by: null, from: 'cli' }
  expect(await event(nobody, true)).toEqual({ event: 'session.started', ...nobody })
})
