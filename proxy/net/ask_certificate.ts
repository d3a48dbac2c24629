// Connections that began under authorities which are not asked for any more: what their certificates proved is void.
import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { Problem } from '../problem.ts'

const placeOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`

/** @param first the authorities (PEM) that the listener asks for */
export const askFor = (
  server: Pick<EventEmitter, 'on' | 'prependListener'> & {
    readonly closeIdleConnections: () => void
  },
  first: string,
): {
  /** Throws Problem where the connection began under other authorities. */
  readonly check: (socket: object) => void
  readonly renew: (authorities: string) => void
} => {
  let authorities = first
  const under = new WeakMap<object, string>()
  /** Their handshake is under way, by authorities of which nobody can say which. */
  const beginning = new Map<string, Socket>()
  server.on('connection', (socket: Socket) => {
    const place = placeOf(socket)
    beginning.set(place, socket)
    socket.once('close', () => {
      if (beginning.get(place) === socket) beginning.delete(place)
    })
  })
  server.prependListener('secureConnection', (socket: Socket) => {
    beginning.delete(placeOf(socket))
    under.set(socket, authorities)
  })
  return {
    check: (socket) => {
      if (under.get(socket) !== authorities)
        throw new Problem(
          'workload_unauthenticated',
          'the authorities of client certificates have changed since this connection began: connect again',
        )
    },
    renew: (next) => {
      if (next === authorities) return
      authorities = next
      for (const socket of beginning.values()) socket.destroy()
      // Clients connect anew by themselves where nothing is under way.
      server.closeIdleConnections()
    },
  }
}
