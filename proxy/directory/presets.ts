// How each kind of directory is asked about one person, and what its answer says.
import { atPointer } from '../wire/json.ts'
import { pagesOf, type Get, type Page } from './page.ts'
import { Unanswered, type Known } from './source.ts'

/** Where the members of a general answer are; `*` is every item of a list. */
export type Places = {
  readonly id: string
  readonly active: string | null
  readonly groups: string | null
  readonly roles: string | null
  readonly entitlements: string | null
  readonly manager: string | null
  /** Names the next page, which has more of the lists. */
  readonly next: string | null
}
export type By = 'id' | 'name' | 'email'
export type Kind =
  | {
      readonly preset: 'keycloak'
      /** Of the server, without a trailing slash. */
      readonly url: string
      readonly realm: string
      readonly by: By
    }
  | { readonly preset: 'okta' | 'entra' | 'google'; readonly url: string; readonly by: By }
  | {
      readonly preset: 'none'
      /** With `{id}`, and perhaps `{tenant}`. */
      readonly url: string
      readonly method: 'GET' | 'POST'
      /** Its texts may hold `{id}` and `{tenant}`. */
      readonly body: unknown
      readonly places: Places
    }
type Of = { readonly id: string; readonly tenant: string }
type Ask = (of: Of, get: Get) => Promise<Known | null>

const MOST_NAMES = 10_000
const MOST_LENGTH = 1_024

const malformed = (what: string): never => {
  throw new Unanswered('malformed', `its answer ${what}`, { alone: true })
}
const listOf = (value: unknown, what: string): readonly unknown[] =>
  Array.isArray(value) ? (value as readonly unknown[]) : malformed(`has no list of ${what}`)
const textOf = (value: unknown, what: string): string =>
  typeof value === 'string' && value !== '' && value.length <= MOST_LENGTH && value.isWellFormed()
    ? value
    : malformed(`has a ${what} that is no name`)
const names = (values: readonly unknown[], what: string): readonly string[] => {
  if (values.length > MOST_NAMES)
    throw new Unanswered('too_large', `it names ${values.length} ${what}s: more than 10000`, {
      alone: true,
    })
  return [...new Set(values.map((value) => textOf(value, what)))]
}
/** The answer must be about whom was asked, to the letter: directories compare in ways of their own. */
const same = (value: unknown, id: string): void => {
  if (value !== id)
    throw new Unanswered('stranger', 'it answers about another person than was asked', {
      alone: true,
    })
}
const yes = (value: unknown, what: string): boolean =>
  typeof value === 'boolean' ? value : malformed(`does not say whether the person is ${what}`)
const nameOrNull = (value: unknown): string | null =>
  typeof value === 'string' && value !== '' && value.length <= MOST_LENGTH ? value : null

/** An id as one segment or one value: nothing in it means anything to the address around it. */
const encoded = (id: string): string =>
  encodeURIComponent(id).replaceAll(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  )
/** No directory has people of such names, and some server would read more into them. */
export const nameable = (id: string): boolean =>
  id.length > 0 &&
  id.length <= MOST_LENGTH &&
  id.isWellFormed() &&
  !/[\p{Cc}/\\]/u.test(id) &&
  !/^\.+$/.test(id)

const KEYCLOAK_PAGE = 500
const keycloak = ({ url, realm, by }: Extract<Kind, { preset: 'keycloak' }>): Ask => {
  const users = `${url}/admin/realms/${encoded(realm)}/users`
  const field = { id: '/id', name: '/username', email: '/email' }[by]
  const found = async (id: string, get: Get): Promise<unknown> => {
    if (by === 'id') return (await get(`${users}/${encoded(id)}`))?.json
    const key = by === 'name' ? 'username' : 'email'
    const page = await get(
      `${users}?${key}=${encoded(id)}&exact=true&max=2&briefRepresentation=false`,
    )
    const [first, ...others] = listOf(page?.json, 'users')
    return others.length === 0 ? first : malformed('names several people of this name')
  }
  const groupsOf = async (user: string, get: Get): Promise<readonly string[]> => {
    const first = `${users}/${encoded(user)}/groups?briefRepresentation=true&max=${KEYCLOAK_PAGE}`
    const pages = await pagesOf(get, `${first}&first=0`, ({ json }, _, n) =>
      listOf(json, 'groups').length < KEYCLOAK_PAGE ? null : `${first}&first=${n * KEYCLOAK_PAGE}`,
    )
    const paths = pages.flatMap(({ json }) => listOf(json, 'groups'))
    const all = names(
      paths.map((group) => atPointer(group, '/path')),
      'group',
    )
    // Whoever is in a subgroup is in those above it. The path names a group; its name alone may be another's, too.
    return [
      ...new Set(
        all.flatMap((path) => {
          // A slash in a name is written ~/ there.
          const steps = path.split(/(?<!~)\//).slice(1)
          return steps.map((_, i) => steps.slice(0, i + 1).join('/'))
        }),
      ),
    ]
  }
  const rolesOf = async (user: string, get: Get): Promise<readonly string[]> => {
    const page = await get(
      `${users}/${encoded(user)}/role-mappings/realm/composite?briefRepresentation=true`,
    )
    const roles = page === null ? [] : listOf(page.json, 'roles')
    return names(
      roles.map((role) => atPointer(role, '/name')),
      'role',
    )
  }
  return async ({ id }, get) => {
    // By the id all three leave at once.
    const beside = by === 'id' ? Promise.all([groupsOf(id, get), rolesOf(id, get)]) : null
    beside?.catch(() => {}) // waited for below, if the person is there
    const user = await found(id, get)
    if (user === undefined) return null
    same(atPointer(user, field), id)
    if (
      atPointer(user, '/serviceAccountClientId') !== undefined ||
      String(atPointer(user, '/username')).startsWith('service-account-')
    )
      return null
    const active = yes(atPointer(user, '/enabled'), 'enabled')
    const own = textOf(atPointer(user, '/id'), 'id')
    const [groups, roles] = await (beside ?? Promise.all([groupsOf(own, get), rolesOf(own, get)]))
    const manager = nameOrNull(atPointer(user, '/attributes/manager/0'))
    return { active, groups, roles, entitlements: [], manager }
  }
}

/** https://developer.okta.com/docs/api: users and their groups. */
const okta = ({ url, by }: { readonly url: string; readonly by: By }): Ask => {
  const users = `${url}/api/v1/users`
  return async ({ id }, get) => {
    const user = (await get(`${users}/${encoded(id)}`))?.json
    if (user === undefined) return null
    same(atPointer(user, by === 'id' ? '/id' : '/profile/login'), id)
    const status = textOf(atPointer(user, '/status'), 'status')
    const own = encoded(textOf(atPointer(user, '/id'), 'id'))
    const pages = await pagesOf(get, `${users}/${own}/groups?limit=200`, ({ next }) => next)
    const all = pages.flatMap(({ json }) => listOf(json, 'groups'))
    // A group that an application brought may have any name: it is known by its id alone.
    const groups = all.flatMap((group) => [
      atPointer(group, '/id'),
      ...(['OKTA_GROUP', 'BUILT_IN'].includes(String(atPointer(group, '/type')))
        ? [atPointer(group, '/profile/name')]
        : []),
    ])
    return {
      active: status === 'ACTIVE',
      groups: names(groups, 'group'),
      roles: [],
      entitlements: [],
      manager: nameOrNull(atPointer(user, '/profile/managerId')),
    }
  }
}

/** https://learn.microsoft.com/graph/api: names of groups are not unique there, so their ids count. */
const entra = ({ url, by }: { readonly url: string; readonly by: By }): Ask => {
  const users = `${url}/v1.0/users`
  const ids = (all: readonly unknown[], type: string): readonly unknown[] =>
    all
      .filter((one) => atPointer(one, '/@odata.type') === `#microsoft.graph.${type}`)
      .map((one) => atPointer(one, '/id'))
  return async ({ id }, get) => {
    const select = '$select=id,userPrincipalName,accountEnabled&$expand=manager($select=id)'
    const user = (await get(`${users}/${encoded(id)}?${select}`))?.json
    if (user === undefined) return null
    same(atPointer(user, by === 'id' ? '/id' : '/userPrincipalName'), id)
    const own = encoded(textOf(atPointer(user, '/id'), 'id'))
    const first = `${users}/${own}/transitiveMemberOf?$select=id&$top=999`
    const pages = await pagesOf(get, first, ({ json }) => linked(json, '/@odata.nextLink'))
    const all = pages.flatMap(({ json }) => listOf(atPointer(json, '/value'), 'groups'))
    return {
      active: yes(atPointer(user, '/accountEnabled'), 'enabled'),
      groups: names(ids(all, 'group'), 'group'),
      roles: names(ids(all, 'directoryRole'), 'role'),
      entitlements: [],
      manager: nameOrNull(atPointer(user, '/manager/id')),
    }
  }
}
const linked = (json: unknown, pointer: string): string | null => {
  const next = atPointer(json, pointer)
  return next === undefined || next === null || next === ''
    ? null
    : textOf(next, 'link to a next page')
}

/** Groups of groups that are followed. */
const MOST_NESTED = 200
/** https://developers.google.com/workspace/admin/directory: a group is known by its address, and lists only direct members. */
const google = ({ url, by }: { readonly url: string; readonly by: By }): Ask => {
  const base = `${url}/admin/directory/v1`
  const groupsOf = async (member: string, get: Get): Promise<readonly string[]> => {
    const first = `${base}/groups?userKey=${encoded(member)}&maxResults=200`
    const pages = await pagesOf(get, first, ({ json }) => {
      const token = linked(json, '/nextPageToken')
      return token === null ? null : `${first}&pageToken=${encoded(token)}`
    })
    // Who is in none has no list.
    const all = pages.flatMap(({ json }) => listOf(atPointer(json, '/groups') ?? [], 'groups'))
    return names(
      all.map((group) => atPointer(group, '/email')),
      'group',
    )
  }
  return async ({ id }, get) => {
    const user = (await get(`${base}/users/${encoded(id)}?projection=basic`))?.json
    if (user === undefined) return null
    same(atPointer(user, by === 'id' ? '/id' : '/primaryEmail'), id)
    const own = textOf(atPointer(user, '/id'), 'id')
    const suspended = yes(atPointer(user, '/suspended'), 'suspended')
    const archived = yes(atPointer(user, '/archived') ?? false, 'archived')
    const groups = new Set<string>()
    for (let edge: readonly string[] = [own]; edge.length > 0;) {
      const found = (await Promise.all(edge.map((member) => groupsOf(member, get)))).flat()
      edge = [...new Set(found)].filter((group) => !groups.has(group))
      for (const group of edge) groups.add(group)
      if (groups.size > MOST_NESTED)
        throw new Unanswered('too_large', `it names more than ${MOST_NESTED} groups, nested`, {
          alone: true,
        })
    }
    const relations: unknown = atPointer(user, '/relations')
    const manager = Array.isArray(relations)
      ? relations.find((one: unknown) => atPointer(one, '/type') === 'manager')
      : undefined
    return {
      active: !suspended && !archived,
      groups: [...groups],
      roles: [],
      entitlements: [],
      manager: nameOrNull(atPointer(manager, '/value')),
    }
  }
}

/** Every value at a pointer in which `*` is every item of a list. */
const each = (value: unknown, pointer: string): readonly unknown[] => {
  const [before = '', ...rest] = pointer.split('/*')
  const at = before === '' ? value : atPointer(value, before)
  if (rest.length === 0) return at === undefined || at === null ? [] : [at].flat()
  return listOf(at ?? [], before).flatMap((item) => each(item, rest.join('/*')))
}
const filled = (template: string, of: Of): string =>
  template.replaceAll('{id}', encoded(of.id)).replaceAll('{tenant}', encoded(of.tenant))
const filledBody = (body: unknown, of: Of): unknown =>
  typeof body === 'string'
    ? body.replaceAll(/\{(id|tenant)\}/g, (_, key: 'id' | 'tenant') => of[key])
    : Array.isArray(body)
      ? body.map((item: unknown) => filledBody(item, of))
      : typeof body === 'object' && body !== null
        ? Object.fromEntries(Object.entries(body).map(([key, item]) => [key, filledBody(item, of)]))
        : body

/** Is the id written into a text of another language, such as a filter? Percent-encoding ends before that is read. */
const inQuotes = (template: unknown): boolean =>
  typeof template === 'string'
    ? template.includes('{id}') && /["'`]|%2[27]|%60/.test(template)
    : typeof template === 'object' && template !== null && Object.values(template).some(inQuotes)

const general = ({ url, method, body, places }: Extract<Kind, { preset: 'none' }>): Ask => {
  const all = (pages: readonly Page[], pointer: string | null, what: string) =>
    names(pointer === null ? [] : pages.flatMap(({ json }) => each(json, pointer)), what)
  const quoted = inQuotes(url) || inQuotes(body)
  return async (of, get) => {
    if (quoted && /["'`]/.test(of.id)) return null
    const asking =
      body === undefined ? { method } : { method, body: JSON.stringify(filledBody(body, of)) }
    const pages = await pagesOf(
      (address) => get(address, asking),
      filled(url, of),
      ({ json, next }) => (places.next === null ? next : linked(json, places.next)),
    )
    const first = pages[0]?.json
    if (first === undefined) return null
    for (const { json } of pages) same(atPointer(json, places.id), of.id)
    return {
      active: places.active === null || yes(atPointer(first, places.active), 'active'),
      groups: all(pages, places.groups, 'group'),
      roles: all(pages, places.roles, 'role'),
      entitlements: all(pages, places.entitlements, 'entitlement'),
      manager: places.manager === null ? null : nameOrNull(atPointer(first, places.manager)),
    }
  }
}

/** What asks one kind of directory, about people who can be named there. */
export const askOf = (kind: Kind): Ask => {
  switch (kind.preset) {
    case 'keycloak':
      return keycloak(kind)
    case 'okta':
      return okta(kind)
    case 'entra':
      return entra(kind)
    case 'google':
      return google(kind)
    case 'none':
      return general(kind)
    default:
      return kind satisfies never
  }
}
