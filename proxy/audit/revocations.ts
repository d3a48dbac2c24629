// What the evidence says was revoked, by whoever and whenever, so that it is revoked again in a
// vault that was restored from a copy.
import type { Person } from '../model.ts'
import type { Foreign } from './chain.ts'
import { linesOf, record } from './chain.ts'
import { isHidden, OWN, UNNAMED } from './names.ts'
import { bytesOf } from './segments.ts'

/** A person's id may be a name under their own key (`hmac2:`), which the vault tells. */
export type Revocation = {
  /** ms since the epoch. */
  readonly at: number
} & (
  | { readonly kind: 'credential'; readonly credential: string; readonly failed: boolean }
  | {
      readonly kind: 'grant'
      readonly person: Person
      readonly agent: string
      readonly connection: string
    }
  | { readonly kind: 'run'; readonly run: string }
  /** `until`: it ends at that time, ms; null: it has. */
  | { readonly kind: 'standing'; readonly standing: string; readonly until: number | null }
  | { readonly kind: 'person'; readonly person: Person }
  /** Switched off, or on again; `tenant` null: for everybody. */
  | {
      readonly kind: 'agent'
      readonly agent: string
      readonly tenant: string | null
      readonly off: boolean
      readonly by: 'owner' | 'operator'
    }
)

export type Found = {
  readonly revocations: readonly Revocation[]
  readonly lines: number
  /**
   * Where lines before are not there: their revocations are not known. ms; `began` is the oldest of
   * all.
   */
  readonly began: number
  /** Sentences about what cannot be carried out, or is missing. */
  readonly problems: readonly string[]
}

/** Every event whose name matches takes something away from somebody. */
const TAKES = /\.(?:revoked|removed|erased|disabled|disconnected|withdrawn|ended|suspended)$/
/** Of these, what concerns no grant. */
const OTHERS: ReadonlySet<string> = new Set(['segment.removed'])

const textOf = (from: Foreign, name: string): string | null => {
  const value = from[name]
  return typeof value === 'string' && value !== '' ? value : null
}
const memberOf = (from: Foreign, name: string): Foreign => {
  const value = from[name]
  return typeof value === 'object' && value !== null ? (value as Foreign) : {}
}
const personOf = (line: Foreign): Person | null => {
  const user = memberOf(line, 'user')
  const [tenant, realm, id] = ['tenant', 'realm', 'id'].map((name) => textOf(user, name))
  // A name under a key of the ring could be that of anybody; one under their own key is in the vault.
  const told = id != null && (!isHidden(id) || (id.startsWith(OWN) && id !== UNNAMED))
  return tenant == null || realm == null || id == null || !told ? null : { tenant, realm, id }
}

/** null: it takes nothing from anybody; `unknown`: it does, and this version does not know how. */
const revocationOf = (line: Foreign, event: string, at: number): Revocation | 'unknown' | null => {
  const [credential, connection] = [textOf(line, 'credential'), textOf(line, 'connection')]
  if (event === 'connection.revoked' || event === 'connection.disconnected') {
    const result = textOf(line, 'result')
    if (result !== 'grant_removed' && result !== 'agent')
      return credential === null
        ? 'unknown'
        : { kind: 'credential', at, credential, failed: result === 'failed' }
    const [person, agent] = [personOf(line), textOf(memberOf(line, 'agent'), 'id')]
    return person === null || agent === null || connection === null
      ? 'unknown'
      : { kind: 'grant', at, person, agent, connection }
  }
  if (event === 'run.revoked') {
    const run = textOf(line, 'run')
    return run === null ? 'unknown' : { kind: 'run', at, run }
  }
  if (event === 'agent.disabled' || event === 'agent.enabled') {
    const agent = textOf(memberOf(line, 'agent'), 'id')
    const off = event === 'agent.disabled'
    const by = textOf(line, 'operator') === null ? 'owner' : 'operator'
    return agent === null
      ? 'unknown'
      : { kind: 'agent', at, agent, tenant: textOf(line, 'tenant'), off, by }
  }
  if (event === 'standing.ended' || event === 'standing.changed') {
    const standing = textOf(line, 'standing')
    const until = event === 'standing.ended' ? null : Date.parse(String(line['expires_at']))
    return standing === null || Number.isNaN(until)
      ? 'unknown'
      : { kind: 'standing', at, standing, until }
  }
  if (event === 'operator.erased' || event === 'person.erased') {
    const person = personOf(line)
    // Somebody of whom nothing was kept.
    const none = Object.keys(memberOf(line, 'rows')).length === 0
    if (none && textOf(memberOf(line, 'user'), 'id') === UNNAMED) return null
    return person === null ? 'unknown' : { kind: 'person', at, person }
  }
  return TAKES.test(event) && !OTHERS.has(event) ? 'unknown' : null
}

/** When each file begins, ms. Throws an Error that names the file. */
const ordered = async (files: readonly string[]): Promise<readonly string[]> => {
  const begun: { readonly file: string; readonly at: number }[] = []
  for (const file of new Set(files)) {
    let at: number | null = null
    for await (const { bytes } of linesOf(bytesOf(file))) {
      at = Date.parse(String(record(bytes)?.['time']))
      break
    }
    if (at === null) continue
    if (Number.isNaN(at)) throw new Error(`${file}: is no evidence of deputy`)
    begun.push({ file, at })
  }
  return begun.sort((a, b) => a.at - b.at).map(({ file }) => file)
}

/**
 * Reads whole files: parts of one journal, or those of several replicas, in any order.
 * @param since lines that are missing before a file are a problem only if they may be younger
 *   than this, ms
 * @throws Error that names a file that cannot be read
 */
export const revocationsIn = async (files: readonly string[], since: number): Promise<Found> => {
  const revocations: Revocation[] = []
  const problems: string[] = []
  const unknown = new Map<string, number>()
  const last = new Map<string, number>()
  let [lines, began] = [0, Infinity]
  /** The line before is not there, or not where it belongs. */
  const joined = (place: string, line: Foreign, at: number): void => {
    const [proc, seq] = [String(line['proc']), Number(line['seq'])]
    const before = last.get(proc)
    last.set(proc, seq)
    if (before !== undefined && seq === before + 1) return
    const after = Array.isArray(line['after']) ? (line['after'] as readonly Foreign[]) : []
    const follows = after.some((each) => last.get(String(each['proc'])) === each['seq'])
    if (before === undefined && seq === 1 && (after.length === 0 || follows)) return
    if (before === undefined && at <= since) return
    problems.push(
      `${place}: lines before it are missing, and what was revoked in them is not known: name every file of the evidence since ${new Date(since).toISOString()}`,
    )
  }
  for (const file of await ordered(files))
    for await (const { number, bytes, whole } of linesOf(bytesOf(file))) {
      const place = `${file}:${number}`
      if (!whole) continue // torn off by a crash, or being written: nobody was told that it was done
      const line = record(bytes)
      const at = Date.parse(String(line?.['time']))
      const event = line === null ? null : textOf(line, 'event')
      if (line === null || event === null || Number.isNaN(at)) {
        problems.push(`${place}: is no line of the evidence`)
        continue
      }
      lines += 1
      began = Math.min(began, at)
      joined(place, line, at)
      const found = revocationOf(line, event, at)
      if (found === 'unknown') unknown.set(event, (unknown.get(event) ?? 0) + 1)
      else if (found !== null) revocations.push(found)
    }
  for (const [event, n] of unknown)
    problems.push(
      `${n} × ${event}: this version cannot tell from the evidence what that took from whom: do it again by hand`,
    )
  if (lines === 0) problems.push('there is no line in the evidence: name the files that hold it')
  else if (began > since)
    problems.push(
      `the evidence begins at ${new Date(began).toISOString()}, and the copy may be as old as ${new Date(since).toISOString()}: name the files in between as well`,
    )
  return { revocations, lines, began, problems }
}
