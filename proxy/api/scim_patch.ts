// Changes of a resource in parts (RFC 7644 3.5.2), in the dialects that identity providers speak.
import type { ScimMoves } from '../model.ts'
import { ScimError } from './scim_error.ts'
import { matches, parsePath, type Filter, type Target } from './scim_filter.ts'
import { treeOf, URN, valueOf, type Attribute, type Kind, type Tree } from './scim_schema.ts'

type Op = 'add' | 'remove' | 'replace'
type Bag = Record<string, unknown>
type Change = { readonly op: Op; readonly target: Target; readonly value: unknown }

const MOST_OPERATIONS = 10_000
/** Comparisons of one PATCH: what would take longer is refused before others wait for it. */
const MOST_WORK = 1_000_000

const get = (tree: Tree | null, name: string): unknown => {
  const found = Object.entries(tree ?? {}).find(([key]) => key.toLowerCase() === name)
  return found?.[1]
}
const wrong = (scimType: string, message: string): ScimError =>
  new ScimError(400, scimType, message)
const isBag = (value: unknown): value is Bag => treeOf(value) !== null

/** What stands for everything: one change for each member of the value. */
const spread = (kind: Kind, op: Op, value: unknown, within: string): readonly Change[] => {
  const tree = treeOf(value)
  if (tree === null) throw wrong('invalidValue', 'an operation without a path needs an object')
  return Object.entries(tree).flatMap(([name, each]): readonly Change[] => {
    if (within === '' && name.toLowerCase() === URN.Enterprise.toLowerCase())
      return kind === 'User' ? spread(kind, op, each, `${URN.Enterprise}:`) : []
    let target: Target
    try {
      target = parsePath(`${within}${name}`, kind)
    } catch (error) {
      // Left out, as in a whole resource.
      if (error instanceof ScimError) return []
      throw error
    }
    const { attribute } = target.path
    return attribute.mutability === 'readOnly' || attribute.name === 'schemas'
      ? []
      : [{ op, target, value: each }]
  })
}
const changesOf = (kind: Kind, operation: unknown): readonly Change[] => {
  const tree = treeOf(operation)
  const op = String(get(tree, 'op')).toLowerCase()
  const path = get(tree, 'path')
  const value = get(tree, 'value')
  // Entra ID writes them with a capital.
  if (op !== 'add' && op !== 'remove' && op !== 'replace')
    throw wrong('invalidSyntax', 'op must be add, remove or replace')
  if (path !== undefined && path !== null && typeof path !== 'string')
    throw wrong('invalidPath', 'the path must be text')
  if (path === undefined || path === null || path === '') {
    if (op === 'remove') throw wrong('noTarget', 'remove needs a path')
    return spread(kind, op, value, '')
  }
  if (kind === 'User' && path.toLowerCase() === URN.Enterprise.toLowerCase())
    return spread(kind, op, op === 'remove' ? allOf() : value, `${URN.Enterprise}:`)
  const target = parsePath(path, kind)
  const { attribute } = target.path
  if (attribute.mutability === 'readOnly' || attribute.name === 'schemas')
    throw wrong('mutability', `${attribute.name}: cannot be written`)
  if (op !== 'remove' && value === undefined)
    throw wrong('invalidValue', `${op} of ${path} needs a value`)
  return [{ op, target, value }]
}
const allOf = (): Tree =>
  Object.fromEntries(
    ['employeeNumber', 'costCenter', 'organization', 'division', 'department', 'manager'].map(
      (name) => [name, null],
    ),
  )

const listAt = (bag: Bag, name: string): unknown[] => {
  const value = bag[name]
  return Array.isArray(value) ? [...(value as unknown[])] : value === undefined ? [] : [value]
}
const keyOf = (value: unknown): string => {
  const tree = treeOf(value)
  if (tree === null) return JSON.stringify(value)
  const { primary: _, ...rest } = tree
  return JSON.stringify(Object.entries(rest).toSorted(([one], [other]) => (one < other ? -1 : 1)))
}
/** `type eq "work"` and what is joined by `and`: what a new value must have to be found by it. */
const impliedBy = (filter: Filter): Bag | null => {
  if (filter.kind === 'compare' && filter.operator === 'eq')
    return { [filter.path.attribute.name]: filter.value }
  if (filter.kind !== 'and') return null
  const parts = filter.all.map(impliedBy)
  return parts.includes(null) ? null : Object.assign({}, ...parts)
}
const cleaned = (value: unknown, attribute: Attribute, at: string): unknown => {
  const clean = valueOf(value, attribute, at)
  return clean === '' ? undefined : clean
}
const write = (bag: Bag, name: string, value: unknown): void => {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) delete bag[name]
  else bag[name] = value
}

/** One of several primary values is: the one that came last. */
const onePrimary = (
  list: readonly unknown[],
  touched: ReadonlySet<unknown>,
): readonly unknown[] => {
  const primary = list.filter((each) => treeOf(each)?.['primary'] === true)
  if (primary.length < 2) return list
  const stays = primary.findLast((each) => touched.has(each)) ?? primary.at(-1)
  return list.map((each) =>
    each !== stays && isBag(each) && each['primary'] === true ? { ...each, primary: false } : each,
  )
}
/** The values that a change of a list concerns; whole values that a client names without a filter (Entra ID) too. */
const chosen = (list: readonly unknown[], { op, target, value }: Change): ReadonlySet<unknown> => {
  const { filter, path } = target
  if (filter !== null)
    return new Set(list.filter((each) => matches(treeOf(each) ?? { value: each }, filter)))
  if (op !== 'remove' || path.sub !== null || value === undefined || value === null)
    return new Set(list)
  const named = new Set(
    (Array.isArray(value) ? value : [value]).map((each) => get(treeOf(each), 'value') ?? each),
  )
  return new Set(list.filter((each) => named.has(get(treeOf(each), 'value') ?? each)))
}
const changeList = (bag: Bag, change: Change): void => {
  const { op, target, value } = change
  const { attribute, sub } = target.path
  const { name } = attribute
  const list = listAt(bag, name)
  const put = (next: readonly unknown[], touched: readonly unknown[] = []): void =>
    write(bag, name, onePrimary(next, new Set(touched)))
  if (target.filter === null && sub === null && op !== 'remove') {
    const given = (cleaned(value, attribute, name) ?? []) as readonly unknown[]
    if (op === 'replace') return put(given)
    const there = new Set(list.map(keyOf))
    const come = given.filter((each) => !there.has(keyOf(each)))
    return put([...list, ...come], come)
  }
  const hits = chosen(list, change)
  if (op === 'remove') {
    if (sub === null) return put(list.filter((each) => !hits.has(each)))
    return put(
      list.map((each) => {
        if (!hits.has(each) || !isBag(each)) return each
        const { [sub.name]: _, ...rest } = each
        return rest
      }),
    )
  }
  const one = { ...attribute, multiValued: false }
  const set =
    sub === null
      ? cleaned(value, one, name)
      : { [sub.name]: cleaned(value, sub, `${name}.${sub.name}`) }
  if (hits.size > 0) {
    const next = list.map((each) =>
      hits.has(each) && isBag(each) && isBag(set)
        ? { ...each, ...set }
        : hits.has(each)
          ? set
          : each,
    )
    return put(
      next,
      next.filter((each, i) => each !== list[i]),
    )
  }
  const implied = target.filter === null ? {} : impliedBy(target.filter)
  if (op === 'replace' || implied === null || !isBag(set))
    throw wrong('noTarget', `${name}: nothing is chosen by the filter`)
  const fresh = { ...implied, ...set }
  put([...list, fresh], [fresh])
}
const changeSingle = (bag: Bag, { op, target, value }: Change): void => {
  const { attribute, sub } = target.path
  const { name } = attribute
  if (target.filter !== null) throw wrong('invalidPath', `${name}: has one value, and no filter`)
  if (sub === null) {
    if (op === 'remove') return write(bag, name, undefined)
    const clean = cleaned(value, attribute, name)
    const before = bag[name]
    return write(bag, name, isBag(before) && isBag(clean) ? { ...before, ...clean } : clean)
  }
  if (sub.mutability === 'readOnly')
    throw wrong('mutability', `${name}.${sub.name}: cannot be written`)
  const inner: Bag = { ...treeOf(bag[name]) }
  write(inner, sub.name, op === 'remove' ? undefined : cleaned(value, sub, `${name}.${sub.name}`))
  write(bag, name, Object.keys(inner).length === 0 ? undefined : inner)
}

/** `value eq "1"`: the one member that it names. */
const memberIn = (filter: Filter): string | null =>
  filter.kind === 'compare' &&
  filter.operator === 'eq' &&
  filter.path.attribute.name === 'value' &&
  typeof filter.value === 'string'
    ? filter.value
    : null
/** Members by their id: ten thousand come and go without each being compared with each. */
const createMembers = (members: readonly unknown[]) => {
  const idOf = (each: unknown): string => {
    const id = get(treeOf(each), 'value')
    if (typeof id !== 'string') throw wrong('invalidValue', 'members: each needs a value')
    return id
  }
  const kept = new Map(members.map((each) => [idOf(each), each]))
  let work = 0
  const remove = ({ target, value }: Change): void => {
    if (target.filter === null) {
      if (value === undefined || value === null) return kept.clear()
      for (const each of Array.isArray(value) ? value : [value])
        kept.delete(typeof each === 'string' ? each : idOf(each))
      return
    }
    const id = memberIn(target.filter)
    if (id !== null) return void kept.delete(id)
    work += kept.size
    if (work > MOST_WORK) throw wrong('tooMany', 'members: name them by value eq instead')
    for (const [key, each] of kept) if (matches(treeOf(each) ?? {}, target.filter)) kept.delete(key)
  }
  return {
    change: (change: Change): void => {
      const { op, target, value } = change
      if (target.path.sub !== null)
        throw wrong('mutability', 'members: a member is added or removed as a whole')
      if (op === 'remove') return remove(change)
      if (target.filter !== null)
        throw wrong('mutability', 'members: a member is added or removed as a whole')
      const given = (valueOf(value, target.path.attribute, 'members') ?? []) as readonly unknown[]
      if (op === 'replace') kept.clear()
      for (const each of given) kept.set(idOf(each), each)
    },
    all: (): readonly unknown[] => [...kept.values()],
  }
}

const operationsOf = (body: unknown): readonly unknown[] => {
  const operations: unknown = get(treeOf(body), 'operations')
  if (!Array.isArray(operations) || operations.length === 0)
    throw wrong('invalidSyntax', 'Operations: a list of one or more is needed')
  if (operations.length > MOST_OPERATIONS)
    throw wrong('tooMany', `Operations: more than ${MOST_OPERATIONS} at once`)
  return operations
}

/** Members that one change names by their ids; null: it has to see those that are there. */
const namedIn = ({ op, target, value }: Change): readonly string[] | null => {
  if (op === 'replace' || target.path.sub !== null) return null
  const { filter } = target
  if (filter !== null) {
    const id = op === 'remove' ? memberIn(filter) : null
    return id === null ? null : [id]
  }
  if (value === undefined || value === null) return null
  const ids = (Array.isArray(value) ? value : [value]).map((each: unknown) =>
    typeof each === 'string' ? each : get(treeOf(each), 'value'),
  )
  return ids.every((id) => typeof id === 'string') ? ids : null
}
/** Members that a PATCH of a group only adds and removes by their ids; null: it does more than that. */
export const movesOf = (body: unknown): ScimMoves | null => {
  const ids = new Map<string, Op>()
  for (const change of operationsOf(body).flatMap((each) => changesOf('Group', each))) {
    if (change.target.path.attribute.name !== 'members') continue
    const named = namedIn(change)
    if (named === null) return null
    for (const id of named) ids.set(id, change.op)
  }
  const of = (op: Op): readonly string[] =>
    [...ids].flatMap(([id, last]) => (last === op ? [id] : []))
  return { come: of('add'), gone: of('remove') }
}

/** @throws ScimError; nothing is changed then */
export const patched = (kind: Kind, before: Tree, body: unknown): Tree => {
  const after: Bag = { ...before }
  const members = createMembers(kind === 'Group' ? listAt(after, 'members') : [])
  for (const change of operationsOf(body).flatMap((each) => changesOf(kind, each))) {
    const { urn, attribute } = change.target.path
    if (attribute.name === 'members') members.change(change)
    else {
      const extended = urn === URN.Enterprise
      const bag: Bag = extended ? { ...treeOf(after[urn]) } : after
      if (attribute.multiValued) changeList(bag, change)
      else changeSingle(bag, change)
      if (extended) write(after, urn, Object.keys(bag).length === 0 ? undefined : bag)
    }
  }
  if (kind === 'Group') write(after, 'members', members.all())
  return after
}
