// The arguments of a root field with its variables filled in, as the server will see them (GraphQL, October 2021, 6.4.1).
import type { ArgumentNode, ValueNode, VariableDefinitionNode } from 'graphql/language'
import type { Json } from '../model.ts'
import { Problem } from '../problem.ts'
import { EXACT, hasNumber, isMarked, markNumber, memberAt } from '../wire/json.ts'

type Members = { readonly [name: string]: unknown }
export type Variables = {
  readonly defined: ReadonlyMap<string, VariableDefinitionNode>
  readonly given: Members
  /** The same with a mark for each number that others read as another. */
  readonly marked: () => Members
}

const refused = (detail: string): Problem => new Problem('request_invalid', detail)
/** What readers of JSON stand, and policy. */
const DEEPEST = 64
/** No value: the argument, or the member, is as if it were not there. */
const ABSENT = Symbol('absent')

/**
 * @param marking numbers that do not survive a reader of doubles become marks
 * @throws Problem request_invalid
 */
export const valuesOf = (
  args: readonly ArgumentNode[],
  variables: Variables,
  marking: boolean,
): Members => membersOf(args, variables, marking, 1)

const membersOf = (
  nodes: readonly { readonly name: { readonly value: string }; readonly value: ValueNode }[],
  variables: Variables,
  marking: boolean,
  depth: number,
): Members => {
  const found = new Map<string, unknown>()
  for (const { name, value } of nodes) {
    if (found.has(name.value))
      throw refused('the GraphQL document gives an argument, or a member of one, twice')
    found.set(name.value, valueOf(value, variables, marking, depth))
  }
  return Object.fromEntries([...found].filter(([, value]) => value !== ABSENT))
}

const valueOf = (
  node: ValueNode,
  variables: Variables,
  marking: boolean,
  depth: number,
): unknown => {
  if (depth > DEEPEST) throw refused(`an argument is nested deeper than ${DEEPEST}`)
  switch (node.kind) {
    case 'Variable':
      return variableOf(node.name.value, variables, marking)
    case 'IntValue':
    case 'FloatValue':
      return marking ? markNumber(node.value) : Number(node.value)
    case 'NullValue':
      return null
    case 'ListValue':
      return node.values.map((one) => {
        const value = valueOf(one, variables, marking, depth + 1)
        return value === ABSENT ? null : value
      })
    case 'ObjectValue':
      return membersOf(node.fields, variables, marking, depth + 1)
    case 'StringValue':
    case 'BooleanValue':
    case 'EnumValue':
      break
  }
  return node.value
}

/** What was given, else its default, else nothing (6.1.2). */
const variableOf = (name: string, variables: Variables, marking: boolean): unknown => {
  const definition = variables.defined.get(name)
  if (definition === undefined)
    throw refused('an argument is a variable that the operation does not define')
  const given = marking ? variables.marked() : variables.given
  if (Object.hasOwn(given, name)) return given[name]
  const { defaultValue } = definition
  return defaultValue === undefined ? ABSENT : valueOf(defaultValue, variables, marking, 1)
}

/** The values at the pointers that the operation names; one that is not there is left out. */
export const givenIn =
  (values: Members, marked: () => Members) =>
  (pointers: readonly string[]): Readonly<Record<string, Json>> => {
    const found: Record<string, Json> = {}
    for (const pointer of pointers) {
      const at = memberAt(values, pointer, EXACT)
      if (at === undefined) continue
      if ('clash' in at)
        throw refused(`the arguments have ${at.clash}, which some servers take for ${pointer}`)
      if (hasNumber(at.value) && isMarked(memberAt(marked(), pointer, EXACT)))
        throw refused(`${pointer} holds a number that other readers round otherwise`)
      found[pointer] = at.value as Json
    }
    return found
  }
