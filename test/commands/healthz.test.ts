// The probe without a shell, as a process: against a deputy that serves, and against what a port may otherwise hold.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { readAddress } from '../../proxy/commands/healthz.ts'
import { startChild } from '../support/deputy.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'deputy-healthz-'))
const servers: Server[] = []
afterAll(() => {
  for (const server of servers) server.close()
  rmSync(dir, { recursive: true, force: true })
})

type Ended = { readonly code: number; readonly out: string; readonly err: string }
const healthz = (...args: readonly string[]): Promise<Ended> =>
  new Promise((resolve) =>
    execFile(
      process.execPath,
      [command, 'healthz', ...args],
      { cwd: dir, env: { PATH: '' } },
      (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    ),
  )
/** Something that listens. @returns its address */
const listener = (talk: (socket: Socket) => void): Promise<string> =>
  new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.on('error', () => {}) // the other side may leave
      socket.once('data', () => talk(socket))
    })
    servers.push(server)
    server.listen(0, '127.0.0.1', () =>
      resolve(`127.0.0.1:${(server.address() as AddressInfo).port}`),
    )
  })
const answering = (status: string, body: string): Promise<string> =>
  listener((socket) =>
    socket.end(`HTTP/1.1 ${status}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`),
  )
const configured = (text: string): string => {
  const path = join(dir, `${text.length}.yaml`)
  writeFileSync(path, text)
  return path
}

test(
  'a deputy that serves is ready and live, asked by its configuration or by its address; one that is gone is neither',
  { timeout: 120_000 },
  async () => {
    const deputy = await startChild({ upstream: 'http://127.0.0.1:9' })
    try {
      const well = { code: 0, out: 'ok\n', err: '' }
      expect(await healthz('--address', deputy.admin)).toEqual(well)
      expect(await healthz('--address', deputy.admin, '--live')).toEqual(well)
      // Whatever else is wrong with the file by now, what runs is asked.
      const port = deputy.admin.split(':').at(-1)
      for (const host of ['127.0.0.1', '0.0.0.0'])
        expect(
          await healthz(
            '--config',
            configured(`version: 1\nlisteners: { admin: "${host}:${port}" }\nnonsense: ${host}\n`),
          ),
        ).toEqual(well)
      await deputy.stop()
      expect(await healthz('--address', deputy.admin, '--live')).toEqual({
        code: 1,
        out: '',
        err: expect.stringContaining(`nobody listens at ${deputy.admin}`) as string,
      })
    } finally {
      await deputy.close()
    }
  },
)

describe('what is not a deputy that is ready', () => {
  test('is told as it says so: 503 with its checks, in lines without control characters', async () => {
    const address = await answering(
      '503 Service Unavailable',
      '[-] vault \u001b[2Jgone\nreadyz check failed\n',
    )
    expect(await healthz('--address', address)).toEqual({
      code: 1,
      out: '[-] vault  [2Jgone\nreadyz check failed\n',
      err: '',
    })
  })
  test('another server is taken for none', async () => {
    for (const status of ['404 Not Found', '204 No Content', '302 Found']) {
      const { code, err } = await healthz('--address', await answering(status, ''))
      expect([code, err]).toEqual([1, expect.stringContaining(`answered ${status.slice(0, 3)}`)])
    }
  })
  test('a change of protocol is no answer', async () => {
    const at = await listener((socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'),
    )
    const { code, err } = await healthz('--address', at)
    expect([code, err]).toEqual([1, expect.stringContaining('without an answer')])
  })

  test('silence, and an answer that never ends, are waited for no longer than was said', async () => {
    const silent = await listener(() => {})
    const dripping = await listener((socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n')
      const drip = setInterval(() => socket.write('x'), 20)
      socket.once('close', () => clearInterval(drip))
    })
    for (const address of [silent, dripping])
      expect(await healthz('--address', address, '--timeout', '0.3')).toMatchObject({
        code: 1,
        err: expect.stringContaining('no whole answer within 0.3 s') as string,
      })
    const endless = await listener((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.write('x'.repeat(200_000))
    })
    expect(await healthz('--address', endless)).toMatchObject({
      code: 1,
      err: expect.stringContaining('too long for a health check') as string,
    })
    const cut = await listener((socket) =>
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok'),
    )
    expect((await healthz('--address', cut)).code).toBe(1)
    expect(
      (await healthz('--address', await listener((socket) => socket.end('SSH-2.0\r\n')))).code,
    ).toBe(1)
  })
})

test('a wrong option is 64, a configuration that names no address 78, each with what to do', async () => {
  for (const address of [
    '7411',
    'localhost',
    '127.0.0.1:0',
    '127.0.0.1:70000',
    '::1:7411',
    'a b:1',
  ])
    expect(await healthz('--address', address), address).toMatchObject({
      code: 64,
      err: expect.stringContaining('must be a host and a port') as string,
    })
  for (const timeout of ['', 'soon', '0', '-1', '61', 'Infinity'])
    expect((await healthz('--timeout', timeout)).code, timeout).toBe(64)
  for (const [text, says] of [
    ['version: 1\nlisteners: { admin: "127.0.0.1:0" }\n', 'port 0 is any free one'],
    ['version: [\n', ':2: '],
  ] as const)
    expect(await healthz('--config', configured(text))).toMatchObject({
      code: 78,
      out: '',
      err: expect.stringMatching(new RegExp(`${says}[^]*--address 127\\.0\\.0\\.1:7411`)) as string,
    })
  expect((await healthz('--config', 'nowhere.yaml')).code).toBe(78)
  expect(readAddress('[::1]:7411')).toEqual({ host: '::1', port: 7411 })
  expect(readAddress('deputy.agents.svc:7411')).toEqual({ host: 'deputy.agents.svc', port: 7411 })
})
