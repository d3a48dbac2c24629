// Whose token goes on a call, and what a 401 does to it.
import { describe, expect, test } from 'vitest'
import type { Connection, Holding, Injected, StoredCredential } from '../../proxy/model.ts'
import { Problem } from '../../proxy/problem.ts'
import { secret } from '../../proxy/secret.ts'
import { createCredentials, lapsed, lookAgain } from '../../proxy/pipeline/credential.ts'

const ALICE = { tenant: 'default', realm: 'local', id: 'alice' }
const doubtful = (retryAt: number | null): Holding => ({
  kind: 'held',
  credential: 'c1',
  account: 'alice',
  generation: 4,
  status: retryAt === null ? 'active' : 'needs_reauth',
  ...(retryAt === null ? {} : { retryAt }),
  scopes: ['notes'],
  granted: ['notes'],
})
const look = (
  holdings: (Holding | Promise<Holding>)[],
  refused: Error | null = null,
  name = 'acme',
) => {
  const asked: unknown[] = []
  const again = lookAgain({
    look: () => holdings.shift() ?? { kind: 'none' },
    fresh: async (credential, _connection, want) => {
      asked.push([credential, want])
      if (refused !== null) throw refused
      throw new Problem('credential_unavailable', 'the answer is not read here')
    },
    connections: () => new Map([['acme', {} as Connection]]),
    now: () => 1_000,
  })
  return { asked, holding: () => again(ALICE, name, 'laptop') }
}

test('whose time has come is refreshed once more, and what the vault holds then counts', async () => {
  const { asked, holding } = look([doubtful(1_000), doubtful(null)])
  expect(await holding()).toMatchObject({ status: 'active' })
  expect(asked).toEqual([['c1', { minGeneration: 5, agent: 'laptop' }]])
})
test.each([
  ['before its time', doubtful(1_001)],
  ['that is active', doubtful(null)],
  ['of nothing', { kind: 'none' } as const],
])('a look %s asks nobody', async (_name, found) => {
  const { asked, holding } = look([found])
  expect(await holding()).toBe(found)
  expect(asked).toEqual([])
})
test('what the vault has to read first is looked at alike', async () => {
  const due = look([Promise.resolve(doubtful(1_000)), doubtful(null)])
  expect(await due.holding()).toMatchObject({ status: 'active' })
  expect(due.asked).toHaveLength(1)
  const early = look([Promise.resolve(doubtful(1_001))])
  expect(await early.holding()).toMatchObject({ retryAt: 1_001 })
  expect(early.asked).toEqual([])
})
test('nobody is asked for a connection that is configured no more', async () => {
  const { asked, holding } = look([doubtful(0)], null, 'gone')
  expect(await holding()).toMatchObject({ retryAt: 0 })
  expect(asked).toEqual([])
})
test('what is no problem document is a fault of ours, and is not swallowed', async () => {
  const { holding } = look([doubtful(0), doubtful(0)], new TypeError('bug'))
  await expect(holding()).rejects.toThrow('bug')
})

const ACME = { name: 'acme', provider: { id: 'acme', name: 'Acme' } } as Connection
const stored = (more: Partial<StoredCredential> = {}): StoredCredential => ({
  id: 'c1',
  person: ALICE,
  connection: 'acme',
  account: 'alice',
  status: 'active',
  generation: 4,
  scopes: ['notes'],
  access: secret('at-0123456789'),
  refresh: secret('rt-0123456789'),
  expiresAt: null,
  storedAt: 0,
  ...more,
})
type Deps = Parameters<typeof createCredentials>[0]
type Given = {
  readonly open?: StoredCredential | null
  readonly fresh?: () => ReturnType<Deps['fresh']>
  readonly alive?: 'alive' | 'dead' | 'unknown'
  readonly atHand?: StoredCredential | null
  readonly now?: number
}
const house = (given: Given) => {
  const told: string[] = []
  const did: unknown[] = []
  const credentials = createCredentials({
    vault: {
      open: () => Promise.resolve(given.open === undefined ? stored() : given.open),
      doubt: (...what: readonly unknown[]) => Promise.resolve(void did.push(['doubt', ...what])),
    } as unknown as Deps['vault'],
    fresh: (id, _connection, want) => {
      did.push(['fresh', id, want])
      return given.fresh?.() ?? Promise.resolve({ credential: stored(), refreshed: false })
    },
    alive: () => {
      did.push(['alive'])
      return Promise.resolve(given.alive ?? 'alive')
    },
    atHand: () => given.atHand ?? null,
    now: () => given.now ?? 1_000_000,
    outcome: (provider, outcome) => void told.push(`${provider} ${outcome}`),
  })
  return { credentials, told, did }
}
const failing = (error: Error) => async (): Promise<never> => {
  throw error
}

describe('a token for a call', () => {
  test.each<[string, Holding]>([
    ['nothing is held', { kind: 'none' }],
    ['this agent was not allowed', { ...doubtful(null), granted: null } as Holding],
  ])('is none where %s, whatever policy says', (_what, holding) => {
    const { credentials, did } = house({})
    expect(() => credentials.take(holding, ACME, 'h', 'laptop')).toThrow(
      expect.objectContaining({ code: 'consent_required' }) as Error,
    )
    expect(did).toEqual([])
  })
  test('is the one at hand, at once; else a fresh one', async () => {
    const near = house({ atHand: stored({ generation: 9 }) })
    const taken = near.credentials.take(doubtful(null), ACME, 'h', 'laptop')
    expect(taken).toMatchObject({ credential: 'c1', generation: 9, refreshed: false, host: null })
    expect([near.did, near.told]).toEqual([[], ['acme cached']])
    const far = house({})
    expect(await far.credentials.take(doubtful(null), ACME, 'h', 'laptop')).toMatchObject({
      generation: 4,
      account: 'alice',
      scopes: ['notes'],
      refreshed: false,
    })
    expect(far.did).toEqual([['fresh', 'c1', { agent: 'laptop' }]])
    expect(far.told).toEqual(['acme cached'])
    const fresh = house({
      fresh: () => Promise.resolve({ credential: stored({ generation: 5 }), refreshed: true }),
    })
    expect(await fresh.credentials.take(doubtful(null), ACME, 'h', 'laptop')).toMatchObject({
      generation: 5,
      refreshed: true,
    })
    expect(fresh.told).toEqual(['acme refreshed'])
  })
  test.each([
    [new Problem('reauthorization_required', 'gone'), 'acme reconnect'],
    [new Problem('credential_unavailable', 'away'), 'acme error'],
    [Object.assign(new Error('bug'), { code: 'reauthorization_required' }), 'acme error'],
  ])('that cannot be had is counted, and the reason passed on', async (error, outcome) => {
    const { credentials, told } = house({ fresh: failing(error) })
    await expect(credentials.take(doubtful(null), ACME, 'h', 'laptop')).rejects.toBe(error)
    expect(told).toEqual([outcome])
  })
  test('goes to its own host where each person has one, and the refusal says which', () => {
    const provider = { ...ACME.provider, hostFromToken: { suffixes: ['.acme.test'] } }
    const own = { ...ACME, provider } as unknown as Connection
    const take = (host: string | null, connection = own) =>
      house({ atHand: stored({ host }) }).credentials.take(
        doubtful(null),
        connection,
        'b',
        'laptop',
      )
    expect(take('b')).toMatchObject({ host: 'b' })
    expect(take('a', ACME)).toMatchObject({ host: 'a' })
    expect(() => take('a')).toThrow('the connected Acme account is not served at b but at a')
    expect(() => take(null)).toThrow(/is not served at b$/)
  })
})

describe('after a 401', () => {
  const used: Injected = {
    token: secret('at-0123456789'),
    credential: 'c1',
    generation: 4,
    account: 'alice',
    scopes: ['notes'],
    refreshed: false,
  }
  const again = (given: Given, said: 'status' | 'body' = 'status', host?: string) => {
    const one = house(given)
    const end = one.credentials
      .again(host === undefined ? used : { ...used, host }, ACME, said, 'laptop')
      .then(
        (next) => next?.generation ?? null,
        (error: unknown) => {
          if (error instanceof Problem) return [error.code, error.extra['retry_after']]
          throw error
        },
      )
    return { ...one, end }
  }
  const newer = () => Promise.resolve({ credential: stored({ generation: 5 }), refreshed: true })

  test.each<[string, Given, number | null, unknown[]]>([
    ['nothing is stored any more', { open: null }, null, []],
    ['the grant has ended', { open: stored({ status: 'needs_reauth', generation: 5 }) }, null, []],
    ['it is another host’s by now', { open: stored({ host: 'x', generation: 5 }) }, null, []],
    ['a newer one is stored', { open: stored({ generation: 5 }) }, 5, []],
    [
      'it is refreshed',
      { fresh: newer },
      5,
      [['fresh', 'c1', { minGeneration: 5, agent: 'laptop' }]],
    ],
  ])('%s', async (_what, given, end, asked) => {
    const one = again(given)
    expect(await one.end).toBe(end)
    expect(one.did).toEqual(asked)
  })
  test('one of the same host counts', async () => {
    const open = stored({ host: 'x', generation: 5 })
    expect(await again({ open }, 'status', 'x').end).toBe(5)
  })
  test.each<[string, Partial<StoredCredential>, number, number | null]>([
    ['half a minute old is refreshed', { storedAt: 0 }, 30_000, 5],
    ['younger one is not', { storedAt: 0 }, 29_999, null],
    ['short-lived one is, after half its life', { storedAt: 0, expiresAt: 20_000 }, 10_000, 5],
    ['and not before', { storedAt: 0, expiresAt: 20_000 }, 9_999, null],
  ])('a %s', async (_what, more, now, end) => {
    expect(await again({ open: stored(more), now, fresh: newer }).end).toBe(end)
  })
  test.each<['alive' | 'dead' | 'unknown', 'status' | 'body', boolean]>([
    ['alive', 'status', false],
    ['alive', 'body', false],
    ['unknown', 'status', false],
    ['unknown', 'body', true],
    ['dead', 'status', true],
    ['dead', 'body', true],
  ])(
    'one that cannot be refreshed and is %s, said by the %s: ended %s',
    async (alive, said, ended) => {
      // Also one that was stored just now.
      for (const now of [0, 1_000_000]) {
        const one = again({ open: stored({ refresh: null }), alive, now }, said)
        expect(await one.end).toEqual(ended ? ['reauthorization_required', undefined] : null)
        expect(one.did).toEqual([
          ['alive'],
          ...(ended ? [['doubt', 'c1', 4, 'needs_reauth', 'token_withdrawn']] : []),
        ])
        expect(one.told).toEqual(ended ? ['acme reconnect'] : [])
      }
    },
  )
  test('a refresh that fails leaves the provider’s own 401, unless it says more', async () => {
    const fail = (error: Error) => again({ fresh: failing(error) }).end
    const extra = { retry_after: 7 }
    expect(await fail(new Problem('credential_unavailable', 'away'))).toBeNull()
    expect(await fail(new Problem('credential_unavailable', 'away', { extra }))).toEqual([
      'refresh_in_progress',
      7,
    ])
    expect(await fail(new Problem('reauthorization_required', 'gone', { extra }))).toEqual([
      'reauthorization_required',
      7,
    ])
    expect(await fail(new Problem('reauthorization_required', 'gone'))).toEqual([
      'reauthorization_required',
      undefined,
    ])
    await expect(fail(new TypeError('bug'))).rejects.toThrow('bug')
  })
})

test('a grant ended where one was held, and its provider or its token said so', () => {
  const lost: Holding = doubtful(0)
  expect([{ kind: 'none' } as const, doubtful(null), lost].map(lapsed)).toEqual([
    false,
    false,
    true,
  ])
})
