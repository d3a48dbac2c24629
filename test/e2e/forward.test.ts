// An agent that cannot change a base URL: HTTPS_PROXY and one certificate are the whole set-up, for clients of any language.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { connect as connectH2 } from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { makeCa } from '../../proxy/commands/ca.ts'
import {
  AGENT,
  loadFolder,
  prepareFolder,
  startDeputy,
  type Deputy,
  type Fields,
  type Setup,
} from '../support/deputy.ts'
import { paced } from '../support/pace.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const PEOPLE = ['alice', 'bob']
const tokenOf = (person: string): string => `at-${person}-0123456789abcdef`
let upstream: Upstream
let deputy: Deputy
let proxy = ''
let ca = ''
const setup = (more: Fields = {}): Setup => ({
  upstream: upstream.origin,
  held: PEOPLE.map((person) => ({ person, agent: AGENT, token: tokenOf(person) })),
  config: { forward: { listen: '127.0.0.1:0', ca: './ca' }, ...more },
})
const said: string[] = []
const print = (line: string): void => void said.push(line)
const make = async (dir: string, renew = false): Promise<number> =>
  makeCa({
    loaded: await loadFolder(dir),
    days: 30,
    renew,
    now: Date.now(),
    print,
    complain: print,
  })
beforeAll(async () => {
  upstream = await startUpstream()
  for (const person of PEOPLE) upstream.people.set(tokenOf(person), person)
  const dir = await prepareFolder(setup())
  expect(await make(dir)).toBe(0)
  ca = join(dir, 'ca/ca.crt')
  deputy = await startDeputy(setup(), dir)
  proxy = (deputy.addresses['forward'] ?? '').replace('http://', '')
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})
beforeEach(() => {
  upstream.seen.length = 0
  upstream.handle = null
})

const run = async (
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
) => {
  const { stdout } = await promisify(execFile)(command, [...args], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    timeout: 60_000,
  })
  return stdout
}
const has = async (command: string, probe: readonly string[]): Promise<boolean> =>
  run(command, probe, {}).then(
    () => true,
    () => false,
  )
const curl = (version: string): readonly [string, readonly string[]] => [
  'curl',
  [
    '-sS',
    `--http${version}`,
    '-w',
    '\\nHTTP/%{http_version}',
    'https://api.acme.test/notes/7',
    '-H',
    'authorization: Bearer stolen',
  ],
]
const NODE = `
const answer = await fetch('https://api.acme.test/notes/7', { headers: { authorization: 'Bearer stolen' } })
console.log(answer.status, await answer.text())`
const PYTHON = `
import urllib.request, ssl, os
context = ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE'])
context.verify_flags |= ssl.VERIFY_X509_STRICT
opener = urllib.request.build_opener(urllib.request.ProxyHandler(), urllib.request.HTTPSHandler(context=context))
with opener.open('https://api.acme.test/notes/7') as answer: print(answer.status, answer.read().decode())`

const PERL = `print LWP::UserAgent->new->get('https://api.acme.test/notes/7')->content`
const PHP = `$call = curl_init('https://api.acme.test/notes/7');
curl_setopt($call, CURLOPT_HTTPHEADER, ['authorization: Bearer stolen']);
curl_exec($call) || print curl_error($call);`

describe.each(PEOPLE)('the person is %s', (person) => {
  const env = () => ({
    HTTPS_PROXY: `http://${person}:x@${proxy}`,
    https_proxy: `http://${person}:x@${proxy}`,
    // Ruby reads this one for https too.
    http_proxy: `http://${person}:x@${proxy}`,
    SSL_CERT_FILE: ca,
    NODE_EXTRA_CA_CERTS: ca,
    NODE_USE_ENV_PROXY: '1',
    CURL_CA_BUNDLE: ca,
    PERL_LWP_ENV_PROXY: '1',
    PERL_LWP_SSL_CA_FILE: ca,
  })
  type Client = readonly [string, readonly string[], (readonly string[])?]
  const CLIENTS: Readonly<Record<string, Client>> = {
    'fetch of Node': [process.execPath, ['--input-type=module', '-e', NODE]],
    'curl in HTTP/1.1': curl('1.1'),
    'curl in HTTP/2': curl('2'),
    // It says `http/1.0` in TLS.
    'curl of HTTP/1.0': ['curl', ['-sS0', 'https://api.acme.test/notes/7']],
    'urllib of Python': ['python3', ['-c', PYTHON]],
    'Net::HTTP of Ruby': [
      'ruby',
      ['-rnet/http', '-e', "puts Net::HTTP.get(URI('https://api.acme.test/notes/7'))"],
    ],
    'LWP of Perl': [
      'perl',
      ['-MLWP::UserAgent', '-e', PERL],
      ['-MLWP::Protocol::https', '-e', '1'],
    ],
    'curl of PHP': [
      'php',
      ['-d', 'curl.cainfo=CA', '-r', PHP],
      ['-r', 'exit(curl_init() ? 0 : 1);'],
    ],
  }
  test.each(Object.keys(CLIENTS))('%s needs nothing else', async (name) => {
    const [command, args, probe = ['--version']] = CLIENTS[name] ?? ['', []]
    if (command !== process.execPath && !(await has(command, probe))) {
      if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(`${command} is missing`)
      process.stderr.write(`SKIPPED: ${command} is missing\n`)
      return
    }
    const given = args.map((arg) => arg.replace(/=CA$/, `=${ca}`))
    const answer = await run(command, given, env())
    expect(answer).toContain(person)
    if (name.startsWith('curl in')) expect(answer).toContain(`HTTP/${name.replace(/^.*\//, '')}`)
    const [seen] = upstream.seen
    expect(seen?.who).toBe(person)
    expect(JSON.stringify(seen)).not.toContain('stolen')
    expect(JSON.stringify(seen).toLowerCase()).not.toContain('proxy-authorization')
    const decision = deputy.evidence().findLast(({ event }) => event === 'decision')
    expect(decision).toMatchObject({
      user: { id: person },
      request: { method: 'GET', host: 'api.acme.test', path: '/notes/7' },
    })
  })
})

type Tunnel = { readonly socket: Socket; readonly answer: string }
/** Sends these bytes, and reads the head of the answer. */
const connect = (text: string): Promise<Tunnel> =>
  new Promise((resolve, reject) => {
    const [host = '', port = ''] = proxy.split(':')
    const socket = connectTcp(Number(port), host, () => socket.write(text))
    let got = ''
    const read = (chunk: Buffer): void => {
      got += chunk.toString('latin1')
      if (!got.includes('\r\n\r\n')) return
      socket.off('data', read)
      resolve({ socket, answer: got })
    }
    socket
      .on('data', read)
      .on('error', reject)
      .on('close', () => resolve({ socket, answer: got }))
  })
const to = (target: string, more = ''): Promise<Tunnel> =>
  connect(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${more}\r\n`)
const basic = (text: string): string => `Proxy-Authorization: Basic ${btoa(text)}\r\n`
/** TLS inside a tunnel, and one request by hand. */
const inside = async (
  request: string,
  { tag = basic('alice:x'), servername = 'api.acme.test' } = {},
): Promise<string> => {
  const { socket, answer } = await to('api.acme.test:443', tag)
  expect(answer).toMatch(/^HTTP\/1\.1 200 /)
  return new Promise((resolve, reject) => {
    const tls = connectTls({ socket, servername, ca: readFileSync(ca) }, () => tls.write(request))
    let got = ''
    tls.on('data', (chunk: Buffer) => (got += chunk.toString('latin1')))
    tls.on('error', reject).on('close', () => resolve(got))
  })
}
const GET = 'GET /notes/7 HTTP/1.1\r\nHost: api.acme.test\r\nConnection: close\r\n'

test.each([
  ['a host that is not served', 'evil.example:443'],
  ['an address', '127.0.0.1:443'],
  ['deputy itself', 'localhost:443'],
  ['another port', 'api.acme.test:22'],
  ['no port', 'api.acme.test'],
  ['a host with something behind it', 'api.acme.test:443@evil.example:443'],
])('a tunnel to %s is refused, and says why', async (_name, target) => {
  const { answer, socket } = await to(target, basic('alice:x'))
  socket.destroy()
  expect(answer).toMatch(/^HTTP\/1\.1 405 /)
  expect(answer).toContain('deputy-answer: method_not_allowed')
  expect(upstream.seen).toEqual([])
})

test.each<[string, string, number]>([
  ['two people', basic('alice:x') + basic('bob:x'), 401],
  ['a length', `${basic('alice:x')}Content-Length: 5\r\n`, 400],
  ['two lengths', `${basic('alice:x')}Content-Length: 0\r\nContent-Length: 0\r\n`, 400],
  ['a coding', `${basic('alice:x')}Transfer-Encoding: chunked\r\n`, 400],
  ['another host', `${basic('alice:x')}Host: up.acme.test:443\r\n`, 400],
])('a CONNECT that names %s has two readings, and is refused', async (_name, more, status) => {
  const { answer, socket } = await to('api.acme.test:443', more)
  socket.destroy()
  expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
})

test('a CONNECT may say that it has no content, as Mojolicious does', async () => {
  const { answer, socket } = await to('api.acme.test:443', 'Content-Length: 0\r\n')
  socket.destroy()
  expect(answer).toMatch(/^HTTP\/1\.1 200 /)
})

test('nor may a call outside of a tunnel name two people there', async () => {
  const [alice, bob] = [basic('alice:x'), basic('bob:x')]
  const call = `GET http://api.acme.test/notes/7 HTTP/1.1\r\nHost: api.acme.test\r\n${alice}`
  const one = await connect(`${call}\r\n`)
  const two = await connect(`${call}${bob}\r\n`)
  for (const { socket } of [one, two]) socket.destroy()
  expect([one.answer, two.answer].map((answer) => answer.slice(9, 12))).toEqual(['200', '401'])
  expect(upstream.seen).toHaveLength(1)
})

describe('inside a tunnel', () => {
  test('the bearer, and a tag of its own, name the person too; nobody named is nobody', async () => {
    expect(await inside(`${GET}\r\n`, { tag: 'Proxy-Authorization: Bearer bob\r\n' })).toContain(
      'bob',
    )
    expect(await inside(`${GET}Deputy-User: bob\r\n\r\n`, { tag: '' })).toContain('bob')
    expect(await inside(`${GET}\r\n`, { tag: '' })).toMatch(
      /^HTTP\/1\.1 401 [\s\S]*unauthenticated/,
    )
    expect(upstream.seen).toHaveLength(2)
  })

  test.each<[string, string, number]>([
    ['two tags that differ', `${GET}Deputy-User: bob\r\n\r\n`, 401],
    ['another host', GET.replace('Host: api.acme.test', 'Host: up.acme.test') + '\r\n', 421],
    ['no host', 'GET /notes/7 HTTP/1.1\r\nConnection: close\r\n\r\n', 421],
    ['an absolute target', GET.replace('/notes', 'http://api.acme.test/notes') + '\r\n', 421],
    [
      'a tunnel in the tunnel',
      'CONNECT api.acme.test:443 HTTP/1.1\r\nHost: api.acme.test:443\r\n\r\n',
      405,
    ],
    [
      'deputy’s own API, which is a path of the provider there',
      GET.replace('/notes/7', '/v1/auth/status') + '\r\n',
      404,
    ],
    ['two lengths', `${GET}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx`, 400],
    ['a page', `${GET}Origin: https://evil.example\r\n\r\n`, 403],
  ])('%s: refused', async (_name, request, status) => {
    upstream.handle = (_seen, res) => void res.writeHead(404).end()
    expect(await inside(request)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(upstream.seen.length).toBeLessThanOrEqual(status === 404 ? 1 : 0)
  })

  describe('HTTP/2', () => {
    type Sent = Readonly<Record<string, string>>
    /** Each of these on the same tunnel. */
    const asked = async (calls: readonly Sent[], tag = basic('alice:x')) => {
      const { socket } = await to('api.acme.test:443', tag)
      const tls = connectTls({
        socket,
        servername: 'api.acme.test',
        ca: readFileSync(ca),
        ALPNProtocols: ['h2'],
      })
      await once(tls, 'secureConnect')
      expect(tls.alpnProtocol).toBe('h2')
      const session = connectH2('https://api.acme.test', { createConnection: () => tls })
      const answers = await Promise.all(
        calls.map(async (call) => {
          const stream = session.request({ ':path': '/notes/7', ...call })
          stream.on('error', () => undefined).end()
          const [headers] = (await once(stream, 'response')) as [Readonly<Record<string, unknown>>]
          let body = ''
          for await (const chunk of stream) body += String(chunk)
          return { status: headers[':status'], code: headers['deputy-answer'], body }
        }),
      )
      session.destroy()
      return answers
    }

    test('many calls share a tunnel and its person, and each has its evidence', async () => {
      const calls = Array.from({ length: 6 }, (_, i) => ({ ':path': `/n/${i}` }))
      for (const person of PEOPLE)
        for (const [i, { body }] of (await asked(calls, basic(`${person}:x`))).entries())
          expect(JSON.parse(body)).toMatchObject({ login: person, url: `/n/${i}` })
      const paths = deputy
        .evidence()
        .flatMap(({ event, request }) =>
          event === 'decision' ? [(request as { path: string }).path] : [],
        )
      expect(paths.filter((path) => path === '/n/5')).toHaveLength(2)
    })

    test.each<[string, Sent, number, string]>([
      ['two tags that differ', { 'deputy-user': 'bob' }, 401, 'unauthenticated'],
      ['another host', { ':authority': 'up.acme.test' }, 421, 'host_refused'],
      ['another Host', { host: 'up.acme.test' }, 421, 'host_refused'],
      ['a page', { origin: 'https://evil.example' }, 403, 'browser_refused'],
    ])('%s: refused, and the call beside it is not', async (_name, call, status, code) => {
      const [refused, other] = await asked([call, {}])
      expect([refused?.status, refused?.code, other?.status]).toEqual([status, code, 200])
      expect(upstream.seen).toHaveLength(1)
    })

    test('what a client says of a proxy there is nobody’s word', async () => {
      const [answer] = await asked([{ 'proxy-authorization': 'Bearer bob' }], '')
      expect([answer?.status, answer?.code]).toEqual([401, 'unauthenticated'])
    })
  })

  test('another name in TLS than that of the tunnel gets none', async () => {
    await expect(inside(`${GET}\r\n`, { servername: 'up.acme.test' })).rejects.toThrow()
  })

  test('what the provider says of itself stays as it is', async () => {
    upstream.handle = (_seen, res) =>
      void res
        .writeHead(200, {
          'content-type': 'application/json',
          link: '<https://api.acme.test/notes?page=2>; rel="next"',
        })
        .end(JSON.stringify({ url: 'https://api.acme.test/notes/8' }))
    const answer = await inside(`${GET}\r\n`)
    expect(answer).toContain('<https://api.acme.test/notes?page=2>')
    expect(answer).toContain('"url":"https://api.acme.test/notes/8"')
  })

  test('policy refuses there as everywhere', async () => {
    expect(await inside(GET.replace('GET', 'BREW') + '\r\n')).toMatch(/^HTTP\/1\.1 (?:4\d\d) /)
    expect(await inside(`${GET}\r\n`, { tag: basic('carol:x') })).toMatch(/^HTTP\/1\.1 403 /)
    expect(upstream.seen).toEqual([])
  })

  test('half a handshake, garbage and a client that leaves end nothing', async () => {
    for (const bytes of [
      Buffer.from([0x16, 3, 1]),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.alloc(70_000),
    ]) {
      const { socket } = await to('api.acme.test:443', basic('alice:x'))
      socket.on('error', () => undefined)
      socket.write(bytes)
      socket.end()
    }
    const { socket } = await to('api.acme.test:443')
    socket.destroy()
    expect(await inside(`${GET}\r\n`)).toContain('alice')
  })
})

describe('the authority', () => {
  const fresh = async (more: Fields = {}): Promise<string> => prepareFolder(setup(more))
  const start = (dir: string): Promise<string> =>
    startDeputy(setup(), dir).then(
      async (one) => {
        await one.close()
        return ''
      },
      (error: unknown) => String(error),
    )
  test('is made once, its key for nobody else, and deputy says what it lacks', async () => {
    const dir = await fresh()
    expect(await make(dir)).toBe(0)
    const key = join(dir, 'ca/ca.key')
    expect(statSync(key).mode & 0o777).toBe(0o600)
    const before = readFileSync(key, 'utf8')
    said.length = 0
    expect(await make(dir)).toBe(0)
    expect(said.join()).toContain('is there and good')
    expect(readFileSync(key, 'utf8')).toBe(before)
    expect(await make(dir, true)).toBe(0)
    expect(readFileSync(key, 'utf8')).not.toBe(before)
    rmSync(dir, { recursive: true })
  })

  test('that is missing, broken or made for other hosts keeps deputy from starting, and says what to do', async () => {
    expect(await start(await fresh())).toMatch(
      /forward\.ca: .*ca\.crt does not exist.*run `deputy ca`/,
    )
    const broken = await fresh()
    await make(broken)
    writeFileSync(join(broken, 'ca/ca.crt'), 'hello')
    expect(await start(broken)).toMatch(/forward\.ca: .* is no certificate/)
    const folder = mkdtempSync(join(tmpdir(), 'deputy-ca-'))
    const { makeAuthority } = await import('../../proxy/net/authority.ts')
    const other = await fresh()
    await make(other)
    const made = await makeAuthority(['other.example'], Date.now(), 1)
    writeFileSync(join(other, 'ca/ca.crt'), made.cert)
    writeFileSync(join(other, 'ca/ca.key'), made.key)
    expect(await start(other)).toMatch(/cannot vouch for them: .*run `deputy ca --renew`/)
    rmSync(folder, { recursive: true })
    expect(existsSync(folder)).toBe(false)
  })

  test('whose key others can read, or whose key is another’s, keeps deputy from starting', async () => {
    const open = await fresh()
    await make(open)
    const key = readFileSync(join(open, 'ca/ca.key'))
    chmodSync(join(open, 'ca/ca.key'), 0o644)
    expect(await start(open)).toMatch(/ca\.key can be read by everybody \(mode 644\)/)
    for (const other of [key, 'hello']) {
      const dir = await fresh()
      await make(dir)
      writeFileSync(join(dir, 'ca/ca.key'), other)
      expect(await start(dir)).toMatch(/ca\.key is not the key of its ca\.crt/)
    }
  })

  test('that cannot vouch for a new host refuses the new configuration, until another is made, which is shown at once', async () => {
    const dir = await fresh()
    await make(dir)
    const own = await startDeputy(setup(), dir)
    const forward = (own.addresses['forward'] ?? '').replace('http://', '')
    const shown = async (): Promise<string> => {
      const [host = '', port = ''] = forward.split(':')
      const socket = connectTcp(Number(port), host)
      socket.write('CONNECT api.acme.test:443 HTTP/1.1\r\nHost: api.acme.test:443\r\n\r\n')
      await once(socket, 'data')
      const tls = connectTls({ socket, servername: 'api.acme.test', rejectUnauthorized: false })
      await once(tls, 'secureConnect')
      const { issuerCertificate } = tls.getPeerCertificate(true)
      tls.destroy()
      return issuerCertificate.fingerprint256
    }
    const before = await shown()
    const file = join(dir, 'deputy.yaml')
    const config = parse(readFileSync(file, 'utf8')) as { providers: { hosts?: object }[] }
    const [acme] = config.providers
    if (acme === undefined) throw new Error('no provider')
    acme.hosts = { ...acme.hosts, 'new.acme.test': upstream.origin }
    writeFileSync(file, JSON.stringify(config))
    const detail = async (): Promise<string> =>
      (await fetch(`http://${own.admin}/readyz?verbose`)).text()
    await expect.poll(detail).toMatch(/cannot vouch for them: new\.acme\.test/)
    expect(await shown()).toBe(before)
    await make(dir, true)
    await expect.poll(detail).not.toMatch(/cannot vouch/)
    expect(await shown()).not.toBe(before)
    await own.close()
  })
})

test('a tunnel in which nothing was asked yet holds no shutdown up', async () => {
  const dir = await prepareFolder(setup())
  await make(dir)
  const own = await startDeputy(setup(), dir)
  const [host = '', port = ''] = (own.addresses['forward'] ?? '').replace('http://', '').split(':')
  const socket = connectTcp(Number(port), host)
  socket.write('CONNECT api.acme.test:443 HTTP/1.1\r\nHost: api.acme.test:443\r\n\r\n')
  await once(socket, 'data')
  const began = performance.now()
  await own.close()
  expect(performance.now() - began).toBeLessThan(paced(5_000))
  socket.destroy()
})
