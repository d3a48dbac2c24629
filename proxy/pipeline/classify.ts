// Which operation is this? A trie of decoded segments per provider; pure.
import type {
  EnvelopeRow,
  Json,
  McpCall,
  Operation,
  OperationRow,
  Provider,
  ReadField,
  RootField,
  Route,
  Target,
} from '../model.ts'
import { Problem } from '../problem.ts'
import { canonicalTarget } from '../wire/canonical.ts'
import { signatureOf } from '../wire/function_segment.ts'

export type Act = {
  readonly operation: Operation
  readonly kind: 'rest' | 'asset' | 'graphql' | 'mcp'
  /** Segments as policy sees them: an encoded slash inside `{x+}` separates, as it does at the provider. */
  readonly segments: readonly string[]
  /** Of an endpoint whose body is still to be read: `query issues` → its row. */
  readonly fields?: ReadonlyMap<string, OperationRow>
  /** Of one root field of a GraphQL call. */
  readonly graphql?: RootField
  /** Of an endpoint whose body holds several calls, still to be read. */
  readonly envelope?: EnvelopeRow
  /** Of one of the calls in a batch: its own method, path and query. */
  readonly target?: Target
  /** Of an MCP server whose message is still to be read: `tools/call create_issue` → its row. */
  readonly messages?: ReadonlyMap<string, OperationRow>
  /** Of a message to an MCP server. */
  readonly mcp?: McpCall & { readonly arguments: Readonly<Record<string, Json>> }
  /** What its answer may list, so that each is decided before it comes (pipeline/mcp). */
  readonly lists?: readonly Act[]
  /** Several calls inside one: each is decided, and all must be allowed. */
  readonly parts?: readonly [Act, ...Act[]]
}

/** Most have one kind of child: what is not there takes no room. */
type Node = {
  literal: Map<string, Node> | null
  one: Node | null
  /** `{x}:verb` at the end: verb → what stands there; '' for a `{x}:` anywhere. */
  verbs: Map<string, Node> | null
  /** A last `{x+}`: method → row. */
  rest: Map<string, OperationRow> | null
  rows: Map<string, OperationRow> | null
  /** A GraphQL endpoint: root field → row. */
  fields: Map<string, OperationRow> | null
  /** An MCP server: message → row. */
  messages: Map<string, OperationRow> | null
  /** A `{x+}` before the end: one segment that may hold encoded slashes. */
  slashes: Node | null
  /** A `{x+}:`: segments up to the first that ends in a colon. */
  path: Node | null
  /** `search(q='{q}')`: its signature → what stands there. */
  functions: Map<string, Node> | null
  /** Stands a function here, with arguments or without (`delta()`)? */
  hasCalls: boolean
}
const node = (): Node => ({
  literal: null,
  one: null,
  verbs: null,
  rest: null,
  rows: null,
  fields: null,
  messages: null,
  slashes: null,
  path: null,
  functions: null,
  hasCalls: false,
})

/** Nothing in the catalogue fits: the starter policy refuses it, and facts must be as fresh as for `admin`. */
export const UNKNOWN: Operation = {
  id: 'unknown',
  access: 'admin',
  scopes: [[]],
  inspect: [],
  upload: false,
  rewrite: [],
}
/** The same of a GraphQL call; with an identity of its own, since texts are remembered by it. */
const UNKNOWN_FIELD: Operation = { ...UNKNOWN }

export type Classify = (route: Route) => Act

/** A batch before it is read, as metrics name it; policy sees the calls in it. */
const BATCH: Operation = { ...UNKNOWN, id: 'batch' }
const batches = new WeakMap<EnvelopeRow, Operation>()
const batchOf = (row: EnvelopeRow): Operation => {
  let batch = batches.get(row)
  if (batch === undefined) batches.set(row, (batch = { ...BATCH, rewrite: row.rewrite }))
  return batch
}
/** Before any template of the catalogue: nothing there may pass a batch unread. */
const envelopeAt = (
  rows: readonly EnvelopeRow[] | undefined,
  at: { readonly method: string; readonly segments: readonly string[]; readonly host: string },
): EnvelopeRow | undefined =>
  rows?.find(
    ({ method, segments, host }) =>
      method === at.method &&
      segments.length === at.segments.length &&
      (host === null || host === at.host) &&
      segments.every(
        (part, i) => part === at.segments[i] || (part.startsWith('{') && at.segments[i] !== ''),
      ),
  )
const child = (within: Map<string, Node>, name: string): Node => {
  const known = within.get(name)
  if (known !== undefined) return known
  const fresh = node()
  within.set(name, fresh)
  return fresh
}
/** A template whose last segment ends in a verb. */
const ESCAPABLE = /:[^/]+$/
/** A verb, known or not; a range of cells (A1:B2, A:C) is none. */
const WORD = /^[a-z][A-Za-z]{2,}$/
/** Where a template says `{field}`, Salesforce also takes the id of a record, and goes on to another record from there. */
const FIELD = /^(?!(?=\D*\d)(?:[^\W_]{15}|[^\W_]{18})$)[A-Za-z]\w*$/
const leadsOn = (path: string, segments: readonly string[]): boolean =>
  path.includes('/{field}/') && !FIELD.test(segments[path.split('/').indexOf('{field}') - 1] ?? '')
const VERB = /^\{[^}]+\}:(.*)$/
/** A call of a function, in whatever form OData has for it. */
const CALLED = /^[A-Za-z][\w.]*\(.*\)$/s

const build = (rows: readonly OperationRow[]): Node => {
  const root = node()
  for (const row of rows) {
    const parts = row.path.split('/').slice(1)
    let at = root
    parts.forEach((part, i) => {
      const last = i === parts.length - 1
      at.hasCalls ||= CALLED.test(part)
      const verb = VERB.exec(part)?.[1]
      if (part.endsWith('+}')) {
        if (last) {
          ;(at.rest ??= new Map()).set(row.method, row)
          return
        }
        at = at.slashes ??= node()
      } else if (part.endsWith('+}:')) at = at.path ??= node()
      else if (verb !== undefined) at = child((at.verbs ??= new Map()), verb)
      else if (part.startsWith('{')) at = at.one ??= node()
      else if (part.includes('{'))
        at = child((at.functions ??= new Map()), signatureOf(part) ?? part)
      else at = child((at.literal ??= new Map()), part)
      if (!last) return
      ;(at.rows ??= new Map()).set(row.method, row)
      if (row.graphql !== undefined) (at.fields ??= new Map()).set(row.graphql, row)
      if (row.mcp !== undefined) (at.messages ??= new Map()).set(row.mcp, row)
    })
  }
  return root
}

type Found = {
  readonly row: OperationRow
  readonly splitFrom: number | null
  readonly fields?: Node['fields']
  readonly messages?: Node['messages']
}

/**
 * What `{x}`, `{x}:verb` or `{x}:` says of a segment. A last one that ends in a verb known here is that verb's alone, whatever
 * its method; behind a last colon begins a path of another kind (`items/{id}:/name:/content`), which only `{x}:` means.
 */
const parameter = (at: Node, segment: string, last: boolean): Node | null => {
  const colon = segment.lastIndexOf(':')
  if (colon === -1) return segment === '' ? null : at.one
  const verb = segment.slice(colon + 1)
  if (verb === '') return (colon > 0 && at.verbs?.get('')) || null
  const known = last && colon > 0 ? at.verbs?.get(verb) : undefined
  // Where verbs stand, one that is not listed is no part of a name.
  return known ?? (last && at.verbs !== null && WORD.test(verb) ? null : at.one)
}

/** Where a path within a path ends: behind the first segment with a colon, which is its last character. -1: nowhere. */
const pathEnd = (segments: readonly string[], from: number): number => {
  const end = segments.findIndex((segment, i) => i >= from && segment.includes(':'))
  const whole = segments.slice(from, end + 1)
  return end === -1 ||
    whole.some((one) => one === '' || one.includes('/') || one.indexOf(':') === 0)
    ? -1
    : (segments[end] ?? '').indexOf(':') === (segments[end] ?? '').length - 1
      ? end + 1
      : -1
}

/** Literals win over functions, functions over parameters, parameters over rests; HEAD reads what GET reads. */
const find = (at: Node, segments: readonly string[], i: number, method: string): Found | null => {
  const segment = segments[i]
  if (segment === undefined) {
    const row = at.rows?.get(method)
    const { fields, messages } = at
    return row === undefined ? null : { row, splitFrom: null, fields, messages }
  }
  const plain = !segment.includes('/')
  if (plain) {
    const literal = at.literal?.get(segment)
    const byLiteral = literal === undefined ? null : find(literal, segments, i + 1, method)
    if (byLiteral !== null) return byLiteral
    const signature = at.functions === null ? null : signatureOf(segment)
    const called = signature === null ? undefined : at.functions?.get(signature)
    const byCall = called === undefined ? null : find(called, segments, i + 1, method)
    if (byCall !== null) return byCall
    // Where functions stand, a call of another is no name either: its letters in another case, or its arguments otherwise.
    const isCall = at.hasCalls && CALLED.test(segment)
    const one = isCall ? null : parameter(at, segment, i === segments.length - 1)
    const byOne = one === null ? null : find(one, segments, i + 1, method)
    if (byOne !== null) return byOne
  }
  const bySlashes = at.slashes === null ? null : find(at.slashes, segments, i + 1, method)
  if (bySlashes !== null) return bySlashes
  if (at.path !== null) {
    const end = pathEnd(segments, i)
    if (end !== -1) return find(at.path, segments, end, method)
    // A colon that ends no path there: nobody knows what the provider makes of it.
    if (segments.some((one, j) => j >= i && (one === '' || one.includes(':')))) return null
  }
  const rest = at.rest?.get(method)
  return rest === undefined || segment === '' ? null : { row: rest, splitFrom: i }
}

/** Compiles each provider's catalogue once. */
export const createClassify = (providers: Iterable<Provider>): Classify => {
  const tries = new Map<Provider, ReadonlyMap<string, Node>>()
  for (const provider of providers) {
    const byHost = new Map<string, Node>()
    for (const host of provider.hosts.keys())
      byHost.set(
        host,
        build(provider.operations.filter((row) => row.host === null || row.host === host)),
      )
    // Hosts that only a person's token tells.
    if (provider.hostFromToken && provider.hosts.size === 0)
      byHost.set('', build(provider.operations))
    tries.set(provider, byHost)
  }
  return (route) => {
    const { target, connection } = route
    const { provider } = connection
    const encoded = target.segments.some((segment) => segment.includes('/'))
    if (route.asset) {
      if (target.method !== 'GET' && target.method !== 'HEAD')
        return { operation: UNKNOWN, kind: 'rest', segments: target.segments }
      const id = `${provider.id}.asset`
      return {
        operation: { id, access: 'read', scopes: [[]], inspect: [], upload: false, rewrite: [] },
        kind: 'asset',
        segments: target.segments,
      }
    }
    const byHost = tries.get(provider)
    const root = byHost?.get(route.host) ?? byHost?.get('')
    const method = target.method === 'HEAD' ? 'GET' : target.method
    // A trailing slash is another resource to some servers: without their word it matches no template without one.
    const segments =
      provider.trailingSlash === true && target.segments.length > 1 && target.segments.at(-1) === ''
        ? target.segments.slice(0, -1)
        : target.segments
    const envelope = envelopeAt(provider.envelopes, { method, segments, host: route.host })
    if (envelope !== undefined)
      return { operation: batchOf(envelope), kind: 'rest', segments, envelope }
    const found = root === undefined ? null : find(root, segments, 0, method)
    if (found === null) {
      if (encoded)
        throw new Problem(
          'request_invalid',
          'the path has an encoded slash where no operation of the catalogue allows one',
        )
      return { operation: UNKNOWN, kind: 'rest', segments: target.segments }
    }
    const { splitFrom, fields, messages } = found
    // With its colon escaped, the verb might be part of a name to the provider.
    if (ESCAPABLE.test(found.row.path) && !(target.raw.at(-1) ?? '').includes(':'))
      return { operation: UNKNOWN, kind: 'rest', segments }
    if (leadsOn(found.row.path, segments)) return { operation: UNKNOWN, kind: 'rest', segments }
    if (messages)
      return method === 'POST'
        ? { operation: UNKNOWN, kind: 'mcp', segments, messages }
        : { operation: found.row, kind: 'mcp', segments, messages }
    if (fields) return { operation: UNKNOWN, kind: 'graphql', segments, fields }
    return {
      operation: found.row,
      kind: 'rest',
      segments:
        encoded && splitFrom !== null
          ? [
              ...segments.slice(0, splitFrom),
              ...segments.slice(splitFrom).flatMap((segment) => segment.split('/')),
            ]
          : segments,
    }
  }
}

/** The methods with which a client can follow such an address by the catalogue: to load it, or to send something there. */
export const followedBy = (
  classify: Classify,
  route: Route,
  host: string,
  text: string,
): readonly string[] =>
  ['GET', 'POST', 'PUT'].filter((method) => {
    const asset = route.connection.provider.assets.has(host)
    try {
      const act = classify({ ...route, host, asset, target: canonicalTarget(method, text) })
      return act.operation.id !== UNKNOWN.id && act.envelope === undefined
    } catch (error) {
      // An address that deputy would refuse is followed by nobody.
      if (error instanceof Problem) return false
      throw error
    }
  })

/** A GraphQL call of several fields as metrics name it; policy never sees it. */
const SEVERAL: Operation = { ...UNKNOWN, id: 'graphql' }

/**
 * The call, once its body is read: that of its one root field, or its parts.
 * @throws Problem request_invalid where the URL might be read as a second call
 */
export const opened = (act: Act, route: Route, inner: readonly ReadField[] | undefined): Act => {
  const { fields, segments } = act
  if (fields === undefined) return act
  if (inner === undefined) throw new Problem('request_invalid', 'a GraphQL call needs a JSON body')
  // Servers prefer the `query` of the URL to that of the body (GraphQL over HTTP 4.3).
  if (route.target.query.length > 0)
    throw new Problem(
      'request_invalid',
      'a GraphQL call has no query in its URL: it would be read twice',
    )
  const [first, ...rest] = inner.map(({ field, given }): Act => {
    const operation = fields.get(`${field.type} ${field.fields[0]}`) ?? UNKNOWN_FIELD
    const { inspect } = operation
    const graphql = inspect.length === 0 ? field : { ...field, arguments: given(inspect) }
    return { operation, kind: 'graphql', segments, graphql }
  })
  if (first === undefined) return { operation: UNKNOWN_FIELD, kind: 'graphql', segments }
  if (rest.length === 0) return first
  return { operation: SEVERAL, kind: 'graphql', segments, parts: [first, ...rest] }
}
