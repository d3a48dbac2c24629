// Bundles under load: the same calls while nothing changes, and while a bundle service gives another bundle again and again.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { unpackBundle } from '../../proxy/policy/bundle.ts'
import { archive, ecPair, signed, startBundleService, type Files } from '../support/bundles.ts'
import { say, type Size } from './calls.ts'
import type { Job, Round } from './load.ts'
import { agentPort, root, start, type Child } from './processes.ts'
import { median, type Section } from './report.ts'
import { seed } from './seed.ts'
import { LAST, type UpstreamSays } from './upstream.ts'

const script = (name: string): string => join(root, 'test/bench', name)
/** Bundles in a window. */
const SWAPS = 4

type Kind = 'nothing changes' | 'data changes' | 'the module changes'
const KINDS: readonly Kind[] = ['nothing changes', 'data changes', 'the module changes']

/** The starter policy, signed: each is newer than the last. */
const bundles = async () => {
  const starter: Files = Object.fromEntries(
    (await unpackBundle(readFileSync(join(root, 'policies/bundle.tar.gz')))).map(([name, body]) => [
      name.slice(1),
      body,
    ]),
  )
  const { pem, privateKey } = ecPair()
  const text = (name: string): string => Buffer.from(starter[name] ?? '').toString()
  const manifest = JSON.parse(text('.manifest')) as object
  const data = JSON.parse(text('data.json')) as { readonly deputy_data: object }
  const wasm = Buffer.from(starter['policy.wasm'] ?? '')
  let iat = Math.floor(Date.now() / 1_000) - 100_000
  const next = async (kind: Kind): Promise<Buffer> => {
    iat += 1
    // A custom section changes the bytes and nothing that they do (WebAssembly 5.5.3).
    const marked = Buffer.concat([wasm, Buffer.from([0, 5, 4]), Buffer.from(String(iat).slice(-4))])
    const files = {
      ...starter,
      '.manifest': JSON.stringify({ ...manifest, revision: `r${iat}` }),
      'data.json': JSON.stringify({ deputy_data: { ...data.deputy_data, bench: { at: iat } } }),
      'policy.wasm': kind === 'the module changes' ? marked : wasm,
    }
    return archive(await signed(files, { alg: 'ES256', key: privateKey, claims: { iat } }))
  }
  return { pem, next }
}

export const measureBundles = async (size: Size): Promise<Section> => {
  const children: Child[] = []
  const kept = (child: Child): Child => {
    children.push(child)
    return child
  }
  const wrong: string[] = []
  const { pem, next } = await bundles()
  const service = await startBundleService()
  try {
    const upstream = kept(start([script('upstream.ts')], 'load'))
    const listening = await upstream.next<UpstreamSays>()
    if (listening.kind !== 'listening') throw new Error('the upstream does not listen')
    const load = kept(start([script('load.ts')], 'load'))
    const plan = { trust: 'plain', people: 10, held: 10, operations: null } as const
    const home = await seed(
      join(size.folder, 'bundles'),
      plan,
      `http://127.0.0.1:${listening.port}`,
    )
    const config = JSON.parse(readFileSync(home.config, 'utf8')) as object
    const policy = { bundle: service.url, verification: { keys: { bench: pem } } }
    writeFileSync(home.config, JSON.stringify({ ...config, policy }))
    service.hold(await next('nothing changes'))
    say('starting deputy with a bundle service')
    const deputy = kept(start(['bin/deputy.js', 'serve', '--config', home.config], 'proxy'))
    const port = await agentPort(deputy)
    const rounds = new Map(KINDS.map((kind) => [kind, [] as Round[]]))
    for (let i = 0; i < size.rounds; i++)
      for (const kind of KINDS) {
        say(`round ${i + 1} of ${size.rounds}: ${kind}`)
        const warmMs = i === 0 ? Math.min(size.windowMs, 3_000) : size.windowMs / 6
        const job: Job = {
          port,
          requests: home.requests,
          connections: size.connections,
          pids: [deputy.pid],
          last: LAST,
          warmMs,
          ms: size.windowMs,
        }
        const prepared = await Promise.all(Array.from({ length: SWAPS }, () => next(kind)))
        const timers =
          kind === 'nothing changes'
            ? []
            : prepared.map((bytes, n) =>
                setTimeout(
                  () => service.hold(bytes),
                  warmMs + (size.windowMs * (n + 0.5)) / (SWAPS + 1),
                ),
              )
        const round = await load.next<Round>(job)
        for (const timer of timers) clearTimeout(timer)
        if (round.errors > 0) wrong.push(`${kind}: ${round.errors} errors, as ${round.example}`)
        if (round.requests === 0) wrong.push(`${kind}: nothing was answered in time`)
        rounds.get(kind)?.push(round)
      }
    // Who asks with its tag has it in use.
    const swaps = new Set(service.asked.map((each) => each['if-none-match'])).size - 2
    if (swaps < 1) wrong.push('no bundle was taken while calls ran')
    const of = (kind: Kind, pick: (round: Round) => number): number =>
      median((rounds.get(kind) ?? []).map(pick))
    const still = of('nothing changes', ({ p99 }) => p99)
    return {
      title: 'Bundles',
      columns: ['while', 'calls in a second', 'p50 (ms)', 'p99 (ms)', 'p99 against none'],
      rows: KINDS.map((kind) => [
        kind,
        of(kind, ({ requests, ms }) => (requests * 1_000) / ms).toFixed(0),
        (of(kind, ({ p50 }) => p50) / 1_000).toFixed(2),
        (of(kind, ({ p99 }) => p99) / 1_000).toFixed(2),
        `${(of(kind, ({ p99 }) => p99) / still).toFixed(2)} ×`,
      ]),
      notes: [
        `${size.rounds} rounds of ${size.windowMs} ms, ${size.connections} connections, ${SWAPS} signed bundles in each window; ${swaps} were taken, and no call failed`,
      ],
      wrong,
      skipped: [],
    }
  } finally {
    await Promise.all(children.map((child) => child.stop()))
    await service.close()
  }
}
