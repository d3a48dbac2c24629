// Decides a call by what is known of its person now, once more where that was too old, and each part of it by itself.
import { follow } from '../follow.ts'
import type { Decision, Holding, PolicyEngine, Principal, Route, Vault, Via } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Act } from './classify.ts'
import { decideEach, together, type Decide, type Question } from './decide.ts'
import type { AskFacts, Facts } from './entitlements.ts'
import type { Call } from './exchange.ts'
import type { History } from './obligation/history.ts'
import type { Known, Lifted } from './approval.ts'
import type { Request, Verdict } from './request.ts'
import { STANDING, withdrawn } from './standing.ts'

export type JudgeDeps = {
  readonly via: Via
  readonly policy: () => PolicyEngine | null
  readonly entitlements: AskFacts
  readonly vault: Pick<Vault, 'look'>
  readonly decide: Decide
  readonly history: Pick<History, 'deciding'>
}

const NONE: readonly string[] = []
const unreadable = (cause: unknown): never => {
  throw new Problem('vault_unavailable', 'the vault cannot be read', { cause })
}

/** Is the age of the facts all that stands against it? */
const outlived = ({ decision, facts }: Verdict): boolean =>
  decision.effect === 'deny' &&
  facts.entitlements.source !== 'claims' &&
  decision.reasons.every(({ code }) => code === 'entitlements_stale')

/** What people did, as the decision sees it. */
const withLifted = ({ approvals, auth }: Lifted) => ({
  approvals: approvals(null),
  approvalsOf: approvals,
  auth,
})

export const createJudge = (deps: JudgeDeps) => {
  const { via } = deps
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
    call: Call,
    principal: Principal,
    { route, act, body }: Request,
    { facts, lifted }: Known,
  ): Verdict | Promise<Verdict> =>
    follow(look(principal, route), (holding) => {
      const { id, stripped } = call
      const about = { id, via, principal, route, act, body, stripped, facts, holding }
      const question = lifted === undefined ? about : { ...about, ...withLifted(lifted) }
      return follow(standingStands(question), (refusal) =>
        refusal === null
          ? judgedFollowing(call, question, act)
          : { facts, holding, decision: refusal, each: null, question },
      )
    })
  /** Does policy still let the person give the standing? At each call: it may have changed since they did. */
  const standingStands = (question: Question): Decision | null | Promise<Decision | null> =>
    question.principal.lets === undefined
      ? null
      : follow(
          deps.decide(deps.policy(), {
            ...question,
            act: { operation: STANDING, kind: 'deputy', segments: NONE },
            body: null,
          }),
          withdrawn,
        )
  /** By what the person was allowed before, where tables ask for it. */
  const judgedFollowing = (
    call: Call,
    question: Question,
    act: Act,
  ): Verdict | Promise<Verdict> => {
    const engine = deps.policy()
    const ask = engine?.asks.history ?? null
    if (ask === null) return judgedAlone(engine, question, act)
    const { principal, route } = question
    const provider = route.connection.provider.id
    return deps.history.deciding(
      { call, principal, provider, acts: act.parts ?? [act] },
      ask,
      (history) => judgedAlone(engine, { ...question, history }, act),
    )
  }
  const judgedAlone = (
    engine: PolicyEngine | null,
    question: Question,
    act: Act,
  ): Verdict | Promise<Verdict> => {
    const { facts, holding } = question
    if (act.parts === undefined)
      return follow(deps.decide(engine, question), (decision) => ({
        facts,
        holding,
        decision,
        each: null,
        question,
      }))
    return decideEach(deps.decide, engine, question, act.parts).then((each) => ({
      facts,
      holding,
      decision: together(each, question.route.connection.provider),
      each,
      question,
    }))
  }
  /** On facts that are too old for it asks once more and decides again. */
  const decided = (
    call: Call,
    who: Principal,
    request: Request,
    known: Known,
  ): Verdict | Promise<Verdict> =>
    follow(judged(call, who, request, known), (verdict) =>
      outlived(verdict)
        ? follow(factsOf(who, request, true), (facts) =>
            judged(call, who, request, { ...known, facts }),
          )
        : verdict,
    )

  return { look, factsOf, decided }
}
