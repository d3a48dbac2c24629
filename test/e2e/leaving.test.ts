// Callers that leave at once, at every moment of a call: nothing of them stays behind, so nobody can fill the limits with them.
import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startChild, until, type Child } from '../support/deputy.ts'
import { dial, lines, sendRaw } from '../support/raw.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-0123456789'
let upstream: Upstream
let deputy: Child
let host: string
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  // A process of its own: what arrives and who leaves then meet in its event loop as they do in earnest.
  deputy = await startChild({
    upstream: upstream.origin,
    held: ['acme', 'stream'].map((connection) => ({ person: 'alice', connection, token: TOKEN })),
    config: { limits: { calls_per_agent: 8, held_calls: 8 } },
  })
  host = new URL(deputy.agent).host
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})

const request = (method: string, target: string, person: string, ...more: string[]): string =>
  lines(`${method} ${target} HTTP/1.1`, `Host: ${host}`, `Deputy-User: ${person}`, ...more)

/** Decisions that let a call go, and the ends of such calls. */
const counts = (): readonly [number, number] => {
  const evidence = deputy.evidence()
  const allowed = evidence.filter(
    ({ event, decision }) =>
      event === 'decision' && (decision as { effect: string }).effect === 'allow',
  )
  return [allowed.length, evidence.filter(({ event }) => event === 'outcome').length]
}

test.each([
  ['a call', () => request('GET', '/api.stream.test/a', 'alice')],
  [
    'a call in the middle of a body that policy looks into',
    () =>
      `${request('POST', '/api.acme.test/notes', 'alice', 'Content-Type: application/json', 'Content-Length: 99')}{"title":`,
  ],
  [
    'a call in the middle of a body that streams',
    () => `${request('PUT', '/api.stream.test/a', 'alice', 'Content-Length: 99')}begun`,
  ],
  ['a call that would wait', () => request('GET', '/api.stream.test/a', 'bob', 'Prefer: wait=60')],
])('%s whose caller leaves at once', async (_name, text) => {
  for (let i = 0; i < 60; i++) {
    const { socket } = await dial(deputy.agent)
    socket.on('error', () => undefined)
    await new Promise((sent) => socket.write(text(), sent))
    for (let wait = i % 3; wait > 0; wait--) await turn()
    if (i % 2 === 0) socket.destroy()
    else socket.resetAndDestroy()
  }
  await until(() => {
    const [allowed, ended] = counts()
    return allowed === ended
  }, 'each call that was allowed has ended')
  // More at once than would fit beside anything that stayed. Who has just left may be seen a moment later.
  const eight = async (): Promise<readonly number[]> => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () =>
        sendRaw(deputy.agent, request('GET', '/api.stream.test/a', 'alice')),
      ),
    )
    return answers.map(({ status }) => status)
  }
  await expect.poll(eight).toEqual(Array.from({ length: 8 }, () => 200))
})
