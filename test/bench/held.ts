// A thousand calls that wait for their people: memory, and how soon each goes on once its person's consent was completed
// by another process on the same PostgreSQL. Prints rows of Markdown.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Agent, fetch } from 'undici'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { secret } from '../../proxy/secret.ts'
import { createSealer, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { AGENT, startChild } from '../support/deputy.ts'
import { QUIET, startServer } from '../support/postgres.ts'
import { startUpstream } from '../support/upstream.ts'

export type Held = {
  readonly calls: number
  /** Resident memory of deputy, MB: idle, and with all calls held. */
  readonly idle: number
  readonly holding: number
  /** ms from the end of the other process's consent to the end of the call. */
  readonly p50: number
  readonly p99: number
}

const at = (sorted: readonly number[], part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN

export const measureHeld = async (calls: number): Promise<Held> => {
  let stop = async (): Promise<void> => {}
  const { url } = await startServer((end) => (stop = end))
  const upstream = await startUpstream()
  const names = Array.from({ length: calls }, (_, i) => `person-${i}`)
  for (const name of names) upstream.people.set(`token-of-${name}`, name)
  const deputy = await startChild({
    upstream: upstream.origin,
    config: {
      vault: { store: url, keys: './keys.json' },
      limits: { calls_per_agent: calls + 10, held_calls: calls },
    },
    people: names.map((id) => ({ id, groups: ['staff'] })),
  })
  const dispatcher = new Agent({ connections: calls, headersTimeout: 90_000 })
  const store = await openPostgres(url, { log: QUIET })
  try {
    const metric = async (name: string): Promise<number> => {
      const text = await (
        await fetch(`http://${deputy.admin.replace(/^http:\/\//, '')}/metrics`)
      ).text()
      return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
    }
    const memory = async (): Promise<number> =>
      (await metric('process_resident_memory_bytes')) / 1e6
    const idle = await memory()
    const ended = new Map<string, number>()
    const waiting = names.map(async (name) => {
      const answer = await fetch(`${deputy.agent}/api.stream.test/me`, {
        dispatcher,
        headers: { 'deputy-user': name, prefer: 'wait=80' },
      })
      await answer.arrayBuffer()
      if (answer.status !== 200) throw new Error(`${name}: ${answer.status}`)
      ended.set(name, performance.now())
    })
    while ((await metric('deputy_held_calls')) < calls)
      await new Promise((resolve) => setTimeout(resolve, 200))
    const holding = await memory()
    const clock = { now: () => Date.now(), mono: () => performance.now() }
    const sealer = createSealer(parseKeyRing(readFileSync(join(deputy.dir, 'keys.json'), 'utf8')))
    const vault = createVault({ store, sealer, clock, randomId: randomUUID })
    const told = new Map<string, number>()
    for (const name of names) {
      const person = { tenant: 'default', realm: 'local', id: name }
      const flow = await store.flows.pending(person, AGENT, 'stream', [], Date.now())
      if (flow === null) throw new Error(`${name} has no flow`)
      const tokens = {
        access: secret(`token-of-${name}`),
        refresh: null,
        scopes: [],
        expiresIn: 3_600,
      }
      const account = { id: name, label: name }
      await vault.connect({
        person,
        agent: AGENT,
        connection: 'stream',
        provider: 'stream',
        account,
        tokens,
        scopes: [],
      })
      await store.flows.finish(flow.hash, 'completed', null)
      await store.publish('flow', flow.hash)
      told.set(name, performance.now())
    }
    await Promise.all(waiting)
    const took = names
      .map((name) => Math.max(0, (ended.get(name) ?? NaN) - (told.get(name) ?? NaN)))
      .toSorted((a, b) => a - b)
    return { calls, idle, holding, p50: at(took, 0.5), p99: at(took, 0.99) }
  } finally {
    await store.close()
    await dispatcher.destroy()
    await deputy.stop()
    await upstream.close()
    await stop()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const held = await measureHeld(Number(process.argv[2] ?? 1_000))
  const lines = [
    '| held calls | idle MB | holding MB | released by another process, p50 ms | p99 ms |',
    '| ---: | ---: | ---: | ---: | ---: |',
    `| ${held.calls} | ${held.idle.toFixed(0)} | ${held.holding.toFixed(0)} | ${held.p50.toFixed(1)} | ${held.p99.toFixed(1)} |`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
  process.exitCode = 0
}
