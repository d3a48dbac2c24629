// Who may enter by the agent listener, by the head of a request alone.
import { describe, expect, test } from 'vitest'
import { createAdmission, type Head } from '../../proxy/net/admit.ts'
import { Problem } from '../../proxy/problem.ts'

type Given = Readonly<Record<string, string>>
const verdict = (
  url: string,
  headers: Given,
  more: { dedicated?: boolean; version?: string } = {},
) => {
  const { dedicated = false, version = '1.1' } = more
  const admit = createAdmission({
    own: new Set(['localhost']),
    origins: new Set(['https://desk.example']),
    dedicated,
    check: () => undefined,
    serves: (host) => host === 'api.github.com',
  })
  const head: Head = {
    httpVersion: version,
    httpVersionMinor: Number(version.at(-1)),
    headers,
    rawHeaders: [],
    url,
  }
  try {
    return admit(head)
  } catch (error) {
    return error instanceof Problem ? error.code : String(error)
  }
}
const host = 'localhost:7410'

describe('Host', () => {
  test.each([
    ['/v1/auth/status', host, 'api'],
    ['/v1', host, 'api'],
    ['/v10/x', host, 'call'],
    ['/api.github.com/user', host, 'call'],
    ['/v1/auth/status', 'api.github.com.localhost', 'call'],
    ['/user', 'gitlab.com.localhost', 'host_refused'],
    ['/user', 'rebound.example', 'host_refused'],
    ['/user', 'local host', 'host_refused'],
  ])('%s at %s: %s', (url, name, outcome) => {
    expect(verdict(url, { host: name })).toBe(outcome)
  })
  test('a request without one names nobody', () => {
    expect(verdict('/user', {})).toBe('host_refused')
  })
  test('a dedicated listener has no API', () => {
    expect(verdict('/v1/auth/status', { host }, { dedicated: true })).toBe('call')
    expect(verdict('/user', { host: 'rebound.example' }, { dedicated: true })).toBe('host_refused')
  })
})

describe('an absolute target', () => {
  test.each([
    ['http://api.github.com/user', 'api.github.com', 'call'],
    ['http://API.github.com:80/user', 'api.github.com', 'call'],
    ['http://gitlab.com/user', 'gitlab.com', 'host_refused'],
    ['http://api.github.com/user', 'gitlab.com', 'request_invalid'],
    ['https://api.github.com/user', 'api.github.com', 'request_invalid'],
    ['*', host, 'request_invalid'],
  ])('%s with Host %s: %s', (url, name, outcome) => {
    expect(verdict(url, { host: name })).toBe(outcome)
  })
})

describe('pages in a browser', () => {
  test.each([
    [{ origin: 'https://evil.example' }, 'browser_refused'],
    [{ 'sec-fetch-site': 'same-origin' }, 'browser_refused'],
    [{ origin: 'https://desk.example', 'sec-fetch-site': 'cross-site' }, 'call'],
  ] satisfies [Given, string][])('%j: %s', (headers, outcome) => {
    expect(verdict('/user', { host, ...headers })).toBe(outcome)
  })
})

test('HTTP/1.0 has no framing by chunks and no expectations; other versions are not spoken', () => {
  const old = { version: '1.0' }
  expect(verdict('/user', { host, 'transfer-encoding': 'chunked' }, old)).toBe('request_invalid')
  expect(verdict('/user', { host, expect: 'magic' }, old)).toBe('call')
  expect(verdict('/user', { host, expect: 'magic' })).toBe('expectation_failed')
  expect(verdict('/user', { host, expect: '100-Continue' })).toBe('call')
  expect(verdict('/user', { host }, { version: '2.0' })).toBe('http_version_unsupported')
})
