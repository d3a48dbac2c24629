// What this machine must have: free addresses, a certificate that goes with its key, a database.
import { createServer } from 'node:net'
import { controlSocket } from '../../config/address.ts'
import type { Listen } from '../../config/values.ts'
import type { Loaded } from '../../config/load.ts'
import { addressesOf } from '../../config/rules.ts'
import { endsSoon, outOfDate, readPair } from '../../net/certificate.ts'
import { answers } from '../../net/control.ts'
import { messageOf } from '../../problem.ts'

/** Problems end `serve`; warnings do not. Each is `path: sentence`. */
export type Findings = {
  readonly problems: readonly string[]
  readonly warnings: readonly string[]
}

const shown = (listen: Listen): string =>
  'path' in listen ? `unix:${listen.path}` : `${listen.host}:${listen.port}`

/** The system's code for why nobody can listen there now; null: somebody can. */
const tried = (listen: { readonly host: string; readonly port: number }): Promise<string | null> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ ...listen, exclusive: true }, () => server.close(() => resolve(null)))
  })
const WHY: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use: stop the program that listens there, or choose another address',
  EACCES: 'may not be used by this user: choose a port above 1023',
  EADDRNOTAVAIL: 'is no address of this machine: use 127.0.0.1, or one that the machine has',
  ENOTFOUND: 'is no address of this machine: use 127.0.0.1, or one that the machine has',
}

/** Addresses that cannot be listened on. Where deputy serves already, those in use may be its own. */
export const ports = async ({ config, written }: Loaded): Promise<Findings> => {
  const problems: string[] = []
  const warnings: string[] = []
  const serving = await answers(controlSocket(config.vault.store, written)).catch(() => true) // another user's
  for (const [key, listen] of addressesOf(config)) {
    if ('path' in listen) {
      const used = await answers(written(listen.path)).catch(() => true)
      if (used && !serving) problems.push(`${key}: ${shown(listen)} ${WHY['EADDRINUSE'] ?? ''}`)
      continue
    }
    const code = await tried(listen)
    if (code === null) continue
    if (code === 'EADDRINUSE' && serving)
      warnings.push(`${key}: ${shown(listen)} is in use, as it seems by the deputy that runs here`)
    else problems.push(`${key}: ${shown(listen)} ${WHY[code] ?? `cannot be listened on (${code})`}`)
  }
  return { problems, warnings }
}

/** The certificate of `listeners.agent_tls`. @param now ms since the epoch */
export const certificate = async ({ config, at }: Loaded, now: number): Promise<Findings> => {
  const { agent_tls: tls } = config.listeners
  if (tls === undefined) return { problems: [], warnings: [] }
  const read = await readPair('listeners.agent_tls', { cert: at(tls.cert), key: at(tls.key) })
  if ('problems' in read) return { problems: read.problems, warnings: [] }
  const late = outOfDate(read.pair.cert, now)
  if (late !== null)
    return { problems: [`listeners.agent_tls.cert: ${at(tls.cert)} ${late}`], warnings: [] }
  const soon = endsSoon(read.pair.cert, now)
  return {
    problems: [],
    warnings: soon === null ? [] : [`listeners.agent_tls.cert: ${at(tls.cert)} ${soon}`],
  }
}

/** A PostgreSQL that cannot be used; nothing is written to it. */
export const database = async ({ config }: Loaded): Promise<Findings> => {
  if (config.vault.store.startsWith('sqlite:')) return { problems: [], warnings: [] }
  const { tryPostgres } = await import('../../store/postgres.ts')
  return tryPostgres(config.vault.store).then(
    () => ({ problems: [], warnings: [] }),
    (error: unknown) => ({
      problems: [messageOf(error)],
      warnings: [],
    }),
  )
}
