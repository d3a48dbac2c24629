// Turns a bundle and its tables into an engine, or throws an Error. Everything is tried in a thread
// first, because a thread can be ended.
import type {
  Clock,
  InputMember,
  Json,
  JsonObject,
  Log,
  PolicyDecision,
  PolicyEngine,
  PolicyFailure,
} from '../model.ts'
import { messageOf } from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { createReader } from './decision.ts'
import { digestOf } from './bundle.ts'
import type { Bundle } from './bundle.ts'
import { createInstance, whole } from './instance.ts'
import type { Instance } from './instance.ts'
import { createPool, openIsolate } from './threads.ts'
import type { Pool, Start } from './threads.ts'
import { SLOW, proveCeilings, proveGolden, proveHostile, readGolden } from './self_test.ts'
import { indexOf } from './rows.ts'
import { asksOf } from './asks.ts'
import { INDEX } from './tables.ts'
import type { Grants, RoleGrants } from './tables.ts'
import { wholeTables } from './whole.ts'

/** Tables of the operator: name → table, each in place of a whole one of `data.deputy_data`. */
export type Tables = ReadonlyMap<string, JsonObject>

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
}

export type Compile = (wasm: Uint8Array<ArrayBuffer>) => Promise<WebAssembly.Module>

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

/** `deputy_data` as the policy sees it: rows whole, without the probes, which only the self-test reads. */
export const tablesIn = (data: JsonObject, tables: Tables): ReadonlyMap<string, Json> => {
  const own = isObject(data['deputy_data']) ? data['deputy_data'] : {}
  const merged = new Map<string, Json>([...Object.entries(own), ...tables])
  merged.delete('probes')
  return wholeTables(merged)
}

/** The `data` document, with the index of its rows. */
const document = (data: JsonObject, tables: ReadonlyMap<string, Json>): Uint8Array<ArrayBuffer> => {
  const merged = new Map(tables)
  const [grants, roles] = [merged.get('grants'), merged.get('role_grants')]
  if (isObject(grants) && isObject(roles))
    merged.set(INDEX, indexOf(grants as unknown as Grants, roles as unknown as RoleGrants))
  const whole = new Map<string, Json>([
    ...Object.entries(data),
    ['deputy_data', Object.fromEntries(merged)],
  ])
  return new TextEncoder().encode(JSON.stringify(Object.fromEntries(whole)))
}

/** The `data` document of a bundle with these tables of the operator's. */
export const documentOf = (data: JsonObject, tables: Tables): Uint8Array<ArrayBuffer> =>
  document(data, tablesIn(data, tables))

/** Of module, data and overlay. */
export const digestWith = ({ wasm, data }: Bundle, tables: Tables): string => {
  const overlay = [...tables].sort(([a], [b]) => (a < b ? -1 : 1))
  return digestOf([wasm, JSON.stringify(data), JSON.stringify(overlay)])
}

/** Proves a policy; true: it is quick enough for the serving thread. */
const prove = async (start: Start, bundle: Bundle, tables: Tables): Promise<boolean> => {
  const own = isObject(bundle.data['deputy_data'])
    ? bundle.data['deputy_data']['probes']
    : undefined
  const [golden, mine] = [readGolden(own), readGolden(tables.get('probes'))]
  let slowest = 0
  // A bundle's probes speak of the bundle's own tables, an operator's of the operator's.
  const alone = tables.size === 0
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
    const ceilings = tablesIn(bundle.data, tables).has('agents')
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
  const inUse = tablesIn(bundle.data, tables)
  const asks = asksOf(inUse.get('grants'))
  const start: Start = { module, data: document(bundle.data, inUse), inputLimit }
  const quick = await prove(start, bundle, tables)
  const digest = digestWith(bundle, tables)
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
