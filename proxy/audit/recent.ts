// What the evidence of this process said lately, kept in memory for the console: the last records within a bound, and
// counts of the last hour by minute. What is older is in the files.
import type { Foreign } from './chain.ts'
import type { Line } from './block.ts'
import { textAt, type Row } from './query.ts'

/** Records, and characters of them, that are kept. */
export const MOST_RECORDS = 2_000
const MOST_LENGTH = 4 * 1024 ** 2
export const MINUTES = 60
const MINUTE_MS = 60_000
/** Tenants, and reasons of one tenant, that a minute counts by themselves. */
const MOST_TENANTS = 256
const MOST_REASONS = 64
const OTHER = 'other'

/** One written record. */
export type Recorded = {
  /** Counts up, within this process. */
  readonly n: number
  /** ms since the epoch. */
  readonly at: number
  readonly event: string
  /** Of the call it is about; '': none. */
  readonly exchange: string
  readonly fields: Foreign
  /** Of whom it speaks; empty: of nobody, so that only who serves all tenants is told of it. */
  readonly tenants: readonly string[]
}
export type Minute = {
  /** ms since the epoch, of its beginning. */
  readonly at: number
  readonly effects: ReadonlyMap<string, number>
  readonly reasons: ReadonlyMap<string, number>
}
/** May a tenant be told of? */
export type Serves = (tenant: string) => boolean
export type Recent = ReturnType<typeof createRecent>

type Kept = Line & { readonly n: number; read: Recorded | null }
const GONE: Kept = { n: 0, at: 0, event: '', fields: '', read: null }
type Counts = {
  readonly effects: Map<string, number>
  readonly reasons: Map<string, number>
}
const emptyCounts = (): Counts => ({ effects: new Map(), reasons: new Map() })
const add = (to: Map<string, number>, name: string, n: number): void => {
  const key = to.has(name) || to.size < MOST_REASONS ? name : OTHER
  to.set(key, (to.get(key) ?? 0) + n)
}
const fieldsOf = (text: string): Foreign =>
  text === '' ? {} : (JSON.parse(`{${text.slice(1)}}`) as Foreign)

/** The text after `before`, in JSON that deputy wrote: no string of anybody else's holds an unescaped quote. */
const after = (text: string, before: string): string => {
  const at = text.indexOf(before)
  if (at === -1) return ''
  const from = at + before.length
  return text.slice(from, text.indexOf('"', from))
}
/** Tenants that a record names: of its user, of who did it, of where it holds. */
const tenantsIn = (fields: Foreign): readonly string[] => [
  ...new Set(
    [textAt(fields, 'user', 'tenant'), textAt(fields, 'by', 'tenant'), textAt(fields, 'tenant')]
      .concat(textAt(fields, 'signed_in', 'tenant'))
      .filter((tenant) => tenant !== ''),
  ),
]

/** Counts of each minute, by tenant; `null` stands for what names none. */
const createMinutes = () => {
  const minutes = new Map<number, Map<string | null, Counts>>()
  const of = (at: number, tenant: string | null): Counts => {
    const start = Math.floor(at / MINUTE_MS) * MINUTE_MS
    let minute = minutes.get(start)
    if (minute === undefined) {
      minutes.set(start, (minute = new Map()))
      // The clock of a process never goes back, so the first is the oldest.
      for (const old of minutes.keys())
        if (minutes.size > MINUTES || old <= start - MINUTES * MINUTE_MS) minutes.delete(old)
        else break
    }
    const key = minute.has(tenant) || minute.size < MOST_TENANTS ? tenant : null
    let counts = minute.get(key)
    if (counts === undefined) minute.set(key, (counts = emptyCounts()))
    return counts
  }
  return {
    effect: (at: number, tenant: string | null, effect: string, n = 1) =>
      add(of(at, tenant).effects, effect, n),
    reason: (at: number, tenant: string | null, reason: string, n = 1) =>
      add(of(at, tenant).reasons, reason, n),
    /** The last hour up to `now`, a row for each minute. @param serves null: all */
    hour: (now: number, serves: Serves | null): readonly Minute[] => {
      const last = Math.floor(now / MINUTE_MS) * MINUTE_MS
      return Array.from({ length: MINUTES }, (_, i) => {
        const at = last - (MINUTES - 1 - i) * MINUTE_MS
        const sum = emptyCounts()
        for (const [tenant, { effects, reasons }] of minutes.get(at) ?? []) {
          if (serves !== null && (tenant === null || !serves(tenant))) continue
          for (const [name, n] of effects) add(sum.effects, name, n)
          for (const [name, n] of reasons) add(sum.reasons, name, n)
        }
        return { at, ...sum }
      })
    },
  }
}

const told =
  (serves: Serves | null) =>
  ({ tenants }: Recorded): boolean =>
    serves === null || (tenants.length > 0 && tenants.every(serves))

export const createRecent = () => {
  const kept: Kept[] = []
  let [first, length, n] = [0, 0, 0]
  let on = false
  /** The decisions that are kept, by exchange, and whose the calls are; null: nobody's. */
  const decisions = new Map<string, { readonly one: Kept; readonly tenant: string | null }>()
  const hearers = new Set<() => void>()
  const minutes = createMinutes()

  const tenantOf = ({ fields }: Line): string | null => {
    const found = after(fields, '"tenant":"')
    if (found === '') return null
    return found.includes('\\') ? (tenantsIn(fieldsOf(fields))[0] ?? null) : found
  }
  const countDecision = (line: Kept): void => {
    const { at, fields } = line
    const tenant = tenantOf(line)
    const effect = after(fields, '"decision":{"effect":"')
    minutes.effect(at, tenant, effect)
    decisions.set(after(fields, '"exchange":"'), { one: line, tenant })
    if (effect !== 'allow') minutes.reason(at, tenant, after(fields, ',"reasons":["') || effect)
  }
  const countRefused = (line: Line): void => {
    const { at, fields } = line
    if (fields.startsWith(',"summed":')) {
      for (const [code, count] of Object.entries(fieldsOf(fields)['summed'] as object)) {
        minutes.effect(at, null, 'refused', Number(count))
        minutes.reason(at, null, code, Number(count))
      }
      return
    }
    const tenant = tenantOf(line)
    minutes.effect(at, tenant, 'refused')
    minutes.reason(at, tenant, after(fields, '"code":"'))
  }
  const countOutcome = ({ at, fields }: Line): void => {
    const result = after(fields, '"result":"')
    if (result === 'ok' || result === 'interrupted' || result === 'unknown') return
    const tenant = decisions.get(after(fields, '"exchange":"'))?.tenant ?? null
    minutes.reason(at, tenant, result)
  }
  const count = (line: Kept): void => {
    if (line.event === 'decision') countDecision(line)
    else if (line.event === 'refused') countRefused(line)
    else if (line.event === 'outcome') countOutcome(line)
  }
  const tooMany = (): boolean =>
    kept.length - first > MOST_RECORDS || (length > MOST_LENGTH && first < kept.length)
  const drop = (): void => {
    const old = kept[first]
    if (old === undefined) return
    // Its place is cut off later; what it held goes now.
    kept[first++] = GONE
    length -= old.fields.length
    const exchange = old.event === 'decision' ? after(old.fields, '"exchange":"') : ''
    if (decisions.get(exchange)?.one === old) decisions.delete(exchange)
    // Cut now and then, not at each record.
    if (first <= MOST_RECORDS) return
    kept.splice(0, first)
    first = 0
  }

  /** Whose an outcome is, or a difference of the shadow policy, its decision says. */
  const read = (one: Kept): Recorded => {
    if (one.read !== null) return one.read
    const fields = fieldsOf(one.fields)
    const exchange = textAt(fields, 'exchange')
    const named = tenantsIn(fields)
    const known = decisions.get(exchange)?.tenant ?? null
    const tenants = named.length === 0 && known !== null ? [known] : named
    const { n, at, event } = one
    const record = { n, at, event, exchange, fields, tenants }
    // Its decision may come later.
    if (tenants.length > 0 || exchange === '') one.read = record
    return record
  }

  return {
    /** Nothing is kept until somebody could look. */
    keep: () => {
      on = true
    },
    /** Is told of lines once they are written. */
    written: (lines: readonly Line[]): void => {
      if (!on) return
      for (const line of lines) {
        const one = { ...line, n: ++n, read: null }
        kept.push(one)
        length += line.fields.length
        count(one)
      }
      while (tooMany()) drop()
      for (const hear of hearers) hear()
    },
    /** What was recorded after the record `since`, the oldest first. @param serves null: all tenants */
    after: (since: number, serves: Serves | null): readonly Recorded[] => {
      const from = Math.max(first, kept.length - (n - since))
      return kept.slice(from).map(read).filter(told(serves))
    },
    /** The decision of a call, as long as it is kept; null: not, or of a tenant that is not served. */
    decision: (exchange: string, serves: Serves | null): Recorded | null => {
      const found = decisions.get(exchange)
      const one = found === undefined ? null : read(found.one)
      return one !== null && told(serves)(one) ? one : null
    },
    /** The number of the newest record. */
    newest: (): number => n,
    hour: minutes.hour,
    /** @returns the end of it */
    subscribe: (hear: () => void): (() => void) => {
      hearers.add(hear)
      return () => void hearers.delete(hear)
    },
  }
}

/** A row of a query, and the number of the newest record that is in it. */
export type RecentRow = Row & { readonly at: number; newest: number }

/** Records as rows of a query: a decision together with how its call ended. */
export const rowsIn = (records: readonly Recorded[]): readonly RecentRow[] => {
  const rows: RecentRow[] = []
  const open = new Map<string, RecentRow>()
  for (const { at, event, exchange, fields, n } of records) {
    const time = new Date(at).toISOString()
    if (event === 'outcome') {
      const row = open.get(exchange)
      if (row === undefined) continue
      row.outcome = { ...fields, time }
      row.newest = n
      continue
    }
    const told = { ...fields, event, time }
    const row = { file: '', line: n, at, fields: told, outcome: null, newest: n }
    rows.push(row)
    if (event === 'decision') open.set(exchange, row)
  }
  return rows
}
