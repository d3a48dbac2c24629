// `npm run mutants`: takes the checks of proxy/ out, one at a time, in copies of the tree, and prints those that no test misses.
// A mutant meets the test of its file's name, then the related tests of the same folder, then all others that are related.
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createVitest } from 'vitest/node'
import { mutantsOf, type Mutant } from './find.ts'

const USAGE = `npm run mutants -- [options]
  --only PREFIX    files below proxy/ that begin so; may be given several times (all their mutants are tried)
  --limit N        how many outside wire/, pipeline/ and audit/records.ts (200)
  --elsewhere      those outside only
  --skip N         without the first N of those outside, which another run tried (0)
  --seed TEXT      which of them
  --jobs N         at a time, each in a copy of its own (1)
  --timeout S      the least that a run of tests may take before it counts as hung (120)
  --quick          with the tests of the same folder only
  --list           prints the mutants and runs nothing`
const { values: options } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    limit: { type: 'string', default: '200' },
    seed: { type: 'string', default: 'deputy' },
    jobs: { type: 'string', default: '1' },
    timeout: { type: 'string', default: '120' },
    elsewhere: { type: 'boolean', default: false },
    skip: { type: 'string', default: '0' },
    quick: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const root = fileURLToPath(new URL('../../', import.meta.url))
const print = (line: string): void => void process.stdout.write(`${line}\n`)
const numberOf = (name: 'limit' | 'skip' | 'jobs' | 'timeout', least: number): number => {
  const number = Number(options[name])
  if (!Number.isInteger(number) || number < least)
    throw new Error(`--${name} must be a whole number, ${least} or more`)
  return number
}

// --- which mutants --------------------------------------------------------------------------------

/** Here no mutant may survive. */
const strict = (path: string): boolean => /^(?:wire\/|pipeline\/|audit\/records\.ts$)/.test(path)
const rank = (mutant: Mutant): string =>
  createHash('sha256').update(`${options.seed} ${mutant.path} ${mutant.what}`).digest('hex')

const chosen = (limit: number, skip: number): readonly Mutant[] => {
  const fits = (path: string): boolean =>
    options.only.length === 0 || options.only.some((prefix) => path.startsWith(prefix))
  const all = readdirSync(join(root, 'proxy'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts') && fits(path))
    .sort()
    .flatMap((path) => mutantsOf(path, readFileSync(join(root, 'proxy', path), 'utf8')))
  if (options.only.length > 0) return all
  const elsewhere = all
    .filter(({ path }) => !strict(path))
    .map((mutant) => [rank(mutant), mutant] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .slice(skip, limit)
    .map(([, mutant]) => mutant)
  return options.elsewhere ? elsewhere : [...all.filter(({ path }) => strict(path)), ...elsewhere]
}

const keyOf = ({ path, what }: Mutant): string => `${path} ${what}`
/** `equivalent.txt`: a mutant's line as it is printed, without its number; then, indented, why it behaves the same. */
const readExcuses = (): ReadonlyMap<string, string> => {
  const excuses = new Map<string, string>()
  let key: string | null = null
  for (const line of readFileSync(join(root, 'test/mutants/equivalent.txt'), 'utf8').split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue
    if (!line.startsWith(' ')) excuses.set((key = line), '')
    else if (key === null) throw new Error(`equivalent.txt: a reason without a mutant: ${line}`)
    else excuses.set(key, `${excuses.get(key) ?? ''} ${line.trim()}`.trim())
  }
  for (const [mutant, reason] of excuses)
    if (reason === '') throw new Error(`equivalent.txt: no reason stands below: ${mutant}`)
  return excuses
}

// --- copies ---------------------------------------------------------------------------------------

const folder = mkdtempSync(join(realpathSync(tmpdir()), 'deputy-mutants-'))
const running = new Set<number>()
process.once('exit', () => {
  for (const pid of running) process.kill(-pid, 'SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => process.exit(130))

/** The tree as it is now, committed or not. Packages are links, so that what tools cache stays in the copy. */
const copyTree = (name: string): string => {
  const dir = join(folder, name)
  const list = execFileSync('git', ['ls-files', '-coz', '--exclude-standard'], { cwd: root })
  for (const path of list.toString().split('\0').filter(Boolean))
    cpSync(join(root, path), join(dir, path), { dereference: false })
  mkdirSync(join(dir, 'node_modules'))
  for (const name of readdirSync(join(root, 'node_modules')))
    if (name !== '.vite')
      symlinkSync(join(root, 'node_modules', name), join(dir, 'node_modules', name))
  return dir
}

// --- tests ----------------------------------------------------------------------------------------

type Ran = 'passed' | 'hung' | { readonly failed: readonly string[] }
type Report = {
  readonly testResults: readonly { readonly name: string; readonly status: string }[]
}

/** Runs these test files in a copy. `failed` is empty where the run itself broke. */
const runTests = async (dir: string, files: readonly string[], ms: number): Promise<Ran> => {
  const report = join(dir, 'node_modules', 'report.json')
  rmSync(report, { force: true })
  // A fact that a mutant keeps from coming is not waited for as long as a busy machine may need.
  const patience = ['--testTimeout=30000', '--hookTimeout=60000', '--expect.poll.timeout=10000']
  const output = ['--reporter', 'json', '--outputFile', report]
  const args = ['run', '--bail', '1', ...patience, ...output, ...files]
  const child = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', ...args], {
    cwd: dir,
    stdio: 'ignore',
    detached: true, // a group of its own, which ends as a whole
  })
  const { pid } = child
  if (pid === undefined) throw new Error('vitest could not be started')
  running.add(pid)
  const timer = setTimeout(() => process.kill(-pid, 'SIGKILL'), ms)
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.once('exit', (...ended) => resolve(ended))
  })
  clearTimeout(timer)
  running.delete(pid)
  if (signal !== null) return 'hung'
  if (code === 0) return 'passed'
  try {
    const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as Report
    const failed = testResults.filter(({ status }) => status === 'failed')
    return { failed: failed.map(({ name }) => relative(dir, name)) }
  } catch (cause) {
    if (cause instanceof SyntaxError || (cause instanceof Error && 'code' in cause))
      return { failed: [] }
    throw cause
  }
}

/** Test files that import this file, through others or not. */
const relatedTo = async (path: string): Promise<readonly string[]> => {
  const vitest = await createVitest(
    'test',
    { root, watch: false, related: [join(root, 'proxy', path)] },
    { logLevel: 'silent' },
  )
  const specifications = await vitest.getRelevantTestSpecifications()
  await vitest.close()
  return specifications.map(({ moduleId }) => relative(root, moduleId)).sort()
}
const once = <T>(make: (key: string) => Promise<T>): ((key: string) => Promise<T>) => {
  const made = new Map<string, Promise<T>>()
  return (key) => {
    const known = made.get(key) ?? make(key)
    made.set(key, known)
    return known
  }
}
const related = once(relatedTo)

type Stage = { readonly files: readonly string[]; readonly ms: number }
const least = numberOf('timeout', 1) * 1_000

/** Some tests as they do without a mutant: those that fail even so say nothing, and are left out. */
const sound = async (dir: string, wanted: readonly string[]): Promise<Stage> => {
  const began = performance.now()
  let files = wanted
  let again = true
  while (files.length > 0) {
    const ran = await runTests(dir, files, 3_600_000)
    if (ran === 'passed') break
    // A busy machine fails tests, too, so each set has a second try.
    if (again && ran !== 'hung') {
      again = false
      continue
    }
    again = true
    if (ran === 'hung' || ran.failed.length === 0)
      throw new Error(`the tests cannot be run without a mutant: ${files.join(' ')}`)
    print(`left out, they fail without a mutant: ${ran.failed.join(' ')}`)
    files = files.filter((file) => !ran.failed.includes(file))
  }
  return { files, ms: Math.max(least, 5 * (performance.now() - began)) }
}

/** The stages of a file's tests, each measured when a mutant first comes so far. */
const stagesOf = (stage: (files: readonly string[]) => Promise<Stage>) =>
  async function* (path: string): AsyncGenerator<Stage> {
    const files = await related(path)
    const own = join('test', path.replace(/\.ts$/, '.test.ts'))
    const near = (file: string): boolean => file !== own && dirname(file) === dirname(own)
    const parts = [
      files.filter((file) => file === own),
      files.filter(near),
      options.quick ? [] : files.filter((file) => file !== own && !near(file)),
    ]
    for (const part of parts) {
      const { files: left, ms } = part.length === 0 ? { files: part, ms: 0 } : await stage(part)
      if (left.length > 0) yield { files: left, ms }
    }
  }

/** What killed it; null: it survived. A failure counts when it comes twice: a busy machine fails tests, too. */
const judge = async (
  dir: string,
  mutant: Mutant,
  stages: AsyncGenerator<Stage>,
): Promise<string | null> => {
  const file = join(dir, 'proxy', mutant.path)
  const original = readFileSync(file, 'utf8')
  for await (const { files, ms } of stages) {
    writeFileSync(file, mutant.text)
    try {
      let ran = await runTests(dir, files, ms)
      if (ran !== 'passed' && ran !== 'hung' && files.length > 1 && ran.failed.length > 0) {
        const first = ran.failed
        ran = await runTests(dir, first, ms)
        if (ran === 'passed') ran = await runTests(dir, files, ms)
      }
      if (ran === 'hung') return 'time'
      if (ran !== 'passed') return ran.failed.join(' ') || 'a broken run'
    } finally {
      writeFileSync(file, original)
    }
  }
  return null
}

// --- the run --------------------------------------------------------------------------------------

const main = async (): Promise<number> => {
  const excuses = readExcuses()
  const mutants = chosen(numberOf('limit', 0), numberOf('skip', 0))
  const known = new Set(mutants.map(keyOf))
  const files = new Set(mutants.map(({ path }) => path))
  // Outside those only some are tried, so that one that is not among them says nothing.
  const stale = [...excuses.keys()].filter((key) => {
    const path = key.slice(0, key.indexOf(' '))
    return !known.has(key) && files.has(path) && (strict(path) || options.only.length > 0)
  })
  for (const key of stale) print(`equivalent.txt excuses what is no mutant any more: ${key}`)
  if (options.list) {
    for (const mutant of mutants) print(`${mutant.path}:${mutant.line} ${mutant.what}`)
    return 0
  }
  const began = performance.now()
  const todo = mutants.filter((mutant) => !excuses.has(keyOf(mutant)))
  const queue = [...todo]
  const survivors: Mutant[] = []
  let done = 0
  const work = async (_: unknown, job: number): Promise<void> => {
    const dir = copyTree(String(job))
    const measured = once((key) => sound(dir, key.split('\n')))
    const stages = stagesOf((part) => measured(part.join('\n')))
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const killer = await judge(dir, next, stages(next.path))
      done++
      const seconds = Math.round((performance.now() - began) / 1_000)
      if (killer === null) {
        survivors.push(next)
        print(`SURVIVED proxy/${next.path}:${next.line} ${next.what}`)
      }
      if (killer === 'time') print(`killed by time: proxy/${next.path}:${next.line} ${next.what}`)
      if (done % 25 === 0 || done === todo.length)
        print(`${done} of ${todo.length} tried, ${survivors.length} survived, ${seconds} s`)
    }
  }
  await Promise.all(Array.from({ length: numberOf('jobs', 1) }, work))

  const excused = mutants.length - todo.length
  print(`\n${todo.length} tried, ${survivors.length} survived, ${excused} excused as equivalent`)
  for (const mutant of survivors.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)))
    print(`proxy/${mutant.path}:${mutant.line} ${mutant.what}`)
  return stale.length > 0 || survivors.some(({ path }) => strict(path)) ? 1 : 0
}

if (options.help) print(USAGE)
else process.exitCode = await main()
