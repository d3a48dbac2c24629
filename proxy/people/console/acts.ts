// What an operator ends in the console: each form first asks whether one is sure, and then says of each thing what really
// became of it. The evidence is that of the operators' API.
import type { Context } from 'hono'
import { html } from 'hono/html'
import type { Acts, createSwitch, Ended } from '../../api/acts.ts'
import {
  by,
  namingFor,
  personNamed,
  type Gate,
  type May,
  type Naming,
  type Operator,
} from '../../api/operator.ts'
import { isAsk, type Asks } from '../../consent/asks.ts'
import type { StandingCare } from '../../consent/standing.ts'
import type { AgentOff, Person, Vault } from '../../model.ts'
import { Problem } from '../../problem.ts'
import type { Runs } from '../../vault/runs.ts'
import type { Standings } from '../../vault/standings.ts'
import { validId } from '../../wire/canonical.ts'
import { when, type Html, type Page, type Tone } from '../markup.ts'
import { plain } from '../plain.ts'
import { consolePage, HOME, link, table, type Viewer } from './shell.ts'

export type ConsoleActsDeps = Naming & {
  readonly gate: Gate
  readonly acts: Acts
  readonly turn: ReturnType<typeof createSwitch>
  readonly vault: Pick<Vault, 'list'>
  readonly locate: (
    credential: string,
  ) => Promise<{ readonly person: Person; readonly connection: string } | null>
  readonly runs: Pick<Runs, 'list'>
  readonly standings: Pick<Standings, 'list'>
  readonly standing: Pick<StandingCare, 'end'>
  readonly asks: Pick<Asks, 'byAuthorizationId' | 'end'>
  readonly agents: { readonly list: () => Promise<readonly AgentOff[]> }
}

/** What a form would do: the question, and the deed with its report. */
type Deed = {
  readonly title: string
  readonly asks: readonly Html[]
  readonly button: string
  readonly back: string
  readonly run: () => Promise<Report>
}
type Report = {
  readonly tone: Tone
  readonly report: Html
  /** Is it certain that the evidence has it? Not where nothing was left to do. */
  readonly recorded: boolean
}
type Fields = Readonly<Record<string, string>>

/** What is certain, and what is left to do. */
const RESULTS = {
  revoked: 'Revoked here and at the provider.',
  access_outlives:
    'Revoked here and not renewable; access tokens that are out work at the provider until they expire.',
  already_dead: 'Gone here; at the provider it had ended before.',
  not_supported:
    'Revoked here; the provider has no way to revoke it there, so its person has to remove it in their account.',
  failed:
    'Revoked here; the provider did not confirm it, so its person should remove it in their account.',
  grant_removed: 'The agent’s permission has ended; the account stays connected for other agents.',
} as const satisfies Readonly<Record<Ended['result'], string>>
const UNSURE: ReadonlySet<Ended['result']> = new Set(['not_supported', 'failed'])
const toneOf = (results: readonly Ended[]): Tone =>
  results.some(({ result }) => UNSURE.has(result)) ? 'alert' : 'good'

const endedTable = (results: readonly Ended[], none: string): Html =>
  table(
    { caption: 'What became of each connection', head: ['Connection', 'Account', 'Result'], none },
    results.map(({ connection, account, result }) => [
      plain(connection),
      plain(account),
      RESULTS[result],
    ]),
  )
const text = (line: string): Html => html`${line}`
const count = (n: number, one: string, many: string): string => `${n} ${n === 1 ? one : many}`
const done = (line: string, recorded: boolean): Report => ({
  tone: 'good',
  report: html`<p>${line}</p>`,
  recorded,
})
const missing = (): never => {
  throw new Problem('not_found', 'nothing of yours has this id, or it has ended')
}

type Make = (viewer: Viewer, fields: Fields) => Promise<Deed>
const at = (fields: Fields, name: string): string => fields[name] ?? ''

const personDeed =
  (deps: ConsoleActsDeps): Make =>
  async ({ operator }, fields) => {
    const { tenant, realm } = fields
    const naming = namingFor(deps, operator)
    const person = personNamed(naming, at(fields, 'id'), { tenant, realm })
    await deps.gate.mustServe(operator, person.tenant)
    return {
      title: 'Revoke everything of this person?',
      asks: [
        html`Every connection, run, standing and link of <strong>${plain(person.id)}</strong> (realm
          ${plain(person.realm)}, tenant ${plain(person.tenant)}) ends, here and at the providers.`,
        text('Calls that are under way are cut. The person may connect anew afterwards.'),
      ],
      button: 'Revoke everything',
      back: link('person', { tenant: person.tenant, realm: person.realm, id: person.id }),
      run: async () => {
        const ended = await deps.acts.endAll(operator, person, null)
        return {
          tone: toneOf(ended.results),
          recorded: ended.results.length + ended.runs > 0,
          report: html`${endedTable(ended.results, 'No account was connected.')}
            <p>
              Ended besides: ${count(ended.runs, 'run', 'runs')},
              ${count(ended.standings, 'standing', 'standings')},
              ${count(ended.authorizations, 'link under way', 'links under way')}.
            </p>`,
        }
      },
    }
  }

const connectionDeed =
  (deps: ConsoleActsDeps): Make =>
  async ({ operator }, fields) => {
    const id = at(fields, 'id')
    const found = await deps.locate(id)
    if (found === null || !(await deps.gate.sees(operator, found.person.tenant))) return missing()
    const { person, connection } = found
    const held = (await deps.vault.list({ ...person, connection })).filter(
      ({ credential }) => credential === id,
    )
    const [one] = held
    if (one === undefined) return missing()
    return {
      title: 'Revoke this connection?',
      asks: [
        html`<strong>${plain(one.account)}</strong> at <strong>${plain(connection)}</strong>, which
          <strong>${plain(person.id)}</strong> connected, is forgotten here and revoked at the
          provider. Calls that use it are cut.`,
      ],
      button: 'Revoke',
      back: link('person', { tenant: person.tenant, realm: person.realm, id: person.id }),
      run: async () => {
        const results = await deps.acts.revoke(operator, held)
        return {
          tone: toneOf(results),
          report: endedTable(results, 'It had ended before.'),
          recorded: results.length > 0,
        }
      },
    }
  }

/** Where an agent is off still, in words; null: nowhere that this operator sees. */
const stillOff = async (
  { agents, gate }: ConsoleActsDeps,
  operator: Operator,
  id: string,
): Promise<Html | null> => {
  const off = (await agents.list()).filter(
    ({ agent, tenant }) => agent === id && (tenant === null || gate.serves(operator, tenant)),
  )
  if (off.some(({ tenant }) => tenant === null))
    return text('for everybody, which operators of all tenants end')
  return off.length === 0
    ? null
    : html`for ${plain(off.map(({ tenant }) => tenant ?? '').join(', '))}`
}
const switchedOn = async (
  deps: ConsoleActsDeps,
  operator: Operator,
  of: { readonly id: string; readonly where: Html; readonly places: readonly (string | null)[] },
): Promise<Report> => {
  const { id, where, places } = of
  const switched = await deps.turn.enable(operator, id, places)
  const still = await stillOff(deps, operator, id)
  return {
    tone: still === null ? 'good' : 'alert',
    recorded: switched > 0,
    report: html`<p>
        ${plain(id)} ${switched > 0 ? 'is switched on' : 'had not been switched off'} ${where}.
      </p>
      ${still === null ? '' : html`<p>It is still off ${still}.</p>`}`,
  }
}

const switchDeed =
  (deps: ConsoleActsDeps, on: boolean): Make =>
  ({ operator }, fields) => {
    const id = at(fields, 'id')
    const places = operator.tenants ?? [null]
    if (!validId(id) || places.length === 0) return missing()
    const where =
      operator.tenants === undefined
        ? text('for everybody')
        : html`for ${plain(operator.tenants.join(', '))}`
    const what = on ? 'on' : 'off'
    return Promise.resolve({
      title: `Switch this agent ${what}?`,
      asks: [
        html`<strong>${plain(id)}</strong> is switched ${what} ${where}.`,
        text(
          on
            ? 'What people allowed it counts again at once.'
            : 'Its calls that are under way are cut, and it is refused until somebody switches it on.',
        ),
      ],
      button: `Switch ${what}`,
      back: link('agent', { id }),
      run: async () => {
        if (on) return switchedOn(deps, operator, { id, where, places })
        await deps.turn.disable(operator, id, places)
        const report = html`<p>${plain(id)} is switched off ${where}.</p>`
        return { tone: 'good', report, recorded: true }
      },
    })
  }

const runDeed =
  (deps: ConsoleActsDeps): Make =>
  async ({ operator }, fields) => {
    const [run] = await deps.runs.list({ id: at(fields, 'id') })
    if (run === undefined || !(await deps.gate.sees(operator, run.tenant))) return missing()
    return {
      title: 'Revoke this run?',
      asks: [
        html`The run <code>${plain(run.id)}</code> of <strong>${plain(run.agent)}</strong> for
          <strong>${plain(run.user)}</strong> ends now instead of ${when(run.expiresAt)}.`,
      ],
      button: 'Revoke',
      back: `${HOME}/runs`,
      run: async () =>
        (await deps.acts.revokeRun(operator, run))
          ? done('The run is revoked: its token is refused from now on.', true)
          : done('The run had ended before.', false),
    }
  }

const standingDeed =
  (deps: ConsoleActsDeps): Make =>
  async ({ operator }, fields) => {
    const [row] = await deps.standings.list({ id: at(fields, 'id') })
    if (row === undefined || !(await deps.gate.sees(operator, row.tenant))) return missing()
    return {
      title: 'End this standing?',
      asks: [
        html`The workload <strong>${plain(row.workload)}</strong> may do nothing any more for
          <strong>${plain(row.user)}</strong> at ${plain(row.connection)} while they are away.`,
      ],
      button: 'End it',
      back: link('person', { tenant: row.tenant, realm: row.realm, id: row.user }),
      run: async () => {
        await deps.standing.end(row.id, { ...by(operator), by: 'operator' })
        return done('The standing has ended.', false)
      },
    }
  }

const askDeed =
  (deps: ConsoleActsDeps): Make =>
  async ({ operator }, fields) => {
    const id = at(fields, 'id')
    const row = isAsk(id) ? await deps.asks.byAuthorizationId(id) : null
    const there = row !== null && (row.status === 'pending' || row.status === 'given')
    if (!there || !(await deps.gate.sees(operator, row.tenant))) return missing()
    return {
      title: 'End this waiting?',
      asks: [
        html`The ${row.kind === 'approval' ? 'approval' : 'stronger sign-in'} that
          <strong>${plain(row.agent)}</strong> waits for, on behalf of
          <strong>${plain(row.user)}</strong>, is asked for no longer. The call is refused.`,
      ],
      button: 'End the waiting',
      back: `${HOME}/waiting`,
      run: async () => {
        await deps.asks.end(row, 'cancelled', { ...by(operator), by: 'operator' })
        return done('Nobody is asked any more.', false)
      },
    }
  }

export const createConsoleActs = (deps: ConsoleActsDeps) => {
  const all: Readonly<Record<string, readonly [May, Make]>> = {
    person: ['revoke', personDeed(deps)],
    connection: ['revoke', connectionDeed(deps)],
    'agent-off': ['revoke', switchDeed(deps, false)],
    'agent-on': ['revoke', switchDeed(deps, true)],
    run: ['runs', runDeed(deps)],
    standing: ['revoke', standingDeed(deps)],
    ask: ['revoke', askDeed(deps)],
  }
  const surePage = (viewer: Viewer, deed: Deed, fields: Fields, glass: boolean): Page =>
    consolePage(
      viewer,
      { here: null, title: deed.title, tone: 'alert' },
      html`${deed.asks.map((line) => html`<p>${line}</p>`)}
        ${
          glass
            ? html`<p class="warn">
                None of your roles allows this. Going on breaks the glass: it is recorded, and told
                to whoever is on duty.
              </p>`
            : ''
        }
        <form method="post" action="${HOME}/act">
          <input type="hidden" name="csrf" value="${viewer.csrf}" />
          ${Object.entries({ ...fields, sure: 'yes' }).map(
            ([name, value]) => html`<input type="hidden" name="${name}" value="${value}" />`,
          )}
          <button class="end">${deed.button}</button>
          <a class="button" href="${deed.back}">Cancel</a>
        </form>`,
    )
  const donePage = (viewer: Viewer, { back }: Deed, { tone, report, recorded }: Report): Page =>
    consolePage(
      viewer,
      { here: null, title: tone === 'good' ? 'Done' : 'Done here, but something is left', tone },
      html`${report}
        ${recorded ? html`<p class="soft">It is in the evidence, with your name.</p>` : ''}
        <p><a href="${back}">Go back</a></p>`,
    )

  /**
   * The page that asks, or after the yes the one that reports. Throws Problem: what may not be done, is not there, or could
   * not be done or recorded.
   */
  return async (c: Context, viewer: Viewer, form: Fields): Promise<Page> => {
    const [may, make] = (Object.hasOwn(all, at(form, 'act'))
      ? all[at(form, 'act')]
      : undefined) ?? ['revoke' as const, () => Promise.resolve(missing())]
    const { operator } = viewer
    const sure = form['sure'] === 'yes'
    const own = operator.may.includes(may)
    // To ask is no use of the glass; to do is one.
    if (sure || own || operator.sso?.glass?.shut !== null)
      await deps.gate.permit(operator, { may, method: c.req.method })
    else await deps.gate.permit(operator, { may: 'connections', or: 'list', method: c.req.method })
    const deed = await make(viewer, form)
    if (!sure) return surePage(viewer, deed, form, !own)
    return donePage(viewer, deed, await deed.run())
  }
}
