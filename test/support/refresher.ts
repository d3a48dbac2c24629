// A process of its own that refreshes: told by its parent where the vault is, who asks, and where to die.
import { randomUUID } from 'node:crypto'
import type { LostResponse, Store } from '../../proxy/model.ts'
import { createOAuthClient } from '../../proxy/oauth/client.ts'
import { createIdle } from '../../proxy/tokens/idle.ts'
import { createRefresher } from '../../proxy/tokens/refresh.ts'
import { Problem } from '../../proxy/problem.ts'
import { openStore } from '../../proxy/store/open.ts'
import { readRing } from '../../proxy/vault/ring_file.ts'
import { createSealer } from '../../proxy/vault/seal.ts'
import { createSpool } from '../../proxy/tokens/spool.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { connectionOf } from '../oauth/fixtures.ts'

export type Task = {
  readonly where: string
  readonly ring: string
  readonly token: string
  readonly credential: string
  readonly lostResponse: LostResponse
  /** Rounds of as many callers at once. */
  readonly rounds: readonly number[]
  readonly dieAt:
    'before the request' | 'before the store' | 'after the store' | 'after the store failed' | null
  /** Folder of what could not be stored. */
  readonly spool: string
  /** ms that one token request may take; absent: as ever. */
  readonly timeoutMs?: number
  /** Instead of callers: one pass over idle grants, that many days from now. */
  readonly idle?: { readonly limitDays: number; readonly inDays: number }
}
export type Told = {
  /** One a caller: `2 access-2`, or the code of a problem. */
  readonly rounds: readonly (readonly string[])[]
}

const HOUR = 3_600_000
const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

const die = (): never => {
  process.kill(process.pid, 'SIGKILL')
  for (;;);
}

const run = async (task: Task): Promise<Told> => {
  const opened = await openStore(task.where, (path) => path, log)
  const store: Store = {
    ...opened,
    credentials: {
      ...opened.credentials,
      rotate: async (...what) => {
        if (task.dieAt === 'before the store') die()
        if (task.dieAt === 'after the store failed') throw new Error('disk full')
        const stored = await opened.credentials.rotate(...what)
        if (task.dieAt === 'after the store') die()
        return stored
      },
    },
  }
  const ahead = task.idle === undefined ? 2 * HOUR : task.idle.inDays * 24 * HOUR
  const clock = { now: () => Date.now() + ahead, mono: () => performance.now() }
  const sealer = createSealer(await readRing(task.ring))
  const vault = createVault({ store, sealer, clock, randomId: randomUUID })
  const counted: typeof fetch = (...what) =>
    task.dieAt === 'before the request' ? die() : fetch(...what)
  const refresher = createRefresher({
    vault,
    client: createOAuthClient({
      fetch: counted,
      clock,
      ...(task.timeoutMs === undefined ? {} : { timeoutMs: task.timeoutMs }),
    }),
    clock,
    log,
    spool: createSpool({ folder: task.spool, sealer, log }),
  })
  const connection = connectionOf(
    { token: task.token },
    { lostResponse: task.lostResponse, refreshIdleDays: task.idle?.limitDays ?? null },
  )
  await refresher.resume(new Map([['acme', connection]]))
  const ask = (): Promise<string> =>
    refresher.fresh(task.credential, connection).then(
      ({ credential }) => `${credential.generation} ${credential.access.reveal()}`,
      (error: unknown) => {
        // Where others have the machine, too, a caller is told to come back, and does.
        if (error instanceof Problem && error.code === 'refresh_in_progress') return ask()
        return error instanceof Problem ? error.code : String(error)
      },
    )
  const rounds: (readonly string[])[] = []
  if (task.idle !== undefined) {
    const ends: string[] = []
    await createIdle({
      store,
      refresher,
      connections: () => new Map([[connection.name, connection]]),
      allowed: async () => true,
      onEvent: async () => {},
      outcome: (_, end) => void ends.push(end),
      clock,
      log,
    }).pass()
    rounds.push(ends)
  }
  for (const callers of task.rounds)
    rounds.push(await Promise.all(Array.from({ length: callers }, ask)))
  if (task.dieAt === 'after the store failed') die() // all were served
  await refresher.drain()
  await store.close()
  return { rounds }
}

process.once('message', (task: Task) => {
  void run(task).then((told) => {
    process.send?.(told)
    process.disconnect?.()
  })
})
