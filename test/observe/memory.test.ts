import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { startChild } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'

const SOURCE = fileURLToPath(new URL('../../proxy/observe/memory.ts', import.meta.url))
const CHILD = `
const { collect } = await import(process.argv[1])
const { getHeapStatistics } = await import('node:v8')
const heap = () => getHeapStatistics().total_physical_size / 1e6
let kept = Array.from({ length: 400_000 }, (_, i) => ({ i, text: 'x'.repeat(i % 50) }))
const full = heap()
kept = kept.length
const before = heap()
collect()
console.log(JSON.stringify({ full, before, after: heap(), named: typeof gc }))
`

test('what nobody holds any more is given back at once, in a process of an ordinary command line', () => {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', CHILD, SOURCE],
    { encoding: 'utf8' },
  )
  const { full, before, after, named } = JSON.parse(stdout || JSON.stringify({ stderr })) as {
    readonly full: number
    readonly before: number
    readonly after: number
    readonly named: string
  }
  expect(named).toBe('undefined')
  expect(full).toBeGreaterThan(20)
  // Nothing had been given back until then.
  expect(before).toBeGreaterThan(full * 0.8)
  expect(after).toBeLessThan(full / 2)
})

/** How often young objects were collected because somebody asked for it. */
const asked = (trace: string): number => trace.match(/Scavenge.*testing/g)?.length ?? 0
const STREAM = `
const { createSweep } = await import(process.argv[1])
const sweep = createSweep()
for (let i = 0; i < 64; i++) sweep(Number(process.argv[2]))
`

test.each([
  [65_536, 2],
  [1_024, 0],
])('after 64 pieces of %i bytes young objects were collected %i times', (piece, times) => {
  const args = ['--trace-gc', '--input-type=module', '-e', STREAM, SOURCE, String(piece)]
  const { stdout, status } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  expect([status, asked(stdout)]).toEqual([0, times])
})

test.each(['GET', 'POST'])('nor in deputy, the way that %s goes', async (method) => {
  const piece = Buffer.alloc(65_536, 'x')
  const PIECES = 512
  const upstream = await startUpstream()
  upstream.people.set('at-alice-0123456789', 'alice')
  upstream.handle = (_seen, res) => {
    res.end(method === 'GET' ? Buffer.alloc(piece.length * PIECES) : 'got it')
  }
  const config = { limits: { request_body: '64MiB' } }
  const held = [{ person: 'alice', connection: 'acme', token: 'at-alice-0123456789' }]
  const traced = "import { setFlagsFromString } from 'node:v8'; setFlagsFromString('--trace-gc')"
  const trace = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(traced)}` }
  const deputy = await startChild({ upstream: upstream.origin, config, held }, undefined, trace)
  try {
    const body = new ReadableStream({
      start(into) {
        for (let i = 0; i < PIECES; i++) into.enqueue(piece)
        into.close()
      },
    })
    const answer = await fetch(`${deputy.agent}/api.acme.test/upload/big`, {
      method,
      headers: { 'deputy-user': 'alice', 'content-type': 'application/octet-stream' },
      ...(method === 'GET' ? {} : { body, duplex: 'half' }),
    })
    expect(answer.status).toBe(200)
    await answer.arrayBuffer()
    await deputy.stop()
    // What it traced is written whole by its end.
    expect(asked(deputy.stdout().toString())).toBeGreaterThan(4)
  } finally {
    await deputy.close()
    await upstream.close()
  }
})
