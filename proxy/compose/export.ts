// The evidence and the spans on their way to a collector, where the configuration names one.
import { createExport, type Export, type Send } from '../audit/export.ts'
import { exportedFile } from '../audit/journal.ts'
import type { Pseudonyms } from '../audit/records.ts'
import { spanOf as spanOfCall } from '../audit/span.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Tracing } from '../observe/otlp_traces.ts'
import type { Fetch } from '../net/dial.ts'
import type { Traces } from '../pipeline/exchange.ts'
import type { Sealer } from '../vault/seal.ts'
import type { Scope } from './scope.ts'

/** Beside the file that is sent. */
const CURSOR = '.exported'
/** What is left then is sent after the next start. */
const MOST_MS = 5_000

type Exporting = {
  /** Finds out how far an earlier process came. */
  readonly look: () => Promise<void>
  /** Why no record may be added; null: it may. */
  readonly full: () => string | null
  /** Does something in this file wait for the collector? */
  readonly waits: (file: string) => boolean
  /** `note` writes a line of evidence about the export itself. */
  readonly start: (note: (event: string, fields: Readonly<Record<string, unknown>>) => void) => void
  /** What `/readyz?verbose` says; null: nothing is sent anywhere. */
  readonly detail: () => string | null
}
const NONE: Exporting = {
  look: () => Promise.resolve(),
  full: () => null,
  waits: () => false,
  start: () => undefined,
  detail: () => null,
}

/** Throws where it cannot be known how far an earlier process came. */
export const openExport = (
  { config, written, clock, log, version, opened, left }: Scope,
  { metrics, fetch }: { readonly metrics: Metrics; readonly fetch: Fetch },
): Exporting => {
  const { audit, telemetry } = config
  const exported = exportedFile(audit, written)
  if (exported === null || telemetry.otlp === undefined) return NONE
  const { file: path, spooled } = exported
  const target = { url: telemetry.otlp, headers: telemetry.headers, fetch, now: clock.now }
  let send: Promise<Send> | null = null
  let note: Parameters<Exporting['start']>[0] = () => undefined
  const sender: Export = createExport({
    path,
    cursor: `${path}${CURSOR}`,
    remove: spooled,
    send: async (records, signal) => {
      // What speaks OTLP costs 27 MB, so only whoever sends loads it.
      send ??= import('../observe/otlp_logs.ts').then((otlp) =>
        otlp.createLogsSend(target, version),
      )
      return (await send)(records, signal)
    },
    note: (event, fields) => note(event, fields),
    clock,
    log,
  })
  opened(() => sender.close(Math.min(left(), MOST_MS)))
  metrics.watch(
    'deputy_audit_export_waiting_bytes',
    'gauge',
    'Evidence that the collector does not have yet, in bytes.',
    sender.behind,
  )
  metrics.watch(
    'deputy_audit_exported_total',
    'counter',
    'Evidence records, by what the collector did with them; failed counts requests.',
    () => Object.entries(sender.counts()).map(([outcome, count]) => [{ outcome }, count] as const),
  )
  return {
    look: sender.look,
    waits: sender.waits,
    full: () =>
      spooled && sender.behind() >= audit.spool_size
        ? `the spool is full: the collector took nothing for so long that audit.spool_size waits (${sender.problem() ?? 'it is slow'})`
        : null,
    start: (told) => {
      note = told
      sender.start()
    },
    detail: () => {
      const problem = sender.problem()
      const waiting = `${sender.behind()} bytes wait`
      return problem === null ? waiting : `${waiting}: ${problem}`
    },
  }
}

/** What has not left by then is dropped. */
const MOST_TRACES_MS = 2_000

type TracesDeps = {
  readonly pseudonyms: Pseudonyms
  readonly sealer: Pick<Sealer, 'hmac'>
  readonly metrics: Pick<Metrics, 'watch'>
  readonly fetch: Fetch
  /** Of the configuration in force. */
  readonly share: () => number
}

/** Rejects where the SDK cannot be loaded. */
export const openTraces = async (
  { config, clock, log, version, opened, left }: Scope,
  { pseudonyms, sealer, metrics, fetch, share }: TracesDeps,
): Promise<Traces> => {
  const { otlp: url, headers } = config.telemetry
  const spanOf: Traces['spanOf'] = (call, over) => spanOfCall(call, over, pseudonyms)
  if (url === undefined) return { spanOf, begin: () => null }
  let tracing: Tracing | null = null
  let loading: Promise<void> | null = null
  const load = async (): Promise<void> => {
    // The SDK costs memory and time, so only whoever wants traces loads it.
    const { createTracing } = await import('../observe/otlp_traces.ts')
    tracing = createTracing({
      target: { url, headers, fetch, now: clock.now },
      version,
      // The same in every replica, so that all of them keep the same traces.
      key: Buffer.from(sealer.hmac('trace', 'share'), 'base64url').readUInt32BE(),
      clock,
      log,
    })
  }
  if (share() > 0) await (loading = load())
  opened(() => tracing?.close(Math.min(left(), MOST_TRACES_MS)))
  metrics.watch('deputy_spans_total', 'counter', 'Spans, by what became of them.', () =>
    Object.entries(tracing?.counts() ?? {}).map(([outcome, n]) => [{ outcome }, n] as const),
  )
  return {
    spanOf,
    begin: (traceparent) => {
      const wanted = share()
      if (wanted === 0) return null
      // A reload wants them for the first time: the calls of this moment have none.
      if (tracing === null)
        loading ??= load().catch((error: unknown) =>
          log.error({ err: error }, 'traces cannot be made'),
        )
      return tracing?.begin(traceparent, wanted) ?? null
    },
  }
}
