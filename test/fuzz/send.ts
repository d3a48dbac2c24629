// Sends one generated request the way it is meant to go, and waits until nothing more can come of it.
import type { Socket } from 'node:net'
import { connect as secure } from 'node:tls'
import { dial, parseAnswer } from '../support/raw.ts'
import { over } from './frames.ts'
import type { Case } from './requests.ts'

/** ms: how long a request that was not answered may hang. Deputy answers each that is whole at once. */
const PATIENCE = 5_000
/** ms: what else was read from the same bytes is answered by then. */
const BEHIND = 30
const CONNECT = 'CONNECT api.fuzz.test:443 HTTP/1.1\r\nHost: api.fuzz.test:443\r\n\r\n'

/** Writes, and lets go once `whole` says that the answer is there; what waits for bytes that never come is left after PATIENCE. */
const exchange = (
  socket: Socket,
  bytes: Buffer,
  whole: (received: Buffer) => boolean,
): Promise<void> =>
  new Promise((resolve) => {
    let received = Buffer.alloc(0)
    let timer = setTimeout(() => socket.destroy(), PATIENCE)
    socket.on('error', () => undefined)
    socket.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      if (!whole(received)) return
      clearTimeout(timer)
      timer = setTimeout(() => socket.destroy(), BEHIND)
    })
    socket.write(bytes)
  })
/** TLS to the provider's name, through deputy. */
const tunnelled = async (forward: string): Promise<Socket> => {
  const { socket, received } = await dial(forward)
  socket.write(CONNECT)
  await new Promise<void>((resolve, reject) => {
    socket.once('data', () => resolve())
    socket.once('close', () => reject(new Error(`no tunnel: ${received().toString()}`)))
  })
  socket.removeAllListeners('data')
  // Who vouches for the name is proved elsewhere: here the bytes inside count.
  const tls = secure({ socket, servername: 'api.fuzz.test', rejectUnauthorized: false })
  await new Promise<void>((resolve, reject) =>
    tls.once('secureConnect', resolve).once('error', reject),
  )
  return tls
}

/** Where each way begins. */
export type Doors = { readonly agent: string; readonly forward: string }

export const send = async ({ agent, forward }: Doors, { way, bytes }: Case): Promise<void> => {
  const method = bytes.toString('latin1', 0, bytes.indexOf(' '))
  const answered = (received: Buffer): boolean => parseAnswer(received, method)?.whole === true
  if (way === 'tunnel') return exchange(await tunnelled(forward), bytes, answered)
  const { socket } = await dial(agent)
  return exchange(socket, bytes, way === 'http/2' ? over : answered)
}
