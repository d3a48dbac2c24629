// A tool's steps one after another, each sent as the call that it is, and what becomes of the answers. Whatever deputy or
// the provider refuses ends it. Before anything is done, policy is asked about what is known of the steps that follow; what
// was done all the same when it ends is done, and the answer says so.
import { isUtf8 } from 'node:buffer'
import type { Json, JsonObject } from '../model.ts'
import type { InnerAnswer } from '../net/inner.ts'
import { Problem } from '../problem.ts'
import { atPointer, isDeep, isObject } from '../wire/json.ts'
import { retryAfterMs } from '../wire/retry_after.ts'
import type { Step, Tool } from './definition.ts'
import { isAct, itemsOf, requestsAhead } from './ahead.ts'
import { requestOf, type Request } from './request.ts'
import { fitted, kept, nextOf } from './result.ts'
import { checkArguments } from './schema.ts'
import { Unsendable, type Given } from './template.ts'

/**
 * Sends one request down the way of every call, as its caller. Does not reject for what deputy or the provider answers.
 * @param most bytes of the answer that are wanted
 */
export type Send = (request: Request, most: number) => Promise<InnerAnswer>

/** What is asked before something is done that further calls are to follow. */
export type Ahead = {
  /** The way of this request as far as the decision, its person's answer included; null: it might leave now. */
  readonly rehearse: (request: Request, most: number) => Promise<InnerAnswer | null>
  /** Without its arguments: is there anything that policy would let these steps do? */
  readonly may: (steps: readonly Step[]) => Promise<boolean>
}

/** What a tool that ended early had changed at the provider. */
export type Done = {
  readonly operation: string
  /** What the provider answered to each, shortened. */
  readonly answers: readonly Json[]
}
/** Where a tool ended that had changed something before: to call it again would change that again. */
type Halted = {
  readonly done: readonly Done[]
  /** Of the step that it ended at. */
  readonly operation: string
}

export type Ran =
  | {
      readonly kind: 'done'
      readonly value: Json
      readonly truncated: boolean
      /** Arguments to repeat with for what follows; null: nothing does. */
      readonly next: JsonObject | null
      /** As an MCP server gave it, for hosts that speak its protocol; absent: it is no such server's. */
      readonly served?: {
        readonly content: readonly JsonObject[]
        /** Is `value` its structured content, and not only the same content again? */
        readonly structured: boolean
      }
    }
  /** deputy's own answer, as every door gives it: the document of a problem. */
  | {
      readonly kind: 'refused'
      readonly status: number
      readonly code: string
      readonly document: JsonObject
      readonly headers: ReadonlyMap<string, string>
      /** Absent: nothing was done. */
      readonly halted?: Halted
    }
  /** The provider's. */
  | {
      readonly kind: 'failed'
      readonly status: number
      readonly message: string
      readonly value: Json
      readonly retryAfter: number | null
      /** Absent: nothing had been done before. */
      readonly halted?: Halted
    }
export type Limits = {
  /** Bytes of what the providers may answer in all. */
  readonly answers: number
  /** `limits.tool_result`. */
  readonly result: number
}

/** Elements of a list that are asked for at the same time. */
const AT_ONCE = 5
/** Of what a provider says of its failure, bytes. */
const FAULT_BYTES = 4_096

type Answered = { readonly value: Json; readonly link: string | null }
type Ended = Exclude<Ran, { kind: 'done' }>
const isEnded = (one: Answered | Ended): one is Ended => 'kind' in one

/** Of a header `Link` that is read, letters. */
const LONGEST_LINK = 8_192
/** Where the header `Link` (RFC 8288) says that what follows is; null: nowhere. */
const nextLink = (header: string): string | null => {
  const parts = header.slice(0, LONGEST_LINK).split(/,(?=\s*<)/)
  const next = parts.find((part) => /;\s{0,8}rel="?next"?\s*(?:;|$)/i.test(part))
  return next === undefined ? null : (/^\s{0,8}<([^<>]*)>/.exec(next)?.[1] ?? null)
}
const failed = (
  status: number,
  message: string,
  value: Json = null,
): Extract<Ran, { kind: 'failed' }> => ({
  kind: 'failed',
  status,
  message,
  value: fitted(value, FAULT_BYTES),
  retryAfter: null,
})

const textOf = ({
  headers,
  body,
}: InnerAnswer): { readonly value: Json } | { readonly odd: string } => {
  if (body.length === 0) return { value: { done: true } }
  const type = headers.get('content-type') ?? ''
  if (!isUtf8(body)) {
    const kind = /^[\w.+/-]+/.exec(type)?.[0] ?? 'an unknown kind'
    return { odd: `it is ${body.length} bytes of ${kind}, which is no text` }
  }
  const text = body.toString('utf8')
  if (!/json/i.test(type) && !/^\s*[[{]/.test(text)) return { value: text }
  try {
    const value = JSON.parse(text) as Json
    return { value: isDeep(value) ? text : value }
  } catch {
    return { value: text }
  }
}

/** What a model is told of a provider's failure: in the provider's words, where it has some. */
const saidBy = (value: Json): string | null => {
  for (const at of [
    '/error/message',
    '/message',
    '/errors/0/message',
    '/0/message',
    '/error_description',
    '/error',
    '/detail',
  ]) {
    const said = atPointer(value, at)
    if (typeof said === 'string' && said !== '') return said.slice(0, 512)
  }
  return typeof value === 'string' ? value.slice(0, 512) : null
}

const wrongInside = ({ failure }: Tool, { graphql }: Step, value: Json): string | null => {
  const errors = atPointer(value, '/errors')
  if (graphql !== null && Array.isArray(errors) && errors.length > 0)
    return saidBy(value) ?? 'the provider reports errors'
  if (failure !== null && atPointer(value, failure.at) === failure.is)
    return saidBy(atPointer(value, failure.message) as Json) ?? 'no, without saying why'
  return null
}

const LONGEST_MS = 86_400_000
/** Seconds. */
const retryAfterOf = ({ headers }: InnerAnswer): number | null => {
  const ms = retryAfterMs(headers.get('retry-after'), Date.now(), LONGEST_MS)
  return ms === null ? null : Math.ceil(ms / 1_000)
}

const readAnswer = (tool: Tool, step: Step, answer: InnerAnswer): Answered | Ended => {
  const { status, headers } = answer
  if (answer.end === 'too_large')
    return failed(
      502,
      'the answer is larger than a tool may read: ask for less, or for fewer at once',
    )
  const text = textOf(answer)
  const code = headers.get('deputy-answer')
  if (code !== undefined && 'value' in text && isObject(text.value))
    return { kind: 'refused', status, code, document: text.value, headers }
  if (answer.end === 'broken' || status === 0)
    return failed(
      502,
      'the call was cut off before its answer was whole; the provider may have carried it out',
    )
  if ('odd' in text) {
    const instead = isAct(step) ? '' : ': fetch it through the proxy instead'
    return failed(502, `the provider answered, but ${text.odd}${instead}`)
  }
  if (status >= 300) {
    const said = saidBy(text.value)
    const why =
      status < 400 ? `the answer leads to ${headers.get('location') ?? 'another place'}` : said
    const message = `the provider answered ${status}${why === null ? '' : `: ${why}`}`
    return { ...failed(status, message, text.value), retryAfter: retryAfterOf(answer) }
  }
  const wrong = wrongInside(tool, step, text.value)
  if (wrong !== null) return failed(status, `the provider answered: ${wrong}`, text.value)
  const link = nextLink(headers.get('link') ?? '')
  return { value: text.value, link }
}

/** The arguments, checked. @throws Problem invalid_arguments */
export const argumentsOf = (tool: Tool, input: unknown): ReadonlyMap<string, Json> => {
  const checked = checkArguments(tool, input)
  if ('wrong' in checked) throw new Problem('invalid_arguments', checked.wrong)
  return checked.args
}

/** One that runs: what its steps share. */
type Running = {
  readonly tool: Tool
  readonly send: Send
  readonly ahead: Ahead
  readonly limits: Limits
  left: number
  /** By the step's name. */
  readonly done: Map<string, { readonly operation: string; readonly answers: Json[] }>
  readonly rehearsed: Set<Step>
  /** The step whose call was refused before it was sent. */
  refused: Step | null
}

/** Of an answer that is told of what was done, bytes. */
const TOLD_BYTES = 1_024

/** The provider said that it did it (RFC 9110 15.3), in an answer that cannot be read: to do it again would do it twice. */
const isDoneUnread = (
  ended: Ended,
  { status, end, headers, body }: InnerAnswer,
): ended is Extract<Ended, { kind: 'failed' }> =>
  ended.kind === 'failed' &&
  status >= 200 &&
  status < 300 &&
  !headers.has('deputy-answer') &&
  (end !== 'whole' || !isUtf8(body))

const one = async (running: Running, step: Step, given: Given): Promise<Answered | Ended> => {
  const answer = await running.send(requestOf(step, given), running.left)
  running.left = Math.max(0, running.left - answer.body.length)
  const read = readAnswer(running.tool, step, answer)
  if (isAct(step) && (!isEnded(read) || isDoneUnread(read, answer))) {
    const { id: operation } = step.operation
    const before = running.done.get(step.name) ?? { operation, answers: [] }
    running.done.set(step.name, before)
    before.answers.push(fitted(read.value, TOLD_BYTES))
  }
  return read
}

/** What would be refused of all that is known to follow; null: nothing, as policy has it now. */
const refusedAhead = async (running: Running, at: number, given: Given): Promise<Ended | null> => {
  const { tool, ahead, rehearsed } = running
  const [step] = tool.steps.slice(at)
  // Whatever is read may be read again, and the last call is decided when it comes.
  if (step === undefined || !isAct(step)) return null
  if (step.each === null && at === tool.steps.length - 1) return null
  const open: Step[] = []
  for (const later of tool.steps.slice(step.each === null ? at + 1 : at)) {
    if (rehearsed.has(later)) continue
    const requests = requestsAhead(later, given)
    if (requests === null) open.push(later)
    else rehearsed.add(later)
    for (const request of requests ?? []) {
      const answer = await ahead.rehearse(request, running.left)
      if (answer === null) continue
      running.refused = later
      const read = readAnswer(tool, later, answer)
      return isEnded(read) && read.kind === 'refused'
        ? read
        : failed(502, `it could not be decided whether ${later.operation.id} may follow`)
    }
  }
  if (running.done.size === 0 && open.length > 0 && !(await ahead.may(open)))
    throw new Problem(
      'tool_not_found',
      `policy does not let this person do all that ${tool.name} does, so nothing of it was begun`,
    )
  return null
}

/** With what had been done by then, if anything had; all of it together is no longer than a result. */
const endedBy = ({ done, refused, limits }: Running, step: Step, ended: Ended): Ended => {
  if (done.size === 0) return ended
  const { id: operation } = (refused ?? step).operation
  const all = [...done.values()]
  const count = all.reduce((sum, { answers }) => sum + answers.length, 0)
  const share = Math.floor(limits.result / count)
  const told = all.map(({ operation: id, answers }) => ({
    operation: id,
    answers: answers.map((answer) => fitted(answer, share)),
  }))
  return { ...ended, halted: { done: told, operation } }
}

const each = async (
  running: Running,
  step: Step,
  list: NonNullable<Step['each']>,
  given: Given,
): Promise<Answered | Ended> => {
  const items = itemsOf(step, list, given)
  if (items === null) return failed(502, 'the provider answered no list where one was expected')
  const values: Json[] = []
  for (let i = 0; i < items.length; i += AT_ONCE) {
    const some = items.slice(i, i + AT_ONCE)
    const answers = await Promise.all(some.map((item) => one(running, step, { ...given, item })))
    for (const answer of answers) {
      if (isEnded(answer)) return answer
      values.push(answer.value)
    }
  }
  return { value: values, link: null }
}

/**
 * @param input as it came
 * @throws Problem invalid_arguments before anything is sent, or tool_not_found before anything is done
 */
export const runTool = async (
  tool: Tool,
  input: unknown,
  { send, ahead }: { readonly send: Send; readonly ahead: Ahead },
  limits: Limits,
): Promise<Ran> => {
  const args = argumentsOf(tool, input)
  const steps = new Map<string, Json>()
  const links = new Map<string, string>()
  const given: Given = { args, steps, links, item: undefined }
  const running: Running = {
    tool,
    send,
    ahead,
    limits,
    left: limits.answers,
    done: new Map(),
    rehearsed: new Set(),
    refused: null,
  }
  let last: Json = null
  for (const [i, step] of tool.steps.entries()) {
    let answer: Answered | Ended
    try {
      answer =
        (await refusedAhead(running, i, given)) ??
        (await (step.each === null
          ? one(running, step, given)
          : each(running, step, step.each, given)))
    } catch (error) {
      if (!(error instanceof Unsendable)) throw error
      // Nothing was sent yet: the arguments alone are to blame.
      if (steps.size === 0) throw new Problem('invalid_arguments', error.message)
      const said = `the provider’s answer does not lead on: ${error.message}`
      return endedBy(running, step, failed(502, said))
    }
    if (isEnded(answer)) return endedBy(running, step, answer)
    last = answer.value
    steps.set(step.name, last)
    if (answer.link !== null) links.set(step.name, answer.link)
  }
  const whole = tool.keep === null ? last : (kept(tool.keep, last, given) ?? null)
  const value = fitted(whole, limits.result)
  const truncated = value !== whole
  // What was cut away would be passed over.
  return { kind: 'done', value, truncated, next: truncated ? null : nextOf(tool, given) }
}

const CUT = 'The result was cut: ask for less, or for fewer at once.'
/** The result as one object: its members, `next` and `truncated`. */
export const resultOf = ({
  value,
  truncated,
  next,
}: Extract<Ran, { kind: 'done' }>): JsonObject => {
  if (isObject(value) && next === null && !truncated) return value
  return {
    ...(isObject(value) ? value : { result: value }),
    ...(next === null ? {} : { next }),
    ...(truncated ? { truncated: true, hint: CUT } : {}),
  }
}
