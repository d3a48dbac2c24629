// The record before the act.
import type { Decided, Evidence } from '../audit/records.ts'
import type { Decision, Log, Principal, Via } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Act } from './classify.ts'
import { asPart } from './decide.ts'
import type { Call } from './exchange.ts'
import type { Request, Verdict } from './request.ts'

export type RecordDeps = {
  readonly via: Via
  readonly evidence: Pick<Evidence, 'decided'>
  readonly auditRequired: boolean
  readonly log: Log
}

export const createRecorded = (deps: RecordDeps) => {
  const { evidence, via } = deps
  /** The record before the act: one for the call, or one for each of its parts. */
  return async (
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
      call.timeline?.at('deputy.decided', { 'deputy.decision.effect': decision.effect })
    } catch (cause) {
      const what = 'the record of the decision could not be written'
      if (deps.auditRequired) throw new Problem('audit_unavailable', what, { cause })
      deps.log.error({ err: cause }, 'an evidence record could not be written')
    }
  }
}
