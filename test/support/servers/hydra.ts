// Ory Hydra: a program of its own on a new SQLite file, and the login and consent application that it leaves to others.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ask, introspectAt, missingProgram, startProgram } from './server.ts'
import type { Kind } from './server.ts'
import { freePort } from '../ports.ts'

const HYDRA = process.env['DEPUTY_HYDRA'] ?? join(homedir(), '.cache/deputy-ci/hydra-2.3.0/hydra')

const formOf = async (req: IncomingMessage): Promise<URLSearchParams> => {
  let text = ''
  for await (const chunk of req) text += String(chunk)
  return new URLSearchParams(text)
}

/** Asks for a name and a yes, and tells Hydra. */
const startPages = async (admin: string) => {
  const accept = async (kind: 'login' | 'consent', form: URLSearchParams): Promise<unknown> => {
    const at = `${admin}/admin/oauth2/auth/requests/${kind}`
    const challenge = `${kind}_challenge=${form.get('challenge') ?? ''}`
    if (kind === 'login' && form.get('password') !== `pw-${form.get('user') ?? ''}`)
      throw new Error('wrong password')
    const { requested_scope: grant_scope } = await ask('GET', `${at}?${challenge}`)
    const yes = kind === 'login' ? { subject: form.get('user') } : { grant_scope }
    return (await ask('PUT', `${at}/accept?${challenge}`, yes))['redirect_to']
  }
  const server = createServer((req, res) => {
    const url = new URL(req.url ?? '', 'http://pages')
    const kind = url.pathname === '/login' ? 'login' : 'consent'
    const page = (challenge: string): string =>
      `<form method="post" action="/${kind}"><input type="hidden" name="challenge" value="${challenge}"><input name="user"><input name="password" type="password"><button>Go on</button></form>`
    if (req.method === 'GET') res.end(page(url.searchParams.get(`${kind}_challenge`) ?? ''))
    else
      formOf(req)
        .then((form) => accept(kind, form))
        .then(
          (to) => res.writeHead(303, { location: String(to) }).end(),
          (error: unknown) => res.writeHead(500).end(String(error)),
        )
  })
  const port = await freePort()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${port}`, server }
}

/** @param grace how long a spent refresh token is taken again, `0s` or more */
export const hydra = (grace: string): Kind => ({
  name: `Hydra, rotation grace ${grace}`,
  missing: missingProgram(HYDRA),
  start: async ({ clients }) => {
    const folder = mkdtempSync(join(tmpdir(), 'hydra-'))
    const [publicPort, adminPort] = [await freePort(), await freePort()]
    const issuer = `http://127.0.0.1:${publicPort}`
    const admin = `http://127.0.0.1:${adminPort}`
    const pages = await startPages(admin)
    const config = {
      serve: {
        public: { host: '127.0.0.1', port: publicPort },
        admin: { host: '127.0.0.1', port: adminPort },
        cookies: { same_site_mode: 'Lax' },
      },
      urls: {
        self: { issuer },
        login: `${pages.url}/login`,
        consent: `${pages.url}/consent`,
      },
      secrets: { system: ['canary-hydra-secret-0000000000000000'] },
      strategies: { access_token: 'opaque' },
      oauth2: {
        pkce: { enforced: true },
        grant: { refresh_token: { rotation_grace_period: grace } },
      },
    }
    const file = join(folder, 'hydra.yaml')
    writeFileSync(file, JSON.stringify(config)) // JSON is YAML
    // Two writers at once would get a 500 from it (SQLITE_BUSY).
    const env = { DSN: `sqlite://${join(folder, 'hydra.db')}?_fk=true&_txlock=immediate` }
    await promisify(execFile)(HYDRA, ['migrate', 'sql', '-e', '-y', '-c', file], { env })
    const stop = await startProgram({
      command: HYDRA,
      args: ['serve', 'all', '--dev', '--sqa-opt-out', '-c', file],
      env,
      ready: `${admin}/health/ready`,
      withinMs: 60_000,
    })
    for (const client of clients)
      await ask('POST', `${admin}/admin/clients`, {
        client_id: client.id,
        client_secret: client.secret,
        redirect_uris: [...client.redirectUris],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        scope: 'openid offline_access',
        token_endpoint_auth_method: 'client_secret_basic',
        authorization_code_grant_access_token_lifespan: `${client.accessTtl}s`,
        refresh_token_grant_access_token_lifespan: `${client.accessTtl}s`,
      })
    return {
      habits: { reuse: grace === '0s' ? 'kills' : 'survives', refreshKillsAccess: true },
      token: `${issuer}/oauth2/token`,
      definition: {
        authorize: `${issuer}/oauth2/auth`,
        userinfo: `${issuer}/userinfo`,
        revoke: `${issuer}/oauth2/revoke`,
        scope: { always: ['openid', 'offline_access'] },
        rotation: 'always',
        lost_response: grace === '0s' ? 'no' : 'partly',
        account: { from: 'userinfo', id: '/sub' },
      },
      introspect: (token) => introspectAt(`${admin}/admin/oauth2/introspect`, token, 'sub'),
      fill: (_page, account) => ({ user: account, password: `pw-${account}` }),
      close: async () => {
        await stop()
        pages.server.closeAllConnections()
        pages.server.close()
        rmSync(folder, { recursive: true, force: true })
      },
    }
  },
})
