// A provider that writes down each request as it came, byte for byte. It reads framing in the narrowest way and closes
// the connection at anything else.
import { createServer, type AddressInfo, type Socket } from 'node:net'

export type Recorded = {
  readonly head: string
  readonly body: Buffer
  /** What follows the last chunk; empty: nothing, or no chunks. */
  readonly trailers: string
  readonly bytes: Buffer
}
type Framed = { readonly body: Buffer; readonly trailers: string; readonly end: number }
export type Recorder = {
  readonly port: number
  /** What came since the last time, oldest first. */
  readonly take: () => readonly Recorded[]
  readonly close: () => Promise<void>
}

/** Where the body that begins at `from` ends and what it is; null: not all is here. Throws at another framing. */
const bodyOf = (head: string, bytes: Buffer, from: number): Framed | null => {
  const lengths = [...head.matchAll(/^content-length:[ \t]*(\d+)[ \t]*$/gim)]
  const codings = [...head.matchAll(/^transfer-encoding:[ \t]*(.*?)[ \t]*$/gim)]
  if (lengths.length + codings.length > 1 || codings.some(([, name]) => name !== 'chunked'))
    throw new Error('ambiguous framing')
  if (codings.length === 0) {
    const end = from + Number(lengths[0]?.[1] ?? 0)
    return bytes.length < end ? null : { body: bytes.subarray(from, end), trailers: '', end }
  }
  const parts: Buffer[] = []
  for (let at = from; ;) {
    const line = bytes.indexOf('\r\n', at)
    if (line < 0) return null
    const text = bytes.toString('latin1', at, line)
    if (!/^[0-9a-f]+$/i.test(text)) throw new Error(`no size of a chunk: ${JSON.stringify(text)}`)
    const size = Number.parseInt(text, 16)
    const next = line + 2 + size + 2
    if (size === 0) {
      const end = bytes.indexOf('\r\n\r\n', line)
      if (end < 0) return null
      const trailers = bytes.toString('latin1', line + 2, end + 2).trim()
      return { body: Buffer.concat(parts), trailers, end: end + 4 }
    }
    if (bytes.length < next) return null
    parts.push(bytes.subarray(line + 2, line + 2 + size))
    at = next
  }
}

export const startRecorder = async (): Promise<Recorder> => {
  let recorded: Recorded[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    let rest: Buffer = Buffer.alloc(0)
    const read = (): void => {
      for (;;) {
        const end = rest.indexOf('\r\n\r\n')
        if (end < 0) return
        const head = rest.toString('latin1', 0, end)
        const body = bodyOf(head, rest, end + 4)
        if (body === null) return
        const { end: after, ...framed } = body
        recorded.push({ head, ...framed, bytes: rest.subarray(0, after) })
        rest = rest.subarray(after)
        const none = head.startsWith('HEAD ')
        socket.write(
          `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n${none ? '' : '{}'}`,
        )
      }
    }
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk])
      try {
        read()
      } catch {
        recorded.push({ head: '', body: Buffer.alloc(0), trailers: '', bytes: rest })
        socket.destroy()
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    take: () => {
      const taken = recorded
      recorded = []
      return taken
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}
