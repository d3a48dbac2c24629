// How deputy's own API on the agents' listeners learns who asks, as a call does.
import type { IncomingMessage } from 'node:http'
import type { CallerDeps } from '../../api/caller.ts'
import type { Principal } from '../../model.ts'
import { clientCertificate } from '../../net/client_certificate.ts'
import { tagOnly } from '../../pipeline/standing.ts'
import { Problem } from '../../problem.ts'
import type { Core } from '../core.ts'
import type { Pipeline } from '../pipeline.ts'
import type { Scope } from '../scope.ts'

const shown = (req: IncomingMessage | undefined) =>
  req === undefined ? null : clientCertificate(req.socket)

export const askingOf = (
  { config }: Scope,
  { newId, agents, rate, evidence }: Core,
  identify: Pipeline['identify'],
): CallerDeps => {
  /** Counted, and of an agent that is on; what is refused here is in the evidence as a refused call is. */
  const on = async (who: Principal): Promise<Principal> => {
    try {
      rate(who.person.tenant)
      await agents.allowed(who.agent, who.person.tenant)
      return who
    } catch (error) {
      if (error instanceof Problem) evidence.refused(newId(), error.code, who.person)
      throw error
    }
  }
  return {
    identify: async (rawHeaders, req) => {
      const { who } = await identify.identify(rawHeaders, null, shown(req))
      tagOnly(who)
      return on(who)
    },
    plainPerson:
      config.identity.trust === 'plain' || config.applications.length > 0
        ? (userId, rawHeaders, tenant, req) => {
            const named = identify.named(userId, rawHeaders, tenant, shown(req))
            return named === null ? null : Promise.resolve(named).then(on)
          }
        : null,
  }
}
