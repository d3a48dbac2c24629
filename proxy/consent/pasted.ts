// A key that a person pastes, in place of a consent at the provider: looked at, shown to its provider
// once, and kept as a token is. A wrong one leaves the link as it was.
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import type { Connection, Flow, Person } from '../model.ts'
import { secret } from '../secret.ts'
import type { Keeper } from './confirm.ts'
import type { FlowParts } from './parts.ts'

/** Why the page asks once more. */
export type KeyProblem = 'malformed' | 'refused' | 'unknown'
type Pasted =
  | { readonly kind: 'completed'; readonly flow: Flow; readonly account: string }
  | { readonly kind: 'ended' }
  /** The application is to say who was there, by this id. */
  | { readonly kind: 'awaiting'; readonly flowId: string }
  /** Nothing was stored. */
  | { readonly kind: 'again'; readonly problem: KeyProblem }

type Pasting = {
  /** As the form has it. */
  readonly key: unknown
  /** null: nobody signed in; the application confirms who it was. */
  readonly by: Person | null
  readonly verified: boolean
  /** The browser, for evidence. */
  readonly from?: object
}

/**
 * What a header can hold; shorter than any vendor's, a key would be found everywhere in answers. A run token is none: it is
 * deputy's own, and the provider must not see it.
 */
const KEY = /^(?!dpr_)[\x21-\x7e]{12,4096}$/
/** Keys that one link takes to be shown to the provider: whoever guesses needs a new link, and these are counted. */
const MOST_KEYS = 10

export const createPaste = (
  parts: FlowParts,
  keeper: Pick<Keeper, 'keep' | 'hold'>,
): ((flow: Flow, connection: Connection, pasting: Pasting) => Promise<Pasted>) => {
  const { client, end, event } = parts
  const shown = new LRUCache<string, number>(room(10_000))

  return async (flow, connection, { key, by, verified, from }) => {
    const bare = typeof key === 'string' ? key.trim() : ''
    const { pair } = connection.provider.present
    // RFC 7617 2: the first colon ends the user's name.
    if (!KEY.test(bare) || (pair !== undefined && pair.after !== '' && bare.includes(':')))
      return { kind: 'again', problem: 'malformed' }
    const actor = { by, verified, ...(from === undefined ? {} : { from }) }
    await parts.agentOn?.(flow.agent, flow.person.tenant)
    if ((await parts.active?.(flow.person)) === false) {
      await end(flow, { failure: 'user_inactive' })
      await event('failed', flow, { ...actor, reason: 'user_inactive' })
      return { kind: 'ended' }
    }
    const tries = (shown.get(flow.hash) ?? 0) + 1
    shown.set(flow.hash, tries)
    if (tries > MOST_KEYS) {
      await end(flow, { failure: 'too_many_keys' })
      await event('failed', flow, { ...actor, reason: 'too_many_keys' })
      return { kind: 'ended' }
    }
    const access = secret(bare)
    const account = await client.holder(connection, access)
    if (account === 'refused' || account === 'unknown') {
      await event('failed', flow, { ...actor, reason: `key_${account}`, ended: false })
      return { kind: 'again', problem: account }
    }
    const tokens = { access, refresh: null, scopes: [], expiresIn: null }
    const earned = { tokens, account }
    if (by === null) {
      const flowId = await keeper.hold(flow, earned, connection.provider.id)
      return flowId === null ? { kind: 'ended' } : { kind: 'awaiting', flowId }
    }
    const kept = await keeper.keep(flow, connection, earned, actor)
    return kept.kind === 'completed' || kept.kind === 'partial'
      ? { kind: 'completed', flow: kept.flow, account: kept.account }
      : { kind: 'ended' }
  }
}
