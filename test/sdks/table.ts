// The tables of docs/sdks.md, made of the rows that sdks.test.ts measures.
import { ROWS } from './rows.ts'
import type { Row } from './rows.ts'

const yes = (is: boolean): string => (is ? 'yes' : 'no')
const LANGUAGES = ['JavaScript', 'Python', 'Go', 'Java'] as const

const pointed = ({ sdk, point }: Row): string => `| \`${sdk}\` | \`${point}\` |`
const measured = (row: Row): string => {
  const { sdk, calls, unknown, pages, upload, error, again } = row
  const cells = [calls, unknown, yes(pages), yes(upload), yes(again[429]), yes(again[503]), error]
  return `| \`${sdk}\` | ${cells.join(' | ')} |`
}

/** By language: how each SDK is pointed at deputy, and what was seen of it. */
export const sdksTable = (): string =>
  LANGUAGES.flatMap((language) => {
    const rows = ROWS.filter((row) => row.language === language)
    if (rows.length === 0) return []
    return [
      [
        `### ${language}`,
        '',
        '| SDK | how it is made |',
        '|---|---|',
        ...rows.map(pointed),
        '',
        '| SDK | calls | unknown | pages | upload | repeats 429 | repeats 503 | where its exception holds the code and the link |',
        '|---|---|---|---|---|---|---|---|',
        ...rows.map(measured),
      ].join('\n'),
    ]
  }).join('\n\n')
