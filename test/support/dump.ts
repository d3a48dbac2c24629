// Debian's PostgreSQL with its own pg_dump and pg_restore: those of another version refuse to read a newer server.
import { execFile, execFileSync } from 'node:child_process'
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { NO_SKIP } from './postgres.ts'
import { freePort } from './ports.ts'

const run = promisify(execFile)
const ROOT = '/usr/lib/postgresql'
const TOOLS = ['postgres', 'initdb', 'pg_ctl', 'createdb', 'pg_dump', 'pg_restore']

const bin = existsSync(ROOT)
  ? readdirSync(ROOT)
      .map((version) => join(ROOT, version, 'bin'))
      .find((folder) => TOOLS.every((tool) => existsSync(join(folder, tool))))
  : undefined
/** null, or why nothing can be dumped here: said aloud, and thrown under DEPUTY_NO_SKIP=1. */
export const missingDump = ((): string | null => {
  if (bin !== undefined) return null
  const missing = `${ROOT}/*/bin lacks one of ${TOOLS.join(', ')}: apt-get install postgresql`
  if (NO_SKIP) throw new Error(missing)
  process.stderr.write(`SKIPPED: ${missing}\n`)
  return missing
})()

export type Dumping = {
  /** URL of a new, empty database. */
  readonly fresh: () => Promise<string>
  /** Runs `pg_dump` or `pg_restore`; rejects with what it wrote when it ends with another status than 0. */
  readonly tool: (name: 'pg_dump' | 'pg_restore', ...args: readonly string[]) => Promise<unknown>
  readonly close: () => Promise<void>
}

/** It will not run as root. */
const account = (): { readonly uid?: number; readonly gid?: number } => {
  if (process.getuid?.() !== 0) return {}
  const id = (flag: string): number =>
    Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

export const startDumping = async (): Promise<Dumping> => {
  if (bin === undefined) throw new Error(missingDump ?? '')
  const folder = mkdtempSync(join(tmpdir(), 'postgres-'))
  const data = join(folder, 'data')
  mkdirSync(data, { mode: 0o700 })
  const as = account()
  for (const path of [folder, data])
    if (as.uid !== undefined) chownSync(path, as.uid, as.gid ?? as.uid)
  const port = await freePort()
  const server = (name: string, args: readonly string[]): Promise<unknown> =>
    run(join(bin, name), [...args], { ...as, cwd: folder })
  await server('initdb', ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync', '-E', 'UTF8'])
  const options = `-p ${port} -k ${folder} -h 127.0.0.1 -F`
  await server('pg_ctl', ['-D', data, '-w', '-t', '60', '-l', 'log', '-o', options, 'start'])
  let made = 0
  return {
    fresh: async () => {
      made += 1
      const name = `deputy_${made}`
      await server('createdb', ['-h', '127.0.0.1', '-p', String(port), '-U', 'postgres', name])
      return `postgres://postgres@127.0.0.1:${port}/${name}`
    },
    tool: (name, ...args) => run(join(bin, name), [...args]),
    close: async () => {
      await server('pg_ctl', ['-D', data, '-m', 'immediate', 'stop'])
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
