// The link, handed to the application that delivers it: a signed webhook, tried again, never in a call's way.
import { createHmac, type KeyObject } from 'node:crypto'
import type { Clock, Log } from '../model.ts'

/** What the application needs to show the link to the right person. */
export type Notice = {
  readonly event: string
  readonly authorization_id: string
  readonly url: string
  readonly user_id: string
  readonly tenant: string
  readonly realm: string
  readonly agent: string
  readonly connection: string
  readonly scopes: readonly string[]
  /** ISO 8601. */
  readonly expires_at: string
}

export type Notifier = {
  /** Returns at once. */
  readonly send: (notice: Notice) => void
  /** Gives up on what is under way. */
  readonly close: () => void
}

const WAITS_MS = [1_000, 5_000, 25_000, 120_000, 600_000]
const TIMEOUT_MS = 10_000
const MOST_WAITING = 1_000

/** `t` and the body are signed together, so that an old notice cannot be sent again as a new one. */
export const signature = (key: KeyObject, atMs: number, body: string): string => {
  const t = Math.floor(atMs / 1_000)
  return `t=${t},v1=${createHmac('sha256', key).update(`${t}.${body}`).digest('hex')}`
}

export const createNotifier = (deps: {
  readonly webhook: string
  readonly key: KeyObject
  /** Checks every address that it dials. */
  readonly fetch: typeof fetch
  readonly clock: Clock
  readonly log: Log
  /** Told once of each notice: delivered, or given up. Fields never hold the link. */
  readonly onEvent: (event: string, fields: object) => Promise<void>
  /** Pauses between attempts, ms. */
  readonly waits?: readonly number[]
}): Notifier => {
  const waits = deps.waits ?? WAITS_MS
  const pauses = new Set<() => void>()
  const ending = new AbortController()
  let waiting = 0

  /** null: taken. */
  const post = async (body: string): Promise<string | null> => {
    try {
      const response = await deps.fetch(deps.webhook, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'deputy-signature': signature(deps.key, deps.clock.now(), body),
        },
        body,
        signal: AbortSignal.any([ending.signal, AbortSignal.timeout(TIMEOUT_MS)]),
      })
      await response.body?.cancel()
      return response.ok ? null : `http_${response.status}`
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
      const { code, name } = { code: null, ...(cause as { code?: unknown; name?: string }) }
      return typeof code === 'string' ? code : (name ?? 'unknown')
    }
  }
  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        pauses.delete(done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      timer.unref()
      pauses.add(done)
    })

  const deliver = async (notice: Notice): Promise<void> => {
    const body = JSON.stringify(notice)
    const about = {
      flow: notice.authorization_id.replace(/^ac_/, ''),
      user: { tenant: notice.tenant, realm: notice.realm, id: notice.user_id },
      agent: notice.agent,
      connection: notice.connection,
    }
    for (let attempt = 0; ; attempt += 1) {
      const reason = await post(body)
      if (reason === null) return deps.onEvent('consent.notified', about)
      const wait = waits[attempt]
      const late = wait === undefined || deps.clock.now() + wait >= Date.parse(notice.expires_at)
      const last = late || ending.signal.aborted
      const told = { flow: about.flow, reason, attempt: attempt + 1, last }
      if (last) deps.log.error(told, 'the webhook of connect.notify did not take a link: given up')
      else deps.log.warn(told, 'the webhook of connect.notify did not take a link')
      if (last) return deps.onEvent('consent.notify_failed', { ...about, reason })
      await pause(wait)
    }
  }

  const run = (notice: Notice): void => {
    waiting += 1
    deliver(notice)
      .catch((error: unknown) => deps.log.error({ err: error }, 'a notice could not be recorded'))
      .finally(() => (waiting -= 1))
      .catch(() => undefined)
  }
  return {
    send: (notice) => {
      if (waiting < MOST_WAITING) return run(notice)
      deps.log.error({ waiting }, 'too many links wait for the webhook: one was not sent')
      deps
        .onEvent('consent.notify_failed', {
          flow: notice.authorization_id.replace(/^ac_/, ''),
          reason: 'too_many_waiting',
        })
        .catch((error: unknown) => deps.log.error({ err: error }, 'a notice could not be recorded'))
    },
    close: () => {
      ending.abort()
      for (const done of pauses) done()
    },
  }
}
