// Turns a bundle and its tables into an engine, or throws an Error. Everything is tried in a thread
// first, because a thread can be ended.
import type {
  Clock,
  InputMember,
  Log,
  PolicyDecision,
  PolicyEngine,
  PolicyFailure,
} from '../model.ts'
import { messageOf } from '../problem.ts'
import { createReader } from './decision.ts'
import { digestOf } from './bundle.ts'
import type { Bundle } from './bundle.ts'
import { createInstance, whole } from './instance.ts'
import type { Instance } from './instance.ts'
import { createPool, openIsolate } from './threads.ts'
import type { Pool, Start } from './threads.ts'
import { SLOW, proveCeilings, proveGolden, proveHostile, readGolden } from './self_test.ts'
import { documentOf, readyOf } from './make.ts'
import type { Ready, Tables } from './make.ts'

export type ActivateDeps = {
  readonly log: Log
  readonly clock: Clock
  /** Bytes; 32 KiB unless told. */
  readonly inputLimit?: number
  /** ms for one evaluation in a worker; 50 unless told. */
  readonly deadline?: number
  /** Time of this thread on the processor, ms. */
  readonly cpu?: () => number
  /** Rejects with an Error where it is no module; as `createCompiler` unless told. */
  readonly compile?: Compile
  /** What was made of bundle and tables before, which are not looked at then; made here unless told. */
  readonly ready?: Ready
}

type Compile = (wasm: Uint8Array<ArrayBuffer>) => Promise<WebAssembly.Module>

/** Keeps the last module: where only data changed nothing is compiled again. */
export const createCompiler = (): Compile => {
  let last: { readonly digest: string; readonly module: WebAssembly.Module } | null = null
  return async (wasm) => {
    const digest = digestOf([wasm])
    if (last?.digest === digest) return last.module
    const module = await WebAssembly.compile(wasm).catch((error: unknown) => {
      throw new Error(`policy.wasm cannot be compiled: ${messageOf(error)}`, { cause: error })
    })
    last = { digest, module }
    return module
  }
}

type Repeated = readonly InputMember[]

const LOADING = 15_000
const WARM_UP = 100

/** Proves a policy; true: it is quick enough for the serving thread. */
const prove = async (
  start: Start,
  bundle: Bundle,
  { probes, alone, ceilings }: Ready,
): Promise<boolean> => {
  const [golden, mine] = [readGolden(probes.bundled), readGolden(probes.own)]
  let slowest = 0
  // A bundle's probes speak of the bundle's own tables, an operator's of the operator's.
  if (!alone && golden.length > 0) {
    const isolate = await openIsolate(
      { ...start, data: documentOf(bundle.data, new Map()) },
      LOADING,
    )
    try {
      slowest = await proveGolden(isolate, golden)
    } finally {
      await isolate.close()
    }
  }
  const isolate = await openIsolate(start, LOADING)
  try {
    slowest = Math.max(slowest, await proveGolden(isolate, alone ? golden : mine))
    slowest = Math.max(slowest, await proveHostile(isolate, start.inputLimit))
    if (ceilings) await proveCeilings(isolate, (own) => documentOf(bundle.data, own), LOADING)
  } finally {
    await isolate.close()
  }
  return slowest <= SLOW
}

/** Time of this thread on the processor, ms. */
const threadCpu = (): number => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}

/**
 * Compiles, proves and warms a policy. Throws an Error that says what is wrong with it. A policy that is right but slow
 * serves from worker threads; one that becomes slow later moves there.
 */
export const activate = async (
  bundle: Bundle,
  tables: Tables,
  deps: ActivateDeps,
): Promise<PolicyEngine> => {
  const { log, clock, inputLimit = 32 * 1024, deadline = 50, cpu = threadCpu } = deps
  const { compile = createCompiler() } = deps
  const named = { revision: bundle.revision }
  const module = await compile(bundle.wasm)
  const { ready = readyOf(bundle, tables) } = deps
  const { asks, digest, data } = ready
  const start: Start = { module, data, inputLimit }
  const quick = await prove(start, bundle, ready)
  const read = createReader()

  let instance: Instance | null = null
  let renewing = false
  let pool: Pool | null = null

  const moveAway = (): Pool => {
    instance = null
    pool ??= createPool(start, {
      threads: 2,
      deadline,
      wait: 1000,
      queue: 1000,
      patience: LOADING,
      onError: (error) =>
        log.error({ ...named, err: error }, 'a policy thread could not be started'),
    })
    return pool
  }
  const renew = async (): Promise<void> => {
    if (renewing) return
    renewing = true
    instance = null
    try {
      const fresh = await createInstance(module, start.data, inputLimit)
      if (pool === null) instance = fresh
    } catch (error) {
      log.error({ ...named, err: error }, 'the policy trapped and could not be started again')
    }
    renewing = false
  }
  const again = (serving: Instance, input: string, repeated: Repeated): number => {
    const before = cpu()
    serving.evaluate(input, repeated)
    return cpu() - before
  }
  const here = (
    serving: Instance,
    input: string,
    repeated: Repeated,
  ): PolicyDecision | PolicyFailure => {
    const started = clock.mono()
    const answer = serving.evaluate(input, repeated)
    const ms = clock.mono() - started
    // A busy machine takes the thread away for longer than that: only time on the processor counts against a policy.
    if (ms > SLOW && pool === null && !serving.broken() && again(serving, input, repeated) > SLOW) {
      log.warn(
        { ...named, ms },
        `the policy took longer than ${SLOW} ms: it moves to worker threads`,
      )
      moveAway()
    }
    if (serving.broken() && pool === null) void renew()
    return typeof answer === 'string' ? read(answer) : answer
  }

  if (quick) {
    const warm = await createInstance(module, start.data, inputLimit)
    for (let i = 0; i < WARM_UP; i++) warm.evaluate('{"version":1}')
    // If an evaluation trapped while warming up, this instance must not be the one that serves.
    instance = warm.broken() ? await createInstance(module, start.data, inputLimit) : warm
  } else {
    log.warn(named, `the policy can take longer than ${SLOW} ms: it is served from worker threads`)
    moveAway()
  }

  return {
    revision: bundle.revision,
    digest,
    asks,
    evaluate: (input, repeated = [], agent = '') => {
      if (pool !== null)
        return pool
          .ask(whole(input, repeated), agent)
          .then((answer) => (typeof answer === 'string' ? read(answer) : answer))
      if (instance === null)
        return { failed: 'policy_error', detail: 'the policy trapped and is being started again' }
      return here(instance, input, repeated)
    },
    close: async () => {
      await pool?.close()
    },
  }
}
