// One question to a bundle service (OPA's bundle service API): no redirect, a deadline, a bounded answer.
import { messageOf } from '../problem.ts'
import type { Fetch } from '../net/dial.ts'
import { retryAfterMs } from '../wire/retry_after.ts'
import { BUNDLE_LIMITS } from './bundle.ts'

/** `long`: it holds a question until there is news (long polling). */
export type Answer =
  | {
      readonly kind: 'bundle'
      readonly bytes: Uint8Array
      readonly etag: string | null
      readonly long: boolean
    }
  | { readonly kind: 'unchanged'; readonly etag: string | null; readonly long: boolean }
  /** `retryAfter` ms, as it asks for. */
  | { readonly kind: 'failed'; readonly why: string; readonly retryAfter: number | null }

export type Asked = {
  /** Of the bundle in use; null: the whole bundle is wanted. */
  readonly etag: string | null
  /** Seconds for which it may hold the question; 0: it may not. */
  readonly wait: number
  readonly signal: AbortSignal
}

type DownloadOptions = {
  readonly url: string
  readonly fetch: Fetch
  /** The value of `Authorization`; null: none. */
  readonly authorization: () => Promise<string | null>
  /** ms for a whole exchange, without what it is held for; 60 s unless told. */
  readonly deadline?: number
}

/** What a server says that it holds questions with. */
const LONG = 'application/vnd.openpolicyagent.bundles'
const DEADLINE = 60_000
const LONGEST_RETRY = 600_000

const REFUSED: Readonly<Record<number, string>> = {
  401: 'does not know deputy (401): see policy.bundle_auth',
  403: 'does not let deputy have the bundle (403): see policy.bundle_auth',
  404: 'has no bundle there (404)',
  429: 'is asked too often (429)',
}

const redirected = (from: string, location: string | null): string => {
  const to = location === null ? null : URL.parse(location, from)
  return `answers with a redirect${to === null ? '' : ` to ${to.host}`}, which is not followed: name the address of the bundle itself`
}

/** At most `BUNDLE_LIMITS.bytes`; null: it is larger. */
const read = async (response: Response): Promise<Uint8Array | null> => {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > BUNDLE_LIMITS.bytes) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Down to the error of the socket: fetch wraps it. Its text is ours or the system's, never of an answer. */
const causeOf = (error: unknown): string => {
  let here = error
  for (let depth = 0; depth < 5 && here instanceof Error && here.cause !== undefined; depth += 1)
    here = here.cause
  if (here instanceof Error && here.name === 'TimeoutError') return 'took too long'
  const code = here instanceof Error && 'code' in here ? String(here.code) : ''
  if (code === 'DEPUTY_ADDRESS_PROHIBITED') return `is not reached: ${messageOf(here)}`
  return `gave no whole answer (${code === '' ? messageOf(here) : code})`
}

/** A download never rejects: what went wrong is an answer too. */
export const createDownload = ({
  url,
  fetch,
  authorization,
  deadline = DEADLINE,
}: DownloadOptions) => {
  const failed = (why: string, retryAfter: number | null = null): Answer => ({
    kind: 'failed',
    why: `the bundle service ${url} ${why}`,
    retryAfter,
  })
  const judge = async (response: Response, asked: Asked): Promise<Answer> => {
    const { status, headers } = response
    const [etag, type] = [headers.get('etag'), headers.get('content-type') ?? 'no type']
    const long = type === LONG
    if (status === 304)
      return asked.etag === null
        ? failed('says that nothing changed (304), and was asked for the whole bundle')
        : { kind: 'unchanged', etag, long }
    if (status >= 300 && status < 400) return failed(redirected(url, headers.get('location')))
    if (status !== 200)
      return failed(
        REFUSED[status] ?? `answers ${status}`,
        retryAfterMs(headers.get('retry-after'), Date.now(), LONGEST_RETRY),
      )
    const bytes = await read(response)
    if (bytes === null) return failed('gives more than 16 MiB')
    if (bytes[0] !== 0x1f || bytes[1] !== 0x8b)
      return failed(`gives no gzip file, but ${bytes.length} bytes of ${type.slice(0, 100)}`)
    return { kind: 'bundle', bytes, etag, long }
  }
  return async (asked: Asked): Promise<Answer> => {
    const { etag, wait, signal } = asked
    const over = new AbortController()
    try {
      const credential = await authorization()
      const response = await fetch(url, {
        headers: {
          'accept-encoding': 'identity', // the bundle is a gzip file itself
          prefer: wait > 0 ? `modes=snapshot;wait=${wait}` : 'modes=snapshot',
          'user-agent': 'deputy',
          ...(etag === null ? {} : { 'if-none-match': etag }),
          ...(credential === null ? {} : { authorization: credential }),
        },
        redirect: 'manual',
        signal: AbortSignal.any([
          signal,
          over.signal,
          AbortSignal.timeout(deadline + wait * 1_000),
        ]),
      })
      return await judge(response, asked)
    } catch (error) {
      return failed(causeOf(error))
    } finally {
      over.abort() // what is left of an answer that was not read
    }
  }
}

export type Download = ReturnType<typeof createDownload>
