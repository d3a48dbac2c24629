import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

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
