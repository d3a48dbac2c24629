// Every connection out that goes without a proxy. test/net/dial.test.ts has the others.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createTlsServer } from 'node:https'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createSocketServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Dispatcher, request } from 'undici'
import { afterEach, describe, expect, test } from 'vitest'
import { createDial, type Upstream } from '../../proxy/net/dial.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})
const listen = async (server: Server): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => server.close())
  return (server.address() as AddressInfo).port
}
const serve = async (listener: RequestListener) => {
  const server = createServer({ keepAliveTimeout: 50 }, listener)
  ends.push(() => server.closeAllConnections())
  return listen(server)
}
type Options = Parameters<typeof createDial>[0]
const LOOPBACK: Options['allowPrivate'] = [{ net: '127.0.0.0/8' }]
const open = (more: Partial<Options> = {}) => {
  const dial = createDial({
    allowPrivate: LOOPBACK,
    connectTimeout: 5_000,
    idleTimeout: 5_000,
    ca: null,
    ...more,
  })
  ends.push(() => dial.close())
  return dial
}
/** undici's `request` wants a whole Dispatcher; calls are dispatched alone. */
const whole = ({ dispatch }: Upstream): Dispatcher => Object.assign(new Dispatcher(), { dispatch })
/** What a call to a provider ends with: its status and body, or the code of its error. */
const call = async ({ upstream }: ReturnType<typeof createDial>, origin: string) => {
  try {
    const { statusCode, body } = await request(origin, { dispatcher: whole(upstream) })
    return `${statusCode} ${await body.text()}`
  } catch (error) {
    const { code, notSent } = error as { code?: string; notSent?: boolean }
    return `${code}${notSent === true ? ', not sent' : ''}`
  }
}

describe('an address that nobody allowed', () => {
  test.each(['127.0.0.1', 'localhost', '[::1]', '169.254.169.254', '[::ffff:127.0.0.1]'])(
    '%s is never dialled, by its number or by its name',
    async (host) => {
      let dialled = 0
      const port = await serve((_req, res) => {
        dialled += 1
        res.end()
      })
      const dial = open({ allowPrivate: [] })
      expect(await call(dial, `http://${host}:${port}`)).toMatch(/^DEPUTY_ADDRESS_PROHIBITED/)
      await expect(dial.fetch(`http://${host}:${port}/`)).rejects.toMatchObject({
        cause: { code: 'DEPUTY_ADDRESS_PROHIBITED' },
      })
      expect(dialled).toBe(0)
    },
  )
  test('is named with its name and what to do', async () => {
    const { upstream } = open({ allowPrivate: [] })
    await expect(request('http://localhost:9', { dispatcher: whole(upstream) })).rejects.toThrow(
      /^localhost resolves to .*127\.0\.0\.1.*: list it under network\.allow_private/,
    )
  })
  test('is dialled where it is listed', async () => {
    const port = await serve((_req, res) => void res.end('here'))
    expect(await call(open(), `http://127.0.0.1:${port}`)).toBe('200 here')
  })
})

describe('before a connection stands nothing was sent', () => {
  test('where nobody listens', async () => {
    const port = await listen(createSocketServer())
    for (const end of ends.splice(0)) await end()
    expect(await call(open(), `http://127.0.0.1:${port}`)).toBe('ECONNREFUSED, not sent')
  })
  test('where the other side is no TLS', async () => {
    const port = await serve((_req, res) => void res.end())
    expect(await call(open(), `https://127.0.0.1:${port}`)).toMatch(/, not sent$/)
  })
  test('and once it stands, who knows', async () => {
    const port = await listen(
      createSocketServer((socket) => socket.once('data', () => socket.destroy())),
    )
    expect(await call(open(), `http://127.0.0.1:${port}`)).toBe('UND_ERR_SOCKET')
  })
})

const missing = opensslMissing()
test.skipIf(missing !== '')(
  `a certificate counts where its authority is given, and only there${missing}`,
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'deputy-dial-'))
    ends.push(() => rmSync(folder, { recursive: true }))
    const { key, pem } = makeCertificate(folder)
    const tls = { cert: pem, key: readFileSync(key) }
    const server = createTlsServer(tls, (_req, res) => void res.end('sealed'))
    ends.push(() => server.closeAllConnections())
    const port = await listen(server)
    expect(await call(open(), `https://localhost:${port}`)).toMatch(/SELF_SIGNED.*, not sent$/)
    const ca = join(folder, 'ca.pem')
    writeFileSync(ca, pem)
    expect(await call(open({ ca }), `https://localhost:${port}`)).toBe('200 sealed')
  },
)

test('answers in between that nobody asked for are taken (RFC 9110 15.2)', async () => {
  const port = await listen(
    createSocketServer((socket) =>
      socket.once('data', () =>
        socket.end(
          'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
        ),
      ),
    ),
  )
  const dial = open()
  // The first connection makes the parser known, the next ones are read by it.
  await call(dial, `http://127.0.0.1:${await serve((_req, res) => void res.end())}`)
  expect(await call(dial, `http://127.0.0.1:${port}`)).toBe('200 ok')
})

test('a redirect of an identity provider is not followed', async () => {
  let followed = false
  const port = await serve((req, res) => {
    if (req.url === '/secret') followed = true
    res.writeHead(302, { location: '/secret' }).end()
  })
  const answer = await open().fetch(`http://127.0.0.1:${port}/`)
  expect([answer.status, followed]).toEqual([302, false])
})
