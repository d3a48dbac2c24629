// `deputy import`: a file in another product's words becomes one that loads; its exit code says whether all of it did.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'

const folder = mkdtempSync(join(tmpdir(), 'deputy-import-'))
afterAll(() => rmSync(folder, { recursive: true }))
const BIN = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const SECRETS = {
  GITHUB_CLIENT_ID: 'gh',
  GITHUB_CLIENT_SECRET: 'gh-secret',
  HOOLI_CLIENT_ID: 'hl',
  HOOLI_CLIENT_SECRET: 'hl-secret',
}
const deputy = (...args: readonly string[]) =>
  spawnSync(process.execPath, [BIN, ...args], {
    encoding: 'utf8',
    cwd: folder,
    env: { ...process.env, ...SECRETS },
  })
const write = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return name
}

const WHOLE = `
auth:
  providers:
    - id: default-github
      description: The default GitHub provider
      enabled: true
      type: oauth2
      provider_id: github
      client_id: \${env:GITHUB_CLIENT_ID}
      client_secret: \${env:GITHUB_CLIENT_SECRET}
    - id: hooli
      description: Hooli OAuth 2.0 provider
      enabled: true
      type: oauth2
      client_id: \${env:HOOLI_CLIENT_ID}
      client_secret: \${env:HOOLI_CLIENT_SECRET}
      oauth2:
        scope_delimiter: ' '
        authorization_request:
          endpoint: https://hooli.example/authorize
          params:
            response_type: code
            client_id: '{{client_id}}'
            redirect_uri: '{{redirect_uri}}'
            scope: '{{scopes}} {{existing_scopes}}'
        token_request:
          endpoint: https://hooli.example/token
          params:
            grant_type: authorization_code
            redirect_uri: '{{redirect_uri}}'
            client_id: '{{client_id}}'
            client_secret: '{{client_secret}}'
        user_info:
          endpoint: https://api.hooli.example/me
          triggers: { on_token_grant: true, on_token_refresh: false }
`

beforeAll(() => {
  expect(deputy('init', '--dir', folder).status).toBe(0)
})

test('a whole file becomes connections and providers that load beside the rest of a configuration', () => {
  const { status, stdout, stderr } = deputy('import', write('engine.yaml', WHOLE))
  expect([status, stderr.includes('not carried over')]).toEqual([0, false])
  expect(stderr).toContain('{connect.url}/callback/<connection>')
  const first = parse(readFileSync(join(folder, 'deputy.yaml'), 'utf8')) as object
  write('merged.yaml', stringify({ ...first, ...(parse(stdout) as object) }))
  const checked = deputy('validate', '--offline', '--config', 'merged.yaml')
  expect(checked.stderr).not.toContain('problem')
  expect(checked.status).toBe(0)
  expect(checked.stdout).toContain('2 connections')
})

test('what could not be carried over stands at its place on stderr and in what is written; status 2', () => {
  const odd = WHOLE.replace('response_type: code', "response_type: code\n            x: '{{y}}'")
  const { status, stderr, stdout } = deputy('import', write('odd.yaml', `${odd}\ntools: {}\n`))
  expect(status).toBe(2)
  const place = 'odd.yaml: auth.providers.1.oauth2.authorization_request.params.x: {{y}} cannot'
  for (const line of [place, 'odd.yaml: tools: is left out'])
    for (const text of [stderr, stdout]) expect(text).toContain(line)
  expect(Object.keys((parse(stdout) as { connections: object }).connections)).toHaveLength(2)
})

test('--out writes a new file for its owner alone and never over one', () => {
  const file = write('engine.yaml', WHOLE)
  const first = deputy('import', file, '--out', 'new.yaml')
  expect([first.status, first.stdout]).toEqual([0, ''])
  expect(statSync(join(folder, 'new.yaml')).mode & 0o777).toBe(0o600)
  const text = write('kept.yaml', 'mine: 1\n')
  const second = deputy('import', file, '--out', text)
  expect(second.status).toBe(1)
  expect(second.stderr).toContain('kept.yaml is there already and stays as it is')
  expect(readFileSync(join(folder, text), 'utf8')).toBe('mine: 1\n')
})

test.each([
  ['a file that is not there', 'absent.yaml', null, 'absent.yaml'],
  ['no YAML', 'broken.yaml', 'a: [', 'broken.yaml:1'],
  ['no provider', 'none.yaml', 'tools: {}', 'there is no provider in it'],
  ['only what is off', 'off.yaml', 'provider_id: github\nenabled: false\n', 'nothing is left'],
])('%s is told, and nothing is written; status 1', (_, name, text, told) => {
  if (text !== null) write(name, text)
  const { status, stdout, stderr } = deputy('import', name, '--out', 'never.yaml')
  expect([status, stdout]).toEqual([1, ''])
  expect(stderr).toContain(told)
  expect(() => statSync(join(folder, 'never.yaml'))).toThrow('ENOENT')
})

test('the help says what the exit codes mean', () => {
  const { stdout } = deputy('import', '--help')
  expect(stdout.replaceAll(/\s+/g, ' ')).toContain(
    'exit 0; 2 something could not be; 1 nothing was written',
  )
})
