// What is kept of people, given and taken away: the store's rows, and how the evidence names them.
import { nameOf, OWN, type Names } from './names.ts'
import type { Config } from '../config/schema.ts'
import type { Clock, Person, PersonKeyRow, Store } from '../model.ts'
import { messageOf, Problem } from '../problem.ts'
import type { Sealer } from '../vault/seal.ts'

const PAGE = 500
/** Where a name of the evidence leads. */
export type Whose =
  | { readonly name: string; readonly person: Person }
  | { readonly name: string; readonly erasedAt: number }
  /** Nobody of those who are known has it, unless it is one of those whose keys the ring does not open. */
  | { readonly name: string; readonly tried: number; readonly unopened: number }

type Deps = {
  readonly config: Config
  readonly store: Store
  readonly sealer: Pick<Sealer, 'openText' | 'hmacs'>
  readonly names: Names | null
  readonly clock: Pick<Clock, 'now'>
  /** Longest life of a session at the pages, ms. */
  readonly sessionMs: number
}

export const createPeopleKept = ({ config, store, sealer, names, clock, sessionMs }: Deps) => {
  const scim = config.entitlements?.scim?.user
  const asked = scim === undefined ? {} : { scim }
  const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (cause) {
      if (cause instanceof Problem) throw cause
      throw new Problem('vault_unavailable', messageOf(cause), { cause })
    }
  }
  /** null: the ring does not open it. */
  const opened = (row: PersonKeyRow): Promise<string | null> =>
    nameOf(sealer, row).then(
      ({ id }) => id,
      () => null,
    )
  /** The name under the person's own key; null: they have none, or the ring does not open it. */
  const own = async (person: Person): Promise<string | null> => {
    const row = await store.personKeys.find(person)
    return row === null ? null : opened(row)
  }
  const underRing = (id: string): readonly string[] =>
    sealer.hmacs('user', id).map((hash) => `hmac:${hash}`)

  /** Everybody with a key of their own, as the evidence names them; `name` null: the ring does not open it. */
  const keyed = async function* (): AsyncGenerator<{ name: string | null; person: Person }> {
    for (let after = ''; ;) {
      const rows = await store.personKeys.page(after, PAGE)
      for (const row of rows) yield { name: await opened(row), person: row.person }
      const last = rows.at(-1)
      if (last === undefined) return
      after = last.id
    }
  }
  /** Everybody who is known, with all their names. @param shut is told of each whose key the ring does not open */
  const everybody = async function* (
    ids: readonly string[],
    shut: () => void,
  ): AsyncGenerator<{ readonly name: string; person: Person }> {
    const wanted = (id: string): boolean => ids.length === 0 || ids.includes(id)
    const seen = new Set<string>()
    const once = function* (person: Person): Generator<{ name: string; person: Person }> {
      const key = JSON.stringify(person)
      if (seen.has(key)) return
      seen.add(key)
      for (const name of underRing(person.id)) yield { name, person }
    }
    for await (const { name, person } of keyed())
      if (wanted(person.id)) {
        if (name === null) shut()
        else yield { name, person }
        yield* once(person)
      }
    for (let after: Person | null = null; ;) {
      const page: readonly Person[] = await store.credentials.owners(after, PAGE)
      for (const person of page) if (wanted(person.id)) yield* once(person)
      after = page.at(-1) ?? null
      if (after === null) return
    }
  }

  return {
    /** Does erasing somebody cut what links them to the evidence? Else it names them until it is removed. */
    unlinks: names !== null,
    of: (person: Person) => guarded(() => store.kept(person, scim)),
    /** All that lines about this person may name them by. */
    names: (person: Person): Promise<readonly string[]> =>
      guarded(async () => {
        const name = await own(person)
        return [...(name === null ? [] : [name]), ...underRing(person.id), person.id]
      }),
    /**
     * A key that the ring does not open links nobody, and nothing could be recorded of its person: before they are erased
     * it goes, and what ends is recorded under a new one.
     */
    unlock: (person: Person): Promise<void> =>
      guarded(async () => {
        const row = await store.personKeys.find(person)
        if (row !== null && (await opened(row)) === null) await store.personKeys.drop(row.id)
      }),
    erase: (person: Person): Promise<void> =>
      guarded(async () => {
        const name = await own(person)
        const at = clock.now()
        await store.erase(person, { ...asked, name, at, sessionsUntil: at + sessionMs })
      }),
    all: (tenant: string, after: Pick<Person, 'realm' | 'id'> | null, most: number) =>
      guarded(() => store.tenants.people(tenant, after, most)),
    eraseTenant: (tenant: string) => guarded(() => store.tenants.erase(tenant)),
    /** Whose names these are; `ids`: who it may be, and without names: what theirs are. */
    whois: (wanted: readonly string[], ids: readonly string[]): Promise<readonly Whose[]> =>
      guarded(async () => {
        const found: Whose[] = []
        const left = new Set(wanted)
        const tried = new Set<string>(ids)
        let unopened = 0
        for await (const one of everybody(ids, () => void (unopened += 1))) {
          tried.add(one.person.id)
          if (wanted.length > 0 && !left.has(one.name)) continue
          // One name under the ring's key may be that of several people of one id.
          if (one.name.startsWith(OWN)) left.delete(one.name)
          found.push(one)
          if (wanted.length > 0 && left.size === 0) break
        }
        for (const name of wanted) {
          if (found.some((one) => one.name === name)) continue
          const erasedAt = await store.personKeys.erasedAt(name)
          found.push(erasedAt === null ? { name, tried: tried.size, unopened } : { name, erasedAt })
        }
        return found
      }),
  }
}
