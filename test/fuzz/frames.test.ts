// Frames by hand are frames to an ordinary server, and its answer is known to have ended.
import { createServer, type Http2Server, type IncomingHttpHeaders } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { dial } from '../support/raw.ts'
import { connectionOf, over } from './frames.ts'

let server: Http2Server
const seen: { headers: IncomingHttpHeaders; body: string; trailers: unknown }[] = []
beforeAll(async () => {
  server = createServer((req, res) => {
    let body = ''
    req.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')))
    req.on('end', () => {
      seen.push({ headers: req.headers, body, trailers: req.trailers })
      res.end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(() => void server.close())

const long = 'x'.repeat(300)
test.each([
  ['a body, trailers and a long value in three frames', 'hi', 3],
  ['no body', null, 1],
])('%s', async (_, body, pieces) => {
  seen.length = 0
  const { port } = server.address() as AddressInfo
  const { socket, received } = await dial(`http://127.0.0.1:${port}`)
  socket.write(
    connectionOf({
      fields: [
        [':method', 'POST'],
        [':scheme', 'http'],
        [':path', '/a?b=1'],
        [':authority', 'api.fuzz.test'],
        ['x-long', long],
      ],
      body,
      trailers: body === null ? [] : [['x-a', 'b']],
      pieces,
    }),
  )
  expect(over(received())).toBe(false)
  await expect.poll(() => over(received())).toBe(true)
  socket.destroy()
  expect(seen).toMatchObject([
    {
      headers: { ':method': 'POST', ':path': '/a?b=1', 'x-long': long },
      body: body ?? '',
      trailers: body === null ? {} : { 'x-a': 'b' },
    },
  ])
})

test('what no server takes ends too', async () => {
  const { port } = server.address() as AddressInfo
  const { socket, received } = await dial(`http://127.0.0.1:${port}`)
  socket.write(connectionOf({ fields: [['x', 'y']], body: null, trailers: [], pieces: 1 }))
  await expect.poll(() => over(received())).toBe(true)
  socket.destroy()
})
