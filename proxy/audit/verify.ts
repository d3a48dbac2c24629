// The proof that no line of the evidence was changed, removed, inserted or moved.
import type { KeyObject } from 'node:crypto'
import { hash, verify } from 'node:crypto'
import type { Foreign, Link } from './chain.ts'
import {
  ANCHORED,
  anchorText,
  GENESIS,
  isLink,
  linesOf,
  record,
  sameLink,
  unsignedLine,
} from './chain.ts'
import { bytesOf } from './segments.ts'

/** A file, or what a collector took from stdout. */
export type Source = string | AsyncIterable<Buffer | string>

type Place = { readonly file: string | null; readonly line: number }

export type Verified = {
  readonly ok: boolean
  readonly lines: number
  readonly procs: number
  /** The first hundred, and how many there are. */
  readonly problems: readonly (Place & { readonly what: string })[]
  readonly found: number
  /** `signed`: its signature was checked with one of `publicKeys`. */
  readonly lastAnchor: (Link & Place & { readonly kid: string; readonly signed: boolean }) | null
  /**
   * Lines after the last anchor: chained, but whoever can write the file could have cut or redone
   * them.
   */
  readonly unanchored: number
  /** The line that the first one continues, where retention removed what ended with it. */
  readonly continues: Link | null
  /** Bytes of a last line without line end: a crash, or a write under way. */
  readonly torn: number
  /** The last process, where it has not stopped: it runs, crashed, or its end was cut off. */
  readonly running: string | null
  /** Of `held`: those whose line is not there as it was. */
  readonly missing: readonly Link[]
}

/** deputy writes an anchor together with each of these. */
const SEALED = new Set(['process.started', 'process.stopped', 'segment.started', 'segment.removed'])

/** The anchors of a file or stream, as a copy that somebody else holds. */
export const anchorsOf = async (source: Source): Promise<readonly Link[]> => {
  const anchors: Link[] = []
  for await (const { bytes } of linesOf(typeof source === 'string' ? bytesOf(source) : source)) {
    const line = record(bytes)
    if (line?.['event'] !== 'chain.anchor') continue
    const link = { ...(line['anchor'] as Foreign), proc: line['proc'] }
    if (isLink(link)) anchors.push({ proc: link.proc, seq: link.seq, hash: link.hash })
  }
  return anchors
}

/**
 * Problems in the order of the lines; those of `signs` do not count where nothing at all is signed.
 */
const findings = () => {
  const all: { file: string | null; line: number; what: string }[] = []
  const counts = { broken: 0, unsigned: 0 }
  const unsigned = new Set<object>()
  const add = (at: Place, what: string, sign: boolean) => {
    counts[sign ? 'unsigned' : 'broken']++
    if (all.length >= 1_000) return
    const problem = { file: at.file, line: at.line, what }
    all.push(problem)
    if (sign) unsigned.add(problem)
  }
  return {
    broken: (at: Place, what: string) => add(at, what, false),
    unsigned: (at: Place, what: string) => add(at, what, true),
    result: (signs: boolean) => ({
      problems: all.filter((each) => signs || !unsigned.has(each)).slice(0, 100),
      found: counts.broken + (signs ? counts.unsigned : 0),
    }),
  }
}
type Findings = ReturnType<typeof findings>

/** Are anchors as close to each other as deputy leaves them? */
const closeness = (found: Findings) => {
  let lines = 0
  let since = 0
  let told = false
  let owed: string | null = null
  let stopped = false
  return {
    line(at: Place, fields: Foreign, fresh: boolean) {
      const event = String(fields['event'])
      const torn = fields['torn']
      const anchor = event === 'chain.anchor' && !fresh
      // The write of an anchor that a crash tore: the next start names the half of it.
      const cut = event === 'process.started' && Array.isArray(torn) && torn.length > 0
      if (owed !== null && !anchor && !cut)
        found.unsigned(at, `no anchor follows ${owed}, which deputy signs at once: it is forged`)
      if (!fresh && stopped && !(anchor && owed !== null))
        found.broken(at, `process ${String(fields['proc'])} goes on after it had stopped`)
      if (fresh || anchor) [lines, told] = [0, false]
      stopped = event === 'process.stopped' || (stopped && !fresh)
      owed = SEALED.has(event) ? `${event} of ${String(fields['proc'])}` : null
      if (anchor) return
      const time = Date.parse(String(fields['time']))
      if (lines++ === 0) since = time
      if (told || (lines <= ANCHORED.everyLines && Math.abs(time - since) <= ANCHORED.everyMs))
        return
      told = true
      const most = `${ANCHORED.everyLines} lines or ${ANCHORED.everyMs / 1_000} seconds`
      found.unsigned(at, `no anchor for more than ${most}, which deputy never leaves: forged lines`)
    },
    end(at: Place, torn: number) {
      if (owed !== null && torn === 0)
        found.unsigned(at, `no anchor follows ${owed}, which deputy signs at once: it is forged`)
    },
    unanchored: () => lines,
    stopped: () => stopped,
  }
}

/** Does each line follow the one before it? */
const sequence = (found: Findings) => {
  const procs = new Set<string>()
  let last: Link | null = null
  let continues: readonly Link[] = []
  const begins = (at: Place, fields: Foreign, link: Link) => {
    if (procs.has(link.proc))
      return found.broken(at, `process ${link.proc} goes on here: lines were moved`)
    const { prev, event, after } = fields
    const first = last === null
    if (link.seq > 1 && first) {
      continues = [{ proc: link.proc, seq: link.seq - 1, hash: String(prev) }]
      return
    }
    if (link.seq !== 1 || prev !== GENESIS || event !== 'process.started') {
      const what = `process ${link.proc} begins with line ${link.seq}: lines before it are missing`
      return found.broken(at, what)
    }
    // null: the journal had no file, only a stream, and cannot know what stood there.
    if (after === null) return
    const claims = Array.isArray(after) ? after.filter(isLink) : []
    if (first) continues = claims
    else if (!claims.some((claim) => last !== null && sameLink(claim, last)))
      found.broken(
        at,
        `process ${link.proc} did not start after the line before: lines there were changed, removed or inserted`,
      )
  }
  const follows = (at: Place, before: Link, link: Link, prev: unknown) => {
    const due = before.seq + 1
    if (link.seq > due)
      found.broken(at, `lines ${due} to ${link.seq - 1} of ${link.proc} are missing`)
    else if (link.seq < due)
      found.broken(
        at,
        `line ${link.seq} of ${link.proc} stands where ${due} belongs: inserted, repeated or moved`,
      )
    else if (prev !== before.hash)
      found.broken(
        at,
        `${at.line > 1 ? `line ${at.line - 1}` : 'the line before'} is not the one that was written: it was changed or replaced`,
      )
  }
  return {
    /** Returns the line before, and whether another process begins. */
    line(at: Place, fields: Foreign, link: Link) {
      const before: Link | null = last
      const fresh = before?.proc !== link.proc
      if (before === null || fresh) begins(at, fields, link)
      else follows(at, before, link, fields['prev'])
      procs.add(link.proc)
      last = link
      return { before, fresh: fresh && link.seq === 1 }
    },
    procs,
    continues: () => continues,
  }
}

/** The anchor in a line, if it is one and is right. */
const anchorIn = (
  at: Place,
  text: string,
  about: {
    readonly fields: Foreign
    readonly before: Link | null
    readonly keys: ReadonlyMap<string, KeyObject> | undefined
  },
  found: Findings,
): Verified['lastAnchor'] => {
  const { fields, before, keys } = about
  const signed = unsignedLine(text)
  const link = { ...(fields['anchor'] as Foreign | undefined), proc: fields['proc'] }
  const no = (what: string) => {
    found.broken(at, what)
    return null
  }
  if (signed === null || !isLink(link)) return no('this anchor is malformed')
  // The first line of a segment whose predecessor is elsewhere names it as `prev`.
  const named = before ?? { proc: link.proc, seq: link.seq, hash: fields['prev'] }
  if (!isLink(named) || !sameLink(link, named))
    return no('this anchor does not name the line before it')
  const { line, kid, sig } = signed
  const key = keys?.get(kid)
  if (keys !== undefined && key === undefined)
    return no(`no public key ${kid} to check this anchor`)
  if (
    key !== undefined &&
    !verify(null, Buffer.from(anchorText(line)), key, Buffer.from(sig, 'base64url'))
  )
    return no(`the signature of this anchor is not by key ${kid}`)
  return { proc: link.proc, seq: link.seq, hash: link.hash, ...at, kid, signed: key !== undefined }
}

/** Half a line in the middle is one that the next start names. */
const names = (fields: Foreign, torn: Buffer): boolean => {
  const named = fields['event'] === 'process.started' ? fields['torn'] : []
  const sha256 = hash('sha256', torn)
  return Array.isArray(named) && named.some((each: Foreign | null) => each?.['sha256'] === sha256)
}

/**
 * Reads files or streams once, in the order of the evidence. `publicKeys` (by kid) check the
 * signatures of anchors; `held` are anchors from elsewhere, to see that nothing was cut short or
 * redone.
 */
export const verifyJournal = async (
  sources: Source | readonly Source[],
  options: {
    readonly publicKeys?: ReadonlyMap<string, KeyObject>
    readonly held?: readonly Link[]
  } = {},
): Promise<Verified> => {
  const found = findings()
  const close = closeness(found)
  const order = sequence(found)
  const held = new Map((options.held ?? []).map((link) => [`${link.seq} ${link.proc}`, link]))
  const removed: { readonly link: Link; readonly number: number }[] = []
  let last: { readonly at: Place; readonly proc: string } | null = null
  let anchors = 0
  let lastAnchor: Verified['lastAnchor'] = null
  let anchored = 0
  let lines = 0
  let torn: Buffer = Buffer.alloc(0)

  const read = (at: Place, bytes: Buffer) => {
    const fields = record(bytes)
    const link = { proc: fields?.['proc'], seq: fields?.['seq'], hash: hash('sha256', bytes) }
    if (fields === null || fields['v'] !== 1 || !isLink(link))
      return found.broken(at, 'this is no record of the journal')
    if (torn.length > 0 && !names(fields, torn))
      found.broken(at, `half a line of ${torn.length} bytes stands before this one: it was cut`)
    torn = Buffer.alloc(0)
    const { before, fresh } = order.line(at, fields, link)
    close.line(at, fields, fresh)
    if (fields['event'] === 'chain.anchor') {
      anchors++
      const text = bytes.toString()
      const anchor = anchorIn(at, text, { fields, before, keys: options.publicKeys }, found)
      if (anchor !== null) [lastAnchor, anchored] = [anchor, lines]
    }
    const gone = fields['event'] === 'segment.removed' ? fields['segment'] : null
    if (isLink(gone)) removed.push({ link: gone, number: lines })
    const name = `${link.seq} ${link.proc}`
    const copy = held.get(name)
    if (copy !== undefined && sameLink(copy, link)) held.delete(name)
    last = { at, proc: link.proc }
  }

  const all = typeof sources === 'string' || Symbol.asyncIterator in sources ? [sources] : sources
  let end: Place = { file: null, line: 0 }
  for (const source of all) {
    const file = typeof source === 'string' ? source : null
    for await (const { number, bytes, whole } of linesOf(
      typeof source === 'string' ? bytesOf(source) : source,
    )) {
      if (!whole) torn = bytes
      else {
        lines++
        read((end = { file, line: number }), bytes)
      }
    }
  }
  close.end(end, torn.length)
  const continues = order.continues()
  const known = removed.find(
    ({ link, number }) => number <= anchored && continues.some((each) => sameLink(each, link)),
  )
  const [first] = continues
  if (first !== undefined && known === undefined)
    found.broken(
      { file: typeof all[0] === 'string' ? all[0] : null, line: 1 },
      `lines up to ${first.seq} of ${first.proc} came before, and are not here: name the files that hold them, or they were removed`,
    )
  const result = found.result(anchors > 0)
  return {
    ok: result.found === 0,
    lines,
    procs: order.procs.size,
    ...result,
    lastAnchor,
    unanchored: lines - anchored,
    continues: known?.link ?? null,
    torn: torn.length,
    running: close.stopped() ? null : ((last as { proc: string } | null)?.proc ?? null),
    missing: [...held.values()],
  }
}
