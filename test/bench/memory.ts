// Memory, idle and at work, and the time from start to ready, beside the design's targets.
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Agent, fetch } from 'undici'
import { startChild } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import { say, type Size } from './calls.ts'
import { holdCalls, holder, namesOf, residentOf } from './held.ts'
import { agentPort, cpuOf, memoryOf, start, watching } from './processes.ts'
import { median, n, verdict, type Section } from './report.ts'
import { seed } from './seed.ts'

const SETTLE_MS = 1_000

/** ms from the start of the process until it says that it is ready, those of its CPU, and its resident memory a second later, MB. */
export const starting = async (
  config: string,
  env: Readonly<Record<string, string>>,
): Promise<{ readonly ms: number; readonly cpu: number; readonly mb: number }> => {
  const began = performance.now()
  const deputy = start(['bin/deputy.js', 'serve', '--config', config], null, env)
  try {
    await agentPort(deputy)
    const ms = performance.now() - began
    const cpu = cpuOf(deputy.pid) / 1_000
    await pause(SETTLE_MS)
    return { ms, cpu, mb: memoryOf(deputy.pid) }
  } finally {
    await deputy.stop()
  }
}

const holding = async (calls: number): Promise<{ readonly idle: number; readonly mb: number }> => {
  const upstream = await startUpstream()
  const names = namesOf(calls)
  const deputy = await holder(upstream, names, {})
  const dispatcher = new Agent({ connections: calls, headersTimeout: 200_000 })
  try {
    await pause(SETTLE_MS)
    const idle = await residentOf(deputy)
    await holdCalls(deputy, names, dispatcher)
    return { idle, mb: await residentOf(deputy) }
  } finally {
    await dispatcher.destroy()
    await deputy.close()
    await upstream.close()
  }
}

/** Most memory while so many bytes go through; the provider writes as fast as they are taken. */
const streaming = async (
  bytes: number,
): Promise<{
  readonly mb: number
  readonly perSecond: number
  readonly wrong: readonly string[]
}> => {
  const upstream = await startUpstream()
  upstream.people.set('at-alice-0123456789', 'alice')
  const chunk = Buffer.alloc(65_536, 'x')
  upstream.handle = async (_seen, res) => {
    res.writeHead(200, { 'content-type': 'application/octet-stream' })
    for (let sent = 0; sent < bytes; sent += chunk.length)
      if (!res.write(chunk)) await once(res, 'drain')
    res.end()
  }
  const deputy = await startChild({
    upstream: upstream.origin,
    held: [{ person: 'alice', connection: 'stream', token: 'at-alice-0123456789' }],
  })
  let mb = 0
  const stop = watching(100, async () => {
    mb = Math.max(mb, await residentOf(deputy))
  })
  try {
    const began = performance.now()
    const answer = await fetch(`${deputy.agent}/api.stream.test/big`, {
      headers: { 'deputy-user': 'alice' },
    })
    let got = 0
    for await (const part of answer.body ?? []) got += (part as Uint8Array).length
    const seconds = (performance.now() - began) / 1_000
    await stop()
    return {
      mb,
      perSecond: got / 1e6 / seconds,
      wrong:
        answer.status === 200 && got === bytes
          ? []
          : [`streaming: ${answer.status}, ${got} bytes of ${bytes}`],
    }
  } finally {
    await stop().catch(() => {}) // told already, or the rest failed first
    await deputy.close()
    await upstream.close()
  }
}

export const measureMemory = async (size: Size): Promise<Section> => {
  const calls = size.quick ? 20 : 1_000
  const bytes = (size.quick ? 8 : 2_048) * 1024 ** 2
  const rounds = size.quick ? 1 : 7
  const plan = { trust: 'plain', people: 10, held: 10, operations: null } as const
  const { config } = await seed(join(size.folder, 'memory'), plan, 'http://127.0.0.1:9')
  say('memory: starts')
  // The first leaves compiled code behind, whatever was there before.
  await starting(config, {})
  const warm: Awaited<ReturnType<typeof starting>>[] = []
  const cold: typeof warm = []
  for (let i = 0; i < rounds; i += 1) {
    warm.push(await starting(config, {}))
    cold.push(await starting(config, { NODE_DISABLE_COMPILE_CACHE: '1' }))
  }
  say(`memory: ${calls} held calls`)
  const held = await holding(calls)
  say('memory: streaming')
  const streamed = await streaming(bytes)
  const of = (all: typeof warm, pick: 'ms' | 'mb'): number => median(all.map((each) => each[pick]))
  const mb = (what: string, value: number, least: number, aim: number) => ({
    what,
    value,
    unit: ' MB',
    digits: 0,
    least,
    aim,
    better: 'less' as const,
  })
  const gib = n(bytes / 1024 ** 3, size.quick ? 3 : 0)
  const targets = [
    mb('resident memory, idle', of(warm, 'mb'), 120, 90),
    mb(`with ${calls} held calls`, held.mb, 150, 110),
    mb(`streaming ${gib} GiB`, streamed.mb, 150, 110),
    { ...mb('start to ready', of(warm, 'ms'), 500, 250), unit: ' ms' },
  ]
  return {
    title: 'Memory and start',
    columns: ['', 'measured', 'at most', 'aim'],
    rows: targets.map(({ what, value, unit, least, aim }) => [
      what,
      `${n(value)}${unit}`,
      String(least),
      String(aim),
    ]),
    notes: [
      ...targets.map(verdict),
      `without kept compiled code (the first start of all): ${n(of(cold, 'ms'))} ms, ${n(of(cold, 'mb'))} MB; medians of ${rounds}`,
      `held calls add ${n(held.mb - held.idle)} MB; streaming ran at ${n(streamed.perSecond)} MB/s`,
    ],
    wrong: streamed.wrong,
    skipped: [],
  }
}
