// What a credential costs a call: remembered, and read cold (rows, and a JWE opened), with few grants and with many.
import { randomBytes, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Client } from 'pg'
import type { Store, Vault } from '../../proxy/model.ts'
import { createOAuthClient } from '../../proxy/oauth/client.ts'
import { createRefresher } from '../../proxy/tokens/refresh.ts'
import { secret } from '../../proxy/secret.ts'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { createCredentials } from '../../proxy/pipeline/credential.ts'
import { connectionOf } from '../oauth/fixtures.ts'
import { startServer } from '../support/postgres.ts'
import { say, type Size } from './calls.ts'
import { median, n, NOISE, part, verdict, type Section } from './report.ts'
import { tokenOf } from './upstream.ts'
import { QUIET } from '../support/log.ts'

const AGENT = 'agent:bench'
const CALLERS = 10
const HOST = 'api.github.com'
const clock = { now: () => Date.now(), mono: () => performance.now() }
const connection = connectionOf({}, {}, { name: 'github' })
const personOf = (i: number) => ({ tenant: 'default', realm: 'corp', id: `person-${i}` })

/** Rows beside those that are opened; nobody opens these. */
const fillSqlite = (path: string, more: number): void => {
  const db = new DatabaseSync(path)
  for (const table of ['credentials', 'grants']) {
    const rows = db.prepare(`SELECT name FROM pragma_table_info('${table}')`).all()
    db.prepare(
      copyOf(
        table,
        rows.map(({ name }) => String(name)),
        'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)',
        "'filler-' || i",
      ),
    ).run(more)
  }
  db.close()
}
const fillPostgres = async (url: string, more: number): Promise<void> => {
  const client = new Client(url)
  await client.connect()
  for (const table of ['credentials', 'grants']) {
    const { rows } = await client.query<{ name: string }>(
      'SELECT column_name AS name FROM information_schema.columns WHERE table_name = $1',
      [table],
    )
    const names = rows.map(({ name }) => name)
    const series = 'WITH n(i) AS (SELECT generate_series(1, $1::int))'
    await client.query(copyOf(table, names, series, "'filler-' || i"), [more])
    await client.query(`ANALYZE ${table}`)
  }
  await client.end()
}
const copyOf = (table: string, names: readonly string[], series: string, id: string): string =>
  `${series} INSERT INTO ${table} (${names.join()}) SELECT ${names
    .map((name) => (name === 'id' || name === 'user_id' ? id : name))
    .join()} FROM ${table}, n WHERE user_id = 'person-0'`

type Filled = {
  readonly name: string
  readonly grants: number
  /** People whose credential can be opened: the first so many. */
  readonly people: number
  readonly store: Store
  /** A vault that remembers nothing yet. */
  readonly vault: () => Vault
}

const fill = async (
  name: string,
  grants: number,
  people: number,
  open: () => Promise<Store>,
  more: (count: number) => Promise<void> | void,
): Promise<Filled> => {
  say(`vault: ${name}, ${grants} grants`)
  const sealer = createSealer(parseKeyRing(newKeyRing(Date.now(), randomBytes)))
  const first = await open()
  const vault = createVault({ store: first, sealer, clock, randomId: randomUUID })
  for (let i = 0; i < people; i += 1)
    await vault.connect({
      person: personOf(i),
      agent: AGENT,
      connection: 'github',
      provider: 'acme',
      account: { id: `account-${i}`, label: `account-${i}` },
      tokens: {
        access: secret(tokenOf(`person-${i}`)),
        refresh: secret(`refresh-${i}`),
        scopes: ['repo'],
        expiresIn: 36_000,
      },
      scopes: ['repo'],
    })
  await first.close()
  if (grants > people) await more(grants - people)
  const store = await open()
  return {
    name,
    grants,
    people,
    store,
    // Nothing changes any more; a thousand vaults that listen would only stay in memory.
    vault: () =>
      createVault({
        store: { ...store, subscribe: () => () => {} },
        sealer,
        clock,
        randomId: randomUUID,
      }),
  }
}

/** What one call does to get its token. */
const fetcher = (vault: Vault) => {
  const client = createOAuthClient({ fetch, clock })
  const { fresh, atHand } = createRefresher({ vault, client, clock, log: QUIET })
  const credentials = createCredentials({
    alive: () => Promise.resolve('unknown'),
    vault,
    fresh,
    atHand,
    now: clock.now,
    outcome: () => {},
  })
  return async (i: number): Promise<string> => {
    // As pep.ts does: what is at hand is not waited for.
    const looked = vault.look(personOf(i), 'github', AGENT)
    const holding = looked instanceof Promise ? await looked : looked
    const taken = credentials.take(holding, connection, HOST, AGENT)
    return (taken instanceof Promise ? await taken : taken).token.reveal()
  }
}

/** Microseconds a fetch, with everything remembered: `among` people in turn. */
const cached = async (
  get: (i: number) => Promise<string>,
  among: number,
  times: number,
): Promise<number> => {
  const began = performance.now()
  for (let i = 0; i < times; i += 1) await get(i % among)
  return ((performance.now() - began) * 1_000) / times
}

export const measureVault = async ({ quick, folder }: Size): Promise<Section> => {
  const many = quick ? 1_000 : 100_000
  const samples = quick ? 100 : 2_000
  const rounds = quick ? 2 : 7
  const times = quick ? 2_000 : 50_000
  const wrong: string[] = []
  const skipped: string[] = []
  const closing: (() => Promise<void>)[] = []
  const right = (i: number, token: string): void => {
    if (token !== tokenOf(`person-${i}`)) wrong.push(`person-${i} got the token ${token}`)
  }
  try {
    const places: Filled[] = []
    const add = async (...what: Parameters<typeof fill>): Promise<void> => {
      const filled = await fill(...what)
      closing.push(() => filled.store.close())
      places.push(filled)
    }
    for (const [grants, people] of [
      [10, 10],
      [many, samples],
    ] as const) {
      const path = join(folder, `vault-${grants}.db`)
      await add(
        'SQLite',
        grants,
        people,
        () => openSqlite(path),
        (more) => fillSqlite(path, more),
      )
    }
    let server: string | null = null
    try {
      server = (await startServer((stop) => closing.unshift(stop))).url
    } catch (error) {
      if (process.env['DEPUTY_NO_SKIP'] === '1') throw error
      skipped.push(`PostgreSQL does not start: ${String(error)}`)
    }
    if (server !== null)
      for (const [grants, people] of [
        [10, 10],
        [many, samples],
      ] as const) {
        const url = new URL(server)
        url.pathname = `/vault_${grants}`
        const client = new Client(server)
        await client.connect()
        await client.query(`CREATE DATABASE vault_${grants}`)
        await client.end()
        await add(
          'PostgreSQL',
          grants,
          people,
          () => openPostgres(url.href, { log: QUIET }),
          (more) => fillPostgres(url.href, more),
        )
      }

    say('vault: cached')
    const hot = places.map(({ vault }) => ({ get: fetcher(vault()), few: [0], all: [0] }))
    for (const [at, { people }] of places.entries())
      for (let i = 0; i < people; i += 1) right(i, (await hot[at]?.get(i)) ?? '')
    const took = places.map(() => ({ few: [] as number[], all: [] as number[] }))
    // The first round meets code that is not yet compiled.
    for (let round = 0; round <= rounds; round += 1)
      for (const [at, { people }] of places.entries()) {
        const get = hot[at]?.get ?? (async () => '')
        const [few, all] = [await cached(get, CALLERS, times), await cached(get, people, times)]
        if (round === 0) continue
        took[at]?.few.push(few)
        took[at]?.all.push(all)
      }

    say('vault: cold')
    const cold = places.map(() => [] as number[])
    for (let sample = 0; sample < samples; sample += 1)
      for (const [at, { people, vault }] of places.entries()) {
        const get = fetcher(vault())
        const began = performance.now()
        const token = await get(sample % people)
        cold[at]?.push(performance.now() - began)
        right(sample % people, token)
      }

    const measured = places.map((place, at) => ({
      ...place,
      few: median(took[at]?.few ?? []),
      all: median(took[at]?.all ?? []),
      p50: part(cold[at] ?? [], 0.5),
      p99: part(cold[at] ?? [], 0.99),
    }))
    return {
      title: 'Vault',
      columns: [
        'store, grants',
        `cached, ${CALLERS} callers in turn (µs)`,
        'cached, more callers (µs)',
        'cold p50 (ms)',
        'cold p99 (ms)',
      ],
      rows: measured.map(({ name, grants, people, few, all, p50, p99 }) => [
        `${name}, ${grants}`,
        n(few, 2),
        `${n(all, 2)} (${people} callers)`,
        n(p50, 2),
        n(p99, 2),
      ]),
      notes: [
        'one fetch: the holding, then the token; cold: rows read and the JWE opened by a vault that remembers nothing',
        ...measured.flatMap(({ name, grants, few, p50 }) => {
          const base = measured.find((other) => other.name === name && other.grants === 10)
          if (base === undefined || grants === 10) return []
          const ratio = (what: string, value: number): string =>
            verdict({ what, value, unit: ' ×', digits: 2, least: NOISE, aim: 1.05, better: 'less' })
          return [
            ratio(`${name}, cached, ${grants} grants against 10`, few / base.few),
            ratio(`${name}, cold p50, ${grants} grants against 10`, p50 / base.p50),
          ]
        }),
      ],
      wrong: wrong.slice(0, 5),
      skipped,
    }
  } finally {
    for (const close of closing.toReversed()) await close()
  }
}
