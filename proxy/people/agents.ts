// The pages of agents: a person sees what one may do for them and stops it for themself, its owner
// switches it off for everybody.
import { Hono } from 'hono'
import type { Context } from 'hono'
import type { Flows } from '../consent/flow.ts'
import type { LocalSignIn, OidcSignIn } from '../consent/sign_in.ts'
import type { Session, Visits } from '../consent/session.ts'
import type { StandingCare } from '../consent/standing.ts'
import type {
  AgentOff,
  Connection,
  GrantRow,
  HeldConnection,
  Log,
  Person,
  Vault,
} from '../model.ts'
import type { Agents } from '../vault/agents.ts'
import type { Runs } from '../vault/runs.ts'
import { samePerson } from '../wire/canonical.ts'
import {
  agentPage,
  agentPath,
  agentsPage,
  agentView,
  type KnownAgents,
  type OwnedView,
  type Switched,
} from './agents_page.ts'
import * as pages from './consent_pages.ts'
import { surePage } from './connections_page.ts'
import type { Frame } from './page.ts'
import type { Door } from './sign_in.ts'

export type AgentsDeps = {
  readonly signIn: OidcSignIn | LocalSignIn | Visits
  readonly vault: Pick<Vault, 'list' | 'disallow'>
  readonly flows: Pick<Flows, 'cancel'>
  readonly connections: () => ReadonlyMap<string, Connection>
  readonly agents: KnownAgents &
    Pick<Agents, 'offFor' | 'disable' | 'enable'> & {
      /** What people of a tenant granted to it. */
      readonly grantsTo: (agent: string, tenant: string) => Promise<readonly GrantRow[]>
      /** false: the identity provider does not list this person as active. */
      readonly active: (person: Person) => Promise<boolean>
    }
  readonly runs: Pick<Runs, 'list' | 'revoke'>
  readonly standing: Pick<StandingCare, 'endAll'>
  readonly onEvent: (event: string, fields: object) => void | Promise<void>
  readonly log: Log
}

/** People of whom an owner is told by name. */
const SHOWN = 100
const ALL = '/agents'

/** What one person may know of one agent; null: nothing, whether it exists or not. */
type Known = {
  readonly held: readonly HeldConnection[]
  readonly owner: boolean
  readonly off: AgentOff | null
}

export const createAgentPages = (deps: AgentsDeps, frame: Frame, door: Door): Hono => {
  const { agents, vault, signIn } = deps
  const app = new Hono()
  const sessionOf = (c: Context): Promise<Session | null> => signIn.session(frame.reader(c))
  /** For whom an owner switches it: everybody of their tenant, or of all. */
  const place = (id: string): string | null => agents.about.get(id)?.switched ?? null
  /** Only what an owner switched off there is an owner's to switch on. */
  const liftable = (id: string, off: AgentOff | null): boolean =>
    off?.tenant === place(id) && off.by === 'owner'
  const mine = ({ tenant, realm, id }: Person): Promise<readonly HeldConnection[]> =>
    vault.list({ tenant, realm, id })

  /** An owner who has left owns nothing. */
  const owns = async (person: Person, id: string): Promise<boolean> => {
    const owner = agents.about.get(id)?.owner ?? null
    return owner !== null && samePerson(owner, person) && (await agents.active(person))
  }
  const knownTo = async (person: Person, id: string): Promise<Known | null> => {
    const held = (await mine(person)).filter((each) =>
      each.agents.some(({ agent }) => agent === id),
    )
    const owner = await owns(person, id)
    if (held.length === 0 && !owner) return null
    return { held, owner, off: await agents.offFor(id, person.tenant) }
  }

  /** Of the owner's own tenant: what others let it do is not theirs to know. */
  const ownedBy = async (person: Person, id: string, off: AgentOff | null): Promise<OwnedView> => {
    const grants = await agents.grantsTo(id, person.tenant)
    const people = Map.groupBy(grants, ({ realm, user }) => JSON.stringify([realm, user]))
    return {
      people: people.size,
      connections: new Set(grants.map(({ connection }) => connection)).size,
      whom: [...people.values()].slice(0, SHOWN).map((of) => ({
        id: of[0]?.user ?? '',
        connections: of.map(({ connection }) => connection),
      })),
      mayEnable: liftable(id, off),
    }
  }

  /** What has ended by now has ended: a record that cannot be written must not look as if not. */
  const record = async (event: string, fields: object): Promise<void> => {
    try {
      await deps.onEvent(event, fields)
    } catch (error) {
      deps.log.error({ err: error }, `${event} could not be recorded`)
    }
  }

  /** Grants, runs, standing and links under way of this person; their accounts stay connected. */
  const stop = async ({ person, verified }: Session, id: string) => {
    const user = { ...person, verified }
    const disallow = async () => {
      for (const { connection, provider, credential } of await mine(person))
        if (await vault.disallow(person, id, connection))
          await record('connection.disconnected', {
            user,
            agent: { id },
            connection,
            provider,
            credential,
            result: 'agent',
          })
    }
    await deps.standing.endAll(person, { agent: id }, { by: 'person' })
    await disallow()
    const { tenant, realm, id: of } = person
    for (const run of await deps.runs.list({ tenant, realm, user: of, agent: id }))
      if (run.revokedAt === null && (await deps.runs.revoke(run.id)))
        await record('run.revoked', { by: person, run: run.id, user: person, agent: { id } })
    await deps.flows.cancel(person, id)
    // A consent may have come back from its provider meanwhile.
    await disallow()
  }

  const act = async (
    session: Session,
    id: string,
    known: Known,
    what: 'stop' | 'off' | 'on',
  ): Promise<Switched['what']> => {
    const tenant = place(id)
    const who = { agent: { id }, tenant, by: session.person, verified: session.verified }
    if (what === 'stop') {
      await stop(session, id)
      return 'stopped'
    }
    if (what === 'off') {
      if (!(await agents.disable(id, tenant, 'owner'))) return 'unchanged'
      await record('agent.disabled', who)
      return 'off'
    }
    if (!liftable(id, known.off)) return 'unchanged'
    // Nothing of it runs again before that is on record.
    await deps.onEvent('agent.enabled', who)
    return (await agents.enable(id, tenant, 'owner')) ? 'on' : 'unchanged'
  }

  app.get(ALL, async (c) => {
    const session = await sessionOf(c)
    if (session === null) return door.ask(c, ALL)
    const { person } = session
    const told = (await frame.told(c, 'agents', person)) as Switched | null
    if (told !== null) frame.forget(c, 'agents')
    const view = (id: string) => agentView(agents, id, person)
    const held = (await mine(person)).flatMap((each) => each.agents.map(({ agent }) => agent))
    const owned: string[] = []
    for (const id of agents.about.keys()) if (await owns(person, id)) owned.push(id)
    return frame.show(
      c,
      agentsPage({ mine: [...new Set(held)].sort().map(view), owned: owned.map(view), told }),
    )
  })

  app.get(`${ALL}/:id`, async (c) => {
    const id = c.req.param('id')
    const session = await sessionOf(c)
    if (session === null) return door.ask(c, agentPath(id))
    const { person } = session
    const known = await knownTo(person, id)
    if (known === null) return frame.show(c, pages.notFoundPage(), 404)
    return frame.show(
      c,
      agentPage({
        agent: agentView(agents, id, person),
        off: known.off,
        held: known.held,
        connections: deps.connections(),
        owned: known.owner ? await ownedBy(person, id, known.off) : null,
        csrf: frame.csrf(session, agentPath(id)),
      }),
    )
  })

  app.post(`${ALL}/:id`, async (c) => {
    const id = c.req.param('id')
    if (frame.crossSite(c)) return frame.show(c, pages.refusedFormPage(ALL), 403)
    const session = await sessionOf(c)
    const form = await c.req.parseBody()
    if (session === null || !frame.same(form['csrf'], frame.csrf(session, agentPath(id))))
      return frame.show(c, pages.refusedFormPage(ALL), 403)
    const known = await knownTo(session.person, id)
    const what = form['act']
    // Looked at anew: whoever owned it when the page was shown may not any more.
    if (known === null || (what !== 'stop' && what !== 'off' && what !== 'on'))
      return frame.show(c, pages.notFoundPage(), 404)
    if (what === 'stop' ? known.held.length === 0 : !known.owner)
      return frame.show(c, pages.refusedFormPage(ALL), 403)
    const { name } = agentView(agents, id, session.person)
    if (form['sure'] !== 'yes')
      return frame.show(
        c,
        surePage({
          action: agentPath(id),
          back: agentPath(id),
          ask: (_, { agent }) =>
            ({ stop: agent.sureStop, off: agent.sureOff, on: agent.sureOn })[what](name),
          fields: { csrf: frame.csrf(session, agentPath(id)), act: what },
        }),
      )
    const done = await act(session, id, known, what)
    return frame.tell(c, 'agents', { what: done, name } satisfies Switched, session.person)
  })

  return app
}
