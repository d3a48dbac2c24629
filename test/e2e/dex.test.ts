// Dex ends a grant in words of its own: nobody is locked out by them, and nobody gets another's answer.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Child } from '../support/deputy.ts'
import { dex } from '../support/servers/dex.ts'
import { startWorld } from '../support/servers/world.ts'
import type { World } from '../support/servers/world.ts'

const skip = dex.missing === null ? '' : ` (SKIPPED: ${dex.missing})`
const claim = test.skipIf(dex.missing !== null)
const PEOPLE = ['alice', 'bob'] as const
let world: World
let deputy: Child
beforeAll(async () => {
  if (dex.missing !== null) return
  world = await startWorld(dex)
  deputy = await world.single()
}, 300_000)
afterAll(() => world?.close())

const ended = (who: string): Promise<void> =>
  sleep(Math.max(0, world.endOf(who) + 1_000 - Date.now()))
const crowd = async (count: number): Promise<void> => {
  const whose = Array.from({ length: count }, (_, i) => PEOPLE[i % 2] ?? 'alice')
  const answers = await Promise.all(whose.map((who) => world.call(deputy, who)))
  expect(answers.map(({ status, who }) => [status, who])).toEqual(whose.map((who) => [200, who]))
}

claim(
  `150 calls of two people over three lives of their tokens: each as its own person, one refresh a life${skip}`,
  async () => {
    for (const who of PEOPLE) await world.consent(deputy, who)
    for (let life = 1; life <= 3; life += 1) {
      await crowd(50)
      for (const who of PEOPLE) expect(world.chain(who)).toHaveLength(life)
      if (life < 3) for (const who of PEOPLE) await ended(who)
    }
    for (const who of PEOPLE)
      for (const [i, { sent, status }] of world.chain(who).entries()) {
        expect(status).toBe(200)
        const before = world.chain(who)[i - 1]?.answer['refresh_token'] ?? null
        expect(sent.get('refresh_token')).toBe(before)
      }
  },
  120_000,
)

claim(
  `a refresh token that it calls claimed by another client leads to a link, and a consent heals it${skip}`,
  async () => {
    const token = String(world.chain('bob').at(-1)?.answer['refresh_token'])
    expect((await world.spend(token)).status).toBe(200)
    for (const who of PEOPLE) await ended(who)
    // That the others' grants are refreshed shows that the refusal is of this one.
    expect(await world.call(deputy, 'alice')).toMatchObject({ status: 200, who: 'alice' })
    const refused = await world.call(deputy, 'bob')
    expect(world.chain('bob').at(-1)).toMatchObject({
      status: 400,
      answer: { error: 'invalid_request' },
    })
    expect(refused.code).toBe('reauthorization_required')
    expect(refused.url).toContain('/connect/')
    await world.consent(deputy, 'bob')
    expect(await world.call(deputy, 'bob')).toMatchObject({ status: 200, who: 'bob' })
    expect(await world.call(deputy, 'alice')).toMatchObject({ status: 200, who: 'alice' })
    expect(world.api.visits.filter((one) => one.who !== one.for)).toEqual([])
  },
  120_000,
)
