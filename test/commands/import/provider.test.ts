// A provider in another product's words, through the import: what it becomes, and what is told of it.
import { describe, expect, test } from 'vitest'
import { parse as parseYaml, stringify } from 'yaml'
import { importFile } from '../../../proxy/commands/import/entries.ts'
import type { Imported } from '../../../proxy/commands/import/entries.ts'
import { testProvider } from '../../../proxy/commands/quirks.ts'
import { parseProvider } from '../../../proxy/providers/parse.ts'
import type { Provider } from '../../../proxy/model.ts'

const oauth2 = {
  client_id: 'hooli-client',
  client_secret: 'hooli-secret',
  scope_delimiter: ' ',
  pkce: { enabled: true, code_challenge_method: 'S256' },
  authorize_request: {
    endpoint: 'https://hooli.example/authorize',
    params: {
      response_type: 'code',
      client_id: '{{client_id}}',
      redirect_uri: '{{redirect_uri}}',
      scope: '{{scopes}} {{existing_scopes}} openid',
      access_type: 'offline',
    },
  },
  token_request: {
    endpoint: 'https://hooli.example/token',
    method: 'POST',
    auth_method: 'client_secret_basic',
    params: { grant_type: 'authorization_code', redirect_uri: '{{redirect_uri}}', audience: 'api' },
    request_content_type: 'application/x-www-form-urlencoded',
    response_content_type: 'application/json',
    response_map: {
      access_token: '$.data.access_token',
      expires_in: "$['data']['expires_at']",
      scope: "join('$.data.scope', ' ')",
      token_type: '$.data.token_type',
    },
    expiration_format: 'absolute_unix_timestamp',
  },
  refresh_request: {
    endpoint: 'https://hooli.example/refresh',
    params: {
      grant_type: 'refresh_token',
      refresh_token: '{{refresh_token}}',
      client_id: '{{client_id}}',
      client_secret: '{{client_secret}}',
      scope: '{{scopes}}',
    },
    response_map: { refresh_token: '$.tokens[0].refresh' },
  },
  user_info_request: {
    endpoint: 'https://hooli.example/me',
    auth_method: 'bearer_access_token',
    params: { fields: 'id,email' },
    triggers: { on_token_grant: true, on_token_refresh: false },
  },
  token_introspection_request: {
    endpoint: 'https://hooli.example/introspect',
    method: 'POST',
    auth_method: 'client_secret_basic',
    params: { token: '{{access_token}}' },
    response_map: { scope: "jwt_decode('$.jwt', '$.scp')", expires_in: '$.exp' },
    triggers: { on_token_grant: false, on_token_refresh: true },
  },
}
const entry = { id: 'hooli', type: 'oauth2', description: 'Hooli', hosts: ['api.hooli.example'] }
type Section = typeof oauth2
const imported = (raw: object): Imported => {
  const found = importFile(raw, { name: 'hooli.yaml', shipped: new Map() })
  if (found === null) throw new Error('nothing was imported')
  return found
}
const run = (change: object = {}, beside: object = {}): Imported =>
  imported({ ...entry, ...beside, oauth2: { ...oauth2, ...change } })
/** What stands in the file that the import writes, read as a configuration reads it. */
const written = ({ providers }: Imported): Provider => {
  const parsed = parseProvider(parseYaml(stringify(providers[0])), 'written.yaml')
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  return parsed.provider
}
const read = (change: object = {}, beside: object = {}): Provider => {
  const found = run(change, beside)
  expect(found.left).toEqual([])
  return written(found)
}
const problems = (change: object, beside: object = {}): readonly string[] =>
  run(change, beside).left
const within = <K extends keyof Section>(key: K, change: object): object => ({
  [key]: { ...(oauth2[key] as object), ...change },
})
const params = <K extends 'authorize_request' | 'token_request' | 'refresh_request'>(
  key: K,
  change: object,
) => within(key, { params: { ...oauth2[key].params, ...change } })

describe('a provider in the other vocabulary', () => {
  test('reads unchanged, beside hosts of our own', () => {
    expect(read()).toMatchObject({
      id: 'hooli',
      authorize: 'https://hooli.example/authorize',
      token: 'https://hooli.example/token',
      userinfo: 'https://hooli.example/me?fields=id%2Cemail',
      clientAuth: 'client_secret_basic',
      tokenFormat: 'form',
      pkce: true,
      scopeParam: 'scope',
      scopeAlways: ['openid'],
      scopeRepeat: ['refresh'],
      authorizeParams: { access_type: 'offline' },
      tokenParams: { audience: 'api' },
      answer: {
        accessToken: ['/data/access_token'],
        expiresIn: ['/data/expires_at'],
        scope: ['/data/scope'],
      },
      refresh: {
        url: 'https://hooli.example/refresh',
        clientAuth: 'client_secret_post',
        params: {},
        answer: { refreshToken: ['/tokens/0/refresh'], accessToken: ['/access_token'] },
      },
      introspect: {
        url: 'https://hooli.example/introspect',
        auth: 'client',
        at: ['refresh'],
        scope: [{ jwt: '/jwt', claim: '/scp' }],
        expiresIn: ['/exp'],
      },
      account: { from: 'userinfo' },
    })
    expect([...read().hosts.keys()]).toEqual(['api.hooli.example'])
  })

  test('reads the same in the newer words, and each part is told by the name that it has', () => {
    const { authorize_request, user_info_request, ...others } = oauth2
    const newer = {
      ...others,
      authorization_request: authorize_request,
      user_info: user_info_request,
    }
    const found = imported({ ...entry, oauth2: newer })
    expect(found.left).toEqual([])
    expect(found.providers).toEqual(run().providers)
    const { params } = authorize_request
    const odd = {
      ...newer,
      authorization_request: { ...authorize_request, params: { ...params, x: '{{y}}' } },
    }
    expect(imported({ ...entry, oauth2: odd }).left).toEqual([
      'hooli.yaml: oauth2.authorization_request.params.x: {{y}} cannot be sent as x',
    ])
    expect(problems({ user_info: user_info_request }).join()).toContain('keep one of them')
  })

  test('without refresh_request never uses a refresh token', () => {
    expect(read({ refresh_request: undefined }).refresh).toBeNull()
  })

  test('is plain where it says little', () => {
    const little = {
      authorize_request: { endpoint: 'https://h.example/a' },
      token_request: { endpoint: 'https://h.example/t', params: { client_id: '{{client_id}}' } },
    }
    const found = imported({ ...entry, oauth2: little })
    expect(written(found)).toMatchObject({
      scopeParam: null,
      pkce: false,
      clientAuth: 'none',
      refresh: null,
      account: null,
    })
    // A public client has no secret; its id is not in the file.
    expect(found.connections.get('hooli')).toEqual({
      provider: 'hooli',
      client_id: '${env:HOOLI_CLIENT_ID}',
      scopes: [],
    })
  })

  test.each([
    ['a list of scopes', "join('$.scope',' ')", '/scope'],
    ['a list with a star', '$.scope[*]', '/scope'],
    ['a name with a slash', "$['a/b'].c", '/a~1b/c'],
    [
      'a claim of the token, joined',
      "join(jwt_decode('$.access_token','$.scp'),' ')",
      { jwt: '/access_token', claim: '/scp' },
    ],
  ])('follows %s', (_, expression, place) => {
    const map = within('token_request', { response_map: { scope: expression } })
    expect(read(map).answer.scope).toEqual([place])
  })

  test('may name the client beside `oauth2`, and in the body beside Basic: it is said once, by Basic', () => {
    const { client_id: _id, client_secret: _secret, ...rest } = oauth2
    const found = imported({
      ...entry,
      enabled: true,
      client_id: 'outer',
      client_secret: 'outer-secret',
      oauth2: {
        ...rest,
        ...params('token_request', {
          client_id: '{{client_id}}',
          client_secret: '{{client_secret}}',
        }),
        token_introspection_request: { ...oauth2.token_introspection_request, enabled: false },
      },
    })
    expect(found.left).toEqual([])
    expect(written(found)).toMatchObject({
      clientAuth: 'client_secret_basic',
      tokenParams: { audience: 'api' },
      introspect: null,
    })
    expect(found.connections.get('hooli')).toMatchObject({
      client_id: 'outer',
      client_secret: 'outer-secret',
    })
  })

  test('says with response_map whose account it is, and a plain header format is no news', () => {
    const info = within('user_info_request', {
      response_map: { user_id: '$.profile.mail', display: '$.profile.name' },
      auth_header_value_format: 'Bearer {{access_token}}',
    })
    expect(read(info).account).toMatchObject({
      id: [['/profile/mail']],
      label: expect.arrayContaining(['/profile/name', '/email']),
    })
    const odd = within('user_info_request', { auth_header_value_format: 'X {{access_token}}' })
    expect(problems(odd).join()).toContain('user_info_request.auth_header_value_format')
  })

  test('keeps what stands beside it, and that wins', () => {
    const provider = read({}, { account: { id: '/uid' }, present: 'X-Token: {token}' })
    expect(provider).toMatchObject({ account: { id: '/uid' }, present: { header: 'x-token' } })
  })

  test.each<[string, object, string]>([
    ['an unknown key', { tokn: 1 }, 'oauth2.tokn: unknown key'],
    [
      'plain PKCE',
      { pkce: { enabled: true, code_challenge_method: 'plain' } },
      'oauth2.pkce.code_challenge_method',
    ],
    [
      'the implicit flow',
      params('authorize_request', { response_type: 'token' }),
      'authorize_request.params.response_type: must be code',
    ],
    [
      'a placeholder that is none',
      params('authorize_request', { hint: '{{user_id}}' }),
      'authorize_request.params.hint: {{user_id}} cannot be sent as hint',
    ],
    [
      'the client under another name',
      params('authorize_request', { client_key: '{{client_id}}' }),
      'params.client_key: {{client_id}} cannot be sent as client_key',
    ],
    [
      'scopes in two parameters',
      params('authorize_request', { user_scope: '{{scopes}}' }),
      'params.user_scope: is a second parameter of scopes',
    ],
    [
      'a GET for tokens',
      within('token_request', { method: 'GET' }),
      'token_request.method: must be POST',
    ],
    [
      'an unknown auth_method',
      within('token_request', { auth_method: 'tls_client_auth' }),
      'token_request.auth_method: tls_client_auth cannot be expressed',
    ],
    [
      'a header format',
      within('token_request', { auth_header_value_format: 'X {{client_id}}' }),
      'auth_header_value_format: cannot be expressed',
    ],
    [
      'XML',
      within('token_request', { response_content_type: 'text/xml' }),
      'token_request.response_content_type: must be',
    ],
    [
      'a filter',
      within('token_request', { response_map: { access_token: '$.tokens[?(@.a)].b' } }),
      'token_request.response_map.access_token: is no path',
    ],
    [
      'a descent',
      within('token_request', { response_map: { access_token: '$..token' } }),
      'response_map.access_token: is no path',
    ],
    [
      'a token in a claim',
      within('token_request', { response_map: { access_token: "jwt_decode('$.a','$.b')" } }),
      'response_map.access_token: cannot stand inside a JWT',
    ],
    [
      'another member',
      within('token_request', { response_map: { team: '$.team' } }),
      'response_map.team: is nothing that deputy reads',
    ],
    [
      'another grant',
      params('refresh_request', { grant_type: 'x' }),
      'refresh_request.params.grant_type: must be refresh_token',
    ],
    [
      'two ways of writing',
      within('refresh_request', { request_content_type: 'application/json' }),
      'refresh_request.request_content_type: must be that of token_request',
    ],
    [
      'a token in a URL',
      within('user_info_request', { params: { t: '{{access_token}}' } }),
      'user_info_request.params.t: {{access_token}} cannot be sent',
    ],
    [
      'a token without TLS',
      within('token_request', { endpoint: 'http://hooli.example/t' }),
      'token: plain http goes to loopback only',
    ],
  ])('lists %s', (_, change, problem) => {
    expect(problems(change).join('\n')).toContain(problem)
  })

  test('lists everything at once', () => {
    const two = {
      ...within('token_request', { method: 'GET' }),
      ...within('user_info_request', { auth_method: 'x' }),
    }
    expect(problems(two)).toHaveLength(2)
    expect(problems({}, { enabled: 'maybe', status: 'odd', extends: 'github' })).toHaveLength(3)
  })

  test('gets through the quirks like one in our own words', async () => {
    const provider = read(
      { token_introspection_request: undefined },
      {
        example: {
          token: {
            data: { access_token: '{access_token}', expires_at: '{expires_in}', scope: '{scopes}' },
            refresh_token: '{refresh_token}',
          },
          refresh: {
            access_token: '{access_token}',
            tokens: [{ refresh: '{refresh_token}' }],
            expires_in: '{expires_in}',
          },
          userinfo: { id: '{account}', email: '{label}' },
          client_auth: ['client_secret_basic', 'client_secret_post'],
        },
      },
    )
    const { failed, passed } = await testProvider(provider, () => {})
    expect(failed).toEqual([])
    expect(passed).toBeGreaterThan(70)
  })
})
