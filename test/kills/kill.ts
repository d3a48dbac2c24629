// Kills a deputy that refreshes, again and again, at moments that a seed says, and asks of each grant that is lost why.
import { setTimeout as sleep } from 'node:timers/promises'
import { startChild } from '../support/deputy.ts'
import type { Child } from '../support/deputy.ts'
import { hydra } from '../support/servers/hydra.ts'
import { startWorld } from '../support/servers/world.ts'
import type { Passed, World } from '../support/servers/world.ts'

export type Options = {
  readonly rounds: number
  readonly seed: number
  /** URL of an empty PostgreSQL: two deputies on it; null: one on SQLite. */
  readonly postgres: string | null
  readonly tell: (line: string) => void
}
export type Counts = {
  readonly kills: number
  readonly calls: number
  readonly rotations: number
  /** Answered as somebody else. */
  readonly wrong: number
  /** The answer to a rotation was under way to a process that was killed; the server takes no refresh token twice. */
  readonly lostOnTheWire: number
  /** The answer had just come to it; nobody had been served with it. */
  readonly lostBeforeStored: number
  /** Any other grant whose person was asked again, and what was seen of it. */
  readonly lostOtherwise: readonly string[]
  /** Answers that were neither: how often each code came. */
  readonly codes: Readonly<Record<string, number>>
}

const PEOPLE = Array.from({ length: 6 }, (_, i) => `person-${i}`)
/** As the definition says it, s: each person is refreshed about once in it. */
const LIFE = 3
const CALLERS = 2
const PAUSE_MS = 200

/** Park and Miller, 1988. Each number is from 0 to 1. */
const randomOf = (seed: number): (() => number) => {
  let state = (seed % 2_147_483_646) + 1
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
}

/** An answer that a process had this long, ms, must have been stored: it serves no caller before. */
const STORED_MS = 1_000

type Lost = { readonly who: string; readonly last: Passed | null }
/**
 * Why a grant was lost. What was refused had been spent by an earlier request: if its process was killed before the
 * answer was there, or before it was stored, the protocol has no way back. Anything else is a fault, and is told.
 */
const causeOf = (world: World, { who, last }: Lost, kills: readonly number[]): string => {
  const chain = world.chain(who, 'long')
  const refused = last?.sent.get('refresh_token') ?? null
  // Without one it was a code that was spent: a consent is as easily lost as a rotation.
  const spent =
    refused === null
      ? last
      : chain.find((one) => one.status === 200 && one.sent.get('refresh_token') === refused)
  if (spent === null || spent === undefined || spent.status !== 200)
    return `${who}: what was refused was never spent: ${chain.map(({ status, sent }) => `${sent.get('grant_type')} ${status}`).join(', ')}`
  const brought = spent.answer['access_token']
  if (world.api.visits.some(({ token }) => token === brought))
    return `${who}: what the rotation had brought was used already`
  const killed = kills.find((at) => at >= spent.asked)
  if (killed === undefined) return `${who}: nobody was killed since the rotation`
  if (spent.handed === null || killed <= spent.handed) return 'wire'
  const after = killed - spent.handed
  return after < STORED_MS ? 'store' : `${who}: killed ${after} ms after it had the answer`
}

/** People who call without a pause, and who consent anew when they are asked to. `deputies` changes under them. */
const createCrowd = (world: World, deputies: readonly Child[]) => {
  const codes: Record<string, number> = {}
  const losses: Lost[] = []
  const counts = { calls: 0, wrong: 0 }
  const state = { over: false }
  /** Who has a grant that works, as far as is known since the last kill. */
  const served = new Set<string>()
  const mending = new Set<string>()
  const deputyOf = (index: number): Child => {
    const deputy = deputies[index % deputies.length]
    if (deputy === undefined) throw new Error('no deputy was started')
    return deputy
  }
  const works = async (who: string): Promise<boolean> =>
    (await world.call(deputyOf(0), who, 'long').catch(() => null))?.status === 200
  /** The deputy of the pages may be killed under it. */
  const consent = async (who: string): Promise<void> => {
    while (!state.over && !(await works(who)))
      await world.consent(deputyOf(0), who, 'long').catch(() => sleep(100))
  }
  const lost = async (who: string): Promise<void> => {
    if (await works(who)) return // mended since
    mending.add(who)
    losses.push({ who, last: world.chain(who, 'long').at(-1) ?? null })
    await consent(who)
    mending.delete(who)
  }
  /** One after the other, so that a lost grant is seen, and mended, once. */
  const person = async (who: string): Promise<void> => {
    let asked: Promise<void> | null = null
    const caller = async (index: number): Promise<void> => {
      while (!state.over) {
        const answer = await world.call(deputyOf(index), who, 'long').catch(() => null)
        if (answer === null) {
          await sleep(50) // it is being killed, or started
          continue
        }
        counts.calls += 1
        if (answer.status === 200) {
          if (answer.who !== who) counts.wrong += 1
          served.add(who)
          await sleep(PAUSE_MS)
          continue
        }
        const code = answer.code ?? String(answer.status)
        codes[code] = (codes[code] ?? 0) + 1
        if (code === 'reauthorization_required') {
          asked ??= lost(who).finally(() => (asked = null))
          await asked
        } else await sleep(100)
      }
    }
    await Promise.all(Array.from({ length: CALLERS }, (_, i) => caller(i)))
  }
  return {
    codes,
    losses,
    counts,
    served,
    consent,
    /** A process that has refreshed nobody yet is worth no kill. */
    busy: async (): Promise<void> => {
      while (mending.size > 0 || served.size < PEOPLE.length / 2) await sleep(20)
    },
    call: async (): Promise<unknown> => Promise.all(PEOPLE.map(person)),
    end: (): void => void (state.over = true),
  }
}

/** Rejects when the server or a deputy does not start. */
export const kill = async (options: Options): Promise<Counts> => {
  const random = randomOf(options.seed)
  const world = await startWorld(hydra('0s'), PEOPLE, LIFE)
  const deputies: Child[] = []
  const crowd = createCrowd(world, deputies)
  const { codes, losses, counts } = crowd
  const kills: number[] = []
  const murder = async (): Promise<void> => {
    for (let round = 1; round <= options.rounds; round += 1) {
      await crowd.busy()
      await sleep(random() * LIFE * 1_000)
      const index = Math.floor(random() * deputies.length)
      const [victim] = deputies.slice(index)
      if (victim === undefined) throw new Error('nobody is there to be killed')
      kills.push(Date.now())
      await victim.kill()
      crowd.served.clear()
      deputies[index] = await startChild({ upstream: world.api.url }, victim.dir)
      if (round % 5 === 0)
        options.tell(`${round} kills, ${counts.calls} calls, ${losses.length} lost`)
    }
    // Whoever is left has time to find out.
    await sleep(15_000)
  }
  try {
    const { postgres } = options
    deputies.push(...(postgres === null ? [await world.single()] : await world.pair(postgres)))
    for (const who of PEOPLE) await crowd.consent(who)
    world.slow(50)
    await Promise.all([crowd.call(), murder().finally(crowd.end)])
    const rotations = PEOPLE.flatMap((who) => world.chain(who, 'long')).filter(
      ({ sent, status }) => status === 200 && sent.get('grant_type') === 'refresh_token',
    )
    const causes = losses.map((one) => causeOf(world, one, kills))
    return {
      ...counts,
      kills: kills.length,
      rotations: rotations.length,
      lostOnTheWire: causes.filter((cause) => cause === 'wire').length,
      lostBeforeStored: causes.filter((cause) => cause === 'store').length,
      lostOtherwise: causes.filter((cause) => cause !== 'wire' && cause !== 'store'),
      codes,
    }
  } finally {
    crowd.end()
    for (const deputy of deputies) await deputy.stop()
    await world.close()
  }
}
