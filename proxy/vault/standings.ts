// What people let workloads do while they are away: given on the consent page, looked up at each call, ended at once everywhere.
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import type {
  Clock,
  Log,
  Person,
  Principal,
  StandingAsk,
  StandingRow,
  Store,
  Workload,
} from '../model.ts'
import { Problem } from '../problem.ts'
import { validId } from '../wire/canonical.ts'
import { createGuarded } from './guarded.ts'

/** What another process ended or changed is seen after this long at the latest, though nobody tells of it. */
const FRESH_MS = 1_000
/** Uses are written at most so often for each. */
const TOUCH_MS = 60_000
const DAY_MS = 86_400_000
/** Its end is told so long before, or a tenth of its life where that is less. */
const NOTICE_MS = 3 * DAY_MS

type By = Pick<Workload, 'name' | 'agent'>
export type Standings = {
  readonly give: (
    who: { readonly person: Person; readonly agent: string; readonly connection: string },
    ask: StandingAsk,
  ) => Promise<StandingRow>
  /**
   * For whom this workload acts though no tag came; `name`: what the call names them, '' if it does not. Synchronous when
   * it was asked just now. Throws Problem unauthenticated, which names nobody.
   */
  readonly verify: (by: By, name: string) => Principal | Promise<Principal>
  readonly list: Store['standings']['list']
  /** Ends `days` after it was given. null: there is none, or it ends no later than that anyway. */
  readonly shorten: (row: StandingRow, days: number) => Promise<StandingRow | null>
  /** null: it had ended. Its calls in flight are aborted, on every replica. */
  readonly end: (id: string) => Promise<StandingRow | null>
  /** A call leaves by it. Waits for nothing. */
  readonly used: (who: Principal) => void
  /** @returns those that ended by themselves, each told to one process */
  readonly sweep: () => Promise<readonly StandingRow[]>
}

const denied = (detail: string): Problem => new Problem('unauthenticated', detail)
const noticeOf = (createdAt: number, expiresAt: number): number =>
  expiresAt - Math.min(NOTICE_MS, Math.floor((expiresAt - createdAt) / 10))

export const createStandings = (deps: {
  readonly store: Pick<Store, 'standings' | 'publish' | 'subscribe'>
  readonly clock: Clock
  readonly newId: () => string
  readonly log: Log
  /** What this standing has in flight is aborted here. */
  readonly onEnded: (id: string) => void
  /** Told once of each, by whichever process was first. */
  readonly onFirstUse: (row: StandingRow) => void
}): Standings => {
  const { store, clock } = deps
  const seen = new LRUCache<string, { readonly principal: Principal; readonly at: number }>(
    room(10_000),
  )
  const touched = new LRUCache<string, number>(room(10_000))
  /** What began to be looked up before something changed is looked up again. */
  let changes = 0
  /** @param key the id, behind `-` where it has ended */
  const forget = (key: string): void => {
    changes += 1
    seen.clear()
    if (key.startsWith('-')) deps.onEnded(key.slice(1))
  }
  store.subscribe('standing', forget)
  const tell = async (key: string): Promise<void> => {
    forget(key)
    // Their next calls see it by themselves within FRESH_MS; what they have in flight does not, so it is an error.
    await store
      .publish('standing', key)
      .catch((error: unknown) =>
        deps.log.error({ err: error }, 'other processes could not be told of a standing'),
      )
  }
  const guarded = createGuarded('standing cannot be read or written now')

  const personOf = async ({ name: workload, agent }: By, user: string): Promise<Person> => {
    const [person, other] = await store.standings.people(
      { workload, agent, user: user === '' ? null : user },
      clock.now(),
    )
    if (person === undefined)
      throw denied(
        user === ''
          ? 'the call has no tag, and nobody lets this workload act while they are away: send a tag, or ask the person for standing'
          : 'the tag is not signed, and nobody of this name lets this workload act while they are away',
      )
    if (other !== undefined)
      throw denied(
        user === ''
          ? 'several people let this workload act while they are away: name the one that is meant where the tag goes'
          : 'several people of this name let this workload act while they are away: a signed tag says which one is meant',
      )
    return person
  }
  const principalOf = (
    person: Person,
    agent: string,
    standings: readonly StandingRow[],
  ): Principal => ({
    person,
    agent,
    verified: true,
    claims: null,
    issuedAt: null,
    expiresAt: Math.max(...standings.map(({ expiresAt }) => expiresAt)),
    run: null,
    standing: standings[0]?.id ?? null,
    standings,
  })
  const look = (key: string, by: By, name: string): Promise<Principal> =>
    guarded(async () => {
      const began = changes
      const at = clock.mono() // before the question: an answer is never younger than it
      if (!validId(name === '' ? '-' : name))
        throw denied('the name is longer than 256 bytes or has control characters')
      const person = await personOf(by, name)
      const { name: workload, agent } = by
      const rows = await store.standings.of(person, { workload, agent }, clock.now())
      if (rows.length === 0) throw denied('the standing has just ended')
      const known = seen.get(key)?.principal
      // One value for as long as nothing changes, by which others remember what they made of it.
      const bounds = (all: readonly StandingRow[]): string =>
        JSON.stringify([person, all.map(({ id, expiresAt }) => [id, expiresAt])])
      const same = known?.standings !== undefined && bounds(known.standings) === bounds(rows)
      const principal = same ? known : principalOf(person, agent, rows)
      if (began !== changes) return look(key, by, name)
      seen.set(key, { principal, at })
      return principal
    })

  return {
    give: ({ person, agent, connection }, { workload, days, operations }) =>
      guarded(async () => {
        const createdAt = clock.now()
        const expiresAt = createdAt + days * DAY_MS
        const row: StandingRow = {
          id: deps.newId(),
          tenant: person.tenant,
          realm: person.realm,
          user: person.id,
          workload,
          agent,
          connection,
          operations,
          createdAt,
          expiresAt,
          lastUsedAt: null,
          noticeAt: noticeOf(createdAt, expiresAt),
        }
        await store.standings.put(row)
        await tell(row.id)
        return row
      }),

    verify: (by, name) => {
      const key = JSON.stringify([by.name, by.agent, name])
      const known = seen.get(key)
      const fresh = known !== undefined && clock.mono() - known.at < FRESH_MS
      return fresh && (known.principal.expiresAt ?? 0) > clock.now()
        ? known.principal
        : look(key, by, name)
    },

    list: (filter) => guarded(() => store.standings.list(filter)),

    shorten: (row, days) =>
      guarded(async () => {
        const expiresAt = row.createdAt + days * DAY_MS
        const noticeAt = noticeOf(row.createdAt, expiresAt)
        if (!(await store.standings.shorten(row.id, expiresAt, noticeAt))) return null
        await tell(expiresAt <= clock.now() ? `-${row.id}` : row.id)
        return { ...row, expiresAt, noticeAt }
      }),

    end: (id) =>
      guarded(async () => {
        const row = await store.standings.remove(id)
        await tell(`-${id}`)
        return row
      }),

    used: ({ standing, standings }) => {
      const row = standings?.find(({ id }) => id === standing)
      if (row === undefined) return
      const mono = clock.mono()
      if (mono - (touched.get(row.id) ?? -Infinity) < TOUCH_MS) return
      touched.set(row.id, mono)
      store.standings
        .touch(row.id, clock.now())
        .then((first) => {
          if (first) deps.onFirstUse(row)
        })
        .catch((error: unknown) => {
          touched.delete(row.id)
          deps.log.warn({ err: error }, 'the last use of a standing could not be written')
        })
    },

    sweep: () =>
      guarded(async () => {
        const over = await store.standings.sweep(clock.now())
        for (const { id } of over) await tell(`-${id}`)
        return over
      }),
  }
}

/** How an event names it. */
export const standingFields = (row: StandingRow): object => ({
  standing: row.id,
  user: { tenant: row.tenant, realm: row.realm, id: row.user },
  agent: { id: row.agent },
  workload: row.workload,
  connection: row.connection,
  operations: row.operations,
  expires_at: new Date(row.expiresAt).toISOString(),
})
