// Writes policies/capabilities.json: what the pinned opa compiles into WebAssembly itself, and nothing that would call
// out of it. Run after a change of version: node policies/capabilities.ts
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { OPA_VERSION, findOpa } from '../proxy/commands/policy.ts'

type Builtin = {
  readonly name: string
  readonly deprecated?: boolean
  readonly decl: { readonly args?: readonly unknown[]; readonly result?: unknown }
}
type Capabilities = { readonly builtins: readonly Builtin[] }

const opa = await findOpa({ opa: process.argv[2], home: homedir() })
const all = JSON.parse(
  execFileSync(opa, ['capabilities', '--version', `v${OPA_VERSION}`], { encoding: 'utf8' }),
) as Capabilities

// Needed by the compiler itself, which resolves them before anything runs.
const COMPILER = new Set([
  'eq',
  'assign',
  'print',
  'internal.print',
  'rego.metadata.chain',
  'rego.metadata.rule',
])
// Called by name like any other, but not to be written as a plain call.
const KEEP = new Set(['internal.member_2', 'internal.member_3', 'internal.template_string'])

const folder = mkdtempSync(join(tmpdir(), 'deputy-capabilities-'))
try {
  const calls = all.builtins.filter(
    ({ name, decl, deprecated }) =>
      deprecated !== true && decl.result !== undefined && !COMPILER.has(name) && !KEEP.has(name),
  )
  const asked = new Set(calls.map(({ name }) => name))
  const rules = calls.map(
    ({ name, decl }, i) =>
      `r${i} := ${name}(${(decl.args ?? []).map((_, n) => `input.a${n}`).join(', ')})`,
  )
  writeFileSync(join(folder, 't.rego'), `package t\n${rules.join('\n')}\n`)
  execFileSync(opa, ['build', '-t', 'wasm', '-e', 't', '-o', 'b.tar.gz', 't.rego'], { cwd: folder })
  execFileSync('tar', ['xzf', 'b.tar.gz', '/policy.wasm'], { cwd: folder, stdio: 'ignore' })
  const module = new WebAssembly.Module(readFileSync(join(folder, 'policy.wasm')))
  const memory = new WebAssembly.Memory({ initial: 16 })
  const none = (): never => {
    throw new Error('nothing is evaluated here')
  }
  const env = Object.fromEntries(
    WebAssembly.Module.imports(module).map(({ name }) => [name, name === 'memory' ? memory : none]),
  )
  const exports = new WebAssembly.Instance(module, { env }).exports as unknown as {
    readonly builtins: () => number
    readonly opa_json_dump: (value: number) => number
  }
  const address = exports.opa_json_dump(exports.builtins())
  const bytes = new Uint8Array(memory.buffer)
  const text = new TextDecoder().decode(bytes.subarray(address, bytes.indexOf(0, address)))
  const foreign = new Set(Object.keys(JSON.parse(text) as object))
  const builtins = all.builtins.filter(
    ({ name }) => COMPILER.has(name) || KEEP.has(name) || (asked.has(name) && !foreign.has(name)),
  )
  writeFileSync(
    new URL('./capabilities.json', import.meta.url),
    `${JSON.stringify({ ...all, builtins }, null, 2)}\n`,
  )
  process.stdout.write(`${builtins.length} of ${all.builtins.length} builtins are native\n`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
