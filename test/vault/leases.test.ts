// Whole processes on one PostgreSQL: one dies or is stopped while it holds a lease, and what the other may do.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { LostResponse } from '../../proxy/model.ts'
import { newKeyRing } from '../../proxy/vault/seal.ts'
import { seedStore } from '../support/copies.ts'
import { paced } from '../support/pace.ts'
import { postgres } from '../support/postgres.ts'
import type { Task, Told } from '../support/refresher.ts'
import { startTokenServer } from '../support/tokenserver.ts'
import type { Habit } from '../support/tokenserver.ts'

const server = await postgres()
const absent = 'absent' in server ? server.absent : null
const SCRIPT = new URL('../support/refresher.ts', import.meta.url)

const start = (
  task: Task,
): { readonly process: ChildProcess; readonly told: Promise<Told | null> } => {
  const child = fork(SCRIPT, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [] })
  child.send(task)
  let said: Told | null = null
  child.once('message', (message) => (said = message as Told))
  const told = new Promise<Told | null>((resolve) => child.once('close', () => resolve(said)))
  return { process: child, told }
}
const setUp = async (
  habit: Habit,
  lostResponse: LostResponse,
  onEnd: (end: () => Promise<void>) => void,
) => {
  if ('absent' in server) throw new Error(server.absent)
  const tokens = await startTokenServer(habit)
  onEnd(() => tokens.close())
  const folder = mkdtempSync(join(tmpdir(), 'leases-'))
  const ring = join(folder, 'keys.json')
  writeFileSync(ring, newKeyRing(0, randomBytes), { mode: 0o600 })
  const where = await server.fresh()
  await seedStore(where, ring, ['alice'], tokens.first)
  const [row] = await server.sql(where, 'SELECT id FROM credentials')
  const task: Task = {
    where,
    ring,
    token: tokens.url,
    credential: String(row?.['id']),
    lostResponse,
    rounds: [1],
    dieAt: null,
    spool: join(folder, 'spool'),
  }
  return { tokens, task }
}

describe.skipIf(absent !== null)(
  `a lease on PostgreSQL${absent === null ? '' : ` (SKIPPED: ${absent})`}`,
  { timeout: 120_000 },
  () => {
    test.concurrent.for([
      ['unknown', 'punish', 'before the request', '2 access-2'],
      ['unknown', 'stable', 'while the answer is out', '2 access-3'],
      ['unknown', 'punish', 'while the answer is out', 'reauthorization_required'],
      ['yes', 'stable', 'while the answer is out', '2 access-3'],
    ] as const)(
      'of a killed process keeps nobody waiting for long (%s, %s, %s)',
      async ([lostResponse, habit, point, answer], { onTestFinished }) => {
        const { tokens, task } = await setUp(habit, lostResponse, onTestFinished)
        const early = point === 'before the request'
        const doomed = start({ ...task, dieAt: early ? point : null })
        if (!early)
          tokens.after = async () => {
            doomed.process.kill('SIGKILL')
            await doomed.told
          }
        expect(await doomed.told).toBeNull()
        tokens.after = () => {}
        const began = performance.now()
        expect((await start(task).told)?.rounds).toEqual([[answer]])
        const ms = performance.now() - began
        process.stdout.write(
          `${point}, ${lostResponse}: served by another process after ${(ms / 1_000).toFixed(1)} s\n`,
        )
        // Also on a busy machine well before the minute that an unknown end would take.
        expect(ms).toBeLessThan(Math.min(paced(15_000), 45_000))
        // As after any answer that was lost: sent once more, and never a third time.
        expect(tokens.came).toHaveLength(early ? 1 : 2)
      },
    )

    test.concurrent(
      'of a stopped process is left alone where a second request would end the grant',
      async ({ onTestFinished }) => {
        const { tokens, task } = await setUp('punish', 'no', onTestFinished)
        const stopped = start(task)
        onTestFinished(() => void stopped.process.kill('SIGKILL'))
        let other: ReturnType<typeof start> | null = null
        tokens.after = () => {
          stopped.process.kill('SIGSTOP')
          other = start(task)
          setTimeout(() => stopped.process.kill('SIGCONT'), 20_000)
        }
        expect((await stopped.told)?.rounds).toEqual([['2 access-2']])
        expect((await (other as ReturnType<typeof start> | null)?.told)?.rounds).toEqual([
          ['2 access-2'],
        ])
        expect(tokens.came).toEqual(['refresh-1'])
        expect(tokens.works('access-2')).toBe(true)
      },
    )

    test.concurrent(
      'is kept for as long as its holder waits for the provider',
      async ({ onTestFinished }) => {
        const { tokens, task } = await setUp('grace', 'partly', onTestFinished)
        // Longer than a lease lasts without a beat.
        tokens.after = () => new Promise((resolve) => setTimeout(resolve, 15_000))
        const both = [start(task), start(task)]
        for (const { told } of both) expect((await told)?.rounds).toEqual([['2 access-2']])
        expect(tokens.came).toEqual(['refresh-1'])
      },
    )
  },
)
