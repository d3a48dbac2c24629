// OpenTelemetry's own collector: takes OTLP over HTTP and writes what it understood as lines of JSON.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../ports.ts'
import { missingProgram, startProgram } from './server.ts'

const PROGRAM =
  process.env['DEPUTY_OTELCOL'] ?? join(homedir(), '.cache/deputy-ci/otelcol-0.160.0/otelcol')
export const missingOtelcol = missingProgram(PROGRAM)

type Value = {
  readonly stringValue?: string
  readonly intValue?: string
  readonly doubleValue?: number
  readonly boolValue?: boolean
  readonly arrayValue?: { readonly values?: readonly Value[] }
}
export type Received = {
  readonly body: string
  readonly event: string
  readonly severity: string
  readonly trace: string
  readonly attributes: Readonly<Record<string, unknown>>
  readonly resource: Readonly<Record<string, unknown>>
}
export type Span = {
  readonly name: string
  readonly trace: string
  readonly id: string
  /** '': it begins its trace. */
  readonly parent: string
  readonly kind: number
  readonly status: number
  /** Nanoseconds since the epoch. */
  readonly start: bigint
  readonly end: bigint
  readonly events: readonly { readonly name: string; readonly at: bigint }[]
  readonly attributes: Readonly<Record<string, unknown>>
  readonly resource: Readonly<Record<string, unknown>>
}
export type Otelcol = {
  readonly origin: string
  readonly port: number
  /** The file of what it understood. */
  readonly received: string
  /** Every log record so far, in the order in which it wrote them. */
  readonly records: () => readonly Received[]
  /** Every span so far. */
  readonly spans: () => readonly Span[]
  /** Ends the program; what it received stays, and it can be started again at the same port. */
  readonly stop: () => Promise<void>
  readonly start: () => Promise<void>
  readonly close: () => Promise<void>
}

type Attribute = { readonly key: string; readonly value: Value }
const plain = (value: Value): unknown =>
  value.arrayValue === undefined
    ? (value.stringValue ?? value.boolValue ?? value.doubleValue ?? Number(value.intValue))
    : (value.arrayValue.values ?? []).map(plain)
const attributesOf = (list: readonly Attribute[] = []): Readonly<Record<string, unknown>> =>
  Object.fromEntries(list.map(({ key, value }) => [key, plain(value)]))

type Traces = {
  readonly resourceSpans?: readonly {
    readonly resource?: { readonly attributes?: readonly Attribute[] }
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly name: string
        readonly traceId: string
        readonly spanId: string
        readonly parentSpanId?: string
        readonly kind?: number
        readonly status?: { readonly code?: number }
        readonly startTimeUnixNano: string
        readonly endTimeUnixNano: string
        readonly events?: readonly { readonly name: string; readonly timeUnixNano: string }[]
        readonly attributes?: readonly Attribute[]
      }[]
    }[]
  }[]
}
type Lines = {
  readonly resourceLogs?: readonly {
    readonly resource?: { readonly attributes?: readonly Attribute[] }
    readonly scopeLogs: readonly {
      readonly logRecords: readonly {
        readonly body: Value
        readonly eventName?: string
        readonly severityText?: string
        readonly traceId?: string
        readonly attributes?: readonly Attribute[]
      }[]
    }[]
  }[]
}

export const startOtelcol = async (): Promise<Otelcol> => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-otelcol-'))
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const received = join(folder, 'received.jsonl')
  writeFileSync(received, '')
  const config = {
    receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${port}` } } } },
    exporters: { file: { path: received, append: true, flush_interval: '100ms' } },
    service: {
      telemetry: { metrics: { level: 'none' }, logs: { level: 'error' } },
      pipelines: {
        logs: { receivers: ['otlp'], exporters: ['file'] },
        traces: { receivers: ['otlp'], exporters: ['file'] },
      },
    },
  }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  let end: (() => Promise<void>) | null = null
  const start = async (): Promise<void> => {
    end = await startProgram({
      command: PROGRAM,
      args: ['--config', join(folder, 'config.json')],
      env: {},
      // An empty request is one that it takes.
      ready: () =>
        fetch(`${origin}/v1/logs`, {
          method: 'POST',
          headers: { 'content-type': 'application/x-protobuf' },
        }).then(
          ({ ok }) => ok,
          () => false,
        ),
      withinMs: 60_000,
    })
  }
  const stop = async (): Promise<void> => {
    await end?.()
    end = null
  }
  const lines = <T>(): readonly T[] =>
    readFileSync(received, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as T)
  await start()
  return {
    origin,
    port,
    received,
    start,
    stop,
    spans: () =>
      lines<Traces>()
        .flatMap(({ resourceSpans }) => resourceSpans ?? [])
        .flatMap(({ resource, scopeSpans }) =>
          scopeSpans.flatMap(({ spans }) =>
            spans.map((one) => ({
              name: one.name,
              trace: one.traceId,
              id: one.spanId,
              parent: one.parentSpanId ?? '',
              kind: one.kind ?? 0,
              status: one.status?.code ?? 0,
              start: BigInt(one.startTimeUnixNano),
              end: BigInt(one.endTimeUnixNano),
              events: (one.events ?? []).map(({ name, timeUnixNano }) => ({
                name,
                at: BigInt(timeUnixNano),
              })),
              attributes: attributesOf(one.attributes),
              resource: attributesOf(resource?.attributes),
            })),
          ),
        ),
    records: () =>
      lines<Lines>()
        .flatMap(({ resourceLogs }) => resourceLogs ?? [])
        .flatMap(({ resource, scopeLogs }) =>
          scopeLogs.flatMap(({ logRecords }) =>
            logRecords.map((one) => ({
              body: String(one.body.stringValue),
              event: one.eventName ?? '',
              severity: one.severityText ?? '',
              trace: one.traceId ?? '',
              attributes: attributesOf(one.attributes),
              resource: attributesOf(resource?.attributes),
            })),
          ),
        ),
    close: async () => {
      await stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
