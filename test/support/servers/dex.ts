// Dex: a program of its own with its storage in memory; people are in its configuration.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { basic, missingProgram, post, startProgram } from './server.ts'
import type { Kind } from './server.ts'
import { freePort } from '../ports.ts'

const DEX = process.env['DEPUTY_DEX'] ?? join(homedir(), '.cache/deputy-ci/dex-2.41.1/dex')
/** bcrypt of `pw-NAME`. */
const HASHES: Readonly<Record<string, string>> = {
  alice: '$2b$10$abcdefghijklmnopqrstuu7JgxqnI68tfY42rLKPr8b0mEAaauq7y',
  bob: '$2b$10$abcdefghijklmnopqrstuuVPigfDlHmGisa5qncIF7ocUGatMmxti',
}

/** Its subject is a protocol buffer: the user's id, then the connector's. */
const userIn = (sub: unknown): string | null => {
  const bytes = Buffer.from(String(sub), 'base64url')
  const name = bytes.subarray(2, 2 + (bytes[1] ?? 0)).toString()
  return name === '' ? null : name
}

/** One life for the access tokens of all clients; a spent refresh token is refused in words of its own. */
export const dex: Kind = {
  name: 'Dex',
  missing: missingProgram(DEX),
  start: async ({ accounts, clients }) => {
    const [first] = clients
    if (first === undefined) throw new Error('Dex needs a client')
    const folder = mkdtempSync(join(tmpdir(), 'dex-'))
    const port = await freePort()
    const issuer = `http://127.0.0.1:${port}`
    const config = {
      issuer,
      storage: { type: 'memory' },
      web: { http: `127.0.0.1:${port}` },
      oauth2: { skipApprovalScreen: true },
      expiry: { idTokens: `${first.accessTtl}s`, refreshTokens: { reuseInterval: '0s' } },
      enablePasswordDB: true,
      staticPasswords: accounts.map((name) => ({
        email: `${name}@example.com`,
        username: name,
        userID: name,
        hash: HASHES[name],
      })),
      staticClients: clients.map(({ id, secret, redirectUris }) => ({
        id,
        name: id,
        secret,
        redirectURIs: redirectUris,
      })),
    }
    const file = join(folder, 'dex.yaml')
    writeFileSync(file, JSON.stringify(config)) // JSON is YAML
    const stop = await startProgram({
      command: DEX,
      args: ['serve', file],
      env: {},
      ready: `${issuer}/.well-known/openid-configuration`,
      withinMs: 60_000,
    })
    return {
      habits: { reuse: 'kills', refreshKillsAccess: false },
      token: `${issuer}/token`,
      definition: {
        authorize: `${issuer}/auth`,
        userinfo: `${issuer}/userinfo`,
        scope: { always: ['openid', 'offline_access'] },
        rotation: 'always',
        lost_response: 'no',
        account: { from: 'userinfo', id: '/sub' },
      },
      introspect: async (token) => {
        const form = new URLSearchParams({ token })
        const headers = basic(first.id, first.secret)
        const { answer } = await post(`${issuer}/token/introspect`, form, headers)
        return { active: answer['active'] === true, who: userIn(answer['sub']) }
      },
      fill: (_page, account) => ({
        login: `${account}@example.com`,
        password: `pw-${account}`,
      }),
      close: async () => {
        await stop()
        rmSync(folder, { recursive: true, force: true })
      },
    }
  },
}
