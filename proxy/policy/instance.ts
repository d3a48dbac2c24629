// One instance of a compiled policy: input text in, answer text out. The only file that touches the SDK and its memory.
import { createRequire } from 'node:module'
import type * as opa from '@open-policy-agent/opa-wasm'
import type { PolicyFailure } from '../model.ts'

/**
 * The module that `import` names leaves this one out, and `loadPolicy` asks for a `Response`, which makes Node load all
 * of its fetch: 40 ms and 8 MB, in each thread.
 */
const { loadPolicySync } = createRequire(import.meta.url)(
  '@open-policy-agent/opa-wasm',
) as typeof opa

/** Here and not in bundle.ts, so that a worker loads no readers of archives and YAML. */
export const ENTRYPOINT = 'deputy/decision'
const PAGE = 65_536
/** What an evaluation may use beside the tables: 16 MiB. */
const WORKING_PAGES = 256

type Exports = {
  readonly builtins: () => number
  readonly opa_heap_ptr_set: (address: number) => void
  readonly opa_json_parse: (address: number, length: number) => number
  readonly opa_json_dump: (value: number) => number
  readonly opa_eval_ctx_new: () => number
  readonly opa_eval_ctx_set_input: (context: number, value: number) => void
  readonly opa_eval_ctx_set_data: (context: number, value: number) => void
  readonly opa_eval_ctx_set_entrypoint: (context: number, id: number) => void
  readonly opa_eval_ctx_get_result: (context: number) => number
  readonly eval: (context: number) => number
}

const NEEDED = [
  'opa_wasm_abi_version',
  'opa_wasm_abi_minor_version',
  'opa_eval',
  'entrypoints',
  'builtins',
  'opa_heap_ptr_set',
  'opa_json_parse',
  'opa_json_dump',
  'opa_eval_ctx_new',
  'eval',
]

export type Instance = {
  /** The result set as JSON text, or why there is none. Never throws. */
  readonly evaluate: (input: string) => string | PolicyFailure
  /** A trap leaves a module's globals in an unknown state: such an instance must be replaced. */
  readonly broken: () => boolean
}

/** The SDK throws texts, plain objects and Errors alike. */
export const messageOf = (thrown: unknown): string => {
  if (typeof thrown === 'string') return thrown
  if (typeof thrown === 'object' && thrown !== null && 'message' in thrown)
    return String(thrown.message)
  return 'it failed without saying why'
}

const failure = (failed: PolicyFailure['failed'], detail: string): PolicyFailure => ({
  failed,
  detail,
})

/** Most pages the module may take: JSON costs some 16 times its text in memory. */
export const maximumPages = (dataBytes: number): number =>
  Math.min(65_536, WORKING_PAGES + Math.ceil((dataBytes * 20) / PAGE))

const load = (module: WebAssembly.Module, dataBytes: number) => {
  try {
    return loadPolicySync(module, { initial: 8, maximum: maximumPages(dataBytes) })
  } catch (thrown) {
    throw new Error(`policy.wasm cannot be instantiated: ${messageOf(thrown)}`, { cause: thrown })
  }
}

/**
 * Instantiates a policy with its tables.
 * @param data JSON text of the whole `data` document, UTF-8
 * @param inputLimit bytes
 * Throws an Error when the module is no policy of ours: other ABI, missing entry point, host functions wanted, no room.
 */
export const createInstance = async (
  module: WebAssembly.Module,
  data: Uint8Array<ArrayBuffer>,
  inputLimit: number,
): Promise<Instance> => {
  const exported = new Set(WebAssembly.Module.exports(module).map(({ name }) => name))
  const missing = NEEDED.filter((name) => !exported.has(name))
  if (missing.length > 0)
    throw new Error(
      `policy.wasm is no OPA policy of ABI 1.2 or later: it lacks ${missing.join(', ')}`,
    )
  const policy = load(module, data.byteLength)
  const wasm = (policy.wasmInstance as WebAssembly.Instance).exports as unknown as Exports
  const memory = policy.mem
  let bytes = Buffer.from(memory.buffer)
  const cString = (address: number): string => {
    // Growing the memory detaches every view of it.
    if (bytes.buffer !== memory.buffer) bytes = Buffer.from(memory.buffer)
    const end = bytes.indexOf(0, address)
    if (address <= 0 || end === -1) throw new Error('it gave no text')
    return bytes.toString('utf8', address, end)
  }

  if (!(Number(policy.minorVersion) >= 2))
    throw new Error(`policy.wasm has ABI 1.${String(policy.minorVersion)}: at least 1.2 is needed`)
  const foreign = Object.keys(JSON.parse(cString(wasm.opa_json_dump(wasm.builtins()))) as object)
  if (foreign.length > 0)
    throw new Error(
      `policy.wasm calls functions that are not native in WebAssembly: ${foreign.join(', ')} ` +
        '(build it with --capabilities policies/capabilities.json to see where)',
    )
  const entrypoints = policy.entrypoints as Readonly<Record<string, number>>
  const entrypoint = Object.hasOwn(entrypoints, ENTRYPOINT) ? entrypoints[ENTRYPOINT] : undefined
  if (entrypoint === undefined) throw new Error(`policy.wasm has no entry point ${ENTRYPOINT}`)

  let inputAt: number
  try {
    policy.setData(data.buffer)
    inputAt = Number(policy.dataHeapPtr)
    // Room for the largest input, once, so that writing one never has to grow the memory.
    const short = inputAt + inputLimit + 8 - memory.buffer.byteLength
    if (short > 0) memory.grow(Math.ceil(short / PAGE))
  } catch (thrown) {
    throw new Error(`the policy tables do not fit: ${messageOf(thrown)}`, { cause: thrown })
  }
  const dataAt = policy.dataAddr
  const encoder = new TextEncoder()
  let target = new Uint8Array(memory.buffer, inputAt, inputLimit)
  let broken = false

  /*
   * Not the SDK's `evaluate`, nor `opa_eval` in one call: both take input that does not parse for no input at all. Asking
   * for the parsed value first costs nothing that can be measured.
   */
  const evaluate: Instance['evaluate'] = (input) => {
    if (input.charCodeAt(0) !== 0x7b || input.charCodeAt(input.length - 1) !== 0x7d)
      return failure('policy_error', 'the input is not a JSON object')
    // The encoder would put U+FFFD in place of a lone surrogate: policy would see another text than the one it is given.
    if (!input.isWellFormed())
      return failure('policy_error', 'the input is not well-formed Unicode')
    try {
      if (target.buffer !== memory.buffer)
        target = new Uint8Array(memory.buffer, inputAt, inputLimit)
      const { read, written } = encoder.encodeInto(input, target)
      if (read < input.length)
        return failure('policy_input_too_large', `the input is larger than ${inputLimit} bytes`)
      wasm.opa_heap_ptr_set((inputAt + written + 7) & ~7)
      const value = wasm.opa_json_parse(inputAt, written)
      if (value === 0) return failure('policy_error', 'the input is not JSON')
      const context = wasm.opa_eval_ctx_new()
      wasm.opa_eval_ctx_set_input(context, value)
      wasm.opa_eval_ctx_set_data(context, dataAt)
      wasm.opa_eval_ctx_set_entrypoint(context, entrypoint)
      wasm.eval(context)
      return cString(wasm.opa_json_dump(wasm.opa_eval_ctx_get_result(context)))
    } catch (thrown) {
      if (thrown instanceof Error) broken = true
      return failure('policy_error', messageOf(thrown))
    }
  }
  return { evaluate, broken: () => broken }
}
