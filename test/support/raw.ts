// HTTP by hand: what is sent is exactly what the test wrote, and what came back is exactly what was received.
import { connect } from 'node:net'
import type { Socket } from 'node:net'

export type RawAnswer = {
  readonly status: number
  /** Lower-case name → values in order. */
  readonly headers: ReadonlyMap<string, readonly string[]>
  /** Body with the chunking taken off. */
  readonly body: Buffer
  readonly json: Record<string, unknown>
  /** Everything received on the connection. */
  readonly raw: Buffer
  /** The body ended as its framing says. */
  readonly whole: boolean
}

const unchunk = (bytes: Buffer): { body: Buffer; whole: boolean } => {
  const parts: Buffer[] = []
  for (let at = 0; ;) {
    const end = bytes.indexOf('\r\n', at)
    if (end === -1) return { body: Buffer.concat(parts), whole: false }
    const size = Number.parseInt(bytes.toString('latin1', at, end), 16)
    if (size === 0) return { body: Buffer.concat(parts), whole: true }
    parts.push(bytes.subarray(end + 2, end + 2 + size))
    if (end + 2 + size > bytes.length) return { body: Buffer.concat(parts), whole: false }
    at = end + 2 + size + 2
  }
}

/** The first final answer in what was received; null: its header section is not whole yet. */
export const parseAnswer = (raw: Buffer, method = 'GET'): RawAnswer | null => {
  const end = raw.indexOf('\r\n\r\n')
  if (end === -1) return null
  const [line = '', ...lines] = raw.toString('latin1', 0, end).split('\r\n')
  const status = Number(line.split(' ')[1])
  if (status >= 100 && status < 200) return parseAnswer(raw.subarray(end + 4), method)
  const headers = new Map<string, string[]>()
  for (const text of lines) {
    const colon = text.indexOf(':')
    const name = text.slice(0, colon).toLowerCase()
    headers.set(name, [...(headers.get(name) ?? []), text.slice(colon + 1).trim()])
  }
  const rest = raw.subarray(end + 4)
  const length = headers.get('content-length')?.[0]
  const none = method === 'HEAD' || status === 204 || status === 304
  const { body, whole } = none
    ? { body: Buffer.alloc(0), whole: true }
    : headers.get('transfer-encoding')?.[0] === 'chunked'
      ? unchunk(rest)
      : length === undefined
        ? { body: rest, whole: false }
        : { body: rest.subarray(0, Number(length)), whole: rest.length >= Number(length) }
  const isJson = /json/.test(headers.get('content-type')?.[0] ?? '')
  return {
    status,
    headers,
    body,
    whole,
    raw,
    get json() {
      return isJson && whole ? (JSON.parse(body.toString()) as Record<string, unknown>) : {}
    },
  }
}

/** Opens a connection and gathers what comes. */
export const dial = (
  origin: string,
): Promise<{ socket: Socket; received: () => Buffer; ended: Promise<void> }> =>
  new Promise((resolve, reject) => {
    const url = new URL(origin)
    const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true })
    const chunks: Buffer[] = []
    const ended = new Promise<void>((done) => {
      socket.on('close', () => done())
    })
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.once('error', reject)
    socket.on('error', () => undefined)
    socket.once('connect', () => resolve({ socket, received: () => Buffer.concat(chunks), ended }))
  })

/** Sends the bytes on a connection of their own and reads one whole answer. Rejects after `ms` without one. */
export const sendRaw = async (
  origin: string,
  bytes: string | Buffer,
  { ms = 20_000 }: { readonly ms?: number } = {},
): Promise<RawAnswer> => {
  const text: Buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes
  const method = text.toString('latin1', 0, text.indexOf(' '))
  const { socket, received, ended } = await dial(origin)
  try {
    socket.write(text)
    return await new Promise<RawAnswer>((resolve, reject) => {
      const look = (last: boolean): void => {
        const answer = parseAnswer(received(), method)
        if (answer !== null && (answer.whole || last)) resolve(answer)
        else if (last)
          reject(new Error(`no answer; received ${JSON.stringify(received().toString('latin1'))}`))
      }
      const timer = setTimeout(() => look(true), ms)
      socket.on('data', () => look(false))
      void ended.then(() => {
        clearTimeout(timer)
        look(true)
      })
    })
  } finally {
    socket.destroy()
  }
}

/** A request's text: request line, headers one a line, empty line. */
export const lines = (first: string, ...headers: readonly string[]): string =>
  `${[first, ...headers].join('\r\n')}\r\n\r\n`
