// Rows of evidence: what fits, in what order, and how its call ended.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chainsOf } from '../../proxy/audit/chains.ts'
import { rowsOf, textAt, type Filter, type Row } from '../../proxy/audit/query.ts'
import { decision, evidenceOf, outcome, type Said } from './evidence_lines.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-query-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const at = (second: number): string => `2026-11-28T00:00:${String(second).padStart(2, '0')}.000Z`
const SAID: readonly Said[] = [
  [at(1), 'decision', decision({ exchange: 'A' })],
  [
    at(2),
    'decision',
    decision({ exchange: 'B', user: 'bob', effect: 'deny', reasons: ['no_grant'] }),
  ],
  [at(3), 'refused', { exchange: 'C', code: 'unauthenticated' }],
  [
    at(4),
    'decision',
    decision({ exchange: 'D', operation: 'pulls.list', access: 'read', agent: 'x' }),
  ],
  [at(5), 'outcome', outcome('D', { status: 500 })],
  [at(6), 'consent.started', { user: { id: 'bob', realm: 'corp', tenant: 'acme' } }],
  [at(7), 'outcome', outcome('A')],
  [at(8), 'decision', decision({ exchange: 'E' })],
]
const put = (name: string, lines: readonly string[]): string => {
  const path = join(folder, name)
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''))
  return path
}
const rows = async (
  filter: Filter,
  paths: readonly string[],
  counts?: Parameters<typeof rowsOf>[2],
) => {
  const found: Row[] = []
  for await (const row of rowsOf(await chainsOf(paths), filter, counts)) found.push(row)
  return found
}
const told = (found: readonly Row[]): readonly string[] =>
  found.map(
    ({ fields, outcome: end }) =>
      `${textAt(fields, 'exchange') || textAt(fields, 'event')}${end === null ? '' : ` ${textAt(end, 'status')}`}`,
  )

describe('of one file', () => {
  const asked = async (filter: Filter) =>
    told(await rows(filter, [put('one.jsonl', evidenceOf(SAID))]))

  test('all are told in their order, each with its own end; a call that is open has none', async () => {
    expect(await asked({})).toEqual([
      'process.started',
      'A 201',
      'B',
      'C',
      'D 500',
      'consent.started',
      'E',
    ])
  })

  test.each<[string, Filter, readonly string[]]>([
    ['a person', { user: 'bob' }, ['B', 'consent.started']],
    ['a person who is the beginning of another', { user: 'bo' }, []],
    [
      'their realm and tenant',
      { user: 'bob', realm: 'corp', tenant: 'acme' },
      ['B', 'consent.started'],
    ],
    ['another tenant', { tenant: 'other' }, []],
    ['an agent', { agent: 'x' }, ['D 500']],
    ['a connection', { connection: 'github', effect: 'deny' }, ['B']],
    ['an operation', { operation: 'pulls.list' }, ['D 500']],
    ['a family', { operation: 'issues.*' }, ['A 201', 'B', 'E']],
    ['a family that is only the beginning of a name', { operation: 'issue.*' }, []],
    ['access', { access: 'read' }, ['D 500']],
    ['an effect', { effect: 'allow' }, ['A 201', 'D 500', 'E']],
    ['a reason of policy', { reason: 'no_grant' }, ['B']],
    ['a code of deputy', { reason: 'unauthenticated' }, ['C']],
    ['how it ended', { result: 'ok' }, ['A 201', 'D 500']],
    ['calls', { event: 'call' }, ['A 201', 'B', 'D 500', 'E']],
    ['refusals before policy', { event: 'refused' }, ['C']],
    ['events', { event: 'consent.*' }, ['consent.started']],
    ['one call', { exchange: 'A' }, ['A 201']],
    ['a time', { since: Date.parse(at(2)), until: Date.parse(at(4)) }, ['B', 'C']],
    [
      'the end of a call that began in time, though it ended after',
      { until: Date.parse(at(2)), event: 'call' },
      ['A 201'],
    ],
  ])('by %s', async (_name, filter, want) => {
    expect(await asked(filter)).toEqual(want)
  })

  test('a call of parts, and one that waited, have one end each', async () => {
    const lines = evidenceOf([
      [at(1), 'decision', decision({ exchange: 'P', part: 1 })],
      [at(1), 'decision', decision({ exchange: 'P', part: 2 })],
      [
        at(2),
        'decision',
        decision({ exchange: 'W', effect: 'consent_required', reasons: ['connection_missing'] }),
      ],
      [at(3), 'outcome', outcome('P')],
      [at(4), 'decision', decision({ exchange: 'W', n: 2 })],
      [at(5), 'outcome', outcome('W', { status: 204 })],
    ])
    expect(told(await rows({ event: 'call' }, [put('parts.jsonl', lines)]))).toEqual([
      'P 201',
      'P 201',
      'W',
      'W 204',
    ])
  })
})

test('files are read in the order of what they say, packed ones too, and an end in the next file is found', async () => {
  const lines = evidenceOf(SAID)
  const old = join(folder, 'set.jsonl.9.gz')
  writeFileSync(old, gzipSync(`${lines.slice(0, 5).join('\n')}\n`))
  const path = put('set.jsonl', lines.slice(5))
  expect(told(await rows({ event: 'call' }, [path]))).toEqual(['A 201', 'B', 'D 500', 'E'])
  expect(told(await rows({ since: Date.parse(at(8)) }, [path]))).toEqual(['E'])
})

test('what is no line of evidence is counted, and hides nothing', async () => {
  const lines = evidenceOf(SAID)
  const odd = [
    '',
    '{',
    '[]',
    '{"v":2}',
    '\u001b[2J',
    '{"v":1,"time":"x","event":"decision"}',
    '"x"',
  ]
  const path = join(folder, 'odd.jsonl')
  writeFileSync(path, `${[...lines.slice(0, 3), ...odd, ...lines.slice(3)].join('\n')}\n{"v":1,"pr`)
  const counts = { lines: 0, bytes: 0, unread: 0 }
  expect(told(await rows({ event: 'call' }, [path], counts))).toEqual(['A 201', 'B', 'D 500', 'E'])
  expect(counts.unread).toBe(odd.length + 1)
})

test('an exchange that never ends does not keep the others back for ever', async () => {
  const many: Said[] = [[at(1), 'decision', decision({ exchange: 'OPEN' })]]
  for (let i = 0; i < 20_100; i++) many.push([at(2), 'refused', { exchange: `R${i}`, code: 'x' }])
  many.push([at(3), 'outcome', outcome('OPEN')])
  const path = put('long.jsonl', evidenceOf(many))
  const seen: string[] = []
  for await (const row of rowsOf(await chainsOf([path]), {})) {
    seen.push(told([row])[0] ?? '')
    if (seen.length === 2) break
  }
  // It was told without its end, because so many came after it.
  expect(seen).toEqual(['process.started', 'OPEN'])
})
