// One record of the evidence in a sentence: what happened, and where something was refused, why.
import type { Foreign } from '../../audit/chain.ts'
import { listAt, textAt, type Row } from '../../audit/query.ts'
import { CATALOGUE, type ProblemCode } from '../../problem.ts'

/** What the list can be narrowed to, in the order in which it is offered. */
export const EFFECTS = {
  allow: 'Allowed',
  deny: 'Refused by policy',
  consent_required: 'Consent needed',
  approval_required: 'Approval needed',
  step_up_required: 'Stronger sign-in needed',
  error: 'Could not be decided',
  refused: 'Refused before policy',
  event: 'Other events',
  looked: 'Operators looking',
} as const
export type Effect = keyof typeof EFFECTS
export const isEffect = (text: string): text is Effect => Object.hasOwn(EFFECTS, text)
/** Whoever watches is recorded too; that is shown only to whoever asks for it. */
export const USUAL: readonly Effect[] = (Object.keys(EFFECTS) as Effect[]).filter(
  (effect) => effect !== 'looked',
)

export type Told = {
  /** Of its element in the page. */
  readonly id: string
  /** ms since the epoch. */
  readonly at: number
  readonly effect: Effect
  /** As the evidence has it: a pseudonym under `audit.user_ids: hashed`. '': nobody is named. */
  readonly user: string
  readonly tenant: string
  readonly agent: string
  readonly connection: string
  /** The operation, or the name of the event. */
  readonly what: string
  /** Method, host and path; '': it is about no request. */
  readonly request: string
  readonly sentence: string
  /** Of /problems/<code>; null: there is none. */
  readonly problem: ProblemCode | null
  /** It was allowed, and not carried out. */
  readonly failed: boolean
  /** '': it is about no call. */
  readonly exchange: string
}
type Said = Pick<Told, 'sentence' | 'problem' | 'failed'> & { readonly effect: Effect }
/** What a record is called in the list. */
export const labelOf = ({ effect, failed }: Pick<Told, 'effect' | 'failed'>): string =>
  failed ? 'Allowed, but it failed' : effect === 'event' ? 'Event' : EFFECTS[effect]
/** Some titles are questions. */
const ended = (text: string): string => (/[.?!]$/.test(text) ? text : `${text}.`)

export const problemOf = (code: string): ProblemCode | null =>
  Object.hasOwn(CATALOGUE, code) ? (code as ProblemCode) : null
const titled = (code: string): string => {
  const problem = problemOf(code)
  return problem === null ? code : CATALOGUE[problem].title
}

/** The problem that the agent was told. */
const answered = (effect: string, reasons: readonly string[]): ProblemCode | null =>
  reasons.map(problemOf).find((code) => code !== null) ??
  problemOf(effect === 'deny' ? 'policy_denied' : effect)

const whyOf = (fields: Foreign): string => {
  const messages = listAt(fields, 'decision', 'messages')
  return listAt(fields, 'decision', 'reasons')
    .map((code, i) => (messages[i] ? `${messages[i]} (${code})` : titled(code)))
    .join('; ')
}

const decisionTold = ({ fields, outcome }: Row): Said => {
  const said = textAt(fields, 'decision', 'effect')
  const effect = isEffect(said) ? said : 'error'
  const fine = { effect, problem: null, failed: false }
  if (effect !== 'allow') {
    const problem = answered(effect, listAt(fields, 'decision', 'reasons'))
    const why = whyOf(fields)
    const title = problem === null ? EFFECTS[effect] : CATALOGUE[problem].title
    return { ...fine, problem, sentence: ended(why === '' ? title : `${title}: ${why}`) }
  }
  if (outcome === null) return { ...fine, sentence: 'Under way.' }
  const [result, status] = [textAt(outcome, 'result'), textAt(outcome, 'status')]
  const ms = `after ${textAt(outcome, 'duration_ms')} ms`
  if (result === 'ok') return { ...fine, sentence: `The provider answered ${status} ${ms}.` }
  const left = outcome['sent'] === true ? 'It left, and ended' : 'Nothing left'
  const sentence = `${left}: ${titled(result)}${status === '' ? '' : ` (the provider answered ${status})`}, ${ms}.`
  return { effect, problem: problemOf(result), failed: true, sentence }
}

/** Members of an event that say what it was, as far as they are texts. */
const EVENT: readonly (readonly [string, readonly [string, ...string[]]])[] = [
  ['By', ['operator']],
  ['By', ['by', 'id']],
  ['what', ['what']],
  ['result', ['result']],
  ['lacks', ['lacks']],
  ['policy', ['policy', 'revision']],
  ['problem', ['problem']],
  ['found', ['found']],
]
const eventTold = (fields: Foreign): string => {
  const summed = fields['summed']
  if (typeof summed === 'object' && summed !== null)
    return `More refusals of a moment, summed: ${Object.entries(summed)
      .map(([code, n]) => `${n} × ${code}`)
      .join(', ')}.`
  const said = EVENT.flatMap(([name, path]) => {
    const text = textAt(fields, ...path)
    return text === '' ? [] : [`${name} ${text}`]
  })
  return said.length === 0 ? '' : `${said.join(', ')}.`
}

const effectOf = (event: string): Effect =>
  event === 'refused' ? 'refused' : event === 'operator.listed' ? 'looked' : 'event'

/** Pure. */
export const toldOf = (row: Row & { readonly at: number }): Told => {
  const { fields, line, at } = row
  const event = textAt(fields, 'event')
  const code = textAt(fields, 'code')
  const { effect, sentence, problem, failed } =
    event === 'decision'
      ? decisionTold(row)
      : {
          effect: effectOf(event),
          problem: problemOf(code),
          failed: false,
          sentence: event === 'refused' && code !== '' ? ended(titled(code)) : eventTold(fields),
        }
  const method = textAt(fields, 'request', 'method')
  return {
    id: `r${line}`,
    at,
    effect,
    user: textAt(fields, 'user', 'id'),
    tenant: textAt(fields, 'user', 'tenant') || textAt(fields, 'tenant'),
    agent: textAt(fields, 'agent', 'id') || textAt(fields, 'agent'),
    connection: textAt(fields, 'connection'),
    what: event === 'decision' ? textAt(fields, 'operation', 'id') : code === '' ? event : code,
    failed,
    request:
      method === ''
        ? ''
        : `${method} ${textAt(fields, 'request', 'host')}${textAt(fields, 'request', 'path')}`,
    sentence,
    problem,
    exchange: textAt(fields, 'exchange'),
  }
}
