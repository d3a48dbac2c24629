import { describe, expect, test } from 'vitest'
import { readMedia } from '../../proxy/wire/media.ts'
import { cpuMs } from '../support/pace.ts'
import { codeOf } from './fixture.ts'

describe('the media type says how a body is read', () => {
  test.each([
    ['application/x-www-form-urlencoded', 'form'],
    ['Application/X-WWW-Form-Urlencoded; charset=UTF-8', 'form'],
    ['multipart/form-data; boundary=x', 'multipart'],
    ['application/json', 'json'],
    ['application/json;', 'json'],
    ['application/json;; ;charset=utf-8;', 'json'],
    ['APPLICATION/JSON; charset="utf-8"', 'json'],
    ['application/vnd.api+json', 'json'],
    ['image/x+json', 'json'],
    ['text/json', 'json'],
    ['text/x-json', 'json'],
    ['application/json-rpc', 'json'],
    ['application/jsonrequest', 'json'],
    ['application/json-patch+json', 'json'],
    ['application/csp-report', 'json'],
    ['application/graphql+json', 'json'],
    ['application/x-javascript', 'json'],
    ['application/graphql', 'refused'],
    ['multipart/mixed; boundary=x', 'refused'],
    ['multipart/related; boundary=x', 'refused'],
    ['message/http', 'refused'],
    ['text/xml', 'refused'],
    ['application/soap+xml', 'refused'],
    ['application/x-ndjson', 'refused'],
    ['application/jsonl', 'refused'],
    ['application/geo+json-seq', 'refused'],
    ['application/yaml', 'refused'],
    ['application/vnd.oai.openapi+yaml', 'refused'],
    ['application/msgpack', 'refused'],
    ['application/x-protobuf', 'refused'],
    ['application/cbor', 'refused'],
    ['application/grpc-web+proto', 'refused'],
    ['application/octet-stream', 'stream'],
    ['image/png', 'stream'],
    ['image/svg+xml', 'stream'],
    ['application/pdf', 'stream'],
    ['application/zip', 'stream'],
    ['application/vnd.openxmlformats-officedocument.wordprocessingml.document', 'stream'],
    ['text/plain', 'any'],
    ['application/x-thing', 'any'],
    ['*/*', 'any'],
    [null, 'any'],
  ])('%s → %s', (type, reading) => {
    expect(readMedia(type).reading).toBe(reading)
  })

  test.each([
    '',
    'json',
    'application/',
    '/json',
    'application/x-www-form-urlencoded, x',
    'application/x-www-form-urlencoded x',
    'application/json, application/json',
    'application/json charset=utf-8',
    'application/json; charset',
    'application/json; charset = utf-8',
    'application/json; charset="utf-8',
    'application/json; charset=utf-8; charset=utf-16',
    'application/json; charset=utf-8; Charset=utf-8',
    'application /json',
    'application/json\u00a0',
    'application/json;\u000bcharset=utf-8',
  ])('%j is no media type: refused', (type) => {
    expect(codeOf(() => readMedia(type))).toBe('unsupported_media_type')
  })

  test('the charset is the parameter of that name, and of no other', () => {
    expect(readMedia('text/plain; x="charset=utf-16"; CharSet="UTF\\-8"').charset).toBe('utf-8')
    expect(readMedia('text/plain; xcharset=utf-16').charset).toBeNull()
  })
})

test('a type of many blanks is refused in a time that grows with its length', () => {
  const type = `text/plain${' '.repeat(200_000)}x`
  const took = cpuMs(() => expect(codeOf(() => readMedia(type))).toBe('unsupported_media_type'))
  expect(took).toBeLessThan(1_000)
})
