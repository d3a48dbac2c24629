// Every connection out: judged, through the proxy where there is one, and with the files of its connection alone.
import type * as Dns from 'node:dns'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { createServer as createTls } from 'node:https'
import * as tls from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type { ConnectionTls, Log } from '../../proxy/model.ts'
import { createDial, type Dial, type DialOptions } from '../../proxy/net/dial.ts'
import { secret } from '../../proxy/secret.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { startEgress, startRaw, type EgressProxy } from '../support/egress.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/** Names of these tests, resolved as their owner likes. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  'api.test': ['127.0.0.1'],
  'metadata.test': ['169.254.169.254'],
  'inner.test': ['10.0.0.5'],
  'mixed.test': ['10.0.0.5', '169.254.169.254', '127.0.0.1'],
  'dual.test': ['127.0.0.9', '127.0.0.1'],
  'silent.test': [],
}
/** Of `turning.test`, which means something else each time. */
const turns: string[] = []
vi.mock('node:dns', async (original) => {
  const dns = await original<typeof Dns>()
  type Found = (error: Error | null, found: unknown) => void
  const lookup = (name: string, options: object, found: Found): void => {
    const known = name === 'turning.test' ? turns.splice(0, 1) : NAMES[name]
    if (known === undefined) dns.lookup(name, options, found as Parameters<typeof dns.lookup>[1])
    else if (known.length > 0)
      queueMicrotask(() =>
        found(
          null,
          known.map((address) => ({ address, family: 4 })),
        ),
      )
  }
  return { ...dns, default: { ...dns, lookup }, lookup }
})

const missing = opensslMissing()
const folder = mkdtempSync(join(tmpdir(), 'deputy-dial-'))
const at = (name: string) => join(folder, name)
const opened: (() => unknown)[] = []
let upstream: Upstream
let proxy: EgressProxy
beforeAll(async () => {
  upstream = await startUpstream()
  proxy = await startEgress()
})
afterEach(async () => {
  for (const close of opened.splice(0)) await close()
  proxy.answer = null
  proxy.asked.length = 0
})
afterAll(async () => {
  await proxy.close()
  await upstream.close()
  rmSync(folder, { recursive: true, force: true })
})

const told: string[] = []
const write = (fields: object, msg: string): void =>
  void told.push(`${msg} ${JSON.stringify(fields)}`)
const log: Log = { debug: write, info: write, warn: write, error: write }
const dial = (options: Partial<DialOptions> = {}): Dial => {
  const made = createDial({
    allowPrivate: [{ net: '127.0.0.0/8' }],
    connectTimeout: 3_000,
    idleTimeout: 5_000,
    ca: null,
    proxy: { origin: `http://127.0.0.1:${proxy.port}`, authorization: null },
    log,
    ...options,
  })
  opened.push(() => made.close())
  return made
}
/** The code of the transport's error, and its sentence. */
const failing = async (asked: Promise<Response>): Promise<{ code: string; message: string }> => {
  const error: unknown = await asked.then(
    (answer) => new Error(`answered ${answer.status}`),
    (thrown: unknown) => (thrown as { readonly cause?: unknown }).cause ?? thrown,
  )
  const { code = '', message } = error as { readonly code?: string; readonly message: string }
  return { code, message }
}

describe('behind an egress proxy', () => {
  test('deputy resolves, and the proxy is asked for an address', async () => {
    const answer = await dial().fetch(`http://api.test:${upstream.port}/a`)
    expect(answer.status).toBe(401)
    await answer.text()
    expect(proxy.asked).toEqual([{ authority: `127.0.0.1:${upstream.port}`, authorization: null }])
  })
  test.each(['metadata.test', 'inner.test', '169.254.169.254', '10.0.0.5', '[::ffff:a9fe:a9fe]'])(
    '%s is refused though the proxy would connect, and the proxy hears nothing of it',
    async (host) => {
      const { code, message } = await failing(dial().fetch(`http://${host}/latest/meta-data`))
      expect(code).toBe('DEPUTY_ADDRESS_PROHIBITED')
      expect(message).toContain('network.allow_private')
      expect(proxy.asked).toEqual([])
    },
  )
  test('of several addresses only those that may be dialled are asked for', async () => {
    await (await dial().fetch(`http://mixed.test:${upstream.port}/`)).text()
    expect(proxy.asked.map(({ authority }) => authority)).toEqual([`127.0.0.1:${upstream.port}`])
  })
  test('where the proxy has no way to one address it is asked for the next; where it says no, it is not', async () => {
    proxy.answer = (socket) => socket.end('HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno')
    expect(await failing(dial().fetch(`http://dual.test:${upstream.port}/`))).toMatchObject({
      code: 'DEPUTY_PROXY_FAILED',
    })
    expect(proxy.asked).toHaveLength(2)
    proxy.asked.length = 0
    proxy.answer = (socket) => socket.end('HTTP/1.1 403 No\r\n\r\n')
    expect(await failing(dial().fetch(`http://dual.test:${upstream.port}/`))).toMatchObject({
      code: 'DEPUTY_PROXY_REFUSED',
    })
    expect(proxy.asked).toHaveLength(1)
  })
  test('credentials go to the proxy alone', async () => {
    const authorization = secret('Basic dXNlcjpwYXNz')
    const way = dial({ proxy: { origin: `http://localhost:${proxy.port}`, authorization } })
    await (await way.fetch(`http://api.test:${upstream.port}/`)).text()
    expect(proxy.asked.at(-1)?.authorization).toBe('Basic dXNlcjpwYXNz')
    expect(upstream.bytes().toString()).not.toMatch(/dXNlcjpwYXNz|proxy-auth/i)
  })
  test('no_proxy names what goes round it, by name and by the address that it has', async () => {
    for (const direct of ['api.test', '127.0.0.0/8']) {
      await (await dial({ direct: [direct] }).fetch(`http://api.test:${upstream.port}/`)).text()
      expect(proxy.asked).toEqual([])
    }
    // And is judged all the same.
    expect(await failing(dial({ direct: ['*'] }).fetch(`http://metadata.test/`))).toMatchObject({
      code: 'DEPUTY_ADDRESS_PROHIBITED',
    })
  })
  test('what goes round it by its address goes to no other, though the name be answered anew', async () => {
    turns.push('127.0.0.1', '127.0.0.2')
    const way = dial({ direct: ['127.0.0.1'] })
    expect(await failing(way.fetch(`http://turning.test:${upstream.port}/`))).toMatchObject({
      code: 'DEPUTY_ADDRESS_PROHIBITED',
      message: expect.stringContaining('127.0.0.2') as unknown,
    })
    expect([turns, proxy.asked]).toEqual([[], []])
  })
  test('a proxy at an address that nothing opens is not dialled', async () => {
    for (const origin of ['http://169.254.169.254:3128', 'http://metadata.test:3128'])
      expect(
        await failing(dial({ proxy: { origin, authorization: null } }).fetch('http://api.test/')),
      ).toMatchObject({ code: expect.stringMatching(/PROHIBITED|PROXY_UNREACHABLE/) as unknown })
  })
  test('a name server that never answers is not waited for longer than connect_timeout', async () => {
    expect(await failing(dial().fetch('http://silent.test/'))).toMatchObject({
      code: 'UND_ERR_CONNECT_TIMEOUT',
    })
  })
})

describe('a proxy that misbehaves', () => {
  const say = (text: string) => (socket: { write: (text: string) => unknown }) =>
    void socket.write(text)
  test.each<[string, string, RegExp, (socket: Socket) => void]>([
    [
      'wants credentials',
      'DEPUTY_PROXY_REFUSED',
      /407: .* user and password/,
      say('HTTP/1.1 407 No\r\n\r\n'),
    ],
    [
      'forbids',
      'DEPUTY_PROXY_REFUSED',
      /403: the operator must let/,
      say('HTTP/1.1 403 No\r\nX: secret-of-proxy\r\n\r\n'),
    ],
    ['has no way', 'DEPUTY_PROXY_FAILED', /502: it has no way/, say('HTTP/1.1 502 No\r\n\r\n')],
    [
      'redirects',
      'DEPUTY_PROXY_GARBLED',
      /302 to CONNECT/,
      say('HTTP/1.1 302 No\r\nLocation: http://evil.test\r\n\r\n'),
    ],
    ['continues', 'DEPUTY_PROXY_GARBLED', /100 to CONNECT/, say('HTTP/1.1 100 Continue\r\n\r\n')],
    [
      'speaks another language',
      'DEPUTY_PROXY_GARBLED',
      /not answer in HTTP/,
      say('SSH-2.0-OpenSSH_9.2\r\n'),
    ],
    [
      'says more than 200',
      'DEPUTY_PROXY_GARBLED',
      /more than that/,
      say('HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n'),
    ],
    [
      'has an endless head',
      'DEPUTY_PROXY_GARBLED',
      /not answer in HTTP/,
      say(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`),
    ],
    ['hangs up', 'DEPUTY_PROXY_GARBLED', /without an answer/, (socket) => socket.destroy()],
    [
      'hangs up midway',
      'DEPUTY_PROXY_GARBLED',
      /without an answer/,
      (socket) => void socket.end('HTTP/1.1 200 O'),
    ],
    ['hangs', 'DEPUTY_PROXY_TIMEOUT', /in time/, () => undefined],
    ['hangs midway', 'DEPUTY_PROXY_TIMEOUT', /in time/, say('HTTP/1.1 200 OK\r\n')],
  ])('and %s: nothing is sent, and a sentence says so', async (_what, code, sentence, answer) => {
    const raw = await startRaw(answer)
    opened.push(raw.close)
    const way = dial({
      proxy: { origin: `http://127.0.0.1:${raw.port}`, authorization: secret('Basic c2VjcmV0') },
    })
    const failed = await failing(
      way.fetch(`http://api.test:${upstream.port}/secret-path`, {
        headers: { authorization: 'Bearer at-1' },
      }),
    )
    expect(failed).toEqual({ code, message: expect.stringMatching(sentence) as unknown })
    expect(failed.message).not.toMatch(/secret|c2Vj/)
    expect(raw.seen()).not.toMatch(/at-1|secret-path/)
    expect(raw.seen().match(/CONNECT /g)).toHaveLength(1)
  })
  test('a proxy that nobody runs, or that a name does not lead to', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    for (const [origin, code] of [
      [`http://127.0.0.1:${port}`, 'ECONNREFUSED'],
      ['http://nobody.invalid:1', 'ENOTFOUND|EAI_AGAIN'],
    ] as const) {
      const { message, ...rest } = await failing(
        dial({ proxy: { origin, authorization: null }, connectTimeout: 20_000 }).fetch(
          `http://api.test:${upstream.port}/`,
        ),
      )
      expect(rest).toEqual({ code: 'DEPUTY_PROXY_UNREACHABLE' })
      expect(message).toMatch(new RegExp(code))
    }
  })
})

describe.skipIf(missing !== '')(`TLS${missing}`, () => {
  /** A provider under TLS that says which certificate it was shown. */
  const startTls = async (name: string) => {
    mkdirSync(at(name), { recursive: true })
    const own = makeCertificate(at(name))
    const seen: string[] = []
    const server = createTls(
      { cert: own.pem, key: readFileSync(own.key), requestCert: true, rejectUnauthorized: false },
      (req, res) => {
        const { raw } = (req.socket as TLSSocket).getPeerCertificate()
        const shown = (raw as Buffer | undefined)?.toString('base64') ?? 'none'
        seen.push(shown)
        res.end(shown)
      },
    )
    const names: (string | false | null | undefined)[] = []
    server.on('secureConnection', (socket: TLSSocket) => names.push(socket.servername))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    opened.push(() => {
      server.closeAllConnections()
      server.close()
    })
    const { port } = server.address() as AddressInfo
    return { ...own, port, seen, names }
  }
  const derOf = (pem: string): string => pem.replaceAll(/-----[^-]+-----|\s/g, '')

  test('inside the tunnel is checked against the host, with its name', async () => {
    const provider = await startTls('provider')
    const way = dial({ ca: provider.cert })
    expect((await way.fetch(`https://localhost:${provider.port}/in-tls`)).status).toBe(200)
    expect(provider.names).toEqual(['localhost'])
    expect(proxy.asked).toHaveLength(1)
    expect(proxy.bytes().toString('latin1')).not.toContain('GET /in-tls HTTP')
    // The same provider by a name that its certificate does not have.
    expect(await failing(way.fetch(`https://api.test:${provider.port}/`))).toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    })
    expect(await failing(dial().fetch(`https://localhost:${provider.port}/`))).toMatchObject({
      code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
    })
    expect(provider.seen).toHaveLength(1)
  })
  test('a proxy may speak TLS itself, and is believed by its certificate only', async () => {
    const provider = await startTls('provider')
    const secure = await startEgress({
      tls: { cert: readFileSync(provider.cert, 'utf8'), key: readFileSync(provider.key, 'utf8') },
      credentials: 'deputy:word',
    })
    opened.push(() => secure.close())
    const authorization = secret(`Basic ${Buffer.from('deputy:word').toString('base64')}`)
    const ask = (origin: string, ca: string | null) =>
      dial({ ca, proxy: { origin, authorization } }).fetch(`https://localhost:${provider.port}/`)
    expect((await ask(`https://localhost:${secure.port}`, provider.cert)).status).toBe(200)
    expect(secure.asked).toHaveLength(1)
    // Many proxies have several certificates, and show the one of the name that they are asked by.
    expect(secure.names).toEqual(['localhost'])
    for (const [origin, ca] of [
      [`https://localhost:${secure.port}`, null],
      [`https://api.test:${secure.port}`, provider.cert],
    ] as const)
      expect(await failing(ask(origin, ca))).toMatchObject({
        code: 'DEPUTY_PROXY_UNREACHABLE',
        message: expect.stringMatching(/CERT/) as unknown,
      })
    expect(secure.asked).toHaveLength(1)
  })
  test.each<[string, (socket: Socket) => void]>([
    ['is closed', (socket) => socket.once('data', () => socket.end())],
    ['is cut', (socket) => socket.once('data', () => socket.resetAndDestroy())],
    [
      'says something else',
      (socket) => socket.once('data', () => socket.write('HTTP/1.1 400 \r\n')),
    ],
    ['speaks first, later', (socket) => void setTimeout(() => socket.write('220 smtp\r\n'), 50)],
  ])('a tunnel that %s in the handshake carries nothing', async (_what, then) => {
    proxy.answer = (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      then(socket)
    }
    const { code } = await failing(dial().fetch('https://api.test/'))
    expect(code).toMatch(/^(?:ECONNRESET|ERR_SSL_\w+|EPROTO)$/)
    expect(proxy.asked).toHaveLength(1)
  })
  test('a tunnel in which nobody speaks TLS ends in time', async () => {
    proxy.answer = (socket) => socket.write('HTTP/1.1 200 OK\r\n\r\n')
    const began = performance.now()
    expect(await failing(dial().fetch('https://api.test/'))).toMatchObject({
      code: 'UND_ERR_CONNECT_TIMEOUT',
    })
    expect(performance.now() - began).toBeLessThan(20_000)
    expect(proxy.asked).toHaveLength(1)
  })

  const client = (name: string): ConnectionTls => {
    mkdirSync(at(name), { recursive: true })
    const { cert, key } = makeCertificate(at(name))
    return { connection: name, ca: null, client: { cert, key } }
  }
  test.each([['through the proxy'], ['without a proxy']])(
    'the certificate of a connection is shown for this connection alone, %s',
    async (how) => {
      const provider = await startTls('provider')
      const [one, two] = [client('one'), client('two')]
      const way = dial({ ca: provider.cert, ...(how.startsWith('w') ? { proxy: null } : {}) })
      const ask = async (tls: ConnectionTls | null): Promise<string> =>
        (await way.fetch(`https://localhost:${provider.port}/`, { tls })).text()
      const shown = (tls: ConnectionTls) => derOf(readFileSync(tls.client?.cert ?? '', 'utf8'))
      for (const tls of [one, two, one]) expect(await ask(tls)).toBe(shown(tls))
      expect(await ask(null)).toBe('none')
      expect(await ask(two)).toBe(shown(two))
    },
  )
  test('files that changed are used for new connections; wrong ones are not, and are told once', async () => {
    const provider = await startTls('provider')
    const [mine, next] = [client('mine'), client('next')]
    const way = dial({ ca: provider.cert })
    const ask = async (): Promise<string> =>
      (
        await way.fetch(`https://localhost:${provider.port}/`, {
          tls: mine,
          headers: { connection: 'close' },
        })
      ).text()
    const before = derOf(readFileSync(mine.client?.cert ?? '', 'utf8'))
    expect(await ask()).toBe(before)
    // The new certificate is there, its key is not yet.
    copyFileSync(next.client?.cert ?? '', mine.client?.cert ?? '')
    told.length = 0
    expect([await ask(), await ask()]).toEqual([before, before])
    expect(told).toHaveLength(1)
    expect(told[0]).toMatch(
      /last good ones .*connections\.mine\.client_cert\.key: .* is not the key of/,
    )
    copyFileSync(next.client?.key ?? '', mine.client?.key ?? '')
    expect(await ask()).toBe(derOf(readFileSync(next.client?.cert ?? '', 'utf8')))
  })
  test('without a certificate that can be read nothing is dialled', async () => {
    const provider = await startTls('provider')
    const mine = client('broken')
    writeFileSync(mine.client?.key ?? '', 'no key')
    expect(
      await failing(
        dial({ ca: provider.cert }).fetch(`https://localhost:${provider.port}/`, { tls: mine }),
      ),
    ).toMatchObject({ code: 'DEPUTY_TRUST_UNREADABLE' })
    expect(provider.seen).toEqual([])
    expect(proxy.asked).toEqual([])
  })
  test('upstream.ca is believed beside the authorities that the runtime brings', async () => {
    const [own, runtime] = [await startTls('own'), await startTls('runtime')]
    const before = tls.getCACertificates('default')
    tls.setDefaultCACertificates([...before, runtime.pem])
    try {
      const way = dial({ ca: own.cert })
      for (const { port } of [own, runtime])
        expect((await way.fetch(`https://localhost:${port}/`)).status).toBe(200)
    } finally {
      tls.setDefaultCACertificates(before)
    }
  })
  test('authorities of one connection are believed for it alone, beside those of all', async () => {
    const [common, special] = [await startTls('common'), await startTls('special')]
    const way = dial({ ca: common.cert })
    const tls = { connection: 'special', ca: special.cert, client: null }
    const ask = (port: number, own: ConnectionTls | null) =>
      way.fetch(`https://localhost:${port}/`, { tls: own })
    expect((await ask(special.port, tls)).status).toBe(200)
    expect((await ask(common.port, tls)).status).toBe(200)
    expect(await failing(ask(special.port, null))).toMatchObject({
      code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
    })
  })
})
