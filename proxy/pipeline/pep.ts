// The policy enforcement point: the request's way through the house, top to bottom.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setImmediate as yielded } from 'node:timers/promises'
import type { CallRegistry } from './calls.ts'
import type { Dedicated } from '../net/listener.ts'
import type { Rpc } from '../net/rpc.ts'
import { createExchange, type Call, type Seen, type Snapshot, type Way } from './exchange.ts'
import type {
  ClientCertificate,
  Clock,
  Decision,
  Holding,
  Log,
  PolicyEngine,
  Principal,
  Route,
  Vault,
  Via,
} from '../model.ts'
import { Problem } from '../problem.ts'
import { createRefusals, operationOf, type Begin } from './refusal.ts'
import { followedBy, opened, type Act } from './classify.ts'
import { lapsed, type Credentials } from './credential.ts'
import { asPart, decideEach, together, type Decide, type Question } from './decide.ts'
import type { AskFacts, Facts } from './entitlements.ts'
import type { Decided, Evidence } from '../audit/records.ts'
import type { Forward, Job } from './forward.ts'
import type { Hold } from './hold.ts'
import type { Identify } from './identify.ts'
import { inspect, type Body } from './inspect.ts'
import { obligations } from './obligations.ts'
import { createStanding, STANDING, stillTheSame, withdrawn } from './standing.ts'
import { lifeOf, type Life } from './stream_life.ts'
import { inSession, listed, plainHeaders, spoken } from './mcp.ts'
import { matchRoute } from './route.ts'
import type { TenantRate } from './tenant_rate.ts'
import type { Tagged } from './tag_place.ts'
import type { AddressTags } from '../wire/address_tag.ts'
import { shareOf } from '../shares.ts'
import { targetText } from '../wire/canonical.ts'
import { namedTrailers, type Sifted } from '../wire/headers.ts'
import type { Listed } from '../envelope/listed.ts'
import type { McpSessions } from '../wire/mcp_session.ts'
import { unsealed, type Bound, type QuerySeals } from '../wire/query_seal.ts'
import { stripQuery } from '../wire/strip.ts'
import type { TagSearch } from '../wire/stray_tag.ts'
import { unpack } from './unpack.ts'

export type PepDeps = {
  /** The door whose calls these are; absent: the proxy's. */
  readonly via?: Via
  /** Of calls that are only planned: learns what was decided, and nothing follows from it. */
  readonly planned?: (plan: Planned) => void
  readonly snapshot: () => Snapshot
  /** After a wait: throws the Problem of a call whose route the configuration has not any more, or has otherwise. */
  readonly stands: (req: IncomingMessage, route: Route, dedicated: Dedicated | null) => void
  readonly policy: () => PolicyEngine | null
  readonly tagged: (req: IncomingMessage, route: Route) => Tagged | Promise<Tagged>
  readonly identify: Identify['identify']
  /** What the client showed of itself; null: nothing. */
  readonly certificate: (req: IncomingMessage) => ClientCertificate | null
  readonly tags: TagSearch
  readonly tag: Identify['tag']
  /** Throws the Problem of an agent that is switched off. */
  readonly agentOn: (agent: string, tenant: string) => void | Promise<void>
  readonly addressTags: AddressTags
  readonly querySeals: QuerySeals
  readonly mcpSessions: McpSessions
  readonly entitlements: AskFacts
  readonly vault: Pick<Vault, 'look'>
  readonly decide: Decide
  /** Of what is only listed: no authorization service is asked. */
  readonly supposing: Decide
  readonly credentials: Credentials
  readonly forward: Forward
  /** A grant, and the standing of somebody who is away, are being used; costs the call nothing. */
  readonly used: (who: Principal, connection: string) => void
  readonly evidence: Evidence
  readonly calls: CallRegistry
  readonly rate: TenantRate
  readonly link: Begin
  /** Waits for a consent to end; true: completed. */
  readonly ended: (
    who: Principal,
    authorizationId: string,
    ms: number,
    signal: AbortSignal,
  ) => Promise<boolean>
  readonly hold: Hold
  readonly limits: { readonly requestBody: number; readonly inspectedBody: number }
  readonly auditRequired: boolean
  readonly sift: (
    rawHeaders: readonly string[],
    provider: Route['connection']['provider'],
  ) => Sifted
  readonly typeBase: string
  readonly clock: Clock
  readonly log: Log
  readonly observe: (call: Seen) => void
}

/** A call that was read: what policy sees of it, and what will be sent. */
type Request = {
  readonly req: IncomingMessage
  readonly tagged: Tagged
  readonly route: Route
  /** The target without what the provider had put into it. */
  readonly said: Route['target']
  readonly act: Act
  readonly body: Body
  readonly sifted: Sifted
}
/** What was decided, on which facts; of a call that is several also each part's own. */
type Verdict = {
  readonly facts: Facts
  readonly holding: Holding
  readonly decision: Decision
  readonly each: readonly Decision[] | null
}

/** What was decided of a call that does not leave. */
export type Planned = Pick<Verdict, 'decision' | 'holding'> & {
  readonly who: Principal
  readonly route: Route
  readonly act: Act
}

const NONE: readonly string[] = []
/** Whose share of what all have in common a call is of. */
const ofShare = ({ person, agent }: Principal): string => shareOf(person.tenant, agent)
const STALE_MS = 1_000
/** Decisions of one list between two looks at what else there is to do. */
const AT_ONCE = 32
/** So often a decision may have become too old before its call could leave. */
const MOST_LATE = 3
const tooSlow = (): Problem =>
  new Problem(
    'policy_unavailable',
    'deciding took too long: each decision was old before all was decided',
  )
/** Clients of MCP give up after 60 s. */
const SHOWN_MS = 45_000

/** What follows a step, at once where there is nothing to wait for. */
const then = <T, R>(work: T | Promise<T>, next: (done: T) => R | Promise<R>): R | Promise<R> =>
  work instanceof Promise ? work.then(next) : next(work)

const unreadable = (cause: unknown): never => {
  throw new Problem('vault_unavailable', 'the vault cannot be read', { cause })
}

/** A query whose credentials may be the provider's own: it says so, until a known person's call proves it. */
type Sealed = {
  readonly seal: string
  readonly target: Route['target']
  readonly stripped: readonly string[]
}
/** What is stripped from the query is gone before anybody looks: policy sees what is sent. */
const cutQuery = (
  call: Call,
  { route, place }: Tagged,
  tags: TagSearch,
): { readonly bare: Route; readonly sealed: Sealed | null } => {
  const untagged = tags.target(route.target)
  // A download gets no credential of ours, and its address is signed by the provider, not by the agent.
  // An address that deputy sealed is the provider's to the letter.
  const provided = route.asset || place === 'address'
  const plain = provided ? { target: untagged.target, seal: null } : unsealed(untagged.target)
  const cut = provided ? null : stripQuery(plain.target, route.connection.provider)
  const { target } = cut ?? plain
  if (target === route.target) return { bare: route, sealed: null }
  const { stripped } = untagged
  call.stripped = [...stripped, ...(cut?.stripped ?? NONE)]
  const sealed = plain.seal === null ? null : { seal: plain.seal, target: plain.target, stripped }
  return { bare: { ...route, target }, sealed }
}

const boundTo = ({ person, agent }: Principal, { connection, host }: Route): Bound => ({
  person,
  agent,
  connection: connection.name,
  host,
})

/** Without the one that was no credential, because the tag stood there. */
const cutHeaders = ({ stripped }: Sifted, slot: boolean): readonly string[] =>
  slot ? stripped.filter((header) => header !== 'header:authorization') : stripped
/** Names what was cut out, for policy and evidence. What follows a body that was read is known by now. */
const name = (call: Call, cut: readonly string[], body: Body, req: IncomingMessage): void => {
  const { rawTrailers } = req
  const headers =
    body.bytes === null || rawTrailers.length === 0 ? cut : [...cut, ...namedTrailers(rawTrailers)]
  if (call.stripped.length === 0 && body.stripped.length === 0) call.stripped = headers
  else call.stripped = [...headers, ...call.stripped, ...body.stripped]
}

/** The tag stood in the form, in the field of the SDK's key: that one was no credential. */
const withoutSlot = (body: Body, { place }: Tagged): Body =>
  place === 'form'
    ? { ...body, stripped: body.stripped.filter((one) => one !== 'body:token') }
    : body

/** Which part of a call that is several was refused hardest, from 1; null: the call is one. */
const refusedPart = ({ each, decision }: Verdict): number | null =>
  each === null ? null : each.findIndex(({ id }) => id === decision.id) + 1

/** Is the age of the facts all that stands against it? */
const outlived = ({ decision, facts }: Verdict): boolean =>
  decision.effect === 'deny' &&
  facts.entitlements.source !== 'claims' &&
  decision.reasons.every(({ code }) => code === 'entitlements_stale')

export const createPep = (deps: PepDeps) => {
  const { clock, evidence, via = 'proxy' } = deps
  const standing = createStanding(clock.now)
  const identified = (req: IncomingMessage, { rawHeaders, named }: Tagged) =>
    deps.identify(rawHeaders, named, deps.certificate(req))

  /** The way. Throws the Problem that becomes the answer. */
  const way: Way = async (call, req, res, dedicated) => {
    const matched = (call.route = matchRoute(call.snapshot.routes, req, dedicated)) // 400 404 409
    const tagged = await deps.tagged(req, matched) //                                  401
    const { bare, sealed } = cutQuery(call, tagged, deps.tags) //                      400
    call.route = bare
    const first = await identified(req, tagged) //                                     401, before other bodies are read
    let who = (call.who = first.who)
    deps.rate(who.person.tenant) //                                                    429
    who = call.who = standing.at(who, bare.connection.name) //                         403
    const slot = tagged.place === null && first.place === 'slot'
    const route = (call.route = sealedQuery(call, bare, who, sealed))
    const outer = (call.act = call.snapshot.classify(route)) //                        400
    using flight = deps.calls.enter(entry(call, who, route)) //                        429; flight.signal ends the call from outside
    const request = await flight.uncut(
      then(deps.agentOn(who.agent, who.person.tenant), () =>
        //                        403 503: in flight by now, so that whoever switches it off later cuts it
        understood(call, tagged, { req, route, outer, slot, said: bare.target }),
      ),
    ) // 400 413 415
    standing.covers(who, request.act) //                                               403
    let seen: Listed | null | undefined
    let late = 0
    for (let n = 1; ; n++) {
      // While it waited, the configuration may have changed, its run or its key have ended, the clock gone wrong.
      deps.stands(req, route, dedicated) //                                            404 409 503
      if (n > 1) {
        const { who: still } = await identified(req, tagged) //                        401 503
        who = call.who = stillTheSame(who, standing.at(still, route.connection.name)) // 403
        standing.covers(who, request.act) //                                           403
      }
      const facts = await flight.uncut(factsOf(who, request)) //                       503
      const verdict = await flight.uncut(decided(call, who, request, facts)) //        503
      if (deps.planned !== undefined)
        return deps.planned({ ...verdict, who, route, act: request.act })
      await recorded(call, who, request, { ...verdict, n }) //                         503: nothing leaves unrecorded, and no record is left alone
      const { decision, holding } = verdict
      if (decision.effect !== 'allow') {
        if (await flight.uncut(personSaidYes(call, who, request, { ...verdict, res }))) continue
        throw await refusals.of(who, { ...request, part: refusedPart(verdict) }, holding, decision) // 403, with the link where a person can help
      }
      obligations(decision) //                                                         403
      call.credential = await flight.uncut(credentialOf(who, request, holding)) //     403 502 503
      // Once: a list that takes long would be stale for ever.
      if (seen === undefined) seen = await flight.uncut(seenIn(call, who, request, verdict)) // lists of an MCP server show what may be called
      // A refresh may have taken long: nothing leaves on a decision older than a second.
      if (clock.mono() - decision.decidedAt > STALE_MS) {
        if (++late < MOST_LATE) continue
        throw tooSlow() //                                                             503
      }
      if (call.credential !== null) deps.used(who, route.connection.name)
      using life = lifeOf(flight.signal, request.act, who, clock.now())
      const { outcome, problem } = await deps.forward(job(call, request, life, seen), req, res)
      call.outcome = outcome
      if (problem !== null) throw problem //                                           502 504
      return
    }
  }

  const entry = (call: Call, who: Principal, { connection }: Route) => ({
    id: call.id,
    person: who.person,
    agent: who.agent,
    connection: connection.name,
    run: who.run,
    standing: who.standing ?? null,
  })

  /** What the provider put into the query of a URL that it gave this person passes, as it came. */
  const sealedQuery = (call: Call, route: Route, who: Principal, sealed: Sealed | null): Route => {
    if (sealed === null || !deps.querySeals.opens(sealed.seal, boundTo(who, route), sealed.target))
      return route
    call.stripped = sealed.stripped
    return { ...route, target: sealed.target }
  }

  /** The body and the headers, and by the body the calls inside the call; what was cut out is named. */
  const understood = (
    call: Call,
    tagged: Tagged,
    given: Pick<Request, 'req' | 'route' | 'said'> & {
      readonly outer: Act
      /** The tag stood in the one Authorization header. */
      readonly slot: boolean
    },
  ): Request | Promise<Request> => {
    const { req, route, said, outer, slot } = given
    return then(inspect(req, { route, act: outer }, deps.limits, tagged.read), (read) => {
      if (read.bytes !== null) deps.tags.body(read.bytes)
      const all = deps.sift(req.rawHeaders, route.connection.provider)
      const { sifted, session } =
        outer.kind === 'mcp'
          ? sessionIn(call, route, plainHeaders(all, read.message))
          : { sifted: all, session: null }
      const entered =
        outer.kind === 'mcp'
          ? spoken(outer, route, read.message, session)
          : opened(outer, route, read.inner)
      const { act, body } = unpack(entered, route, read, call.snapshot.classify)
      call.act = act
      name(call, cutHeaders(sifted, slot), withoutSlot(body, tagged), req)
      return { req, tagged, route, said, act, body, sifted }
    })
  }
  /** A session with an MCP server belongs to the person and agent that opened it. */
  const sessionIn = ({ who }: Call, route: Route, sifted: Sifted) =>
    inSession(sifted, (sealed) =>
      who === null ? null : deps.mcpSessions.open(boundTo(who, route), sealed),
    )

  /** A call that is several takes the strictest age of its parts. */
  const factsOf = (who: Principal, { act }: Request, fresh = false): Facts | Promise<Facts> => {
    const each = act.parts ?? (act.lists && [act, ...act.lists])
    return deps.entitlements(
      who,
      each?.map(({ operation }) => operation.access) ?? act.operation.access,
      fresh,
    )
  }

  const look = (who: Principal, route: Route): Holding | Promise<Holding> => {
    const holding = deps.vault.look(who.person, route.connection.name, who.agent)
    return holding instanceof Promise ? holding.catch(unreadable) : holding
  }

  const judged = (
    { id, stripped }: Call,
    principal: Principal,
    { route, act, body }: Request,
    facts: Facts,
  ): Verdict | Promise<Verdict> =>
    then(look(principal, route), (holding) => {
      const question = { id, via, principal, route, act, body, stripped, facts, holding }
      return then(standingStands(question), (refusal) =>
        refusal === null
          ? judgedAlone(question, act)
          : { facts, holding, decision: refusal, each: null },
      )
    })
  /** Does policy still let the person give the standing? At each call: it may have changed since they did. */
  const standingStands = (question: Question): Decision | null | Promise<Decision | null> =>
    question.principal.lets === undefined
      ? null
      : then(
          deps.decide(deps.policy(), {
            ...question,
            act: { operation: STANDING, kind: 'deputy', segments: NONE },
            body: null,
          }),
          withdrawn,
        )
  const judgedAlone = (question: Question, act: Act): Verdict | Promise<Verdict> => {
    const { facts, holding } = question
    if (act.parts === undefined)
      return then(deps.decide(deps.policy(), question), (decision) => ({
        facts,
        holding,
        decision,
        each: null,
      }))
    return decideEach(deps.decide, deps.policy(), question, act.parts).then((each) => ({
      facts,
      holding,
      decision: together(each, question.route.connection.provider),
      each,
    }))
  }
  /** On facts that are too old for it asks once more and decides again. */
  const decided = (
    call: Call,
    who: Principal,
    request: Request,
    facts: Facts,
  ): Verdict | Promise<Verdict> =>
    then(judged(call, who, request, facts), (verdict) =>
      outlived(verdict)
        ? then(factsOf(who, request, true), (newer) => judged(call, who, request, newer))
        : verdict,
    )

  /** The record before the act: one for the call, or one for each of its parts. */
  const recorded = async (
    call: Call,
    principal: Principal,
    { req, route, act, body }: Request,
    { facts, holding, decision, each, n }: Verdict & { readonly n: number },
  ): Promise<void> => {
    call.decision = decision
    call.open = false
    const { traceparent } = req.headers
    const about = {
      id: call.id,
      n,
      via,
      traceparent: typeof traceparent === 'string' ? traceparent : null,
      principal,
      route,
      body,
      stripped: call.stripped,
      facts,
      holding,
    }
    const record = (one: Act, said: Decision, part?: number): Decided => ({
      ...asPart(about, one, (part ?? 1) - 1),
      operation: one.operation,
      graphql: one.graphql,
      mcp: one.mcp,
      part,
      decision: said,
    })
    try {
      if (each === null) await evidence.decided(record(act, decision))
      else
        await Promise.all(
          each.map((said, i) => evidence.decided(record(act.parts?.[i] ?? act, said, i + 1))),
        )
      // A part that was allowed has its outcome, also where another kept the call from leaving.
      call.open = (each ?? [decision]).some(({ effect }) => effect === 'allow')
    } catch (cause) {
      const what = 'the record of the decision could not be written'
      if (deps.auditRequired) throw new Problem('audit_unavailable', what, { cause })
      deps.log.error({ err: cause }, 'an evidence record could not be written')
    }
  }

  /** Parks a call that only its person can help. true: they did, so everything is asked and decided anew. */
  const personSaidYes = async (
    call: Call,
    who: Principal,
    { req, route, act, body }: Request,
    { holding, decision, res }: Verdict & { readonly res: ServerResponse },
  ): Promise<boolean> => {
    if (decision.effect !== 'consent_required') return false
    // The client has shown its person the link, and asks how it went.
    const least = act.mcp?.answered === 'accept' ? SHOWN_MS : 0
    const left = deps.hold.budget(req, who, least) - (clock.mono() - call.began)
    if (left <= 0) return false
    const { authorizationId } = await refusals.begin(
      who,
      route.connection,
      decision.requiredScopes,
      { again: lapsed(holding), challenge: null, operation: operationOf(act) },
    )
    return deps.hold.wait(res, body, { agent: ofShare(who), ms: left }, (ms, signal) =>
      deps.ended(who, authorizationId, ms, signal),
    )
  }

  const credentialOf = (who: Principal, { act, route }: Request, holding: Holding) =>
    act.kind === 'asset'
      ? null
      : deps.credentials.take(holding, route.connection, route.host, ofShare(who))

  /** URLs that the client will follow without a key get what named its person, sealed for that address. */
  const signedOf = (call: Call, { act, tagged, route }: Request): Job['signed'] => {
    const pointers = act.operation.signed ?? NONE
    if (pointers.length === 0) return null
    const tag = deps.tag(tagged.rawHeaders, tagged.named)
    const seal = (host: string, target: string): string | null => {
      const methods = followedBy(call.snapshot.classify, route, host, target)
      return methods.length === 0 ? null : deps.addressTags.seal(tag, { host, target, methods })
    }
    return { pointers, seal }
  }
  /** What credentials in the query of a URL need that this provider wrote for a host of its own. */
  const sealedOf = (call: Call, { route, body, sifted, said }: Request): Job['seal'] => {
    const { who } = call
    // What an upload said is not known any more.
    if (who === null || call.credential === null || (body.state !== 'none' && body.bytes === null))
      return null
    const { provider } = route.connection
    const all = (): readonly string[] => [
      targetText(said),
      ...sifted.kept,
      body.bytes?.toString('latin1') ?? '',
    ]
    return (host, target) =>
      host === route.host || provider.hosts.has(host)
        ? deps.querySeals.seal(boundTo(who, { ...route, host }), target, provider, all)
        : null
  }
  /** The places of URLs in this operation's answers. */
  const pointersOf = ({ act, route }: Request): readonly string[] => {
    const everywhere = route.connection.provider.rewrite
    if (act.kind === 'asset') return NONE
    return act.operation.rewrite.length === 0
      ? everywhere
      : [...everywhere, ...act.operation.rewrite]
  }
  /** What may be called of all that the answer may list: each is decided, as a call without arguments. */
  const seenIn = (
    { id, stripped }: Call,
    principal: Principal,
    { route, act }: Request,
    { facts, holding }: Verdict,
  ): Listed | null | Promise<Listed | null> => {
    const { lists } = act
    if (lists === undefined) return null
    const about = { id, via, principal, route, body: null, stripped, facts, holding, listing: true }
    const allowed = async (): Promise<Listed> => {
      const keys = new Set<string>()
      for (const [i, one] of lists.entries()) {
        // Calls in flight are not to wait for all of it.
        if (i % AT_ONCE === AT_ONCE - 1) await yielded()
        const { effect } = await deps.supposing(deps.policy(), { ...about, act: one })
        if (effect !== 'deny' && effect !== 'error') keys.add(one.mcp?.key ?? '')
      }
      return listed(keys, route.connection.provider)
    }
    return allowed()
  }
  /** How the answers of an MCP server are read. */
  const rpcOf = ({ who }: Call, { act, route }: Request, seen: Listed | null): Rpc | null =>
    act.kind !== 'mcp' || who === null
      ? null
      : {
          id: act.mcp?.id ?? null,
          listed: seen,
          session: (id) =>
            deps.mcpSessions.seal(boundTo(who, route), { id, url: act.mcp?.url === true }),
        }
  const job = (call: Call, request: Request, { signal }: Life, seen: Listed | null): Job => {
    const { route, body, sifted } = request
    const agent = call.who === null ? '' : ofShare(call.who)
    return {
      route,
      body,
      injected: call.credential,
      pointers: pointersOf(request),
      signed: signedOf(call, request),
      seal: sealedOf(call, request),
      rpc: rpcOf(call, request, seen),
      sifted,
      again: (used, said) => deps.credentials.again(used, route.connection, said, agent),
      served: call.snapshot.served,
      signal,
    }
  }

  const refusals = createRefusals({ link: deps.link, look })
  return createExchange(deps, way, refusals.told)
}
