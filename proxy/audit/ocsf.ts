// A row of evidence as an event of OCSF 1.5 (schema.ocsf.io): calls are API Activity, all else is a Base Event. Pure.
import type { Foreign } from './chain.ts'
import { listAt, textAt, type Row } from './query.ts'

const API_ACTIVITY = 6003
const ACTIVITIES: Readonly<Record<string, number>> = { read: 2, write: 3, delete: 4 }
const OTHER = 99

/** Without members that say nothing. */
const said = (fields: Foreign): Foreign =>
  Object.fromEntries(
    Object.entries(fields).filter(
      ([, value]) =>
        value !== undefined &&
        value !== '' &&
        !(typeof value === 'object' && value !== null && Object.keys(value).length === 0),
    ),
  )
/** OCSF has no fractions of a millisecond. */
const numberAt = (fields: Foreign, name: string): number | undefined => {
  const value = fields[name]
  return typeof value === 'number' ? Math.round(value) : undefined
}

const userOf = (fields: Foreign): Foreign =>
  said({
    uid: textAt(fields, 'user', 'id'),
    domain: textAt(fields, 'user', 'realm'),
    org: said({ uid: textAt(fields, 'user', 'tenant') }),
  })
const metadataOf = (fields: Foreign): Foreign => ({
  version: '1.5.0',
  product: { name: 'deputy', vendor_name: 'deputy' },
  log_name: textAt(fields, 'event'),
  log_version: textAt(fields, 'v'),
  sequence: numberAt(fields, 'seq'),
  uid: `${textAt(fields, 'proc')}:${textAt(fields, 'seq')}`,
  ...(textAt(fields, 'exchange') === '' ? {} : { correlation_uid: textAt(fields, 'exchange') }),
  ...(textAt(fields, 'trace_id') === '' ? {} : { trace_uid: textAt(fields, 'trace_id') }),
  profiles: ['security_control'],
})
const requestOf = (fields: Foreign): Foreign =>
  said({
    http_method: textAt(fields, 'request', 'method'),
    url: said({
      hostname: textAt(fields, 'request', 'host'),
      path: textAt(fields, 'request', 'path'),
    }),
  })

/** Allowed and answered below 400 is a success; what left and has no answer is unknown. */
const statusOf = (fields: Foreign, outcome: Foreign | null): readonly [number, string] => {
  if (textAt(fields, 'decision', 'effect') !== 'allow') return [2, 'Failure']
  const status = numberAt(outcome ?? {}, 'status')
  if (outcome === null || status === undefined)
    return outcome?.['sent'] === false ? [2, 'Failure'] : [0, 'Unknown']
  return textAt(outcome, 'result') === 'ok' && status < 400 ? [1, 'Success'] : [2, 'Failure']
}

const apiActivity = ({ fields, outcome }: Row): Foreign => {
  const refused = textAt(fields, 'event') === 'refused'
  const activity = ACTIVITIES[textAt(fields, 'operation', 'access')] ?? OTHER
  const allowed = textAt(fields, 'decision', 'effect') === 'allow'
  const [status_id, status] = statusOf(fields, outcome)
  const reasons = refused ? [textAt(fields, 'code')] : listAt(fields, 'decision', 'reasons')
  return {
    category_uid: 6,
    class_uid: API_ACTIVITY,
    class_name: 'API Activity',
    activity_id: activity,
    type_uid: API_ACTIVITY * 100 + activity,
    severity_id: allowed ? 1 : 2,
    status_id,
    status,
    status_code: textAt(outcome ?? {}, 'status') || textAt(outcome ?? {}, 'result') || undefined,
    status_detail: reasons.join(', ') || undefined,
    action_id: allowed ? 1 : 2,
    disposition_id: allowed ? 1 : 2,
    duration: numberAt(outcome ?? {}, 'duration_ms'),
    actor: said({
      user: userOf(fields),
      app_name: textAt(fields, 'agent', 'id'),
      session: said({ uid: textAt(fields, 'run') }),
    }),
    api: said({
      operation: textAt(fields, 'operation', 'id') || 'unknown',
      service: said({ name: textAt(fields, 'provider'), uid: textAt(fields, 'connection') }),
      request: said({ uid: textAt(fields, 'exchange') }),
      response: said({ code: numberAt(outcome ?? {}, 'status') }),
    }),
    http_request: requestOf(fields),
    dst_endpoint: said({ hostname: textAt(fields, 'request', 'host') }),
    policy: said({
      uid: textAt(fields, 'policy', 'digest'),
      version: textAt(fields, 'policy', 'revision'),
      is_applied: textAt(fields, 'policy', 'digest') === '' ? undefined : true,
    }),
  }
}

const baseEvent = ({ fields }: Row): Foreign => ({
  category_uid: 0,
  class_uid: 0,
  class_name: 'Base Event',
  activity_id: OTHER,
  activity_name: textAt(fields, 'event'),
  type_uid: OTHER,
  severity_id: 1,
  ...(textAt(fields, 'user', 'id') === '' ? {} : { actor: { user: userOf(fields) } }),
})

/** `time` is in ms since 1970, UTC, as OCSF says; the line itself goes along as `raw_data`. */
export const ocsfOf = (row: Row): Foreign => {
  const { fields } = row
  const event = textAt(fields, 'event')
  const time = Date.parse(textAt(fields, 'time'))
  return said({
    ...(event === 'decision' || event === 'refused' ? apiActivity(row) : baseEvent(row)),
    time: Number.isNaN(time) ? undefined : time,
    metadata: said(metadataOf(fields)),
    raw_data: JSON.stringify(fields),
  })
}
