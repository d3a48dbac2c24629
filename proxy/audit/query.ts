// What the evidence says of calls: its lines in order, a decision together with how its call ended.
import type { Chain } from './chains.ts'
import { linesOf, record, type Foreign } from './chain.ts'
import { bytesOf } from './segments.ts'
import { concerns } from '../wire/pattern.ts'

/** What is asked for; absent: all. Texts are compared whole, `operation` may be a family (`issues.*`). */
export type Filter = {
  readonly exchange?: string
  readonly user?: string
  /** By any of these names; `said`: also who said something about a call of somebody else. */
  readonly names?: readonly string[]
  readonly said?: boolean
  readonly realm?: string
  readonly tenant?: string
  readonly agent?: string
  readonly run?: string
  readonly connection?: string
  readonly operation?: string
  readonly access?: string
  readonly effect?: string
  readonly reason?: string
  readonly result?: string
  /** `call` (what policy decided), `refused`, or an event's name or family (`consent.*`). */
  readonly event?: string
  /** Unix time, ms. */
  readonly since?: number
  readonly until?: number
}

/** A line, and for a decision that allowed the line of how its call ended; null: it has none (yet). */
export type Row = {
  readonly file: string
  readonly line: number
  readonly fields: Foreign
  outcome: Foreign | null
}
/** What was read, also where nothing was asked for. */
export type Counts = { lines: number; bytes: number; unread: number }

/** So many rows may wait for their outcomes; an older one is told without. */
const WAITING = 20_000
/** How deputy begins a line; what begins otherwise is read whole. */
const BEGIN =
  /^\{"v":1,"proc":"[^"\\]*","seq":\d+,"prev":"[^"\\]*","time":"([^"\\]*)","event":"([^"\\]*)"(?:,"exchange":"([^"\\]*)")?/

const objectOf = (value: unknown): Foreign =>
  typeof value === 'object' && value !== null ? (value as Foreign) : {}
/** A member within members, as text; '' where there is none. */
export const textAt = (fields: Foreign, ...path: readonly [string, ...string[]]): string => {
  let value: unknown = fields
  for (const name of path) {
    const within = objectOf(value)
    value = Object.hasOwn(within, name) ? within[name] : undefined
  }
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : ''
}
export const listAt = (
  fields: Foreign,
  ...path: readonly [string, ...string[]]
): readonly string[] => {
  let value: unknown = fields
  for (const name of path) value = objectOf(value)[name]
  return Array.isArray(value) ? value.map(String) : []
}

/** The run of a line; deputy writes its id, or an object that holds it. */
const runOf = (fields: Foreign): string => textAt(fields, 'run') || textAt(fields, 'run', 'id')
const wantsEvent = (wanted: string, event: string): boolean =>
  wanted === 'call' ? event === 'decision' : concerns(wanted, event)

/** The ids of those who said something about it: a member `by`, one or several, and `approvers`. */
export const sayersOf = (fields: Foreign): readonly string[] => {
  const { by, approvers } = fields
  const all = [by, approvers].flatMap((each): readonly unknown[] =>
    Array.isArray(each) ? each : [each],
  )
  return all.map((each) => (typeof each === 'string' ? each : textAt(objectOf(each), 'id')))
}
/** Of whom a line is; whoever said something is of the tenant and realm that it says, else of those of its person. */
const isOf = (
  names: readonly string[],
  { realm, tenant, said }: Filter,
  fields: Foreign,
): boolean => {
  const at = (...member: readonly ['user' | 'by', string]): string => textAt(fields, ...member)
  const within = (whose: 'user' | 'by'): boolean =>
    (realm === undefined || (at(whose, 'realm') || at('user', 'realm')) === realm) &&
    (tenant === undefined || (at(whose, 'tenant') || at('user', 'tenant')) === tenant)
  if (names.includes(at('user', 'id')) && within('user')) return true
  return said === true && sayersOf(fields).some((id) => names.includes(id)) && within('by')
}

/** Does a line fit, as far as it says so itself? */
const fits = (filter: Filter, fields: Foreign): boolean => {
  const { user, realm, tenant, agent, run, connection, operation } = filter
  const { access, effect, reason, names } = filter
  return (
    (user === undefined || textAt(fields, 'user', 'id') === user) &&
    (names === undefined
      ? (realm === undefined || textAt(fields, 'user', 'realm') === realm) &&
        (tenant === undefined || textAt(fields, 'user', 'tenant') === tenant)
      : isOf(names, filter, fields)) &&
    (agent === undefined || textAt(fields, 'agent', 'id') === agent) &&
    (run === undefined || runOf(fields) === run) &&
    (connection === undefined || textAt(fields, 'connection') === connection) &&
    (operation === undefined || concerns(operation, textAt(fields, 'operation', 'id'))) &&
    (access === undefined || textAt(fields, 'operation', 'access') === access) &&
    (effect === undefined || textAt(fields, 'decision', 'effect') === effect) &&
    (reason === undefined ||
      listAt(fields, 'decision', 'reasons').includes(reason) ||
      textAt(fields, 'code') === reason)
  )
}

/** Texts that stand in every line that fits: to look for their bytes costs less than to read the line. */
const needlesOf = ({ user, realm, tenant, agent, run, connection, effect, reason }: Filter) =>
  [user, realm, tenant, agent, run, connection, effect, reason]
    .filter((text) => text !== undefined)
    .map((text) => Buffer.from(JSON.stringify(text)))

const isoOf = (ms: number | undefined): string | null =>
  ms === undefined ? null : new Date(ms).toISOString()

/**
 * Rows that fit, in the order of the evidence; each file is read once, as a stream. What is no line of deputy's is counted
 * in `counts.unread`. Throws where a file cannot be read.
 */
export const rowsOf = async function* (
  chains: readonly Chain[],
  filter: Filter,
  counts: Counts = { lines: 0, bytes: 0, unread: 0 },
): AsyncGenerator<Row> {
  const [since, until] = [isoOf(filter.since), isoOf(filter.until)]
  const needles = needlesOf(filter)
  const any = filter.names?.map((name) => Buffer.from(JSON.stringify(name)))
  const { exchange: one, event: wanted, result } = filter
  const waiting: Row[] = []
  let first = 0
  const open = new Map<string, Row[]>()
  const told = (row: Row): boolean =>
    result === undefined || textAt(row.outcome ?? {}, 'result') === result
  const isOpen = ({ fields }: Row): boolean => open.has(textAt(fields, 'exchange'))
  /** The rows at the front that wait for nothing more. */
  const ready = function* (all: boolean): Generator<Row> {
    for (; first < waiting.length; first++) {
      const row = waiting[first]
      if (row === undefined) continue
      if (!all && waiting.length - first < WAITING && isOpen(row)) break
      open.delete(textAt(row.fields, 'exchange'))
      if (told(row)) yield row
    }
    if (first > 1_000) {
      waiting.splice(0, first)
      first = 0
    }
  }
  const read = (file: string, line: number, bytes: Buffer): void => {
    const begin = BEGIN.exec(bytes.toString('latin1', 0, 512))
    const [, time = '', event = '', exchange = ''] = begin ?? []
    if (begin !== null) {
      if (event === 'outcome') {
        const rows = open.get(exchange)
        if (rows === undefined) return
        open.delete(exchange)
        const outcome = record(bytes)
        for (const row of rows) row.outcome = outcome
        return
      }
      if ((since !== null && time < since) || (until !== null && time >= until)) return
      if (one !== undefined && exchange !== one) return
      if (wanted !== undefined && !wantsEvent(wanted, event)) return
      if (event === 'chain.anchor' && wanted === undefined) return
      if (!needles.every((needle) => bytes.includes(needle))) return
      if (any !== undefined && !any.some((needle) => bytes.includes(needle))) return
    }
    const fields = record(bytes)
    if (fields?.['v'] !== 1 || begin === null) {
      counts.unread++
      return
    }
    if (!fits(filter, fields)) return
    const row: Row = { file, line, fields, outcome: null }
    waiting.push(row)
    if (event !== 'decision' || textAt(fields, 'decision', 'effect') !== 'allow') return
    const rows = open.get(exchange) ?? []
    rows.push(row)
    open.set(exchange, rows)
  }
  for (const chain of chains) {
    for (const { path, ended } of chain) {
      // Its outcomes may still be those of calls that began before.
      if (since !== null && ended !== null && ended < since && open.size === 0) continue
      for await (const { number, bytes, whole } of linesOf(bytesOf(path))) {
        counts.lines++
        counts.bytes += bytes.length + 1
        if (whole) read(path, number, bytes)
        else counts.unread++
        yield* ready(false)
      }
    }
    open.clear()
    yield* ready(true)
  }
}
