// Evidence at a real collector of OpenTelemetry, decoded by software that nobody here wrote: each line once, in order, whole.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { verifyJournal } from '../../proxy/audit/verify.ts'
import { AGENT, startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import {
  missingOtelcol,
  startOtelcol,
  type Otelcol,
  type Received,
} from '../support/servers/otelcol.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

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

const KEY = 'canary-collector-key-000000000000'
const TOKEN = 'at-alice-0123456789abcdef'
const start = async (otlp: string, audit: Fields = {}, more: Fields = {}): Promise<Deputy> => {
  const deputy = await startDeputy({
    upstream: upstream.origin,
    held: [{ person: 'alice', agent: AGENT, token: TOKEN }],
    config: {
      identity: { trust: 'plain', agent: AGENT },
      audit: { sink: ['file:audit.jsonl', 'otlp'], ...audit },
      telemetry: { otlp, headers: { 'x-collector-key': KEY } },
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
const metric = async (deputy: Deputy, name: string): Promise<readonly string[]> =>
  (await (await fetch(`http://${deputy.admin}/metrics`)).text())
    .split('\n')
    .filter((line) => line.startsWith(name))
const linesOf = (path: string): readonly string[] =>
  readFileSync(path, 'utf8').split('\n').slice(0, -1)
const bodies = (records: readonly Received[]): readonly string[] => records.map(({ body }) => body)
/** One after the other, as a collector hands them on. */
async function* streamOf(lines: readonly string[]): AsyncGenerator<string> {
  await Promise.resolve()
  for (const line of lines) yield `${line}\n`
}

const skipped = missingOtelcol === null ? '' : ` (SKIPPED: ${missingOtelcol})`
describe.skipIf(missingOtelcol !== null)(`at a collector${skipped}`, () => {
  let collector: Otelcol
  beforeAll(async () => {
    collector = await startOtelcol()
  })
  afterAll(() => collector.close())
  const since = (from: number): readonly Received[] => collector.records().slice(from)

  test('the lines are exact, in order, each once, and what it has verifies without the file', async () => {
    const from = collector.records().length
    const deputy = await start(collector.origin)
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
    const headers = { traceparent: `00-${trace}-00f067aa0ba902b7-01` }
    expect(await call(deputy, 'alice', { headers })).toBe(200)
    expect(await call(deputy, 'carol')).toBe(403)
    await deputy.stop()
    const file = linesOf(join(deputy.dir, 'audit.jsonl'))
    await expect.poll(() => since(from).length).toBe(file.length)
    const got = since(from)
    expect(bodies(got)).toEqual(file)
    const verified = await verifyJournal(streamOf(bodies(got)))
    expect(verified).toMatchObject({ ok: true, running: null, unanchored: 0 })
    const [decision] = got.filter(({ event }) => event === 'decision')
    expect(decision).toMatchObject({
      severity: 'INFO',
      trace,
      resource: { 'service.name': 'deputy', 'service.version': '0.0.0' },
      attributes: {
        'event.name': 'decision',
        'user.id': 'alice',
        'gen_ai.agent.id': AGENT,
        'http.request.method': 'GET',
        'deputy.decision.effect': 'allow',
      },
    })
    expect(got.filter(({ severity }) => severity === 'WARN').length).toBeGreaterThan(0)
    expect(JSON.stringify(got)).not.toContain(TOKEN)
    expect(JSON.stringify(got)).not.toContain(KEY)
  })

  test('while it is down calls go on; what they left arrives once it is back, each line once', async () => {
    const from = collector.records().length
    const deputy = await start(collector.origin)
    await call(deputy, 'alice')
    await expect.poll(() => since(from).filter(({ event }) => event === 'outcome').length).toBe(1)
    await collector.stop()
    for (let i = 0; i < 20; i++) expect(await call(deputy, 'alice')).toBe(200)
    await expect
      .poll(async () => (await metric(deputy, 'deputy_audit_export_waiting_bytes'))[0])
      .not.toMatch(/ 0$/)
    await expect
      .poll(async () => (await fetch(`http://${deputy.admin}/readyz?verbose`)).text())
      .toMatch(/audit.*bytes wait: .*ECONNREFUSED/)
    expect((await fetch(`http://${deputy.admin}/readyz`)).status).toBe(200)
    await collector.start()
    await expect.poll(() => since(from).filter(({ event }) => event === 'outcome').length).toBe(21)
    await deputy.stop()
    await expect.poll(() => bodies(since(from))).toEqual(linesOf(join(deputy.dir, 'audit.jsonl')))
  })

  test('a spool keeps what it does not have over a restart, and then nothing', async () => {
    const from = collector.records().length
    const audit = { sink: ['otlp'], spool: './spool' }
    await collector.stop()
    const first = await startDeputy({
      upstream: upstream.origin,
      held: [{ person: 'alice', agent: AGENT, token: TOKEN }],
      config: {
        identity: { trust: 'plain', agent: AGENT },
        audit,
        telemetry: { otlp: collector.origin },
        network: { allow_private: [{ net: '127.0.0.0/8' }] },
      },
    })
    for (let i = 0; i < 3; i++) expect(await call(first, 'alice')).toBe(200)
    await first.stop()
    const spool = join(first.dir, 'spool')
    const kept = linesOf(join(spool, 'evidence.jsonl'))
    await collector.start()
    const again = await startDeputy({ upstream: upstream.origin, config: {} }, first.dir)
    opened.push(again.close)
    expect(await call(again, 'alice')).toBe(200)
    await again.stop()
    const all = linesOf(join(spool, 'evidence.jsonl'))
    expect(all.slice(0, kept.length)).toEqual(kept)
    await expect.poll(() => bodies(since(from))).toEqual(all)
    expect(await verifyJournal(streamOf(bodies(since(from))))).toMatchObject({ ok: true, procs: 2 })
    expect(existsSync(join(first.dir, 'audit.jsonl'))).toBe(false)
  })
})

type Answer = (count: number) =>
  | {
      readonly status: number
      readonly body?: string | Buffer
      readonly headers?: Record<string, string>
    }
  | 'never'
  | 'reset'
  | 'drip'
  | 'garbage'
/** A collector that behaves as it is told; counts what it was sent. */
const hostile = async (
  answer: Answer,
): Promise<{ origin: string; asked: () => number; seen: () => string }> => {
  let asked = 0
  const seen: Buffer[] = []
  const server: Server = createServer((req, res) => {
    req.on('data', (chunk: Buffer) => seen.push(chunk))
    req.on('end', () => {
      const said = answer(asked++)
      if (said === 'never') return
      if (said === 'garbage') req.socket.end('SSH-2.0-OpenSSH_9.9\r\n')
      else if (said === 'drip') {
        res.writeHead(200, { 'content-length': '1000' }).write('\0')
        const drop = setInterval(() => res.write('\0'), 1_000)
        req.socket.once('close', () => clearInterval(drop))
      } else if (said === 'reset') req.socket.destroy()
      else res.writeHead(said.status, said.headers).end(said.body)
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
  return {
    origin: `http://127.0.0.1:${port}`,
    asked: () => asked,
    seen: () => Buffer.concat(seen).toString('latin1'),
  }
}

describe('a collector that', () => {
  test.each<[string, Answer, RegExp]>([
    ['answers 503', () => ({ status: 503 }), /answered 503/],
    [
      'answers 429 and asks for patience',
      () => ({ status: 429, headers: { 'retry-after': '1' } }),
      /answered 429/,
    ],
    ['knows no key', () => ({ status: 401 }), /answered 401/],
    ['is another service', () => ({ status: 404, body: '<html>' }), /answered 404/],
    [
      'redirects',
      () => ({ status: 307, headers: { location: 'http://127.0.0.1:1/' } }),
      /answered 307/,
    ],
    ['answers a page', () => ({ status: 200, body: '<html>hello</html>' }), /not OTLP/],
    [
      'answers without an end of its bytes',
      () => ({ status: 200, body: Buffer.alloc(200_000) }),
      /larger than/,
    ],
    ['resets', () => 'reset', /ECONNRESET|UND_ERR_SOCKET|other side closed/],
    ['speaks no HTTP', () => 'garbage', /does not match the HTTP|HPE_/],
  ])(
    '%s keeps no call, is told of, and misses nothing once it is mended',
    async (_name, answer, why) => {
      let mended = false
      const collector = await hostile((count) => (mended ? { status: 200 } : answer(count)))
      const deputy = await start(collector.origin)
      expect(await call(deputy, 'alice')).toBe(200)
      await expect
        .poll(async () => (await fetch(`http://${deputy.admin}/readyz?verbose`)).text())
        .toMatch(why)
      expect(await call(deputy, 'alice')).toBe(200)
      mended = true
      await expect
        .poll(async () => (await metric(deputy, 'deputy_audit_export_waiting_bytes'))[0])
        .toMatch(/ 0$/)
      expect(collector.seen()).toContain('process.started')
      expect(collector.seen()).toContain('outcome')
    },
  )

  test.each([
    ['accepts and never answers', 'never'],
    ['answers a byte a second', 'drip'],
  ] as const)(
    '%s is given up on after ten seconds, and the drain does not wait for it',
    async (_name, how) => {
      const collector = await hostile(() => how)
      const deputy = await start(collector.origin, {}, { limits: { drain: '1s' } })
      expect(await call(deputy, 'alice')).toBe(200)
      await expect.poll(collector.asked).toBe(1)
      await expect
        .poll(async () => (await fetch(`http://${deputy.admin}/readyz?verbose`)).text())
        .toMatch(/no answer within 10 s/)
      expect(await call(deputy, 'alice')).toBe(200)
      await expect.poll(collector.asked).toBeGreaterThan(1)
      const began = performance.now()
      await deputy.stop()
      expect(performance.now() - began).toBeLessThan(20_000)
    },
  )

  test('speaks no TLS where https is said keeps no call, and gets no byte of the evidence', async () => {
    const plain = await hostile(() => ({ status: 200 }))
    const deputy = await start(plain.origin.replace('http:', 'https:'))
    expect(await call(deputy, 'alice')).toBe(200)
    await expect
      .poll(async () => (await fetch(`http://${deputy.admin}/readyz?verbose`)).text())
      .toMatch(/ERR_SSL|EPROTO|ECONNRESET/)
    expect(await call(deputy, 'alice')).toBe(200)
    expect([plain.asked(), plain.seen()]).toEqual([0, ''])
  })

  test('takes nothing for so long that the spool is full keeps calls back, and they go on once it has taken some', async () => {
    let mended = false
    const collector = await hostile(() => ({ status: mended ? 200 : 503 }))
    const deputy = await start(collector.origin, {
      sink: ['otlp'],
      spool: './spool',
      spool_size: '8KiB',
    })
    await expect.poll(() => call(deputy, 'alice')).toBe(503)
    const answer = await fetch(`${deputy.agent}/~alice/api.acme.test/notes/7`)
    expect(await answer.json()).toMatchObject({ code: 'audit_unavailable' })
    expect((await fetch(`http://${deputy.admin}/readyz`)).status).toBe(503)
    mended = true
    await expect.poll(() => call(deputy, 'alice')).toBe(200)
    // That call's own lines may fill so small a spool once more, until they are taken too.
    await expect.poll(async () => (await fetch(`http://${deputy.admin}/readyz`)).status).toBe(200)
  })

  test('without audit.required a full spool keeps no call back', async () => {
    const collector = await hostile(() => ({ status: 503 }))
    const deputy = await start(collector.origin, {
      sink: ['otlp'],
      spool: './spool',
      spool_size: '4KiB',
      required: false,
    })
    for (let i = 0; i < 12; i++) expect(await call(deputy, 'alice')).toBe(200)
    expect(readdirSync(join(deputy.dir, 'spool'))).toContain('evidence.jsonl')
    await expect
      .poll(async () => metric(deputy, 'deputy_audit_events_total{outcome="refused"}'))
      .not.toEqual([expect.stringMatching(/ 0$/)])
  })
})

test('what only a collector is for is refused without one, and a spool that nothing needs too', async () => {
  const refused = async (config: Fields): Promise<string> =>
    startDeputy({ upstream: upstream.origin, config }).then(
      async (deputy) => {
        await deputy.close()
        return ''
      },
      (error: unknown) => String(error),
    )
  expect(await refused({ audit: { sink: ['otlp'], spool: './s' } })).toContain(
    'telemetry.otlp: audit.sink says otlp',
  )
  expect(
    await refused({ audit: { sink: ['otlp'] }, telemetry: { otlp: 'https://c.test' } }),
  ).toContain('audit.spool: no sink is a file')
  expect(await refused({ telemetry: { otlp: 'https://c.test' } })).toContain(
    'telemetry.otlp: nothing is sent there',
  )
  expect(
    await refused({
      audit: { sink: ['file:a.jsonl', 'otlp'] },
      telemetry: { otlp: 'http://c.test' },
    }),
  ).toContain('telemetry.otlp: http://c.test is plain http')
  expect(await refused({ audit: { spool: './s' } })).toContain('audit.spool: no sink is otlp')
  expect(
    await refused({
      audit: { sink: ['file:a.jsonl', 'otlp'], spool: './s' },
      telemetry: { otlp: 'https://c.test' },
    }),
  ).toContain('audit.spool: a sink is a file')
})
