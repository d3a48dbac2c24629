import { expect, test } from 'vitest'
import { createSignalsApi } from '../../proxy/api/signals.ts'
import { QUIET } from '../support/log.ts'

const post = async (app: ReturnType<typeof createSignalsApi>, body = 'x'): Promise<Response> =>
  app.request('/signals', {
    method: 'POST',
    headers: { 'content-type': 'application/secevent+jwt' },
    body,
  })

test('so many are taken at once, so many wait, and whoever comes beyond is asked to come again', async () => {
  const running: (() => void)[] = []
  let most = 0
  const app = createSignalsApi({
    receive: () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      running.push(resolve)
      most = Math.max(most, running.length)
      return promise
    },
    refused: () => {},
    log: QUIET,
  })
  const all = Array.from({ length: 16 + 1_024 }, () => post(app))
  await expect.poll(() => running.length).toBe(16)
  const beyond = await post(app)
  expect([beyond.status, beyond.headers.get('retry-after')]).toEqual([503, '5'])
  let ended = 0
  while (ended < all.length) {
    const each = running.splice(0)
    ended += each.length
    for (const end of each) end()
    await new Promise(setImmediate)
  }
  expect(new Set((await Promise.all(all)).map(({ status }) => status))).toEqual(new Set([202]))
  expect(most).toBe(16)
  const after = post(app)
  await expect.poll(() => running.length).toBe(1)
  running[0]?.()
  expect((await after).status).toBe(202)
})

test('who sends slowly keeps nobody from telling', async () => {
  const app = createSignalsApi({ receive: () => Promise.resolve(), refused: () => {}, log: QUIET })
  const slow = Array.from({ length: 20 }, () => new ReadableStream<Uint8Array>())
  for (const body of slow)
    void app.request('/signals', {
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt' },
      body,
      duplex: 'half',
    })
  expect((await post(app)).status).toBe(202)
})
