// Providers forget refresh tokens that nobody uses, so such grants are refreshed in the background:
// found by a query over rows, without a timer for each.
import type { Clock, Connection, GrantRow, IdleRow, Log, Person, Store } from '../model.ts'
import { messageOf, Problem } from '../problem.ts'
import type { Refresher } from './refresh.ts'

type IdleOutcome = 'refreshed' | 'dead' | 'failed' | 'not_allowed'
export type IdleDeps = {
  readonly store: {
    readonly credentials: Pick<Store['credentials'], 'byId' | 'idle' | 'putOff'>
    readonly grants: Pick<Store['grants'], 'list'>
  }
  readonly refresher: Pick<Refresher, 'fresh'>
  readonly connections: () => ReadonlyMap<string, Connection>
  /**
   * May this agent of this person still hold what it was granted? false: the identity provider or policy says no.
   * Throws when they cannot be asked: then nothing is refreshed either.
   */
  readonly allowed: (person: Person, grant: GrantRow) => Promise<boolean>
  readonly onEvent: (event: string, fields: object) => Promise<void>
  readonly outcome: (provider: string, outcome: IdleOutcome) => void
  readonly clock: Clock
  readonly log: Log
  /** In [0, 1). */
  readonly random?: () => number
}
export type Idle = {
  /** One look at what is due, in small batches; what it leaves is found by the next one. Never throws. */
  readonly pass: () => Promise<void>
  /** A pass now and then, until `close`. */
  readonly start: () => void
  /** Begins nothing more and waits for what is under way. */
  readonly close: () => Promise<void>
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const EVERY_MS = 300_000
const FIRST_MS = 2_000
const BATCH = 50
/** Batches of one connection in one pass: a flood of due rows is spread over passes. */
const BATCHES = 20
/** Of a provider's four refresh slots callers keep two. */
const AT_ONCE = 2
/** A process that dies with a row in hand leaves it to the others after this. */
const CLAIM_MS = 600_000
/** A chain is due at 0.6 of its limit and put off once, by up to 2/15 of it: refreshed around two thirds. */
const DUE = 0.6
const SPREAD = 2 / 15

/** Refreshes chains at about two thirds of `refresh_idle_days`, once over all processes, while their owner may have them. */
export const createIdle = (deps: IdleDeps): Idle => {
  const { store, refresher, clock, log, random = Math.random } = deps
  const ended = new AbortController()
  let timer: NodeJS.Timeout | null = null
  let running: Promise<void> | null = null

  const some = async (person: Person, grants: readonly GrantRow[]): Promise<boolean> => {
    for (const grant of grants) if (await deps.allowed(person, grant)) return true
    return false
  }

  /** What became of one row. `moved`: somebody was quicker; `none`: there is no refresh token to keep alive. */
  const refresh = async (
    row: IdleRow,
    connection: Connection,
  ): Promise<IdleOutcome | 'moved' | 'none'> => {
    const person = { tenant: row.tenant, realm: row.realm, id: row.user }
    const grants = (await store.grants.list(person)).filter(
      (grant) => grant.connection === row.connection,
    )
    // A grant that no agent may use any more is not kept alive.
    if (!(await some(person, grants))) return 'not_allowed'
    try {
      const want = { minGeneration: row.generation + 1 }
      return (await refresher.fresh(row.id, connection, want)).refreshed ? 'refreshed' : 'moved'
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'reauthorization_required') throw error
      const now = await store.credentials.byId(row.id)
      if (now === null) return 'moved'
      return now.status === 'active' ? 'none' : 'dead'
    }
  }

  const failed = (row: IdleRow, error: unknown): void =>
    // The refresher has logged what the provider refused.
    log[error instanceof Problem && error.code === 'credential_unavailable' ? 'debug' : 'warn'](
      {
        credential: row.id,
        connection: row.connection,
        reason: messageOf(error),
      },
      'an idle grant could not be refreshed; it is tried again',
    )

  /** Deals with a row that is ours. */
  const work = async (row: IdleRow, connection: Connection, due: number): Promise<void> => {
    const { provider } = connection
    const off = (ms: number | null): Promise<unknown> =>
      store.credentials.putOff([
        { row, to: ms === null ? null : Math.ceil(clock.now() + ms - due) },
      ])
    const outcome = await refresh(row, connection).catch((error: unknown) => {
      failed(row, error)
      return 'failed' as const
    })
    if (outcome === 'moved') return
    if (outcome === 'none') return void (await off(null))
    deps.outcome(provider.id, outcome)
    if (outcome === 'failed') return void (await off(HOUR_MS * (1 + random())))
    if (outcome === 'not_allowed') return void (await off(DAY_MS * (1 + 0.2 * random())))
    await deps.onEvent('connection.refreshed', {
      user: { tenant: row.tenant, realm: row.realm, id: row.user },
      connection: connection.name,
      provider: provider.id,
      credential: row.id,
      generation: row.generation + (outcome === 'refreshed' ? 1 : 0),
      idle_days: Math.floor((clock.now() - row.storedAt) / DAY_MS),
      result: outcome,
    })
  }

  /** One batch: rows seen for the first time are put off by a random part, the others are claimed and refreshed. */
  const batch = async (connection: Connection, limit: number): Promise<boolean> => {
    const now = clock.now()
    const due = Math.round(limit * DUE)
    const rows = await store.credentials.idle(connection.name, now - due, BATCH)
    const plans = rows.map((row) => {
      const left = row.storedAt + limit - now
      const wait =
        row.from === row.storedAt
          ? random() * Math.max(HOUR_MS, Math.min(limit * SPREAD, left / 2))
          : CLAIM_MS
      const to = Math.ceil(Math.max(now + wait - due, row.from + 1))
      return { row, to, claimed: row.from !== row.storedAt }
    })
    const ours = new Set(await store.credentials.putOff(plans))
    const todo = plans
      .filter(({ row, claimed }) => claimed && ours.has(row.id))
      .map(({ row, to }) => ({ ...row, from: to }))
    const worker = async (): Promise<void> => {
      for (let row = todo.pop(); row !== undefined && !ended.signal.aborted; row = todo.pop())
        await work(row, connection, due).catch((error: unknown) => failed(row, error))
    }
    await Promise.all(Array.from({ length: AT_ONCE }, worker))
    return rows.length === BATCH
  }

  const look = async (): Promise<void> => {
    for (const connection of deps.connections().values()) {
      const { refreshIdleDays, refresh: rules } = connection.provider
      if (!refreshIdleDays || rules === null) continue
      try {
        for (let n = 0; n < BATCHES && !ended.signal.aborted; n += 1)
          if (!(await batch(connection, refreshIdleDays * DAY_MS))) break
      } catch (error) {
        log.error(
          {
            connection: connection.name,
            reason: messageOf(error),
          },
          'idle grants could not be looked through',
        )
      }
    }
  }
  const pass = (): Promise<void> => (running ??= look().finally(() => (running = null)))
  const after = (ms: number): void => {
    if (ended.signal.aborted) return
    // So that replicas which started together do not look at the same moments.
    timer = setTimeout(() => void pass().then(() => after(EVERY_MS)), ms * (0.5 + random()))
    timer.unref()
  }

  return {
    pass,
    start: () => after(FIRST_MS),
    close: async () => {
      ended.abort()
      if (timer !== null) clearTimeout(timer)
      await running
    },
  }
}
