// What every door does with tools, and who asks there.
import type { IncomingMessage } from 'node:http'
import type { Connection, Principal, Via } from '../model.ts'
import type { Catalogue, Offer } from './catalogue.ts'
import type { Ran } from './run.ts'
import type { Seen, Visible } from './visible.ts'

/** Who asks for a tool, as they asked. */
export type Outer = {
  readonly req: IncomingMessage
  readonly who: Principal
  /** The person, where no header but the body named them; null: the headers did. */
  readonly named: string | null
  readonly via: Exclude<Via, 'proxy'>
  /** The caller has left. */
  readonly signal: AbortSignal
  /** Seconds for which it may wait for its person, whatever its own headers say; absent: as they say. */
  readonly wait?: number
}

export type Tools = {
  readonly catalogue: () => Promise<Catalogue>
  /** What policy lets this person do with them now, without arguments. */
  readonly visible: Visible
  /** By any spelling of its name. Throws Problem tool_not_found, connection_ambiguous. */
  readonly operationsOf: (
    name: string,
  ) => Promise<{ readonly connection: Connection; readonly operations: readonly string[] }>
  /**
   * Those of MCP servers as these describe them to this person; what policy refuses, or a consent has to come before, is
   * not asked for. A server that says nothing in five seconds is left out of it, and the description says so.
   */
  readonly described: (
    outer: Outer,
    seen: readonly { readonly offer: Offer; readonly seen: Seen }[],
  ) => Promise<readonly Offer[]>
  /** Carries one out, as its caller. @throws Problem invalid_arguments */
  readonly run: (outer: Outer, offer: Offer, input: unknown) => Promise<Ran>
}
