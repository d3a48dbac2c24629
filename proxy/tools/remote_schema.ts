// What an MCP server says that a tool takes, in the few words that every host accepts (schema.ts), bounded. Pure.
import type { Json, JsonObject } from '../model.ts'
import { isObject } from '../wire/json.ts'
import type { Input, InputType } from './definition.ts'
import { isType } from './plain.ts'
import { plainText } from './remote_message.ts'

const DEEPEST = 4
const MOST_MEMBERS = 64
const MOST_CHOICES = 40
const MOST_SAID = 120
/** Bytes of one tool's schema. */
const MOST_BYTES = 8_192
/** References and unions that are followed on the way to one member. */
const MOST_STEPS = 8

/** Names that every host takes. */
const isName = (name: string): boolean => /^[\w.-]{1,64}$/.test(name) && name !== '__proto__'

type Schema = { readonly [name: string]: unknown }

/** Where a reference within the document leads; null: nowhere. */
const referred = (root: Schema, ref: unknown): Schema | null => {
  const [, place = '', name = ''] =
    /^#\/(\$defs|definitions)\/([^/]{1,200})$/.exec(typeof ref === 'string' ? ref : '') ?? []
  const all = root[place]
  const found = isObject(all) && Object.hasOwn(all, name) ? all[name] : null
  return isObject(found) ? found : null
}
const isNull = (one: unknown): boolean => isObject(one) && one['type'] === 'null'
/** Behind references, and of a union its first member that is something: there is no word for all of them. */
const settled = (root: Schema, given: unknown): Schema => {
  let schema: Schema = isObject(given) ? given : {}
  for (let n = 0; n < MOST_STEPS; n++) {
    const { $ref, anyOf, oneOf, allOf } = schema
    const union = [anyOf, oneOf, allOf].find((one) => Array.isArray(one)) as unknown[] | undefined
    const next =
      $ref === undefined
        ? union?.find((one) => isObject(one) && !isNull(one))
        : referred(root, $ref)
    if (!isObject(next)) break
    const { $ref: _ref, anyOf: _any, oneOf: _one, allOf: _all, ...own } = schema
    schema = { ...next, ...own }
  }
  return schema
}
const typeOf = ({ type, properties, items, enum: choices }: Schema): InputType => {
  const said = Array.isArray(type) ? (type as unknown[]).find(isType) : type
  if (isType(said)) return said
  if (isObject(properties)) return 'object'
  if (isObject(items)) return 'array'
  const [first] = Array.isArray(choices) ? (choices as unknown[]) : []
  return typeof first === 'number' ? 'number' : 'string'
}
const isShort = (value: unknown): value is string | number | boolean =>
  typeof value === 'boolean' ||
  Number.isFinite(value) ||
  (typeof value === 'string' && plainText(value, MOST_SAID) === value)

const choicesIn = ({ enum: choices }: Schema, type: InputType): JsonObject => {
  if (!Array.isArray(choices) || (type !== 'string' && type !== 'integer' && type !== 'number'))
    return {}
  const all = choices as unknown[]
  const fit = all.filter((one) => isShort(one) && typeof one !== 'boolean') as Json[]
  // Some of them would say that the others are none.
  return fit.length === 0 || fit.length !== all.length || fit.length > MOST_CHOICES
    ? {}
    : // One that a server names twice would make a schema that hosts refuse.
      { enum: [...new Set(fit)] }
}

type Reading = { readonly root: Schema; readonly left: Set<string> }

const membersIn = (schema: Schema, depth: number, reading: Reading): JsonObject => {
  const { properties, required } = schema
  const all = isObject(properties) ? Object.entries(properties) : []
  const fit = all.filter(([name]) => isName(name)).slice(0, MOST_MEMBERS)
  const names = new Set(fit.map(([name]) => name))
  for (const [name] of all.slice(0, 1_000))
    if (!names.has(name)) reading.left.add(plainText(name, 64))
  const needed = Array.isArray(required)
    ? [...new Set(required as unknown[])].filter((one) => names.has(one as string))
    : []
  return {
    properties: Object.fromEntries(
      fit.map(([name, one]) => [name, plain(one, depth - 1, reading)]),
    ),
    ...(needed.length === 0 ? {} : { required: needed as string[] }),
  }
}
const plain = (given: unknown, depth: number, reading: Reading): JsonObject => {
  const schema = settled(reading.root, given)
  const type = typeOf(schema)
  const description = plainText(schema['description'], MOST_SAID)
  const usual = schema['default']
  return {
    type,
    ...(description === '' ? {} : { description }),
    ...(type === 'array'
      ? { items: depth > 0 ? plain(schema['items'], depth - 1, reading) : { type: 'object' } }
      : {}),
    ...(type === 'object' && depth > 0 && isObject(schema['properties'])
      ? membersIn(schema, depth, reading)
      : {}),
    ...choicesIn(schema, type),
    ...(isShort(usual) ? { default: usual } : {}),
  }
}

/** Arguments without their inner members, where all of them are too much. */
const flat = (schema: JsonObject): JsonObject => {
  const properties = isObject(schema['properties']) ? schema['properties'] : {}
  return {
    ...schema,
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, one]) => {
        const { type = 'string' } = one as JsonObject
        return [name, { type, ...(type === 'array' ? { items: { type: 'object' } } : {}) }]
      }),
    ),
  }
}

/**
 * @param given `inputSchema`, as the server wrote it
 * @returns `left`: arguments that no host could name, or that are too many
 */
export const plainSchema = (
  given: unknown,
): { readonly schema: JsonObject; readonly left: readonly string[] } => {
  const root = isObject(given) ? given : {}
  const reading: Reading = { root, left: new Set() }
  const { properties, required } = membersIn(settled(root, root), DEEPEST, reading)
  const whole: JsonObject = {
    type: 'object',
    properties: properties ?? {},
    ...(required === undefined ? {} : { required }),
  }
  const fits = Buffer.byteLength(JSON.stringify(whole)) <= MOST_BYTES
  return { schema: fits ? whole : flat(whole), left: [...reading.left] }
}

/** The arguments one by one, as the lists of other doors tell them. */
export const inputsIn = (schema: JsonObject): readonly Input[] => {
  const { properties, required } = schema
  const needed = Array.isArray(required) ? (required as readonly Json[]) : []
  return Object.entries(isObject(properties) ? properties : {}).map(([name, raw]) => {
    const { type, description, items, enum: choices, default: usual } = raw as JsonObject
    const of = isObject(items) ? items['type'] : undefined
    return {
      name,
      type: isType(type) ? type : 'string',
      required: needed.includes(name),
      description: typeof description === 'string' ? description : '',
      enum: Array.isArray(choices) ? (choices as (string | number)[]) : null,
      default: usual,
      items: isType(of) ? of : null,
      minimum: null,
      maximum: null,
    }
  })
}
