// Connections that lie about while others work: most never say a word, every tenth was used for one call and is kept.
// Deputy ends both kinds in its time, and each that it ends is opened anew, so that there are always as many.
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { lines } from '../support/raw.ts'

export type Idle = {
  /** How many stand now. */
  readonly standing: () => number
  /** How many were ended by deputy so far. */
  readonly ended: () => number
  readonly close: () => void
}

/** ms: those that were ended together do not come back together. */
const SPREAD = 2_000
/** ms: deputy ends none so late. It never saw it: its queue was full, and who says nothing is not told. */
const UNSEEN = 90_000

/** @param person whose call every tenth connection makes */
export const startIdle = async (origin: string, count: number, person: string): Promise<Idle> => {
  const { hostname, port, host } = new URL(origin)
  const sockets = new Set<Socket>()
  let [ended, over] = [0, false]
  const open = (n: number): void => {
    const socket = connect(Number(port), hostname)
    socket.once('connect', () => {
      sockets.add(socket)
      if (n % 10 === 0)
        socket.write(
          lines('GET /api.acme.test/ok/1 HTTP/1.1', `Host: ${host}`, `Deputy-User: ${person}`),
        )
    })
    const unseen = setTimeout(() => socket.destroy(), UNSEEN)
    socket.on('error', () => socket.destroy())
    socket.on('data', () => undefined)
    socket.once('close', () => {
      clearTimeout(unseen)
      if (!sockets.delete(socket) || over) return
      ended++
      setTimeout(() => over || open(n), Math.random() * SPREAD)
    })
  }
  for (let n = 0; n < count; n++) {
    open(n)
    if (n % 200 === 199) await pause(100)
  }
  return {
    standing: () => sockets.size,
    ended: () => ended,
    close: () => {
      over = true
      for (const socket of sockets) socket.destroy()
    },
  }
}
