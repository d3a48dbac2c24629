// The chain of evidence: how lines are made and read back, and what an anchor signs.
import { hash } from 'node:crypto'
import type { Json } from '../model.ts'

/**
 * Names one line: its process, its number there, the sha256 (hex) of its bytes without the line
 * end.
 */
export type Link = { readonly proc: string; readonly seq: number; readonly hash: string }
export type Signature = { readonly kid: string; readonly signature: string }

/** `prev` of the first line of a process. */
export const GENESIS = '0'.repeat(64)

/** deputy leaves no longer run of lines without an anchor, by their number and by their times. */
export const ANCHORED = { everyLines: 1_000, everyMs: 60_000 } as const

/** What an anchor signs: its own line, which names the line before it, without `kid` and `sig`. */
export const anchorText = (line: string | Buffer): string =>
  `deputy chain.anchor 2\n${hash('sha256', line)}`

const SIGNED = /,"kid":"([^"\\]+)","sig":"([\w-]+)"\}\}$/

/** The line of an anchor, with its signature where that was. */
export const signedLine = (line: string, { kid, signature }: Signature): string =>
  line.slice(0, -'}}'.length) + member('kid', kid) + member('sig', signature) + '}}'

/** An anchor's line as it was before it was signed, and its signature. null: it has none. */
export const unsignedLine = (
  line: string,
): { readonly line: string; readonly kid: string; readonly sig: string } | null => {
  const found = SIGNED.exec(line)
  const [all = '', kid = '', sig = ''] = found ?? []
  return found === null ? null : { line: `${line.slice(0, -all.length)}}}`, kid, sig }
}

/** ISO text of a time in ms; most lines share their second with the one before. */
export const isoTime = (): ((now: number) => string) => {
  let second = -1
  let text = ''
  return (now) => {
    const whole = Math.floor(now)
    const at = Math.floor(whole / 1_000)
    if (at !== second) text = new Date(at * 1_000).toISOString().slice(0, 20)
    second = at
    return `${text}${String(whole - at * 1_000).padStart(3, '0')}Z`
  }
}

/** `,"name":value`, correct for any string. */
export const member = (name: string, value: Json): string =>
  `,${JSON.stringify(name)}:${JSON.stringify(value)}`

/** The line that follows `last`, without line end; `fields` is JSON text that begins with `,`. */
export const lineAfter = (last: Link, time: string, event: string, fields: string): string =>
  `{"v":1,"proc":"${last.proc}","seq":${last.seq + 1},"prev":"${last.hash}",` +
  `"time":"${time}","event":"${event}"${fields}}`

export type Line = { readonly number: number; readonly bytes: Buffer; readonly whole: boolean }

/** Splits bytes at line ends. */
export const linesOf = async function* (
  source: AsyncIterable<Buffer | string>,
): AsyncGenerator<Line> {
  let rest: Buffer[] = []
  let number = 0
  for await (const data of source) {
    const chunk = Buffer.from(data)
    let from = 0
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      rest.push(chunk.subarray(from, at))
      yield { number: ++number, bytes: Buffer.concat(rest), whole: true }
      rest = []
      from = at + 1
    }
    if (from < chunk.length) rest.push(chunk.subarray(from))
  }
  if (rest.length > 0) yield { number: ++number, bytes: Buffer.concat(rest), whole: false }
}

export type Foreign = Readonly<Record<string, unknown>>

/** A line as the object that it says it is; null: it is none. */
export const record = (bytes: Buffer): Foreign | null => {
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return typeof value === 'object' && value !== null ? (value as Foreign) : null
  } catch {
    return null
  }
}

export const isLink = (value: unknown): value is Link => {
  const { proc, seq, hash } = (value ?? {}) as Foreign
  return typeof proc === 'string' && Number.isSafeInteger(seq) && typeof hash === 'string'
}

export const sameLink = (a: Link, b: Link): boolean =>
  a.proc === b.proc && a.seq === b.seq && a.hash === b.hash

/** How the next line names this one; null: it is no record. */
export const linkOf = (line: Buffer): Link | null => linkIn(record(line), line)

/** The same of a line that was read before. */
export const linkIn = (fields: Foreign | null, line: Buffer): Link | null => {
  const { v, proc, seq } = fields ?? {}
  const link = { proc, seq, hash: hash('sha256', line) }
  return v === 1 && isLink(link) ? link : null
}
