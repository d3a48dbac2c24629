// Lays what was found under what was written by hand, and writes both files of a provider: compact, sorted, the same each time.
import type { Access, OperationRow } from '../../proxy/model.ts'
import { judged } from './access.ts'
import { inspected, mailed, type MailRule } from './inspect.ts'
import { pathParameters, type Found, type Parameter } from './found.ts'

export type Counts = {
  readonly provider: string
  readonly operations: number
  readonly byHand: number
  readonly generated: number
  /** Found in the specification too, but said by hand. */
  readonly overridden: number
  readonly withScopes: number
}
export type Made = {
  readonly catalogue: string
  readonly parameters: string
  readonly counts: Counts
}

const shape = (path: string): string => path.replaceAll(/\{\w+\+?\}/g, '{}')
const place = ({ method, path, graphql }: Pick<Found, 'method' | 'path' | 'graphql'>): string =>
  `${method} ${shape(path)} ${graphql ?? ''}`
const STRICT: readonly Access[] = ['read', 'write', 'delete', 'admin']
const stricter = (a: Access, b: Access): Access => (STRICT.indexOf(a) > STRICT.indexOf(b) ? a : b)

/** Numbers for values that come again and again. */
const numbered = <T>() => {
  const known = new Map<string, number>()
  const values: T[] = []
  return {
    values,
    of: (value: T): number => {
      const key = JSON.stringify(value)
      const at = known.get(key)
      if (at !== undefined) return at
      known.set(key, values.length)
      return values.push(value) - 1
    },
  }
}
const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
/** One wide character would make every string that is cut from the file wide (test/architecture.test.ts). */
const ascii = (text: string): string =>
  text.replaceAll(
    /[^\x20-\x7e]/g,
    (c) => `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  )
const lines = (rows: readonly unknown[]): string =>
  rows.map((row) => ascii(JSON.stringify(row))).join(',\n')

/** What a template can say; the few others (`{base}...{head}`) are `unknown` unless the hand has them. */
const NAMED =
  /^(?:\{\w+\+?\}(?::(?:[A-Za-z]\w*)?)?|[\w.~$@:=,()'!*+-]*|[A-Za-z][\w.]*\(\w+='?\{\w+\}'?(?:,\w+='?\{\w+\}'?)*\))$/

type Judged = Found & { readonly access: Access }
/** One id, one access: where two calls of an id differ, the stricter holds for both. */
const withAccess = (provider: string, found: readonly Found[]): readonly Judged[] => {
  const access = new Map<string, Access>()
  for (const one of found) {
    const is = one.access ?? judged(provider, one).is
    access.set(one.id, stricter(access.get(one.id) ?? 'read', is))
  }
  return found.map((one) => ({ ...one, access: access.get(one.id) ?? 'admin' }))
}

/**
 * @param hand the provider's rows as they are written by hand
 * @param found what the specification says, the hand's calls among it
 */
export const made = (
  provider: string,
  source: readonly string[],
  hand: readonly OperationRow[],
  found: readonly Found[],
): Made => {
  const written = new Map(hand.map((row) => [place(row), row]))
  const handIds = new Set(hand.map(({ id }) => id))
  const seen = new Set<string>()
  const unique = found.filter((one) => {
    if (!one.path.split('/').every((segment) => NAMED.test(segment))) return false
    const at = `${one.host ?? ''} ${place(one)}`
    return !seen.has(at) && seen.add(at)
  })
  const fresh = withAccess(
    provider,
    unique.filter((one) => !written.has(place(one)) && !handIds.has(one.id)),
  )
  const hosts = numbered<string>()
  const scopes = numbered<readonly (readonly string[])[]>()
  const inspect = numbered<readonly string[]>()
  const mail = numbered<MailRule>()
  const rows = fresh
    .toSorted((a, b) => byText(`${a.id} ${a.method} ${a.path}`, `${b.id} ${b.method} ${b.path}`))
    .map((one) => {
      const seen = one.access === 'read' ? null : inspected(provider, one)
      const places = one.access === 'read' ? null : mailed(provider, one)
      return [
        one.id,
        one.access,
        one.graphql ?? `${one.method} ${one.path}`,
        one.scopes === null ? -1 : scopes.of(one.scopes),
        one.host === null ? -1 : hosts.of(one.host),
        ...(one.upload === true ? [1] : seen === null && places === null ? [] : [0]),
        ...(seen !== null ? [inspect.of(seen)] : places === null ? [] : [-1]),
        ...(places === null ? [] : [mail.of(places)]),
      ]
    })
  const about = new Map<string, Pick<Found, 'summary' | 'parameters' | 'path'>>()
  for (const one of unique) {
    const id = written.get(place(one))?.id ?? one.id
    if (!about.has(id)) about.set(id, one)
  }
  for (const row of hand)
    if (!about.has(row.id)) about.set(row.id, { summary: '', parameters: [], path: row.path })
  const shared = numbered<readonly (string | number)[]>()
  const compact = ({ name, in: at, type, required, description }: Parameter) =>
    shared.of([name, at, type, required ? 1 : 0, ...(description === '' ? [] : [description])])
  const texts = [...about]
    .toSorted(([a], [b]) => byText(a, b))
    .map(([id, { summary, parameters, path }]) => {
      const listed = new Set(parameters.filter((one) => one.in === 'path').map(({ name }) => name))
      const all = [...pathParameters(path).filter(({ name }) => !listed.has(name)), ...parameters]
      return [id, summary, ...all.map(compact)]
    })
  const graphql = found.find((one) => one.graphql !== undefined)?.path ?? ''
  const ids = new Set([...handIds, ...fresh.map(({ id }) => id)])
  const told = new Set([
    ...handIds,
    ...fresh.filter((one) => one.scopes !== null).map(({ id }) => id),
  ])
  return {
    catalogue: `{"source":${JSON.stringify(source)},\n"hosts":${JSON.stringify(hosts.values)},\n"graphql":${JSON.stringify(graphql)},\n"scopes":[\n${lines(scopes.values)}],\n${inspect.values.length === 0 ? '' : `"inspect":[\n${lines(inspect.values)}],\n`}${mail.values.length === 0 ? '' : `"mail":[\n${lines(mail.values)}],\n`}"operations":[\n${lines(rows)}]}\n`,
    parameters: `{"source":${JSON.stringify(source)},\n"parameters":[\n${lines(shared.values)}],\n"operations":[\n${lines(texts)}]}\n`,
    counts: {
      provider,
      operations: ids.size,
      byHand: handIds.size,
      generated: ids.size - handIds.size,
      overridden: new Set(unique.flatMap((one) => written.get(place(one))?.id ?? [])).size,
      withScopes: told.size,
    },
  }
}
