// Filters and paths of SCIM (RFC 7644 3.4.2.2 and 3.5.2), read into a tree with bounds before anything is compared.
import { ScimError } from './scim_error.ts'
import { attributeOf, treeOf, URNS, type Attribute, type Tree } from './scim_schema.ts'

/** `urn:…:name.givenName`, without its urn when it is the core schema's. Names are as the schema spells them. */
export type Path = {
  readonly urn: string | null
  readonly attribute: Attribute
  readonly sub: Attribute | null
}
const OPERATORS = ['eq', 'ne', 'co', 'sw', 'ew', 'gt', 'ge', 'lt', 'le'] as const
type Operator = (typeof OPERATORS)[number]
export type Filter =
  | { readonly kind: 'and' | 'or'; readonly all: readonly Filter[] }
  | { readonly kind: 'not'; readonly one: Filter }
  | { readonly kind: 'present'; readonly path: Path }
  | {
      readonly kind: 'compare'
      readonly path: Path
      readonly operator: Operator
      readonly value: string | number | boolean | null
    }
  | { readonly kind: 'within'; readonly path: Path; readonly filter: Filter }
export type Target = {
  readonly path: Path
  readonly filter: Filter | null
}

const [MOST_TEXT, MOST_DEPTH, MOST_TERMS] = [2_048, 10, 50]
const TOKEN = /\s*(?:([()[\]])|("(?:[^"\\]|\\.)*")|([^\s()[\]"]+))/y

const tokens = (text: string, wrong: (why: string) => ScimError): readonly string[] => {
  if (text.length > MOST_TEXT) throw wrong(`is longer than ${MOST_TEXT} characters`)
  const found: string[] = []
  const trimmed = text.trim()
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < trimmed.length) {
    const at = TOKEN.lastIndex
    const match = TOKEN.exec(trimmed)
    if (match === null) throw wrong(`cannot be read from character ${at + 1} on`)
    found.push(match[1] ?? match[2] ?? match[3] ?? '')
  }
  return found
}
const lower = (text: string | undefined): string => text?.toLowerCase() ?? ''
const isOperator = (text: string): text is Operator =>
  (OPERATORS as readonly string[]).includes(text)

const pathOf = (
  text: string,
  kind: 'User' | 'Group',
  parent: Attribute | null,
  wrong: (why: string) => ScimError,
): Path => {
  const urn = URNS.find((each) => text.toLowerCase().startsWith(`${each.toLowerCase()}:`)) ?? null
  const [name = '', sub, more] = text.slice(urn === null ? 0 : urn.length + 1).split('.')
  const attribute = attributeOf(kind, urn, parent, name)
  if (attribute === null || more !== undefined)
    throw wrong(`names the attribute ${JSON.stringify(text)}, which is not known here`)
  const found = sub === undefined ? null : attributeOf(kind, urn, attribute, sub)
  if (sub !== undefined && found === null)
    throw wrong(`names the attribute ${JSON.stringify(text)}, which is not known here`)
  return { urn, attribute, sub: found }
}

const createReader = (
  list: readonly string[],
  kind: 'User' | 'Group',
  wrong: (why: string) => ScimError,
) => {
  let [at, terms] = [0, 0]
  const peek = (): string => list[at] ?? ''
  const take = (): string => list[at++] ?? ''
  const expect = (token: string): void => {
    if (take() !== token) throw wrong(`lacks a ${token}`)
  }
  const literal = (text: string): string | number | boolean | null => {
    try {
      const value: unknown = JSON.parse(/^(?:true|false|null)$/i.test(text) ? lower(text) : text)
      if (value === null || ['string', 'number', 'boolean'].includes(typeof value))
        return value as string | number | boolean | null
    } catch {
      // told below
    }
    throw wrong(
      `compares with ${JSON.stringify(text)}, which is no JSON value: put text in double quotes`,
    )
  }
  const term = (parent: Attribute | null, depth: number): Filter => {
    if (depth > MOST_DEPTH) throw wrong(`is nested deeper than ${MOST_DEPTH}`)
    terms += 1
    if (terms > MOST_TERMS) throw wrong(`has more than ${MOST_TERMS} terms`)
    const word = take()
    if (lower(word) === 'not' && peek() === '(') {
      take()
      const one = either(parent, depth + 1)
      expect(')')
      return { kind: 'not', one }
    }
    if (word === '(') {
      const inner = either(parent, depth + 1)
      expect(')')
      return inner
    }
    if (word === '') throw wrong('ends in the middle')
    const path = pathOf(word, kind, parent, wrong)
    if (peek() === '[' && parent === null) {
      take()
      const filter = either(path.attribute, depth + 1)
      expect(']')
      return { kind: 'within', path, filter }
    }
    const operator = lower(take())
    if (operator === 'pr') return { kind: 'present', path }
    if (!isOperator(operator)) throw wrong(`has no operator behind ${JSON.stringify(word)}`)
    return { kind: 'compare', path, operator, value: literal(take()) }
  }
  const chain =
    (word: 'and' | 'or', next: (parent: Attribute | null, depth: number) => Filter) =>
    (parent: Attribute | null, depth: number): Filter => {
      const all = [next(parent, depth)]
      while (lower(peek()) === word) {
        take()
        all.push(next(parent, depth))
      }
      const [first] = all
      return all.length === 1 && first !== undefined ? first : { kind: word, all }
    }
  const both = chain('and', term)
  const either: (parent: Attribute | null, depth: number) => Filter = chain('or', both)
  return {
    peek,
    take,
    expect,
    either,
    path: (text: string, parent: Attribute | null) => pathOf(text, kind, parent, wrong),
  }
}

/** @throws ScimError invalidFilter */
export const parseFilter = (text: string, kind: 'User' | 'Group'): Filter => {
  const wrong = (why: string): ScimError => new ScimError(400, 'invalidFilter', `the filter ${why}`)
  const reader = createReader(tokens(text, wrong), kind, wrong)
  const filter = reader.either(null, 0)
  if (reader.peek() !== '') throw wrong(`goes on with ${JSON.stringify(reader.peek())}`)
  return filter
}

/** `members[value eq "1"]`, `emails[type eq "work"].value`, `name.givenName`. @throws ScimError invalidPath */
export const parsePath = (text: string, kind: 'User' | 'Group'): Target => {
  const wrong = (why: string): ScimError => new ScimError(400, 'invalidPath', `the path ${why}`)
  const reader = createReader(tokens(text, wrong), kind, wrong)
  const path = reader.path(reader.take(), null)
  let filter: Filter | null = null
  let { sub } = path
  if (reader.peek() === '[') {
    reader.take()
    filter = reader.either(path.attribute, 1)
    reader.expect(']')
    const rest = reader.take()
    if (rest.startsWith('.')) ({ attribute: sub } = reader.path(rest.slice(1), path.attribute))
    else if (rest !== '') throw wrong(`goes on with ${JSON.stringify(rest)}`)
  }
  if (reader.peek() !== '') throw wrong(`goes on with ${JSON.stringify(reader.peek())}`)
  return { path: { ...path, sub }, filter }
}

const listOf = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? value : value === undefined || value === null ? [] : [value]
const member = (tree: Tree | null, name: string): unknown =>
  tree !== null && Object.hasOwn(tree, name) ? tree[name] : undefined

/** The values at a path; of a complex one without a sub-attribute, its `value`. */
const valuesAt = (tree: Tree, { urn, attribute, sub }: Path): readonly unknown[] => {
  const extended = urn === null ? undefined : treeOf(member(tree, urn))
  const values = listOf(member(extended ?? tree, attribute.name))
  if (sub !== null) return values.flatMap((each) => listOf(member(treeOf(each), sub.name)))
  return values
}
const comparable = (value: unknown, { type, caseExact }: Attribute): string | number | null => {
  if (type === 'dateTime') return Date.parse(String(value))
  if (typeof value === 'number') return value
  if (typeof value === 'boolean') return String(value)
  if (typeof value !== 'string') return null
  return caseExact === true ? value : value.toLowerCase()
}
const holds = (operator: Operator, left: string | number, right: string | number): boolean => {
  switch (operator) {
    case 'eq':
      return left === right
    case 'ne':
      return left !== right
    case 'co':
      return String(left).includes(String(right))
    case 'sw':
      return String(left).startsWith(String(right))
    case 'ew':
      return String(left).endsWith(String(right))
    case 'gt':
      return left > right
    case 'ge':
      return left >= right
    case 'lt':
      return left < right
    case 'le':
      return left <= right
    default:
      return operator satisfies never
  }
}
const compares = (tree: Tree, filter: Extract<Filter, { kind: 'compare' }>): boolean => {
  const { path, operator, value } = filter
  const attribute =
    path.sub ??
    (path.attribute.type === 'complex'
      ? path.attribute.subAttributes?.find(({ name }) => name === 'value')
      : path.attribute)
  const found = valuesAt(tree, path).map((each) => {
    const inner = treeOf(each)
    return inner === null ? each : member(inner, 'value')
  })
  if (value === null) return (operator === 'eq') === (found.length === 0)
  if (attribute === undefined) return false
  // Entra compares booleans with text: active eq "true".
  const right = comparable(value, attribute)
  const against = (each: unknown, by: Operator): boolean => {
    const left = comparable(each, attribute)
    return left !== null && right !== null && holds(by, left, right)
  }
  return operator === 'ne'
    ? !found.some((each) => against(each, 'eq'))
    : found.some((each) => against(each, operator))
}

export const matches = (tree: Tree, filter: Filter): boolean => {
  switch (filter.kind) {
    case 'and':
      return filter.all.every((each) => matches(tree, each))
    case 'or':
      return filter.all.some((each) => matches(tree, each))
    case 'not':
      return !matches(tree, filter.one)
    case 'present':
      return valuesAt(tree, filter.path).some(
        (each) =>
          each !== '' && (treeOf(each) === null || Object.keys(treeOf(each) ?? {}).length > 0),
      )
    case 'within':
      return valuesAt(tree, filter.path).some((each) => {
        const inner = treeOf(each)
        return matches(inner ?? { value: each }, filter.filter)
      })
    case 'compare':
      return compares(tree, filter)
    default:
      return filter satisfies never
  }
}
