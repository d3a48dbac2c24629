// HTTP/2 by hand (RFC 9113 4.1): frames that no client sends, on a socket of their own.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export const TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const
export const END_STREAM = 0x1
export const END_HEADERS = 0x4
export const PADDED = 0x8
export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

export const frame = (
  type: keyof typeof TYPE,
  stream: number,
  flags: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer => {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(TYPE[type], 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}
export const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
/** SETTINGS of one entry (RFC 9113 6.5.1). */
export const setting = (id: number, value: number): Buffer => {
  const bytes = Buffer.alloc(6)
  bytes.writeUInt16BE(id)
  bytes.writeUInt32BE(value, 2)
  return frame('settings', 0, 0, bytes)
}

const text = (said: string): Buffer => {
  const bytes = Buffer.from(said, 'latin1')
  // RFC 7541 5.1, without Huffman's code.
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes])
  const head = [127]
  let rest = bytes.length - 127
  for (; rest >= 128; rest = Math.floor(rest / 128)) head.push((rest % 128) + 128)
  return Buffer.concat([Buffer.from([...head, rest]), bytes])
}
/** A header block of literals that nobody keeps (RFC 7541 6.2.2). */
export const block = (...fields: readonly (readonly [string, string])[]): Buffer =>
  Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]))

/** A literal that the table keeps as its latest entry, which 0xbe then names (RFC 7541 6.2.1, 6.1). */
export const indexed = (name: string, value: string): Buffer =>
  Buffer.concat([Buffer.from([0x40]), text(name), text(value)])

export type Frame = {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}
/** What these bytes hold whole, and what is left of them. */
export const framesIn = (
  bytes: Buffer,
): { readonly frames: readonly Frame[]; readonly rest: Buffer } => {
  const frames: Frame[] = []
  let rest = bytes
  while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
    const end = 9 + rest.readUIntBE(0, 3)
    frames.push({
      type: rest.readUInt8(3),
      flags: rest.readUInt8(4),
      stream: rest.readUInt32BE(5),
      payload: rest.subarray(9, end),
    })
    rest = rest.subarray(end)
  }
  return { frames, rest }
}

export type Spoken = {
  readonly socket: Socket
  readonly write: (...frames: readonly Buffer[]) => void
  /** What came so far. */
  readonly frames: () => readonly Frame[]
  readonly closed: () => boolean
}

/** A connection that has said its preface and its settings. */
export const speak = async (
  origin: string,
  settings = frame('settings', 0, 0),
): Promise<Spoken> => {
  const { hostname, port } = new URL(origin)
  const socket = connect(Number(port), hostname)
  let came: Buffer = Buffer.alloc(0)
  let closed = false
  const frames: Frame[] = []
  socket.on('error', () => undefined).on('close', () => void (closed = true))
  socket.on('data', (chunk: Buffer) => {
    const { frames: whole, rest } = framesIn(Buffer.concat([came, chunk]))
    frames.push(...whole)
    came = rest
  })
  await once(socket, 'connect')
  socket.write(Buffer.concat([Buffer.from(PREFACE), settings]))
  return {
    socket,
    write: (...all) => void (closed || socket.write(Buffer.concat(all))),
    frames: () => frames,
    closed: () => closed,
  }
}
