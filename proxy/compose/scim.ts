// The identity provider that pushes: what it may write, what is asked of it, and who hears of a change.
import type { RequestListener } from 'node:http'
import { naming } from '../config/backend.ts'
import type { Config } from '../config/schema.ts'
import { createScimDirectory, isActive, personIn } from '../directory/scim.ts'
import type { Clock, Person, ScimRealm, ScimRow, ScimUser, SourceName, Store } from '../model.ts'
import type { Core } from './core.ts'
import type { Directories, Invalidated } from './directories.ts'
import type { Scope } from './scope.ts'
import { whenAsked } from './web.ts'

type Pushing = {
  readonly of: ScimRealm
  readonly user: ScimUser
  readonly bearers: readonly Buffer[]
}

/** null: nobody pushes. The configuration has kept its rules. */
const pushingOf = (config: Config): Pushing | null => {
  const scim = config.entitlements?.scim
  if (scim === undefined) return null
  const { tenants, realms } = naming(config)
  const of = {
    tenant: scim.tenant ?? tenants[0] ?? 'default',
    realm: scim.realm ?? realms[0] ?? '',
  }
  return { of, user: scim.user, bearers: scim.bearer }
}

/** The sources that are open, and the one that is in the store. */
export const withScim = (config: Config, core: Core, clock: Clock): Directories => {
  const pushing = pushingOf(config)
  if (pushing === null) return core.directories
  const { of, user } = pushing
  const { scim } = core.store
  const own = createScimDirectory({ scim, of, user, clock, seen: core.metrics.sources })
  return new Map([...core.directories, ['scim' as SourceName, own]])
}

/** Loaded when an identity provider first comes; null: none may. */
export const scimApi = (
  { config, clock, log }: Scope & { readonly config: Config },
  { store, runs, evidence, newId }: Core,
  publicUrl: string,
): RequestListener | null => {
  const pushing = pushingOf(config)
  if (pushing === null) return null
  const { of, user, bearers } = pushing
  const ended = async (person: Person): Promise<void> => {
    await store.epochs.move(person)
    const { id, ...where } = person
    for (const { id: run, agent, revokedAt } of await runs.list({ ...where, user: id }))
      if (revokedAt === null && (await runs.revoke(run)))
        await evidence.event('run.revoked', {
          run,
          user: person,
          agent: { id: agent },
          cause: 'scim',
        })
  }
  return whenAsked(log, async () =>
    (await import('../api/scim.ts')).createScimApi({
      scim: store.scim,
      of,
      bearers,
      personIn: (row: ScimRow) => personIn(of, user, row),
      isActive,
      externalIsPerson: user === 'externalId',
      ended,
      stranger: () => evidence.refused(newId(), 'unauthenticated', null),
      publicUrl,
      clock,
      newId,
      log,
    }),
  )
}

/** On every replica: whoever was changed by any of them is looked at again, and what they run is ended if they may not. */
export const followScim = (
  store: Pick<Store, 'subscribe'>,
  now: () => {
    readonly config: Config
    readonly peopleChanged: () => void
    readonly invalidated: (of: Invalidated) => void
  },
): (() => void) =>
  store.subscribe('scim', (key) => {
    if (now().config.entitlements?.scim === undefined) return
    // Something may have been missed: nobody says what.
    if (key === '*') return now().peopleChanged()
    const [tenant, realm, id] = JSON.parse(key) as [string, string, string | null]
    const person = id === null ? null : { tenant, realm, id }
    now().invalidated({ person, source: 'scim', cause: 'scim' })
  })
