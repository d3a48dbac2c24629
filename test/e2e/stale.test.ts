// Nothing leaves on a decision older than a second: a call that waited long for its token is decided again.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { startDeputy, type Deputy } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let deputy: Deputy
/** The token endpoint has been asked; it answers after `go`. */
let asked: Promise<void>
let go: () => void

beforeAll(async () => {
  upstream = await startUpstream()
  for (const person of ['alice', 'bob']) upstream.people.set(`at-${person}-0123456789`, person)
})
afterAll(() => upstream.close())
const begin = async (): Promise<void> => {
  const [reached, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  asked = reached.promise
  go = released.resolve
  upstream.seen.length = 0
  upstream.token = async (_form, res) => {
    reached.resolve()
    await released.promise
    res.writeHead(200, { 'content-type': 'application/json' }).end(
      JSON.stringify({
        access_token: 'at-alice-0123456789',
        refresh_token: 'rt-alice-2',
        token_type: 'bearer',
        expires_in: 3600,
      }),
    )
  }
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: [
      {
        person: 'alice',
        token: 'at-alice-over-0123456789',
        refresh: 'rt-alice-1',
        expiresIn: 1,
        agedMs: 600_000,
      },
      { person: 'bob', token: 'at-bob-0123456789' },
    ],
  })
}
afterEach(() => deputy.close())

const call = (person: string): Promise<Response> =>
  fetch(`${deputy.agent}/api.acme.test/notes`, { headers: { 'deputy-user': person } })
const codeOf = async (person: string) => (await call(person)).headers.get('deputy-answer')
/** Of alice: decisions in order, and how her call ended. */
const records = (): readonly unknown[] =>
  deputy
    .evidence()
    .filter(({ event, user }) => event === 'decision' && (user as { id: string }).id === 'alice')
    .map(({ n, decision }) => [n, (decision as { effect: string }).effect])
const outcomes = (): number =>
  deputy.evidence().filter(({ event, exchange }) => {
    const own = deputy.evidence().find((line) => line.event === 'decision' && line['n'] === 1)
    return event === 'outcome' && exchange === own?.['exchange']
  }).length

test('what was withdrawn meanwhile ends the call', async () => {
  await begin()
  const waiting = call('alice')
  await asked
  // She stays, without her groups: who leaves is cut off at once, before anything is decided again.
  const people = [{ id: 'alice', groups: [] }]
  writeFileSync(join(deputy.dir, 'people.yaml'), JSON.stringify({ people }))
  await expect.poll(() => codeOf('bob')).toBe('policy_denied')
  await pause(1_001) // the decision was made before the token endpoint was asked
  upstream.seen.length = 0
  go()
  const answer = await waiting
  expect([answer.status, answer.headers.get('deputy-answer')]).toEqual([403, 'policy_denied'])
  expect(upstream.seen).toEqual([])
  expect(records()).toEqual([
    [1, 'allow'],
    [2, 'deny'],
  ])
})

test('what is still allowed goes on, once, and the evidence has both decisions', async () => {
  await begin()
  const waiting = call('alice')
  await asked
  await pause(1_001)
  go()
  expect((await waiting).status).toBe(200)
  expect(upstream.seen.map(({ who }) => who)).toEqual(['alice'])
  expect(records()).toEqual([
    [1, 'allow'],
    [2, 'allow'],
  ])
  await expect.poll(outcomes).toBe(1)
})

test('a fresh decision is not asked for again', async () => {
  await begin()
  expect((await call('bob')).status).toBe(200)
  const decided = deputy.evidence().filter(({ event }) => event === 'decision')
  expect(decided.map(({ n }) => n)).toEqual([1])
})
