import { describe, expect, test } from 'vitest'
import { createStatus, flowHashOf } from '../../proxy/consent/status.ts'
import type { Flow } from '../../proxy/model.ts'

const HASH = 'a'.repeat(64)
const ID = `ac_${HASH}`
const alice = { person: { tenant: 'default', realm: 'corp', id: 'alice' }, agent: 'triage' }
const flow = (change: Partial<Flow> = {}): Flow =>
  ({ hash: HASH, person: alice.person, agent: 'triage', status: 'pending', ...change }) as Flow

const house = () => {
  let current: Flow | null = flow()
  let hear: (key: string) => void = () => {}
  const now = 0
  const looked: string[] = []
  const status = createStatus(
    {
      subscribe: (_topic, heard) => {
        hear = heard
        return () => {}
      },
    },
    { mono: () => now },
    (hash) => {
      looked.push(hash)
      return Promise.resolve(current)
    },
  )
  return {
    looked,
    ask: (ms = 0, signal = new AbortController().signal, who = alice, id = ID) =>
      status(id, who, ms, signal),
    becomes: (next: Flow | null) => void (current = next),
    tell: (key: string) => hear(key),
  }
}

test.each([
  [ID, HASH],
  ['ac_', undefined],
  [`ac_${HASH}0`, undefined],
  [HASH, undefined],
  [`ac_${HASH.toUpperCase()}`, undefined],
  [`x${ID}`, undefined],
])('%s names the flow %s', (id, hash) => {
  expect(flowHashOf(id)).toBe(hash)
})

describe('whoever asks', () => {
  test('without waiting is told how it stands', async () => {
    expect(await house().ask()).toMatchObject({ status: 'pending' })
  })
  test.each<[string, Partial<typeof alice>, string, Flow | null]>([
    ['another person', { person: { ...alice.person, id: 'bob' } }, ID, flow()],
    ['the same name of another realm', { person: { ...alice.person, realm: 'x' } }, ID, flow()],
    ['another agent', { agent: 'other' }, ID, flow()],
    ['for what is gone', {}, ID, null],
    ['for what is no id', {}, 'ac_x', flow()],
  ])('%s is told that there is none', async (_name, who, id, there) => {
    const { ask, becomes } = house()
    becomes(there)
    const asked = ask(60_000, undefined, { ...alice, ...who }, id)
    await expect(asked).rejects.toMatchObject({ code: 'authorization_not_found' })
  })
})

describe('whoever waits', () => {
  test('is woken by the end of this flow, not of another', async () => {
    const { ask, becomes, tell, looked } = house()
    const waits = ask(60_000)
    await expect.poll(() => looked).toHaveLength(1)
    tell('b'.repeat(64))
    becomes(flow({ status: 'completed' }))
    tell(HASH)
    expect(await waits).toMatchObject({ status: 'completed' })
    expect(looked).toHaveLength(2)
  })
  test('looks again where something may have been missed', async () => {
    const { ask, becomes, tell, looked } = house()
    const waits = [ask(60_000), ask(60_000)]
    await expect.poll(() => looked).toHaveLength(2)
    becomes(flow({ status: 'failed' }))
    tell('*')
    for (const one of await Promise.all(waits)) expect(one.status).toBe('failed')
  })
  test('goes on waiting where it has not ended, and loses it where it is gone', async () => {
    const { ask, becomes, tell, looked } = house()
    const waits = ask(60_000)
    await expect.poll(() => looked).toHaveLength(1)
    tell(HASH)
    await expect.poll(() => looked).toHaveLength(2)
    becomes(null)
    tell(HASH)
    await expect(waits).rejects.toMatchObject({ code: 'authorization_not_found' })
  })
  test('goes when the caller leaves', async () => {
    const { ask, looked } = house()
    const leaving = new AbortController()
    const waits = ask(60_000, leaving.signal)
    await expect.poll(() => looked).toHaveLength(1)
    leaving.abort()
    expect(await waits).toMatchObject({ status: 'pending' })
    expect(await ask(60_000, AbortSignal.abort())).toMatchObject({ status: 'pending' })
  })
  test('is told of an end that came while it looked', async () => {
    let hear: (key: string) => void = () => {}
    let ended = false
    const status = createStatus(
      { subscribe: (_topic, heard) => ((hear = heard), () => {}) },
      { mono: () => 0 },
      () => {
        const seen = flow({ status: ended ? 'completed' : 'pending' })
        // Right after the look, and before anybody waits.
        ended = true
        hear(HASH)
        return Promise.resolve(seen)
      },
    )
    expect(await status(ID, alice, 60_000, new AbortController().signal)).toMatchObject({
      status: 'completed',
    })
  })
})
