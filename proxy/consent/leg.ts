// The part of a consent that happens at the provider: what is asked there, and what binds the
// answer to this flow and this browser.
import { createHash } from 'node:crypto'
import type { Flow } from '../model.ts'
import { Problem } from '../problem.ts'
import type { FlowParts } from './parts.ts'

/**
 * What is left to do for this flow. `grant`: the scopes are held, only this agent's yes is missing.
 */
export type Plan =
  | { readonly kind: 'grant' }
  | { readonly kind: 'provider'; readonly asked: readonly string[] }
  | { readonly kind: 'gone' }

/** How long the leg at the provider may take. */
export const LEG_MS = 600_000

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

export const createLeg = (
  parts: Pick<
    FlowParts,
    'store' | 'sealer' | 'client' | 'clock' | 'connections' | 'randomBytes' | 'event' | 'room'
  >,
  plan: (flow: Flow) => Promise<Plan>,
) => {
  const { store, sealer, client, clock, event } = parts
  /**
   * Starts the leg at the provider; an earlier leg of the same flow ends. `cookie` binds it to this
   * browser.
   */
  return async (
    flow: Flow,
    redirectUri: string,
  ): Promise<{
    readonly location: URL
    /** It stands in `location` only where that was not pushed (RFC 9126). */
    readonly state: string
    readonly cookie: string
  }> => {
    const todo = await plan(flow)
    const connection = parts.connections().get(flow.connection)
    const open = flow.status === 'pending' && flow.expiresAt > clock.now()
    if (!open || connection === undefined || todo.kind === 'gone')
      throw new Problem('authorization_not_found', 'this authorization has ended')
    await parts.room?.(flow)
    const asked = todo.kind === 'provider' ? todo.asked : flow.scopes
    const random = (): string => parts.randomBytes(32).toString('base64url')
    const state = random()
    const cookie = random()
    const verifier = connection.provider.pkce ? random() : null
    const nonce = connection.provider.issuer !== null && asked.includes('openid') ? random() : null
    const sealedLeg = await sealer.sealText(
      'flow-leg',
      { flow: flow.hash },
      JSON.stringify({ verifier, nonce, asked, provider: connection.provider.id }),
    )
    const begunLeg = await store.flows.leg(flow.hash, {
      stateHash: sha256(state),
      cookieHash: sha256(cookie),
      sealedLeg,
      legExpiresAt: clock.now() + LEG_MS,
    })
    if (!begunLeg) throw new Problem('authorization_not_found', 'this authorization has ended')
    const location = await client.authorize(connection, {
      redirectUri,
      state,
      challenge:
        verifier === null ? null : createHash('sha256').update(verifier).digest('base64url'), // RFC 7636 4.2, S256
      scopes: asked,
      nonce,
      ...(flow.challenge ? { extra: flow.challenge } : {}),
    })
    await event('at_provider', flow, { asked })
    return { location, state, cookie }
  }
}
