// What each kind of directory needs to be said of it.
import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { credentialsOf, kindOf } from '../../proxy/config/directory.ts'
import { parseConfig } from '../../proxy/config/parse.ts'
import type { HttpConfig } from '../../proxy/config/schema.ts'

const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
  type: 'pkcs8',
  format: 'pem',
})
const parse = (http: object, more: object = {}) =>
  parseConfig({
    version: 1,
    identity: { trust: 'plain' },
    entitlements: { source: 'http', http, ...more },
    policy: { bundle: './bundle.tar.gz' },
    connections: { github: { provider: 'github' } },
    vault: { keys: './keys.json' },
    connect: { sign_in: 'local' },
  })
const problems = (http: object, more?: object): readonly string[] => {
  const parsed = parse(http, more)
  return 'problems' in parsed ? parsed.problems : []
}
const read = (http: object): HttpConfig => {
  const parsed = parse(http)
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  const found = parsed.config.entitlements?.http
  if (found === undefined) throw new Error('no http')
  return found
}
const keycloak = {
  preset: 'keycloak',
  url: 'https://idp.test/',
  realm: 'corp',
  client_id: 'reader',
  client_secret: 's',
}
const okta = { preset: 'okta', url: 'https://corp.okta.com', bearer: 'token' }
const none = { preset: 'none', url: 'https://dir.test/{id}', id: '/id' }

describe('what goes together', () => {
  test.each<[object, string]>([
    [{ ...keycloak, realm: undefined }, 'realm: the preset keycloak needs it'],
    [{ ...keycloak, groups: '/g' }, 'groups: is not read with the preset keycloak: remove it'],
    [{ ...keycloak, client_key: pem }, 'client_key: there is a client_secret too: keep one'],
    [{ ...keycloak, client_secret: undefined }, 'client_id: needs a client_secret or a client_key'],
    [{ ...okta, bearer: undefined }, 'bearer: name an API token'],
    [{ ...okta, by: 'email' }, 'by: the preset okta finds people by id or name'],
    [{ ...okta, client_id: 'x', client_key: pem }, 'bearer: there is a client_id too'],
    [{ ...none, url: 'https://dir.test/people' }, 'url: nothing says who is asked about'],
    [{ ...none, body: { id: '{id}' } }, 'body: needs method: POST'],
    [{ ...none, client_id: 'x', client_secret: 's' }, 'token: say where the client gets its token'],
    [{ ...none, client_secret: 's' }, 'client_id: the secret has none'],
  ])('%j', (http, problem) => {
    expect(problems(http)).toContainEqual(
      expect.stringContaining(`entitlements.http.${problem}`) as string,
    )
  })
  test('plain http to another machine is refused unless it is meant', () => {
    const plain = { ...keycloak, url: 'http://idp.test' }
    expect(problems(plain).join()).toContain('plain http to another machine')
    expect(problems({ ...plain, insecure: true })).toEqual([])
  })
  test('one source, or several, and what each needs', () => {
    expect(problems(keycloak, { sources: ['http'] }).join()).toContain('not both')
    expect(problems(keycloak, { source: undefined }).join()).toContain('name one source')
    expect(problems(keycloak, { source: undefined, sources: ['http', 'http'] }).join()).toContain(
      'twice',
    )
    expect(problems(keycloak, { source: undefined, sources: ['http', 'file'] }).join()).toContain(
      'entitlements.file: entitlements.sources is http, file, but no file is named',
    )
    expect(problems(keycloak, { source: undefined, sources: ['http'] })).toEqual([])
  })
})

describe('what it means', () => {
  test('for Keycloak', () => {
    const http = read(keycloak)
    expect(kindOf(http)).toEqual({
      preset: 'keycloak',
      url: 'https://idp.test',
      realm: 'corp',
      by: 'id',
    })
    expect(credentialsOf(http)).toMatchObject({
      kind: 'client',
      url: 'https://idp.test/realms/corp/protocol/openid-connect/token',
      auth: 'client_secret_post',
      scope: null,
    })
  })
  test('for Okta, Entra ID and Google Workspace', () => {
    expect(credentialsOf(read(okta))).toMatchObject({ kind: 'bearer', scheme: 'SSWS' })
    const own = read({ ...okta, bearer: undefined, client_id: 'x', client_key: pem })
    expect(credentialsOf(own)).toMatchObject({
      url: 'https://corp.okta.com/oauth2/v1/token',
      auth: 'private_key_jwt',
      scope: 'okta.users.read okta.groups.read',
    })
    const entra = read({ preset: 'entra', tenant: 't', client_id: 'x', client_secret: 's' })
    expect(kindOf(entra)).toMatchObject({ url: 'https://graph.microsoft.com' })
    expect(credentialsOf(entra)).toMatchObject({
      url: 'https://login.microsoftonline.com/t/oauth2/v2.0/token',
      scope: 'https://graph.microsoft.com/.default',
    })
    const google = read({ preset: 'google', client_id: 'sa@x.test', client_key: pem, subject: 'a' })
    expect(kindOf(google)).toMatchObject({ url: 'https://admin.googleapis.com' })
    expect(credentialsOf(google)).toMatchObject({ kind: 'account', subject: 'a' })
  })
  test('for a service of one’s own', () => {
    expect(kindOf(read(none))).toMatchObject({ method: 'GET', places: { id: '/id', active: null } })
    expect(credentialsOf(read(none))).toEqual({ kind: 'none' })
  })
})
