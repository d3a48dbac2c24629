// A batch of HTTP requests in multipart/mixed: every reader finds these parts, or it is refused; what is cut out is cut out of the bytes.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readMultipartBatch } from '../../proxy/envelope/multipart_batch.ts'
import { cpuMs } from '../support/pace.ts'
import { HOST, providerOf, refusalOf } from './fixture.ts'

const where = { provider: providerOf({}), host: HOST, prefix: `/~alice/${HOST}` }
const TYPE = 'multipart/mixed; boundary=b'
const read = (text: string, type = TYPE) => readMultipartBatch(Buffer.from(text), type, where)
const AROUND = 'Content-Type: application/http'
const part = (request: string, around = AROUND): string => `--b\r\n${around}\r\n\r\n${request}\r\n`
const whole = (...requests: readonly string[]): string =>
  `${requests.map((one) => part(one)).join('')}--b--\r\n`
const GET = 'GET /me HTTP/1.1\r\nAccept: a/b\r\n\r\n'

test('a part is a request; bytes that need no cut stay as they are', () => {
  const text = whole(GET, 'POST /x?a=b HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{"a":1}')
  const { calls, bytes } = read(text)
  expect(calls).toEqual([
    { method: 'GET', target: '/me', contentType: null, body: { kind: 'none' }, stripped: [] },
    {
      method: 'POST',
      target: '/x?a=b',
      contentType: 'application/json',
      body: { kind: 'bytes', bytes: Buffer.from('{"a":1}') },
      stripped: [],
    },
  ])
  expect(bytes.toString()).toBe(text)
})

test.each([
  ['\r\n', 'CRLF'],
  ['\n', 'LF'],
])('credentials, a host and deputy’s own path are cut out (%#: %s)', (end) => {
  const line = (...lines: readonly string[]): string => lines.join(end)
  const request = line(
    `GET /~alice/${HOST}/me HTTP/1.1`,
    'Authorization: Bearer s3cret',
    'x-acme-user: bob',
    'Host: 127.0.0.1',
    'Accept: a/b',
    '',
    '',
  )
  const body = line('--b', AROUND, 'Content-Length: 99', '', request, '--b--', '')
  const { calls, bytes } = read(body)
  expect(calls[0]).toMatchObject({
    target: '/me',
    stripped: ['header:authorization', 'header:x-acme-user'],
  })
  expect(bytes.toString()).toBe(
    line('--b', AROUND, '', line('GET /me HTTP/1.1', 'Accept: a/b', '', ''), '--b--', ''),
  )
})

test('a URL of the batch’s own host is read without it, one of another is refused', () => {
  expect(read(whole(`GET https://${HOST}/me HTTP/1.1\r\n\r\n`)).calls[0]?.target).toBe('/me')
  expect(refusalOf(() => read(whole('GET https://elsewhere.test/me HTTP/1.1\r\n\r\n')))).toMatch(
    /^request_invalid: part 1: .*another host/,
  )
})

describe('is refused:', () => {
  test.each<[string, string]>([
    ['no boundary at its beginning', `x${whole(GET)}`],
    ['no end', part(GET)],
    ['an end that is cut', whole(GET).slice(0, -4)],
    ['more behind its end', `${whole(GET)}--b`],
    ['no part', '--b--'],
    ['a boundary within a line', whole(`GET /me HTTP/1.1\r\nA: x--b\r\n\r\n`)],
    ['a boundary that goes on', `${part(GET)}--bc\r\n`],
    ['a boundary after another end of line', `${part(GET).slice(0, -2)}\n--b--\r\n`],
    ['LF for lines, CRLF before a boundary', `--b\n${AROUND}\n\nGET /me HTTP/1.1\n\n\r\n--b--`],
    ['a part that is no request', whole('')],
    ['a part of another type', `${part(GET, 'Content-Type: application/json')}--b--`],
    ['a part without a type', `${part(GET, 'Content-ID: 1')}--b--`],
    ['a part in base64', `${part(GET, `${AROUND}\r\nContent-Transfer-Encoding: base64`)}--b--`],
    ['a header of the part twice', `${part(GET, `${AROUND}\r\n${AROUND}`)}--b--`],
    ['a header of the part that says more', `${part(GET, `${AROUND}\r\nX-Method: DELETE`)}--b--`],
    ['a method in small letters', whole('get /me HTTP/1.1\r\n\r\n')],
    ['two targets', whole('GET /me /you HTTP/1.1\r\n\r\n')],
    ['a folded header', whole('GET /me HTTP/1.1\r\nA: b\r\n c\r\n\r\n')],
    ['a header twice', whole('GET /me HTTP/1.1\r\nA: b\r\na: c\r\n\r\n')],
    ['another word for the method', whole('POST /me HTTP/1.1\r\nX-HTTP-Method: DELETE\r\n\r\n')],
    ['chunks', whole('POST /me HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')],
    ['a length that is too short', whole('POST /me HTTP/1.1\r\nContent-Length: 1\r\n\r\n{}xx')],
    ['a length that is too long', whole('POST /me HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}')],
    ['1,001 parts', whole(...Array<string>(1_001).fill(GET))],
  ])('%s', (_, text) => {
    expect(refusalOf(() => read(text))).toMatch(/^request_invalid: /)
  })
  test.each(['multipart/mixed', 'multipart/mixed; boundary=b; xboundary=c'])('%s', (type) => {
    expect(refusalOf(() => read(whole(GET), type))).toMatch(/^request_invalid: /)
  })
})

/** Splits as lenient readers do: at every line that is the boundary, whatever ends it. */
const lenient = (text: string): readonly string[] =>
  text
    .split(/\r?\n?--b(?:--)?[ \t]*(?:\r?\n|$)/)
    .slice(1)
    .filter((block) => block.trim() !== '')
    .map((block) => /^[A-Z]+ \S+/m.exec(block.slice(block.search(/\r?\n\r?\n/)))?.[0] ?? '')

test('whatever passes is what a lenient reader finds, before and after the cut', () => {
  const piece = fc.constantFrom(
    '--b',
    '--',
    '\r\n',
    '\n',
    '\r',
    AROUND,
    'GET /a HTTP/1.1',
    'POST /b HTTP/1.1',
    'Authorization: x',
    '{"a":1}',
    'Content-Length: 7',
    ' ',
  )
  const request = fc.constantFrom(
    GET,
    'DELETE /c HTTP/1.1\r\nAuthorization: x\r\n\r\n',
    'POST /d HTTP/1.1\r\nContent-Length: 7\r\n\r\n{"a":1}',
  )
  const valid = fc.array(request, { minLength: 1, maxLength: 5 }).map((list) => whole(...list))
  const broken = fc
    .tuple(valid, fc.nat(), fc.array(piece, { maxLength: 3 }))
    .map(([text, at, more]) => {
      const i = at % text.length
      return text.slice(0, i) + more.join('') + text.slice(i)
    })
  let passed = 0
  fc.assert(
    fc.property(fc.oneof(valid, broken), (text) => {
      const said = refusalOf(() =>
        read(text).calls.map(({ method, target }) => `${method} ${target}`),
      )
      if (!said.startsWith('passed: ')) return
      passed++
      const found: unknown = JSON.parse(said.slice('passed: '.length))
      expect(lenient(text)).toEqual(found)
      const { bytes } = read(text)
      expect(lenient(bytes.toString())).toEqual(found)
      // Reading what is sent finds the same, and nothing more to cut.
      const again = read(bytes.toString())
      expect(again.calls.flatMap(({ stripped }) => stripped)).toEqual([])
      expect(again.bytes.equals(bytes)).toBe(true)
    }),
    { numRuns: 1_000 },
  )
  expect(passed).toBeGreaterThan(100)
})

test('a header of many blanks is read in a time that grows with its length', () => {
  const text = whole(`GET /me HTTP/1.1\r\nAccept: a${' '.repeat(200_000)}b\r\n\r\n`)
  expect(cpuMs(() => read(text))).toBeLessThan(1_000)
})
