// What a tenant may store: a link that would lead beyond it is not made, and what comes of an older one is not kept.
import type { Asker, Store } from '../model.ts'
import { Problem } from '../problem.ts'

/** Bounds of one tenant; what is absent is not bounded. */
type Bounds = {
  readonly people?: number | undefined
  readonly connections?: number | undefined
  readonly calls_per_minute?: number | undefined
}
/** By tenant; undefined: none is bounded. */
export type Tenants = Readonly<Record<string, Bounds>> | undefined

/** A tenant without a row, where others have one, has nothing: its tags are of a configuration that is gone. */
export const boundsOf = (tenants: Tenants, name: string): Bounds =>
  tenants === undefined
    ? {}
    : Object.hasOwn(tenants, name)
      ? (tenants[name] ?? {})
      : { people: 0, connections: 0, calls_per_minute: 0 }

export type Room = (who: Asker) => Promise<void>

/**
 * Throws Problem tenant_quota where nothing more of this person may be stored at this connection.
 * Counted in the store: of all replicas. Consents that end at one moment may pass together.
 */
export const createRoom =
  (deps: {
    readonly tenants: Tenants
    readonly store: Pick<Store, 'stored'>
    readonly onEvent: (event: string, fields: object) => void | Promise<void>
    readonly refused: (tenant: string, bound: 'people' | 'connections') => void
  }): Room =>
  async ({ person, agent, connection }) => {
    const { people = Infinity, connections = Infinity } = boundsOf(deps.tenants, person.tenant)
    if (people === Infinity && connections === Infinity) return
    const stored = await deps.store.stored(person, connection)
    const bound =
      !stored.known && stored.people >= people
        ? 'people'
        : !stored.connected && stored.connections >= connections
          ? 'connections'
          : null
    if (bound === null) return
    deps.refused(person.tenant, bound)
    await deps.onEvent('tenant.refused', { user: person, agent: { id: agent }, connection, bound })
    throw new Problem(
      'tenant_quota',
      bound === 'people'
        ? 'As many people of your organisation as may use this are connected already. Ask your administrator.'
        : 'As many accounts of your organisation as may be connected are connected already. Ask your administrator.',
      { extra: { bound } },
    )
  }
