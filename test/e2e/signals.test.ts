// Signals and faults of the whole process: none ends it without a drain, and none opens a door.
import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { Agent, request, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { prepareFolder, type EvidenceLine, type Setup } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'

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

const started = async (untilReady = true, setup: Partial<Setup> = {}) => {
  const dir = await prepareFolder({ upstream: 'http://127.0.0.1:9', ...setup })
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
  if (untilReady) await expect.poll(() => said).toContain('deputy is ready')
  const events = (): readonly string[] =>
    readFileSync(join(dir, 'audit.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as EvidenceLine).event)
  const live = async (): Promise<number> => {
    const admin = /^admin: (\S+)$/m.exec(said)?.[1] ?? ''
    return (await fetch(`http://${admin}/livez`)).status
  }
  return { child, said: () => said, exited, events, live, dir }
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

test('every other signal that ends a process is told and passed over', async () => {
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
})

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

describe('a drain', () => {
  /** A deputy with one stream that the provider does not end, read until its first bytes. */
  const streaming = async (drain: string, delay = '0s') => {
    const upstream = await startUpstream()
    upstream.people.set('token-a', 'alice')
    const open: ServerResponse[] = []
    upstream.handle = (_seen, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write('data: one\n\n')
      open.push(res)
    }
    const running = await started(true, {
      upstream: upstream.origin,
      config: { limits: { drain, drain_delay: delay } },
      held: [{ person: 'alice', connection: 'stream', token: 'token-a' }],
    })
    const at = (name: string): string =>
      new RegExp(`^${name}: (?:http://)?(\\S+)$`, 'm').exec(running.said())?.[1] ?? ''
    const answer = await fetch(`http://${at('agent')}/api.stream.test/events`, {
      headers: { 'deputy-user': 'alice' },
    })
    const reader = (answer.body ?? new ReadableStream<Uint8Array>()).getReader()
    await reader.read()
    const readyz = async (): Promise<string> => {
      const probe = await fetch(`http://${at('admin')}/readyz`)
      return `${probe.status} ${await probe.text()}`
    }
    const outcome = () =>
      readFileSync(join(running.dir, 'audit.jsonl'), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as EvidenceLine)
        .find(({ event }) => event === 'outcome')
    return { ...running, upstream, open, reader, readyz, at, outcome }
  }

  test('gives a stream its time, and says so in /readyz until the end', async () => {
    const { child, exited, upstream, open, reader, readyz, at, outcome } = await streaming('2m')
    expect(await readyz()).toBe('200 ok')
    child.kill('SIGTERM')
    await expect.poll(readyz).toMatch(/^503 [^]*draining/)
    // Nobody new is let in meanwhile, at any listener but the admin's.
    for (const name of ['agent', 'connect'])
      await expect(fetch(`http://${at(name)}/`), name).rejects.toThrow()
    // Longer than what was the only deadline once.
    await new Promise((resolve) => setTimeout(resolve, 6_000))
    expect(child.exitCode).toBe(null)
    expect(await readyz()).toMatch(/^503 [^]*draining/)
    open[0]?.end('data: two\n\n')
    expect(new TextDecoder().decode((await reader.read()).value)).toContain('two')
    expect(await exited).toBe('0')
    expect(outcome()).toMatchObject({ status: 200, result: 'ok' })
    await upstream.close()
  })

  test('cuts after limits.drain what has not ended, and records the outcome', async () => {
    const { child, exited, upstream, reader, outcome, events } = await streaming('300ms')
    child.kill('SIGTERM')
    await expect(
      (async () => {
        while (!(await reader.read()).done);
      })(),
    ).rejects.toThrow()
    expect(await exited).toBe('0')
    expect(outcome()).toMatchObject({ status: 200 })
    expect(outcome()?.['result']).not.toBe('ok')
    expect(events()).toContain('process.stopped')
    await upstream.close()
  })

  test('with limits.drain_delay serves on meanwhile, each answer the last of its connection', async () => {
    const { child, exited, upstream, open, at, readyz } = await streaming('2m', '3s')
    child.kill('SIGTERM')
    await expect.poll(readyz).toMatch(/^503 /)
    upstream.handle = null
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const ask = () =>
      new Promise<readonly unknown[]>((resolve, reject) =>
        request(
          `http://${at('agent')}/api.stream.test/a`,
          { agent, headers: { 'deputy-user': 'alice' } },
          (res) => resolve([res.resume().statusCode, res.headers['connection']]),
        )
          .once('error', reject)
          .end(),
      )
    expect(await ask()).toEqual([200, 'close'])
    await expect.poll(() => ask().catch(() => 'refused')).toBe('refused')
    expect(child.exitCode).toBe(null)
    agent.destroy()
    open[0]?.end()
    expect(await exited).toBe('0')
    await upstream.close()
  })

  test.each([
    ['SIGTERM', '143'],
    ['SIGINT', '130'],
  ] as const)('ends at once at a second %s', async (signal, code) => {
    const { child, exited, upstream, readyz } = await streaming('2m')
    child.kill('SIGTERM')
    await expect.poll(readyz).toMatch(/^503 /)
    child.kill(signal)
    expect(await exited).toBe(code)
    await upstream.close()
  })
})
