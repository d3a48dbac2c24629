// A whole deputy behind an egress proxy: whatever goes out goes through it, and what the proxy does to it is told.
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createTls } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { validate } from '../../proxy/commands/validate/command.ts'
import {
  loadFolder,
  prepareFolder,
  providersAt,
  startChild,
  startDeputy,
  type Deputy,
  type Fields,
} from '../support/deputy.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import {
  startEgress,
  startTinyproxy,
  tinyproxyMissing,
  type EgressProxy,
  type Tinyproxy,
} from '../support/egress.ts'
import { AUDIENCE, startIssuer, type Issuer } from '../support/issuer.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const WORD = 'egress-p%40ss'
let upstream: Upstream
beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(() => upstream.close())
beforeEach(() => {
  upstream.seen.length = 0
  upstream.refreshes.length = 0
})

const ALICE = { tenant: 'default', realm: 'local', id: 'alice' }
const CLIENT = { client_id: 'deputy', client_secret: 'client-secret-0123456789', scopes: ['notes'] }
/** A grant whose access token has ended: the first call refreshes it. */
const held = (agent: string, token: string) => {
  upstream.people.set(token, 'alice')
  return { person: ALICE, agent, token, refresh: 'rt-alice-1', expiresIn: -1 }
}

describe('every kind of connection', () => {
  let proxy: EgressProxy
  let deputy: Deputy
  let [tags, provider]: Issuer[] = []
  const posted: string[] = []
  const hook = createServer((req, res) => {
    posted.push(req.url ?? '')
    res.end()
  })
  beforeAll(async () => {
    proxy = await startEgress({ credentials: 'deputy:egress-p@ss' })
    ;[tags, provider] = [await startIssuer(), await startIssuer()]
    await tags.rotate('k1')
    await new Promise<void>((resolve) => hook.listen(0, '127.0.0.1', resolve))
    const discovered = {
      id: 'found',
      issuer: provider.url,
      hosts: { 'api.found.test': upstream.origin },
    }
    deputy = await startDeputy({
      upstream: upstream.origin,
      held: [held('agent-1', 'at-alice-1')],
      config: {
        identity: {
          trust: 'asserted',
          issuers: [{ issuer: tags.url, audience: AUDIENCE, realm: 'local' }],
        },
        providers: [...providersAt(upstream.origin), discovered],
        connections: {
          acme: { provider: 'acme', ...CLIENT },
          found: { provider: 'found', ...CLIENT, scopes: [] },
        },
        connect: {
          verifier: { url: 'http://localhost:1/verify', key: 'v'.repeat(32) },
          notify: {
            webhook: `http://127.0.0.1:${(hook.address() as AddressInfo).port}/hook`,
            key: 'k'.repeat(32),
          },
        },
        upstream: {
          proxy: `http://deputy:${WORD}@127.0.0.1:${proxy.port}`,
          connect_timeout: '4s',
        },
      },
    })
  })
  afterEach(() => {
    proxy.answer = null
  })
  afterAll(async () => {
    await deputy.close()
    await proxy.close()
    tags?.close()
    provider?.close()
    hook.close()
  })
  const call = async (sub: string): Promise<Response> =>
    fetch(`${deputy.agent}/acme@api.acme.test/notes`, {
      headers: { 'deputy-user': (await tags?.sign({ sub })) ?? '' },
    })
  const through = (port: string | number): number =>
    proxy.asked.filter(({ authority }) => authority === `127.0.0.1:${port}`).length
  const portOf = (url = ''): string => new URL(url).port

  test('goes through the proxy: keys, endpoints, tokens, calls, notices', async () => {
    // Discovery of the provider was asked for at the start.
    await expect.poll(() => through(portOf(provider?.url))).toBeGreaterThan(0)
    expect((await call('alice')).status).toBe(200)
    expect(through(portOf(tags?.url))).toBeGreaterThan(0)
    expect(upstream.refreshes).toHaveLength(1)
    // Of calls and of token requests: sockets of their own.
    expect(through(upstream.port)).toBe(2)
    expect((await call('bob')).status).toBe(403)
    await expect.poll(() => posted).toEqual(['/hook'])
    expect(through((hook.address() as AddressInfo).port)).toBe(1)
    expect(deputy.logged()).not.toMatch(/egress-p|ZGVwdXR5/)
  })

  test.each([
    ['HTTP/1.1 403 Forbidden\r\n\r\n', 502, 'egress_refused', /403: the operator must let/],
    ['HTTP/1.1 407 No\r\n\r\n', 502, 'egress_refused', /407: the operator must correct/],
    ['HTTP/1.1 502 Bad Gateway\r\n\r\n', 502, 'upstream_unreachable', /502: it has no way/],
    ['SSH-2.0-x\r\n', 502, 'upstream_unreachable', /did not answer in HTTP/],
    [
      'HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
      502,
      'upstream_unreachable',
      /more than that/,
    ],
    ['', 504, 'upstream_timeout', /did not open a way in time/],
  ])('is told how it ends at a proxy that answers %j', async (said, status, code, detail) => {
    await closeTunnels()
    proxy.answer = (socket) => void (said === '' ? socket.resume() : socket.write(said))
    const before = proxy.asked.length
    const answer = await call('alice')
    const document = (await answer.json()) as { readonly [key: string]: unknown }
    expect([answer.status, document['code'], document['sent']]).toEqual([status, code, false])
    expect(document['detail']).toMatch(detail)
    expect(document['detail']).toMatch(/the request was not sent\.$/)
    expect(proxy.asked.length - before).toBe(1)
    expect(upstream.seen).toEqual([])
    proxy.answer = null
    expect((await call('alice')).status).toBe(200)
  })
  /** Ends the tunnel that stands, from the side of the provider: the next call asks the proxy again. */
  const closeTunnels = async (): Promise<void> => {
    upstream.handle = (_seen, res) => void res.writeHead(200, { connection: 'close' }).end('{}')
    await (await call('alice')).text()
    upstream.handle = null
    upstream.seen.length = 0
  }

  test('is resolved and judged by deputy: an address that nothing opens is never asked for', async () => {
    const { code, detail } = await addressRefused('http://169.254.169.254')
    expect([code, detail]).toEqual([
      'upstream_prohibited',
      expect.stringContaining('private or local'),
    ])
    expect((await addressRefused('http://10.0.0.5')).code).toBe('upstream_prohibited')
    expect(proxy.asked.filter(({ authority }) => /^(?:169|10)\./.test(authority))).toEqual([])
  })
  const addressRefused = async (to: string): Promise<{ code: string; detail: string }> => {
    const own = await startDeputy({
      upstream: upstream.origin,
      held: [{ person: 'alice', token: 'at-alice-2' }],
      config: {
        providers: providersAt(upstream.origin).map((each) => ({
          ...each,
          ...(each['id'] === 'acme' ? { hosts: { 'api.acme.test': to }, insecure: true } : {}),
        })),
        upstream: { proxy: `http://deputy:${WORD}@127.0.0.1:${proxy.port}` },
      },
    })
    try {
      const answer = await fetch(`${own.agent}/acme@api.acme.test/notes`, {
        headers: { 'deputy-user': 'alice' },
      })
      return (await answer.json()) as { code: string; detail: string }
    } finally {
      await own.close()
    }
  }

  test('a refresh that the proxy refuses has used nothing: it is done when the proxy lets it through', async () => {
    const own = await startDeputy({
      upstream: upstream.origin,
      held: [held('laptop', 'at-alice-3')],
      config: {
        upstream: {
          proxy: `http://deputy:wrong@127.0.0.1:${proxy.port}`,
          connect_timeout: '20s',
        },
      },
    })
    const before = proxy.wanted
    const ask = (): Promise<Response> =>
      fetch(`${own.agent}/acme@api.acme.test/notes`, { headers: { 'deputy-user': 'alice' } })
    try {
      const refused = await ask()
      expect(await refused.json()).toMatchObject({ code: 'credential_unavailable' })
      expect(upstream.refreshes).toEqual([])
      expect(own.logged()).toContain('DEPUTY_PROXY_REFUSED')
      proxy.wanted = null
      await expect.poll(async () => (await ask()).status).toBe(200)
      expect(upstream.refreshes).toHaveLength(1)
      expect(upstream.refreshes[0]?.get('refresh_token')).toBe('rt-alice-1')
    } finally {
      proxy.wanted = before
      await own.close()
    }
  })
})

const missing = tinyproxyMissing()
describe.skipIf(missing !== '')(`tinyproxy${missing}`, () => {
  let tiny: Tinyproxy
  beforeAll(async () => {
    tiny = await startTinyproxy(['BasicAuth deputy egressword', `ConnectPort ${upstream.port}`])
  })
  afterAll(() => tiny.stop())
  const setup = (proxy: Fields) => ({
    upstream: upstream.origin,
    held: [held('laptop', 'at-alice-4')],
    config: { upstream: { connect_timeout: '20s', ...proxy } },
  })
  const ask = (deputy: Deputy, init: RequestInit = {}): Promise<Response> =>
    fetch(`${deputy.agent}/acme@api.acme.test/notes`, {
      ...init,
      headers: { 'deputy-user': 'alice', 'content-type': 'application/json' },
    })

  test('lets calls and token requests through, and no password stands anywhere', async () => {
    const dir = await prepareFolder(
      setup({ proxy: `http://deputy:\${env:EGRESS_WORD}@localhost:${tiny.port}` }),
    )
    const deputy = await startChild(setup({}), dir, { EGRESS_WORD: 'egressword' })
    try {
      const body = JSON.stringify({ text: 'x'.repeat(100_000) })
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => ask(deputy, { method: 'POST', body })),
      )
      expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200))
      expect(upstream.refreshes).toHaveLength(1)
      expect(tiny.log()).toContain(`CONNECT 127.0.0.1:${upstream.port}`)
      const told = deputy.logged() + JSON.stringify(deputy.evidence())
      expect(told).not.toMatch(/egressword|ZGVwdXR5/)
    } finally {
      await deputy.close()
    }
  })
  test.each([
    ['a wrong password', `http://deputy:no@127.0.0.1`, /40[13]|407/],
    ['no password', 'http://127.0.0.1', /40[13]|407/],
  ])('refuses %s with a sentence', async (_what, origin, sentence) => {
    const deputy = await startDeputy({
      ...setup({ proxy: `${origin}:${tiny.port}` }),
      held: [{ person: 'alice', token: 'at-alice-4' }],
    })
    try {
      const document = (await (await ask(deputy)).json()) as { code: string; detail: string }
      expect(document.code).toBe('egress_refused')
      expect(document.detail).toMatch(sentence)
      expect(upstream.seen).toEqual([])
    } finally {
      await deputy.close()
    }
  })
})

const noTls = opensslMissing()
describe.skipIf(noTls !== '')(`a provider that knows its clients by certificate${noTls}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-mtls-'))
  const made = (name: string) => {
    mkdirSync(join(folder, name))
    return makeCertificate(join(folder, name))
  }
  const seen: { readonly url: string; readonly shown: string; readonly body: string }[] = []
  let server: ReturnType<typeof createTls>
  let [own, theirs]: ReturnType<typeof makeCertificate>[] = []
  beforeAll(async () => {
    ;[own, theirs] = [made('own'), made('theirs')]
    server = createTls(
      {
        cert: theirs.pem,
        key: readFileSync(theirs.key),
        ca: own.pem,
        requestCert: true,
        rejectUnauthorized: true,
      },
      (req, res) => {
        let body = ''
        req.on('data', (chunk: Buffer) => (body += chunk.toString()))
        req.on('end', () => {
          const { fingerprint256 } = (req.socket as TLSSocket).getPeerCertificate()
          seen.push({ url: req.url ?? '', shown: fingerprint256, body })
          res.setHeader('content-type', 'application/json')
          res.end('{"access_token":"at-mtls-2","token_type":"bearer","expires_in":3600}')
        })
      },
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const setup = (connection: Fields) => {
    const origin = `https://localhost:${(server.address() as AddressInfo).port}`
    const [acme, stream] = providersAt(origin)
    return {
      upstream: origin,
      held: [
        { person: 'alice', connection: 'stream', token: 'at-mtls-1', refresh: 'rt', expiresIn: -1 },
      ],
      config: {
        providers: [acme ?? {}, { ...stream, client_auth: 'tls_client_auth' }],
        connections: {
          acme: { provider: 'acme', ...CLIENT },
          stream: { provider: 'stream', client_id: 'deputy-mtls', scopes: [], ...connection },
        },
      },
    }
  }
  const files = () => ({
    ca: theirs?.cert ?? '',
    client_cert: { cert: own?.cert ?? '', key: own?.key ?? '' },
  })
  test('is asked for tokens and called with the certificate of the connection, which has no secret', async () => {
    const deputy = await startDeputy(setup(files()))
    try {
      const call = (host: string): Promise<Response> =>
        fetch(`${deputy.agent}/${host}/x`, { headers: { 'deputy-user': 'alice' } })
      expect((await call('stream@api.stream.test')).status).toBe(200)
      expect(seen.map(({ url }) => url)).toEqual(['/oauth/token', '/x'])
      const fingerprint = new X509Certificate(own?.pem ?? '').fingerprint256
      expect(seen.map(({ shown }) => shown)).toEqual([fingerprint, fingerprint])
      const form = new URLSearchParams(seen[0]?.body)
      expect(form.get('client_id')).toBe('deputy-mtls')
      expect([...form.keys()].toSorted()).toEqual(['client_id', 'grant_type', 'refresh_token'])
    } finally {
      await deputy.close()
    }
  })
  test('wants one', async () => {
    const dir = await prepareFolder(setup({}))
    await expect(loadFolder(dir)).rejects.toThrow(
      /connections\.stream\.client_cert: is missing: .* knows its clients by certificate \(tls_client_auth\)/,
    )
    rmSync(dir, { recursive: true, force: true })
  })
})

describe('a configuration', () => {
  const problemsOf = async (upstreamKey: Fields): Promise<string> => {
    const dir = await prepareFolder({
      upstream: upstream.origin,
      config: { upstream: upstreamKey },
    })
    return loadFolder(dir).then(
      () => '',
      (error: unknown) => String(error),
    )
  }
  test.each([
    [
      { proxy: 'socks5://egress.corp:1080' },
      /upstream\.proxy: is no proxy: write http:\/\/host:port/,
    ],
    [{ proxy: 'egress.corp:3128' }, /upstream\.proxy: is no proxy/],
    [{ proxy: 'http://egress.corp:3128/path' }, /upstream\.proxy: has more than a host and a port/],
    [{ proxy: 'http://us%3Aer:x@egress.corp:3128' }, /percent-encode/],
    [{ proxy: 'http://user:%zz@egress.corp:3128' }, /percent-encode/],
    [{ no_proxy: ['git.corp'] }, /upstream\.no_proxy: .*upstream\.proxy names none/],
    [
      { proxy: 'http://egress.corp:3128', no_proxy: ['http://x'] },
      /upstream\.no_proxy\.0: is no host/,
    ],
    [{ proxy: 'http://egress.corp:3128', no_proxy: 'git.corp' }, /upstream\.no_proxy/],
  ])('%j is refused', async (key, sentence) => {
    expect(await problemsOf(key)).toMatch(sentence)
  })
  test('certificates that cannot be used end the start, each with its place', async () => {
    const dir = await prepareFolder({ upstream: upstream.origin })
    const { config } = await loadFolder(dir)
    writeFileSync(join(dir, 'ca.pem'), 'no certificate')
    const file = join(dir, 'deputy.yaml')
    const raw = parse(readFileSync(file, 'utf8')) as Fields
    const acme = (raw['connections'] as { acme: Fields }).acme
    writeFileSync(
      file,
      stringify({
        ...raw,
        upstream: { ca: './ca.pem' },
        connections: {
          ...(raw['connections'] as Fields),
          acme: { ...acme, ca: './none.pem', client_cert: { cert: './ca.pem', key: './none.key' } },
        },
      }),
    )
    const told: string[] = []
    const say = (line: string): void => void told.push(line)
    expect(config.version).toBe(1)
    expect(
      await validate({ loaded: await loadFolder(dir), offline: true, print: say, complain: say }),
    ).toBe(78)
    const all = told.join('\n')
    expect(all).toMatch(/upstream\.ca: .*ca\.pem is no list of certificates/)
    expect(all).toMatch(/connections\.acme\.ca: .*none\.pem does not exist/)
    expect(all).toMatch(/connections\.acme\.client_cert\.cert: .*ca\.pem is no certificate/)
    expect(all).toMatch(/connections\.acme\.client_cert\.key: .*none\.key does not exist/)
  })
})
