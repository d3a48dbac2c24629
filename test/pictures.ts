// `npm run pictures`: the pictures of the books, made from the real thing: the play as it prints itself, and pages as
// deputy sends them.
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { haveChromium, startChromium } from './support/chromium.ts'
import { startConsoleGallery } from './support/console_gallery.ts'
import { startGallery } from './support/gallery.ts'

const FOLDER = join(import.meta.dirname, '../docs/images')
const COLUMNS = 112
const [CHARACTER, LINE, MARGIN] = [7.8, 19, 20] as const

/** What `npm start -- --once` prints, without what differs from run to run and says nothing. */
const play = async (): Promise<readonly string[]> => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-pictures-'))
  try {
    const start = join(import.meta.dirname, 'sandbox/start.ts')
    const { stdout } = await promisify(execFile)(process.execPath, [start, '--once', '--dir', dir])
    const text = stdout.replaceAll(
      /localhost:\d+\/connect\/([\w-]{8})[\w-]+/g,
      'localhost:7412/connect/$1…',
    )
    return text.trimEnd().split('\n')
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** A line of the play in lines that fit, the later ones under the first one's words. */
const folded = (line: string): readonly string[] => {
  if (line.length <= COLUMNS) return [line]
  const cut = line.lastIndexOf(' ', COLUMNS)
  return [line.slice(0, cut), ...folded(`${' '.repeat(13)}${line.slice(cut + 1)}`)]
}
const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
const kindOf = (line: string): string =>
  /^\d+\. /.test(line) ? 'title' : line.endsWith('steps held') ? 'end' : 'line'
const drawn = (line: string): string => {
  const [, label, rest] = /^( {3}(?:agent|provider|user) +)(.*)$/.exec(line) ?? []
  return label === undefined
    ? escaped(line)
    : `<tspan class="label">${label}</tspan>${escaped(rest ?? '')}`
}
/** A terminal that shows these lines. Needs no font of its own: each line is stretched to its columns. */
const terminal = (lines: readonly string[]): string => {
  const shown = ['$ npm start', '', ...lines.flatMap(folded)]
  const [width, height] = [
    Math.ceil(COLUMNS * CHARACTER) + 2 * MARGIN,
    shown.length * LINE + 2 * MARGIN,
  ]
  const rows = shown.flatMap((line, i) =>
    line === ''
      ? []
      : [
          `<text class="${kindOf(line)}" x="${MARGIN}" y="${MARGIN + (i + 1) * LINE - 5}" textLength="${(line.length * CHARACTER).toFixed(1)}">${drawn(line)}</text>`,
        ],
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<style>
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d5dae1; white-space: pre }
.title { fill: #fff; font-weight: bold } .label { fill: #8b96a5 } .end { fill: #7bd88f; font-weight: bold }
</style>
<rect width="100%" height="100%" rx="8" fill="#151a21"/>
${rows.join('\n')}
</svg>
`
}

const picture = async (
  start: () => Promise<{ readonly url: string; readonly close: () => void }>,
  of: {
    readonly name: string
    readonly width: number
    readonly path: string
    /** Of the page's beginning; absent: all of it. */
    readonly height?: number
  },
): Promise<void> => {
  if (!haveChromium()) return
  const gallery = await start()
  const browser = await startChromium()
  try {
    const page = await browser.newPage({
      viewport: { width: of.width, height: of.height ?? 400 },
      locale: 'en',
    })
    await page.goto(`${gallery.url}/${of.name}`)
    await page.screenshot({ path: of.path, fullPage: of.height === undefined })
  } finally {
    await browser.close()
    gallery.close()
  }
}

mkdirSync(FOLDER, { recursive: true })
writeFileSync(join(FOLDER, 'play.svg'), terminal(await play()))
await picture(startGallery, { name: 'consent', width: 760, path: join(FOLDER, 'consent.png') })
await picture(startConsoleGallery, {
  name: 'now',
  width: 1_180,
  height: 900,
  path: join(FOLDER, 'console.png'),
})
