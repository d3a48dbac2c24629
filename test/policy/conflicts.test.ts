import { expect, test } from 'vitest'
import { conflicts } from '../../proxy/policy/conflicts.ts'
import { wholeRow } from '../../proxy/policy/row.ts'
import type { Row } from '../../proxy/policy/tables.ts'
import { cpuMs } from '../support/pace.ts'

const limit = (n: number): Row['obligations'] => ({
  hourly: { type: 'rate_limit', properties: { key: ['person'], limit: n, window_s: 3600 } },
})
const row = (more: Partial<Row>): Row => ({
  ...wholeRow('github', { operations: ['issues.*'] }),
  ...more,
})
const said = (a: Partial<Row>, b: Partial<Row>): readonly string[] =>
  conflicts({ github: { a: row(a), b: row(b) } })

test('two rows that may cover one call and say different things by one name are named', () => {
  expect(said({ obligations: limit(1) }, { obligations: limit(2) })).toEqual([
    'github.b.obligations.hourly: the row "a" may cover the same call and says another thing by this name, so the call would be refused: use one value or two names',
  ])
  const approval = { hourly: { approvers: ['manager'], ttl_s: 60 } }
  expect(said({ obligations: limit(1) }, { approval })).toHaveLength(1)
  for (const path of [['repos', 'public-*'], ['repos', '*'], ['**'], ['repos', 'public-a']])
    expect(
      said({ obligations: limit(1), path: ['repos', 'pub*'] }, { obligations: limit(2), path }),
    ).toHaveLength(1)
})

test('not where they say the same, or never cover one call', () => {
  expect(said({ obligations: limit(1) }, { obligations: limit(1) })).toEqual([])
  const apart: readonly Partial<Row>[] = [
    { access: ['write'] },
    { kinds: ['mcp'], operations: ['issues.*'] },
    { operations: ['pulls.*'] },
    { operations: ['issue'] },
    { agents: ['nightly'] },
    { path: ['repos', 'x', '**'] },
    { path: ['repos'] },
  ]
  for (const one of apart)
    expect(
      said(
        {
          obligations: limit(1),
          kinds: ['rest'],
          agents: ['triage'],
          path: ['repos', 'acme', '**'],
        },
        {
          obligations: limit(2),
          kinds: ['rest'],
          agents: ['triage'],
          path: ['repos', 'acme', '**'],
          ...one,
        },
      ),
    ).toEqual([])
  expect(
    conflicts({
      a: { r: row({ obligations: limit(1) }) },
      b: { r: row({ obligations: limit(2) }) },
    }),
  ).toEqual([])
})

test('thousands of rows that all say something else take no long time', () => {
  const many = Array.from({ length: 20_000 }, (_, i) => [
    `r${i}`,
    row({ obligations: limit(i), path: ['repos', `a${i}`] }),
  ])
  const rows = { github: Object.fromEntries(many) }
  expect(cpuMs(() => expect(conflicts(rows)).toEqual([]))).toBeLessThan(5_000)
})
