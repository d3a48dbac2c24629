import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { readBundle } from '../../proxy/policy/bundle.ts'
import {
  createPool,
  openIsolate,
  type PoolOptions,
  type Start,
} from '../../proxy/policy/threads.ts'

const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})
const INPUT_LIMIT = 1_000_000
const PATIENCE = 60_000
const start = async (name: string, data: object = {}): Promise<Start> => {
  const path = new URL(`../fixtures/policies/${name}.tar.gz`, import.meta.url)
  const bundle = await readBundle(readFileSync(path))
  return {
    module: await WebAssembly.compile(bundle.wasm),
    data: new TextEncoder().encode(JSON.stringify(data)),
    inputLimit: INPUT_LIMIT,
  }
}
const open = async (name: string) => {
  const isolate = await openIsolate(await start(name), PATIENCE)
  ends.push(isolate.close)
  return isolate
}
const pool = async (name: string, more: Partial<PoolOptions> = {}) => {
  const errors: string[] = []
  const made = createPool(await start(name), {
    threads: 1,
    deadline: PATIENCE,
    wait: PATIENCE,
    queue: 10,
    patience: PATIENCE,
    onError: ({ message }) => void errors.push(message),
    ...more,
  })
  ends.push(made.close)
  return { ...made, errors }
}
const failure = (answer: unknown): unknown =>
  typeof answer === 'object' && answer !== null && 'failed' in answer ? answer.failed : answer
const ALLOW = JSON.stringify({ case: 'allow' })

describe('a thread', () => {
  test('answers one question after the other, and says how long it took', async () => {
    const isolate = await open('odd')
    for (const _ of [1, 2]) {
      const { answer, ms } = await isolate.ask(ALLOW, PATIENCE)
      expect(answer).toContain('"allow":true')
      expect(ms).toBeGreaterThan(0)
    }
    expect(isolate.alive()).toBe(true)
  })
  test('takes no second question before it has answered the first', async () => {
    const isolate = await open('odd')
    const first = isolate.ask(ALLOW, PATIENCE)
    const second = await isolate.ask(ALLOW, PATIENCE)
    expect(second.answer).toEqual({ failed: 'policy_error', detail: 'the policy thread is busy' })
    expect((await first).answer).toContain('"allow":true')
  })
  test('that takes too long is ended, and answers nothing any more', async () => {
    const isolate = await open('loops')
    const { answer } = await isolate.ask(ALLOW, 50)
    expect(answer).toEqual({
      failed: 'policy_timeout',
      detail: 'the policy took longer than 50 ms',
    })
    expect(isolate.alive()).toBe(false)
    const later = await isolate.ask(ALLOW, PATIENCE)
    expect(later.answer).toEqual({
      failed: 'policy_error',
      detail: 'the policy thread has ended',
    })
  })
  test.each(['conflict', 'memory'])(
    'whose policy fails by %s says so, and goes on',
    async (one) => {
      const isolate = await open('odd')
      const { answer } = await isolate.ask(JSON.stringify({ case: one }), PATIENCE)
      expect(failure(answer)).toBe('policy_error')
      expect((await isolate.ask(ALLOW, PATIENCE)).answer).toContain('"allow":true')
    },
  )
  test('does not open with what is no policy, nor in no time', async () => {
    const bytes = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])
    const nothing = { ...(await start('odd')), module: await WebAssembly.compile(bytes) }
    await expect(openIsolate(nothing, PATIENCE)).rejects.toThrow(/ABI 1\.2/)
    await expect(openIsolate(await start('odd'), 1)).rejects.toThrow(
      'the policy did not load in 1 ms',
    )
  })
  test('that is closed is not alive', async () => {
    const isolate = await open('odd')
    await isolate.close()
    expect(isolate.alive()).toBe(false)
  })
})

describe('threads together', () => {
  test('answer everybody, each their own question', async () => {
    const { ask } = await pool('odd', { threads: 2 })
    const cases = ['allow', 'undefined', 'allow', 'conflict']
    const answers = await Promise.all(
      cases.map((one, n) => ask(JSON.stringify({ case: one }), `a${n}`)),
    )
    expect(answers.map((answer) => String(failure(answer)).includes('"allow":true'))).toEqual([
      true,
      false,
      true,
      false,
    ])
  })
  test('replace one that was ended for its slowness', async () => {
    const { ask, errors } = await pool('loops', { deadline: 100 })
    expect(failure(await ask(ALLOW, 'a'))).toBe('policy_timeout')
    expect(failure(await ask(ALLOW, 'a'))).toBe('policy_timeout')
    expect(errors).toEqual([])
  })
  test('let so many wait, and half of them of one agent', async () => {
    const { ask, close } = await pool('odd', { queue: 4 })
    // None is loaded yet: all of them wait.
    const mine = Array.from({ length: 3 }, () => ask(ALLOW, 'greedy'))
    const others = Array.from({ length: 3 }, (_, n) => ask(ALLOW, `a${n}`))
    const full = { failed: 'policy_timeout', detail: 'too many calls wait for the policy' }
    expect(await mine[2]).toEqual(full)
    expect(await others[2]).toEqual(full)
    await close()
    const replaced = { failed: 'policy_timeout', detail: 'this policy was replaced' }
    for (const answer of [mine[0], mine[1], others[0], others[1]])
      expect(await answer).toEqual(replaced)
    expect(await ask(ALLOW, 'late')).toEqual(replaced)
  })
  test('keep nobody waiting for longer than they may', async () => {
    const { ask } = await pool('loops', { wait: 20 })
    expect(await ask(ALLOW, 'a')).toEqual({
      failed: 'policy_timeout',
      detail: 'no policy thread was free in time',
    })
  })
  test('tell where one could not be opened, and the next call tries again', async () => {
    const { ask, errors } = await pool('odd', { patience: 1, wait: 50 })
    await expect.poll(() => errors.length).toBeGreaterThan(0)
    const before = errors.length
    await ask(ALLOW, 'a')
    await expect.poll(() => errors.length).toBeGreaterThan(before)
    expect(new Set(errors)).toEqual(new Set(['the policy did not load in 1 ms']))
  })
})
