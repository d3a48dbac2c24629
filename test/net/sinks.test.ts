// A step that throws inside an event of a decoder has no caller: it ends that answer, and not the process.
import { PassThrough } from 'node:stream'
import { createGunzip, gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { decoded, type Sink } from '../../proxy/net/sinks.ts'

test.each<[string, Partial<Sink>]>([
  [
    'a chunk',
    {
      push: () => {
        throw new RangeError('too deep')
      },
    },
  ],
  [
    'the end',
    {
      end: () => {
        throw new RangeError('too deep')
      },
    },
  ],
])('what throws at %s breaks that answer only', async (_name, faulty) => {
  let broken = 0
  const into: Sink = { push: () => true, end: () => undefined, ...faulty }
  const sink = decoded(createGunzip(), into, {
    out: new PassThrough(),
    resume: () => undefined,
    broken: () => broken++,
  })
  sink.push(gzipSync('hello'))
  sink.end()
  await expect.poll(() => broken).toBe(1)
})
