// The way itself, over real sockets: in which order its stations are asked, where each refusal ends it, and what runs twice.
import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { Decided, Evidence, Finished } from '../../proxy/audit/records.ts'
import type {
  Connection,
  Decision,
  Entitlements,
  Holding,
  Injected,
  OperationRow,
  Provider,
} from '../../proxy/model.ts'
import { needsOf } from '../../proxy/consent/approvers.ts'
import { demandIn } from '../../proxy/consent/step_ups.ts'
import type { ApprovalAsk } from '../../proxy/consent/approvals.ts'
import type { ApprovalDeps } from '../../proxy/pipeline/approval.ts'
import type { Hooks } from '../../proxy/pipeline/obligation/hooks.ts'
import { redactCarrier } from '../../proxy/pipeline/obligation/redaction.ts'
import { mailPlaces } from '../../proxy/providers/catalogue.ts'
import { createCalls } from '../../proxy/pipeline/calls.ts'
import { createClassify } from '../../proxy/pipeline/classify.ts'
import type { Facts } from '../../proxy/pipeline/entitlements.ts'
import type { Job, Outcome } from '../../proxy/pipeline/forward.ts'
import { createHold } from '../../proxy/pipeline/hold.ts'
import { readUpTo } from '../../proxy/pipeline/inspect.ts'
import { createObligations } from '../../proxy/pipeline/obligations.ts'
import { createPep, type PepDeps } from '../../proxy/pipeline/pep.ts'
import { buildRoutes } from '../../proxy/pipeline/route.ts'
import { createTagged } from '../../proxy/pipeline/tag_place.ts'
import { Problem } from '../../proxy/problem.ts'
import { secret } from '../../proxy/secret.ts'
import { createAddressTags } from '../../proxy/wire/address_tag.ts'
import { canonicalTarget, targetText } from '../../proxy/wire/canonical.ts'
import { createSift } from '../../proxy/wire/headers.ts'
import { parseProvider } from '../../proxy/providers/parse.ts'
import { createMcpSessions } from '../../proxy/wire/mcp_session.ts'
import { createQuerySeals } from '../../proxy/wire/query_seal.ts'
import { createTagSearch } from '../../proxy/wire/stray_tag.ts'
import { lines, sendRaw } from '../support/raw.ts'
import { alice, provider as acme } from '../wire/fixture.ts'

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections()
})

const row = (method: string, path: string, id: string, more = {}): OperationRow => ({
  id,
  method,
  path,
  host: null,
  access: method === 'GET' ? 'read' : 'write',
  scopes: [['notes']],
  inspect: [],
  upload: false,
  rewrite: [],
  ...more,
})
const provider: Provider = {
  ...acme,
  hosts: new Map(
    ['api.acme.example', 'up.acme.example'].map((host) => [host, `https://${host}`] as const),
  ),
  assets: new Map([['dl.acme.example', 'https://dl.acme.example']]),
  strip: { ...acme.strip, query: ['teamid'] },
  rewrite: ['/next'],
  operations: [
    row('GET', '/notes', 'notes.list'),
    row('GET', '/notes/{id}', 'notes.get', { rewrite: ['/own'], signed: ['/file'] }),
    row('POST', '/notes', 'notes.make', { inspect: ['/title'] }),
    row('POST', '/blobs', 'blobs.make', { upload: true, signed: ['/up'] }),
    row('POST', '/graphql', 'viewer.read', { graphql: 'query viewer', access: 'read' }),
    row('POST', '/graphql', 'note.write', { graphql: 'mutation note', access: 'write' }),
    row('POST', '/graphql', 'note.drop', { graphql: 'mutation drop', access: 'delete' }),
  ],
}
const connection: Connection = {
  name: 'work',
  provider,
  clientId: 'c',
  clientSecret: null,
  scopes: ['notes'],
}
const held: Holding = {
  kind: 'held',
  credential: 'k',
  status: 'active',
  account: 'alice-at-acme',
  generation: 1,
  scopes: ['notes'],
  granted: ['notes'],
}
const injected: Injected = {
  token: secret('alices-token'),
  credential: 'k',
  generation: 1,
  account: 'alice-at-acme',
  scopes: ['notes'],
  refreshed: false,
}
const known = (source: Entitlements['source'] = 'file'): Facts => ({
  entitlements: {
    active: true,
    groups: [],
    roles: [],
    entitlements: [],
    auth: null,
    source,
    digest: 'sha256:x',
    asOf: null,
  },
  ageMs: () => 0,
})
const OK: Outcome = {
  result: 'ok',
  sent: true,
  status: 200,
  bytesIn: 0,
  bytesOut: 2,
  credential: injected,
  masked: 0,
  unrewritten: false,
  stripped: [],
  dropped: [],
}

type Said = Partial<Decision> & { readonly effect: Decision['effect'] }
/** Nobody could sign in to answer. */
const nobodyAsked = (diary: string[]): ApprovalDeps => ({
  approvals: {
    able: false,
    given: async () => {
      diary.push('approvals')
      return null
    },
    begin: () => Promise.reject(new Error('nobody is asked')),
    spend: () => Promise.reject(new Error('nothing is spent')),
  },
  stepUps: {
    able: false,
    met: async () => null,
    begin: () => Promise.reject(new Error('nobody is asked')),
  },
  needsOf,
  demandIn,
  readWhole: (req) => readUpTo(req, 1_000),
  clock: { mono: () => 0 },
})
const because = (effect: Decision['effect'], ...codes: readonly string[]): Said => ({
  effect,
  reasons: codes.map((code) => ({ code, msg: code })),
})
const CONSENT: Said = { ...because('consent_required', 'no_connection'), requiredScopes: ['notes'] }
const STALE = because('deny', 'entitlements_stale')

type Asked = {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/**
 * A server in front of the way. The pure stations are the real ones; those with effects keep a diary.
 * @param say what policy says, question by question; the last answer goes on
 */
const house = async (
  say: readonly Said[] = [{ effect: 'allow' }],
  more: (at: { ms: number }) => Partial<PepDeps> = () => ({}),
) => {
  const at = { ms: 10_000 }
  const diary: string[] = []
  const [jobs, decided, finished]: [Job[], Decided[], Finished[]] = [[], [], []]
  const [refused, logged]: [string[], string[]] = [[], []]
  const clock = { now: () => 1_800_000_000_000 + at.ms, mono: () => at.ms }
  const write = (_fields: object, message: string): void => void logged.push(message)
  const evidence: Evidence = {
    decided: (what) => {
      const part = what.part === undefined ? '' : `.${what.part}`
      diary.push(`record ${what.n}${part} ${what.decision.effect}`)
      decided.push(what)
      return Promise.resolve()
    },
    finished: (what) => void finished.push(what),
    refused: (_id, code) => void refused.push(code),
    event: () => Promise.resolve(),
    close: () => undefined,
  }
  const tags = createTagSearch(() => false)
  const addressTags = createAddressTags({ key: randomBytes(32), randomBytes, now: clock.now })
  const querySeals = createQuerySeals({ key: randomBytes(32), now: clock.now })
  const read = createTagged({
    tagHeader: 'deputy-user',
    agentHeader: 'deputy-agent',
    addressTags,
    tagged: (rawHeaders) => rawHeaders.some((name) => name.toLowerCase() === 'deputy-user'),
    read: (req) => readUpTo(req, 1_000),
    most: 9,
  })
  const calls = createCalls({ calls: 2, perAgent: 2, perTenant: 1_000 })
  const hold = createHold({
    calls: 9,
    bytes: 999,
    share: 1,
    max: 60_000,
    unasked: 0,
    away: 0,
    now: clock.now,
  })
  let asked = 0
  const deps: PepDeps = {
    snapshot: () => ({
      routes: buildRoutes([connection]),
      classify: createClassify([provider]),
      served: () => false,
    }),
    policy: () => null,
    history: { deciding: () => Promise.reject(new Error('no table asks')) },
    tagged: read,
    identify: () => {
      diary.push('identify')
      return { who: alice, place: 'elsewhere' }
    },
    certificate: () => null,
    tags,
    agentOn: () => undefined,
    tag: () => 'user:alice',
    addressTags,
    querySeals,
    mcpSessions: createMcpSessions({ key: randomBytes(32) }),
    entitlements: (_who, access) => {
      diary.push(`facts ${[access].flat().join(' ')}`)
      return known()
    },
    via: 'proxy',
    rate: () => void diary.push('rate'),
    vault: {
      look: () => {
        diary.push('look')
        return held
      },
    },
    decide: (_engine, { act }) => {
      diary.push(`decide ${act.operation.id}`)
      const answer = say[Math.min(asked++, say.length - 1)]
      return {
        id: `d${asked}`,
        effect: 'error',
        reasons: [],
        requiredScopes: [],
        obligations: {},
        grants: [],
        revision: 'r',
        digest: 'sha256:r',
        decidedAt: at.ms,
        ...answer,
      }
    },
    supposing: failing('entitlements_unavailable'),
    hooks: () => null,
    obligations: createObligations(new Map()),
    credentials: {
      take: () => {
        diary.push('credential')
        return injected
      },
      again: () => {
        diary.push('again')
        return Promise.resolve(null)
      },
    },
    forward: (job, _req, res) => {
      diary.push('forward')
      jobs.push(job)
      res.writeHead(200, { 'content-type': 'application/json' }).end('{"code":"sent"}')
      return Promise.resolve({ outcome: OK, problem: null })
    },
    used: ({ person, agent }, name) => void diary.push(`used ${person.id} ${agent} ${name}`),
    evidence,
    calls,
    link: (_who, { name }, scopes, { again, operation }) => {
      diary.push(`link ${name} ${scopes.join(',')} ${operation ?? ''}${again ? ' again' : ''}`)
      return Promise.resolve({
        authorizationId: 'auth-1',
        url: 'http://localhost:1/c/1',
        scopes,
        expiresAt: clock.now() + 60_000,
      })
    },
    ended: (_who, id, ms) => {
      diary.push(`wait ${id} ${ms}`)
      return Promise.resolve(true)
    },
    ...nobodyAsked(diary),
    hold,
    limits: { requestBody: 10_000, inspectedBody: 1_000 },
    auditRequired: true,
    stands: () => undefined,
    sift: createSift(['deputy-user', 'deputy-agent'], tags.holds),
    typeBase: 'http://localhost:1',
    clock,
    log: { debug: write, info: write, warn: write, error: write },
    observe: () => undefined,
    ...more(at),
  }
  const pep = createPep(deps)
  let ended = 0
  const server = createServer(
    (req, res) => void pep(req, res, 'call-1', null).finally(() => ended++),
  )
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const problem = async (path: string, init: Asked = {}) => {
    const before = ended
    const answer = await fetch(origin + path, init)
    const body = (await answer.json()) as { readonly code: string }
    // The record of a call is kept after its answer.
    await expect.poll(() => ended).toBe(before + 1)
    return { status: answer.status, ...body }
  }
  const ask = async (path: string, init: Asked = {}) => {
    const { status, code } = await problem(path, init)
    return `${status} ${code}`
  }
  const stripped = async (path: string, init: Asked = {}) => {
    expect(await ask(path, init)).toBe('200 sent')
    return decided.at(-1)?.stripped
  }
  return {
    ask,
    problem,
    stripped,
    origin,
    at,
    diary,
    jobs,
    decided,
    finished,
    refused,
    logged,
    deps,
  }
}

const NOTES = '/api.acme.example/notes'
const json = (body: unknown, headers: Readonly<Record<string, string>> = {}): Asked => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
})
const graphql = (query: string): Asked => json({ query })
/** A station that fails. */
const failing = (code: ConstructorParameters<typeof Problem>[0]) => (): never => {
  throw new Problem(code, `a station said ${code}`)
}

describe('the way of a call that is allowed', () => {
  test('asks each station once, in its order, and records before anything is sent', async () => {
    const { ask, diary, decided, finished, refused, jobs } = await house()
    expect(await ask(NOTES)).toBe('200 sent')
    expect(diary).toEqual([
      'identify',
      'rate',
      'facts read',
      'look',
      'decide notes.list',
      'record 1 allow',
      'credential',
      'used alice triage work',
      'forward',
    ])
    expect(decided).toMatchObject([
      { id: 'call-1', n: 1, principal: alice, holding: held, traceparent: null },
    ])
    expect(finished).toMatchObject([{ id: 'call-1', connection: 'work', outcome: OK }])
    expect(refused).toEqual([])
    expect(jobs[0]?.injected).toBe(injected)
    expect(jobs[0]?.route.host).toBe('api.acme.example')
  })

  test('keeps the trace that the caller began', async () => {
    const { ask, decided } = await house()
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
    await ask(NOTES, { headers: { traceparent } })
    expect(decided[0]?.traceparent).toBe(traceparent)
  })

  test('leaves its place when it has ended, also by a refusal', async () => {
    const { ask, deps } = await house([because('deny', 'no'), { effect: 'allow' }])
    expect(await ask(NOTES)).toBe('403 policy_denied')
    for (const _ of [1, 2, 3]) expect(await ask(NOTES)).toBe('200 sent')
    expect(deps.calls.size()).toBe(0)
  })

  test('ends by the tables with which it began', async () => {
    let tables: 'first' | 'second' = 'first'
    const served: unknown[] = []
    const { ask, jobs } = await house(undefined, () => ({
      snapshot: () => ({
        routes: buildRoutes(tables === 'first' ? [connection] : []),
        classify: createClassify([provider]),
        served: () => tables,
      }),
      entitlements: () => {
        tables = 'second'
        return known()
      },
      observe: ({ operation }) => void served.push(operation),
    }))
    expect(await ask(NOTES)).toBe('200 sent')
    expect(jobs[0]?.route.connection).toBe(connection)
    expect(served).toEqual(['notes.list'])
    expect(await ask(NOTES)).toBe('404 route_not_found')
  })
})

describe('a refusal ends the way where it is said', () => {
  const AFTER = ['identify', 'rate', 'facts read', 'look', 'decide notes.list']
  test.each<[string, string, string, readonly string[], () => Partial<PepDeps>]>([
    ['the route', '/api.nobody.example/notes', '404 route_not_found', [], () => ({})],
    [
      'the place of the tag',
      NOTES,
      '401 unauthenticated',
      [],
      () => ({ tagged: failing('unauthenticated') }),
    ],
    ['a tag in the path', `${NOTES}/dpr_${'a'.repeat(43)}`, '400 request_invalid', [], () => ({})],
    [
      'who nobody knows',
      NOTES,
      '401 unauthenticated',
      [],
      () => ({ identify: () => Promise.reject(new Problem('unauthenticated', 'who?')) }),
    ],
    ['the catalogue', `${NOTES}/a%2fb`, '400 request_invalid', ['identify', 'rate'], () => ({})],
    [
      'the number of calls',
      NOTES,
      '429 too_many_calls',
      ['identify', 'rate'],
      () => ({ calls: createCalls({ calls: 0, perAgent: 9, perTenant: 1_000 }) }),
    ],
    [
      'the source of entitlements',
      NOTES,
      '503 entitlements_unavailable',
      ['identify', 'rate'],
      () => ({ entitlements: failing('entitlements_unavailable') }),
    ],
    [
      'the vault',
      NOTES,
      '503 vault_unavailable',
      ['identify', 'rate', 'facts read'],
      () => ({ vault: { look: () => Promise.reject(new Error('locked')) } }),
    ],
    [
      'a policy that throws',
      NOTES,
      '500 internal',
      ['identify', 'rate', 'facts read', 'look'],
      () => ({ decide: () => Promise.reject(new Error('a trap')) }),
    ],
    [
      'the evidence',
      NOTES,
      '503 audit_unavailable',
      AFTER,
      () => ({ evidence: { ...silent, decided: () => Promise.reject(new Error('full')) } }),
    ],
  ])('by %s', async (_name, path, answer, diary, more) => {
    const one = await house(undefined, more)
    expect(await one.ask(path)).toBe(answer)
    expect(one.diary).toEqual(diary)
    expect([one.jobs, one.finished]).toEqual([[], []])
  })
  const silent: Evidence = {
    decided: () => Promise.resolve(),
    finished: () => undefined,
    refused: () => undefined,
    event: () => Promise.resolve(),
    close: () => undefined,
  }

  test('what was refused before policy is kept as that, once', async () => {
    const { ask, refused } = await house(undefined, () => ({
      entitlements: failing('entitlements_unavailable'),
    }))
    await ask(NOTES)
    expect(refused).toEqual(['entitlements_unavailable'])
  })

  test('who is not known is told so before the body is read', async () => {
    const { origin, diary } = await house(undefined, () => ({
      identify: failing('unauthenticated'),
    }))
    const head = ['Host: a', 'Content-Type: application/json', 'Content-Length: 500']
    const answer = await sendRaw(origin, lines(`POST ${NOTES} HTTP/1.1`, ...head))
    expect(answer.json['code']).toBe('unauthenticated')
    expect(diary).toEqual([])
  })

  test.each([
    [
      'that no reader knows',
      { 'content-type': 'text/x-unknown' },
      'x',
      '415 unsupported_media_type',
    ],
    ['with a run token', {}, `{"title":"dpr_${'a'.repeat(43)}"}`, '400 credential_in_body'],
    ['that is too long to be read', {}, JSON.stringify('x'.repeat(1_000)), '413 request_too_large'],
  ])('by a body %s, before anybody is asked about it', async (_name, headers, body, answer) => {
    const { ask, diary, jobs } = await house()
    const asked = json(null, headers)
    expect(await ask(NOTES, { ...asked, body })).toBe(answer)
    expect(diary).toEqual(['identify', 'rate'])
    expect(jobs).toEqual([])
  })

  test('by policy: no credential is taken, and the decision stands in the evidence alone', async () => {
    const { problem, diary, decided, finished, refused } = await house([
      because('deny', 'after_hours'),
    ])
    expect(await problem(NOTES)).toMatchObject({
      status: 403,
      code: 'policy_denied',
      reasons: ['after_hours'],
      decision_id: 'd1',
    })
    expect(diary).toEqual([...AFTER, 'record 1 deny'])
    expect(decided).toMatchObject([{ decision: { effect: 'deny' } }])
    expect([finished, refused]).toEqual([[], []])
  })

  test.each([
    ['error', '503 policy_unavailable'],
    ['step_up_required', '403 step_up_required'],
    ['approval_required', '403 approval_required'],
  ] as const)('by a policy that says %s', async (effect, answer) => {
    const { ask, jobs, diary } = await house([because(effect, 'a_reason')])
    expect(await ask(NOTES, { headers: { prefer: 'wait=9' } })).toBe(answer)
    expect(jobs).toEqual([])
    expect(diary).toEqual([...AFTER, `record 1 ${effect}`])
  })

  test('by an obligation that nobody can carry out: the allow that was recorded has its end', async () => {
    const { ask, diary, finished } = await house([
      { effect: 'allow', obligations: { slow: { type: 'rate_limit', properties: {} } } },
    ])
    expect(await ask(NOTES)).toBe('403 obligation_refused')
    expect(diary).toEqual([...AFTER, 'record 1 allow'])
    expect(finished).toMatchObject([{ outcome: { result: 'obligation_refused', sent: false } }])
  })

  test('by a limit that the second of two parts meets: each part is asked for by itself, with the call that it is of', async () => {
    const seen: (readonly [number | null, string])[] = []
    const calls = new Set<object>()
    const obligations: PepDeps['obligations'] = {
      carry: (each) => {
        for (const [{ part, act, call }] of each) {
          seen.push([part, act.operation.id])
          calls.add(call)
        }
        return Promise.reject(new Problem('rate_limited', 'full'))
      },
    }
    const { ask, finished, jobs } = await house(undefined, () => ({ obligations }))
    const query = 'mutation { note { id } drop { id } }'
    const headers = { 'content-type': 'application/json' }
    const asked = ask('/api.acme.example/graphql', {
      method: 'POST',
      headers,
      body: JSON.stringify({ query }),
    })
    expect(await asked).toBe('429 rate_limited')
    expect(seen).toEqual([
      [1, 'note.write'],
      [2, 'note.drop'],
    ])
    expect([calls.size, jobs.length]).toEqual([1, 0])
    expect(finished).toMatchObject([{ outcome: { result: 'rate_limited', sent: false } }])
  })

  test('by a token that cannot be had: the allow has its end, and no use is counted', async () => {
    const { ask, diary, finished, jobs } = await house(undefined, () => ({
      credentials: {
        take: () => Promise.reject(new Problem('credential_unavailable', 'no token')),
        again: () => Promise.resolve(null),
      },
    }))
    expect(await ask(NOTES)).toBe('502 credential_unavailable')
    expect(diary).toEqual([...AFTER, 'record 1 allow'])
    expect(jobs).toEqual([])
    expect(finished).toMatchObject([{ outcome: { result: 'credential_unavailable', sent: false } }])
  })

  test('by the provider: what was found out of it is the outcome', async () => {
    const outcome = { ...OK, result: 'upstream_timeout' as const, status: null }
    const { ask, finished } = await house(undefined, () => ({
      forward: () => Promise.resolve({ outcome, problem: new Problem('upstream_timeout', 'late') }),
    }))
    expect(await ask(NOTES)).toBe('504 upstream_timeout')
    expect(finished).toMatchObject([{ outcome }])
  })

  test('without evidence that must be kept the call goes on, and the log says what is missing', async () => {
    const { ask, jobs, logged } = await house(undefined, () => ({
      auditRequired: false,
      evidence: { ...silent, decided: () => Promise.reject(new Error('full')) },
    }))
    expect(await ask(NOTES)).toBe('200 sent')
    expect(jobs).toHaveLength(1)
    expect(logged).toEqual(['an evidence record could not be written'])
  })
})

describe('a call that its person can help', () => {
  test('gets the link, for what it needs and wanted to do', async () => {
    const { problem, diary } = await house([CONSENT])
    expect(await problem(NOTES)).toMatchObject({
      status: 403,
      code: 'consent_required',
      authorization_id: 'auth-1',
      url: 'http://localhost:1/c/1',
      scopes: ['notes'],
      connection: 'work',
    })
    expect(diary.slice(5)).toEqual(['record 1 consent_required', 'link work notes notes.list'])
  })

  test('waits where it may, and is asked and decided anew after the yes', async () => {
    const { ask, diary, decided, finished } = await house([CONSENT, { effect: 'allow' }])
    expect(await ask(NOTES, { headers: { prefer: 'wait=9' } })).toBe('200 sent')
    expect(diary).toEqual([
      'identify',
      'rate',
      'facts read',
      'look',
      'decide notes.list',
      'record 1 consent_required',
      'link work notes notes.list',
      'wait auth-1 9000',
      'identify',
      'facts read',
      'look',
      'decide notes.list',
      'record 2 allow',
      'credential',
      'used alice triage work',
      'forward',
    ])
    expect(decided.map(({ id, n }) => [id, n])).toEqual([
      ['call-1', 1],
      ['call-1', 2],
    ])
    expect(finished).toHaveLength(1)
  })

  test('waits no longer than what is left of its time', async () => {
    const slow = (ms: number) => (at: { ms: number }) => ({
      entitlements: () => {
        at.ms += ms
        return known()
      },
    })
    const waited = await house([CONSENT, { effect: 'allow' }], slow(4_000))
    expect(await waited.ask(NOTES, { headers: { prefer: 'wait=9' } })).toBe('200 sent')
    expect(waited.diary).toContain('wait auth-1 5000')
    // To the millisecond: nothing is left, and the link is made once, for the answer.
    const late = await house([CONSENT], slow(9_000))
    expect(await late.ask(NOTES, { headers: { prefer: 'wait=9' } })).toBe('403 consent_required')
    expect(late.diary.filter((line) => /^(?:wait|link)/.test(line))).toEqual([
      'link work notes notes.list',
    ])
  })

  test('is answered as at once where nobody said yes', async () => {
    const { ask, diary, jobs } = await house([CONSENT], () => ({
      ended: () => Promise.resolve(false),
    }))
    expect(await ask(NOTES, { headers: { prefer: 'wait=9' } })).toBe('403 consent_required')
    expect(diary.filter((line) => line.startsWith('record'))).toEqual(['record 1 consent_required'])
    expect(jobs).toEqual([])
  })

  test('may find itself refused by another policy after the yes', async () => {
    const { ask, decided, jobs } = await house([CONSENT, because('deny', 'after_hours')])
    expect(await ask(NOTES, { headers: { prefer: 'wait=9' } })).toBe('403 policy_denied')
    expect(decided.map(({ n, decision }) => [n, decision.effect])).toEqual([
      [1, 'consent_required'],
      [2, 'deny'],
    ])
    expect(jobs).toEqual([])
  })

  test('is nobody’s any more where its tag ended while it waited', async () => {
    let first = true
    const { ask, jobs, decided } = await house([CONSENT, { effect: 'allow' }], () => ({
      identify: () => {
        if (!first) throw new Problem('unauthenticated', 'the run has ended')
        first = false
        return { who: alice, place: 'elsewhere' }
      },
    }))
    expect(await ask(NOTES, { headers: { prefer: 'wait=9' } })).toBe('401 unauthenticated')
    expect(decided).toHaveLength(1)
    expect(jobs).toEqual([])
  })

  test('is told of a grant that died that it is to be given again', async () => {
    const gone: Holding = { ...held, status: 'needs_reauth' }
    const { ask, diary } = await house([CONSENT, { effect: 'allow' }], () => ({
      vault: { look: () => gone },
    }))
    await ask(NOTES, { headers: { prefer: 'wait=9' } })
    expect(diary).toContain('link work notes notes.list again')
  })
})

describe('a decision that grew old', () => {
  const taking = (ms: number) => {
    let first = true
    return (at: { ms: number }): Partial<PepDeps> => ({
      credentials: {
        take: () => {
          if (first) at.ms += ms
          first = false
          return Promise.resolve(injected)
        },
        again: () => Promise.resolve(null),
      },
    })
  }
  test('is made again before anything leaves, by who the caller is now', async () => {
    const { ask, diary, decided, jobs } = await house(undefined, taking(1_001))
    expect(await ask(NOTES)).toBe('200 sent')
    expect(decided.map(({ n }) => n)).toEqual([1, 2])
    expect(diary.filter((line) => line === 'identify')).toHaveLength(2)
    expect(diary.filter((line) => line.startsWith('used'))).toHaveLength(1)
    expect(jobs).toHaveLength(1)
  })
  test('is good for a second', async () => {
    const { ask, decided } = await house(undefined, taking(1_000))
    expect(await ask(NOTES)).toBe('200 sent')
    expect(decided).toHaveLength(1)
  })
  test('is made three times at most', async () => {
    const { ask, decided, jobs } = await house(undefined, (at) => ({
      credentials: {
        take: () => {
          at.ms += 1_001
          return Promise.resolve(injected)
        },
        again: () => Promise.resolve(null),
      },
    }))
    expect(await ask(NOTES)).toBe('503 policy_unavailable')
    expect(decided.map(({ n }) => n)).toEqual([1, 2, 3])
    expect(jobs).toEqual([])
  })
  test('counts no wait for a person', async () => {
    const waits = [CONSENT, CONSENT, CONSENT]
    const { ask, decided } = await house([...waits, { effect: 'allow' }], taking(1_001))
    expect(await ask(NOTES, { headers: { prefer: 'wait=9' } })).toBe('200 sent')
    expect(decided).toHaveLength(5)
  })
  test('may be a refusal the second time', async () => {
    const { ask, jobs, finished } = await house(
      [{ effect: 'allow' }, because('deny', 'after_hours')],
      taking(2_000),
    )
    expect(await ask(NOTES)).toBe('403 policy_denied')
    expect([jobs, finished]).toEqual([[], []])
  })
})

describe('facts that are too old for policy', () => {
  const FACTS = ['facts read', 'look', 'decide notes.list']
  test('are asked for once more, and the second answer is the one that counts', async () => {
    const { ask, diary } = await house([STALE, { effect: 'allow' }])
    expect(await ask(NOTES)).toBe('200 sent')
    expect(diary.slice(0, 9)).toEqual(['identify', 'rate', ...FACTS, ...FACTS, 'record 1 allow'])
  })
  test('are a refusal where they come no younger', async () => {
    const { ask, diary } = await house([STALE])
    expect(await ask(NOTES)).toBe('403 policy_denied')
    expect(diary).toEqual(['identify', 'rate', ...FACTS, ...FACTS, 'record 1 deny'])
  })
  test.each<[string, readonly Said[], Entitlements['source']]>([
    ['claims, which nobody can ask for again', [STALE], 'claims'],
    ['not all that stands against it', [because('deny', 'entitlements_stale', 'no')], 'file'],
    ['beside the point', [because('error', 'entitlements_stale')], 'file'],
  ])('are not asked for again where they are %s', async (_name, say, source) => {
    const { diary, ask } = await house(say, () => ({ entitlements: () => known(source) }))
    await ask(NOTES)
    expect(diary.filter((line) => line === 'decide notes.list')).toHaveLength(1)
  })
})

describe('a call of several calls', () => {
  const TWO = graphql('mutation { note drop }')
  const GRAPHQL = '/api.acme.example/graphql'
  test('is decided and recorded part by part, on facts for all of them', async () => {
    const { ask, diary, decided, finished } = await house()
    expect(await ask(GRAPHQL, TWO)).toBe('200 sent')
    expect(diary).toEqual([
      'identify',
      'rate',
      'facts write delete',
      'look',
      'decide note.write',
      'decide note.drop',
      'record 1.1 allow',
      'record 1.2 allow',
      'credential',
      'used alice triage work',
      'forward',
    ])
    expect(decided.map(({ operation, part }) => [operation.id, part])).toEqual([
      ['note.write', 1],
      ['note.drop', 2],
    ])
    expect(finished).toHaveLength(1)
  })
  test('leaves not at all where one part is refused; the other, which was allowed, has its end', async () => {
    const { problem, jobs, finished, diary } = await house([
      { effect: 'allow' },
      because('deny', 'no'),
    ])
    expect(await problem(GRAPHQL, TWO)).toMatchObject({ code: 'policy_denied', part: 2 })
    expect(diary).not.toContain('credential')
    expect(jobs).toEqual([])
    expect(finished).toMatchObject([{ outcome: { result: 'policy_denied', sent: false } }])
  })
  test('has no end to record where every part is refused', async () => {
    const { ask, finished } = await house([because('deny', 'no')])
    expect(await ask(GRAPHQL, TWO)).toBe('403 policy_denied')
    expect(finished).toEqual([])
  })
  test('is one call where it holds one', async () => {
    const { ask, decided } = await house()
    expect(await ask(GRAPHQL, graphql('{ viewer { id } }'))).toBe('200 sent')
    expect(
      decided.map(({ operation, part, graphql }) => [operation.id, part, graphql?.type]),
    ).toEqual([['viewer.read', undefined, 'query']])
  })
})

describe('a download', () => {
  const FILE = '/dl.acme.example/f/1?signature=of-the-provider&token=t'
  test('goes without a token, and with the query that the provider signed', async () => {
    const { ask, diary, jobs, decided } = await house()
    expect(await ask(FILE)).toBe('200 sent')
    expect(diary.slice(-2)).toEqual(['record 1 allow', 'forward'])
    const [job] = jobs
    expect(job?.injected).toBeNull()
    expect([job?.pointers, job?.signed, job?.seal]).toEqual([[], null, null])
    expect(job && targetText(job.route.target)).toBe('/f/1?signature=of-the-provider&token=t')
    expect(decided[0]?.stripped).toEqual([])
  })
  test('goes with whatever stands in that query, a word of ours too', async () => {
    const { ask, jobs } = await house()
    expect(await ask(`${FILE}&deputy_seal=x&page=2`)).toBe('200 sent')
    expect(jobs[0] && targetText(jobs[0].route.target)).toBe(
      '/f/1?signature=of-the-provider&token=t&deputy_seal=x&page=2',
    )
  })
})

describe('what the agent brought of its own', () => {
  const KEY = { authorization: 'Bearer user:alice' }
  test.each<[string, string, Asked, readonly string[]]>([
    ['a query without any', '?page=2', {}, []],
    ['a credential in the query', '?page=2&private_token=x', {}, ['query:private_token']],
    [
      'another key beside the tag',
      '',
      { headers: { ...KEY, 'deputy-user': 'alice' } },
      ['header:authorization'],
    ],
    ['a key header of the vendor', '', { headers: { 'x-acme-otp': '1' } }, ['header:x-acme-otp']],
    [
      'both at once, the header first',
      '?private_token=x',
      { headers: { 'x-acme-otp': '1' } },
      ['header:x-acme-otp', 'query:private_token'],
    ],
  ])('is named to policy: %s', async (_name, query, asked, names) => {
    const { stripped, jobs } = await house()
    expect(await stripped(NOTES + query, asked)).toEqual(names)
    expect(jobs[0] && targetText(jobs[0].route.target)).not.toContain('token')
  })

  test('a run token in the query is cut, and named', async () => {
    const { stripped, jobs } = await house()
    expect(await stripped(`${NOTES}?page=2&cursor=dpr_${'a'.repeat(43)}`)).toEqual(['query:cursor'])
    expect(jobs[0] && targetText(jobs[0].route.target)).toBe('/notes?page=2')
  })

  test.each([
    ['stood the tag is not', 'slot', []],
    ['stood no tag is', 'elsewhere', ['header:authorization']],
  ] as const)('a key where %s named as cut out', async (_name, place, names) => {
    const { stripped } = await house(undefined, () => ({ identify: () => ({ who: alice, place }) }))
    expect(await stripped(NOTES, { headers: KEY })).toEqual(names)
  })

  const form = (body: string): Asked => ({
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body,
  })
  test('a tag in the form of an SDK is none, a second secret there is one', async () => {
    const { stripped } = await house()
    const sent = form('title=a&token=user%3Aalice')
    expect(await stripped(NOTES, sent)).toEqual([])
    expect(await stripped(NOTES, form('title=a&token=user%3Aalice&client_secret=x'))).toEqual([
      'body:client_secret',
    ])
    // With the tag in a header, the field is a credential.
    const headers = { ...sent.headers, 'deputy-user': 'alice' }
    expect(await stripped(NOTES, { ...sent, headers })).toEqual(['body:token'])
  })

  test.each([
    ['that was read', 'application/json', ['trailer:x-checksum']],
    ['that streams', 'application/octet-stream', []],
  ])('trailers behind a body %s', async (_name, type, names) => {
    // All of it has come by the time that the caller is known.
    const { origin, decided } = await house(undefined, () => ({
      identify: async () => {
        await new Promise(setImmediate)
        return { who: alice, place: 'elsewhere' }
      },
    }))
    const path = type.endsWith('json') ? NOTES : '/api.acme.example/blobs'
    const head = lines(
      `POST ${path} HTTP/1.1`,
      'Host: a',
      'Connection: close',
      'Transfer-Encoding: chunked',
      'Trailer: X-Checksum',
      `Content-Type: ${type}`,
    )
    const body = '{"title":"a"}'
    await sendRaw(
      origin,
      `${head}${body.length.toString(16)}\r\n${body}\r\n0\r\nX-Checksum: 1\r\n\r\n`,
    )
    expect(decided[0]?.stripped).toEqual(names)
  })
})

describe('the query of a URL that the provider wrote', () => {
  const TEXT = '/notes/1?token=T0KEN%2F1&page=2'
  const bound = { person: alice.person, agent: 'triage', connection: 'work' }
  const sealed = ({ deps }: { deps: PepDeps }, agent = 'triage'): string =>
    deps.querySeals.seal({ ...bound, agent, host: 'api.acme.example' }, TEXT, provider, () => []) ??
    ''
  test('passes for whom it was sealed', async () => {
    const one = await house()
    expect(await one.stripped(`/api.acme.example${TEXT}&${sealed(one)}`)).toEqual([])
    expect(one.jobs[0] && targetText(one.jobs[0].route.target)).toBe(TEXT)
  })
  test('is the agent’s own word for anybody else', async () => {
    const one = await house()
    const other = sealed(one, 'another-agent')
    expect(await one.stripped(`/api.acme.example${TEXT}&${other}`)).toEqual(['query:token'])
    expect(one.jobs[0] && targetText(one.jobs[0].route.target)).toBe('/notes/1?page=2')
  })
  test('loses a run token that stands in it, and stays sealed', async () => {
    const one = await house()
    const path = `/api.acme.example/notes/1?run=dpr_${'a'.repeat(43)}&${TEXT.split('?')[1]}`
    expect(await one.stripped(`${path}&${sealed(one)}`)).toEqual(['query:run'])
    expect(one.jobs[0] && targetText(one.jobs[0].route.target)).toBe(TEXT)
  })
  test('is not looked into where its whole address is sealed', async () => {
    // The tag reads as if it had come in the key slot.
    const identify = () => ({ who: alice, place: 'slot' }) as const
    const one = await house(undefined, () => ({ identify }))
    const to = { host: 'api.acme.example', target: TEXT, methods: ['GET'] }
    const segment = one.deps.addressTags.seal('user:alice', to)
    expect(await one.stripped(`/~${segment}/api.acme.example${TEXT}`)).toEqual([])
    // The tag stood in the address: a key beside it is a credential.
    const headers = { authorization: 'Bearer another' }
    expect(await one.stripped(`/~${segment}/api.acme.example${TEXT}`, { headers })).toEqual([
      'header:authorization',
    ])
    expect(one.jobs[0] && targetText(one.jobs[0].route.target)).toBe(TEXT)
  })
})

describe('what is done to the answer', () => {
  const jobOf = async (path: string, init: Asked = {}, more?: () => Partial<PepDeps>) => {
    const one = await house(undefined, more)
    expect(await one.ask(path, init)).toBe('200 sent')
    const [job] = one.jobs
    if (job === undefined) throw new Error('nothing was sent')
    return { ...one, job }
  }
  const NOTE = '/api.acme.example/notes/1'
  const URL_TEXT = '/notes/2?token=T0KEN-of-acme'

  test('URLs are looked for where the provider and the operation say', async () => {
    expect((await jobOf(NOTES)).job.pointers).toEqual(['/next'])
    expect((await jobOf(NOTE)).job.pointers).toEqual(['/next', '/own'])
  })

  test('an address that needs no key is sealed for what it can be called with, and no other', async () => {
    const { job, deps } = await jobOf(NOTE)
    expect(job.signed?.pointers).toEqual(['/file'])
    const segment = job.signed?.seal('api.acme.example', '/notes/2') ?? ''
    const opened = (method: string) => () =>
      deps.addressTags.open(segment, 'api.acme.example', canonicalTarget(method, '/notes/2'))
    expect(opened('GET')()).toBe('user:alice')
    expect(opened('POST')).toThrow('made for another address or method')
    expect(job.signed?.seal('api.acme.example', '/nothing/of/the/catalogue')).toBeNull()
    expect(job.signed?.seal('dl.acme.example', '/f/1')).toMatch(/^dps_/)
    expect((await jobOf(NOTES)).job.signed).toBeNull()
  })

  test('credentials in a URL are sealed for hosts of this provider, its own word given', async () => {
    const { job } = await jobOf(NOTE)
    expect(job.seal?.('api.acme.example', URL_TEXT)).toMatch(/^deputy_seal=/)
    expect(job.seal?.('up.acme.example', URL_TEXT)).toMatch(/^deputy_seal=/)
    expect(job.seal?.('evil.example', URL_TEXT)).toBeNull()
  })

  test('and for the host of the person’s own, which no definition lists', async () => {
    const open: Provider = {
      ...provider,
      hosts: new Map(),
      hostFromToken: { pointer: '/host', suffixes: ['.own.example'] },
    }
    const own = { ...connection, provider: open }
    const { job } = await jobOf('/alice.own.example/notes/1', {}, () => ({
      snapshot: () => ({
        routes: buildRoutes([own]),
        classify: createClassify([open]),
        served: () => false,
      }),
    }))
    expect(job.seal?.('alice.own.example', URL_TEXT)).toMatch(/^deputy_seal=/)
    expect(job.seal?.('bob.own.example', URL_TEXT)).toBeNull()
  })

  test.each<[string, string, Asked]>([
    ['the target', `${NOTE}?q=T0KEN-of-acme`, {}],
    ['a header', NOTE, { headers: { 'x-note': 'T0KEN-of-acme' } }],
    ['the body', NOTES, json({ title: 'T0KEN-of-acme' })],
  ])('what the agent said in %s is not the provider’s word', async (_name, path, init) => {
    const { job } = await jobOf(path, init)
    expect(job.seal?.('api.acme.example', URL_TEXT)).toBeNull()
    expect(job.seal?.('api.acme.example', '/notes/2?token=another-of-theirs')).not.toBeNull()
  })

  test('what an upload said is not known, so nothing is sealed', async () => {
    const upload = { method: 'POST', headers: { 'content-type': 'image/png' }, body: 'x' }
    const { job } = await jobOf('/api.acme.example/blobs', upload)
    expect(job.seal).toBeNull()
    expect(job.signed?.pointers).toEqual(['/up'])
  })

  test('a token that the provider refuses is asked for again for this agent', async () => {
    const seen: unknown[] = []
    const { job } = await jobOf(NOTES, {}, () => ({
      credentials: {
        take: () => injected,
        again: (...asked) => {
          seen.push(asked)
          return Promise.resolve(null)
        },
      },
    }))
    expect(await job.again(injected, 'status')).toBeNull()
    expect(seen).toEqual([[injected, connection, 'status', 'default\ntriage']])
  })
})

describe('a call that is ended from outside', () => {
  const never = () => new Promise<never>(() => undefined)
  const ending = (deps: PepDeps): number =>
    deps.calls.abort(
      { person: alice.person, agent: 'triage', connection: 'work' },
      new Problem('unauthenticated', 'the run was revoked'),
    )
  test.each<[string, readonly Said[], Asked, Partial<PepDeps>]>([
    ['facts', [{ effect: 'allow' }], {}, { entitlements: never }],
    ['a decision', [{ effect: 'allow' }], {}, { decide: never }],
    ['its person', [CONSENT], { headers: { prefer: 'wait=9' } }, { ended: never }],
    [
      'its token',
      [{ effect: 'allow' }],
      {},
      { credentials: { take: never, again: () => Promise.resolve(null) } },
    ],
  ])('while it waits for %s', async (_name, say, init, more) => {
    const { ask, deps, jobs } = await house(say, () => more)
    const answer = ask(NOTES, init)
    await expect.poll(() => deps.calls.size()).toBe(1)
    expect(ending(deps)).toBe(1)
    expect(await answer).toBe('401 unauthenticated')
    expect(jobs).toEqual([])
    expect(deps.calls.size()).toBe(0)
  })
  test('while its body comes', async () => {
    const { origin, deps, diary } = await house()
    const head = ['Host: a', 'Content-Type: application/json', 'Content-Length: 500']
    const answer = sendRaw(origin, `${lines(`POST ${NOTES} HTTP/1.1`, ...head)}{`)
    await expect.poll(() => deps.calls.size()).toBe(1)
    expect(ending(deps)).toBe(1)
    expect((await answer).json['code']).toBe('unauthenticated')
    expect(diary).toEqual(['identify', 'rate'])
  })
  test('by the end of its grant: the answer has the link by which its person can give it again', async () => {
    const { problem, deps, diary } = await house(undefined, () => ({ entitlements: never }))
    const answer = problem(NOTES)
    await expect.poll(() => deps.calls.size()).toBe(1)
    deps.calls.abort({ connection: 'work' }, new Problem('reauthorization_required', 'revoked'))
    expect(await answer).toMatchObject({ status: 403, url: 'http://localhost:1/c/1' })
    expect(diary).toEqual(['identify', 'rate', 'look', 'link work  notes.list'])
  })
  test('while the provider works: the signal says why', async () => {
    const { ask, deps } = await house(undefined, () => ({
      forward: ({ signal }) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Problem)),
        ),
    }))
    const answer = ask(NOTES)
    await expect.poll(() => deps.calls.size()).toBe(1)
    // It may still be on its way to the provider: it ends there too.
    ending(deps)
    expect(await answer).toBe('401 unauthenticated')
  })
})

test('a caller of a listener of its own is the one that the listener names', async () => {
  const seen: (string | null)[] = []
  const { deps } = await house(undefined, () => ({
    identify: (_headers, named) => {
      seen.push(named)
      return { who: alice, place: 'elsewhere' }
    },
  }))
  const pep = createPep(deps)
  const server = createServer(
    (req: IncomingMessage, res) =>
      void pep(req, res, 'call-2', { upstream: 'api.acme.example', user: 'bob' }),
  )
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/notes`)
  expect(await answer.json()).toEqual({ code: 'sent' })
  expect(seen).toEqual(['bob'])
})

describe('a call that is only planned', () => {
  test('ends with what was decided: nothing is recorded, begun or sent', async () => {
    for (const effect of ['allow', 'consent_required'] as const) {
      const plans: string[] = []
      const { deps, diary, decided, jobs } = await house([{ effect }])
      const pep = createPep({
        ...deps,
        planned: ({ decision, act, who, route }) =>
          plans.push(
            `${decision.effect} ${act.operation.id} ${who.person.id} ${route.connection.name}`,
          ) > 0,
      })
      const server = createServer((req, res) => {
        void pep(req, res, 'call-3', null).finally(() => res.destroy())
      })
      servers.push(server)
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as AddressInfo
      const answer = fetch(`http://127.0.0.1:${port}${NOTES}`, { headers: { prefer: 'wait=9' } })
      await expect(answer).rejects.toThrow()
      expect(plans).toEqual([`${effect} notes.list alice work`])
      expect([decided, jobs]).toEqual([[], []])
      expect(diary.at(-1)).toBe('decide notes.list')
    }
  })
})

describe('a limit that has no room yet', () => {
  test('may hold the call where it asks to wait, as long as it has time for', async () => {
    const waits: number[] = []
    const said: boolean[] = []
    let asking = 9_000
    const { ask } = await house(undefined, (at) => ({
      hold: {
        ...createHold({
          calls: 9,
          bytes: 999,
          share: 1,
          max: 60_000,
          unasked: 10_000,
          away: 0,
          now: () => at.ms,
        }),
        wait: async (_res, _body, { ms }) => {
          waits.push(ms)
          return true
        },
      },
      obligations: {
        carry: async (each) => {
          for (const [{ backOff }] of each) said.push(await backOff(asking))
          return []
        },
      },
    }))
    const patient = { headers: { prefer: 'wait=9' } }
    await ask(NOTES, patient)
    asking = 9_001
    await ask(NOTES, patient)
    asking = 10
    await ask(NOTES)
    expect(said).toEqual([true, false, false])
    expect(waits).toEqual([9_000])
  })
})

describe('a session with an MCP server', () => {
  const MCP = '/api.acme.example/mcp'
  const parsed = parseProvider(
    {
      id: 'acme',
      kind: 'mcp',
      url: 'https://api.acme.example/mcp',
      tools: [{ name: 't', access: 'read' }],
    },
    'acme.yaml',
  )
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  const snapshot = (): ReturnType<PepDeps['snapshot']> => ({
    routes: buildRoutes([{ ...connection, provider: parsed.provider }]),
    classify: createClassify([parsed.provider]),
    served: () => false,
  })
  const calling = (session: string, more: object = {}): Asked =>
    json(
      { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 't', ...more } },
      { 'mcp-session-id': session },
    )
  const bound = {
    person: alice.person,
    agent: alice.agent,
    connection: 'work',
    host: 'api.acme.example',
  }
  test('is of the person and agent that opened it; the server hears its own name for it', async () => {
    const { ask, deps, jobs, refused } = await house(undefined, () => ({ snapshot }))
    const session = { id: 's1', url: false }
    expect(await ask(MCP, calling(deps.mcpSessions.seal(bound, session)))).toBe('200 sent')
    const kept = jobs[0]?.sifted.kept ?? []
    expect(kept[kept.indexOf('mcp-session-id') + 1]).toBe('s1')
    const strange = [{ agent: 'other' }, { connection: 'home' }].map((other) =>
      deps.mcpSessions.seal({ ...bound, ...other }, session),
    )
    for (const sealed of [...strange, 's1']) await ask(MCP, calling(sealed))
    expect(refused).toEqual(Array.from({ length: 3 }, () => 'mcp_session_unknown'))
    expect(jobs).toHaveLength(1)
  })
  test('is none where no MCP server is called', async () => {
    const { ask } = await house()
    expect(await ask(NOTES, { headers: { 'mcp-session-id': 's1' } })).toBe('200 sent')
  })
  test('a client that showed its person the link waits for them, without asking to', async () => {
    const { ask, diary } = await house([CONSENT, { effect: 'allow' }], () => ({ snapshot }))
    const params = { name: 't', inputResponses: { deputy: { action: 'accept' } } }
    const answered = json({ jsonrpc: '2.0', id: 1, method: 'tools/call', params })
    expect(await ask(MCP, answered)).toBe('200 sent')
    expect(diary).toContain('wait auth-1 45000')
    const quiet = await house([CONSENT], () => ({ snapshot }))
    await quiet.ask(
      MCP,
      json({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 't' } }),
    )
    expect(quiet.diary.join()).not.toContain('wait')
  })
})

describe('a list of an MCP server', () => {
  const parsed = parseProvider(
    {
      id: 'acme',
      kind: 'mcp',
      url: 'https://api.acme.example/mcp',
      tools: Array.from({ length: 100 }, (_, i) => ({ name: `t${i}`, access: 'read' })),
    },
    'acme.yaml',
  )
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  const speaking: Connection = { ...connection, provider: parsed.provider }
  test('asks no service, holds up nobody, and leaves on no old decision', async () => {
    let turns = 0
    let listings = 0
    const turn = (): void => void (turns++, (ticking = setImmediate(turn)))
    let ticking = setImmediate(turn)
    let [began, last] = [0, 0]
    const { ask, jobs, decided } = await house([{ effect: 'allow' }], (at) => ({
      snapshot: () => ({
        routes: buildRoutes([speaking]),
        classify: createClassify([parsed.provider]),
        served: () => false,
      }),
      supposing: (_engine, { act, listing }) => {
        if (listing === true && listings++ === 0) began = turns
        last = turns
        at.ms += 20
        const effect = act.operation.id === 'tools.t7' ? 'allow' : 'deny'
        const said = { reasons: [], requiredScopes: [], obligations: {}, grants: [] }
        return { id: 'd', effect, ...said, revision: 'r', digest: 'sha256:r', decidedAt: at.ms }
      },
    }))
    const list = json({ jsonrpc: '2.0', id: 1, method: 'tools/list' })
    expect(await ask('/api.acme.example/mcp', list)).toBe('200 sent')
    clearImmediate(ticking)
    expect([listings, last - began >= 3]).toEqual([100, true])
    expect(['t6', 't7'].map((name) => jobs[0]?.rpc?.listed?.tools(name))).toEqual([false, true])
    expect(decided.map(({ n }) => n)).toEqual([1, 2])
  })
})

describe('what somebody approved', () => {
  const need = { type: 'approval', properties: { approvers: ['group:leads'], ttl_s: 900 } }
  const ASKING: Said = {
    ...because('approval_required', 'approval_required'),
    obligations: { lead: need },
  }
  const redact = (pointer: string): Said => ({
    effect: 'allow',
    obligations: { out: { type: 'redact', properties: { in: 'request', pointers: [pointer] } } },
  })
  const POST: Asked = { method: 'POST', ...json({ title: 'x', note: 'y' }) }
  /** @param spend whether this call is the first with the yes, try by try */
  const approving = (
    say: readonly Said[],
    { given = true, spend = [true] }: { readonly given?: boolean; readonly spend?: boolean[] },
    more: Partial<PepDeps> = {},
  ) => {
    const [spent, begun]: [string[], ApprovalAsk[]] = [[], []]
    const approvals: ApprovalDeps['approvals'] = {
      able: true,
      given: async () => (given ? { hash: 'h', of: () => [] } : null),
      begin: async (ask) => {
        begun.push(ask)
        return { authorizationId: 'ap_1', url: 'http://localhost:1/approve/1', expiresAt: 1 }
      },
      spend: async (_hash, exchange) => {
        spent.push(exchange)
        return spend.shift() ?? true
      },
    }
    const obligations = createObligations(new Map([['redact', redactCarrier]]))
    const made = house(say, () => ({ approvals, obligations, ...more }))
    return { made, spent, begun }
  }

  test('waits for its yes, or for its person’s sign-in, where it asks to; a call that policy denies waits for nobody', async () => {
    const patient = { ...POST, headers: { ...POST.headers, prefer: 'wait=9' } }
    const { made, begun } = approving([ASKING, { effect: 'allow' }], { given: false })
    const waiting = await made
    expect(await waiting.ask(NOTES, patient)).toBe('200 sent')
    expect(waiting.diary).toContain('wait ap_1 9000')
    expect(begun).toHaveLength(1)

    const gold = { type: 'step-up', properties: { acr_values: ['gold'], max_auth_age_s: 60 } }
    const signIns: string[] = []
    const stepUps: ApprovalDeps['stepUps'] = {
      able: true,
      met: async () => null,
      begin: async ({ agent }) => {
        signIns.push(agent)
        return { authorizationId: 'su_1', url: 'http://localhost:1/step-up/1', expiresAt: 1 }
      },
    }
    for (const [effect, end, waits] of [
      ['step_up_required', '200 sent', ['wait su_1 9000']],
      ['deny', '403 policy_denied', []],
    ] as const) {
      const said = { ...because(effect, effect), obligations: { gold } }
      const { ask, diary } = await house([said, { effect: 'allow' }], () => ({ stepUps }))
      expect(await ask(NOTES, patient)).toBe(end)
      expect(diary.filter((line) => line.startsWith('wait'))).toEqual(waits)
    }
    expect(signIns).toEqual(['triage'])
  })
  test('leaves as it was shown: where members may not leave it is refused, and its yes is not spent', async () => {
    const { made, spent } = approving([ASKING, redact('/note')], {})
    const { ask, jobs } = await made
    expect(await ask('/api.acme.example/notes', POST)).toBe('403 obligation_refused')
    expect([jobs, spent]).toEqual([[], []])
  })
  test('leaves where there is nothing to take out', async () => {
    const { made, spent } = approving([ASKING, redact('/other')], {})
    const { ask } = await made
    expect(await ask('/api.acme.example/notes', POST)).toBe('200 sent')
    expect(spent).toEqual(['call-1'])
  })
  test('has nothing taken out where nobody looked at what it says', async () => {
    const { made } = approving([ASKING, redact('/other')], {})
    const { problem } = await made
    const upload = { method: 'POST', headers: { 'content-type': 'image/png' }, body: '{"a":1}' }
    expect(await problem('/api.acme.example/blobs', upload)).toMatchObject({
      code: 'obligation_refused',
      detail: expect.stringContaining('unread') as string,
    })
  })
  test('is not spent by a call whose answer a hook could not be shown', async () => {
    const hooks: Hooks = {
      before: async () => [],
      after: () => {
        throw new Problem('obligation_refused', 'not this batch')
      },
    }
    const { made, spent } = approving([ASKING, { effect: 'allow' }], {}, { hooks: () => hooks })
    const { ask } = await made
    expect(await ask('/api.acme.example/notes', POST)).toBe('403 obligation_refused')
    expect(spent).toEqual([])
  })
  test('is shown with the mail that policy read', async () => {
    const mail = mailPlaces.parse({ raw: ['/raw'] })
    const send = row('POST', '/send', 'mail.send', { mail })
    const mailing = { ...provider, operations: [send] }
    const { made, begun } = approving(
      [ASKING],
      { given: false },
      {
        snapshot: () => ({
          routes: buildRoutes([{ ...connection, provider: mailing }]),
          classify: createClassify([mailing]),
          served: () => false,
        }),
      },
    )
    const { ask } = await made
    const message = Buffer.from('To: b@b.example\r\n\r\nhello\r\n')
    const raw = message.toString('base64')
    const body = {
      raw,
      message: { raw: Buffer.from('To: decoy@b.example\n\n').toString('base64') },
    }
    expect(await ask('/api.acme.example/send', { method: 'POST', ...json(body) })).toBe(
      '403 approval_required',
    )
    expect(begun[0]?.shown).toMatchObject({
      mails: [{ part: null, mail: { to: ['b@b.example'] }, message: raw }],
    })
  })
  test('is of the account that it would be done with: with another it is another call', async () => {
    const holdings = [held, held, { ...held, account: 'alice-other' }]
    const { made, begun } = approving(
      [ASKING],
      { given: false },
      {
        vault: { look: () => holdings.shift() ?? held },
      },
    )
    const { ask } = await made
    for (let times = 0; times < 3; times++) await ask('/api.acme.example/notes', POST)
    const [first, same, other] = begun.map(({ digest }) => digest)
    expect(same).toBe(first)
    expect(other).not.toBe(first)
  })
  test('is judged anew by hooks where its person took time, and once where it is only decided anew', async () => {
    const judging = (): { readonly hooks: Hooks; readonly asked: () => number } => {
      let asked = 0
      const before = async () => {
        asked += 1
        return []
      }
      return { hooks: { before, after: () => undefined }, asked: () => asked }
    }
    const first = judging()
    const again = approving(
      [ASKING, { effect: 'allow' }],
      { spend: [false, true] },
      {
        hooks: () => first.hooks,
      },
    )
    expect(await (await again.made).ask('/api.acme.example/notes', POST)).toBe('200 sent')
    expect(first.asked()).toBe(1)

    const second = judging()
    const say = [ASKING, { effect: 'allow' }, CONSENT, ASKING, { effect: 'allow' }] as const
    const waited = approving(say, { spend: [false, true] }, { hooks: () => second.hooks })
    const asking = { ...POST, headers: { ...POST.headers, prefer: 'wait=9' } }
    expect(await (await waited.made).ask('/api.acme.example/notes', asking)).toBe('200 sent')
    expect(second.asked()).toBe(2)

    const [old, now] = [judging(), judging()]
    let times = 0
    const reloaded = approving(
      [ASKING, { effect: 'allow' }],
      { spend: [false, true] },
      {
        hooks: () => (times++ === 0 ? old.hooks : now.hooks),
      },
    )
    expect(await (await reloaded.made).ask('/api.acme.example/notes', POST)).toBe('200 sent')
    expect([old.asked(), now.asked()]).toEqual([1, 1])
  })
})
