import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { Log } from '../../proxy/model.ts'
import type { AdminOptions, Check } from '../../proxy/net/admin.ts'
import { startAdmin } from '../../proxy/net/admin.ts'
import { paced } from '../support/pace.ts'

const none = () => undefined
const log: Log = { debug: none, info: none, warn: none, error: none }
const open: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of open.splice(0)) await close()
})

const start = async (
  checks: AdminOptions['checks'] = () => [],
  more: Partial<AdminOptions> = {},
) => {
  const admin = await startAdmin({
    listen: { host: '127.0.0.1', port: 0 },
    checks,
    render: () => 'up 1\n',
    log,
    ...more,
  })
  open.push(admin.close)
  return admin
}
const get = async (address: string, path: string, init: RequestInit = {}) => {
  const answer = await fetch(`http://${address}${path}`, init)
  return { status: answer.status, body: await answer.text(), headers: answer.headers }
}

const good: Check = { name: 'policy', ok: true, detail: 'revision 2f91c0' }
const bad: Check = { name: 'vault', ok: false, detail: 'locked\n[+] forged' }

describe('the admin listener', () => {
  test('lives whatever the checks say', async () => {
    const { address } = await start(() => [bad])
    for (const path of ['/livez', '/healthz', '/livez?verbose']) {
      expect(await get(address, path)).toMatchObject({ status: 200, body: 'ok' })
    }
  })

  test('answers probes while hundreds of connections say nothing, and keeps only so many of those', async () => {
    const { address } = await start(() => [good])
    const [host = '', port = ''] = address.split(':')
    const sockets = Array.from({ length: 300 }, () => connect(Number(port), host))
    const gone = new Set<Socket>()
    for (const socket of sockets)
      socket.on('error', () => undefined).on('close', () => gone.add(socket))
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    expect(await get(address, '/livez')).toMatchObject({ status: 200, body: 'ok' })
    await expect.poll(() => gone.size).toBeGreaterThanOrEqual(172)
    expect(await get(address, '/readyz')).toMatchObject({ status: 200 })
    for (const socket of sockets) socket.destroy()
  })

  test('is ready when every check is, and says so on one line each when asked', async () => {
    const { address } = await start(() => [good])
    expect(await get(address, '/readyz')).toMatchObject({ status: 200, body: 'ok' })
    expect(await get(address, '/readyz?verbose')).toMatchObject({
      status: 200,
      body: '[+] policy revision 2f91c0\nreadyz check passed\n',
    })
  })

  test('is not ready when one check is not, and a detail cannot forge a line', async () => {
    const { address } = await start(async () => [good, bad])
    expect(await get(address, '/readyz?verbose')).toMatchObject({
      status: 503,
      body: '[+] policy revision 2f91c0\n[-] vault locked [+] forged\nreadyz check failed\n',
    })
    expect(await get(address, '/readyz')).toMatchObject({
      status: 503,
      body: '[-] vault locked [+] forged\nreadyz check failed\n',
    })
  })

  test.each([
    ['throws', () => Promise.reject(new Error('secret detail'))],
    [
      'throws at once',
      () => {
        throw new Error('secret detail')
      },
    ],
    ['hangs', () => new Promise<never>(none)],
  ])('a check that %s is not ready, and its error stays in the log', async (_, checks) => {
    const { address } = await start(checks)
    const { status, body } = await get(address, '/readyz?verbose')
    expect(status).toBe(503)
    expect(body).toContain('[-] checks')
    expect(body).not.toContain('secret')
  })

  test('gives metrics in the text format', async () => {
    const { address } = await start()
    const { status, body, headers } = await get(address, '/metrics')
    expect([status, body, headers.get('content-type')]).toEqual([
      200,
      'up 1\n',
      'text/plain; version=0.0.4; charset=utf-8',
    ])
  })

  test('metrics that fail are 500 without the reason, and the listener lives on', async () => {
    const { address } = await start(() => [], {
      render: () => {
        throw new Error('secret detail')
      },
    })
    expect(await get(address, '/metrics')).toMatchObject({ status: 500, body: '' })
    expect((await get(address, '/livez')).status).toBe(200)
  })

  test.each(['/', '/livez/', '/LIVEZ', '//livez', '/v1/admin', '/debug', '/readyz/x', '/%6Civez'])(
    '%s is 404',
    async (path) => {
      const { address } = await start()
      expect((await get(address, path)).status).toBe(404)
    },
  )

  test.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('%s is 405', async (method) => {
    const { address } = await start()
    const { status, headers } = await get(address, '/livez', { method })
    expect([status, headers.get('allow')]).toEqual([405, 'GET, HEAD'])
  })

  test('HEAD has the headers and no body', async () => {
    const { address } = await start()
    const { status, body, headers } = await get(address, '/livez', { method: 'HEAD' })
    expect([status, body, headers.get('content-length')]).toEqual([200, '', '2'])
  })

  test('headers past 8 KiB are refused', async () => {
    const { address } = await start()
    expect((await get(address, '/livez', { headers: { a: 'x'.repeat(9_000) } })).status).toBe(431)
  })

  test('a body is not read, and its connection ends', async () => {
    const { address } = await start()
    const [host, port] = address.split(':')
    const socket = connect(Number(port), host)
    socket.write(
      'POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n',
    )
    let said = ''
    for await (const data of socket) said += String(data)
    expect(said).toMatch(/^HTTP\/1\.1 405 /)
    expect(said).toMatch(/connection: close/i)
    expect(said.match(/HTTP\/1\.1/g)).toHaveLength(1)
  })

  test('whoever sends no headers is cut off', async () => {
    const { address } = await start()
    const [host, port] = address.split(':')
    const began = performance.now()
    const socket = connect(Number(port), host)
    socket.write('GET /livez HTTP/1.1\r\n')
    socket.resume()
    await new Promise((resolve) => socket.once('close', resolve))
    expect(performance.now() - began).toBeLessThan(paced(9_000))
  })
})

describe('listening', () => {
  test('a port in use is an error that names the key and what to do', async () => {
    const { address } = await start()
    const port = Number(address.split(':')[1])
    await expect(start(() => [], { listen: { host: '127.0.0.1', port } })).rejects.toThrow(
      `listeners.admin: 127.0.0.1:${port} is in use: stop the program that listens there, or choose another address`,
    )
  })

  test('an address of another machine is an error that says so', async () => {
    await expect(start(() => [], { listen: { host: '192.0.2.1', port: 0 } })).rejects.toThrow(
      /listeners\.admin: 192\.0\.2\.1:0 is no address of this machine/,
    )
  })

  test('a socket file answers, is for its owner alone, and goes with the listener', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'deputy-admin-'))
    const path = join(folder, 'admin.sock')
    try {
      const admin = await startAdmin({ listen: { path }, checks: () => [], render: () => '', log })
      expect(admin.address).toBe(`unix:${path}`)
      expect(statSync(path).mode & 0o777).toBe(0o600)
      const status = await new Promise((resolve, reject) => {
        request({ socketPath: path, path: '/livez' }, (res) => {
          res.resume()
          resolve(res.statusCode)
        })
          .on('error', reject)
          .end()
      })
      expect(status).toBe(200)
      await admin.close()
      expect(existsSync(path)).toBe(false)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('close ends within seconds even if a client keeps its connection', async () => {
    const { address, close } = await start()
    const [host, port] = address.split(':')
    const socket = connect(Number(port), host)
    socket.on('error', none)
    await new Promise((resolve) => socket.once('connect', resolve))
    socket.write('GET /livez HTTP/1.1\r\nHost: a\r\n')
    await close()
    open.length = 0
    await expect(fetch(`http://${address}/livez`)).rejects.toThrow()
    socket.destroy()
  })
})
