// `deputy entitlements show`: what the sources say of one person now, where each value comes from, and what the starter
// policy makes of it.
import { z } from 'zod'
import { naming } from '../config/backend.ts'
import { nameOf } from '../config/checks.ts'
import type { Loaded } from '../config/load.ts'
import { sourcesOf } from '../config/schema.ts'
import { together } from '../directory/joined.ts'
import { toldOf } from '../files.ts'
import type { Entitlements, JsonObject, Person } from '../model.ts'
import { prepareAside } from './aside.ts'

const lists = z.record(z.string(), z.array(z.string())).default({})
const row = z.object({
  access: z.array(z.string()).default([]),
  max_entitlement_age_s: z.number().optional(),
  checks: z.array(z.string()).default([]),
})
const tables = z.object({
  group_roles: lists,
  role_grants: z.record(z.string(), lists).default({}),
  grants: z.record(z.string(), z.record(z.string(), row)).default({}),
})

/** A name of a directory may hold what a terminal would obey. */
const shown = (name: string): string =>
  /^[^\p{Cc}\p{Cf}]*$/u.test(name) ? name : JSON.stringify(name).replaceAll(/\p{Cf}/gu, '?')

const valuesOf = ({ parts, ...whole }: Entitlements): readonly string[] => {
  const each = parts ?? [{ ...whole }]
  const kinds = [
    ['group', 'groups'],
    ['role', 'roles'],
    ['entitlement', 'entitlements'],
  ] as const
  return [
    ...kinds.flatMap(([kind, key]) =>
      whole[key].map((value) => {
        const from = each.filter((part) => part[key].includes(value)).map(({ source }) => source)
        return `  ${kind} ${shown(value)} (${from.join(', ')})`
      }),
    ),
    ...(whole.manager ? [`  manager ${shown(whole.manager)}`] : []),
  ]
}

/** Roles and rows, as the starter policy finds them; a policy of another shape has none. */
const policyLines = (known: Entitlements, of: JsonObject, loaded: Loaded): readonly string[] => {
  const read = tables.safeParse(of)
  if (!read.success || !known.active) return []
  const { group_roles: ofGroups, role_grants: byProvider, grants } = read.data
  const own = <T>(from: Readonly<Record<string, T>>, name: string): T | undefined =>
    Object.hasOwn(from, name) ? from[name] : undefined
  const roles = new Map<string, readonly string[]>(
    known.roles.map((role) => [role, ['of the source']]),
  )
  for (const group of known.groups)
    for (const role of own(ofGroups, group) ?? [])
      roles.set(role, [...(roles.get(role) ?? []), `by group ${shown(group)}`])
  const providers = new Set([...loaded.connections.values()].map(({ provider }) => provider.id))
  return [
    'the starter policy makes of it:',
    ...[...roles].map(([role, why]) => `  role ${shown(role)} (${why.join(', ')})`),
    ...(roles.size === 0 ? ['  no role, so nothing is allowed'] : []),
    ...[...providers].flatMap((provider) => {
      const rows = [...roles.keys()].flatMap(
        (role) => own(own(byProvider, provider) ?? {}, role) ?? [],
      )
      return [...new Set(rows)].map((id) => {
        const found = own(own(grants, provider) ?? {}, id)
        const age = found?.max_entitlement_age_s
        const wanted = found?.checks ?? []
        return `  ${provider}: row ${shown(id)}, ${found?.access.join(' ') ?? 'which is in no table'}${age === undefined ? '' : `, facts of at most ${age} s`}${wanted.length === 0 ? '' : `, if ${wanted.join(' and ')} says yes`}`
      })
    }),
  ]
}

const personOf = (
  loaded: Loaded,
  given: { readonly user: string; readonly tenant?: string; readonly realm?: string },
): Person => {
  const { tenants, realms } = naming(loaded.config)
  return {
    id: given.user,
    tenant: given.tenant ?? tenants[0] ?? 'default',
    realm: given.realm ?? realms[0] ?? '',
  }
}

/** @returns exit code: 0 every source answered; 1 one could not be asked; 78 the configuration is wrong */
export const entitlementsShow = async (options: {
  readonly loaded: Loaded
  readonly user: string
  readonly tenant?: string
  readonly realm?: string
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): Promise<number> => {
  const { loaded, print, complain } = options
  const { clock, kept, prepared } = await prepareAside(loaded)
  try {
    if ('problems' in prepared) {
      for (const problem of prepared.problems) complain(problem)
      return 78
    }
    const named = sourcesOf(loaded.config.entitlements)
    const checks = (loaded.config.entitlements?.checks ?? []).map(nameOf)
    const person = personOf(loaded, options)
    if (named.length === 0) {
      complain('entitlements: no source can be asked: claims come with a call, and say it there')
      return 1
    }
    const parts: (Entitlements | null)[] = []
    let silent = 0
    for (const name of named) {
      const began = clock.mono()
      try {
        const directory = prepared.parts.directories.get(name)
        if (directory === undefined)
          throw new Error('only the deputy that serves knows what it says')
        const said = await directory.ask(person, 0)
        parts.push(said)
        const age = said === null || said.asOf === null ? 'no age' : 'age 0 s'
        const what = said === null ? 'nobody of this id' : said.active ? 'active' : 'not active'
        print(`${name}: ${what}, ${age}, asked for ${Math.round(clock.mono() - began)} ms`)
      } catch (error) {
        complain(`${name}: could not be asked: ${toldOf(error)}`)
        silent += 1
      }
    }
    if (silent === named.length) return 1
    const known = together(parts)
    if (silent > 0)
      complain('what follows is the word of the others alone; a call would be refused')
    const whose = `${shown(person.id)} of realm ${shown(person.realm)}, tenant ${shown(person.tenant)}`
    print(
      `${whose}: ${known === null ? 'unknown, so nothing is allowed' : known.active ? 'active' : 'not active, so nothing is allowed'}`,
    )
    if (known === null) return silent === 0 ? 0 : 1
    const of = parts.length === 1 ? (parts[0] ?? known) : known
    const { policy } = prepared.parts
    if (policy.current() === null) complain(`policy: ${policy.problem() ?? 'none serves'}`)
    for (const line of [...valuesOf(of), ...policyLines(of, policy.tables(), loaded)]) print(line)
    if (checks.length > 0)
      print(`checks are of a call, and asked with each: ${checks.join(', ')} (not asked here)`)
    return silent === 0 ? 0 : 1
  } finally {
    await kept.close()
  }
}
