// The chain of evidence: how lines are made, and the proof that none was changed, removed, inserted or moved.
import type { KeyObject } from 'node:crypto'
import { hash, verify } from 'node:crypto'
import { createReadStream } from 'node:fs'
import type { Json } from '../model.ts'

/** Names one line: its process, its number there, the sha256 (hex) of its bytes without the line end. */
export type Link = { readonly proc: string; readonly seq: number; readonly hash: string }
export type Signature = { readonly kid: string; readonly signature: string }

export type Verified = {
  readonly ok: boolean
  readonly lines: number
  readonly procs: number
  /** The first hundred, and how many there are. */
  readonly problems: readonly { readonly line: number; readonly what: string }[]
  readonly found: number
  /** `signed`: its signature was checked with one of `publicKeys`. */
  readonly lastAnchor:
    (Link & { readonly line: number; readonly kid: string; readonly signed: boolean }) | null
  /** Lines after the last anchor: chained, but whoever can write the file could have cut or redone them. */
  readonly unanchored: number
  /** The line that the file's first process continued, where an older file was moved away. */
  readonly continues: readonly Link[]
  /** Bytes of a last line without line end: a crash, or a write under way. */
  readonly torn: number
}

/** `prev` of the first line of a process. */
export const GENESIS = '0'.repeat(64)

/** What an anchor signs. */
export const anchorText = ({ proc, seq, hash }: Link): string =>
  `deputy chain.anchor 1\n${proc}\n${seq}\n${hash}`

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

type Line = { readonly number: number; readonly bytes: Buffer; readonly whole: boolean }

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

const isLink = (value: unknown): value is Link => {
  const { proc, seq, hash } = (value ?? {}) as Foreign
  return typeof proc === 'string' && Number.isSafeInteger(seq) && typeof hash === 'string'
}

const sameLink = (a: Link, b: Link): boolean =>
  a.proc === b.proc && a.seq === b.seq && a.hash === b.hash

/** The anchors of a file or stream, as a copy that somebody else holds. */
export const anchorsOf = async (
  source: string | AsyncIterable<Buffer | string>,
): Promise<readonly Link[]> => {
  const anchors: Link[] = []
  for await (const { bytes } of linesOf(
    typeof source === 'string' ? createReadStream(source) : source,
  )) {
    const line = record(bytes)
    if (line?.['event'] !== 'chain.anchor') continue
    const link = { ...(line['anchor'] as Foreign), proc: line['proc'] }
    if (isLink(link)) anchors.push({ proc: link.proc, seq: link.seq, hash: link.hash })
  }
  return anchors
}

/**
 * Reads a whole file or stream once. `publicKeys` (by kid) check the signatures of anchors; `held` are
 * anchors from elsewhere: each must be found, so that a file that was cut short or redone is seen.
 */
export const verifyJournal = async (
  source: string | AsyncIterable<Buffer | string>,
  options: {
    readonly publicKeys?: ReadonlyMap<string, KeyObject>
    readonly held?: readonly Link[]
  } = {},
): Promise<Verified> => {
  const problems: { line: number; what: string }[] = []
  const held = new Map((options.held ?? []).map((link) => [`${link.seq} ${link.proc}`, link]))
  const procs = new Set<string>()
  let found = 0
  let last: Link | null = null
  let lastAnchor: Verified['lastAnchor'] = null
  let continues: readonly Link[] = []
  let lines = 0
  let torn = 0
  const report = (line: number, what: string) => {
    found++
    if (problems.length < 100) problems.push({ line, what })
  }

  const begins = (line: number, fields: Foreign, link: Link, prev: unknown) => {
    if (procs.has(link.proc))
      return report(line, `process ${link.proc} goes on here: lines were moved`)
    if (link.seq !== 1 || prev !== GENESIS || fields['event'] !== 'process.started') {
      return report(
        line,
        `process ${link.proc} begins with line ${link.seq}: lines before it are missing`,
      )
    }
    // null: the journal had no file, only a stream, and cannot know what stood there.
    const after = fields['after']
    if (after === null) return
    const claims = Array.isArray(after) ? after.filter(isLink) : []
    if (last === null) continues = claims
    else if (!claims.some((claim) => last !== null && sameLink(claim, last))) {
      report(
        line,
        `process ${link.proc} did not start after line ${line - 1}: lines before it were changed, removed or inserted`,
      )
    }
  }

  const follows = (line: number, before: Link, link: Link, prev: unknown) => {
    const due = before.seq + 1
    if (link.seq > due) report(line, `lines ${due} to ${link.seq - 1} of ${link.proc} are missing`)
    else if (link.seq < due)
      report(
        line,
        `line ${link.seq} of ${link.proc} stands where ${due} belongs: inserted, repeated or moved`,
      )
    else if (prev !== before.hash)
      report(line, `line ${line - 1} is not the one that was written: it was changed or replaced`)
  }

  const anchored = (line: number, fields: Foreign, before: Link | null) => {
    const { kid, sig, ...rest } = (fields['anchor'] ?? {}) as Foreign
    const link = { ...rest, proc: fields['proc'] }
    if (!isLink(link) || typeof kid !== 'string' || typeof sig !== 'string')
      return report(line, 'this anchor is malformed')
    if (before === null || !sameLink(link, before))
      return report(line, 'this anchor does not name the line before it')
    const key = options.publicKeys?.get(kid)
    if (options.publicKeys !== undefined && key === undefined)
      return report(line, `no public key ${kid} to check this anchor`)
    if (
      key !== undefined &&
      !verify(null, Buffer.from(anchorText(link)), key, Buffer.from(sig, 'base64url'))
    ) {
      return report(line, `the signature of this anchor is not by key ${kid}`)
    }
    lastAnchor = {
      proc: link.proc,
      seq: link.seq,
      hash: link.hash,
      line,
      kid,
      signed: key !== undefined,
    }
  }

  for await (const { number, bytes, whole } of linesOf(
    typeof source === 'string' ? createReadStream(source) : source,
  )) {
    if (!whole) {
      torn = bytes.length
      break
    }
    lines++
    const fields = record(bytes)
    const link = { proc: fields?.['proc'], seq: fields?.['seq'], hash: hash('sha256', bytes) }
    if (fields === null || fields['v'] !== 1 || !isLink(link)) {
      report(number, 'this is no record of the journal')
      continue
    }
    const before: Link | null = last
    if (before?.proc === link.proc) follows(number, before, link, fields['prev'])
    else begins(number, fields, link, fields['prev'])
    if (fields['event'] === 'chain.anchor') anchored(number, fields, before)
    procs.add(link.proc)
    const name = `${link.seq} ${link.proc}`
    const copy = held.get(name)
    if (copy !== undefined && sameLink(copy, link)) held.delete(name)
    last = link
  }
  for (const { proc, seq } of held.values()) {
    report(
      lines,
      `line ${seq} of ${proc}, which an anchor held elsewhere names, is missing or was changed`,
    )
  }
  const end = (lastAnchor as Verified['lastAnchor'])?.line ?? 0
  return {
    ok: found === 0,
    lines,
    procs: procs.size,
    problems,
    found,
    lastAnchor,
    unanchored: lines - end,
    continues,
    torn,
  }
}
