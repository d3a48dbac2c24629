// Which reader opens a batch, and of which type its body is.
import { expect, test } from 'vitest'
import { readBatch, typeOfBatch } from '../../proxy/envelope/batch.ts'
import { providerOf, routeTo } from './fixture.ts'

test('a batch of parts is multipart, every other is JSON', () => {
  expect(typeOfBatch('multipart_batch')).toBe('multipart/mixed')
  expect(typeOfBatch('graph_batch')).toBe('application/json')
})

test('URLs are relative to where the batch stands; deputy’s own path is that of this call', () => {
  const route = routeTo(providerOf({}), 'POST', '/v1.0/$batch')
  const value = { requests: [{ id: '1', method: 'GET', url: '/me' }] }
  const bytes = Buffer.from(JSON.stringify(value))
  const json = readBatch('graph_batch', { bytes, value, contentType: 'application/json' }, route)
  expect(json.calls.map(({ target }) => target)).toEqual(['/v1.0/me'])
  expect(json.bytes).toBe(bytes)

  const part = `--b\r\nContent-Type: application/http\r\n\r\nGET /~alice/api.acme.test/me HTTP/1.1\r\n\r\n\r\n--b--`
  const sent = {
    bytes: Buffer.from(part),
    value: undefined,
    contentType: 'multipart/mixed; boundary=b',
  }
  const named = { ...route, addressing: { kind: 'path', prefix: '/~alice/' } } as const
  expect(readBatch('multipart_batch', sent, named).calls.map(({ target }) => target)).toEqual([
    '/me',
  ])
  expect(readBatch('multipart_batch', sent, route).calls.map(({ target }) => target)).toEqual([
    '/~alice/api.acme.test/me',
  ])
})
