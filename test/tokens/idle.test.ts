// Chains that nobody uses, on both stores, with a clock that is moved and a real token endpoint.
import { fork } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Connection, Person, Provider, Store, Vault } from '../../proxy/model.ts'
import { createOAuthClient } from '../../proxy/oauth/client.ts'
import { createIdle, type Idle, type IdleDeps } from '../../proxy/tokens/idle.ts'
import { createRefresher } from '../../proxy/tokens/refresh.ts'
import { Problem } from '../../proxy/problem.ts'
import { secret } from '../../proxy/secret.ts'
import { readRing } from '../../proxy/vault/ring_file.ts'
import { createSealer, newKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { paced } from '../support/pace.ts'
import { kinds } from '../support/postgres.ts'
import type { Place } from '../support/postgres.ts'
import type { Task, Told } from '../support/refresher.ts'
import { startTokenServer, type Habit, type TokenServer } from '../support/tokenserver.ts'
import { connectionOf } from '../oauth/fixtures.ts'
import { QUIET } from '../support/log.ts'

const DAY = 86_400_000
const LIMIT = 60
const alice: Person = { tenant: 'acme', realm: 'corp', id: 'alice' }
const servers: TokenServer[] = []
const tokenServer = async (habit: Habit): Promise<TokenServer> => {
  const server = await startTokenServer(habit)
  servers.push(server)
  return server
}

describe.each(await kinds())('idle grants in the $name store', ({ place, skip }) => {
  if (skip) return test.skip('is not here')
  let where: Place
  let ring: string
  let store: Store
  let vault: Vault
  let ahead = 0
  let server: TokenServer
  let connection: Connection
  let outcomes: string[]
  let events: { readonly event: string; readonly fields: Readonly<Record<string, unknown>> }[]
  let random = 0.5
  const clock = { now: () => Date.now() + ahead, mono: () => performance.now() + ahead }
  const reach = (change: Partial<Provider> = {}): void => {
    connection = connectionOf({ token: server.url }, { refreshIdleDays: LIMIT, ...change })
  }
  const openVault = async (): Promise<void> => {
    const sealer = createSealer(await readRing(ring))
    vault = createVault({ store, sealer, clock, randomId: randomUUID })
  }
  const idleOf = (change: Partial<IdleDeps> = {}): Idle =>
    createIdle({
      store,
      refresher: createRefresher({
        vault,
        client: createOAuthClient({ fetch, clock }),
        clock,
        log: QUIET,
      }),
      connections: () => new Map([['acme', connection]]),
      allowed: async () => true,
      onEvent: async (event, fields) =>
        void events.push({ event, fields: fields as Readonly<Record<string, unknown>> }),
      outcome: (_, outcome) => void outcomes.push(outcome),
      clock,
      log: QUIET,
      random: () => random,
      ...change,
    })
  const connect = (change: { readonly id?: string; readonly refresh?: string | null } = {}) =>
    vault.connect({
      person: { ...alice, id: change.id ?? 'alice' },
      agent: 'triage',
      connection: 'acme',
      provider: 'acme',
      account: { id: change.id ?? 'alice', label: 'alice' },
      tokens: {
        access: secret('access-1'),
        refresh: change.refresh === null ? null : secret(change.refresh ?? server.first),
        scopes: ['repo'],
        expiresIn: 3_600,
      },
      scopes: ['repo'],
    })
  /** Past the first look, which only spreads, and past that spread. */
  const due = async (idle = idleOf()): Promise<void> => {
    ahead += 0.6 * LIMIT * DAY
    await idle.pass()
    ahead += 0.14 * LIMIT * DAY
  }

  beforeEach(async () => {
    ahead = 0
    random = 0.5
    outcomes = []
    events = []
    where = await place()
    ring = join(mkdtempSync(join(tmpdir(), 'ring-')), 'keys.json')
    writeFileSync(ring, newKeyRing(0, randomBytes), { mode: 0o600 })
    store = await where.open()
    await openVault()
    server = await tokenServer('punish')
    reach()
  })
  afterEach(async () => {
    await store.close()
    for (const one of servers.splice(0)) await one.close()
  })

  test('are refreshed at about two thirds of the limit, and again as long as nobody uses them', async () => {
    const id = await connect()
    let idle = idleOf()
    const days: number[] = []
    for (let day = 1; day <= 100; day += 1) {
      ahead += DAY
      const before = server.came.length
      // What is due stands in rows: a restart forgets nothing.
      if (day % 7 === 0) idle = idleOf()
      await idle.pass()
      if (server.came.length > before) days.push(day)
    }
    expect(days).toEqual([40, 80])
    expect(server.came).toEqual(['refresh-1', 'refresh-2'])
    expect(server.works('access-3')).toBe(true)
    expect(await vault.open(id, { fresh: true })).toMatchObject({ generation: 3, status: 'active' })
    expect(events).toMatchObject([
      {
        event: 'connection.refreshed',
        fields: {
          user: alice,
          connection: 'acme',
          provider: 'acme',
          credential: id,
          generation: 2,
          idle_days: 40,
          result: 'refreshed',
        },
      },
      { fields: { generation: 3, idle_days: 40 } },
    ])
    expect(JSON.stringify(events)).not.toMatch(/access-|refresh-\d/)
    expect(outcomes).toEqual(['refreshed', 'refreshed'])
  })

  test('that were stored in one moment are not refreshed in one moment', async () => {
    server = await tokenServer('stable')
    reach()
    for (let n = 0; n < 30; n += 1) await connect({ id: `p${n}` })
    let drawn = 0
    const idle = idleOf({ random: () => ((drawn += 7) % 30) / 30 })
    const per: number[] = []
    for (let day = 1; day <= 46; day += 1) {
      ahead += DAY
      const before = server.came.length
      await idle.pass()
      if (server.came.length > before) per.push(day)
    }
    expect(server.came).toHaveLength(30)
    expect(per[0]).toBeGreaterThanOrEqual(36)
    expect(per.at(-1)).toBeLessThanOrEqual(45)
    expect(per.length).toBeGreaterThanOrEqual(7)
  })

  test('that are used are left alone: a refresh for a caller counts as use', async () => {
    const id = await connect()
    const refresher = createRefresher({
      vault,
      client: createOAuthClient({ fetch, clock }),
      clock,
      log: QUIET,
    })
    ahead += 30 * DAY
    await refresher.fresh(id, connection)
    ahead += 30 * DAY
    await idleOf().pass()
    await idleOf().pass()
    expect(server.came).toEqual(['refresh-1'])
  })

  test('are refreshed once by several passes at one moment', async () => {
    await connect()
    await due()
    const slow = new Promise<void>((resolve) => setTimeout(resolve, 200))
    server.after = () => slow
    const [first, second] = [idleOf(), idleOf()]
    await Promise.all([first.pass(), second.pass(), second.pass()])
    expect(server.came).toEqual(['refresh-1'])
    expect(outcomes).toEqual(['refreshed'])
  })

  test('are refreshed two at a time, however many are due', async () => {
    server = await tokenServer('stable')
    reach()
    for (let n = 0; n < 8; n += 1) await connect({ id: `p${n}` })
    await due()
    let active = 0
    let most = 0
    server.after = async () => {
      most = Math.max(most, (active += 1))
      await new Promise((resolve) => setTimeout(resolve, 20))
      active -= 1
    }
    await idleOf().pass()
    expect(server.came).toHaveLength(8)
    expect(most).toBeLessThanOrEqual(2)
  })

  test('end with the person’s right to them: nothing is asked while the source says no, and it may say yes later', async () => {
    await connect()
    const asked: unknown[] = []
    let allowed = false
    const idle = idleOf({
      allowed: async (person, { agent, scopes }) => {
        asked.push([person, agent, scopes])
        return allowed
      },
    })
    await due(idle)
    await idle.pass()
    await idle.pass()
    expect(asked).toEqual([[alice, 'triage', ['repo']]])
    expect([server.came, outcomes, events]).toEqual([[], ['not_allowed'], []])
    allowed = true
    ahead += 1.3 * DAY
    await idle.pass()
    expect(server.came).toEqual(['refresh-1'])
  })

  test('stay as they are while the source of entitlements cannot be asked', async () => {
    await connect()
    let broken = true
    const idle = idleOf({
      allowed: async () => {
        if (broken) throw new Problem('entitlements_unavailable', 'down')
        return true
      },
    })
    await due(idle)
    await idle.pass()
    expect([server.came, outcomes]).toEqual([[], ['failed']])
    broken = false
    await idle.pass()
    expect(server.came).toEqual([])
    ahead += 2 * 3_600_000
    await idle.pass()
    expect(server.came).toEqual(['refresh-1'])
  })

  test.for<[string, (id: string) => Promise<void>, Partial<Provider>]>([
    ['that were revoked', async (id) => void (await vault.revoke(id)), {}],
    [
      'that no agent may use any more',
      async () => void (await vault.disallow(alice, 'triage', 'acme')),
      {},
    ],
    [
      'that are dead',
      async (id) => {
        const leased = await vault.lease(id, 1, 1_000)
        if (leased.kind === 'leased')
          await vault.release(id, leased.lease, { kind: 'dead', error: 'x', coolDownMs: 0 })
      },
      {},
    ],
    ['of a provider that tells no limit', async () => {}, { refreshIdleDays: null }],
    ['of a provider whose refresh tokens are never used', async () => {}, { refresh: null }],
  ])('%s are left alone', async ([, change, provider]) => {
    reach(provider)
    const id = await connect()
    await due()
    await change(id)
    await idleOf().pass()
    expect([server.came, events]).toEqual([[], []])
  })

  test('without a refresh token are looked at once, and again when they are connected anew', async () => {
    const id = await connect({ refresh: null })
    // Their access token has no end: they are not dead.
    await past('UPDATE credentials SET expires_at = NULL')
    const idle = idleOf()
    await due(idle)
    await idle.pass()
    ahead += 400 * DAY
    await idle.pass()
    expect([server.came, events, outcomes]).toEqual([[], [], []])
    expect(await store.credentials.idle('acme', clock.now(), 10)).toEqual([])
    expect(await connect()).toBe(id)
    await due(idle)
    await idle.pass()
    expect(server.came).toEqual(['refresh-1'])
  })
  /** SQL past the store; a SQLite file is closed for it. */
  const past = async (sql: string): Promise<void> => {
    await store.close()
    await where.sql(sql)
    store = await where.open()
    await openVault()
  }

  test('that died all the same are marked, so that their person hears of it before an agent does', async () => {
    await connect({ refresh: 'refresh-9' })
    await due()
    await idleOf().pass()
    await idleOf().pass()
    expect(server.came).toEqual(['refresh-9'])
    expect(outcomes).toEqual(['dead'])
    expect(events).toMatchObject([{ fields: { result: 'dead', generation: 1 } }])
    expect(await vault.look(alice, 'acme', 'triage')).toMatchObject({ status: 'needs_reauth' })
  })

  test('are tried again an hour or two after a failure, not at every pass', async () => {
    await connect()
    await due()
    const url = server.url
    await server.close()
    const warned: string[] = []
    const warn = (_fields: object, msg: string): void => void warned.push(msg)
    const log = { ...QUIET, warn, error: warn }
    const refresher = createRefresher({
      vault,
      client: createOAuthClient({ fetch, clock }),
      clock,
      log,
    })
    await idleOf({ refresher, log }).pass()
    await idleOf({ refresher, log }).pass()
    expect(outcomes).toEqual(['failed'])
    // Told where it failed, and not again by who wanted it.
    expect(warned).toEqual(['refresh failed'])
    expect(url).toContain('/token')
    server = await tokenServer('punish')
    reach()
    ahead += 2 * 3_600_000
    await idleOf().pass()
    expect(outcomes).toEqual(['failed', 'refreshed'])
  })

  test('are left to the next start when deputy stops, and what is under way is waited for', async () => {
    server = await tokenServer('stable')
    reach()
    for (let n = 0; n < 6; n += 1) await connect({ id: `p${n}` })
    await due()
    const idle = idleOf()
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    server.after = () => held
    const pass = idle.pass()
    await expect.poll(() => server.came.length).toBe(2)
    let closed = false
    const closing = idle.close().then(() => (closed = true))
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(closed).toBe(false)
    release()
    await Promise.all([closing, pass])
    expect([server.came.length, outcomes]).toEqual([2, ['refreshed', 'refreshed']])
    // The others were in hand; ten minutes later they are anybody's.
    await idleOf().pass()
    expect(server.came).toHaveLength(2)
    ahead += 600_000
    await idleOf().pass()
    expect(server.came).toHaveLength(6)
  })

  test('cost one look in an index, also among 100,000', async () => {
    const id = await connect()
    const columns =
      'tenant, realm, connection, provider, slot, account_id, account, status, generation, scopes, sealed, expires_at, stored_at'
    const series = where.where.startsWith('sqlite:')
      ? 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) '
      : ''
    const from = series === '' ? 'generate_series(1, 100000) AS n(i)' : 'n'
    await past(
      `INSERT INTO credentials (id, user_id, ${columns}) ${series}SELECT 'x' || i, 'x' || i, ${columns} FROM ${from}, credentials WHERE id = '${id}'`,
    )
    // The oldest of all, and due.
    await past(
      `UPDATE credentials SET stored_at = stored_at - ${41 * DAY}, idle_from = stored_at - ${40 * DAY} WHERE id = '${id}'`,
    )
    const idle = idleOf()
    await idle.pass()
    expect(server.came).toEqual(['refresh-1'])
    const took: number[] = []
    for (let n = 0; n < 100; n += 1) {
      const began = performance.now()
      await store.credentials.idle('acme', clock.now() - DAY, 50)
      took.push(performance.now() - began)
    }
    // The quickest, because others use this machine too; a scan of the table takes several times as long.
    expect(Math.min(...took)).toBeLessThan(paced(2))
  })
})

const SCRIPT = new URL('../support/refresher.ts', import.meta.url)
for (const kind of (await kinds()).filter(({ ownClock }) => ownClock))
  test.skipIf(kind.skip)(
    `three processes that look at one idle grant make one request, on ${kind.name}`,
    async () => {
      const server = await tokenServer('punish')
      server.after = () => new Promise((resolve) => setTimeout(resolve, 1_000))
      const place = await kind.place()
      const ring = join(mkdtempSync(join(tmpdir(), 'ring-')), 'keys.json')
      writeFileSync(ring, newKeyRing(0, randomBytes), { mode: 0o600 })
      const store = await place.open()
      const clock = { now: () => Date.now(), mono: () => performance.now() }
      const vault = createVault({
        store,
        sealer: createSealer(await readRing(ring)),
        clock,
        randomId: randomUUID,
      })
      const tokens = { access: secret('access-1'), scopes: [], expiresIn: 60 }
      const credential = await vault.connect({
        person: alice,
        agent: 'triage',
        connection: 'acme',
        provider: 'acme',
        account: { id: 'alice', label: 'alice' },
        tokens: { ...tokens, refresh: secret(server.first) },
        scopes: [],
      })
      await place.sql('UPDATE credentials SET idle_from = stored_at + 1')
      const task: Task = {
        where: place.where,
        ring,
        token: server.url,
        credential,
        lostResponse: 'no',
        rounds: [],
        dieAt: null,
        spool: join(dirname(ring), 'vault-spool'),
        idle: { limitDays: LIMIT, inDays: 45 },
      }
      const told = await Promise.all(
        [1, 2, 3].map(
          () =>
            new Promise<Told>((resolve, reject) => {
              const child = fork(SCRIPT, {
                stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
                execArgv: [],
              })
              child.once('message', (said) => resolve(said as Told))
              child.once('error', reject)
              child.send(task)
            }),
        ),
      )
      expect(told.flatMap(({ rounds }) => rounds.flat())).toEqual(['refreshed'])
      expect(server.came).toEqual(['refresh-1'])
      expect(await vault.open(credential, { fresh: true })).toMatchObject({ generation: 2 })
      await store.close()
      await server.close()
    },
  )
