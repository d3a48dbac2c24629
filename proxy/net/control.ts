// The socket by which commands on the same machine talk to a running deputy: whoever may open the file is the operator.
import { chmodSync, rmSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { connect } from 'node:net'
import type { Log } from '../model.ts'

// As in net/listener.
const { createServer } = process.getBuiltinModule('node:http')

/** Does anybody answer at this socket? Throws an Error when it belongs to somebody else. */
export const answers = (path: string): Promise<boolean> =>
  new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EACCES' || error.code === 'EPERM'
        ? reject(new Error(`${path} is another user's: run this as the user that runs deputy`))
        : resolve(false),
    )
  })

/** Listens with mode 0600. Where that cannot be, it is logged, and commands need the operators' API. */
export const startControl = async (
  path: string,
  listener: RequestListener,
  log: Log,
): Promise<() => Promise<void>> => {
  const none = (reason: string) => {
    log.warn({ path, reason }, 'commands on this machine cannot reach this deputy')
    return () => Promise.resolve()
  }
  if (await answers(path).catch(() => true)) return none('another deputy listens there')
  try {
    rmSync(path, { force: true }) // left by one that was killed
  } catch (error) {
    return none(error instanceof Error ? error.message : 'unknown')
  }
  const server = createServer(listener)
  const problem = await new Promise<string | null>((resolve) => {
    server.once('error', (error) => resolve(error.message))
    server.listen(path, () => resolve(null))
  })
  if (problem !== null) return none(problem)
  chmodSync(path, 0o600)
  return () =>
    new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
}
