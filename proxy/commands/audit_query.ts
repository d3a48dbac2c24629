// `deputy audit query`: who did what as whom through which agent.
import { chainsOf } from '../audit/chains.ts'
import { ocsfOf } from '../audit/ocsf.ts'
import { rowsOf, type Counts, type Filter, type Row } from '../audit/query.ts'
import { cellsOf, COLUMNS, createSummary, csvOf, markdownOf, padded } from '../audit/table.ts'
import { visible } from '../observe/log.ts'
import { messageOf } from '../problem.ts'

export const FORMATS = ['text', 'markdown', 'csv', 'jsonl', 'ocsf'] as const
export type Format = (typeof FORMATS)[number]

const UNITS: Readonly<Record<string, number>> = { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }
/**
 * `2026-11-28`, `2026-11-28T15:00:00Z` (RFC 3339; without a zone it is UTC) or how long ago (`90m`, `7d`) → ms since 1970.
 * Throws an Error that says so.
 */
export const timeOf = (text: string, now: number): number => {
  const [, count = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  if (unit !== '') return now - Number(count) * (UNITS[unit] ?? 0)
  const zoned = /[zZ]$|[+-]\d\d:?\d\d$/.test(text) || !text.includes('T')
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(zoned ? text : `${text}Z`) : Number.NaN
  if (Number.isNaN(at))
    throw new Error(
      `${text} is no time: write 2026-11-28, 2026-11-28T15:00:00Z, or 7d for as long ago`,
    )
  return at
}

type Options = {
  /** Files or folders. */
  readonly files: readonly string[]
  readonly filter: Filter
  readonly format: Format
  /** Rows; those beyond are counted and not printed. */
  readonly limit: number
  readonly summary: boolean
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
  /** Told from time to time what was read so far; absent: nobody looks. */
  readonly progress?: (counts: Counts) => void
}

const PAGE = 200
/** Rows of a terminal come in pages, each as wide as its own cells. */
const textPrinter = (print: (line: string) => void) => {
  let page: string[][] = []
  const flush = (): void => {
    if (page.length > 0) for (const line of padded([[...COLUMNS], ...page])) print(line)
    page = []
  }
  return {
    row: (row: Row): void => {
      const cells = cellsOf(row)
      page.push(COLUMNS.map((name) => visible(cells[name])))
      if (page.length >= PAGE) flush()
    },
    flush,
  }
}
const printerOf = (format: Format, print: (line: string) => void) => {
  const cells = (row: Row): readonly string[] => {
    const all = cellsOf(row)
    return COLUMNS.map((name) => visible(all[name]))
  }
  const none = (): void => undefined
  const object = ({ fields, outcome }: Row): object =>
    outcome === null ? fields : { ...fields, outcome }
  if (format === 'text') return textPrinter(print)
  if (format === 'markdown') {
    print(`| ${COLUMNS.join(' | ')} |`)
    print(`|${COLUMNS.map(() => '---').join('|')}|`)
    return { row: (row: Row) => print(markdownOf(cells(row))), flush: none }
  }
  if (format === 'csv') {
    print(COLUMNS.join(','))
    return { row: (row: Row) => print(csvOf(cells(row))), flush: none }
  }
  const made = format === 'ocsf' ? ocsfOf : object
  return { row: (row: Row) => print(visible(JSON.stringify(made(row)))), flush: none }
}

const PROGRESS_MS = 1_000

/**
 * Prints what fits, in the order of the evidence. Exit code 0: something was found; 1: nothing was, or a file could not be
 * read. What is no line of evidence is counted and told; whether any of it is genuine says `audit verify`.
 */
export const auditQuery = async (options: Options): Promise<number> => {
  const { files, filter, format, limit, summary, print, complain } = options
  const counts: Counts = { lines: 0, bytes: 0, unread: 0 }
  let found = 0
  const sums = createSummary()
  try {
    const chains = await chainsOf(files)
    const printer = printerOf(format, summary ? () => undefined : print)
    let told = performance.now()
    for await (const row of rowsOf(chains, filter, counts)) {
      found++
      if (summary) sums.add(cellsOf(row))
      else if (found <= limit) printer.row(row)
      if (performance.now() - told > PROGRESS_MS) {
        told = performance.now()
        options.progress?.(counts)
      }
    }
    printer.flush()
  } catch (error) {
    complain(visible(`${files.join(', ')} could not be read: ${messageOf(error)}`))
    return 1
  }
  if (summary) printSummary(sums.rows(), format, print)
  if (!summary && found > limit)
    complain(`${found - limit} more fit: --limit says how many are printed`)
  if (counts.unread > 0)
    complain(
      `${counts.unread} of ${counts.lines} lines are no evidence of deputy: deputy audit verify says which`,
    )
  if (found === 0) complain(`nothing fits in ${counts.lines} lines`)
  return found === 0 ? 1 : 0
}

const printSummary = (
  rows: readonly (readonly [string, string, number])[],
  format: Format,
  print: (line: string) => void,
): void => {
  const text = rows.map(([name, value, count]) => [name, visible(value), String(count)] as const)
  if (format === 'csv') for (const row of [['by', 'value', 'rows'], ...text]) print(csvOf(row))
  else if (format === 'markdown') {
    print('| by | value | rows |')
    print('|---|---|---|')
    for (const row of text) print(markdownOf(row))
  } else if (format === 'text')
    for (const [name, value, count] of text)
      print(`${name.padEnd(10)}  ${count.padStart(9)}  ${value}`)
  else
    for (const [by, value, count] of rows)
      print(visible(JSON.stringify({ by, value, rows: count })))
}
