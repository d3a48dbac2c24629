// Knows which scope contains which, and which are two names of one, so that sets of scopes are
// compared in one way. Pure.

/** Scope → all that it stands for, itself among them; what is not listed stands for itself. */
export type ScopeReach = ReadonlyMap<string, readonly string[]>

type Named = { readonly scopeReach?: ScopeReach | null }
const known = new WeakMap<ScopeReach, WeakMap<readonly string[], readonly string[]>>()

/** All that these scopes allow, by every name. The same list where a definition says nothing; one list for one list. */
export const widened = ({ scopeReach }: Named, scopes: readonly string[]): readonly string[] => {
  if (scopeReach === undefined || scopeReach === null || scopeReach.size === 0) return scopes
  let lists = known.get(scopeReach)
  if (lists === undefined) known.set(scopeReach, (lists = new WeakMap()))
  let wide = lists.get(scopes)
  if (wide === undefined) {
    wide = [...new Set(scopes.flatMap((scope) => scopeReach.get(scope) ?? [scope]))]
    lists.set(scopes, wide)
  }
  return wide
}

/** Those of `wanted` that `granted` does not contain (RFC 6749 3.3: what was granted may be called otherwise). */
export const lacking = (
  provider: Named,
  granted: readonly string[],
  wanted: readonly string[],
): readonly string[] => {
  const wide = widened(provider, granted)
  return wanted.filter((scope) => !wide.includes(scope))
}

/**
 * What to ask a person for: each scope that may be asked for as it is, in place of every other one the narrowest that may
 * be and contains it. What nothing contains stays as it is, for whoever asks to refuse.
 */
export const askable = (
  { scopeReach }: Named,
  allowed: readonly string[],
  wanted: readonly string[],
): readonly string[] => {
  const reach = (scope: string): readonly string[] => scopeReach?.get(scope) ?? [scope]
  const narrowest = (scope: string): string =>
    allowed
      .filter((wide) => reach(wide).includes(scope))
      .reduce<string | null>(
        (best, wide) => (best === null || reach(wide).length < reach(best).length ? wide : best),
        null,
      ) ?? scope
  return wanted.map((scope) => (allowed.includes(scope) ? scope : narrowest(scope)))
}
