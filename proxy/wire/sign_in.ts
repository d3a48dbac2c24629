// How and when somebody signed in, as the verified claims of their assertion say it (OIDC Core 2).
import type { Entitlements, JsonObject } from '../model.ts'

/** null: the claims say nothing of it. */
export const signInOf = (claims: JsonObject | null): Entitlements['auth'] => {
  if (claims === null) return null
  const [acr, amr, at] = [claims['acr'], claims['amr'], claims['auth_time']]
  const said = {
    acr: typeof acr === 'string' ? acr : null,
    amr: [amr].flat().filter((each) => typeof each === 'string'),
    at: typeof at === 'number' ? at * 1_000 : null,
  }
  return said.acr === null && said.amr.length === 0 && said.at === null ? null : said
}
