// Connections to an LDAP server: dialled as all are, bound before they are used, and one question on each at a time.
import type { Client, Control, Entry } from 'ldapts'
import type { ConnectionTls } from '../model.ts'
import type { Open } from '../net/dial.ts'
import { messageOf } from '../problem.ts'
import type { Secret } from '../secret.ts'
import { Unanswered } from './source.ts'

export type LdapServer = {
  readonly host: string
  readonly port: number
  /** From the first byte, by a request of ours, or not at all. */
  readonly tls: 'at_once' | 'starttls' | 'none'
  readonly files: ConnectionTls | null
  readonly dn: string
  readonly password: Secret
  /** Active Directory refers to its other partitions wherever it is asked: it is told that only this one is meant. */
  readonly domainScope: boolean
}
export type Wanted = {
  readonly base: string
  readonly scope: 'base' | 'sub'
  /** RFC 4515, its values escaped. */
  readonly filter: string
  readonly attributes: readonly string[]
}
/** Every entry, or none: half an answer is thrown away. `null`: the base is not there. */
export type Search = (wanted: Wanted) => Promise<readonly Entry[] | null>

/** Of all answers to one question. */
const MOST_BYTES = 4 * 1024 ** 2
const PAGE = 500
const MOST_IDLE = 8
const IDLE_MS = 60_000
const NO_SUCH_OBJECT = 32
/** MS-ADTS 3.1.1.3.4.1.4. */
const DOMAIN_SCOPE = '1.2.840.113556.1.4.1339'

type Line = {
  readonly client: Client
  /** The server took it away, or it broke. */
  readonly over: () => boolean
  /** What is heard from now on is of another question. */
  readonly anew: () => void
  /** Waits no longer than the connection lasts: the library may, for an answer on one that is gone. */
  readonly during: <T>(work: Promise<T>) => Promise<T>
  /** Why it was cut here; null: it was not. */
  readonly cut: () => Unanswered | null
  readonly end: (why?: Unanswered) => void
}

const codeOf = (error: unknown): number | null => {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : null
  return typeof code === 'number' ? code : null
}
/** RFC 4511 A.1, in words. */
const judged = (error: unknown): Unanswered => {
  if (error instanceof Unanswered) return error
  const code = codeOf(error)
  const cause = { cause: error }
  switch (code) {
    case null: {
      const ours = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
      return new Unanswered(
        'unreachable',
        `it cannot be reached${ours}: ${messageOf(error).split('\n')[0] ?? ''}`,
        cause,
      )
    }
    case 10:
      return new Unanswered('status', 'it refers to another server, which is not followed', cause)
    case 3:
    case 4:
    case 11:
      return new Unanswered(
        'too_large',
        `it answers that a limit of its own is reached (${code})`,
        {
          ...cause,
          alone: true,
        },
      )
    case 8:
    case 13:
    case 48:
    case 49:
    case 50:
      return new Unanswered(
        'refused',
        `it answers ${code}: the entry that deputy binds as lacks a right there, or its password is wrong`,
        cause,
      )
    case NO_SUCH_OBJECT:
      return new Unanswered('status', 'it has nothing at the base that is searched', cause)
    default:
      return new Unanswered('status', `it answers ${code}: ${messageOf(error)}`, cause)
  }
}

const openLine = async (server: LdapServer, open: Open, signal: AbortSignal): Promise<Line> => {
  const { Client } = await import('ldapts')
  const { host, port, tls, files } = server
  const opened = await open({ host, port, tls: files })
  const { socket } = opened
  let over = false
  let cut: Unanswered | null = null
  let heard = 0
  const waiting = new Set<(why: Error) => void>()
  const gone = (): Error => cut ?? new Error('the connection ended')
  const end = (why?: Unanswered): void => {
    over = true
    cut ??= why ?? null
    socket.destroy()
    for (const reject of waiting) reject(gone())
  }
  const during: Line['during'] = (work) =>
    new Promise((resolve, reject) => {
      if (over) reject(gone())
      waiting.add(reject)
      work.then(resolve, reject).finally(() => waiting.delete(reject))
    })
  const stop = (): void => end()
  socket.on('error', () => end()).on('close', () => end())
  socket.on('data', (bytes: Buffer) => {
    heard += bytes.length
    if (heard > MOST_BYTES)
      end(
        new Unanswered('too_large', 'it answers more than 4 MiB to one question', { alone: true }),
      )
  })
  signal.addEventListener('abort', stop, { once: true })
  try {
    if (signal.aborted) throw new Error('nobody waits for it any more')
    const secured = tls === 'at_once' ? await during(opened.secured()) : socket
    secured.on('error', () => end()).on('close', () => end())
    const client = new Client({
      url: `${tls === 'at_once' ? 'ldaps' : 'ldap'}://deputy`,
      createConnection: () => socket,
      createSecureConnection: () =>
        tls === 'at_once' ? (secured as ReturnType<typeof opened.secure>) : opened.secure(),
    })
    if (tls === 'starttls') await during(client.startTLS())
    await during(client.bind(server.dn, server.password.reveal()))
    return {
      client,
      over: () => over,
      anew: () => {
        heard = 0
      },
      during,
      cut: () => cut,
      end,
    }
  } catch (error) {
    end()
    throw cut ?? error
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

const searchOn =
  ({ client }: Line, controls: readonly Control[]): Search =>
  async ({ base, scope, filter, attributes }) => {
    const options = { scope, filter, attributes: [...attributes], paged: { pageSize: PAGE } }
    const found = await client.search(base, options, [...controls]).catch((error: unknown) => {
      if (codeOf(error) === NO_SUCH_OBJECT && scope === 'base') return null
      throw error
    })
    const [reference] = found?.searchReferences ?? []
    if (reference !== undefined)
      throw new Unanswered(
        'status',
        `it refers to another server for a part of what is searched (${reference.slice(0, 200)}), which is not followed: name a base below it`,
      )
    return found?.searchEntries ?? null
  }

/** @param server where it is, and who deputy is there */
export const createLdapWire = (server: LdapServer, open: Open) => {
  const idle: Line[] = []
  let closed = false
  const take = async (
    signal: AbortSignal,
  ): Promise<{ readonly line: Line; readonly used: boolean }> => {
    for (let line = idle.pop(); line !== undefined; line = idle.pop())
      if (!line.over()) return { line, used: true }
    return { line: await openLine(server, open, signal), used: false }
  }
  const give = (line: Line): void => {
    if (closed || line.over() || idle.length >= MOST_IDLE) return line.end()
    idle.push(line)
    const timer = setTimeout(() => {
      const at = idle.indexOf(line)
      if (at < 0) return
      idle.splice(at, 1)
      line.end()
    }, IDLE_MS)
    timer.unref()
  }
  const once = async <T>(
    ask: (search: Search) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T | 'gone'> => {
    const { Control } = await import('ldapts')
    const controls = server.domainScope ? [new Control(DOMAIN_SCOPE)] : []
    const { line, used } = await take(signal)
    const stop = (): void => line.end()
    signal.addEventListener('abort', stop, { once: true })
    line.anew()
    try {
      if (signal.aborted) stop()
      const answer = await line.during(ask(searchOn(line, controls)))
      give(line)
      return answer
    } catch (error) {
      // The server may have ended what lay idle just when it was taken.
      const lost = used && line.over() && line.cut() === null && !signal.aborted
      const why = line.cut() ?? error
      line.end()
      if (lost) return 'gone'
      throw why
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
  return {
    /** One question, with all its searches on one connection. Throws Unanswered. */
    ask: async <T extends object | null>(
      ask: (search: Search) => Promise<T>,
      signal: AbortSignal,
    ): Promise<T> => {
      try {
        for (;;) {
          const answer = await once(ask, signal)
          if (answer !== 'gone') return answer
        }
      } catch (error) {
        throw judged(error)
      }
    },
    close: (): void => {
      closed = true
      for (const line of idle.splice(0)) line.end()
    },
  }
}
