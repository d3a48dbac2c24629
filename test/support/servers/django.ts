// django-oauth-toolkit: a Django project of one file on a new SQLite file; its consent page is the toolkit's own.
import { mkdtempSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { basic, introspectAt, missingProgram, startProgram } from './server.ts'
import type { Kind } from './server.ts'
import { freePort } from '../ports.ts'

const PYTHON = process.env['DEPUTY_DOT'] ?? join(homedir(), '.cache/deputy-ci/dot-3.4.1/bin/python')

/** One life for the access tokens of all clients; a spent refresh token that comes again ends its family. */
export const django: Kind = {
  name: 'django-oauth-toolkit',
  missing: missingProgram(PYTHON),
  start: async ({ accounts, clients }) => {
    const [first] = clients
    if (first === undefined) throw new Error('django-oauth-toolkit needs a client')
    const folder = mkdtempSync(join(tmpdir(), 'django-'))
    const port = await freePort()
    const origin = `http://127.0.0.1:${port}`
    const options = {
      port,
      accounts,
      clients,
      database: join(folder, 'django.db'),
      accessTtl: first.accessTtl,
    }
    const stop = await startProgram({
      command: PYTHON,
      args: [fileURLToPath(new URL('toolkit.py', import.meta.url)), JSON.stringify(options)],
      env: { PYTHONDONTWRITEBYTECODE: '1' },
      ready: `${origin}/o/.well-known/openid-configuration`,
      withinMs: 120_000,
    })
    return {
      habits: { reuse: 'kills', refreshKillsAccess: true },
      token: `${origin}/o/token/`,
      definition: {
        authorize: `${origin}/o/authorize/`,
        userinfo: `${origin}/o/userinfo/`,
        revoke: `${origin}/o/revoke_token/`,
        scope: { always: ['openid'] },
        rotation: 'always',
        lost_response: 'no',
        account: { from: 'userinfo', id: '/sub' },
      },
      introspect: (token) =>
        introspectAt(`${origin}/o/introspect/`, token, 'username', basic(first.id, first.secret)),
      fill: ({ text }, account) =>
        text.includes('name="password"')
          ? { username: account, password: `pw-${account}` }
          : { allow: 'Authorize' },
      close: async () => {
        await stop()
        rmSync(folder, { recursive: true, force: true })
      },
    }
  },
}
