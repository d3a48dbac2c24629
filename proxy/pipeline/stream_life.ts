// How long a stream of an MCP server may go on by one decision: nothing in it is decided anew.
import type { Principal } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Act } from './classify.ts'

/** Operations whose answer has no end of its own. */
const ENDLESS: ReadonlySet<string> = new Set(['mcp.stream', 'mcp.subscriptions.listen'])
/** ms; whoever wants more comes again, and is decided anew. */
const MOST_MS = 3_600_000

export type Life = Disposable & { readonly signal: AbortSignal }

/**
 * The signal that ends a call, and for a stream without an end also what it was let in by: the tag's `exp`, and an hour.
 * @param now ms since the epoch
 */
export const lifeOf = (
  signal: AbortSignal,
  { kind, operation }: Pick<Act, 'kind' | 'operation'>,
  { expiresAt }: Pick<Principal, 'expiresAt'>,
  now: number,
): Life => {
  if (kind !== 'mcp' || !ENDLESS.has(operation.id)) return { signal, [Symbol.dispose]: () => {} }
  const ms = Math.max(0, Math.min(MOST_MS, (expiresAt ?? Infinity) - now))
  const controller = new AbortController()
  const end = (): void =>
    controller.abort(
      new Problem('unauthenticated', 'the stream has gone on as long as its tag lets it'),
    )
  const timer = setTimeout(end, ms)
  return {
    signal: AbortSignal.any([signal, controller.signal]),
    [Symbol.dispose]: () => clearTimeout(timer),
  }
}
