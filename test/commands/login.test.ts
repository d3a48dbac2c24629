// A person signs in by the device flow and acts as an operator, without a bearer anywhere: at Keycloak and at oidc-provider.
import { execFile, spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { bearerOf, savedLogin, type Saved } from '../../proxy/commands/login.ts'
import { startAuthServer } from '../support/authserver.ts'
import { createBrowser } from '../support/browser.ts'
import { startHouse, type House } from '../support/house.ts'
import { keycloakUser, missingKeycloak, startRealm } from '../support/servers/keycloak.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const GROUPS = { ada: 'desk', vera: 'watch', gus: 'glass', nobody: 'others' } as const
type Who = keyof typeof GROUPS
const ROLES = { desk: ['operator'], watch: ['viewer'], glass: ['viewer', 'break-glass'] }

type Issuer = {
  readonly issuer: string
  readonly signIn: object
  readonly close: () => Promise<void>
}
const atKeycloak = async (): Promise<Issuer> => {
  const { issuer, close } = await startRealm({
    realm: 'ops',
    groups: Object.values(GROUPS).map((name) => ({ name })),
    users: Object.entries(GROUPS).map(([name, group]) => ({
      ...keycloakUser(name),
      groups: [`/${group}`],
    })),
    clients: [
      {
        clientId: 'deputy-ops',
        publicClient: true,
        standardFlowEnabled: false,
        attributes: { 'oauth2.device.authorization.grant.enabled': 'true' },
        protocolMappers: [
          {
            name: 'for deputy',
            protocol: 'openid-connect',
            protocolMapper: 'oidc-audience-mapper',
            config: { 'included.custom.audience': 'deputy', 'access.token.claim': 'true' },
          },
          {
            name: 'groups',
            protocol: 'openid-connect',
            protocolMapper: 'oidc-group-membership-mapper',
            config: {
              'claim.name': 'groups',
              'full.path': 'false',
              'access.token.claim': 'true',
            },
          },
        ],
      },
    ],
  })
  return { issuer, signIn: { audience: 'deputy', user: '/preferred_username' }, close }
}
const atProvider = async (): Promise<Issuer> => {
  const { issuer, close } = await startAuthServer({
    clientId: 'none',
    redirectUris: ['http://127.0.0.1:9/none'],
    accounts: Object.fromEntries(
      Object.entries(GROUPS).map(([name, group]) => [name, { groups: [group] }]),
    ),
    config: {
      clients: [
        {
          client_id: 'deputy-ops',
          token_endpoint_auth_method: 'none',
          grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
          redirect_uris: [],
          response_types: [],
          require_auth_time: true,
        },
      ],
      features: {
        devInteractions: { enabled: true },
        revocation: { enabled: true },
        deviceFlow: { enabled: true },
      },
    },
  })
  return { issuer, signIn: {}, close }
}

/** What a person does at the printed address. */
const approve = async (address: string, who: Who): Promise<void> => {
  const browser = createBrowser()
  let page = await browser.open(address)
  for (let i = 0; i < 8 && /<form\b/.test(page.text); i += 1) {
    const prompt = /name="prompt" value="(\w+)"/.exec(page.text)?.[1]
    const fields: Record<string, string> = page.text.includes('kc-form-login')
      ? { username: who, password: `pw-${who}` }
      : prompt === undefined
        ? { accept: 'Yes' }
        : { prompt, login: who, password: 'x' }
    page = await browser.submit(page, fields)
  }
}
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})
const folder = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-login-'))
  ends.push(() => rmSync(dir, { recursive: true }))
  return dir
}
const run = (file: string, args: readonly string[]) =>
  new Promise<{ readonly code: number; readonly out: string; readonly err: string }>((resolve) =>
    execFile(
      process.execPath,
      [command, ...args],
      { env: { PATH: '', DEPUTY_LOGIN_FILE: file }, cwd: tmpdir() },
      (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    ),
  )
/** `deputy login`, and a person who does what it prints. */
const login = (file: string, url: string, who: Who) =>
  new Promise<{ readonly code: number | null; readonly said: string }>((resolve, reject) => {
    const child = spawn(process.execPath, [command, 'login', '--url', url], {
      env: { PATH: '', DEPUTY_LOGIN_FILE: file },
    })
    let said = ''
    let sent = false
    const hear = (part: Buffer): void => {
      said += part.toString()
      const address = /or open (\S+)\n/.exec(said)?.[1]
      if (address === undefined || sent) return
      sent = true
      approve(address, who).catch((error: unknown) => {
        child.kill()
        reject(error instanceof Error ? error : new Error('approve'))
      })
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
    child.once('close', (code) => resolve({ code, said }))
  })

describe.each([
  { name: 'oidc-provider', start: atProvider, absent: null },
  { name: 'Keycloak', start: atKeycloak, absent: missingKeycloak },
])('deputy login at $name', ({ name, start, absent }) => {
  const claim = test.skipIf(absent !== null)
  const skip = absent === null ? '' : ` (SKIPPED: ${absent})`
  let issuer: Issuer
  let house: House
  beforeAll(async () => {
    if (absent !== null) return
    issuer = await start()
    house = await startHouse({
      config: {
        operators: [],
        operators_sign_in: { issuer: issuer.issuer, client_id: 'deputy-ops', ...issuer.signIn },
      },
      tables: { operator_roles: ROLES },
    })
  }, 300_000)
  afterAll(async () => {
    await house?.close()
    await issuer?.close()
  })
  const events = (name: string) => house.deputy.evidence().filter(({ event }) => event === name)

  claim(`an operator revokes under her own name, and signs out${skip}`, async () => {
    const file = join(folder(), 'ops', 'login.json')
    await house.connect('alice', 'alice-acme')
    const done = await login(file, house.deputy.connect, 'ada')
    expect(done).toMatchObject({ code: 0, said: expect.stringContaining('signed in as ada') })
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const revoked = await run(file, ['connections', 'revoke', '--user', 'alice'])
    expect(revoked).toMatchObject({
      code: 0,
      out: 'alice\tacme\talice-acme\trevoked\n',
      err: `as ada (${issuer.issuer})\n`,
    })
    expect(events('connection.revoked').at(-1)).toMatchObject({
      operator: 'sso:ada',
      signed_in: { id: 'ada', realm: issuer.issuer, roles: ['operator'] },
      result: 'revoked',
    })
    // The token ends: the next command has it renewed.
    const before = savedLogin(file)
    writeFileSync(file, JSON.stringify({ ...before, expires_at: 0, bearer: 'ended' }))
    expect(await run(file, ['connections', 'list'])).toMatchObject({ code: 0 })
    expect(savedLogin(file)?.bearer).toMatch(/^ey/)
    const other = await run(file, ['connections', 'list', '--url', 'http://127.0.0.1:9'])
    expect(other).toMatchObject({ code: 1, err: expect.stringContaining('is for no other') })
    expect(await run(file, ['logout'])).toMatchObject({
      code: 0,
      out: 'signed out, here and at the issuer\n',
    })
    expect(existsSync(file)).toBe(false)
  })

  // What a role allows is deputy's own, whoever says it: one issuer is enough.
  if (name === 'Keycloak') return

  test('a viewer sees and may not revoke; who has no role sees nothing', async () => {
    const file = join(folder(), 'login.json')
    await house.connect('bob', 'bob-acme')
    await login(file, house.deputy.connect, 'vera')
    expect(await run(file, ['connections', 'list'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('bob-acme'),
    })
    expect(await run(file, ['connections', 'revoke', '--connection', 'acme'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('403: operator sso:vera may not use this'),
    })
    expect(events('operator.refused').at(-1)).toMatchObject({
      operator: 'sso:vera',
      signed_in: { roles: ['viewer'] },
      lacks: 'revoke',
    })
    await login(file, house.deputy.connect, 'nobody')
    expect(await run(file, ['connections', 'list'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('has no role'),
    })
  })

  test('who breaks the glass does what their role does not allow, and it is told', async () => {
    const file = join(folder(), 'login.json')
    await login(file, house.deputy.connect, 'gus')
    expect(await run(file, ['connections', 'list'])).toMatchObject({ code: 0 })
    expect(events('operator.break_glass')).toEqual([])
    // Of bob something is kept: he connected an account above.
    expect(await run(file, ['people', 'erase', 'bob'])).toMatchObject({ code: 0 })
    expect(events('operator.break_glass')).toMatchObject([
      { operator: 'sso:gus', lacks: 'revoke', method: 'DELETE' },
    ])
  })
})

test('a sign-in that others can read is not used', () => {
  const file = join(folder(), 'login.json')
  expect(savedLogin(file)).toBeNull()
  writeFileSync(file, '{}', { mode: 0o600 })
  expect(() => savedLogin(file)).toThrow('is no sign-in of this version')
  chmodSync(file, 0o640)
  expect(() => savedLogin(file)).toThrow('others can read it')
})

test('of two commands at once one renews the sign-in: no refresh token is sent twice', async () => {
  const sent: (string | null)[] = []
  const server = createServer((req, res) => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    res.setHeader('content-type', 'application/json')
    if (req.url === '/.well-known/openid-configuration') {
      res.end(JSON.stringify({ issuer: url, token_endpoint: `${url}/token` }))
      return
    }
    void text(req).then((body) => {
      const refresh = new URLSearchParams(body).get('refresh_token')
      const again = sent.includes(refresh)
      sent.push(refresh)
      const answer = again
        ? { error: 'invalid_grant' }
        : {
            access_token: `at-${sent.length}`,
            token_type: 'Bearer',
            refresh_token: `rt-${sent.length}`,
            expires_in: 300,
          }
      res.writeHead(again ? 400 : 200).end(JSON.stringify(answer))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const file = join(folder(), 'login.json')
  const old: Saved = {
    version: 1,
    issuer: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    client_id: 'c',
    scope: 'openid',
    audience: 'd',
    token: 'access_token',
    url: 'https://deputy.test',
    name: 'ada',
    bearer: 'at-0',
    refresh: 'rt-0',
    expires_at: 0,
  }
  const keep = (login: Saved) => writeFileSync(file, JSON.stringify(login), { mode: 0o600 })
  keep(old)
  const bearers = await Promise.all([1, 2, 3].map(() => bearerOf(file, old)))
  expect([bearers, sent]).toEqual([['at-1', 'at-1', 'at-1'], ['rt-0']])
  expect([savedLogin(file)?.refresh, statSync(file).mode & 0o777]).toEqual(['rt-1', 0o600])
  // Of somebody who died with it.
  writeFileSync(`${file}.lock`, '')
  utimesSync(`${file}.lock`, new Date(0), new Date(0))
  keep({ ...old, refresh: 'rt-1' })
  expect(await bearerOf(file, old)).toBe('at-2')
  // What was signed in for another deputy meanwhile is not for this one.
  keep({ ...old, url: 'https://evil.test', bearer: 'at-other', expires_at: Date.now() + 60_000 })
  await expect(bearerOf(file, old)).rejects.toThrow('try again')
  expect(readdirSync(dirname(file))).toEqual(['login.json'])
})

/** An issuer whose device endpoint and token endpoint say what they are told; deputy's own answer too. */
const scripted = async (device: object, tokens: readonly object[]) => {
  const polls: number[] = []
  const server = createServer((req, res) => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const answer = (status: number, body: object): void => {
      res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    if (req.url === '/v1/admin/login')
      answer(200, {
        issuer: url,
        client_id: 'c',
        scope: 'openid',
        audience: 'd',
        token: 'access_token',
      })
    else if (req.url === '/.well-known/openid-configuration')
      answer(200, {
        issuer: url,
        token_endpoint: `${url}/token`,
        device_authorization_endpoint: `${url}/device`,
        jwks_uri: `${url}/keys`,
      })
    else if (req.url === '/device')
      answer(200, { device_code: 'd', user_code: 'AB-CD', expires_in: 30, interval: 1, ...device })
    else {
      polls.push(Date.now())
      answer(400, tokens[polls.length - 1] ?? { error: 'expired_token' })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const file = join(folder(), 'login.json')
  const done = await run(file, ['login', '--url', at])
  return { ...done, polls, kept: existsSync(file) ? readFileSync(file, 'utf8') : null }
}
const HTTPS = { verification_uri: 'https://idp.test/device' }

test.each([
  ['access_denied', 'the sign-in was refused at the issuer'],
  ['expired_token', 'the code has expired'],
])('a poll that is answered %s ends it', async (error, sentence) => {
  const { code, err, kept } = await scripted(HTTPS, [{ error: 'authorization_pending' }, { error }])
  expect([code, kept]).toEqual([1, null])
  expect(err).toContain(sentence)
})
test('slow_down is obeyed: five seconds more', async () => {
  const { polls } = await scripted(HTTPS, [{ error: 'slow_down' }, { error: 'access_denied' }])
  expect((polls[1] ?? 0) - (polls[0] ?? 0)).toBeGreaterThanOrEqual(5_900)
})
test('nobody signs in within the life of the code', async () => {
  const pending = Array.from({ length: 20 }, () => ({ error: 'authorization_pending' }))
  const { code, err } = await scripted({ ...HTTPS, expires_in: 2 }, pending)
  expect([code, err]).toEqual([1, expect.stringContaining('nobody signed in in time')])
})
test('what the issuer says moves no cursor and sends nobody to an address in the clear', async () => {
  const { err } = await scripted({ ...HTTPS, user_code: 'A\u001b[2JB' }, [
    { error: 'access_denied' },
  ])
  expect(err).toContain('A\\u001b[2JB')
  expect(err).not.toContain('\u001b')
  const uris = ['http://idp.test/device', 'javascript:alert(1)', 'x']
  const all = await Promise.all(uris.map((verification_uri) => scripted({ verification_uri }, [])))
  for (const refused of all) {
    expect([refused.code, refused.polls]).toEqual([1, []])
    expect(refused.err).toContain('without https')
  }
})
