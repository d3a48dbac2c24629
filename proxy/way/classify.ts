// Which operation is this? A trie of decoded segments per provider; pure.
import type { Operation, OperationRow, Provider, Route } from '../model.ts'
import { Problem } from '../problem.ts'

export type Act = {
  readonly operation: Operation
  readonly kind: 'rest' | 'asset'
  /** Segments as policy sees them: an encoded slash inside `{x+}` separates, as it does at the provider. */
  readonly segments: readonly string[]
}

type Node = {
  readonly literal: Map<string, Node>
  one: Node | null
  /** A last `{x+}`: method → row. */
  readonly rest: Map<string, OperationRow>
  readonly rows: Map<string, OperationRow>
  /** A `{x+}` before the end: one segment that may hold encoded slashes. */
  slashes: Node | null
}
const node = (): Node => ({
  literal: new Map(),
  one: null,
  rest: new Map(),
  rows: new Map(),
  slashes: null,
})

/** Nothing in the catalogue fits: the starter policy refuses it, and facts must be as fresh as for `admin`. */
const UNKNOWN: Operation = {
  id: 'unknown',
  access: 'admin',
  scopes: [[]],
  inspect: [],
  upload: false,
  rewrite: [],
}

export type Classify = (route: Route) => Act

const build = (rows: readonly OperationRow[]): Node => {
  const root = node()
  for (const row of rows) {
    const parts = row.path.split('/').slice(1)
    let at = root
    parts.forEach((part, i) => {
      const last = i === parts.length - 1
      if (/^\{[^}]+\+\}$/.test(part)) {
        if (last) at.rest.set(row.method, row)
        else at = at.slashes ??= node()
      } else if (part.startsWith('{')) at = at.one ??= node()
      else {
        const next = at.literal.get(part) ?? node()
        at.literal.set(part, next)
        at = next
      }
      if (last && !part.endsWith('+}')) at.rows.set(row.method, row)
    })
  }
  return root
}

type Found = { readonly row: OperationRow; readonly splitFrom: number | null }

/** Literals win over parameters, parameters over rests; HEAD reads what GET reads. */
const find = (at: Node, segments: readonly string[], i: number, method: string): Found | null => {
  const segment = segments[i]
  if (segment === undefined) {
    const row = at.rows.get(method)
    return row === undefined ? null : { row, splitFrom: null }
  }
  const plain = !segment.includes('/')
  if (plain) {
    const literal = at.literal.get(segment)
    const byLiteral = literal === undefined ? null : find(literal, segments, i + 1, method)
    if (byLiteral !== null) return byLiteral
    const byOne = at.one === null || segment === '' ? null : find(at.one, segments, i + 1, method)
    if (byOne !== null) return byOne
  }
  const bySlashes =
    at.slashes === null || segment === '' ? null : find(at.slashes, segments, i + 1, method)
  if (bySlashes !== null) return bySlashes
  const rest = at.rest.get(method)
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
    // A trailing slash is another resource to some servers: it never matches a template without one.
    const found = root === undefined ? null : find(root, target.segments, 0, method)
    if (found === null) {
      if (encoded)
        throw new Problem(
          'request_invalid',
          'the path has an encoded slash where no operation of the catalogue allows one',
        )
      return { operation: UNKNOWN, kind: 'rest', segments: target.segments }
    }
    const { splitFrom } = found
    return {
      operation: found.row,
      kind: 'rest',
      segments:
        encoded && splitFrom !== null
          ? [
              ...target.segments.slice(0, splitFrom),
              ...target.segments.slice(splitFrom).flatMap((segment) => segment.split('/')),
            ]
          : target.segments,
    }
  }
}
