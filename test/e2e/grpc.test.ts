// gRPC through deputy: Go's own client and server (google.golang.org/grpc) on both sides, and Node's HTTP/2 by hand.
import { execFile, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { connect } from 'node:http2'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeCa } from '../../proxy/commands/ca.ts'
import { PEER } from '../support/built.ts'
import { makeCertificate } from '../support/certificate.ts'
import {
  loadFolder,
  prepareFolder,
  startDeputy,
  TABLES,
  type Deputy,
  type Fields,
  type Setup,
} from '../support/deputy.ts'

const missing = existsSync(PEER) ? '' : `${PEER} is missing (.ci/run builds it)`
if (missing !== '' && process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)

const folder = mkdtempSync(join(tmpdir(), 'deputy-grpc-'))
const SERVICE = '/grpc.testing.TestService'
const BEARER = 'operator-0123456789abcdef0123456789abcdef'
const METHODS = [
  'UnaryCall',
  'StreamingOutputCall',
  'StreamingInputCall',
  'FullDuplexCall',
  'EmptyCall',
]
const TOKEN = (person: string): string => `at-${person}-0123456789abcdef`

/** One definition for each way to the same server. */
const provider = (id: string, origin: string): Fields => ({
  id,
  authorize: `${origin}/authorize`,
  token: `${origin}/token`,
  hosts: { [`api.${id}.test`]: origin },
  http2: true,
  operations: METHODS.map((name) => ({
    id: `${id}.${name.toLowerCase()}`,
    method: 'POST',
    path: `${SERVICE}/${name}`,
    access: name === 'EmptyCall' ? 'admin' : 'write',
    scopes: [[]],
    opaque: 'application/grpc',
  })),
})
type Server = {
  readonly child: ChildProcessWithoutNullStreams
  readonly port: number
  said: string
}
const startServer = (...args: readonly string[]): Promise<Server> =>
  new Promise((resolve, reject) => {
    const child = spawn(PEER, ['server', ...args])
    const server = { child, port: 0, said: '' }
    child.stdout.on('data', (chunk: Buffer) => {
      server.said += chunk.toString()
      const port = /^port (\d+)$/m.exec(server.said)?.[1]
      if (port !== undefined) resolve(Object.assign(server, { port: Number(port) }))
    })
    child.once('error', reject)
  })

let plain: Server
let secured: Server
let dying: Server
let deputy: Deputy
let ca = ''
/** Plain, over TLS, and one that dies. */
const IDS = ['grpc', 'grpcs', 'gone'] as const
const SERVED = ['grpc', 'grpcs'] as const
type Id = (typeof IDS)[number]
type Said = {
  readonly code: string
  readonly user?: string
  readonly texts?: readonly string[]
  readonly size?: number
  readonly message?: string
  readonly trailer?: readonly string[]
  readonly answer?: readonly string[]
  readonly notes?: readonly string[]
}

describe.skipIf(missing !== '')(`gRPC${missing}`, () => {
  beforeAll(async () => {
    const { cert, key } = makeCertificate(folder)
    ;[plain, secured, dying] = await Promise.all([
      startServer('', ''),
      startServer(cert, key),
      startServer('', ''),
    ])
    const origins = {
      grpc: `http://127.0.0.1:${plain.port}`,
      grpcs: `https://localhost:${secured.port}`,
      gone: `http://127.0.0.1:${dying.port}`,
    }
    const each = (value: unknown): Fields => Object.fromEntries(IDS.map((id) => [id, value]))
    const { acme } = TABLES['grants'] as { readonly acme: Fields }
    const setup: Setup = {
      upstream: origins.grpc,
      held: ['alice', 'bob'].flatMap((person) =>
        IDS.map((connection) => ({ person, connection, token: TOKEN(person) })),
      ),
      people: ['alice', 'bob', 'carol'].map((id) => ({ id, groups: ['staff'] })),
      tables: {
        group_roles: { staff: ['user'] },
        role_grants: each({ user: ['use'] }),
        grants: each(acme),
        providers: Object.fromEntries(
          IDS.map((id) => [id, { hosts: [`api.${id}.test`], assets: [], inspect_body: [] }]),
        ),
      },
      config: {
        listeners: {
          agent: '127.0.0.1:0',
          admin: '127.0.0.1:0',
          connect: '127.0.0.1:0',
          extra: IDS.map((id) => ({ listen: '127.0.0.1:0', upstream: `api.${id}.test` })),
        },
        forward: { listen: '127.0.0.1:0', ca: './ca' },
        upstream: { ca: cert },
        operators: [{ name: 'ops', bearer: BEARER, may: ['connections', 'revoke'] }],
        providers: IDS.map((id) => provider(id, origins[id])),
        connections: Object.fromEntries(
          IDS.map((id) => [
            id,
            { provider: id, client_id: 'deputy', client_secret: 'x', scopes: [] },
          ]),
        ),
      },
    }
    const dir = await prepareFolder(setup)
    const print = (): void => undefined
    const loaded = await loadFolder(dir)
    await makeCa({ loaded, days: 30, renew: false, now: Date.now(), print, complain: print })
    ca = join(dir, 'ca/ca.crt')
    deputy = await startDeputy(setup, dir)
  })
  afterAll(async () => {
    await deputy.close()
    for (const { child } of [plain, secured, dying]) child.kill()
    rmSync(folder, { recursive: true })
  })

  const at = (id: Id): string => new URL(deputy.addresses[`extra.${IDS.indexOf(id)}`] ?? '').host
  const serverOf = (id: Id): Server => (id === 'grpcs' ? secured : plain)
  /** A client that runs; each line on its standard input lets it go on by a step. */
  const begin = (id: Id, tag: string, what: string, text = 'hello', through = '') => {
    const [address, file, env] =
      through === '' ? [at(id), '', {}] : [`api.${id}.test:443`, ca, { HTTPS_PROXY: through }]
    const child = spawn(PEER, ['client', address, tag, what, text, file], { env })
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
    const out = {
      child,
      said: '',
      errors: '',
      go: () => void child.stdin.write('\n'),
      answers: async (): Promise<readonly Said[]> => {
        await ended
        const lines = out.said.split('\n').filter((line) => line.startsWith('{'))
        if (lines.length === 0) throw new Error(out.errors)
        return lines.map((line) => JSON.parse(line) as Said)
      },
    }
    child.stdout.on('data', (chunk: Buffer) => void (out.said += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => void (out.errors += chunk.toString()))
    child.stdin.on('error', () => undefined)
    return out
  }
  const call = (...what: Parameters<typeof begin>): Promise<readonly Said[]> =>
    begin(...what).answers()
  /** Calls that were cut off. */
  const cutOff = () => deputy.evidence().filter(({ result }) => result === 'interrupted').length

  describe.each(SERVED)('%s', (id) => {
    test.each(['alice', 'bob'])('twenty unary calls of %s, with her own token', async (person) => {
      const answers = await call(id, `user:${person}`, 'unary')
      expect(answers).toHaveLength(20)
      for (const one of answers)
        expect(one).toEqual({ user: person, texts: ['hello'], code: 'OK', trailer: [person] })
    })
    test.each(['alice', 'bob'])('a stream down, message by message: %s', async (person) => {
      const client = begin(id, `user:${person}`, 'server')
      for (const i of [0, 1, 2]) {
        // The next is sent when this one has arrived.
        await expect.poll(() => client.said).toMatch(new RegExp(`got ${person} ${i}\n$`))
        serverOf(id).child.stdin.write('\n')
      }
      expect(await client.answers()).toEqual([
        { texts: [0, 1, 2].map((i) => `${person} ${i}`), code: 'OK' },
      ])
    })
    test.each(['alice', 'bob'])('a stream up, message by message: %s', async (person) => {
      const client = begin(id, `user:${person}`, 'client', id)
      for (const i of [0, 1, 2]) {
        await expect
          .poll(() => serverOf(id).said)
          .toMatch(new RegExp(`heard ${person} ${id} ${i}\n`))
        client.go()
      }
      expect(await client.answers()).toEqual([{ size: 3 * `${id} 0`.length, code: 'OK' }])
    })
    test('one each way at once', async () => {
      for (const person of ['alice', 'bob'])
        expect(await call(id, `user:${person}`, 'bidi')).toEqual([
          { texts: [0, 1, 2, 3, 4].map((i) => `${person} hello ${i}`), code: 'OK' },
        ])
    })
    test('the provider’s own status and sentence', async () => {
      expect(await call(id, 'user:alice', 'fails', 'not today: 100 % ö')).toEqual([
        { code: 'FailedPrecondition', message: 'not today: 100 % ö', trailer: ['alice'] },
      ])
    })
    test('an answer that ends while the client still sends', async () => {
      expect(await call(id, 'user:alice', 'early')).toEqual([
        {
          texts: ['alice hello 0', 'alice hello 1'],
          code: 'OutOfRange',
          message: 'it ends while the client still sends',
        },
      ])
    })
    test('a megabyte each way, and a compressed request', async () => {
      expect(await call(id, 'user:alice', 'large', 'a')).toMatchObject([
        { user: 'alice', size: 1_000_000, code: 'OK' },
      ])
    })
    test('metadata passes, binary too, and a key of the agent’s own does not', async () => {
      expect(await call(id, 'deputy-user=bob', 'noted')).toMatchObject([
        { user: 'bob', notes: ['one, two', '[00ff]'], code: 'OK' },
      ])
      const decision = deputy.evidence().findLast(({ event }) => event === 'decision')
      expect(decision).toMatchObject({ stripped: ['header:authorization'] })
    })
    test('a deadline is the provider’s too', async () => {
      expect(await call(id, 'user:bob', 'deadline')).toMatchObject([{ code: 'DeadlineExceeded' }])
      await expect
        .poll(() => serverOf(id).said)
        .toMatch(/waits bob [1-6]\n(?:.*\n)*ended bob (?:DeadlineExceeded|Canceled)\n/)
    })
    test.each<[string, RegExp]>([
      ['cancel', /waits alice \d+\n(?:.*\n)*ended alice Canceled\n/],
      ['leave', /left alice Canceled\n/],
    ])('whoever gives up in the middle (%s) takes the call along', async (what, seen) => {
      const before = cutOff()
      const client = begin(id, 'user:alice', what)
      if (what === 'cancel') {
        await expect.poll(() => serverOf(id).said).toMatch(/waits alice \d+\n$/)
        client.go()
      }
      expect(await client.answers()).toMatchObject([{ code: 'Canceled' }])
      await expect.poll(() => serverOf(id).said).toMatch(seen)
      await expect.poll(cutOff).toBeGreaterThan(before)
    })
  })

  test.each(['alice', 'bob'])('through HTTPS_PROXY nothing else is set up: %s', async (person) => {
    const proxy = (deputy.addresses['forward'] ?? '').replace('http://', `http://user:${person}@`)
    for (const one of await call('grpcs', '', 'unary', 'hello', proxy))
      expect(one).toEqual({ user: person, texts: ['hello'], code: 'OK', trailer: [person] })
    expect(await call('grpc', '', 'bidi', 'hi', proxy)).toMatchObject([{ code: 'OK' }])
  })

  test('Go’s own client takes HTTP/2 there too', async () => {
    const env = { HTTPS_PROXY: (deputy.addresses['forward'] ?? '').replace('//', '//alice@') }
    const args = ['get', 'https://api.grpcs.test/unknown', ca]
    const { stdout } = await promisify(execFile)(PEER, args, { env })
    const answers = stdout.trim().split('\n')
    expect(answers).toHaveLength(6)
    for (const answer of answers)
      expect(JSON.parse(answer)).toEqual({ code: 'HTTP/2.0 403', answer: ['policy_denied'] })
  })

  test('what policy refuses, and who has no connection', async () => {
    const [refused] = await call('grpc', 'user:alice', 'empty')
    expect(refused).toMatchObject({ code: 'PermissionDenied', answer: ['policy_denied'] })
    // Each kind of call: the refusal comes before the first message.
    for (const what of ['unary', 'server', 'client', 'bidi']) {
      const [asked] = await call('grpc', 'user:carol', what)
      expect(asked).toMatchObject({ code: 'PermissionDenied', answer: ['consent_required'] })
      expect(asked?.message).toMatch(/ http:\/\/\S+$/)
    }
    const [nobody] = await call('grpc', '', 'unary')
    expect(nobody).toMatchObject({ code: 'Unauthenticated', answer: ['unauthenticated'] })
  })
  test('a provider that dies in the middle of a stream, and cannot be reached afterwards', async () => {
    const held = begin('gone', 'user:alice', 'hold')
    await expect.poll(() => held.said).toBe('held\n')
    dying.child.kill('SIGKILL')
    expect(await held.answers()).toMatchObject([
      { texts: ['alice hello 0'], code: 'Unavailable', answer: ['upstream_unreachable'] },
    ])
    const [gone] = await call('gone', 'user:alice', 'unary')
    expect(gone).toMatchObject({ code: 'Unavailable', answer: ['upstream_unreachable'] })
    expect(gone?.message).toMatch(/not sent/)
  })

  test('the answer of a refusal, byte for byte: one header section that ends the stream', async () => {
    const session = connect(`http://${at('grpc')}`)
    const stream = session.request({
      ':method': 'POST',
      ':path': `${SERVICE}/EmptyCall`,
      'content-type': 'application/grpc+proto',
      te: 'trailers',
      authorization: 'Bearer user:alice',
    })
    const [headers, flags] = await new Promise<[Record<string, unknown>, number]>((resolve) =>
      stream.once('response', (...said) => resolve([{ ...said[0] }, said[1]])),
    )
    session.destroy()
    expect([headers[':status'], headers['grpc-status'], flags & 1]).toEqual([200, '7', 1])
    expect(headers).toMatchObject({
      'content-type': 'application/grpc',
      'deputy-answer': 'policy_denied',
    })
  })

  // Last: what it ends is not there afterwards.
  test('a revocation ends streams at both sides and says why, and only those', async () => {
    const kinds = ['hold', 'server', 'client']
    const held = (person: string) =>
      SERVED.flatMap((id) => kinds.map((what) => begin(id, `user:${person}`, what, `${id}!`)))
    const mine = held('alice')
    const others = held('bob')
    await expect.poll(() => [...mine, ...others].filter(({ said }) => said !== '')).toHaveLength(8)
    for (const id of SERVED)
      for (const person of ['alice', 'bob'])
        await expect.poll(() => serverOf(id).said).toContain(`heard ${person} ${id}! 0`)
    const before = others.map(({ said }) => said)
    const path = `${deputy.connect}/v1/admin/users/alice/connections`
    const headers = { authorization: `Bearer ${BEARER}` }
    expect((await fetch(path, { method: 'DELETE', headers })).status).toBe(200)
    for (const server of [plain, secured]) {
      await expect.poll(() => server.said).toContain('cut alice Canceled')
      await expect.poll(() => server.said.match(/left alice Canceled/g)).toHaveLength(2)
    }
    for (const one of mine)
      expect(await one.answers()).toMatchObject([
        {
          code: 'PermissionDenied',
          message: expect.stringMatching(/was revoked|connect your/) as string,
        },
      ])
    expect(others.map(({ said }) => said)).toEqual(before)
    for (const server of [plain, secured]) expect(server.said).not.toContain('cut bob')
    // The other way: whoever leaves takes the call along.
    for (const { child } of others) child.kill('SIGKILL')
    for (const server of [plain, secured])
      await expect.poll(() => server.said).toContain('cut bob Canceled')
  })
})
