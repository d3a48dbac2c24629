// What becomes of the tokens that a consent brought: stored for the person, held until the
// application says who was at its page, or given back.
import { lacking, widened } from '../wire/scopes.ts'
import { samePerson } from '../wire/canonical.ts'
import { createHash } from 'node:crypto'
import type { Connection, Flow, FlowRow, Person, TokenSet } from '../model.ts'
import { AccountMismatch, Problem } from '../problem.ts'
import type { FlowParts } from './parts.ts'
import type { Revoked } from '../oauth/revocation.ts'

type Earned = {
  readonly tokens: TokenSet
  readonly account: { readonly id: string; readonly label: string }
}
/** What is kept beside the sealed tokens; null `account`: only an agent's grant waits. */
type Held = {
  readonly account: Earned['account'] | null
  readonly scopes: readonly string[] | null
  readonly host: string | null
  readonly clientId?: string
  /** Id of the provider that gave the tokens; absent: not noted. */
  readonly provider?: string
  /** ms since the epoch; null: no end known. */
  readonly expiresAt: number | null
}
export type Kept =
  | { readonly kind: 'completed' | 'partial'; readonly flow: Flow; readonly account: string }
  | { readonly kind: 'account_mismatch' | 'tenant_quota'; readonly flow: Flow }
  | { readonly kind: 'used' }
type Confirmed =
  | {
      readonly kind: 'confirmed'
      readonly authorizationId: string
      readonly nextUri: string | null
    }
  | { readonly kind: 'mismatch' }
  | { readonly kind: 'refused'; readonly problem: Problem }

/** What the other parts of a flow lend each other. */
/** Time for the application to confirm. */
const CONFIRM_MS = 600_000
/** A confirmation that is just being stored must not be swept away meanwhile. */
const GRACE_MS = 60_000
const FLOW_ID = /^[A-Za-z0-9_-]{43}$/

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
export const createKeeper = (parts: FlowParts) => {
  const { store, vault, sealer, client, clock, toFlow, end, event } = parts

  const giveBack = (connection: Connection | undefined, tokens: TokenSet): Promise<Revoked> =>
    connection === undefined
      ? Promise.resolve('failed')
      : client.revoke(connection, tokens).catch((): Revoked => 'failed')

  /**
   * Stores tokens for the flow's person, unless another account is connected or the flow has ended
   * meanwhile.
   */
  const keep = async (
    flow: Flow,
    connection: Connection,
    { tokens, account }: Earned,
    actor: object,
  ): Promise<Kept> => {
    const undone = async (): Promise<Kept> => {
      const revoked = await giveBack(connection, tokens)
      await event('failed', flow, { ...actor, reason: 'ended_meanwhile', revoked })
      return { kind: 'used' }
    }
    /** What was stored goes; where others may use the account it stays, for them. */
    const withdrawn = async (): Promise<Kept> => {
      const { person, agent, connection } = flow
      await vault.disallow(person, agent, connection)
      const held = await vault.list({ ...person, connection })
      if (held.some(({ agents }) => agents.length > 0)) return { kind: 'used' }
      for (const { credential } of held) await vault.revoke(credential)
      return undone()
    }
    // Somebody may have revoked everything of this person while the provider was asked.
    if ((await store.flows.byHash(flow.hash))?.status !== 'pending') return undone()
    // What was granted, and all that it contains (RFC 6749 3.3).
    const granted = widened(connection.provider, tokens.scopes ?? [])
    const missing = lacking(connection.provider, granted, flow.scopes)
    const before = await parts.grantedTo(flow)
    try {
      await parts.room?.(flow)
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
      // Whoever revoked while it was being stored saw nothing of it, and nobody else will end it.
      const now = await store.flows.byHash(flow.hash)
      if (now === null || now.status === 'failed') return await withdrawn()
    } catch (error) {
      const full = error instanceof Problem && error.code === 'tenant_quota'
      // Decided by the store, so that of two answers at one moment only one can have the place.
      if (!full && !(error instanceof AccountMismatch)) throw error
      const kind = full ? 'tenant_quota' : 'account_mismatch'
      const failed = await end(flow, { failure: kind })
      const revoked = await giveBack(connection, tokens)
      await event('failed', flow, { ...actor, reason: kind, revoked })
      return { kind, flow: failed }
    }
    const done = await end(flow, { missing })
    await event('completed', flow, { ...actor, account: account.label, missing })
    return {
      kind: missing.length > 0 ? 'partial' : 'completed',
      flow: done,
      account: account.label,
    }
  }

  /**
   * Keeps what was earned (null: the yes of one agent to what is stored already) until the
   * application confirms. Nothing can be injected from it. @returns the id to confirm; null: the
   * flow has ended or waits already.
   */
  const hold = async (
    flow: Flow,
    earned: Earned | null,
    provider?: string,
  ): Promise<string | null> => {
    const flowId = parts.randomBytes(32).toString('base64url')
    const { expiresIn = null, clientId } = earned?.tokens ?? {}
    const what: Held = {
      account: earned?.account ?? null,
      scopes: earned?.tokens.scopes ?? null,
      host: earned?.tokens.host ?? null,
      ...(clientId === undefined ? {} : { clientId }),
      ...(provider === undefined ? {} : { provider }),
      expiresAt: expiresIn === null ? null : clock.now() + expiresIn * 1_000,
    }
    const held = JSON.stringify(what)
    const bound = { purpose: 'flow-held', flow: flow.hash, held }
    const holding = await store.flows.hold(flow.hash, {
      confirmHash: sha256(flowId),
      held,
      sealedLeg:
        earned === null
          ? null
          : await sealer.seal(
              { access: earned.tokens.access, refresh: earned.tokens.refresh },
              bound,
            ),
      confirmUntil: clock.now() + CONFIRM_MS,
    })
    if (holding) await event('awaiting_confirmation', flow)
    return holding ? flowId : null
  }

  const heldBy = async (row: FlowRow): Promise<Earned | null> => {
    if (row.held == null || row.sealedLeg === null) return null
    const { account, scopes, host, expiresAt, clientId } = JSON.parse(row.held) as Held
    const bound = { purpose: 'flow-held', flow: row.hash, held: row.held }
    const tokens = await sealer.open(row.sealedLeg, bound)
    const access = tokens.get('access')
    if (account === null || access === undefined)
      throw new Error('what is held for a confirmation has no token')
    const left =
      expiresAt === null ? null : Math.max(1, Math.floor((expiresAt - clock.now()) / 1_000))
    return {
      account,
      tokens: {
        access,
        refresh: tokens.get('refresh') ?? null,
        scopes,
        expiresIn: left,
        host,
        ...(clientId === undefined ? {} : { clientId }),
      },
    }
  }

  /** Where its tokens are of; undefined: nowhere, or another provider has taken the name since. */
  const connectionOf = (row: FlowRow): Connection | undefined => {
    const connection = parts.connections().get(row.connection)
    const { provider } = JSON.parse(row.held ?? '{}') as Partial<Held>
    return provider === undefined || provider === connection?.provider.id ? connection : undefined
  }

  /** Ends a pending flow; what is held is revoked at the provider and deleted. */
  const discard = async (row: FlowRow, reason: string, actor: object = {}): Promise<void> => {
    const flow = toFlow(row)
    const connection = connectionOf(row)
    const earned = await heldBy(row).catch(() => 'unreadable' as const)
    const revoked =
      earned === 'unreadable'
        ? 'failed'
        : earned === null
          ? null
          : await giveBack(connection, earned.tokens)
    await end(flow, { failure: reason })
    await event('failed', flow, { ...actor, reason, ...(revoked === null ? {} : { revoked }) })
  }

  const unknown = (): Confirmed => ({
    kind: 'refused',
    problem: new Problem('authorization_not_found', 'no authorization waits for this confirmation'),
  })

  return {
    keep,
    hold,

    /** The application says who was at its page. Any other person than the flow's ends it. */
    confirm: async (flowId: string, person: Person): Promise<Confirmed> => {
      const confirmHash = sha256(flowId)
      const row = FLOW_ID.test(flowId) ? await store.flows.byConfirm(confirmHash) : null
      if (row === null) return unknown()
      const flow = toFlow(row)
      const connection = connectionOf(row)
      const late = flow.status !== 'pending' || (row.confirmUntil ?? 0) <= clock.now()
      const same = samePerson(flow.person, person)
      if (!late && same) await parts.agentOn?.(flow.agent, flow.person.tenant)
      const active = late || !same || (await parts.active?.(flow.person)) !== false
      if (!(await store.flows.claim(row.hash, confirmHash))) return unknown()
      if (late || connection === undefined) {
        await discard(row, 'expired')
        return unknown()
      }
      const actor = { by: person, verified: true, confirmed: true }
      if (!same) {
        await event('user_mismatch', flow, { ...actor, at: 'confirm' })
        await discard(row, 'user_mismatch', actor)
        return { kind: 'mismatch' }
      }
      if (!active) {
        await discard(row, 'user_inactive', actor)
        const detail = 'the identity provider does not list this person as active'
        return { kind: 'refused', problem: new Problem('policy_denied', detail) }
      }
      const earned = await heldBy(row)
      if (earned === null) {
        const scopes = [...new Set([...(await parts.grantedTo(flow)), ...flow.scopes])]
        await vault.grant(flow.person, flow.agent, flow.connection, scopes)
        await end(flow, { missing: [] })
        await event('completed', flow, { ...actor, at_provider: false })
      } else {
        const kept = await keep(flow, connection, earned, actor)
        if (kept.kind === 'used') return unknown()
        if (kept.kind === 'tenant_quota') {
          const detail = 'the tenant has used up what it may store: what was granted is given back'
          return { kind: 'refused', problem: new Problem('tenant_quota', detail) }
        }
        if (kept.kind === 'account_mismatch') {
          const detail = 'another account of this person is connected: it was kept'
          return { kind: 'refused', problem: new Problem('request_invalid', detail) }
        }
      }
      return { kind: 'confirmed', authorizationId: `ac_${row.hash}`, nextUri: flow.nextUri }
    },

    /** Ends what is under way for a person, or for one agent of theirs. @returns how many */
    cancel: async (person: Person, agent: string | null): Promise<number> => {
      const open = (await store.flows.open(person)).filter(
        (row) => agent === null || row.agent === agent,
      )
      for (const row of open) await discard(row, 'revoked')
      return open.length
    },

    /** Gives back what nobody confirmed in time. */
    overdue: async (): Promise<void> => {
      for (const row of await store.flows.overdue(clock.now() - GRACE_MS))
        await discard(row, 'expired')
    },
  }
}

export type Keeper = ReturnType<typeof createKeeper>
