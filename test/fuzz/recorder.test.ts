// The provider that writes down what came: every request once, its body as it was meant, and nothing that has two readings.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { dial, lines, sendRaw } from '../support/raw.ts'
import { startRecorder, type Recorder } from './recorder.ts'

let recorder: Recorder
beforeAll(async () => {
  recorder = await startRecorder()
})
afterAll(() => recorder.close())
const origin = (): string => `http://127.0.0.1:${recorder.port}`

test('two requests on one connection are two records, with the chunking taken off', async () => {
  const { socket, received } = await dial(origin())
  const counted = `${lines('POST /a HTTP/1.1', 'Content-Length: 2')}hi`
  const chunked = `${lines('POST /b HTTP/1.1', 'Transfer-Encoding: chunked')}2\r\nyo\r\n0\r\nX: y\r\n\r\n`
  socket.write(counted + chunked)
  await expect.poll(() => received().toString().split('200 OK').length - 1).toBe(2)
  socket.destroy()
  const taken = recorder.take()
  expect(taken.map(({ body }) => body.toString())).toEqual(['hi', 'yo'])
  expect(taken.map(({ trailers }) => trailers)).toEqual(['', 'X: y'])
  expect(taken.map(({ bytes }) => bytes.toString())).toEqual([counted, chunked])
  expect(recorder.take()).toEqual([])
})

test.each([
  ['two lengths', ['Content-Length: 1', 'Content-Length: 1']],
  ['length and chunks', ['Content-Length: 1', 'Transfer-Encoding: chunked']],
  ['another coding', ['Transfer-Encoding: gzip, chunked']],
])('%s: written down as nothing that anybody decided', async (_, headers) => {
  await expect(sendRaw(origin(), lines('POST /a HTTP/1.1', ...headers))).rejects.toThrow(
    /no answer/,
  )
  expect(recorder.take().map(({ head }) => head)).toEqual([''])
})
