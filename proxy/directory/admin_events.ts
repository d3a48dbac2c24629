// What administrators changed at Keycloak, followed: it sends no signal for a disabled user or a group that was left.
import { atPointer } from '../wire/json.ts'
import { pagesOf, type Get } from './page.ts'
import { Unanswered } from './source.ts'

/** Ids of users about whom something changed; null: anybody may be meant. */
type Changed = (users: readonly string[] | null) => void

const PAGE = 100
/** Its nodes' clocks differ, and what was written at one time is seen at another: the last while is read again, ms. */
const OVERLAP_MS = 10_000
/** Users that are told one by one; of more, everybody is. */
const MOST_USERS = 100
const MOST_PAGES = 10
/** Whether anything is recorded at all is asked at every so many looks. */
const LOOKS_AT_SETTINGS = 60

type Event = { readonly id: string; readonly at: number; readonly user: string | null }
const eventOf = (row: unknown): Event => {
  const [id, at, path] = ['/id', '/time', '/resourcePath'].map((name) => atPointer(row, name))
  if (typeof id !== 'string' || typeof at !== 'number')
    throw new Unanswered('malformed', 'an event has no id or no time')
  // A user, and their groups and roles, are below users/ID. What else there is may concern all: a group, a role.
  const [kind, user = ''] = typeof path === 'string' ? path.split('/') : []
  return { id, at, user: kind === 'users' && user !== '' ? user : null }
}
const listOf = (json: unknown): readonly unknown[] => {
  if (!Array.isArray(json)) throw new Unanswered('malformed', 'its answer has no list of events')
  return json as readonly unknown[]
}

/**
 * One look each time it is called; the first only finds out where the feed stands.
 * @param realm address of the realm in the API of administrators
 */
export const createAdminEvents = (
  realm: string,
  get: (signal: AbortSignal) => Get,
  changed: Changed,
  now: () => number,
): ((signal: AbortSignal) => Promise<void>) => {
  /** Of the newest event that was seen, by the clock of Keycloak; null: it is not known where the feed stands. */
  let newest: number | null = null
  let seen = new Set<string>()
  let looks = 0

  const recorded = async (ask: Get): Promise<void> => {
    const page = await ask(`${realm}/events/config`)
    if (atPointer(page?.json, '/adminEventsEnabled') !== true)
      throw new Unanswered(
        'refused',
        'the realm records no events of administrators: switch on "Save events" for them in its settings',
      )
  }
  /** From here on; what was asked before may have changed since. */
  const stand = async (ask: Get): Promise<void> => {
    const [last] = listOf((await ask(`${realm}/admin-events?max=1`))?.json)
    const event = last === undefined ? null : eventOf(last)
    newest = Math.min(event?.at ?? 0, now())
    seen = new Set(event === null ? [] : [event.id])
    changed(null)
  }
  return async (signal) => {
    const ask = get(signal)
    if (looks % LOOKS_AT_SETTINGS === 0) await recorded(ask)
    looks += 1
    if (newest === null) return stand(ask)
    const since = Math.max(0, newest - OVERLAP_MS)
    const address = `${realm}/admin-events?direction=asc&dateFrom=${since}&max=${PAGE}`
    const pages = await pagesOf(ask, `${address}&first=0`, ({ json }, _, n) =>
      n === MOST_PAGES || listOf(json).length < PAGE ? null : `${address}&first=${n * PAGE}`,
    )
    const events = pages.flatMap(({ json }) => listOf(json).map(eventOf))
    // More than anybody reads each second: an import, say.
    if (events.length === MOST_PAGES * PAGE) return stand(ask)
    const fresh = events.filter(({ id }) => !seen.has(id))
    // A node whose clock is ahead must not hide what the others write meanwhile.
    newest = Math.min(
      events.reduce((last, { at }) => Math.max(last, at), newest),
      Math.max(newest, now()),
    )
    seen = new Set(events.map(({ id }) => id))
    if (fresh.length === 0) return
    const users = new Set(fresh.map(({ user }) => user))
    changed(
      users.has(null) || users.size > MOST_USERS ? null : [...users].filter((id) => id !== null),
    )
  }
}
