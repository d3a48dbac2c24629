// Policy alone, in a process of its own: the committed bundle, an input of the size that a call has.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { InputMember } from '../../proxy/model.ts'
import { readBundle } from '../../proxy/policy/bundle.ts'
import { whole } from '../../proxy/policy/instance.ts'
import { activate } from '../../proxy/policy/activate.ts'
import { root } from './processes.ts'

/** Microseconds for one evaluation. */
export type Evaluated = {
  readonly bytes: number
  readonly bestDecile: number
  readonly median: number
}

const BATCH = 50

const members = (value: object): InputMember[] =>
  Object.entries(value).map(([name, member]) => [name, JSON.stringify(member)])
/** What calls share, given as deputy gives it. */
const SHARED = members({
  now: { unix_s: 1_790_000_000, weekday: 'mon', hour: 14 },
  agent: { id: 'agent:bench' },
  user: {
    id: 'person-3',
    realm: 'corp',
    tenant: 'default',
    verified: true,
    active: true,
    groups: ['engineering'],
    roles: [],
    entitlements: [],
    entitlements_age_ms: 0,
  },
  provider: {
    id: 'github',
    connection: 'github',
    connected: true,
    account: 'person-3',
    granted_scopes: ['repo', 'read:org'],
  },
  operation: {
    id: 'issues.listForRepo',
    kind: 'rest',
    access: 'read',
    required_scopes: ['repo'],
  },
  approvals: [],
})
/** The rest of a call as policy sees it; the id differs each time, so that nothing can be remembered by its text. */
const input = (id: string): string =>
  JSON.stringify({
    version: 1,
    request_id: id,
    request: {
      method: 'GET',
      host: 'api.github.com',
      segments: ['repos', 'person-3', 'app', 'issues'],
      query: { state: ['open'] },
      stripped: ['header:authorization'],
      body: { state: 'none', bytes: 0 },
    },
  })

const run = async (batches: number): Promise<Evaluated> => {
  const quiet = (): void => {}
  const engine = await activate(
    await readBundle(readFileSync(join(root, 'policies/bundle.tar.gz'))),
    new Map(),
    {
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
      clock: { now: () => Date.now(), mono: () => performance.now() },
    },
  )
  const times = new Float64Array(batches)
  for (let i = -batches; i < batches; i++) {
    const inputs = Array.from({ length: BATCH }, (_, j) => input(`01JB5${i + batches}-${j}`))
    const began = performance.now()
    for (const one of inputs) {
      const answer = await engine.evaluate(one, SHARED)
      if ('failed' in answer || !answer.allow)
        throw new Error(`the starter policy does not allow the call: ${JSON.stringify(answer)}`)
    }
    // The first half warms up.
    if (i >= 0) times[i] = ((performance.now() - began) * 1_000) / BATCH
  }
  times.sort()
  await engine.close()
  return {
    bytes: Buffer.byteLength(whole(input('01JB5000000000000000000000'), SHARED)),
    bestDecile: times[Math.floor(batches * 0.1)] ?? NaN,
    median: times[Math.floor(batches * 0.5)] ?? NaN,
  }
}

if (import.meta.main) {
  process.send?.(await run(Number(process.argv[2])))
  process.disconnect?.()
}
