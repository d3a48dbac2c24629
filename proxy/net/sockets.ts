// Sockets that Node hands over have no listener for their errors, and an error that nobody hears ends the process.
import type { EventEmitter } from 'node:events'
import type { Server } from 'node:http'
import type { Duplex } from 'node:stream'

/** After its error a socket is closed by Node, and by that its call hears of it: there is nothing left to do. */
const closed = (): void => undefined
const heard = (socket: EventEmitter): void => void socket.on('error', closed)

/**
 * Whatever happens to a connection ends that connection only, also after CONNECT, a bad request or a failed handshake.
 * For every HTTP server of this process, before it listens.
 * @param tunnel answers a CONNECT; there are no tunnels here
 */
export const guarded = <S extends Server>(
  server: S,
  tunnel: (stream: Duplex) => void = (stream) => void stream.destroy(),
): S => {
  // Before Node's own listeners; under TLS both the connection and what runs inside it.
  server.prependListener('connection', heard)
  server.prependListener('secureConnection', heard)
  server.on('connect', (_req, stream) => {
    // Of a CONNECT with a body this is not the connection itself.
    heard(stream)
    tunnel(stream)
  })
  return server
}
