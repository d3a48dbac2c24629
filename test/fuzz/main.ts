// `npm run fuzz -- --minutes 10 --seed 1`: the differential test for as long as asked, with a line a round. Exit status 1
// if anything differed. Loopback only.
import { parseArgs } from 'node:util'
import { startBench, sum, type Figures } from './differential.ts'

const ROUND = 500

const { values: flags } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
  },
})
const counted = (counts: Readonly<Record<string, number>>, of: string): string =>
  Object.entries(counts)
    .map(([name, count]) => `, ${count} ${of} ${name}`)
    .join('')
const line = ({ requests, refused, identical, ways, differing, unread }: Figures): string =>
  `${requests} requests, ${refused} refused, ${identical} identical, ${differing.length} differing${counted(ways, 'identical by')}${counted(unread, 'not taken by')}`

const bench = await startBench()
let all: Figures = { requests: 0, refused: 0, identical: 0, ways: {}, unread: {}, differing: [] }
try {
  const end = Date.now() + Number(flags.minutes) * 60_000
  process.stdout.write(`compared with ${bench.servers.join(', ')}\n`)
  for (const name of bench.lacking)
    process.stdout.write(`SKIPPED: ${name} is not on this machine\n`)
  for (let seed = Number(flags.seed); Date.now() < end; seed++) {
    const one = await bench.run(seed, ROUND)
    all = sum(all, one)
    process.stdout.write(`seed ${seed}: ${line(one)}\n`)
    for (const what of one.differing.slice(0, 5)) process.stdout.write(`  DIFFERS: ${what}\n`)
  }
} finally {
  await bench.close()
}
process.stdout.write(`${line(all)}\n`)
process.exit(all.differing.length > 0 || all.requests === 0 ? 1 : 0)
