// Hands each link to the application that delivers it, by a signed webhook that is tried again. No
// call waits for it.
import { createHmac, randomUUID, type KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Clock, Flow, Log } from '../model.ts'
import { createSigner } from '../net/webhook.ts'

/** A link to deliver. */
export type Notice = {
  readonly flow: Pick<Flow, 'hash' | 'person' | 'agent' | 'connection' | 'scopes' | 'expiresAt'>
  readonly url: string
  /** From 1. */
  readonly attempt: number
}

export type Notifier = {
  /** A link was made. Returns at once. */
  readonly wake: () => void
  /**
   * Somebody else was at a link: its owner is warned, once, if the webhook listens at this moment.
   */
  readonly mismatch: (flow: Pick<Flow, 'hash' | 'person' | 'agent' | 'connection'>) => void
  /** An operator did what only `break-glass` allows: told once, if the webhook listens at this moment. */
  readonly brokeGlass: (fields: object) => void
  /** Tells something else, once. @returns null: taken; else why not */
  readonly send: (id: string, body: object) => Promise<string | null>
  /** Ends what is under way and leaves it to the next process. */
  readonly close: () => Promise<void>
}

const WAITS_MS = [1_000, 5_000, 25_000, 120_000, 600_000]
const TIMEOUT_MS = 10_000
/** After this time another process takes over the links that a dead process had taken. */
const LEASE_MS = 30_000
const LOOK_MS = 5_000
const AT_ONCE = 100

/**
 * The header that receivers of the first version check; the next version drops it. `t` and the body
 * are signed together.
 */
const formerSignature = (key: KeyObject, atMs: number, body: string): string => {
  const t = Math.floor(atMs / 1_000)
  return `t=${t},v1=${createHmac('sha256', key).update(`${t}.${body}`).digest('hex')}`
}

/**
 * What waits is in the store, so that a restart loses nothing and replicas share the work: at least
 * once each.
 */
export const createNotifier = (deps: {
  readonly webhook: string
  readonly key: KeyObject
  /** Links that wait, at most `most`, each taken for this process until `until` (ms). */
  readonly due: (until: number, most: number) => Promise<readonly Notice[]>
  /** Delivered or given up (null), or to be tried again then. */
  readonly next: (hash: string, at: number | null) => Promise<void>
  /** Where a person sees what an agent may do for them, and stops it. */
  readonly agentUrl: (agent: string) => string
  /** Checks every address that it dials. */
  readonly fetch: typeof fetch
  readonly clock: Clock
  readonly log: Log
  /** Told once of each link: delivered, or given up. Fields never hold the link. */
  readonly onEvent: (event: string, fields: object) => Promise<void>
  /** Pauses between attempts, ms. */
  readonly waits?: readonly number[]
}): Notifier => {
  const { clock, log } = deps
  const signed = createSigner(deps.key)
  const waits = deps.waits ?? WAITS_MS
  const ending = new AbortController()
  const running = new Set<Promise<void>>()
  let looking: Promise<void> | null = null
  let again = false

  /**
   * @param id the same at each attempt, so that receivers know what comes twice.
   * @returns null: taken
   */
  const post = async (id: string, body: string): Promise<string | null> => {
    const at = clock.now()
    try {
      const response = await deps.fetch(deps.webhook, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...signed(id, at, body),
          'deputy-signature': formerSignature(deps.key, at, body),
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

  /** Whose link it is, and what it is for. */
  const whose = ({ person, agent, connection }: Parameters<Notifier['mismatch']>[0]) => ({
    user_id: person.id,
    tenant: person.tenant,
    realm: person.realm,
    agent,
    agent_url: deps.agentUrl(agent),
    connection,
  })

  const deliver = async ({ flow, url, attempt }: Notice): Promise<void> => {
    const { hash, person, agent, connection, scopes, expiresAt } = flow
    const reason = await post(
      `required_${hash}`,
      JSON.stringify({
        event: 'authorization.required',
        authorization_id: `ac_${hash}`,
        url,
        ...whose(flow),
        scopes,
        expires_at: new Date(expiresAt).toISOString(),
      }),
    )
    const about = { flow: hash, user: person, agent, connection }
    if (reason === null) {
      await deps.next(hash, null)
      return deps.onEvent('consent.notified', about)
    }
    if (ending.signal.aborted) return deps.next(hash, clock.now())
    const wait = waits[attempt - 1]
    const last = wait === undefined || clock.now() + wait >= expiresAt
    const told = { flow: hash, reason, attempt, last }
    if (last) {
      log.error(told, 'the webhook of connect.notify did not take a link: given up')
      await deps.next(hash, null)
      return deps.onEvent('consent.notify_failed', { ...about, reason })
    }
    log.warn(told, 'the webhook of connect.notify did not take a link')
    await deps.next(hash, clock.now() + wait)
    setTimeout(wake, wait).unref()
  }
  const begin = (notice: Notice): void => {
    const done = deliver(notice)
      .catch((error: unknown) => log.error({ err: error }, 'a notice could not be recorded'))
      .then(() => {
        running.delete(done)
        if (running.size === AT_ONCE - 1) wake()
      })
    running.add(done)
  }
  const look = async (): Promise<void> => {
    do {
      again = false
      const room = AT_ONCE - running.size
      if (room > 0) for (const notice of await deps.due(clock.now() + LEASE_MS, room)) begin(notice)
    } while (again && !ending.signal.aborted)
  }
  const wake = (): void => {
    again = true
    if (ending.signal.aborted) return
    looking ??= look()
      .catch((error: unknown) => log.error({ err: error }, 'links to deliver cannot be read'))
      .finally(() => {
        looking = null
        if (again) wake()
      })
  }
  /** Posts once what is not tried again. @param complaint for the log, where it is not taken */
  const tell = (id: string, body: object, complaint: string, about: object): void => {
    if (ending.signal.aborted) return
    const told = post(id, JSON.stringify(body)).then((reason) => {
      running.delete(told)
      if (reason !== null) log.warn({ ...about, reason }, complaint)
    })
    running.add(told)
  }
  const warned = new LRUCache<string, true>({ max: 10_000 })
  const mismatch: Notifier['mismatch'] = (flow) => {
    const { hash } = flow
    if (warned.has(hash)) return
    warned.set(hash, true)
    const warning = {
      event: 'authorization.user_mismatch',
      authorization_id: `ac_${hash}`,
      ...whose(flow),
    }
    const complaint = 'the webhook of connect.notify did not take a warning'
    tell(`mismatch_${hash}`, warning, complaint, { flow: hash })
  }
  const brokeGlass: Notifier['brokeGlass'] = (fields) => {
    const news = { event: 'operator.break_glass', ...fields }
    const complaint = 'the webhook of connect.notify did not take news of break-glass'
    tell(`break_glass_${randomUUID()}`, news, complaint, {})
  }
  const timer = setInterval(wake, LOOK_MS)
  timer.unref()
  return {
    wake,
    mismatch,
    brokeGlass,
    send: (id, body) => post(id, JSON.stringify(body)),
    close: async () => {
      clearInterval(timer)
      ending.abort()
      await looking
      await Promise.all(running)
    },
  }
}
