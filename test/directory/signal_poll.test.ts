import { expect, test } from 'vitest'
import { createPoll } from '../../proxy/directory/signal_poll.ts'
import { EventRefused } from '../../proxy/directory/signals.ts'
import { QUIET } from '../support/log.ts'

type Asked = { readonly ack: readonly string[]; readonly setErrs: object }
const polling = (
  answer: (n: number, signal: AbortSignal) => Promise<Response>,
  receive: (token: string) => Promise<void> = async () => {},
) => {
  const asked: Asked[] = []
  const refused: string[] = []
  const poll = createPoll({
    url: () => 'https://idp.test/poll',
    authorization: () => Promise.resolve('Bearer x'),
    fetch: (_url, { body, signal }) => {
      asked.push(JSON.parse(typeof body === 'string' ? body : '') as Asked)
      if (!(signal instanceof AbortSignal)) throw new Error('nothing ends it')
      return answer(asked.length, signal)
    },
    receive,
    refused: ({ fault }) => void refused.push(fault),
    clock: { mono: () => performance.now() },
    log: QUIET,
    state: { works: () => {}, fails: () => {}, end: () => {} },
    deadline: 200,
  })
  return { asked, refused, poll }
}
const never = (signal: AbortSignal): Promise<Response> =>
  new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error))
  })
const sets = (all: object): Promise<Response> => Promise.resolve(Response.json({ sets: all }))

test('what was taken is acknowledged, what never holds complained of, what comes too early asked again', async () => {
  let down = true
  const { asked, refused, poll } = polling(
    (n, signal) =>
      n > 4 ? never(signal) : sets(n === 1 ? { a: 'fine', b: 'bad', c: 'later' } : {}),
    async (token) => {
      if (token === 'bad') throw new EventRefused('invalid_key', 'no')
      if (token === 'later' && down) throw new Error('the store is away')
    },
  )
  poll.begin()
  await expect.poll(() => asked.length).toBeGreaterThan(1)
  down = false
  await poll.close()
  expect(asked[1]).toMatchObject({
    ack: ['a'],
    setErrs: { b: { err: 'invalid_key', description: 'no' } },
  })
  expect(new Set(refused)).toEqual(new Set(['invalid_key']))
})
test('one that never answers is given up and asked again; closing ends the question', async () => {
  const { asked, poll } = polling((_n, signal) => never(signal))
  poll.begin()
  await expect.poll(() => asked.length).toBeGreaterThan(1)
  await poll.close()
})
test.each([
  ['HTML', () => new Response('<html>')],
  ['another status', () => Response.json({ sets: {} }, { status: 503 })],
  ['too much', () => new Response('x'.repeat(5 * 1024 ** 2))],
  ['no object', () => Response.json({ sets: [] })],
])('%s acknowledges nothing', async (_, answer) => {
  const { asked, poll } = polling((n, signal) =>
    n === 1 ? sets({ a: 'fine' }) : n === 2 ? Promise.resolve(answer()) : never(signal),
  )
  poll.begin()
  await expect.poll(() => asked.length).toBeGreaterThan(2)
  await poll.close()
  expect(asked[2]?.ack).toEqual(['a'])
})
