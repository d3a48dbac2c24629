// What a start and an idle process cost by what is configured: processes of each kind in turns, each started alone.
import { readFileSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { say, type Size } from './calls.ts'
import { agentPort, cpuOf, memoryOf, start } from './processes.ts'
import { median, megabytes, n, target, verdict, type Section } from './report.ts'
import { seed } from './seed.ts'

const SETTLE_MS = 1_000

/** ms from the start of the process until it says that it is ready, those of its CPU, and its resident memory a second later, MB. */
const starting = async (
  config: string,
  env: Readonly<Record<string, string>>,
): Promise<{ readonly ms: number; readonly cpu: number; readonly mb: number }> => {
  const began = performance.now()
  const deputy = start(['bin/deputy.js', 'serve', '--config', config], null, env)
  try {
    await agentPort(deputy)
    const ms = performance.now() - began
    const cpu = cpuOf(deputy.pid) / 1_000
    await pause(SETTLE_MS)
    return { ms, cpu, mb: memoryOf(deputy.pid) }
  } finally {
    await deputy.stop()
  }
}

type Started = Awaited<ReturnType<typeof starting>>
/** `more`: members that the configuration has beside those of every bench. */
const KINDS = [
  { name: 'GitHub, no tools', more: {}, env: {} },
  {
    name: 'the same without kept compiled code',
    more: {},
    env: { NODE_DISABLE_COMPILE_CACHE: '1' },
  },
  {
    name: 'GitHub, an endpoint of 40 tools or fewer',
    more: { tools: { endpoints: [{ path: '/mcp', tools: ['Github.*'] }] } },
    env: {},
  },
  {
    name: 'Microsoft, whose catalogue is the largest',
    more: {
      connections: {
        microsoft: {
          provider: 'microsoft',
          client_id: 'bench',
          client_secret: 'bench-client-secret',
          scopes: ['Mail.Read'],
        },
      },
    },
    env: {},
  },
]

export const measureStarts = async (size: Size): Promise<Section> => {
  const plan = { trust: 'plain', people: 10, held: 10, operations: null } as const
  const kinds = await Promise.all(
    KINDS.map(async ({ name, more, env }, i) => {
      const { config } = await seed(join(size.folder, `starts-${i}`), plan, 'http://127.0.0.1:9')
      const whole = JSON.parse(readFileSync(config, 'utf8')) as object
      writeFileSync(config, JSON.stringify({ ...whole, ...more }))
      const all: Started[] = []
      return { name, config, env, all }
    }),
  )
  const rounds = size.quick ? 1 : 9
  // The first start of each leaves compiled code behind.
  if (!size.quick) for (const { config, env } of kinds) await starting(config, env)
  for (let i = 0; i < rounds; i++) {
    say(`starts: round ${i + 1} of ${rounds}`)
    for (const { config, env, all } of i % 2 === 0 ? kinds : kinds.toReversed())
      all.push(await starting(config, env))
  }
  const of = (all: readonly Started[], pick: keyof Started): number =>
    median(all.map((each) => each[pick]))
  const plain = kinds[0]?.all ?? []
  return {
    title: 'Starts by what is configured',
    columns: ['', 'start to ready (ms)', 'CPU of it (ms)', 'idle (MB)'],
    rows: kinds.map(({ name, all }) => [
      name,
      n(of(all, 'ms')),
      n(of(all, 'cpu')),
      n(of(all, 'mb')),
    ]),
    notes: [
      verdict(megabytes('resident memory, idle', of(plain, 'mb'), 120, 90)),
      verdict(target(' ms', 0, 'less')('start to ready', of(plain, 'ms'), 500, 250)),
      `medians of ${rounds} processes of each, in turns; load average ${n(loadavg()[0] ?? NaN, 1)}`,
      'all catalogues are there; a process reads those of its connections',
    ],
    wrong: [],
    skipped: [],
  }
}
