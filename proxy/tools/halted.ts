// What is told of a tool that ended after it had done something: what that was, and what it ended at. Pure.
import type { Json, JsonObject } from '../model.ts'
import { sentence } from '../problem.ts'
import type { Ran } from './run.ts'

type Ended = Exclude<Ran, { kind: 'done' }>
/** Of a yes to one call, which nobody can make again: the tool would begin from its first step. */
const OF_ONE_CALL: ReadonlySet<string> = new Set(['url', 'authorization_id', 'expires_at'])

const whyOf = (ended: Ended): string => {
  if (ended.kind === 'failed') return sentence(ended.message)
  const { reasons } = ended.document
  const codes = Array.isArray(reasons) ? reasons.filter((one) => typeof one === 'string') : []
  return `deputy answered ${[ended.code, ...codes].join(', ')}.`
}
const answerOf = (ended: Ended): Json =>
  ended.kind === 'failed'
    ? ended.value
    : Object.fromEntries(
        Object.entries(ended.document).filter(
          ([name]) =>
            ended.code !== 'approval_required' || (!OF_ONE_CALL.has(name) && name !== 'detail'),
        ),
      )
const WAIT =
  ' Where somebody has to do something for a later step, call such a tool by POST /v1/tools/execute with Prefer: wait, and it goes on by itself.'

/** null: nothing was done, and the tool may be called again. */
export const toldHalted = (
  ended: Ended,
): { readonly message: string; readonly extra: JsonObject } | null => {
  const { halted } = ended
  if (halted === undefined) return null
  const done = halted.done.map(({ operation, answers }) =>
    answers.length === 1 ? operation : `${operation} (${answers.length} times)`,
  )
  const waits = ended.kind === 'refused' && 'url' in ended.document ? WAIT : ''
  return {
    message: `${whyOf(ended)} That stopped the tool at ${halted.operation}, and done already is: ${done.join(', ')}. Do not call it again: that would be done again.${waits}`,
    extra: {
      stopped_at: halted.operation,
      done: halted.done.map(({ operation, answers }) => ({ operation, answers })),
      answer: answerOf(ended),
    },
  }
}
