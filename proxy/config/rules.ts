// Rules between values of the configuration.
import { isDeepStrictEqual } from 'node:util'
import { isLoopback, plainHttp } from './address.ts'
import { backendRules, naming, tenantRules } from './backend.ts'
import { httpProblems } from './directory.ts'
import { checkProblems } from './checks.ts'
import { investigatorProblem } from './investigator.ts'
import { ldapProblems } from './ldap.ts'
import { policyProblems } from './policy.ts'
import { sourcesOf, type Config } from './schema.ts'
import type { Listen } from './values.ts'
import { workloadProblems } from './workload.ts'

type Rule = (config: Config) => readonly (string | false)[]

const open = (address: Listen): boolean => !('path' in address) && !isLoopback(address.host)
const forAgents = ({ listeners, forward }: Config): readonly (readonly [string, Listen])[] => [
  ['listeners.agent', listeners.agent],
  ...(listeners.agent_tls === undefined
    ? []
    : [['listeners.agent_tls.listen', listeners.agent_tls.listen] as const]),
  ...listeners.extra.map((extra, i) => [`listeners.extra.${i}.listen`, extra.listen] as const),
  ...(forward === undefined ? [] : [['forward.listen', forward.listen] as const]),
]

const trustRules: Rule = (config) => {
  const { identity, listeners, applications } = config
  if (identity.trust === 'plain')
    return forAgents(config).map(
      ([path, address]) =>
        open(address) &&
        `${path}: identity.trust is plain, so anybody who reaches this address may name any user: listen on loopback, or use identity.trust: asserted`,
    )
  return [
    identity.issuers.length === 0 &&
      applications.length === 0 &&
      'identity.issuers: identity.trust is asserted, which needs one issuer at least, or a row of applications',
    ...listeners.extra.map(
      ({ user }, i) =>
        user !== undefined &&
        `listeners.extra.${i}.user: a name on a listener is unsigned: allowed only under identity.trust: plain`,
    ),
  ]
}

const issuerRules: Rule = ({ identity }) =>
  identity.issuers.flatMap(({ jwks, jwks_uri: jwksUri, tenant, tenants }, i) => [
    jwks !== undefined &&
      jwksUri !== undefined &&
      `identity.issuers.${i}: has both jwks and jwks_uri: keep one`,
    tenants !== undefined &&
      tenant === undefined &&
      `identity.issuers.${i}.tenant: tenants are listed, but no pointer says where the assertion names its tenant`,
    tenant !== undefined &&
      tenants === undefined &&
      `identity.issuers.${i}.tenants: an issuer may speak only for the tenants that are listed: list them`,
  ])

const workloadRules: Rule = ({ identity, listeners, workloads }) => {
  const header = identity.agent_header.toLowerCase()
  const asked = listeners.agent_tls?.client_ca !== undefined
  const shown = workloads.findIndex(({ certificate }) => certificate !== undefined)
  return [
    [identity.header.toLowerCase(), 'authorization'].includes(header) &&
      `identity.agent_header: ${identity.agent_header} carries the tag already: a workload’s token needs a header of its own`,
    asked &&
      shown === -1 &&
      'listeners.agent_tls.client_ca: no row of workloads has certificate, so nobody would be named by one: add a row, or remove this',
    !asked &&
      shown !== -1 &&
      `workloads.${shown}.certificate: no client shows one unless listeners.agent_tls.client_ca says by which authorities`,
    ...workloads.flatMap((row, i) => {
      const { name, issuer, audience, jwks, jwks_uri: jwksUri } = row
      const source = issuer ?? row.spiffe
      const first =
        source === undefined
          ? undefined
          : workloads.find((other) => (other.issuer ?? other.spiffe) === source)
      const tags = identity.issuers.findIndex(
        (other) => other.issuer === issuer && other.audience === audience,
      )
      return [
        ...workloadProblems(row).map((problem) => `workloads.${i}${problem}`),
        jwks !== undefined &&
          jwksUri !== undefined &&
          `workloads.${i}: has both jwks and jwks_uri: keep one`,
        workloads.findIndex((other) => other.name === name) !== i &&
          `workloads.${i}.name: ${name} is there twice`,
        first !== undefined &&
          !isDeepStrictEqual(verifying(first), verifying(row)) &&
          `workloads.${i}: names the ${issuer === undefined ? 'trust domain' : 'issuer'} of workloads.${workloads.indexOf(first)}, but another audience, max_age, token_review or other keys: rows of one ${issuer === undefined ? 'trust domain' : 'issuer'} agree on these`,
        tags !== -1 &&
          `workloads.${i}.audience: identity.issuers.${tags} takes tags of this issuer for ${audience} too, so a workload’s token would name a person: choose another audience`,
      ]
    }),
  ]
}
/** What is one for all rows of an issuer. */
const verifying = (row: Config['workloads'][number]) => [
  row.audience,
  row.jwks,
  row.jwks_uri,
  row.max_age,
  row.token_review,
]

const scimRules = (config: Config, named: boolean, unread: string): readonly (string | false)[] => {
  const { entitlements } = config
  const { scim, max_age: maxAge } = entitlements ?? {}
  if (!named) return [scim !== undefined && `entitlements.scim: is ${unread}: remove it`]
  if (scim === undefined)
    return ['entitlements.scim: scim is a source, but nothing says who may push: give it a bearer']
  const known = naming(config)
  const part = (key: 'tenant' | 'realm', names: readonly string[]): string | false => {
    const said = scim[key]
    if (said === undefined)
      return (
        names.length > 1 &&
        `entitlements.scim.${key}: whose people are pushed is not said: name one of ${names.join(', ')}`
      )
    return (
      !names.includes(said) &&
      `entitlements.scim.${key}: ${said} is none of ${names.join(', ')}, which identity knows`
    )
  }
  return [
    part('tenant', known.tenants),
    part('realm', known.realms),
    ...(['read', 'write', 'delete', 'admin'] as const).map(
      (access) =>
        !scim.trust_push &&
        maxAge?.[access] === 0 &&
        `entitlements.max_age.${access}: is 0s, but what is pushed has no age, and a push that was lost shows nowhere: set entitlements.scim.trust_push: true to take the last push as the truth, or name an age, such as 5m`,
    ),
  ]
}

const entitlementRules: Rule = (config) => {
  const { identity, entitlements } = config
  if (entitlements === undefined) return []
  const { source, sources, claims, max_age: maxAge } = entitlements
  const named = sourcesOf(entitlements)
  const [key, all] =
    sources === undefined ? ['source', String(source)] : ['sources', sources.join(', ')]
  const unread = `not read, because entitlements.${key} is ${all}`
  const beside = [
    (source === undefined) === (sources === undefined) &&
      'entitlements.source: name one source, or several as sources:, and not both',
    new Set(sources).size < (sources?.length ?? 0) &&
      'entitlements.sources: names one source twice: keep one of them',
    ...(['file', 'http', 'ldap'] as const).flatMap((each) => [
      named.includes(each) &&
        entitlements[each] === undefined &&
        (each === 'file'
          ? `entitlements.file: entitlements.${key} is ${all}, but no file is named`
          : `entitlements.${each}: entitlements.${key} is ${all}, but nothing says what is asked`),
      !named.includes(each) &&
        entitlements[each] !== undefined &&
        `entitlements.${each}: is ${unread}: remove it`,
    ]),
    ...(entitlements.http === undefined ? [] : httpProblems(entitlements.http)),
    ...(entitlements.ldap === undefined ? [] : ldapProblems(entitlements.ldap)),
    ...checkProblems(entitlements.checks ?? []),
    ...scimRules(config, named.includes('scim'), unread),
    source !== 'claims' &&
      claims !== undefined &&
      `entitlements.claims: are ${unread}: remove them`,
  ]
  if (source !== 'claims') return beside
  return [
    ...beside,
    identity.trust === 'plain' && 'entitlements.source: claims need identity.trust: asserted',
    ...(['read', 'write', 'delete', 'admin'] as const).map(
      (access) =>
        maxAge[access] === 0 &&
        `entitlements.max_age.${access}: is 0s, but claims are as old as their assertion: name an age, such as 5m`,
    ),
  ]
}

const pageRules: Rule = (config) => {
  const { identity, listeners, connect } = config
  const local = connect.sign_in === 'local'
  const addresses = [...forAgents(config), ['listeners.connect', listeners.connect] as const]
  return [
    local &&
      identity.trust !== 'plain' &&
      'connect.sign_in: local is for a laptop: it needs identity.trust: plain',
    ...addresses.map(
      ([path, address]) =>
        local &&
        address !== null &&
        open(address) &&
        `${path}: connect.sign_in is local, so everything must listen on loopback`,
    ),
    connect.url !== undefined &&
      plainHttp(connect.url) &&
      `connect.url: ${connect.url} is plain http to another machine: use https`,
    listeners.connect === null &&
      connect.url === undefined &&
      'connect.url: listeners.connect is off, so say where the pages are that people are sent to',
    listeners.connect !== null &&
      connect.sign_in === undefined &&
      connect.verifier === undefined &&
      'connect.sign_in: the pages must know who is there: name your OpenID provider, or say local on a laptop',
    (config.operators.length > 0 || config.operators_sign_in !== undefined) &&
      listeners.connect !== null &&
      open(listeners.connect) &&
      listeners.operators === undefined &&
      'listeners.operators: the connect listener is not on loopback, so the operators’ API needs an address of its own',
  ]
}

const auditRules: Rule = ({ audit, telemetry }) => {
  const exports = audit.sink.includes('otlp')
  const kept = audit.sink.some((sink) => sink.startsWith('file:'))
  const wrongKey = audit.inputs_key === undefined ? null : investigatorProblem(audit.inputs_key)
  return [
    exports &&
      !kept &&
      audit.spool === undefined &&
      'audit.spool: no sink is a file, so name a folder that keeps the evidence until the collector has it',
    audit.spool !== undefined &&
      (!exports || kept) &&
      `audit.spool: ${exports ? 'a sink is a file, and that is the spool' : 'no sink is otlp, so nothing waits for a collector'}: leave it out`,
    exports &&
      telemetry.otlp === undefined &&
      'telemetry.otlp: audit.sink says otlp: name the collector',
    telemetry.otlp !== undefined &&
      !exports &&
      telemetry.traces === undefined &&
      'telemetry.otlp: nothing is sent there: add otlp to audit.sink, or a share of traces',
    telemetry.traces !== undefined &&
      telemetry.otlp === undefined &&
      'telemetry.otlp: telemetry.traces wants a collector: name it',
    telemetry.otlp !== undefined &&
      plainHttp(telemetry.otlp) &&
      !telemetry.insecure &&
      `telemetry.otlp: ${telemetry.otlp} is plain http to another machine: use https, or say insecure: true`,
    audit.inputs === 'sealed' &&
      audit.inputs_key === undefined &&
      'audit.inputs_key: audit.inputs says sealed: name the public JWK of whoever may read them',
    audit.inputs_key !== undefined &&
      audit.inputs === 'off' &&
      'audit.inputs_key: nothing is sealed for it: say audit.inputs: sealed, or leave it out',
    wrongKey !== null && `audit.inputs_key: ${wrongKey}`,
    !kept &&
      audit.inputs === 'off' &&
      (audit.rotate !== undefined || audit.retention !== undefined) &&
      'audit.sink: names no file, so audit.rotate and audit.retention have nothing to do: leave them out',
    (kept || audit.inputs === 'sealed') &&
      audit.rotate === 'off' &&
      audit.retention !== undefined &&
      'audit.retention: with rotate: off deputy closes no file and removes none: leave it out, and let whoever rotates the files remove them',
  ]
}

const egressRules: Rule = ({ upstream }) => [
  upstream.proxy === undefined &&
    upstream.no_proxy.length > 0 &&
    'upstream.no_proxy: names what goes round the proxy, but upstream.proxy names none: remove it, or name the proxy',
]

/** What no single value can tell: rules between values. Each returns `path: message`. */
export const between = (config: Config): readonly string[] =>
  [
    ...[trustRules, issuerRules, workloadRules, entitlementRules, pageRules, auditRules].map(
      (rule) => rule(config),
    ),
    backendRules(config),
    tenantRules(config),
    twice(config),
    policyProblems(config.policy),
    egressRules(config),
  ]
    .flat()
    .filter((problem) => problem !== false)

/** Every address that is listened on, by the key that names it. */
export const addressesOf = ({
  listeners,
  forward,
}: Config): readonly (readonly [string, Listen])[] => [
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
  ...(forward === undefined ? [] : [['forward.listen', forward.listen] as const]),
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

/** In the place of a client's id and secret, until there are some. */
export const NOT_REGISTERED = 'register-an-oauth-app-first'

/** What is allowed and yet not what it looks like: said aloud by `serve` and `validate`. */
export const oddities = (config: Config): readonly string[] => {
  const clients = Object.entries(config.connections).map(
    ([connection, { client_id: id = '' }]) => [`connections.${connection}.client_id`, id] as const,
  )
  const {
    connect,
    entitlements,
    upstream: { proxy },
  } = config
  const keys = config.applications.some(({ bearer }) => bearer !== undefined)
  const unencrypted = forAgents(config).filter(
    ([path, address]) => path !== 'listeners.agent_tls.listen' && open(address),
  )
  return [
    ...clients.map(
      ([path, id]) =>
        id === NOT_REGISTERED &&
        `${path}: is what deputy init wrote, so nobody can connect: register an OAuth app at the provider, and set the variables of its id and secret`,
    ),
    ...clients.map(
      ([path, id]) =>
        /^\$\w+$/.test(id) &&
        `${path}: ${id} is taken as it is: to read a variable, write \${env:${id.slice(1)}}`,
    ),
    ...unencrypted.map(
      ([path]) =>
        keys &&
        `${path}: keys of applications come to it unencrypted, and it is not on loopback: use listeners.agent_tls, or see that nobody listens on the way`,
    ),
    ...(['read', 'write', 'delete', 'admin'] as const).map((access) => {
      const age = entitlements?.max_age[access] ?? 0
      // A file is its own truth, and needs none.
      return (
        age > 0 &&
        sourcesOf(entitlements).some((source) => source !== 'file') &&
        `entitlements.max_age.${access}: is ${age / 1_000} s: whoever loses a right may go on for so long with calls of this kind; 0s asks the source for each call`
      )
    }),
    connect.sign_in !== undefined &&
      connect.verifier !== undefined &&
      'connect.verifier: is not used, because connect.sign_in says who is at the page: keep the one that knows your people',
    proxy !== undefined &&
      proxy.authorization !== null &&
      plainHttp(proxy.origin) &&
      'upstream.proxy: its user and password cross the network unencrypted: use https:// where the proxy can',
  ].filter((odd) => odd !== false)
}
