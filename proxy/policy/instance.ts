// One instance of a compiled policy: input text in, answer text out. The only file that touches the SDK and its memory.
import { createRequire } from 'node:module'
import type * as opa from '@open-policy-agent/opa-wasm'
import type { InputMember, PolicyFailure } from '../model.ts'
import { messageOf } from '../problem.ts'

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
/** Bytes for parsed members that many inputs share. */
const KEPT = 1024 * 1024
/** Characters of one of them: the room is for many. */
const LONGEST_KEPT = 8_192

type Exports = {
  readonly builtins: () => number
  readonly opa_heap_ptr_get: () => number
  readonly opa_heap_ptr_set: (address: number) => void
  readonly opa_json_parse: (address: number, length: number) => number
  readonly opa_json_dump: (value: number) => number
  readonly opa_value_add_path: (object: number, path: number, value: number) => number
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
  'opa_heap_ptr_get',
  'opa_heap_ptr_set',
  'opa_json_parse',
  'opa_json_dump',
  'opa_value_add_path',
  'opa_eval_ctx_new',
  'eval',
]

export type Instance = {
  /** The result set as JSON text, or why there is none. Never throws. */
  readonly evaluate: (input: string, repeated?: readonly InputMember[]) => string | PolicyFailure
  /** A trap leaves a module's globals in an unknown state: such an instance must be replaced. */
  readonly broken: () => boolean
}

const failure = (failed: PolicyFailure['failed'], detail: string): PolicyFailure => ({
  failed,
  detail,
})

type Kept = { readonly path: number; readonly value: number; readonly size: number }
const NONE: readonly InputMember[] = []

/** The input in one text. */
export const whole = (input: string, repeated: readonly InputMember[]): string =>
  repeated.length === 0
    ? input
    : `${input.slice(0, -1)}${repeated.map(([name, text]) => `,"${name}":${text}`).join('')}}`

/** Most pages the module may take: JSON costs some 16 times its text in memory. */
const maximumPages = (dataBytes: number): number =>
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

  let keptAt: number
  try {
    policy.setData(data.buffer)
    keptAt = (Number(policy.dataHeapPtr) + 7) & ~7
    // Room for the largest input, once, so that writing one never has to grow the memory.
    const short = keptAt + KEPT + inputLimit + 8 - memory.buffer.byteLength
    if (short > 0) memory.grow(Math.ceil(short / PAGE))
  } catch (thrown) {
    throw new Error(`the policy tables do not fit: ${messageOf(thrown)}`, { cause: thrown })
  }
  const dataAt = policy.dataAddr
  const inputAt = keptAt + KEPT
  const encoder = new TextEncoder()
  let target = new Uint8Array(memory.buffer, inputAt, inputLimit)
  let broken = false

  // Parsed members, each with the parsed path to its place, lie below the heap of the evaluations and outlive them.
  let kept = new Map<string, { readonly path: number; readonly values: Map<string, Kept> }>()
  let keptEnd = keptAt
  const keep = (text: string): { readonly value: number; readonly size: number } | null => {
    const room = new Uint8Array(memory.buffer, keptEnd, inputAt - keptEnd)
    const { read, written } = encoder.encodeInto(text, room)
    if (read < text.length) return null
    wasm.opa_heap_ptr_set((keptEnd + written + 7) & ~7)
    const value = wasm.opa_json_parse(keptEnd, written)
    const end = (wasm.opa_heap_ptr_get() + 7) & ~7
    // A value that passes the end of the room lies where the next input will.
    if (value === 0 || end > inputAt) return null
    keptEnd = end
    return { value, size: written }
  }
  const find = ([name, text]: InputMember): Kept | null => {
    let named = kept.get(name)
    if (named === undefined) {
      const path = keep(`["${name}"]`)
      if (path === null) return null
      kept.set(name, (named = { path: path.value, values: new Map() }))
    }
    const known = named.values.get(text)
    if (known !== undefined) return known
    if (text.length > LONGEST_KEPT || !text.isWellFormed()) return null
    const fresh = keep(text)
    if (fresh === null) return null
    const found = { path: named.path, value: fresh.value, size: fresh.size + name.length + 4 }
    named.values.set(text, found)
    return found
  }
  const findAll = (members: readonly InputMember[]): readonly Kept[] | null => {
    const found: Kept[] = []
    for (const member of members) {
      const one = find(member)
      if (one === null) return null
      found.push(one)
    }
    return found
  }
  /** null: they are read with the input. A room that is nearly full is cleared: whoever calls next fills it again. */
  const apart = (members: readonly InputMember[]): readonly Kept[] | null => {
    const found = findAll(members)
    if (found === null && inputAt - keptEnd < KEPT / 8) {
      kept = new Map()
      keptEnd = keptAt
    }
    return found
  }

  /*
   * Not the SDK's `evaluate`, nor `opa_eval` in one call: both take input that does not parse for no input at all. Asking
   * for the parsed value first costs nothing that can be measured.
   */
  const evaluate: Instance['evaluate'] = (own, repeated = NONE) => {
    if (own.charCodeAt(0) !== 0x7b || own.charCodeAt(own.length - 1) !== 0x7d)
      return failure('policy_error', 'the input is not a JSON object')
    try {
      const members = apart(repeated)
      const input = members === null ? whole(own, repeated) : own
      // The encoder would put U+FFFD in place of a lone surrogate: policy would see another text than the one it is given.
      if (!input.isWellFormed())
        return failure('policy_error', 'the input is not well-formed Unicode')
      if (target.buffer !== memory.buffer)
        target = new Uint8Array(memory.buffer, inputAt, inputLimit)
      const { read, written } = encoder.encodeInto(input, target)
      let size = written
      for (const member of members ?? []) size += member.size
      if (read < input.length || size > inputLimit)
        return failure('policy_input_too_large', `the input is larger than ${inputLimit} bytes`)
      wasm.opa_heap_ptr_set((inputAt + written + 7) & ~7)
      const parsed = wasm.opa_json_parse(inputAt, written)
      if (parsed === 0) return failure('policy_error', 'the input is not JSON')
      for (const { path, value } of members ?? [])
        if (wasm.opa_value_add_path(parsed, path, value) !== 0)
          return failure('policy_error', 'a member of the input has no place in it')
      const context = wasm.opa_eval_ctx_new()
      wasm.opa_eval_ctx_set_input(context, parsed)
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
