// What a span says of a call: by OpenTelemetry's names where it has one, in the pseudonyms of the evidence, and no more of
// a call than the evidence does: nothing of what it asked for before it was understood and decided.
import type { Attributes, Ended } from '../observe/timeline.ts'
import type { Call, Over } from '../pipeline/exchange.ts'
import type { Pseudonyms } from './records.ts'

/** Methods that OpenTelemetry's conventions know; others are written by agents. */
const METHODS = new Set('GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE QUERY'.split(' '))

const ofWho = ({ who }: Call, { user }: Pseudonyms): Attributes =>
  who === null
    ? {}
    : {
        'user.id': user(who.person),
        'deputy.user.realm': who.person.realm,
        'deputy.user.tenant': who.person.tenant,
        'gen_ai.agent.id': who.agent,
        ...(who.run === null ? {} : { 'deputy.run': who.run }),
      }

const ofRoute = ({ route }: Call): Attributes =>
  route === null
    ? {}
    : {
        'http.route': route.connection.provider.id,
        'server.address': route.host,
        'server.port': route.port,
        'deputy.connection': route.connection.name,
        'deputy.provider': route.connection.provider.id,
      }

const ofDecision = ({ who, decision, route, act }: Call, { path }: Pseudonyms): Attributes =>
  who === null || decision === null || route === null || act === null
    ? {}
    : {
        'url.path': path(route, who.person),
        'gen_ai.tool.name': act.operation.id,
        'deputy.operation.access': act.operation.access,
        'deputy.decision.effect': decision.effect,
        'deputy.decision.id': decision.id,
        'deputy.decision.reasons': decision.reasons.map(({ code }) => code),
        'deputy.policy.revision': decision.revision,
        'deputy.policy.digest': decision.digest,
      }

const ofOutcome = ({ outcome }: Call): Attributes =>
  outcome === null
    ? {}
    : {
        'deputy.result': outcome.result,
        'deputy.sent': outcome.sent,
        'http.request.body.size': outcome.bytesIn,
        'http.response.body.size': outcome.bytesOut,
        ...(outcome.credential === null
          ? {}
          : { 'deputy.credential.refreshed': outcome.credential.refreshed }),
      }

/** An answer that was cut off is no success either. */
export const spanOf = (
  call: Call,
  { req, status, problem, via }: Over,
  pseudonyms: Pseudonyms,
): Ended => {
  const method = METHODS.has(req.method ?? '') ? (req.method ?? '') : '_OTHER'
  const cut = call.outcome?.result === 'interrupted' ? 'interrupted' : null
  const error = problem?.code ?? cut
  return {
    name: call.route === null ? method : `${method} ${call.route.connection.provider.id}`,
    // Of a server, what its caller did wrong is no error.
    failed: status >= 500 || cut !== null,
    attributes: {
      'http.request.method': method,
      'http.response.status_code': status,
      'network.protocol.version': req.httpVersion,
      'url.scheme': 'encrypted' in req.socket ? 'https' : 'http',
      'deputy.exchange': call.id,
      ...(via === 'proxy' ? {} : { 'deputy.via': via }),
      ...(error === null ? {} : { 'error.type': error }),
      ...ofRoute(call),
      ...ofWho(call, pseudonyms),
      ...ofDecision(call, pseudonyms),
      ...ofOutcome(call),
    },
  }
}
