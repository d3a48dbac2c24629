// The page on which people see which agents may use their accounts and when they last did, and end
// that.
import { Hono } from 'hono'
import type { Context } from 'hono'
import type { Connection, HeldConnection, Log, Person, Vault } from '../model.ts'
import type { Revocation } from '../tokens/revoke.ts'
import type { Session, Visits } from '../consent/session.ts'
import type { LocalSignIn, OidcSignIn } from '../consent/sign_in.ts'
import { OWN, type Door } from './sign_in.ts'
import type { Frame } from './page.ts'
import { connectionsPage, surePage, type Disconnected, type Ending } from './connections_page.ts'
import { agentView, type KnownAgents } from './agents_page.ts'
import { createStandings, type StandingsDeps } from './standings.ts'
import type { Page } from './markup.ts'
import * as pages from './consent_pages.ts'

export type ConnectionsDeps = StandingsDeps & {
  readonly signIn: OidcSignIn | LocalSignIn | Visits
  readonly vault: Pick<Vault, 'list' | 'disallow'>
  /** Ends all that matches: here first, then at the provider, with an honest word for each. */
  readonly revoke: (
    filter: Parameters<Vault['list']>[0],
  ) => Promise<readonly Pick<Revocation, 'result'>[]>
  readonly connections: () => ReadonlyMap<string, Connection>
  readonly agents: KnownAgents
  readonly onEvent: (event: string, fields: object) => void | Promise<void>
  readonly log: Log
}

/** The least that is certain when a connection had several tokens. */
const WORST: readonly Revocation['result'][] = [
  'failed',
  'not_supported',
  'access_outlives',
  'revoked',
  'already_dead',
]

export const createConnections = (deps: ConnectionsDeps, frame: Frame, door: Door): Hono => {
  const { vault, signIn } = deps
  const app = new Hono()
  const mine = ({ tenant, realm, id }: Person): Promise<readonly HeldConnection[]> =>
    vault.list({ tenant, realm, id })

  const end = async (
    person: Person,
    held: HeldConnection,
    agent: string | null,
  ): Promise<Ending> => {
    const { connection } = held
    const of = agent === null ? { connection } : { connection, agent }
    await deps.standing.endAll(person, of, { by: 'disconnected' })
    if (agent !== null)
      return (await vault.disallow(person, agent, held.connection)) ? 'agent' : 'gone'
    const done = await deps.revoke({ ...person, connection: held.connection })
    return WORST.find((word) => done.some(({ result }) => result === word)) ?? 'gone'
  }

  /**
   * The access has ended by now: a record that cannot be written must not look as if it had not.
   */
  const record = async (
    { person, verified }: Session,
    held: HeldConnection,
    agent: string | null,
    result: Ending,
  ): Promise<void> => {
    try {
      await deps.onEvent('connection.disconnected', {
        user: { ...person, verified },
        agent: agent === null ? null : { id: agent },
        connection: held.connection,
        provider: held.provider,
        credential: held.credential,
        result,
      })
    } catch (error) {
      deps.log.error({ err: error }, 'connection.disconnected could not be recorded')
    }
  }

  const ask = (session: Session, held: HeldConnection, agent: string | null): Page => {
    const name = deps.connections().get(held.connection)?.provider.name ?? held.provider
    const account = held.account === '' ? name : `${name} (${held.account.slice(0, 256)})`
    const credential = { csrf: frame.csrf(session, OWN), credential: held.credential }
    return surePage({
      action: OWN,
      ask: (sure) => (agent === null ? sure.disconnect(name, account) : sure.stop(agent, account)),
      fields: agent === null ? credential : { ...credential, agent },
    })
  }

  const sessionOf = (c: Context): Promise<Session | null> => signIn.session(frame.reader(c))

  app.get(OWN, async (c) => {
    const ticket = c.req.query('ticket')
    if (signIn.kind === 'visit' && ticket !== undefined) {
      const cookie = await signIn.enter(ticket, frame.reader(c))
      if (cookie === null) return frame.show(c, pages.strayPage(), 401)
      frame.setCookie(c, cookie)
      return frame.see(c, OWN)
    }
    const session = await sessionOf(c)
    if (session === null) return door.ask(c, OWN)
    const told = (await frame.told(c, 'connections', session.person)) as Disconnected | null
    if (told !== null) frame.forget(c, 'connections')
    return frame.show(
      c,
      connectionsPage({
        person: session.person,
        verified: session.verified,
        held: await mine(session.person),
        standings: await deps.standings.list({
          tenant: session.person.tenant,
          realm: session.person.realm,
          user: session.person.id,
        }),
        connections: deps.connections(),
        agentName: (agent) => agentView(deps.agents, agent, session.person).name,
        told,
        csrf: frame.csrf(session, OWN),
        signOut: frame.csrf(session, 'sign-out'),
      }),
    )
  })

  app.post(OWN, async (c) => {
    if (frame.crossSite(c)) return frame.show(c, pages.refusedFormPage(OWN), 403)
    const session = await sessionOf(c)
    const form = await c.req.parseBody()
    if (session === null || !frame.same(form['csrf'], frame.csrf(session, OWN)))
      return frame.show(c, pages.refusedFormPage(OWN), 403)
    const { person } = session
    // Looked up among their own: an id of somebody else's is no id here.
    const held = (await mine(person)).find(({ credential }) => credential === form['credential'])
    const agent = typeof form['agent'] === 'string' ? form['agent'] : null
    const gone: Disconnected = { ending: 'gone', provider: null, account: null, agent: null }
    if (held === undefined) return frame.tell(c, 'connections', gone, person)
    if (form['sure'] !== 'yes') return frame.show(c, ask(session, held, agent))
    const ending = await end(person, held, agent)
    if (ending !== 'gone') await record(session, held, agent, ending)
    const provider = deps.connections().get(held.connection)?.provider
    const told: Disconnected = {
      ending,
      provider: provider?.name ?? held.provider,
      account: held.account.slice(0, 256),
      agent,
    }
    return frame.tell(c, 'connections', told, person)
  })

  app.route('/', createStandings(deps, frame, sessionOf))
  return app
}
