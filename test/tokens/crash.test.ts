// Whole processes that refresh: two at once, and one that is killed at each point of the way.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { LostResponse } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { readRing } from '../../proxy/vault/ring_file.ts'
import { createSealer, newKeyRing } from '../../proxy/vault/seal.ts'
import { spooled } from '../../proxy/tokens/spool.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { kinds } from '../support/postgres.ts'
import type { Kind } from '../support/postgres.ts'
import type { Task, Told } from '../support/refresher.ts'
import { startTokenServer } from '../support/tokenserver.ts'
import type { Habit } from '../support/tokenserver.ts'

const SCRIPT = new URL('../support/refresher.ts', import.meta.url)
type End = (end: () => Promise<void>) => void
type Child = { readonly process: ChildProcess; readonly told: Promise<Told | 'killed'> }
const start = (task: Task): Child => {
  const child = fork(SCRIPT, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [] })
  child.send(task)
  let said: Told | null = null
  child.once('message', (message) => (said = message as Told))
  const told = new Promise<Told | 'killed'>((resolve, reject) =>
    child.once('exit', (code, signal) => {
      const settle = (): void => {
        if (signal === 'SIGKILL') resolve('killed')
        else if (said === null) reject(new Error(`the process ended with ${code} and said nothing`))
        else resolve(said)
      }
      // What it said may still be in the channel when its end is known.
      if (child.connected) child.once('disconnect', settle)
      else setImmediate(settle)
    }),
  )
  return { process: child, told }
}

/** An expired credential in a vault that no process has open. */
const setUp = async (kind: Kind, habit: Habit, lostResponse: LostResponse, onEnd: End) => {
  const server = await startTokenServer(habit)
  onEnd(() => server.close())
  const place = await kind.place()
  const ring = join(mkdtempSync(join(tmpdir(), 'ring-')), 'keys.json')
  writeFileSync(ring, newKeyRing(0, randomBytes), { mode: 0o600 })
  const store = await place.open()
  const credential = await createVault({
    store,
    sealer: createSealer(await readRing(ring)),
    clock: { now: () => Date.now(), mono: () => performance.now() },
    randomId: randomUUID,
  }).connect({
    person: { tenant: 'acme', realm: 'corp', id: 'alice' },
    agent: 'triage',
    connection: 'acme',
    provider: 'acme',
    account: { id: 'alice', label: 'alice' },
    tokens: {
      access: secret('access-1'),
      refresh: secret(server.first),
      scopes: [],
      expiresIn: 60,
    },
    scopes: [],
  })
  await store.close()
  const task: Task = {
    where: place.where,
    ring,
    token: server.url,
    credential,
    lostResponse,
    rounds: [1, 1],
    dieAt: null,
    spool: join(dirname(ring), 'vault-spool'),
  }
  return { server, place, task }
}

/** Where it dies, what the server saw of it, and what the next process may do. */
const POINTS = [
  'before the request',
  'while the answer is under way',
  'before the store',
  'after the store',
  'after the store failed',
] as const
const CLASSES: readonly (readonly [LostResponse, Habit])[] = [
  ['yes', 'stable'],
  ['partly', 'grace'],
  ['no', 'punish'],
  ['unknown', 'single'],
]

for (const kind of await kinds())
  describe.skipIf(kind.skip)(`a process killed during a refresh, on ${kind.name}`, () => {
    const cases = POINTS.flatMap((point) =>
      CLASSES.map(([lostResponse, habit]) => ({ point, lostResponse, habit })),
    )
    test.concurrent.for(cases)(
      '$point, where an answer that was lost is recoverable: $lostResponse',
      async ({ point, lostResponse, habit }, { onTestFinished }) => {
        const { server, place, task } = await setUp(kind, habit, lostResponse, onTestFinished)
        const byParent = point === 'while the answer is under way'
        const doomed = start({ ...task, dieAt: byParent ? null : point })
        const gone = doomed.told.then(() => {})
        if (byParent)
          server.after = () => {
            doomed.process.kill('SIGKILL')
            return gone
          }
        expect(await doomed.told).toBe('killed')
        server.after = () => {}
        const sentBefore = point === 'before the request' ? 0 : 1
        expect(server.came).toHaveLength(sentBefore)
        // Where others may be alive the dead one's lease has to run out first.
        if (kind.ownClock)
          await place.sql('UPDATE credentials SET lease_until = 0 WHERE lease IS NOT NULL')

        const told = await start(task).told
        if (told === 'killed') throw new Error('killed')
        const [[first = ''] = [], [second] = []] = told.rounds
        expect(second).toBe(first)
        if (point === 'after the store' || point === 'after the store failed') {
          // Stored, or sealed in the spool: nothing is asked again, and nothing is lost.
          expect(first).toBe('2 access-2')
          expect(server.came).toEqual(['refresh-1'])
          expect(await spooled(task.spool)).toEqual([])
          return
        }
        // The old one is sent once more and never a third time, whatever comes of it.
        expect(server.came).toEqual(Array.from({ length: sentBefore + 1 }, () => 'refresh-1'))
        const lost = sentBefore === 1 && (lostResponse === 'no' || lostResponse === 'unknown')
        if (lost) expect(first).toBe('reauthorization_required')
        else {
          expect(first).toMatch(/^2 access-[23]$/)
          expect(server.works(first.split(' ')[1] ?? '')).toBe(true)
        }
      },
    )
  })

for (const kind of (await kinds()).filter(({ ownClock }) => ownClock))
  test.skipIf(kind.skip)(
    `two processes with fifty callers each ask once, on ${kind.name}, and the token serves all`,
    async ({ onTestFinished }) => {
      const { server, task } = await setUp(kind, 'punish', 'no', onTestFinished)
      server.after = () => new Promise((resolve) => setTimeout(resolve, 1_500))
      const both = [start({ ...task, rounds: [50, 50] }), start({ ...task, rounds: [50, 50] })]
      const told = await Promise.all(both.map((child) => child.told))
      const answers = told.flatMap((said) => (said === 'killed' ? ['killed'] : said.rounds.flat()))
      expect(answers).toHaveLength(200)
      expect(new Set(answers)).toEqual(new Set(['2 access-2']))
      expect(server.came).toEqual(['refresh-1'])
      expect(server.works('access-2')).toBe(true)
    },
  )

for (const kind of (await kinds()).slice(0, 1))
  test('a process that is stopped in the middle of a refresh reads the answer that came meanwhile, and sends nothing twice', async ({
    onTestFinished,
  }) => {
    const { server, task } = await setUp(kind, 'punish', 'no', onTestFinished)
    const stopped = start({ ...task, timeoutMs: 2_000 })
    onTestFinished(() => void stopped.process.kill('SIGKILL'))
    server.after = () => {
      stopped.process.kill('SIGSTOP')
      // Longer than the request may take, were this a time in which it ran.
      setTimeout(() => stopped.process.kill('SIGCONT'), 5_000)
    }
    expect(await stopped.told).toEqual({ rounds: [['2 access-2'], ['2 access-2']] })
    expect(server.came).toEqual(['refresh-1'])
  })
