import { spawn, spawnSync } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Client } from 'pg'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { CredentialRow, GrantRow, Log, Store, Vault } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { NO_SKIP, postgres } from '../support/postgres.ts'
import { startRelay } from '../support/relay.ts'
import { paced } from '../support/pace.ts'
import { QUIET } from '../support/log.ts'
import { freePort } from '../support/ports.ts'
import { credential, owner } from './fixture.ts'

const server = await postgres()
const absent = 'absent' in server
const { fresh, sql } = absent
  ? { fresh: () => Promise.reject(new Error(server.absent)), sql: () => Promise.resolve([]) }
  : server

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})
const open = async (url: string, log: Log = QUIET, more: object = {}): Promise<Store> => {
  const store = await openPostgres(url, { log, ...more })
  ends.push(() => store.close())
  return store
}
const relayed = async (url: string) => {
  const through = new URL(url)
  const relay = await startRelay({ host: through.hostname, port: Number(through.port) })
  through.port = String(relay.port)
  ends.push(() => relay.close())
  return { relay, url: through.href }
}
/** Somebody else's transaction, which goes on until what comes back is called. */
const begun = async (url: string, statement: string): Promise<() => Promise<void>> => {
  const client = new Client({ connectionString: url })
  await client.connect()
  await client.query('BEGIN')
  await client.query(statement)
  return async () => {
    await client.query('COMMIT')
    await client.end()
  }
}
const alice = { tenant: 'acme', realm: 'corp', id: 'alice' }
const row: CredentialRow = {
  ...credential,
  clientId: null,
  refusedSince: null,
  refusedTimes: null,
  doubtfulSince: null,
}
const grant: GrantRow = { ...owner, agent: 'triage', scopes: [], at: 1 }
const lines = () => {
  const said: string[] = []
  const write = (fields: object, msg: string) => void said.push(`${msg} ${JSON.stringify(fields)}`)
  return { said, log: { debug: write, info: write, warn: write, error: write } }
}
const sealer = createSealer(parseKeyRing(newKeyRing(0, randomBytes)))
const clock = { now: () => Date.now(), mono: () => performance.now() }
const replica = (store: Store, revoked: string[] = []): Vault =>
  createVault({
    store,
    sealer,
    clock,
    randomId: randomUUID,
    onRevoked: ({ credential }) => void (credential !== null && revoked.push(credential)),
  })
const connect = (vault: Vault, n = 1): Promise<string> =>
  vault.connect({
    person: alice,
    agent: 'triage',
    connection: 'github',
    provider: 'github',
    account: { id: '7', label: 'alice-gh' },
    tokens: {
      access: secret(`access-${n}`),
      refresh: secret('r'),
      scopes: ['repo'],
      expiresIn: 60,
    },
    scopes: ['repo'],
  })
const within = (ms: number, claim: () => void | Promise<void>): Promise<void> =>
  vi.waitFor(claim, { timeout: paced(ms), interval: 10 })

describe.skipIf(absent)(
  `PostgreSQL${absent ? ` (SKIPPED: ${server.absent})` : ''}`,
  { timeout: 120_000 },
  () => {
    test('is brought up to date once, however many replicas start together', async () => {
      const url = await fresh()
      const { said, log } = lines()
      const stores = await Promise.all(Array.from({ length: 6 }, () => open(url, log)))
      expect(said.filter((line) => line.startsWith('vault schema migrated'))).toHaveLength(1)
      await stores[0]?.credentials.put(row, grant)
      expect(await stores[5]?.credentials.byId('c1')).toEqual(row)
    })

    test('is refused when a newer deputy wrote it, and left as it was', async () => {
      const url = await fresh()
      await (await openPostgres(url, { log: QUIET })).close()
      await sql(url, 'UPDATE deputy_schema SET version = 99')
      await expect(openPostgres(url, { log: QUIET })).rejects.toThrow(
        /newer deputy \(schema 99, this one knows \d+\)\. Run that version/,
      )
      expect(await sql(url, 'SELECT version FROM deputy_schema')).toEqual([{ version: 99 }])
    })

    test('is refused when another program has tables of our names, and left as it was', async () => {
      const url = await fresh()
      await sql(url, 'CREATE TABLE grants (theirs text)')
      await expect(openPostgres(url, { log: QUIET })).rejects.toThrow(
        /Give deputy a database of its own/,
      )
      expect(
        await sql(url, `SELECT to_regclass('credentials') AS c, to_regclass('deputy_schema') AS s`),
      ).toEqual([{ c: null, s: null }])
    })

    test('that cannot be opened is named with what to do, without its password', async () => {
      const url = new URL(await fresh())
      const closed = new URL(url)
      closed.port = String(await freePort())
      const wrong = new URL(url)
      wrong.password = 'not-the-password'
      const missing = new URL(url)
      missing.pathname = '/nowhere'
      for (const [bad, says] of [
        [closed, /cannot be reached \(ECONNREFUSED\)\. Check host and port/],
        [wrong, /refuses this user or password/],
        [missing, /\/nowhere does not exist\. Create the database/],
      ] as const) {
        const error = await openPostgres(bad.href, { log: QUIET }).catch(
          (thrown: unknown) => thrown,
        )
        expect(String(error)).toMatch(says)
        for (const part of [url.password, decodeURIComponent(url.password), wrong.password])
          expect(String(error)).not.toContain(part)
      }
      await expect(openPostgres('postgres://u:sesame@h:port/x', { log: QUIET })).rejects.toThrow(
        /is no URL: write postgres/,
      )
    })

    test('gets no more connections than the pools allow, and answers everybody', async () => {
      const { relay, url } = await relayed(await fresh())
      const store = await open(url, QUIET, { poolSize: 3, refreshPoolSize: 2 })
      await store.credentials.put(row, grant)
      await Promise.all(
        Array.from({ length: 60 }, (_, n) =>
          n % 2 === 0
            ? store.credentials.byId('c1')
            : store.credentials.lease('c1', 1, `L${n}`, { now: 0, until: 60_000 }),
        ),
      )
      expect(relay.most()).toBe(3 + 2 + 1)
    })

    test('serves refreshes while every connection for calls is taken', async () => {
      const url = await fresh()
      const store = await open(url, QUIET, { poolSize: 2 })
      await store.credentials.put(row, grant)
      // Somebody holds this person's grants: what would change them waits.
      const end = await begun(url, 'LOCK TABLE grants')
      const waiting = [store.grants.list(alice), store.grants.list(alice), store.grants.list(alice)]
      expect(await store.credentials.lease('c1', 1, 'L', { now: 0, until: 60_000 })).not.toBeNull()
      await end()
      await Promise.all(waiting)
    })

    test('tells every replica of a change and of a revocation within a second', async () => {
      const url = await fresh()
      const revoked: string[] = []
      const here = replica(await open(url))
      const there = replica(await open(url), revoked)
      const look = () => there.look(alice, 'github', 'triage')
      expect(await look()).toEqual({ kind: 'none' })
      const id = await connect(here)
      await within(1_000, async () => expect(await look()).toMatchObject({ granted: ['repo'] }))
      expect((await there.open(id))?.access.reveal()).toBe('access-1')
      const lease = await here.lease(id, 1, 1_000)
      if (lease.kind !== 'leased') throw new Error(lease.kind)
      await here.rotate(id, lease.lease, {
        access: secret('access-2'),
        refresh: null,
        scopes: null,
        expiresIn: null,
      })
      await within(1_000, async () =>
        expect((await there.open(id))?.access.reveal()).toBe('access-2'),
      )
      await here.revoke(id)
      await within(1_000, async () => {
        expect(revoked).toEqual([id])
        expect(await there.open(id)).toBeNull()
        expect(await look()).toEqual({ kind: 'none' })
      })
    })

    test('tells at once where the server can be listened to, without waiting for the next look', async () => {
      const url = await fresh()
      const [here, there] = [await open(url), await open(url)]
      const took: number[] = []
      for (let n = 0; n < 9; n += 1) {
        const began = performance.now()
        const { promise, resolve } = Promise.withResolvers<void>()
        const end = there.subscribe('t', () => resolve())
        await here.publish('t', String(n))
        await promise
        end()
        took.push(performance.now() - began)
      }
      expect(took.sort((a, b) => a - b)[4]).toBeLessThan(paced(250))
    })

    test('tells of a change whose transaction began before that of one already told', async () => {
      const url = await fresh()
      const store = await open(url)
      const heard: string[] = []
      store.subscribe('t', (key) => void heard.push(key))
      const event = (key: string) => `INSERT INTO events (topic, key) VALUES ('t', '${key}')`
      const end = await begun(url, event('slow'))
      await sql(url, `BEGIN; ${event('fast')}; NOTIFY deputy_events; COMMIT`)
      await within(600, () => expect(heard).toEqual(['fast']))
      await end()
      await within(1_000, () => expect(heard).toEqual(['fast', 'slow']))
      await pause(800)
      expect(heard).toEqual(['fast', 'slow'])
    })

    test('forgets nothing because it is busy: a thousand changes are no sign that one was missed', async () => {
      const url = await fresh()
      const [here, there] = [await open(url), await open(url)]
      const heard = new Set<string>()
      there.subscribe('t', (key) => void heard.add(key))
      for (let n = 0; n < 1_000; n += 1) await here.publish('t', String(n))
      await within(2_000, () => expect(heard.has('999')).toBe(true))
      expect(heard.has('*')).toBe(false)
      expect(heard.size).toBe(1_000)
    })

    test('forgets everything while the database is away, serves nothing, and recovers by itself', async () => {
      const direct = await fresh()
      const { relay, url } = await relayed(direct)
      const { said, log } = lines()
      const vault = replica(await open(url, log))
      const other = replica(await open(direct))
      const id = await connect(vault)
      for (const state of ['cut', 'freeze'] as const) {
        await vault.open(id)
        relay.set(state)
        await pause(1_500)
        const asked = vault.open(id).then(
          () => 'served',
          (error: unknown) => (error as { code?: string }).code,
        )
        await pause(200)
        relay.set('cut')
        expect(await asked).toBe('vault_unavailable')
        relay.set('open')
        await within(3_000, async () =>
          expect((await vault.open(id))?.access.reveal()).toBe('access-1'),
        )
      }
      // What happened meanwhile is heard afterwards.
      await within(5_000, () => expect(said.at(-1)).toContain('heard again'))
      relay.set('cut')
      await other.revoke(id)
      relay.set('open')
      await within(3_000, async () => expect(await vault.open(id)).toBeNull())
      expect(said.join('\n')).not.toContain('pass')
    })

    test('hears of its own change though the answer of the commit was lost', async () => {
      const { relay, url } = await relayed(await fresh())
      const store = await open(url)
      await store.credentials.put(row, grant)
      const heard: string[] = []
      store.subscribe('revoked', (key) => void heard.push(key))
      // Its end: the name of the isolation at its beginning has the word too.
      relay.trap('COMMIT\0')
      await expect(store.credentials.remove('c1')).rejects.toThrow()
      await within(1_000, () => expect(heard).toHaveLength(1))
      expect(await store.credentials.byId('c1')).toBeNull()
    })
  },
)

const bouncer = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer', '/usr/local/bin/pgbouncer'].find(
  (path) => spawnSync(path, ['--version']).status === 0,
)
const lacking = absent ? server.absent : bouncer === undefined ? 'pgbouncer is not installed' : null
if (lacking !== null && NO_SKIP) throw new Error(`DEPUTY_NO_SKIP is 1, and ${lacking}`)

/** PgBouncer with two server connections for everybody, in transaction mode. */
const pooled = async (url: string): Promise<string> => {
  const { hostname, port, username, password, pathname } = new URL(url)
  const folder = mkdtempSync(join(tmpdir(), 'pgbouncer-'))
  chmodSync(folder, 0o777)
  const listen = await freePort()
  const user = decodeURIComponent(username)
  const ini = join(folder, 'pgbouncer.ini')
  writeFileSync(join(folder, 'users'), `"${user}" "${decodeURIComponent(password)}"\n`)
  writeFileSync(
    ini,
    `[databases]
* = host=${hostname} port=${port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${listen}
auth_type = plain
auth_file = ${join(folder, 'users')}
pool_mode = transaction
default_pool_size = 2
server_reset_query =
unix_socket_dir =
`,
  )
  const child = spawn(
    bouncer ?? '',
    [...(process.getuid?.() === 0 ? ['-u', 'postgres'] : []), ini],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let said = ''
  child.stderr.on('data', (bytes) => (said += String(bytes)))
  const gone = new Promise((resolve) => child.once('exit', resolve))
  ends.push(async () => {
    child.kill('SIGKILL')
    await gone
  })
  await expect.poll(() => said).toContain('process up')
  return `postgres://${username}:${password}@127.0.0.1:${listen}${pathname}`
}

describe.skipIf(absent)('too few connections', () => {
  test('are told by the check and counted, calls fail in time, and it heals by itself', async () => {
    const url = await fresh()
    const role = `few_${randomUUID().replaceAll('-', '')}`
    await sql(url, `CREATE ROLE ${role} LOGIN PASSWORD 'p' CONNECTION LIMIT 3`)
    await sql(url, `GRANT ALL ON SCHEMA public TO ${role}`)
    const own = new URL(url)
    own.username = role
    own.password = 'p'
    const store = await open(own.href)
    await store.check()
    expect(store.connections?.()).toMatchObject({ failed: 0 })
    // Somebody else takes all that the role may have; ours that are idle go.
    await sql(
      url,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${role}'`,
    )
    await sql(url, `ALTER ROLE ${role} CONNECTION LIMIT 0`)
    const began = performance.now()
    const failed = await Promise.all(
      Array.from({ length: 30 }, () =>
        store.credentials.byId('c1').then(
          () => 'answered',
          (error: unknown) => String(error),
        ),
      ),
    )
    expect(performance.now() - began).toBeLessThan(paced(12_000))
    expect(failed.filter((said) => said.includes('pass'))).toEqual([])
    await expect(store.check()).rejects.toThrow(
      /^vault\.store: PostgreSQL .* has no connection left: too many connections for role .* A deputy takes at most 15/,
    )
    expect(store.connections?.().failed).toBeGreaterThan(0)
    await sql(url, `ALTER ROLE ${role} CONNECTION LIMIT 20`)
    await vi.waitFor(() => store.check(), { timeout: 30_000, interval: 300 })
  })

  test('of this process are told apart from those of the server', async () => {
    const url = await fresh()
    const store = await open(url, QUIET, { poolSize: 2 })
    await store.credentials.put(row, grant)
    const end = await begun(url, 'LOCK TABLE grants')
    let refused = 0
    const asked = Array.from({ length: 6 }, () =>
      store.grants.list(alice).then(
        () => 'answered',
        (error: unknown) => {
          refused += 1
          return String(error)
        },
      ),
    )
    await expect.poll(() => refused).toBe(4)
    await end()
    expect(await Promise.all(asked)).toEqual([
      'answered',
      'answered',
      ...Array.from({ length: 4 }, () =>
        expect.stringMatching(
          /is asked by more calls than connections: all 2 are in use and \d calls wait/,
        ),
      ),
    ])
  })
})

describe.skipIf(absent)('a database that cannot be written', () => {
  const until = (work: () => Promise<unknown>): Promise<unknown> =>
    vi.waitFor(work, { timeout: 30_000, interval: 300 })

  test('is not ready after a failover to a server that only reads, and ready again after the next', async () => {
    const url = await fresh()
    const [name, base] = [new URL(url).pathname.slice(1), new URL(url)]
    base.pathname = '/postgres'
    const store = await open(url)
    await store.check()
    const turn = async (text: string): Promise<void> => {
      await sql(base.href, text)
      await sql(
        base.href,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
      )
    }
    await turn(`ALTER DATABASE ${name} SET default_transaction_read_only = on`)
    await until(() =>
      expect(store.check()).rejects.toThrow(
        /^vault\.store: cannot be written: cannot execute .* in a read-only transaction\. No grant can be stored/,
      ),
    )
    await turn(`ALTER DATABASE ${name} RESET default_transaction_read_only`)
    await until(() => store.check())
  })

  test.each([
    ['INSERT', 'credentials'],
    ['UPDATE', 'flows'],
    ['DELETE', 'grants'],
    ['UPDATE', 'person_epochs'],
  ])('is not ready without the right to %s on %s', async (right, table) => {
    const url = await fresh()
    const role = `limited_${randomUUID().replaceAll('-', '')}`
    await sql(url, `CREATE ROLE ${role} LOGIN PASSWORD 'p'`)
    await sql(url, `GRANT ALL ON SCHEMA public TO ${role}`)
    const own = new URL(url)
    own.username = role
    own.password = 'p'
    const store = await open(own.href)
    await store.check()
    await sql(own.href, `REVOKE ${right} ON ${table} FROM ${role}`)
    await until(() => expect(store.check()).rejects.toThrow(`permission denied for table ${table}`))
    await sql(own.href, `GRANT ${right} ON ${table} TO ${role}`)
    await until(() => store.check())
  })
})

describe.skipIf(lacking !== null)(
  `behind PgBouncer in transaction mode${lacking === null ? '' : ` (SKIPPED: ${lacking})`}`,
  { timeout: 120_000 },
  () => {
    test.each(['serializable', 'repeatable read'])(
      'what is %s by default is nobody’s business, with and without a pooler',
      async (isolation) => {
        const direct = await fresh()
        const name = new URL(direct).pathname.slice(1)
        await sql(
          direct,
          `ALTER DATABASE ${name} SET default_transaction_isolation = '${isolation}'`,
        )
        for (const url of [direct, await pooled(direct)]) {
          const { said, log } = lines()
          const [here, there] = [await open(url, log), await open(url, log)]
          await sql(direct, 'TRUNCATE credentials CASCADE')
          const [asked] = await sql(url, 'SHOW default_transaction_isolation')
          expect(asked).toEqual({ default_transaction_isolation: isolation })
          await here.credentials.put(row, grant)
          const many = <T>(work: (store: Store, n: number) => Promise<T>): Promise<readonly T[]> =>
            Promise.all(Array.from({ length: 40 }, (_, n) => work(n % 2 === 0 ? here : there, n)))
          const leases = await many((store, n) =>
            store.credentials.lease('c1', 1, `L${n}`, { now: 0, until: 60_000 }),
          )
          expect(leases.filter((leased) => leased !== null)).toHaveLength(1)
          // Each of these writes the same row as all others.
          const moved = await many((store) => store.epochs.move(alice))
          expect(new Set(moved).size).toBe(40)
          await many((store) => store.flows.notifyAt('none', 1))
          await many((store, n) => store.grants.put({ ...grant, at: n + 2 }))
          await many((store) => store.publish('t', 'k'))
          expect(said.filter((line) => line.includes('cannot be heard'))).toEqual([])
        }
      },
    )

    test('leases, transactions and changes work, over fewer connections than callers', async () => {
      const url = await pooled(await fresh())
      const { said, log } = lines()
      const here = await open(url, log)
      const there = await open(url, log)
      expect(said.filter((line) => line.includes('behind a pooler'))).toHaveLength(2)
      const revoked: string[] = []
      const vaults = [replica(here), replica(there, revoked)] as const
      const id = await connect(vaults[0])
      const leases = await Promise.all(
        Array.from({ length: 40 }, (_, n) =>
          (n % 2 === 0 ? here : there).credentials.lease(id, 1, `L${n}`, { now: 0, until: 60_000 }),
        ),
      )
      expect(leases.filter((leased) => leased !== null)).toHaveLength(1)
      expect((await vaults[1].open(id))?.access.reveal()).toBe('access-1')
      await vaults[0].revoke(id)
      await within(1_000, async () => {
        expect(revoked).toEqual([id])
        expect(await vaults[1].open(id)).toBeNull()
      })
    })
  },
)
