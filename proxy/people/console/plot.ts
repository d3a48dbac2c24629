// Two plots of the last hour, drawn here: calls by effect, minute by minute, and refusals by reason.
import { html } from 'hono/html'
import type { Minute } from '../../audit/recent.ts'
import { CATALOGUE } from '../../problem.ts'
import type { Html } from '../markup.ts'
import { plain } from '../plain.ts'
import { problemOf } from './told.ts'

/** What is drawn together: five that the eye tells apart. */
const SERIES = [
  ['allow', 'Allowed', ['allow']],
  ['waits', 'Waits for a person', ['consent_required', 'approval_required', 'step_up_required']],
  ['deny', 'Refused by policy', ['deny']],
  ['refused', 'Refused before policy', ['refused']],
  ['error', 'Could not be decided', ['error']],
] as const
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [720, 250, 58, 36, 20] as const
const MOST_REASONS = 8

const of = ({ effects }: Minute, names: readonly string[]): number =>
  names.reduce((sum, name) => sum + (effects.get(name) ?? 0), 0)
const clock = (at: number): string => new Date(at).toISOString().slice(11, 16)
/** The next of 1, 2, 4, 6, 8, 10, 20 …: half of it is a whole number too, but for 1. */
const roof = (most: number): number => {
  const ten = 10 ** Math.floor(Math.log10(Math.max(1, most)))
  return [1, 2, 4, 6, 8, 10].map((step) => step * ten).find((step) => step >= most) ?? 10 * ten
}
const number = (n: number): string => n.toLocaleString('en')

const bars = (minutes: readonly Minute[], top: number): readonly Html[] => {
  const room = HEIGHT - BOTTOM - TOP
  const step = (WIDTH - LEFT) / minutes.length
  return minutes.flatMap((minute, i) => {
    let y = HEIGHT - BOTTOM
    const parts = SERIES.flatMap(([name, , effects]) => {
      const n = of(minute, effects)
      if (n === 0) return []
      // What is there at all is seen.
      const height = Math.max(1.5, (n / top) * room)
      y -= height
      return [
        html`<rect
          class="${name}"
          x="${(LEFT + i * step + 1).toFixed(1)}"
          y="${y.toFixed(1)}"
          width="${(step - 2).toFixed(1)}"
          height="${height.toFixed(1)}"
        />`,
      ]
    })
    if (parts.length === 0) return []
    const said = SERIES.flatMap(([, text, effects]) => {
      const n = of(minute, effects)
      return n === 0 ? [] : [`${text}: ${number(n)}`]
    })
    return [html`<g><title>${clock(minute.at)} UTC, ${said.join(', ')}</title>${parts}</g>`]
  })
}

/** Calls by effect over the last hour, stacked, a bar for each minute. */
export const effectsPlot = (minutes: readonly Minute[]): Html => {
  const totals = SERIES.map(([name, text, effects]) => ({
    name,
    text,
    n: minutes.reduce((sum, minute) => sum + of(minute, effects), 0),
  }))
  const most = Math.max(
    ...minutes.map((minute) => SERIES.reduce((sum, [, , names]) => sum + of(minute, names), 0)),
  )
  const top = roof(most)
  const base = HEIGHT - BOTTOM
  const marks = [0, top / 2, top].filter((mark) => Number.isInteger(mark))
  const ticks = [0, 15, 30, 45, 59].flatMap((i) => {
    const minute = minutes[i]
    const step = (WIDTH - LEFT) / minutes.length
    const x = i === 59 ? WIDTH : LEFT + (i === 0 ? 0 : i + 0.5) * step
    return minute === undefined
      ? []
      : [{ x, text: `${clock(minute.at)}${i === 59 ? ' UTC' : ''}`, minor: i % 30 === 15 }]
  })
  const said = totals.map(({ text, n }) => `${text} ${number(n)}`).join(', ')
  return html`<figure>
    <figcaption><h2>Calls of the last hour</h2></figcaption>
    <ul class="legend">
      ${totals.map(({ name, text, n }) => html`<li><span class="swatch ${name}"></span>${text} <strong>${number(n)}</strong></li>`)}
    </ul>
    <svg
      viewBox="0 0 ${WIDTH} ${HEIGHT}"
      role="img"
      aria-label="Calls of the last hour by minute: ${said}."
    >
      ${marks.map((mark) => {
        const y = base - (mark / top) * (base - TOP)
        return html`<line class="grid" x1="${LEFT}" x2="${WIDTH}" y1="${y}" y2="${y}" /><text
            x="${LEFT - 6}"
            y="${y + 4}"
            text-anchor="end"
            >${number(mark)}</text
          >`
      })}
      ${bars(minutes, top)}
      ${ticks.map(({ x, text, minor }, i) => html`<text class="${minor ? 'minor' : ''}" x="${x.toFixed(1)}" y="${HEIGHT - 8}" text-anchor="${i === 4 ? 'end' : i === 0 ? 'start' : 'middle'}">${text}</text>`)}
    </svg>
  </figure>`
}

/** The most frequent reasons first, each with a bar. */
export const reasonsPlot = (minutes: readonly Minute[]): Html => {
  const sum = new Map<string, number>()
  for (const { reasons } of minutes)
    for (const [code, n] of reasons) sum.set(code, (sum.get(code) ?? 0) + n)
  const all = [...sum].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
  const top = all[0]?.[1] ?? 1
  const rest = all.slice(MOST_REASONS).reduce((total, [, n]) => total + n, 0)
  const row = ([code, n]: readonly [string, number]): Html => {
    const problem = problemOf(code)
    const width = Math.max(1, (n / top) * 100).toFixed(1)
    return html`<tr>
      <th scope="row">
        ${
          problem === null
            ? html`<code>${plain(code)}</code>`
            : html`<a href="/problems/${problem}">${CATALOGUE[problem].title}</a>`
        }
      </th>
      <td class="n">${number(n)}</td>
      <td class="chart">
        <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
          <rect class="deny" width="${width}" height="8" />
        </svg>
      </td>
    </tr>`
  }
  return html`<figure class="reasons">
    <figcaption><h2>Why calls did not pass</h2></figcaption>
    ${
      all.length === 0
        ? html`<p class="none">Nothing was refused in the last hour.</p>`
        : html`<table class="plain">
            <caption>
              Refusals of the last hour by reason
            </caption>
            <tbody>
              ${all.slice(0, MOST_REASONS).map(row)}
            </tbody>
          </table>`
    }
    ${rest === 0 ? '' : html`<p class="soft">Other reasons: ${number(rest)}</p>`}
  </figure>`
}
