// Who is asked by another name is not asked: pages that rebind their name to our address (DNS rebinding).
import type { IncomingMessage } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createHostRule, hostname, ownNames } from '../../proxy/net/host.ts'
import { startDeputy, type Deputy } from '../support/deputy.ts'
import { lines, sendRaw } from '../support/raw.ts'

const asked = (host: string | undefined, localAddress = '10.1.2.3') =>
  createHostRule(ownNames({ host: '0.0.0.0' }, ['Deputy.Agents.svc']))({
    headersDistinct: host === undefined ? {} : { host: [host] },
    url: '/',
    socket: { localAddress },
  } as IncomingMessage)

test.each<[string | undefined, boolean]>([
  ['localhost', true],
  ['LOCALHOST:7411', true],
  ['127.0.0.1:7411', true],
  ['[::1]:7411', true],
  ['deputy.agents.svc', true],
  ['10.1.2.3:7411', true],
  ['10.1.2.4:7411', false],
  ['evil.example', false],
  ['localhost.evil.example', false],
  ['localhost@evil.example', false],
  ['', false],
  [undefined, false],
  ['a b', false],
])('%j names the listener: %s', (host, fits) => {
  expect(asked(host)).toBe(fits)
})

test('the address at which a request came in is its name, mapped or not, and with brackets where it has colons', () => {
  expect(asked('10.1.2.3', '::ffff:10.1.2.3')).toBe(true)
  expect(asked('[fd00::1]:7411', 'fd00::1')).toBe(true)
  expect(asked('[fd00::2]:7411', 'fd00::1')).toBe(false)
  expect(hostname('[fd00::1]:80')).toBe('[fd00::1]')
})

describe('each listener of a deputy', () => {
  let deputy: Deputy
  beforeAll(async () => {
    deputy = await startDeputy({
      upstream: 'http://127.0.0.1:9',
      config: {
        listeners: {
          agent: '127.0.0.1:0',
          admin: '127.0.0.1:0',
          connect: '127.0.0.1:0',
          operators: '127.0.0.1:0',
          names: ['deputy.agents.svc'],
        },
        operators: [{ name: 'b', bearer: 'x'.repeat(40), may: ['runs'], tenants: ['default'] }],
      },
    })
  })
  afterAll(() => deputy.close())

  test.each([
    ['agent', '/v1/auth/status?id=x'],
    ['admin', '/metrics'],
    ['connect', '/connections'],
    ['operators', '/v1/admin/runs'],
  ])('%s', async (name, path) => {
    const at = deputy.addresses[name] ?? ''
    const { host: port } = new URL(at.includes('://') ? at : `http://${at}`)
    const origin = `http://127.0.0.1:${port.split(':')[1]}`
    const status = async (...host: readonly string[]): Promise<number> =>
      (await sendRaw(origin, lines(`GET ${path} HTTP/1.1`, ...host, 'Connection: close'))).status
    for (const good of ['localhost', '127.0.0.1:1', 'deputy.agents.svc'])
      expect(await status(`Host: ${good}`), good).not.toBe(421)
    for (const bad of ['evil.example', '10.9.9.9', 'localhost.evil.example'])
      expect(await status(`Host: ${bad}`), bad).toBe(421)
    expect([400, 421]).toContain(await status())
  })
})

test('the operators’ listener answers to the host by which browsers reach the console, and believes no header about it', async () => {
  const deputy = await startDeputy({
    upstream: 'http://127.0.0.1:9',
    config: {
      listeners: {
        agent: '127.0.0.1:0',
        admin: '127.0.0.1:0',
        connect: '127.0.0.1:0',
        operators: '127.0.0.1:0',
        trusted_proxies: ['127.0.0.1'],
      },
      operators_sign_in: {
        issuer: 'https://idp.example',
        client_id: 'ops',
        url: 'https://ops.example/below',
      },
    },
  })
  try {
    const at = deputy.addresses['operators'] ?? ''
    const status = async (...headers: readonly string[]): Promise<number> => {
      const asked = 'GET /below/console/style.css HTTP/1.1'
      return (await sendRaw(at, lines(asked, ...headers, 'Connection: close'))).status
    }
    expect(await status('Host: ops.example')).toBe(200)
    expect(await status('Host: evil.example')).toBe(421)
    expect(await status('Host: evil.example', 'X-Forwarded-Host: ops.example')).toBe(421)
    const connect = `http://127.0.0.1:${new URL(deputy.connect).port}`
    const there = lines('GET /console HTTP/1.1', 'Host: ops.example', 'Connection: close')
    expect((await sendRaw(connect, there)).status).toBe(421)
  } finally {
    await deputy.close()
  }
})
