import { expect, test } from 'vitest'
import { DISCOVERY_TEXT, DISCOVERY_TOOLS, readSearch } from '../../proxy/tools/discovery.ts'

test('three tools, in one order, with schemas that every host takes', () => {
  expect(DISCOVERY_TOOLS.map(({ name }) => name)).toEqual([
    'call_tool',
    'describe_tool',
    'search_tools',
  ])
  expect(JSON.parse(`[${DISCOVERY_TEXT}]`)).toEqual(DISCOVERY_TOOLS)
  expect(DISCOVERY_TEXT).not.toMatch(/additionalProperties|anyOf|\$ref/)
})

test('a question has words, and a limit within bounds', () => {
  expect(readSearch({ query: 'send mail' })).toEqual({ query: 'send mail', limit: 10 })
  expect(readSearch({ query: 'x', limit: 500 })).toEqual({ query: 'x', limit: 25 })
  for (const wrong of [undefined, {}, { query: '' }, { query: 3 }])
    expect(readSearch(wrong)).toEqual({ wrong: '`query` is missing; it must be a string' })
  for (const limit of [0, 1.5, '3'])
    expect(readSearch({ query: 'x', limit })).toHaveProperty('wrong')
})
