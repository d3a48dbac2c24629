// A file of tools → tools, or problems that name tool, step and member. Pure. A tool is data over operations of the
// catalogue: what it may do is what its operations may do.
import { z } from 'zod'
import type { Json, JsonObject, OperationRow, Provider } from '../model.ts'
import { explain, type Report } from '../providers/definition.ts'
import { pointer } from '../providers/pointers.ts'
import { isObject } from '../wire/json.ts'
import { readMembers, readTemplate, type Members, type Template, type Uses } from './template.ts'

const TYPES = ['string', 'integer', 'number', 'boolean', 'array', 'object'] as const
export type InputType = (typeof TYPES)[number]
export type Input = {
  readonly name: string
  readonly type: InputType
  readonly required: boolean
  readonly description: string
  readonly enum: readonly (string | number)[] | null
  readonly default: Json | undefined
  /** Of an array. */
  readonly items: InputType | null
  readonly minimum: number | null
  readonly maximum: number | null
}

export type Step = {
  readonly name: string
  readonly operation: OperationRow
  /** null: each person's token says it. */
  readonly host: string | null
  /** Once for each element of a list. */
  readonly each: { readonly of: Template; readonly most: number } | null
  readonly path: Members
  readonly query: Members
  readonly headers: Members
  readonly body: Template | null
  readonly graphql: { readonly document: string; readonly variables: Members } | null
  readonly content: { readonly type: string; readonly of: Template } | null
  /** The argument whose members are parameters of the query; null: none is. */
  readonly rest: string | null
  /** The tool of an MCP server that it calls, by its name there; absent: it calls no such. */
  readonly remote?: string
}

/** How a provider says in an answer of status 200 that it failed. */
export type Failure = { readonly at: string; readonly is: Json; readonly message: string }

/** What of the answers becomes the result. */
export type Keep =
  | { readonly kind: 'value'; readonly of: Template }
  | { readonly kind: 'at'; readonly at: string }
  | { readonly kind: 'each'; readonly at: string; readonly keep: Keep }
  /** A message of Gmail, read: mail.ts. */
  | { readonly kind: 'mail'; readonly at: string }
  | { readonly kind: 'members'; readonly members: readonly (readonly [string, Keep])[] }

export type Behaviour = {
  readonly readOnly: boolean
  readonly destructive: boolean
  readonly idempotent: boolean
  readonly openWorld: boolean
}

export type Tool = {
  /** `Gmail.SendEmail` */
  readonly name: string
  readonly toolkit: string
  readonly provider: string
  readonly aliases: readonly string[]
  readonly description: string
  readonly input: readonly Input[]
  readonly example: JsonObject | null
  readonly steps: readonly Step[]
  /** null: the whole answer of the last step. */
  readonly keep: Keep | null
  readonly failure: Failure | null
  readonly next: Members
  readonly behaviour: Behaviour
  /** Is it one operation of the catalogue by itself? */
  readonly plain: boolean
  /** It is an MCP server's: its name there, and what it takes, as far as the server has said so. Absent: it is not. */
  readonly remote?: { readonly tool: string; readonly schema: JsonObject }
}

const MOST_STEPS = 5
const MOST_EACH = 50
const name = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9]*\.[A-Za-z][A-Za-z0-9]*$/, 'must be Toolkit.Tool')
const property = z.string().regex(/^[A-Za-z_][\w.-]{0,63}$/, 'is no name of an argument')
const scalar = z.union([z.string(), z.number()])
const input = z.strictObject({
  type: z.enum(TYPES),
  required: z.boolean().default(false),
  description: z.string().max(220, 'has more than 220 characters').default(''),
  enum: z.array(scalar).min(1).max(100).optional(),
  default: z.json().optional(),
  items: z.enum(TYPES).optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
})
const free = z.record(z.string(), z.unknown()).optional()
const step = z.strictObject({
  operation: z.string(),
  /** Which of the operation's calls, as the catalogue writes it: `PATCH /v1/files/{id}`. */
  call: z.string().optional(),
  as: z.string().optional(),
  each: z
    .strictObject({
      of: z.unknown(),
      most: z.int().min(1).max(MOST_EACH, `is at most ${MOST_EACH}`),
    })
    .optional(),
  path: free,
  query: free,
  headers: free,
  body: z.unknown().optional(),
  graphql: z.strictObject({ document: z.string(), variables: free }).optional(),
  content: z.strictObject({ type: z.string(), of: z.unknown() }).optional(),
})
const draft = z.strictObject({
  aliases: z.array(name).max(20).default([]),
  description: z
    .string()
    .regex(/^[^\n]+$/, 'must be one line')
    .max(220, 'has more than 220 characters'),
  input: z.record(property, input).default({}),
  /** Arguments that are right, for whoever tries it. */
  example: z.record(z.string(), z.json()).optional(),
  steps: z.array(step).min(1).max(MOST_STEPS, `are at most ${MOST_STEPS}`),
  result: z.strictObject({ keep: z.unknown() }).optional(),
  next: free,
})
const file = z.strictObject({
  provider: z.string(),
  toolkits: z.record(z.string(), z.array(z.string())).default({}),
  failure: z.strictObject({ at: pointer, is: z.json(), message: pointer }).optional(),
  tools: z.record(name, draft),
})
type File = z.output<typeof file>
type DraftStep = z.output<typeof step>

/** What deputy itself says of a request, or strips from it. */
const OWN_HEADER =
  /^(?:authorization|cookie|host|connection|content-.*|transfer-encoding|te|trailer|upgrade|expect|origin|forwarded|proxy-.*|deputy-.*|x-forwarded-.*|x-http-method.*)$/i

/** A file as it was parsed, checked as far as that goes without a catalogue. null: it says nothing that can be used. */
export const readFile = (raw: unknown, report: Report): File | null => {
  const parsed = file.safeParse(raw)
  if (parsed.success) return parsed.data
  explain(parsed.error, report)
  return null
}

const parameters = (path: string): readonly string[] =>
  [...path.matchAll(/\{(\w+)\+?\}/g)].map(([, each = '']) => each)

/** The row that the step names; else the first whose parameters are the ones that it fills; else the first. */
const rowOf = (
  provider: Provider,
  { operation, call, path, graphql }: DraftStep,
): OperationRow | undefined => {
  const rows = provider.operations.filter(({ id }) => id === operation)
  if (call !== undefined) return rows.find((row) => `${row.method} ${row.path}` === call)
  const given = Object.keys(path ?? {}).toSorted()
  return (
    rows.find(
      (row) =>
        (row.graphql !== undefined) === (graphql !== undefined) &&
        JSON.stringify(parameters(row.path).toSorted()) === JSON.stringify(given),
    ) ?? rows[0]
  )
}

const hostOf = (
  { host }: OperationRow,
  provider: Provider,
  hosts: readonly string[],
): string | null | undefined => {
  if (host !== null) return host
  if (provider.hostFromToken && provider.hosts.size === 0) return null
  return hosts.find((one) => provider.hosts.has(one)) ?? provider.hosts.keys().next().value
}

const keepOf = (raw: unknown, uses: Uses): Keep => {
  if (typeof raw === 'string') {
    if (raw !== '' && !raw.startsWith('/')) uses.wrong(`${raw} is no JSON pointer`)
    return { kind: 'at', at: raw }
  }
  if (!isObject(raw)) {
    uses.wrong('must be a JSON pointer, or members with theirs')
    return { kind: 'at', at: '' }
  }
  if ('$each' in raw) {
    const at = raw['at'] ?? ''
    if (typeof at !== 'string') uses.wrong('at must be a JSON pointer')
    return { kind: 'each', at: typeof at === 'string' ? at : '', keep: keepOf(raw['$each'], uses) }
  }
  if (typeof raw['$mail'] === 'string') return { kind: 'mail', at: raw['$mail'] }
  if (Object.keys(raw).some((key) => key.startsWith('$')))
    return { kind: 'value', of: readTemplate(raw, uses) }
  return {
    kind: 'members',
    members: Object.entries(raw).map(([key, value]) => [key, keepOf(value, uses)] as const),
  }
}

type At = {
  readonly provider: Provider
  readonly hosts: readonly string[]
  readonly report: Report
  readonly uses: (member: string, inEach: boolean) => Uses
}

const checkRow = (row: OperationRow, raw: DraftStep, report: (what: string) => void): void => {
  const wanted = parameters(row.path)
  const given = Object.keys(raw.path ?? {})
  const missing = wanted.filter((each) => !given.includes(each))
  const more = given.filter((each) => !wanted.includes(each))
  if (missing.length > 0) report(`path: ${row.path} needs ${missing.join(', ')}`)
  if (more.length > 0) report(`path: ${row.path} has no ${more.join(', ')}`)
  if (row.graphql !== undefined && raw.graphql === undefined)
    report(`graphql: ${row.id} is a field of GraphQL, so it needs a document`)
  if (row.graphql === undefined && raw.graphql !== undefined)
    report(`graphql: ${row.id} is no field of GraphQL`)
  if ([raw.body, raw.graphql, raw.content].filter((each) => each !== undefined).length > 1)
    report('only one of body, graphql and content can be sent')
  for (const header of Object.keys(raw.headers ?? {})) {
    if (!/^[\w-]+$/.test(header) || OWN_HEADER.test(header))
      report(`headers: ${header} is not for a tool to set`)
    if (header.toLowerCase() === 'prefer' && isObject(raw.headers?.[header]))
      report('headers: prefer cannot be an argument')
  }
}

/** null: its problem is reported, or the provider of this connection has no such host. */
const stepOf = (raw: DraftStep, { provider, hosts, report, uses }: At): Step | null => {
  const row = rowOf(provider, raw)
  if (row === undefined) {
    const called = raw.call === undefined ? '' : ` with the call ${raw.call}`
    report('operation', `${provider.id} has no operation ${JSON.stringify(raw.operation)}${called}`)
    return null
  }
  checkRow(row, raw, (what) => report('', what))
  const host = hostOf(row, provider, hosts)
  if (host === undefined || (host !== null && !provider.hosts.has(host))) return null
  const inEach = raw.each !== undefined
  const at = (member: string): Uses => uses(member, inEach)
  return {
    name: raw.as ?? raw.operation,
    operation: row,
    host,
    each:
      raw.each === undefined
        ? null
        : { of: readTemplate(raw.each.of, uses('each', false)), most: raw.each.most },
    path: readMembers(raw.path, at('path')),
    query: readMembers(raw.query, at('query')),
    headers: readMembers(raw.headers, at('headers')),
    body: raw.body === undefined ? null : readTemplate(raw.body, at('body')),
    graphql:
      raw.graphql === undefined
        ? null
        : {
            document: raw.graphql.document,
            variables: readMembers(raw.graphql.variables, at('graphql.variables')),
          },
    content:
      raw.content === undefined
        ? null
        : { type: raw.content.type, of: readTemplate(raw.content.of, at('content')) },
    rest: null,
  }
}

const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'DELETE'])
/** True, since it comes from the catalogue and nobody's word for it. */
export const behaviourOf = (rows: readonly OperationRow[]): Behaviour => ({
  readOnly: rows.every(({ access }) => access === 'read'),
  destructive: rows.some(({ access }) => access === 'delete' || access === 'admin'),
  idempotent: rows.every(
    ({ method, access, graphql }) =>
      access === 'read' || (graphql === undefined && IDEMPOTENT.has(method)),
  ),
  openWorld: true,
})

const inputsOf = (raw: File['tools'][string]['input'], report: Report): readonly Input[] =>
  Object.entries(raw).map(([key, one]) => {
    if (key === '__proto__') report(`input.${key}`, 'is no name of an argument')
    if ((one.items !== undefined) !== (one.type === 'array'))
      report(`input.${key}`, 'items belong to an array, and each array has them')
    return {
      name: key,
      type: one.type,
      required: one.required,
      description: one.description,
      enum: one.enum ?? null,
      default: one.default,
      items: one.items ?? null,
      minimum: one.minimum ?? null,
      maximum: one.maximum ?? null,
    }
  })

/**
 * The tools of a file at one provider: those whose operations and hosts it has.
 * @param report what the file says wrong; an operation that no catalogue has, too
 */
export const readTools = (raw: unknown, provider: Provider, report: Report): readonly Tool[] => {
  const read = readFile(raw, report)
  if (read === null) return []
  return Object.entries(read.tools).flatMap(([full, one]): readonly Tool[] => {
    const [toolkit = ''] = full.split('.')
    const within: Report = (path, what) =>
      report(path === '' ? `tools.${full}` : `tools.${full}.${path}`, what)
    const args = new Set(Object.keys(one.input))
    const used = new Set<string>()
    const before = new Set<string>()
    const usesAt =
      (where: string) =>
      (member: string, inEach: boolean): Uses => ({
        arg: (each) => {
          used.add(each)
          if (!args.has(each)) within(`${where}${member}`, `no input is called ${each}`)
        },
        step: (each) => {
          if (!before.has(each)) within(`${where}${member}`, `no earlier step is called ${each}`)
        },
        item: () => {
          if (!inEach) within(`${where}${member}`, '$item stands in a step with each only')
        },
        wrong: (what) => within(`${where}${member}`, what),
      })
    const steps = one.steps.map((each, i) => {
      const where = `steps.${i}`
      const step = stepOf(each, {
        provider,
        hosts: read.toolkits[toolkit] ?? [],
        report: (path, what) => within(path === '' ? where : `${where}.${path}`, what),
        uses: usesAt(`${where}.`),
      })
      const named = each.as ?? each.operation
      if (before.has(named)) within(where, `two steps are called ${named}: say as:`)
      before.add(named)
      return step
    })
    const keep =
      one.result === undefined ? null : keepOf(one.result.keep, usesAt('')('result.keep', false))
    const next = readMembers(one.next, usesAt('')('next', false))
    for (const [each] of next) if (!args.has(each)) within('next', `no input is called ${each}`)
    for (const each of args) if (!used.has(each)) within(`input.${each}`, 'no step uses it')
    const input = inputsOf(one.input, within)
    if (steps.some((each) => each === null)) return []
    const all = steps.filter((each) => each !== null)
    return [
      {
        name: full,
        toolkit,
        provider: provider.id,
        aliases: one.aliases,
        description: one.description,
        input,
        example: one.example ?? null,
        steps: all,
        keep,
        failure: read.failure ?? null,
        next,
        behaviour: behaviourOf(all.map(({ operation }) => operation)),
        plain: false,
      },
    ]
  })
}
