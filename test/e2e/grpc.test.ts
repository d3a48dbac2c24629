// gRPC through deputy: Go's own client and server (google.golang.org/grpc) on both sides, and Node's HTTP/2 by hand.
import { execFile, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { connect } from 'node:http2'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeCertificate } from '../support/certificate.ts'
import { startDeputy, TABLES, type Deputy, type Fields } from '../support/deputy.ts'

const PEER = process.env['DEPUTY_GRPC'] ?? join(homedir(), '.cache/deputy-ci/grpc-1/peer')
const missing = existsSync(PEER) ? '' : `${PEER} is missing (.ci/run builds it)`
if (missing !== '' && process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)

const folder = mkdtempSync(join(tmpdir(), 'deputy-grpc-'))
const SERVICE = '/grpc.testing.TestService'
const BEARER = 'operator-0123456789abcdef0123456789abcdef'
const METHODS = ['UnaryCall', 'StreamingOutputCall', 'StreamingInputCall', 'FullDuplexCall']
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
    access: name === 'StreamingInputCall' ? 'admin' : 'write',
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
let deputy: Deputy
const IDS = ['grpc', 'grpcs'] as const

describe.skipIf(missing !== '')(`gRPC${missing}`, () => {
  beforeAll(async () => {
    const { cert, key } = makeCertificate(folder)
    ;[plain, secured] = await Promise.all([startServer('', ''), startServer(cert, key)])
    const origins = {
      grpc: `http://127.0.0.1:${plain.port}`,
      grpcs: `https://localhost:${secured.port}`,
    }
    const each = (value: unknown): Fields => Object.fromEntries(IDS.map((id) => [id, value]))
    const { acme } = TABLES['grants'] as { readonly acme: Fields }
    deputy = await startDeputy({
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
    })
  })
  afterAll(async () => {
    await deputy.close()
    for (const { child } of [plain, secured]) child.kill()
    rmSync(folder, { recursive: true })
  })

  const at = (id: (typeof IDS)[number]): string =>
    new URL(deputy.addresses[`extra.${IDS.indexOf(id)}`] ?? '').host
  type Said = {
    readonly code: string
    readonly user?: string
    readonly texts?: readonly string[]
    readonly size?: number
    readonly message?: string
    readonly trailer?: readonly string[]
    readonly answer?: readonly string[]
  }
  const call = async (
    id: (typeof IDS)[number],
    person: string,
    what: string,
    text = 'hello',
  ): Promise<readonly Said[]> => {
    const args = ['client', at(id), `user:${person}`, what, text]
    const { stdout } = await promisify(execFile)(PEER, args)
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Said)
  }

  describe.each(IDS)('%s', (id) => {
    test.each(['alice', 'bob'])('twenty unary calls of %s, with her own token', async (person) => {
      const answers = await call(id, person, 'unary')
      expect(answers).toHaveLength(20)
      for (const one of answers)
        expect(one).toEqual({ user: person, texts: ['hello'], code: 'OK', trailer: [person] })
    })
    test('a stream down, and one each way at once', async () => {
      expect(await call(id, 'alice', 'server')).toEqual([
        { texts: [0, 1, 2, 3, 4].map((i) => `alice ${i}`), code: 'OK' },
      ])
      expect(await call(id, 'bob', 'bidi')).toEqual([
        { texts: [0, 1, 2, 3, 4].map((i) => `bob hello ${i}`), code: 'OK' },
      ])
    })
    test('the provider’s own status and sentence', async () => {
      expect(await call(id, 'alice', 'fails', 'not today: 100 % ö')).toEqual([
        { code: 'FailedPrecondition', message: 'not today: 100 % ö', trailer: ['alice'] },
      ])
    })
    test('an answer that ends while the client still sends', async () => {
      expect(await call(id, 'alice', 'early')).toEqual([
        {
          texts: ['alice hello 0', 'alice hello 1'],
          code: 'OutOfRange',
          message: 'it ends while the client still sends',
        },
      ])
    })
  })

  test('what policy refuses, and who has no connection', async () => {
    const [refused] = await call('grpc', 'alice', 'client')
    expect(refused).toMatchObject({ code: 'PermissionDenied', answer: ['policy_denied'] })
    const [asked] = await call('grpc', 'carol', 'unary')
    expect(asked).toMatchObject({ code: 'PermissionDenied', answer: ['consent_required'] })
    expect(asked?.message).toMatch(/ http:\/\/\S+$/)
    const [nobody] = await call('grpc', '', 'unary')
    expect(nobody).toMatchObject({ code: 'Unauthenticated', answer: ['unauthenticated'] })
  })

  test('the answer of a refusal, byte for byte: one header section that ends the stream', async () => {
    const session = connect(`http://${at('grpc')}`)
    const stream = session.request({
      ':method': 'POST',
      ':path': `${SERVICE}/StreamingInputCall`,
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
  test('a revocation ends a stream at both sides, and only that one', async () => {
    const held = (id: (typeof IDS)[number], person: string) => {
      const child = spawn(PEER, ['client', at(id), `user:${person}`, 'hold', 'hello'])
      const out = { child, said: '' }
      child.stdout.on('data', (chunk: Buffer) => void (out.said += chunk.toString()))
      return out
    }
    const mine = IDS.map((id) => held(id, 'alice'))
    const others = IDS.map((id) => held(id, 'bob'))
    const all = [...mine, ...others]
    await expect.poll(() => all.map(({ said }) => said)).toEqual(all.map(() => 'held\n'))
    const path = `${deputy.connect}/v1/admin/users/alice/connections`
    const headers = { authorization: `Bearer ${BEARER}` }
    expect((await fetch(path, { method: 'DELETE', headers })).status).toBe(200)
    for (const server of [plain, secured])
      await expect.poll(() => server.said).toContain('cut alice Canceled')
    for (const one of mine)
      await expect.poll(() => one.said).toMatch(/"code":"(?:Internal|Unavailable)"/)
    expect(others.map(({ said }) => said)).toEqual(others.map(() => 'held\n'))
    for (const server of [plain, secured]) expect(server.said).not.toContain('cut bob')
    // The other way: whoever leaves takes the call along.
    for (const { child } of others) child.kill('SIGKILL')
    for (const server of [plain, secured])
      await expect.poll(() => server.said).toContain('cut bob Canceled')
  })
})
