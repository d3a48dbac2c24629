// Plans: each call goes the way of all calls as far as the decision, as its planner, in memory.
import type { RequestListener } from 'node:http'
import type { Judged, Need, Planner, PlanDeps } from '../../api/plan.ts'
import type { Principal, Via } from '../../model.ts'
import { innerExchange, type InnerRequest } from '../../net/inner.ts'
import { lapsed } from '../../pipeline/credential.ts'
import { declinedBy } from '../../pipeline/refusal.ts'
import { beyondRun } from '../../pipeline/decide.ts'
import type { Obligations } from '../../pipeline/obligations.ts'
import type { Planned } from '../../pipeline/pep.ts'
import { Problem } from '../../problem.ts'
import { samePerson } from '../../wire/canonical.ts'
import { askingOf } from './asking.ts'
import type { Consent } from '../consent.ts'
import type { Core } from '../core.ts'
import type { Pipeline } from '../pipeline.ts'
import type { Configured } from '../scope.ts'
import type { Tools } from '../../tools/doors.ts'
import { hostsOf, passed } from './tools.ts'
import { whenAsked } from '../web.ts'

/** Of an answer of deputy's own. */
const ANSWER_BYTES = 65_536
/** Of the connection that the plan itself came by, or made of the body. */
const OF_THE_WIRE: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'expect',
  'keep-alive',
  'prefer',
  'te',
  'trailer',
  'upgrade',
  'user-agent',
])

const documentOf = (body: Buffer): Readonly<Record<string, unknown>> => {
  try {
    return JSON.parse(body.toString('utf8')) as Record<string, unknown>
  } catch {
    return {}
  }
}
const refused = (status: number, body: Buffer): Judged => {
  const { code, detail, reasons } = documentOf(body)
  return {
    kind: 'refused',
    effect: status >= 500 ? 'error' : 'deny',
    reasons: Array.isArray(reasons)
      ? reasons.map(String)
      : [typeof code === 'string' ? code : 'internal'],
    detail: typeof detail === 'string' ? detail : 'The call could not be judged.',
  }
}

/** What policy said; an allow with a demand that nobody can carry out is none. */
const decided = (
  { decision, each, holding, route, act }: Planned,
  { able }: Pick<Obligations, 'able'>,
): Judged => {
  const { connection } = route
  const operations = [...new Set((act.parts ?? [act]).map(({ operation }) => operation.id))]
  try {
    if (decision.effect === 'allow') able(decision)
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return { kind: 'refused', effect: 'deny', reasons: [error.code], detail: error.message }
  }
  return { kind: 'decided', decision, each, holding, connection, operations }
}

/** Where a request to the provider's own address goes at the agents' door. */
const pathOf = (url: string, connection: string | null): string => {
  const [, host = '', rest = ''] = /^https?:\/\/([^/?]+)(.*)$/s.exec(url) ?? []
  const target = rest.startsWith('/') ? rest : `/${rest}`
  return `/${connection === null ? '' : `${connection}@`}${host}${target}`
}

const bodyOf = (body: unknown): { readonly bytes: Buffer | null; readonly json: boolean } =>
  body === undefined || body === null
    ? { bytes: null, json: false }
    : typeof body === 'string'
      ? { bytes: Buffer.from(body), json: false }
      : { bytes: Buffer.from(JSON.stringify(body)), json: true }

const judgeOf = (scope: Configured, core: Core, { planning, obligations }: Pipeline) => {
  const { identity } = scope.config
  const own = new Set([identity.header.toLowerCase(), identity.agent_header.toLowerCase()])
  const hostOf = hostsOf(core)
  const run = async (
    { req: outer, who, named }: Planner,
    via: Via,
    asked: InnerRequest,
  ): Promise<Judged> => {
    const headers = passed(outer.rawHeaders, own, false)
    if (named !== null) headers.push(identity.header, Buffer.from(named).toString('latin1'))
    const heard: Planned[] = []
    const { req, res, answer, leave } = innerExchange(
      { ...asked, headers: [...headers, ...asked.headers] },
      outer.socket,
      ANSWER_BYTES,
    )
    await planning(via, (plan) => void heard.push(plan))(req, res, core.newId(), null)
    leave()
    const [plan] = heard
    const { status, body } = await answer
    if (plan === undefined) return refused(status, body)
    // A tag among the headers of the planned call is no way to ask about somebody else.
    return samePerson(plan.who.person, who.person) && plan.who.agent === who.agent
      ? decided(plan, obligations)
      : {
          kind: 'refused',
          effect: 'deny',
          reasons: ['unauthenticated'],
          detail: 'The call is for somebody else than the plan.',
        }
  }
  const judge: PlanDeps['judge'] = async (planner, via, connection, request) => {
    const { connections } = core
    const at = connections().get(connection ?? '')
    const host = request.host ?? (at === undefined ? '' : await hostOf(planner.who, at))
    return run(planner, via, {
      method: request.method,
      url: `/${connection ?? ''}@${host}${request.target}`,
      headers: ['accept', 'application/json, */*;q=0.5', ...request.headers],
      body: request.body,
    })
  }
  const judgeUrl: PlanDeps['judgeUrl'] = async (planner, connection, request) => {
    const { bytes, json } = bodyOf(request.body)
    const outer = new Set(
      passed(planner.req.rawHeaders, own, false).map((one) => one.toLowerCase()),
    )
    const headers: string[] = []
    for (const [name, value] of Object.entries(request.headers)) {
      const low = name.toLowerCase()
      if (own.has(low) || low.startsWith('deputy-') || low.startsWith('proxy-'))
        return {
          kind: 'refused',
          effect: 'deny',
          reasons: ['request_invalid'],
          detail: `The header ${name} of a planned call is deputy’s own: the plan itself says who asks.`,
        }
      // Where the plan's own key stands in this header, the call's would stand in its place.
      if (!OF_THE_WIRE.has(low) && !(low === 'authorization' && outer.has(low)))
        headers.push(name, value)
    }
    const typed = headers.some((one, i) => i % 2 === 0 && one.toLowerCase() === 'content-type')
    if (json && !typed) headers.push('content-type', 'application/json')
    return run(planner, 'proxy', {
      method: request.method,
      url: pathOf(request.url, connection),
      headers,
      body: bytes,
    })
  }
  return { judge, judgeUrl }
}

const asker = ({ person, agent }: Principal, { connection }: Need) => ({
  person,
  agent,
  connection: connection.name,
})

/** `/v1/plan` on the agents' listeners. */
export const planApi = (
  scope: Configured,
  core: Core,
  { flows, session }: Consent,
  { pipeline, tools }: { readonly pipeline: Pipeline; readonly tools: Tools },
): RequestListener => {
  const deps: PlanDeps = {
    ...askingOf(scope, core, pipeline.identify),
    ...judgeOf(scope, core, pipeline),
    catalogue: tools.catalogue,
    visible: tools.visible,
    lapsed,
    beyond: ({ reach }, { connection, scopes }) => {
      const beyond = beyondRun(reach, connection, scopes)
      return beyond.length === 0
        ? null
        : `The run was not minted for operations that need ${beyond.join(', ')}.`
    },
    ask: (who, need) =>
      flows.ask(asker(who, need), need.scopes, {
        reauthorization: need.again,
        operation: need.operation,
      }),
    declined: (link, { connection, again }) => declinedBy(link, connection, again),
    together: ({ person, agent }, parts) =>
      flows.together(
        { person, agent },
        parts.map(({ authorizationId }) => authorizationId),
      ),
    planned: ({ person, verified, agent }, { connection, operations, effect, reasons }) =>
      core.evidence.event('plan.decided', {
        user: { ...person, verified },
        agent: { id: agent },
        ...(connection === undefined ? {} : { connection }),
        ...(operations === undefined ? {} : { operations }),
        decision: { effect, reasons },
      }),
    publicUrl: session.publicUrl,
    newId: core.newId,
    log: scope.log,
  }
  return whenAsked(scope.log, async () => (await import('../../api/plan.ts')).createPlanApi(deps))
}
