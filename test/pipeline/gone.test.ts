// A caller who left before a station looked: what waits for them to leave would wait for ever.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import type { Route } from '../../proxy/model.ts'
import type { Act } from '../../proxy/pipeline/classify.ts'
import { createHold } from '../../proxy/pipeline/hold.ts'
import { inspect } from '../../proxy/pipeline/inspect.ts'

const gone = async (): Promise<{ req: IncomingMessage; res: ServerResponse }> => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => undefined)
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{')
  const [req, res] = (await once(server, 'request')) as [IncomingMessage, ServerResponse]
  req.on('error', () => undefined)
  socket.resetAndDestroy()
  await once(res, 'close')
  server.close()
  return { req, res }
}

test('their body cannot be read', async () => {
  const { req } = await gone()
  const route = { connection: { provider: { strip: { body: ['token'] } } } } as unknown as Route
  const act = { kind: 'rest', operation: { inspect: [] } } as unknown as Act
  await expect(
    inspect(req, { route, act }, { requestBody: 99, inspectedBody: 99 }),
  ).rejects.toThrow('the caller left before the body was')
})

test('their call is not held', async () => {
  const { res } = await gone()
  const hold = createHold({
    calls: 9,
    bytes: 9,
    share: 1,
    max: 9_000,
    unasked: 0,
    away: 0,
    now: () => 0,
  })
  const body = { state: 'none', bytes: null, declared: 0, contentType: null, json: {} } as const
  const kept = hold.wait(
    res,
    { ...body, digest: null, stripped: [] },
    { agent: 'a', ms: 9_000 },
    () => {
      throw new Error('it was held')
    },
  )
  expect(await kept).toBe(false)
  expect(hold.count()).toBe(0)
})
