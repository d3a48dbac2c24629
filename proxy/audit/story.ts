// The story of one call in sentences, as its records tell it.
import type { Foreign } from './chain.ts'
import { listAt, textAt, type Row } from './query.ts'

const EFFECTS: Readonly<Record<string, string>> = {
  allow: 'allowed it',
  deny: 'refused it',
  consent_required: 'would allow it once the person consents',
  approval_required: 'would allow it once it is approved',
  step_up_required: 'would allow it after a stronger sign-in',
  error: 'could not decide, so it was refused',
}
const list = (words: readonly string[]): string => words.join(', ')

const whoSays = (fields: Foreign): string => {
  const realm = textAt(fields, 'user', 'realm')
  const verified = textAt(fields, 'user', 'verified') === 'true' ? 'verified' : 'not verified'
  const by = textAt(fields, 'user', 'asserted_by')
  const run = textAt(fields, 'run')
  return (
    `${textAt(fields, 'user', 'id')} (realm ${realm}, tenant ${textAt(fields, 'user', 'tenant')}, ${by === '' ? verified : `named by ${by}`})` +
    ` through ${textAt(fields, 'agent', 'id')}${run === '' ? '' : `, run ${run},`}`
  )
}

/** One decision, in sentences. */
const decisionTold = ({ fields }: Row): readonly string[] => {
  const n = Number(textAt(fields, 'n'))
  const part = textAt(fields, 'part')
  const effect = textAt(fields, 'decision', 'effect')
  const reasons = listAt(fields, 'decision', 'reasons')
  const messages = listAt(fields, 'decision', 'messages')
  const why = reasons.map((code, i) => (messages[i] ? `${messages[i]} (${code})` : code))
  const grants = listAt(fields, 'decision', 'grants')
  const owed = listAt(fields, 'decision', 'obligations')
  const stripped = listAt(fields, 'stripped')
  const asked =
    `${textAt(fields, 'time')}  ${whoSays(fields)} asked for ${textAt(fields, 'operation', 'id')} (${textAt(fields, 'operation', 'access')})` +
    `${part === '' ? '' : ` as part ${part} of a call`} at ${textAt(fields, 'connection')}: ` +
    `${textAt(fields, 'request', 'method')} ${textAt(fields, 'request', 'host')}${textAt(fields, 'request', 'path')}.`
  return [
    n > 1 ? `${textAt(fields, 'time')}  It waited, and was decided anew.` : asked,
    ...(n > 1 || stripped.length === 0
      ? []
      : [`  Cut out of what the agent sent: ${list(stripped)}.`]),
    `  What ${textAt(fields, 'entitlements', 'source')} said of the person was ${textAt(fields, 'entitlements', 'age_ms')} ms old.`,
    `  Policy ${textAt(fields, 'policy', 'revision')} ${EFFECTS[effect] ?? effect}` +
      (grants.length === 0 ? '' : `, by ${grants.length === 1 ? 'row' : 'rows'} ${list(grants)}`) +
      (why.length === 0 ? '.' : `: ${why.join('; ')}.`),
    ...(owed.length === 0 ? [] : [`  On condition: ${list(owed)}.`]),
  ]
}

const endTold = (outcome: Foreign): readonly string[] => {
  const credential = outcome['credential']
  const result = textAt(outcome, 'result')
  const status = textAt(outcome, 'status')
  const used =
    typeof credential === 'object' && credential !== null
      ? ` with the person's own token (account ${textAt(outcome, 'credential', 'account')}, generation ${textAt(outcome, 'credential', 'generation')})`
      : ''
  const sent = outcome['sent'] === true
  const end =
    result === 'ok'
      ? `the provider answered ${status}`
      : `${result}${status === '' ? '' : `, the provider answered ${status}`}`
  return [
    `${textAt(outcome, 'time')}  ${sent ? `It left${used}` : 'Nothing left'}: ${end}, after ${textAt(outcome, 'duration_ms')} ms` +
      ` (${textAt(outcome, 'bytes_in')} bytes in, ${textAt(outcome, 'bytes_out')} out).`,
  ]
}

/** The story of the rows of one exchange. Pure. */
export const storyOf = (rows: readonly Row[]): readonly string[] => {
  const lines: string[] = []
  for (const row of rows) {
    const event = textAt(row.fields, 'event')
    if (event === 'decision') lines.push(...decisionTold(row))
    else if (event === 'refused')
      lines.push(
        `${textAt(row.fields, 'time')}  Refused before policy was asked: ${textAt(row.fields, 'code')}.`,
      )
    else lines.push(`${textAt(row.fields, 'time')}  ${event}.`)
  }
  const outcome = rows.find((row) => row.outcome !== null)?.outcome
  const allowed = rows.some(({ fields }) => textAt(fields, 'decision', 'effect') === 'allow')
  if (outcome != null) lines.push(...endTold(outcome))
  else if (allowed) lines.push('  How it ended is not in these files.')
  return lines
}
