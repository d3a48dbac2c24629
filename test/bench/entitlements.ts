// What it costs to ask a directory that answers in 20 ms, and how much memory 100,000 kept people take.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createAsked } from '../../proxy/directory/asked.ts'
import { startChild, type Fields } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import { say, type Size } from './calls.ts'
import { median, n, type Section } from './report.ts'

const ANSWERS_AFTER_MS = 20
const PEOPLE = 100_000
const GROUPS = 10
const TOKEN = 'at-alice-0123456789'

const startDirectory = async () => {
  let asked = 0
  const server = createServer((req, res) => {
    asked += 1
    const id = (req.url ?? '').slice(1)
    setTimeout(() => {
      res.writeHead(200, { 'content-type': 'application/json' })
      res.end(JSON.stringify({ id, groups: ['staff'] }))
    }, ANSWERS_AFTER_MS)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/{id}`,
    asked: () => asked,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** Median of one call after another, ms. */
const latency = async (
  upstream: string,
  entitlements: Fields,
  calls: number,
): Promise<{ readonly ms: number; readonly wrong: number }> => {
  const deputy = await startChild({
    upstream,
    held: [{ person: 'alice', token: TOKEN }],
    config: { entitlements },
  })
  const took: number[] = []
  let wrong = 0
  try {
    for (let i = 0; i < calls; i += 1) {
      const began = performance.now()
      const answer = await fetch(`${deputy.agent}/~alice/api.acme.test/a`)
      await answer.arrayBuffer()
      took.push(performance.now() - began)
      if (answer.status !== 200) wrong += 1
    }
  } finally {
    await deputy.close()
  }
  return { ms: median(took), wrong }
}

/** Bytes of heap for one kept person. */
const kept = async (people: number): Promise<number> => {
  const directory = createAsked({
    name: 'http',
    question: ({ id }) =>
      Promise.resolve({
        active: true,
        // As JSON gives them: a text of its own for each.
        groups: Array.from({ length: GROUPS }, (_, i) =>
          Buffer.from(`group-${(Number(id.slice(1)) + i) % 500}`).toString(),
        ),
        roles: [],
        entitlements: [],
      }),
    keepMs: 3_600_000,
    timeoutMs: 5_000,
    clock: { mono: () => performance.now() },
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
    seen: { answered: () => {}, failed: () => {} },
  })
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < people; i += 50)
    await Promise.all(
      Array.from({ length: 50 }, async (_, k) =>
        directory.ask({ tenant: 'default', realm: 'corp', id: `p${i + k}` }, 3_600_000),
      ),
    )
  collect()
  const used = process.memoryUsage().heapUsed - before
  directory.close()
  return used / people
}

export const measureEntitlements = async (size: Size): Promise<Section> => {
  const calls = size.quick ? 20 : 200
  const people = size.quick ? 2_000 : PEOPLE
  const upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  const directory = await startDirectory()
  const http = { preset: 'none', url: directory.url, id: '/id', groups: '/groups' }
  try {
    say('entitlements: a file, then a directory')
    const file = await latency(upstream.origin, { source: 'file', file: './people.yaml' }, calls)
    const fresh = await latency(upstream.origin, { source: 'http', http }, calls)
    const asked = directory.asked()
    const max_age = { read: '30s' }
    const old = await latency(upstream.origin, { source: 'http', http, max_age }, calls)
    const again = directory.asked() - asked
    say(`entitlements: ${people} people`)
    const bytes = await kept(people)
    const row = (what: string, { ms }: { readonly ms: number }, questions: number) => [
      what,
      `${n(ms, 1)} ms`,
      `${n(ms - file.ms, 1)} ms`,
      String(questions),
    ]
    const wrong = file.wrong + fresh.wrong + old.wrong
    return {
      title: 'Entitlements',
      columns: [`${calls} calls, one after another`, 'median', 'added', 'questions'],
      rows: [
        row('a file', file, 0),
        row(`a directory that answers in ${ANSWERS_AFTER_MS} ms, \`max_age\` 0s`, fresh, asked),
        row('the same, 30s', old, again),
      ],
      notes: [
        `${people} people kept, each in ${GROUPS} of 500 groups: ${n((bytes * people) / 1e6)} MB of heap, ${n(bytes)} bytes each`,
      ],
      wrong: wrong === 0 ? [] : [`${wrong} calls were not answered with 200`],
      skipped: [],
    }
  } finally {
    directory.close()
    await upstream.close()
  }
}
