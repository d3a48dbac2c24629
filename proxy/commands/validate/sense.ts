// What fits nothing else in the configuration: scopes, groups, roles, realms, tenants and the address of the pages.
import { z } from 'zod'
import { naming } from '../../config/backend.ts'
import { readYaml, shippedIds, type Loaded } from '../../config/load.ts'
import { plainHttp } from '../../config/address.ts'
import { meant } from '../../mistakes.ts'
import type { Connection, JsonObject } from '../../model.ts'
import { lacking } from '../../wire/scopes.ts'
import type { Findings } from './machine.ts'
import { concerns } from '../../wire/pattern.ts'

const quoted = (names: Iterable<string>): string => {
  const all = [...names]
  const first = all
    .slice(0, 5)
    .map((name) => JSON.stringify(name))
    .join(', ')
  return all.length > 5 ? `${first} and ${all.length - 5} more` : first
}

/** Scopes that serve no operation, and operations whose scopes may never be asked for. */
export const scopes = (connections: ReadonlyMap<string, Connection>): readonly string[] =>
  [...connections.values()].flatMap(({ name, provider, scopes: allowed }) => {
    const rows = provider.operations.flatMap((row) => row.scopes.map((set) => ({ row, set })))
    // Where the definition asks for all scopes at once, or no operation names any, they are not told apart.
    if (!rows.some(({ set }) => set.length > 0)) return []
    const useless = allowed.filter(
      (scope) =>
        provider.scopeAlways?.includes(scope) !== true &&
        !rows.some(
          ({ set }) => set.length > 0 && lacking(provider, [scope], set).length < set.length,
        ),
    )
    const closed = provider.operations.filter(
      (row) =>
        row.scopes.length > 0 &&
        row.scopes.every((set) => lacking(provider, allowed, set).length > 0),
    )
    const example = closed[0]
    return [
      ...(useless.length === 0
        ? []
        : [
            `connections.${name}.scopes: no operation of ${provider.name} needs ${quoted(useless)}: remove it, so that people are not asked for more than is used`,
          ]),
      ...(example === undefined
        ? []
        : [
            `connections.${name}.scopes: ${closed.length} of ${provider.operations.length} operations need a scope that is not listed and are always refused, such as ${example.id} (${quoted(example.scopes[0] ?? [])}): add it if it is meant`,
          ]),
    ]
  })

const names = z.array(z.string()).default([])
const people = z.object({
  people: z.array(
    z.object({
      id: z.string(),
      realm: z.string().optional(),
      tenant: z.string().optional(),
      groups: names,
      roles: names,
    }),
  ),
})
const roleLists = z.record(z.string(), z.array(z.string())).default({})
const tablesSchema = z.object({
  group_roles: roleLists,
  role_grants: z.record(z.string(), roleLists).default({}),
  grants: z.record(z.string(), z.unknown()).default({}),
})

/** People nobody can be, and groups and roles that lead nowhere. @param tables those of the starter policy's shape; undefined: unknown */
export const who = async (
  { config, at, providers }: Loaded,
  tables: JsonObject | undefined,
): Promise<Findings> => {
  const problems: string[] = []
  const warnings: string[] = []
  const { tenants, realms } = naming(config)
  config.operators.forEach((operator, i) => {
    for (const tenant of operator.tenants ?? [])
      if (!tenants.includes(tenant))
        problems.push(
          `operators.${i}.tenants: no issuer has the tenant ${JSON.stringify(tenant)}: one of ${quoted(tenants)}`,
        )
  })
  const { sign_in: signIn } = config.connect
  if (typeof signIn === 'object') {
    const realm = signIn.realm ?? signIn.issuer
    if (!realms.includes(realm))
      problems.push(
        `connect.sign_in.realm: people who sign in are of the realm ${JSON.stringify(realm)}, and tags name only ${quoted(realms)}, so no link is ever theirs: write realm: as at the issuer whose people they are`,
      )
  }
  const fromFile =
    config.entitlements?.source === 'file' && config.entitlements.file !== undefined
      ? people.safeParse(await readYaml(at(config.entitlements.file)).catch(() => null)).data // told elsewhere
      : undefined
  for (const { id, realm, tenant } of fromFile?.people ?? []) {
    if (realm !== undefined && !realms.includes(realm))
      problems.push(
        `entitlements.file: ${JSON.stringify(id)} is of the realm ${JSON.stringify(realm)}, which no issuer has: one of ${quoted(realms)}`,
      )
    if (tenant !== undefined && !tenants.includes(tenant))
      problems.push(
        `entitlements.file: ${JSON.stringify(id)} is of the tenant ${JSON.stringify(tenant)}, which no issuer has: one of ${quoted(tenants)}`,
      )
  }
  const shape = tablesSchema.safeParse(tables).data
  if (shape === undefined) return { problems, warnings }
  if (config.entitlements === undefined)
    warnings.push(
      'entitlements: none are configured, so nobody has a group or a role: a policy that grants by them, as the starter policy does, allows nobody anything',
    )
  const { group_roles: ofGroups, role_grants: grants } = shape
  const known = new Set([...shippedIds(), ...providers.keys()])
  const strangers = Object.keys(shape.grants).filter((id) => !known.has(id))
  for (const id of strangers)
    warnings.push(
      `policy.data: the table grants has rows of ${JSON.stringify(id)}, and no provider is called so${meant(id, known)}`,
    )
  const given = new Set([
    ...Object.values(ofGroups).flat(),
    ...(fromFile?.people ?? []).flatMap(({ roles }) => roles),
  ])
  const used = new Set(
    Object.values(config.connections).flatMap(({ provider }) =>
      Object.keys(grants[provider] ?? {}),
    ),
  )
  const without = [...new Set((fromFile?.people ?? []).flatMap(({ groups }) => groups))].filter(
    (group) => !Object.hasOwn(ofGroups, group),
  )
  if (without.length > 0)
    warnings.push(
      `entitlements.file: no role belongs to the group ${quoted(without)}, so it allows nothing: add it to group_roles, or mend its name`,
    )
  if (fromFile !== undefined && config.policy.data !== undefined) {
    const nobody = [...used].filter((role) => !given.has(role))
    if (nobody.length > 0)
      warnings.push(
        `policy.data: no group and nobody has the role ${quoted(nobody)}, so its grants are never used: add it to group_roles, or mend its name`,
      )
  }
  const idle = [...given].filter(
    (role) => !Object.values(grants).some((roles) => Object.hasOwn(roles, role)),
  )
  if (idle.length > 0)
    warnings.push(
      `policy.data: the role ${quoted(idle)} has no grants, so it allows nothing: add it to role_grants, or mend its name`,
    )
  return { problems, warnings }
}
/** Where people are sent to, and where the pages listen: over plain http nothing stands in between. */
export const pages = ({ config }: Loaded): readonly string[] => {
  const { url } = config.connect
  const { connect } = config.listeners
  if (url === undefined || connect === null || connect.port === 0) return []
  const parsed = new URL(url)
  if (parsed.protocol !== 'http:' || plainHttp(url)) return []
  const port = Number(parsed.port === '' ? 80 : parsed.port)
  return port === connect.port
    ? []
    : [
        `connect.url: people and providers are sent to ${url}, but the pages listen on port ${connect.port} (listeners.connect): make the ports the same, unless something forwards from the one to the other`,
      ]
}

/** Operations that hooks name and no connection has: nobody would be asked about them. */
export const idleHooks = ({ config, connections }: Loaded): readonly string[] => {
  const known = new Set(
    [...connections.values()].flatMap(({ provider }) => provider.operations.map(({ id }) => id)),
  )
  return config.hooks.flatMap(({ name, operations }, i) =>
    operations.flatMap((named) =>
      named === '*' || [...known].some((id) => concerns(named, id))
        ? []
        : [`hooks.${i}.operations: no connection has ${named}, so ${name} is never asked about it`],
    ),
  )
}
