// The shipped tools with the requests that they make of their examples, and a vendor's specification held against these.
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import type { Json, JsonObject, Provider } from '../../proxy/model.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import type { InputType, Keep, Step, Tool } from '../../proxy/tools/definition.ts'
import { loadTools, shippedToolFiles } from '../../proxy/tools/load.ts'
import { requestOf, type Request } from '../../proxy/tools/request.ts'
import { checkArguments } from '../../proxy/tools/schema.ts'
import { filled, type Given } from '../../proxy/tools/template.ts'
import { isObject } from '../../proxy/wire/json.ts'
import { SPECS, type SpecName } from '../catalogues/specs.ts'
import { mistakes, reaches, type Shape } from './shape.ts'

const providers = (): ReadonlyMap<string, Provider> =>
  compileProviders(readProviderFiles('providers')).providers
let compiled: ReadonlyMap<string, Provider> | null = null

export const shippedTools = async (
  id: string,
): Promise<{ readonly tools: readonly Tool[]; readonly problems: readonly string[] }> => {
  compiled ??= providers()
  const provider = compiled.get(id)
  if (provider === undefined) throw new Error(`no provider ${id}`)
  return loadTools(provider, await shippedToolFiles([id]))
}

/** Empty, or why nothing is held against a specification: said aloud; under DEPUTY_NO_SKIP=1 it throws. */
export const withoutSpecs = (...names: readonly SpecName[]): string => {
  const absent = names.filter(
    (name) =>
      !existsSync(join(homedir(), `.cache/deputy-ci/specs-1/${name}-${SPECS[name].version}`)),
  )
  if (absent.length === 0) return ''
  const text = ` (SKIPPED: no specification of ${absent.join(', ')} here: npm run catalogues)`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(text)
  return text
}

const segments = (pointer: string): readonly string[] =>
  pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))

/** Every `$step` (with its name) or `$item` (without) below a template, but those of a `$map`'s own elements. */
const pointersIn = (
  template: unknown,
): readonly { readonly step: string | null; readonly at: string }[] => {
  if (Array.isArray(template)) return template.flatMap(pointersIn)
  if (!isObject(template)) return []
  if (template['kind'] === 'map') return pointersIn(template['of'])
  if (template['kind'] === 'step')
    return [{ step: String(template['name']), at: String(template['at']) }]
  if (template['kind'] === 'item') return [{ step: null, at: String(template['at']) }]
  return Object.values(template).flatMap(pointersIn)
}
const templatesOf = (step: Step): unknown => [
  step.path,
  step.query,
  step.headers,
  step.body,
  step.graphql?.variables ?? null,
  step.content?.of ?? null,
]

/** A value that has something at each of these pointers. */
const valueWith = (wanted: readonly (readonly [string, Json])[]): Json => {
  const [first] = wanted
  if (first !== undefined && first[0] === '') return first[1]
  const names = [...new Set(wanted.map(([at]) => segments(at)[0] ?? ''))]
  const inner = (name: string): Json =>
    valueWith(
      wanted
        .filter(([at]) => segments(at)[0] === name)
        .map(([at, value]) => [at.slice(name.length + 1), value] as const),
    )
  if (names.length > 0 && names.every((name) => /^\d+$/.test(name))) return names.map(inner)
  return Object.fromEntries(names.map((name) => [name, inner(name)]))
}

export type Call = { readonly step: Step; readonly request: Request; readonly given: Given }

const SAMPLE: Readonly<Record<InputType, Json>> = {
  // Some are addresses, and nothing minds that the others look like one.
  string: 'x@example.com',
  integer: 1,
  number: 1.5,
  boolean: true,
  array: ['x'],
  object: { x: 'x' },
}
/** The example, and every other argument besides. */
export const everyArgument = ({ input, example }: Tool): JsonObject => ({
  ...Object.fromEntries(
    input.map((one): [string, Json] => [
      one.name,
      one.enum?.[0] ??
        (one.items === null ? (one.minimum ?? SAMPLE[one.type]) : [SAMPLE[one.items]]),
    ]),
  ),
  ...example,
})

/** The requests that a tool makes of its arguments, against a provider that answers only what the next steps read. */
export const callsOf = (tool: Tool, args: JsonObject = tool.example ?? {}): readonly Call[] => {
  const checked = checkArguments(tool, args)
  if ('wrong' in checked) throw new Error(`${tool.name}: ${checked.wrong}`)
  const answers = new Map<string, Json>()
  for (const { name } of tool.steps) {
    const wanted = tool.steps.flatMap((later): (readonly [string, Json])[] => {
      const items = pointersIn(templatesOf(later)).filter(({ step }) => step === null)
      const item = valueWith(items.map(({ at }) => [at, 'x1'] as const))
      const list = pointersIn(later.each?.of ?? null)
      return [
        ...pointersIn(templatesOf(later))
          .filter(({ step }) => step === name)
          .map(({ at }) => [at, 'x1'] as const),
        ...list.filter(({ step }) => step === name).map(({ at }) => [at, [item]] as const),
      ]
    })
    answers.set(name, valueWith(wanted))
  }
  return tool.steps.map((step) => {
    const base: Given = { args: checked.args, steps: answers, item: undefined, links: new Map() }
    const list = step.each === null ? undefined : filled(step.each.of, base)
    const given = { ...base, item: Array.isArray(list) ? (list[0] as Json) : undefined }
    return { step, request: requestOf(step, given), given }
  })
}

/** The values of a step's query, before they are text. */
export const queryOf = ({ step, given }: Call): JsonObject =>
  Object.fromEntries(
    step.query.flatMap(([name, template]) => {
      const value = filled(template, given)
      return value === undefined ? [] : [[name, value]]
    }),
  )

export type SpecCall = {
  readonly method: string
  /** With `{names}`; `{names+}` may hold slashes. */
  readonly path: string
  readonly query: Shape
  /** null: the call has no body. */
  readonly request: Shape | null
  readonly response: Shape | null
}

const matches = (template: string, path: string): boolean =>
  new RegExp(
    `^${template
      .split(/(\{[^}]*\})/)
      .map((part) =>
        part.startsWith('{')
          ? part.endsWith('+}')
            ? '.+'
            : '[^/]+'
          : part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'),
      )
      .join('')}$`,
  ).test(path)

/** What a call of a tool has that the specification does not, or the other way round. */
const callMistakes = (call: Call, spec: SpecCall): readonly string[] => {
  const { request, step } = call
  const [path = ''] = request.target.split('?')
  const body = request.body === null ? null : request.body.toString()
  return [
    ...(request.method === spec.method ? [] : [`method ${request.method}, not ${spec.method}`]),
    ...(matches(spec.path, path) ? [] : [`path ${path} is none of ${spec.path}`]),
    ...mistakes(spec.query, queryOf(call), 'query'),
    ...(step.content !== null
      ? []
      : body === null
        ? spec.request?.kind === 'object' && spec.request.required.length > 0
          ? ['body is missing']
          : []
        : spec.request === null
          ? ['has a body, and the call takes none']
          : mistakes(spec.request, JSON.parse(body), 'body')),
  ]
}

/** Every pointer of what is kept, from the answers of which step; `*` for each element. */
const kept = (
  keep: Keep,
  last: string,
  before: readonly string[] = [],
): readonly (readonly [string, readonly string[]])[] => {
  switch (keep.kind) {
    case 'at':
    case 'mail':
      return [[last, [...before, ...segments(keep.at)]]]
    case 'each':
      return kept(keep.keep, last, [...before, ...segments(keep.at), '*'])
    case 'members':
      return keep.members.flatMap(([, each]) => kept(each, last, before))
    case 'value':
    default:
      return pointersIn(keep.of).map(({ step, at }) => [step ?? last, segments(at)] as const)
  }
}

/** Everything that a tool reads of answers: the step, and the way to it. */
export const keptPointers = (tool: Tool): readonly (readonly [string, readonly string[]])[] => [
  ...(tool.keep === null ? [] : kept(tool.keep, tool.steps.at(-1)?.name ?? '')),
  ...pointersIn([tool.next, tool.steps.map((step) => [templatesOf(step), step.each?.of ?? null])])
    .filter(({ step }) => step !== null)
    .map(({ step, at }) => [step ?? '', segments(at)] as const),
]

/** The pointers into answers that lead nowhere. */
const answerMistakes = (tool: Tool, responseOf: (step: Step) => Shape | null): readonly string[] =>
  keptPointers(tool).flatMap(([name, path]) => {
    const step = tool.steps.find((one) => one.name === name)
    const one = step === undefined ? null : responseOf(step)
    if (one === null) return []
    const shape: Shape = step?.each == null ? one : { kind: 'list', of: () => one }
    return reaches(shape, path) ? [] : [`the answer of ${name} has nothing at /${path.join('/')}`]
  })

/** What of a tool the specification does not have: of its example, of all its arguments, and of what it reads. */
export const toolMistakes = (tool: Tool, specOf: (step: Step) => SpecCall): readonly string[] =>
  [
    ...callsOf(tool).flatMap((call) => callMistakes(call, specOf(call.step))),
    ...callsOf(tool, everyArgument(tool)).flatMap((call) => callMistakes(call, specOf(call.step))),
    ...answerMistakes(tool, (step) => specOf(step).response),
  ].map((what) => `${tool.name}: ${what}`)
