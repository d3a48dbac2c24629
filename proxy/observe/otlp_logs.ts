// Evidence to a collector: OpenTelemetry's own serializer makes the bytes. Imported only where a collector is configured.
import { ProtobufLogsSerializer } from '@opentelemetry/otlp-transformer'
import { resourceFromAttributes } from '@opentelemetry/resources'
import type { LogRecord } from '../audit/log_record.ts'
import type { Send } from '../audit/export.ts'
import { createOtlp, saidIn, type OtlpTarget } from './otlp.ts'

type Records = Parameters<typeof ProtobufLogsSerializer.serializeRequest>[0]
type Record_ = Records[number]

/** SeverityNumber of the log data model. */
const SEVERITIES = { INFO: 9, WARN: 13 } as const

const hrTime = (ms: number): Record_['hrTime'] => {
  const seconds = Math.floor(ms / 1_000)
  return [seconds, Math.round((ms - seconds * 1_000) * 1e6)]
}

/** @param version of deputy */
export const createLogsSend = (target: OtlpTarget, version: string): Send => {
  const post = createOtlp(target, 'logs')
  const attributes = { 'service.name': 'deputy', 'service.version': version }
  const resource = resourceFromAttributes(attributes)
  const instrumentationScope = { name: 'deputy.evidence', version }
  const recordOf = (record: LogRecord): Record_ => ({
    hrTime: hrTime(record.time),
    hrTimeObserved: hrTime(target.now()),
    severityText: record.severity,
    severityNumber: SEVERITIES[record.severity],
    eventName: record.event,
    body: record.body,
    resource,
    instrumentationScope,
    attributes: record.attributes,
    droppedAttributesCount: 0,
    ...(record.traceId === null
      ? {}
      : { spanContext: { traceId: record.traceId, spanId: '0000000000000000', traceFlags: 0 } }),
  })
  return async (records, signal) => {
    const bytes = ProtobufLogsSerializer.serializeRequest(records.map(recordOf))
    if (bytes === undefined) throw new Error('the records could not be serialized')
    const answer = await post(bytes, signal)
    if (answer.kind !== 'taken') return answer
    if (answer.body.length === 0) return { kind: 'taken' }
    try {
      const { partialSuccess } = ProtobufLogsSerializer.deserializeResponse(answer.body)
      const rejected = partialSuccess?.rejectedLogRecords ?? 0
      if (!(rejected > 0)) return { kind: 'taken' }
      const why = saidIn(partialSuccess)
      return { kind: 'partly', rejected: Math.min(rejected, records.length), why }
    } catch {
      // A page of whatever stands there says 200 too: nobody who speaks OTLP answers so.
      return {
        kind: 'later',
        why: `${target.url} answered something that is not OTLP`,
        afterMs: null,
      }
    }
  }
}
