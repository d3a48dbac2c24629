// Backlot: vendors' APIs over one small company, ten people with a token each, and every other token is refused.
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parse } from 'yaml'

/** `.ci/run` makes it. */
const COMMAND =
  process.env['DEPUTY_BACKLOT'] ?? join(homedir(), '.cache/deputy-ci/backlot-0.1.0/bin/backlot')

/** Empty, or why nothing is tried against it: said aloud; under DEPUTY_NO_SKIP=1 it throws. */
export const backlotMissing = (): string => {
  if (existsSync(COMMAND)) return ''
  const missing = `${COMMAND} is missing: .ci/run makes it`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
  process.stderr.write(`SKIPPED: ${missing}\n`)
  return ` (SKIPPED: ${missing})`
}

export type Backlot = {
  readonly origin: string
  /** The token of a person of its company, by the local part of their address: `ava.chen`. */
  readonly token: (name: string) => string
  readonly close: () => Promise<void>
}

/** Starts a child on a free port of 127.0.0.1, over its bundled company in a folder of its own. */
export const startBacklot = async (): Promise<Backlot> => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-backlot-'))
  await promisify(execFile)(COMMAND, ['import', '--bundled', '--data-dir', dir])
  const { users } = parse(readFileSync(join(dir, 'tokens.yaml'), 'utf8')) as {
    readonly users: readonly { readonly email: string; readonly token: string }[]
  }
  const child = spawn(COMMAND, ['serve', '--data-dir', dir, '--port', '0', '--disable-telemetry'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const close = async (): Promise<void> => {
    child.kill('SIGTERM')
    await ended
    rmSync(dir, { recursive: true, force: true })
  }
  let said = ''
  const origin = await new Promise<string>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-4_000)
      const at = /running on (http:\/\/127\.0\.0\.1:\d+)/.exec(said)?.[1]
      if (at !== undefined) resolve(at)
    })
    child.once('error', reject)
    void ended.then(() => reject(new Error(`backlot ended: ${said}`)))
  })
  return {
    origin,
    token: (name) => users.find(({ email }) => email.startsWith(`${name}@`))?.token ?? '',
    close,
  }
}
