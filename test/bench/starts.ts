// What a start and an idle process cost by what is configured: processes of each kind in turns, each started alone.
import { readFileSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { say, type Size } from './calls.ts'
import { starting } from './memory.ts'
import { median, n, type Section } from './report.ts'
import { seed } from './seed.ts'

type Started = Awaited<ReturnType<typeof starting>>
/** Members that the configuration has beside those of every bench. */
const KINDS: Readonly<Record<string, object>> = {
  'GitHub, no tools': {},
  'GitHub, an endpoint of 40 tools or fewer': {
    tools: { endpoints: [{ path: '/mcp', tools: ['Github.*'] }] },
  },
  'Microsoft, whose catalogue is the largest': {
    connections: {
      microsoft: {
        provider: 'microsoft',
        client_id: 'bench',
        client_secret: 'bench-client-secret',
        scopes: ['Mail.Read'],
      },
    },
  },
}

export const measureStarts = async (size: Size): Promise<Section> => {
  const plan = { trust: 'plain', people: 10, held: 10, operations: null } as const
  const kinds: { readonly name: string; readonly config: string; readonly all: Started[] }[] = []
  for (const [i, [name, more]] of Object.entries(KINDS).entries()) {
    const { config } = await seed(join(size.folder, `starts-${i}`), plan, 'http://127.0.0.1:9')
    const whole = JSON.parse(readFileSync(config, 'utf8')) as object
    writeFileSync(config, JSON.stringify({ ...whole, ...more }))
    kinds.push({ name, config, all: [] })
  }
  const rounds = size.quick ? 1 : 9
  // The first start of each leaves compiled code behind.
  for (const { config } of kinds) await starting(config, {})
  for (let i = 0; i < rounds; i++) {
    say(`starts: round ${i + 1} of ${rounds}`)
    for (const { config, all } of i % 2 === 0 ? kinds : kinds.toReversed())
      all.push(await starting(config, {}))
  }
  const of = (all: readonly Started[], pick: keyof Started): string =>
    n(median(all.map((each) => each[pick])))
  return {
    title: 'Starts by what is configured',
    columns: ['', 'start to ready (ms)', 'CPU of it (ms)', 'idle (MB)'],
    rows: kinds.map(({ name, all }) => [name, of(all, 'ms'), of(all, 'cpu'), of(all, 'mb')]),
    notes: [
      `medians of ${rounds} processes of each, in turns; load average ${n(loadavg()[0] ?? NaN, 1)}`,
      'all catalogues are there; a process reads those of its connections',
    ],
    wrong: [],
    skipped: [],
  }
}
