// Authorization servers that others wrote, each with a refresh habit of its own, and deputy as people run it in front.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Child } from '../support/deputy.ts'
import { postgres } from '../support/postgres.ts'
import { hydra } from '../support/servers/hydra.ts'
import { keycloak } from '../support/servers/keycloak.ts'
import { oidcProvider } from '../support/servers/oidc.ts'
import { EARLY, lifeOf, startWorld } from '../support/servers/world.ts'
import type { Passed, World } from '../support/servers/world.ts'

const until = (at: number): Promise<void> => sleep(Math.max(0, at - Date.now()))
const database = await postgres()
const noDatabase = 'absent' in database ? ` (SKIPPED: ${database.absent})` : ''

/** Each token was refreshed once, towards the end of its life, by what the answer before had brought: none lost, none twice. */
const expectOneChain = (chain: readonly Passed[]): void => {
  for (const [i, { sent, status, at }] of chain.entries()) {
    const before = i === 0 ? undefined : chain[i - 1]
    expect(status).toBe(200)
    expect(sent.get('refresh_token')).toBe(before?.answer['refresh_token'] ?? null)
    if (before !== undefined) expect(at - before.at).toBeGreaterThan(lifeOf(before) / 2)
  }
}
const tokenOf = (chain: readonly Passed[], kind: 'access_token' | 'refresh_token'): string =>
  String(chain.findLast(({ status }) => status === 200)?.answer[kind])

// The servers wait for their tokens to end at the same time.
describe.concurrent.each([hydra('5s'), hydra('0s'), keycloak, oidcProvider])(
  'deputy in front of $name',
  (kind) => {
    const skip = kind.missing === null ? '' : ` (SKIPPED: ${kind.missing})`
    const claim = test.skipIf(kind.missing !== null)
    let world: World
    let deputy: Child
    beforeAll(async () => {
      if (kind.missing !== null) return
      world = await startWorld(kind)
      deputy = await world.single()
    }, 300_000)
    afterAll(() => world?.close())
    /** Calls in turn for alice and for bob: each must be answered as the one it was for. */
    const crowd = async (of: readonly Child[], count: number, overMs = 0): Promise<void> => {
      const answers = await Promise.all(
        Array.from({ length: count }, async (_, i) => {
          await sleep((overMs * i) / count)
          const who = i % 2 === 0 ? 'alice' : 'bob'
          const from = of[Math.floor(i / 2) % of.length]
          if (from === undefined) return null
          const answer = await world.call(from, who)
          // On a busy machine deputy may say to come again; nothing was sent then.
          const again = answer.code === 'refresh_in_progress'
          return { of: who, ...(again ? await world.call(from, who) : answer) }
        }),
      )
      for (const answer of answers)
        expect(answer).toMatchObject({ status: 200, code: null, who: answer?.of })
    }
    const people = ['alice', 'bob']
    /** When the first, and when the last of their tokens ends. */
    const ends = (): readonly [number, number] => {
      const all = people.map((who) => world.endOf(who))
      return [Math.min(...all), Math.max(...all)]
    }
    const crowdAtTheEnd = async (of: readonly Child[], count: number): Promise<void> => {
      const [first, last] = ends()
      await until(first - 2_000)
      await crowd(of, count, last + 500 - Date.now())
    }

    claim(
      `people consent on its pages, and 50 calls while their tokens end make one token request a person${skip}`,
      { concurrent: false },
      async () => {
        for (const who of people) await world.consent(deputy, who)
        await crowd([deputy], 4)
        const token = tokenOf(world.chain('bob'), 'access_token')
        await crowdAtTheEnd([deputy], 50)
        // The servers count whole seconds.
        await sleep(1_000)
        expect(await world.server.introspect(token)).toMatchObject({ active: false })
        await until(ends()[1])
        await crowd([deputy], 50)
        for (const who of people) {
          expect(world.chain(who).length).toBeGreaterThanOrEqual(3)
          expectOneChain(world.chain(who))
        }
      },
    )

    claim(
      `a call in flight survives the refresh that another call makes${skip}`,
      { concurrent: false },
      async () => {
        const { server, api } = world
        await world.consent(deputy, 'alice', 'long')
        const old = tokenOf(world.chain('alice', 'long'), 'access_token')
        const gate = Promise.withResolvers<void>()
        api.gate.opens = gate.promise
        const flying = world.call(deputy, 'alice', 'long', '&held')
        // Not `expect.poll`: it belongs to a test that runs beside none.
        await vi.waitUntil(() => api.gate.waiting === 1, { timeout: 30_000 })
        // At the server the token lives on; deputy's definition says that it does not.
        await sleep(EARLY * 1_000)
        expect((await world.call(deputy, 'alice', 'long')).who).toBe('alice')
        const chain = world.chain('alice', 'long')
        expect(chain).toHaveLength(2)
        const { refreshKillsAccess } = server.habits
        expect((await server.introspect(old)).active).toBe(!refreshKillsAccess)
        gate.resolve()
        expect(await flying).toMatchObject({ status: 200, code: null, who: 'alice' })
        const sent = api.visits.filter(({ held }) => held).map(({ token }) => token)
        expect(sent).toEqual(refreshKillsAccess ? [old, tokenOf(chain, 'access_token')] : [old])
        expect(world.chain('alice', 'long')).toHaveLength(2)
      },
    )

    claim(
      `a refresh token that was spent behind deputy’s back is survived or asked for anew, and nobody else’s is used${skip}`,
      { concurrent: false },
      async () => {
        const { server, api } = world
        // A new token, so that nothing is under way; it ends well inside the grace.
        await until(world.endOf('bob'))
        await world.call(deputy, 'bob')
        await until(world.endOf('bob') - 200)
        const before = world.chain('bob').length
        const theirs = await world.spend(tokenOf(world.chain('bob'), 'refresh_token'))
        expect(theirs.status).toBe(200)
        await until(world.endOf('bob') + 500)
        const answers = await Promise.all(
          Array.from({ length: 10 }, () => world.call(deputy, 'bob')),
        )
        expect(world.chain('bob')).toHaveLength(before + 1)
        if (server.habits.reuse === 'survives') {
          for (const answer of answers) expect(answer).toMatchObject({ status: 200, who: 'bob' })
          await until(world.endOf('bob') + 500)
        } else {
          for (const answer of answers) expect(answer.code).toBe('reauthorization_required')
          // The family died, the successor that somebody else holds too.
          const successor = String(theirs.answer['access_token'])
          expect(await server.introspect(successor)).toMatchObject({ active: false })
          expect((await world.spend(String(theirs.answer['refresh_token']))).status).toBe(400)
          await world.consent(deputy, 'bob')
        }
        expect(await world.call(deputy, 'alice')).toMatchObject({ status: 200, who: 'alice' })
        expect(await world.call(deputy, 'bob')).toMatchObject({ status: 200, who: 'bob' })
        expect(api.visits.filter((one) => one.who !== null && one.who !== one.for)).toEqual([])
        expect(api.visits.map(({ token }) => token)).not.toContain(theirs.answer['access_token'])
      },
    )

    claim(
      `a person who disconnects is told \`revoked\`, and the server says so too${skip}`,
      { concurrent: false },
      async () => {
        expect((await world.call(deputy, 'alice')).who).toBe('alice')
        const chain = world.chain('alice')
        const access = tokenOf(chain, 'access_token')
        expect(await world.server.introspect(access)).toMatchObject({ active: true, who: 'alice' })
        await world.disconnect(deputy, 'alice', 'short')
        const told = deputy.evidence().filter(({ event }) => event === 'connection.disconnected')
        expect(told).toMatchObject([{ connection: 'short', result: 'revoked' }])
        expect(await world.server.introspect(access)).toMatchObject({ active: false })
        expect((await world.spend(tokenOf(chain, 'refresh_token'))).status).toBe(400)
        expect((await world.call(deputy, 'alice')).code).toBe('consent_required')
        expect(await world.call(deputy, 'bob')).toMatchObject({ status: 200, who: 'bob' })
      },
    )

    test.skipIf(kind.missing !== null || 'absent' in database)(
      `two deputies on one PostgreSQL with 100 callers go on in one chain${skip}${noDatabase}`,
      { concurrent: false },
      async () => {
        if ('absent' in database) throw new Error(database.absent)
        const pair = await world.pair(await database.fresh())
        const known = people.map((who) => world.chain(who).length)
        for (const who of people) await world.consent(pair[0], who)
        await crowd(pair, 8)
        world.slow(300)
        await until(ends()[1])
        await crowd(pair, 100)
        await crowdAtTheEnd(pair, 100)
        for (const [i, who] of people.entries()) {
          const chain = world.chain(who).slice(known[i])
          expect(chain.length).toBeGreaterThanOrEqual(3)
          expectOneChain(chain)
        }
      },
    )
  },
)
