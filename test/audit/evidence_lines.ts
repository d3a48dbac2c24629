// Lines of evidence as deputy chains them, for tests of what reads them.
import { hash } from 'node:crypto'
import { GENESIS, lineAfter, type Link } from '../../proxy/audit/chain.ts'

export type Said = readonly [time: string, event: string, fields: object]

/** One process of evidence: its start, then these. */
export const evidenceOf = (said: readonly Said[], proc = 'P1'): readonly string[] => {
  let last: Link = { proc, seq: 0, hash: GENESIS }
  const lines: string[] = []
  const all: readonly Said[] = [
    [said[0]?.[0] ?? '2026-11-28T00:00:00.000Z', 'process.started', { after: [] }],
    ...said,
  ]
  for (const [time, event, fields] of all) {
    const text = JSON.stringify(fields).slice(1, -1)
    const line = lineAfter(last, time, event, text === '' ? '' : `,${text}`)
    lines.push(line)
    last = { proc, seq: last.seq + 1, hash: hash('sha256', line) }
  }
  return lines
}

type Call = {
  readonly exchange: string
  readonly user?: string
  readonly agent?: string
  readonly operation?: string
  readonly access?: string
  readonly effect?: string
  readonly reasons?: readonly string[]
  readonly n?: number
  readonly part?: number
  readonly path?: string
}
/** The members of a decision as deputy writes them. */
export const decision = ({
  exchange,
  user = 'alice@example.com',
  agent = 'agent:triage',
  operation = 'issues.create',
  access = 'write',
  effect = 'allow',
  reasons = [],
  n = 1,
  part,
  path = '/repos/acme/app/issues',
}: Call): object => ({
  exchange,
  n,
  ...(part === undefined ? {} : { part }),
  trace_id: null,
  user: { id: user, realm: 'corp', tenant: 'acme', verified: true },
  agent: { id: agent },
  run: null,
  connection: 'github',
  provider: 'github',
  operation: { id: operation, access },
  request: { method: 'POST', host: 'api.github.com', path, query_keys: [], body_digest: null },
  stripped: ['header:authorization'],
  entitlements: { source: 'http', age_ms: 0, digest: 'sha256:e' },
  decision: {
    effect,
    id: `d-${exchange}`,
    reasons,
    messages: reasons.map((code) => `because of ${code}`),
    grants: effect === 'allow' ? ['gh-write'] : [],
    obligations: [],
  },
  policy: { revision: 'r1', digest: 'sha256:p' },
})
export const outcome = (exchange: string, more: object = {}): object => ({
  exchange,
  result: 'ok',
  sent: true,
  status: 201,
  credential: {
    connection: 'github',
    generation: 4,
    account: 'alice-gh',
    scopes: [],
    refreshed: false,
  },
  bytes_in: 64,
  bytes_out: 812,
  duration_ms: 12.3,
  ...more,
})
