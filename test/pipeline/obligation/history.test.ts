import { afterEach, describe, expect, test } from 'vitest'
import type {
  CallHistory,
  Decision,
  HistoryAsk,
  HistoryEntry,
  HistoryStore,
  PolicyEngine,
  Principal,
  Store,
} from '../../../proxy/model.ts'
import type { Act } from '../../../proxy/pipeline/classify.ts'
import { decideEach, type Question } from '../../../proxy/pipeline/decide.ts'
import {
  createHistory,
  type Following,
  type History,
} from '../../../proxy/pipeline/obligation/history.ts'
import type { Verdict } from '../../../proxy/pipeline/request.ts'
import { kinds } from '../../support/postgres.ts'

const clock = { now: () => Date.now(), mono: () => performance.now() }
const ask: HistoryAsk = { windows: [60], counts: (id) => id.startsWith('mail.') }
const alice = (more: object = {}): Principal =>
  ({
    person: { tenant: 'acme', realm: 'corp', id: 'alice' },
    agent: 'triage',
    run: null,
    ...more,
  }) as Principal
const following = (principal = alice(), ...operations: readonly string[]): Following => ({
  call: {},
  principal,
  provider: 'google',
  acts: (operations.length === 0 ? ['mail.send'] : operations).map(
    (id) => ({ operation: { id } }) as Act,
  ),
})
const counted = (entries: readonly HistoryEntry[]): number =>
  entries.reduce((sum, { count }) => sum + count, 0)
const verdict = (effect: Decision['effect']): Verdict => ({ decision: { effect } }) as Verdict
/** At most so many in the window: as a row says it. */
const atMost =
  (most: number, of: 'person' | 'run' = 'person') =>
  (history: CallHistory): Verdict =>
    verdict(counted(history[of]) < most ? 'allow' : 'deny')
const effects = async (all: readonly Promise<Verdict>[]): Promise<readonly string[]> =>
  (await Promise.all(all)).map(({ decision }) => decision.effect)
const times = <T>(n: number, make: (i: number) => T): readonly T[] =>
  Array.from({ length: n }, (_, i) => make(i))

describe.each(await kinds())('history with the $name store', ({ place, skip, ownClock }) => {
  if (skip) return test.skip('is not here')
  const stores: Store[] = []
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close()
  })
  const replicas = async (): Promise<readonly [History, History]> => {
    const at = await place()
    const of = async (): Promise<Store> => {
      const store = await at.open()
      stores.push(store)
      return store
    }
    const first = await of()
    const second = ownClock ? await of() : first
    const history = ({ history: own }: Store): History =>
      createHistory({ history: own, clock, keeps: true })
    return [history(first), history(second)]
  }

  test('of calls at the same time, at two replicas, no more are allowed than a row says', async () => {
    const both = await replicas()
    const all = await Promise.allSettled(
      times(30, (i) => (i % 2 === 0 ? both[0] : both[1]).deciding(following(), ask, atMost(3))),
    )
    const allowed = all.filter(
      (one) => one.status === 'fulfilled' && one.value.decision.effect === 'allow',
    )
    expect(allowed).toHaveLength(3)
    for (const one of all)
      if (one.status === 'rejected')
        expect(one.reason).toMatchObject({ code: 'limits_unavailable' })
  })

  test('a call that is decided anew is counted once, and by what came before it', async () => {
    const [history] = await replicas()
    const call = following()
    for (let n = 0; n < 3; n++)
      expect(await effects([history.deciding(call, ask, atMost(1))])).toEqual(['allow'])
    expect(await effects([history.deciding(following(), ask, atMost(1))])).toEqual(['deny'])
    expect(await effects([history.deciding(following(), ask, atMost(2))])).toEqual(['allow'])
  })

  test('what is refused, what waits for its person and what no row counts is not counted; parts are, each', async () => {
    const [history] = await replicas()
    for (const effect of ['deny', 'consent_required', 'error'] as const)
      await history.deciding(following(), ask, () => verdict(effect))
    await history.deciding(following(alice(), 'issues.list'), ask, () => verdict('allow'))
    await history.deciding(
      following(alice(), 'mail.send', 'mail.send', 'mail.draft', 'x'),
      ask,
      () => verdict('allow'),
    )
    const seen: CallHistory[] = []
    await history.deciding(following(), ask, (until) => {
      seen.push(until)
      return verdict('deny')
    })
    expect(seen[0]?.person).toMatchObject([
      { provider: 'google', operation: 'mail.draft', count: 1 },
      { provider: 'google', operation: 'mail.send', count: 2 },
    ])
  })

  test('a run has its own beside its person’s, and other people have theirs', async () => {
    const [history] = await replicas()
    const run = alice({ run: 'run-1' })
    expect(await effects([history.deciding(following(run), ask, atMost(1, 'run'))])).toEqual([
      'allow',
    ])
    expect(await effects([history.deciding(following(run), ask, atMost(1, 'run'))])).toEqual([
      'deny',
    ])
    const second = alice({ run: 'run-2' })
    expect(await effects([history.deciding(following(second), ask, atMost(1, 'run'))])).toEqual([
      'allow',
    ])
    expect(await effects([history.deciding(following(), ask, atMost(2))])).toEqual(['deny'])
    for (const other of [{ tenant: 'x' }, { realm: 'x' }, { id: 'x' }]) {
      const person = { ...alice().person, ...other }
      expect(
        await effects([history.deciding(following(alice({ person })), ask, atMost(1))]),
      ).toEqual(['allow'])
    }
  })
})

const store = (more: Partial<HistoryStore> = {}): HistoryStore => ({
  read: () => Promise.resolve({ version: 0, person: [], run: [] }),
  add: () => Promise.resolve(true),
  ...more,
})

test('a store that fails to tell or to keep lets nobody through, and the next call is decided', async () => {
  let fails = true
  const failing = <T>(value: T) =>
    fails ? Promise.reject(new Error('cut')) : Promise.resolve(value)
  for (const more of [
    { read: () => failing({ version: 0, person: [], run: [] }) },
    { add: () => failing(true) },
    { add: () => Promise.resolve(!fails) },
  ]) {
    fails = true
    const { deciding } = createHistory({ history: store(more), clock, keeps: true })
    const decide = (): Promise<Verdict> => deciding(following(), ask, () => verdict('allow'))
    await expect(decide()).rejects.toMatchObject({ code: 'limits_unavailable' })
    fails = false
    expect(await effects([decide()])).toEqual(['allow'])
  }
})

test('what fails while it is decided is that failure, and nobody behind it waits for ever', async () => {
  const { deciding } = createHistory({ history: store(), clock, keeps: true })
  const first = deciding(following(), ask, () => Promise.reject(new Error('no facts')))
  const second = deciding(following(), ask, () => verdict('allow'))
  await expect(first).rejects.toThrow('no facts')
  expect(await effects([second])).toEqual(['allow'])
})

test('whoever waits too long for a turn is refused; a plan is decided and not counted', async () => {
  let [ms, added] = [0, 0]
  const slow = { now: () => 0, mono: () => ms }
  const add = (): Promise<boolean> => {
    ms += 6_000
    added++
    return Promise.resolve(true)
  }
  const { deciding } = createHistory({ history: store({ add }), clock: slow, keeps: true })
  const both = times(2, () => deciding(following(), ask, () => verdict('allow')))
  expect((await Promise.allSettled(both)).map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
  ])
  const plan = createHistory({ history: store({ add }), clock: slow, keeps: false })
  expect(await effects([plan.deciding(following(), ask, () => verdict('allow'))])).toEqual([
    'allow',
  ])
  expect(added).toBe(1)
})

test('a turn may be waited for five seconds', async () => {
  let ms = 0
  const add = (): Promise<boolean> => {
    ms += 5_000
    return Promise.resolve(true)
  }
  const slow = { now: () => 0, mono: () => ms }
  const { deciding } = createHistory({ history: store({ add }), clock: slow, keeps: true })
  const both = times(2, () => deciding(following(), ask, () => verdict('allow')))
  expect(await effects(both)).toEqual(['allow', 'allow'])
})

test('for a call that no row counts nothing is written', async () => {
  const add = (): Promise<never> => Promise.reject(new Error('nothing is written'))
  const { deciding } = createHistory({ history: store({ add }), clock, keeps: true })
  const list = following(alice(), 'issues.list')
  expect(await effects([deciding(list, ask, () => verdict('allow'))])).toEqual(['allow'])
})

test('calls of one person take turns, also those that come while others have theirs', async () => {
  const { deciding } = createHistory({ history: store(), clock, keeps: true })
  let [now, most] = [0, 0]
  const decide = (): Promise<Verdict> =>
    deciding(following(), ask, async () => {
      most = Math.max(most, ++now)
      await new Promise(setImmediate)
      now--
      return verdict('allow')
    })
  const two = times(2, decide)
  await two[0]
  expect(await effects([...two, decide()])).toEqual(['allow', 'allow', 'allow'])
  expect(most).toBe(1)
})

const engine = (history: HistoryAsk | null): PolicyEngine => ({ asks: { history } }) as PolicyEngine
const decision = { effect: 'allow' } as Decision

test('questions that are no calls are told as well, a list of them once', async () => {
  let [reads, ms] = [0, 0]
  const read = (): Promise<CallHistory> =>
    Promise.resolve({ version: ++reads, person: [], run: [] })
  const { informing } = createHistory({
    history: store({ read }),
    clock: { now: () => 0, mono: () => ms },
    keeps: true,
  })
  const seen: (number | undefined)[] = []
  const decide = informing((_, question) => {
    seen.push(question.history?.version)
    return decision
  })
  const question = { principal: alice(), facts: {} } as Question
  await decide(engine(ask), question)
  await decide(engine(ask), question)
  ms += 1_000
  await decide(engine(ask), question)
  ms += 1
  await decide(engine(ask), question)
  await decide(engine(ask), { ...question, history: { version: 9, person: [], run: [] } })
  // Where no table asks nobody is asked, and nothing is waited for.
  expect(decide(engine(null), question)).toBe(decision)
  expect(decide(null, question)).toBe(decision)
  expect(seen).toEqual([1, 1, 1, 2, 9, undefined, undefined])
  // Two people may share what is known of them; what they did is each one's own.
  const bob = alice({ person: { tenant: 'default', realm: 'local', id: 'bob' } })
  await decide(engine(ask), { ...question, principal: bob })
  await decide(engine(ask), question)
  expect(seen.slice(-2)).toEqual([3, 2])
})

test('each part of a call follows those before it', async () => {
  const told: (CallHistory | undefined)[] = []
  const acts = ['a', 'b', 'a'].map((id) => ({ operation: { id, scopes: [] } }) as unknown as Act)
  const [first, ...rest] = acts
  if (first === undefined) throw new Error('there is no first')
  const old = { provider: 'google', operation: 'a', count: 2, last_s: 30 }
  const question = {
    principal: alice({ run: 'run-1' }),
    holding: { kind: 'none' },
    route: { connection: { scopes: [], provider: { id: 'google' } } },
    history: { version: 1, person: [old], run: [] },
  } as unknown as Question
  const decide = (_: unknown, { history }: Question): Decision => {
    told.push(history)
    return decision
  }
  await decideEach(decide, null, question, [first, ...rest])
  const now = (operation: string) => ({ provider: 'google', operation, count: 1, last_s: 0 })
  expect(told.map((one) => one?.person)).toEqual([
    [old],
    [old, now('a')],
    [old, now('a'), now('b')],
  ])
  expect(told.map((one) => one?.run)).toEqual([[], [now('a')], [now('a'), now('b')]])
  told.length = 0
  await decideEach(decide, null, { ...question, principal: alice() }, [first, ...rest])
  expect(told.map((one) => one?.run)).toEqual([[], [], []])
})
