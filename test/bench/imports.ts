// What each library costs a process that imports it, and which of them a sidecar loads to start: `node bin/run.js
// test/bench/imports.ts`. A process each, the median of five, with compiled code kept.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { prepareFolder, startChild } from '../support/deputy.ts'
import { median } from './report.ts'

const ROUNDS = 5
const ROOT = fileURLToPath(new URL('../../', import.meta.url))

type Cost = {
  readonly name: string
  /** ms until it is there. */
  readonly ms: number
  /** Resident memory that it adds, MB. */
  readonly mb: number
  readonly modules: number
}

/** Where what we use of a package is not behind its name. */
const ENTRIES: Readonly<Record<string, readonly string[]>> = {
  graphql: ['graphql/language', 'graphql/error'],
}
const CHILD = `
const { registerHooks } = await import('node:module')
let modules = 0
registerHooks({ load: (url, context, next) => (url.startsWith('file:') && (modules += 1), next(url, context)) })
const rss = () => process.memoryUsage.rss() / 1e6
const names = JSON.parse(process.argv[1])
const [before, began] = [rss(), performance.now()]
for (const name of names) await import(name)
console.log(JSON.stringify({ ms: performance.now() - began, mb: rss() - before, modules }))
`

/** Imports it in a process of its own. */
const once = (name: string, cache: string): Omit<Cost, 'name'> => {
  const names = JSON.stringify(ENTRIES[name] ?? [name])
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', CHILD, names],
    { cwd: ROOT, encoding: 'utf8', env: { ...process.env, NODE_COMPILE_CACHE: cache } },
  )
  if (status !== 0) throw new Error(`${name} cannot be imported:\n${stderr}`)
  return JSON.parse(stdout) as Omit<Cost, 'name'>
}

export const costsOf = (names: readonly string[], rounds = ROUNDS): readonly Cost[] => {
  const cache = mkdtempSync(join(tmpdir(), 'deputy-imports-'))
  try {
    return names.map((name) => {
      once(name, cache)
      const all = Array.from({ length: rounds }, () => once(name, cache))
      const of = (pick: keyof Omit<Cost, 'name'>): number => median(all.map((each) => each[pick]))
      return { name, ms: of('ms'), mb: of('mb'), modules: of('modules') }
    })
  } finally {
    rmSync(cache, { recursive: true, force: true })
  }
}

/** Tells each file that is loaded. */
const SPY = `data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module'
registerHooks({ load: (url, context, next) => (process.stderr.write('LOADED ' + url + '\\n'), next(url, context)) })`)}`

/** Packages that a deputy on SQLite, with one connection and without pages, has loaded when it is ready. */
export const loadedAtStart = async (): Promise<ReadonlySet<string>> => {
  const dir = await prepareFolder({ upstream: 'http://127.0.0.1:9' })
  const file = join(dir, 'deputy.yaml')
  const config = JSON.parse(readFileSync(file, 'utf8')) as {
    readonly connections: Readonly<Record<string, object>>
    readonly listeners: object
    readonly connect: object
  }
  const [connection = ['acme', {}]] = Object.entries(config.connections)
  const alone = {
    ...config,
    connections: Object.fromEntries([connection]),
    listeners: { ...config.listeners, connect: 'off' },
    connect: { ...config.connect, url: 'http://localhost:7412' },
  }
  writeFileSync(file, JSON.stringify(alone))
  const deputy = await startChild({ upstream: '' }, dir, { NODE_OPTIONS: `--import=${SPY}` })
  try {
    const found = deputy.logged().matchAll(/^LOADED .*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//gm)
    return new Set([...found].map(([, name = '']) => name))
  } finally {
    await deputy.close()
  }
}

const main = async (): Promise<void> => {
  const { dependencies }: { readonly dependencies: object } = JSON.parse(
    readFileSync(join(ROOT, 'package.json'), 'utf8'),
  )
  const atStart = await loadedAtStart()
  const say = (line: string): void => void process.stdout.write(`${line}\n`)
  say('| package | ms | MB | files | a sidecar loads it |\n|---|---:|---:|---:|---|')
  for (const { name, ms, mb, modules } of [...costsOf(Object.keys(dependencies))].sort(
    (a, b) => b.mb - a.mb,
  ))
    say(
      `| ${name} | ${ms.toFixed(0)} | ${mb.toFixed(1)} | ${modules} | ${atStart.has(name) ? 'to start' : 'when asked for'} |`,
    )
}

if (resolve(process.argv[1] ?? '') === fileURLToPath(import.meta.url)) await main()
