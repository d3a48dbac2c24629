// The pages of the connect listener, where the configuration says who is at them.
import type { RequestListener } from 'node:http'
import type { Config } from '../config/schema.ts'
import type { Logo } from '../config/logo.ts'
import type { Connection, Flow } from '../model.ts'
import { createForwarded } from '../net/forwarded.ts'
import { createVisits } from '../consent/session.ts'
import { createLocalSignIn, createSignIn } from '../consent/sign_in.ts'
import type { AllowedOf } from '../consent/allowed.ts'
import { validId } from '../wire/canonical.ts'
import type { Consent } from './consent.ts'
import type { Core } from './core.ts'
import { unattended } from './programs.ts'
import type { Configured } from './scope.ts'
import { whenAsked } from './web.ts'

/** Whose pages these are, as the pages take it. */
export const brandOf = ({ connect: { brand } }: Config, logo: Logo | null) =>
  brand === undefined
    ? null
    : {
        words: { name: brand.name, logo: logo !== null, support: brand.support ?? null },
        logo,
      }

/** null: nobody could be told from another at them. */
export const createPages = async (
  { config, agents: about, written, log, print, keep }: Configured,
  { vault, connections, fetch, logo, marks, agents, runs, standings, store, issuerSessions }: Core,
  { flows, revoker, onEvent, session, people, active, standing, asking }: Consent,
  allowed: AllowedOf,
): Promise<RequestListener | null> => {
  const { sign_in: signIn, verifier } = config.connect
  if (signIn === undefined && verifier === undefined) return null
  const atDoor =
    signIn === undefined
      ? createVisits(verifier?.url ?? '', session)
      : signIn === 'local'
        ? await keep('code', [], () => ({
            value: createLocalSignIn({ ...session, codeFile: written('.deputy-code'), print }),
            close: () => {},
          }))
        : createSignIn(signIn, { ...session, fetch, seen: issuerSessions.seen })
  const shown = {
    flows,
    asking,
    signIn: atDoor,
    localPerson: (id: string) =>
      validId(id) ? { tenant: 'default', realm: config.identity.realm, id } : null,
    session,
    vault,
    revoke: revoker.revoke,
    agents: { ...agents, about, marks, active, grantsTo: store.grants.to },
    runs,
    standings,
    standing,
    connections,
    returnTo: config.connect.return_to,
    // Claims come with a call only: nobody says at the page what this person may do.
    allowed: async (
      { person, agent }: Flow,
      connection: Connection,
      scopes: readonly string[],
    ): Promise<ReadonlySet<string> | null> =>
      people.kind === 'claims'
        ? null
        : allowed(
            unattended(person, agent, config.identity.trust === 'asserted'),
            connection,
            scopes,
          ),
    brand: brandOf(config, logo),
    onEvent,
    from: createForwarded(config.listeners.trusted_proxies).address,
    log,
  }
  return whenAsked(log, async () => (await import('../people/app.ts')).createConnectApp(shown))
}
