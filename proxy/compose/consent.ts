// What people decide and undo: consents and their delivery, revocation, and the end of what nobody uses.
import { randomBytes } from 'node:crypto'
import { USUAL_CLAIMS, type Config } from '../config/schema.ts'
import type { Directory } from '../directory/source.ts'
import type { Person, StandingRow } from '../model.ts'
import { createFlows } from '../consent/flow.ts'
import { createNotices, type Notices } from '../consent/notices.ts'
import { createStandingCare, type Send, type StandingCare } from '../consent/standing.ts'
import { createRoom } from '../consent/tenants.ts'
import { createRevoker } from '../tokens/revoke.ts'
import { Problem } from '../problem.ts'
import type { PeopleSource } from '../pipeline/entitlements.ts'
import { samePerson } from '../wire/canonical.ts'
import { createAsking, type AgentOff, type Asking } from './asks.ts'
import { lastEvidence } from './audit.ts'
import type { Core } from './core.ts'
import { directoryOf, type Invalidated } from './directories.ts'
import { withScim } from './scim.ts'
import type { Configured, Scope } from './scope.ts'

export type Consent = Awaited<ReturnType<typeof createConsent>>

/** By how much the clocks of replicas on one store may differ. */
const SKEW_MS = 600_000
const SWEEP_MS = 60_000

/** Fields of `consent.user_mismatch`. */
type Mismatch = {
  readonly flow: string
  readonly user: Person
  readonly agent: string
  readonly connection: string
}

/** What `connect.notify` does once it is there. */
const peopleOf = (config: Config, directory: Directory | null): PeopleSource => {
  if (directory !== null) return { kind: 'directory', ask: directory.ask }
  return config.entitlements?.source === 'claims'
    ? { kind: 'claims', ...(config.entitlements.claims ?? USUAL_CLAIMS) }
    : { kind: 'none' }
}

/** Is this person active? And an end for streams that began before they were set inactive. */
const followPeople = (
  people: PeopleSource,
  directory: Directory | null,
  { log }: Scope,
  { calls, metrics, note }: Core,
) => {
  const active = async (person: Person): Promise<boolean> => {
    if (people.kind !== 'directory') return true
    try {
      return (await people.ask(person, 0))?.active === true
    } catch (cause) {
      throw new Problem(
        'entitlements_unavailable',
        'the source of entitlements could not be asked',
        { cause },
      )
    }
  }
  const cutInactive = async (named: readonly Person[]): Promise<void> => {
    for (const person of named)
      if (!(await active(person)))
        calls.abort({ person }, new Problem('policy_denied', 'the user is not active any more'))
  }
  const cut = (named: readonly Person[]): void =>
    void cutInactive(named).catch((error: unknown) =>
      log.error({ err: error }, 'whose calls are to be cut is not known: nobody new is let in'),
    )
  return {
    active,
    peopleChanged: (): void => cut(calls.people()),
    invalidated: ({ person, source, cause }: Invalidated): void => {
      directory?.forget(person)
      metrics.sources.invalidated(source, cause)
      note('entitlement.invalidated', {
        source,
        cause,
        ...(person === null ? {} : { user: person }),
      })
      const under = calls.people()
      cut(person === null ? under : under.filter((one) => samePerson(one, person)))
    },
  }
}

const noticesOf = (
  { clock, log }: Scope,
  { store, metrics }: Core,
  onEvent: (event: string, fields: object) => Promise<void>,
): Notices => createNotices({ store: store.notices, clock, log, onEvent, seen: metrics.notice })

/** Old consents, runs, sessions and counts go once a minute. */
const sweeping = (
  { config, log, clock, opened }: Scope,
  { runs, store, waiting }: Core,
  flows: ReturnType<typeof createFlows>,
  {
    standing,
    notices,
    asking,
  }: {
    readonly standing: StandingCare
    readonly notices: Notices
    readonly asking: Asking
  },
): void => {
  const sweep = setInterval(() => {
    void waiting.look()
    // By a wrong clock everything would be old.
    if (clock.wrong() !== null) return
    const sessions = store.sessions.sweep(clock.now() - SKEW_MS)
    const limits = store.limits.sweep(clock)
    const old = notices.sweep(clock.now())
    const unread = lastEvidence(config.audit)
    const keys = unread === null ? [] : [store.personKeys.sweep(clock.now() - unread)]
    for (const each of [
      flows.sweep(),
      runs.sweep(),
      standing.sweep(),
      asking.sweep(),
      sessions,
      limits,
      old,
      ...keys,
    ])
      each.catch((error: unknown) =>
        log.error({ err: error }, 'old consents, runs, sessions and counts could not be swept'),
      )
  }, SWEEP_MS)
  sweep.unref()
  opened(() => clearInterval(sweep))
}

type Deliver = {
  wake: () => void
  mismatch: (of: Mismatch) => void
  brokeGlass: (of: object) => void
  asked: () => void
  send: Send | null
}
/** Hands links and notices to the application of `connect.notify`. */
const delivering = async (
  scope: Configured,
  deliver: Deliver,
  of: {
    readonly notify: NonNullable<Config['connect']['notify']>
    readonly flows: ReturnType<typeof createFlows>
    readonly standing: StandingCare
    readonly notices: Notices
    readonly asking: Asking
    readonly publicUrl: string
    readonly fetch: Core['fetch']
    readonly onEvent: (event: string, fields: object) => Promise<void>
  },
): Promise<void> => {
  const { notify, flows, standing, notices, asking, publicUrl, fetch, onEvent } = of
  const { clock, log, opened } = scope
  // Most have none, and need no library to sign with.
  const { createNotifier } = await import('../consent/webhook.ts')
  const notifier = createNotifier({
    ...notify,
    due: flows.notices,
    next: flows.notifyAt,
    agentUrl: (agent) => `${publicUrl}/agents/${encodeURIComponent(agent)}`,
    fetch,
    clock,
    log,
    onEvent,
  })
  opened(() => notifier.close())
  deliver.wake = notifier.wake
  deliver.brokeGlass = notifier.brokeGlass
  deliver.send = notifier.send
  const asked = asking.watch(notifier.send)
  opened(asked.close)
  deliver.asked = asked.wake
  for (const one of [standing, notices])
    opened(one.watch(notifier.send, () => clock.wrong() === null))
  deliver.mismatch = ({ flow, user, ...of }) =>
    notifier.mismatch({ ...of, hash: flow, person: user })
  // What an earlier process left behind.
  scope.begins(notifier.wake)
}

/** @param publicUrl `connect.url`, without a trailing slash */
export const createConsent = async (scope: Configured, core: Core, publicUrl: string) => {
  const { config, log, clock } = scope
  const { store, vault, sealer, client, connections, evidence, fetch } = core
  const { notify } = config.connect
  const deliver: Deliver = {
    wake: () => {},
    mismatch: () => {},
    brokeGlass: () => {},
    asked: () => {},
    send: null,
  }
  const onEvent = (event: string, fields: object): Promise<void> => {
    if (event === 'consent.user_mismatch') deliver.mismatch(fields as Mismatch)
    if (event === 'operator.break_glass') deliver.brokeGlass(fields)
    if (event === 'agent.disabled') asking.unasked(fields as AgentOff)
    return evidence.event(event, fields as Record<string, unknown>)
  }
  const standing = createStandingCare({
    standings: core.standings,
    store: store.standings,
    clock,
    log,
    onEvent,
  })
  const notices = noticesOf(scope, core, onEvent)
  const directory = directoryOf(config, withScim(config, core, clock))
  const people = peopleOf(config, directory)
  const { active, peopleChanged, invalidated } = followPeople(people, directory, scope, core)
  const asking = createAsking(scope, core, {
    publicUrl,
    people,
    onEvent,
    wake: notify === undefined ? null : () => deliver.asked(),
  })
  const flows = createFlows({
    store,
    vault,
    sealer,
    client,
    connections,
    publicUrl,
    linkTtlMs: config.connect.link_ttl,
    nagAfterMs: config.connect.nag_after,
    clock,
    randomBytes,
    onEvent,
    ...(notify === undefined ? {} : { onLink: () => deliver.wake() }),
    active,
    agentOn: core.agents.allowed,
    room: createRoom({
      tenants: config.tenants,
      store,
      onEvent,
      refused: core.metrics.tenantRefused,
    }),
    lets: standing.lets,
  })
  if (notify !== undefined)
    await delivering(scope, deliver, {
      notify,
      flows,
      standing,
      notices,
      asking,
      publicUrl,
      fetch,
      onEvent,
    })
  sweeping(scope, core, flows, { standing, notices, asking })
  return {
    people,
    active,
    peopleChanged,
    standing: asking.with(standing),
    asking,
    firstUse: (row: StandingRow) => standing.firstUse(row, deliver.send),
    invalidated,
    flows,
    onEvent,
    revoker: createRevoker({ vault, client, connections, log }),
    session: { sealer, clock, store, randomBytes, publicUrl },
  }
}
