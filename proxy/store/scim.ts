// People and groups that an identity provider pushed, and who is a member of what.
import {
  ScimConflict,
  type ScimChanged,
  type ScimKind,
  type ScimMember,
  type ScimMoves,
  type ScimNext,
  type ScimRealm,
  type ScimRow,
  type ScimStore,
} from '../model.ts'
import type { Database, Params, Raw, Work } from './database.ts'
import { checked } from './rows.ts'

const WHERE = 'tenant = :tenant AND realm = :realm AND kind = :kind'
const REALM = 'tenant = :tenant AND realm = :realm'
const COLUMNS =
  'kind, id, exact AS name, external_id AS "externalId", version, body, created_at AS "createdAt", changed_at AS "changedAt"'
const SELECT = `SELECT ${COLUMNS} FROM scim_resources WHERE ${WHERE}`
const FIND = {
  id: `${SELECT} AND id = :value LIMIT 2`,
  name: `${SELECT} AND name = :value LIMIT 2`,
  exact: `${SELECT} AND exact = :value LIMIT 2`,
  external_id: `${SELECT} AND external_id = :value LIMIT 2`,
}
/** An id without its kind is found by no index. */
const KINDS = `kind IN ('User', 'Group')`
/**
 * CROSS JOIN keeps SQLite from turning the join round: it would read every member of the realm, or every group, to find
 * those of one person.
 */
export const MEMBERS = `SELECT r.id, r.kind, r.exact AS name FROM scim_members AS m CROSS JOIN scim_resources AS r
  WHERE m.tenant = :tenant AND m.realm = :realm AND m.group_id = :id
    AND r.tenant = :tenant AND r.realm = :realm AND r.${KINDS} AND r.id = m.member_id ORDER BY r.id`
/** UNION ends at groups that were seen: a circle is no endless way. */
export const GROUPS = `WITH RECURSIVE up (id) AS (
    SELECT group_id FROM scim_members WHERE ${REALM} AND member_id = :id
    UNION SELECT m.group_id FROM up CROSS JOIN scim_members AS m
      WHERE m.tenant = :tenant AND m.realm = :realm AND m.member_id = up.id)
  SELECT r.id, r.kind, r.exact AS name, EXISTS (SELECT 1 FROM scim_members AS d WHERE d.tenant = :tenant
      AND d.realm = :realm AND d.group_id = r.id AND d.member_id = :id) AS direct
  FROM up CROSS JOIN scim_resources AS r
  WHERE r.tenant = :tenant AND r.realm = :realm AND r.kind = 'Group' AND r.id = up.id
  ORDER BY r.id`
/** Users that are told one by one when a group changes; of more, everybody is. */
const MOST_MOVED = 100
/** Every user among or below these members. */
export const below = (n: number): string => `WITH RECURSIVE down (id) AS (
    SELECT id FROM scim_resources WHERE ${REALM} AND ${KINDS} AND id IN (${list(n, (i) => `:m${i}`)})
    UNION SELECT m.member_id FROM down CROSS JOIN scim_members AS m
      WHERE m.tenant = :tenant AND m.realm = :realm AND m.group_id = down.id)
  SELECT ${COLUMNS} FROM scim_resources WHERE ${REALM} AND kind = 'User'
    AND id IN (SELECT id FROM down) ORDER BY id LIMIT ${MOST_MOVED + 1}`
export const present = (n: number): string =>
  `SELECT id FROM scim_resources WHERE ${REALM} AND ${KINDS} AND id IN (${list(n, (i) => `:m${i}`)})`
/** So many members in one statement: there are few texts of statements, however many members come. */
const CHUNK = 200
const list = (n: number, of: (i: number) => string, between = ', '): string =>
  Array.from({ length: n }, (_, i) => of(i)).join(between)
const chunks = function* (
  ids: readonly string[],
): Generator<{ readonly n: number; readonly params: Params }> {
  for (let at = 0; at < ids.length;) {
    const n = ids.length - at >= CHUNK ? CHUNK : 1
    const part = ids.slice(at, at + n)
    yield { n, params: checked(Object.fromEntries(part.map((id, i) => [`m${i}`, id]))) }
    at += n
  }
}
const rowOf = (raw: Raw): ScimRow => ({ ...raw }) as unknown as ScimRow
const memberOf = (raw: Raw): ScimMember => ({ ...raw }) as unknown as ScimMember

/** Refuses a name that somebody else has; `alone`: an external id too. */
const free = function* (of: ScimRealm, row: ScimRow, alone: boolean): Work<void> {
  const value = row.name.toLowerCase()
  const taken = yield [FIND.name, checked({ ...of, kind: row.kind, value })]
  if (taken.some(({ id }) => id !== row.id))
    throw new ScimConflict(`there is a ${row.kind} of this name already`)
  if (!alone || row.externalId === null) return
  const same = yield [FIND.external_id, checked({ ...of, kind: row.kind, value: row.externalId })]
  if (same.some(({ id }) => id !== row.id))
    throw new ScimConflict(`there is a ${row.kind} of this externalId already`)
}
const put = function* (of: ScimRealm, row: ScimRow, isNew: boolean): Work<void> {
  const params = checked({ ...of, ...row, exact: row.name, name: row.name.toLowerCase() })
  if (isNew)
    yield [
      'INSERT INTO scim_resources (tenant, realm, kind, id, name, exact, external_id, version, body, created_at, changed_at) VALUES (:tenant, :realm, :kind, :id, :name, :exact, :externalId, :version, :body, :createdAt, :changedAt)',
      params,
    ]
  else {
    const { createdAt: _, ...set } = params
    yield [
      `UPDATE scim_resources SET name = :name, exact = :exact, external_id = :externalId, version = :version, body = :body, changed_at = :changedAt WHERE ${WHERE} AND id = :id`,
      set,
    ]
  }
}
const drop = function* (of: ScimRealm, kind: ScimKind, id: string): Work<void> {
  yield [`DELETE FROM scim_resources WHERE ${WHERE} AND id = :id`, { ...of, kind, id }]
  yield [`DELETE FROM scim_members WHERE ${REALM} AND group_id = :id`, { ...of, id }]
  yield [`DELETE FROM scim_members WHERE ${REALM} AND member_id = :id`, { ...of, id }]
}
const differing = (before: readonly string[], after: readonly string[]): ScimMoves => {
  const [old, next] = [new Set(before), new Set(after)]
  return { come: [...next.difference(old)], gone: [...old.difference(next)] }
}
/** @returns the members that came or went */
const regroup = function* (
  of: ScimRealm,
  group: string,
  { come, gone }: ScimMoves,
): Work<readonly string[]> {
  // A member that nobody has written yet is none.
  const there: string[] = []
  for (const { n, params } of chunks(come)) {
    const found = yield [present(n), { ...of, ...params }]
    for (const { id } of found) there.push(String(id))
  }
  for (const { n, params } of chunks(there))
    yield [
      `INSERT INTO scim_members (tenant, realm, group_id, member_id) VALUES ${list(n, (i) => `(:tenant, :realm, :group, :m${i})`)} ON CONFLICT DO NOTHING`,
      { ...of, group, ...params },
    ]
  for (const { n, params } of chunks(gone))
    yield [
      `DELETE FROM scim_members WHERE ${REALM} AND group_id = :group AND member_id IN (${list(n, (i) => `:m${i}`)})`,
      { ...of, group, ...params },
    ]
  return [...gone, ...there]
}
/** @returns null: too many to name */
const usersBelow = function* (
  of: ScimRealm,
  members: readonly string[],
): Work<readonly ScimRow[] | null> {
  if (members.length > MOST_MOVED) return null
  const found = new Map<string, ScimRow>()
  for (const { n, params } of chunks(members))
    for (const raw of yield [below(n), { ...of, ...params }])
      found.set(String(raw['id']), rowOf(raw))
  return found.size > MOST_MOVED ? null : [...found.values()]
}

const removing = function* (
  of: ScimRealm,
  { kind, id }: Pick<ScimRow, 'kind' | 'id'>,
  before: ScimRow | null,
  old: readonly string[],
): Work<ScimChanged> {
  const moved = yield* usersBelow(of, old)
  yield* drop(of, kind, id)
  return { before, after: null, moved }
}
const changing =
  (db: Database): ScimStore['change'] =>
  (of, what, make, tell) =>
    db.transact(function* (say) {
      const { kind } = what
      yield* db.serialise(`scim ${JSON.stringify([of.tenant, of.realm])}`)
      const found = what.id === null ? [] : yield [FIND.id, { ...of, kind, value: what.id }]
      const before = found[0] === undefined ? null : rowOf(found[0])
      const members =
        before !== null && kind === 'Group' && what.unread !== true
          ? (yield [MEMBERS, { ...of, id: before.id }]).map(memberOf)
          : []
      const old = members.map((one) => one.id)
      const next: ScimNext | null = make(before, members)
      const id = before?.id ?? what.fresh
      if (next === null) {
        const changed = yield* removing(of, { kind, id }, before, old)
        for (const key of tell(changed)) say('scim', key)
        return changed
      }
      const { members: given, ...columns } = next
      const after: ScimRow = {
        ...columns,
        kind,
        id,
        version: (before?.version ?? 0) + 1,
        createdAt: before?.createdAt ?? what.now,
        changedAt: what.now,
      }
      yield* free(of, after, what.alone === true)
      yield* put(of, after, before === null)
      const moves = given === null || 'come' in given ? given : differing(old, given)
      const touched = moves === null ? [] : yield* regroup(of, id, moves)
      // A group of another name is another group to policy.
      const renamed = kind === 'Group' && before !== null && before.name !== after.name
      const moved = yield* usersBelow(of, renamed ? [...new Set([id, ...touched])] : touched)
      const changed = { before, after, moved }
      for (const key of tell(changed)) say('scim', key)
      return changed
    })

export const createScim = (db: Database): ScimStore => ({
  get: async (of, kind, id) => {
    const [raw] = await db.query([FIND.id, checked({ ...of, kind, value: id })])
    return raw === undefined ? null : rowOf(raw)
  },
  find: async (of, kind, by, value) =>
    (await db.query([FIND[by], checked({ ...of, kind, value })])).map(rowOf),
  page: async (of, kind, skip, limit) =>
    (
      await db.query([
        `${SELECT} ORDER BY id LIMIT :limit OFFSET :skip`,
        { ...of, kind, skip, limit },
      ])
    ).map(rowOf),
  after: async (of, kind, id, limit) =>
    (
      await db.query([
        `${SELECT} AND id > :id ORDER BY id LIMIT :limit`,
        { ...of, kind, id, limit },
      ])
    ).map(rowOf),
  count: async (of, kind) =>
    Number(
      (
        await db.query([`SELECT count(*) AS n FROM scim_resources WHERE ${WHERE}`, { ...of, kind }])
      )[0]?.['n'] ?? 0,
    ),
  members: async (of, group) =>
    (await db.query([MEMBERS, checked({ ...of, id: group })])).map(memberOf),
  exceeds: async (of, group, most) =>
    (
      await db.query([
        `SELECT 1 AS n FROM scim_members WHERE ${REALM} AND group_id = :id LIMIT 1 OFFSET :most`,
        checked({ ...of, id: group, most }),
      ])
    ).length > 0,
  groups: async (of, member) =>
    (await db.query([GROUPS, checked({ ...of, id: member })])).map((raw) => ({
      ...memberOf(raw),
      direct: raw['direct'] === true || raw['direct'] === 1,
    })),
  change: changing(db),
})
