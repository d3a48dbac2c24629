// A wire that a test can cut, freeze and join again, between a program and a server.
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

export type Relay = {
  readonly port: number
  /** `cut` drops what is open and refuses what comes; `freeze` keeps everything open and moves nothing. */
  set: (state: 'open' | 'cut' | 'freeze') => void
  /** The next connection that sends this text gets no further answer, and ends. */
  readonly trap: (text: string) => void
  /** Most connections that were open at once. */
  readonly most: () => number
  readonly close: () => Promise<void>
}

export const startRelay = async (target: { host: string; port: number }): Promise<Relay> => {
  let state: 'open' | 'cut' | 'freeze' = 'open'
  let most = 0
  let trapped: string | null = null
  const pairs = new Set<readonly [Socket, Socket]>()
  const server = createServer((near) => {
    if (state === 'cut') {
      near.destroy()
      return
    }
    const far = connect(target)
    const pair = [near, far] as const
    pairs.add(pair)
    most = Math.max(most, pairs.size)
    let deaf = false
    for (const [from, to] of [pair, [far, near] as const]) {
      from.on('data', (bytes) => {
        if (from === near && trapped !== null && bytes.includes(trapped)) {
          trapped = null
          deaf = true
          setTimeout(() => near.destroy(), 100)
        }
        if (state === 'open' && !(deaf && to === near)) to.write(bytes)
      })
      from.on('error', () => {})
      from.on('close', () => {
        pairs.delete(pair)
        to.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    set: (next) => {
      state = next
      if (next === 'cut') for (const [near] of pairs) near.destroy()
    },
    trap: (text) => void (trapped = text),
    most: () => most,
    close: () =>
      new Promise((resolve) => {
        for (const [near] of pairs) near.destroy()
        server.close(() => resolve())
      }),
  }
}
