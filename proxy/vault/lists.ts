// What is stored of people and agents, a page at a time: nobody reads a vault of a hundred thousand people at one look.
import { setImmediate as turn } from 'node:timers/promises'
import type { GrantRow, HeldRow, Person, Store } from '../model.ts'
import { createGuarded } from './guarded.ts'

/** Rows of a page. */
export const PAGE = 50
/** Ids that are searched at once: calls that wait meanwhile go on in between. */
const WINDOW = 2_000
/** People who allow an agent something are counted so far. */
export const MOST_COUNTED = 1_000

export type ListedPerson = {
  readonly person: Person
  readonly connections: readonly {
    readonly connection: string
    readonly status: 'active' | 'needs_reauth'
  }[]
  readonly agents: readonly string[]
}
export type Listed<T, After> = {
  readonly rows: readonly T[]
  /** Where the next page goes on; null: there is none. */
  readonly next: After | null
}
/** What people of several tenants allow an agent. */
export type Reach = {
  /** Up to MOST_COUNTED of each tenant, and one more where there are more. */
  readonly people: number
  readonly connections: readonly string[]
}
/** Tenants that whoever asks serves; undefined: all. */
export type Tenants = readonly string[] | undefined

/** As the store orders them: by bytes. */
const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
const paged = <T, After>(rows: readonly T[], keyOf: (row: T) => After): Listed<T, After> => {
  const shown = rows.slice(0, PAGE)
  const last = shown.at(-1)
  return { rows: shown, next: rows.length > PAGE && last !== undefined ? keyOf(last) : null }
}

const peopleIn = (rows: readonly HeldRow[]): readonly ListedPerson[] => {
  const each = Map.groupBy(rows, ({ tenant, realm, user }) => JSON.stringify([tenant, realm, user]))
  return [...each.values()].flatMap((own) => {
    const [first] = own
    if (first === undefined) return []
    const { tenant, realm, user } = first
    const held = new Map(own.map((row) => [row.connection, row]))
    return {
      person: { tenant, realm, id: user },
      connections: [...held.values()].map(({ connection, status, doubtfulSince }) => ({
        connection,
        status: doubtfulSince == null ? status : ('needs_reauth' as const),
      })),
      agents: [...new Set(own.flatMap(({ agent }) => agent ?? []))],
    }
  })
}

export type Lists = ReturnType<typeof createLists>

/** Everything here rejects with Problem vault_unavailable when the store fails. */
export const createLists = ({ credentials, grants }: Pick<Store, 'credentials' | 'grants'>) => {
  const guarded = createGuarded('the vault cannot be read now')
  /**
   * One page over several tenants: what is left of the first, then the next.
   * @param from the tenant in which the page before ended; null: it is the first page
   */
  const over = async <T>(
    tenants: Tenants,
    from: string | null,
    read: (tenant: string | null, most: number) => Promise<readonly T[]>,
  ): Promise<readonly T[]> => {
    if (tenants === undefined) return read(null, PAGE + 1)
    const found: T[] = []
    for (const tenant of [...new Set(tenants)].sort(byBytes)) {
      if (found.length > PAGE) break
      if (from !== null && byBytes(tenant, from) < 0) continue
      found.push(...(await read(tenant, PAGE + 1 - found.length)))
    }
    return found
  }

  const held = async (
    tenant: string | null,
    of: { readonly after: Person | null; readonly most: number; readonly part: string },
  ): Promise<readonly HeldRow[]> => {
    const { part, most } = of
    if (part === '') return credentials.people({ tenant, ...of })
    const found: HeldRow[] = []
    for (let { after } = of, people = 0; ;) {
      const until = await credentials.personAhead(tenant, after, WINDOW)
      const page = { tenant, after, until, part, most: most - people }
      const rows = await credentials.peopleNamed(page)
      found.push(...rows)
      people += peopleIn(rows).length
      if (until === null || people >= most) return found
      after = until
      await turn()
    }
  }

  return {
    /** People of whom an account is connected. @param of.part what their id has in it; '': all */
    people: (
      tenants: Tenants,
      { part, after }: { readonly part: string; readonly after: Person | null },
    ): Promise<Listed<ListedPerson, Person>> =>
      guarded(async () => {
        const people = await over(tenants, after?.tenant ?? null, async (tenant, most) => {
          const behind = tenant === null || tenant === after?.tenant ? after : null
          const rows = await held(tenant, { after: behind, most, part })
          return peopleIn(rows)
        })
        return paged(people, ({ person }) => person)
      }),

    /** Agents that somebody allows something, and `known` ones besides. @param after '': from the beginning */
    agents: (
      tenants: Tenants,
      { known, after }: { readonly known: readonly string[]; readonly after: string },
    ): Promise<Listed<string, string>> =>
      guarded(async () => {
        const most = PAGE + 1
        const named = await Promise.all(
          (tenants ?? [null]).map((tenant) => grants.agents({ tenant, after, most })),
        )
        const own = known.filter((agent) => byBytes(agent, after) > 0)
        const all = [...new Set([...named.flat(), ...own])].sort(byBytes)
        return paged(all.slice(0, most), (agent) => agent)
      }),

    reach: (tenants: Tenants, agent: string): Promise<Reach> =>
      guarded(async () => {
        const each = await Promise.all(
          (tenants ?? [null]).map((tenant) => grants.reach(agent, tenant, MOST_COUNTED + 1)),
        )
        return {
          people: each.reduce((sum, { people }) => sum + people, 0),
          connections: [...new Set(each.flatMap(({ connections }) => connections))].sort(),
        }
      }),

    /** What people allow an agent. */
    grants: (
      tenants: Tenants,
      agent: string,
      after: GrantKey | null,
    ): Promise<Listed<GrantRow, GrantKey>> =>
      guarded(async () => {
        const rows = await over(tenants, after?.tenant ?? null, (tenant, most) => {
          const behind = tenant === null || tenant === after?.tenant ? after : null
          return grants.page({ agent, tenant, after: behind, most })
        })
        return paged(rows, ({ tenant, realm, user, connection }) => ({
          tenant,
          realm,
          user,
          connection,
        }))
      }),
  }
}
export type GrantKey = Pick<GrantRow, 'tenant' | 'realm' | 'user' | 'connection'>
