// Rows for people and spreadsheets: what they say, and what hostile texts in them cannot do.
import { expect, test } from 'vitest'
import {
  cellsOf,
  COLUMNS,
  createSummary,
  csvOf,
  markdownOf,
  padded,
} from '../../proxy/audit/table.ts'
import type { Row } from '../../proxy/audit/query.ts'
import { decision, outcome } from './evidence_lines.ts'

const row = (event: string, fields: object, end: object | null = null): Row => ({
  file: 'f',
  line: 1,
  fields: { event, time: 'T', ...fields },
  outcome: end as Row['outcome'],
})

test('who did what as whom through which agent, and what came of it', () => {
  expect(cellsOf(row('decision', decision({ exchange: 'A' }), outcome('A')))).toEqual({
    time: 'T',
    user: 'alice@example.com',
    as: 'alice-gh',
    agent: 'agent:triage',
    connection: 'github',
    operation: 'issues.create',
    effect: 'allow',
    result: '201',
    why: 'POST /repos/acme/app/issues',
  })
  const refused = decision({ exchange: 'B', effect: 'deny', reasons: ['no_grant', 'x'], part: 2 })
  expect(cellsOf(row('decision', refused))).toMatchObject({
    operation: 'issues.create (part 2)',
    effect: 'deny',
    result: '',
    why: 'no_grant, x',
  })
  expect(cellsOf(row('decision', decision({ exchange: 'C' }))).result).toBe('open')
  const cut = outcome('D', { result: 'interrupted', status: 200 })
  expect(cellsOf(row('decision', decision({ exchange: 'D' }), cut)).result).toBe('interrupted 200')
  const unsent = outcome('D', { result: 'upstream_unreachable', status: null })
  expect(cellsOf(row('decision', decision({ exchange: 'D' }), unsent)).result).toBe(
    'upstream_unreachable',
  )
  expect(cellsOf(row('refused', { code: 'unauthenticated' }))).toMatchObject({
    operation: 'refused',
    result: 'unauthenticated',
  })
})

test('CSV quotes by RFC 4180, and nothing is a formula', () => {
  expect(csvOf(['a', 'b,c', 'd"e', 'f\ng'])).toBe('a,"b,c","d""e","f\ng"')
  for (const formula of ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1'])
    expect(csvOf([formula]).replace(/^"/, '')).toMatch(/^'/)
})

test('no formula stands where a spreadsheet parts cells by semicolons or tabs, and none in wide letters', () => {
  for (const cell of [
    'a;=1+1',
    'a; -1',
    'a;"=1',
    "a;'=1",
    'a\t@SUM(A1)',
    ';;+1',
    '\uff1d1',
    'a;\uff0b1',
  ]) {
    // As a reader that parts them there sees it: quotes count at the beginning of a cell alone.
    const parts = csvOf(['x', cell]).split(/[,;\t]/)
    for (const part of parts)
      expect([cell, part.replace(/^\s*"*\s*/, '')]).not.toEqual([
        cell,
        expect.stringMatching(/^[=+\-@\uff1d\uff0b]/),
      ])
  }
  expect(csvOf(['a;b', 'c-d', 'e;f=g'])).toBe('"a;b",c-d,"e;f=g"')
})

test('Markdown has no markup of a person’s', () => {
  expect(markdownOf(['<b>|x|</b>', '[a](b)', 'c\n| d', '`e`', '&lt;'])).toBe(
    '| &lt;b>\\|x\\|&lt;/b> | \\[a\\](b) | c \\| d | \\`e\\` | &amp;lt; |',
  )
  // What renderers make of it by themselves: links, struck text, formulas.
  expect(markdownOf(['https://evil.example', 'WWW.evil.example', '~~a~~ $b$'])).toBe(
    '| https&#58;//evil.example | WWW&#46;evil.example | \\~\\~a\\~\\~ \\$b\\$ |',
  )
})

test('columns stand below each other, and a long cell is cut', () => {
  const [head, line] = padded([[...COLUMNS], ['t', 'u'.repeat(90), 'a', '', '', '', '', '', 'w']])
  expect(head?.indexOf('as')).toBe(
    line?.indexOf(' a ') === -1 ? -1 : (line?.indexOf(' a ') ?? 0) + 1,
  )
  expect(line).toContain(`${'u'.repeat(47)}…`)
})

test('a summary counts by the values, the most first, and the rest together', () => {
  const sums = createSummary(2)
  for (const user of ['a', 'b', 'b', 'c', 'd'])
    sums.add(cellsOf(row('decision', decision({ exchange: user, user }))))
  expect(sums.rows().filter(([name]) => name === 'user')).toEqual([
    ['user', 'b', 2],
    ['user', 'a', 1],
    ['user', '2 others', 2],
  ])
  expect(sums.rows()).toContainEqual(['effect', 'allow', 5])
})
