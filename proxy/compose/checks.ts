// Checks of a call, as a configuration has them.
import { checkCredentialsOf, checkKindOf, nameOf } from '../config/checks.ts'
import type { Config } from '../config/schema.ts'
import { createCheck, type Check, type CheckSeen } from '../directory/checks.ts'
import type { Clock, Log } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import { createOwnToken } from '../oauth/own_token.ts'
import type { Keep } from './kept.ts'

export const checksOf = (
  { entitlements, network, upstream }: Config,
  making: {
    readonly fetch: Fetch
    readonly clock: Clock
    readonly log: Log
    readonly keep: Keep
    readonly seen: CheckSeen
  },
): readonly Check[] => {
  const { fetch, keep, ...rest } = making
  return (entitlements?.checks ?? []).map((entry) =>
    // Its own token goes on where nothing of it changes.
    keep('check', [entry, network, upstream], () => ({
      value: createCheck({
        ...rest,
        name: nameOf(entry),
        kind: checkKindOf(entry),
        operations: entry.operations,
        get: { fetch, authorization: createOwnToken(checkCredentialsOf(entry), making) },
        timeoutMs: entry.timeout,
      }),
      close: () => undefined,
    })),
  )
}
