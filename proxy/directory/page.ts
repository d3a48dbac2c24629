// One page of a directory's answer: asked for, bounded, read in one way, and judged before anybody believes it.
import type { Clock } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import { messageOf } from '../problem.ts'
import { parseStrict } from '../wire/json.ts'
import { Unanswered } from './source.ts'

export type Page = {
  readonly json: unknown
  /** Of a Link header, `rel="next"` (RFC 8288); null: there is none. */
  readonly next: string | null
}
export type Asking = {
  readonly method?: 'GET' | 'POST'
  /** JSON text. */
  readonly body?: string
  /** Further ones, lower case. */
  readonly headers?: Readonly<Record<string, string>>
}
/** null: there is nothing of that address. Throws Unanswered. */
export type Get = (url: string, asking?: Asking) => Promise<Page | null>

const MOST_BYTES = 4 * 1024 ** 2
const MOST_PAGES = 100
/** Of a Date header: what is older was not made for this question. */
const MOST_AGE_MS = 300_000

type Coded = { readonly code?: unknown; readonly message?: unknown; readonly cause?: unknown }
/** What the socket said: fetch wraps it. */
const unreachable = (error: unknown): Unanswered => {
  let here = (error ?? {}) as Coded
  for (let i = 0; i < 5 && typeof here.cause === 'object' && here.cause !== null; i++)
    here = here.cause
  const code = typeof here.code === 'string' ? here.code : messageOf(error)
  const ours = code.startsWith('DEPUTY_') ? `: ${String(here.message)}` : ''
  return new Unanswered('unreachable', `it cannot be reached (${code}${ours})`, { cause: error })
}

const readBody = async (response: Response, most: number): Promise<string> => {
  if (response.body === null) return ''
  const chunks: Uint8Array[] = []
  let size = 0
  const reader = response.body.getReader()
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      throw unreachable(error)
    })
    if (done) return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
    chunks.push(value)
    size += value.length
    if (size <= most) continue
    await reader.cancel()
    const told = most < 1024 ** 2 ? `${most / 1024} KiB` : `${most / 1024 ** 2} MiB`
    throw new Unanswered('too_large', `it answers more than ${told} on one page`, { alone: true })
  }
}

const restOf = (response: Response): number | null => {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1_000 : null
}
/** Of 4xx, what is not about one question: a proxy's word, a request that came too late, too many of them. */
const GENERAL = new Set([407, 408, 421, 425, 429])
/** Throws for whatever is no answer about this person; 401 is the caller's. */
const judged = async (response: Response, now: number): Promise<'nobody' | 'good'> => {
  const { status, headers } = response
  if (status === 404 || status === 410) return 'nobody'
  if (status === 401 || status === 403)
    throw new Unanswered(
      'refused',
      `it answers ${status}: the client that deputy asks with lacks a right there, or its secret is wrong`,
    )
  if (status >= 300 && status < 400)
    throw new Unanswered('status', `it answers ${status}, a redirect, which is not followed`)
  if (status !== 200)
    throw new Unanswered('status', `it answers ${status}`, {
      // It did not like this one question, say for an id that is too long for it.
      alone: status >= 400 && status < 500 && !GENERAL.has(status),
      rest: status === 429 || status === 503 ? restOf(response) : null,
    })
  const type = headers.get('content-type') ?? ''
  if (!/^application\/(?:[\w.+-]+\+)?json\b/i.test(type))
    throw new Unanswered('malformed', `it answers ${type.slice(0, 60) || 'no media type'}, no JSON`)
  // RFC 9111 5.1: a cache answered, and nobody knows what has happened since.
  if (Number(headers.get('age') ?? 0) !== 0)
    throw new Unanswered('stale', 'a cache answers in its place: it has an Age')
  const date = Date.parse(headers.get('date') ?? '')
  if (now - date > MOST_AGE_MS)
    throw new Unanswered('stale', 'its answer is dated more than five minutes ago')
  return 'good'
}

const MOST_LINK = 8_192
const nextOf = (link: string | null): string | null => {
  if (link !== null && link.length > MOST_LINK)
    throw new Unanswered('malformed', 'its Link header is longer than 8 kB')
  return link === null ? null : (/<([^>]*)>\s*;[^,]*\brel="?next"?/i.exec(link)?.[1] ?? null)
}

export type GetOptions = {
  readonly fetch: Fetch
  /** Throws when there is none to show. */
  readonly authorization: (rejected: string | null) => Promise<string | null>
  readonly clock: Pick<Clock, 'now'>
  /** Bytes of one answer. */
  readonly most?: number
}
export const createGet =
  ({ fetch, authorization, clock, most = MOST_BYTES }: GetOptions) =>
  (signal: AbortSignal): Get =>
  async (url, { method = 'GET', body, headers = {} } = {}) => {
    const shown = async (rejected: string | null): Promise<string | null> => {
      try {
        return await authorization(rejected)
      } catch (error) {
        throw new Unanswered('refused', messageOf(error), { cause: error })
      }
    }
    const send = (own: string | null): Promise<Response> =>
      fetch(url, {
        method,
        redirect: 'manual',
        signal,
        headers: {
          accept: 'application/json',
          'cache-control': 'no-cache, no-store',
          'user-agent': 'deputy',
          ...headers,
          ...(own === null ? {} : { authorization: own }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body }),
      }).catch((error: unknown) => {
        throw unreachable(error)
      })
    const own = await shown(null)
    let response = await send(own)
    // Its own token may have been withdrawn or the server started anew: once with another.
    if (response.status === 401 && own !== null) {
      await response.body?.cancel()
      response = await send(await shown(own))
    }
    try {
      if ((await judged(response, clock.now())) === 'nobody') {
        await response.body?.cancel()
        return null
      }
    } catch (error) {
      await response.body?.cancel()
      throw error
    }
    const text = await readBody(response, most).catch((error: unknown) => {
      if (error instanceof Unanswered) throw error
      throw new Unanswered('malformed', 'its answer is no UTF-8')
    })
    const next = nextOf(response.headers.get('link'))
    try {
      return { json: parseStrict(text), next }
    } catch (error) {
      throw new Unanswered('malformed', `its answer is no whole JSON: ${messageOf(error)}`)
    }
  }

/**
 * Every page from this one on; none, if this one is not there.
 * @param more where a page names the next one; null: it was the last
 */
export const pagesOf = async (
  get: Get,
  first: string,
  more: (page: Page, url: string, n: number) => string | null,
): Promise<readonly Page[]> => {
  const pages: Page[] = []
  const seen = new Set<string>()
  const { origin } = new URL(first)
  for (let url: string | null = first; url !== null;) {
    const at = URL.parse(url, first)
    if (at?.origin !== origin)
      throw new Unanswered('malformed', 'its next page is at another origin')
    if (seen.has(at.href) || pages.length >= MOST_PAGES)
      throw new Unanswered('too_large', `its pages do not end: ${pages.length} were read`, {
        alone: true,
      })
    seen.add(at.href)
    const page = await get(at.href)
    if (page === null) {
      if (pages.length === 0) return pages
      // Half of the groups would be read as all of them.
      throw new Unanswered('malformed', 'its next page is not there', { alone: true })
    }
    pages.push(page)
    url = more(page, at.href, pages.length)
  }
  return pages
}
