// A token endpoint of each kind that providers have when one refresh token is used again.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

/**
 * stable: the refresh token never changes. grace: it rotates, the one before stays good. single: it rotates, the one
 * before is refused. punish: the same, and using it again ends the whole grant (RFC 9700 4.14.2).
 */
export type Habit = 'stable' | 'grace' | 'single' | 'punish'

export type TokenServer = {
  readonly url: string
  /** The first refresh token. */
  readonly first: string
  /** Refresh tokens as they came. */
  readonly came: readonly string[]
  /** After the server did its work; a returned promise holds the answer. */
  after: () => void | Promise<void>
  readonly works: (access: string) => boolean
  readonly close: () => Promise<void>
}

export const startTokenServer = async (habit: Habit): Promise<TokenServer> => {
  const came: string[] = []
  let generation = 1
  let ended = false
  const server = createServer((req, res) => {
    void (async () => {
      const sent = new URLSearchParams(await text(req)).get('refresh_token') ?? ''
      came.push(sent)
      const of = Number(sent.split('-')[1])
      const age = generation - of
      const good = !ended && (habit === 'stable' || age === 0 || (habit === 'grace' && age === 1))
      if (!good && habit === 'punish') ended = true
      if (good) generation = habit === 'stable' ? generation + 1 : of + 1
      const answer = good
        ? {
            access_token: `access-${generation}`,
            refresh_token: habit === 'stable' ? 'refresh-1' : `refresh-${generation}`,
            token_type: 'Bearer',
            expires_in: 36_000,
          }
        : { error: 'invalid_grant' }
      await handle.after()
      res.writeHead(good ? 200 : 400, { 'content-type': 'application/json' })
      res.end(JSON.stringify(answer))
    })()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const handle: TokenServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    first: 'refresh-1',
    came,
    after: () => {},
    works: (access) => !ended && access === `access-${generation}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return handle
}
