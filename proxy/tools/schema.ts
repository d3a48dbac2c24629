// What a tool takes, told in the few words of JSON Schema that every host and model accepts, and arguments checked by
// it in sentences that a model can act on. Pure.
import type { Json, JsonObject } from '../model.ts'
import { isObject } from '../wire/json.ts'
import type { Input, InputType, Tool } from './definition.ts'
import { wireName } from './names.ts'

const typed = ({ type, description, ...one }: Input): JsonObject => ({
  type,
  ...(description === '' ? {} : { description }),
  ...(one.items === null ? {} : { items: { type: one.items } }),
  ...(one.enum === null ? {} : { enum: one.enum }),
  ...(one.default === undefined ? {} : { default: one.default }),
})

/** Only `type`, `properties`, `required`, `items`, `enum`, `description`, `default`: a list is refused for one more. */
export const inputSchema = ({ input, remote }: Pick<Tool, 'input' | 'remote'>): JsonObject => {
  if (remote !== undefined) return remote.schema
  const required = input.filter((one) => one.required).map(({ name }) => name)
  return {
    type: 'object',
    properties: Object.fromEntries(input.map((one) => [one.name, typed(one)])),
    ...(required.length === 0 ? {} : { required }),
  }
}

export const openaiFormat = (tool: Tool): JsonObject => ({
  type: 'function',
  function: {
    name: wireName(tool.name),
    description: tool.description,
    parameters: inputSchema(tool),
  },
})
export const anthropicFormat = (tool: Tool): JsonObject => ({
  name: wireName(tool.name),
  description: tool.description,
  input_schema: inputSchema(tool),
})

const valType = (type: InputType): string => (type === 'object' ? 'json' : type)
/** `input` of a tool as Arcade's clients know it. */
export const parameterList = ({ input }: Pick<Tool, 'input'>): JsonObject => ({
  parameters: input.map((one) => ({
    name: one.name,
    required: one.required,
    description: one.description,
    inferrable: true,
    value_schema: {
      val_type: valType(one.type),
      ...(one.items === null ? {} : { inner_val_type: valType(one.items) }),
      ...(one.enum === null ? {} : { enum: one.enum.map(String) }),
    },
  })),
})

const A: Readonly<Record<InputType, string>> = {
  string: 'a string',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  array: 'an array',
  object: 'an object',
}
const is = (type: InputType, value: unknown): boolean => {
  switch (type) {
    case 'string':
      return typeof value === 'string'
    case 'integer':
      return Number.isSafeInteger(value)
    case 'number':
      return typeof value === 'number'
    case 'boolean':
      return typeof value === 'boolean'
    case 'array':
      return Array.isArray(value)
    case 'object':
    default:
      return isObject(value)
  }
}
const cameAs = (value: unknown): string =>
  value === null
    ? 'null'
    : Array.isArray(value)
      ? 'an array'
      : `${/^[aeiou]/.test(typeof value) ? 'an' : 'a'} ${typeof value}`
const shown = (text: string): string => JSON.stringify(text.slice(0, 64))

const HUGE = 'a number beyond 2^53 - 1, which not every reader keeps as it is (RFC 7493 2.2)'
/** What would not arrive as it was written; null: nothing. */
const unfitIn = (value: unknown): string | null => {
  if (typeof value === 'number')
    return Number.isFinite(value) && Number.isSafeInteger(Math.trunc(value)) ? null : HUGE
  if (typeof value === 'string') return value.isWellFormed() ? null : 'half of a character'
  if (typeof value !== 'object' || value === null) return null
  for (const each of [
    ...(Array.isArray(value) ? [] : Object.keys(value)),
    ...Object.values(value),
  ]) {
    const unfit = unfitIn(each)
    if (unfit !== null) return unfit
  }
  return null
}

const wrongIn = (one: Input, value: unknown): string | null => {
  const { name, type } = one
  const unfit = unfitIn(value)
  if (unfit !== null) return `\`${name}\` holds ${unfit}`
  if (!is(type, value)) {
    const of = one.enum === null ? '' : `, one of ${one.enum.join(', ')}`
    return `\`${name}\` must be ${A[type]}${of}, not ${cameAs(value)}`
  }
  if (one.enum !== null && !one.enum.some((each) => each === value))
    return `\`${name}\` must be one of ${one.enum.join(', ')}`
  if (typeof value === 'number' && one.minimum !== null && value < one.minimum)
    return `\`${name}\` must be at least ${one.minimum}`
  if (typeof value === 'number' && one.maximum !== null && value > one.maximum)
    return `\`${name}\` must be at most ${one.maximum}`
  if (one.items !== null && Array.isArray(value)) {
    const { items } = one
    const i = value.findIndex((each) => !is(items, each))
    if (i !== -1) return `element ${i} of \`${name}\` must be ${A[items]}, not ${cameAs(value[i])}`
  }
  return null
}

const MOST_SAID = 10
/**
 * The arguments by name, with what is left out and has a default, or everything that is wrong with them.
 * @param given as it came, parsed strictly
 */
export const checkArguments = (
  { name, input, remote }: Pick<Tool, 'name' | 'input' | 'remote'>,
  given: unknown,
): { readonly args: ReadonlyMap<string, Json> } | { readonly wrong: string } => {
  if (given !== undefined && given !== null && !isObject(given))
    return { wrong: `the arguments must be one object, not ${cameAs(given)}` }
  const all = given ?? {}
  // Only its server knows what it takes.
  if (remote !== undefined) {
    const unfit = unfitIn(all)
    return unfit === null
      ? { args: new Map(Object.entries(all as JsonObject)) }
      : { wrong: `the arguments hold ${unfit}` }
  }
  const wrong: string[] = []
  const known = new Set(input.map((one) => one.name))
  const may = known.size === 0 ? 'it takes none' : `it takes ${[...known].join(', ')}`
  for (const key of Object.keys(all))
    if (!known.has(key)) wrong.push(`${name} has no argument ${shown(key)}: ${may}`)
  const args = new Map<string, Json>()
  for (const one of input) {
    const value = Object.hasOwn(all, one.name) ? all[one.name] : undefined
    // Models write null for what they leave out.
    if (value === undefined || value === null) {
      if (one.default !== undefined) args.set(one.name, one.default)
      else if (one.required) wrong.push(`\`${one.name}\` is missing; it must be ${A[one.type]}`)
      continue
    }
    const why = wrongIn(one, value)
    if (why === null) args.set(one.name, value as Json)
    else wrong.push(why)
  }
  if (wrong.length === 0) return { args }
  const more = wrong.length > MOST_SAID ? [`and ${wrong.length - MOST_SAID} more`] : []
  return { wrong: [...wrong.slice(0, MOST_SAID), ...more].join('; ') }
}
