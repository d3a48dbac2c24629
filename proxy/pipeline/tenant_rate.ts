// How many calls a tenant's agents may make in a minute. Counted in this process, so that no call waits for it.
import { Problem } from '../problem.ts'

const MINUTE_MS = 60_000

/** Counts one call. Throws Problem tenant_busy where the tenant has made as many as it may. */
export type TenantRate = (tenant: string) => void

/**
 * A bucket for each tenant, which holds a minute's calls and is filled evenly.
 * @param deps.most calls in a minute; undefined: not bounded
 */
export const createTenantRate = (deps: {
  readonly most: (tenant: string) => number | undefined
  readonly mono: () => number
  readonly refused: (tenant: string) => void
}): TenantRate => {
  /** Calls that are left, and when that was so. Tenants are of a closed set: identity names them. */
  const buckets = new Map<string, { left: number; at: number }>()
  return (tenant) => {
    const most = deps.most(tenant)
    if (most === undefined) {
      buckets.delete(tenant)
      return
    }
    const now = deps.mono()
    const known = buckets.get(tenant)
    const filled = known === undefined ? most : known.left + ((now - known.at) * most) / MINUTE_MS
    const left = Math.min(most, filled) // the bound may be lower than it was
    if (left >= 1) {
      buckets.set(tenant, { left: left - 1, at: now })
      return
    }
    buckets.set(tenant, { left, at: now })
    deps.refused(tenant)
    throw new Problem(
      'tenant_busy',
      'The agents of this tenant have made as many calls as they may in a minute.',
      { extra: { retry_after: Math.min(60, Math.ceil(((1 - left) * 60) / most)) } },
    )
  }
}
