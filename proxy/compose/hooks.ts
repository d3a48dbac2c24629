// Services of the team's own that judge calls, as a configuration has them.
import { hash, type KeyObject } from 'node:crypto'
import { createHook } from '../directory/hook.ts'
import type { Decide } from '../pipeline/decide.ts'
import { createHooks, type Hooks } from '../pipeline/obligation/hooks.ts'
import { takenByHook } from '../pipeline/obligation/redaction.ts'
import type { Core } from './core.ts'
import type { Configured } from './scope.ts'

/** Two readings of one key are one key. */
const digestOf = (key: KeyObject): string => hash('sha256', key.export(), 'hex')

/** @returns null: there are none, and no call asks for any */
export const hooksOf = (
  { config, clock, log, keep }: Configured,
  { fetch, metrics }: Pick<Core, 'fetch' | 'metrics'>,
  decide: Decide,
): Hooks | null => {
  const { hooks, network, upstream } = config
  if (hooks.length === 0) return null
  return createHooks({
    hooks: hooks.map((entry) => {
      const { timeout: timeoutMs, name, when, url, key, operations } = entry
      // Its turns and its rest go on where nothing of it changes.
      return keep('hook', [{ ...entry, key: digestOf(key) }, network, upstream], () => ({
        value: createHook({ name, when, url, key, operations, timeoutMs, fetch, clock, log }),
        close: () => undefined,
      }))
    }),
    decide,
    redact: takenByHook,
    clock,
    seen: metrics.hook,
  })
}
