// The provider's answer to a consent: who may finish it, in which order that is checked, and what a
// wrong answer must not use up.
import { createHash } from 'node:crypto'
import type { Connection, Flow, FlowRow, Person, TokenSet } from '../model.ts'
import { Problem } from '../problem.ts'
import { secret } from '../secret.ts'
import { samePerson } from '../wire/canonical.ts'
import { UNNAMED } from '../oauth/client.ts'
import { refusesClient, stepOf, type Step, type TokenFailure } from '../oauth/token_answer.ts'
import type { Keeper } from './confirm.ts'
import type { FlowParts } from './parts.ts'

/**
 * The first ones say that the flow has ended; of the others nothing was touched, except that `used`
 * was spent before.
 */
export type Finished =
  | { readonly kind: 'completed' | 'partial'; readonly flow: Flow; readonly account: string }
  | {
      readonly kind:
        'denied' | 'provider_error' | 'account_mismatch' | 'user_inactive' | 'tenant_quota'
      readonly flow: Flow
    }
  /** This answer was taken before: nothing was touched, and the flow says how it went. */
  | { readonly kind: 'repeated'; readonly flow: Flow }
  /** The application is to say who was there, by this id. */
  | { readonly kind: 'awaiting'; readonly flow: Flow; readonly flowId: string }
  | {
      readonly kind:
        | 'unknown_state'
        | 'wrong_cookie'
        | 'wrong_provider'
        | 'expired'
        | 'used'
        | 'wrong_person'
        | 'iss_mismatch'
      /** The flow's hash, where the evidence names it. */
      readonly reference?: string
    }

/** What a browser brought to the redirect address of a connection. */
type Callback = {
  /** From the redirect path: each connection has a redirect URI of its own (RFC 9700 4.4.2). */
  readonly connection: string
  readonly params: URLSearchParams
  readonly cookie: string | null
  /** null: nobody signed in; the application confirms who it was. */
  readonly person: Person | null
  readonly verified: boolean
  readonly redirectUri: string
  /** The browser, for evidence. */
  readonly from?: object
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
/**
 * The answer of a provider. Guards in this order: state, cookie, provider, expiry, person, `iss`;
 * none of them touches the flow, so that a probe burns nothing. Nobody who is suspended finishes an
 * old link. Then the state is spent, once, before the code is.
 */
export const createFinish = (deps: FlowParts, keeper: Pick<Keeper, 'keep' | 'hold'>) => {
  const { store, sealer, client, clock, toFlow, end, event } = deps

  /**
   * Exchange, account, checks, store. What the provider got wrong ends the flow; what we got wrong
   * throws.
   */
  const redeem = async (
    row: FlowRow,
    flow: Flow,
    connection: Connection,
    {
      code,
      answer,
      actor,
    }: { readonly code: string; readonly answer: Callback; readonly actor: object },
  ): Promise<Finished> => {
    const leg = JSON.parse(
      await sealer.openText('flow-leg', { flow: row.hash }, row.sealedLeg ?? ''),
    ) as {
      readonly verifier: string | null
      readonly nonce: string | null
      readonly asked: readonly string[]
      readonly provider?: string
    }
    if ((leg.provider ?? connection.provider.id) !== connection.provider.id) {
      // The code is of a provider that this connection is not at any more: nobody else is shown it.
      const failed = await end(flow, { failure: 'provider_error' })
      await event('failed', flow, { ...actor, reason: 'provider_changed' })
      return { kind: 'provider_error', flow: failed }
    }
    let tokens: TokenSet | null = null
    let account: { readonly id: string; readonly label: string }
    try {
      const earned = await client.exchangeCode(connection, {
        code: secret(code),
        redirectUri: answer.redirectUri,
        verifier: leg.verifier === null ? null : secret(leg.verifier),
        scopes: leg.asked,
        nonce: leg.nonce,
      })
      tokens = { ...earned.tokens, scopes: earned.tokens.scopes ?? leg.asked }
      account =
        connection.provider.account === null
          ? UNNAMED
          : (earned.account ?? (await client.userinfo(connection, tokens.access)))
    } catch (error) {
      const reason = reasonOf(error)
      const failed = await end(flow, { failure: reason })
      // Whose account it is was never said: what was earned is given back.
      const revoked = tokens === null ? {} : { revoked: await client.revoke(connection, tokens) }
      await event('failed', flow, { ...actor, reason, error: causeOf(error), ...revoked })
      return { kind: 'provider_error', flow: failed }
    }
    const earned = { tokens, account }
    if (answer.person !== null) return keeper.keep(flow, connection, earned, actor)
    const flowId = await keeper.hold(flow, earned, connection.provider.id)
    if (flowId !== null) return { kind: 'awaiting', flow, flowId }
    // Another leg of the same link was quicker, or the flow has ended.
    await client.revoke(connection, tokens)
    return { kind: 'used' }
  }

  /**
   * A browser that loads the address twice. Whoever is signed in as somebody else learns nothing.
   */
  const repeated = async (stateHash: string, answer: Callback): Promise<Finished> => {
    const row = await store.flows.bySpent(stateHash)
    if (row === null || row.connection !== answer.connection) return { kind: 'unknown_state' }
    const flow = toFlow(row)
    const theirs = answer.person === null || samePerson(flow.person, answer.person)
    return theirs ? { kind: 'repeated', flow } : { kind: 'used' }
  }

  return async (answer: Callback): Promise<Finished> => {
    const { params } = answer
    // RFC 6749 3.1: no parameter twice.
    if (['state', 'code', 'error', 'iss'].some((name) => params.getAll(name).length > 1))
      return { kind: 'unknown_state' }
    const stateHash = sha256(params.get('state') ?? '')
    const row = await store.flows.byState(stateHash)
    if (row === null) return repeated(stateHash, answer)
    if (answer.cookie === null || row.cookieHash !== sha256(answer.cookie))
      return { kind: 'wrong_cookie' }
    const connection = deps.connections().get(row.connection)
    if (row.connection !== answer.connection || connection === undefined)
      return { kind: 'wrong_provider' }
    const flow = toFlow(row)
    if (flow.failure === 'expired' || (row.legExpiresAt ?? 0) <= clock.now())
      return { kind: 'expired', reference: flow.hash }
    if (flow.status !== 'pending') return { kind: 'used', reference: flow.hash }
    const { person: by, verified, from } = answer
    const actor = { by, verified, ...(from === undefined ? {} : { from }) }
    if (answer.person !== null && !samePerson(flow.person, answer.person)) {
      await event('user_mismatch', flow, { ...actor, at: 'callback' })
      return { kind: 'wrong_person', reference: flow.hash }
    }
    // RFC 9207 2.4: plain strings; the distinct redirect URI is the defence where a provider sends
    // none.
    const iss = params.get('iss')
    const { issuer, issRequired } = connection.provider
    const foreign = iss === null ? issRequired === true : iss !== issuer
    if (issuer !== null && foreign) {
      await event('failed', flow, { ...actor, reason: 'iss_mismatch', ended: false })
      return { kind: 'iss_mismatch', reference: flow.hash }
    }
    await deps.agentOn?.(flow.agent, flow.person.tenant)
    if ((await deps.active?.(flow.person)) === false) {
      const failed = await end(flow, { failure: 'user_inactive' })
      await event('failed', flow, { ...actor, reason: 'user_inactive' })
      return { kind: 'user_inactive', flow: failed }
    }
    if (!(await store.flows.consume(row.hash, stateHash))) return repeated(stateHash, answer)

    const error = params.get('error')
    const code = params.get('code')
    const subcode = params.get('error_subcode')
    const step = stepOf([subcode, error], params.get('error_description') ?? '')
    if (error === 'access_denied' && step !== 'admin') {
      const denied = await end(flow, { failure: 'denied' })
      await event('denied', flow, actor)
      return { kind: 'denied', flow: denied }
    }
    if (error !== null || code === null) {
      const reason = failureOf(step, refusesClient(error ?? ''))
      const failed = await end(flow, { failure: reason })
      await event('failed', flow, { ...actor, reason, error: word(error) })
      return { kind: 'provider_error', flow: failed }
    }
    return redeem(row, flow, connection, { code, answer, actor })
  }
}

/**
 * An error word of the provider (RFC 6749 4.1.2.1), fit for evidence; anything else says only that
 * it was none.
 */
const word = (text: string | null): string =>
  text !== null && /^[A-Za-z_]{1,64}$/.test(text) ? text : 'unspecified'
/** What the person is told: who has to do something before the same link can work. */
const failureOf = (step: Step | null | undefined, refused: boolean): string => {
  if (step === 'admin' || step === 'sign_in') return `${step}_required`
  return refused && step == null ? 'client_refused' : 'provider_error'
}
const reasonOf = (error: unknown): string => {
  const cause = error instanceof Problem ? (error.cause as Partial<TokenFailure> | null) : null
  return failureOf(cause?.step, cause?.kind === 'our_fault')
}
const causeOf = (error: unknown): string => {
  const cause =
    error instanceof Problem ? (error.cause as { readonly error?: unknown } | null) : null
  return word(typeof cause?.error === 'string' ? cause.error : null)
}
