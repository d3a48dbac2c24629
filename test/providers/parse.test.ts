import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, test } from 'vitest'
import { providersList, providersShow, readProviderFiles } from '../../proxy/commands/providers.ts'
import {
  compileProviders,
  overrideProvider,
  parseProvider,
  providerJsonSchema,
} from '../../proxy/providers/parse.ts'
import type { Provider } from '../../proxy/model.ts'

const shipped = join(import.meta.dirname, '../../providers')
const acme = {
  id: 'acme',
  authorize: 'https://acme.example/authorize',
  token: 'https://acme.example/token',
  hosts: ['api.acme.example'],
}
const row = { id: 'things.list', method: 'GET', path: '/things', access: 'read', scopes: [[]] }
const parse = (changes: object): readonly string[] => {
  const parsed = parseProvider({ ...acme, ...changes }, 'acme.yaml')
  return 'problems' in parsed ? parsed.problems : []
}
const read = (changes: object = {}): Provider => {
  const parsed = parseProvider({ ...acme, ...changes }, 'acme.yaml')
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  return parsed.provider
}

describe('a definition', () => {
  test('of four keys is enough, and has safe defaults', () => {
    expect(read()).toMatchObject({
      name: 'acme',
      credential: 'oauth2',
      clientAuth: 'client_secret_basic',
      pkce: true,
      scopeParam: 'scope',
      scopeSeparator: ' ',
      present: { header: 'authorization', scheme: 'Bearer' },
      revokeStyle: 'none',
      lostResponse: 'unknown',
      operations: [],
    })
    expect([...read().hosts]).toEqual([['api.acme.example', 'https://api.acme.example']])
  })

  test('maps a host to where it is reached, on loopback in plain http', () => {
    const hosts = {
      'api.acme.example': 'http://127.0.0.1:4101',
      'b.acme.example': 'http://[::1]:1',
    }
    expect([...read({ hosts }).hosts.values()]).toEqual(['http://127.0.0.1:4101', 'http://[::1]:1'])
  })

  test('may present the token without a scheme, and names to strip are compared in lower case', () => {
    expect(read({ present: 'X-Acme-Token: {token}' }).present).toEqual({
      header: 'x-acme-token',
      scheme: '',
    })
    expect(
      read({
        strip: { headers: ['X-Other'], query: ['Key'], provided: ['Upload_Id'], pass: ['Token'] },
      }).strip,
    ).toEqual({
      headers: ['x-other'],
      query: ['key'],
      body: [],
      provided: ['upload_id'],
      pass: ['token'],
    })
  })

  test.each([
    ['base64({token}:)', { before: '', after: ':' }],
    ['base64(x-access-token:{token})', { before: 'x-access-token:', after: '' }],
  ])('may present the token within Basic: %s', (written, pair) => {
    const present = { header: 'authorization', scheme: 'Basic', pair }
    expect(read({ present: `Authorization: Basic ${written}` }).present).toEqual(present)
  })

  test('groups rows that share their scopes, and an id may have several paths', () => {
    const operations = [
      row,
      {
        scopes: [['w'], ['all']],
        read: { 'notes.list': ['GET /notes', 'GET /n/{id}/notes'] },
        write: { 'notes.add': { call: 'POST /notes', inspect: ['/to'], upload: true } },
      },
    ]
    expect(
      read({ operations }).operations.map(({ id, access, path, inspect }) => [
        id,
        access,
        path,
        inspect,
      ]),
    ).toEqual([
      ['things.list', 'read', '/things', []],
      ['notes.list', 'read', '/notes', []],
      ['notes.list', 'read', '/n/{id}/notes', []],
      ['notes.add', 'write', '/notes', ['/to']],
    ])
  })

  test.each<[string, object, string]>([
    ['an unknown key', { tokn: 1 }, 'acme.yaml: tokn: unknown key: is token meant?'],
    ['an unknown key below', { strip: { cookies: [] } }, 'acme.yaml: strip.cookies: unknown key'],
    [
      'spellings that nobody compares',
      { spellings: ['emailAddress'] },
      'acme.yaml: spellings: are compared only with names: insensitive',
    ],
    [
      'a name that is cut and passes',
      { strip: { query: ['Team.Key'], pass: ['team_key'] } },
      'acme.yaml: strip.pass: team_key is a credential: strip.query or strip.provided names it, or RFC 6750 does',
    ],
    [
      'a bearer token that passes',
      { strip: { pass: ['Access-Token'] } },
      'acme.yaml: strip.pass: Access-Token is a credential: strip.query or strip.provided names it, or RFC 6750 does',
    ],
    [
      'a fixed value beside the token',
      { present: 'X-Acme: {token}', required_headers: { 'x-acme': '1' } },
      'acme.yaml: required_headers.x-acme: is the header of the token: `present` sets it',
    ],
    [
      'a body that passes unread and is inspected',
      { operations: [{ ...row, opaque: 'application/x-a', inspect: ['/a'] }] },
      'acme.yaml: operations.0: things.list: a body that is opaque passes unread: no inspect, no mail, and no upload beside it',
    ],
    ...['/b', '/a/b'].map((list): [string, object, string] => [
      `a bare list for ${list}`,
      { operations: [{ ...row, inspect: ['/a', '/a/b'], list }] },
      'acme.yaml: operations.0: things.list: list must be one of inspect, and no deeper than a member',
    ]),
    [
      'a body that passes unread twice',
      { operations: [{ ...row, opaque: 'application/x-a', upload: true }] },
      'acme.yaml: operations.0: things.list: a body that is opaque passes unread: no inspect, no mail, and no upload beside it',
    ],
    ['an id with capitals', { id: 'Acme' }, 'acme.yaml: id: may hold a-z, 0-9, _, . and -'],
    [
      'no token endpoint',
      { token: null },
      'acme.yaml: token: is needed for credential: oauth2, or an issuer that can be asked for it',
    ],
    [
      'an api_key with OAuth endpoints',
      { credential: 'api_key', authorize: null },
      'acme.yaml: token: has no use with an api_key',
    ],
    [
      'an api_key whose account only a token answer would say',
      {
        credential: 'api_key',
        authorize: null,
        token: null,
        account: { from: 'token', id: '/id' },
      },
      'acme.yaml: account: is read from userinfo: with an api_key there is no other answer',
    ],
    ['a relative URL', { token: '/token' }, 'acme.yaml: token: must be an absolute URL'],
    [
      'plain http',
      { token: 'http://acme.example/token' },
      'acme.yaml: token: plain http goes to loopback only; `insecure: true` in this definition allows it',
    ],
    [
      'another scheme',
      { authorize: 'javascript:alert(1)' },
      'acme.yaml: authorize: must begin with https://',
    ],
    [
      'a user in a URL',
      { token: 'https://u:p@acme.example/' },
      'acme.yaml: token: must have no user, password or fragment',
    ],
    [
      'a revocation that is no URL',
      { revoke: 7 },
      'acme.yaml: revoke: must be a URL, or { url, style: rfc7009 | bearer | github | linear }',
    ],
    [
      'hosts that are a number',
      { hosts: 5 },
      'acme.yaml: hosts: must be a list of host names, or a map from host name to origin',
    ],
    ['no hosts', { hosts: undefined }, 'acme.yaml: hosts: is needed; [] serves nothing'],
    [
      'a host in capitals',
      { hosts: ['API.acme.example'] },
      'acme.yaml: hosts.0: API.acme.example is not a host name: lower case, at least one dot, no port',
    ],
    [
      'a host with a port',
      { hosts: ['acme.example:8080'] },
      'acme.yaml: hosts.0: acme.example:8080 is not a host name: lower case, at least one dot, no port',
    ],
    [
      'a host without a dot',
      { hosts: ['acme'] },
      'acme.yaml: hosts.0: acme is not a host name: lower case, at least one dot, no port',
    ],
    [
      'a host twice',
      { hosts: ['a.acme.example', 'a.acme.example'] },
      'acme.yaml: hosts.1: a.acme.example is named twice',
    ],
    [
      'an origin with a path',
      { hosts: { 'a.acme.example': 'https://b.example/api' } },
      'acme.yaml: hosts.a.acme.example: https://b.example/api is not an origin: scheme, host and port, without a path',
    ],
    [
      'a plain origin elsewhere',
      { hosts: { 'a.acme.example': 'http://10.0.0.1' } },
      'acme.yaml: hosts.a.acme.example: http://10.0.0.1: plain http goes to loopback only; `insecure: true` in this definition allows it',
    ],
    [
      'a host that is an asset too',
      { assets: ['api.acme.example'] },
      'acme.yaml: assets: api.acme.example is a host already: assets carry no credential',
    ],
    [
      'a token in no header',
      { present: 'Bearer' },
      'acme.yaml: present: must read `Header: Scheme {token}`, `Header: {token}` or `Authorization: Basic base64({token}:)`',
    ],
    [
      'a token in Cookie',
      { present: 'Cookie: {token}' },
      'acme.yaml: present: Cookie cannot carry a token',
    ],
    [
      'a header of the frame',
      { required_headers: { Host: 'x' } },
      'acme.yaml: required_headers.Host: is set by deputy itself',
    ],
    [
      'a header with a line break',
      { required_headers: { 'X-A': 'a\r\nB: c' } },
      'acme.yaml: required_headers.X-A: must hold no control characters',
    ],
    [
      'a parameter of the flow',
      { authorize_params: { redirect_uri: 'x' } },
      'acme.yaml: authorize_params.redirect_uri: is set by deputy itself',
    ],
    [
      'an account without userinfo',
      { account: { id: '/id' } },
      'acme.yaml: account: reads userinfo, but userinfo has no URL',
    ],
    [
      'a bad pointer',
      { rewrite: ['next'] },
      'acme.yaml: rewrite.0: must be a JSON pointer, such as /user/id',
    ],
    [
      'a base that is not there',
      { extends: 'other' },
      'acme.yaml: extends: there is no definition other',
    ],
    [
      'a catalogue that is not there',
      { operations: 'acme.operations.yaml' },
      'acme.yaml: operations: there is no file acme.operations.yaml',
    ],
    [
      'a catalogue elsewhere',
      { operations: '../x.yaml' },
      'acme.yaml: operations: must be a file name in the same folder',
    ],
    [
      'a row without scopes',
      { operations: [{ ...row, scopes: [] }] },
      'acme.yaml: operations.0.scopes: needs at least one list; [[]] says that no scope is needed',
    ],
    [
      'a method in lower case',
      { operations: [{ ...row, method: 'get' }] },
      'acme.yaml: operations.0.method: must be upper case',
    ],
    [
      'a path without a slash',
      { operations: [{ ...row, path: 'things' }] },
      'acme.yaml: operations.0: things: must begin with /',
    ],
    [
      'half a parameter',
      { operations: [{ ...row, path: '/a/{b}:send/c' }] },
      'acme.yaml: operations.0: /a/{b}:send/c: segment "{b}:send" is neither a literal, nor one {name}, nor at the end {name}:verb',
    ],
    [
      'a dot segment',
      { operations: [{ ...row, path: '/a/../b' }] },
      'acme.yaml: operations.0: /a/../b: segment ".." is neither a literal, nor one {name}, nor at the end {name}:verb',
    ],
    [
      'an empty segment',
      { operations: [{ ...row, path: '/a//b' }] },
      'acme.yaml: operations.0: /a//b: segment "" is neither a literal, nor one {name}, nor at the end {name}:verb',
    ],
    [
      'a parameter twice',
      { operations: [{ ...row, path: '/{a}/{a}' }] },
      'acme.yaml: operations.0: /{a}/{a}: {a} stands twice',
    ],
    [
      'a parameter twice, once in a function',
      { operations: [{ ...row, path: "/{a}/search(q='{a}')" }] },
      "acme.yaml: operations.0: /{a}/search(q='{a}'): {a} stands twice",
    ],
    [
      'a function with half an argument',
      { operations: [{ ...row, path: '/a/search(q={b}c)' }] },
      'acme.yaml: operations.0: /a/search(q={b}c): segment "search(q={b}c)" is neither a literal, nor one {name}, nor at the end {name}:verb',
    ],
    [
      'two rows of one shape',
      {
        operations: [
          { ...row, path: '/a/{b}' },
          { ...row, id: 'x', path: '/a/{c}' },
        ],
      },
      'acme.yaml: operations.1: GET /a/{c} has the shape of things.list',
    ],
    [
      'two kinds of access',
      { operations: [row, { ...row, path: '/b', access: 'write' }] },
      'acme.yaml: operations.1: things.list is listed with two kinds of access',
    ],
    [
      'an id of ours',
      { operations: [{ ...row, id: 'unknown' }] },
      'acme.yaml: operations.0: unknown is an id of deputy’s own',
    ],
    [
      'the id of downloads',
      { operations: [{ ...row, id: 'acme.asset' }] },
      'acme.yaml: operations.0: acme.asset is an id of deputy’s own',
    ],
    [
      'a row for a foreign host',
      { operations: [{ ...row, host: 'x.example' }] },
      'acme.yaml: operations.0: x.example is not among this provider’s hosts',
    ],
    [
      'a group’s bad call',
      { operations: [{ scopes: [[]], read: { x: 'get /x' } }] },
      'acme.yaml: operations.0.read.x: must be `METHOD /path`, a list of them, or { call, inspect, list, mail, upload, opaque, websocket, rewrite, signed, host }',
    ],
  ])('with %s is refused, and the problem names the place', (_, changes, problem) => {
    expect(parse(changes)).toContain(problem)
  })

  test('with two faults reports both', () => {
    expect(parse({ token: 'x', hosts: ['A'] })).toHaveLength(2)
  })

  test('cannot write to a terminal through a problem', () => {
    expect(parse({ '\u001b[31mred\u202e': 1 })).toEqual([
      'acme.yaml: \\u{1b}[31mred\\u{202e}: unknown key',
    ])
  })

  test('that is no object at all is refused', () => {
    for (const raw of [null, 7, 'x', [], true])
      expect(parseProvider(raw, 'x.yaml')).toHaveProperty('problems')
  })

  const endpoint = { graphql: 'POST /graphql', scopes: [['notes']] }

  test('root fields stand where their endpoint is, on all hosts or on one', () => {
    const operations = [
      { ...endpoint, read: { 'note.list': ['query notes', 'query notesOf'] } },
      { ...endpoint, host: 'api.acme.example', write: { 'note.add': 'mutation noteAdd' } },
      { graphql: 'POST /{shop}/api', scopes: [[]], admin: { 'key.list': 'query keys' } },
    ]
    expect(
      read({ operations }).operations.map(({ id, access, method, path, host, graphql }) => [
        id,
        access,
        `${method} ${path}`,
        host,
        graphql,
      ]),
    ).toEqual([
      ['note.list', 'read', 'POST /graphql', null, 'query notes'],
      ['note.list', 'read', 'POST /graphql', null, 'query notesOf'],
      ['note.add', 'write', 'POST /graphql', 'api.acme.example', 'mutation noteAdd'],
      ['key.list', 'admin', 'POST /{shop}/api', null, 'query keys'],
    ])
  })

  test.each<[string, readonly unknown[], string]>([
    [
      'an endpoint that is asked by GET',
      [{ ...endpoint, graphql: 'GET /graphql' }],
      'operations.0.graphql: must be `POST /path` of the endpoint, without {x+}',
    ],
    [
      'a mutation that calls itself a read',
      [{ ...endpoint, read: { a: 'mutation a' } }],
      'operations.0.read.a: mutation a: a mutation is no read',
    ],
    [
      'a subscription',
      [{ ...endpoint, read: { a: 'subscription a' } }],
      'operations.0.read.a: must be `query field` or `mutation field`, a list of them, or { field, inspect }',
    ],
    [
      'a path among root fields',
      [{ ...endpoint, read: { a: 'GET /a' } }],
      'operations.0.read.a: must be `query field` or `mutation field`, a list of them, or { field, inspect }',
    ],
    [
      'a root field without its endpoint',
      [{ scopes: [[]], read: { a: 'query a' } }],
      'operations.0.read.a: must be `METHOD /path`, a list of them, or { call, inspect, list, mail, upload, opaque, websocket, rewrite, signed, host }',
    ],
    [
      'pointers into a body whose places the caller chooses',
      [{ ...endpoint, read: { a: { call: 'query a', inspect: ['/variables/id'] } } }],
      'operations.0.read.a: must be `query field` or `mutation field`, a list of them, or { field, inspect }',
    ],
    [
      'the same root field twice',
      [{ ...endpoint, read: { a: 'query a', b: 'query a' } }],
      'operations.0.read.b: query a has the shape of a',
    ],
    [
      'a call of its own where GraphQL is',
      [
        { ...endpoint, read: { a: 'query a' } },
        { scopes: [[]], read: { b: 'GET /graphql' } },
      ],
      'operations.1.read.b: /graphql is a GraphQL endpoint: list its root fields only',
    ],
  ])('%s is no catalogue of GraphQL', (_, operations, problem) => {
    expect(parse({ operations })).toEqual([`acme.yaml: ${problem}`])
  })

  test.each<[string, object, string]>([
    ['GET', { call: 'GET /batch' }, 'envelopes.0.call: must be `POST /path` or `PATCH /path`'],
    ['a rest', { call: 'POST /{x+}' }, 'envelopes.0.call: must be `POST /path` or `PATCH /path`'],
    ['what nobody reads', { holds: 'soap' }, 'envelopes.0.holds: must be one of graph_batch'],
    ['another host', { host: 'x.test' }, 'envelopes.0: x.test is not among'],
  ])('an envelope by %s is a problem', (_, more, problem) => {
    const envelopes = [{ call: 'POST /batch', holds: 'graph_batch', ...more }]
    expect(parse({ envelopes })).toEqual([expect.stringContaining(problem)])
    expect(parse({ envelopes: [{ call: 'POST /{a}/$batch', holds: 'graph_batch' }] })).toEqual([])
  })

  test('may hold 20,000 operations and not one more', () => {
    const operations = Array.from({ length: 20_001 }, (_, i) => ({
      ...row,
      id: `o${i}`,
      path: `/o${i}`,
    }))
    expect(parse({ operations })).toEqual(['acme.yaml: operations: more than 20000 operations'])
    expect(parse({ operations: operations.slice(1) })).toEqual([])
  })
})

describe('slots', () => {
  const slots = {
    user: { scope: { param: 'user_scope' }, answer: { access_token: ['/user/token'] } },
    bot: {
      answer: { only_if: { '/token_type': 'bot' } },
      account: { from: 'token', id: ['/team', '/bot'] },
    },
  }

  test('are whole providers; the one that the definition names is meant where a connection names none', () => {
    const provider = read({ slot: 'user', slots })
    expect(provider).toMatchObject({
      scopeParam: 'user_scope',
      answer: { accessToken: ['/user/token'] },
    })
    const chosen = overrideProvider(provider, { slot: 'bot' })
    expect(chosen).toMatchObject({
      provider: {
        scopeParam: 'scope',
        answer: { accessToken: ['/access_token'], onlyIf: { '/token_type': 'bot' } },
      },
    })
  })

  test.each<[string, object, string]>([
    [
      'no choice',
      { slots },
      'acme.yaml: slot: is needed: which of slots is meant where a connection names none',
    ],
    [
      'a choice that is none',
      { slots, slot: 'app' },
      'acme.yaml: slot: app is none of slots: user, bot',
    ],
    [
      'a choice of nothing',
      { slot: 'app' },
      'acme.yaml: slot: app is none of slots: there are none',
    ],
    [
      'a key that no slot changes',
      { slot: 'a', slots: { a: { token: 'x' } } },
      'acme.yaml: slots.a.token: unknown key',
    ],
    [
      'a fault inside',
      { slot: 'a', slots: { a: { scope: { parm: 'x' } } } },
      'acme.yaml: slots.a: scope.parm: unknown key: is param meant?',
    ],
  ])('with %s are refused', (_, changes, problem) => {
    expect(parse(changes)).toContain(problem)
  })

  test('a connection may name only a slot that there is', () => {
    expect(overrideProvider(read({ slot: 'user', slots }), { slot: 'x' }, 'connections.c')).toEqual(
      {
        problems: ['connections.c: slot: acme has user, bot'],
      },
    )
    expect(overrideProvider(read(), { slot: 'x' }, 'connections.c')).toEqual({
      problems: ['connections.c: slot: acme has no slots'],
    })
  })
})

describe('hosts that come from the token', () => {
  const host_from_token = { suffixes: ['.acme.example'] }
  const open = read({ hosts: undefined, host_from_token })

  test('need no list, and a connection may narrow and map them, within the suffixes', () => {
    expect(open.hostFromToken).toEqual({ pointer: '/instance_url', suffixes: ['.acme.example'] })
    expect(open.answer.host).toMatchObject({ required: true })
    expect(open.refresh?.answer.host).toMatchObject({ required: false })
    expect(overrideProvider(open, {})).toHaveProperty('provider')
    expect(
      overrideProvider(open, { hosts: { 'a.acme.example': 'http://127.0.0.1:1' } }),
    ).toMatchObject({
      provider: { hosts: new Map([['a.acme.example', 'http://127.0.0.1:1']]) },
    })
    for (const name of ['evil.example', 'acme.example', 'xacme.example'])
      expect(overrideProvider(open, { hosts: [name] }, 'c')).toHaveProperty('problems')
  })

  test.each<[string, object, string]>([
    [
      'a suffix without a dot',
      { host_from_token: { suffixes: ['acme.example'] } },
      'must read .example.com',
    ],
    [
      'a suffix that is a whole top level',
      { host_from_token: { suffixes: ['.com'] } },
      'must read .example.com',
    ],
    [
      'a host outside',
      { host_from_token, hosts: ['b.example'] },
      'b.example fits no suffix of host_from_token',
    ],
  ])('with %s are refused', (_, changes, problem) => {
    expect(parse(changes).join('\n')).toContain(problem)
  })
})

describe('what a flow sends', () => {
  test.each<[string, object, string]>([
    [
      'a resource with a fragment',
      { resource: ['https://a.example/#x'] },
      'resource.0: must be an absolute URI without a fragment',
    ],
    [
      'a parameter of the flow at refresh',
      { refresh: { params: { refresh_token: 'x' } } },
      'refresh.params.refresh_token: is set by deputy itself',
    ],
    [
      'an account by introspection without one',
      { account: { from: 'introspect', id: '/id' } },
      'account: reads introspect, but introspect has no URL',
    ],
    [
      'an assertion for nobody',
      { client_auth: 'private_key_jwt' },
      'assertion_audience: is the issuer unless it says otherwise',
    ],
    [
      'plain http for pushed requests',
      { par: 'http://a.example/' },
      'par: plain http goes to loopback only',
    ],
  ])('%s is refused', (_, changes, problem) => {
    expect(parse(changes).join('\n')).toContain(problem)
  })

  test('refresh: null means never; a refresh repeats token_params unless it has its own', () => {
    expect(read({ refresh: null }).refresh).toBeNull()
    expect(read({ token_params: { a: '1' } }).refresh?.params).toEqual({ a: '1' })
    expect(read({ token_params: { a: '1' }, refresh: { params: {} } }).refresh?.params).toEqual({})
  })
})

describe('definitions compiled together', () => {
  test('take a catalogue from the folder of the definition that names it', () => {
    const { providers, problems } = compileProviders(
      new Map<string, unknown>([
        ['own/acme.yaml', { ...acme, operations: 'acme.operations.yaml' }],
        ['own/acme.operations.yaml', [row]],
      ]),
    )
    expect(problems).toEqual([])
    expect(providers.get('acme')?.operations.map(({ id }) => id)).toEqual(['things.list'])
  })

  test('name the catalogue in its own problems', () => {
    const files = new Map<string, unknown>([
      ['own/acme.yaml', { ...acme, operations: 'a.yaml' }],
      ['own/a.yaml', [{ ...row, method: 'get' }]],
    ])
    expect(compileProviders(files).problems).toEqual(['own/a.yaml: 0.method: must be upper case'])
  })

  test('a sandbox that extends a vendor replaces endpoints only', () => {
    const { providers, problems } = compileProviders(
      new Map<string, unknown>([
        ...readProviderFiles(shipped),
        [
          'deputy.yaml',
          {
            id: 'sandbox',
            extends: 'github',
            token: 'http://127.0.0.1:4101/token',
            hosts: { 'api.github.com': 'http://127.0.0.1:4101' },
          },
        ],
      ]),
    )
    expect(problems).toEqual([])
    const [github, sandbox] = [providers.get('github'), providers.get('sandbox')]
    expect(sandbox?.hosts).toEqual(new Map([['api.github.com', 'http://127.0.0.1:4101']]))
    expect(sandbox).toMatchObject({
      token: 'http://127.0.0.1:4101/token',
      authorize: github?.authorize,
      answer: github?.answer,
    })
    // uploads.github.com is gone, and with it the one row that lived there
    expect(sandbox?.operations).toEqual(github?.operations.filter((one) => one.host === null))
  })

  test('whoever extends has all ancestors in its lineage, in every slot and as a connection sees it', () => {
    const slots = { bot: {}, user: {} }
    const { providers, problems } = compileProviders(
      new Map<string, unknown>([
        ['c.yaml', { id: 'ghe', extends: 'base', slot: 'bot', slots }],
        ['b.yaml', { id: 'base', extends: 'acme' }],
        ['a.yaml', acme],
      ]),
    )
    expect(problems).toEqual([])
    const ghe = providers.get('ghe')
    const lineage = ['ghe', 'base', 'acme']
    expect(providers.get('acme')?.lineage).toEqual(['acme'])
    expect(providers.get('base')?.lineage).toEqual(['base', 'acme'])
    expect(ghe?.lineage).toEqual(lineage)
    expect([...(ghe?.slots?.values() ?? [])].map((slot) => slot.lineage)).toEqual([
      lineage,
      lineage,
    ])
    if (ghe === undefined) throw new Error('there is no ghe')
    for (const slot of ['bot', 'user'])
      expect(overrideProvider(ghe, { slot, token: 'https://t.example/' })).toMatchObject({
        provider: { lineage },
      })
  })

  test.each<[string, [string, unknown][], string]>([
    [
      'the same id twice',
      [
        ['a.yaml', acme],
        ['b.yaml', acme],
      ],
      'b.yaml: id: acme is defined in a.yaml',
    ],
    [
      'a circle',
      [
        ['a.yaml', { ...acme, extends: 'b' }],
        ['b.yaml', { ...acme, id: 'b', extends: 'acme' }],
      ],
      'a.yaml: extends: acme → b → acme is a circle',
    ],
    [
      'a base of a base that is not there',
      [
        ['a.yaml', { ...acme, extends: 'b' }],
        ['b.yaml', { ...acme, id: 'b', extends: 'c' }],
      ],
      'a.yaml: extends: there is no definition c',
    ],
    [
      'a catalogue that nobody names',
      [
        ['a.yaml', acme],
        ['b.yaml', [row]],
      ],
      'b.yaml: no definition names this catalogue',
    ],
    [
      'a file without an id',
      [['a.yaml', { name: 'x' }]],
      'a.yaml: must be a definition with an id, or a list of operations',
    ],
  ])('report %s', (_, files, problem) => {
    expect(compileProviders(new Map(files)).problems).toContain(problem)
  })
})

describe('what one connection overrides', () => {
  const provider = read({
    hosts: ['a.acme.example', 'b.acme.example'],
    assets: ['dl.acme.example'],
  })
  const over = (changes: Parameters<typeof overrideProvider>[1]) =>
    overrideProvider(provider, changes, 'connections.x')

  test('a list narrows the hosts, and keeps where they are reached', () => {
    expect(over({ hosts: ['b.acme.example'] })).toMatchObject({
      provider: { hosts: new Map([['b.acme.example', 'https://b.acme.example']]) },
    })
  })

  test('a map narrows and maps, downloads included; endpoints are replaced', () => {
    expect(
      over({
        token: 'http://127.0.0.1:1/t',
        revoke: 'http://127.0.0.1:1/r',
        hosts: { 'a.acme.example': 'http://127.0.0.1:1', 'dl.acme.example': 'http://127.0.0.1:2' },
      }),
    ).toMatchObject({
      provider: {
        token: 'http://127.0.0.1:1/t',
        authorize: acme.authorize,
        revokeStyle: 'rfc7009',
        hosts: new Map([['a.acme.example', 'http://127.0.0.1:1']]),
        assets: new Map([['dl.acme.example', 'http://127.0.0.1:2']]),
      },
    })
    expect(provider.hosts.size).toBe(2)
  })

  test.each<[string, Parameters<typeof overrideProvider>[1], string]>([
    [
      'a host of somebody else',
      { hosts: ['evil.example'] },
      'connections.x: hosts: acme does not serve evil.example: it serves a.acme.example, b.acme.example',
    ],
    ['no host at all', { hosts: [] }, 'connections.x: hosts: no host is left'],
    [
      'plain http to another machine',
      { token: 'http://10.0.0.1/t' },
      'connections.x: token: plain http goes to loopback only; `insecure: true` in this definition allows it',
    ],
  ])('%s is refused', (_, changes, problem) => {
    expect(over(changes)).toEqual({ problems: [problem] })
  })

  test('plain http to another machine passes with insecure: true', () => {
    expect(over({ token: 'http://10.0.0.1/t', insecure: true })).toHaveProperty('provider')
  })
})

describe('a product that people host themselves', () => {
  const forge = {
    authorize: '{origin}/authorize',
    token: '{origin}/token',
    userinfo: '{origin}/me',
    introspect: { url: '{origin}/introspect' },
    revoke: '{origin}/revoke',
    refresh: { url: '{origin}/refresh' },
    hosts: [],
  }
  const at = (origin: string): object => ({
    authorize: `${origin}/authorize`,
    token: `${origin}/token`,
    userinfo: `${origin}/me`,
    introspect: { url: `${origin}/introspect` },
    revoke: `${origin}/revoke`,
    refresh: { url: `${origin}/refresh` },
  })

  test('has its endpoints where the connection’s first host is reached', () => {
    expect(overrideProvider(read(forge), { hosts: ['git.corp.example'] })).toMatchObject({
      provider: at('https://git.corp.example'),
    })
    const made = overrideProvider(read(forge), {
      hosts: { 'git.corp.example': 'http://127.0.0.1:3000' },
      authorize: 'https://git.corp.example/authorize',
    })
    expect(made).toMatchObject({
      provider: {
        ...at('http://127.0.0.1:3000'),
        authorize: 'https://git.corp.example/authorize',
        hosts: new Map([['git.corp.example', 'http://127.0.0.1:3000']]),
      },
    })
  })

  test('is served nowhere until a connection, or a definition that extends it, names the host', () => {
    expect(overrideProvider(read(forge), {}, 'connections.x')).toEqual({
      problems: [
        'connections.x: hosts: acme has no host of its own: name yours, such as [git.example.com]',
      ],
    })
    const { providers, problems } = compileProviders(
      new Map<string, unknown>([
        ['base.yaml', { ...forge, id: 'forge' }],
        ['own.yaml', { id: 'own', extends: 'forge', hosts: ['git.corp.example'] }],
      ]),
    )
    expect(problems).toEqual([])
    expect(providers.get('own')).toMatchObject(at('https://git.corp.example'))
  })

  test('is not spared its bodies by a media type that servers take fields from', () => {
    const opaque = (type: string): readonly string[] =>
      parse({
        operations: [{ scopes: [[]], write: { 'git.push': { call: 'POST /push', opaque: type } } }],
      })
    expect(opaque('application/x-git-receive-pack-request')).toEqual([])
    for (const type of [
      'application/x-www-form-urlencoded',
      'multipart/form-data',
      'text/plain',
      'application/json',
      'application/vnd.x+json',
      '*/*',
    ])
      expect([type, opaque(type)]).not.toEqual([type, []])
  })

  test('may not hide plain http or a foreign scheme behind the place', () => {
    expect(parse({ ...forge, token: 'x{origin}/token' })).toEqual([
      'acme.yaml: token: must be an absolute URL',
    ])
    expect(
      overrideProvider(read(forge), { hosts: { 'git.corp.example': 'http://10.1.2.3' } }),
    ).toHaveProperty('problems')
  })
})

describe('the shipped definitions', () => {
  const files = readProviderFiles(shipped)
  const { providers, problems } = compileProviders(files)

  test('all parse', () => {
    expect(problems).toEqual([])
    expect([...providers.keys()]).toEqual([
      'anthropic',
      'gitea',
      'github',
      'github_app',
      'google',
      'hubspot',
      'linear',
      'microsoft',
      'notion',
      'notion_key',
      'openai',
      'salesforce',
      'slack',
      'stripe',
    ])
  })

  test('are valid under the generated JSON Schema, and a misspelt key is not', () => {
    const validate = new Ajv2020({ strict: false }).compile(providerJsonSchema())
    for (const [where, raw] of files)
      if (!Array.isArray(raw) && !where.endsWith('.catalogue.json'))
        expect([where, validate(raw)]).toEqual([where, true])
    expect(validate({ ...acme, tokn: 1 })).toBe(false)
  })

  test('hold ten operations each', () => {
    for (const { id, operations } of providers.values())
      expect([id, new Set(operations.map((one) => one.id)).size >= 10]).toEqual([id, true])
  })

  test('send no credential to a host over anything but https', () => {
    for (const provider of providers.values())
      for (const origin of [...provider.hosts.values(), provider.token ?? provider.userinfo])
        expect(origin).toMatch(provider.id === 'gitea' ? /^\{origin\}\// : /^https:/)
  })

  test('never list a GET as a write, except for Slack, whose methods take both, and WebSockets', () => {
    const wrong = [...providers.values()]
      .filter(({ id }) => id !== 'slack')
      .flatMap(({ operations }) => operations)
      .filter((one) => one.method === 'GET' && one.websocket == null)
      .filter((one) => one.access === 'write' || one.access === 'delete')
    expect(wrong).toEqual([])
    const slack = providers.get('slack')?.operations ?? []
    for (const one of slack.filter(({ method, host }) => method === 'GET' && host === null))
      expect(slack).toContainEqual({ ...one, method: 'POST' })
  })
})

describe('the commands', () => {
  const run = (
    command: (print: (line: string) => void) => number,
  ): { code: number; text: string } => {
    const lines: string[] = []
    const code = command((line) => void lines.push(line))
    return { code, text: lines.join('\n') }
  }

  test('list has a line for each provider', () => {
    const { code, text } = run((print) => providersList({ print, dir: shipped }))
    expect(code).toBe(0)
    expect(text).toMatch(/^github +GitHub +\d+ +\d+ +api\.github\.com uploads\.github\.com$/m)
    expect(text).toMatch(/^gitea +Gitea +\d+ +\d+ +none: the connection names yours$/m)
    expect(text.split('\n')).toHaveLength(15)
  })

  test('show prints endpoints and the catalogue', () => {
    const { code, text } = run((print) => providersShow({ id: 'github', print, dir: shipped }))
    expect(code).toBe(0)
    expect(text).toMatch(/^token +https:\/\/github\.com\/login\/oauth\/access_token$/m)
    expect(text).toMatch(
      /^issues\.create +write +POST +\/repos\/\{owner\}\/\{repo\}\/issues +repo \| public_repo$/m,
    )
  })

  test('show --operations groups them by access and scopes, with a line on each', () => {
    const { code, text } = run((print) =>
      providersShow({ id: 'google', print, dir: shipped, operations: true }),
    )
    expect(code).toBe(0)
    expect(text).toMatch(/^admin: \d+$/m)
    expect(text).toMatch(
      /^ {2}gmail\.users\.messages\.send +POST gmail\.googleapis\.com\S+ +Sends the specified message/m,
    )
    expect(text).toMatch(/^ scopes: https:\/\/www\.googleapis\.com\/auth\/documents/m)
  })

  test('show of an unknown id says which there are, and fails', () => {
    const { code, text } = run((print) => providersShow({ id: 'gh\u001b', print, dir: shipped }))
    expect(code).toBe(1)
    expect(text).toContain('there is no provider "gh\\u001b"; there are anthropic, gitea, github,')
  })

  test('a folder with a broken definition fails, and every problem is printed', () => {
    const dir = mkdtempSync(join(tmpdir(), 'deputy-providers-'))
    writeFileSync(join(dir, 'acme.yaml'), 'id: acme\nhosts: [A]\n')
    const { code, text } = run((print) => providersList({ print, dir }))
    expect(code).toBe(1)
    expect(text.split('\n')).toHaveLength(3)
    writeFileSync(join(dir, 'acme.yaml'), 'id: acme\nid: twice\n')
    expect(() => run((print) => providersList({ print, dir }))).toThrow(/acme\.yaml.*unique/is)
  })
})
