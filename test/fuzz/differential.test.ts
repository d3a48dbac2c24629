// What policy saw, what arrived and what three servers understood: one and the same, or the call was refused. And that
// the comparison would notice.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { differences, startBench, sum, supplied, type Bench } from './differential.ts'
import { FORGED } from './pick.ts'
import { WAYS } from './requests.ts'
import type { Understood } from './servers.ts'

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
  const { requests, refused, identical, ways, differing } = await bench.run(20_261, 1_500)
  expect(differing).toEqual([])
  expect(refused + identical).toBe(requests)
  // Neither side may be what the other is compared with.
  expect(identical).toBeGreaterThan(300)
  expect(refused).toBeGreaterThan(300)
  for (const way of WAYS) expect([way, (ways[way] ?? 0) > 30]).toEqual([way, true])
}, 180_000)

describe('the comparison', () => {
  const asked = {
    person: 'alice',
    method: 'POST',
    segments: ['c1', 'a', 'b'],
    query: { a: ['1', '2'] },
    body: { state: 'parsed', bytes: 13, json: { '/title': 'a' } },
  }
  const body = Buffer.from('{"title":"a"}')
  const recorded = { head: 'POST /c1/a/b HTTP/1.1', body, trailers: '', bytes: body }
  const said = {
    method: 'POST',
    segments: ['c1', 'a', 'b'],
    query: { a: ['1', '2'] },
    host: '127.0.0.1:80',
    authorization: ['Bearer at-alice-of-the-fuzz-0123456789'],
    body,
    fields: [['title', 'a']],
  } as const
  test('is silent where all is one, an encoded slash included', () => {
    expect(differences(asked, recorded, said)).toEqual([])
    expect(differences(asked, recorded, { ...said, segments: ['c1', 'a/b'] })).toEqual([])
  })
  test.each<[string, Partial<Understood>, RegExp]>([
    ['method', { method: 'DELETE' }, /method POST, DELETE/],
    ['path', { segments: ['a', 'b'] }, /path \["c1","a","b"\], \["a","b"\]/],
    ['query', { query: { a: ['1'] } }, /query/],
    ['order of values', { query: { a: ['2', '1'] } }, /query/],
    ['somebody else', { authorization: ['Bearer bob'] }, /authorization/],
    ['nobody', { authorization: [] }, /authorization/],
    ['two', { authorization: [...said.authorization, 'Bearer bob'] }, /authorization/],
    ['body', { body: Buffer.from('{}') }, /the body/],
    ['host', { host: 'other.test' }, /host other.test/],
    ['member', { fields: [['title', 'b']] }, /title "a", "b"/],
    ['second member', { fields: [...said.fields, ['title', 'b']] }, /title "a", "b"/],
    ['credential', { fields: [['Access_Token', 'x']] }, /a credential in the field/],
    ['method in a field', { fields: [['_method', 'DELETE']] }, /another method/],
  ])('notices another %s', (_, other, what) => {
    expect(differences(asked, recorded, { ...said, ...other }).join()).toMatch(what)
  })
  test('asks nothing of members that policy did not ask about', () => {
    const free = { ...asked, segments: ['c1', 'notes'] }
    const other = { ...said, segments: free.segments, fields: [['title', 'b']] } as const
    expect(differences(free, recorded, other)).toEqual([])
  })
})

test.each([
  [`GET /c1?a=1&password=${FORGED} HTTP/1.1`, '', true],
  [`GET /c1?passw%6Frd=${FORGED} HTTP/1.1`, '', true],
  [`GET /c1?a=1&passw:ord=${FORGED} HTTP/1.1`, '', false],
  [`GET /c1/${FORGED} HTTP/1.1`, '', true],
  [`GET /c1?a=1 HTTP/1.1\r\nx: ${FORGED}`, '', true],
  ['GET /c1 HTTP/1.1', `x: ${FORGED}`, true],
])('a credential arrived: %s %s, %s', (head, trailers, arrived) => {
  expect(supplied({ head, trailers })).toBe(arrived)
})

test('figures add up', () => {
  const one = {
    requests: 3,
    refused: 1,
    identical: 1,
    ways: { plain: 1 },
    unread: { nginx: 1 },
    differing: ['x'],
  }
  const other = { ...one, ways: { plain: 1, tunnel: 1 }, unread: { node: 2 } } as const
  expect(sum(one, other)).toEqual({
    requests: 6,
    refused: 2,
    identical: 2,
    ways: { plain: 2, tunnel: 1 },
    unread: { nginx: 1, node: 2 },
    differing: ['x', 'x'],
  })
})
