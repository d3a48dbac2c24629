// What people are asked so that policy lets a call pass, and the sign-ins that it asked for.
import type { AskRow, Person, SignInRow, Store } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Raw, Work } from './database.ts'
import { checked, filter, personOf } from './rows.ts'
import { NEVER } from './statements.ts'

const askOf = (raw: Raw): AskRow =>
  ({ ...raw, operations: JSON.parse(raw['operations'] as string) }) as AskRow
const signInOf = (raw: Raw): SignInRow =>
  ({ ...raw, amr: JSON.parse(raw['amr'] as string) }) as SignInRow

export const createAsks = (db: Database, { sql, rows, row, hit }: Asking): Store['asks'] => ({
  insert: async (ask) => {
    const params = checked({ ...ask, operations: JSON.stringify(ask.operations) })
    return (await db.query([sql.ask, params])).length > 0
  },
  byHash: (hash) => row(sql.askByHash, { hash }, askOf),
  open: (question, exchange, now) => row(sql.openAsk, { question, exchange, now }, askOf),
  declined: (question, since) => row(sql.declinedAsk, { question, since }, askOf),
  list: async (
    { tenant = null, realm = null, user = null, agent = null, connection = null, most = NEVER },
    now,
  ) => {
    const of = filter({ tenant, realm, user, agent, connection })
    return rows(sql.openAsks(of), { ...of, most, now }, askOf)
  },
  begun: async (person, agent, since, most) =>
    rows(sql.begunAsks, { ...personOf(person), agent, since, most }, (raw) =>
      Number(raw['createdAt']),
    ),
  answer: ({ hash, given: before }, after, now) =>
    hit(sql.answerAsk, { hash, before, ...after, now }),
  end: (hash, status, at) => hit(sql.endAsk, { hash, status, at }),
  spend: (hash, exchange, now) => hit(sql.spendAsk, { hash, exchange, now }),
  notices: (now, until, most) => rows(sql.askNotices, { now, until, most }, askOf),
  noticeAt: async (hash, at) => void (await db.query([sql.askNoticeAt, { hash, at }])),
  sweep: async (now, before) => {
    const ended = await rows(sql.expireAsks, { now }, askOf)
    await db.query([sql.sweepAsks, { before }])
    return ended
  },
})

export const createSignIns = (db: Database, { sql, rows }: Asking): Store['signIns'] => ({
  put: async (row) =>
    void (await db.query([sql.signedIn, checked({ ...row, amr: JSON.stringify(row.amr) })])),
  of: async (person, agent, now) =>
    rows(sql.signIns, { ...personOf(person), agent, now }, signInOf),
  end: async (person, agent) => {
    const of = filter({ ...personOf(person), agent })
    await db.query([sql.endSignIns(of), of])
  },
  sweep: async (before) => (await db.query([sql.sweepSignIns, { before }])).length,
})

/** Asks that a person answered; their own go with all that is theirs. */
export const eraseAsks = function* ({ sql }: Asking, person: Person): Work<void> {
  const { tenant, realm, id } = person
  for (const raw of yield [sql.answeredAsks, checked({ tenant, realm })]) {
    const given = JSON.parse(String(raw['given'])) as readonly { readonly by: string }[]
    if (given.some(({ by }) => by === id)) yield [sql.dropAsk, { hash: String(raw['hash']) }]
  }
}
