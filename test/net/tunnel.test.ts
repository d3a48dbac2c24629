// CONNECT by itself; how a whole dial ends behind a bad proxy is in dial.test.ts.
import { lookup } from 'node:dns'
import type { Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openTunnel } from '../../proxy/net/tunnel.ts'
import { startEgress, type EgressProxy } from '../support/egress.ts'

let proxy: EgressProxy
beforeEach(async () => {
  proxy = await startEgress()
})
afterEach(() => proxy.close())
const open = (
  addresses: readonly string[],
  signal = new AbortController().signal,
): Promise<Socket> =>
  openTunnel(
    { addresses, port: 443 },
    {
      proxy: { origin: `http://127.0.0.1:${proxy.port}`, authorization: null },
      lookup,
      trust: null,
      signal,
    },
  )

test('writes an address of either family as RFC 3986 does, with its port', async () => {
  proxy.answer = (socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')
  for (const address of ['192.0.2.1', '2001:db8::1']) (await open([address])).destroy()
  expect(proxy.asked.map(({ authority }) => authority)).toEqual([
    '192.0.2.1:443',
    '[2001:db8::1]:443',
  ])
})

test('asks for four addresses at most, and takes the first that the proxy reaches', async () => {
  const all = [1, 2, 3, 4, 5, 6].map((n) => `192.0.2.${n}`)
  proxy.answer = (socket) => void socket.end('HTTP/1.1 504 No\r\n\r\n')
  await expect(open(all)).rejects.toMatchObject({ code: 'DEPUTY_PROXY_FAILED' })
  expect(proxy.asked).toHaveLength(4)
  proxy.answer = (socket, authority) =>
    void socket.write(
      authority.startsWith('192.0.2.2:') ? 'HTTP/1.1 200 OK\r\n\r\n' : 'HTTP/1.1 504 No\r\n\r\n',
    )
  ;(await open(all)).destroy()
  expect(proxy.asked).toHaveLength(6)
})

test('the end of waiting ends it, before and while it asks', async () => {
  const waiting = new AbortController()
  proxy.answer = () => waiting.abort()
  await expect(open(['192.0.2.1'], waiting.signal)).rejects.toMatchObject({
    code: 'DEPUTY_PROXY_TIMEOUT',
  })
  await expect(open(['192.0.2.1'], AbortSignal.abort())).rejects.toMatchObject({
    code: 'DEPUTY_PROXY_TIMEOUT',
  })
  expect(proxy.asked).toHaveLength(1)
})

test('without an address nobody is asked', async () => {
  await expect(open([])).rejects.toMatchObject({ code: 'DEPUTY_PROXY_FAILED' })
  expect(proxy.asked).toEqual([])
})
