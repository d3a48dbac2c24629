// Turns rows as the database has them into the types of the model, and back.
import type {
  ChangedKey,
  CredentialRow,
  FlowRow,
  GrantRow,
  Person,
  RunRow,
  StandingRow,
} from '../model.ts'
import type { Params, Raw } from './database.ts'

/** A lone surrogate would be written as U+FFFD, and two names would become one. */
export const checked = (values: Params): Params => {
  for (const value of Object.values(values))
    if (typeof value === 'string' && !value.isWellFormed())
      throw new Error('the store refuses text that is not well-formed Unicode')
  return values
}
/** What a list is asked for: null is whatever. */
export const filter = (of: Params): Params =>
  checked(Object.fromEntries(Object.entries(of).filter(([, value]) => value !== null)))
export const personOf = (person: Person): Params =>
  checked({ tenant: person.tenant, realm: person.realm, user: person.id })
export const ownerOf = ({ tenant, realm, user }: GrantRow | CredentialRow): Params =>
  checked({ tenant, realm, user })

export const toRaw = (row: CredentialRow | GrantRow | FlowRow): Params =>
  checked({
    ...row,
    scopes: JSON.stringify(row.scopes),
    ...('sealed' in row
      ? {
          host: row.host ?? null,
          clientId: row.clientId ?? null,
          refusedSince: row.refusedSince ?? null,
          refusedTimes: row.refusedTimes ?? null,
          doubtfulSince: row.doubtfulSince ?? null,
        }
      : {}),
    ...('at' in row ? { lastUsedAt: row.lastUsedAt ?? null } : {}),
    ...('reauthorization' in row
      ? {
          reauthorization: row.reauthorization ? 1 : 0,
          confirmHash: row.confirmHash ?? null,
          held: row.held ?? null,
          confirmUntil: row.confirmUntil ?? null,
          notifyAt: row.notifyAt ?? null,
          notices: row.notices ?? 0,
          challenge: row.challenge ?? null,
          endedAt: row.endedAt ?? null,
          spentHash: row.spentHash ?? null,
          operation: row.operation ?? null,
          standing: row.standing ?? null,
        }
      : {}),
  } as Params)
export const runOf = (raw: Raw): RunRow =>
  ({
    ...raw,
    connections: JSON.parse(raw['connections'] as string),
    operations: JSON.parse((raw['operations'] ?? 'null') as string),
  }) as RunRow
export const standingOf = (raw: Raw): StandingRow =>
  ({ ...raw, operations: JSON.parse(raw['operations'] as string) }) as StandingRow
const fromRaw = (raw: Raw): Raw => ({ ...raw, scopes: JSON.parse(String(raw['scopes'])) })
export const credentialOf = (raw: Raw): CredentialRow => fromRaw(raw) as CredentialRow
export const grantOf = (raw: Raw): GrantRow => fromRaw(raw) as GrantRow
export const flowOf = (raw: Raw): FlowRow =>
  ({ ...fromRaw(raw), reauthorization: raw['reauthorization'] === 1 }) as FlowRow
export const first = <T>(rows: readonly Raw[], of: (raw: Raw) => T): T | null =>
  rows[0] === undefined ? null : of(rows[0])
export const changed = (row: GrantRow | CredentialRow): string => {
  const { tenant, realm, user, connection } = row
  const id = 'id' in row ? row.id : null
  return JSON.stringify([tenant, realm, user, connection, id] satisfies ChangedKey)
}
export const ended = ({ tenant, realm, user, connection, agent }: GrantRow): string =>
  JSON.stringify([tenant, realm, user, connection, null, agent] satisfies ChangedKey)
