// The policy enforcement point: the request's way through the house, top to bottom.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import type { CallRegistry } from './calls.ts'
import type { Dedicated } from '../net/admit.ts'
import { asksForWebSocket, withHandshake } from '../net/websocket.ts'
import { createApproval, type ApprovalDeps, type Asked } from './approval.ts'
import {
  createExchange,
  type Call,
  type Seen,
  type Snapshot,
  type Traces,
  type Way,
} from './exchange.ts'
import { follow } from '../follow.ts'
import type {
  ClientCertificate,
  Clock,
  Decision,
  Holding,
  Log,
  Principal,
  Route,
} from '../model.ts'
import { Problem } from '../problem.ts'
import { createRefusals, operationOf, type Begin } from './refusal.ts'
import { opened, type Act } from './classify.ts'
import { lapsed } from './credential.ts'
import { asPart } from './decide.ts'
import type { Evidence } from '../audit/records.ts'
import type { Forward, Job } from './forward.ts'
import { asksToWait, type Hold } from './hold.ts'
import type { Identify } from './identify.ts'
import { inspect, type Body } from './inspect.ts'
import { createJobs, type JobDeps } from './job.ts'
import { createJudge, type JudgeDeps } from './judge.ts'
import type { Hooks } from './obligation/hooks.ts'
import type { Obligations, Obliged, Redaction } from './obligations.ts'
import { createRecorded, type RecordDeps } from './record.ts'
import { boundTo, ofShare, type Request, type Verdict } from './request.ts'
import { redacting } from './obligation/redaction.ts'
import { createStanding, stillTheSame } from './standing.ts'
import { lifeOf } from './stream_life.ts'
import { inSession, plainHeaders, spoken } from './mcp.ts'
import { matchRoute } from './route.ts'
import type { TenantRate } from './tenant_rate.ts'
import type { Tagged } from './tag_place.ts'
import { namedTrailers, uncoded, type Sifted } from '../wire/headers.ts'
import { inPart } from '../envelope/inner.ts'
import type { Listed } from '../envelope/listed.ts'
import { unsealed } from '../wire/query_seal.ts'
import { stripQuery } from '../wire/strip.ts'
import type { TagSearch } from '../wire/stray_tag.ts'
import { unpack } from './unpack.ts'

/** `via`: the door whose calls these are. */
export type PepDeps = JudgeDeps &
  RecordDeps &
  JobDeps &
  ApprovalDeps & {
    /**
     * Of calls that do not leave: learns what was decided. true: nothing follows from it; false: it is refused as a call
     * would be, or waits for its person and is decided anew. Throws the Problem that becomes the answer.
     */
    readonly planned?: (plan: Planned) => boolean
    readonly snapshot: () => Snapshot
    /** After a wait: throws the Problem of a call whose route the configuration has not any more, or has otherwise. */
    readonly stands: (req: IncomingMessage, route: Route, dedicated: Dedicated | null) => void
    readonly tagged: (req: IncomingMessage, route: Route) => Tagged | Promise<Tagged>
    readonly identify: Identify['identify']
    /** What the client showed of itself; null: nothing. */
    readonly certificate: (req: IncomingMessage) => ClientCertificate | null
    readonly tags: TagSearch
    /** Throws the Problem of an agent that is switched off. */
    readonly agentOn: (agent: string, tenant: string) => void | Promise<void>
    /** Carries out what was demanded with an allow; throws the Problem of a call that may not leave. */
    readonly obligations: Pick<Obligations, 'carry'>
    /** Those in force; null: none is configured. */
    readonly hooks: () => Hooks | null
    readonly forward: Forward
    /** A grant, and the standing of somebody who is away, are being used; costs the call nothing. */
    readonly used: (who: Principal, connection: string) => void
    readonly evidence: Evidence
    readonly calls: CallRegistry
    readonly rate: TenantRate
    readonly link: Begin
    /** Waits for a consent, an approval or a sign-in to end; true: completed. */
    readonly ended: (
      who: Principal,
      authorizationId: string,
      ms: number,
      signal: AbortSignal,
    ) => Promise<boolean>
    readonly hold: Hold
    readonly limits: { readonly requestBody: number; readonly inspectedBody: number }
    readonly sift: (
      rawHeaders: readonly string[],
      provider: Route['connection']['provider'],
    ) => Sifted
    readonly typeBase: string
    readonly clock: Clock
    readonly log: Log
    readonly observe: (call: Seen) => void
    readonly traces?: Traces
  }

/** What was decided of a call that does not leave. */
export type Planned = Pick<Verdict, 'decision' | 'each' | 'holding'> & {
  readonly who: Principal
  readonly route: Route
  readonly act: Act
}

/** Hooks that were asked about a call, and what they want to have taken out of it. */
type AskedHooks = { readonly hooks: Hooks; readonly redactions: readonly Redaction[] }

const NONE: readonly string[] = []
const STALE_MS = 1_000
/** How often a provider's "too many" is waited for, and how long where it names no time (doubled each time), and at least. */
const [MOST_LIMITED, UNSAID_MS, LEAST_MS] = [5, 1_000, 100]
/** So often a decision may have become too old before its call could leave. */
const MOST_LATE = 3
const tooSlow = (): Problem =>
  new Problem(
    'policy_unavailable',
    'deciding took too long: each decision was old before all was decided',
  )
/** What a person can still do while the call waits. */
const WAITED: ReadonlySet<Decision['effect']> = new Set([
  'consent_required',
  'approval_required',
  'step_up_required',
])
/** Clients of MCP give up after 60 s. */
const SHOWN_MS = 45_000

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

/** What a WebSocket needs; a handshake where the catalogue knows none is refused, and so is a call that should be one. */
const handshake = (sifted: Sifted, req: IncomingMessage, { operation }: Act): Sifted => {
  const protocols = operation.websocket ?? null
  const asks = asksForWebSocket(req)
  if (protocols === null && !asks) return sifted
  if (protocols !== null && asks) return withHandshake(sifted, req, protocols)
  throw new Problem(
    'request_invalid',
    asks
      ? 'no operation of this provider is a WebSocket there'
      : `${operation.id} is a WebSocket: it begins with a handshake of HTTP/1.1 (RFC 6455 4.1)`,
  )
}

/** The tag stood in the form, in the field of the SDK's key: that one was no credential. */
const withoutSlot = (body: Body, { place }: Tagged): Body =>
  place === 'form'
    ? { ...body, stripped: body.stripped.filter((one) => one !== 'body:token') }
    : body

/** Which part of a call that is several was refused hardest, from 1; null: the call is one. */
const refusedPart = ({ each, decision }: Verdict): number | null =>
  each === null ? null : each.findIndex(({ id }) => id === decision.id) + 1

/** What was demanded, of the call or of each of its parts. */
const obliged = (
  call: Call,
  who: Principal,
  { route, act, body }: Request,
  { each, decision, backOff }: Verdict & Pick<Obliged, 'backOff'>,
): readonly (readonly [Obliged, Decision])[] => {
  const all = { within: act, whole: body, stripped: NONE }
  const about = { call, backOff, exchange: call.id, who, route, act, body, part: null, ...all }
  return each === null
    ? [[about, decision]]
    : each.map((said, i) => {
        const one = act.parts?.[i] ?? act
        return [{ ...asPart(about, one, i), act: one, part: i + 1 }, said]
      })
}

export const createPep = (deps: PepDeps) => {
  const { clock } = deps
  const { look, factsOf, decided } = createJudge(deps)
  const approval = createApproval(deps, { decided, factsOf })
  const recorded = createRecorded(deps)
  const { seenIn, job } = createJobs(deps)
  const standing = createStanding(clock.now)
  const identified = (req: IncomingMessage, { rawHeaders, named }: Tagged) =>
    deps.identify(rawHeaders, named, deps.certificate(req))

  /** The way. Throws the Problem that becomes the answer. */
  const way: Way = async (call, req, res, dedicated) => {
    const matched = (call.route = matchRoute(call.snapshot.routes, req, dedicated)) // 400 404 409
    const tagged = await deps.tagged(req, matched) //                                  401
    call.timeline?.at('deputy.routed')
    const { bare, sealed } = cutQuery(call, tagged, deps.tags) //                      400
    call.route = bare
    const first = await identified(req, tagged) //                                     401, before other bodies are read
    let who = (call.who = first.who)
    deps.rate(who.person.tenant) //                                                    429
    who = call.who = standing.at(who, bare.connection.name) //                         403
    const slot = tagged.place === null && first.place === 'slot'
    const route = (call.route = sealedQuery(call, bare, who, sealed))
    const outer = (call.act = call.snapshot.classify(route)) //                        400
    call.timeline?.at('deputy.identified')
    using flight = deps.calls.enter(entry(call, who, route)) //                        429; flight.signal ends the call from outside
    const read = () => understood(call, tagged, { req, route, outer, slot, said: bare.target })
    // It is in flight by now, so that whoever switches its agent off later cuts it.
    let request = await flight.uncut(follow(deps.agentOn(who.agent, who.person.tenant), read)) // 403 503, 400 413 415
    standing.covers(who, request.act) //                                               403
    let seen: Listed | null | undefined
    let asked = null as AskedHooks | null
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
      const verdict = await flight.uncut(approval.decided(call, who, request, facts)) //        413 503
      request = verdict.request
      if (deps.planned?.({ ...verdict, who, route, act: request.act })) return
      await recorded(call, who, request, { ...verdict, n }) //                         503: nothing leaves unrecorded, and no record is left alone
      const { decision, holding } = verdict
      if (decision.effect !== 'allow') {
        asked = null // A person may take long: what hooks said before that is old.
        if (await flight.uncut(personSaidYes(call, who, request, { ...verdict, res }))) continue
        const refused = await approval.refused(who, request, verdict) //                  403 429, with the link for whoever approves or signs in
        if (refused !== null) throw refused
        throw await refusals.of(who, { ...request, part: refusedPart(verdict) }, holding, decision) // 403, with the link where a person can help
      }
      const backOff = backOffOf(call, who, request, res)
      const each = obliged(call, who, request, { ...verdict, backOff })
      const hooked = { each, question: verdict.question, said: call.hooked }
      const hooks = deps.hooks()
      // Once by the same hooks: what takes long there would be asked for ever.
      if (hooks !== null && asked?.hooks !== hooks)
        asked = { hooks, redactions: await flight.uncut(hooks.before(hooked)) } //     403 503
      const owed = await flight.uncut(deps.obligations.carry(each)) //                 403 429 503
      call.credential = await flight.uncut(credentialOf(who, request, holding)) //     403 502 503
      if (call.credential !== null) call.timeline?.at('deputy.credential')
      // Once: a list that takes long would be stale for ever.
      if (seen === undefined) seen = await flight.uncut(seenIn(call, who, request, verdict)) // lists of an MCP server show what may be called
      const redactions = [...(asked?.redactions ?? []), ...owed]
      const { request: sent, taken, guard } = redacting(request, redactions, hooks?.after(hooked)) // 403
      approval.unchanged(verdict, taken) //                                            403
      // Another call took the same yes, or it has ended meanwhile.
      if (!(await flight.uncut(approval.spent(call, verdict)))) continue
      // A refresh may have taken long: nothing leaves on a decision older than a second.
      if (clock.mono() - decision.decidedAt > STALE_MS) {
        if (++late < MOST_LATE) continue
        throw tooSlow() //                                                             503
      }
      if (call.credential !== null) deps.used(who, route.connection.name)
      call.taken = taken
      using life = lifeOf(flight.signal, request.act, who, clock.now())
      const later = laterOf(call, verdict, backOff)
      const toSend = job(call, sent, life, { seen, guard, later })
      const { outcome, problem, again } = await deps.forward(toSend, req, res)
      call.outcome = outcome
      if (again) continue // the provider had no room, and did nothing
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
    return follow(inspect(req, { route, act: outer }, deps.limits, tagged.read), (read) => {
      if (read.bytes !== null) deps.tags.body(read.bytes)
      // A batch in JSON holds some bodies in base64, where no tag is seen from outside.
      read.calls?.forEach(({ body: inner }, i) => {
        if (inner.kind === 'bytes') inPart(i + 1, () => deps.tags.body(inner.bytes))
      })
      const came = deps.sift(req.rawHeaders, route.connection.provider)
      const all = read.unzipped === true ? uncoded(came) : came
      const { sifted, session } =
        outer.kind === 'mcp'
          ? sessionIn(call, route, plainHeaders(all, read.message))
          : outsideOf(handshake(all, req, outer))
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
  const outsideOf = (sifted: Sifted) => ({ sifted, session: null })

  /** Parks a call until a limit has room for it, where the call asks for that. */
  const backOffOf =
    (call: Call, who: Principal, { req, body }: Request, res: ServerResponse): Obliged['backOff'] =>
    async (ms) =>
      asksToWait(req) &&
      ms <= deps.hold.budget(req, who) - (clock.mono() - call.began) &&
      deps.hold.wait(res, body, { agent: ofShare(who), ms }, (_, signal) =>
        pause(ms, true, { signal }).catch(() => false),
      )

  /** Parks it until its provider has room again; never where a yes is spent with it, which is good for one call. */
  const laterOf = (call: Call, { lifted }: Asked, backOff: Obliged['backOff']): Job['later'] =>
    lifted?.spends != null || call.limited >= MOST_LIMITED
      ? null
      : async (said) => {
          const ms = said === 'unsaid' ? UNSAID_MS * 2 ** call.limited : Math.max(said, LEAST_MS)
          const until = clock.mono() + ms
          // A reload wakes all that waits, and none of these may go to the provider before its time.
          for (let left = ms; left > 0; left = until - clock.mono())
            if (!(await backOff(left))) return false
          call.limited++
          return true
        }

  /** Parks a call that only its person can help. true: they did, so everything is asked and decided anew. */
  const personSaidYes = async (
    call: Call,
    who: Principal,
    request: Request,
    verdict: Verdict & { readonly res: ServerResponse },
  ): Promise<boolean> => {
    const { effect } = verdict.decision
    if (!WAITED.has(effect)) return false
    const { req, act, body } = request
    // The client has shown its person the link, and asks how it went.
    const least = act.mcp?.answered === 'accept' ? SHOWN_MS : 0
    const left = deps.hold.budget(req, who, least) - (clock.mono() - call.began)
    if (left <= 0) return false
    const authorizationId =
      effect === 'consent_required'
        ? await consentFor(who, request, verdict)
        : await approval.begin(who, request, verdict)
    if (authorizationId === null) return false
    const { res } = verdict
    return deps.hold.wait(res, body, { agent: ofShare(who), ms: left }, (ms, signal) =>
      deps.ended(who, authorizationId, ms, signal),
    )
  }

  const consentFor = async (
    who: Principal,
    { route, act }: Request,
    { holding, decision }: Verdict,
  ): Promise<string> => {
    const how = { again: lapsed(holding), challenge: null, operation: operationOf(act) }
    return (await refusals.begin(who, route.connection, decision.requiredScopes, how))
      .authorizationId
  }

  const credentialOf = (who: Principal, { act, route }: Request, holding: Holding) =>
    act.kind === 'asset'
      ? null
      : deps.credentials.take(holding, route.connection, route.host, ofShare(who))

  const refusals = createRefusals({ link: deps.link, look })
  return createExchange(deps, way, refusals.told)
}
