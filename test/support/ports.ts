// Ports for programs that must be told theirs before they start.
import { createServer } from 'node:net'

/**
 * A free port of 127.0.0.1 for whoever takes it seconds later: below those that outgoing connections take, and not the
 * next one, so that test files that run side by side do not get the same.
 */
export const freePort = async (): Promise<number> => {
  for (let tries = 0; tries < 50; tries += 1) {
    const port = 12_000 + Math.floor(Math.random() * 20_000)
    const server = createServer()
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (free) return port
  }
  throw new Error('no port is free')
}
