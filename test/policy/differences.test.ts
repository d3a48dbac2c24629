import { expect, test } from 'vitest'
import { createDifferences, KEPT, TENANTS } from '../../proxy/policy/differences.ts'
import type { Called, Differed, Said } from '../../proxy/policy/shadow.ts'

const said = (allow: boolean, names: readonly string[] = []): Said => ({
  allow,
  reasons: names,
  grants: names,
  obligations: names,
})
const what = (exchange: string, result: Differed['result'] = 'allow_to_deny'): Differed => ({
  exchange,
  part: null,
  result,
  serving: said(true),
  shadow: said(false, ['no_grant']),
  policy: { revision: 'next', digest: 'd' },
})
const call = (tenant: string): Called => ({
  person: { tenant, realm: 'https://idp.example', id: 'alice' },
  agent: 'agent:triage',
  connection: 'github',
  operation: 'issues.create',
  revision: 'now',
})

test('a difference says of which call it is, and by which policies', () => {
  const differences = createDifferences(() => 1_790_000_000_000)
  differences.note(what('E1'), call('acme'))
  expect(differences.read(null)).toEqual({
    counts: { allow_to_deny: 1, deny_to_allow: 0, otherwise: 0 },
    kept: [
      {
        at: 1_790_000_000_000,
        exchange: 'E1',
        part: null,
        result: 'allow_to_deny',
        person: { tenant: 'acme', realm: 'https://idp.example', id: 'alice' },
        agent: 'agent:triage',
        connection: 'github',
        operation: 'issues.create',
        serving: { ...said(true), revision: 'now' },
        shadow: { ...said(false, ['no_grant']), revision: 'next', digest: 'd' },
      },
    ],
  })
})

test('whoever reads for one tenant learns nothing of another, newest first', () => {
  let at = 0
  const differences = createDifferences(() => ++at)
  differences.note(what('E1'), call('acme'))
  differences.note(what('E2', 'otherwise'), call('globex'))
  differences.note(what('E3', 'deny_to_allow'), call('acme'))
  const read = (tenants: readonly string[] | null) => {
    const { kept, counts } = differences.read(tenants)
    return [kept.map(({ exchange }) => exchange), Object.values(counts)]
  }
  expect(read(['acme'])).toEqual([
    ['E3', 'E1'],
    [1, 1, 0],
  ])
  expect(read(['globex'])).toEqual([['E2'], [0, 0, 1]])
  expect(read([])).toEqual([[], [0, 0, 0]])
  expect(read(null)).toEqual([
    ['E3', 'E2', 'E1'],
    [1, 1, 1],
  ])
})

test('a tenant with many pushes out its own oldest alone, which are counted still', () => {
  const differences = createDifferences(() => 0)
  differences.note(what('other'), call('globex'))
  for (let i = 0; i < KEPT + 5; i++) differences.note(what(`E${i}`), call('acme'))
  const { kept, counts } = differences.read(['acme'])
  expect(kept).toHaveLength(KEPT)
  expect(kept[0]?.exchange).toBe(`E${KEPT + 4}`)
  expect(counts.allow_to_deny).toBe(KEPT + 5)
  expect(differences.read(['globex']).kept).toHaveLength(1)
})

test('of more tenants than are kept the one that was quiet longest goes', () => {
  const differences = createDifferences(() => 0)
  for (let i = 0; i < TENANTS; i++) differences.note(what('E'), call(`t${i}`))
  differences.note(what('again'), call('t0'))
  differences.note(what('new'), call('one-more'))
  expect(differences.read(['t0']).kept).toHaveLength(2)
  expect(differences.read(['t1']).kept).toHaveLength(0)
  expect(differences.read(null).kept).toHaveLength(TENANTS + 1)
})

test('of an answer with many names the first are kept', () => {
  const differences = createDifferences(() => 0)
  const many = Array.from({ length: 1_000 }, (_, i) => `row-${i}`)
  differences.note({ ...what('E'), shadow: said(false, many) }, call('acme'))
  const [one] = differences.read(null).kept
  expect([one?.shadow.reasons, one?.shadow.grants, one?.shadow.obligations]).toEqual(
    Array.from({ length: 3 }, () => many.slice(0, 20)),
  )
})
