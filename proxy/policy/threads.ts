// A policy in worker threads. WebAssembly cannot be interrupted where it runs, a thread can be ended.
// Not piscina: two threads of it took 55 instead of 46 MB, and 181 to 285 instead of 70 to 112 µs a question.
import { getCompileCacheDir } from 'node:module'
import { dirname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { JsonObject, PolicyFailure } from '../model.ts'
import { messageOf } from '../problem.ts'
import type { Made, Ready, ToMake } from './make.ts'
import { createTurns } from '../shares.ts'
import type { Table } from './tables.ts'

export type Start = {
  readonly module: WebAssembly.Module
  readonly data: Uint8Array<ArrayBuffer>
  readonly inputLimit: number
}
/** A thread that makes what a policy is loaded from, and ends. */
export type Making = { readonly make: ToMake }
/** A table whose value crosses as JSON, which costs a copy of bytes. */
export type Crossed = { readonly where: string; readonly own: boolean; readonly json: Uint8Array }
export type MakingReply =
  | { readonly kind: 'refused'; readonly why: string }
  | {
      readonly kind: 'made'
      readonly tables: readonly (readonly [name: string, table: Crossed])[]
      readonly vain: readonly string[]
      readonly ready: Ready
    }
export type Reply =
  | { readonly kind: 'ready' }
  | { readonly kind: 'refused'; readonly why: string }
  | {
      readonly kind: 'answer'
      readonly answer: string | PolicyFailure
      readonly ms: number
      readonly broken: boolean
    }
  | {
      readonly kind: 'answers'
      readonly answers: readonly (string | PolicyFailure)[]
      readonly broken: boolean
    }
/** Many questions at once, of other tables than those it started with where `data` is given. */
export type Batch = {
  readonly inputs: readonly string[]
  readonly data: Uint8Array<ArrayBuffer> | null
}

export type Asked = { readonly answer: string | PolicyFailure; readonly ms: number }

export type Isolate = {
  /** One question at a time. After `deadline` ms the thread is ended and the isolate is dead. Never rejects. */
  readonly ask: (input: string, deadline: number) => Promise<Asked>
  /**
   * The same for many, which share the deadline. Fewer answers than questions: the policy trapped at the last one that
   * is answered. A failure: none is answered. The isolate is dead in both cases.
   */
  readonly askAll: (
    batch: Batch,
    deadline: number,
  ) => Promise<readonly (string | PolicyFailure)[] | PolicyFailure>
  readonly alive: () => boolean
  readonly close: () => Promise<void>
}

// The built package holds .js beside .js; an import specifier is rewritten by the compiler, an address is not.
const WORKER = new URL(
  `./worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`,
  import.meta.url,
)

/**
 * No environment and no arguments of ours: nothing there is the policy's business. Where this process keeps compiled code the
 * thread takes its own from there too: 90 ms less.
 */
const started = (workerData: Start | Making): Worker => {
  const kept = getCompileCacheDir()
  const env = kept === undefined ? {} : { NODE_COMPILE_CACHE: dirname(kept) }
  return new Worker(WORKER, { workerData, env, execArgv: [], argv: [] })
}

/** A table that is read only when it is asked for. */
const crossed = ({ where, own, json }: Crossed): Table => {
  let value: JsonObject | null = null
  return {
    where,
    own,
    get value() {
      return (value ??= JSON.parse(Buffer.from(json).toString('utf8')) as JsonObject)
    },
  }
}
/** A thread ended before it had an answer: that says nothing of what it was asked about. */
export class Unfinished extends Error {
  override readonly name = 'Unfinished'
}
/**
 * As `makeOf`, in a thread of its own: calls go on meanwhile. Rejects with what that throws, or with Unfinished where the
 * thread dies, takes longer than `patience` ms, or nobody waits for it any more.
 * @param unwanted ends the thread
 */
export const makeAside = (make: ToMake, patience: number, unwanted: AbortSignal): Promise<Made> =>
  new Promise((resolve, reject) => {
    unwanted.throwIfAborted()
    const worker = started({ make })
    const end = (): void => {
      clearTimeout(timer)
      unwanted.removeEventListener('abort', leave)
      void worker.terminate()
    }
    const fail = (error: Error): void => {
      reject(error)
      end()
    }
    const unfinished = (why: string): void => fail(new Unfinished(why))
    const leave = (): void => unfinished('nobody waits for the check of the policy tables any more')
    const timer = setTimeout(
      () => unfinished(`the policy tables were not checked in ${patience} ms`),
      patience,
    )
    unwanted.addEventListener('abort', leave)
    worker.on('error', (error) =>
      unfinished(`the thread that checks the policy tables ended: ${messageOf(error)}`),
    )
    worker.on('exit', () => unfinished('the thread that checks the policy tables ended'))
    worker.on('message', (reply: MakingReply) => {
      if (reply.kind === 'refused') return fail(new Error(reply.why))
      const tables = new Map(reply.tables.map(([name, table]) => [name, crossed(table)]))
      resolve({ tables, vain: reply.vain, ready: reply.ready })
      end()
    })
  })

/** Starts a thread and loads the policy there. Rejects with an Error when that fails or takes longer than `patience` ms. */
export const openIsolate = (start: Start, patience: number): Promise<Isolate> =>
  new Promise((resolve, reject) => {
    const worker = started(start)
    let alive = true
    type Answer = Extract<Reply, { readonly kind: 'answer' | 'answers' }>
    let answered: ((reply: Answer | (PolicyFailure & { readonly ms: number })) => void) | null =
      null
    let timer: NodeJS.Timeout | undefined
    const end = (): Promise<unknown> => {
      alive = false
      clearTimeout(timer)
      return worker.terminate()
    }
    const fail = (failed: PolicyFailure['failed'], detail: string, ms: number): void => {
      void end()
      reject(new Error(detail))
      answered?.({ failed, detail, ms })
      answered = null
    }
    timer = setTimeout(
      () => fail('policy_timeout', `the policy did not load in ${patience} ms`, 0),
      patience,
    )
    worker.on('error', (error) => fail('policy_error', messageOf(error), 0))
    worker.on('exit', () => fail('policy_error', 'the policy thread ended', 0))
    worker.on('message', (reply: Reply) => {
      clearTimeout(timer)
      if (reply.kind === 'refused') fail('policy_error', reply.why, 0)
      else if (reply.kind === 'ready') resolve(isolate)
      else {
        answered?.(reply)
        answered = null
        if (reply.broken) void end()
      }
    })
    const put = (
      message: string | Batch,
      deadline: number,
    ): Promise<Answer | (PolicyFailure & { readonly ms: number })> =>
      new Promise((done) => {
        if (!alive || answered !== null) {
          const detail = alive ? 'the policy thread is busy' : 'the policy thread has ended'
          done({ failed: 'policy_error', detail, ms: 0 })
          return
        }
        answered = done
        timer = setTimeout(
          () => fail('policy_timeout', `the policy took longer than ${deadline} ms`, deadline),
          deadline,
        )
        worker.postMessage(message, [])
      })
    const isolate: Isolate = {
      ask: async (input, deadline) => {
        const reply = await put(input, deadline)
        if ('failed' in reply) {
          const { failed, detail, ms } = reply
          return { answer: { failed, detail }, ms }
        }
        return reply.kind === 'answer'
          ? reply
          : { answer: { failed: 'policy_error', detail: 'not what was asked' }, ms: 0 }
      },
      askAll: async (batch, deadline) => {
        const reply = await put(batch, deadline)
        if ('failed' in reply) return { failed: reply.failed, detail: reply.detail }
        return reply.kind === 'answers'
          ? reply.answers
          : { failed: 'policy_error', detail: 'not what was asked' }
      },
      alive: () => alive,
      close: async () => {
        await end()
      },
    }
  })

export type Pool = {
  /** In the agent's turn. Never rejects. */
  readonly ask: (input: string, agent: string) => Promise<string | PolicyFailure>
  readonly close: () => Promise<void>
}

export type PoolOptions = {
  readonly threads: number
  /** ms for one evaluation. */
  readonly deadline: number
  /** ms that a call may wait for a thread, and how many may wait; half of them of one agent. */
  readonly wait: number
  readonly queue: number
  /** ms for loading. */
  readonly patience: number
  /** Told when a thread could not be replaced; the next call tries again. */
  readonly onError: (error: Error) => void
}

/** Threads that serve one policy; one that is ended for its slowness is replaced. */
export const createPool = (start: Start, options: PoolOptions): Pool => {
  type Waiting = {
    readonly agent: string
    readonly input: string
    readonly done: (answer: string | PolicyFailure) => void
    readonly timer: NodeJS.Timeout
  }
  const waiting = createTurns<Waiting>()
  const idle: Isolate[] = []
  const all = new Set<Isolate>()
  let opening = 0
  let closed = false

  const refuse = (item: Waiting, failed: PolicyFailure['failed'], detail: string): void => {
    if (!waiting.remove(item.agent, item)) return
    clearTimeout(item.timer)
    item.done({ failed, detail })
  }
  const open = async (): Promise<void> => {
    opening++
    try {
      const isolate = await openIsolate(start, options.patience)
      all.add(isolate)
      idle.push(isolate)
      if (closed) await isolate.close()
    } catch (error) {
      if (!closed) options.onError(error instanceof Error ? error : new Error(String(error)))
    }
    opening--
    if (!closed) serve()
  }
  const grow = (): void => {
    if (!closed && all.size + opening < options.threads) void open()
  }
  const work = async (isolate: Isolate, item: Waiting): Promise<void> => {
    clearTimeout(item.timer)
    const { answer } = await isolate.ask(item.input, options.deadline)
    item.done(answer)
    if (isolate.alive()) idle.push(isolate)
    else {
      all.delete(isolate)
      grow()
    }
    serve()
  }
  const serve = (): void => {
    while (waiting.size() > 0) {
      const isolate = idle.pop()
      if (isolate === undefined) return
      if (!isolate.alive()) {
        all.delete(isolate)
        grow()
        continue
      }
      const next = waiting.next()
      if (next !== null) void work(isolate, next.item)
    }
  }
  for (let i = 0; i < options.threads; i++) grow()

  return {
    ask: (input, agent) =>
      new Promise((done) => {
        const full =
          waiting.size() >= options.queue || waiting.sizeOf(agent) >= Math.ceil(options.queue / 2)
        if (closed || full) {
          const detail = closed ? 'this policy was replaced' : 'too many calls wait for the policy'
          done({ failed: 'policy_timeout', detail })
          return
        }
        const item: Waiting = {
          agent,
          input,
          done,
          timer: setTimeout(
            () => refuse(item, 'policy_timeout', 'no policy thread was free in time'),
            options.wait,
          ),
        }
        waiting.add(agent, item)
        grow()
        serve()
      }),
    close: async () => {
      closed = true
      for (let left = waiting.next(); left !== null; left = waiting.next()) {
        clearTimeout(left.item.timer)
        left.item.done({ failed: 'policy_timeout', detail: 'this policy was replaced' })
      }
      await Promise.all([...all].map((isolate) => isolate.close()))
    },
  }
}
