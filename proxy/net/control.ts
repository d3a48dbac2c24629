// The socket by which commands on the same machine talk to deputy: whoever may open the file is the operator.
import { chmodSync, existsSync, unlinkSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { createConnection } from 'node:net'
import type { Log } from '../model.ts'
import { messageOf } from '../problem.ts'
import { closing, mannerly } from './sockets.ts'

// Not `import`: see net/listener.
const { createServer } = process.getBuiltinModule('node:http')

/** A socket file that nobody answers on is left over from a crash. */
export const clearStaleSocket = async (path: string, key: string): Promise<void> => {
  if (!existsSync(path)) return
  if ((await probe(path)) === null) throw new Error(`${key}: ${path} is in use by another process`)
  unlinkSync(path)
}

/** null: somebody answers at this socket; else why nobody does. */
const probe = (path: string): Promise<NodeJS.ErrnoException | null> =>
  new Promise((resolve) => {
    const socket = createConnection(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(null)
    })
    socket.once('error', resolve)
  })

/** Does anybody answer at this socket? Throws an Error when it belongs to somebody else. */
export const answers = async (path: string): Promise<boolean> => {
  const error = await probe(path)
  if (error?.code === 'EACCES' || error?.code === 'EPERM')
    throw new Error(`${path} is another user's: run this as the user that runs deputy`)
  return error === null
}

/** Mode 0600; where that cannot be, it is logged, and commands need the operators' API. @returns ends it */
export const startControl = async (
  path: string,
  listener: RequestListener,
  log: Log,
): Promise<() => Promise<void>> => {
  const none = (reason: string) => {
    log.warn({ path, reason }, 'commands on this machine cannot reach this deputy')
    return () => Promise.resolve()
  }
  try {
    await clearStaleSocket(path, 'deputy.sock')
  } catch (error) {
    return none(messageOf(error))
  }
  const server = mannerly(createServer(), { call: listener })
  const problem = await new Promise<string | null>((resolve) => {
    server.once('error', (error) => resolve(error.message))
    server.listen(path, () => resolve(null))
  })
  if (problem !== null) return none(problem)
  chmodSync(path, 0o600)
  return () => closing(server, 0)
}
