// A short form of `npm run kills`.
import { describe, expect, test } from 'vitest'
import { kill } from '../kills/kill.ts'
import { hydra } from '../support/servers/hydra.ts'
import { postgres } from '../support/postgres.ts'

const { missing } = hydra('0s')
const database = await postgres()
const absent = 'absent' in database ? database.absent : null
describe.each([
  { name: 'one deputy on SQLite', lacking: missing, store: async () => null },
  {
    name: 'two deputies on PostgreSQL',
    lacking: missing ?? absent,
    store: async () => ('absent' in database ? null : database.fresh()),
  },
])('$name', ({ lacking, store }) => {
  test.skipIf(lacking !== null)(
    `five kills at random moments of a refresh lose no grant but by an answer that never came${lacking === null ? '' : ` (SKIPPED: ${lacking})`}`,
    { timeout: 600_000 },
    async () => {
      const options = { rounds: 5, seed: 5, postgres: await store(), tell: () => {} }
      const counts = await kill(options)
      expect(counts).toMatchObject({ kills: 5, wrong: 0, lostOtherwise: [] })
      expect(counts.rotations).toBeGreaterThan(5)
    },
  )
})
