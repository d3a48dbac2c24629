// A consent from link to stored grant: begins it, shares its link, shows it, sends the person to
// the provider, and waits for them.
import { createHash } from 'node:crypto'
import type {
  Asker,
  Challenge,
  Flow,
  FlowRow,
  Holding,
  Person,
  StandingAsk,
  Store,
} from '../model.ts'
import { Problem } from '../problem.ts'
import { createFinish } from './callback.ts'
import type { FlowDeps } from './parts.ts'
import { askable, lacking, widened } from '../wire/scopes.ts'
import { createKeeper } from './confirm.ts'
import { createDeclined, type Declined } from './declined.ts'
import { createEnding } from './ending.ts'
import { createLeg, type Plan } from './leg.ts'
import { createPaste } from './pasted.ts'
import { createStatus, flowHashOf } from './status.ts'
import { createQuota, QUOTA_MS } from './quota.ts'
import { createWhole, isTogether, TOGETHER } from './together.ts'
import type { Room } from './tenants.ts'

/** What an agent is told of a flow. */
export type Begun = {
  readonly authorizationId: string
  readonly url: string
  readonly declined?: undefined
  readonly scopes: readonly string[]
  /** ms since the epoch. */
  readonly expiresAt: number
  /** How the last try of this person there failed, where that was not to be; null: it did not. */
  readonly after?: string | null
}

type AskOptions = {
  readonly reauthorization?: boolean
  readonly nextUri?: string | null
  /** How the provider wants the person to sign in this time. */
  readonly challenge?: Challenge | null
  /** Id of what the agent wanted to do; a link that is shared keeps the first. */
  readonly operation?: string | null
  /** What a workload is to do while the person is away. */
  readonly standing?: StandingAsk | null
}

/** A link to deliver; `attempt` counts from 1. */
export type Notice = { readonly flow: Flow; readonly url: string; readonly attempt: number }

export type Flows = ReturnType<typeof createFlows>

const NAG_AFTER_MS = 3_600_000
/** Ends that another try would reach again, unless somebody else does something first. */
const STUCK: ReadonlySet<string> = new Set(['admin_required', 'client_refused'])
const ID = /^[\w-]{43}$/

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const union = (...lists: readonly (readonly string[])[]) => [...new Set(lists.flat())]
const unbounded: Room = () => Promise.resolve()
/** The person chose for how long the workload may act; null: longer than asked, or the flow has ended. */
const chosen = async (
  flows: Pick<Store['flows'], 'standing'>,
  flow: Flow,
  days: number,
): Promise<Flow | null> => {
  if (flow.standing == null || days > flow.standing.days) return null
  const standing = { ...flow.standing, days }
  const stored = await flows.standing(flow.hash, JSON.stringify(standing))
  return stored ? { ...flow, standing } : null
}
const flowOf = (row: FlowRow, now: number): Flow => {
  const late = row.status === 'pending' && row.expiresAt <= now
  return {
    hash: row.hash,
    person: { tenant: row.tenant, realm: row.realm, id: row.user },
    agent: row.agent,
    connection: row.connection,
    scopes: row.scopes,
    reauthorization: row.reauthorization,
    status: late ? 'failed' : row.status,
    failure: late ? 'expired' : row.status === 'failed' ? row.failure : null,
    missing:
      row.status === 'completed' && row.failure !== null
        ? (JSON.parse(row.failure) as readonly string[])
        : [],
    awaiting: row.held != null,
    challenge: row.challenge == null ? null : (JSON.parse(row.challenge) as Challenge),
    nextUri: row.nextUri,
    operation: row.operation ?? null,
    standing: row.standing == null ? null : (JSON.parse(row.standing) as StandingAsk),
    createdAt: row.createdAt,
    expiresAt: row.expiresAt,
    leg: null,
  }
}
export const createFlows = (deps: FlowDeps) => {
  const { store, vault, sealer, clock, publicUrl } = deps
  const nagAfterMs = deps.nagAfterMs ?? NAG_AFTER_MS
  const quota = createQuota(store, clock)
  const beginning = new Map<string, Promise<Begun>>()

  const toFlow = (row: FlowRow): Flow => flowOf(row, clock.now())
  const whole = createWhole({ store, toFlow, idOf: (nonce) => idOf(nonce) })
  const byHash = async (hash: string): Promise<Flow | null> => {
    const row = await store.flows.byHash(hash)
    return row === null ? null : whole(toFlow(row))
  }

  const { event, end, holdingOf } = createEnding(deps, toFlow)

  /** Only the nonce is stored. The id is made of it and a ring key, so a link can be repeated. */
  const idOf = (nonce: string): string => sealer.hmac('flow', nonce)
  const begun = (row: FlowRow): Begun => ({
    authorizationId: `ac_${row.hash}`,
    url: `${publicUrl}/connect/${idOf(row.nonce)}`,
    scopes: row.scopes,
    expiresAt: row.expiresAt,
  })
  const insert = async (
    who: Asker,
    scopes: readonly string[],
    set: Pick<
      FlowRow,
      | 'nonce'
      | 'status'
      | 'reauthorization'
      | 'nextUri'
      | 'notifyAt'
      | 'challenge'
      | 'operation'
      | 'standing'
    >,
  ): Promise<FlowRow> => {
    const now = clock.now()
    const row: FlowRow = {
      ...set,
      hash: sha256(idOf(set.nonce)),
      tenant: who.person.tenant,
      realm: who.person.realm,
      user: who.person.id,
      agent: who.agent,
      connection: who.connection,
      scopes,
      failure: null,
      createdAt: now,
      expiresAt: now + deps.linkTtlMs,
      stateHash: null,
      cookieHash: null,
      sealedLeg: null,
      legExpiresAt: null,
    }
    await store.flows.insert(row)
    return row
  }

  const start = async (
    who: Asker,
    scopes: readonly string[],
    options: Pick<FlowRow, 'reauthorization' | 'nextUri' | 'operation' | 'standing'> & {
      readonly challenge: string | null
    },
  ): Promise<Begun> => {
    const { person, agent, connection } = who
    const { challenge, nextUri, standing = null } = options
    await deps.agentOn?.(agent, person.tenant)
    if (!isTogether(who)) await deps.room?.(who)
    const now = clock.now()
    const [pending, last] = await Promise.all([
      store.flows.pending({ ...who, scopes, challenge, nextUri, standing }, now),
      store.flows.ended(person, connection),
    ])
    const after = last?.failure != null && STUCK.has(last.failure) ? last.failure : null
    // Without the hash key that it was made under, a row cannot be turned into its link again.
    if (pending !== null && sha256(idOf(pending.nonce)) === pending.hash)
      return { ...begun(pending), after }
    const nonce = deps.randomBytes(32).toString('base64url')
    // Each of several is told of by itself.
    const notifyAt = deps.onLink === undefined || isTogether(who) ? null : clock.now()
    const row = await quota.take(person, agent, () =>
      insert(who, scopes, { ...options, nonce, status: 'pending', notifyAt }),
    )
    await event('started', toFlow(row), {
      reauthorization: options.reauthorization,
      ...(standing === null ? {} : { standing: JSON.parse(standing) as StandingAsk }),
    })
    deps.onLink?.()
    return { ...begun(row), after }
  }

  const grantedTo = (holding: Holding): readonly string[] =>
    holding.kind === 'held' ? (holding.granted ?? []) : []

  const plan = async (flow: Flow): Promise<Plan> => {
    const connection = deps.connections().get(flow.connection)
    if (connection === undefined) return { kind: 'gone' }
    await deps.agentOn?.(flow.agent, flow.person.tenant)
    // The configuration may ask for less than when the link was made.
    if (!flow.scopes.every((scope) => connection.scopes.includes(scope))) return { kind: 'gone' }
    const holding = await holdingOf(flow)
    if (holding.kind === 'none') return { kind: 'provider', asked: flow.scopes }
    const usable = holding.status === 'active' && !flow.reauthorization
    if (usable && lacking(connection.provider, holding.scopes, flow.scopes).length === 0)
      return { kind: 'grant' }
    // A provider may replace the old grant by the new one, so what was given is asked for again.
    const before = widened(connection.provider, holding.scopes).filter((scope) =>
      connection.scopes.includes(scope),
    )
    return { kind: 'provider', asked: union(flow.scopes, before) }
  }
  const question = (connection: string, scopes: readonly string[], { challenge }: AskOptions) => {
    const { provider, scopes: most = [] } = deps.connections().get(connection) ?? {}
    const asked = provider === undefined ? scopes : askable(provider, most, scopes)
    return {
      sorted: union(provider?.scopeWhole === true ? most : asked).toSorted(),
      challenge: challenge ? JSON.stringify(challenge) : null,
    }
  }
  /** One pending flow and its link for the same person, agent, connection, scopes and way back. */
  const begin = (
    who: Asker,
    scopes: readonly string[],
    options: AskOptions = {},
  ): Promise<Begun> => {
    const { person, agent, connection } = who
    const { sorted, challenge } = question(connection, scopes, options)
    const { tenant, realm, id } = person
    const { nextUri = null, reauthorization = false, operation = null } = options
    const standing = options.standing ? JSON.stringify(options.standing) : null
    const what = [connection, sorted, challenge, nextUri, standing]
    const key = JSON.stringify([tenant, realm, id, agent, ...what])
    const running = beginning.get(key)
    if (running !== undefined) return running
    const set = { reauthorization, nextUri, challenge, operation, standing }
    const started = start(who, sorted, set).finally(() => beginning.delete(key))
    beginning.set(key, started)
    return started
  }
  const granted = async (flow: Flow) => grantedTo(await holdingOf(flow))
  const parts = { ...deps, toFlow, end, event, grantedTo: granted }
  const keeper = createKeeper(parts)
  const declined = createDeclined(store, clock, nagAfterMs)

  return {
    begin,

    /** `begin`, unless the person has just said no: a program's next try is no reason to ask. */
    ask: async (
      who: Asker,
      scopes: readonly string[],
      options: AskOptions = {},
    ): Promise<Begun | Declined> => {
      const { sorted } = question(who.connection, scopes, options)
      return (await declined(who, sorted)) ?? begin(who, scopes, options)
    },

    /** One link for several that were begun for this person and agent. */
    together: (who: Pick<Asker, 'person' | 'agent'>, ids: readonly string[]): Promise<Begun> =>
      begin({ ...who, connection: TOGETHER }, ids),

    /** An authorization that needs no person any more: `status` answers `completed` for its id. */
    completed: async (who: Asker, scopes: readonly string[]): Promise<string> => {
      const { person, agent, connection } = who
      const sorted = union(scopes).toSorted()
      const what = [person.tenant, person.realm, person.id, agent, connection, sorted]
      const nonce = `held:${sha256(JSON.stringify(what))}`
      const hash = sha256(idOf(nonce))
      if ((await store.flows.byHash(hash)) === null)
        await insert(who, sorted, {
          nonce,
          status: 'completed',
          reauthorization: false,
          nextUri: null,
        })
      return `ac_${hash}`
    },

    /** @param id what the link ends with; null: no such flow */
    find: (id: string): Promise<Flow | null> =>
      ID.test(id) ? byHash(sha256(id)) : Promise.resolve(null),

    byAuthorizationId: async (authorizationId: string): Promise<Flow | null> => {
      const hash = flowHashOf(authorizationId)
      return hash === undefined ? null : byHash(hash)
    },

    status: createStatus(store, clock, byHash),

    plan,
    room: deps.room ?? unbounded,
    choose: (flow: Flow, days: number) => chosen(store.flows, flow, days),

    leg: createLeg(parts, plan),

    /** This agent's own grant on what the person gave; false: that has ended, ask the provider. */
    grantOnly: async (flow: Flow, verified: boolean): Promise<boolean> => {
      if (flow.status !== 'pending' || (await plan(flow)).kind !== 'grant') return false
      if ((await deps.active?.(flow.person)) === false) {
        await end(flow, { failure: 'user_inactive' })
        await event('failed', flow, { verified, reason: 'user_inactive' })
        throw new Problem('policy_denied', 'this person is not active')
      }
      const before = grantedTo(await holdingOf(flow))
      await vault.grant(flow.person, flow.agent, flow.connection, union(before, flow.scopes))
      await end(flow, { missing: [] })
      await event('completed', flow, { verified, at_provider: false })
      return true
    },

    /** The person said no on our own page. */
    decline: async (flow: Flow, verified: boolean): Promise<void> => {
      await end(flow, { failure: 'denied' })
      await event('denied', flow, { verified })
    },

    finish: createFinish(parts, keeper),
    paste: createPaste(parts, keeper),

    /** `grantOnly` without a sign-in: the application must confirm the id that is returned. */
    askGrant: async (flow: Flow): Promise<string | null> =>
      flow.status === 'pending' && (await plan(flow)).kind === 'grant'
        ? keeper.hold(flow, null)
        : null,
    confirm: keeper.confirm,
    cancel: keeper.cancel,
    /** Links that are to be delivered now, each taken for this caller until `until` (ms). */
    notices: async (until: number, most: number): Promise<readonly Notice[]> =>
      (await store.flows.notices(clock.now(), until, most))
        // Made under a hash key that the ring no longer uses: nobody knows that link any more.
        .filter((row) => sha256(idOf(row.nonce)) === row.hash)
        .map((row) => ({ flow: toFlow(row), url: begun(row).url, attempt: row.notices ?? 1 })),
    /** It was delivered or given up (null), or is to be tried again. */
    notifyAt: store.flows.notifyAt,

    /** Drops every flow of a person. @returns how many */
    erase: (person: Person): Promise<number> => store.flows.erase(person),

    /** Gives back what nobody confirmed, drops flows that ended long ago. @returns how many */
    sweep: async (): Promise<number> => {
      await keeper.overdue()
      return store.flows.sweep(clock.now() - Math.max(deps.linkTtlMs, QUOTA_MS, nagAfterMs))
    },
  }
}
