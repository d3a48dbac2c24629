// A WebSocket (RFC 6455) on its way: the handshake that an agent sent, made anew for the provider; and once both have said
// yes, bytes in both directions until one of them ends. Frames are not read: what was decided is the handshake.
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { pipeline, Transform, type Duplex, type TransformCallback } from 'node:stream'
import { Problem } from '../problem.ts'
import type { Sifted } from '../wire/headers.ts'
import type { TokenScrubber } from '../wire/scrub.ts'

/** 16 bytes in base64 (RFC 6455 4.1). */
const KEY = /^[A-Za-z0-9+/]{21}[AQgw]==$/
const PROTOCOL = 'sec-websocket-protocol'
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/**
 * Does a request ask to become a WebSocket? What asks for another protocol is a request as any other; so is one whose
 * `Connection` does not say it (RFC 9110 7.8): Node would go on reading requests where frames are.
 */
export const asksForWebSocket = (req: IncomingMessage): boolean =>
  req.method === 'GET' &&
  req.httpVersion === '1.1' &&
  'upgrade' in req &&
  req.upgrade === true &&
  /^websocket$/i.test(req.headers.upgrade ?? '')

/** What the provider answers to this key (RFC 6455 4.2.2). */
const acceptOf = (key: string): string =>
  createHash('sha1').update(`${key}${GUID}`).digest('base64')

/**
 * The agent's headers with what a handshake needs. Of subprotocols only those pass that the operation names: the others may be
 * keys. No extension is asked for: a compressed answer could not be searched for the token.
 * @param protocols that may pass
 * @throws Problem request_invalid
 */
export const withHandshake = (
  sifted: Sifted,
  req: IncomingMessage,
  protocols: readonly string[],
): Sifted => {
  const { headersDistinct: all } = req
  const [key = '', ...more] = all['sec-websocket-key'] ?? []
  const version = all['sec-websocket-version'] ?? []
  if (!KEY.test(key) || more.length > 0)
    throw new Problem('request_invalid', 'the handshake has no Sec-WebSocket-Key, or a faulty one')
  if (version.length !== 1 || version[0] !== '13')
    throw new Problem('request_invalid', 'of WebSocket only version 13 is spoken here (RFC 6455)')
  if (all['content-length'] !== undefined || all['transfer-encoding'] !== undefined)
    throw new Problem('request_invalid', 'a handshake has no body')
  const offered = (all[PROTOCOL] ?? [])
    .join(',')
    .split(',')
    .map((one) => one.trim())
  const wanted = offered.filter((one) => one !== '')
  const passed = wanted.filter((one) => protocols.includes(one))
  const said = passed.length > 0 ? [PROTOCOL, passed.join(', ')] : []
  return {
    ...sifted,
    kept: [...sifted.kept, 'sec-websocket-key', key, 'sec-websocket-version', '13', ...said],
    stripped:
      passed.length === wanted.length
        ? sifted.stripped
        : [...sifted.stripped, `header:${PROTOCOL}`],
  }
}

const valueIn = (kept: readonly string[], name: string): string =>
  kept.find((_, i) => i % 2 === 1 && kept[i - 1] === name) ?? ''

/**
 * The head of the answer to the agent.
 * @param kept what was sent
 * @param answered the provider's headers
 * @returns null: it is no yes to what was asked (RFC 6455 4.1)
 */
export const switched = (
  kept: readonly string[],
  answered: Readonly<Record<string, string | readonly string[] | undefined>>,
): Readonly<Record<string, string>> | null => {
  const key = valueIn(kept, 'sec-websocket-key')
  const accept = acceptOf(key)
  const protocol = answered[PROTOCOL]
  const asked = valueIn(kept, PROTOCOL).split(', ')
  const good =
    /^websocket$/i.test(String(answered['upgrade'])) &&
    answered['sec-websocket-accept'] === accept &&
    answered['sec-websocket-extensions'] === undefined &&
    (protocol === undefined || (typeof protocol === 'string' && asked.includes(protocol)))
  if (!good) return null
  return {
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Accept': accept,
    ...(typeof protocol === 'string' ? { 'Sec-WebSocket-Protocol': protocol } : {}),
  }
}

/** Counts what passes. */
const counted = (moved: (bytes: number) => void): Transform =>
  new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      moved(chunk.length)
      done(null, chunk)
    },
  })

/** Bytes of the length behind the first two of a frame (RFC 6455 5.2). */
const moreOf = (second: number): number => (second === 127 ? 8 : second === 126 ? 2 : 0)
/** @throws Error for a frame that no server may send, or that nobody asked for */
const lengthOf = (head: Buffer): number => {
  const [first = 0, second = 0] = head
  if ((first & 0x70) !== 0 || (second & 0x80) !== 0)
    throw new Error('the provider sent a frame that is masked, or of an extension')
  const length =
    second < 126 ? second : second === 126 ? head.readUInt16BE(2) : head.readBigUInt64BE(2)
  if (length > Number.MAX_SAFE_INTEGER) throw new Error('the provider sent a frame without end')
  return Number(length)
}

/**
 * The provider's frames, each searched for the token: what is found is overwritten in its own length, so frames stay whole.
 * Nothing is held back past the end of a frame.
 */
const searched = (scrubber: TokenScrubber | null, moved: (bytes: number) => void) => {
  let head = Buffer.alloc(0)
  let left = 0
  const read = (chunk: Buffer): Buffer => {
    const out: Buffer[] = []
    for (let at = 0; at < chunk.length;) {
      if (left === 0) {
        head = Buffer.concat([head, chunk.subarray(at, ++at)])
        if (head.length < 2 || head.length < 2 + moreOf((head[1] ?? 0) & 0x7f)) continue
        left = lengthOf(head)
        out.push(head)
        head = Buffer.alloc(0)
        continue
      }
      const piece = chunk.subarray(at, at + left)
      at += piece.length
      left -= piece.length
      out.push(scrubber === null ? piece : scrubber.push(piece))
      if (left === 0 && scrubber !== null) out.push(scrubber.end())
    }
    return Buffer.concat(out)
  }
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      moved(chunk.length)
      try {
        done(null, read(chunk))
      } catch (error) {
        done(error as Error)
      }
    },
  })
  return { stream, between: () => left === 0 && head.length === 0 }
}

/** Close, 1008: policy violation (RFC 6455 7.4.1). */
const CLOSE = Buffer.from([0x88, 0x02, 0x03, 0xf0])
const CLOSING_MS = 1_000

/**
 * Joins both until one ends or breaks; then both are closed.
 * @param done once; whether both ended by themselves
 * @returns ends it from our side, with a word to the agent where one can be said
 */
export const joined = (
  agent: Duplex,
  provider: Duplex,
  seen: {
    readonly scrubber: TokenScrubber | null
    readonly up: (bytes: number) => void
    readonly down: (bytes: number) => void
  },
  done: (whole: boolean) => void,
): (() => void) => {
  let [left, broken] = [2, false]
  const over = (error?: Error | null): void => {
    if (error) {
      broken = true
      agent.destroy()
      provider.destroy()
    }
    if (--left > 0) return
    agent.destroy()
    provider.destroy()
    done(!broken)
  }
  const back = searched(seen.scrubber, seen.down)
  pipeline(agent, counted(seen.up), provider, over)
  pipeline(provider, back.stream, agent, over)
  return () => {
    broken = true
    const between = back.between() && agent.writable
    back.stream.unpipe(agent)
    if (between) agent.end(CLOSE)
    provider.destroy()
    setTimeout(() => agent.destroy(), between ? CLOSING_MS : 0).unref()
  }
}
