// Spans at a real collector of OpenTelemetry, decoded by software that nobody here wrote: one a call, under the agent's own.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { AGENT, startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { paced } from '../support/pace.ts'
import {
  missingOtelcol,
  startOtelcol,
  type Otelcol,
  type Span,
} from '../support/servers/otelcol.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-0123456789abcdef'
const SERVER = 2
let upstream: Upstream
const opened: (() => Promise<unknown>)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close()
})

const start = async (otlp: string, traces: number, more: Fields = {}): Promise<Deputy> => {
  const deputy = await startDeputy({
    upstream: upstream.origin,
    held: [{ person: 'alice', agent: AGENT, token: TOKEN }],
    config: {
      identity: { trust: 'plain', agent: AGENT },
      telemetry: { otlp, traces },
      network: { allow_private: [{ net: '127.0.0.0/8' }] },
      ...more,
    },
  })
  opened.push(deputy.close)
  return deputy
}
const call = (deputy: Deputy, person: string, init: RequestInit = {}): Promise<number> =>
  fetch(`${deputy.agent}/~${person}/api.acme.test/notes/7`, init).then(async (answer) => {
    await answer.arrayBuffer()
    return answer.status
  })
const metrics = async (deputy: Deputy): Promise<string> =>
  (await fetch(`http://${deputy.admin}/metrics`)).text()
const counted = async (deputy: Deputy, outcome: string): Promise<number> =>
  Number(
    new RegExp(`^deputy_spans_total\\{outcome="${outcome}"\\} (\\d+)$`, 'm').exec(
      await metrics(deputy),
    )?.[1] ?? '0',
  )
const hex = (bytes: number): string => randomBytes(bytes).toString('hex')
const under = (trace = hex(16), parent = hex(8), flags = '01') => ({
  trace,
  parent,
  headers: { traceparent: `00-${trace}-${parent}-${flags}` },
})

const skipped = missingOtelcol === null ? '' : ` (SKIPPED: ${missingOtelcol})`
describe.skipIf(missingOtelcol !== null)(`at a collector${skipped}`, () => {
  let collector: Otelcol
  beforeAll(async () => {
    collector = await startOtelcol()
  })
  afterAll(() => collector.close())
  const spansOf = (trace: string): readonly Span[] =>
    collector.spans().filter((span) => span.trace === trace)

  test('each call is one span, whose parent is the agent’s, with what happened in its order', async () => {
    const deputy = await start(collector.origin, 1)
    const allowed = under()
    const denied = under()
    expect(await call(deputy, 'alice', { headers: allowed.headers })).toBe(200)
    expect(await call(deputy, 'carol', { headers: denied.headers })).toBe(403)
    await expect.poll(() => spansOf(denied.trace).length).toBe(1)
    const [span, ...others] = spansOf(allowed.trace)
    expect(others).toEqual([])
    expect(span).toMatchObject({
      name: expect.stringMatching(/^GET /) as string,
      kind: SERVER,
      status: 0,
      parent: allowed.parent,
      resource: { 'service.name': 'deputy' },
      attributes: {
        'http.request.method': 'GET',
        'http.response.status_code': 200,
        'url.path': '/notes/7',
        'url.scheme': 'http',
        'server.address': 'api.acme.test',
        'user.id': 'alice',
        'gen_ai.agent.id': AGENT,
        'deputy.decision.effect': 'allow',
        'deputy.result': 'ok',
      },
    })
    const { events = [], start: began = 0n, end = 0n } = span ?? {}
    expect(events.map(({ name }) => name)).toEqual(
      ['routed', 'identified', 'decided', 'credential', 'sent', 'first_byte', 'ended'].map(
        (name) => `deputy.${name}`,
      ),
    )
    const times = [began, ...events.map(({ at }) => at), end]
    expect(times).toEqual(times.toSorted((a, b) => Number(a - b)))
    const [refused] = spansOf(denied.trace)
    expect(refused).toMatchObject({
      parent: denied.parent,
      status: 0,
      attributes: {
        'http.response.status_code': 403,
        'deputy.decision.effect': 'deny',
        'error.type': 'policy_denied',
      },
    })
    expect(refused?.events.map(({ name }) => name)).toEqual(
      ['routed', 'identified', 'decided'].map((name) => `deputy.${name}`),
    )
    // The evidence of the call names the same trace, and the span the same exchange.
    const lines = readFileSync(join(deputy.dir, 'audit.jsonl'), 'utf8')
    expect(lines).toContain(`"trace_id":"${allowed.trace}"`)
    expect(lines).toContain(`"exchange":"${String(span?.attributes['deputy.exchange'])}"`)
    await expect.poll(() => counted(deputy, 'exported')).toBe(2)
  })

  test('what is no traceparent begins a new trace', async () => {
    const deputy = await start(collector.origin, 1)
    const before = collector.spans().length
    const trace = hex(16)
    const wrong = [
      `00-${'0'.repeat(32)}-${hex(8)}-01`,
      `00-${trace}-${'0'.repeat(16)}-01`,
      `00-${trace.toUpperCase().replaceAll('0', 'A')}-${hex(8)}-01`,
      `00-${trace}-${hex(8)}-01-more`,
      `ff-${trace}-${hex(8)}-01`,
      `00-${trace}-${hex(8)}`,
      `00-${trace}-${hex(8)}-1`,
      '',
    ]
    for (const traceparent of wrong)
      expect(await call(deputy, 'alice', { headers: { traceparent } })).toBe(200)
    await expect.poll(() => collector.spans().length - before).toBe(wrong.length)
    const spans = collector.spans().slice(before)
    expect(spans.map(({ parent }) => parent)).toEqual(wrong.map(() => ''))
    expect(new Set(spans.map((span) => span.trace)).size).toBe(wrong.length)
    expect(spans.map((span) => span.trace)).not.toContain(trace)
  })

  test('a person’s name and the secrets of a path are written as the evidence writes them', async () => {
    const deputy = await start(collector.origin, 1, { audit: { user_ids: 'hashed' } })
    const { trace, headers } = under()
    const secret = `ghp_${'a1B2'.repeat(9)}`
    const answer = await fetch(
      `${deputy.agent}/~alice/api.acme.test/notes/${secret}?key=${secret}`,
      { headers },
    )
    await answer.arrayBuffer()
    await expect.poll(() => spansOf(trace).length).toBe(1)
    const [span] = spansOf(trace)
    expect(span?.attributes['user.id']).toMatch(/^hmac2:/)
    expect(span?.attributes['url.path']).toMatch(/^\/notes\/hmac2:/)
    const all = JSON.stringify(collector.spans(), (_, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    )
    for (const canary of [secret, TOKEN]) expect(all).not.toContain(canary)
    expect(JSON.stringify(span?.attributes)).not.toContain('alice')
    // The evidence says the same words.
    const lines = readFileSync(join(deputy.dir, 'audit.jsonl'), 'utf8')
    expect(lines).toContain(String(span?.attributes['url.path']))
    expect(lines).toContain(String(span?.attributes['user.id']))
  })

  test('a call that is refused before it is understood has a span that says nothing of what it asked for', async () => {
    const deputy = await start(collector.origin, 1)
    const { trace, parent, headers } = under()
    const answer = await fetch(`${deputy.agent}/~alice/unknown.acme.test/secret-of-a-path`, {
      headers,
    })
    expect(answer.status).toBe(404)
    await answer.arrayBuffer()
    await expect.poll(() => spansOf(trace).length).toBe(1)
    const [span] = spansOf(trace)
    expect(span).toMatchObject({
      name: 'GET',
      parent,
      attributes: { 'error.type': 'route_not_found', 'http.response.status_code': 404 },
    })
    expect(span?.events).toEqual([])
    expect(JSON.stringify(span?.attributes)).not.toMatch(/secret-of-a-path|unknown\.acme/)
  })

  test('a reload may ask for them, and end them', async () => {
    const deputy = await start(collector.origin, 0)
    const none = under()
    expect(await call(deputy, 'alice', { headers: none.headers })).toBe(200)
    const share = async (traces: number): Promise<void> => {
      const path = join(deputy.dir, 'deputy.yaml')
      const config = parse(readFileSync(path, 'utf8')) as { telemetry: Fields }
      writeFileSync(path, stringify({ ...config, telemetry: { ...config.telemetry, traces } }))
      await deputy.reload()
    }
    await share(1)
    // The first calls are without one while the SDK is loaded.
    await expect
      .poll(async () => {
        await call(deputy, 'alice')
        return counted(deputy, 'exported')
      })
      .toBeGreaterThan(0)
    await share(0)
    const before = under()
    expect(await call(deputy, 'alice', { headers: before.headers })).toBe(200)
    await deputy.stop()
    expect([...spansOf(none.trace), ...spansOf(before.trace)]).toEqual([])
  })

  test('while it is down no call waits, and what waits arrives once it is back', async () => {
    const deputy = await start(collector.origin, 1)
    await collector.stop()
    const { trace, headers } = under()
    for (let i = 0; i < 5; i++) expect(await call(deputy, 'alice', { headers })).toBe(200)
    await collector.start()
    await expect.poll(() => spansOf(trace).length).toBe(5)
  })
})

type Answer = { readonly status: number; readonly body?: string } | 'never'
const hostile = async (answer: () => Answer): Promise<{ origin: string; asked: () => number }> => {
  let asked = 0
  const server: Server = createServer((req, res) => {
    req.resume()
    req.on('end', () => {
      asked++
      const said = answer()
      if (said !== 'never') res.writeHead(said.status).end(said.body)
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  opened.push(
    () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(resolve)
      }),
  )
  const { port } = server.address() as AddressInfo
  return { origin: `http://127.0.0.1:${port}`, asked: () => asked }
}

describe('a collector that', () => {
  test('refuses or says what is not OTLP costs the spans, counted, and no call', async () => {
    for (const said of [{ status: 400 }, { status: 200, body: '<html>hello</html>' }]) {
      const collector = await hostile(() => said)
      const deputy = await start(collector.origin, 1)
      for (let i = 0; i < 3; i++) expect(await call(deputy, 'alice')).toBe(200)
      await expect.poll(() => counted(deputy, 'failed')).toBe(3)
    }
  })

  test('accepts and never answers delays no call, and the end of the process by two seconds at most', async () => {
    const collector = await hostile(() => 'never')
    const deputy = await start(collector.origin, 1)
    expect(await call(deputy, 'alice')).toBe(200)
    await expect.poll(collector.asked).toBe(1)
    const began = performance.now()
    expect(await call(deputy, 'alice')).toBe(200)
    expect(performance.now() - began).toBeLessThan(paced(1_000))
    const ending = performance.now()
    await deputy.stop()
    expect(performance.now() - ending).toBeLessThan(paced(8_000))
  })

  test('nobody asked for is not spoken to, and its share is one', async () => {
    const collector = await hostile(() => ({ status: 200 }))
    const deputy = await start(collector.origin, 0)
    for (let i = 0; i < 3; i++) expect(await call(deputy, 'alice')).toBe(200)
    await deputy.stop()
    expect(collector.asked()).toBe(0)
  })
})

test('traces without a collector, and a share that is none, are refused', async () => {
  const refused = async (config: Fields): Promise<string> =>
    startDeputy({ upstream: upstream.origin, config }).then(
      async (deputy) => {
        await deputy.close()
        return ''
      },
      (error: unknown) => String(error),
    )
  expect(await refused({ telemetry: { traces: 0.5 } })).toContain(
    'telemetry.otlp: telemetry.traces wants a collector',
  )
  const otlp = 'https://c.test'
  expect(await refused({ telemetry: { otlp, traces: 1.5 } })).toContain('telemetry.traces')
})
