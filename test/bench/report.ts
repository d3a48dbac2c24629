// Numbers → the table and the verdicts. Pure.
import type { Evaluated } from './evaluate.ts'

/** One contender's medians. */
export type Row = {
  readonly name: string
  readonly requests: number
  readonly errors: number
  /** Calls that reached the upstream with a token that was not their person's. */
  readonly foreign: number
  readonly perSecond: number
  /** CPU of the proxy for one request, µs. */
  readonly cpu: number
  /** Microseconds. */
  readonly p50: number
  readonly p99: number
  /** How busy the proxy's core was, and the one of load and upstream together: 1 is full. */
  readonly proxyBusy: number
  readonly loadBusy: number
}
/** What calls cost. */
export type Report = {
  readonly how: string
  readonly pinned: boolean
  readonly rows: readonly Row[]
  /** The same with fewer connections: 1 first. There the load itself is a row, without a proxy. */
  readonly fewer: readonly { readonly connections: number; readonly rows: readonly Row[] }[]
  /** The base first, then one row for each thing that there is more of. */
  readonly grown: readonly Row[]
  readonly policy: Evaluated
  readonly loadedMb: number
  /** What was not compared, and why. */
  readonly skipped: readonly string[]
}

/** One table about something else. */
export type Section = {
  readonly title: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
  /** Below the table: how it was measured, verdicts. */
  readonly notes: readonly string[]
  /** What the work itself got wrong: then no number of it counts. */
  readonly wrong: readonly string[]
  /** What was not measured, and why. */
  readonly skipped: readonly string[]
}
export type Whole = {
  readonly machine: string
  readonly calls: Report | null
  readonly sections: readonly Section[]
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? NaN
}

/** Two rounds of one thing differ by so much on a quiet machine. */
export const NOISE = 1.15
export const n = (value: number, digits = 0): string => value.toFixed(digits)

const all = (report: Report): readonly Row[] => [
  ...report.rows,
  ...report.fewer.flatMap(({ rows }) => rows),
  ...report.grown,
]

type Target = {
  readonly what: string
  readonly value: number
  readonly unit: string
  readonly digits: number
  readonly least: number
  readonly aim: number
  readonly better: 'more' | 'less'
}
export const target =
  (unit: string, digits: number, better: Target['better']) =>
  (what: string, value: number, least: number, aim: number): Target => ({
    what,
    value,
    unit,
    digits,
    least,
    aim,
    better,
  })
export const megabytes = target(' MB', 0, 'less')
/** One line about a target of the design. */
export const verdict = ({ what, value, unit, digits, least, aim, better }: Target): string => {
  const reaches = (bound: number): boolean => (better === 'more' ? value >= bound : value <= bound)
  const word = reaches(aim) ? 'reached, and the aim' : reaches(least) ? 'reached' : 'NOT reached'
  const sign = better === 'more' ? '≥' : '≤'
  return `${what}: ${n(value, digits)}${unit} (${sign} ${least}, aim ${aim}): **${word}**`
}

const targets = (report: Report): readonly Target[] => {
  const cpu = (name: string): number => report.rows.find((row) => row.name === name)?.cpu ?? NaN
  const single = report.fewer.find(({ connections }) => connections === 1)
  const at = (name: string) => single?.rows.find((row) => row.name === name)
  const added = (key: 'p50' | 'p99'): number =>
    ((at('deputy, plain')?.[key] ?? NaN) - (at('no proxy')?.[key] ?? NaN)) / 1_000
  /** What the design wants against a proxy that may be missing on this machine. */
  const against = (name: string, least: number, aim: number): readonly Target[] =>
    report.rows.some((row) => row.name === name)
      ? ['plain', 'asserted'].map((trust) =>
          ratio(
            `requests per CPU-second, ${trust}, against ${name}`,
            cpu(name) / cpu(`deputy, ${trust}`),
            least,
            aim,
          ),
        )
      : []
  const ratio = target(' ×', 2, 'more')
  const ms = target(' ms', 2, 'less')
  return [
    ...against('http-proxy-3', 1, 1.5),
    ...against('undici', 0.45, 0.65),
    ...against('nginx', 0.11, 0.16),
    ...against('Envoy', 0.4, 0.65),
    ...against('Envoy + ext_authz + OPA', 8, 15),
    target(' µs', 1, 'less')(
      `policy, ${report.policy.bytes}-byte input, best decile`,
      report.policy.bestDecile,
      20,
      12,
    ),
    ms('added latency at 1 connection, p50', added('p50'), 0.35, 0.25),
    ms('added latency at 1 connection, p99', added('p99'), 1, 0.5),
    ...report.grown.slice(1).map((row) => {
      const times = row.cpu / (report.grown[0]?.cpu ?? NaN)
      return target(' ×', 2, 'less')(`cost per call, ${row.name} against 10`, times, NOISE, 1.05)
    }),
  ]
}

/** Whatever makes the numbers less than they seem. */
const doubts = (report: Report): readonly string[] => [
  ...(report.pinned
    ? []
    : [
        'NOT PINNED: taskset or a second core is missing, so proxy and load disturb each other; compare nothing',
      ]),
  ...report.rows
    .filter((row) => row.loadBusy > 0.95 && row.proxyBusy < 0.95)
    .map(
      (row) =>
        `THE LOAD WAS THE BOTTLENECK for ${row.name}: its requests/s are too low, its CPU per request holds`,
    ),
  ...all(report)
    .filter((row) => row.errors > 0 || row.foreign > 0)
    .map((row) => `${row.name}: ${row.errors} errors, ${row.foreign} calls with a foreign token`),
  ...report.skipped,
]

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`

/** What calls cost, as Markdown. */
export const markdown = (report: Report): string => {
  const reference = (name: string): number => report.rows.find((row) => row.name === name)?.cpu ?? 0
  const [old, floor] = [reference('http-proxy-3'), reference('undici')]
  return [
    `${report.how}:`,
    '',
    line('proxy|requests/s|CPU µs/request|p50 ms|p99 ms|× http-proxy-3|× undici'.split('|')),
    line(['---', ...Array.from({ length: 6 }, () => '---:')]),
    ...report.rows.map((row) =>
      line([
        row.name,
        n(row.perSecond),
        n(row.cpu, 1),
        n(row.p50 / 1_000, 2),
        n(row.p99 / 1_000, 2),
        n(old / row.cpu, 2),
        n(floor / row.cpu, 2),
      ]),
    ),
    '',
    '× is requests per CPU-second of the proxy, against the proxy named: more is better.',
    '',
    ...report.fewer.flatMap(({ connections, rows }) => [
      line([
        `${connections} connection${connections === 1 ? '' : 's'}`,
        'requests/s',
        'CPU µs/request',
        'p50 ms',
        'p99 ms',
      ]),
      line(['---', ...Array.from({ length: 4 }, () => '---:')]),
      ...rows.map((row) =>
        line([
          row.name,
          n(row.perSecond),
          // What no proxy does costs none.
          row.cpu === 0 ? '' : n(row.cpu, 1),
          n(row.p50 / 1e3, 3),
          n(row.p99 / 1e3, 3),
        ]),
      ),
      '',
    ]),
    `Policy alone: median ${n(report.policy.median, 1)} µs. Memory after load: ${n(report.loadedMb)} MB.`,
    '',
    ...targets(report).map((target) => `- ${verdict(target)}`),
    '',
    ...doubts(report).map((doubt) => `- ${doubt}`),
    '',
  ].join('\n')
}

const shown = ({ title, columns, rows, notes, wrong, skipped }: Section): string =>
  [
    `## ${title}`,
    '',
    ...(rows.length === 0
      ? []
      : [
          line(columns),
          line(['---', ...columns.slice(1).map(() => '---:')]),
          ...rows.map((row) => line(row)),
          '',
        ]),
    ...notes.map((note) => `- ${note}`),
    ...wrong.map((what) => `- WRONG: ${what}`),
    ...skipped.map((what) => `- SKIPPED: ${what}`),
    '',
  ].join('\n')

/** Everything that was measured, as Markdown. */
export const page = ({ machine, calls, sections }: Whole): string =>
  [
    `${machine}\n`,
    ...(calls === null ? [] : [`## Calls\n\n${markdown(calls)}`]),
    ...sections.map(shown),
  ].join('\n')

/** Was everything done right? Timing is no reason to fail. */
export const right = ({ calls, sections }: Whole): boolean =>
  (calls === null || sound(calls)) && sections.every(({ wrong }) => wrong.length === 0)

/** The part `p` of values, 0.99 for p99; NaN of nothing. */
export const part = (values: readonly number[], p: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))] ??
  NaN

/** Did every call arrive, as the right person? Timing is no reason to fail. */
export const sound = (report: Report): boolean =>
  report.rows.length > 0 &&
  all(report).every((row) => row.requests > 0 && row.errors === 0 && row.foreign === 0)
