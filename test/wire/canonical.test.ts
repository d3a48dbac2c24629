import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../proxy/problem.ts'
import {
  canonicalHeaders,
  nominated,
  canonicalTarget,
  decodePathPerson,
  samePerson,
  targetText,
  validId,
} from '../../proxy/wire/canonical.ts'
import { codeOf, NAUGHTY } from './fixture.ts'

describe('canonicalTarget refuses what two servers read differently', () => {
  test.each([
    ['a dot segment', '/a/../admin'],
    ['a single dot', '/a/./b'],
    ['a last dot segment', '/a/..'],
    ['an encoded dot segment', '/a/%2e%2e/admin'],
    ['a half encoded dot segment', '/a/.%2E/admin'],
    ['an encoded single dot', '/a/%2E/b'],
    ['a dot segment behind an encoded slash', '/a/src%2F..%2Fadmin'],
    ['a dot segment between encoded slashes, all encoded', '/a%2f%2e%2e%2fadmin'],
    ['dots and a blank, which some servers trim', '/a/..%20/admin'],
    ['a matrix parameter on a dot segment', '/a/..;x=1/admin'],
    ['a matrix parameter', '/a;x=/../b'],
    ['an encoded semicolon', '/a%3Bx/b'],
    ['an authority in the path', '//evil.test/admin'],
    ['an empty inner segment', '/a//b'],
    ['two last slashes', '/a//'],
    ['an empty part before an encoded slash', '/a/%2Fetc'],
    ['an empty part after an encoded slash', '/a/etc%2F'],
    ['two encoded slashes', '/a/b%2F%2Fc'],
    ['a URL as the target', 'http://evil.test/admin'],
    ['a URL in the path', '/api/http://evil.test/x'],
    ['a scheme with one slash', '/api/https:/evil.test'],
    ['an encoded scheme', '/api/http%3A/evil.test'],
    ['an encoded URL', '/api/http%3A%2F%2Fevil.test'],
    ['a backslash', '/a\\..\\b'],
    ['an encoded backslash', '/a%5C..%5Cb'],
    ['a zero byte', '/a%00b'],
    ['an encoded newline', '/a%0d%0ab'],
    ['an encoded delete', '/a%7f'],
    ['an encoded C1 control', '/a%C2%85b'],
    ['a raw control', '/a\u0001b'],
    ['a raw byte outside ASCII', '/caf\u00e9'],
    ['a blank', '/a b'],
    ['a fragment', '/a#b'],
    ['a fragment in the query', '/a?b#c'],
    ['half an escape', '/a%2'],
    ['an escape that is none', '/a%zz'],
    ['an overlong dot', '/%c0%ae%c0%ae/admin'],
    ['an overlong slash', '/a%e0%80%afb'],
    ['an encoded surrogate', '/%ed%a0%80'],
    ['latin1 bytes', '/caf%e9'],
    ['no path', ''],
    ['an asterisk', '*'],
    ['a relative path', 'a/b'],
    ['a query alone', '?a=b'],
    ['a semicolon in the query', '/a?b=1;access_token=x'],
    ['half an escape in the query', '/a?b=%2'],
    ['latin1 bytes in the query', '/a?b=%e9'],
    ['a broken escape in a name', '/a?%zz=1'],
    ['a zero byte in a value', '/a?b=%00'],
    ['a control in a name', '/a?a%0ab=1'],
    ['a raw newline in the query', '/a?b=1\r\nHost: evil'],
  ])('%s: %s', (_what, target) => {
    expect(codeOf(() => canonicalTarget('GET', target))).toBe('request_invalid')
  })

  test.each(['get', 'Get', '', 'GE T', 'GET\r\n', 'CONNECT', 'TRACE', 'TRACK', 'GET/', 'PÖST'])(
    'the method %j',
    (method) => {
      expect(codeOf(() => canonicalTarget(method, '/'))).toBe('request_invalid')
    },
  )

  test('the detail names the part and never repeats it', () => {
    const secret = '/ok/xoxb-1234%00'
    const problem = (): unknown => canonicalTarget('GET', secret)
    expect(problem).toThrow(/segment 2 of the path/)
    expect(problem).not.toThrow(/xoxb/)
  })
})

describe('canonicalTarget reads once', () => {
  test.each([
    ['/', ['']],
    ['/a/b', ['a', 'b']],
    ['/a/', ['a', '']],
    ['/repos/a/b/contents/src%2Fmain.ts', ['repos', 'a', 'b', 'contents', 'src/main.ts']],
    ['/contents/a%252Fb', ['contents', 'a%2Fb']],
    ['/%252e%252e/x', ['%2e%2e', 'x']],
    ['/caf%C3%A9', ['café']],
    ['/a%20b', ['a b']],
    ['/me/drive/root:/x.txt:/content', ['me', 'drive', 'root:', 'x.txt:', 'content']],
    ["/users('alice@x.example')/messages", ["users('alice@x.example')", 'messages']],
    ['/v1.0/$batch', ['v1.0', '$batch']],
    ['/a+b', ['a+b']],
    ['/...', ['...']],
    ['/a..b', ['a..b']],
    ['/a%23b%3Fc', ['a#b?c']],
    ['/lists/urn:li:person:1', ['lists', 'urn:li:person:1']],
  ])('the path %s', (path, segments) => {
    const target = canonicalTarget('GET', path)
    expect(target.segments).toEqual(segments)
    expect(target.path).toBe(path)
  })

  test('a query keeps its order, its duplicates and its bytes', () => {
    const { query } = canonicalTarget('GET', '/x?a=1&b=&c&a=%202+3&%61=4&q=a?b/c')
    expect(query).toEqual([
      { raw: 'a=1', name: 'a', value: '1' },
      { raw: 'b=', name: 'b', value: '' },
      { raw: 'c', name: 'c', value: '' },
      { raw: 'a=%202+3', name: 'a', value: ' 2 3' },
      { raw: '%61=4', name: 'a', value: '4' },
      { raw: 'q=a?b/c', name: 'q', value: 'a?b/c' },
    ])
  })

  test('empty pairs are left out of what is sent', () => {
    expect(targetText(canonicalTarget('GET', '/x?&a=1&&b=2&'))).toBe('/x?a=1&b=2')
    expect(targetText(canonicalTarget('GET', '/x?'))).toBe('/x')
  })

  const piece = fc.oneof(
    fc.constantFrom(...NAUGHTY),
    fc.constantFrom('..', '.', '%2e', '%2F', '%5C', ';', '\\', '%25', 'a', '', ':', 'http:', '~'),
    fc.string(),
    fc.string().map((text) => encodeURIComponent(text.toWellFormed())),
  )
  const path = fc
    .array(fc.array(piece, { maxLength: 3 }), { minLength: 1, maxLength: 4 })
    .map((segments) => `/${segments.map((parts) => parts.join('')).join('/')}`)

  test('every accepted target sends the bytes that were read, and no part of it climbs', () => {
    let accepted = 0
    fc.assert(
      fc.property(path, (text) => {
        const code = codeOf(() => canonicalTarget('GET', text))
        if (code !== null) return code === 'request_invalid'
        accepted++
        const target = canonicalTarget('GET', text)
        expect(`/${target.raw.join('/')}`).toBe(target.path)
        expect(target.segments.length).toBe(target.raw.length)
        for (const [i, segment] of target.segments.entries()) {
          if (segment === '' && i === target.segments.length - 1) continue
          for (const part of segment.split('/')) expect(['', '.', '..']).not.toContain(part)
          // oxlint-disable-next-line no-control-regex
          expect(segment).not.toMatch(/[\\;\0-\x1f\x7f]/)
        }
        // A server of another make finds the same path.
        if (!text.includes('?')) {
          expect(new URL(text, 'http://h').pathname.split('/').length - 1).toBe(target.raw.length)
          expect(new URL(text, 'http://h').host).toBe('h')
        }
        return true
      }),
      { numRuns: 2000 },
    )
    expect(accepted).toBeGreaterThan(100)
  })

  test('whatever comes, the answer is a target or a Problem', () => {
    fc.assert(
      fc.property(fc.string(), fc.oneof(fc.string(), path), (method, text) => {
        try {
          canonicalTarget(method, text)
          canonicalTarget('POST', `/${text}`)
        } catch (error) {
          expect(error).toBeInstanceOf(Problem)
        }
      }),
    )
  })
})

describe('canonicalHeaders', () => {
  const plain = ['Host', 'h', 'Deputy-User', 'alice', 'Accept', '*/*', 'Connection', 'keep-alive']

  test.each([
    ['a body of a length', ['Content-Length', '3']],
    ['a body in chunks', ['Transfer-Encoding', 'Chunked']],
    ['a name that no server folds into one of ours', ['X_Trace.Id', 'a', 'X_Trace.Id', 'b']],
  ])('passes an ordinary header section with %s', (_what, more) => {
    expect(codeOf(() => canonicalHeaders('Deputy-User')([...plain, ...more]))).toBeNull()
  })

  test.each([
    ['two hosts', ['Host', 'other']],
    ['two equal hosts', ['HOST', 'h']],
    ['two lengths', ['Content-Length', '1', 'content-length', '1']],
    ['a length that is a list', ['Content-Length', '5, 5']],
    ['a length with a sign', ['Content-Length', '+5']],
    ['a length and chunks', ['Content-Length', '1', 'Transfer-Encoding', 'chunked']],
    ['another transfer coding', ['Transfer-Encoding', 'gzip, chunked']],
    ['a hidden transfer coding', ['Transfer-Encoding', '\u000bchunked']],
    ['two content types', ['Content-Type', 'a/b', 'Content-Type', 'c/d']],
    ['a folded value', ['X-A', 'one\r\n two']],
    ['a zero byte', ['X-A', 'a\0b']],
    ['a name with a blank', ['X A', 'b']],
    ['a name with a colon', ['X-A:', 'b']],
    ['an empty name', ['', 'b']],
    ['a tag with underscores', ['Deputy_User', 'bob']],
    ['a tag with dots', ['deputy.user', 'bob']],
    ['a length with an underscore', ['Content_Length', '5']],
    ['a framing with an underscore', ['Transfer_Encoding', 'chunked']],
    ['a host with an underscore in Connection', ['Connection', 'close, content_length']],
    ['the host in Connection', ['Connection', 'Host']],
    ['the length in Connection', ['Connection', 'x, Content-Length']],
    ['the framing in Connection', ['Connection', 'transfer-encoding']],
    ['the selector in Connection', ['Connection', 'Deputy-Connection']],
    ['any header of deputy in Connection', ['Connection', 'deputy-purpose']],
    ['any header of deputy with an underscore', ['Deputy_Purpose', 'x']],
    ['a method override', ['X-HTTP-Method-Override', 'DELETE']],
    ['a method override of another vendor', ['X-HTTP-Method', 'DELETE']],
    ['a method override with underscores', ['X_Method_Override', 'DELETE']],
    ['a method override without its X', ['HTTP-Method-Override', 'DELETE']],
    ['a verb that overrides', ['X-HTTP-Verb-Override', 'GET']],
    ['two selectors', ['Deputy-Connection', 'a', 'Deputy-Connection', 'b']],
  ])('refuses %s', (_what, more) => {
    expect(codeOf(() => canonicalHeaders('Deputy-User')([...plain, ...more]))).toBe(
      'request_invalid',
    )
  })

  test('a configured header is guarded like the default one', () => {
    const tag = 'X-Agent-User'
    expect(codeOf(() => canonicalHeaders(tag)(['X-Agent-User', 'a']))).toBeNull()
    expect(codeOf(() => canonicalHeaders(tag)(['X_Agent_User', 'b']))).toBe('request_invalid')
    expect(codeOf(() => canonicalHeaders(tag)(['Connection', 'x-agent-user']))).toBe(
      'unauthenticated',
    )
  })

  test('a configured header with an underscore works, and its twin is refused', () => {
    expect(codeOf(() => canonicalHeaders('X_User')(['X_User', 'a']))).toBeNull()
    expect(codeOf(() => canonicalHeaders('X_User')(['X-User', 'a']))).toBe('request_invalid')
    const workload = canonicalHeaders('X-User', 'X_Workload')
    expect(codeOf(() => workload(['X_Workload', 'a']))).toBeNull()
    for (const name of ['X-Workload', 'X.Workload'])
      expect(codeOf(() => workload([name, 'a']))).toBe('request_invalid')
    expect(codeOf(() => workload(['Connection', 'x-workload']))).toBe('workload_unauthenticated')
  })

  test.each(['Deputy-User', 'close, deputy-user', 'deputy_user', 'Authorization'])(
    'Connection: %s would let a hop eat the tag: unauthenticated',
    (value) => {
      expect(codeOf(() => canonicalHeaders('Deputy-User')(['Connection', value]))).toBe(
        'unauthenticated',
      )
    },
  )

  test('harmless options of Connection pass', () => {
    const raw = ['Connection', 'close, TE', 'connection', 'Upgrade, HTTP2-Settings']
    expect(codeOf(() => canonicalHeaders('Deputy-User')(raw))).toBeNull()
  })
})

describe('the person in the path', () => {
  test.each([
    ['~alice', 'alice'],
    ['~alice@example.com', 'alice@example.com'],
    ['~alice%40example.com', 'alice@example.com'],
    ['~a%2Fb', 'a/b'],
    ['~%7Ealice', '~alice'],
    ['~a%2540b', 'a%40b'],
    ['~J%C3%BCrgen', 'Jürgen'],
    [`~${'a'.repeat(256)}`, 'a'.repeat(256)],
  ])('%s is decoded once', (segment, id) => {
    expect(decodePathPerson(segment)).toBe(id)
  })

  test.each([
    '~',
    'alice',
    '%7Ealice',
    '~%',
    '~%zz',
    '~%ff',
    '~a%00',
    '~a%0Ab',
    '~a%7F',
    '~a%C2%9Bb',
    '~%E2%80%AEecila',
    '~%E2%81%A6a',
    '~a%E2%80%A8b',
    `~${'a'.repeat(257)}`,
    `~${'%C3%BC'.repeat(129)}`,
  ])('%s is nobody', (segment) => {
    expect(codeOf(() => decodePathPerson(segment))).toBe('unauthenticated')
  })

  test('an id round-trips through the path, or is refused there too', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom(...NAUGHTY)), (id) => {
        const segment = `~${encodeURIComponent(id.toWellFormed())}`
        if (validId(id)) expect(decodePathPerson(segment)).toBe(id)
        else if (id.isWellFormed()) expect(codeOf(() => decodePathPerson(segment))).not.toBeNull()
      }),
    )
  })

  test('the seal of an address is no id and may be longer; its text is kept for whoever opens it', () => {
    const seal = `dps_${'aB3-_'.repeat(100)}`
    expect(decodePathPerson(`~${seal}`)).toBe(seal)
    for (const other of [`~${seal}%40`, `~x${seal}`, `~dps_${'a'.repeat(32_001)}`])
      expect(codeOf(() => decodePathPerson(other))).toBe('unauthenticated')
  })

  test('a broken escape is called so', () => {
    expect(() => decodePathPerson('~a%zz')).toThrow(/invalid percent escape/)
  })

  test('one person is one tenant, one realm and one id, byte for byte', () => {
    const alice = { tenant: 't', realm: 'r', id: 'alice' }
    expect(samePerson(alice, { ...alice })).toBe(true)
    for (const other of [{ tenant: 'u' }, { realm: 's' }, { id: 'Alice' }, { id: 'alice ' }])
      expect(samePerson(alice, { ...alice, ...other })).toBe(false)
  })

  test('half a surrogate pair is no id', () => {
    expect(validId('\ud800')).toBe(false)
    // No path of an address can say them.
    for (const step of ['.', '..']) expect(validId(step)).toBe(false)
    for (const name of ['...', '.a', 'a.', '.\u200b']) expect(validId(name)).toBe(true)
  })
})

test('a target without a question mark has no query', () => {
  expect(canonicalTarget('GET', '/a=b').query).toEqual([])
})

test('only Connection nominates headers, and what it says of the connection itself is none', () => {
  expect(nominated('keep-alive')).toEqual([])
  expect(nominated('close, Keep-Alive, ,')).toEqual([])
  expect(nominated('X-A, close')).toEqual(['x-a'])
})

test.each(['content-encoding', 'content-type', 'host'])('%s twice is refused', (name) => {
  expect(codeOf(() => canonicalHeaders('deputy-user')([name, 'a', name, 'a']))).toBe(
    'request_invalid',
  )
})
