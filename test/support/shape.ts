// What a vendor's specification says of a value, in one form for all of them: is this body one, is there something at
// this pointer?
import { isObject } from '../../proxy/wire/json.ts'

export type Shape =
  | { readonly kind: 'any' }
  | { readonly kind: 'scalar'; readonly type: string; readonly enum: readonly unknown[] | null }
  | { readonly kind: 'list'; readonly of: Lazy }
  | {
      readonly kind: 'object'
      readonly members: ReadonlyMap<string, Lazy>
      readonly required: readonly string[]
      /** What members of other names are; null: there are none. */
      readonly others: Lazy | null
    }
  | { readonly kind: 'either'; readonly of: readonly Lazy[] }
/** Types name each other in circles. */
type Lazy = () => Shape

export const ANY: Shape = { kind: 'any' }

const isScalar = (type: string, value: unknown): boolean =>
  type === 'integer'
    ? Number.isSafeInteger(value)
    : type === 'number' || type === 'boolean' || type === 'string'
      ? typeof value === type
      : true

/** Everything by which a value is none of the shape. */
export const mistakes = (shape: Shape, value: unknown, at = ''): readonly string[] => {
  switch (shape.kind) {
    case 'any':
      return []
    case 'scalar':
      if (!isScalar(shape.type, value)) return [`${at} must be of type ${shape.type}`]
      return shape.enum === null || shape.enum.includes(value)
        ? []
        : [`${at} must be one of ${shape.enum.join(', ')}`]
    case 'list':
      return Array.isArray(value)
        ? value.flatMap((one, i) => mistakes(shape.of(), one, `${at}/${i}`))
        : [`${at} must be an array`]
    case 'object': {
      if (!isObject(value)) return [`${at} must be an object`]
      const missing = shape.required
        .filter((name) => value[name] === undefined)
        .map((name) => `${at}/${name} is missing`)
      return Object.entries(value).reduce<readonly string[]>((all, [name, one]) => {
        const of = shape.members.get(name) ?? shape.others
        return [
          ...all,
          ...(of === null ? [`${at}/${name} is not known`] : mistakes(of(), one, `${at}/${name}`)),
        ]
      }, missing)
    }
    case 'either':
    default: {
      const all = shape.of.map((one) => mistakes(one(), value, at))
      return all.some((one) => one.length === 0) ? [] : (all[0] ?? [])
    }
  }
}

/** Is there something at this pointer? `*` stands for each element of a list. */
export const reaches = (shape: Shape, [segment, ...rest]: readonly string[]): boolean => {
  if (segment === undefined) return true
  switch (shape.kind) {
    case 'any':
      return true
    case 'scalar':
      return false
    case 'list':
      return (segment === '*' || /^\d+$/.test(segment)) && reaches(shape.of(), rest)
    case 'object': {
      const of = shape.members.get(segment) ?? shape.others
      return of !== null && reaches(of(), rest)
    }
    case 'either':
    default:
      return shape.of.some((one) => reaches(one(), [segment, ...rest]))
  }
}

type Schema = { readonly [name: string]: unknown }
const object = (raw: unknown): Schema => (isObject(raw) ? raw : {})
const array = (raw: unknown): readonly unknown[] => (Array.isArray(raw) ? raw : [])

/**
 * JSON Schema as OpenAPI and Google's discovery documents write it.
 * @param refs what `$ref` names
 * @param others may objects that list their members have more?
 */
export const shapeOf = (raw: unknown, refs: (name: string) => unknown, others: boolean): Shape => {
  const schema = object(raw)
  const of = (each: unknown) => (): Shape => shapeOf(each, refs, others)
  if (typeof schema['$ref'] === 'string') return shapeOf(refs(schema['$ref']), refs, others)
  const all = array(schema['allOf'])
  if (all.length > 0) {
    const parts = all.map((each) => of(each)())
    const objects = parts.filter((part) => part.kind === 'object')
    return objects.length < parts.length
      ? { kind: 'either', of: parts.map((part) => () => part) }
      : {
          kind: 'object',
          members: new Map(objects.flatMap(({ members }) => [...members])),
          required: objects.flatMap(({ required }) => required),
          others: objects.some((part) => part.others !== null) ? () => ANY : null,
        }
  }
  const either = [...array(schema['oneOf']), ...array(schema['anyOf'])]
  if (either.length > 0 && schema['properties'] === undefined)
    return { kind: 'either', of: either.map((each) => of(each)) }
  const type = schema['type']
  if (Array.isArray(type)) return ANY
  if (type === 'array') return { kind: 'list', of: of(schema['items']) }
  if (type === 'object' || schema['properties'] !== undefined) {
    const more = schema['additionalProperties']
    const members = Object.entries(object(schema['properties']))
    return {
      kind: 'object',
      members: new Map(members.map(([name, each]) => [name, of(each)])),
      required: array(schema['required']).map(String),
      others: isObject(more)
        ? of(more)
        : more === true || members.length === 0 || others
          ? () => ANY
          : null,
    }
  }
  if (typeof type !== 'string' || type === 'any') return ANY
  return { kind: 'scalar', type, enum: Array.isArray(schema['enum']) ? schema['enum'] : null }
}
