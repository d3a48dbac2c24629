// Signals and faults of the whole process: none ends it without a drain, and none opens a door.
import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { prepareFolder, type EvidenceLine } from '../support/deputy.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
/** Faults of a kind that no input is known to cause. */
const FAULTS = `data:text/javascript,${encodeURIComponent(`
process.on('SIGWINCH', () => { throw new Error('a fault of nobody') })
process.on('SIGCONT', () => { void Promise.reject(new Error('a promise of nobody')) })
`)}`

const children: ChildProcess[] = []
const dirs: string[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true })
})

const started = async (untilReady = true) => {
  const dir = await prepareFolder({ upstream: 'http://127.0.0.1:9' })
  dirs.push(dir)
  const child = spawn(
    process.execPath,
    ['--import', FAULTS, command, 'serve', '--config', join(dir, 'deputy.yaml')],
    { cwd: dir, env: { PATH: process.env['PATH'] ?? '' } },
  )
  children.push(child)
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const exited = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => resolve(String(code ?? signal)))
  })
  if (untilReady) await expect.poll(() => said, { timeout: 30_000 }).toContain('deputy is ready')
  const events = (): readonly string[] =>
    readFileSync(join(dir, 'audit.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as EvidenceLine).event)
  const live = async (): Promise<number> => {
    const admin = /^admin: (\S+)$/m.exec(said)?.[1] ?? ''
    return (await fetch(`http://${admin}/livez`)).status
  }
  return { child, said: () => said, exited, events, live }
}

test.each(['SIGTERM', 'SIGINT', 'SIGQUIT'] as const)(
  '%s drains, and the evidence says so',
  async (signal) => {
    const { child, exited, events } = await started()
    child.kill(signal)
    expect(await exited).toBe('0')
    expect(events()).toContain('process.stopped')
  },
)

test(
  'every other signal that ends a process is told and passed over',
  { timeout: 60_000 },
  async () => {
    const { child, said, exited, events, live } = await started()
    const signals = [
      'SIGHUP',
      'SIGUSR1',
      'SIGUSR2',
      'SIGALRM',
      'SIGVTALRM',
      'SIGPROF',
      'SIGIO',
      'SIGPWR',
      'SIGSTKFLT',
      'SIGXCPU',
    ] as const
    for (const signal of signals) {
      child.kill(signal)
      await expect.poll(said).toContain(`"signal":"${signal}"`)
    }
    for (const signal of ['SIGPIPE', 'SIGXFSZ', 'SIGURG'] as const) child.kill(signal)
    expect(await live()).toBe(200)
    expect(said()).not.toContain('Debugger listening')
    child.kill('SIGTERM')
    expect(await exited).toBe('0')
    expect(events()).toContain('process.stopped')
  },
)

test('a fault that nobody caught ends the process, but only after a drain', async () => {
  const { child, said, exited, events } = await started()
  child.kill('SIGWINCH')
  expect(await exited).toBe('1')
  expect(said()).toContain('a fault of nobody')
  expect(events()).toContain('process.stopped')
})

test('a promise that nobody waited for is told, and ends nothing', async () => {
  const { child, said, exited, live } = await started()
  child.kill('SIGCONT')
  await expect.poll(said).toContain('a promise of nobody')
  expect(await live()).toBe(200)
  child.kill('SIGTERM')
  expect(await exited).toBe('0')
})
