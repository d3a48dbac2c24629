// Ends a consent: writes it down, tells whoever waits for it, and completes other links that have
// nothing left to ask.
import type { Flow, FlowRow } from '../model.ts'
import type { FlowDeps, FlowParts } from './parts.ts'
import { lacking } from '../wire/scopes.ts'

/** What an ending changes, and whom it tells. */
export const createEnding = (deps: FlowDeps, toFlow: (row: FlowRow) => Flow) => {
  const { store, vault, clock } = deps
  const holdingOf = (flow: Flow) => vault.look(flow.person, flow.connection, flow.agent)

  const event: FlowParts['event'] = (name, flow, more = {}) =>
    deps.onEvent(`consent.${name}`, {
      flow: flow.hash,
      user: flow.person,
      agent: flow.agent,
      connection: flow.connection,
      scopes: flow.scopes,
      ...more,
    })

  /**
   * Other links of this agent that ask for nothing more have nothing left to ask: whoever waits for
   * them goes on.
   */
  const settle = async (flow: Flow): Promise<void> => {
    const holding = await holdingOf(flow)
    if (holding.kind !== 'held' || holding.status !== 'active') return
    const provider = deps.connections().get(flow.connection)?.provider ?? {}
    const lacks = (held: readonly string[] | null, scopes: readonly string[]) =>
      lacking(provider, held ?? [], scopes).length > 0
    for (const row of await store.flows.open(flow.person)) {
      const same = row.agent === flow.agent && row.connection === flow.connection
      // Somebody is at the provider, or the application is to confirm: that goes its own way.
      const busy = row.held != null || (row.legExpiresAt ?? 0) > clock.now()
      // A yes to standing is its person's own.
      if (
        !same ||
        busy ||
        row.standing != null ||
        lacks(holding.scopes, row.scopes) ||
        lacks(holding.granted, row.scopes)
      )
        continue
      // It ended by itself meanwhile, here or at another replica.
      if (!(await store.flows.finish(row.hash, 'completed', null, clock.now()))) continue
      await store.publish('flow', row.hash)
      await event('completed', toFlow(row), { at_provider: false, by_flow: flow.hash })
    }
  }

  const end = async (
    flow: Flow,
    outcome: { readonly failure: string } | { readonly missing: readonly string[] },
  ): Promise<Flow> => {
    const failed = 'failure' in outcome
    const missing = failed ? [] : outcome.missing
    const failure = failed ? outcome.failure : missing.length > 0 ? JSON.stringify(missing) : null
    const status = failed ? 'failed' : 'completed'
    const first = await store.flows.finish(flow.hash, status, failure, clock.now())
    try {
      if (first && !failed) await deps.lets?.(flow)
    } finally {
      // Whoever waits for it, in any process on this store, looks now; a notice that is lost costs
      // them a second look.
      await store.publish('flow', flow.hash)
    }
    if (!failed) await settle(flow)
    return {
      ...flow,
      status,
      failure: failed ? outcome.failure : null,
      missing,
    }
  }

  return { event, end, holdingOf }
}
