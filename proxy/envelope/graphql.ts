// Calls inside a GraphQL call: the root fields of the one operation that will run, or a refusal (GraphQL, October 2021).
import { isDeepStrictEqual } from 'node:util'
import { GraphQLError } from 'graphql/error'
import { parse } from 'graphql/language'
import type {
  ArgumentNode,
  DocumentNode,
  FragmentDefinitionNode,
  OperationDefinitionNode,
  SelectionSetNode,
} from 'graphql/language'
import type { ReadField, RootField } from '../model.ts'
import { Problem } from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { givenIn, valuesOf, type Variables } from './graphql_arguments.ts'

/** Twice and more of what vendors' own clients and an introspection query need; names in characters. */
export const MOST = { tokens: 4_096, fields: 32, depth: 24, name: 128 } as const
/** GraphQL over HTTP 5.1. A server with another member may read another call (`id`, `Query`, `doc_id`). */
const MEMBERS: ReadonlySet<string> = new Set(['query', 'operationName', 'variables', 'extensions'])
const HARMLESS_EXTENSIONS: ReadonlySet<string> = new Set(['clientLibrary'])

const refused = (detail: string): Problem => new Problem('request_invalid', detail)
const shown = (text: string): string => JSON.stringify(text.slice(0, 64))

/**
 * @param body the parsed JSON body, without duplicate keys
 * @param marked the same with a mark for each number that others read as another
 * @throws Problem request_invalid: more than one reading, none, or more than deputy reads
 */
export const readGraphql = (
  body: unknown,
  marked: () => unknown = () => body,
): readonly ReadField[] => {
  const { query, operationName, variables } = membersOf(body)
  const operation = chosen(documentOf(query), operationName)
  const { type, name, set, fragments } = operation
  const depth = depths(fragments)
  if (depth(set) > MOST.depth)
    throw refused(`the GraphQL document is nested deeper than ${MOST.depth} fields`)
  const filled: Variables = {
    defined: operation.variables,
    given: variables,
    marked: () => membersOf(marked()).variables,
  }
  const found = new Map<string, ReadField & { readonly values: unknown; readonly named: Named }>()
  for (const { key, field, args, below } of rootFields(set, fragments)) {
    if (field.length > MOST.name)
      throw refused(`a field of the GraphQL document has more than ${MOST.name} characters`)
    // Fields that merge run once (6.3.2), as deep as the deepest.
    const one = `${key} ${field}`
    const before = found.get(one)
    const depthOf = Math.max(before?.field.depth ?? 0, 1 + depth(below))
    const values = valuesOf(args, filled, false)
    // Which of the two a server would run is its own affair (5.3.2 forbids both).
    if (before !== undefined && !isDeepStrictEqual(before.values, values))
      throw refused('two fields of one name differ in their arguments')
    const named = before?.named ?? { types: new Set(), selects: new Set(), spread: new Set() }
    collectNames(below, fragments, named)
    found.set(one, {
      field: {
        type,
        name,
        fields: [field],
        depth: depthOf,
        types: [...named.types].sort(),
        selects: [...named.selects].sort(),
      },
      named,
      given: givenIn(values, () => valuesOf(args, filled, true)),
      values,
    })
    if (found.size > MOST.fields)
      throw refused(
        `the GraphQL document has ${found.size} root fields; send at most ${MOST.fields}`,
      )
  }
  if (found.size === 0) throw refused('the GraphQL document asks for nothing')
  return [...found.values()].map(({ field, given }) => ({ field, given }))
}

const membersOf = (
  body: unknown,
): {
  readonly query: string
  readonly operationName: string | null
  readonly variables: { readonly [name: string]: unknown }
} => {
  if (Array.isArray(body)) throw refused('GraphQL calls come one by one, never in a list')
  if (!isObject(body)) throw refused('the body of a GraphQL call is a JSON object')
  const odd = Object.keys(body).find((key) => !MEMBERS.has(key))
  if (odd !== undefined)
    throw refused(
      `the GraphQL call has the member ${shown(odd)}: only query, operationName, variables and extensions have one reading`,
    )
  const { query, operationName = null, variables = null, extensions = null } = body
  // A server might look the hash up and run what it remembers instead of the text.
  if (extensions !== null && !isObject(extensions)) throw refused('extensions is no JSON object')
  if (Object.keys(extensions ?? {}).some((key) => !HARMLESS_EXTENSIONS.has(key)))
    throw refused('GraphQL extensions, persisted queries among them, are refused: send the text')
  if (typeof query !== 'string' || query === '')
    throw refused('the GraphQL call has no document: send its text as query')
  if (operationName !== null && typeof operationName !== 'string')
    throw refused('operationName is no text')
  if (variables !== null && !isObject(variables)) throw refused('variables is no JSON object')
  // Some servers take an empty name for none; with one operation both readings are the same.
  return {
    query,
    operationName: operationName === '' ? null : operationName,
    variables: variables ?? {},
  }
}

const documentOf = (query: string): DocumentNode => {
  try {
    return parse(query, {
      maxLexicalTokens: MOST.tokens,
      maxComments: MOST.tokens,
      noLocation: true,
    })
  } catch (error) {
    // The parser's own words quote the document: they stay out of answer and log.
    const [at] = (error instanceof GraphQLError ? error.locations : null) ?? []
    throw refused(
      `the GraphQL document cannot be read${at === undefined ? '' : ` at line ${at.line}, column ${at.column}`}: malformed, or more than ${MOST.tokens} tokens`,
    )
  }
}

type Fragments = ReadonlyMap<string, FragmentDefinitionNode>
type Chosen = Pick<RootField, 'type' | 'name'> & {
  readonly set: SelectionSetNode
  readonly fragments: Fragments
  readonly variables: Variables['defined']
}

/** The operation that will run (6.1), where no server can choose another. */
const chosen = ({ definitions }: DocumentNode, wanted: string | null): Chosen => {
  const operations = new Map<string, OperationDefinitionNode>()
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const definition of definitions) {
    if (definition.kind === 'OperationDefinition') {
      const name = definition.name?.value ?? ''
      if (operations.has(name)) throw refused('two operations of the document have one name')
      operations.set(name, definition)
    } else if (definition.kind === 'FragmentDefinition') {
      if (fragments.has(definition.name.value))
        throw refused('two fragments of the document have one name')
      fragments.set(definition.name.value, definition)
    } else throw refused('the GraphQL document defines types: only operations and fragments run')
  }
  if (operations.size > 1 && (wanted === null || operations.has('')))
    throw refused('the document has several operations: name each, and one in operationName')
  const [only] = operations.values()
  const operation = wanted === null ? only : operations.get(wanted)
  if (operation === undefined) throw refused('the document has no such operation')
  const { operation: type, name, selectionSet, variableDefinitions = [] } = operation
  if (type === 'subscription') throw refused('GraphQL subscriptions do not pass')
  if ((name?.value.length ?? 0) > MOST.name)
    throw refused(`the operation’s name has more than ${MOST.name} characters`)
  const variables = new Map(variableDefinitions.map((one) => [one.variable.name.value, one]))
  if (variables.size !== variableDefinitions.length)
    throw refused('two variables of the operation have one name')
  return { type, name: name?.value ?? '', set: selectionSet, fragments, variables }
}

const fragmentOf = (fragments: Fragments, name: string): SelectionSetNode => {
  const fragment = fragments.get(name)
  if (fragment === undefined) throw refused('the document spreads a fragment that it does not have')
  return fragment.selectionSet
}

/** How many fields deep a selection goes. Each fragment is walked once, so that spreads of spreads cost nothing. */
const depths = (fragments: Fragments): ((set: SelectionSetNode | undefined) => number) => {
  const known = new Map<string, number | null>()
  const ofFragment = (name: string): number => {
    const before = known.get(name)
    if (before === null) throw refused('a fragment of the document spreads itself')
    if (before !== undefined) return before
    known.set(name, null)
    const depth = of(fragmentOf(fragments, name))
    known.set(name, depth)
    return depth
  }
  const of = (set: SelectionSetNode | undefined): number => {
    let deepest = 0
    for (const selection of set?.selections ?? []) {
      const depth =
        selection.kind === 'Field'
          ? 1 + of(selection.selectionSet)
          : selection.kind === 'InlineFragment'
            ? of(selection.selectionSet)
            : ofFragment(selection.name.value)
      deepest = Math.max(deepest, depth)
    }
    return deepest
  }
  return of
}

type Found = {
  /** The name in the answer. */
  readonly key: string
  readonly field: string
  readonly args: readonly ArgumentNode[]
  readonly below: SelectionSetNode | undefined
}

/** What a selection names beneath a field: fields by their own names, and types by conditions. */
type Named = {
  readonly types: Set<string>
  readonly selects: Set<string>
  /** Fragments that were walked: each is once. */
  readonly spread: Set<string>
}
const collectNames = (
  set: SelectionSetNode | undefined,
  fragments: Fragments,
  named: Named,
): void => {
  for (const selection of set?.selections ?? []) {
    if (selection.kind === 'Field') {
      named.selects.add(selection.name.value)
      collectNames(selection.selectionSet, fragments, named)
    } else if (selection.kind === 'InlineFragment') {
      if (selection.typeCondition) named.types.add(selection.typeCondition.name.value)
      collectNames(selection.selectionSet, fragments, named)
    } else if (!named.spread.has(selection.name.value)) {
      const fragment = fragments.get(selection.name.value)
      named.spread.add(selection.name.value)
      if (fragment) named.types.add(fragment.typeCondition.name.value)
      collectNames(fragment?.selectionSet, fragments, named)
    }
  }
}

/** Whatever may run: type conditions, `@skip` and `@include` are no reason to leave a field out. */
const rootFields = (root: SelectionSetNode, fragments: Fragments): readonly Found[] => {
  const found: Found[] = []
  const spread = new Set<string>()
  const collect = (set: SelectionSetNode): void => {
    for (const selection of set.selections) {
      if (selection.kind === 'Field') {
        const { alias, name, selectionSet, arguments: args = [] } = selection
        const key = (alias ?? name).value
        found.push({ key, field: name.value, args, below: selectionSet })
      } else if (selection.kind === 'InlineFragment') collect(selection.selectionSet)
      else if (!spread.has(selection.name.value)) {
        spread.add(selection.name.value)
        collect(fragmentOf(fragments, selection.name.value))
      }
    }
  }
  collect(root)
  return found
}
