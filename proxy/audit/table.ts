// Rows of evidence as a table that a person or a spreadsheet reads. Pure; whoever prints it to a terminal escapes it first.
import { listAt, textAt, type Row } from './query.ts'

export const COLUMNS = [
  'time',
  'user',
  'as',
  'agent',
  'connection',
  'operation',
  'effect',
  'result',
  'why',
] as const
type Cells = Readonly<Record<(typeof COLUMNS)[number], string>>

const resultOf = ({ fields, outcome }: Row): string => {
  const event = textAt(fields, 'event')
  if (event === 'refused') return textAt(fields, 'code')
  if (textAt(fields, 'decision', 'effect') !== 'allow') return ''
  if (outcome === null) return 'open'
  const result = textAt(outcome, 'result')
  const status = textAt(outcome, 'status')
  return result === 'ok' ? status || 'ok' : status === '' ? result : `${result} ${status}`
}

/** Who did what as whom through which agent, and what came of it. */
export const cellsOf = (row: Row): Cells => {
  const { fields, outcome } = row
  const event = textAt(fields, 'event')
  const part = textAt(fields, 'part')
  const operation = textAt(fields, 'operation', 'id')
  const reasons = listAt(fields, 'decision', 'reasons')
  const path = `${textAt(fields, 'request', 'method')} ${textAt(fields, 'request', 'path')}`.trim()
  return {
    time: textAt(fields, 'time'),
    user: textAt(fields, 'user', 'id'),
    as: textAt(outcome ?? {}, 'credential', 'account') || textAt(fields, 'account'),
    agent: textAt(fields, 'agent', 'id') || textAt(fields, 'agent'),
    connection: textAt(fields, 'connection'),
    operation: event === 'decision' ? `${operation}${part === '' ? '' : ` (part ${part})`}` : event,
    effect: event === 'decision' ? textAt(fields, 'decision', 'effect') : '',
    result: resultOf(row),
    why: reasons.length > 0 ? reasons.join(', ') : path,
  }
}

/** What begins a formula, also in the wide letters of East Asia. */
const FORMULA = /^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]/
/** Where a list is parted by semicolons (as in Germany) or tabs, a cell begins here too, whatever quotes say. */
const INNER = /([;\t][\s"']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])/g
/** RFC 4180; what a spreadsheet would take for a formula is text there. */
export const csvOf = (cells: readonly string[]): string =>
  cells
    .map((cell) => (FORMULA.test(cell) ? `'${cell}` : cell).replaceAll(INNER, "$1'"))
    .map((cell) => (/[",;\t\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell))
    .join(',')

/** One row of a table of Markdown: what would be markup, a link or end the cell is escaped. */
export const markdownOf = (cells: readonly string[]): string =>
  `| ${cells
    .map((cell) =>
      cell
        .replaceAll('&', '&amp;')
        .replaceAll('<', '&lt;')
        .replaceAll(/[\\`*_[\]|~$]/g, (char) => `\\${char}`)
        .replaceAll(/:(?=\/\/)/g, '&#58;')
        .replaceAll(/(?<=www)\./gi, '&#46;')
        .replaceAll(/[\r\n]+/g, ' '),
    )
    .join(' | ')} |`

/** Columns of a terminal; a cell is cut at 48 characters. */
const WIDEST = 48
const short = (text: string): string => {
  const letters = Array.from(text)
  return letters.length <= WIDEST ? text : `${letters.slice(0, WIDEST - 1).join('')}…`
}
export const padded = (rows: readonly (readonly string[])[]): readonly string[] => {
  const cut = rows.map((row) => row.map(short))
  const widths = COLUMNS.map((_, i) =>
    Math.max(...cut.map((row) => Array.from(row[i] ?? '').length)),
  )
  return cut.map((row) =>
    row
      .map((cell, i) => cell + ' '.repeat((widths[i] ?? 0) - Array.from(cell).length))
      .join('  ')
      .trimEnd(),
  )
}

/** Counts by the values of some columns, the most first. */
export const createSummary = (most = 10) => {
  const by = new Map(
    (['effect', 'result', 'user', 'agent', 'connection', 'operation'] as const).map((name) => [
      name,
      new Map<string, number>(),
    ]),
  )
  return {
    add(cells: Cells): void {
      for (const [name, counts] of by) {
        const value = cells[name]
        if (value !== '') counts.set(value, (counts.get(value) ?? 0) + 1)
      }
    },
    /** [column, value, count]; values beyond the first ten are one row. */
    rows(): readonly (readonly [string, string, number])[] {
      return [...by].flatMap(([name, counts]) => {
        const sorted = [...counts].sort(([, a], [, b]) => b - a)
        const rest = sorted.slice(most).reduce((sum, [, count]) => sum + count, 0)
        return [
          ...sorted.slice(0, most).map(([value, count]) => [name, value, count] as const),
          ...(rest === 0 ? [] : [[name, `${sorted.length - most} others`, rest] as const]),
        ]
      })
    },
  }
}
