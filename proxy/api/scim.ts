// A SCIM 2.0 service provider (RFC 7643, 7644): the identity provider writes people and groups of one tenant and realm.
import { setImmediate as turn } from 'node:timers/promises'
import { Hono, type Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { bearerAmong } from './operator.ts'
import { answer, KINDS, LIST, MOST_COUNT, serveDiscovery, TYPE } from './scim_discovery.ts'
import { errorBody, ScimError } from './scim_error.ts'
import { matches, parseFilter, type Filter } from './scim_filter.ts'
import { movesOf, patched } from './scim_patch.ts'
import {
  projected,
  resourceOf,
  shownOf,
  shows,
  treeOf,
  URN,
  type Kind,
  type Shown,
  type Tree,
} from './scim_schema.ts'
import type { Env } from './rest.ts'
import { ScimConflict, type Clock, type Log, type ScimMember } from '../model.ts'
import type { Person, ScimChanged, ScimNext, ScimRealm, ScimRow, ScimStore } from '../model.ts'
import { toProblem } from '../problem.ts'
import { parseStrictBytes } from '../wire/json.ts'

type ScimDeps = {
  readonly scim: ScimStore
  readonly of: ScimRealm
  /** SHA-256 of those that are good; two while one is replaced by another. */
  readonly bearers: readonly Buffer[]
  /** Who a user is to deputy; null: nobody. */
  readonly personIn: (row: ScimRow) => Person | null
  readonly isActive: (row: ScimRow) => boolean
  /** Everybody here whom one external id must not name twice. */
  readonly externalIsPerson: boolean
  /** Ends what a person has running who is not active any more; before the answer. */
  readonly ended: (person: Person) => Promise<void>
  readonly stranger: () => void
  readonly publicUrl: string
  readonly clock: Pick<Clock, 'now'>
  readonly newId: () => string
  readonly log: Log
}

const BODY_BYTES = 4 * 1024 ** 2
const USUAL_COUNT = 100
/** Members on one page of groups. */
const MOST_MEMBERS = 50_000
/** Of a larger group a PATCH of members shows nothing, unless it asks. */
const SHOWN_MEMBERS = 1_000
/** Looked through before others get their turn. */
const SCAN = 200

/** Key of the topic `scim`: a person, or `null` for everybody of the realm. */
export const changedKeys = (
  { of, personIn, isActive }: Pick<ScimDeps, 'of' | 'personIn' | 'isActive'>,
  { before, after, moved }: ScimChanged,
): readonly string[] => {
  const key = (id: string | null): string => JSON.stringify([of.tenant, of.realm, id])
  if (moved === null) return [key(null)]
  const people = new Set<string>()
  const add = (row: ScimRow | null): void => {
    const person = row === null ? null : personIn(row)
    if (person !== null) people.add(key(person.id))
  }
  for (const row of moved) add(row)
  // Nothing is remembered about somebody new.
  const user = before !== null && before.kind === 'User'
  if (user) add(before)
  if (user || (after !== null && after.kind === 'User' && !isActive(after))) add(after)
  return [...people]
}

const tag = (row: Pick<ScimRow, 'version'>): string => `W/"${row.version}"`
const tags = (header: string | undefined): readonly string[] | null =>
  header === undefined ? null : header.split(',').map((each) => each.trim().replace(/^W\//, ''))
const among = (wanted: readonly string[] | null, row: ScimRow): boolean =>
  wanted !== null && (wanted.includes('*') || wanted.includes(`"${row.version}"`))

const refusal =
  ({ log, newId }: ScimDeps) =>
  (error: unknown): Response => {
    const refuse = (
      status: number,
      type: string | null,
      detail: string,
      more: Readonly<Record<string, string>> = {},
    ): Response =>
      new Response(errorBody(status, type, detail), {
        status,
        headers: {
          'content-type': TYPE,
          'cache-control': 'no-store',
          ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
          ...more,
        },
      })
    if (error instanceof ScimError)
      return refuse(error.status, error.scimType, error.message, error.headers)
    if (error instanceof ScimConflict) return refuse(409, 'uniqueness', error.message)
    const { message, code } = toProblem(error)
    log.error({ err: error, code, instance: newId() }, 'SCIM: a request failed')
    return refuse(500, null, message)
  }

const integer = (text: string | undefined, usual: number, least: number): number => {
  if (text === undefined) return usual
  if (!/^-?\d{1,9}$/.test(text))
    throw new ScimError(400, 'invalidValue', 'startIndex and count are whole numbers')
  return Math.max(least, Number(text))
}
/** What has an index of its own. */
const indexed = (
  filter: Filter,
): { readonly by: 'id' | 'name' | 'external_id'; readonly value: string } | null => {
  if (filter.kind !== 'compare' || filter.operator !== 'eq' || filter.path.sub !== null) return null
  const { value } = filter
  if (typeof value !== 'string' || filter.path.urn === URN.Enterprise) return null
  switch (filter.path.attribute.name) {
    case 'id':
      return { by: 'id', value }
    case 'externalId':
      return { by: 'external_id', value }
    case 'userName':
      return { by: 'name', value: value.toLowerCase() }
    default:
      return null
  }
}
const mentions = (filter: Filter, name: string): boolean => {
  if ('all' in filter) return filter.all.some((each) => mentions(each, name))
  if ('one' in filter) return mentions(filter.one, name)
  return filter.path.attribute.name === name
}

/** Rows ↔ what a client sees. */
const createViews = ({ scim, of, publicUrl }: ScimDeps) => {
  const base = `${publicUrl}/scim/v2`
  const place = (kind: Kind, id: string): string => `${base}/${kind}s/${id}`
  const memberOf = ({ id, kind }: ScimMember): Tree => ({
    value: id,
    $ref: place(kind, id),
    type: kind,
  })
  const plain = (row: ScimRow): Tree => JSON.parse(row.body) as Tree
  const whole = (row: ScimRow, more: Tree): Tree => {
    const body = plain(row)
    return {
      schemas: [URN[row.kind], ...(Object.hasOwn(body, URN.Enterprise) ? [URN.Enterprise] : [])],
      id: row.id,
      ...body,
      ...more,
      meta: {
        resourceType: row.kind,
        created: new Date(row.createdAt).toISOString(),
        lastModified: new Date(row.changedAt).toISOString(),
        location: place(row.kind, row.id),
        version: tag(row),
      },
    }
  }
  return {
    base,
    place,
    memberOf,
    plain,
    full: async (row: ScimRow, wants: (name: string) => boolean): Promise<Tree> => {
      if (row.kind === 'Group') {
        if (!wants('members')) return whole(row, {})
        const members = (await scim.members(of, row.id)).map(memberOf)
        return whole(row, members.length === 0 ? {} : { members })
      }
      if (!wants('groups')) return whole(row, {})
      const groups = (await scim.groups(of, row.id)).map(({ id, name, direct }) => ({
        value: id,
        $ref: place('Group', id),
        display: name,
        type: direct ? 'direct' : 'indirect',
      }))
      return whole(row, groups.length === 0 ? {} : { groups })
    },
  }
}
type Views = ReturnType<typeof createViews>

type Query = (name: string) => string | undefined
type Listed = { readonly totalResults: number; readonly Resources: readonly Tree[] }
const listOf = (resources: readonly Tree[], start: number) => ({
  schemas: [LIST],
  startIndex: start,
  itemsPerPage: resources.length,
  Resources: resources,
})
/** A question in a body, where a filter stays out of logs of proxies (RFC 7644 3.4.3). */
const searchOf = (body: unknown): Query => {
  const tree = treeOf(body)
  if (tree === null) throw new ScimError(400, 'invalidSyntax', 'the body must be a JSON object')
  return (name) => {
    const value = Object.hasOwn(tree, name) ? tree[name] : undefined
    if (value === undefined || value === null) return undefined
    if (Array.isArray(value)) return value.length === 0 ? undefined : value.map(String).join(',')
    if (typeof value === 'string' || typeof value === 'number') return String(value)
    throw new ScimError(400, 'invalidValue', `${name}: must be text, a number or a list`)
  }
}

const createLists = ({ scim, of }: ScimDeps, { full }: Views) => {
  /** One look through everything at a time: a second one waits. */
  let scanning: Promise<unknown> = Promise.resolve()
  const scan = async (kind: Kind, filter: Filter, most: number): Promise<readonly ScimRow[]> => {
    const name = kind === 'User' ? 'groups' : 'members'
    const deep = mentions(filter, name)
    const found: ScimRow[] = []
    for (let last = ''; ;) {
      const rows = await scim.after(of, kind, last, SCAN)
      for (const row of rows) if (matches(await full(row, () => deep), filter)) found.push(row)
      if (found.length > most)
        throw new ScimError(400, 'tooMany', `more than ${most} match: use a narrower filter`)
      const next = rows.at(-1)
      if (next === undefined || rows.length < SCAN) return found
      last = next.id
      await turn()
    }
  }
  const chosen = (kind: Kind, filter: Filter): Promise<readonly ScimRow[]> => {
    const index = indexed(filter)
    if (index !== null) return scim.find(of, kind, index.by, index.value)
    const { kind: shape } = filter
    const name = shape === 'compare' ? filter : null
    if (name?.operator === 'eq' && name.path.attribute.name === 'displayName' && kind === 'Group')
      return scim.find(of, kind, 'name', String(name.value).toLowerCase())
    const mine = scanning.then(() => scan(kind, filter, 10_000))
    scanning = mine.catch(() => {}) // told to whoever asked
    return mine
  }
  return async (kind: Kind, query: Query): Promise<Listed> => {
    const start = integer(query('startIndex'), 1, 1)
    const count = Math.min(MOST_COUNT, integer(query('count'), USUAL_COUNT, 0))
    const shown = shownOf(query('attributes'), query('excludedAttributes'))
    const text = query('filter')
    const all =
      text === undefined || text === '' ? null : await chosen(kind, parseFilter(text, kind))
    const rows =
      all === null
        ? await scim.page(of, kind, start - 1, count)
        : all.slice(start - 1, start - 1 + count)
    const resources: Tree[] = []
    let members = 0
    for (const row of rows) {
      const tree = await full(row, (name) => shows(shown, name))
      const list = tree['members']
      members += Array.isArray(list) ? list.length : 0
      if (members > MOST_MEMBERS)
        throw new ScimError(
          400,
          'tooMany',
          'too many members: ask with excludedAttributes=members, or for fewer with count',
        )
      resources.push(projected(shown, tree))
    }
    const totalResults = all?.length ?? (await scim.count(of, kind))
    return { ...listOf(resources, start), totalResults }
  }
}

/** What is stored of a resource. */
const nextOf = (kind: Kind, tree: Tree): ScimNext => {
  const { members, externalId, ...rest } = tree
  const name = rest[kind === 'User' ? 'userName' : 'displayName']
  if (typeof name !== 'string' || name.trim() === '')
    throw new ScimError(
      400,
      'invalidValue',
      `${kind === 'User' ? 'userName' : 'displayName'}: is needed`,
    )
  if (Buffer.byteLength(name) > 256)
    throw new ScimError(400, 'invalidValue', 'a name may have 256 bytes')
  const external = typeof externalId === 'string' && externalId !== '' ? externalId : null
  const ids = (Array.isArray(members) ? members : []).map(({ value }: { value?: unknown }) => {
    if (typeof value !== 'string')
      throw new ScimError(400, 'invalidValue', 'members: each needs a value')
    return value
  })
  const body = JSON.stringify(external === null ? rest : { ...rest, externalId: external })
  if (Buffer.byteLength(body) > 65_536)
    throw new ScimError(413, null, 'a resource may have 64 KiB beside its members')
  if (!body.isWellFormed() || /\\ud[89a-f]/i.test(body))
    throw new ScimError(400, 'invalidValue', 'text must be well-formed Unicode')
  return { name, externalId: external, body, members: kind === 'Group' ? ids : null }
}

const existing = (row: ScimRow | null, ifMatch: readonly string[] | null): ScimRow => {
  if (row === null) throw new ScimError(404, null, 'nothing here has this id')
  if (ifMatch !== null && !among(ifMatch, row))
    throw new ScimError(412, null, 'it was changed meanwhile: read it again')
  return row
}
const inactive = ({ name, externalId, body }: ScimRow): ScimNext => ({
  name,
  externalId,
  members: null,
  body: JSON.stringify({ ...treeOf(JSON.parse(body)), active: false }),
})

/** Writes, and before anybody hears that it is written, ends what may not go on. */
const createWriter =
  (deps: ScimDeps) =>
  async (
    kind: Kind,
    id: string | null,
    make: (before: ScimRow | null, members: readonly ScimMember[]) => ScimNext | null,
    unread = false,
  ): Promise<ScimChanged> => {
    const { scim, of, clock, newId, personIn, isActive, ended } = deps
    const changed = await scim.change(
      of,
      {
        kind,
        id,
        fresh: newId(),
        now: clock.now(),
        alone: kind === 'User' && deps.externalIsPerson,
        unread,
      },
      make,
      (what) => changedKeys(deps, what),
    )
    if (kind !== 'User') return changed
    const { before, after } = changed
    const was = before === null ? null : personIn(before)
    const is = after === null ? null : personIn(after)
    // Also when it changed nothing: what an earlier try did not end is ended by the next one.
    if (is !== null && after !== null && !isActive(after)) await ended(is)
    if (was !== null && was.id !== is?.id) await ended(was)
    return changed
  }

const createWrites = (deps: ScimDeps, views: Views) => {
  const write = createWriter(deps)
  /** Whoever gets another name: if this process dies behind the change, nobody knows the old one. */
  const endRenamed = async (id: string, next: (before: ScimRow) => ScimNext): Promise<void> => {
    const row = await deps.scim.get(deps.of, 'User', id)
    if (row === null) return
    const was = deps.personIn(row)
    const { members: _, ...columns } = next(row)
    const is = deps.personIn({ ...row, ...columns })
    if (was !== null && was.id !== is?.id) await deps.ended(was)
  }
  return {
    create: async (kind: Kind, body: unknown): Promise<ScimRow | null> => {
      const next = nextOf(kind, resourceOf(kind, body))
      return (await write(kind, null, () => next)).after
    },
    replace: async (kind: Kind, id: string, body: unknown, ifMatch: readonly string[] | null) => {
      const next = nextOf(kind, resourceOf(kind, body))
      const make = (before: ScimRow | null): ScimNext => {
        existing(before, ifMatch)
        return next
      }
      if (kind === 'User') await endRenamed(id, make)
      return (await write(kind, id, make)).after
    },
    patch: async (kind: Kind, id: string, body: unknown, ifMatch: readonly string[] | null) => {
      const moves = kind === 'Group' ? movesOf(body) : null
      const make = (before: ScimRow | null, members: readonly ScimMember[]): ScimNext => {
        const tree = views.plain(existing(before, ifMatch))
        if (moves !== null) return { ...nextOf(kind, patched(kind, tree, body)), members: moves }
        const now = kind === 'Group' ? { ...tree, members: members.map(views.memberOf) } : tree
        return nextOf(kind, patched(kind, now, body))
      }
      if (kind === 'User') await endRenamed(id, (before) => make(before, []))
      const { after } = await write(kind, id, make, moves !== null)
      return { row: after, moved: moves !== null && moves.come.length + moves.gone.length > 0 }
    },
    /** Inactive first: if this process dies in between, the same request finds the user and ends the rest. */
    remove: async (kind: Kind, id: string, ifMatch: readonly string[] | null): Promise<void> => {
      const row = kind === 'User' ? await deps.scim.get(deps.of, kind, id) : null
      if (row !== null && deps.isActive(row))
        await write(kind, id, (before) => inactive(existing(before, ifMatch)))
      else if (row !== null) {
        const person = deps.personIn(existing(row, ifMatch))
        if (person !== null) await deps.ended(person)
      }
      const checked = row === null ? ifMatch : null
      await write(kind, id, (before) => {
        existing(before, checked)
        return null
      })
    },
  }
}

const METHODS = [
  ...[
    '/ServiceProviderConfig',
    '/Schemas',
    '/Schemas/:id',
    '/ResourceTypes',
    '/ResourceTypes/:id',
  ].map((path) => [path, 'GET'] as const),
  ...KINDS.flatMap(([path]) => [
    [`/${path}`, 'GET, POST'] as const,
    [`/${path}/.search`, 'POST'] as const,
    [`/${path}/:id`, 'GET, PUT, PATCH, DELETE'] as const,
  ]),
]

const bodyOf = async (c: Context): Promise<unknown> => {
  if (!/^application\/(?:scim\+)?json\s*(?:;|$)/i.test(c.req.header('content-type') ?? ''))
    throw new ScimError(415, 'invalidSyntax', `the body must be ${TYPE}`)
  let value: unknown
  try {
    value = parseStrictBytes(new Uint8Array(await c.req.arrayBuffer()))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new ScimError(400, 'invalidSyntax', 'the body is not JSON with one reading')
  }
  // PostgreSQL would fail at it, and whoever pushes would try for ever.
  if (/(?<!\\)(?:\\\\)*\\u0000/.test(JSON.stringify(value)))
    throw new ScimError(400, 'invalidValue', 'text may hold no zero byte')
  return value
}
const shownFor = (c: Context): Shown =>
  shownOf(c.req.query('attributes'), c.req.query('excludedAttributes'))

/** Mounted at `/scim/v2` of the connect listener. */
export const createScimApi = (deps: ScimDeps): Hono<Env> => {
  const app = new Hono<Env>().basePath('/scim/v2')
  const views = createViews(deps)
  const lists = createLists(deps, views)
  const { create, replace, patch, remove } = createWrites(deps, views)
  const refuse = refusal(deps)
  app.onError(refuse)
  app.use(async (c, next) => {
    if (bearerAmong(c, deps.bearers) === -1) {
      deps.stranger()
      throw new ScimError(401, null, 'the bearer is not the one of entitlements.scim')
    }
    if (c.req.url.includes('%00'))
      throw new ScimError(400, 'invalidValue', 'the address has a zero byte (%00)')
    await next()
    c.header('cache-control', 'no-store')
  })
  app.use(
    bodyLimit({
      maxSize: BODY_BYTES,
      onError: () => refuse(new ScimError(413, null, 'the body may have 4 MiB')),
    }),
  )
  const shown = async (c: Context, row: ScimRow | null, status: number): Promise<Response> => {
    if (row === null) throw new ScimError(404, null, 'nothing here has this id')
    const wanted = shownFor(c)
    const tree = projected(wanted, await views.full(row, (name) => shows(wanted, name)))
    const location = views.place(row.kind, row.id)
    return answer(status, tree, { etag: tag(row), location })
  }
  serveDiscovery(app, views.base)
  const ifMatch = (c: Context): readonly string[] | null => tags(c.req.header('if-match'))
  const everywhere = async (c: Context): Promise<object> => {
    const query = searchOf(await bodyOf(c))
    const start = integer(query('startIndex'), 1, 1)
    const count = Math.min(MOST_COUNT, integer(query('count'), USUAL_COUNT, 0))
    const resources: Tree[] = []
    let total = 0
    for (const [, kind] of KINDS) {
      const from = Math.max(1, start - total)
      const own = (name: string): string | undefined =>
        ({ startIndex: String(from), count: String(count - resources.length) })[name] ?? query(name)
      const found = await lists(kind, own)
      resources.push(...found.Resources)
      total += found.totalResults
    }
    return { ...listOf(resources, start), totalResults: total }
  }
  app.post('/.search', async (c) => answer(200, await everywhere(c)))
  for (const [path, kind] of KINDS) {
    app.post(`/${path}/.search`, async (c) =>
      answer(200, await lists(kind, searchOf(await bodyOf(c)))),
    )
    app.get(`/${path}`, async (c) => answer(200, await lists(kind, (name) => c.req.query(name))))
    app.post(`/${path}`, async (c) => shown(c, await create(kind, await bodyOf(c)), 201))
    app.get(`/${path}/:id`, async (c) => {
      const row = await deps.scim.get(deps.of, kind, c.req.param('id'))
      if (row !== null && among(tags(c.req.header('if-none-match')), row))
        return answer(304, null, { etag: tag(row) })
      return shown(c, row, 200)
    })
    app.put(`/${path}/:id`, async (c) =>
      shown(c, await replace(kind, c.req.param('id'), await bodyOf(c), ifMatch(c)), 200),
    )
    app.patch(`/${path}/:id`, async (c) => {
      const { row, moved } = await patch(kind, c.req.param('id'), await bodyOf(c), ifMatch(c))
      const { only, without } = shownFor(c)
      // Who moves one of a hundred thousand members does not want to read them all.
      const unasked = moved && only === null && without.length === 0
      if (unasked && row !== null && (await deps.scim.exceeds(deps.of, row.id, SHOWN_MEMBERS)))
        return answer(204, null, { etag: tag(row) })
      return shown(c, row, 200)
    })
    app.delete(`/${path}/:id`, async (c) => {
      await remove(kind, c.req.param('id'), ifMatch(c))
      return answer(204, null)
    })
  }
  for (const [path, allow] of METHODS)
    app.all(path, () => {
      throw new ScimError(405, null, `only ${allow} is known here`, { allow })
    })
  app.all('/Bulk', () => {
    throw new ScimError(501, null, 'Bulk is not served: ServiceProviderConfig says so')
  })
  app.notFound(() => refuse(new ScimError(404, null, 'there is nothing at this path')))
  return app
}
