// What a specification says of one operation, and careful reading of JSON that others wrote.
import type { Access } from '../../proxy/model.ts'
import { isObject } from '../../proxy/wire/json.ts'

export type Parameter = {
  readonly name: string
  readonly in: 'path' | 'query' | 'header' | 'body'
  /** A type of JSON Schema, or that with `[]` behind it. */
  readonly type: string
  readonly required: boolean
  readonly description: string
}
export type Found = {
  readonly id: string
  readonly method: string
  readonly path: string
  readonly host: string | null
  /** `query viewer`; absent: a call of its own. */
  readonly graphql?: string
  readonly summary: string
  /** Any of these lists suffices, the least first; null: the source does not say. */
  readonly scopes: readonly (readonly string[])[] | null
  readonly parameters: readonly Parameter[]
  readonly upload?: boolean
  /** Where the source itself says it. */
  readonly access?: Access
}

type Fields = Readonly<Record<string, unknown>>
export const fields = (value: unknown): Fields => (isObject(value) ? value : {})
export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
export const text = (value: unknown): string => (typeof value === 'string' ? value : '')
export const texts = (value: unknown): readonly string[] => list(value).map(text)

/** The first sentence, as one short line of plain text. */
export const short = (value: unknown, most = 110): string => {
  const plain = text(value)
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replaceAll(/\{@link \S+ ?([^}]*)\}/g, '$1')
    .replaceAll(/<[^>]*>/g, '')
    .replaceAll(/[`*]|^\s*>.*$/gm, '')
    .replaceAll(/[\u2018\u2019]/g, "'")
    .replaceAll(/[\u201c\u201d]/g, '"')
    .replaceAll(/[\u2013\u2014]/g, '-')
    .replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .trim()
  const sentence = /^.*?[.!?](?= |$)/.exec(plain)?.[0] ?? plain
  const bare = sentence.replace(/[.\s]+$/, '')
  if (bare.length <= most) return bare
  return `${bare.slice(0, bare.lastIndexOf(' ', most - 1)).replace(/[,;:\s]+$/, '')}...`
}

/** `{x}` of the template that the source did not list by itself. */
export const pathParameters = (path: string): readonly Parameter[] =>
  [...path.matchAll(/\{(\w+)\+?\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    type: 'string',
    required: true,
    description: '',
  }))

type Refs = (ref: string) => unknown
const TYPES = new Set(['string', 'integer', 'number', 'boolean', 'object', 'array'])
/** The type of a JSON Schema in one word; what is several things is an object only if nothing simpler is among them. */
export const typeOf = (schema: unknown, refs: Refs, depth = 0): string => {
  const one = fields(schema)
  if (depth > 8) return 'object'
  if (typeof one['$ref'] === 'string') return typeOf(refs(one['$ref']), refs, depth + 1)
  const named = [one['type']].flat().find((type) => type !== 'null')
  if (named === 'array') {
    const inner = typeOf(one['items'], refs, depth + 1)
    return `${inner.endsWith('[]') ? 'object' : inner}[]`
  }
  if (typeof named === 'string') return TYPES.has(named) ? named : 'string'
  const [first] = [one['oneOf'], one['anyOf'], one['allOf']].flatMap(list)
  if (first !== undefined) return typeOf(first, refs, depth + 1)
  return one['properties'] === undefined ? 'string' : 'object'
}

/** Members of a body's schema, the required first told by the schema itself. */
export const members = (schema: unknown, refs: Refs, depth = 0): readonly Parameter[] => {
  const one = fields(schema)
  if (depth > 4) return []
  if (typeof one['$ref'] === 'string') return members(refs(one['$ref']), refs, depth + 1)
  const needed = new Set(texts(one['required']))
  const own = Object.entries(fields(one['properties'])).flatMap(([name, member]): Parameter[] =>
    fields(member)['readOnly'] === true
      ? []
      : [
          {
            name,
            in: 'body',
            type: typeOf(member, refs),
            required: needed.has(name),
            description: short(
              fields(member)['description'] ??
                fields(refs(text(fields(member)['$ref'])))['description'],
            ),
          },
        ],
  )
  if (own.length > 0) return own
  const every = list(one['allOf']).flatMap((part) => members(part, refs, depth + 1))
  if (every.length > 0) return every
  return members([one['oneOf'], one['anyOf']].flatMap(list)[0], refs, depth + 1)
}
