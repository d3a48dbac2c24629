// Each server reads a request in its own way, and says in one shape what it understood.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lines } from '../support/raw.ts'
import { startServers, type Server } from './servers.ts'

let servers: readonly Server[] = []
beforeAll(async () => {
  ;({ servers } = await startServers())
}, 120_000)
afterAll(() => Promise.all(servers.map((server) => server.close())))

const BODY = '{"title":"a"}'
const request = (first: string, ...more: readonly string[]): Buffer =>
  Buffer.from(
    `${lines(first, 'Host: api.fuzz.test', 'Authorization: Bearer x', 'Content-Type: application/json', ...more)}${BODY}`,
  )

test('all understand a plain request alike', async () => {
  for (const server of servers)
    expect(
      await server.understand(
        request('POST /a%20b/c?q=1&q=2&r=%C3%A9 HTTP/1.1', `Content-Length: ${BODY.length}`),
      ),
    ).toMatchObject({
      method: 'POST',
      segments: ['a b', 'c'],
      query: { q: ['1', '2'], r: ['é'] },
      authorization: ['Bearer x'],
      body: Buffer.from(BODY),
      fields: expect.arrayContaining([['title', 'a']]),
    })
})

test('a request that they refuse is its status', async () => {
  for (const server of servers)
    expect(await server.understand(request('POST / HTTP/1.1', 'Content-Length: x'))).toBe(400)
})

test('HEAD is asked as GET, and stays HEAD', async () => {
  for (const server of servers)
    expect(
      await server.understand(Buffer.from(lines('HEAD /a HTTP/1.1', 'Host: api.fuzz.test'))),
    ).toMatchObject({ method: 'HEAD' })
})
