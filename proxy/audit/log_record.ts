// A line of evidence as a log record of OpenTelemetry: the body is the exact line, its members are attributes besides. Pure.
import type { Foreign } from './chain.ts'

/** What the serializer of OpenTelemetry takes as an attribute's value. */
type AttributeValue = string | number | boolean | readonly string[]
export type LogRecord = {
  /** ms since 1970. */
  readonly time: number
  readonly severity: 'INFO' | 'WARN'
  readonly event: string
  readonly body: string
  readonly traceId: string | null
  readonly attributes: Readonly<Record<string, AttributeValue>>
}

/** Where OpenTelemetry has a name for a member, that; all others are `deputy.` and their own. */
const NAMES: Readonly<Record<string, string>> = {
  'user.id': 'user.id',
  'agent.id': 'gen_ai.agent.id',
  'operation.id': 'gen_ai.tool.name',
  'request.method': 'http.request.method',
  'request.path': 'url.path',
  'request.host': 'server.address',
  status: 'http.response.status_code',
  bytes_in: 'http.request.body.size',
  bytes_out: 'http.response.body.size',
}
/** They are said otherwise: the event's own name and time, what chains the lines, and the trace. */
const LEFT_OUT = new Set(['v', 'prev', 'time', 'event', 'trace_id'])
/** Members within members, but not deeper: lists of objects are in the body. */
const DEEPEST = 4
const LONGEST = 4_096
const MOST = 128

const valueOf = (value: unknown): AttributeValue | null => {
  if (typeof value === 'string') return value.slice(0, LONGEST)
  if (typeof value === 'number' || typeof value === 'boolean') return value
  if (Array.isArray(value) && value.every((one) => typeof one === 'string'))
    return value.slice(0, MOST).map((one) => one.slice(0, LONGEST))
  return null
}

const flatten = (
  fields: Foreign,
  into: Map<string, AttributeValue>,
  prefix = '',
  depth = 1,
): void => {
  for (const [key, value] of Object.entries(fields)) {
    if ((depth === 1 && LEFT_OUT.has(key)) || into.size >= MOST) continue
    const name = `${prefix}${key}`
    const plain = valueOf(value)
    if (plain !== null) into.set(NAMES[name] ?? `deputy.${name}`, plain)
    else if (
      typeof value === 'object' &&
      value !== null &&
      !Array.isArray(value) &&
      depth < DEEPEST
    )
      flatten(value as Foreign, into, `${name}.`, depth + 1)
  }
}

/** What was refused, or failed, stands out. */
const severityOf = (fields: Foreign): LogRecord['severity'] => {
  const decision = fields['decision']
  const effect =
    typeof decision === 'object' && decision !== null ? (decision as Foreign)['effect'] : 'allow'
  const refused = fields['event'] === 'refused' || effect === 'deny' || effect === 'error'
  return refused ? 'WARN' : 'INFO'
}

/** @param line as deputy wrote it, without its end; @param fields what it says */
export const logRecordOf = (line: string, fields: Foreign): LogRecord => {
  const attributes = new Map<string, AttributeValue>()
  const event = String(fields['event'])
  attributes.set('event.name', event)
  // Whoever gets a record twice knows it again by this.
  attributes.set('log.record.uid', `${String(fields['proc'])}:${String(fields['seq'])}`)
  flatten(fields, attributes)
  const trace = fields['trace_id']
  const time = Date.parse(String(fields['time']))
  return {
    time: Number.isNaN(time) ? 0 : time,
    severity: severityOf(fields),
    event,
    body: line,
    traceId: typeof trace === 'string' && /^[0-9a-f]{32}$/.test(trace) ? trace : null,
    attributes: Object.fromEntries(attributes),
  }
}
