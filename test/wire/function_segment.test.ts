// OData's functions with arguments: what makes two segments calls of one function.
import { describe, expect, test } from 'vitest'
import { signatureOf } from '../../proxy/wire/function_segment.ts'
import { cpuMs } from '../support/pace.ts'

describe('a signature', () => {
  test.each([
    ["search(q='plan')", "search(q='')"],
    ["search(q='{q}')", "search(q='')"],
    ["search(q='it''s')", "search(q='')"],
    ['cell(row=1,column=2)', 'cell(row=,column=)'],
    ['cell(row={row},column={column})', 'cell(row=,column=)'],
    ["image(width=1,fittingMode='fit')", "image(width=,fittingMode='')"],
    ["microsoft.graph.delta(token='a,b=c')", "microsoft.graph.delta(token='')"],
    ["getByPath(path='a/b')", "getByPath(path='')"],
  ])('%s has %s', (segment, signature) => {
    expect(signatureOf(segment)).toBe(signature)
  })
  test.each([
    'search',
    'delta()',
    "search(q='a'b')",
    "search(q='a)",
    "search('a')",
    "search(q='a',)",
    "search(q='a')x",
    "search(q='a' )",
    'search(q=@p)',
    'search(q=)',
    "(q='a')",
  ])('%s has none', (segment) => {
    expect(signatureOf(segment)).toBeNull()
  })
  test('is found in time that grows with the length', () => {
    const quotes = `search(q='${"''".repeat(50_000)}`
    const took = cpuMs(() => {
      expect(signatureOf(`${quotes})`)).toBeNull()
      expect(signatureOf(`f(${'a=1,'.repeat(20_000)}b)`)).toBeNull()
    })
    expect(took).toBeLessThan(500)
  })
})
