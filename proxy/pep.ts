// The policy enforcement point: the request's way through the house, top to bottom.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { CallRegistry } from './calls.ts'
import type {
  Challenge,
  Clock,
  Decision,
  Holding,
  Injected,
  Log,
  PolicyEngine,
  Principal,
  Route,
  Vault,
} from './model.ts'
import { Problem, problemAnswer, toProblem, type ProblemCode } from './problem.ts'
import { opened, type Act, type Classify } from './way/classify.ts'
import { asking, challengeOf, lapsed, type Credentials } from './way/credential.ts'
import { CONSENT, decideEach, together, toldReasons, usable, type Decide } from './way/decide.ts'
import { freshest, type Facts } from './way/entitlements.ts'
import type { Evidence } from './way/evidence.ts'
import type { Forward, Outcome } from './way/forward.ts'
import { asksToWait, type Hold } from './way/hold.ts'
import type { Identify } from './way/identify.ts'
import { inspect, type Body } from './way/inspect.ts'
import { obligations } from './way/obligations.ts'
import { matchRoute, type RouteTable } from './way/route.ts'
import { canonicalHeaders } from './wire/canonical.ts'
import { inShape } from './wire/error_shape.ts'
import type { Sifted } from './wire/headers.ts'
import { stripQuery } from './wire/strip.ts'

/** Everything that one call decides by, swapped whole at a reload; a call keeps the one it began with. */
export type Snapshot = {
  readonly routes: RouteTable
  readonly classify: Classify
  readonly served: (host: string) => boolean | string
}

export type Dedicated = { readonly upstream: string; readonly user: string | null }
type Link = {
  readonly authorizationId: string
  readonly url: string
  readonly scopes: readonly string[]
  readonly expiresAt: number
  /** Why the last try there could not succeed; null: nothing is in its way. */
  readonly after?: string | null
}

export type PepDeps = {
  readonly snapshot: () => Snapshot
  readonly policy: () => PolicyEngine | null
  readonly identify: Identify['identify']
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
  ) => Promise<Link>
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

/** What metrics and the log learn of a call. */
export type Seen = {
  readonly id: string
  readonly method: string
  readonly provider: string | null
  readonly operation: string | null
  readonly effect: Decision['effect'] | null
  readonly reason: string | null
  readonly code: ProblemCode | null
  readonly status: number
  readonly durationMs: number
}

/** The one mutable record of a call: each station's value, once it has one. */
type Call = {
  readonly id: string
  readonly snapshot: Snapshot
  readonly began: number
  route: Route | null
  who: Principal | null
  act: Act | null
  stripped: readonly string[]
  decision: Decision | null
  /** An allow stands in the evidence and has no outcome yet. */
  open: boolean
  credential: Injected | null
  outcome: Outcome | null
}

const unreadable = (cause: unknown): never => {
  throw new Problem('vault_unavailable', 'the vault cannot be read', { cause })
}

const NOTHING_SENT: Outcome = {
  result: 'internal',
  sent: false,
  status: null,
  bytesIn: 0,
  bytesOut: 0,
  credential: null,
  masked: 0,
  unrewritten: false,
}
const STALE_MS = 1_000
const RENEWABLE: ReadonlySet<ProblemCode> = new Set([
  'reauthorization_required',
  'consent_required',
  'step_up_required',
])
/** What is stripped from the query is gone before anybody looks: policy sees what is sent. */
const cutQuery = (call: Call, route: Route): Route => {
  const { target, stripped } = stripQuery(route.target, route.connection.provider)
  call.stripped = stripped
  return stripped.length === 0 ? route : { ...route, target }
}

const NONE: readonly string[] = []
/** The places of URLs in this operation's answers. */
const rewritten = (
  operation: Act['operation'],
  everywhere: readonly string[],
): readonly string[] =>
  operation.rewrite.length === 0 ? everywhere : [...everywhere, ...operation.rewrite]

/** Names what was cut out, for policy and evidence. */
const name = (call: Call, sifted: Sifted, body: Body, tagged: boolean): void => {
  const headers = tagged
    ? sifted.stripped.filter((header) => header !== 'header:authorization')
    : sifted.stripped
  if (call.stripped.length === 0 && body.stripped.length === 0) call.stripped = headers
  else call.stripped = [...headers, ...call.stripped, ...body.stripped]
}

/** The tag stood where the SDK puts its key: that one Authorization header was no credential. */
const tagInSlot = (
  req: IncomingMessage,
  tagHeader: string,
  who: Principal,
  route: Route,
): boolean =>
  // Under `plain` a call that names its person nowhere else named them there.
  (who.verified || route.named === null) &&
  req.headers[tagHeader] === undefined &&
  req.headersDistinct['authorization']?.length === 1

export const createPep = (deps: PepDeps) => {
  const { clock, evidence } = deps
  const checkHeaders = canonicalHeaders(deps.tagHeader)

  /** The way. Throws the Problem that becomes the answer. */
  const way = async (
    call: Call,
    req: IncomingMessage,
    res: ServerResponse,
    dedicated: Dedicated | null,
  ): Promise<void> => {
    checkHeaders(req.rawHeaders) //                                                         400
    const route = (call.route = cutQuery(call, matchRoute(call.snapshot.routes, req, dedicated))) // 400 404 409
    let who = (call.who = await deps.identify(req.rawHeaders, route.named)) //            401, before any body is read
    const outer = (call.act = call.snapshot.classify(route)) //                             400
    let abort = (reason: Problem): void => void res.destroy(reason)
    const leave = deps.calls.enter({
      id: call.id,
      person: who.person,
      agent: who.agent,
      connection: route.connection.name,
      run: who.run,
      abort: (reason) => abort(reason),
    }) // 429
    try {
      const body = await inspect(req, route, outer, deps.limits) //                         400 413 415
      const act = (call.act = opened(outer, route, body.inner)) //                          400
      const sifted = deps.sift(req.rawHeaders, route.connection.provider)
      name(call, sifted, body, tagInSlot(req, deps.tagHeader, who, route))
      for (let n = 1; ; n++) {
        // While it waited, its run or its key may have ended, or the clock gone wrong.
        if (n > 1) who = call.who = await deps.identify(req.rawHeaders, route.named) //    401 503
        const { holding, decision } = await decided(call, req, who, route, act, body, n) //      503
        if (decision.effect !== 'allow') {
          if (await answered(call, req, res, body, holding, decision)) continue //             held until the person answered
          throw await refusal(who, route, holding, decision) //                             403, with the link
        }
        obligations(decision) //                                                            403
        call.credential =
          act.kind === 'asset'
            ? null
            : await deps.credentials.take(holding, route.connection, route.host) // 403 502 503
        // A refresh may have taken long: nothing leaves on a decision older than a second.
        if (clock.mono() - decision.decidedAt <= STALE_MS) break
      }
      if (call.credential !== null) deps.used(who.person, who.agent, route.connection.name)
      call.outcome = await deps.forward(
        job(call, route, body, sifted, (stop) => (abort = stop)),
        req,
        res,
      ) // 502 504
    } finally {
      leave()
    }
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
    const { authorizationId } = await deps.link(who, route.connection, requiredScopes, again)
    return deps.hold.wait(res, body, left, (ms, signal) =>
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
    const missing = scopes.filter((scope) => !usable(holding).includes(scope))
    const again = lapsed(holding) || challenge !== null
    const link = await deps.link(who, connection, scopes, again, challenge)
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

  const job = (
    call: Call,
    route: Route,
    body: Body,
    sifted: Sifted,
    onAbort: (stop: (reason: Problem) => void) => void,
  ) => ({
    route,
    body,
    injected: call.credential,
    pointers:
      call.act !== null && call.act.kind !== 'asset'
        ? rewritten(call.act.operation, route.connection.provider.rewrite)
        : NONE,
    sifted,
    again: (used: Injected) => deps.credentials.again(used, route.connection),
    served: call.snapshot.served,
    onAbort,
  })

  const answer = async (call: Call, res: ServerResponse, thrown: unknown): Promise<Problem> => {
    let problem = toProblem(thrown)
    const { who, route } = call
    // A grant that died on the way: the person can renew it, so the answer carries the link.
    if (
      RENEWABLE.has(problem.code) &&
      problem.extra['url'] === undefined &&
      who !== null &&
      route !== null
    )
      problem = await Promise.resolve(held(who, route))
        .then((holding) => {
          const scopes = call.decision?.requiredScopes ?? []
          return consent(who, route, holding, scopes, challengeOf(problem))
        })
        .catch(toProblem)
    if (problem.code === 'internal' || problem.cause !== undefined)
      deps.log.warn({ err: problem.cause, exchange: call.id, code: problem.code }, problem.message)
    if (!res.headersSent && !res.destroyed) {
      const errors = route?.connection.provider.errors ?? null
      const { status, headers, body } = problemAnswer(problem, call.id, deps.typeBase, {
        agent: res.req.headers['user-agent'],
        waits: asksToWait(res.req),
        shape: errors === null ? undefined : (document) => inShape(errors, document),
      })
      // What was not read of the body must not be taken for the next request.
      res
        .writeHead(status, res.req.complete ? headers : { ...headers, connection: 'close' })
        .end(body)
    }
    return problem
  }

  return async (
    req: IncomingMessage,
    res: ServerResponse,
    id: string,
    dedicated: Dedicated | null,
  ): Promise<void> => {
    const call: Call = {
      id,
      snapshot: deps.snapshot(),
      began: clock.mono(),
      route: null,
      who: null,
      act: null,
      stripped: [],
      decision: null,
      open: false,
      credential: null,
      outcome: null,
    }
    let problem: Problem | null = null
    try {
      await way(call, req, res, dedicated)
    } catch (thrown) {
      problem = await answer(call, res, thrown)
      if (thrown instanceof Error && 'outcome' in thrown) call.outcome = thrown.outcome as Outcome
    }
    const durationMs = clock.mono() - call.began
    if (call.open) {
      const { outcome } = call
      evidence.finished({
        id,
        connection: call.route?.connection.name ?? '',
        durationMs,
        outcome: outcome ?? { ...NOTHING_SENT, result: problem?.code ?? 'internal' },
      })
    } else if (call.decision === null && problem !== null)
      evidence.refused(id, problem.code, call.who?.person ?? null)
    deps.observe({
      id,
      method: req.method ?? '',
      provider: call.route?.connection.provider.id ?? null,
      operation: call.act?.operation.id ?? null,
      effect: call.decision?.effect ?? null,
      reason: call.decision?.reasons[0]?.code ?? null,
      code: problem?.code ?? null,
      status: res.statusCode,
      durationMs,
    })
  }
}
