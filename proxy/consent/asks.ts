// What a person is asked so that policy lets a call pass: begun, shared by whoever asks the same, waited for, told of,
// ended. What is asked is in `approvals` and `step_ups`.
import { createHash } from 'node:crypto'
import type { AskRow, Clock, Log, Person, Store } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Sealer } from '../vault/seal.ts'
import { createRounds } from './rounds.ts'
import { createWaiting } from './status.ts'
import type { Send } from './standing.ts'

export type Asked = {
  readonly kind: AskRow['kind']
  readonly person: Person
  readonly agent: string
  readonly connection: string
  readonly question: string
  readonly digest: string
  /** Ids. */
  readonly operations: readonly string[]
  /** Becomes JSON. */
  readonly needs: object
  /** Sealed for the page; null: nothing is. */
  readonly shown: object | null
}
/** What the agent is told. */
export type AskBegun = {
  readonly authorizationId: string
  readonly url: string
  /** ms since the epoch. */
  readonly expiresAt: number
  readonly declined?: undefined
}
/** Somebody said no to the very same a moment ago; ms since the epoch. */
export type AskDeclined = {
  readonly authorizationId: string
  readonly declined: { readonly at: number; readonly until: number }
}
export type Asks = ReturnType<typeof createAsks>

/** Open at once, and begun in ten minutes, for one agent of one person. */
const MOST_OPEN = 20
const MOST_BEGUN = 30
const QUOTA_MS = 600_000
/** One process tries to tell of it for so long, then any may try again. */
const LEASE_MS = 30_000
const LOOK_MS = 5_000
const AT_ONCE = 100
const MOST_NOTICES = 6
/** A yes that is further in the future than this was given by another clock. */
export const SKEW_MS = 60_000

const ID = /^[\w-]{43}$/
const AUTHORIZATION_ID = /^(?:ap|su)_([0-9a-f]{64})$/
const PREFIX = { approval: 'ap_', step_up: 'su_' } as const
const PATH = { approval: 'approve', step_up: 'step-up' } as const
/** Is it one of these, rather than a consent's? */
export const isAsk = (authorizationId: string): boolean => AUTHORIZATION_ID.test(authorizationId)
export const authorizationIdOf = ({ kind, hash }: Pick<AskRow, 'kind' | 'hash'>): string =>
  PREFIX[kind] + hash
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
export const personOfAsk = ({ tenant, realm, user }: AskRow): Person => ({
  tenant,
  realm,
  id: user,
})
/** What evidence says of each. */
export const fieldsOf = (row: AskRow): object => ({
  [row.kind]: row.hash,
  user: personOfAsk(row),
  agent: row.agent,
  connection: row.connection,
  operations: row.operations,
  ...(row.digest === '' ? {} : { digest: row.digest }),
})

export const createAsks = (deps: {
  readonly store: Pick<Store, 'asks' | 'epochs' | 'publish' | 'subscribe'>
  readonly sealer: Pick<Sealer, 'sealText' | 'openText' | 'hmac'>
  readonly clock: Clock
  readonly log: Log
  readonly randomBytes: (size: number) => Buffer
  /** `connect.url`, without a trailing slash. */
  readonly publicUrl: string
  readonly linkTtlMs: number
  readonly nagAfterMs: number
  /** false: nobody could sign in at the pages as an OpenID provider names them. */
  readonly able: boolean
  /** Told to `connect.notify` when one is made; absent: nobody listens. */
  readonly onAsk?: () => void
  readonly agentUrl: (agent: string) => string
  readonly onEvent: (event: string, fields: object) => Promise<void>
}) => {
  const { sealer, clock, log, onEvent } = deps
  const { asks, epochs, publish } = deps.store
  const idOf = (nonce: string): string => sealer.hmac('ask', nonce)
  const urlOf = ({ kind, nonce }: Pick<AskRow, 'kind' | 'nonce'>): string =>
    `${deps.publicUrl}/${PATH[kind]}/${idOf(nonce)}`
  /** Made under a hash key that the ring no longer uses: nobody knows that link any more. */
  const linked = ({ nonce, hash }: AskRow): boolean => sha256(idOf(nonce)) === hash
  const begun = (row: AskRow): AskBegun => ({
    authorizationId: authorizationIdOf(row),
    url: urlOf(row),
    expiresAt: row.expiresAt,
  })
  /** As it is now: over when its time is, or when everything of its person was revoked. */
  const current = async (row: AskRow | null): Promise<AskRow | null> => {
    if (row === null || (row.status !== 'pending' && row.status !== 'given')) return row
    if (row.expiresAt <= clock.now()) return { ...row, status: 'expired' }
    return (await epochs.read(personOfAsk(row))) === row.epoch
      ? row
      : { ...row, status: 'cancelled' }
  }
  const byHash = async (hash: string) => current(await asks.byHash(hash))

  const quota = async ({ person, agent }: Asked): Promise<void> => {
    const { tenant, realm, id: user } = person
    const now = clock.now()
    const made = await asks.begun(person, agent, now - QUOTA_MS, MOST_BEGUN)
    const oldest = made.length >= MOST_BEGUN ? (made.at(-1) ?? now) : null
    const many = (await asks.list({ tenant, realm, user, agent }, now)).length >= MOST_OPEN
    if (oldest === null && !many) return
    throw new Problem(
      'rate_limited',
      'This agent waits for too many answers of people already: let some of them be given first.',
      { extra: { retry_after: many ? 60 : Math.ceil(((oldest ?? now) + QUOTA_MS - now) / 1_000) } },
    )
  }
  /** It has ended by now: a record that cannot be written must not look as if it had not. */
  const recorded = (event: string, fields: object): Promise<void> =>
    onEvent(event, fields).catch((error: unknown) =>
      log.error({ err: error }, `${event} could not be recorded`),
    )
  const sweep = async (): Promise<void> => {
    const before = clock.now() - Math.max(deps.linkTtlMs, QUOTA_MS, deps.nagAfterMs)
    for (const row of await asks.sweep(clock.now(), before)) {
      await publish('ask', row.hash)
      await recorded(`${row.kind}.expired`, fieldsOf(row))
    }
  }
  const insert = async (asked: Asked): Promise<AskRow | null> => {
    const { person, shown, needs, ...rest } = asked
    const now = clock.now()
    const nonce = deps.randomBytes(32).toString('base64url')
    const hash = sha256(idOf(nonce))
    const sealed =
      shown === null ? null : await sealer.sealText('ask', { hash }, JSON.stringify(shown))
    const row: AskRow = {
      ...rest,
      hash,
      nonce,
      tenant: person.tenant,
      realm: person.realm,
      user: person.id,
      needs: JSON.stringify(needs),
      sealed,
      status: 'pending',
      given: '[]',
      exchange: null,
      epoch: await epochs.read(person),
      createdAt: now,
      expiresAt: now + deps.linkTtlMs,
      endedAt: null,
      noticeAt: deps.onAsk === undefined ? null : now,
      notices: 0,
    }
    return (await asks.insert(row)) ? row : null
  }
  const end = async (row: AskRow, status: 'declined' | 'cancelled' | 'used', more: object) => {
    if (!(await asks.end(row.hash, status, clock.now()))) return false
    await publish('ask', row.hash)
    const event = status === 'used' ? 'completed' : status
    await recorded(`${row.kind}.${event}`, { ...fieldsOf(row), ...more })
    return true
  }
  const open = async (question: string, exchange: string): Promise<AskRow | null> => {
    const row = await asks.open(question, exchange, clock.now())
    const now = await current(row)
    if (row === null || now?.status === row.status) return now
    // Everything of its person was revoked since: whoever asks is asked anew.
    await end(row, 'cancelled', { by: 'revoked' })
    return null
  }

  return {
    able: deps.able,
    /**
     * Begins it, or joins the one that is open. Nobody is asked the same again for a while after their no.
     * @throws Problem rate_limited
     */
    begin: async (asked: Asked): Promise<AskBegun | AskDeclined> => {
      const { question } = asked
      const no = await asks.declined(question, clock.now() - deps.nagAfterMs)
      if (no !== null) {
        const at = no.endedAt ?? 0
        return {
          authorizationId: authorizationIdOf(no),
          declined: { at, until: at + deps.nagAfterMs },
        }
      }
      for (let times = 0; times < 3; times++) {
        const there = await open(question, '')
        if (there !== null && linked(there)) return begun(there)
        if (there !== null) await end(there, 'cancelled', { by: 'key' })
        await quota(asked)
        const row = await insert(asked)
        // One whose time is over has its place still.
        if (row === null) {
          await sweep()
          continue
        }
        try {
          await onEvent(`${row.kind}.requested`, fieldsOf(row))
        } catch (error) {
          await asks.end(row.hash, 'cancelled', clock.now())
          throw error
        }
        deps.onAsk?.()
        return begun(row)
      }
      throw new Problem('vault_unavailable', 'what a person is asked could not be stored')
    },
    open,
    end,
    byHash,
    /** @param id what the link ends with; null: there is no such */
    find: async (id: string, kind: AskRow['kind']): Promise<AskRow | null> => {
      const row = ID.test(id) ? await byHash(sha256(id)) : null
      return row?.kind === kind ? row : null
    },
    idOf: ({ nonce }: AskRow): string => idOf(nonce),
    /** When nobody can answer it any more, ms since the epoch: a yes of its own may end before. */
    linkEnds: ({ createdAt }: AskRow): number => createdAt + deps.linkTtlMs,
    /** What whoever approves is shown; null: it is not kept any more. */
    shown: async ({ sealed, hash }: AskRow): Promise<unknown> =>
      sealed === null
        ? null
        : (JSON.parse(await sealer.openText('ask', { hash }, sealed)) as unknown),
    /** An answer was written down: whoever waits for it looks. */
    changed: (hash: string): Promise<void> => publish('ask', hash),
    byAuthorizationId: async (id: string): Promise<AskRow | null> => {
      const hash = AUTHORIZATION_ID.exec(id)?.[1]
      return hash === undefined ? null : byHash(hash)
    },
    /** Waits at most `waitMs` for an answer. @throws Problem authorization_not_found unless these began it */
    status: createWaiting(deps.store, clock, {
      topic: 'ask',
      hashOf: (id) => AUTHORIZATION_ID.exec(id)?.[1],
      byHash: async (hash) => {
        const row = await byHash(hash)
        return row === null ? null : { ...row, person: personOfAsk(row) }
      },
    }),
    list: async (filter: Parameters<Store['asks']['list']>[0]): Promise<readonly AskRow[]> =>
      asks.list(filter, clock.now()),
    /** Ends all open ones of these. @returns how many */
    endAll: async (
      filter: Parameters<Store['asks']['list']>[0],
      how: object = { by: 'revoked' },
    ): Promise<number> => {
      let ended = 0
      for (const row of await asks.list(filter, clock.now()))
        if (await end(row, 'cancelled', how)) ended += 1
      return ended
    },
    sweep,
    /** Tells `connect.notify` of each, until closed. `ready`: false while the clock is wrong. */
    watch: (send: Send, ready: () => boolean) => {
      const tell = async (row: AskRow): Promise<void> => {
        // Nobody could open that link: there is nothing to tell, and nobody was told.
        if (!linked(row)) return asks.noticeAt(row.hash, null)
        const failed = await send(
          `${row.kind}_requested_${row.hash}`,
          noticeOf(row, urlOf(row), deps.agentUrl),
        )
        if (failed !== null && row.notices < MOST_NOTICES) return // the lease ends, and it is tried again
        await asks.noticeAt(row.hash, null)
        if (failed === null) return onEvent(`${row.kind}.notified`, fieldsOf(row))
        log.error({ ask: row.hash, reason: failed }, 'the webhook of connect.notify took no notice')
        return onEvent(`${row.kind}.notify_failed`, { ...fieldsOf(row), reason: failed })
      }
      const look = async (): Promise<void> => {
        const now = clock.now()
        await Promise.all((await asks.notices(now, now + LEASE_MS, AT_ONCE)).map(tell))
      }
      return createRounds(LOOK_MS, ready, look, (error) =>
        log.error({ err: error }, 'who is to be asked cannot be told'),
      )
    },
  }
}

/** Nothing of the call's content: it is shown to those alone who may approve it. */
const noticeOf = (row: AskRow, url: string, agentUrl: (agent: string) => string): object => ({
  event: `${row.kind}.requested`,
  authorization_id: authorizationIdOf(row),
  url,
  user_id: row.user,
  tenant: row.tenant,
  realm: row.realm,
  agent: row.agent,
  agent_url: agentUrl(row.agent),
  connection: row.connection,
  operations: row.operations,
  needs: JSON.parse(row.needs) as unknown,
  ...(row.digest === '' ? {} : { digest: row.digest }),
  expires_at: new Date(row.expiresAt).toISOString(),
})
