// Calls in flight: how many there may be, how those of one person, agent, grant or run are ended, how a stop waits for them.
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createCalls, type LiveCall } from '../../proxy/pipeline/calls.ts'
import { Problem } from '../../proxy/problem.ts'
import { createUlid } from '../../proxy/ulid.ts'
import { codeOf } from '../wire/fixture.ts'

const person = (id: string) => ({ tenant: 't', realm: 'r', id })
const call = (more: Partial<LiveCall> = {}): LiveCall => ({
  id: 'one',
  person: person('alice'),
  agent: 'a',
  connection: 'c',
  run: 'run',
  ...more,
})
const registry = (more: { calls?: number; perAgent?: number; perTenant?: number } = {}) =>
  createCalls({ calls: 10, perAgent: 10, perTenant: 10, ...more })
const ended = new Problem('unauthenticated', 'the run was revoked')

test('no more calls at once than the limit of all, and none of an agent beyond its own', () => {
  const all = registry({ calls: 2 })
  all.enter(call())
  const left = all.enter(call({ agent: 'b' }))
  expect(codeOf(() => all.enter(call({ agent: 'c' })))).toBe('too_many_calls')
  left[Symbol.dispose]()
  all.enter(call({ agent: 'c' }))

  const each = registry({ perAgent: 2 })
  each.enter(call())
  const second = each.enter(call())
  expect(codeOf(() => each.enter(call()))).toBe('too_many_calls')
  each.enter(call({ agent: 'b' }))
  second[Symbol.dispose]()
  each.enter(call())
  expect(codeOf(() => each.enter(call()))).toBe('too_many_calls')
})

test('a call that is disposed of twice leaves once', () => {
  const calls = registry({ perAgent: 2 })
  const first = calls.enter(call())
  calls.enter(call())
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  expect(calls.size()).toBe(1)
  calls.enter(call())
  expect(calls.size()).toBe(2)
  expect(codeOf(() => calls.enter(call()))).toBe('too_many_calls')
})

test.each([
  ['person', { person: person('alice') }, { person: person('bob') }],
  ['agent', { agent: 'a' }, { agent: 'b' }],
  ['connection', { connection: 'c' }, { connection: 'd' }],
  ['run', { run: 'run' }, { run: null }],
  ['tenant', { tenant: 't' }, { person: { ...person('alice'), tenant: 'u' } }],
  ['standing', { standing: 's' }, { standing: null }],
])('an end by %s reaches the calls of that one, and no others', (_name, match, other) => {
  const calls = registry()
  const own = { standing: 's' }
  const [gone, one] = [calls.enter(call(own)), calls.enter(call(own))]
  const two = calls.enter(call({ ...own, ...other }))
  gone[Symbol.dispose]()
  expect(calls.abort(match, ended)).toBe(1)
  expect([one.signal.reason, two.signal.aborted, gone.signal.aborted]).toEqual([
    ended,
    false,
    false,
  ])
  expect(calls.abort({}, ended)).toBe(2)
  expect(two.signal.reason).toEqual(ended)
  // Each call writes into its own what became of it.
  expect(two.signal.reason).not.toBe(ended)
})

test('an end by several members reaches what has them all', () => {
  const calls = registry()
  const others = [
    { person: person('bob') },
    { agent: 'b' },
    { connection: 'd' },
    { run: 'another' },
  ].map((other) => calls.enter(call(other)))
  const { id: _id, standing: _standing, ...all } = call()
  expect(calls.abort({ ...all, run: 'run' }, ended)).toBe(0)
  expect(others.map(({ signal }) => signal.aborted)).toEqual([false, false, false, false])
})

test('an end of what began by some time leaves newer calls alone', () => {
  const calls = registry()
  const at = (time: number) => calls.enter(call({ id: createUlid(() => time)() }))
  const [old, same, newer] = [at(1_000), at(2_000), at(2_001)]
  const unknown = calls.enter(call())
  expect(calls.abort({ begunBy: 2_000 }, ended)).toBe(3)
  expect([old, same, newer, unknown].map(({ signal }) => signal.aborted)).toEqual([
    true,
    true,
    false,
    true,
  ])
})

test('work that waits is cut off by the end of its call, and begins no more after it', async () => {
  const calls = registry()
  const flight = calls.enter(call())
  expect(flight.uncut(1)).toBe(1)
  expect(await flight.uncut(Promise.resolve(2))).toBe(2)
  await expect(flight.uncut(Promise.reject(new Error('its own')))).rejects.toThrow('its own')
  const waiting = flight.uncut(new Promise(() => undefined))
  calls.abort({}, ended)
  await expect(waiting).rejects.toEqual(ended)
  expect(codeOf(() => flight.uncut(3))).toBe('unauthenticated')
  await expect(flight.uncut(Promise.resolve(4))).rejects.toEqual(ended)
})

test('everybody with a call in flight is named once', () => {
  const calls = registry()
  for (const id of ['alice', 'alice', 'bob']) calls.enter(call({ person: person(id) }))
  calls.enter(call({ person: { ...person('bob'), tenant: 'u' } }))[Symbol.dispose]()
  expect(calls.people()).toEqual([person('alice'), person('bob')])
})

test('a stop waits for the last call, as long as it may', async () => {
  const calls = registry()
  const [one, two] = [calls.enter(call()), calls.enter(call())]
  let left: number | null = null
  const drained = calls.drain(600_000).then((size) => (left = size))
  one[Symbol.dispose]()
  await turn()
  expect(left).toBeNull()
  two[Symbol.dispose]()
  await turn()
  expect(left).toBe(0)
  await drained

  calls.enter(call())
  expect(await calls.drain(1)).toBe(1)
})

test('a stop without calls waits for nothing', async () => {
  let left: number | null = null
  void registry()
    .drain(600_000)
    .then((size) => (left = size))
  await turn()
  expect(left).toBe(0)
})

test('agents of one name in two tenants share nothing, and no tenant has more than its part', () => {
  const foreign = (more: object = {}) =>
    call({ person: { ...person('alice'), tenant: 'south' }, ...more })
  const each = registry({ perAgent: 1 })
  each.enter(call())
  expect(codeOf(() => each.enter(call()))).toBe('too_many_calls')
  each.enter(foreign())

  const part = registry({ perTenant: 2 })
  const left = part.enter(call({ agent: 'a' }))
  part.enter(call({ agent: 'b' }))
  expect(codeOf(() => part.enter(call({ agent: 'c' })))).toBe('too_many_calls')
  part.enter(foreign({ agent: 'c' }))
  left[Symbol.dispose]()
  part.enter(call({ agent: 'c' }))
})
