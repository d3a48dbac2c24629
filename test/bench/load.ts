// The load, in a process of its own: keep-alive sockets, one request under way on each, every answer checked.
import { createConnection } from 'node:net'
import type { Socket } from 'node:net'
import { cpuOf } from './processes.ts'

export type Job = {
  readonly port: number
  readonly connections: number
  /** Whole requests as they go over the wire; each connection walks through them from its own place. */
  readonly requests: readonly string[]
  readonly warmMs: number
  readonly ms: number
  /** Processes whose CPU is read at both ends of the window. */
  readonly pids: readonly number[]
  /** ms between two requests of one connection; absent: as fast as the answers come. */
  readonly paceMs?: number
  /** Each request goes out once, whichever connection is free; the window begins at once and ends with the last answer. */
  readonly once?: boolean
  /** Ends every answer. */
  readonly last: string
}
export type Round = {
  readonly requests: number
  readonly errors: number
  /** One answer that was wrong, to look at. */
  readonly example: string | null
  readonly ms: number
  /** CPU of each process in the window, µs. */
  readonly cpu: readonly number[]
  /** CPU of this process, µs. */
  readonly own: number
  /** Microseconds. */
  readonly p50: number
  readonly p99: number
}

const MOST = 2_000_000
const GRACE_MS = 5_000

/** Is the answer whole? null: not yet. */
const judge = (text: string, last: string): boolean | null => {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return null
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end))?.[1]
  if (length !== undefined) {
    if (text.length < end + 4 + Number(length)) return null
  } else if (!text.endsWith('\r\n0\r\n\r\n')) return null
  return text.startsWith('HTTP/1.1 200') && text.includes(last, end)
}

const run = async (job: Job): Promise<Round> => {
  const requests = job.requests.map((text) => Buffer.from(text, 'latin1'))
  const latencies = new Float64Array(MOST)
  let counting = false
  let stopping = false
  let count = 0
  let sent = 0
  let errors = 0
  let example: string | null = null

  const connection = (i: number): Promise<void> =>
    new Promise((resolve) => {
      let turn = i
      let text = ''
      let began = 0
      let due = performance.now() + (job.paceMs ?? 0) * Math.random()
      const socket: Socket = createConnection({ port: job.port, host: '127.0.0.1', noDelay: true })
      socket.setEncoding('latin1')
      const wrong = (what: string): void => {
        errors++
        example ??= what
        socket.destroy()
      }
      const next = (): void => {
        if (stopping || (job.once === true && sent === requests.length))
          return void socket.destroy()
        const early = due - performance.now()
        if (job.paceMs !== undefined && early > 0.5) {
          setTimeout(next, early)
          return
        }
        due += job.paceMs ?? 0
        text = ''
        began = performance.now()
        socket.write(requests[(job.once === true ? sent++ : turn++) % requests.length] ?? '')
      }
      socket.on('connect', next)
      socket.on('data', (chunk: string) => {
        text += chunk
        const whole = judge(text, job.last)
        if (whole === null) return
        if (!whole) return wrong(text)
        if (counting) latencies[Math.min(count++, MOST - 1)] = performance.now() - began
        next()
      })
      socket.on('error', (error) => wrong(error.message))
      socket.on('close', () => {
        if (!stopping && !(job.once === true && sent === requests.length)) {
          errors++
          example ??= 'the connection was closed'
        }
        resolve()
      })
      stops.push(() => socket.destroy())
    })
  const stops: (() => void)[] = []
  const window = Promise.withResolvers<Round>()
  let finish = (): void => {}
  setTimeout(() => {
    const before = job.pids.map(cpuOf)
    const own = process.cpuUsage()
    const at = performance.now()
    counting = true
    finish = (): void => {
      if (stopping) return
      counting = false
      stopping = true
      const ms = performance.now() - at
      const cpu = job.pids.map((pid, i) => cpuOf(pid) - (before[i] ?? 0))
      const mine = process.cpuUsage(own)
      const sorted = latencies.subarray(0, Math.min(count, MOST)).sort()
      const part = (p: number): number => 1_000 * (sorted[Math.floor(sorted.length * p)] ?? NaN)
      window.resolve({
        requests: count,
        errors,
        example,
        ms,
        cpu,
        own: mine.user + mine.system,
        p50: part(0.5),
        p99: part(0.99),
      })
    }
    setTimeout(finish, job.ms)
  }, job.warmMs)
  const ended = Promise.all(Array.from({ length: job.connections }, (_, i) => connection(i)))
  if (job.once === true) void ended.then(() => finish())
  const round = await window.promise
  const late = setTimeout(() => stops.forEach((stop) => stop()), GRACE_MS)
  await ended
  clearTimeout(late)
  return { ...round, errors, example }
}

if (import.meta.main) {
  process.on('message', (job: Job) => {
    run(job).then(
      (round) => process.send?.(round),
      (error: unknown) => {
        process.stderr.write(`the load failed: ${String(error)}\n`)
        process.exit(1)
      },
    )
  })
  process.on('disconnect', () => process.exit(0))
}
