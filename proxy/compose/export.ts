// The evidence on its way to a collector, where the configuration names one.
import { createExport, type Export, type Send } from '../audit/export.ts'
import { exportedFile } from '../audit/journal.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Fetch } from '../net/dial.ts'
import type { Scope } from './scope.ts'

/** Beside the file that is sent. */
const CURSOR = '.exported'
/** What is left then is sent after the next start. */
const MOST_MS = 5_000

export type Exporting = {
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
