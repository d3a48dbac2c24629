import { expect, test } from 'vitest'
import type { Recorded } from '../../../proxy/audit/decisions.ts'
import { createRebuild } from '../../../proxy/commands/why/recorded.ts'
import type { Connection, JsonObject, Operation } from '../../../proxy/model.ts'
import { readsOf } from '../../../proxy/policy/why/reads.ts'

const record = {
  exchange: 'E1',
  at: 0,
  time: '2026-11-29T00:00:00Z',
  user: { id: 'alice', realm: 'local', tenant: 'default', verified: true },
  agent: { id: 'laptop' },
  run: null,
  via: 'proxy',
  connection: 'acme',
  provider: 'acme',
  operation: { id: 'mail.send', kind: 'rest', access: 'write' },
  request: {
    method: 'POST',
    host: 'api.acme.test',
    path: '/send',
    query_keys: [],
    body_digest: 'sha256:00',
  },
  stripped: [],
  entitlements: { source: 'file', digest: '', age_ms: 0 },
  scopes: [],
} as unknown as Recorded
const connection = {
  name: 'acme',
  scopes: [],
  provider: { id: 'acme', lineage: ['acme'], assets: new Set<string>() },
} as unknown as Connection

/** What is not known of a call, by these tables. */
const unknown = async (
  tables: Readonly<Record<string, JsonObject>>,
  mail: object = { mail: { sends: true } },
): Promise<readonly string[]> => {
  const operation = {
    id: 'mail.send',
    access: 'write',
    inspect: [],
    ...mail,
  } as unknown as Operation
  const rebuild = createRebuild({
    connections: new Map([['acme', connection]]),
    classify: () => ({ operation, kind: 'rest', segments: ['send'] }),
    reads: readsOf([{ wasm: new Uint8Array(), tables: new Map(Object.entries(tables)) }]),
    people: { ask: () => Promise.resolve(null) },
    now: true,
    inputs: null,
  })
  return (await rebuild(record)).unknown
}

test('to whom a mail went is not in the evidence, and not made up where tables ask', async () => {
  const row = { operations: ['mail.*'], mail: { domains: ['example.com'] } }
  const asked = { grants: { acme: { r: row } } }
  const guarded = { guards: { acme: { domains: ['example.com'] } } }
  expect(await unknown(asked)).toEqual(['request.mail'])
  expect(await unknown(guarded)).toEqual(['request.mail'])
  expect(await unknown({ ...asked, ...guarded }, {})).toEqual([])
  expect(await unknown({})).toEqual([])
})
