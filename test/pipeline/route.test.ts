// Which host and connection a call means, by each way of naming them; what is not clear is no guess.
import { describe, expect, test } from 'vitest'
import type { Connection, Provider } from '../../proxy/model.ts'
import { buildRoutes, matchRoute, serves } from '../../proxy/pipeline/route.ts'
import { codeOf, provider } from '../wire/fixture.ts'

const acme: Provider = {
  ...provider,
  hosts: new Map([['api.acme.example', 'https://api.acme.example']]),
  assets: new Map([['dl.acme.example', 'http://127.0.0.1:9000']]),
}
const forge: Provider = {
  ...provider,
  id: 'forge',
  hosts: new Map([
    ['forge.example', 'http://forge.internal'],
    ['shared.example', 'https://shared.example:8443'],
  ]),
  assets: new Map(),
}
const mirror: Provider = {
  ...provider,
  id: 'mirror',
  hosts: new Map(),
  assets: new Map([
    ['shared.example', 'https://shared.example'],
    ['dl.acme.example', 'https://dl.acme.example'],
  ]),
}
const open: Provider = {
  ...provider,
  id: 'open',
  hosts: new Map(),
  hostFromToken: { pointer: '/host', suffixes: ['.my.example'] },
}
const connection = (name: string, of: Provider): Connection => ({
  name,
  provider: of,
  clientId: 'c',
  clientSecret: null,
  scopes: [],
})
const table = buildRoutes([
  connection('work', acme),
  connection('forge', forge),
  connection('home', forge),
  connection('mirror', mirror),
])
type Headers = Record<string, string>
const at = (url: string, headers: Headers = {}, method = 'GET') =>
  matchRoute(table, { url, method, headers: { host: '127.0.0.1:7410', ...headers } }, null)
const refused = (url: string, headers: Headers = {}) => codeOf(() => at(url, headers))
const by = (name: string): Headers => ({ 'deputy-connection': name })

test('a prefix of the API is another word for what the definition says, as a whole', () => {
  const prefixes = { '/api/v3': '', '/api/graphql': '/graphql' }
  const server = buildRoutes([connection('server', { ...acme, prefixes })])
  const to = (path: string): string => {
    const req = { url: `/api.acme.example${path}`, method: 'GET', headers: {} }
    const { target } = matchRoute(server, req, null)
    return target.path + target.query.map(({ raw }) => `?${raw}`).join('')
  }
  for (const [came, sent] of [
    ['/api/v3/user', '/user'],
    ['/api/v3', '/'],
    ['/api/v3?a=1', '/?a=1'],
    ['/api/graphql', '/graphql'],
    ['/api/v3x/user', '/api/v3x/user'],
    ['/x/api/v3/user', '/x/api/v3/user'],
    ['/user', '/user'],
  ] as const)
    expect(to(came)).toBe(sent)
})

test('a host that nobody serves is told as that', () => {
  expect(() => at('/nowhere.example/x')).toThrow(
    'no configured connection serves "nowhere.example"',
  )
  expect(() => at('/api.acne.example/x')).toThrow(
    'no configured connection serves "api.acne.example": is api.acme.example meant?',
  )
  // Octokit and others show this member, and nothing else.
  const message = 'No configured connection serves "nowhere.example".'
  expect(() => at('/nowhere.example/x')).toThrow(
    expect.objectContaining({ extra: expect.objectContaining({ message }) as unknown }),
  )
})

describe('by path', () => {
  test('the first segment is the host, and the rest is what is sent', () => {
    expect(at('/api.acme.example/a%20b/c?d=e')).toMatchObject({
      connection: { name: 'work' },
      host: 'api.acme.example',
      origin: 'https://api.acme.example',
      authority: 'api.acme.example',
      port: 443,
      asset: false,
      addressing: { kind: 'path', prefix: '/' },
      named: null,
      target: { method: 'GET', path: '/a%20b/c', segments: ['a b', 'c'] },
    })
  })
  test.each([
    ['/api.acme.example', '/', 0],
    ['/api.acme.example?a=1', '/', 1],
    ['/api.acme.example?a=/b', '/', 1],
    ['/api.acme.example/?a=1', '/', 1],
    ['/API.Acme.Example/x', '/x', 0],
    ['/api.acme.example:443/x', '/x', 0],
    ['/api.acme.example:80/x', '/x', 0],
  ])('%s is read as %s', (url, path, parameters) => {
    const { target, host } = at(url)
    expect([host, target.path, target.query.length]).toEqual(['api.acme.example', path, parameters])
  })
  test.each([
    '/',
    '',
    '/x',
    '/localhost/x',
    '/api.acme.example:8443/x',
    '/other.example/x',
    '/api.acme.example%2Fx/y',
    '/Work@api.acme.example/x',
    '/none@api.acme.example/x',
    '/mirror@api.acme.example/x',
    '/~alice',
    '/~alice/',
  ])('%j leads nowhere', (url) => {
    expect(refused(url)).toBe('route_not_found')
  })
  test.each(['/x/y', '/localhost/y', '/a%20b/y'])(
    '%s has no host, and is told how to name one',
    (url) => {
      expect(() => at(url)).toThrow('the path must begin with the provider’s host')
    },
  )
  test('a person may stand before the host', () => {
    expect(at('/~alice%40b.example/work@api.acme.example/x')).toMatchObject({
      named: 'alice@b.example',
      connection: { name: 'work' },
      addressing: { kind: 'path', prefix: '/~alice%40b.example/work@' },
      target: { path: '/x' },
    })
    expect(refused('/~/api.acme.example/x')).toBe('unauthenticated')
    expect(refused('/~a%zz/api.acme.example/x')).toBe('unauthenticated')
  })
  test('where a host is reached elsewhere, that is where it goes', () => {
    expect(at('/home@forge.example/x')).toMatchObject({
      host: 'forge.example',
      origin: 'http://forge.internal',
      authority: 'forge.internal',
      port: 80,
    })
    expect(at('/home@shared.example/x')).toMatchObject({
      authority: 'shared.example:8443',
      port: 8443,
    })
  })
})

describe('several connections of one host', () => {
  test('are ambiguous until the caller names one, in the path or in Deputy-Connection', () => {
    expect(refused('/forge.example/x')).toBe('connection_ambiguous')
    expect(() => at('/forge.example/x')).toThrow(
      expect.objectContaining({ extra: { connections: ['forge', 'home'] } }),
    )
    for (const route of [
      at('/home@forge.example/x'),
      at('/forge.example/x', by('home')),
      at('/home@forge.example/x', by('home')),
    ])
      expect(route.connection.name).toBe('home')
    expect(refused('/home@forge.example/x', by('forge'))).toBe('request_invalid')
    expect(refused('/forge.example/x', by('work'))).toBe('route_not_found')
    expect(refused('/api.acme.example/x', by('home'))).toBe('route_not_found')
    expect(at('/api.acme.example/x', by('work')).connection.name).toBe('work')
  })
  test('those that hold credentials there win over downloads; of downloads any does', () => {
    expect(refused('/shared.example/x')).toBe('connection_ambiguous')
    expect(() => at('/shared.example/x')).toThrow(
      expect.objectContaining({ extra: { connections: ['forge', 'home'] } }),
    )
    expect(at('/mirror@shared.example/x').asset).toBe(true)
    expect(at('/dl.acme.example/x')).toMatchObject({
      connection: { name: 'work' },
      asset: true,
      authority: '127.0.0.1:9000',
      port: 9000,
    })
    const two = buildRoutes([connection('mirror', mirror), connection('one', forge)])
    const request = { url: '/shared.example/x', method: 'GET', headers: {} }
    expect(matchRoute(two, request, null)).toMatchObject({
      connection: { name: 'one' },
      asset: false,
    })
  })
})

describe('by absolute form', () => {
  test('the URL’s own host is meant, and the Host header is not', () => {
    expect(at('http://API.acme.example/x?y=1', { host: 'forge.example' })).toMatchObject({
      host: 'api.acme.example',
      addressing: { kind: 'absolute' },
      named: null,
      target: { path: '/x' },
    })
  })
  test.each([
    ['http://api.acme.example', '/'],
    ['HTTP://api.acme.example?a=1', '/'],
    ['http://api.acme.example:80/x', '/x'],
    ['http://api.acme.example:443/x', '/x'],
  ])('%s is read as %s', (url, path) => {
    expect(at(url).target.path).toBe(path)
  })
  test.each([
    'http://api.acme.example:8080/x',
    'http://work@api.acme.example/x',
    'http:///x',
    'ftp://api.acme.example/x',
    'api.acme.example/x',
    '*',
  ])('%s leads nowhere', (url) => {
    expect(refused(url)).toBe('route_not_found')
  })
  test('a connection is named by the header', () => {
    expect(at('http://forge.example/x', by('home')).connection.name).toBe('home')
    expect(refused('http://forge.example/x')).toBe('connection_ambiguous')
  })
})

describe('by Host', () => {
  const host = (name: string, more: Headers = {}): Headers => ({ host: name, ...more })
  test.each(['api.acme.example.localhost', 'API.acme.example.LOCALHOST:7410'])(
    '%s is served',
    (name) => {
      expect(at('/x?y=1', host(name))).toMatchObject({
        host: 'api.acme.example',
        addressing: { kind: 'host', prefix: '' },
        named: null,
        target: { path: '/x' },
      })
    },
  )
  test('with a person in the path, and the connection in the header', () => {
    expect(at('/~alice/x', host('forge.example.localhost', by('home')))).toMatchObject({
      connection: { name: 'home' },
      addressing: { kind: 'host', prefix: '/~alice' },
      named: 'alice',
      target: { path: '/x' },
    })
    expect(at('/~alice?y=1', host('api.acme.example.localhost')).target.path).toBe('/')
    expect(refused('/x', host('forge.example.localhost'))).toBe('connection_ambiguous')
  })
  test.each(['other.example.localhost', 'api.acme.example', 'api.acme.example.localhost.example'])(
    '%s is no such name: the path decides',
    (name) => {
      expect(at('/api.acme.example/x', host(name)).addressing.kind).toBe('path')
      expect(refused('/x', host(name))).toBe('route_not_found')
    },
  )
  test('none at all leaves the path', () => {
    const request = { url: '/api.acme.example/x', method: 'GET', headers: {} }
    expect(matchRoute(table, request, null).host).toBe('api.acme.example')
  })
})

describe('by a listener of its own', () => {
  const via = (upstream: string, headers: Headers = {}, user: string | null = null) =>
    matchRoute(table, { url: '/x/y', method: 'GET', headers }, { upstream, user })
  test('host, connection and person are fixed, and the whole path is sent', () => {
    expect(via('home@forge.example', {}, 'alice')).toMatchObject({
      connection: { name: 'home' },
      host: 'forge.example',
      addressing: { kind: 'listener' },
      named: 'alice',
      target: { path: '/x/y' },
    })
    expect(via('forge.example', by('home')).connection.name).toBe('home')
    expect(codeOf(() => via('forge.example'))).toBe('connection_ambiguous')
    expect(codeOf(() => via('no host'))).toBe('route_not_found')
    const forwarded = { upstream: 'home@forge.example', user: null, forward: true } as const
    expect(matchRoute(table, { url: '/x', method: 'GET', headers: {} }, forwarded)).toMatchObject({
      addressing: { kind: 'forward' },
    })
  })
})

describe('hosts that only a token tells', () => {
  const route = (name: string, all: readonly Connection[], headers: Headers = {}) =>
    matchRoute(buildRoutes(all), { url: `/${name}/x`, method: 'GET', headers }, null)
  const one = connection('one', open)
  test('fit a suffix as whole labels', () => {
    expect(route('a.my.example', [one])).toMatchObject({
      host: 'a.my.example',
      origin: 'https://a.my.example',
      asset: false,
    })
    for (const host of ['my.example', '.my.example', 'a..my.example', 'a.my.example.evil.example'])
      expect(codeOf(() => route(host, [one]))).toBe('route_not_found')
  })
  test('are ambiguous between two connections, also where one lists the host', () => {
    const listing = connection('listing', {
      ...acme,
      hosts: new Map([['a.my.example', 'https://a.my.example']]),
    })
    expect(codeOf(() => route('a.my.example', [one, listing]))).toBe('connection_ambiguous')
    expect(route('listing@a.my.example', [one, listing]).connection.name).toBe('listing')
    expect(codeOf(() => route('a.my.example', [one, connection('two', open)]))).toBe(
      'connection_ambiguous',
    )
  })
  test('are none of a provider that lists its hosts, or takes none from its token', () => {
    const closed = connection('closed', { ...open, hosts: acme.hosts })
    expect(codeOf(() => route('a.my.example', [closed]))).toBe('route_not_found')
    const plain = connection('plain', { ...provider, hosts: new Map() })
    expect(codeOf(() => route('a.my.example', [plain]))).toBe('route_not_found')
  })
  test('may stand in answers as those that are listed may', () => {
    const both = buildRoutes([one, connection('work', acme)])
    for (const host of ['a.my.example', 'api.acme.example', 'dl.acme.example'])
      expect(serves(both, host)).toBe(true)
    for (const host of ['my.example', 'other.example']) expect(serves(both, host)).toBe(false)
  })
  test('a URL that names where a host is reached leads to its name', () => {
    expect(table.reached.get('forge.internal')).toBe('forge.example')
    expect(table.reached.get('127.0.0.1:9000')).toBe('dl.acme.example')
  })
})
