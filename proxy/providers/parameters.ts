// What a provider's operations are called and take, for tools and pages: read only when somebody asks.
import type { Access, OperationRow, Provider } from '../model.ts'
import { isObject } from '../wire/json.ts'

type OperationParameter = {
  readonly name: string
  readonly in: 'path' | 'query' | 'header' | 'body'
  /** A type of JSON Schema, or that with `[]` behind it. */
  readonly type: string
  readonly required: boolean
  readonly description?: string
}
export type DescribedOperation = {
  /** One line, mostly in the vendor's words; '' where nobody wrote one. */
  readonly summary: string
  readonly access: Access
  /** Any of these lists suffices, the least first; [] where no source says which do. */
  readonly scopes: OperationRow['scopes']
  readonly method: string
  readonly path: string
  readonly host: string | null
  /** `query viewer`: the root field of GraphQL that it is; absent: a call of its own. */
  readonly graphql?: string
  readonly parameters: readonly OperationParameter[]
}
export type Described = ReadonlyMap<string, DescribedOperation>
type Texts = Pick<DescribedOperation, 'summary' | 'parameters'>

const PLACES = ['path', 'query', 'header', 'body'] as const
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** `[name, place, type, 1 if it is needed, description]` */
const readParameter = (raw: unknown): OperationParameter | null => {
  const [name, at, type, needed, description] = list(raw)
  const place = PLACES.find((one) => one === at)
  if (typeof name !== 'string' || typeof type !== 'string' || place === undefined) return null
  const required = needed === 1
  return typeof description === 'string'
    ? { name, in: place, type, required, description }
    : { name, in: place, type, required }
}

/** A parsed `<id>.parameters.json`: operation id → its texts. What has another form is left out. */
const readTexts = (raw: unknown): ReadonlyMap<string, Texts> => {
  if (!isObject(raw)) return new Map()
  const shared = list(raw['parameters']).map(readParameter)
  return new Map(
    list(raw['operations']).flatMap((row): [string, Texts][] => {
      const [id, summary, ...numbers] = list(row)
      if (typeof id !== 'string' || typeof summary !== 'string') return []
      const parameters = numbers.flatMap((at) => (typeof at === 'number' ? (shared[at] ?? []) : []))
      return [[id, { summary, parameters }]]
    }),
  )
}

/** `{owner}` and `{path+}` of a template, where nobody described them. */
const inPath = (path: string): readonly OperationParameter[] =>
  [...path.matchAll(/\{(\w+)\+?\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    type: 'string',
    required: true,
  }))

/** @param raw the parsed `<id>.parameters.json`; undefined: the provider has none, and its templates are all that is known */
export const describe = ({ operations }: Pick<Provider, 'operations'>, raw: unknown): Described => {
  const texts = readTexts(raw)
  const described = new Map<string, DescribedOperation>()
  for (const { id, access, scopes, method, path, host, graphql } of operations) {
    // Of several calls by one id the first is the one to make.
    if (described.has(id)) continue
    const { summary = '', parameters = [] } = texts.get(id) ?? {}
    // A template by hand may name its parts otherwise than the specification.
    const known = new Map(
      parameters.filter((one) => one.in === 'path').map((one) => [one.name, one]),
    )
    described.set(id, {
      summary,
      access,
      scopes,
      method,
      path,
      host,
      ...(graphql === undefined ? {} : { graphql }),
      parameters: [
        ...inPath(path).map((one) => known.get(one.name) ?? one),
        ...parameters.filter((one) => one.in !== 'path'),
      ],
    })
  }
  return described
}
