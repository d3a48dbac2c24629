// What an identity provider pushed over SCIM, as a source: read from the store at every question, so nothing has to be
// forgotten when it changes.
import type { Clock, Person, ScimRealm, ScimRow, ScimStore, ScimUser } from '../model.ts'
import type { Seen } from './asked.ts'
import { factsDigest, Unanswered, type Directory } from './source.ts'

const COLUMN = { userName: 'exact', externalId: 'external_id', id: 'id' } as const
const ENTERPRISE = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User'

type Tree = Readonly<Record<string, unknown>>
const treeOf = (value: unknown): Tree =>
  typeof value === 'object' && value !== null ? (value as Tree) : {}
const valuesOf = (list: unknown): readonly string[] =>
  (Array.isArray(list) ? list : []).flatMap((each) => {
    const { value } = treeOf(each)
    return typeof value === 'string' && value !== '' ? [value] : []
  })

/** Who a row is to deputy; null: nobody, since it lacks the attribute. */
export const personIn = (of: ScimRealm, user: ScimUser, row: ScimRow): Person | null => {
  const id = { userName: row.name, externalId: row.externalId, id: row.id }[user]
  return id === null ? null : { ...of, id }
}
export const isActive = (row: ScimRow): boolean => treeOf(JSON.parse(row.body))['active'] !== false

export const createScimDirectory = (deps: {
  readonly scim: Pick<ScimStore, 'get' | 'find' | 'groups'>
  readonly of: ScimRealm
  readonly user: ScimUser
  readonly clock: Pick<Clock, 'mono'>
  readonly seen: Seen
}): Directory => {
  const { scim, of, user, clock, seen } = deps
  const managerOf = async (body: Tree): Promise<string | null> => {
    const id = treeOf(treeOf(body[ENTERPRISE])['manager'])['value']
    const row = typeof id === 'string' ? await scim.get(of, 'User', id) : null
    return row === null ? null : (personIn(of, user, row)?.id ?? null)
  }
  const asked: Directory['ask'] = async ({ tenant, realm, id }) => {
    if (tenant !== of.tenant || realm !== of.realm) return null
    const [row, other] = await scim.find(of, 'User', COLUMN[user], id)
    if (row === undefined) return null
    if (other !== undefined)
      throw new Unanswered('malformed', `several users have this ${user}`, { alone: true })
    const body = treeOf(JSON.parse(row.body))
    const groups = await scim.groups(of, row.id)
    const facts = {
      active: isActive(row),
      groups: groups.map(({ name }) => name),
      roles: valuesOf(body['roles']),
      entitlements: valuesOf(body['entitlements']),
    }
    const manager = await managerOf(body)
    return { ...facts, auth: null, manager, source: 'scim', digest: factsDigest(facts), asOf: null }
  }
  return {
    ask: async (person, maxAge) => {
      const began = clock.mono()
      try {
        const facts = await asked(person, maxAge)
        seen.answered('scim', (clock.mono() - began) / 1_000)
        return facts
      } catch (error) {
        const reason = error instanceof Unanswered ? error.reason : 'failed'
        seen.failed('scim', reason)
        if (error instanceof Unanswered) throw error
        throw new Unanswered(reason, 'the store could not be asked', { cause: error })
      }
    },
    unread: () => null,
    forget: () => {},
    close: () => {},
  }
}
