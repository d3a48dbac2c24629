// The policy enforcement point: the request's way through the house, top to bottom.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { CallRegistry } from './calls.ts'
import type {
  Challenge,
  Clock,
  Decision,
  Holding,
  Log,
  PolicyEngine,
  Principal,
  Route,
  Vault,
} from './model.ts'
import { createExchange, type Call, type Dedicated, type Seen, type Snapshot } from './exchange.ts'
import { Problem, toProblem, type ProblemCode } from './problem.ts'
import { followedBy, opened, type Act } from './way/classify.ts'
import { asking, challengeOf, declinedBy, lapsed, type Credentials } from './way/credential.ts'
import {
  beyondRun,
  CONSENT,
  decideEach,
  together,
  toldReasons,
  usable,
  type Decide,
} from './way/decide.ts'
import { freshest, type Facts } from './way/entitlements.ts'
import type { Evidence } from './way/evidence.ts'
import type { Forward, Job } from './way/forward.ts'
import type { Hold } from './way/hold.ts'
import type { Identify } from './way/identify.ts'
import { inspect, type Body } from './way/inspect.ts'
import { obligations } from './way/obligations.ts'
import { matchRoute } from './way/route.ts'
import type { Declined } from './oauth/flow.ts'
import type { Tagged } from './way/tags.ts'
import type { AddressTags } from './wire/address_tag.ts'
import { targetText } from './wire/canonical.ts'
import { namedTrailers, type Sifted } from './wire/headers.ts'
import { unsealed, type Bound, type QuerySeals } from './wire/query_seal.ts'
import { stripQuery } from './wire/strip.ts'
import type { TagSearch } from './wire/tags.ts'

type Link = {
  readonly authorizationId: string
  readonly url: string
  readonly scopes: readonly string[]
  readonly expiresAt: number
  readonly declined?: undefined
  /** Why the last try there could not succeed; null: nothing is in its way. */
  readonly after?: string | null
}

export type PepDeps = {
  readonly snapshot: () => Snapshot
  readonly policy: () => PolicyEngine | null
  readonly tagged: (req: IncomingMessage, route: Route) => Tagged | Promise<Tagged>
  readonly identify: Identify['identify']
  readonly tags: TagSearch
  readonly tag: Identify['tag']
  readonly addressTags: AddressTags
  readonly querySeals: QuerySeals
  readonly entitlements: (
    principal: Principal,
    access: Act['operation']['access'],
  ) => Facts | Promise<Facts>
  readonly vault: Pick<Vault, 'look'>
  readonly decide: Decide
  readonly credentials: Credentials
  readonly forward: Forward
  /** A grant is being used; costs the call nothing. */
  readonly used: (person: Principal['person'], agent: string, connection: string) => void
  readonly evidence: Evidence
  readonly calls: CallRegistry
  /** Begins, or joins, the consent that the person must give. */
  readonly link: (
    principal: Principal,
    connection: Route['connection'],
    scopes: readonly string[],
    again: boolean,
    challenge?: Challenge | null,
  ) => Promise<Link | Declined>
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
  /** Lower case. */
  readonly tagHeader: string
  readonly sift: (
    rawHeaders: readonly string[],
    provider: Route['connection']['provider'],
  ) => Sifted
  readonly typeBase: string
  readonly clock: Clock
  readonly log: Log
  readonly observe: (call: Seen) => void
}

const unreadable = (cause: unknown): never => {
  throw new Problem('vault_unavailable', 'the vault cannot be read', { cause })
}

const NONE: readonly string[] = []
const STALE_MS = 1_000
const RENEWABLE: ReadonlySet<ProblemCode> = new Set([
  'reauthorization_required',
  'consent_required',
  'step_up_required',
])
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
): { readonly route: Route; readonly sealed: Sealed | null } => {
  const untagged = tags.target(route.target)
  // A download gets no credential of ours, and its address is signed by the provider, not by the agent.
  // An address that deputy sealed is the provider's to the letter.
  const provided = route.asset || place === 'address'
  const bare = provided ? { target: untagged.target, seal: null } : unsealed(untagged.target)
  const cut = provided ? null : stripQuery(bare.target, route.connection.provider)
  const { target } = cut ?? bare
  if (target === route.target) return { route, sealed: null }
  const { stripped } = untagged
  call.stripped = [...stripped, ...(cut?.stripped ?? NONE)]
  const sealed = bare.seal === null ? null : { seal: bare.seal, target: bare.target, stripped }
  return { route: { ...route, target }, sealed }
}

/** What leaves of a call: its body, its headers, and its target without what the provider had put there. */
type Sent = { readonly body: Body; readonly sifted: Sifted; readonly said: Route['target'] }

const boundTo = ({ person }: Principal, { connection, host }: Route): Bound => ({
  person,
  connection: connection.name,
  host,
})

/** The places of URLs in this operation's answers. */
const rewritten = (
  operation: Act['operation'],
  everywhere: readonly string[],
): readonly string[] =>
  operation.rewrite.length === 0 ? everywhere : [...everywhere, ...operation.rewrite]

const cutHeaders = ({ stripped }: Sifted, slot: boolean): readonly string[] =>
  slot ? stripped.filter((header) => header !== 'header:authorization') : stripped
/** Names what was cut out, for policy and evidence. What follows a body that was read is known by now. */
const name = (
  call: Call,
  cut: readonly string[],
  body: Body,
  trailers: readonly string[],
): void => {
  const headers =
    body.bytes === null || trailers.length === 0 ? cut : [...cut, ...namedTrailers(trailers)]
  if (call.stripped.length === 0 && body.stripped.length === 0) call.stripped = headers
  else call.stripped = [...headers, ...call.stripped, ...body.stripped]
}

/** The tag stood where the SDK puts its key: that one Authorization header was no credential. */
const tagInSlot = (
  req: IncomingMessage,
  tagHeader: string,
  who: Principal,
  { named, place }: Tagged,
): boolean =>
  // Under `plain` a call that names its person nowhere else named them there.
  place === null &&
  (who.verified || named === null) &&
  req.headers[tagHeader] === undefined &&
  req.headersDistinct['authorization']?.length === 1

/** The tag stood in the form, in the field of the SDK's key: that one was no credential. */
const withoutSlot = (body: Body, { place }: Tagged): Body =>
  place === 'form'
    ? { ...body, stripped: body.stripped.filter((one) => one !== 'body:token') }
    : body

export const createPep = (deps: PepDeps) => {
  const { clock, evidence } = deps

  /** The way. Throws the Problem that becomes the answer. */
  const way = async (
    call: Call,
    req: IncomingMessage,
    res: ServerResponse,
    dedicated: Dedicated | null,
  ): Promise<void> => {
    const matched = (call.route = matchRoute(call.snapshot.routes, req, dedicated)) //      400 404 409
    const tagged = await deps.tagged(req, matched) //                                       401
    const cutRoute = cutQuery(call, tagged, deps.tags) //                                   400
    const asSent = (call.route = cutRoute.route)
    let who = (call.who = await deps.identify(tagged.rawHeaders, tagged.named)) //          401, before other bodies are read
    const route = (call.route = sealedQuery(call, asSent, who, cutRoute.sealed))
    const outer = (call.act = call.snapshot.classify(route)) //                             400
    // Revoked before anything was sent: whatever is waited for then, the agent hears why.
    const cut = Promise.withResolvers<never>()
    cut.promise.catch(() => {}) // heard by whoever waits, if anybody does
    const uncut = <T>(work: T | Promise<T>): T | Promise<T> =>
      work instanceof Promise ? Promise.race([cut.promise, work]) : work
    let abort: (reason: Problem) => void = cut.reject
    const leave = deps.calls.enter({
      id: call.id,
      person: who.person,
      agent: who.agent,
      connection: route.connection.name,
      run: who.run,
      abort: (reason) => abort(reason),
    }) // 429
    try {
      const body = await uncut(inspect(req, route, outer, deps.limits, tagged.read)) //     400 413 415
      if (body.bytes !== null) deps.tags.body(body.bytes) //                                400
      const act = (call.act = opened(outer, route, body.inner)) //                          400
      const sifted = deps.sift(req.rawHeaders, route.connection.provider)
      const slot = tagInSlot(req, deps.tagHeader, who, tagged)
      name(call, cutHeaders(sifted, slot), withoutSlot(body, tagged), req.rawTrailers)
      for (let n = 1; ; n++) {
        // While it waited, its run or its key may have ended, or the clock gone wrong.
        if (n > 1) who = call.who = await deps.identify(tagged.rawHeaders, tagged.named) // 401 503
        const { holding, decision } = await uncut(decided(call, req, who, route, act, body, n)) // 503
        if (decision.effect !== 'allow') {
          if (await uncut(answered(call, req, res, body, holding, decision))) continue //      held until the person answered
          throw await refusal(who, route, holding, decision) //                             403, with the link
        }
        obligations(decision) //                                                            403
        call.credential =
          act.kind === 'asset'
            ? null
            : await uncut(deps.credentials.take(holding, route.connection, route.host, who.agent)) // 403 502 503
        // A refresh may have taken long: nothing leaves on a decision older than a second.
        if (clock.mono() - decision.decidedAt <= STALE_MS) break
      }
      if (call.credential !== null) deps.used(who.person, who.agent, route.connection.name)
      call.outcome = await deps.forward(
        job(call, tagged, { body, sifted, said: asSent.target }, (stop) => {
          abort = stop
          cut.promise.catch(stop) // revoked between the last wait and here
        }),
        req,
        res,
      ) // 502 504
    } finally {
      leave()
    }
  }

  /** What the provider put into the query of a URL that it gave this person passes, as it came. */
  const sealedQuery = (call: Call, route: Route, who: Principal, sealed: Sealed | null): Route => {
    if (sealed === null || !deps.querySeals.opens(sealed.seal, boundTo(who, route), sealed.target))
      return route
    call.stripped = sealed.stripped
    return { ...route, target: sealed.target }
  }

  /** Facts, decision and its record; on stale facts asks once more and decides again. */
  const decided = async (
    call: Call,
    req: IncomingMessage,
    who: Principal,
    route: Route,
    act: Act,
    body: Body,
    n: number,
  ): Promise<{ holding: Holding; decision: Decision }> => {
    for (let again = false; ; again = true) {
      const facts = await (act.parts
        ? freshest(deps.entitlements, who, act.parts)
        : deps.entitlements(who, act.operation.access))
      const holding = await held(who, route)
      const { stripped } = call
      const question = { id: call.id, principal: who, route, act, body, stripped, facts, holding }
      const each = act.parts && (await decideEach(deps.decide, deps.policy(), question, act.parts))
      const decision = each ? together(each) : await deps.decide(deps.policy(), question)
      if (
        !again &&
        decision.effect === 'deny' &&
        facts.entitlements.source !== 'claims' &&
        decision.reasons.every(({ code }) => code === 'entitlements_stale')
      )
        continue
      call.decision = decision
      call.open = false
      const { traceparent } = req.headers
      const record = (about: Act, said: Decision, part?: number): Promise<void> =>
        evidence.decided({
          id: call.id,
          n,
          traceparent: typeof traceparent === 'string' ? traceparent : null,
          principal: who,
          route,
          operation: about.operation,
          graphql: about.graphql,
          part,
          body,
          stripped,
          facts,
          holding,
          decision: said,
        })
      const written = each
        ? Promise.all(each.map((said, i) => record(act.parts?.[i] ?? act, said, i + 1)))
        : record(act, decision)
      // A part that was allowed has its outcome, also where another kept the call from leaving.
      const allowed = each?.some(({ effect }) => effect === 'allow') ?? decision.effect === 'allow'
      try {
        await written
        call.open = allowed
      } catch (error) {
        unrecorded(error)
      }
      return { holding, decision }
    }
  }

  /** Begins a consent; for a run never one for more than its operations need. */
  const begin: PepDeps['link'] = (who, connection, scopes, ...more) => {
    const beyond = beyondRun(who.reach, connection, scopes)
    if (beyond.length === 0) return deps.link(who, connection, scopes, ...more)
    throw new Problem(
      'policy_denied',
      `The run was not minted for operations that need ${beyond.join(', ')}.`,
      { extra: { reasons: ['run_scope'] } },
    )
  }

  /** Parks a call that only its person can help. true: they did, so everything is asked and decided anew. */
  const answered = async (
    call: Call,
    req: IncomingMessage,
    res: ServerResponse,
    body: Body,
    holding: Holding,
    { effect, requiredScopes }: Decision,
  ): Promise<boolean> => {
    const { who, route } = call
    if (effect !== 'consent_required' || who === null || route === null) return false
    const left = deps.hold.budget(req, who.expiresAt) - (clock.mono() - call.began)
    if (left <= 0) return false
    const again = lapsed(holding)
    const { authorizationId } = await begin(who, route.connection, requiredScopes, again)
    return deps.hold.wait(res, body, { agent: who.agent, ms: left }, (ms, signal) =>
      deps.ended(who, authorizationId, ms, signal),
    )
  }

  const held = (who: Principal, route: Route): Holding | Promise<Holding> => {
    const holding = deps.vault.look(who.person, route.connection.name, who.agent)
    return holding instanceof Promise ? holding.catch(unreadable) : holding
  }

  const unrecorded = (error: unknown): void => {
    if (deps.auditRequired)
      throw new Problem('audit_unavailable', 'the record of the decision could not be written', {
        cause: error,
      })
    deps.log.error({ err: error }, 'an evidence record could not be written')
  }

  /** What the agent should hear where policy does not allow. */
  const refusal = async (
    who: Principal,
    route: Route,
    holding: Holding,
    decision: Decision,
  ): Promise<Problem> => {
    if (decision.effect === 'consent_required')
      return consent(who, route, holding, decision.requiredScopes)
    if (decision.effect === 'error') {
      const codes = decision.reasons.map(({ code }) => code)
      return new Problem('policy_unavailable', `no policy could decide (${codes.join(', ')})`, {
        extra: { decision_id: decision.id },
        cause: decision.reasons,
      })
    }
    // What the person could lift by consenting is beside the point where policy refuses anyway.
    const against = decision.reasons.filter(({ code }) => !CONSENT.has(code))
    return new Problem(
      'policy_denied',
      `The security policy does not allow this call: ${toldReasons(against)}.`,
      { extra: { reasons: against.map(({ code }) => code), decision_id: decision.id } },
    )
  }

  /** The refusal that a person can lift: a link, and a sentence to show them. */
  const consent = async (
    who: Principal,
    route: Route,
    holding: Holding,
    scopes: readonly string[],
    challenge: Challenge | null = null,
  ): Promise<Problem> => {
    const { connection } = route
    const held = usable(holding, connection.provider)
    const missing = scopes.filter((scope) => !held.includes(scope))
    const again = lapsed(holding) || challenge !== null
    const link = await begin(who, connection, scopes, again, challenge)
    if (link.declined) return declinedBy(link, connection, lapsed(holding))
    const { code, detail, extra } = asking(holding, connection.provider.name, missing, {
      url: link.url,
      after: link.after ?? null,
      challenge,
    })
    return new Problem(code, detail, {
      extra: {
        authorization_id: link.authorizationId,
        url: link.url,
        scopes: link.scopes,
        expires_at: new Date(link.expiresAt).toISOString(),
        connection: connection.name,
        ...extra,
      },
    })
  }

  /** URLs that the client will follow without a key get what named its person, sealed for that address. */
  const signedOf = (call: Call, route: Route, { rawHeaders, named }: Tagged): Job['signed'] => {
    const pointers = call.act?.operation.signed ?? NONE
    if (pointers.length === 0) return null
    const tag = deps.tag(rawHeaders, named)
    const seal = (host: string, target: string): string | null => {
      const methods = followedBy(call.snapshot.classify, route, host, target)
      return methods.length === 0 ? null : deps.addressTags.seal(tag, { host, target, methods })
    }
    return { pointers, seal }
  }

  /** What credentials in the query of a URL need that this provider wrote for a host of its own. */
  const sealedOf = (call: Call, route: Route, { body, sifted, said }: Sent): Job['seal'] => {
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

  const job = (call: Call, tagged: Tagged, sent: Sent, onAbort: Job['onAbort']): Job => {
    const route = call.route ?? tagged.route
    const { connection } = route
    return {
      route,
      body: sent.body,
      injected: call.credential,
      pointers:
        call.act !== null && call.act.kind !== 'asset'
          ? rewritten(call.act.operation, connection.provider.rewrite)
          : NONE,
      signed: signedOf(call, route, tagged),
      seal: sealedOf(call, route, sent),
      sifted: sent.sifted,
      again: (used, said) => deps.credentials.again(used, connection, said, call.who?.agent ?? ''),
      served: call.snapshot.served,
      onAbort,
    }
  }

  /** A grant that died on the way: the person can renew it, so the answer carries the link. */
  const told = (call: Call, problem: Problem): Problem | Promise<Problem> => {
    const { who, route } = call
    if (
      who === null ||
      route === null ||
      !RENEWABLE.has(problem.code) ||
      problem.extra['authorization_id'] !== undefined
    )
      return problem
    const renewed = async (): Promise<Problem> => {
      const more = problem.extra['scopes']
      const required = call.decision?.requiredScopes ?? []
      const scopes = Array.isArray(more) ? [...new Set([...required, ...more])] : required
      return consent(who, route, await held(who, route), scopes, challengeOf(problem))
    }
    return renewed().catch(toProblem)
  }

  return createExchange(deps, way, told)
}
