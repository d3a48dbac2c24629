// What a deputy shows of itself while it serves: taken by Prometheus' own tool, documented, and asked for by nobody in vain.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { AGENT, startDeputy, type Deputy } from '../support/deputy.ts'
import { missingProgram } from '../support/servers/server.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const PROMTOOL =
  process.env['DEPUTY_PROMTOOL'] ??
  join(homedir(), '.cache/deputy-ci/promtool-2.42/usr/bin/promtool')
const missing = missingProgram(PROMTOOL)
const TOKEN = 'at-alice-0123456789abcdef'
/** Those of a store that is PostgreSQL. */
const ELSEWHERE = /^deputy_vault_(?:connections|waiting|crowded_total)$/

let upstream: Upstream
let deputy: Deputy
let text = ''
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  // Nobody answers at the collector; what is sent there is counted all the same.
  const otlp = 'http://127.0.0.1:1'
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: [{ person: 'alice', agent: AGENT, token: TOKEN }],
    config: {
      identity: { trust: 'plain', agent: AGENT },
      audit: { sink: ['file:audit.jsonl', 'otlp'] },
      telemetry: { otlp, traces: 1 },
      network: { allow_private: [{ net: '127.0.0.0/8' }] },
    },
  })
  for (const person of ['alice', 'carol'])
    await (await fetch(`${deputy.agent}/~${person}/api.acme.test/notes/7`)).arrayBuffer()
  text = await (await fetch(`http://${deputy.admin}/metrics`)).text()
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})

const shown = (): readonly string[] =>
  [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name)
const read = (path: string): string =>
  readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
/** What a page or a query names, without what a histogram adds to its name. */
const namesIn = (page: string): readonly string[] => [
  ...new Set(
    [...page.matchAll(/\b(?:deputy|http|process|nodejs)_[a-z0-9_]+/g)]
      .map(([name]) => name.replace(/_(?:bucket|count|sum)$/, ''))
      .filter((name) => !/^http_(?:response_status_code|request_method|route)$/.test(name)),
  ),
]

test.skipIf(missing !== null)(
  `Prometheus' own tool takes it without a complaint${missing === null ? '' : ` (SKIPPED: ${missing})`}`,
  () => {
    const { status, stdout, stderr } = spawnSync(PROMTOOL, ['check', 'metrics'], {
      input: text,
      encoding: 'utf8',
    })
    expect(stdout + stderr).toBe('')
    expect(status).toBe(0)
  },
)

test('every metric of deputy is in the table of the documentation, and each of the table is there', () => {
  const [, after = ''] = read('docs/operators.md').split('### Metrics')
  const [section = ''] = after.split('\n### ')
  const told = namesIn(section)
  const own = shown().filter((name) => /^(?:deputy|http)_/.test(name))
  expect(own.filter((name) => !told.includes(name))).toEqual([])
  expect(told.filter((name) => !shown().includes(name) && !ELSEWHERE.test(name))).toEqual([])
})

test('alerts and dashboard ask for metrics that are there', () => {
  const rules = [...read('helm/deputy/files/alerts.yaml').matchAll(/expr: (.*)/g)].map(
    ([, expr = '']) => expr,
  )
  const panels = [...read('helm/deputy/files/dashboard.json').matchAll(/"expr": (.*)/g)].map(
    ([, expr = '']) => expr,
  )
  expect(Math.min(rules.length, panels.length)).toBeGreaterThan(10)
  for (const query of [...rules, ...panels]) {
    const asked = namesIn(query)
    expect(asked.length, query).toBeGreaterThan(0)
    expect(
      asked.filter((name) => !shown().includes(name) && !ELSEWHERE.test(name)),
      query,
    ).toEqual([])
  }
})

test('no label holds a person, an agent, a path or a token', () => {
  expect(text).toContain('http_server_request_duration_seconds_count')
  for (const word of ['alice', 'carol', AGENT, 'notes', TOKEN]) expect(text).not.toContain(word)
})
