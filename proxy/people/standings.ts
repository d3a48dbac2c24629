// At "my connections": what workloads may do while one is away is shortened or stopped, at once.
import { Hono } from 'hono'
import type { Connection, StandingRow } from '../model.ts'
import type { StandingCare } from '../consent/standing.ts'
import type { Session } from '../consent/session.ts'
import type { Standings } from '../vault/standings.ts'
import type { Frame } from './page.ts'
import { OWN } from './sign_in.ts'
import { surePage, type Disconnected } from './connections_page.ts'
import * as pages from './consent_pages.ts'
import { daysOf } from './standing_page.ts'
import type { Context } from 'hono'

export type StandingsDeps = {
  readonly standings: Pick<Standings, 'list'>
  readonly standing: Pick<StandingCare, 'end' | 'endAll' | 'shorten'>
  readonly connections: () => ReadonlyMap<string, Connection>
}

export const createStandings = (
  { standings, standing, connections }: StandingsDeps,
  frame: Frame,
  sessionOf: (c: Context) => Promise<Session | null>,
): Hono => {
  const app = new Hono()
  const toldOf = (ending: Disconnected['ending'], row: StandingRow | null): Disconnected => ({
    ending,
    provider:
      row === null ? null : (connections().get(row.connection)?.provider.name ?? row.connection),
    account: null,
    agent: row?.agent ?? null,
  })
  app.post(`${OWN}/standing`, async (c) => {
    if (frame.crossSite(c)) return frame.show(c, pages.refusedFormPage(OWN), 403)
    const session = await sessionOf(c)
    const form = await c.req.parseBody()
    if (session === null || !frame.same(form['csrf'], frame.csrf(session, OWN)))
      return frame.show(c, pages.refusedFormPage(OWN), 403)
    const { tenant, realm, id: user } = session.person
    // Looked up among their own: an id of somebody else's is no id here.
    const mine = await standings.list({ tenant, realm, user })
    const row = mine.find(({ id }) => id === form['standing']) ?? null
    const tell = (told: Disconnected) => frame.tell(c, 'connections', told, session.person)
    if (row === null) return tell(toldOf('gone', null))
    if (form['days'] !== undefined) {
      const days = daysOf(form['days'], 3_650)
      if (days === null) return frame.show(c, pages.refusedFormPage(OWN), 400)
      const shorter = await standing.shorten(row, days)
      return tell(toldOf(shorter === null ? 'gone' : 'shorter', row))
    }
    if (form['sure'] !== 'yes')
      return frame.show(
        c,
        surePage({
          action: `${OWN}/standing`,
          ask: (sure) => sure.standing(row.agent, row.connection),
          fields: { csrf: frame.csrf(session, OWN), standing: row.id },
        }),
      )
    const ended = await standing.end(row.id, { by: 'person' })
    return tell(toldOf(ended === null ? 'gone' : 'standing', row))
  })
  return app
}
