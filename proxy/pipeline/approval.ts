// A call that policy lets pass only once a person has approved it, or its own person has signed in more strongly: what
// they said is looked up and decided upon, and a yes is spent by the call that leaves.
import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { follow } from '../follow.ts'
import type { Approval, Clock, Decision, Entitlements, Operation, Principal } from '../model.ts'
import type { Approvals, ApprovalAsk } from '../consent/approvals.ts'
import type { Need } from '../consent/approvers.ts'
import type { AskBegun, AskDeclined } from '../consent/asks.ts'
import type { Demand, StepUps } from '../consent/step_ups.ts'
import { isMessage, messageIn } from '../envelope/mail.ts'
import { Problem, sentence } from '../problem.ts'
import { boundHeaders, callDigest, unnumbered } from '../wire/call_digest.ts'
import { targetText } from '../wire/canonical.ts'
import { EXACT } from '../wire/json.ts'
import { readMedia } from '../wire/media.ts'
import type { Facts } from './entitlements.ts'
import type { Call } from './exchange.ts'
import type { Request, Verdict } from './request.ts'

/** What people did so that the call may pass; it is decided once more with that. */
export type Lifted = {
  /** Of the approvals that the call spends when it leaves; null: none. */
  readonly spends: string | null
  /** Of the call (null), or of one of its parts. */
  readonly approvals: (part: number | null) => readonly Approval[]
  /** The sign-in that policy asked for; null: none is needed. */
  readonly auth: Entitlements['auth']
}
/** What was decided, and what it was decided about once its body was read as a whole. */
export type Asked = Verdict & { readonly request: Request; readonly lifted: Lifted | null }
export type ApprovalDeps = {
  readonly approvals: Pick<Approvals, 'able' | 'begin' | 'given' | 'spend'>
  readonly stepUps: Pick<StepUps, 'able' | 'met' | 'begin'>
  readonly needsOf: (decision: Decision, part: number | null) => readonly Need[] | null
  readonly demandIn: (decisions: readonly Decision[]) => Demand | null
  readonly clock: Pick<Clock, 'mono'>
  /** The body up to `limits.inspected_body`; null: it is longer. */
  readonly readWhole: (req: IncomingMessage) => Promise<Buffer | null>
}
/** What a call is decided by, besides itself. */
export type Known = { readonly facts: Facts; readonly lifted?: Lifted }
type Decided = (
  call: Call,
  who: Principal,
  request: Request,
  known: Known,
) => Verdict | Promise<Verdict>

const NONE: readonly Approval[] = []
/** What people do is looked up within this time, or what was known of the caller is asked anew. */
const OLD_MS = 1_000
const unreachable = (cause: unknown): never => {
  if (cause instanceof Problem) throw cause
  throw new Problem('vault_unavailable', 'what people answered cannot be read or written', {
    cause,
  })
}
const operationsOf = ({ act }: Request): readonly string[] => [
  ...new Set((act.parts ?? [act]).map(({ operation }) => operation.id)),
]
/** By the order of its parts; null: somebody must have written a demand that nobody can meet. */
const needsIn = (
  { decision, each }: Verdict,
  needsOf: ApprovalDeps['needsOf'],
): readonly Need[] | null => {
  if (each === null) return needsOf(decision, null)
  const needs: Need[] = []
  for (const [i, said] of each.entries()) {
    if (said.effect !== 'approval_required') continue
    const of = needsOf(said, i + 1)
    if (of === null) return null
    needs.push(...of)
  }
  return needs
}
const accountOf = ({ holding }: Pick<Verdict, 'holding'>): string | null =>
  holding.kind === 'held' ? holding.account : null
const digestOf = (who: Principal, request: Request, verdict: Verdict): string => {
  const { route, act, body, sifted } = request
  return callDigest({
    person: who.person,
    agent: who.agent,
    run: who.run,
    standing: who.standing ?? null,
    connection: route.connection.name,
    account: accountOf(verdict),
    host: route.host,
    method: route.target.method,
    target: targetText(route.target),
    headers: boundHeaders(sifted.kept),
    operations: (act.parts ?? [act]).map(({ operation }) => operation.id),
    body:
      body.message === undefined ? body.bytes : unnumbered(body.bytes?.toString('utf8') ?? '{}'),
  })
}
/** The mails in it: whom each goes to, as policy read it, and the message where there is one. */
const mailsOf = ({ route, act, body }: Request) => {
  const names = route.connection.provider.names ?? EXACT
  const messageOf = ({ mail }: Operation, i: number): Buffer | null => {
    const inner = body.calls?.[i]
    const { contentType = body.contentType, body: own = null } = inner ?? {}
    const { state = 'none' } = (act.parts === undefined ? body : body.parts?.[i]) ?? {}
    if (mail === undefined || state !== 'parsed') return null
    const media = readMedia(contentType)
    const bytes = own === null ? body.bytes : own.kind === 'bytes' ? own.bytes : null
    const json = own?.kind === 'json' ? own.value : undefined
    const value =
      bytes !== null && media.reading === 'json' && !isMessage(mail, media.essence)
        ? (JSON.parse(bytes.toString('utf8').replace(/^\ufeff/, '')) as unknown)
        : json
    const { essence } = media
    return messageIn(mail, { essence, contentType: contentType ?? '', names, bytes, value })
  }
  return (act.parts ?? [act]).flatMap(({ operation }, i) => {
    const { mail } = (act.parts === undefined ? body : body.parts?.[i]) ?? {}
    if (mail === undefined) return []
    const message = messageOf(operation, i)?.toString('base64') ?? null
    return [{ part: act.parts === undefined ? null : i + 1, mail, message }]
  })
}
/** As it is shown to whoever approves. */
const shownOf = (request: Request, verdict: Verdict) => {
  const { decision, each } = verdict
  const { route, act, body, sifted } = request
  return {
    method: route.target.method,
    url: `https://${route.host}${targetText(route.target)}`,
    headers: boundHeaders(sifted.kept),
    contentType: body.contentType,
    body: body.bytes?.toString('base64') ?? null,
    account: accountOf(verdict),
    why: decision.reasons.map(({ msg }) => msg).filter((msg) => msg !== ''),
    parts:
      act.parts?.map(({ operation, target }, i) => ({
        operation: operation.id,
        method: target?.method ?? null,
        target: target === undefined ? null : targetText(target),
        needs: each?.[i]?.effect === 'approval_required',
      })) ?? [],
    mails: mailsOf(request),
  }
}
export type Shown = ReturnType<typeof shownOf>

const declined = ({ declined: { at, until } }: AskDeclined, what: string): Problem =>
  new Problem(
    'policy_denied',
    `${what} at ${new Date(at).toISOString()}; nobody is asked the same again before ${new Date(until).toISOString()}.`,
    { extra: { reasons: ['approval_declined'] } },
  )
const linked = ({ authorizationId, url, expiresAt }: AskBegun): object => ({
  authorization_id: authorizationId,
  url,
  expires_at: new Date(expiresAt).toISOString(),
})
const signInSentence = ({ acrValues, maxAgeS }: Demand): string =>
  `a sign-in as ${acrValues.join(' or ')} that is at most ${maxAgeS} s old`

export const createApproval = (
  deps: ApprovalDeps,
  {
    decided,
    factsOf,
  }: {
    readonly decided: Decided
    readonly factsOf: (who: Principal, request: Request, fresh: boolean) => Facts | Promise<Facts>
  },
) => {
  const { approvals, stepUps, clock } = deps

  /** A yes covers the whole body, so that it is read, and sent as it was read. */
  const whole = async (request: Request): Promise<Request> => {
    const { body, req } = request
    if (body.state === 'none' || body.bytes !== null) return request
    const bytes = await deps.readWhole(req)
    if (bytes === null)
      throw new Problem(
        'request_too_large',
        'an approval covers the whole body, which is longer than limits.inspected_body allows',
      )
    const digest = `sha256:${hash('sha256', bytes, 'hex')}`
    return { ...request, body: { ...body, bytes, declared: bytes.length, digest, unseen: true } }
  }
  const demandOf = ({ decision, each }: Verdict): Demand | null => deps.demandIn(each ?? [decision])

  const askOf = (who: Principal, request: Request, verdict: Verdict): ApprovalAsk | null => {
    const needs = needsIn(verdict, deps.needsOf)
    return needs === null || needs.length === 0
      ? null
      : {
          person: who.person,
          agent: who.agent,
          connection: request.route.connection.name,
          digest: digestOf(who, request, verdict),
          operations: operationsOf(request),
          needs,
          shown: shownOf(request, verdict),
        }
  }

  /** Decides with what people did, as far as each step asks for it: a sign-in first, then approvals. */
  const lift = async (
    call: Call,
    who: Principal,
    first: { readonly request: Request; readonly facts: Facts; readonly verdict: Verdict },
  ): Promise<Asked> => {
    let { request, verdict } = first
    let lifted: Lifted | null = null
    const began = clock.mono()
    const again = async (next: Lifted): Promise<void> => {
      const late = clock.mono() - began > OLD_MS
      const facts = late ? await factsOf(who, request, true) : first.facts
      verdict = await decided(call, who, request, { facts, lifted: next })
      lifted = next
    }
    if (verdict.decision.effect === 'step_up_required') {
      const demand = demandOf(verdict)
      const auth =
        demand === null ? null : await stepUps.met(who.person, who.agent, demand).catch(unreachable)
      if (auth !== null) await again({ spends: null, approvals: () => NONE, auth })
    }
    if (verdict.decision.effect === 'approval_required') {
      request = await whole(request)
      const ask = askOf(who, request, verdict)
      const given = ask === null ? null : await approvals.given(ask, call.id).catch(unreachable)
      const auth = (lifted as Lifted | null)?.auth ?? null
      if (given !== null) await again({ spends: given.hash, approvals: given.of, auth })
    }
    return { ...verdict, request, lifted }
  }

  const begin = async (
    who: Principal,
    request: Request,
    verdict: Verdict,
  ): Promise<AskBegun | AskDeclined | null> => {
    if (verdict.decision.effect === 'approval_required') {
      const ask = approvals.able ? askOf(who, request, verdict) : null
      return ask === null ? null : approvals.begin(ask).catch(unreachable)
    }
    const demand = stepUps.able ? demandOf(verdict) : null
    const { person, agent } = who
    const { name: connection } = request.route.connection
    return demand === null
      ? null
      : stepUps
          .begin({ person, agent, connection }, demand, operationsOf(request))
          .catch(unreachable)
  }

  const NO_PAGE = 'this deputy has no page for that: its connect.sign_in names no OpenID provider'
  const unasked = (verdict: Verdict): string =>
    verdict.decision.effect === 'approval_required'
      ? needsIn(verdict, deps.needsOf) === null
        ? 'its policy says in no form that deputy knows who they are'
        : NO_PAGE
      : demandOf(verdict) === null
        ? 'its policy asks for no sign-in that one could make'
        : NO_PAGE

  return {
    /** As `decided`, and once more with what people did. At once where nobody need do anything. */
    decided: (call: Call, who: Principal, request: Request, facts: Facts): Asked | Promise<Asked> =>
      follow(decided(call, who, request, { facts }), (verdict) => {
        const { effect } = verdict.decision
        return effect === 'approval_required' || effect === 'step_up_required'
          ? lift(call, who, { request, facts, verdict })
          : { ...verdict, request, lifted: null }
      }),

    /**
     * What somebody approved leaves as it was shown to them, or not at all.
     * @param taken what is taken out of it before it leaves; its digest null: nothing was there
     * @throws Problem obligation_refused
     */
    unchanged: (
      { lifted }: Asked,
      taken: { readonly pointers: readonly string[]; readonly digest: string | null } | null,
    ): void => {
      if (taken === null || taken.digest === null || lifted === null || lifted.spends === null)
        return
      throw new Problem(
        'obligation_refused',
        `somebody approved this call as it is, and members of its body may not leave: send it without ${taken.pointers.join(', ')}`,
      )
    },

    /** Marks the call as leaving. false: another call was first with the same yes, or it has ended: to be decided anew. */
    spent: ({ id }: Call, { lifted }: Asked): boolean | Promise<boolean> =>
      lifted === null ||
      lifted.spends === null ||
      approvals.spend(lifted.spends, id).catch(unreachable),

    /** The id to wait for; null: there is nobody to wait for. */
    begin: async (who: Principal, request: Request, verdict: Verdict): Promise<string | null> => {
      const begun = await begin(who, request, verdict)
      return begun === null || begun.declined ? null : begun.authorizationId
    },

    /** What the agent hears: the link, or why there is none; null: nobody is to approve or to sign in. */
    refused: async (
      who: Principal,
      request: Request,
      verdict: Verdict,
    ): Promise<Problem | null> => {
      const { effect, reasons, id } = verdict.decision
      if (effect !== 'approval_required' && effect !== 'step_up_required') return null
      const begun = await begin(who, request, verdict)
      const said = sentence(reasons.map(({ code, msg }) => (msg === '' ? code : msg)).join('; '))
      const demand = demandOf(verdict)
      const asks =
        effect === 'step_up_required' && demand !== null
          ? {
              acr_values: demand.acrValues.join(' '),
              max_age: demand.maxAgeS,
            }
          : {}
      const extra = { ...asks, connection: request.route.connection.name, decision_id: id }
      if (begun === null)
        return new Problem(
          effect,
          effect === 'approval_required'
            ? `${said} Nobody can approve it here: ${unasked(verdict)}.`
            : `${said} ${sentence(unasked(verdict))}${demand === null ? '' : ` A tag whose claims tell of ${signInSentence(demand)} does.`}`,
          { extra },
        )
      if (begun.declined)
        return declined(
          begun,
          effect === 'approval_required'
            ? 'This very call was declined'
            : 'The user declined to sign in for this',
        )
      return new Problem(
        effect,
        effect === 'approval_required'
          ? `${said} Show this link to somebody who may approve it, then repeat the very same call: ${begun.url}`
          : `${said} Ask the user to sign in at ${begun.url} and repeat the call.`,
        { extra: { ...extra, ...linked(begun) } },
      )
    },
  }
}
