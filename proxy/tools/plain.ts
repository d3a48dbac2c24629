// Every operation of a catalogue is a tool by itself: its parameters are its arguments. Pure.
import type { OperationRow, Provider } from '../model.ts'
import { behaviourOf, type Input, type InputType, type Step, type Tool } from './definition.ts'
import { camel } from './names.ts'
import type { Members } from './template.ts'

/** What a vendor's specification says of an operation. */
export type Parameters = {
  readonly summary: string
  readonly parameters: readonly {
    readonly name: string
    readonly in: 'path' | 'query' | 'header' | 'body'
    readonly type: string
    readonly required: boolean
    readonly description?: string
  }[]
}
/** Of one provider, by operation; empty where nobody published any. */
export type ParametersOf = (provider: Provider) => Promise<ReadonlyMap<string, Parameters>>

/** `Github.IssuesCreate`; the toolkit is the provider. */
export const plainName = (provider: string, id: string): string => {
  const own = `${provider}.`
  const rest = id.startsWith(own) && id.length > own.length ? id.slice(own.length) : id
  return `${camel(provider)}.${camel(rest)}`
}
/**
 * A field of GraphQL has no answer of its own until somebody says which members: it needs a document, so it is no tool by
 * itself. A message to an MCP server is one of that server's, by its own schema.
 */
export const isPlain = ({ graphql, mcp }: OperationRow): boolean =>
  graphql === undefined && mcp === undefined

const TYPES: ReadonlySet<unknown> = new Set([
  'string',
  'integer',
  'number',
  'boolean',
  'array',
  'object',
])
export const isType = (type: unknown): type is InputType => TYPES.has(type)
const typeOf = (type: string): InputType =>
  type.endsWith('[]') ? 'array' : isType(type) ? type : 'string'
/** Of an array; a type that no schema of the subset has is taken as a text. */
const itemsOf = (type: string): InputType | null =>
  type.endsWith('[]') ? typeOf(type.slice(0, -2)) : type === 'array' ? 'string' : null
/** Names of arguments are of letters, digits and `_.-`. */
const argument = (name: string): string => name.replaceAll(/[^\w.-]/g, '').slice(0, 64) || 'value'

const input = (name: string, type: InputType, required: boolean, description = ''): Input => ({
  name,
  type,
  required,
  description: description.slice(0, 120),
  enum: null,
  default: undefined,
  items: type === 'array' ? 'string' : null,
  minimum: null,
  maximum: null,
})

type Places = Readonly<Record<'path' | 'query' | 'header' | 'body', [string, string][]>>

/** Does anybody describe more of it than its path does? */
const says = ({ summary, parameters }: Parameters): boolean =>
  summary !== '' || parameters.some((one) => one.in !== 'path')

/** Without a specification: the parameters of the path, and one object each for query and body. */
const bare = (
  row: OperationRow,
): {
  readonly inputs: Input[]
  readonly places: Places
  readonly rest: string | null
  readonly whole: string | null
} => {
  const names = [...row.path.matchAll(/\{(\w+)\+?\}/g)].map(([, name = '']) => name)
  const sends = row.method !== 'GET' && row.method !== 'HEAD'
  const free = (name: string): string => (names.includes(name) ? `${name}_` : name)
  const inputs = names.map((name) => input(name, 'string', true))
  inputs.push(input(free('query'), 'object', false, 'Parameters of the query.'))
  if (sends)
    inputs.push(input(free('body'), 'object', false, 'The body, as the provider takes it.'))
  const places: Places = {
    path: names.map((name) => [name, name]),
    query: [],
    header: [],
    body: [],
  }
  return { inputs, places, rest: free('query'), whole: sends ? free('body') : null }
}

const specified = (row: OperationRow, { parameters }: Parameters): ReturnType<typeof bare> => {
  const inputs: Input[] = []
  const places: Places = { path: [], query: [], header: [], body: [] }
  const taken = new Set<string>()
  const add = (place: keyof Places, name: string, one: Omit<Input, 'name'>): void => {
    let own = argument(name)
    while (taken.has(own)) own = place === 'body' ? `body_${own}` : `${place}_${own}`
    taken.add(own)
    inputs.push({ ...one, name: own })
    places[place].push([name, own])
  }
  const given = new Set(parameters.flatMap((one) => (one.in === 'path' ? [one.name] : [])))
  for (const [, name = ''] of row.path.matchAll(/\{(\w+)\+?\}/g))
    if (!given.has(name)) add('path', name, input(name, 'string', true))
  for (const one of parameters)
    if (one.in !== 'path' || row.path.includes(`{${one.name}`))
      add(one.in, one.name, {
        ...input('', typeOf(one.type), one.required || one.in === 'path', one.description),
        items: itemsOf(one.type),
      })
  return { inputs, places, rest: null, whole: null }
}

const templates = (pairs: readonly (readonly [string, string])[]): Members =>
  pairs.map(([name, arg]) => [name, { kind: 'arg', name: arg }] as const)

/** @param of null: nothing is known of its parameters; undefined host: the connection has none for it */
export const plainTool = (
  provider: Provider,
  row: OperationRow,
  of: Parameters | undefined,
): Tool | null => {
  const open = provider.hostFromToken && provider.hosts.size === 0
  const host = row.host ?? (open ? null : provider.hosts.keys().next().value)
  if (host === undefined || (host !== null && !provider.hosts.has(host))) return null
  const { inputs, places, rest, whole } =
    of === undefined || !says(of) ? bare(row) : specified(row, of)
  const step: Step = {
    name: row.id,
    operation: row,
    host,
    each: null,
    path: templates(places.path),
    query: templates(places.query),
    headers: templates(places.header),
    body:
      whole !== null
        ? { kind: 'arg', name: whole }
        : places.body.length === 0
          ? null
          : { kind: 'object', members: templates(places.body) },
    graphql: null,
    content: null,
    rest,
  }
  const name = plainName(provider.id, row.id)
  const summary = of?.summary ?? ''
  return {
    name,
    toolkit: camel(provider.id),
    provider: provider.id,
    aliases: [],
    description: (summary === '' ? `${row.method} ${row.path}` : summary).slice(0, 220),
    input: inputs,
    example: null,
    steps: [step],
    keep: null,
    failure: null,
    next: [],
    behaviour: behaviourOf([row]),
    plain: true,
  }
}
