import { expect, test } from 'vitest'
import { followAdminEvents } from '../../proxy/compose/admin_events.ts'
import type { Invalidated } from '../../proxy/compose/directories.ts'
import { createFeeds } from '../../proxy/directory/feed.ts'
import { configuredBy } from '../support/configured.ts'

const URL_OF = 'https://idp.test'
/** The feed with one event of alice after the first look. */
const follow = async (http: object) => {
  const told: Invalidated[] = []
  const { scope, begin, close } = await configuredBy({
    entitlements: {
      source: 'http',
      http: {
        preset: 'keycloak',
        url: URL_OF,
        realm: 'corp',
        client_id: 'reader',
        client_secret: 'canary-secret',
        ...http,
      },
    },
  })
  let looks = 0
  const answer = (input: string): object => {
    const { pathname, searchParams } = new URL(input)
    if (pathname.endsWith('/token')) return { access_token: 'x', expires_in: 60 }
    if (pathname.endsWith('/config')) return { adminEventsEnabled: true }
    looks += 1
    return searchParams.get('max') === '1'
      ? []
      : [{ id: '1', time: 1, resourcePath: 'users/alice' }]
  }
  const feeds = createFeeds(scope.clock)
  followAdminEvents(
    scope,
    {
      fetch: async (input) => {
        if (typeof input !== 'string') throw new Error('it asks by a text')
        return Response.json(answer(input))
      },
      feeds,
    },
    (of) => void told.push(of),
  )
  begin()
  return { told, feeds, close, looks: () => looks }
}
const cause = { source: 'http', cause: 'admin_event' }

test('whoever changed is told in each tenant, once, and everybody before it is known where the feed stands', async () => {
  const { told, feeds, close } = await follow({ follow: 'admin_events' })
  await expect.poll(() => told.length).toBe(2)
  expect(told).toEqual([
    { person: null, ...cause },
    { person: { tenant: 'default', realm: 'local', id: 'alice' }, ...cause },
  ])
  expect(feeds.detail()).toContain('admin_events of https://idp.test, realm corp worked')
  await close()
  expect(feeds.detail()).toBe('')
})
test('who is named by anything but the id is anybody', async () => {
  const { told, close } = await follow({ follow: 'admin_events', by: 'name' })
  await expect.poll(() => told.length).toBe(2)
  expect(told.map(({ person }) => person)).toEqual([null, null])
  await close()
})
test('nothing is asked unless the configuration says so', async () => {
  const { close, feeds, looks } = await follow({})
  await close()
  expect([looks(), feeds.samples()]).toEqual([0, []])
})
