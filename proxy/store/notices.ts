// What policy has told to people, from the call that it was demanded with until the application has taken it.
import type { NoticeRow, Store } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Raw } from './database.ts'
import { checked } from './rows.ts'

const noticeOf = (raw: Raw): NoticeRow => ({
  id: String(raw['id']),
  person: {
    tenant: String(raw['tenant']),
    realm: String(raw['realm']),
    id: String(raw['user']),
  },
  body: String(raw['body']),
  createdAt: Number(raw['createdAt']),
  expiresAt: Number(raw['expiresAt']),
})

export const createNoticeRows = (db: Database, { sql, rows, hit }: Asking): Store['notices'] => ({
  put: ({ person: { tenant, realm, id: user }, ...row }, most) =>
    hit(sql.putNotice, checked({ ...row, tenant, realm, user, dueAt: row.createdAt, most })),
  due: (now, until, most) => rows(sql.dueNotices, { now, until, most }, noticeOf),
  later: async (id, at) => void (await db.query([sql.noticeDue, { id, at }])),
  taken: async (id) => void (await db.query([sql.noticeTaken, { id }])),
  sweep: async (before) =>
    (await rows(sql.sweepNotices, { before }, (raw) => raw['dueAt'] !== null)).filter(Boolean)
      .length,
})
