// A consent from link to stored grant: begun, shared, shown, sent to the provider, waited for.
import { createHash } from 'node:crypto'
import type { Asker, Challenge, Flow, FlowRow, Holding, Person } from '../model.ts'
import { Problem } from '../problem.ts'
import { createFinish } from './callback.ts'
import type { FlowDeps } from './parts.ts'
import { askable, lacking, widened } from '../wire/scopes.ts'
import { samePerson } from '../wire/canonical.ts'
import { createKeeper } from './confirm.ts'
import { createQuota, QUOTA_MS } from './quota.ts'

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

/** What an agent is told instead of a link while the person's No counts. */
export type Declined = {
  /** Of the flow that was declined. */
  readonly authorizationId: string
  readonly scopes: readonly string[]
  /** ms since the epoch: when they said no, and from when on they may be asked again. */
  readonly declined: { readonly at: number; readonly until: number }
}

type AskOptions = {
  readonly reauthorization?: boolean
  readonly nextUri?: string | null
  /** How the provider wants the person to sign in this time. */
  readonly challenge?: Challenge | null
  /** Id of what the agent wanted to do; a link that is shared keeps the first. */
  readonly operation?: string | null
}

/** A link to deliver; `attempt` counts from 1. */
export type Notice = { readonly flow: Flow; readonly url: string; readonly attempt: number }

/** What is left to do for this flow. `grant`: the scopes are held, only this agent's yes is missing. */
export type Plan =
  | { readonly kind: 'grant' }
  | { readonly kind: 'provider'; readonly asked: readonly string[] }
  | { readonly kind: 'gone' }

export type Flows = ReturnType<typeof createFlows>

const LEG_MS = 600_000
const NAG_AFTER_MS = 3_600_000
/** Ends after which the same link again leads to the same end, unless somebody else does something. */
const STUCK: ReadonlySet<string> = new Set(['admin_required', 'client_refused'])
/** The bus tells within a second; this is for what it lost. */
const POLL_MS = 5_000
/** Flows that are waited for are looked at one by one, this far apart: a thousand held calls are no load of their own. */
const SPREAD_MS = 30
const ID = /^[\w-]{43}$/
const AUTHORIZATION_ID = /^ac_([0-9a-f]{64})$/

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const union = (...lists: readonly (readonly string[])[]) => [...new Set(lists.flat())]
export const createFlows = (deps: FlowDeps) => {
  const { store, vault, sealer, client, clock, publicUrl } = deps
  const legTtlMs = deps.legTtlMs ?? LEG_MS
  const nagAfterMs = deps.nagAfterMs ?? NAG_AFTER_MS
  const quota = createQuota(store, clock)
  const beginning = new Map<string, Promise<Begun>>()
  const waiting = new Map<string, Set<() => void>>()
  store.subscribe('flow', (hash) => {
    const woken = hash === '*' ? [...waiting.values()] : [waiting.get(hash) ?? []]
    for (const each of woken) for (const wake of each) wake()
  })

  const toFlow = (row: FlowRow): Flow => {
    const late = row.status === 'pending' && row.expiresAt <= clock.now()
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
      createdAt: row.createdAt,
      expiresAt: row.expiresAt,
      leg: null,
    }
  }
  const byHash = async (hash: string): Promise<Flow | null> => {
    const row = await store.flows.byHash(hash)
    return row === null ? null : toFlow(row)
  }

  const event = (name: string, flow: Flow, more: object = {}): void | Promise<void> =>
    deps.onEvent(`consent.${name}`, {
      flow: flow.hash,
      user: flow.person,
      agent: flow.agent,
      connection: flow.connection,
      scopes: flow.scopes,
      ...more,
    })

  const end = async (
    flow: Flow,
    outcome: { readonly failure: string } | { readonly missing: readonly string[] },
  ): Promise<Flow> => {
    const failed = 'failure' in outcome
    const missing = failed ? [] : outcome.missing
    const failure = failed ? outcome.failure : missing.length > 0 ? JSON.stringify(missing) : null
    const status = failed ? 'failed' : 'completed'
    await store.flows.finish(flow.hash, status, failure, clock.now())
    // Whoever waits for it, in any process on this store, looks now; a notice that is lost costs them a second look.
    await store.publish('flow', flow.hash)
    if (!failed) await settle(flow)
    return {
      ...flow,
      status,
      failure: failed ? outcome.failure : null,
      missing,
    }
  }

  /** Other links of this agent that ask for nothing more have nothing left to ask: whoever waits for them goes on. */
  const settle = async (flow: Flow): Promise<void> => {
    const holding = await holdingOf(flow)
    if (holding.kind !== 'held' || holding.status !== 'active') return
    const provider = deps.connections().get(flow.connection)?.provider ?? {}
    const lacks = (held: readonly string[] | null, scopes: readonly string[]) =>
      lacking(provider, held ?? [], scopes).length > 0
    for (const row of await store.flows.open(flow.person)) {
      const same = row.agent === flow.agent && row.connection === flow.connection
      // Somebody is at the provider, or the application is to confirm: that goes its own way.
      const busy = row.held != null || (row.legExpiresAt ?? 0) > clock.now()
      if (!same || busy || lacks(holding.scopes, row.scopes) || lacks(holding.granted, row.scopes))
        continue
      // It ended by itself meanwhile, here or at another replica.
      if (!(await store.flows.finish(row.hash, 'completed', null, clock.now()))) continue
      await store.publish('flow', row.hash)
      await event('completed', toFlow(row), { at_provider: false, by_flow: flow.hash })
    }
  }

  /** Only the random nonce is stored: the id comes from it and a ring key, so that a link can be given out twice. */
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
      'nonce' | 'status' | 'reauthorization' | 'nextUri' | 'notifyAt' | 'challenge' | 'operation'
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
    options: Pick<FlowRow, 'reauthorization' | 'nextUri' | 'operation'> & {
      readonly challenge: string | null
    },
  ): Promise<Begun> => {
    const { person, agent, connection } = who
    const { challenge, nextUri } = options
    const now = clock.now()
    const [pending, last] = await Promise.all([
      store.flows.pending({ ...who, scopes, challenge, nextUri }, now),
      store.flows.ended(person, connection),
    ])
    const after = last?.failure != null && STUCK.has(last.failure) ? last.failure : null
    // A row made under a hash key that the ring no longer uses cannot be turned into its link again.
    if (pending !== null && sha256(idOf(pending.nonce)) === pending.hash)
      return { ...begun(pending), after }
    const nonce = deps.randomBytes(32).toString('base64url')
    const notifyAt = deps.onLink === undefined ? null : clock.now()
    const row = await quota.take(person, agent, () =>
      insert(who, scopes, { ...options, nonce, status: 'pending', notifyAt }),
    )
    await event('started', toFlow(row), { reauthorization: options.reauthorization })
    deps.onLink?.()
    return { ...begun(row), after }
  }

  /** The person's No to the same or to less, unless they said yes since; null: they may be asked. */
  const declined = async (who: Asker, scopes: readonly string[]): Promise<Declined | null> => {
    const { person, agent, connection } = who
    const since = clock.now() - nagAfterMs
    const ended = await store.flows.endedSince(person, agent, connection, since)
    for (const row of ended) {
      if (row.status === 'completed') break
      const at = row.endedAt ?? 0
      if (row.failure !== 'denied' || !row.scopes.every((scope) => scopes.includes(scope))) continue
      // A newer link that asks for what was refused was made on purpose: its person is being asked again.
      const anew = (await store.flows.open(person)).some(
        (open) =>
          open.agent === agent &&
          open.connection === connection &&
          open.createdAt >= at &&
          open.expiresAt > clock.now() &&
          row.scopes.every((scope) => open.scopes.includes(scope)),
      )
      if (anew) return null
      return {
        authorizationId: `ac_${row.hash}`,
        scopes: row.scopes,
        declined: { at, until: at + nagAfterMs },
      }
    }
    return null
  }

  const holdingOf = (flow: Flow) => vault.look(flow.person, flow.connection, flow.agent)
  const grantedTo = (holding: Holding): readonly string[] =>
    holding.kind === 'held' ? (holding.granted ?? []) : []

  const plan = async (flow: Flow): Promise<Plan> => {
    const connection = deps.connections().get(flow.connection)
    if (connection === undefined) return { kind: 'gone' }
    // The configuration may ask for less than when the link was made.
    if (!flow.scopes.every((scope) => connection.scopes.includes(scope))) return { kind: 'gone' }
    const holding = await holdingOf(flow)
    if (holding.kind === 'none') return { kind: 'provider', asked: flow.scopes }
    const usable = holding.status === 'active' && !flow.reauthorization
    if (usable && lacking(connection.provider, holding.scopes, flow.scopes).length === 0)
      return { kind: 'grant' }
    // A provider may replace the old grant by what is asked now: what was given before is asked again.
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
  /** The same person, agent, connection, scopes and way back share one pending flow and its link. */
  const begin = (
    who: Asker,
    scopes: readonly string[],
    options: AskOptions = {},
  ): Promise<Begun> => {
    const { person, agent, connection } = who
    const { sorted, challenge } = question(connection, scopes, options)
    const { tenant, realm, id } = person
    const { nextUri = null, reauthorization = false, operation = null } = options
    const key = JSON.stringify([tenant, realm, id, agent, connection, sorted, challenge, nextUri])
    const running = beginning.get(key)
    if (running !== undefined) return running
    const set = { reauthorization, nextUri, challenge, operation }
    const started = start(who, sorted, set).finally(() => beginning.delete(key))
    beginning.set(key, started)
    return started
  }
  const parts = {
    ...deps,
    toFlow,
    end,
    event,
    grantedTo: async (flow: Flow) => grantedTo(await holdingOf(flow)),
  }
  const keeper = createKeeper(parts)

  return {
    begin,

    /** `begin`, unless the person has just said no to it: nobody sends them there again because a program tries again. */
    ask: async (
      who: Asker,
      scopes: readonly string[],
      options: AskOptions = {},
    ): Promise<Begun | Declined> => {
      const { sorted } = question(who.connection, scopes, options)
      return (await declined(who, sorted)) ?? begin(who, scopes, options)
    },

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
      const hash = AUTHORIZATION_ID.exec(authorizationId)?.[1]
      return hash === undefined ? null : byHash(hash)
    },

    /**
     * Waits at most `waitMs` for the flow to end. Throws Problem authorization_not_found
     * unless this person and agent began it.
     */
    status: async (
      authorizationId: string,
      { person, agent }: Pick<Asker, 'person' | 'agent'>,
      waitMs: number,
      signal: AbortSignal,
    ): Promise<Flow> => {
      const hash = AUTHORIZATION_ID.exec(authorizationId)?.[1] ?? ''
      const deadline = clock.mono() + waitMs
      for (;;) {
        const left = deadline - clock.mono()
        // Listening before looking: what ends in between is not missed.
        const poll = Math.max(POLL_MS, waiting.size * SPREAD_MS)
        const { woken, stop } = listen(waiting, hash, Math.max(0, Math.min(poll, left)), signal)
        try {
          const flow = hash === '' ? null : await byHash(hash)
          if (flow === null || flow.agent !== agent || !samePerson(flow.person, person))
            throw new Problem(
              'authorization_not_found',
              'you have begun no authorization of this id',
            )
          if (flow.status !== 'pending' || left <= 0 || signal.aborted) return flow
          await woken
        } finally {
          stop()
        }
      }
    },

    plan,

    /** Starts the leg at the provider; an earlier leg of the same flow ends. `cookie` binds it to this browser. */
    leg: async (
      flow: Flow,
      redirectUri: string,
    ): Promise<{
      readonly location: URL
      /** It stands in `location` only where that was not pushed (RFC 9126). */
      readonly state: string
      readonly cookie: string
    }> => {
      const todo = await plan(flow)
      const connection = deps.connections().get(flow.connection)
      const open = flow.status === 'pending' && flow.expiresAt > clock.now()
      if (!open || connection === undefined || todo.kind === 'gone')
        throw new Problem('authorization_not_found', 'this authorization has ended')
      const asked = todo.kind === 'provider' ? todo.asked : flow.scopes
      const random = (): string => deps.randomBytes(32).toString('base64url')
      const state = random()
      const cookie = random()
      const verifier = connection.provider.pkce ? random() : null
      const nonce =
        connection.provider.issuer !== null && asked.includes('openid') ? random() : null
      const sealedLeg = await sealer.sealText(
        'flow-leg',
        { flow: flow.hash },
        JSON.stringify({ verifier, nonce, asked }),
      )
      const begunLeg = await store.flows.leg(flow.hash, {
        stateHash: sha256(state),
        cookieHash: sha256(cookie),
        sealedLeg,
        legExpiresAt: clock.now() + legTtlMs,
      })
      if (!begunLeg) throw new Problem('authorization_not_found', 'this authorization has ended')
      const location = await client.authorize(connection, {
        redirectUri,
        state,
        challenge:
          verifier === null ? null : createHash('sha256').update(verifier).digest('base64url'), // RFC 7636 4.2, S256
        scopes: asked,
        nonce,
        ...(flow.challenge ? { extra: flow.challenge } : {}),
      })
      await event('at_provider', flow, { asked })
      return { location, state, cookie }
    },

    /** This agent's own grant on what the person already gave; false: that is no longer so, ask the provider. */
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

    /** `grantOnly` without a sign-in: the application must say who said yes. @returns the id to confirm */
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

/** `woken`: the flow ended, `ms` passed or the caller left. `stop` must be called. */
const listen = (
  waiting: Map<string, Set<() => void>>,
  hash: string,
  ms: number,
  signal: AbortSignal,
): { readonly woken: Promise<void>; readonly stop: () => void } => {
  const { promise: woken, resolve } = Promise.withResolvers<void>()
  const mine = waiting.get(hash) ?? new Set<() => void>()
  const wake = (): void => resolve()
  const timer = setTimeout(wake, ms)
  signal.addEventListener('abort', wake, { once: true })
  waiting.set(hash, mine.add(wake))
  return {
    woken,
    stop: () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', wake)
      mine.delete(wake)
      if (mine.size === 0 && waiting.get(hash) === mine) waiting.delete(hash)
    },
  }
}
