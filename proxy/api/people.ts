// People and tenants as a whole: what is kept of them, given to whoever asks for it by right, and erased.
import { z } from 'zod'
import type { Person, PersonalRows } from '../model.ts'
import { Problem } from '../problem.ts'
import { by, personAsked, type Gate, type Naming, type Operator } from './operator.ts'
import type { ApiRoute } from './openapi.ts'
import { invalid, readBody, readQuery, short, whole, type Rest } from './rest.ts'

/** Where a name of the evidence leads. */
type Whose =
  | { readonly name: string; readonly person: Person }
  | { readonly name: string; readonly erasedAt: number }
  | { readonly name: string; readonly tried: number; readonly unopened: number }

export type PeopleApiDeps = Naming & {
  readonly people: {
    /** Does erasing somebody cut what links them to the evidence? Else it names them until it is removed. */
    readonly unlinks: boolean
    /** All that is kept of a person, by table. */
    readonly of: (person: Person) => Promise<Readonly<Record<string, PersonalRows>>>
    /** All that lines of the evidence may name them by. */
    readonly names: (person: Person) => Promise<readonly string[]>
    /** Drops a key of theirs that does not open, under which nothing could be recorded. */
    readonly unlock: (person: Person) => Promise<void>
    readonly erase: (person: Person) => Promise<void>
    readonly all: (
      tenant: string,
      after: Pick<Person, 'realm' | 'id'> | null,
      most: number,
    ) => Promise<readonly Person[]>
    readonly eraseTenant: (
      tenant: string,
    ) => Promise<{ readonly scim: number; readonly agents: number }>
    readonly whois: (names: readonly string[], ids: readonly string[]) => Promise<readonly Whose[]>
  }
  /** By the socket of the machine only: whoever opens it could open the ring as well. */
  readonly local?: boolean
  readonly clock: { readonly now: () => number }
  readonly onEvent: (event: string, fields: object) => Promise<void>
}
/** Ends all that a person has, as far as it goes beyond the rows that name them. */
type EndPerson = (
  operator: Operator,
  person: Person,
) => Promise<{
  readonly ended: object
  readonly erased: { readonly authorizations: number; readonly runs: number }
  /** Accounts that were connected while this went on, and could not be ended. */
  readonly left: number
}>

const id = z.string().min(1).max(1_024)
const personQuery = z.strictObject({ tenant: short.optional(), realm: short.optional() })
const peopleQuery = z.strictObject({
  tenant: short,
  after_realm: z.string().max(1_024).optional(),
  after_id: z.string().max(1_024).optional(),
  limit: whole(100, 25),
})
const whoisBody = z.strictObject({
  names: z.array(id).max(1_000).default([]),
  users: z.array(id).max(1_000).default([]),
})
const personItem = z.object({ user_id: z.string(), tenant: z.string(), realm: z.string() })
/** Rows that stay when a person goes. */
const STAYS: ReadonlySet<string> = new Set(['person_epochs'])

const shapeOf = ({ id: user_id, tenant, realm }: Person): z.input<typeof personItem> => ({
  user_id,
  tenant,
  realm,
})
const isKnown = (kept: Readonly<Record<string, PersonalRows>>): boolean =>
  Object.keys(kept).some((table) => !STAYS.has(table))
const countsOf = (kept: Readonly<Record<string, PersonalRows>>): object =>
  Object.fromEntries(Object.entries(kept).map(([table, rows]) => [table, rows.length]))

export const addPeopleRoutes = (
  { route }: Pick<Rest, 'route'>,
  gate: Gate,
  deps: PeopleApiDeps,
  end: EndPerson,
): void => {
  const { people, onEvent } = deps

  route('GET', '/v1/admin/people', async (c) => {
    const operator = await gate.enter(c, 'connections')
    const { tenant, limit, after_realm: realm, after_id: after } = readQuery(c, peopleQuery)
    await gate.mustServe(operator, tenant)
    if ((realm === undefined) !== (after === undefined))
      throw invalid('after_realm and after_id go together')
    const from = realm === undefined || after === undefined ? null : { realm, id: after }
    const found = await people.all(tenant, from, limit)
    await onEvent('operator.listed', { ...by(operator), what: 'people', found: found.length })
    return c.json({ items: found.map(shapeOf) })
  })

  route('GET', '/v1/admin/users/:id', async (c) => {
    const { operator, person } = await personAsked(c, gate, deps, personQuery)
    const kept = await people.of(person)
    await onEvent('person.exported', { ...by(operator), user: person, rows: countsOf(kept) })
    // Of whom nothing is kept, no names are made up for whoever asks.
    const names = isKnown(kept) ? await people.names(person) : [person.id]
    const at = new Date(deps.clock.now()).toISOString()
    return c.json({ ...shapeOf(person), exported_at: at, kept, names })
  })

  route('DELETE', '/v1/admin/users/:id', async (c) => {
    const { operator, person } = await personAsked(c, gate, deps, personQuery)
    const kept = await people.of(person)
    const known = isKnown(kept)
    await people.unlock(person)
    const { ended, erased, left } = await end(operator, person)
    const evidence = people.unlinks ? 'unlinkable' : 'names_stay'
    // Before the last rows go: what was cut off in between is done again by whoever asks again.
    await onEvent('person.erased', {
      ...by(operator),
      user: person,
      rows: countsOf(kept),
      ...erased,
      left,
      evidence,
    })
    await people.erase(person)
    return c.json({ ...ended, known, erased, left, evidence })
  })

  route('DELETE', '/v1/admin/tenants/:name', async (c) => {
    const operator = await gate.enter(c, 'revoke')
    const tenant = c.req.param('name') ?? ''
    await gate.mustServe(operator, tenant)
    const [one] = await people.all(tenant, null, 1)
    if (one !== undefined)
      throw new Problem(
        'request_invalid',
        'people of this tenant are left: erase each of them first',
      )
    const gone = await people.eraseTenant(tenant)
    await onEvent('tenant.erased', { ...by(operator), tenant, ...gone })
    return c.json({ tenant, ...gone })
  })

  if (deps.local === true)
    route('POST', '/v1/admin/whois', async (c) => {
      const operator = await gate.enter(c, 'revoke')
      const { names, users } = await readBody(c, whoisBody)
      await onEvent('operator.whois', { ...by(operator), names, users: users.length })
      const found = await people.whois(names, users)
      return c.json({
        items: found.map((one) => ({
          name: one.name,
          ...('person' in one ? shapeOf(one.person) : {}),
          ...('erasedAt' in one ? { erased_at: new Date(one.erasedAt).toISOString() } : {}),
          ...('tried' in one ? { tried: one.tried, unopened: one.unopened } : {}),
        })),
      })
    })
}

/** For the OpenAPI document. @param ended what the revocation of everything answers */
export const peopleApi = (ended: z.ZodObject): readonly ApiRoute[] => [
  {
    method: 'get',
    path: '/v1/admin/people',
    summary: 'Everybody of a tenant of whom something is kept, in the order of realm and id',
    auth: 'operator',
    query: peopleQuery,
    answer: z.object({ items: z.array(personItem) }),
  },
  {
    method: 'get',
    path: '/v1/admin/users/{id}',
    summary: 'All that is kept of a person, by table, and how the evidence names them',
    auth: 'operator',
    query: personQuery,
    answer: personItem.extend({
      exported_at: z.string(),
      kept: z.record(z.string(), z.array(z.record(z.string(), z.unknown()))),
      names: z.array(z.string()),
    }),
  },
  {
    method: 'delete',
    path: '/v1/admin/users/{id}',
    summary: 'Revoke everything of a person, here and at the providers, and forget the person',
    auth: 'operator',
    query: personQuery,
    answer: ended.extend({
      known: z.boolean(),
      erased: z.object({ authorizations: z.int(), runs: z.int() }),
      left: z.int(),
      evidence: z.enum(['unlinkable', 'names_stay']),
    }),
  },
  {
    method: 'delete',
    path: '/v1/admin/tenants/{name}',
    summary: 'What is a tenant’s and nobody’s of its people; they must be erased before',
    auth: 'operator',
    answer: z.object({ tenant: z.string(), scim: z.int(), agents: z.int() }),
  },
]
