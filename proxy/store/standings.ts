// What people let workloads do while they are away.
import type { Person, Store } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Raw } from './database.ts'
import { checked, filter, personOf, standingOf } from './rows.ts'

const whoOf = (raw: Raw): Person => ({
  tenant: String(raw['tenant']),
  realm: String(raw['realm']),
  id: String(raw['id']),
})

export const createStandings = (
  db: Database,
  { sql, rows, row, hit }: Asking,
): Store['standings'] => ({
  put: async (standing) => {
    const operations = JSON.stringify(standing.operations)
    await db.query([sql.letActs, checked({ ...standing, operations })])
  },
  people: async ({ workload, agent, user }, now) =>
    user === null
      ? rows(sql.letBy, { workload, agent, now }, whoOf)
      : rows(sql.letByNamed, checked({ workload, agent, user, now }), whoOf),
  of: async (person, { workload, agent }, now) =>
    rows(sql.letOf, { ...personOf(person), workload, agent, now }, standingOf),
  list: async ({
    id,
    tenant = null,
    realm = null,
    user = null,
    agent = null,
    connection = null,
  }) => {
    const of = filter({ tenant, realm, user, agent, connection })
    if (id === undefined) return rows(sql.standings(of), of, standingOf)
    const one = await row(sql.standing, { id }, standingOf)
    return one === null ? [] : [one]
  },
  shorten: (id, expiresAt, noticeAt) => hit(sql.shortenStanding, { id, expiresAt, noticeAt }),
  touch: async (id, at) => {
    if (await hit(sql.firstUse, { id, at })) return true
    await db.query([sql.laterUse, { id, at }])
    return false
  },
  remove: (id) => row(sql.endStanding, { id }, standingOf),
  notices: (now, until, most) => rows(sql.standingNotices, { now, until, most }, standingOf),
  noticeAt: async (id, at) => void (await db.query([sql.standingNotice, { id, at }])),
  sweep: (before) => rows(sql.sweepStandings, { before }, standingOf),
})
