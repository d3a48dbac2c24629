// What began under one configuration ends properly under the next: a held call, a stream, a consent half way, TLS.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import type { ServerResponse } from 'node:http'
import { connect, type TLSSocket } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startWorld, type World } from '../sandbox/world.ts'
import { createBrowser } from '../support/browser.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { clickThrough } from '../support/click.ts'
import { startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-0123456789abcdef'
const LONG = { interval: 100 }
let upstream: Upstream
const ends: (() => unknown)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  upstream.handle = null
  for (const end of ends.splice(0).toReversed()) await end()
})
const rewrite = (folder: string, change: (text: string) => string): void => {
  const path = join(folder, 'deputy.yaml')
  writeFileSync(path, change(readFileSync(path, 'utf8')))
}
const without = (name: string) => (text: string) => {
  const config = JSON.parse(text) as { connections: Record<string, Fields> }
  const { [name]: _gone, ...connections } = config.connections
  return JSON.stringify({ ...config, connections })
}
const begin = async (config: Fields = {}): Promise<Deputy> => {
  const held = ['acme', 'stream'].map((connection) => ({
    person: 'alice',
    token: TOKEN,
    connection,
  }))
  const deputy = await startDeputy({ upstream: upstream.origin, held, config })
  ends.push(() => deputy.close())
  return deputy
}
const ask = (deputy: Deputy, path: string, headers: Record<string, string> = {}) =>
  fetch(`${deputy.agent}${path}`, { headers: { 'deputy-user': 'alice', ...headers } })
const gauge = async (admin: string, name: string): Promise<number> => {
  const text = await (await fetch(`${admin}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1])
}

test('a stream of a connection that is taken away goes on to its end; a new call there is refused', async () => {
  const deputy = await begin()
  const open: ServerResponse[] = []
  upstream.handle = (_seen, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    res.write('data: one\n\n')
    open.push(res)
  }
  const stream = await ask(deputy, '/api.stream.test/s')
  rewrite(deputy.dir, without('stream'))
  await deputy.reload()
  upstream.handle = null
  expect((await ask(deputy, '/api.stream.test/s')).headers.get('deputy-answer')).toBe(
    'route_not_found',
  )
  open[0]?.end('data: two\n\n')
  expect(await stream.text()).toBe('data: one\n\ndata: two\n\n')
})

describe('a held call', () => {
  const waiting = (deputy: Deputy) => gauge(`http://${deputy.admin}`, 'deputy_held_calls')
  test('whose connection is taken away is refused as a new one is', async () => {
    const deputy = await begin()
    const answer = ask(deputy, '/api.acme.test/a', { 'deputy-user': 'bob', prefer: 'wait=60' })
    await expect.poll(() => waiting(deputy), LONG).toBe(1)
    rewrite(deputy.dir, without('acme'))
    await deputy.reload()
    expect((await answer).headers.get('deputy-answer')).toBe('route_not_found')
  })

  test('whose connection means something else now is told to come again', async () => {
    const deputy = await begin()
    const answer = ask(deputy, '/api.acme.test/a', { 'deputy-user': 'bob', prefer: 'wait=60' })
    await expect.poll(() => waiting(deputy), LONG).toBe(1)
    rewrite(deputy.dir, (text) => text.replaceAll('"acme.get"', '"acme.fetch"'))
    await deputy.reload()
    const said = await answer
    expect([said.status, said.headers.get('deputy-answer')]).toEqual([503, 'configuration_changed'])
    expect(said.headers.get('retry-after')).toBe('1')
  })

  const nobody = (folder: string): void => {
    writeFileSync(join(folder, 'nobody.yaml'), JSON.stringify({ people: [] }))
    rewrite(folder, (text) => text.replace('./people.yaml', './nobody.yaml'))
  }
  const powerless = (folder: string): void => {
    cpSync(join(folder, 'tables'), join(folder, 'others'), { recursive: true })
    writeFileSync(join(folder, 'others', 'group_roles.json'), JSON.stringify({ staff: [] }))
    rewrite(folder, (text) => text.replace('./tables', './others'))
  }
  test.each([
    ['people', nobody],
    ['tables', powerless],
  ])(
    'waits on where nothing of it changed, and is decided by the %s in force',
    async (_, denied) => {
      const deputy = await begin()
      let ended = false
      const answer = ask(deputy, '/api.acme.test/a', { 'deputy-user': 'bob', prefer: 'wait=60' })
      void answer.then(() => (ended = true))
      await expect.poll(() => waiting(deputy), LONG).toBe(1)
      rewrite(deputy.dir, without('stream'))
      await deputy.reload()
      const decisions = () => deputy.evidence().filter(({ event }) => event === 'decision').length
      await expect.poll(decisions, LONG).toBe(2)
      await expect.poll(() => waiting(deputy), LONG).toBe(1)
      expect(ended).toBe(false)
      denied(deputy.dir)
      await deputy.reload()
      expect((await answer).headers.get('deputy-answer')).toBe('policy_denied')
    },
  )
})

describe('with an organisation around it', () => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-revision-'))
  let world: World
  beforeAll(async () => {
    world = await startWorld({ folder: dir, fixedPorts: false })
  })
  afterAll(async () => {
    await world.close()
    rmSync(dir, { recursive: true, force: true })
  })
  const revision = async (): Promise<number> => {
    const text = await (await fetch(`${world.admin}/readyz?verbose`)).text()
    return Number(/config revision (\d+)/.exec(text)?.[1])
  }

  test('a consent that began before a reload is completed after it, and the held call goes on', async () => {
    const call = async (prefer: string) =>
      fetch(`${world.agent}/api.github.com/user`, {
        headers: { 'deputy-user': await world.idp.assertion('alice', 'patient'), prefer },
      })
    const waiting = call('wait=60')
    await expect.poll(() => gauge(world.admin, 'deputy_held_calls'), LONG).toBe(1)
    const { url } = (await (await call('wait=0')).json()) as { url: string }
    const before = await revision()
    rewrite(dir, (text) => `${text}\nlimits: { calls: 77 }\n`)
    await expect.poll(revision, LONG).toBe(before + 1)
    await clickThrough(createBrowser(), url, { login: 'alice', account: 'alice-gh' })
    const answer = await waiting
    expect([answer.status, await answer.json()]).toMatchObject([200, { login: 'alice-gh' }])
  })
})

const missing = opensslMissing()
test.skipIf(missing !== '')(
  `a new certificate is shown to who connects, and who is connected goes on${missing}`,
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'deputy-tls-'))
    ends.push(() => rmSync(folder, { recursive: true }))
    const { cert, key } = makeCertificate(folder)
    const issuer = { issuer: 'https://idp.test', audience: 'deputy', jwks: join(folder, 'jwks') }
    writeFileSync(join(folder, 'jwks'), '{"keys":[]}')
    const deputy = await begin({
      identity: { trust: 'asserted', issuers: [issuer] },
      connect: { sign_in: { issuer: 'https://idp.test', client_id: 'pages' } },
      listeners: {
        agent: '127.0.0.1:0',
        admin: '127.0.0.1:0',
        connect: '127.0.0.1:0',
        agent_tls: { listen: '127.0.0.1:0', cert, key },
      },
    })
    const { hostname, port } = new URL(deputy.addresses['agent_tls'] ?? '')
    const shown = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket: TLSSocket = connect(
          { host: hostname, port: Number(port), rejectUnauthorized: false },
          () => {
            resolve(socket.getPeerCertificate().fingerprint256)
            socket.destroy()
          },
        )
        socket.once('error', reject)
      })
    const before = await shown()
    makeCertificate(folder)
    await expect.poll(shown, LONG).not.toBe(before)
    const status = await new Promise((resolve, reject) =>
      request(
        { host: hostname, port, path: '/api.acme.test/a', rejectUnauthorized: false },
        (res) => resolve(res.statusCode),
      )
        .once('error', reject)
        .end(),
    )
    expect(status).toBe(401)
    writeFileSync(key, 'no key')
    await expect
      .poll(async () => (await fetch(`http://${deputy.admin}/readyz?verbose`)).text(), LONG)
      .toContain('tls.key is no private key')
    expect(await shown()).not.toBe(before)
  },
)
