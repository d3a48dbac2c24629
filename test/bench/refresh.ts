// A thousand callers of one person whose token has ended, over several processes, at a token endpoint that takes 2 s.
import { randomBytes, randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Client } from 'pg'
import { Agent, fetch } from 'undici'
import { secret } from '../../proxy/secret.ts'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { AGENT, startChild, type Child, type Held } from '../support/deputy.ts'
import { startServer } from '../support/postgres.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { say, type Size } from './calls.ts'
import { watching } from './processes.ts'
import { n, part, type Section } from './report.ts'
import { QUIET } from '../support/log.ts'

/** openPostgres: 10 for calls, 4 for refreshes, 1 that listens. */
const BOUND = 15
const NEW = 'at-alice-refreshed-0123456789'
const HELD = [
  { person: 'alice', token: 'at-alice-ended', refresh: 'rt-alice-1', expiresIn: 1, agedMs: 60_000 },
  { person: 'bob', token: 'at-bob-0123456789', refresh: null, expiresIn: 36_000, agedMs: 0 },
] as const satisfies readonly Held[]

/** A provider whose token endpoint takes `ms`. */
const slowly = async (ms: number): Promise<Upstream> => {
  const upstream = await startUpstream()
  upstream.people.set('at-bob-0123456789', 'bob')
  upstream.token = async (_form, res) => {
    await pause(ms)
    upstream.people.set(NEW, 'alice')
    const tokens = { access_token: NEW, refresh_token: 'rt-alice-2', expires_in: 3_600 }
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(tokens))
  }
  return upstream
}

/** Fails unless every call came back as `who`. @returns ms of each */
const storm = async (
  deputies: readonly Child[],
  callers: number,
  who: string,
  dispatcher: Agent,
): Promise<{ readonly took: readonly number[]; readonly wrong: readonly string[] }> => {
  const wrong: string[] = []
  const took = await Promise.all(
    Array.from({ length: callers }, async (_, i) => {
      const began = performance.now()
      const answer = await fetch(`${deputies[i % deputies.length]?.agent ?? ''}/api.acme.test/me`, {
        dispatcher,
        headers: { 'deputy-user': who },
      })
      const body = (await answer.json()) as { login?: string; code?: string }
      if (answer.status !== 200 || body.login !== who)
        wrong.push(`${answer.status} ${body.code ?? body.login ?? ''}`)
      return performance.now() - began
    }),
  )
  return { took, wrong }
}

type Row = {
  readonly name: string
  readonly processes: number
  readonly requests: number
  readonly beyond: readonly number[]
  /** Most connections to the database that any process had; null: none, a file. */
  readonly connections: number | null
  readonly wrong: readonly string[]
}

const run = async (
  name: string,
  deputies: readonly Child[],
  upstream: Upstream,
  options: { readonly callers: number; readonly ms: number; readonly url: string | null },
): Promise<Row> => {
  const { callers, ms, url } = options
  const dispatcher = new Agent({ connections: callers, headersTimeout: 60_000 })
  const watcher = url === null ? null : new Client(url)
  await watcher?.connect()
  let connections = 0
  const stop = watching(50, async () => {
    const { rows = [] } =
      (await watcher?.query<{ most: string | null }>(
        `SELECT max(n) AS most FROM (SELECT count(*) AS n FROM pg_stat_activity WHERE application_name LIKE 'deputy-%' GROUP BY application_name) AS each`,
      )) ?? {}
    connections = Math.max(connections, Number(rows[0]?.most ?? 0))
  })
  try {
    // Sockets are opened and code is compiled by calls of somebody else.
    const warm = await storm(deputies, callers, 'bob', dispatcher)
    say(`refresh: ${name}, ${callers} callers`)
    const { took, wrong } = await storm(deputies, callers, 'alice', dispatcher)
    await stop()
    const requests = upstream.refreshes.length
    return {
      name,
      processes: deputies.length,
      requests,
      beyond: took.map((each) => each - ms),
      connections: url === null ? null : connections,
      wrong: [
        ...[...new Set([...warm.wrong, ...wrong])].map((what) => `${name}: a call got ${what}`),
        ...(requests === 1 ? [] : [`${name}: ${requests} requests at the token endpoint, not 1`]),
        ...(connections > BOUND ? [`${name}: ${connections} connections of one process`] : []),
      ],
    }
  } finally {
    await stop().catch(() => {}) // told already, or the rest failed first
    await watcher?.end()
    await dispatcher.destroy()
  }
}

const limits = (callers: number) => ({ limits: { calls_per_agent: callers + 10 } })

const onSqlite = async (callers: number, ms: number): Promise<Row> => {
  const upstream = await slowly(ms)
  const deputy = await startChild({
    upstream: upstream.origin,
    held: HELD,
    config: limits(callers),
  })
  try {
    return await run('SQLite', [deputy], upstream, { callers, ms, url: null })
  } finally {
    await deputy.close()
    await upstream.close()
  }
}

const onPostgres = async (url: string, size: Size, callers: number, ms: number): Promise<Row> => {
  const upstream = await slowly(ms)
  const ring = newKeyRing(Date.now(), randomBytes)
  const keys = join(size.folder, 'refresh-keys.json')
  writeFileSync(keys, ring, { mode: 0o600 })
  const store = await openPostgres(url, { log: QUIET })
  for (const { person: id, token, refresh, expiresIn, agedMs } of HELD) {
    const now = Date.now() - agedMs
    const vault = createVault({
      store,
      sealer: createSealer(parseKeyRing(ring)),
      clock: { now: () => now, mono: () => performance.now() },
      randomId: randomUUID,
    })
    await vault.connect({
      person: { tenant: 'default', realm: 'local', id },
      agent: AGENT,
      connection: 'acme',
      provider: 'acme',
      account: { id, label: id },
      tokens: {
        access: secret(token),
        refresh: refresh === null ? null : secret(refresh),
        scopes: ['notes'],
        expiresIn,
      },
      scopes: ['notes'],
    })
  }
  await store.close()
  const deputies: Child[] = []
  try {
    for (let i = 0; i < 4; i += 1)
      deputies.push(
        await startChild({
          upstream: upstream.origin,
          config: {
            vault: { store: `${url}?application_name=deputy-${i}`, keys },
            ...limits(callers),
          },
        }),
      )
    return await run('PostgreSQL', deputies, upstream, { callers, ms, url })
  } finally {
    for (const deputy of deputies) await deputy.close()
    await upstream.close()
  }
}

export const measureRefresh = async (size: Size): Promise<Section> => {
  const callers = size.quick ? 40 : 1_000
  const ms = size.quick ? 300 : 2_000
  const skipped: string[] = []
  const rows = [await onSqlite(callers, ms)]
  let stop = async (): Promise<void> => {}
  let url: string | null = null
  try {
    url = (await startServer((end) => (stop = end))).url
  } catch (error) {
    if (process.env['DEPUTY_NO_SKIP'] === '1') throw error
    skipped.push(`PostgreSQL does not start: ${String(error)}`)
  }
  try {
    if (url !== null) rows.push(await onPostgres(url, size, callers, ms))
  } finally {
    await stop()
  }
  return {
    title: 'Refresh storm',
    columns: [
      'store, processes',
      'callers',
      'requests at the token endpoint',
      `beyond its ${ms} ms: p50 (ms)`,
      'p99 (ms)',
      'database connections of a process',
    ],
    rows: rows.map(({ name, processes, requests, beyond, connections }) => [
      `${name}, ${processes}`,
      String(callers),
      String(requests),
      n(part(beyond, 0.5)),
      n(part(beyond, 0.99)),
      connections === null ? 'none' : `${connections} (at most ${BOUND})`,
    ]),
    notes: [
      'calls of one person, all at once, from the first byte sent to the whole answer; refreshes have 4 connections of their own',
    ],
    wrong: rows.flatMap(({ wrong }) => wrong),
    skipped,
  }
}
