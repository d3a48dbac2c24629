// The list of a whole catalogue, page by page: no more is decided for a page than it needs.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startMcpHouse, type McpHouse } from '../support/mcphost.ts'

const MANY = 400
let house: McpHouse
beforeAll(async () => {
  const operations = Array.from({ length: MANY }, (_, i) => ({
    id: `bulk.n${i}`,
    method: 'GET',
    path: `/bulk/${i}`,
    access: i % 2 === 0 ? 'read' : 'delete',
    scopes: [['notes']],
  }))
  house = await startMcpHouse({}, { operations })
})
afterAll(() => house.close())

type Page = {
  readonly items: readonly { readonly qualified_name: string }[]
  readonly total_count: number
}
const page = async (query: string): Promise<Page> => {
  const answer = await fetch(`${house.deputy.agent}/v1/tools?plain=true&${query}`, {
    headers: { 'deputy-user': 'alice' },
  })
  expect(answer.status).toBe(200)
  return (await answer.json()) as Page
}
const evaluations = async (): Promise<number> => {
  const text = await (await fetch(`http://${house.deputy.admin}/metrics`)).text()
  const [, count = ''] =
    /^deputy_policy_evaluation_duration_seconds_count(?:\{[^}]*\})? (\d+)/m.exec(text) ?? []
  return Number(count)
}

test('a page costs the decisions of its tools, and the walk through all finds each once', async () => {
  await page('limit=1')
  const before = await evaluations()
  expect((await page('limit=10')).total_count).toBe(11)
  const cost = (await evaluations()) - before
  expect(cost).toBeGreaterThan(10)
  // Half of them are refused; a list of all would be four hundred.
  expect(cost).toBeLessThan(60)
  const names: string[] = []
  for (let total = 1; names.length < total;) {
    const { items, total_count } = await page(`limit=50&offset=${names.length}`)
    names.push(...items.map(({ qualified_name }) => qualified_name))
    total = total_count
  }
  expect(new Set(names).size).toBe(names.length)
  expect(names.filter((name) => name.startsWith('Acme.Bulk'))).toHaveLength(MANY / 2)
  expect((await page('limit=10&offset=100000')).total_count).toBe(names.length)
})
