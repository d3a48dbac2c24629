import { expect, test } from 'vitest'
import { openStreams } from '../../proxy/compose/signal_streams.ts'
import { createFeeds } from '../../proxy/directory/feed.ts'
import { configuredBy } from '../support/configured.ts'

const ISSUER = 'https://idp.test'
const row = { issuer: ISSUER, manage: true, push: true, bearer: 'canary-bearer' }

test('a stream is kept at the address of the pages, its verification counts wherever it came in', async () => {
  const { scope, begin, close } = await configuredBy({ signals: [row] })
  const asked: string[] = []
  let state = ''
  let delivery: unknown = null
  const answer = (path: string, method: string, body: string): object => {
    asked.push(`${method} ${path}`)
    if (path.startsWith('/.well-known'))
      return {
        issuer: ISSUER,
        configuration_endpoint: `${ISSUER}/streams`,
        status_endpoint: `${ISSUER}/status`,
        verification_endpoint: `${ISSUER}/verify`,
      }
    const sent = body === '' ? {} : (JSON.parse(body) as Record<string, unknown>)
    if (path === '/verify') state = String(sent['state'])
    if (path !== '/streams') return { status: 'enabled' }
    if (method === 'GET') return []
    delivery = sent['delivery']
    return { stream_id: 's', aud: 'deputy/s', delivery }
  }
  const events: unknown[] = []
  let hear = (_key: string): void => {}
  const feeds = createFeeds(scope.clock)
  const streams = openStreams(
    scope,
    {
      feeds,
      fetch: async (input, init) => {
        if (typeof input !== 'string') throw new Error('it asks by a text')
        const body = typeof init?.body === 'string' ? init.body : ''
        return Response.json(answer(new URL(input).pathname, init?.method ?? 'GET', body))
      },
      store: {
        subscribe: (_topic, listen) => {
          hear = listen
          return () => {}
        },
      },
      evidence: { event: async (name, said) => void events.push({ name, ...said }) },
    },
    'https://deputy.test',
  )
  begin()
  await expect.poll(() => state).not.toBe('')
  expect(delivery).toEqual({
    method: 'urn:ietf:rfc:8935',
    endpoint_url: 'https://deputy.test/signals',
  })
  const [stream] = [...streams.values()]
  expect(stream?.known()?.audience).toEqual(['deputy/s'])
  hear('*')
  hear(JSON.stringify(['https://other.test', state]))
  hear(JSON.stringify([ISSUER, state]))
  expect(events).toEqual([
    { name: 'signal.stream', issuer: ISSUER, stream: 's', status: 'made' },
    { name: 'signal.stream', issuer: ISSUER, stream: 's', status: 'verified' },
  ])
  const before = asked.length
  hear(JSON.stringify([ISSUER, null]))
  await expect.poll(() => asked.length).toBeGreaterThan(before)
  await close()
  expect(feeds.samples()).toEqual([])
})
