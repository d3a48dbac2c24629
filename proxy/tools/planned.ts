// What a tool would send, as far as its arguments tell: for a plan, which sends nothing. Pure.
import type { Json } from '../model.ts'
import type { Step, Tool } from './definition.ts'
import { requestOf, type Request } from './request.ts'
import { argumentsOf } from './run.ts'
import { Unsendable, type Given } from './template.ts'
import { Problem } from '../problem.ts'

export type Foreseen =
  | { readonly step: Step; readonly request: Request }
  /** Earlier answers say what it will be. */
  | { readonly step: Step; readonly request: null }

const NOTHING: ReadonlyMap<string, never> = new Map<string, never>()
const LATER = /"kind":"(?:step|item|link)"/
const tellsLater = ({ each, path, query, headers, body, graphql, content }: Step): boolean =>
  each !== null ||
  LATER.test(JSON.stringify([path, query, headers, body, graphql?.variables, content]))

/** @throws Problem invalid_arguments, as the call would be refused */
export const foreseen = (tool: Tool, input: unknown): readonly Foreseen[] => {
  const args: ReadonlyMap<string, Json> = argumentsOf(tool, input)
  const given: Given = { args, steps: NOTHING, links: NOTHING, item: undefined }
  return tool.steps.map((step, i) => {
    if (tellsLater(step)) return { step, request: null }
    try {
      return { step, request: requestOf(step, given) }
    } catch (error) {
      if (!(error instanceof Unsendable)) throw error
      if (i === 0) throw new Problem('invalid_arguments', error.message)
      return { step, request: null }
    }
  })
}
