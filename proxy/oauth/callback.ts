// The answer of a provider: who may finish a consent, in which order that is checked, and what is never burnt.
import { createHash } from 'node:crypto'
import type { Connection, Flow, FlowRow, Person, TokenSet } from '../model.ts'
import { AccountMismatch, Problem } from '../problem.ts'
import { secret } from '../secret.ts'
import type { FlowDeps } from './flow.ts'

/** The first four say that the flow has ended; of the others nothing was touched, except that `used` was spent before. */
export type Finished =
  | { readonly kind: 'completed' | 'partial'; readonly flow: Flow; readonly account: string }
  | { readonly kind: 'denied' | 'provider_error' | 'account_mismatch'; readonly flow: Flow }
  | {
      readonly kind:
        | 'unknown_state'
        | 'wrong_cookie'
        | 'wrong_provider'
        | 'expired'
        | 'used'
        | 'wrong_person'
        | 'iss_mismatch'
    }

/** What a browser brought to the redirect address of a connection. */
export type Callback = {
  /** From the redirect path: each connection has a redirect URI of its own (RFC 9700 4.4.2). */
  readonly connection: string
  readonly params: URLSearchParams
  readonly cookie: string | null
  readonly person: Person
  readonly verified: boolean
  readonly redirectUri: string
}

type Deps = FlowDeps & {
  readonly toFlow: (row: FlowRow) => Flow
  /** Writes how it ended, and wakes who waits for it. */
  readonly end: (
    flow: Flow,
    outcome: { readonly failure: string } | { readonly missing: readonly string[] },
  ) => Promise<Flow>
  readonly event: (name: string, flow: Flow, more?: object) => void | Promise<void>
  /** Scopes that the flow's agent was granted before. */
  readonly grantedTo: (flow: Flow) => Promise<readonly string[]>
}

/** Where the provider file says no way to learn whose account it is. */
const UNNAMED = { id: '', label: '' }

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
/** Byte for byte: no folding, no trimming. */
export const samePerson = (a: Person, b: Person): boolean =>
  a.tenant === b.tenant && a.realm === b.realm && a.id === b.id

/**
 * The answer of a provider. Guards in this order: state, cookie, provider, expiry, person, `iss`; none of them
 * touches the flow, so that a probe burns nothing. Then the state is spent, once, before the code is.
 */
export const createFinish = (deps: Deps) => {
  const { store, vault, sealer, client, clock, toFlow, end, event } = deps

  /** Exchange, account, checks, store. What the provider got wrong ends the flow; what we got wrong throws. */
  const redeem = async (
    row: FlowRow,
    flow: Flow,
    connection: Connection,
    code: string,
    redirectUri: string,
    actor: object,
  ): Promise<Finished> => {
    const leg = JSON.parse(
      await sealer.openText('flow-leg', { flow: row.hash }, row.sealedLeg ?? ''),
    ) as {
      readonly verifier: string | null
      readonly nonce: string | null
      readonly asked: readonly string[]
    }
    let tokens: TokenSet
    let account: { readonly id: string; readonly label: string }
    try {
      const earned = await client.exchangeCode(connection, {
        code: secret(code),
        redirectUri,
        verifier: leg.verifier === null ? null : secret(leg.verifier),
        scopes: leg.asked,
      })
      tokens = { ...earned.tokens, scopes: earned.tokens.scopes ?? leg.asked }
      account =
        connection.provider.account === null
          ? UNNAMED
          : (earned.account ?? (await client.userinfo(connection, tokens.access)))
    } catch (error) {
      const failed = await end(flow, { failure: 'provider_error' })
      await event('failed', flow, { ...actor, reason: 'provider_error', error: causeOf(error) })
      return { kind: 'provider_error', flow: failed }
    }
    const granted = tokens.scopes ?? []
    const missing = flow.scopes.filter((scope) => !granted.includes(scope))
    const before = await deps.grantedTo(flow)
    try {
      await vault.connect({
        person: flow.person,
        agent: flow.agent,
        connection: flow.connection,
        provider: connection.provider.id,
        account,
        tokens,
        scopes: [...new Set([...flow.scopes, ...before])].filter((scope) =>
          granted.includes(scope),
        ),
      })
    } catch (error) {
      // Decided by the store, so that of two answers at one moment only one can have the place.
      if (!(error instanceof AccountMismatch)) throw error
      const failed = await end(flow, { failure: 'account_mismatch' })
      const revoked = await client.revoke(connection, tokens).then(
        (result) => result,
        () => 'failed',
      )
      await event('failed', flow, { ...actor, reason: 'account_mismatch', revoked })
      return { kind: 'account_mismatch', flow: failed }
    }
    const done = await end(flow, { missing })
    await event('completed', flow, { ...actor, account: account.label, missing })
    return {
      kind: missing.length > 0 ? 'partial' : 'completed',
      flow: done,
      account: account.label,
    }
  }

  return async (answer: Callback): Promise<Finished> => {
    const { params } = answer
    // RFC 6749 3.1: no parameter twice.
    if (['state', 'code', 'error', 'iss'].some((name) => params.getAll(name).length > 1))
      return { kind: 'unknown_state' }
    const stateHash = sha256(params.get('state') ?? '')
    const row = await store.flows.byState(stateHash)
    if (row === null) return { kind: 'unknown_state' }
    if (answer.cookie === null || row.cookieHash !== sha256(answer.cookie))
      return { kind: 'wrong_cookie' }
    const connection = deps.connections().get(row.connection)
    if (row.connection !== answer.connection || connection === undefined)
      return { kind: 'wrong_provider' }
    const flow = toFlow(row)
    if (flow.failure === 'expired' || (row.legExpiresAt ?? 0) <= clock.now())
      return { kind: 'expired' }
    if (flow.status !== 'pending') return { kind: 'used' }
    const actor = { by: answer.person, verified: answer.verified }
    if (!samePerson(flow.person, answer.person)) {
      await event('user_mismatch', flow, { ...actor, at: 'callback' })
      return { kind: 'wrong_person' }
    }
    // RFC 9207 2.4: plain strings; the distinct redirect URI is the defence where a provider sends none.
    const iss = params.get('iss')
    const { issuer } = connection.provider
    if (iss !== null && issuer !== null && iss !== issuer) {
      await event('failed', flow, { ...actor, reason: 'iss_mismatch', ended: false })
      return { kind: 'iss_mismatch' }
    }
    if (!(await store.flows.consume(row.hash, stateHash))) return { kind: 'used' }

    const error = params.get('error')
    const code = params.get('code')
    if (error === 'access_denied') {
      const denied = await end(flow, { failure: 'denied' })
      await event('denied', flow, actor)
      return { kind: 'denied', flow: denied }
    }
    if (error !== null || code === null) {
      const failed = await end(flow, { failure: 'provider_error' })
      await event('failed', flow, { ...actor, reason: 'provider_error', error: word(error) })
      return { kind: 'provider_error', flow: failed }
    }
    return redeem(row, flow, connection, code, answer.redirectUri, actor)
  }
}

/** An error word of the provider (RFC 6749 4.1.2.1), fit for evidence; anything else says only that it was none. */
const word = (text: string | null): string =>
  text !== null && /^[A-Za-z_]{1,64}$/.test(text) ? text : 'unspecified'
const causeOf = (error: unknown): string => {
  const cause =
    error instanceof Problem ? (error.cause as { readonly error?: unknown } | null) : null
  return word(typeof cause?.error === 'string' ? cause.error : null)
}
