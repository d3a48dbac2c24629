// Rules between values: how operators and the application's backend are reached, and that no secret stands for two.
import { plainHttp } from './address.ts'
import { applicationRules, realmOf } from './applications.ts'
import type { Config } from './schema.ts'

const bare = (url: string): string => url.replace(/\/$/, '')
const urlProblems = (url: string, { listeners, connect }: Config): readonly string[] => {
  const key = 'operators_sign_in.url'
  if (listeners.operators === undefined)
    return [
      `${key}: is not read, because without listeners.operators the console is at connect.url: name that listener, or remove this`,
    ]
  if (connect.url !== undefined && bare(connect.url) === bare(url))
    return [
      `${key}: is connect.url, where people reach their pages: name an address that leads to listeners.operators`,
    ]
  return plainHttp(url) ? [`${key}: ${url} is plain http to another machine: use https`] : []
}

/** The application's backend and the operators: who they are must be clear, and how they are reached. */
export const backendRules = (config: Config): readonly string[] => {
  const { operators, operators_sign_in: signIn, applications } = config
  const { identity, workloads, listeners, connect, entitlements } = config
  const problems: string[] = [...applicationRules(config)]
  const some = operators.length > 0 || signIn !== undefined
  if (some && listeners.connect === null && listeners.operators === undefined)
    problems.push(
      'listeners.operators: listeners.connect is off, so the operators’ API needs an address of its own',
    )
  if (!some && listeners.operators !== undefined)
    problems.push('operators: listeners.operators is named, but no operator may call it: name one')
  if (signIn?.url !== undefined) problems.push(...urlProblems(signIn.url, config))
  if (signIn !== undefined) {
    const audience = signIn.audience ?? signIn.client_id
    const same = (other: {
      readonly issuer?: string | undefined
      readonly audience?: string | undefined
    }): boolean => other.issuer === signIn.issuer && other.audience === audience
    const taken = identity.issuers.some(same)
      ? 'tags of people'
      : workloads.some(same)
        ? 'tokens of workloads'
        : null
    if (taken !== null)
      problems.push(
        `operators_sign_in.audience: ${taken} of this issuer are for ${audience} too, so an agent could act as an operator with one: choose another audience`,
      )
    if (entitlements?.source === 'claims')
      problems.push(
        'operators_sign_in: operators mint runs, which go on without an assertion, so entitlements.source: claims would know nothing: use file, http, ldap or scim',
      )
  }
  const known: { readonly path: string; readonly digest: Buffer }[] = []
  const once = (path: string, digest: Buffer): void => {
    const same = known.find((other) => other.digest.equals(digest))
    if (same !== undefined)
      problems.push(`${path}: is the same secret as ${same.path}: give each its own`)
    known.push({ path, digest })
  }
  operators.forEach((operator, i) => {
    if (operators.findIndex(({ name: other }) => other === operator.name) !== i)
      problems.push(`operators.${i}.name: ${operator.name} is there twice`)
    for (const bearer of operator.bearer) once(`operators.${i}.bearer`, bearer)
    if (operator.may.includes('runs') && entitlements?.source === 'claims')
      problems.push(
        `operators.${i}.may: runs go on without an assertion, so entitlements.source: claims would know nothing: use file, http, ldap or scim`,
      )
  })
  applications.forEach(({ bearer = [] }, i) =>
    bearer.forEach(({ digest }, n) =>
      once(`applications.${i}.bearer${bearer.length > 1 ? `.${n}` : ''}`, digest),
    ),
  )
  if (connect.verifier !== undefined) {
    once('connect.verifier.key', connect.verifier.key)
    if (plainHttp(connect.verifier.url))
      problems.push('connect.verifier.url: is plain http to another machine: use https')
  }
  if (connect.notify !== undefined && plainHttp(connect.notify.webhook))
    problems.push('connect.notify.webhook: is plain http to another machine: use https')
  return problems
}

/** A tenant that is bounded by nobody's decision but a slip of the pen would be bounded by nothing. */
export const tenantRules = (config: Config): readonly string[] => {
  if (config.tenants === undefined) return []
  const rows = Object.keys(config.tenants)
  const { tenants } = naming(config)
  return [
    ...tenants
      .filter((name) => !rows.includes(name))
      .map((name) => `tenants: has no row for ${name}, which identity names: add \`${name}: {}\``),
    ...rows
      .filter((name) => !tenants.includes(name))
      .map((name) => `tenants.${name}: identity names no such tenant, only ${tenants.join(', ')}`),
  ]
}

/** The tenants and realms that tags can name. */
export type Naming = {
  readonly tenants: readonly string[]
  readonly realms: readonly string[]
  readonly realmsOf: (tenants: readonly string[]) => readonly string[]
}
export const naming = (config: Config): Naming => {
  const { identity, applications } = config
  const speaking =
    identity.trust === 'plain'
      ? [{ tenants: ['default'], realm: identity.realm }]
      : [
          ...identity.issuers.map(({ tenants = ['default'], realm, issuer }) => ({
            tenants,
            realm: realm ?? issuer,
          })),
          ...applications.map((row) => ({
            tenants: row.tenants ?? ['default'],
            realm: realmOf(config, row),
          })),
        ]
  const realmsOf = (wanted: readonly string[]): readonly string[] => [
    ...new Set(
      speaking
        .filter(({ tenants }) => tenants.some((tenant) => wanted.includes(tenant)))
        .map(({ realm }) => realm),
    ),
  ]
  const tenants = [...new Set(speaking.flatMap((each) => each.tenants))]
  return { tenants, realms: realmsOf(tenants), realmsOf }
}
