// A quarter of a GiB down and up at once through a deputy of its own: every byte, in flat memory.
// DEPUTY_STREAM_GIB=10 npm test -- fidelity_memory has ten of them.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { watching } from '../bench/processes.ts'
import { startChild } from '../support/deputy.ts'

const TOKEN = 'at-alice-of-the-provider-0123456789'
const BLOCK = Buffer.alloc(65_536, 'a block of this length that the token could begin in, at-alice')
const BYTES = Number(process.env['DEPUTY_STREAM_GIB'] ?? 0.25) * 1024 ** 3
/** What the process may grow by beside what it had before, bytes. */
const GROWTH = 128 * 1024 ** 2

const residentOf = async (admin: string): Promise<number> => {
  const text = await (await fetch(`http://${admin.replace('http://', '')}/metrics`)).text()
  return Number(/^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1])
}
type Whole = { readonly bytes: number; readonly hash: string }
const wholeOf = async (body: AsyncIterable<unknown>): Promise<Whole> => {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of body) {
    hash.update(chunk as Buffer)
    bytes += (chunk as Buffer).length
  }
  return { bytes, hash: hash.digest('hex') }
}
/** Writes them all, as fast as they are taken. */
const pour = async (to: Writable): Promise<void> => {
  for (let sent = 0; sent < BYTES; sent += BLOCK.length)
    if (!to.write(BLOCK)) await once(to, 'drain')
}
const expected = (): Whole => {
  const hash = createHash('sha256')
  for (let at = 0; at < BYTES; at += BLOCK.length) hash.update(BLOCK)
  return { bytes: BYTES, hash: hash.digest('hex') }
}

test(
  'large bodies go down and up at once, whole, in flat memory',
  { timeout: 1_800_000 },
  async () => {
    let up: Promise<Whole> | undefined
    // Ten GiB may take longer than the five minutes that Node gives a request.
    const provider = createServer({ requestTimeout: 0 }, (req, res) => {
      if (req.headers.authorization !== `Bearer ${TOKEN}`) res.writeHead(401).end()
      else if (req.method === 'PUT') {
        up = wholeOf(req)
        up.then(
          () => res.end('taken'),
          () => res.destroy(),
        )
      } else {
        res.writeHead(200, { 'content-type': 'application/octet-stream' })
        void pour(res).then(() => res.end())
      }
    })
    await new Promise<void>((done) => void provider.listen(0, '127.0.0.1', done))
    const deputy = await startChild({
      upstream: `http://127.0.0.1:${(provider.address() as AddressInfo).port}`,
      config: { limits: { request_body: '16GiB' } },
      held: [{ person: 'alice', connection: 'stream', token: TOKEN }],
    })
    const ask = (method: string, size: number) => {
      const headers = {
        'deputy-user': 'alice',
        'content-type': 'application/octet-stream',
        ...(method === 'PUT' ? { 'content-length': size } : {}),
      }
      const call = request(`${deputy.agent}/api.stream.test/big`, { method, headers })
      const answer = once(call, 'response').then(([res]) => wholeOf(res as AsyncIterable<unknown>))
      return { call, answer }
    }
    const putWhole = async (): Promise<void> => {
      const { call, answer } = ask('PUT', BYTES)
      for (let sent = 0; sent < BYTES; sent += BLOCK.length)
        if (!call.write(BLOCK)) await once(call, 'drain')
      call.end()
      await answer
    }
    const getWhole = (): Promise<Whole> => {
      const { call, answer } = ask('GET', 0)
      call.end()
      return answer
    }
    try {
      const before = await residentOf(deputy.admin)
      let most = before
      const stop = watching(50, async () => {
        most = Math.max(most, await residentOf(deputy.admin))
      })
      const began = performance.now()
      const [down] = await Promise.all([getWhole(), putWhole()])
      const seconds = (performance.now() - began) / 1_000
      await stop()
      const mib = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`
      process.stdout.write(
        `${mib(BYTES)} each way in ${seconds.toFixed(1)} s: resident ${mib(before)} before, ${mib(most)} at most\n`,
      )
      const whole = expected()
      expect(down).toEqual(whole)
      expect(await up).toEqual(whole)
      expect(most - before).toBeLessThan(GROWTH)
    } finally {
      await deputy.close()
      provider.closeAllConnections()
      provider.close()
    }
  },
)
