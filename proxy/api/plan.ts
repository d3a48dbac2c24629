// Plan before act: what policy says of calls that are not made yet, and one link for all that their person must still
// consent to. Each is decided anew when it comes.
import { setImmediate as others } from 'node:timers/promises'
import type { IncomingMessage } from 'node:http'
import type { Hono } from 'hono'
import type { Connection, Decision, Holding, Principal, Via } from '../model.ts'
import type { Begun } from '../consent/flow.ts'
import type { Declined } from '../consent/declined.ts'
import { Problem, sentence } from '../problem.ts'
import type { Catalogue, Offer } from '../tools/catalogue.ts'
import { foreseen, type Foreseen } from '../tools/planned.ts'
import type { Request } from '../tools/request.ts'
import type { Visible } from '../tools/visible.ts'
import { demandsOf, together as allOf, type PlanDemand } from './plan_demands.ts'
import { createCaller, mine, type CallerDeps } from './caller.ts'
import { against, planBody, type PlanCall, type PlanEffect } from './plan_schema.ts'
import { createRest, readBody, type Env, type RestDeps } from './rest.ts'

/** Who plans, as they asked. */
export type Planner = {
  readonly req: IncomingMessage
  readonly who: Principal
  /** The person, where no header but the body named them; null: the headers did. */
  readonly named: string | null
}
/** One request as the proxy door would judge it. */
export type Judged =
  | {
      readonly kind: 'decided'
      readonly decision: Decision
      /** Of a call that is several; null: it is one. */
      readonly each: readonly Decision[] | null
      readonly holding: Holding
      readonly connection: Connection
      readonly operations: readonly string[]
    }
  /** Before policy, or because it could not be asked. */
  | {
      readonly kind: 'refused'
      readonly effect: 'deny' | 'error'
      readonly reasons: readonly string[]
      readonly detail: string
    }
export type Need = {
  readonly connection: Connection
  readonly scopes: readonly string[]
  /** Id of what the agent wants to do first. */
  readonly operation: string | null
  readonly again: boolean
}
export type PlanDeps = RestDeps &
  CallerDeps & {
    readonly catalogue: () => Promise<Catalogue>
    readonly visible: Visible
    readonly judge: (
      planner: Planner,
      via: Via,
      connection: string | null,
      request: Request,
    ) => Promise<Judged>
    /** The same for a request to an address of the provider. @throws Problem request_invalid */
    readonly judgeUrl: (
      planner: Planner,
      connection: string | null,
      request: NonNullable<PlanCall['request']>,
    ) => Promise<Judged>
    /** Is a consent for these beyond what its caller may ask for? Then why. */
    readonly beyond: (who: Principal, need: Need) => string | null
    readonly lapsed: (holding: Holding) => boolean
    readonly ask: (who: Principal, need: Need) => Promise<Begun | Declined>
    readonly declined: (link: Declined, need: Need) => Problem
    readonly together: (who: Principal, parts: readonly Begun[]) => Promise<Begun>
    readonly planned: (who: Principal, call: Verdict) => Promise<void>
  }

/** What is answered of one call. */
export type Verdict = {
  readonly id: string
  readonly effect: PlanEffect
  readonly reasons: readonly string[]
  readonly scopes: readonly string[]
  readonly detail?: string
  readonly connection?: string
  readonly operations?: readonly string[]
  readonly demands?: readonly PlanDemand[]
}
type Weighed = Verdict & { readonly need: Need | null }

/** Arguments and bodies hold whole documents. */
const BODY_BYTES = 2 * 1024 ** 2
const PERHAPS = 'What an earlier step answers says what this step will be: it is decided then.'

/** What a problem of one call means for the plan. */
const refusedBy = (error: unknown): Judged => {
  if (!(error instanceof Problem)) throw error
  const { reasons } = error.extra
  const codes = Array.isArray(reasons) ? reasons.map(String) : [error.code]
  return { kind: 'refused', effect: 'deny', reasons: codes, detail: error.message }
}

const union = (...lists: readonly (readonly string[])[]): readonly string[] => [
  ...new Set(lists.flat()),
]

/** The parts of one call, together: what stands most against it counts. */
const worst = (id: string, parts: readonly Weighed[]): Weighed => {
  const sorted = parts.toSorted((a, b) => against(b.effect) - against(a.effect))
  const [first] = sorted
  if (first === undefined) return { id, effect: 'allow', reasons: [], scopes: [], need: null }
  const asks = first.effect === 'consent_required'
  const refused = first.effect === 'deny' || first.effect === 'error'
  const demands = refused ? [] : allOf(parts.map(({ demands: some = [] }) => some))
  const needs = parts.flatMap(({ need }) => need ?? [])
  const [need] = needs
  return {
    ...first,
    id,
    reasons: union(
      ...parts.filter(({ effect }) => effect === first.effect).map((one) => one.reasons),
    ),
    operations: union(...parts.map(({ operations = [] }) => operations)),
    ...(demands.length === 0 ? {} : { demands }),
    scopes: asks ? union(...needs.map(({ scopes }) => scopes)) : first.scopes,
    need:
      asks && need !== undefined
        ? {
            ...need,
            scopes: union(...needs.map(({ scopes }) => scopes)),
            again: needs.some(({ again }) => again),
          }
        : null,
  }
}

/** What all calls need of one connection. */
const byConnection = (calls: readonly Weighed[]): readonly Need[] => {
  const needs = new Map<string, Need>()
  for (const { need } of calls) {
    if (need === null) continue
    const before = needs.get(need.connection.name)
    needs.set(need.connection.name, {
      ...need,
      operation: before?.operation ?? need.operation,
      scopes: union(before?.scopes ?? [], need.scopes),
      again: need.again || before?.again === true,
    })
  }
  return [...needs.values()]
}

const said = (
  id: string,
  judged: Judged,
  deps: Pick<PlanDeps, 'lapsed' | 'beyond'>,
  who: Principal,
): Weighed => {
  if (judged.kind === 'refused') {
    const { effect, reasons, detail } = judged
    return { id, effect, reasons, detail: sentence(detail), scopes: [], need: null }
  }
  const { decision, each, holding, connection, operations } = judged
  const demands = demandsOf(each ?? [decision])
  const { effect, requiredScopes: scopes } = decision
  const told = decision.reasons.map(({ msg }) => msg).filter((msg) => msg !== '')
  const weighed: Weighed = {
    id,
    effect,
    reasons: decision.reasons.map(({ code }) => code),
    ...(told.length === 0 ? {} : { detail: sentence(told.join('; ')) }),
    scopes: effect === 'consent_required' ? scopes : [],
    connection: connection.name,
    operations,
    need: null,
  }
  const open = demands.length === 0 ? weighed : { ...weighed, demands }
  if (effect !== 'consent_required') return open
  const need = { connection, scopes, operation: operations[0] ?? null, again: deps.lapsed(holding) }
  const why = deps.beyond(who, need)
  return why === null
    ? { ...open, need }
    : { ...weighed, effect: 'deny', reasons: ['run_scope'], detail: why, scopes: [] }
}

/** Mounted under the agent listener: `/v1/plan`. */
export const createPlanApi = (deps: PlanDeps): Hono<Env> => {
  const { route, close } = createRest(deps, BODY_BYTES)
  const callerOf = createCaller(deps)

  /** A step that an earlier answer makes: as far as policy says without arguments. */
  const perhaps = async (
    { who }: Planner,
    id: string,
    { tool, connection }: Offer,
    { step }: Foreseen,
  ): Promise<Weighed> => {
    const [seen] = await deps.visible(who, [{ tool: { ...tool, steps: [step] }, connection }])
    const { id: operation } = step.operation
    const about = { id, connection: connection.name, operations: [operation] }
    if (seen === undefined || seen.may === 'no')
      return {
        ...about,
        effect: 'deny',
        reasons: ['not_allowed'],
        detail: `The security policy does not allow ${operation}, which this tool needs.`,
        scopes: [],
        need: null,
      }
    const open: Weighed = {
      ...about,
      effect: 'undetermined',
      reasons: ['depends_on_answer'],
      detail: PERHAPS,
      scopes: [],
      need: null,
    }
    if (seen.consent === null) return open
    const { consent: scopes } = seen
    const need = { connection, scopes, operation, again: false }
    if (deps.beyond(who, need) !== null) return open
    return { ...open, effect: 'consent_required', reasons: ['scope_missing'], scopes, need }
  }
  const ofTool = async (planner: Planner, call: PlanCall, name: string): Promise<Weighed> => {
    const { id, connection: wanted, input } = call
    let offer: Offer
    let steps: readonly Foreseen[]
    try {
      offer = await (await deps.catalogue()).find(name, wanted)
      steps = foreseen(offer.tool, input ?? {})
    } catch (error) {
      return said(id, refusedBy(error), deps, planner.who)
    }
    const parts: Weighed[] = []
    for (const one of steps) {
      const part =
        one.request === null
          ? await perhaps(planner, id, offer, one)
          : said(
              id,
              await deps.judge(planner, 'tool', offer.connection.name, one.request),
              deps,
              planner.who,
            )
      parts.push(part)
    }
    return worst(id, parts)
  }
  const weigh = async (planner: Planner, call: PlanCall): Promise<Weighed> => {
    const { id, request, tool = '', connection = null } = call
    if (request === undefined) return ofTool(planner, call, tool)
    const judged = await deps.judgeUrl(planner, connection, request)
    return said(id, judged, deps, planner.who)
  }

  /** The links that are needed, and which connections have none because their person said no. */
  const links = async (who: Principal, needs: readonly Need[]) => {
    const begun: { readonly need: Need; readonly link: Begun }[] = []
    const refused = new Map<string, Problem>()
    for (const need of needs) {
      const link = await deps.ask(who, need)
      if (link.declined) refused.set(need.connection.name, deps.declined(link, need))
      else begun.push({ need, link })
    }
    return { begun, refused }
  }
  const linkOf = async (
    who: Principal,
    begun: readonly { readonly need: Need; readonly link: Begun }[],
  ): Promise<object> => {
    const parts = begun.map(({ link }) => link)
    const [only] = parts
    if (only === undefined) return {}
    const whole = parts.length === 1 ? only : await deps.together(who, parts)
    return {
      authorization_id: whole.authorizationId,
      url: whole.url,
      expires_at: new Date(Math.min(...parts.map(({ expiresAt }) => expiresAt))).toISOString(),
      authorizations: begun.map(({ need, link }) => ({
        id: link.authorizationId,
        connection: need.connection.name,
        provider_id: need.connection.provider.id,
        scopes: link.scopes,
      })),
    }
  }

  route('POST', '/v1/plan', async (c) => {
    const { who, named } = await callerOf(c, async () => {
      const { user_id: id } = await readBody(c, planBody)
      return id === undefined ? null : { id }
    })
    const body = await readBody(c, planBody)
    mine(body.user_id, who)
    const req = c.env?.incoming
    if (req === undefined) throw new Problem('internal', 'a plan is asked for over HTTP only')
    const weighed: Weighed[] = []
    for (const call of body.calls) {
      weighed.push(await weigh({ req, who, named }, call))
      await others() // whoever plans much does not stop those who call
    }
    const { begun, refused } = await links(who, byConnection(weighed))
    const calls = weighed.map(({ need, ...call }): Verdict => {
      const no = need === null ? undefined : refused.get(need.connection.name)
      return no === undefined
        ? call
        : { ...call, reasons: [...call.reasons, 'declined'], detail: sentence(no.message) }
    })
    for (const call of calls) await deps.planned(who, call)
    return c.json({ calls, ...(await linkOf(who, begun)) })
  })
  return close()
}
