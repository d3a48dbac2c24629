// `npm run kills -- --rounds 100 --seed 1`: on SQLite, then on PostgreSQL with two deputies; ends with 1 when a grant was lost.
import { parseArgs } from 'node:util'
import { startServer } from '../support/postgres.ts'
import { kill } from './kill.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    store: { type: 'string', default: 'both' },
  },
})
const tell = (line: string): void => void process.stdout.write(`${line}\n`)
const run = async (name: string, postgres: string | null): Promise<boolean> => {
  tell(`--- ${name}, seed ${values.seed}`)
  const options = { rounds: Number(values.rounds), seed: Number(values.seed), postgres, tell }
  const counts = await kill(options)
  tell(`${name}: ${JSON.stringify(counts, null, 2)}`)
  return counts.wrong === 0 && counts.lostOtherwise.length === 0
}

let good = true
if (values.store !== 'postgres') good = await run('SQLite', null)
if (values.store !== 'sqlite') {
  let stop = async (): Promise<void> => {}
  const { url } = await startServer((end) => void (stop = end))
  try {
    good = (await run('PostgreSQL, two deputies', url)) && good
  } finally {
    await stop()
  }
}
process.exitCode = good ? 0 : 1
