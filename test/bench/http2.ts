// What HTTP/2 costs a call, from the agent and to the provider, beside HTTP/1.1: the same calls, in turns.
import { connect, createServer, type ClientHttp2Session } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { Agent, fetch } from 'undici'
import { providersAt, startChild, type Child } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import { say, type Size } from './calls.ts'
import { metricOf } from './held.ts'
import { median, n, part, type Section } from './report.ts'

const TOKEN = 'at-alice-0123456789abcdef'
const HELD = [{ person: 'alice', connection: 'acme', token: TOKEN }]
const PATH = '/api.acme.test/notes/7'
const AT_ONCE = 32

/** One call by a client; the answer's text. */
type Client = { readonly call: () => Promise<string>; readonly close: () => Promise<void> }
const inOne = ({ agent }: Child): Client => {
  const dispatcher = new Agent({ connections: AT_ONCE, allowH2: false })
  const headers = { 'deputy-user': 'alice' }
  return {
    call: async () => (await fetch(`${agent}${PATH}`, { headers, dispatcher })).text(),
    close: () => dispatcher.close(),
  }
}
const inTwo = ({ agent }: Child): Client => {
  const session: ClientHttp2Session = connect(agent)
  return {
    call: () =>
      new Promise((resolve, reject) => {
        const stream = session.request({ ':path': PATH, 'deputy-user': 'alice' })
        let text = ''
        stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        stream.on('end', () => resolve(text)).on('error', reject)
      }),
    close: () => new Promise((resolve) => session.close(resolve)),
  }
}

/** A provider that speaks HTTP/2 alone, by prior knowledge. */
const startTwo = async () => {
  const server = createServer((req, res) => {
    const login = req.headers.authorization === `Bearer ${TOKEN}` ? 'alice' : 'nobody'
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ login }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { origin: `http://127.0.0.1:${port}`, close: () => server.close() }
}

type Taken = { readonly cpu: number; readonly p50: number }
const round = async (deputy: Child, { call }: Client, calls: number): Promise<Taken> => {
  const cpu = (): Promise<number> => metricOf(deputy, 'process_cpu_seconds_total')
  const before = await cpu()
  const took: number[] = []
  let left = calls
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const began = performance.now()
      const text = await call()
      took.push(performance.now() - began)
      if (!text.includes('"login":"alice"')) throw new Error(`a call got ${text.slice(0, 200)}`)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, one))
  return { cpu: (1e6 * ((await cpu()) - before)) / calls, p50: part(took, 0.5) }
}

export const measureHttp2 = async ({ quick, rounds }: Size): Promise<Section> => {
  const calls = quick ? 200 : 1_000
  say(`http2: ${calls} calls a round, ${AT_ONCE} at once`)
  const [one, two] = [await startUpstream(), await startTwo()]
  one.people.set(TOKEN, 'alice')
  const toOne = await startChild({ upstream: one.origin, held: HELD })
  const toTwo = await startChild({
    upstream: two.origin,
    held: HELD,
    config: { providers: providersAt(two.origin).map((each) => ({ ...each, http2: true })) },
  })
  const ways = [
    { name: ['HTTP/1.1', 'HTTP/1.1'], deputy: toOne, client: inOne(toOne) },
    { name: ['HTTP/2', 'HTTP/1.1'], deputy: toOne, client: inTwo(toOne) },
    { name: ['HTTP/1.1', 'HTTP/2'], deputy: toTwo, client: inOne(toTwo) },
    { name: ['HTTP/2', 'HTTP/2'], deputy: toTwo, client: inTwo(toTwo) },
  ].map((way) => ({ ...way, taken: [] as Taken[] }))
  try {
    for (const { deputy, client } of ways) await round(deputy, client, calls)
    for (let i = 0; i < rounds; i++)
      for (const { deputy, client, taken } of ways) {
        taken.push(await round(deputy, client, calls))
        one.seen.length = 0
      }
    const cpuOf = (taken: readonly Taken[]): number => median(taken.map(({ cpu }) => cpu))
    const usual = cpuOf(ways[0]?.taken ?? [])
    return {
      title: 'HTTP/2',
      columns: ['from the agent', 'to the provider', 'CPU µs/call', '× HTTP/1.1', 'p50 (ms)'],
      rows: ways.map(({ name, taken }) => [
        ...name,
        n(cpuOf(taken)),
        n(cpuOf(taken) / usual, 2),
        n(median(taken.map(({ p50 }) => p50)), 1),
      ]),
      notes: ['each in the median of its rounds; client and provider share one process'],
      wrong: [],
      skipped: [],
    }
  } finally {
    await Promise.all(ways.map(({ client }) => client.close()))
    for (const end of [toOne, toTwo, one, two]) await end.close()
  }
}
