import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createRest, given, paged, readBody, readQuery } from '../../proxy/api/rest.ts'
import { Problem } from '../../proxy/problem.ts'

const schema = z.strictObject({ name: z.string().min(1, 'is empty'), age: z.number().optional() })
const house = () => {
  const logged: unknown[] = []
  const write = (fields: object, text: string): void => void logged.push([text, fields])
  const rest = createRest({
    publicUrl: 'https://deputy.example',
    newId: () => 'id-1',
    log: { debug: write, info: write, warn: write, error: write },
  })
  rest.route('POST', '/things', async (c) => c.json(await readBody(c, schema)))
  rest.route('GET', '/things', (c) =>
    c.json(readQuery(c, z.strictObject({ user_id: z.string().optional() }))),
  )
  rest.route('DELETE', '/fails', () => {
    throw new Error('the password is sesame')
  })
  rest.route('GET', '/refuses', () => {
    throw new Problem('rate_limited', 'not so fast', {
      extra: { retry_after: 2 },
      headers: { 'x-own': '1' },
      cause: new Error('why', { cause: 'sesame' }),
    })
  })
  const app = rest.close()
  const ask = async (path: string, init: RequestInit = {}) => {
    const answer = await app.request(path, init)
    return { answer, json: (await answer.json()) as Record<string, unknown> }
  }
  const post = (body: string | Uint8Array<ArrayBuffer>, type = 'application/json') =>
    ask('/things', { method: 'POST', body, headers: { 'content-type': type } })
  return { ask, post, logged }
}

describe('a body', () => {
  test('of other bytes than UTF-8 names nobody: two names would become one', async () => {
    const { answer, json } = await house().post(
      new Uint8Array(Buffer.from('{"name":"al\xffce"}', 'latin1')),
    )
    expect(answer.status).toBe(400)
    expect(json).toMatchObject({ code: 'request_invalid' })
    const marked = await house().post('\ufeff{"name":"alice"}')
    expect(marked.json).toEqual({ name: 'alice' })
  })
  test.each(['application/json', 'Application/JSON; charset=utf-8', 'application/json ;x=y'])(
    'is read as %s',
    async (type) => {
      expect((await house().post('{"name":"a"}', type)).json).toEqual({ name: 'a' })
    },
  )
  test.each([
    ['application/jsonp', '{"name":"a"}', 415, 'unsupported_media_type', 'application/json'],
    ['text/plain', '{"name":"a"}', 415, 'unsupported_media_type', 'application/json'],
    ['application/json', '{"name":"a","name":"b"}', 400, 'request_invalid', 'one reading'],
    ['application/json', '{', 400, 'request_invalid', 'one reading'],
    ['application/json', '', 400, 'request_invalid', 'one reading'],
    ['application/json', '{"name":""}', 400, 'request_invalid', 'name: is empty'],
    ['application/json', '{"name":"a","nmae":1}', 400, 'request_invalid', 'nmae: is not known'],
    ['application/json', '{}', 400, 'request_invalid', 'name: is missing'],
    ['application/json', '[]', 400, 'request_invalid', 'body: must be keys and values'],
    ['application/json', '{"name":1}', 400, 'request_invalid', 'name: must be a text'],
    [
      'application/json',
      '{"name":"a","age":"1h"}',
      400,
      'request_invalid',
      'age: must be a number',
    ],
    ['application/json', '{"name":"","age":"x"}', 400, 'request_invalid', '; age: '],
    ['application/json', `{"name":"${'a'.repeat(65_536)}"}`, 413, 'request_too_large', '64 KiB'],
  ])('%s %.40s: %i %s', async (type, body, status, code, detail) => {
    const { answer, json } = await house().post(body, type)
    expect([answer.status, json['code']]).toEqual([status, code])
    expect(json['detail']).toContain(detail)
  })
})

describe('a query', () => {
  test('may write user[id] for user_id, and says nothing twice', async () => {
    const { ask } = house()
    expect((await ask('/things?user[id]=a')).json).toEqual({ user_id: 'a' })
    expect((await ask('/things?user_id=a')).json).toEqual({ user_id: 'a' })
    expect((await ask('/things')).json).toEqual({})
    for (const query of ['user_id=a&user_id=b', 'user_id=a&user[id]=b'])
      expect((await ask(`/things?${query}`)).json['detail']).toMatch(/is there twice/)
    expect((await ask('/things?usr=a')).json['detail']).toMatch(/^usr: is not known/i)
  })
  test('that names a zero byte, in the path or the query, is refused before anybody looks for it', async () => {
    const { ask } = house()
    for (const path of ['/things?user_id=%00', '/things?user_id=a%00b', '/things/%00']) {
      const { answer, json } = await ask(path)
      expect([answer.status, json['code']]).toEqual([400, 'request_invalid'])
    }
    expect((await ask('/things?user_id=%2500')).answer.status).toBe(200)
  })
})

describe('an answer', () => {
  test('of any kind is not cached', async () => {
    const { ask, post } = house()
    const all = [await post('{"name":"a"}'), await ask('/refuses'), await ask('/nothing')]
    expect(all.map(({ answer }) => answer.headers.get('cache-control'))).toEqual([
      'no-store',
      'no-store',
      'no-store',
    ])
  })
  test('that refuses repeats its sentence where existing clients look', async () => {
    const { answer, json } = await house().ask('/refuses')
    expect(answer.status).toBe(429)
    expect(answer.headers.get('x-own')).toBe('1')
    expect(json).toMatchObject({
      type: 'https://deputy.example/problems/rate_limited',
      detail: 'not so fast.',
      message: 'not so fast.',
      instance: 'id-1',
      retry_after: 2,
    })
  })
  test('of a fault says nothing of it; the log has its name and sentence, and no cause of it', async () => {
    const { ask, logged } = house()
    const { json } = await ask('/fails', { method: 'DELETE' })
    expect(json).toMatchObject({ status: 500, code: 'internal' })
    expect(JSON.stringify(json)).not.toContain('sesame')
    expect(logged).toEqual([
      [
        'deputy failed while handling this call',
        {
          err: { name: 'Error', message: 'the password is sesame' },
          code: 'internal',
          instance: 'id-1',
        },
      ],
    ])
    await ask('/refuses')
    expect(JSON.stringify(logged[1])).not.toContain('sesame')
  })
  test.each([
    ['PUT', '/things', 'POST, GET'],
    ['GET', '/fails', 'DELETE'],
  ])('to %s %s names what is known there', async (method, path, allow) => {
    const { answer, json } = await house().ask(path, { method })
    expect([answer.status, json['code'], answer.headers.get('allow')]).toEqual([
      405,
      'method_not_allowed',
      allow,
    ])
  })
  test('at no path is a problem too', async () => {
    const { answer, json } = await house().ask('/nothing')
    expect([answer.status, json['code']]).toEqual([404, 'route_not_found'])
  })
})

test('a page of a list knows the whole', () => {
  const all = [1, 2, 3, 4, 5]
  const of = (limit: number, offset: number) => paged(all, limit, offset, (n) => ({ n }))
  expect(of(2, 1)).toEqual({
    items: [{ n: 2 }, { n: 3 }],
    limit: 2,
    offset: 1,
    page_count: 2,
    total_count: 5,
  })
  expect(of(9, 4)).toMatchObject({ items: [{ n: 5 }], page_count: 1 })
  expect(of(2, 9)).toMatchObject({ items: [], page_count: 0, total_count: 5 })
})

test('what is undefined is not given; null and false are', () => {
  expect(Object.keys(given({ a: undefined, b: null, c: false, d: 0 }))).toEqual(['b', 'c', 'd'])
})
