// Whom a workload acts for, remembered for a second and forgotten at once. test/consent/standing.test.ts has the calls.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Flow, Person, Principal, Store } from '../../proxy/model.ts'
import { Problem } from '../../proxy/problem.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { createStandingCare } from '../../proxy/consent/standing.ts'
import { createStandings } from '../../proxy/vault/standings.ts'

const DAY = 86_400_000
const person = (id: string): Person => ({ tenant: 'acme', realm: 'corp', id })
const by = { name: 'nightly', agent: 'triage' }
const quiet = () => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
let dir: string
let store: Store
let now: { ms: number }
let asked: number
let ended: string[]
let used: string[]
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'deputy-standings-'))
  store = await openSqlite(join(dir, 'deputy.db'))
  now = { ms: 1_000 }
  asked = 0
  ended = []
  used = []
})
afterEach(async () => {
  await store.close()
  rmSync(dir, { recursive: true })
})
const make = (prefix = '') => {
  let n = 0
  const counted: Store['standings'] = {
    ...store.standings,
    people: (...of) => {
      asked += 1
      return store.standings.people(...of)
    },
  }
  return createStandings({
    store: { standings: counted, publish: store.publish, subscribe: store.subscribe },
    clock: { now: () => now.ms, mono: () => now.ms },
    newId: () => `${prefix}s${(n += 1)}`,
    log,
    onEnded: (id) => void ended.push(id),
    onFirstUse: ({ id }) => void used.push(id),
  })
}
const give = (to: ReturnType<typeof make>, id: string, days: number, connection = 'github') =>
  to.give(
    { person: person(id), agent: 'triage', connection },
    { workload: 'nightly', days, operations: ['issues.create'] },
  )
const who = async (of: ReturnType<typeof make>, name = ''): Promise<Principal | string> => {
  try {
    return await of.verify(by, name)
  } catch (error) {
    return error instanceof Problem ? error.message : String(error)
  }
}

test('one person is known without a name, of several one by name, and a refusal names nobody', async () => {
  const standings = make()
  expect(await who(standings)).toMatch(/nobody lets this workload act/)
  await give(standings, 'alice', 30)
  await give(standings, 'alice', 30, 'slack')
  expect(await who(standings)).toMatchObject({
    person: person('alice'),
    agent: 'triage',
    verified: true,
    run: null,
  })
  await give(standings, 'bob', 30)
  expect(await who(standings)).toMatch(/^several people let this workload act/i)
  expect(await who(standings)).not.toMatch(/alice|bob/)
  expect(await who(standings, 'bob')).toMatchObject({ person: person('bob') })
  expect(await who(standings, 'mallory')).toMatch(/nobody of this name/)
  expect(await who(standings, 'a\u0000')).toMatch(/control characters/)
})

test('what is known is asked for once a second, stays one value, and an end is seen at once by every replica', async () => {
  const [here, there] = [make(), make('other-')]
  const row = await give(here, 'alice', 30)
  const first = await who(here)
  expect(await who(here)).toBe(first)
  expect(asked).toBe(1)
  now.ms += 1_001
  expect(await who(here)).toBe(first)
  expect(asked).toBe(2)
  await here.end(row.id)
  expect(ended).toContain(row.id)
  expect(ended.length).toBeGreaterThanOrEqual(2) // the other replica was told too
  expect(await who(here)).toMatch(/nobody/)
  expect(await who(there)).toMatch(/nobody/)
  expect(await here.end(row.id)).toBe(null)
})

test('it is shortened and never lengthened, ends by the clock, and its notice comes before that', async () => {
  const standings = make()
  const row = await give(standings, 'alice', 30)
  expect(row.noticeAt).toBe(row.expiresAt - 3 * DAY)
  expect(await standings.shorten(row, 31)).toBe(null)
  const shorter = await standings.shorten(row, 10)
  expect(shorter).toMatchObject({ expiresAt: 1_000 + 10 * DAY, noticeAt: 1_000 + 9 * DAY })
  now.ms = 1_000 + 10 * DAY - 1
  expect(await who(standings)).toMatchObject({ expiresAt: 1_000 + 10 * DAY })
  now.ms += 1
  expect(await who(standings)).toMatch(/nobody/)
  expect((await standings.sweep()).map(({ id }) => id)).toEqual([row.id])
  expect(ended).toContain(row.id)
})

test('the first use is told once', async () => {
  const standings = make()
  await give(standings, 'alice', 30)
  const principal = await standings.verify(by, '')
  for (let i = 0; i < 3; i += 1) standings.used(principal)
  await expect.poll(() => used).toEqual(['s1'])
  now.ms += 61_000
  standings.used(principal)
  await expect.poll(async () => (await standings.list({ id: 's1' }))[0]?.lastUsedAt).toBe(now.ms)
  expect(used).toEqual(['s1'])
})

test('what is ended while it is looked up is not given to the call, nor remembered; one that cannot be told ends here all the same', async () => {
  let release = (): void => undefined
  const held = new Promise<void>((resolve) => (release = resolve))
  let looking = false
  const of: Store['standings']['of'] = async (...all) => {
    const rows = await store.standings.of(...all)
    looking = true
    await held
    return rows
  }
  const standings = createStandings({
    store: {
      standings: { ...store.standings, of },
      publish: () => Promise.reject(new Error('away')),
      subscribe: store.subscribe,
    },
    clock: { now: () => now.ms, mono: () => now.ms },
    newId: () => 's1',
    log,
    onEnded: (id) => void ended.push(id),
    onFirstUse: quiet,
  })
  await give(standings, 'alice', 30)
  const asking = who(standings)
  await expect.poll(() => looking).toBe(true)
  expect(await standings.end('s1')).toMatchObject({ id: 's1' })
  release()
  expect(await asking).toMatch(/nobody lets this workload act/)
  expect(ended).toEqual(['s1'])
})

test('one that takes the place of another ends it first, and both are written down', async () => {
  const standings = make()
  const events: string[] = []
  const care = createStandingCare({
    standings,
    store: store.standings,
    clock: { now: () => now.ms, mono: () => now.ms },
    log,
    onEvent: (event) => Promise.resolve(void events.push(event)),
  })
  const yes = (days: number): Promise<void> =>
    care.lets({
      hash: 'h',
      person: person('alice'),
      agent: 'triage',
      connection: 'github',
      standing: { workload: 'nightly', days, operations: ['issues.create'] },
    } satisfies Partial<Flow> as unknown as Flow)
  await yes(30)
  await yes(10)
  expect(events).toEqual(['standing.granted', 'standing.ended', 'standing.granted'])
  expect(new Set(ended)).toEqual(new Set(['s1']))
  expect(await standings.list({ user: 'alice' })).toMatchObject([{ id: 's2' }])
})
