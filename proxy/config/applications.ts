// Applications: whose people they name, and what no single value of their rows can tell.
import type { Config } from './schema.ts'

type Row = Config['applications'][number]

/**
 * The realm of an application's people: as its row says, else that of who signs in at the pages, so that both are one
 * person; else that of the first issuer.
 */
export const realmOf = (
  { connect, identity }: Pick<Config, 'connect' | 'identity'>,
  { realm }: Pick<Row, 'realm'>,
): string => {
  if (realm !== undefined) return realm
  if (typeof connect.sign_in === 'object') return connect.sign_in.realm ?? connect.sign_in.issuer
  const [first] = identity.issuers
  return first === undefined ? identity.realm : (first.realm ?? first.issuer)
}

const keyRules = ({ workloads }: Config, row: Row, at: string): readonly (string | false)[] => {
  const { bearer, workload, agent } = row
  const own = workloads.find(({ name }) => name === workload)
  const fixed = own === undefined || own.agent.startsWith('/') ? agent : own.agent
  return [
    bearer === undefined &&
      workload === undefined &&
      `${at}.bearer: nothing is the key: name a bearer, or the row of workloads whose token is the key`,
    bearer !== undefined &&
      workload !== undefined &&
      `${at}.workload: the bearer is the key already: keep one of the two`,
    workload !== undefined &&
      own === undefined &&
      `${at}.workload: no row of workloads is called ${workload}`,
    fixed !== agent &&
      `${at}.agent: is ${agent}, but the token of workload ${workload} says ${fixed}: write the same`,
  ]
}

export const applicationRules = (config: Config): readonly string[] => {
  const { applications, identity, entitlements } = config
  if (applications.length === 0) return []
  const whole = [
    identity.trust === 'plain' &&
      'applications: identity.trust is plain, so any caller may name anybody and a key would bound nobody: use identity.trust: asserted, or remove them',
    entitlements?.source === 'claims' &&
      'applications: they name people without an assertion, so entitlements.source: claims would know nothing of these: use file, http, ldap or scim',
  ]
  const rows = applications.flatMap((row, i) => [
    applications.findIndex(({ name }) => name === row.name) !== i &&
      `applications.${i}.name: ${row.name} is there twice`,
    row.workload !== undefined &&
      applications.findIndex(({ workload }) => workload === row.workload) !== i &&
      `applications.${i}.workload: ${row.workload} is the key of another application already`,
    ...keyRules(config, row, `applications.${i}`),
  ])
  return [...whole, ...rows].filter((problem) => problem !== false)
}
