// Child processes of the bench: pinned to a core, read, and ended by the handle that started them.
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { availableParallelism } from 'node:os'
import { basename } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export type Core = 'proxy' | 'load'
export type Child = {
  readonly pid: number
  /** Waits for one message. Rejects when the process ends first, with what it wrote to stderr. */
  readonly next: <T>(send?: object) => Promise<T>
  /** Resolves once stderr holds `text`. */
  readonly says: (text: string) => Promise<void>
  /** Resolves once it takes connections at this port of loopback. */
  readonly accepts: (port: number) => Promise<void>
  readonly stderr: () => string
  readonly stop: () => Promise<void>
}

const START_MS = 120_000
const STOP_MS = 10_000

export const root = fileURLToPath(new URL('../../', import.meta.url))
/** Is there a tool to pin with, and a second core to keep the load away from the proxy? */
export const pinning = (): boolean =>
  availableParallelism() > 1 && spawnSync('taskset', ['--version']).status === 0

/** CPU of a process with all its live threads, µs. */
export const cpuOf = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`)
    .map((task) => readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1'))
    .reduce((sum, stat) => sum + Number.parseInt(stat, 10) / 1_000, 0)
/** Resident memory, MB. */
export const memoryOf = (pid: number): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1_000
/** Waits until a deputy serves; the port of its agent listener. */
export const agentPort = async (deputy: Child): Promise<number> => {
  await deputy.says('deputy is ready')
  const port = /^agent: http:\/\/127\.0\.0\.1:(\d+)$/m.exec(deputy.stderr())?.[1]
  if (port === undefined) throw new Error(`deputy names no port:\n${deputy.stderr()}`)
  return Number(port)
}
export const measurable = (): boolean => existsSync('/proc/self/stat')

/** Tries until somebody listens at `port`, or `ended`. */
const accepted = async (port: number, ended: Promise<void>): Promise<void> => {
  const over = new AbortController()
  void ended.then(() => over.abort())
  while (!over.signal.aborted) {
    const socket = connect(port, '127.0.0.1')
    const open = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (open) return
    await pause(5)
  }
}

/** Starts `node ARGS` on the core of the proxies (the last) or of the load (the first); null: wherever. */
export const start = (
  args: readonly string[],
  core: Core | null,
  env: Readonly<Record<string, string>> = {},
): Child => spawned(process.execPath, args, core, { NODE_ENV: 'production', ...env })

/** Starts another program in the same way. It is spoken to over the network alone. */
export const startTool = (file: string, args: readonly string[], core: Core | null): Child =>
  spawned(file, args, core, {})

const spawned = (
  program: string,
  args: readonly string[],
  core: Core | null,
  env: Readonly<Record<string, string>>,
): Child => {
  const name = `${basename(program)} ${args.join(' ')}`
  const number = core === 'proxy' ? availableParallelism() - 1 : 0
  const pinned = core !== null && pinning()
  const [file, argv] = pinned
    ? ['taskset', ['-c', String(number), program, ...args]]
    : [program, args]
  const child: ChildProcess = spawn(file, argv, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  let stderr = ''
  let changed = (): void => {}
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve())
    child.once('error', () => resolve())
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-20_000)
    changed()
  })
  const gone = (): Error => new Error(`${name} ended:\n${stderr.slice(-4_000)}`)
  const within = async <T>(work: Promise<T>): Promise<T> => {
    const timer = Promise.withResolvers<never>()
    const late = setTimeout(
      () => timer.reject(new Error(`${name} is silent:\n${stderr.slice(-4_000)}`)),
      START_MS,
    )
    try {
      return await Promise.race([work, timer.promise, ended.then(() => Promise.reject(gone()))])
    } finally {
      clearTimeout(late)
    }
  }
  return {
    pid: child.pid ?? 0,
    next: <T>(send?: object) =>
      within(
        new Promise<T>((resolve) => {
          child.once('message', (message) => resolve(message as T))
          if (send !== undefined) child.send(send)
        }),
      ),
    says: (text) =>
      within(
        new Promise<void>((resolve) => {
          changed = () => {
            if (stderr.includes(text)) resolve()
          }
          changed()
        }),
      ),
    accepts: (port) => within(accepted(port, ended)),
    stderr: () => stderr,
    stop: async () => {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
      await ended
      clearTimeout(timer)
    },
  }
}

/** Looks every `ms` until the returned function is called; that one rejects when a look failed. */
export const watching = (ms: number, look: () => Promise<void>): (() => Promise<void>) => {
  const ending = new AbortController()
  const looks = (async () => {
    while (!ending.signal.aborted) {
      await look()
      await pause(ms)
    }
  })()
  // Heard by whoever stops it.
  looks.catch(() => {})
  return () => {
    ending.abort()
    return looks
  }
}
