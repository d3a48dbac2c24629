// What policy saw, what arrived and what three servers understood: one and the same, or the call was refused. And that
// the comparison would notice.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { differences, startBench, sum, type Bench } from './differential.ts'

let bench: Bench
beforeAll(async () => {
  bench = await startBench()
}, 120_000)
afterAll(() => bench.close())

test('every server that is compared with is here', () => {
  for (const name of bench.lacking)
    process.stderr.write(`SKIPPED: ${name} is not on this machine\n`)
  if (process.env['DEPUTY_NO_SKIP'] === '1') expect(bench.lacking).toEqual([])
  expect(bench.servers[0]).toMatch(/^node v/)
})

test('1,500 generated requests: refused, or read alike by everybody', async () => {
  const { requests, refused, identical, differing } = await bench.run(20_261, 1_500)
  expect(differing).toEqual([])
  expect(refused + identical).toBe(requests)
  // Neither side may be what the other is compared with.
  expect(identical).toBeGreaterThan(300)
  expect(refused).toBeGreaterThan(300)
}, 180_000)

describe('the comparison', () => {
  const asked = {
    method: 'POST',
    segments: ['c1', 'a', 'b'],
    query: { a: ['1', '2'] },
    body: { state: 'parsed', bytes: 13, json: { '/title': 'a' } },
  }
  const body = Buffer.from('{"title":"a"}')
  const recorded = { head: 'POST /c1/a/b HTTP/1.1', body, bytes: body }
  const said = {
    method: 'POST',
    segments: ['c1', 'a', 'b'],
    query: { a: ['1', '2'] },
    host: 'api.fuzz.test',
    authorization: ['Bearer at-alice-of-the-fuzz-0123456789'],
    body,
    title: 'a',
  }
  test('is silent where all is one, an encoded slash included', () => {
    expect(differences(asked, recorded, said)).toEqual([])
    expect(differences(asked, recorded, { ...said, segments: ['c1', 'a/b'] })).toEqual([])
  })
  test.each<[string, Partial<typeof said>, RegExp]>([
    ['method', { method: 'DELETE' }, /method POST, DELETE/],
    ['path', { segments: ['a', 'b'] }, /path \["c1","a","b"\], \["a","b"\]/],
    ['query', { query: { a: ['1'] } }, /query/],
    ['order of values', { query: { a: ['2', '1'] } }, /query/],
    ['somebody else', { authorization: ['Bearer bob'] }, /authorization/],
    ['nobody', { authorization: [] }, /authorization/],
    ['two', { authorization: [...said.authorization, 'Bearer bob'] }, /authorization/],
    ['body', { body: Buffer.from('{}') }, /the body/],
    ['member', { title: 'b' }, /title "a", "b"/],
  ])('notices another %s', (_, other, what) => {
    expect(differences(asked, recorded, { ...said, ...other }).join()).toMatch(what)
  })
})

test('figures add up', () => {
  const one = { requests: 3, refused: 1, identical: 1, unread: { nginx: 1 }, differing: ['x'] }
  const other = { ...one, unread: { node: 2 } }
  expect(sum(one, other)).toEqual({
    requests: 6,
    refused: 2,
    identical: 2,
    unread: { nginx: 1, node: 2 },
    differing: ['x', 'x'],
  })
})
