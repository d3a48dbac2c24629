// What the agent hears where policy does not allow: why not, or the link by which its person can help.
import type { Challenge, Connection, Decision, Holding, Principal, Route } from '../model.ts'
import type { Call } from './exchange.ts'
import type { Declined } from '../consent/declined.ts'
import { Problem, toldReasons, toProblem, type ProblemCode, type ProblemExtra } from '../problem.ts'
import type { Act } from './classify.ts'
import { lapsed } from './credential.ts'
import { beyondRun, CONSENT, usable } from './decide.ts'

export type Link = {
  readonly authorizationId: string
  readonly url: string
  readonly scopes: readonly string[]
  readonly expiresAt: number
  readonly declined?: undefined
  /** Why the last try there could not succeed; null: nothing is in its way. */
  readonly after?: string | null
}

/** Begins, or joins, the consent that the person must give. */
export type Begin = (
  principal: Principal,
  connection: Route['connection'],
  scopes: readonly string[],
  how: {
    readonly again: boolean
    readonly challenge: Challenge | null
    /** Id of what the agent wanted to do. */
    readonly operation: string | null
  },
) => Promise<Link | Declined>

const RENEWABLE: ReadonlySet<ProblemCode> = new Set([
  'reauthorization_required',
  'consent_required',
  'step_up_required',
])

/** What the agent wanted to do; of several things in one call the first. */
export const operationOf = (act: Act): string => (act.parts?.[0] ?? act).operation.id

/** What an operator can do about a call that no catalogue names. */
const ownOperation = (connection: string): string =>
  `No operation of the catalogue is this call; an operator can name it in one line under connections.${connection}.operations.`

/** What a provider demanded of the next sign-in, as the problem carries it; null: nothing. */
export const challengeOf = ({ code, extra }: Problem): Challenge | null => {
  const asked = ['acr_values', 'max_age', 'claims'].flatMap((name) =>
    typeof extra[name] === 'string' ? [[name, extra[name]]] : [],
  )
  return code === 'step_up_required' || asked.length > 0 ? Object.fromEntries(asked) : null
}

/** What the person, or somebody before them, has to do so that there is a token: one sentence to show, with the link. */
export const asking = (
  holding: Holding,
  name: string,
  missing: readonly string[],
  link: {
    readonly url: string
    /** How the last try of this person ended, where another one would end so too. */
    readonly after: string | null
    readonly challenge: Challenge | null
  },
): {
  readonly code: 'consent_required' | 'reauthorization_required' | 'step_up_required'
  readonly detail: string
  readonly extra: ProblemExtra
} => {
  const held = holding.kind === 'held' ? holding : null
  const lost = lapsed(holding)
  const stronger = link.challenge !== null || held?.needs === 'sign_in'
  const admin = link.after === 'admin_required' || held?.needs === 'admin'
  const account = `your ${name} account`
  const todo = stronger
    ? `sign in to ${account} again, the way ${name} asks for`
    : held === null
      ? `connect ${account}`
      : lost
        ? `reconnect ${account}`
        : held.granted === null
          ? `allow this agent to use ${account}`
          : `allow one thing more (${missing.join(', ')}) on ${account}`
  const first = admin
    ? `ask an administrator of your organisation at ${name} to approve this application; then `
    : ''
  const refused =
    link.after === 'client_refused'
      ? ` (${name} did not accept this application the last time: tell your administrator.)`
      : ''
  const { claims: _ours, ...told } = link.challenge ?? {}
  return {
    code: lost
      ? 'reauthorization_required'
      : link.challenge === null
        ? 'consent_required'
        : 'step_up_required',
    detail: `To go on, ${first}${todo}: ${link.url}${refused}`,
    extra: {
      ...told,
      ...(admin ? { needs: 'provider_admin' } : stronger ? { needs: 'provider_sign_in' } : {}),
    },
  }
}

const stamp = (ms: number): string => new Date(ms).toISOString()

/** The person said no moments ago: said instead of a link, so that no program asks them again and again. */
export const declinedBy = (
  { authorizationId, scopes, declined: { at, until } }: Declined,
  { name, provider }: Connection,
  lost: boolean,
): Problem =>
  new Problem(
    lost ? 'reauthorization_required' : 'consent_required',
    `You declined this for your ${provider.name} account at ${stamp(at)}, so you are not asked again before ${stamp(until)}. If you have changed your mind, tell the agent to ask for a new link (POST /v1/auth/authorize).`,
    {
      extra: {
        authorization_id: authorizationId,
        scopes,
        connection: name,
        declined_at: stamp(at),
        ask_after: stamp(until),
      },
    },
  )

export type Refusals = {
  readonly begin: Begin
  /** What the agent should hear of this decision. */
  readonly of: (
    who: Principal,
    request: {
      readonly route: Route
      readonly act: Act
      /** Of a call that is several the part that was refused, from 1. */
      readonly part?: number | null
    },
    holding: Holding,
    decision: Decision,
  ) => Promise<Problem>
  /** The same problem, with the link where a grant died on the way that its person can renew. Does not reject. */
  readonly told: (call: Call, problem: Problem) => Problem | Promise<Problem>
}

/** @param deps.look what the person holds at this connection now */
export const createRefusals = (deps: {
  readonly link: Begin
  readonly look: (who: Principal, route: Route) => Holding | Promise<Holding>
}): Refusals => {
  /** For a run never a consent for more than its operations need. */
  const begin: Begin = (who, connection, scopes, how) => {
    const beyond = beyondRun(who.reach, connection, scopes)
    if (beyond.length === 0) return deps.link(who, connection, scopes, how)
    throw new Problem(
      'policy_denied',
      `The run was not minted for operations that need ${beyond.join(', ')}.`,
      { extra: { reasons: ['run_scope'] } },
    )
  }

  /** The refusal that a person can lift: a link, and a sentence to show them. */
  const consent = async (
    who: Principal,
    { connection }: Route,
    holding: Holding,
    wanted: {
      readonly scopes: readonly string[]
      readonly challenge: Challenge | null
      readonly operation: string | null
    },
  ): Promise<Problem> => {
    const { scopes, challenge, operation } = wanted
    const granted = usable(holding, connection.provider)
    const missing = scopes.filter((scope) => !granted.includes(scope))
    const again = lapsed(holding) || challenge !== null
    const link = await begin(who, connection, scopes, { again, challenge, operation })
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

  const renewed = async (who: Principal, route: Route, call: Call, problem: Problem) => {
    const more = problem.extra['scopes']
    const required = call.decision?.requiredScopes ?? []
    return consent(who, route, await deps.look(who, route), {
      scopes: Array.isArray(more) ? [...new Set([...required, ...more])] : required,
      challenge: challengeOf(problem),
      operation: call.act && operationOf(call.act),
    })
  }

  return {
    begin,
    async of(who, { route, act, part }, holding, decision) {
      const { effect, requiredScopes: scopes, reasons, id } = decision
      if (effect === 'consent_required')
        return consent(who, route, holding, {
          scopes,
          challenge: null,
          operation: operationOf(act),
        })
      if (effect === 'error')
        return new Problem(
          'policy_unavailable',
          `no policy could decide (${reasons.map(({ code }) => code).join(', ')})`,
          { extra: { decision_id: id }, cause: reasons },
        )
      // What the person could lift by consenting is beside the point where policy refuses anyway.
      const against = reasons.filter(({ code }) => !CONSENT.has(code))
      const one = act.parts?.[(part ?? 0) - 1]
      const what =
        one === undefined
          ? 'this call'
          : `part ${part} of ${act.parts?.length} of this call, ${one.operation.id}, so that nothing of it was sent`
      const own =
        (one?.operation.id ?? operationOf(act)) === 'unknown'
          ? ` ${ownOperation(route.connection.name)}`
          : ''
      return new Problem(
        'policy_denied',
        `The security policy does not allow ${what}: ${toldReasons(against)}.${own}`,
        {
          extra: {
            reasons: against.map(({ code }) => code),
            decision_id: id,
            ...(one === undefined ? {} : { part }),
          },
        },
      )
    },
    told(call, problem) {
      const { who, route } = call
      // What policy itself refused has its own link, or none: a consent would not lift it.
      const linked = 'authorization_id' in problem.extra || 'decision_id' in problem.extra
      if (who === null || route === null || linked || !RENEWABLE.has(problem.code)) return problem
      return renewed(who, route, call, problem).catch(toProblem)
    },
  }
}
