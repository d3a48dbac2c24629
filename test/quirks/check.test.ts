// What whoever writes a definition is told, where the scripted provider finds it wrong.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { providersTest } from '../../proxy/commands/quirks.ts'

const dir = join(import.meta.dirname, '../../providers')
const folder = mkdtempSync(join(tmpdir(), 'deputy-own-'))
afterAll(() => rmSync(folder, { recursive: true }))

const command = async (id: string, text: string) => {
  const lines: string[] = []
  const file = join(folder, 'own.yaml')
  writeFileSync(file, text)
  const code = await providersTest({ id, file, dir, print: (line) => void lines.push(line) })
  return { code, failed: lines.filter((line) => line.startsWith('FAILED')), lines }
}
const OAUTH = {
  access_token: '{access_token}',
  refresh_token: '{refresh_token}',
  expires_in: '{expires_in}',
  scope: '{scope}',
  token_type: 'Bearer',
}
const head = `
id: acme
authorize: https://acme.example/authorize
token: https://acme.example/token
hosts: [api.acme.example]
`

describe('a definition that is wrong is told what it should say', () => {
  test.each<[string, string, string]>([
    [
      'the way the client names itself',
      `${head}client_auth: client_secret_basic\nexample: { token: ${JSON.stringify(OAUTH)}, client_auth: [raw_basic] }`,
      'client_auth should be raw_basic',
    ],
    [
      'where the token stands',
      `${head}example: { token: { data: ${JSON.stringify(OAUTH)} } }`,
      'answer.access_token should list /data/access_token',
    ],
    [
      'where the refresh token stands',
      `${head}example: { token: ${JSON.stringify({ ...OAUTH, refresh_token: undefined, renew: '{refresh_token}' })} }`,
      'answer.refresh_token should list /renew',
    ],
    [
      'how the token is sent',
      `${head}present: 'X-Key: {token}'\nexample: { token: ${JSON.stringify(OAUTH)}, present: 'Authorization: Bearer {token}' }`,
      'present should be Authorization: Bearer {token}',
    ],
    [
      'the separator of scopes',
      `${head}example: { token: ${JSON.stringify(OAUTH)}, scope_separator: ',' }`,
      'scope.separator should be ","',
    ],
    [
      'the parameter of scopes',
      `${head}example: { token: ${JSON.stringify(OAUTH)}, scope_param: user_scope }`,
      'scope.param should be user_scope',
    ],
    [
      'a challenge that the provider demands',
      `${head}pkce: false\nexample: { token: ${JSON.stringify(OAUTH)}, pkce: required }`,
      'pkce should be true',
    ],
    [
      'the provider’s words',
      `${head}example: { token: ${JSON.stringify(OAUTH)}, dead: [TOKEN_GONE], client: [APP_UNKNOWN] }`,
      'answer.errors should map TOKEN_GONE to invalid_grant',
    ],
    [
      'the lifetime',
      `${head}example: { token: ${JSON.stringify({ ...OAUTH, expires_in: undefined, expiresIn: '{expires_in}' })} }`,
      'answer.expires_in should lead to it',
    ],
    [
      'rotation',
      `${head}rotation: none\nexample: { token: ${JSON.stringify(OAUTH)}, rotates: true, reuse: dead }`,
      'rotation should be always',
    ],
    [
      'what a lost answer means',
      `${head}rotation: always\nlost_response: 'yes'\nexample: { token: ${JSON.stringify(OAUTH)}, rotates: true, reuse: kills }`,
      "lost_response should be 'no'",
    ],
    [
      'where the account stands',
      `${head}userinfo: https://acme.example/me\naccount: { id: /uid }\nexample: { token: ${JSON.stringify(OAUTH)}, userinfo: { id: '{account}' } }`,
      'account.id leads nowhere in what userinfo answers: "/uid"',
    ],
    [
      'the account of an extended Slack',
      'id: mine\nextends: slack\nslot: user\nslots: { user: { scope: { param: user_scope, separator: "," }, account: { from: token, id: /team/id }, answer: { access_token: [/authed_user/access_token] }, example: { token: { authed_user: { id: "{account}", access_token: "{access_token}" }, team: { id: "{tenant}" } }, scope_param: user_scope, scope_separator: "," } } }',
      'account.id should tell two accounts apart',
    ],
  ])('%s', async (_, text, advice) => {
    const { code, failed } = await command(text.includes('id: mine') ? 'mine' : 'acme', text)
    expect(failed.join('\n')).toContain(advice)
    expect(code).toBe(1)
  })

  test('every mistake of type is told at once, at its place, with what should stand there', async () => {
    const { code, lines } = await command(
      'acme',
      `
id: acme
authorize: https://acme.example/authorize
token: http://acme.example/token
client_auth: basic
pkce: "yes"
scope: ','
hosts: api.acme.example
answer: { acess_token: [/token], errors: { GONE: 1 } }
operations: [{ scopes: [notes], read: { notes.list: GET v1/notes } }]
`,
    )
    expect(code).toBe(1)
    for (const told of [
      'client_auth: must be one of client_secret_post, client_secret_basic, raw_basic,',
      'pkce: must be true or false, without quotes',
      'scope: must be keys and values, such as { key: value }',
      'hosts: must be a list of host names, or a map',
      'answer.acess_token: unknown key: is access_token meant?',
      'answer.errors.GONE: must be a text',
      'token: plain http goes to loopback only',
      'operations.0.scopes.0: must be a list, such as [a, b]',
      'operations.0.read.notes.list: must be `METHOD /path`',
    ])
      expect(lines.join('\n')).toContain(told)
    expect(lines).toHaveLength(9)
    const example = await command('acme', `${head}example: { tokens: {}, reuse: kill }`)
    expect(example.lines).toContain('acme: example.reuse: must be one of works, dead, kills')
    expect(example.lines).toContain('acme: example.tokens: unknown key: is token meant?')
    expect(example.code).toBe(1)
    expect((await command('acme', 'id: [1')).lines.join()).toMatch(/own\.yaml:1: /)
  })

  test('an unknown id and a definition that does not parse end with 1', async () => {
    expect(await command('nobody', head)).toMatchObject({ code: 1, failed: [] })
    expect((await command('acme', `${head}tokn: 1`)).lines.join('\n')).toMatch(/tokn: unknown key/)
  })
})
