// Connections of authorities that are not asked for any more. test/e2e/client_certificates.test.ts has real ones.
import { EventEmitter } from 'node:events'
import { Socket } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { askFor } from '../../proxy/net/ask_certificate.ts'
import { Problem } from '../../proxy/problem.ts'

const sockets: Socket[] = []
afterEach(() => sockets.splice(0).forEach((socket) => socket.destroy()))
const socketAt = (port: number): Socket => {
  const socket = new Socket()
  Object.defineProperties(socket, {
    remoteAddress: { value: '127.0.0.1' },
    remotePort: { value: port },
  })
  sockets.push(socket)
  return socket
}

test('what began under others is refused, and what is still beginning is cut', () => {
  const idle = vi.fn()
  const server = Object.assign(new EventEmitter(), { closeIdleConnections: idle })
  const asked = askFor(server, 'one')
  const [raw, secure, begun] = [socketAt(1), socketAt(1), socketAt(2)]
  server.emit('connection', raw)
  server.emit('secureConnection', secure)
  server.emit('connection', begun)
  expect(() => asked.check(secure)).not.toThrow()
  asked.renew('one')
  expect([idle.mock.calls.length, begun.destroyed]).toEqual([0, false])
  asked.renew('two')
  expect([idle.mock.calls.length, raw.destroyed, begun.destroyed]).toEqual([1, false, true])
  expect(() => asked.check(secure)).toThrow(Problem)
  expect(() => asked.check(socketAt(3))).toThrow('have changed since')
})
