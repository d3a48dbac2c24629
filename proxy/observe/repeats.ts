// Equal warnings and errors are said once, and then once a minute with how often: a provider that is down must not
// bury everything else under one line per call.
type Line = { readonly level: 'warn' | 'error'; readonly fields: object; readonly msg: string }
type Known = { since: number; repeated: number; last: Line }

const EVERY_MS = 60_000
/** Different lines that are counted at a time; beyond, the oldest is told and forgotten. */
const MOST = 256
const DEEPEST = 3
/** Fields that tell one trouble from another. Those that tell one call or person from another are not among them. */
const TELLING = 'connection provider issuer client_id kind code file path row signal'.split(' ')

const text = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' ? String(value) : ''
/** The codes of an error and of its causes; what it says may differ each time. */
const codes = (error: unknown, depth = 0): readonly string[] =>
  typeof error !== 'object' || error === null || depth >= DEEPEST
    ? []
    : [
        text('code' in error ? error.code : undefined),
        ...codes('cause' in error ? error.cause : undefined, depth + 1),
      ]
const keyOf = ({ level, fields, msg }: Line): string => {
  const told: Readonly<Record<string, unknown>> = { ...fields }
  const error = fields instanceof Error ? fields : told['err']
  const named = TELLING.map((name) => text(told[name]))
  // Numbers in a sentence (seconds, sizes) make it no other one.
  return JSON.stringify([level, msg.replaceAll(/\d+/g, '#'), ...named, ...codes(error)])
}

/**
 * @param write takes the first of equal lines at once, and after each minute the latest with `repeated`: how many came
 *   since the line before
 * @returns `say`, and `flush`, which tells what is only counted yet
 */
export const sumRepeats = (write: (line: Line) => void) => {
  /** The longest known first. */
  const lines = new Map<string, Known>()
  let timer: NodeJS.Timeout | null = null

  const tell = ({ repeated, last }: Known): void => {
    if (repeated === 0) return
    const fields = last.fields instanceof Error ? { err: last.fields } : last.fields
    write({ ...last, fields: { ...fields, repeated } })
  }
  const due = (): void => {
    timer = null
    const now = performance.now()
    for (const [key, known] of lines) {
      if (now - known.since < EVERY_MS) break
      lines.delete(key)
      tell(known)
      if (known.repeated > 0) lines.set(key, { ...known, since: now, repeated: 0 })
    }
    wait()
  }
  const wait = (): void => {
    const [first] = lines.values()
    if (timer !== null || first === undefined) return
    timer = setTimeout(due, Math.max(1, first.since + EVERY_MS - performance.now()))
    timer.unref()
  }
  return {
    say: (line: Line): void => {
      const key = keyOf(line)
      const known = lines.get(key)
      if (known !== undefined) {
        known.repeated += 1
        known.last = line
        return
      }
      write(line)
      const [oldest] = lines
      if (lines.size >= MOST && oldest !== undefined) {
        lines.delete(oldest[0])
        tell(oldest[1])
      }
      lines.set(key, { since: performance.now(), repeated: 0, last: line })
      wait()
    },
    flush: (): void => {
      for (const known of lines.values()) tell(known)
      lines.clear()
    },
  }
}
