// The provider: GitHub as Vercel's emulator plays it. It takes any token; one that it does not know is its first user,
// so a name is the only proof of whose token came.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import { createEmulator } from 'emulate'

/** Whoever brings a token that the provider does not know is taken for this user. */
export const TELL_TALE = 'fallback'

type SeenCall = {
  readonly method: string
  readonly path: string
  readonly authorization: string | undefined
}

export type GitHub = {
  readonly url: string
  /** Every call to the REST API, in order. */
  readonly seen: readonly SeenCall[]
  readonly close: () => Promise<void>
}

/** Accounts alice-gh and bob-gh, and alice-gh/triage with one issue. */
export const startProvider = async (options: {
  readonly port: number
  readonly app: {
    readonly clientId: string
    readonly clientSecret: string
    readonly callback: string
  }
}): Promise<GitHub> => {
  const emulator = await createEmulator({
    service: 'github',
    port: options.port,
    hostname: '127.0.0.1',
    baseUrl: `http://127.0.0.1:${options.port}`,
    seed: {
      github: {
        users: [{ login: TELL_TALE }, { login: 'alice-gh' }, { login: 'bob-gh' }],
        repos: [{ owner: 'alice-gh', name: 'triage', auto_init: true }],
        oauth_apps: [
          {
            client_id: options.app.clientId,
            client_secret: options.app.clientSecret,
            name: 'deputy',
            redirect_uris: [options.app.callback],
          },
        ],
      },
    },
  })
  // The emulator keeps no journal; Node tells of every request to a server of this process.
  const seen: SeenCall[] = []
  const listen = (message: unknown): void => {
    const { request } = message as { readonly request: IncomingMessage }
    const { method = '', url: path = '' } = request
    if (request.socket.localPort === options.port && !path.startsWith('/login/'))
      seen.push({ method, path, authorization: request.headers.authorization })
  }
  subscribe('http.server.request.start', listen)
  return {
    url: `http://127.0.0.1:${options.port}`,
    seen,
    close: async () => {
      unsubscribe('http.server.request.start', listen)
      await emulator.close()
    },
  }
}
