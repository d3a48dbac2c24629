// `npm run policy:mutants`: changes the policies one place at a time, in a copy, and prints what neither their own tests nor
// the golden inputs notice. Outside CI: it takes minutes.
import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, parseArgs, promisify } from 'node:util'
import { findOpa } from '../../proxy/commands/policy.ts'
import { regoMutants, type RegoMutant } from './find_rego.ts'

const USAGE = `npm run policy:mutants -- [options]
  --only PREFIX   files below policies/ that begin so
  --match TEXT    those whose line, as it is printed, matches this regular expression
  --jobs N        at a time, each in a copy of its own (2)
  --list          prints the mutants and runs nothing`
const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    match: { type: 'string', default: '' },
    jobs: { type: 'string', default: '2' },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const root = fileURLToPath(new URL('../../', import.meta.url))
const print = (line: string): void => void process.stdout.write(`${line}\n`)
const execute = promisify(execFile)
/** Each process lives for a moment: less collecting of garbage spares a third of its time, for 160 MiB. */
const run = (opa: string, args: readonly string[], cwd: string) =>
  execute(opa, [...args], { cwd, maxBuffer: 2 ** 26, env: { GOGC: '800', ...process.env } })

/** `policy_equivalent.txt`: a mutant as it is printed, without its line's number; below it, indented, why no test can tell. */
const excuses = (): ReadonlySet<string> => {
  const text = readFileSync(join(root, 'test/mutants/policy_equivalent.txt'), 'utf8')
  return new Set(text.split('\n').filter((line) => line !== '' && !/^[ #]/.test(line)))
}

type Golden = { readonly input: unknown; readonly decision: unknown }
const golden = new Map(
  readdirSync(join(root, 'test/golden')).map((name) => [
    basename(name, '.json'),
    JSON.parse(readFileSync(join(root, 'test/golden', name), 'utf8')) as Golden,
  ]),
)

type Verdict = 'noticed' | 'broken' | 'survived'

/** The golden inputs as one query, so that there is one process for all. */
const goldenHolds = async (opa: string, dir: string): Promise<boolean> => {
  const query = '[d | some one in input.all; d := data.deputy.decision with input as one]'
  const args = ['eval', '-b', 'policies', '-i', join(dir, 'golden.json'), '-f', 'values', query]
  const { stdout } = await run(opa, args, dir)
  const [decisions] = JSON.parse(stdout) as [unknown[]]
  return isDeepStrictEqual(
    decisions,
    [...golden.values()].map(({ decision }) => decision),
  )
}

/** The tests beside the file, which notice most; null: there are none. */
const besideIt = (policies: string, path: string): readonly string[] | null => {
  const own = readdirSync(join(policies, dirname(path)))
    .filter((name) => name.endsWith('_test.rego'))
    .map((name) => readFileSync(join(policies, dirname(path), name), 'utf8'))
    .flatMap((text) => [...text.matchAll(/^test_\w+/gm)].map(([name]) => name))
  return own.length === 0 ? null : ['--run', `\\.(?:${own.join('|')})$`]
}

/** What opa says of a policy that is none is told apart from a test that fails. */
const judge = async (opa: string, dir: string, mutant: RegoMutant): Promise<Verdict> => {
  const file = join(dir, 'policies', mutant.path)
  const original = readFileSync(file, 'utf8')
  writeFileSync(file, mutant.text)
  try {
    const test = (some: readonly string[]) =>
      run(opa, ['test', '-b', 'policies', '--timeout', '2m', ...some], dir)
    const own = besideIt(join(dir, 'policies'), mutant.path)
    if (own !== null) await test(own)
    // One process that takes a tenth of what all tests take.
    if (!(await goldenHolds(opa, dir))) return 'noticed'
    await test([])
    return 'survived'
  } catch (error) {
    const { stdout = '', code } = error as { stdout?: string; code?: unknown }
    if (typeof code !== 'number') throw error
    return stdout.includes('PASS: ') || stdout.includes('FAIL: ') ? 'noticed' : 'broken'
  } finally {
    writeFileSync(file, original)
  }
}

const main = async (): Promise<void> => {
  if (options.help) return print(USAGE)
  const policies = join(root, 'policies')
  const mutants = readdirSync(policies, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.rego') && !path.endsWith('_test.rego'))
    .filter((path) => path.startsWith(options.only))
    .sort()
    .flatMap((path) => regoMutants(path, readFileSync(join(policies, path), 'utf8')))
    .filter(({ path, line, what }) => new RegExp(options.match).test(`${path}:${line} ${what}`))
  const keyOf = ({ path, what }: RegoMutant): string => `${path} ${what}`
  if (options.list) return mutants.forEach((one) => print(`${one.path}:${one.line} ${one.what}`))
  const opa = await findOpa({
    named: process.env['DEPUTY_OPA'],
    path: process.env['PATH'],
    home: homedir(),
  })
  const excused = excuses()
  const folder = mkdtempSync(join(tmpdir(), 'deputy-policy-mutants-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const counts: Record<Verdict, number> = { noticed: 0, broken: 0, survived: 0 }
  const queue = mutants.filter((one) => !excused.has(keyOf(one)))
  const all = queue.length
  const worker = async (name: string): Promise<void> => {
    const dir = join(folder, name)
    cpSync(policies, join(dir, 'policies'), { recursive: true })
    writeFileSync(
      join(dir, 'golden.json'),
      JSON.stringify({ all: [...golden.values()].map(({ input }) => input) }),
    )
    if (!(await goldenHolds(opa, dir))) throw new Error('the golden inputs fail without a mutant')
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const verdict = await judge(opa, dir, mutant)
      counts[verdict] += 1
      if (verdict === 'survived') print(`survived: ${mutant.path}:${mutant.line} ${mutant.what}`)
    }
  }
  await Promise.all(Array.from({ length: Number(options.jobs) }, (_, i) => worker(String(i))))
  print(
    `${all} mutants: ${counts.noticed} noticed, ${counts.survived} survived, ${counts.broken} are no policy; ` +
      `${mutants.length - all} behave as the original (policy_equivalent.txt)`,
  )
  process.exitCode = counts.survived === 0 ? 0 : 1
}
await main()
