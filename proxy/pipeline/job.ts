// What is known of a call when it leaves: how its answer is read, rewritten and sealed for whom.
import { setImmediate as yielded } from 'node:timers/promises'
import type { Principal, PolicyEngine, Via } from '../model.ts'
import type { Guard } from '../net/guarded.ts'
import type { Rpc } from '../net/rpc.ts'
import { followedBy } from './classify.ts'
import type { Credentials } from './credential.ts'
import type { Decide } from './decide.ts'
import type { Call } from './exchange.ts'
import type { Job } from './forward.ts'
import type { Identify } from './identify.ts'
import { listed } from './mcp.ts'
import { boundTo, ofShare, type Request, type Verdict } from './request.ts'
import type { Life } from './stream_life.ts'
import type { Listed } from '../envelope/listed.ts'
import type { AddressTags } from '../wire/address_tag.ts'
import { targetText } from '../wire/canonical.ts'
import type { McpSessions } from '../wire/mcp_session.ts'
import type { Followed, QuerySeals } from '../wire/query_seal.ts'

export type JobDeps = {
  readonly via: Via
  readonly policy: () => PolicyEngine | null
  readonly tag: Identify['tag']
  readonly addressTags: AddressTags
  readonly querySeals: QuerySeals
  readonly mcpSessions: McpSessions
  /** Of what is only listed: no authorization service is asked. */
  readonly supposing: Decide
  readonly credentials: Credentials
}

const NONE: readonly string[] = []
/** Decisions of one list between two looks at what else there is to do. */
const AT_ONCE = 32

export const createJobs = (deps: JobDeps) => {
  const { via } = deps
  /** URLs that the client will follow without a key get what named its person, sealed for that address. */
  const signedOf = (call: Call, { act, tagged, route }: Request): Job['signed'] => {
    const pointers = act.operation.signed ?? NONE
    if (pointers.length === 0) return null
    const tag = deps.tag(tagged.rawHeaders, tagged.named)
    const seal = (host: string, target: string): string | null => {
      const methods = followedBy(call.snapshot.classify, route, host, target)
      return methods.length === 0 ? null : deps.addressTags.seal(tag, { host, target, methods })
    }
    return { pointers, seal }
  }
  /** What credentials in the query of a URL need that this provider wrote for a host of its own. */
  const sealedOf = (call: Call, { route, act, body, sifted, said }: Request): Job['seal'] => {
    const { who } = call
    // What an upload said is not known any more.
    if (who === null || call.credential === null || (body.state !== 'none' && body.bytes === null))
      return null
    const { provider } = route.connection
    const all = (): readonly string[] => [
      targetText(said),
      ...sifted.kept,
      body.bytes?.toString('latin1') ?? '',
    ]
    const { upload, mail } = act.operation
    // Where an upload was begun, its bytes may follow. Of a mail that comes in pieces nobody would know to whom it goes.
    const followed = (host: string, target: string): Followed =>
      upload &&
      mail === undefined &&
      followedBy(call.snapshot.classify, route, host, target).includes('PUT')
        ? 'upload'
        : 'read'
    return (host, target) =>
      host === route.host || provider.hosts.has(host)
        ? deps.querySeals.seal(
            { ...boundTo(who, { ...route, host }), followed: followed(host, target) },
            target,
            provider,
            all,
          )
        : null
  }
  /** The places of URLs in this operation's answers. */
  const pointersOf = ({ act, route }: Request): readonly string[] => {
    const everywhere = route.connection.provider.rewrite
    if (act.kind === 'asset') return NONE
    return act.operation.rewrite.length === 0
      ? everywhere
      : [...everywhere, ...act.operation.rewrite]
  }
  /** What may be called of all that the answer may list: each is decided, as a call without arguments. */
  const seenIn = (
    call: Call,
    principal: Principal,
    { route, act }: Request,
    { facts, holding }: Verdict,
  ): Listed | null | Promise<Listed | null> => {
    const { lists } = act
    if (lists === undefined) return null
    const { id, stripped } = call
    const about = { id, via, principal, route, body: null, stripped, facts, holding, listing: true }
    const allowed = async (): Promise<Listed> => {
      const keys = new Set<string>()
      for (const [i, one] of lists.entries()) {
        // Calls in flight are not to wait for all of it.
        if (i % AT_ONCE === AT_ONCE - 1) await yielded()
        const { effect } = await deps.supposing(deps.policy(), { ...about, act: one })
        if (effect !== 'deny' && effect !== 'error') keys.add(one.mcp?.key ?? '')
      }
      return listed(keys, route.connection.provider)
    }
    return allowed()
  }
  /** How the answers of an MCP server are read. */
  const rpcOf = ({ who }: Call, { act, route }: Request, seen: Listed | null): Rpc | null =>
    act.kind !== 'mcp' || who === null
      ? null
      : {
          id: act.mcp?.id ?? null,
          listed: seen,
          session: (id) =>
            deps.mcpSessions.seal(boundTo(who, route), { id, url: act.mcp?.url === true }),
        }
  const job = (
    call: Call,
    request: Request,
    { signal }: Life,
    {
      seen,
      guard,
      later,
    }: {
      readonly seen: Listed | null
      readonly guard: Guard | null
      readonly later: Job['later']
    },
  ): Job => {
    const { route, body, sifted } = request
    const agent = call.who === null ? '' : ofShare(call.who)
    return {
      route,
      body,
      injected: call.credential,
      pointers: pointersOf(request),
      signed: signedOf(call, request),
      seal: sealedOf(call, request),
      rpc: rpcOf(call, request, seen),
      guard,
      sifted,
      again: (used, said) => deps.credentials.again(used, route.connection, said, agent),
      later,
      websocket: request.act.operation.websocket != null,
      served: call.snapshot.served,
      signal,
      timeline: call.timeline ?? null,
    }
  }

  return { seenIn, job }
}
