// What the parts of a consent share: what it is made with, and the steps that more than one of them
// takes.
import type { Clock, Connection, Flow, FlowRow, Person, Store, Vault } from '../model.ts'
import type { OAuthClient } from '../oauth/client.ts'
import type { Sealer } from '../vault/seal.ts'
import type { Room } from './tenants.ts'

export type FlowDeps = {
  readonly store: Pick<Store, 'flows' | 'credentials' | 'publish' | 'subscribe'>
  readonly vault: Pick<Vault, 'look' | 'connect' | 'grant' | 'list' | 'disallow' | 'revoke'>
  readonly sealer: Pick<Sealer, 'seal' | 'open' | 'sealText' | 'openText' | 'hmac'>
  readonly client: Pick<
    OAuthClient,
    'authorize' | 'exchangeCode' | 'userinfo' | 'holder' | 'revoke'
  >
  readonly connections: () => ReadonlyMap<string, Connection>
  /** `connect.url`, without a trailing slash. */
  readonly publicUrl: string
  readonly linkTtlMs: number
  /**
   * How long after a person's No nobody but they themselves is sent to them with the same question,
   * ms; absent: an hour.
   */
  readonly nagAfterMs?: number
  readonly clock: Clock
  readonly randomBytes: (size: number) => Buffer
  /**
   * Evidence and notifications. Fields name the flow by its hash, never an id, code, state or
   * token.
   */
  readonly onEvent: (event: string, fields: object) => void | Promise<void>
  /** Links are to be delivered (`notices`), and one was made just now. Never in a call's way. */
  readonly onLink?: () => void
  /** The person said yes to what the flow asks for a workload. Throws where that cannot be stored. */
  readonly lets?: (flow: Flow) => Promise<void>
  /**
   * false: the identity provider does not list this person as active. Throws when it cannot be
   * asked.
   */
  readonly active?: (person: Person) => Promise<boolean>
  /**
   * Throws the Problem of an agent that is switched off: nobody consents to it, and its links are
   * good again once it is on.
   */
  readonly agentOn?: (agent: string, tenant: string) => void | Promise<void>
  /** Throws Problem tenant_quota where nothing more of this person may be stored; absent: no bounds. */
  readonly room?: Room
}

export type FlowParts = FlowDeps & {
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
