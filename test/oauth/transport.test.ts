import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { createDial } from '../../proxy/net/dial.ts'
import { createSend } from '../../proxy/oauth/transport.ts'

const POST = { method: 'POST', headers: {}, body: 'grant_type=refresh_token' }
/** Nothing of this process runs meanwhile, as when it is stopped. */
const stall = (ms: number): void =>
  void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
const reset = (): never => {
  throw new TypeError('fetch failed', {
    cause: Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', syscall: 'read' }),
  })
}
const dial = () =>
  createDial({
    allowPrivate: [{ net: '127.0.0.0/8' }],
    connectTimeout: 20_000,
    idleTimeout: 20_000,
    ca: null,
  })
/** Resets each connection once its first bytes are there. */
const resetting = async () => {
  let came = 0
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      came += 1
      socket.resetAndDestroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, came: () => came, server }
}

test.for([
  ['https', 'not_sent'],
  ['http', 'unknown'],
])(
  'a reset of %s after the first bytes is %s: in the handshake no request has left',
  async ([scheme, kind]) => {
    const { port, came, server } = await resetting()
    const { fetch, close } = dial()
    try {
      const answer = await createSend(fetch, 5_000)(`${scheme}://127.0.0.1:${port}/token`, POST)
      expect(answer).toMatchObject({ kind, error: 'ECONNRESET' })
      expect(came()).toBe(1)
    } finally {
      await close()
      server.close()
    }
  },
)

test('a connection that broke while this process stood still is not one to try again', async () => {
  const broken = createSend(async () => {
    stall(3_000)
    return reset()
  }, 20_000)
  expect(await broken('http://x.test/', POST)).toMatchObject({ kind: 'unread' })
  const quick = createSend(async () => reset(), 20_000)
  expect(await quick('http://x.test/', POST)).toMatchObject({ kind: 'unknown' })
})

test('a deadline counts only while this process runs, and ends what takes too long', async () => {
  const hanging: typeof fetch = (_, init) =>
    new Promise((_resolve, reject) =>
      init?.signal?.addEventListener('abort', () => reject(init.signal?.reason)),
    )
  expect(await createSend(hanging, 100)('http://x.test/', POST)).toMatchObject({
    kind: 'unknown',
    error: 'timeout',
  })
  // Due long ago when the process goes on, but what came meanwhile is read first.
  const late = createSend(async () => {
    setImmediate(() => stall(3_000))
    return new Promise<Response>((resolve, reject) => {
      setTimeout(() => setTimeout(() => resolve(new Response('{}')), 200), 300)
      setTimeout(() => reject(new Error('never')), 60_000).unref()
    })
  }, 1_000)
  expect(await late('http://x.test/', POST)).toMatchObject({ status: 200, body: '{}' })
})
