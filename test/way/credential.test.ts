// A grant of which its provider never said that it ended is tried again before its person is asked.
import { expect, test } from 'vitest'
import type { Connection, Holding } from '../../proxy/model.ts'
import { Problem } from '../../proxy/problem.ts'
import { lookAgain } from '../../proxy/way/credential.ts'

const ALICE = { tenant: 'default', realm: 'local', id: 'alice' }
const doubtful = (retryAt: number | null): Holding => ({
  kind: 'held',
  credential: 'c1',
  account: 'alice',
  generation: 4,
  status: retryAt === null ? 'active' : 'needs_reauth',
  ...(retryAt === null ? {} : { retryAt }),
  scopes: ['notes'],
  granted: ['notes'],
})
const look = (holdings: Holding[], refused: Error | null = null) => {
  const asked: unknown[] = []
  const again = lookAgain({
    look: () => holdings.shift() ?? { kind: 'none' },
    fresh: async (credential, _connection, want) => {
      asked.push([credential, want])
      if (refused !== null) throw refused
      throw new Problem('credential_unavailable', 'the answer is not read here')
    },
    connections: () => new Map([['acme', {} as Connection]]),
    now: () => 1_000,
  })
  return { asked, holding: () => again(ALICE, 'acme', 'laptop') }
}

test('whose time has come is refreshed once more, and what the vault holds then counts', async () => {
  const { asked, holding } = look([doubtful(1_000), doubtful(null)])
  expect(await holding()).toMatchObject({ status: 'active' })
  expect(asked).toEqual([['c1', { minGeneration: 5, agent: 'laptop' }]])
})
test.each([
  ['before its time', doubtful(1_001)],
  ['that is active', doubtful(null)],
  ['of nothing', { kind: 'none' } as const],
])('a look %s asks nobody', async (_name, found) => {
  const { asked, holding } = look([found])
  expect(await holding()).toBe(found)
  expect(asked).toEqual([])
})
test('what is no problem document is a fault of ours, and is not swallowed', async () => {
  const { holding } = look([doubtful(0), doubtful(0)], new TypeError('bug'))
  await expect(holding()).rejects.toThrow('bug')
})
