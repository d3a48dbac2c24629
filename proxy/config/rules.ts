// Rules between values of the configuration.
import { isLoopback, plainHttp } from './address.ts'
import { backendRules } from './backend.ts'
import type { Config, Listen } from './config.ts'

/** What no single value can tell: rules between values. Each returns `path: message`. */
export const between = (config: Config): readonly string[] => {
  const problems: string[] = []
  const { identity, listeners, entitlements, connect, audit } = config
  const open = (address: Listen): boolean => !('path' in address) && !isLoopback(address.host)
  const agentSide = [
    ['listeners.agent', listeners.agent] as const,
    ...(listeners.agent_tls === undefined
      ? []
      : [['listeners.agent_tls.listen', listeners.agent_tls.listen] as const]),
    ...listeners.extra.map((extra, i) => [`listeners.extra.${i}.listen`, extra.listen] as const),
  ]
  if (identity.trust === 'plain')
    for (const [path, address] of agentSide)
      if (open(address))
        problems.push(
          `${path}: identity.trust is plain, so anybody who reaches this address may name any user: listen on loopback, or use identity.trust: asserted`,
        )
  if (identity.trust === 'asserted') {
    if (identity.issuers.length === 0)
      problems.push('identity.issuers: identity.trust is asserted, which needs one issuer at least')
    listeners.extra.forEach((extra, i) => {
      if (extra.user !== undefined)
        problems.push(
          `listeners.extra.${i}.user: a name on a listener is unsigned: allowed only under identity.trust: plain`,
        )
    })
  }
  identity.issuers.forEach((issuer, i) => {
    if (issuer.jwks !== undefined && issuer.jwks_uri !== undefined)
      problems.push(`identity.issuers.${i}: has both jwks and jwks_uri: keep one`)
    if (issuer.tenants !== undefined && issuer.tenant === undefined)
      problems.push(
        `identity.issuers.${i}.tenant: tenants are listed, but no pointer says where the assertion names its tenant`,
      )
    if (issuer.tenant !== undefined && issuer.tenants === undefined)
      problems.push(
        `identity.issuers.${i}.tenants: an issuer may speak only for the tenants that are listed: list them`,
      )
  })
  if (entitlements?.source === 'file' && entitlements.file === undefined)
    problems.push('entitlements.file: entitlements.source is file, but no file is named')
  if (
    entitlements !== undefined &&
    entitlements.source !== 'file' &&
    entitlements.file !== undefined
  )
    problems.push(
      `entitlements.file: is not read, because entitlements.source is ${entitlements.source}: remove it`,
    )
  if (entitlements?.claims !== undefined && entitlements.source !== 'claims')
    problems.push(
      `entitlements.claims: are not read, because entitlements.source is ${entitlements.source}: remove them`,
    )
  if (entitlements?.source === 'claims') {
    if (identity.trust === 'plain')
      problems.push('entitlements.source: claims need identity.trust: asserted')
    for (const access of ['read', 'write', 'delete', 'admin'] as const)
      if (entitlements.max_age[access] === 0)
        problems.push(
          `entitlements.max_age.${access}: is 0s, but claims are as old as their assertion: name an age, such as 5m`,
        )
  }
  if (connect.sign_in === 'local') {
    if (identity.trust !== 'plain')
      problems.push('connect.sign_in: local is for a laptop: it needs identity.trust: plain')
    const addresses = [...agentSide, ['listeners.connect', listeners.connect] as const]
    for (const [path, address] of addresses)
      if (address !== null && open(address))
        problems.push(`${path}: connect.sign_in is local, so everything must listen on loopback`)
  }
  if (connect.url !== undefined && plainHttp(connect.url))
    problems.push(`connect.url: ${connect.url} is plain http to another machine: use https`)
  if (listeners.connect === null && connect.url === undefined)
    problems.push(
      'connect.url: listeners.connect is off, so say where the pages are that people are sent to',
    )
  if (listeners.connect !== null && connect.sign_in === undefined && connect.verifier === undefined)
    problems.push(
      'connect.sign_in: the pages must know who is there: name your OpenID provider, or say local on a laptop',
    )
  if (audit.required && audit.spool === undefined && !audit.sink.some((sink) => sink !== 'otlp'))
    problems.push(
      'audit.spool: audit.required is true and no sink is a file or stdout: name a spool folder',
    )
  const kept = audit.sink.some((sink) => sink.startsWith('file:'))
  if (!kept && (audit.rotate !== undefined || audit.retention !== undefined))
    problems.push(
      'audit.sink: names no file, so audit.rotate and audit.retention have nothing to do: leave them out',
    )
  else if (audit.rotate === 'off' && audit.retention !== undefined)
    problems.push(
      'audit.retention: with rotate: off deputy closes no file and removes none: leave it out, and let whoever rotates the files remove them',
    )
  if (
    config.operators.length > 0 &&
    listeners.connect !== null &&
    open(listeners.connect) &&
    listeners.operators === undefined
  )
    problems.push(
      'listeners.operators: the connect listener is not on loopback, so the operators’ API needs an address of its own',
    )
  problems.push(...backendRules(config), ...twice(config))
  for (const unsigned of config.policy.bundle.startsWith('https:') ? [config.policy] : [])
    if (unsigned.verification === undefined && !unsigned.unsigned)
      problems.push(
        'policy.verification: a bundle from a URL must be verified: name the keys, or say unsigned: true',
      )
  return problems
}

/** Every address that is listened on, by the key that names it. */
export const addressesOf = ({ listeners }: Config): readonly (readonly [string, Listen])[] => [
  ['listeners.agent', listeners.agent],
  ['listeners.admin', listeners.admin],
  ...(listeners.connect === null ? [] : [['listeners.connect', listeners.connect] as const]),
  ...(listeners.operators === undefined
    ? []
    : [['listeners.operators', listeners.operators] as const]),
  ...(listeners.agent_tls === undefined
    ? []
    : [['listeners.agent_tls.listen', listeners.agent_tls.listen] as const]),
  ...listeners.extra.map(({ listen }, i) => [`listeners.extra.${i}.listen`, listen] as const),
]
/** Do both take one port? An address of all takes it from each other one. */
const clash = (a: Listen, b: Listen): boolean => {
  if ('path' in a || 'path' in b) return 'path' in a && 'path' in b && a.path === b.path
  const all = [a, b].some(({ host }) => host === '0.0.0.0' || host === '::')
  const name = (host: string): string => (host === 'localhost' ? '127.0.0.1' : host.toLowerCase())
  return a.port !== 0 && a.port === b.port && (all || name(a.host) === name(b.host))
}
const twice = (config: Config): readonly string[] => {
  const all = addressesOf(config)
  return all.flatMap(([key, listen], i) => {
    const first = all.slice(0, i).find(([, other]) => clash(other, listen))
    const shown = 'path' in listen ? `unix:${listen.path}` : `${listen.host}:${listen.port}`
    return first === undefined
      ? []
      : [`${key}: ${shown} is taken by ${first[0]} already: choose another address`]
  })
}

/** What is allowed and yet not what it looks like: said aloud by `serve` and `validate`. */
export const oddities = ({ connect }: Config): readonly string[] =>
  connect.sign_in === undefined || connect.verifier === undefined
    ? []
    : [
        'connect.verifier: is not used, because connect.sign_in says who is at the page: keep the one that knows your people',
      ]
