// Spans to a collector, by OpenTelemetry's own SDK. Imported only where somebody wants traces. What a collector does not take
// in time is dropped and counted: spans are for looking, the evidence is what is kept.
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, type SpanContext } from '@opentelemetry/api'
import { ExportResultCode, parseTraceParent } from '@opentelemetry/core'
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  TracerProvider,
  type ReadableSpan,
  type SpanExporter,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace'
import { setTimeout as pause } from 'node:timers/promises'
import type { Clock, Log } from '../model.ts'
import { createOtlp, saidIn, type OtlpTarget } from './otlp.ts'
import type { Attributes, Ended, Header, Timeline } from './timeline.ts'

export type Tracing = {
  /** @param share of all traces that are kept, 0 to 1 */
  readonly begin: (traceparent: Header, share: number) => Timeline | null
  readonly counts: () => Readonly<Record<'exported' | 'failed' | 'dropped', number>>
  /** Sends what waits, for at most so many ms. */
  readonly close: (ms: number) => Promise<void>
}

type TracingOptions = {
  readonly target: OtlpTarget
  readonly version: string
  /** Unknown to agents: by it is chosen which traces are kept. 32 bits. */
  readonly key: number
  readonly clock: Clock
  readonly log: Log
  /** Spans that may wait at once; those that end meanwhile are dropped. */
  readonly most?: number
  /** ms after which a collector is given up on for the spans of one request. */
  readonly patience?: number
}

const MOST_WAITING = 2_048
const PATIENCE_MS = 60_000
/** Spans of one request: their bytes are made in one go. */
const BATCH = 256
const GATHER_MS = 1_000
const FIRST_MS = 500
const LONGEST_MS = 10_000
/** A call that is decided anew for hours says no more than this. */
const MOST_EVENTS = 64

/** Trace Context 3.2: what is not one begins a new trace. */
const parentOf = (traceparent: Header): SpanContext | null => {
  const parsed = typeof traceparent === 'string' ? parseTraceParent(traceparent) : null
  return parsed === null ? null : { ...parsed, isRemote: true }
}

type Counts = { exported: number; failed: number; dropped: number }

/** Sends batches, each until it is taken, refused or too late. */
const createExporter = (
  { target, clock, log, patience = PATIENCE_MS }: TracingOptions,
  counts: Counts,
  ending: AbortSignal,
): { readonly exporter: SpanExporter; readonly waits: () => Promise<unknown> } => {
  const post = createOtlp(target, 'traces')
  let problem: string | null = null
  const lost = (spans: number, why: string): void => {
    counts.failed += spans
    if (problem !== why) log.warn({ why, spans }, 'spans are not taken, and are dropped')
    problem = why
  }
  const taken = (spans: number, answer: Uint8Array): void => {
    const { rejected, why } = partial(answer)
    counts.exported += spans - Math.min(rejected, spans)
    if (rejected > 0) return lost(Math.min(rejected, spans), why)
    if (problem !== null) log.info({}, 'spans are taken again')
    problem = null
  }
  const deliver = async (spans: ReadableSpan[]): Promise<void> => {
    const bytes = ProtobufTraceSerializer.serializeRequest(spans)
    if (bytes === undefined) return lost(spans.length, 'the spans could not be serialized')
    const late = clock.mono() + patience
    for (let wait = FIRST_MS; ; wait = Math.min(wait * 2, LONGEST_MS)) {
      const answer = await post(bytes, ending)
      if (answer.kind === 'taken') return taken(spans.length, answer.body)
      const asked = answer.kind === 'later' ? Math.max(answer.afterMs ?? 0, wait) : 0
      if (answer.kind === 'refused' || ending.aborted || clock.mono() + asked > late)
        return lost(spans.length, answer.why)
      await pause(asked, undefined, { signal: ending, ref: false }).catch(() => undefined) // it ends: there is no later
    }
  }
  const flying = new Set<Promise<void>>()
  return {
    exporter: {
      export(spans, done) {
        const sent = deliver(spans).catch((error: unknown) => lost(spans.length, String(error)))
        flying.add(sent)
        void sent.then(() => {
          flying.delete(sent)
          done({ code: ExportResultCode.SUCCESS }) // told and counted here
        })
      },
      shutdown: () => Promise.resolve(),
    },
    waits: () => Promise.all(flying),
  }
}

/** What a collector says that it did not take of a request (OTLP, partial success). */
const partial = (answer: Uint8Array): { readonly rejected: number; readonly why: string } => {
  if (answer.length === 0) return { rejected: 0, why: '' }
  try {
    const { partialSuccess } = ProtobufTraceSerializer.deserializeResponse(answer)
    const rejected = partialSuccess?.rejectedSpans ?? 0
    return { rejected, why: saidIn(partialSuccess) }
  } catch {
    // A page of whatever stands there says 200 too.
    return { rejected: Infinity, why: 'the answer is not OTLP' }
  }
}

/** Bounds what waits, and counts what finds no room: the SDK's own processor drops without a word. */
const createProcessor = (exporter: SpanExporter, counts: Counts, most: number): SpanProcessor => {
  let waiting = 0
  const batches = new BatchSpanProcessor({
    exporter: {
      shutdown: () => exporter.shutdown(),
      export: (spans, done) =>
        exporter.export(spans, (result) => {
          waiting -= spans.length
          done(result)
        }),
    },
    maxQueueSize: most,
    maxExportBatchSize: Math.min(BATCH, most),
    scheduledDelayMillis: GATHER_MS,
    exportTimeoutMillis: 2 ** 31 - 1, // the exporter has its own end
  })
  return {
    onStart: () => undefined,
    onEnd: (span) => {
      if (waiting >= most) {
        counts.dropped++
        return
      }
      waiting++
      batches.onEnd(span)
    },
    forceFlush: () => batches.forceFlush(),
    shutdown: () => batches.shutdown(),
  }
}

export const createTracing = (options: TracingOptions): Tracing => {
  const { version, clock, key, most = MOST_WAITING } = options
  const counts: Counts = { exported: 0, failed: 0, dropped: 0 }
  const ending = new AbortController()
  const { exporter, waits } = createExporter(options, counts, ending.signal)
  const processor = createProcessor(exporter, counts, most)
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'deputy', 'service.version': version }),
    spanProcessors: [processor],
    // What is kept was chosen when the call began, and not by the caller.
    sampler: new AlwaysOnSampler(),
  })
  const tracer = provider.getTracer('deputy', version)

  /** All calls of one trace are kept, or none; which they are, an agent cannot choose: it does not know the key. */
  const chosen = (parent: SpanContext | null, share: number): boolean =>
    parent === null
      ? Math.random() < share
      : (Number.parseInt(parent.traceId.slice(-8), 16) ^ key) >>> 0 < share * 2 ** 32

  type Event = readonly [name: string, atMs: number, attributes: Attributes | undefined]
  type Kept = {
    readonly parent: SpanContext | null
    /** ms since the epoch. */
    readonly began: number
    readonly events: readonly Event[]
  }
  const emit = (
    { parent, began, events }: Kept,
    { name, attributes, failed }: Ended,
    tookMs: number,
  ): void => {
    const context = parent === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent)
    const of = (all: Attributes) => all as Record<string, string | number | boolean | string[]>
    const span = tracer.startSpan(
      name,
      { kind: SpanKind.SERVER, startTime: began, attributes: of(attributes) },
      context,
    )
    for (const [event, atMs, more] of events) span.addEvent(event, of(more ?? {}), began + atMs)
    if (failed) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end(began + tookMs)
  }

  return {
    begin(traceparent, share) {
      const parent = parentOf(traceparent)
      if (!chosen(parent, share)) return null
      const mono = clock.mono()
      const events: Event[] = []
      const kept = { parent, began: clock.now(), events }
      return {
        at: (event, attributes) => {
          if (events.length < MOST_EVENTS) events.push([event, clock.mono() - mono, attributes])
        },
        end: (ended) => emit(kept, ended, clock.mono() - mono),
      }
    },
    counts: () => counts,
    async close(ms) {
      const late = setTimeout(() => ending.abort(), ms)
      await provider.shutdown()
      await waits()
      clearTimeout(late)
      ending.abort()
    },
  }
}
