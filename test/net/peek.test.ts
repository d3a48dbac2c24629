import { describe, expect, test } from 'vitest'
import { peekAt } from '../../proxy/net/peek.ts'

const RULES = { pointer: '/error', values: ['token_revoked'] }
const dead = Buffer.from('{"ok":false,"error":"token_revoked"}')
const headers =
  (all: Record<string, string>) =>
  (name: string): readonly string[] =>
    all[name] === undefined ? [] : [all[name]]
const json = { 'content-type': 'application/json; charset=utf-8' }

describe('an answer that may mean 401', () => {
  test('is known by its value, whole or in pieces', () => {
    const length = { ...json, 'content-length': String(dead.length) }
    expect(peekAt(RULES, headers(length))?.chunk(dead)).toBe('unauthorized')
    const pieces = peekAt(RULES, headers(length))
    expect(pieces?.chunk(dead.subarray(0, 5))).toBe('more')
    expect(pieces?.chunk(dead.subarray(5))).toBe('unauthorized')
    expect(Buffer.concat(pieces?.kept ?? [])).toEqual(dead)
  })

  test('without a length is judged by its first chunk, so that no byte of a stream waits', () => {
    expect(peekAt(RULES, headers(json))?.chunk(dead)).toBe('unauthorized')
    expect(peekAt(RULES, headers(json))?.chunk(dead.subarray(0, 5))).toBe('pass')
  })

  test.for<[string, string]>([
    ['another value', '{"ok":false,"error":"channel_not_found"}'],
    ['the word elsewhere', '{"ok":true,"text":"token_revoked"}'],
    ['a member twice', '{"error":"token_revoked","error":"x"}'],
    ['no JSON', 'token_revoked'],
  ])('passes with %s', ([, body]) => {
    const length = { ...json, 'content-length': String(Buffer.byteLength(body)) }
    expect(peekAt(RULES, headers(length))?.chunk(Buffer.from(body))).toBe('pass')
  })

  test.for<[string, Record<string, string>]>([
    ['long', { ...json, 'content-length': '4097' }],
    ['empty', { ...json, 'content-length': '0' }],
    ['compressed', { ...json, 'content-encoding': 'gzip' }],
    ['an event stream', { 'content-type': 'text/event-stream' }],
    ['of no type', {}],
  ])('is not kept back where it is %s', ([, all]) => {
    expect(peekAt(RULES, headers(all))).toBeNull()
  })

  test('is not kept back for a provider that says nothing of it', () => {
    expect(peekAt(null, headers(json))).toBeNull()
  })
})
