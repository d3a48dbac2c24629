// Consents under way, and those that ended.
import type { FlowRow, Store } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database } from './database.ts'
import { flowOf, personOf, toRaw } from './rows.ts'

export const createFlows = (db: Database, { sql, rows, row, hit }: Asking): Store['flows'] => ({
  byHash: (hash) => row(sql.flow, { hash }, flowOf),
  byState: (stateHash) => row(sql.flowByState, { stateHash }, flowOf),
  pending: async (question, now) => {
    const { person, agent, connection, scopes, challenge = null, nextUri = null } = question
    const standing = question.standing ?? null
    const set = (of: readonly string[]): string => JSON.stringify([...new Set(of)].sort())
    const whose = { ...personOf(person), agent, connection, now }
    const found = await rows(sql.pending, whose, flowOf)
    const fits = (flow: FlowRow): boolean =>
      set(flow.scopes) === set(scopes) &&
      (flow.standing ?? null) === standing &&
      (challenge === null || flow.challenge === challenge)
    const exact = found.find((flow) => fits(flow) && flow.nextUri === nextUri)
    // Whoever names no way back is served by any link; whoever names one gets a link that keeps it.
    return exact ?? (nextUri === null ? found.find(fits) : null) ?? null
  },
  ended: async (person, connection) =>
    row(sql.endedFlow, { ...personOf(person), connection }, (raw) => ({
      failure: raw['failure'] as string | null,
    })),
  insert: async (flow) => void (await db.query([sql.begin, toRaw(flow)])),
  leg: (hash, { stateHash, cookieHash, sealedLeg, legExpiresAt }) =>
    hit(sql.leg, { hash, stateHash, cookieHash, sealedLeg, legExpiresAt }),
  consume: (hash, stateHash) => hit(sql.consume, { hash, stateHash }),
  finish: (hash, status, failure, at) => hit(sql.finish, { hash, status, failure, at }),
  bySpent: (stateHash) => row(sql.flowBySpent, { stateHash }, flowOf),
  endedSince: async (person, agent, connection, since) =>
    rows(sql.endedSince, { ...personOf(person), agent, connection, since }, flowOf),
  sweep: async (before) => (await db.query([sql.sweep, { before }])).length,
  hold: (hash, { confirmHash, held, sealedLeg, confirmUntil }) =>
    hit(sql.hold, { hash, confirmHash, held, sealedLeg, confirmUntil }),
  byConfirm: (confirmHash) => row(sql.byConfirm, { confirmHash }, flowOf),
  claim: (hash, confirmHash) => hit(sql.claim, { hash, confirmHash }),
  overdue: (now) => rows(sql.overdue, { now }, flowOf),
  open: async (person) => rows(sql.open, personOf(person), flowOf),
  waiting: async (tenant, now, most) => rows(sql.waitingFlows, { tenant, now, most }, flowOf),
  begun: async (person, agent, since, most) =>
    rows(sql.begun, { ...personOf(person), agent, since, most }, (raw) => Number(raw['createdAt'])),
  standing: (hash, standing) => hit(sql.shortenAsk, { hash, standing }),
  notices: (now, until, most) => rows(sql.notices, { now, until, most }, flowOf),
  notifyAt: async (hash, at) => void (await db.query([sql.notifyAt, { hash, at }])),
  erase: async (person) => (await db.query([sql.eraseFlows, personOf(person)])).length,
})
