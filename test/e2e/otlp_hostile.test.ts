// A collector that takes a part, or comes back as somebody else; a spool that is full, or somebody else's; lines that are too
// long for most: no call is lost for it, and no line.
import { execFile } from 'node:child_process'
import * as fs from 'node:fs'
import { createServer as createPlain, type RequestListener } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { decision, evidenceOf } from '../audit/evidence_lines.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { prepareFolder, startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { mount, NO_MOUNT } from '../support/mount.ts'
import { missingOtelcol, startOtelcol } from '../support/servers/otelcol.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const run = promisify(execFile)
const TOKEN = 'at-alice-0123456789abcdef'
let upstream: Upstream
const after: (() => unknown)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  for (const end of after.splice(0).toReversed()) await end()
})

const setup = (otlp: string, audit: Fields = {}, more: Fields = {}) => ({
  upstream: upstream.origin,
  held: [{ person: 'alice', token: TOKEN }],
  config: {
    audit: { sink: ['file:audit.jsonl', 'otlp'], ...audit },
    telemetry: { otlp },
    ...more,
  },
})
const start = async (of: ReturnType<typeof setup>, dir?: string): Promise<Deputy> => {
  const deputy = await startDeputy(of, dir)
  after.push(deputy.close)
  return deputy
}
const call = async ({ agent }: Deputy): Promise<number> => {
  const answer = await fetch(`${agent}/~alice/api.acme.test/notes/7`)
  await answer.arrayBuffer()
  return answer.status
}
const ready = async ({ admin }: Deputy): Promise<string> =>
  (await fetch(`http://${admin}/readyz?verbose`)).text()
const folder = (): string => {
  const dir = fs.mkdtempSync(join(tmpdir(), 'deputy-otlp-'))
  after.push(() => fs.rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** Takes what comes and answers with these bytes, the first time; keeps what it took. */
const taker = (first: Buffer = Buffer.alloc(0)) => {
  const got: Buffer[] = []
  const on: RequestListener = (req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      const body = Buffer.concat(chunks)
      res.writeHead(200, { 'content-type': 'application/x-protobuf' })
      res.end(got.length === 0 ? first : '')
      got.push(body)
    })
  }
  const text = (): string => Buffer.concat(got).toString('latin1')
  return { on, got, text, times: (word: string): number => text().split(word).length - 1 }
}
const listening = async (server: Server | ReturnType<typeof createPlain>, port = 0) => {
  await new Promise<void>((resolve) => void server.listen(port, '127.0.0.1', resolve))
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.closeAllConnections()
      server.close(() => resolve())
    })
  after.push(close)
  return { port: (server.address() as AddressInfo).port, close }
}

test('a part that the collector did not take is named in the evidence, and nothing is sent twice for it', async () => {
  // ExportLogsServiceResponse { partial_success { rejected_log_records: 1, error_message } }
  const why = Buffer.from('too old\u001b[2J')
  const partial = Buffer.concat([Buffer.from([0x08, 1, 0x12, why.length]), why])
  const collector = taker(Buffer.concat([Buffer.from([0x0a, partial.length]), partial]))
  const { port } = await listening(createPlain(collector.on))
  const deputy = await start(setup(`http://127.0.0.1:${port}`))
  expect(await call(deputy)).toBe(200)
  const rejected = () => deputy.evidence().filter(({ event }) => event === 'audit.rejected')
  await expect.poll(() => rejected().length).toBe(1)
  expect(JSON.stringify(rejected())).toContain('too old')
  await deputy.stop()
  for (const { event, proc, seq } of deputy.evidence()) {
    const line = `"proc":"${String(proc)}","seq":${String(seq)},`
    expect([event, seq, collector.times(`{"v":1,${line}`)]).toEqual([event, seq, 1])
  }
})

const noTls = opensslMissing()
test.skipIf(noTls !== '')(
  `a collector that comes back with a certificate that nobody vouches for gets nothing until it is itself again${noTls}`,
  async () => {
    const [own, other] = [folder(), folder()].map((dir) => makeCertificate(dir))
    if (own === undefined || other === undefined) throw new Error('no certificate')
    const collector = taker()
    const stranger = taker()
    const serving = ({ cert, key }: typeof own, { on }: typeof collector) =>
      createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, on)
    const first = await listening(serving(own, collector))
    const { port } = first
    const deputy = await start(
      setup(`https://localhost:${port}`, {}, { upstream: { ca: own.cert } }),
    )
    expect(await call(deputy)).toBe(200)
    await expect.poll(() => collector.times('"event":"outcome"')).toBe(1)
    await first.close()
    const second = await listening(serving(other, stranger), port)
    expect(await call(deputy)).toBe(200)
    await expect.poll(() => ready(deputy)).toMatch(/bytes wait: .*(?:certificate|self.signed)/i)
    expect(await call(deputy)).toBe(200)
    expect(stranger.got).toEqual([])
    await second.close()
    await listening(serving(own, collector), port)
    await expect.poll(() => collector.times('"event":"outcome"')).toBe(3)
    expect(stranger.got).toEqual([])
  },
)

const skipped = NO_MOUNT === null ? '' : ` (SKIPPED: ${NO_MOUNT})`
test(`while the disk of the spool is full no call leaves; once there is room they do, and the collector gets all${skipped}`, async ({
  skip,
}) => {
  if (NO_MOUNT !== null && process.env['DEPUTY_NO_SKIP'] !== '1') skip(NO_MOUNT)
  const collector = taker()
  let away = true
  const answer: RequestListener = (req, res) => {
    if (away) res.writeHead(503).end()
    else collector.on(req, res)
  }
  const { port } = await listening(createPlain(answer))
  const spool = folder()
  after.push(mount('-t', 'tmpfs', '-o', 'size=256k', 'none', spool))
  const deputy = await start(setup(`http://127.0.0.1:${port}`, { sink: ['otlp'], spool }))
  expect(await call(deputy)).toBe(200)
  const { bavail, bsize } = fs.statfsSync(spool)
  const ballast = join(spool, 'ballast')
  fs.writeFileSync(ballast, Buffer.alloc(bavail * bsize))
  await expect.poll(() => call(deputy)).toBe(503)
  upstream.seen.length = 0
  expect(await call(deputy)).toBe(503)
  expect(upstream.seen).toEqual([])
  expect(await ready(deputy)).toContain('ENOSPC')
  fs.rmSync(ballast)
  await expect.poll(() => call(deputy)).toBe(200)
  away = false
  const kept = () => fs.readFileSync(join(spool, 'evidence.jsonl'), 'utf8').split('\n')
  const outcomes = kept().filter((line) => line.includes('"event":"outcome"')).length
  await expect
    .poll(() => collector.times('"event":"outcome"'), { timeout: 40_000 })
    .toBeGreaterThanOrEqual(outcomes)
  await deputy.stop()
  const verify = run(process.execPath, [
    command,
    'audit',
    'verify',
    join(spool, 'evidence.jsonl'),
    '--keys',
    join(deputy.dir, 'keys.json'),
  ])
  expect((await verify).stdout).toMatch(/: whole$/m)
})

test('two processes do not share a spool: the second does not start, and says why', async () => {
  const { port } = await listening(createPlain(taker().on))
  const spool = folder()
  const of = setup(`http://127.0.0.1:${port}`, { sink: ['otlp'], spool })
  const deputy = await start(of)
  await expect(startDeputy(of)).rejects.toThrow(/evidence\.jsonl/)
  expect(await call(deputy)).toBe(200)
})

const none = missingOtelcol === null ? '' : ` (SKIPPED: ${missingOtelcol})`
describe.skipIf(missingOtelcol !== null)(`a line of 1 MB${none}`, () => {
  const HOSTILE = '\u001b[2J\u202e=1+1<script>alert(1)</script>|`'
  test('and hostile words in each member reach a real collector exactly, and print as nothing that acts', async () => {
    const collector = await startOtelcol()
    after.push(collector.close)
    const long = `=${HOSTILE}${'x'.repeat(1_000_000)}`
    const call_ = { exchange: 'E1', user: HOSTILE, agent: HOSTILE, operation: HOSTILE }
    // Of a day ago the file would be closed at once.
    const now = new Date().toISOString()
    const before = evidenceOf([
      [now, 'decision', decision({ ...call_, reasons: [HOSTILE] })],
      [now, 'decision', decision({ exchange: 'E2', path: long })],
      [now, 'decision', decision({ exchange: 'E3', path: HOSTILE })],
    ])
    const of = setup(collector.origin)
    const dir = await prepareFolder(of)
    fs.writeFileSync(join(dir, 'audit.jsonl'), `${before.join('\n')}\n`, { mode: 0o600 })
    const deputy = await start(of, dir)
    expect(await call(deputy)).toBe(200)
    await deputy.stop()
    const lines = fs.readFileSync(join(dir, 'audit.jsonl'), 'utf8').trimEnd().split('\n')
    expect(lines.slice(0, before.length)).toEqual(before)
    await expect.poll(() => collector.records().map(({ body }) => body)).toEqual(lines)
    for (const format of ['text', 'markdown', 'csv']) {
      const args = [command, 'audit', 'query', 'audit.jsonl', '--format', format]
      const { stdout } = await run(process.execPath, args, { cwd: dir, maxBuffer: 8 * 1024 ** 2 })
      for (const acts of ['\u001b', '\u202e'])
        expect([format, stdout.includes(acts)]).toEqual([format, false])
      if (format === 'csv') expect(stdout).not.toMatch(/(?:^|,)"?=/m)
      if (format === 'markdown') expect(stdout).not.toContain('<script>')
    }
  })
})
