// `agents`: who the agents are. Rows of the operator's, shown on pages: nothing in them may look like something else.
import { z } from 'zod'
import type { Person } from '../model.ts'
import { validId } from '../wire/canonical.ts'

/** An agent as the organisation knows it. */
export type AgentAbout = {
  readonly id: string
  readonly name: string
  /** Who may switch it off; null: operators only. */
  readonly owner: Person | null
  /** The tenant for which its owner switches it; null: for all. */
  readonly switched: string | null
  /** https: or mailto:. */
  readonly contact: string | null
  /** A file as it was named. */
  readonly logo: string | null
  /** What it runs as; shown only. */
  readonly workload: string | null
}

/** Control, format and bidirectional characters, by which one name passes for another. */
const UNSEEN = /[\p{Cc}\p{Cf}\u2028\u2029]/u
const shown = (most: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(most, `is longer than ${most} characters`)
    .refine(
      (value) => value.isWellFormed() && !UNSEEN.test(value),
      'has control or bidirectional characters: write it without',
    )
const personId = z
  .string()
  .refine(validId, 'must be at most 256 bytes, without control or bidirectional characters')

const row = z.strictObject({
  id: personId.refine((id) => id !== '.' && id !== '..', 'cannot be part of an address'),
  name: shown(80).optional(),
  owner: z
    .union([
      personId,
      z.strictObject({
        id: personId,
        tenant: shown(256).optional(),
        realm: shown(256).optional(),
        everywhere: z.boolean().optional(),
      }),
    ])
    .optional(),
  logo: z
    .string()
    .min(1, 'must not be empty')
    .refine(
      (value) => !/^(?:[a-z][a-z0-9+.-]*:|\/\/)/i.test(value),
      'must be a file: the pages load nothing from elsewhere',
    )
    .optional(),
  contact: shown(256)
    .refine(
      (value) => /^(?:https:|mailto:)$/.test(URL.parse(value)?.protocol ?? ''),
      'must be an address that begins with https:// or mailto:',
    )
    .optional(),
  workload: shown(256).optional(),
})

export const agentRows = z.array(row)
export type AgentRow = z.output<typeof row>

/**
 * The rows, by id, with their owners by all three parts.
 * @param naming the tenants and realms that tags can name
 */
export const agentsOf = (
  rows: readonly AgentRow[],
  naming: { readonly tenants: readonly string[]; readonly realms: readonly string[] },
): { readonly agents: ReadonlyMap<string, AgentAbout>; readonly problems: readonly string[] } => {
  const agents = new Map<string, AgentAbout>()
  const problems: string[] = []
  rows.forEach(({ id, name = id, owner, logo, contact, workload }, i) => {
    const part = (
      key: 'tenant' | 'realm',
      said: string | undefined,
      known: readonly string[],
    ): string => {
      const value = said ?? (known.length === 1 ? known[0] : undefined)
      if (value !== undefined && known.includes(value)) return value
      problems.push(
        value === undefined
          ? `${i}.owner.${key}: is missing, and identity knows several: write owner: { id, tenant, realm } with one of ${known.join(', ')}`
          : `${i}.owner.${key}: identity knows no ${key} ${JSON.stringify(value)}: one of ${known.join(', ')}`,
      )
      return ''
    }
    if (agents.has(id)) problems.push(`${i}.id: ${id} is there twice: keep one`)
    const named = typeof owner === 'string' ? { id: owner } : owner
    const of =
      named === undefined
        ? null
        : {
            id: named.id,
            tenant: part('tenant', named.tenant, naming.tenants),
            realm: part('realm', named.realm, naming.realms),
          }
    const everywhere =
      naming.tenants.length === 1 || (typeof owner === 'object' && owner.everywhere === true)
    agents.set(id, {
      id,
      name,
      owner: of,
      switched: everywhere ? null : (of?.tenant ?? null),
      contact: contact ?? null,
      logo: logo ?? null,
      workload: workload ?? null,
    })
  })
  return { agents, problems }
}
