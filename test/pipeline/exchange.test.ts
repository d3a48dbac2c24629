// Around a call's way: whatever is thrown there, or by the answer itself, ends that call only, and is kept.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import {
  createExchange,
  type Call,
  type Snapshot,
  type Way,
} from '../../proxy/pipeline/exchange.ts'
import { CallerLeft, Problem } from '../../proxy/problem.ts'
import type { Evidence, Finished } from '../../proxy/audit/records.ts'

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

type Kept = { refused: string[]; finished: Finished[]; logged: string[] }
/** A server whose every request goes through an exchange with this way. */
const around = async (
  way: Way,
  more: {
    told?: (call: Call, problem: Problem) => Problem
    snapshot?: () => Snapshot
    observe?: () => void
  } = {},
) => {
  const kept: Kept = { refused: [], finished: [], logged: [] }
  const write = (_fields: object, message: string): void => void kept.logged.push(message)
  const evidence: Evidence = {
    decided: () => Promise.resolve(),
    finished: (what) => void kept.finished.push(what),
    refused: (_id, code) => void kept.refused.push(code),
    event: () => Promise.resolve(),
    close: () => undefined,
  }
  const exchange = createExchange(
    {
      snapshot: more.snapshot ?? (() => ({}) as Snapshot),
      evidence,
      typeBase: 'http://localhost:1',
      clock: { now: Date.now, mono: () => performance.now() },
      log: { debug: write, info: write, warn: write, error: write },
      observe: more.observe ?? (() => undefined),
    },
    way,
    more.told ?? ((_call, problem) => problem),
  )
  const server = createServer((req, res) => void exchange(req, res, 'one', null))
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const ask = () =>
    fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`).then(
      async (answer) => `${answer.status} ${((await answer.json()) as { code: string }).code}`,
      () => 'cut',
    )
  return { ask, kept }
}

test('what the way throws is told as a problem, and kept once', async () => {
  const { ask, kept } = await around(() => Promise.reject(new TypeError('a fault')))
  expect(await ask()).toBe('500 internal')
  expect(kept).toMatchObject({ refused: ['internal'], finished: [] })
})

test('an answer that was begun and cannot be written any more ends its connection', async () => {
  // What an unchecked reason phrase did: Node keeps it, and throws at every further try.
  const { ask, kept } = await around((_call, _req, res) => {
    res.statusMessage = 'Non trouv\u6210'
    return Promise.reject(new Problem('upstream_timeout', 'late'))
  })
  expect(await ask()).toBe('cut')
  expect(kept.refused).toEqual(['upstream_timeout'])
  expect(kept.logged).toContain('the last answer could not be given')
})

test('a problem that cannot be written down ends its connection', async () => {
  const extra = { count: 1n as unknown as number }
  const { ask, kept } = await around(() => Promise.reject(new Problem('internal', 'x', { extra })))
  expect(await ask()).toBe('cut')
  expect(kept.refused).toEqual(['internal'])
})

test.each([
  [
    'what makes the snapshot',
    {
      snapshot: () => {
        throw new Error('no snapshot')
      },
    },
    ['internal'],
  ],
  [
    'what words the problem',
    {
      told: () => {
        throw new Error('no words')
      },
    },
    ['internal'],
  ],
  [
    'who observes',
    {
      observe: () => {
        throw new Error('no metrics')
      },
    },
    ['policy_denied'],
  ],
])('a fault of %s is contained, logged and kept', async (_name, more, refused) => {
  const { ask, kept } = await around(() => Promise.reject(new Problem('policy_denied', 'no')), more)
  await ask()
  await expect.poll(() => kept.logged).toContain('a call failed beyond its answer')
  expect(kept.refused).toEqual(refused)
})

test('whoever left in mid-body was not refused', async () => {
  const cause = new CallerLeft(new Error('reset'))
  const gone = new Problem('request_invalid', 'gone', { cause })
  const { ask, kept } = await around(() => Promise.reject(gone))
  await ask()
  expect(kept.refused).toEqual([])
})

test('an allow that came to nothing has its outcome, and is no refusal', async () => {
  const { ask, kept } = await around((call) => {
    call.open = true
    return Promise.reject(new Problem('vault_unavailable', 'x'))
  })
  expect(await ask()).toBe('503 vault_unavailable')
  expect(kept.refused).toEqual([])
  expect(kept.finished.map(({ outcome }) => [outcome.result, outcome.sent])).toEqual([
    ['vault_unavailable', false],
  ])
})
