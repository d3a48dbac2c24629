// Asks a deputy that serves how it is: for probes where there is no shell and no curl, such as its own image.
import type { Env } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import { printable } from '../net/admin.ts'
import { messageOf } from '../problem.ts'

// Not `import`: naming its members would load all that node:http offers, and a probe runs every few seconds.
const { request } = process.getBuiltinModule('node:http')

const EXIT = { usage: 64, config: 78, failed: 1 } as const
const LEAST_S = 0.1
const MOST_S = 60
const MOST_BYTES = 64 * 1024

export type HealthOptions = {
  readonly config?: string
  readonly address?: string
  readonly live?: boolean
  /** Seconds. */
  readonly timeout: string
}
type Io = {
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}
type Where = { readonly host: string; readonly port: number }

/** `host:port`, an IPv6 host in brackets; null: it is no address that can be asked. */
export const readAddress = (text: string): Where | null => {
  const [, six, host = six, digits = ''] =
    /^(?:\[([0-9a-f:.]+)\]|([\w.-]+)):(\d{1,5})$/i.exec(text) ?? []
  const port = Number(digits)
  return host === undefined || port < 1 || port > 65_535 ? null : { host, port }
}

/** A listener on every address answers on loopback too. */
const fromHere = ({ host, port }: Config['listeners']['admin']): Where => ({
  host: host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host,
  port,
})
const shown = ({ host, port }: Where): string =>
  `${host.includes(':') ? `[${host}]` : host}:${port}`

/** The admin listener of the configuration. What else is wrong with the file is not asked here: a deputy that runs goes on. */
const configured = async (
  flag: string | undefined,
  env: Env,
): Promise<Where | { readonly problems: readonly string[] }> => {
  const { load } = await import('../config/load.ts')
  const result = await load(flag, env)
  const known = 'loaded' in result ? result.loaded : result.rest
  const advice = 'where the admin listener is known, ask it: --address 127.0.0.1:7411'
  if (known === null)
    return { problems: [...('problems' in result ? result.problems : []), advice] }
  const where = fromHere(known.config.listeners.admin)
  return where.port === 0
    ? { problems: ['listeners.admin: port 0 is any free one', advice] }
    : where
}

/** Rejects with an Error when no whole answer is there within `timeout` seconds. */
const ask = (
  where: Where,
  path: string,
  timeout: number,
): Promise<{ readonly status: number; readonly text: string }> =>
  new Promise((resolve, reject) => {
    let answered = false
    const asked = request({ ...where, path, agent: false }, (answer) => {
      answered = true
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (chunk: string) => {
        text += chunk
        if (text.length > MOST_BYTES)
          asked.destroy(new Error('the answer is too long for a health check'))
      })
      answer.once('error', reject)
      answer.once('end', () => resolve({ status: answer.statusCode ?? 0, text }))
    })
    const late = new Error(`no whole answer within ${timeout} s`)
    const timer = setTimeout(() => asked.destroy(late), timeout * 1_000)
    asked.once('close', () => {
      clearTimeout(timer)
      // Such as 101: the runtime closes what nobody asked to change, and tells of no error.
      if (!answered) reject(new Error('it closed the connection without an answer'))
    })
    asked.once('error', reject)
    asked.end()
  })

const advice = (error: unknown, where: string): string =>
  error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED'
    ? `nobody listens at ${where}: deputy does not serve yet, or its listeners.admin is another`
    : `${where} could not be asked: ${messageOf(error)}`

/** Prints what `/readyz` or `/livez` says. @returns 0: all is well; 1: it is not, or nobody answered in time */
export const healthz = async (
  where: Where,
  asking: { readonly live: boolean; /** Seconds. */ readonly timeout: number },
  { print, complain }: Io,
): Promise<number> => {
  try {
    const { status, text } = await ask(where, asking.live ? '/livez' : '/readyz', asking.timeout)
    for (const line of text.trimEnd().split('\n')) print(printable(line))
    if (status === 200) return 0
    if (status !== 503)
      complain(`${shown(where)} answered ${status}: is that the admin listener of a deputy?`)
  } catch (error) {
    complain(advice(error, shown(where)))
  }
  return EXIT.failed
}

/** @returns the exit code: that of `healthz`, 64 for a wrong option, 78 where the configuration names no address */
export const healthzCommand = async (options: HealthOptions, env: Env, io: Io): Promise<number> => {
  const timeout = options.timeout.trim() === '' ? Number.NaN : Number(options.timeout)
  if (!(timeout >= LEAST_S && timeout <= MOST_S)) {
    io.complain(`--timeout ${options.timeout}: must be a number of seconds from 0.1 to 60`)
    return EXIT.usage
  }
  const address = options.address === undefined ? null : readAddress(options.address)
  if (options.address !== undefined && address === null) {
    io.complain(`--address ${options.address}: must be a host and a port, such as 127.0.0.1:7411`)
    return EXIT.usage
  }
  const where = address ?? (await configured(options.config, env))
  if ('problems' in where) {
    for (const problem of where.problems) io.complain(problem)
    return EXIT.config
  }
  return healthz(where, { live: options.live === true, timeout }, io)
}
