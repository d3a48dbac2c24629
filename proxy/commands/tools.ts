// `deputy tools list | test`: which tools the configured connections have, and the requests that one of them makes.
import { readFile } from 'node:fs/promises'
import type { Loaded } from '../config/load.ts'
import type { Json } from '../model.ts'
import { messageOf } from '../problem.ts'
import type { Step, Tool } from '../tools/definition.ts'
import { catalogueAt } from '../tools/at.ts'
import type { Catalogue } from '../tools/catalogue.ts'
import { ownToolFiles } from '../tools/load.ts'
import type { Request } from '../tools/request.ts'
import { resultOf, runTool, type Send } from '../tools/run.ts'
import type { Template } from '../tools/template.ts'

type Printing = {
  readonly loaded: Loaded
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}

const catalogueIn = async ({ loaded, complain }: Printing): Promise<Catalogue> => {
  const own = await ownToolFiles(loaded.config.tools.files.map(loaded.at))
  const catalogue = await catalogueAt(loaded.connections, own.files)
  for (const problem of [...own.problems, ...catalogue.problems]) complain(problem)
  return catalogue
}
const may = ({ behaviour }: Tool): string =>
  behaviour.readOnly ? 'reads' : behaviour.destructive ? 'destroys' : 'writes'

/** @returns the exit code: 1 where a file of tools is wrong */
export const toolsList = async (of: Printing & { readonly plain: boolean }): Promise<number> => {
  const catalogue = await catalogueIn(of)
  const all = of.plain ? [...catalogue.made, ...(await catalogue.plain())] : catalogue.made
  const wide = Math.max(4, ...all.map(({ tool }) => tool.name.length))
  for (const { tool, offers } of all) {
    const operations = [...new Set(tool.steps.map(({ operation }) => operation.id))].join(', ')
    const connections = offers.map(({ connection }) => connection.name).join(', ')
    of.print(`${tool.name.padEnd(wide)}  ${may(tool).padEnd(8)}  ${connections}: ${operations}`)
    of.print(`${''.padEnd(wide)}  ${tool.description}`)
  }
  if (all.length === 0) of.print('no connection has tools: see docs/tools.md')
  return catalogue.problems.length === 0 ? 0 : 1
}

const put = (at: string, value: Json): Json => {
  const names = at.split('/').slice(1)
  return names.reduceRight<Json>((inner, name) => ({ [name]: inner }), value)
}
/** Where a step looks into an element: an answer must have something there. */
const itemsIn = (step: Step): readonly string[] =>
  step.path.flatMap(([, template]) => (template.kind === 'item' ? [template.at] : []))
const elementFor = (step: Step): Json =>
  itemsIn(step).reduce<Json>(
    (element, at) =>
      at === '' ? 'id-1' : { ...(element as object), ...(put(at, 'id-1') as object) },
    {},
  )
/** An answer in which the steps after it find what they ask for. */
const answerFor = (tool: Tool, step: Step): Json => {
  const later = tool.steps.slice(tool.steps.indexOf(step) + 1)
  const wanted = (template: Template | undefined): boolean =>
    template?.kind === 'step' && template.name === step.name
  const each = later.find((one) => wanted(one.each?.of))
  if (each?.each?.of.kind === 'step') return put(each.each.of.at, [elementFor(each)])
  const named = later.flatMap(({ path }) => path).map(([, template]) => template)
  return named.reduce<Json>(
    (answer, template) =>
      template.kind === 'step' && template.name === step.name
        ? { ...(answer as object), ...(put(template.at, 'id-1') as object) }
        : answer,
    {},
  )
}

const told = ({ method, host, target, headers, body }: Request): readonly string[] => [
  `${method} https://${host ?? '{the person’s host}'}${target}`,
  ...Array.from(
    { length: headers.length / 2 },
    (_, i) => `${headers[2 * i] ?? ''}: ${headers[2 * i + 1] ?? ''}`,
  ),
  ...(body === null ? [] : ['', body.toString('utf8')]),
  '',
]

/** @returns the exit code: 1 where the tool is not known, or cannot be called so */
export const toolsTest = async (
  of: Printing & {
    readonly name: string
    readonly input: string | undefined
    readonly answers: string | undefined
  },
): Promise<number> => {
  try {
    const { tool } = await (await catalogueIn(of)).find(of.name)
    const given: unknown =
      of.answers === undefined ? [] : JSON.parse(await readFile(of.answers, 'utf8'))
    const answers: readonly unknown[] = Array.isArray(given) ? given : [given]
    const input: unknown = of.input === undefined ? (tool.example ?? {}) : JSON.parse(of.input)
    let sent = 0
    const send: Send = (request) => {
      for (const line of told(request)) of.print(line)
      const step = tool.steps[Math.min(sent, tool.steps.length - 1)]
      const answer = answers[sent] ?? (step === undefined ? {} : answerFor(tool, step))
      sent += 1
      const body = Buffer.from(JSON.stringify(answer))
      const headers = new Map([['content-type', 'application/json']])
      return Promise.resolve({ status: 200, headers, body, end: 'whole' })
    }
    // No policy is asked, since nothing leaves.
    const ahead = { rehearse: () => Promise.resolve(null), may: () => Promise.resolve(true) }
    const ran = await runTool(
      tool,
      input,
      { send, ahead },
      { answers: 4_194_304, result: of.loaded.config.limits.tool_result },
    )
    of.print(
      ran.kind === 'done'
        ? `result: ${JSON.stringify(resultOf(ran))}`
        : `failed: ${JSON.stringify(ran)}`,
    )
    return ran.kind === 'done' ? 0 : 1
  } catch (error) {
    of.complain(messageOf(error))
    return 1
  }
}
