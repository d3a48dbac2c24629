// Every program alone, in turns: its start, and its memory idle, while an answer of a gigabyte goes through, and with a
// thousand calls that the provider has not answered yet.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readFileSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { say, type Size } from './calls.ts'
import { foreignStarters, type Foreign } from './foreign.ts'
import { PEERS } from './peers.ts'
import { agentPort, memoryOf, root, start, watching, type Child } from './processes.ts'
import { median, megabytes, n, verdict, type Section } from './report.ts'
import { CALLERS, seed } from './seed.ts'
import { tokenOf } from './upstream.ts'

const SETTLE_MS = 1_000
const PATIENCE_MS = 120_000

type Running = Pick<Foreign, 'children' | 'port' | 'startMs'> & {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}
type Program = {
  readonly name: string
  readonly start: (folder: string, kept: (child: Child) => Child) => Promise<Running>
}
type Measured = { startMs: number; idle: number; streaming: number; waiting: number }

/** A provider that answers what waits when it is told to, and streams as fast as it is read. */
const startProvider = async (bytes: number) => {
  const waiting: ServerResponse[] = []
  const chunk = Buffer.alloc(65_536, 'x')
  const server = createServer((req, res) => {
    if (req.url?.includes('page=2') !== true) {
      waiting.push(res)
      return
    }
    const stream = async (): Promise<void> => {
      res.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes })
      for (let sent = 0; sent < bytes; sent += chunk.length)
        if (!res.write(chunk)) await once(res, 'drain')
      res.end()
    }
    stream().catch(() => res.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    waiting: () => waiting.length,
    answer: () => {
      for (const res of waiting.splice(0))
        res.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    },
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}
type Provider = Awaited<ReturnType<typeof startProvider>>

const residentOf = ({ children }: Running): number =>
  children.reduce((sum, { pid }) => sum + memoryOf(pid), 0)
const ask = (running: Running, page: number, dispatcher: Agent) =>
  request(`http://127.0.0.1:${running.port}${running.path}?page=${page}`, {
    dispatcher,
    headers: running.headers,
  })

const withCalls = async (running: Running, provider: Provider, calls: number): Promise<number> => {
  const dispatcher = new Agent({ connections: calls, headersTimeout: PATIENCE_MS })
  try {
    const answered = Promise.all(
      Array.from({ length: calls }, async () => {
        const { statusCode, body } = await ask(running, 1, dispatcher)
        await body.dump()
        if (statusCode !== 200) throw new Error(`a call that waited got ${statusCode}`)
      }),
    )
    answered.catch(() => {}) // heard below
    const late = AbortSignal.timeout(PATIENCE_MS)
    while (provider.waiting() < calls) {
      late.throwIfAborted()
      await Promise.race([pause(50), answered])
    }
    await pause(SETTLE_MS)
    const mb = residentOf(running)
    provider.answer()
    await answered
    return mb
  } finally {
    provider.answer()
    await dispatcher.destroy()
  }
}
/** The most while the bytes go through. */
const withStream = async (running: Running, bytes: number): Promise<number> => {
  const dispatcher = new Agent()
  let mb = 0
  const stop = watching(50, async () => {
    mb = Math.max(mb, residentOf(running))
  })
  try {
    const { statusCode, body } = await ask(running, 2, dispatcher)
    let got = 0
    for await (const part of body) got += (part as Uint8Array).length
    if (statusCode !== 200 || got !== bytes)
      throw new Error(`streaming: ${statusCode}, ${got} bytes of ${bytes}`)
    return mb
  } finally {
    await stop()
    await dispatcher.destroy()
  }
}

const [PERSON = ''] = CALLERS
const PATH = `/repos/${PERSON}/app/issues`
const plain = { authorization: `Bearer ${tokenOf(PERSON)}` }
const tagged = { ...plain, 'deputy-user': PERSON }

const programs = (provider: Provider): readonly Program[] => [
  ...PEERS.map((name) => ({
    name,
    start: async (_folder: string, kept: (child: Child) => Child) => {
      const began = performance.now()
      const child = kept(start([join(root, 'test/bench/peers.ts'), name, provider.origin], 'proxy'))
      const port = await child.next<number>()
      const startMs = performance.now() - began
      return { children: [child], port, startMs, path: PATH, headers: plain }
    },
  })),
  ...foreignStarters().map((starter) => ({
    name: starter.name,
    start: async (folder: string, kept: (child: Child) => Child) => {
      const running = await starter.start({ folder, origin: new URL(provider.origin), kept })
      return { ...running, path: PATH, headers: running.decides ? tagged : plain }
    },
  })),
  {
    name: 'deputy',
    start: async (folder, kept) => {
      const few = { trust: 'plain', people: 10, held: 10, operations: null } as const
      const { config } = await seed(folder, few, provider.origin)
      const whole = JSON.parse(readFileSync(config, 'utf8')) as object
      writeFileSync(config, JSON.stringify({ ...whole, limits: { calls_per_agent: 2_000 } }))
      const began = performance.now()
      const child = kept(start(['bin/deputy.js', 'serve', '--config', config], 'proxy'))
      const port = await agentPort(child)
      const startMs = performance.now() - began
      const path = `/api.github.com${PATH}`
      return { children: [child], port, startMs, path, headers: { 'deputy-user': PERSON } }
    },
  },
]

export const measurePrograms = async (size: Size): Promise<Section> => {
  const rounds = size.quick ? 1 : 5
  const calls = size.quick ? 20 : 1_000
  const bytes = (size.quick ? 8 : 1_024) * 1024 ** 2
  const provider = await startProvider(bytes)
  const skipped = new Set<string>()
  const wrong: string[] = []
  const found = new Map<string, Measured[]>()
  try {
    for (let i = 0; i < rounds; i += 1)
      for (const [at, program] of programs(provider).entries()) {
        say(`programs: round ${i + 1} of ${rounds}: ${program.name}`)
        const children: Child[] = []
        try {
          const kept = (child: Child): Child => {
            children.push(child)
            return child
          }
          const folder = join(size.folder, `programs-${at}-${i}`)
          const running = await program.start(folder, kept).catch((error: unknown) => {
            skipped.add(
              `${program.name}: ${error instanceof Error ? error.message : String(error)}`,
            )
            return null
          })
          if (running === null) continue
          await pause(SETTLE_MS)
          const idle = residentOf(running)
          const streaming = await withStream(running, bytes)
          const waiting = await withCalls(running, provider, calls)
          const all = found.get(program.name) ?? []
          found.set(program.name, [...all, { startMs: running.startMs, idle, streaming, waiting }])
        } catch (error) {
          wrong.push(`${program.name}: ${error instanceof Error ? error.message : String(error)}`)
        } finally {
          await Promise.all(children.map((child) => child.stop()))
        }
      }
  } finally {
    provider.close()
  }
  const of = (all: readonly Measured[], pick: keyof Measured): number =>
    median(all.map((each) => each[pick]))
  const answer = `${bytes / 1024 ** 2} MiB`
  return {
    title: 'Programs',
    columns: [
      'program',
      'start (ms)',
      'idle (MB)',
      `an answer of ${answer} (MB)`,
      `then ${calls} calls that wait for the provider (MB)`,
    ],
    rows: [...found].map(([name, all]) => [
      name,
      ...(['startMs', 'idle', 'streaming', 'waiting'] as const).map((pick) => n(of(all, pick))),
    ]),
    notes: [
      verdict(
        megabytes(
          `deputy, streaming ${answer}`,
          of(found.get('deputy') ?? [], 'streaming'),
          150,
          110,
        ),
      ),
      `medians of ${rounds} processes of each, in turns, one at a time, on one core; resident memory of all its processes; a start lasts until it takes connections; load average ${n(loadavg()[0] ?? NaN, 1)}`,
    ],
    wrong: wrong.slice(0, 5),
    skipped: [...skipped],
  }
}
