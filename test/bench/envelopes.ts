// What it costs to read the calls inside a call: a GraphQL document of 2 kB, and a batch of 20 parts.
import { join } from 'node:path'
import { readBatch } from '../../proxy/envelope/batch.ts'
import { readGraphql } from '../../proxy/envelope/graphql.ts'
import type { Route } from '../../proxy/model.ts'
import { createClassify, opened } from '../../proxy/pipeline/classify.ts'
import { unpack } from '../../proxy/pipeline/unpack.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { readBody } from '../../proxy/wire/body.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'
import { EXACT } from '../../proxy/wire/json.ts'
import { readMedia } from '../../proxy/wire/media.ts'
import { say, type Size } from './calls.ts'
import { root } from './processes.ts'
import { median, n, type Section } from './report.ts'

const { providers } = compileProviders(readProviderFiles(join(root, 'providers')))
const classify = createClassify(providers.values())
const JSON_TYPE = 'application/json'

const routeTo = (id: string, path: string): Route => {
  const provider = providers.get(id)
  const [host = ''] = provider?.hosts.keys() ?? []
  if (provider === undefined) throw new Error(`there is no provider ${id}`)
  return {
    connection: { name: id, provider, clientId: 'c', clientSecret: null, scopes: [] },
    host,
    origin: `https://${host}`,
    authority: host,
    port: 443,
    asset: false,
    addressing: { kind: 'listener' },
    named: null,
    target: canonicalTarget('POST', path),
  }
}
const parsed = (text: string) =>
  readBody(Buffer.from(text), readMedia(JSON_TYPE), JSON_TYPE, {
    credentials: [],
    inspect: [],
    upload: false,
    names: EXACT,
  })

const FIELDS = Array.from(
  { length: 24 },
  (_, i) => `field${i} { id name url createdAt state { id } }`,
)
const DOCUMENT = JSON.stringify({
  query: `query Many($id: String!, $team: String!) { issue(id: $id) { ...F } } fragment F on Issue { ${FIELDS.join(' ')} }`,
  variables: { id: 'ABC-1', team: 'x'.repeat(600) },
})
const BATCH = JSON.stringify({
  requests: Array.from({ length: 20 }, (_, i) =>
    i % 2 === 0
      ? { id: `${i}`, method: 'GET', url: `/me/messages/${i}?$select=subject` }
      : {
          id: `${i}`,
          method: 'PATCH',
          url: `/me/messages/${i}`,
          headers: { 'Content-Type': JSON_TYPE },
          body: { toRecipients: [{ emailAddress: { address: `a${i}@corp.test` } }] },
        },
  ),
})

const graphql = (): number => {
  const route = routeTo('linear', '/graphql')
  const { value, marked } = parsed(DOCUMENT)
  return opened(classify(route), route, readGraphql(value, marked)).operation.id.length
}
const batch = (): number => {
  const route = routeTo('microsoft', '/v1.0/$batch')
  const { bytes, value, marked } = parsed(BATCH)
  const act = classify(route)
  if (act.envelope === undefined) throw new Error('the batch is none')
  const { calls } = readBatch(act.envelope.format, { bytes, value, contentType: JSON_TYPE }, route)
  const body = {
    state: 'parsed',
    bytes,
    declared: bytes.length,
    contentType: JSON_TYPE,
    json: {},
    digest: null,
    stripped: [],
    calls,
    marked,
  } as const
  return unpack(act, route, body, classify).act.parts?.length ?? 0
}

/** Median of one run, µs. */
const cost = (run: () => number, runs: number): number => {
  for (let i = 0; i < runs / 4; i += 1) run()
  const took: number[] = []
  for (let i = 0; i < runs; i += 1) {
    const began = performance.now()
    run()
    took.push((performance.now() - began) * 1_000)
  }
  return median(took)
}

/** Part `envelopes` of `npm run bench`. */
export const measureEnvelopes = ({ quick }: Size): Promise<Section> => {
  const runs = quick ? 200 : 4_000
  const rows = [
    ['GraphQL: read and classify', DOCUMENT, graphql],
    ['Graph batch of 20 parts: read and classify each', BATCH, batch],
  ] as const
  return Promise.resolve({
    title: 'Calls inside a call',
    columns: ['what', 'bytes', 'µs, median'],
    rows: rows.map(([what, text, run]) => {
      const us = cost(run, runs)
      say(`${what}: ${n(us)} µs`)
      return [what, n(text.length), n(us)]
    }),
    notes: [
      'In one process, without policy; what it costs to decide comes on top, once for each part.',
    ],
    wrong: batch() === 20 ? [] : ['a batch of 20 parts had another number of them'],
    skipped: [],
  })
}
