// A request of deputy's own door in memory: what the pipeline reads of it, and what becomes of its answer.
import { Socket } from 'node:net'
import { expect, test } from 'vitest'
import { innerExchange } from '../../proxy/net/inner.ts'

const asked = {
  method: 'POST',
  url: '/a@api.acme.test/x',
  headers: ['Deputy-User', 'alice', 'X-A', '1', 'x-a', '2'],
  body: Buffer.from('{"a":1}'),
}
const open = (most = 100, body: Buffer | null = asked.body) =>
  innerExchange({ ...asked, body }, new Socket(), most)

test('the request is whole, with its length and its headers by name', async () => {
  const { req } = open()
  expect(req.headers).toMatchObject({
    'deputy-user': 'alice',
    'x-a': '1, 2',
    'content-length': '7',
  })
  expect(req.rawHeaders.slice(0, 2)).toEqual(['Deputy-User', 'alice'])
  expect([req.complete, req.httpVersionMinor]).toEqual([true, 1])
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  expect(Buffer.concat(chunks)).toEqual(asked.body)
  expect(open(100, null).req.headers['content-length']).toBeUndefined()
})

test('the answer is what was written, and the response closes as one over a socket does', async () => {
  const { res, answer } = open()
  const closed = new Promise<boolean>((resolve) =>
    res.on('close', () => resolve(res.writableFinished)),
  )
  res.writeHead(201, ['Content-Type', 'text/plain', 'X-B', '1', 'x-b', '2'])
  expect(res.headersSent).toBe(true)
  res.write('he')
  res.end(Buffer.from('llo'))
  const { status, headers, body, end } = await answer
  expect([status, headers.get('x-b'), body.toString(), end]).toEqual([
    201,
    '1, 2',
    'hello',
    'whole',
  ])
  expect(await closed).toBe(true)
})

test('more than is wanted is given up, and whoever leaves is heard', async () => {
  const large = open(4)
  large.res.writeHead(200, { 'content-type': 'text/plain' })
  large.res.write('hello')
  large.res.end()
  expect(await large.answer).toMatchObject({ status: 200, end: 'too_large' })
  const left = open()
  const closed = new Promise<boolean>((resolve) =>
    left.res.on('close', () => resolve(left.res.writableFinished)),
  )
  left.leave()
  expect(await left.answer).toMatchObject({ status: 0, end: 'broken' })
  expect(await closed).toBe(false)
})
