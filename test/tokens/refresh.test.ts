import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Connection, Person, Provider, Store, Vault } from '../../proxy/model.ts'
import type { TokenAnswer } from '../../proxy/oauth/token_answer.ts'
import { createOAuthClient } from '../../proxy/oauth/client.ts'
import type { OAuthClient } from '../../proxy/oauth/client.ts'
import { createRefresher } from '../../proxy/tokens/refresh.ts'
import type { Refresher } from '../../proxy/tokens/refresh.ts'
import { createRevoker } from '../../proxy/tokens/revoke.ts'
import { Problem } from '../../proxy/problem.ts'
import { secret } from '../../proxy/secret.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import type { Sealer } from '../../proxy/vault/seal.ts'
import { createSpool, spooled } from '../../proxy/tokens/spool.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { startAuthServer } from '../support/authserver.ts'
import type { AuthServer } from '../support/authserver.ts'
import { connectionOf, REDIRECT } from '../oauth/fixtures.ts'

const alice: Person = { tenant: 'acme', realm: 'corp', id: 'alice' }
const HOUR = 3_600_000

let server: AuthServer
let store: Store
let sealer: Sealer
let vault: Vault
let client: OAuthClient
let connection: Connection
let refresher: Refresher
let id: string
let ahead = 0
/** What the store does at a rotation; replaced by tests. */
let beforeRotate: () => void | Promise<void> = () => {}
const logged: string[] = []
const write = (fields: object, msg: string) => void logged.push(`${msg} ${JSON.stringify(fields)}`)
const log = { debug: write, info: write, warn: write, error: write }
const clock = { now: () => Date.now() + ahead, mono: () => performance.now() + ahead }

const build = (change: Partial<Parameters<typeof createRefresher>[0]> = {}): Refresher =>
  createRefresher({ vault, client, clock, log, ...change })
const tokenRequests = () =>
  server.requests.filter(
    ({ path, form }) => path === '/token' && form['grant_type'] !== 'authorization_code',
  )
const code = (error: unknown): string => (error instanceof Problem ? error.code : String(error))
const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no failure',
    (error: unknown) => error,
  )
/** The connection of that name, at another provider by now. */
const another = (one: Connection): Connection => ({
  ...one,
  provider: { ...one.provider, id: 'stream' },
})
/** Is this access token good at the provider? */
const works = async (access: { reveal: () => string }): Promise<boolean> =>
  (
    await fetch(server.endpoints.userinfo, {
      headers: { authorization: `Bearer ${access.reveal()}` },
    })
  ).ok
const setUp = (change: Partial<Provider> = {}): void => {
  connection = connectionOf(server.endpoints, change)
}

beforeEach(async () => {
  ahead = 0
  logged.length = 0
  beforeRotate = () => {}
  server = await startAuthServer({
    accounts: { alice: {} },
    clientId: 'deputy-client_1',
    clientSecret: 'the-client-secret',
    redirectUris: [REDIRECT],
    ttl: { AccessToken: 3600 },
  })
  setUp()
  const sqlite = await openSqlite(join(mkdtempSync(join(tmpdir(), 'refresh-')), 'deputy.db'))
  store = {
    ...sqlite,
    credentials: {
      ...sqlite.credentials,
      rotate: async (...what) => {
        await beforeRotate()
        return sqlite.credentials.rotate(...what)
      },
    },
  }
  sealer = createSealer(parseKeyRing(newKeyRing(0, randomBytes)))
  vault = createVault({
    store,
    sealer,
    clock,
    randomId: randomUUID,
  })
  client = createOAuthClient({ fetch, clock, timeoutMs: 3_000 })
  const verifier = randomBytes(32).toString('base64url')
  const challenge = createHash('sha256').update(verifier).digest('base64url')
  const url = await client.authorize(connection, {
    redirectUri: REDIRECT,
    state: 's',
    challenge,
    scopes: ['openid'],
  })
  const callback = new URL(await server.consent(url, 'alice'))
  const earned = await client.exchangeCode(connection, {
    code: secret(callback.searchParams.get('code') ?? ''),
    redirectUri: REDIRECT,
    verifier: secret(verifier),
  })
  id = await vault.connect({
    person: alice,
    agent: 'triage',
    connection: 'acme',
    provider: 'acme',
    account: { id: 'alice', label: 'alice' },
    tokens: earned.tokens,
    scopes: ['openid'],
  })
  refresher = build()
})
afterEach(async () => {
  await server.close()
  await store.close()
})

describe('one refresh', () => {
  test('serves fifty callers of an expired token with one request, and the grant lives on', async () => {
    ahead = 2 * HOUR
    const all = await Promise.all(Array.from({ length: 50 }, () => refresher.fresh(id, connection)))
    expect(tokenRequests()).toHaveLength(1)
    expect(new Set(all.map(({ credential }) => credential.access.reveal())).size).toBe(1)
    expect(all.every(({ credential, refreshed }) => refreshed && credential.generation === 2)).toBe(
      true,
    )
    // The rotated refresh token was stored: the next round uses it, which the server would punish otherwise.
    ahead = 4 * HOUR
    const next = await refresher.fresh(id, connection)
    expect(next.credential.generation).toBe(3)
    expect(await works(next.credential.access)).toBe(true)
    const sent = tokenRequests().map(({ form }) => form['refresh_token'])
    expect(new Set(sent).size).toBe(2)
  })

  test('of another process is waited for, and its token used', async () => {
    ahead = 2 * HOUR
    const slow = new Promise<void>((resolve) => setTimeout(resolve, 400))
    server.before = ({ path }) => (path === '/token' ? slow : undefined)
    const other = createVault({ store, sealer, clock, randomId: randomUUID })
    await other.open(id)
    const [first, second] = await Promise.all([
      refresher.fresh(id, connection),
      build({ vault: other }).fresh(id, connection),
    ])
    expect(tokenRequests()).toHaveLength(1)
    expect(second.credential.access.reveal()).toBe(first.credential.access.reveal())
    expect(first.refreshed).not.toBe(second.refreshed)
  })

  test('does not begin while the token is good', async () => {
    const { credential, refreshed } = await refresher.fresh(id, connection)
    expect([credential.generation, refreshed, tokenRequests().length]).toEqual([1, false, 0])
  })

  test('of a life of six seconds the last one is not used, and the one before begins a refresh', async () => {
    await vault.connect({
      person: alice,
      agent: 'triage',
      connection: 'acme',
      provider: 'acme',
      account: { id: 'alice', label: 'alice' },
      tokens: { access: secret('a'), refresh: secret('r'), scopes: [], expiresIn: 6 },
      scopes: ['openid'],
    })
    const tokens = { access: secret('b'), refresh: secret('s'), scopes: null, expiresIn: 6 }
    let asked = 0
    const refresh = async () => {
      asked += 1
      return { kind: 'tokens', tokens, account: null } as const
    }
    const short = build({ client: { ...client, refresh } })
    const at = async (ms: number): Promise<boolean> => {
      ahead = ms
      return (await short.fresh(id, connection)).refreshed
    }
    expect([await at(3_000), asked]).toEqual([false, 0])
    expect([await at(5_200), asked]).toEqual([true, 1])
    expect(await at(9_700)).toBe(false)
    await expect.poll(() => asked).toBe(2)
  })

  test('begins early and nobody waits for it', async () => {
    ahead = HOUR - 60_000
    let go = () => {}
    server.before = ({ path }) =>
      path === '/token' ? new Promise((resolve) => (go = resolve)) : undefined
    const early = await refresher.fresh(id, connection)
    expect([early.credential.generation, early.refreshed]).toEqual([1, false])
    await expect.poll(tokenRequests).toHaveLength(1)
    go()
    await refresher.drain()
    expect((await refresher.fresh(id, connection)).credential.generation).toBe(2)
  })

  // 300 s before the end at the earliest, 240 s at the latest, as chance has it for each.
  test.for<[number, readonly boolean[]]>([
    [0.999, [false, true, true, true]],
    [0, [false, false, false, true]],
  ])('begins early at a moment of its own: chance is %d', async ([random, expected]) => {
    let began = 0
    const refresh: OAuthClient['refresh'] = async () => {
      began += 1
      return { kind: 'transient', error: 'x', description: null, retryAfterMs: null }
    }
    const one = build({ random: () => random, client: { ...client, refresh } })
    const seen: boolean[] = []
    for (const left of [310, 290, 250, 235]) {
      ahead = HOUR - left * 1_000
      await one.fresh(id, connection)
      await one.drain()
      seen.push(began > 0)
    }
    expect(seen).toEqual(expected)
  })

  test('is begun by a 401, once, and not again by a caller that used the older token', async () => {
    const first = await refresher.fresh(id, connection, { minGeneration: 2 })
    expect(first).toMatchObject({ refreshed: true, credential: { generation: 2 } })
    const second = await refresher.fresh(id, connection, { minGeneration: 2 })
    expect(second).toMatchObject({ refreshed: false, credential: { generation: 2 } })
    expect(tokenRequests()).toHaveLength(1)
  })

  test('that takes too long makes its callers come back, and is not begun twice', async () => {
    ahead = 2 * HOUR
    const timed = build({
      sleep: (ms, signal) =>
        signal === undefined
          ? Promise.resolve()
          : new Promise((resolve) => setTimeout(resolve, ms / 40)),
    })
    const { promise: held, resolve: release } = Promise.withResolvers<void>()
    server.before = ({ path }) => (path === '/token' ? held : undefined)
    expect(await failure(timed.fresh(id, connection))).toMatchObject({
      code: 'refresh_in_progress',
      extra: { retry_after: 1 },
    })
    release()
    await expect.poll(async () => (await vault.open(id))?.generation).toBe(2)
    expect((await timed.fresh(id, connection)).credential.generation).toBe(2)
    expect(tokenRequests()).toHaveLength(1)
  })

  test('runs at most four times at once for one provider', async () => {
    ahead = 2 * HOUR
    let active = 0
    let most = 0
    const full = Promise.withResolvers<void>()
    const busy: Pick<OAuthClient, 'refresh' | 'revoke'> = {
      ...client,
      refresh: async () => {
        most = Math.max(most, (active += 1))
        if (active >= 4) full.resolve()
        await full.promise
        // A fifth would come meanwhile.
        await new Promise((resolve) => setTimeout(resolve, 20))
        active -= 1
        return {
          kind: 'tokens',
          tokens: { access: secret('a'), refresh: null, scopes: null, expiresIn: 60 },
          account: null,
        }
      },
    }
    const ids = await Promise.all(
      Array.from({ length: 12 }, (_, n) =>
        vault.connect({
          person: { ...alice, id: `p${n}` },
          agent: 'triage',
          connection: 'acme',
          provider: 'acme',
          account: { id: `${n}`, label: 'x' },
          tokens: { access: secret('a'), refresh: secret('r'), scopes: [], expiresIn: 1 },
          scopes: [],
        }),
      ),
    )
    ahead = 3 * HOUR
    const many = build({ client: busy })
    await Promise.all(ids.map((each) => many.fresh(each, connection)))
    expect(most).toBe(4)
  })
})

describe('a lost token', () => {
  test('is none: a store that fails after the provider rotated costs nothing', async () => {
    ahead = 2 * HOUR
    let failures = 2
    beforeRotate = () => {
      if ((failures -= 1) >= 0) throw new Error('disk full')
    }
    const served = await refresher.fresh(id, connection)
    expect(await works(served.credential.access)).toBe(true)
    expect((await refresher.fresh(id, connection)).credential.access.reveal()).toBe(
      served.credential.access.reveal(),
    )
    await refresher.drain()
    expect((await vault.open(id, { fresh: true }))?.access.reveal()).toBe(
      served.credential.access.reveal(),
    )
    ahead = 4 * HOUR
    expect(await works((await build().fresh(id, connection)).credential.access)).toBe(true)
    expect(logged.join()).not.toContain(served.credential.access.reveal())
  })

  test('is named when the process must end before the store works again', async () => {
    ahead = 2 * HOUR
    beforeRotate = () => {
      throw new Error('disk full')
    }
    await refresher.fresh(id, connection)
    await expect(refresher.drain(300)).rejects.toThrow('1 refreshed tokens could not be stored')
    beforeRotate = () => {}
    await refresher.drain()
  })

  test('is stored under a new lease when the old one was taken over meanwhile', async () => {
    ahead = 2 * HOUR
    beforeRotate = async () => {
      beforeRotate = () => {}
      ahead += 61_000
      const taken = await vault.lease(id, 1, 1_000)
      if (taken.kind !== 'leased') throw new Error(taken.kind)
      await vault.release(id, taken.lease, { kind: 'unknown', error: 'x', coolDownMs: 0 })
    }
    const { credential } = await refresher.fresh(id, connection)
    expect((await vault.open(id, { fresh: true }))?.access.reveal()).toBe(
      credential.access.reveal(),
    )
  })

  test('is asked for once more when the answer was lost, and then the person must consent', async () => {
    ahead = 2 * HOUR
    let lose = 1
    server.after = ({ path }) => (path === '/token' && (lose -= 1) >= 0 ? 'lose' : undefined)
    // This server ends the family at the second use, so the person must be asked; what matters is: one retry.
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
    expect(tokenRequests()).toHaveLength(2)
    expect(await vault.look(alice, 'acme', 'triage')).toMatchObject({ status: 'needs_reauth' })
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
    expect(tokenRequests()).toHaveLength(2)
  })

  test('of a request that never arrived is no loss', async () => {
    ahead = 2 * HOUR
    let cut = 1
    const flaky = createOAuthClient({
      clock,
      fetch: (...what) =>
        (cut -= 1) >= 0
          ? Promise.reject(new TypeError('fetch failed', { cause: { code: 'ECONNRESET' } }))
          : fetch(...what),
    })
    expect((await build({ client: flaky }).fresh(id, connection)).credential.generation).toBe(2)
  })

  test('after a crash is looked for once with the old refresh token', async () => {
    ahead = 2 * HOUR
    await vault.lease(id, 1, 1_000) // and the process dies before it sends
    ahead += 2_000
    const { credential } = await build().fresh(id, connection)
    expect(await works(credential.access)).toBe(true)
    expect(tokenRequests()).toHaveLength(1)
  })

  test('is kept sealed in the spool when the store fails, and stored by the next process, which asks for nothing', async () => {
    ahead = 2 * HOUR
    const folder = join(mkdtempSync(join(tmpdir(), 'spool-')), 'vault-spool')
    const before = createSpool({ folder, sealer, log })
    const after = createSpool({ folder, sealer, log })
    beforeRotate = () => {
      throw new Error('disk full')
    }
    // Waits for ever between its tries: as good as killed.
    const dead = build({ spool: before, sleep: () => new Promise(() => {}) })
    const served = await dead.fresh(id, connection)
    expect(await spooled(folder)).toEqual([`${id}.json`])
    expect(await createSpool({ folder, sealer, log }).left()).toMatchObject([
      { tokens: { clientId: connection.clientId } },
    ])

    beforeRotate = () => {}
    const next = build({ spool: after })
    await next.resume(new Map([['acme', connection]]))
    expect(await next.fresh(id, connection)).toMatchObject({
      refreshed: false,
      credential: { generation: 2 },
    })
    await next.drain()
    expect((await vault.open(id, { fresh: true }))?.access.reveal()).toBe(
      served.credential.access.reveal(),
    )
    expect(tokenRequests()).toHaveLength(1)
    expect(await spooled(folder)).toEqual([])
    ahead = 4 * HOUR
    expect(await works((await next.fresh(id, connection)).credential.access)).toBe(true)
  })

  test('that waits in the spool of a revoked account is given back to the provider', async () => {
    ahead = 2 * HOUR
    const folder = mkdtempSync(join(tmpdir(), 'spool-'))
    const spool = createSpool({ folder, sealer, log })
    beforeRotate = () => {
      throw new Error('disk full')
    }
    await build({ spool, sleep: () => new Promise(() => {}) }).fresh(id, connection)
    beforeRotate = () => {}
    await vault.revoke(id)
    const next = build({ spool })
    await next.resume(new Map([['acme', connection]]))
    await next.drain()
    expect(server.requests.filter(({ path }) => path === '/token/revocation')).toHaveLength(2)
    expect(await spooled(folder)).toEqual([])
    expect(await vault.open(id)).toBeNull()
  })

  test('that waits in the spool is shown to no other provider that took the name of its connection', async () => {
    ahead = 2 * HOUR
    const spool = createSpool({ folder: mkdtempSync(join(tmpdir(), 'spool-')), sealer, log })
    beforeRotate = () => {
      throw new Error('disk full')
    }
    await build({ spool, sleep: () => new Promise(() => {}) }).fresh(id, connection)
    beforeRotate = () => {}
    await vault.revoke(id)
    const next = build({ spool })
    await next.resume(new Map([['acme', another(connection)]]))
    await next.drain()
    expect(server.requests.filter(({ path }) => path === '/token/revocation')).toEqual([])
  })

  test('brings a grant back that another process gave up because it was refused with the older one', async () => {
    ahead = 2 * HOUR
    beforeRotate = async () => {
      // The store was away for longer than the lease, and somebody else was quicker when it came back.
      beforeRotate = () => {}
      ahead += 61_000
      const taken = await vault.lease(id, 1, 1_000)
      if (taken.kind !== 'leased') throw new Error(taken.kind)
      await vault.release(id, taken.lease, { kind: 'dead', error: 'invalid_grant', coolDownMs: 0 })
    }
    const { credential } = await refresher.fresh(id, connection)
    const stored = await vault.open(id, { fresh: true })
    expect(stored).toMatchObject({ status: 'active', generation: 2 })
    expect(stored?.access.reveal()).toBe(credential.access.reveal())
    ahead = 4 * HOUR
    expect(await works((await refresher.fresh(id, connection)).credential.access)).toBe(true)
  })

  describe('that came second, after another process had stored one', () => {
    let folder: string
    let ours: Refresher
    const kept = () => readdirSync(folder)
    beforeEach(async () => {
      ahead = 2 * HOUR
      folder = mkdtempSync(join(tmpdir(), 'spool-'))
      ours = build({ spool: createSpool({ folder, sealer, log }) })
      beforeRotate = async () => {
        beforeRotate = () => {}
        ahead += 61_000
        const taken = await vault.lease(id, 1, 1_000)
        if (taken.kind !== 'leased') throw new Error(taken.kind)
        const refresh = secret('not-a-token-of-this-server')
        const tokens = { access: secret('theirs'), refresh, scopes: null, expiresIn: 3600 }
        await vault.rotate(id, taken.lease, tokens)
      }
      expect((await ours.fresh(id, connection)).credential.access.reveal()).toBe('theirs')
    })

    test('is kept sealed, and saves the grant when the first one is refused', async () => {
      expect(kept()).toEqual([`${id}.conflict.json`])
      expect(logged.join()).toContain('two processes refreshed one grant')
      ahead += 2 * HOUR
      const { credential } = await ours.fresh(id, connection)
      expect(credential.generation).toBe(3)
      expect(await works(credential.access)).toBe(true)
      expect(kept()).toEqual([])
    })

    test('is forgotten when it is refused as well, and the person is asked', async () => {
      ahead += 2 * HOUR
      const sent: string[] = []
      const refusing = build({
        spool: createSpool({ folder, sealer, log }),
        client: {
          ...client,
          refresh: async (_, { reveal }) => {
            sent.push(reveal())
            return { kind: 'dead', error: 'invalid_grant', description: null, retryAfterMs: null }
          },
        },
      })
      expect(code(await failure(refusing.fresh(id, connection)))).toBe('reauthorization_required')
      expect(sent).toHaveLength(2)
      expect(sent[0]).toBe('not-a-token-of-this-server')
      expect(kept()).toEqual([])
      expect((await vault.open(id, { fresh: true }))?.status).toBe('needs_reauth')
    })

    test('that does not open any more keeps no grant from ending, and stays where it is', async () => {
      writeFileSync(join(folder, `${id}.conflict.json`), '{"head":{},"sealed":"x"}')
      ahead += 2 * HOUR
      expect(code(await failure(ours.fresh(id, connection)))).toBe('reauthorization_required')
      expect((await vault.open(id, { fresh: true }))?.status).toBe('needs_reauth')
      expect(logged.join()).toContain('does not open')
      expect(kept()).toHaveLength(1)
    })

    test('is given back when the grant is revoked', async () => {
      await vault.revoke(id)
      await ours.discard(id, connection)
      expect(server.requests.filter(({ path }) => path === '/token/revocation')).toHaveLength(2)
      expect(kept()).toEqual([])
      await ours.discard(id, connection)
    })
    test('is shown to no other provider that took the name of its connection', async () => {
      await ours.discard(id, another(connection))
      expect(server.requests.filter(({ path }) => path === '/token/revocation')).toEqual([])
    })
  })

  test('that only memory knows is stored into a database that was restored meanwhile', async () => {
    for (const hours of [2, 4]) {
      ahead = hours * HOUR
      await refresher.fresh(id, connection)
    }
    const yesterday = await store.credentials.byId(id)
    if (yesterday === null) throw new Error('no row')
    ahead = 6 * HOUR
    await refresher.fresh(id, connection)
    ahead = 8 * HOUR
    let left = 1
    beforeRotate = async () => {
      if ((left -= 1) >= 0) throw new Error('the database is being restored')
    }
    const served = await refresher.fresh(id, connection)
    await store.credentials.remove(id)
    await store.credentials.put(yesterday, {
      tenant: alice.tenant,
      realm: alice.realm,
      user: alice.id,
      agent: 'triage',
      connection: 'acme',
      scopes: ['openid'],
      at: 0,
    })
    await refresher.drain()
    expect((await vault.open(id, { fresh: true }))?.access.reveal()).toBe(
      served.credential.access.reveal(),
    )
    ahead = 10 * HOUR
    expect(await works((await build().fresh(id, connection)).credential.access)).toBe(true)
  })

  test('of a restored database is told as such, and the person asked again; nothing is sent twice', async () => {
    const yesterday = await store.credentials.byId(id)
    if (yesterday === null) throw new Error('no row')
    ahead = 2 * HOUR
    await refresher.fresh(id, connection)
    ahead = 4 * HOUR
    const current = await vault.open(id)
    expect(current?.generation).toBe(2)
    await store.credentials.remove(id)
    await store.credentials.put(yesterday, {
      tenant: alice.tenant,
      realm: alice.realm,
      user: alice.id,
      agent: 'triage',
      connection: 'acme',
      scopes: ['openid'],
      at: 0,
    })
    const stale = { ...vault, open: async () => current } // as it was remembered
    const remembering = build({
      vault: {
        ...vault,
        open: (which, options) =>
          options?.fresh === true ? vault.open(which, options) : stale.open(),
      },
    })
    expect(code(await failure(remembering.fresh(id, connection)))).toBe('reauthorization_required')
    expect(tokenRequests()).toHaveLength(2)
    expect(logged.join()).toContain('was the database restored?')
  })

  test('of a revoked grant is given back to the provider: the kill switch wins', async () => {
    ahead = 2 * HOUR
    beforeRotate = async () => {
      beforeRotate = () => {}
      await vault.revoke(id)
    }
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
    expect(
      server.requests
        .filter(({ path }) => path === '/token/revocation')
        .map(({ status }) => status),
    ).toEqual([200, 200])
    expect(await vault.open(id)).toBeNull()
  })
})

describe('a failing provider', () => {
  /** A client that gives these answers, then the real ones. */
  const saying = (...answers: readonly Partial<TokenAnswer>[]) => {
    const left = [...answers]
    const asked = { times: 0 }
    const fake: Pick<OAuthClient, 'refresh' | 'revoke'> = {
      ...client,
      refresh: (...what) => {
        asked.times += 1
        const next = left.shift()
        return next === undefined
          ? client.refresh(...what)
          : Promise.resolve({
              error: 'x',
              description: null,
              retryAfterMs: null,
              ...next,
            } as TokenAnswer)
      },
    }
    return {
      asked,
      refresher: build({
        client: fake,
        sleep: (ms, signal) =>
          new Promise((resolve) => setTimeout(resolve, signal === undefined ? 1 : ms).unref()),
      }),
    }
  }
  beforeEach(() => {
    ahead = 2 * HOUR
  })

  test('with invalid_grant ends the grant, and is not asked again', async () => {
    const { refresher, asked } = saying({ kind: 'dead', error: 'invalid_grant' })
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
    expect(asked.times).toBe(1)
    expect(await vault.look(alice, 'acme', 'triage')).toMatchObject({ status: 'needs_reauth' })
  })

  /** Another person's grant at the same connection, expired. */
  const also = (name: string, expiresIn = 60): Promise<string> =>
    vault.connect({
      person: { ...alice, id: name },
      agent: 'triage',
      connection: 'acme',
      provider: 'acme',
      account: { id: name, label: name },
      tokens: { access: secret(`a-${name}`), refresh: secret(`r-${name}`), scopes: [], expiresIn },
      scopes: [],
    })
  const good = (word: string): Partial<TokenAnswer> => ({
    kind: 'tokens',
    tokens: { access: secret(word), refresh: secret(`r-${word}`), scopes: [], expiresIn: 60 },
    account: null,
  })
  const REFUSED = { kind: 'refused', error: 'invalid_request' } as const
  const statusOf = async (name = 'alice') => {
    const holding = await vault.look({ ...alice, id: name }, 'acme', 'triage')
    return holding.kind === 'held' ? holding.status : 'none'
  }

  test('with invalid_client is not asked for this grant for a while, and nobody loses it', async () => {
    const { refresher, asked } = saying({ kind: 'our_fault', error: 'invalid_client' })
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('credential_unavailable')
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('credential_unavailable')
    expect(asked.times).toBe(1)
    ahead += 61_000
    expect((await refresher.fresh(id, connection)).credential.generation).toBe(2)
  })

  test('that refuses the client for one grant serves the others, and three alike close it to all but one at a time', async () => {
    const ids = await Promise.all(['b', 'c', 'd', 'e', 'f'].map((name) => also(name)))
    const [b = '', c = '', d = '', e = '', f = ''] = ids
    ahead += 2 * HOUR
    const no = { kind: 'our_fault', error: 'invalid_client' } as const
    const answers = [no, no, good('x'), no, no, no, no, good('z'), good('y'), good('w')]
    const { refresher, asked } = saying(...answers)
    await failure(refresher.fresh(id, connection))
    await failure(refresher.fresh(b, connection))
    // A success between them: it is not the client.
    expect((await refresher.fresh(c, connection)).credential.generation).toBe(2)
    expect(logged.join()).not.toContain('the provider refuses this client')
    ahead += 60_000
    for (const one of [b, d, e]) await failure(refresher.fresh(one, connection))
    expect(asked.times).toBe(6)
    expect(logged.join()).toContain('the provider refuses this client')
    // Each failure is one line, that one too.
    expect(logged.filter((line) => line.includes('invalid_client'))).toHaveLength(5)
    expect(logged.filter((line) => line.startsWith('refresh failed'))).toHaveLength(4)
    // One probes; the next is told to wait, and asks nobody.
    await failure(refresher.fresh(id, connection))
    expect(asked.times).toBe(7)
    expect(await failure(refresher.fresh(f, connection))).toMatchObject({
      code: 'credential_unavailable',
      message: expect.stringContaining('this client was refused moments ago'),
    })
    expect(asked.times).toBe(7)
    ahead += 20_000
    // The same provider by another client: its own circuit.
    const other = connectionOf(server.endpoints, {}, { name: 'second' })
    expect((await refresher.fresh(e, other)).credential.generation).toBe(2)
    // Any success closes it, at once, for all.
    expect((await refresher.fresh(f, connection)).credential.generation).toBe(2)
    expect((await refresher.fresh(d, connection)).credential.generation).toBe(2)
    expect(asked.times).toBe(10)
    expect(await statusOf()).toBe('active')
  })

  test.for<[string, Partial<TokenAnswer>]>([
    ['in words that no one knows', REFUSED],
    ['with unauthorized_client', { kind: 'our_fault', error: 'unauthorized_client' }],
  ])(
    'that refuses %s for five minutes is left to the person, and the grant is kept',
    async ([, no]) => {
      const { refresher, asked } = saying(no, no, no, no)
      expect(code(await failure(refresher.fresh(id, connection)))).toBe('credential_unavailable')
      ahead += 150_000
      // Another process: what was refused before stands in the store.
      const second = saying(no, no)
      expect(code(await failure(second.refresher.fresh(id, connection)))).toBe(
        'credential_unavailable',
      )
      expect(await statusOf()).toBe('active')
      ahead += 151_000
      expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
      expect(await statusOf()).toBe('needs_reauth')
      expect((await vault.list({ id: 'alice' }))[0]?.status).toBe('needs_reauth')
      const before = asked.times
      expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
      expect(asked.times).toBe(before)
      // It was an illness of the provider: the old grant was kept, and works again.
      ahead += 301_000
      expect((await build().fresh(id, connection)).credential.generation).toBe(2)
      expect(await statusOf()).toBe('active')
    },
  )

  test('that refuses one grant and renews another leaves the one to the person at once', async () => {
    const b = await also('b')
    ahead += 2 * HOUR
    const { refresher } = saying(good('x'), REFUSED)
    expect((await refresher.fresh(b, connection)).credential.generation).toBe(2)
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
    expect(await statusOf()).toBe('needs_reauth')
    expect(await statusOf('b')).toBe('active')
  })

  test('that refuses an early refresh asks nobody while the token is good', async () => {
    const b = await also('b', 10)
    ahead = HOUR - 60_000
    const { refresher } = saying(good('x'), REFUSED)
    await refresher.fresh(b, connection)
    expect((await refresher.fresh(id, connection)).refreshed).toBe(false)
    await refresher.drain()
    expect(await statusOf()).toBe('active')
  })

  test.for<[string, Partial<TokenAnswer>]>([
    ['fails with 5xx', { kind: 'transient', error: 'http_500' }],
    ['is busy', { kind: 'busy', error: 'slow_down' }],
    ['is not reached', { kind: 'not_sent', error: 'ECONNREFUSED' }],
  ])('that %s for an hour is waited for', async ([, no]) => {
    const { refresher } = saying(...Array.from({ length: 40 }, () => no))
    for (let n = 0; n < 6; n += 1) {
      expect(code(await failure(refresher.fresh(id, connection)))).toBe('credential_unavailable')
      ahead += 600_000
    }
    expect(await statusOf()).toBe('active')
  })

  test('that could not be asked at all is told once', async () => {
    const refresh = () => Promise.reject(new Error('no such key'))
    // Pauses end at once; the callers' patience does not.
    const sleep = (_ms: number, signal?: AbortSignal): Promise<void> =>
      signal === undefined ? Promise.resolve() : new Promise(() => {})
    const asking = build({ client: { ...client, refresh }, sleep })
    ahead += 2 * HOUR
    expect(code(await failure(asking.fresh(id, connection)))).toBe('credential_unavailable')
    expect(logged.filter((line) => line.startsWith('refresh could not be asked for'))).not.toEqual(
      [],
    )
    expect(logged.filter((line) => line.startsWith('refresh failed'))).toEqual([])
  })

  test('whose whole answer cannot be read never gets the refresh token again', async () => {
    const { refresher, asked } = saying({ kind: 'unread', error: 'unreadable_answer' })
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
    ahead += HOUR
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
    expect(asked.times).toBe(1)
  })

  test('never gets the refresh token of another client, and the grant waits for its own', async () => {
    expect(await store.credentials.byId(id)).toMatchObject({ clientId: 'deputy-client_1' })
    const wrong = connectionOf(server.endpoints, {}, { clientId: 'somebody-else' })
    const sent = tokenRequests().length
    for (let n = 0; n < 2; n += 1)
      expect(code(await failure(refresher.fresh(id, wrong)))).toBe('reauthorization_required')
    expect(tokenRequests()).toHaveLength(sent)
    expect(await statusOf()).toBe('needs_reauth')
    expect(logged.join()).toContain('this grant belongs to another client')
    expect(await vault.clients()).toEqual([
      { connection: 'acme', clientId: 'deputy-client_1', grants: 1 },
    ])
    expect((await refresher.fresh(id, connection)).credential.generation).toBe(2)
    expect(await statusOf()).toBe('active')
  })

  test('that took the name of another one never gets its refresh token, and the grant stays as it is', async () => {
    const other = connectionOf(server.endpoints)
    const taken = { ...other, provider: { ...other.provider, id: 'another' } }
    const sent = tokenRequests().length
    expect(code(await failure(refresher.fresh(id, taken)))).toBe('credential_unavailable')
    expect(tokenRequests()).toHaveLength(sent)
    expect(await statusOf()).toBe('active')
    expect((await refresher.fresh(id, connection)).refreshed).toBe(true)
  })

  test('is asked for a grant stored before clients were kept, which belongs to who renews it', async () => {
    const old = await also('old')
    expect(await store.credentials.byId(old)).toMatchObject({ clientId: null })
    ahead += 2 * HOUR
    const tokens = { access: secret('n'), refresh: secret('r'), scopes: [], expiresIn: 60 }
    const { refresher } = saying({
      kind: 'tokens',
      tokens: { ...tokens, clientId: 'deputy-client_1' },
      account: null,
    })
    await refresher.fresh(old, connection)
    expect(await store.credentials.byId(old)).toMatchObject({ clientId: 'deputy-client_1' })
  })

  test.for<[string, Partial<TokenAnswer>, 'admin' | 'sign_in' | undefined]>([
    ['an administrator', { kind: 'step', error: 'invalid_grant', step: 'admin' }, 'admin'],
    ['a stronger sign-in', { kind: 'step', error: 'mfa_required', step: 'sign_in' }, 'sign_in'],
    ['the person’s yes', { kind: 'step', error: 'consent_required', step: 'consent' }, undefined],
  ])(
    'that wants %s is remembered with the grant, which stays the agent’s',
    async ([, answer, needs]) => {
      const { refresher, asked } = saying(answer)
      expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
      expect(code(await failure(refresher.fresh(id, connection)))).toBe('reauthorization_required')
      expect(asked.times).toBe(1)
      const holding = await vault.look(alice, 'acme', 'triage')
      expect(holding).toMatchObject({ status: 'needs_reauth', granted: ['openid'] })
      expect(holding.kind === 'held' ? holding.needs : null).toBe(needs)
    },
  )

  test('that names the claims it wants has them told to whoever makes the link', async () => {
    const claims = '{"access_token":{}}'
    const { refresher } = saying({
      kind: 'step',
      error: 'interaction_required',
      step: 'sign_in',
      claims,
    })
    expect(await failure(refresher.fresh(id, connection))).toMatchObject({
      code: 'reauthorization_required',
      extra: { claims },
    })
  })

  test('that grants less at a refresh leaves the grant with what is left', async () => {
    const tokens = { access: secret('a2'), refresh: secret('r2'), scopes: [], expiresIn: 60 }
    const { refresher } = saying({ kind: 'tokens', tokens, account: null })
    expect((await refresher.fresh(id, connection)).credential.scopes).toEqual([])
    expect(await vault.look(alice, 'acme', 'triage')).toMatchObject({
      scopes: [],
      granted: ['openid'],
    })
  })

  test('that is busy is not waited for while the old token is good, and not asked again meanwhile', async () => {
    ahead = HOUR - 60_000
    const { refresher, asked } = saying({ kind: 'busy', retryAfterMs: 50_000 })
    for (let n = 0; n < 3; n += 1) {
      expect((await refresher.fresh(id, connection)).refreshed).toBe(false)
      await refresher.drain()
    }
    expect(asked.times).toBe(1)
  })

  test('that is busy is left alone for as long as it says', async () => {
    const { refresher, asked } = saying({ kind: 'busy', retryAfterMs: 30_000 })
    expect(await failure(refresher.fresh(id, connection))).toMatchObject({
      code: 'credential_unavailable',
      extra: { retry_after: 30 },
    })
    await failure(refresher.fresh(id, connection))
    await failure(build().fresh(id, connection)) // neither by another process
    expect(asked.times).toBe(1)
    ahead += 31_000
    expect((await refresher.fresh(id, connection)).credential.generation).toBe(2)
  })

  test('whose endpoints its issuer has not said yet is not asked, and nobody loses a grant', async () => {
    const discover = { left: ['token', 'revoke'], insecure: false, problem: 'it is down' }
    const blind = connectionOf(
      { userinfo: server.endpoints.userinfo },
      { name: 'Acme', issuer: server.issuer, discover, revokeStyle: 'none' },
    )
    expect(await failure(refresher.fresh(id, blind))).toMatchObject({
      code: 'credential_unavailable',
      message: expect.stringMatching(/^the endpoints of Acme are not known now: .* it is down$/),
      extra: { retry_after: 30 },
    })
    expect(await client.revoke(blind, { access: secret('a'), refresh: null })).toBe('failed')
    // Nothing was begun, so nothing has to be waited for.
    expect(await store.credentials.byId(id)).toMatchObject({ lease: null, coolUntil: null })
    expect((await refresher.fresh(id, connection)).credential.generation).toBe(2)
  })

  test('that was never reached is tried three times', async () => {
    const { refresher, asked } = saying({ kind: 'not_sent' }, { kind: 'not_sent' })
    expect((await refresher.fresh(id, connection)).credential.generation).toBe(2)
    expect(asked.times).toBe(3)
  })

  test('that answers 5xx is not tried again at once', async () => {
    const { refresher, asked } = saying({ kind: 'transient' })
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('credential_unavailable')
    expect(asked.times).toBe(1)
  })

  test('that loses answer after answer is asked twice, then once, and the grant stays', async () => {
    const lost = { kind: 'unknown' } as const
    const { refresher, asked } = saying(lost, lost, lost)
    expect(code(await failure(refresher.fresh(id, connection)))).toBe('credential_unavailable')
    expect(asked.times).toBe(2)
    ahead += 10_000
    expect(await failure(refresher.fresh(id, connection))).toMatchObject({
      extra: { retry_after: 300 },
    })
    expect(asked.times).toBe(3)
    ahead += 301_000
    expect((await refresher.fresh(id, connection)).credential.generation).toBe(2)
  })

  test('does not keep a token that is still good from being used', async () => {
    ahead = HOUR - 60_000
    const { refresher } = saying({ kind: 'transient' })
    expect((await refresher.fresh(id, connection)).credential.generation).toBe(1)
    await refresher.drain()
    expect((await refresher.fresh(id, connection)).credential.generation).toBe(1)
  })

  test('without refresh tokens means a new consent once the token is over', async () => {
    const bare = await vault.connect({
      person: { ...alice, id: 'bob' },
      agent: 'triage',
      connection: 'acme',
      provider: 'acme',
      account: { id: 'b', label: 'b' },
      tokens: { access: secret('a'), refresh: null, scopes: [], expiresIn: 60 },
      scopes: [],
    })
    expect((await refresher.fresh(bare, connection)).credential.generation).toBe(1)
    ahead += 61_000
    expect(code(await failure(refresher.fresh(bare, connection)))).toBe('reauthorization_required')
    expect(await vault.look({ ...alice, id: 'bob' }, 'acme', 'triage')).toMatchObject({
      status: 'needs_reauth',
    })
    expect(tokenRequests()).toHaveLength(0)
  })
})

describe('the kill switch', () => {
  const revoker = (change: Partial<Parameters<typeof createRevoker>[0]> = {}) =>
    createRevoker({
      vault,
      client,
      connections: () => new Map([['acme', connection]]),
      log,
      ...change,
    })

  test('ends the grant here and at the provider, and says so', async () => {
    const { access } = (await refresher.fresh(id, connection)).credential
    const results = await revoker().revoke({ tenant: 'acme', id: 'alice' })
    expect(results).toMatchObject([{ credential: id, connection: 'acme', result: 'revoked' }])
    expect(await vault.look(alice, 'acme', 'triage')).toEqual({ kind: 'none' })
    expect(await works(access)).toBe(false)
    expect(await revoker().revoke({ tenant: 'acme', id: 'alice' })).toEqual([])
  })

  test('ends it here before the provider is asked, and is honest when the provider cannot be told', async () => {
    const order: string[] = []
    const watching = revoker({
      vault: { ...vault, revoke: (what) => (order.push('here'), vault.revoke(what)) },
      client: { revoke: () => (order.push('provider'), Promise.reject(new Error('down'))) },
    })
    expect(await watching.revoke({ connection: 'acme' })).toMatchObject([{ result: 'failed' }])
    expect(order).toEqual(['here', 'provider'])
    expect(await vault.open(id)).toBeNull()
  })

  test('works for a connection that is configured no more', async () => {
    expect(await revoker({ connections: () => new Map() }).revoke({})).toMatchObject([
      { result: 'failed' },
    ])
    expect(await vault.open(id)).toBeNull()
  })

  test('does not end what does not match', async () => {
    expect(await revoker().revoke({ tenant: 'other' })).toEqual([])
    expect(await vault.open(id)).not.toBeNull()
  })
})
