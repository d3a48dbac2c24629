// One request to an authorization server: no redirect, a deadline, a bounded answer, and whether anything left at all.
import type { Dialled } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import type { TokenFailure } from './token_answer.ts'
import type { RawAnswer } from './body.ts'

/** Bytes of an answer that are read; a longer one counts as unreadable. */
const MAX_BODY = 256 * 1024
const TICK_MS = 500
/** A tick that is later by this much: not the provider was slow, but this process stood still. */
const STALL_MS = 2_000
/** After that: time enough to read what came meanwhile. */
const GRACE_MS = 2_000

type Request = Dialled & {
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

/** Failures before the first byte of the request: nothing was consumed, and the same token may be sent again. */
const NOT_SENT = new Set(
  (
    'ECONNREFUSED ENOTFOUND EAI_AGAIN EAI_FAIL EHOSTUNREACH ENETUNREACH EADDRNOTAVAIL UND_ERR_CONNECT_TIMEOUT DEPUTY_ADDRESS_PROHIBITED ' +
    'ERR_TLS_CERT_ALTNAME_INVALID CERT_HAS_EXPIRED CERT_NOT_YET_VALID CERT_UNTRUSTED CERT_REVOKED DEPTH_ZERO_SELF_SIGNED_CERT ' +
    'SELF_SIGNED_CERT_IN_CHAIN UNABLE_TO_GET_ISSUER_CERT UNABLE_TO_GET_ISSUER_CERT_LOCALLY UNABLE_TO_VERIFY_LEAF_SIGNATURE ERR_SSL_WRONG_VERSION_NUMBER'
  ).split(' '),
)

type Coded = {
  readonly code?: unknown
  readonly syscall?: unknown
  readonly cause?: unknown
  readonly errors?: unknown
  readonly name?: unknown
  readonly message?: unknown
  /** Of net/dial. */
  readonly notSent?: unknown
}

/** Down to the error of the socket: fetch wraps it, and several addresses make an AggregateError. */
const socketError = (error: unknown): Coded => {
  let here = (error ?? {}) as Coded
  for (
    let depth = 0;
    depth < 5 && typeof here.cause === 'object' && here.cause !== null;
    depth += 1
  )
    here = here.cause
  return here
}
const neverLeft = (error: Coded): boolean =>
  Array.isArray(error.errors) && error.errors.length > 0
    ? error.errors.every((each) => neverLeft(each as Coded))
    : error.notSent === true ||
      NOT_SENT.has(String(error.code)) ||
      (error.code === 'ETIMEDOUT' && error.syscall === 'connect')

const lost = (error: unknown, stalled: boolean): TokenFailure => {
  const socket = socketError(error)
  const code = /^[A-Z][A-Z0-9_]{2,63}$/.test(String(socket.code))
    ? String(socket.code)
    : 'request_failed'
  return {
    kind: neverLeft(socket) ? 'not_sent' : stalled ? 'unread' : 'unknown',
    error: (error as Coded).name === 'TimeoutError' ? 'timeout' : code,
    // A sentence of net/tunnel, ours alone: what the operator has to know of the egress proxy.
    description: code.startsWith('DEPUTY_PROXY_') ? String(socket.message) : null,
    retryAfterMs: null,
  }
}

/** An answer of at most `MAX_BODY` bytes; a longer one is cut off and read as no body. */
const readBody = async (response: Response): Promise<string | null> => {
  if (response.body === null) return ''
  const chunks: Uint8Array[] = []
  let size = 0
  const reader = response.body.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return Buffer.concat(chunks).toString()
    chunks.push(value)
    size += value.length
    if (size <= MAX_BODY) continue
    await reader.cancel()
    return null
  }
}

/**
 * A deadline that counts only while this process runs. Stopped and continued, its timers fire before its sockets are
 * read, though the answer lies in there: it is read first.
 */
const deadline = (ms: number) => {
  const over = new AbortController()
  let left = ms
  let last = performance.now()
  let stalled = false
  const every = Math.min(TICK_MS, ms)
  const timer = setInterval(() => {
    const passed = performance.now() - last
    last += passed
    if (passed > every + STALL_MS) {
      stalled = true
      left = Math.max(left, GRACE_MS)
    } else left -= passed
    if (left <= 0) over.abort(new DOMException('the deadline has passed', 'TimeoutError'))
  }, every)
  return {
    signal: over.signal,
    stop: () => clearInterval(timer),
    // It may be asked before the tick that would have noticed.
    stalled: () => stalled || performance.now() - last > every + STALL_MS,
  }
}

/** @param timeoutMs for the whole exchange, body included. Failures are values: nothing of the request is in them. */
export const createSend =
  (fetch: Fetch, timeoutMs: number) =>
  async (url: string, request: Request): Promise<RawAnswer | TokenFailure> => {
    const { signal, stop, stalled } = deadline(timeoutMs)
    try {
      const response = await fetch(url, { ...request, redirect: 'manual', signal })
      return { status: response.status, headers: response.headers, body: await readBody(response) }
    } catch (error) {
      return lost(error, stalled())
    } finally {
      stop()
    }
  }
