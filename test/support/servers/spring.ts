// Spring Authorization Server: one class of Java, run from its source, with everything in memory.
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { basic, introspectAt, missingProgram, startProgram } from './server.ts'
import type { Kind } from './server.ts'
import { freePort } from '../ports.ts'

const LIBRARIES =
  process.env['DEPUTY_SPRING'] ?? join(homedir(), '.cache/deputy-ci/spring-3.5.16/lib')
const SOURCE = fileURLToPath(new URL('spring/AuthServer.java', import.meta.url))

/** A spent refresh token is refused, and what came of it lives on. */
export const spring: Kind = {
  name: 'Spring Authorization Server',
  missing: missingProgram(LIBRARIES),
  start: async ({ accounts, clients }) => {
    const [first] = clients
    if (first === undefined) throw new Error('Spring Authorization Server needs a client')
    const port = await freePort()
    const origin = `http://127.0.0.1:${port}`
    const options = { server: { address: '127.0.0.1', port }, accounts, clients }
    const stop = await startProgram({
      command: 'java',
      args: ['-XX:TieredStopAtLevel=1', '-Xmx256m', '-cp', `${LIBRARIES}/*`, SOURCE],
      env: { SPRING_APPLICATION_JSON: JSON.stringify(options) },
      ready: `${origin}/.well-known/openid-configuration`,
      withinMs: 240_000,
    })
    return {
      habits: { reuse: 'refuses', refreshKillsAccess: false },
      token: `${origin}/oauth2/token`,
      definition: {
        issuer: origin,
        authorize: `${origin}/oauth2/authorize`,
        userinfo: `${origin}/userinfo`,
        revoke: `${origin}/oauth2/revoke`,
        // Its consent page asks about any scope but the first.
        scope: { always: ['openid', 'notes'] },
        rotation: 'always',
        lost_response: 'no',
        account: { from: 'userinfo', id: '/sub' },
      },
      introspect: (token) =>
        introspectAt(`${origin}/oauth2/introspect`, token, 'sub', basic(first.id, first.secret)),
      fill: ({ text }, account) =>
        text.includes('name="password"')
          ? { username: account, password: `pw-${account}` }
          : { scope: 'notes' },
      close: stop,
    }
  },
}
