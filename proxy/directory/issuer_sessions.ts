// Who is behind a session at an issuer: some say of a logout only which session ended.
import { createHash } from 'node:crypto'
import type { Clock, Log, Person, Store } from '../model.ts'

/** A session that is used is written again after this long, ms. */
const AGAIN_MS = 86_400_000
/** Unused for longer it is forgotten. */
const REMEMBERED_MS = 30 * AGAIN_MS
const SWEEP_MS = 3_600_000
/** That were just written: a call costs no write. */
const MOST = 20_000
const LONGEST = 1_024

type IssuerSessions = {
  /** @param sid claim of a verified token of this issuer; anything but a text is none */
  readonly seen: (issuer: string, sid: unknown, person: Person) => void
  /** Nobody, where none came here by it. */
  readonly who: (issuer: string, sid: string) => Promise<readonly Person[]>
  readonly close: () => void
}

const hashOf = (issuer: string, sid: string): string =>
  createHash('sha256')
    .update(JSON.stringify([issuer, sid]))
    .digest('base64url')

export const createIssuerSessions = (deps: {
  readonly sessions: Store['issuerSessions']
  readonly clock: Clock
  readonly log: Log
}): IssuerSessions => {
  const { sessions, clock, log } = deps
  const written = new Map<string, number>()
  const failed = (error: unknown): void =>
    log.error({ err: error }, 'whose session it is could not be written: its logout will not count')
  const sweep = setInterval(() => {
    sessions.sweep(clock.now() - REMEMBERED_MS).catch(failed)
  }, SWEEP_MS).unref()
  return {
    seen: (issuer, sid, person) => {
      if (typeof sid !== 'string' || sid === '' || sid.length > LONGEST || !sid.isWellFormed())
        return
      const key = JSON.stringify([issuer, sid, person.tenant, person.realm, person.id])
      const now = clock.mono()
      const before = written.get(key)
      if (before !== undefined && now - before < AGAIN_MS) return
      if (written.size >= MOST) written.clear()
      written.set(key, now)
      sessions
        .remember({ hash: hashOf(issuer, sid), person, at: clock.now() })
        .catch((error: unknown) => {
          written.delete(key)
          failed(error)
        })
    },
    who: (issuer, sid) => sessions.who(hashOf(issuer, sid)),
    close: () => clearInterval(sweep),
  }
}
