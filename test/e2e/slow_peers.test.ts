// A thousand peers that begin and never finish, at every listener at once, while a second person works: none of her calls
// is lost, each peer is let go within the time that docs/operators.md names, and nothing of them is left.
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as secure } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeCa } from '../../proxy/commands/ca.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { loadFolder, prepareFolder, startChild, type Child, type Setup } from '../support/deputy.ts'
import { lines, sendRaw } from '../support/raw.ts'
import { paced } from '../support/pace.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const missing = opensslMissing()
const BOB = 'at-bob-of-the-provider-9876543210'
const folder = mkdtempSync(join(tmpdir(), 'deputy-slow-'))
let upstream: Upstream
let deputy: Child

beforeAll(async () => {
  if (missing !== '') return
  upstream = await startUpstream()
  upstream.people.set(BOB, 'bob')
  const { cert, key } = makeCertificate(folder)
  const anywhere = '127.0.0.1:0'
  const setup: Setup = {
    upstream: upstream.origin,
    held: [{ person: 'bob', token: BOB }],
    config: {
      listeners: {
        agent: anywhere,
        agent_tls: { listen: anywhere, cert, key },
        admin: anywhere,
        connect: anywhere,
        operators: anywhere,
      },
      operators: [{ name: 'o', bearer: 'o'.repeat(40), may: ['connections'] }],
      forward: { listen: anywhere, ca: './ca' },
    },
  }
  const dir = await prepareFolder(setup)
  const print = (): void => undefined
  const loaded = await loadFolder(dir)
  await makeCa({ loaded, days: 1, renew: false, now: Date.now(), print, complain: print })
  deputy = await startChild(setup, dir)
})
afterAll(async () => {
  if (missing !== '') return
  await deputy.close()
  await upstream.close()
  rmSync(folder, { recursive: true, force: true })
})

type Peer = {
  readonly name: string
  readonly listener: string
  readonly count: number
  /** s: by then deputy has let go of it. */
  readonly within: number
  /** Said at once; then `drip` every second. */
  readonly says: string | Buffer
  readonly drip?: string
  /** Inside TLS. */
  readonly tls?: boolean
}
const HEAD = 'GET /api.acme.test/a HTTP/1.1\r\nHost: 127.0.0.1\r\n'
const POST = lines(
  'POST /v1/auth/confirm_user HTTP/1.1',
  'Host: 127.0.0.1',
  'Content-Type: application/json',
  'Content-Length: 1000',
)
/** The first bytes of a ClientHello. */
const HELLO = Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
const CONNECT = lines('CONNECT api.acme.test:443 HTTP/1.1', 'Host: api.acme.test:443')
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n'
/** Node looks every ten seconds at the agent listener, every two at the pages. */
const PEERS: readonly Peer[] = [
  { name: 'silent', listener: 'agent', count: 150, within: 30, says: '' },
  {
    name: 'head in drops',
    listener: 'agent',
    count: 250,
    within: 40,
    says: HEAD,
    drip: 'X: y\r\n',
  },
  { name: 'half a preface', listener: 'agent', count: 50, within: 30, says: PREFACE },
  { name: 'no handshake', listener: 'agent_tls', count: 100, within: 10, says: '' },
  { name: 'half a handshake', listener: 'agent_tls', count: 50, within: 10, says: HELLO },
  {
    name: 'head in drops',
    listener: 'agent_tls',
    count: 50,
    within: 40,
    says: HEAD,
    drip: 'X: y\r\n',
    tls: true,
  },
  { name: 'tunnel without TLS', listener: 'forward', count: 100, within: 10, says: CONNECT },
  {
    name: 'head in drops',
    listener: 'connect',
    count: 75,
    within: 12,
    says: HEAD,
    drip: 'X: y\r\n',
  },
  { name: 'body in drops', listener: 'connect', count: 50, within: 32, says: POST, drip: 'x' },
  {
    name: 'head in drops',
    listener: 'operators',
    count: 75,
    within: 12,
    says: HEAD,
    drip: 'X: y\r\n',
  },
  { name: 'silent', listener: 'admin', count: 50, within: 6, says: '' },
]

/** As deputy says when it starts. */
const addressOf = (listener: string): URL => {
  const said = new RegExp(`^${listener}: (\\S+)$`, 'm').exec(deputy.logged())?.[1] ?? ''
  return new URL(said.includes('://') ? said : `http://${said}`)
}
/** @returns s until it was let go, by peer */
const begin = (peer: Peer): readonly Promise<number>[] => {
  const { hostname, port } = addressOf(peer.listener)
  return Array.from({ length: peer.count }, async () => {
    const tcp = connect(Number(port), hostname)
    const socket: Socket =
      peer.tls === true ? secure({ socket: tcp, rejectUnauthorized: false }) : tcp
    const began = performance.now()
    if (peer.says !== '') socket.write(peer.says)
    const drip = setInterval(() => peer.drip !== undefined && socket.write(peer.drip), 1_000)
    socket.on('error', () => undefined).on('data', () => undefined)
    await new Promise<void>((resolve) => socket.once('close', () => resolve()))
    clearInterval(drip)
    return (performance.now() - began) / 1_000
  })
}
const descriptors = async (): Promise<number> => {
  const text = await (await fetch(`http://${deputy.admin}/metrics`)).text()
  return Number(/^process_open_fds (\S+)$/m.exec(text)?.[1])
}

test(
  `a thousand slow peers at every listener${missing}`,
  { timeout: 150_000, skip: missing !== '' },
  async () => {
    const before = await descriptors()
    const over = new AbortController()
    const host = new URL(deputy.agent).host
    const bob = async (): Promise<readonly string[]> => {
      const ends: string[] = []
      while (!over.signal.aborted) {
        const text = lines(`GET /api.acme.test/1 HTTP/1.1`, `Host: ${host}`, 'Deputy-User: bob')
        const answer = await sendRaw(deputy.agent, text, { ms: paced(5_000) }).catch(() => null)
        ends.push(`${answer?.status ?? 'none'} ${String(answer?.json['login'])}`)
        const alive = await fetch(`http://${deputy.admin}/livez`).then(
          ({ status }) => status,
          (error: unknown) => String(error),
        )
        ends.push(`livez ${alive}`)
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      return ends
    }
    const works = bob()
    const peers = PEERS.map((peer) => ({ peer, ends: begin(peer) }))
    const late: string[] = []
    for (const { peer, ends } of peers) {
      const longest = Math.max(...(await Promise.all(ends)))
      if (longest > peer.within + paced(3_000) / 1_000)
        late.push(`${peer.listener}, ${peer.name}: ${longest.toFixed(1)} s`)
    }
    over.abort()
    const ends = await works
    expect(late).toEqual([])
    expect(ends.filter((end) => end !== '200 bob' && end !== 'livez 200')).toEqual([])
    expect(ends.length).toBeGreaterThan(50)
    await expect.poll(descriptors).toBeLessThanOrEqual(before + 8)
    expect(PEERS.reduce((sum, { count }) => sum + count, 0)).toBe(1_000)
  },
)
