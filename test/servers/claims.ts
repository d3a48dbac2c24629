// What deputy must do in front of any authorization server, with three people whose tokens rotate.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Child } from '../support/deputy.ts'
import type { Kind } from '../support/servers/server.ts'
import { lifeOf, startWorld } from '../support/servers/world.ts'
import type { Passed, World } from '../support/servers/world.ts'

const PEOPLE = ['alice', 'bob', 'carol'] as const
const CALLS = 50
const LIVES = 3

/**
 * @param refusal what it says to the refresh token of a grant that has ended
 * @param rotates a refresh token is taken once
 */
export const claims = (
  kind: Kind,
  refusal: { readonly status: number; readonly error: string },
  rotates = true,
): void => {
  const skip = kind.missing === null ? '' : ` (SKIPPED: ${kind.missing})`
  const claim = test.skipIf(kind.missing !== null)
  let world: World
  let deputy: Child
  // What a claim that failed leaves to read.
  beforeEach(({ onTestFailed }) =>
    onTestFailed(() => void process.stderr.write(deputy?.logged() ?? '')),
  )
  beforeAll(async () => {
    if (kind.missing !== null) return
    world = await startWorld(kind, PEOPLE)
    deputy = await world.single()
  }, 300_000)
  afterAll(() => world?.close())

  const ended = async (): Promise<void> => {
    const last = Math.max(...PEOPLE.map((who) => world.endOf(who)))
    await sleep(Math.max(0, last + 1_000 - Date.now()))
  }
  const crowd = async (): Promise<number> => {
    const whose = Array.from({ length: CALLS }, (_, i) => PEOPLE[i % PEOPLE.length] ?? '')
    const answers = await Promise.all(
      whose.map(async (who) => {
        // On a busy machine deputy may say to come again.
        for (;;) {
          const answer = await world.call(deputy, who)
          if (answer.code !== 'refresh_in_progress') return answer
          await sleep(1_000)
        }
      }),
    )
    expect(answers.map(({ status, who }) => [status, who])).toEqual(whose.map((who) => [200, who]))
    return answers.length
  }
  /** What it has said so far, the newest refresh token last; some say it once. */
  const newest = (passed: readonly Passed[]): string | null =>
    (passed.findLast(({ answer }) => 'refresh_token' in answer)?.answer['refresh_token'] ??
      null) as string | null
  /** Each token was refreshed by what the answers before had brought, and not before its end came near. */
  const expectOneChain = (who: string): void => {
    const chain = world.chain(who)
    for (const [i, one] of chain.entries()) {
      expect(one.status).toBe(200)
      expect(one.sent.get('refresh_token')).toBe(newest(chain.slice(0, i)))
      const before = chain[i - 1]
      if (before !== undefined) expect(one.at - before.at).toBeGreaterThan(lifeOf(before) / 2)
    }
  }
  /** Bob alone is sent to a link, goes there, and is served again. */
  const heals = async (): Promise<void> => {
    // That the others' grants are refreshed shows that the refusal is of this one.
    for (const who of ['alice', 'carol'])
      expect(await world.call(deputy, who)).toMatchObject({ status: 200, who })
    const refused = await world.call(deputy, 'bob')
    const { status, error } = refusal
    expect(world.chain('bob').at(-1)).toMatchObject({ status, answer: { error } })
    expect(refused.code).toBe('reauthorization_required')
    expect(refused.url).toContain('/connect/')
    await world.consent(deputy, 'bob')
    for (const who of PEOPLE)
      expect(await world.call(deputy, who)).toMatchObject({ status: 200, who })
    expect(world.api.visits.filter((one) => one.who !== null && one.who !== one.for)).toEqual([])
  }

  claim(
    `${kind.name}: 150 calls of three people over three lives of their tokens, each as its own person, one refresh at a time${skip}`,
    async () => {
      for (const who of PEOPLE) await world.consent(deputy, who)
      let right = 0
      for (let life = 1; life <= LIVES; life += 1) {
        right += await crowd()
        for (const who of PEOPLE) {
          expect(world.chain(who).length).toBeGreaterThanOrEqual(life)
          expectOneChain(who)
        }
        if (life < LIVES) await ended()
      }
      expect(right).toBe(CALLS * LIVES)
    },
  )

  test.skipIf(kind.missing !== null || !rotates)(
    `${kind.name}: a refresh token that somebody else spent leads to a link, and a consent heals it${skip}`,
    async () => {
      expect((await world.spend(String(newest(world.chain('bob'))))).status).toBe(200)
      await ended()
      await heals()
    },
  )

  claim(
    `${kind.name}: a grant that was withdrawn at the server leads to a link, and a consent heals it${skip}`,
    async () => {
      await world.withdraw(String(newest(world.chain('bob'))))
      await ended()
      await heals()
    },
  )
}
