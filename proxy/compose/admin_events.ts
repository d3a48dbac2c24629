// What administrators change at the directory is looked for, so that what was known of a person counts no more at once.
import { credentialsOf, kindOf } from '../config/directory.ts'
import { naming } from '../config/backend.ts'
import { sourcesOf } from '../config/schema.ts'
import { createAdminEvents } from '../directory/admin_events.ts'
import { createFeed } from '../directory/feed.ts'
import { createGet } from '../directory/page.ts'
import { createOwnToken } from '../oauth/own_token.ts'
import type { Core } from './core.ts'
import type { Invalidated } from './directories.ts'
import type { Configured } from './scope.ts'

const EVERY_MS = 1_000

/** Each replica follows by itself: nothing is kept from before its start, so there is no place to go on from. */
export const followAdminEvents = (
  { config, clock, log, opened, begins }: Configured,
  { fetch, feeds }: Pick<Core, 'fetch' | 'feeds'>,
  invalidated: (of: Invalidated) => void,
): void => {
  const { entitlements } = config
  const http = entitlements?.http
  if (http?.follow === undefined || !sourcesOf(entitlements).includes('http')) return
  const kind = kindOf(http)
  if (kind.preset !== 'keycloak') return
  const { tenants, realms } = naming(config)
  const realm = http.people_realm ?? realms[0] ?? ''
  const tell = (person: Invalidated['person']): void =>
    invalidated({ person, source: 'http', cause: 'admin_event' })
  const get = createGet({
    fetch,
    authorization: createOwnToken(credentialsOf(http), { fetch, clock }),
    clock,
  })
  const look = createAdminEvents(
    `${kind.url}/admin/realms/${encodeURIComponent(kind.realm)}`,
    get,
    (users) => {
      // By another name than the id nobody can be told from an event: a name may be new.
      if (users === null || kind.by !== 'id') return tell(null)
      for (const id of users) for (const tenant of tenants) tell({ tenant, realm, id })
    },
    clock.now,
  )
  const { begin, close } = createFeed({
    kind: 'admin_events',
    name: `${kind.url}, realm ${kind.realm}`,
    step: (ended) => look(AbortSignal.any([ended, AbortSignal.timeout(http.timeout)])),
    every: EVERY_MS,
    feeds,
    log,
  })
  opened(close)
  begins(begin)
}
