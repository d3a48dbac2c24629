// OTLP over HTTP with protobuf (opentelemetry.io/docs/specs/otlp): one request, and what its answer means for the next.
import type { Fetch } from '../net/dial.ts'
import { messageOf } from '../problem.ts'
import type { Secret } from '../secret.ts'
import { retryAfterMs } from '../wire/retry_after.ts'

/** What became of one request. */
export type Answered =
  | { readonly kind: 'taken'; readonly body: Uint8Array }
  /** Try again, after so long if it said so (ms). */
  | { readonly kind: 'later'; readonly why: string; readonly afterMs: number | null }
  /** It will never take this request. */
  | { readonly kind: 'refused'; readonly why: string }

export type OtlpTarget = {
  /** `telemetry.otlp`: the signal's own path is added to it. */
  readonly url: string
  readonly headers: Readonly<Record<string, Secret>>
  /** Checks every address that it dials; follows no redirect. */
  readonly fetch: Fetch
  readonly now: () => number
}

const TIMEOUT_MS = 10_000
const DAY_MS = 86_400_000
/** Bytes of an answer that are read. */
const MOST = 65_536
/** These say that the request itself is wrong; all else may be mended by whoever runs the collector. */
const WRONG = new Set([400, 413, 422])

/** Letters of a collector's own words that go on to the log. */
const MOST_SAID = 512
/** Why it did not take a part of a request, as it says. */
export const saidIn = (partial: { readonly errorMessage?: string } | undefined): string =>
  (partial?.errorMessage ?? 'no reason given').slice(0, MOST_SAID)

const signalUrl = (base: string, signal: string): string =>
  `${base.replace(/\/+$/, '')}/v1/${signal}`

const bodyOf = async (response: Response): Promise<Uint8Array> => {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > MOST) throw new Error(`the answer is larger than ${MOST} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const causeOf = (error: unknown): string => {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  return error instanceof Error && error.name === 'TimeoutError'
    ? `no answer within ${TIMEOUT_MS / 1_000} s`
    : code === '' || code === 'undefined'
      ? messageOf(cause)
      : code
}

/** @param signal name of the signal: `logs` or `traces`. The function does not reject. */
export const createOtlp =
  ({ url, headers, fetch, now }: OtlpTarget, signal: 'logs' | 'traces') =>
  async (body: Uint8Array, ending: AbortSignal): Promise<Answered> => {
    const at = signalUrl(url, signal)
    try {
      const response = await fetch(at, {
        method: 'POST',
        headers: {
          ...Object.fromEntries(Object.entries(headers).map(([k, v]) => [k, v.reveal()])),
          'content-type': 'application/x-protobuf',
        },
        body: new Uint8Array(body),
        redirect: 'manual',
        signal: AbortSignal.any([ending, AbortSignal.timeout(TIMEOUT_MS)]),
      })
      const { status } = response
      const said = await bodyOf(response)
      if (status >= 200 && status < 300) return { kind: 'taken', body: said }
      const why = `${at} answered ${status}`
      return WRONG.has(status)
        ? { kind: 'refused', why }
        : {
            kind: 'later',
            why,
            afterMs: retryAfterMs(response.headers.get('retry-after'), now(), DAY_MS),
          }
    } catch (error) {
      return { kind: 'later', why: `${at}: ${causeOf(error)}`, afterMs: null }
    }
  }
