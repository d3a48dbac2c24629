// `npm run soak [-- --minutes 10 --idle 10000]`: mixed traffic with faults at one deputy while idle connections lie about;
// heap, resident memory and descriptors are printed, and every call must have its evidence. Ends with 1 where they grew,
// somebody got another's answer, or a line is missing. Loopback only, bounded in count and time.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { root } from '../bench/processes.ts'
import { startChild, type EvidenceLine } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import { startIdle, type Idle } from './idle.ts'
import { few, growth, missing, type Sample } from './judge.ts'
import { kindAt, misbehave } from './traffic.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    idle: { type: 'string', default: '1000' },
    callers: { type: 'string', default: '24' },
  },
})
const tell = (line: string): void => void process.stdout.write(`${line}\n`)
const PEOPLE = ['alice', 'bob']
const SAMPLE_MS = 5_000

const upstream = await startUpstream()
misbehave(upstream)
const held = PEOPLE.map((person) => {
  const token = `at-${person}-of-the-soak-0123456789`
  upstream.people.set(token, person)
  return { person, token }
})
const deputy = await startChild({
  upstream: upstream.origin,
  held,
  config: {
    upstream: { idle_timeout: '2s' },
    audit: { sink: ['file:audit.jsonl'], rotate: 'off' },
  },
})
let idle: Idle | null = null
const counts = new Map<string, number>()
const odd = new Map<string, number>()
const count = (map: Map<string, number>, what: string): void =>
  void map.set(what, (map.get(what) ?? 0) + 1)

const sample = async (): Promise<Sample> => {
  const text = await (
    await fetch(`http://${deputy.admin.replace(/^http:\/\//, '')}/metrics`)
  ).text()
  const of = (name: string): number =>
    Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN)
  return {
    heap: of('nodejs_heap_size_used_bytes') / 1e6,
    resident: of('process_resident_memory_bytes') / 1e6,
    descriptors: of('process_open_fds'),
  }
}
const shown = ({ heap, resident, descriptors }: Sample): string =>
  `heap ${heap.toFixed(0)} MB, resident ${resident.toFixed(0)} MB, ${descriptors} descriptors`

let code = 0
const found = (what: string): void => {
  code = 1
  tell(`  FOUND: ${what}`)
}
try {
  const before = await sample()
  tell(`before: ${shown(before)}`)
  const lying = await startIdle(deputy.agent, Number(values.idle), 'alice')
  idle = lying
  const end = performance.now() + Number(values.minutes) * 60_000
  let sent = 0
  const caller = async (n: number): Promise<void> => {
    while (performance.now() < end) {
      const kind = kindAt(Math.random())
      sent++
      const said = await kind
        .call(deputy.agent, PEOPLE[n % PEOPLE.length] ?? '')
        .catch(
          (error: unknown) => `threw ${error instanceof Error ? error.message : String(error)}`,
        )
      count(counts, kind.name)
      if (!kind.wanted.includes(said)) count(odd, `${kind.name}: ${said}`)
    }
  }
  const samples: Sample[] = []
  const watch = async (): Promise<void> => {
    while (performance.now() < end) {
      await pause(SAMPLE_MS)
      const one = await sample()
      samples.push(one)
      tell(`${sent} calls: ${shown(one)}, ${lying.standing()} idle`)
    }
  }
  await Promise.all([
    watch(),
    ...Array.from({ length: Number(values.callers) }, (_, n) => caller(n)),
  ])
  tell(`${lying.ended()} idle connections were ended by deputy and opened anew`)
  lying.close()
  // What waits for a provider that never answers ends with the idle timeout.
  await pause(4_000)
  const after = await sample()
  tell(`after: ${shown(after)}`)
  for (const [name, n] of counts) tell(`${n} × ${name}`)
  for (const [what, n] of odd) found(`${n} × ${what}`)
  for (const what of growth(samples, before, after)) found(what)
  for (const what of few(samples, Number(values.idle))) found(what)
  if (!deputy.alive()) found('deputy ended')
  await deputy.stop()
  const lines: readonly EvidenceLine[] = deputy.evidence()
  for (const what of missing(lines, upstream.seen.length)) found(what)
  const verified = execFileSync(
    process.execPath,
    [join(root, 'bin/deputy.js'), 'audit', 'verify', '--keys', join(deputy.dir, 'keys.json')],
    { cwd: deputy.dir, encoding: 'utf8' },
  )
  tell(verified.trim().split('\n').at(-1) ?? '')
  tell(
    `${sent} calls, ${lines.length} lines of evidence, ${code === 0 ? 'nothing' : 'something'} found`,
  )
} finally {
  idle?.close()
  await deputy.close()
  await upstream.close()
}
process.exit(code)
