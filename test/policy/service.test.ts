// A policy from a bundle service over real sockets: what the service gives wrong changes nothing, and heals.
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Log, PolicyEngine } from '../../proxy/model.ts'
import { createDial, type Dial } from '../../proxy/net/dial.ts'
import { unpackBundle } from '../../proxy/policy/bundle.ts'
import { createDownload } from '../../proxy/policy/download.ts'
import { createKeptBundle } from '../../proxy/policy/kept.ts'
import { createService } from '../../proxy/policy/service.ts'
import { openPolicySource } from '../../proxy/policy/source.ts'
import type { PolicySource, PolicySourceOptions, Serviced } from '../../proxy/policy/source.ts'
import { archive, ecPair, filesOf, signed, startBundleService } from '../support/bundles.ts'
import type { BundleService, Files, Signer } from '../support/bundles.ts'
import { paced } from '../support/pace.ts'

const [mine, other] = [ecPair(), ecPair()]
const verification = { keys: { prod: mine.pem } }
const NOW = Math.floor(Date.now() / 1_000)
const MOST = 16 * 1024 ** 2
const patient = { interval: 20 }
let skew = 0
const clock = { now: () => Date.now() + skew, mono: () => performance.now() }

let service: BundleService
let dial: Dial
let folder = ''
let said: string[] = []
let engines: PolicyEngine[] = []
let refusals: string[] = []
let source: PolicySource | null = null
const quiet = (): void => undefined
const log: Log = {
  debug: quiet,
  info: quiet,
  warn: quiet,
  error: (_fields, msg) => void said.push(msg),
}
beforeAll(() => {
  dial = createDial({
    allowPrivate: [{ net: '127.0.0.0/8' }],
    connectTimeout: 20_000,
    idleTimeout: 20_000,
    ca: null,
  })
})
afterAll(() => dial.close())
beforeEach(async () => {
  service = await startBundleService()
  folder = mkdtempSync(join(tmpdir(), 'deputy-service-'))
  skew = 0
  said = []
  engines = []
  refusals = []
})
afterEach(async () => {
  await source?.close()
  source = null
  await service.close()
  rmSync(folder, { recursive: true })
})

const made = async (revision: string, more: Partial<Signer> = {}, data = {}): Promise<Buffer> =>
  archive(
    await signed(filesOf(revision, data), {
      alg: 'ES256',
      key: mine.privateKey,
      claims: { iat: NOW },
      ...more,
    }),
  )
/** @param deadline ms */
const download = (deadline: number) =>
  createDownload({
    url: service.url,
    fetch: dial.fetch,
    authorization: () => Promise.resolve(null),
    deadline,
  })
const serviced = (more: Partial<Serviced> = {}): Serviced => ({
  download: download(20_000),
  kept: createKeptBundle(join(folder, 'bundles'), service.url, MOST),
  poll: 20,
  ask: 'always',
  ...more,
})
const start = async (
  more: Partial<PolicySourceOptions> = {},
  how: Partial<Serviced> = {},
): Promise<PolicySource> => {
  source = await openPolicySource({
    bundle: service.url,
    service: serviced(how),
    verification,
    data: null,
    providers: [],
    connections: [],
    inputLimit: 32_768,
    log,
    clock,
    onChange: (engine) => void engines.push(engine),
    onRefused: (problem) => void refusals.push(problem),
    poll: 20,
    ...more,
  })
  return source
}
const again = async (more: Partial<PolicySourceOptions> = {}): Promise<PolicySource> => {
  await source?.close()
  return start(more)
}
const revision = (): string | undefined => source?.current()?.revision
const problem = (): string | null | undefined => source?.problem()
const counts = () => source?.service()?.counts
const kept = (): readonly string[] => readdirSync(join(folder, 'bundles'))
const reply =
  (
    status: number,
    headers: Readonly<Record<string, string>> = {},
    body?: string | Buffer,
  ): RequestListener =>
  (_req, res) =>
    void res.writeHead(status, headers).end(body)

describe('what a service gives', () => {
  test('serves when `openPolicySource` is done, is told whose it is, and gives way to the next', async () => {
    service.put(await made('one'))
    await start({}, { first: 60_000 })
    expect(revision()).toBe('one')
    expect(engines[0]?.origin).toEqual({
      from: 'service',
      signed: { key: 'prod', issuedAt: NOW * 1_000 },
    })
    service.put(await made('two', { claims: { iat: NOW + 1 } }))
    await expect.poll(revision, patient).toBe('two')
    expect(source?.service()).toMatchObject({ problem: null, succeededAt: expect.any(Number) })
  })

  test('is not loaded again while it is the same, whatever its tag says', async () => {
    const bytes = await made('one')
    let n = 0
    service.answer((req, res) => reply(200, { etag: `"${n++}"` }, bytes)(req, res))
    await start()
    await expect.poll(() => counts()?.unchanged, patient).toBeGreaterThan(3)
    expect(engines).toHaveLength(1)
    expect(service.asked.slice(1, 3).map((each) => each['if-none-match'])).toEqual(['"0"', '"1"'])
  })

  test('is loaded when it is other, though its tag is the same', async () => {
    let bytes = await made('one')
    service.answer((req, res) => reply(200, { etag: '"same"' }, bytes)(req, res))
    await start()
    bytes = await made('two', { claims: { iat: NOW + 1 } })
    await expect.poll(revision, patient).toBe('two')
  })

  test('is not waited for longer than a start may take', async () => {
    service.answer((_req, res) => void res.writeHead(200).write(Buffer.from([0x1f])))
    const began = performance.now()
    await start({}, { first: 200, download: download(1_000) })
    expect(performance.now() - began).toBeLessThan(paced(900))
    expect(problem()).toBe(`the bundle service ${service.url} has not answered yet`)
    service.put(await made('one'))
    await expect.poll(revision, patient).toBe('one')
  })

  test('is taken at its word when it says for ever that nothing changed, once there is something', async () => {
    service.answer(reply(304))
    await start()
    expect(revision()).toBeUndefined()
    expect(problem()).toMatch(/says that nothing changed \(304\), and was asked for the whole/)
    service.put(await made('one'))
    await expect.poll(revision, patient).toBe('one')
    service.answer(reply(304))
    const before = service.asked.length
    await expect.poll(() => service.asked.length, patient).toBeGreaterThan(before + 3)
    expect([revision(), problem()]).toEqual(['one', null])
  })

  test('is there at once where the service holds the question', async () => {
    service.hold(await made('one'))
    await start({}, { poll: 60_000 })
    await expect.poll(() => service.asked.length, patient).toBe(2)
    expect(service.asked[1]).toMatchObject({ prefer: 'modes=snapshot;wait=15' })
    service.hold(await made('two', { claims: { iat: NOW + 1 } }))
    await expect.poll(revision, patient).toBe('two')
    const began = performance.now()
    await source?.close()
    // The service would hold it for fifteen seconds.
    expect(performance.now() - began).toBeLessThan(10_000)
  })

  test('is asked for no faster where the service says that it holds, and does not', async () => {
    const bytes = await made('one')
    const type = 'application/vnd.openpolicyagent.bundles'
    const at: number[] = []
    service.answer((req, res) => {
      at.push(performance.now())
      const known = req.headers['if-none-match'] === '"1"'
      reply(
        known ? 304 : 200,
        { etag: '"1"', 'content-type': type },
        known ? undefined : bytes,
      )(req, res)
    })
    await start({}, { poll: 300 })
    await expect.poll(() => at.length, patient).toBeGreaterThan(5)
    // Four pauses, less what the first of these questions was on its way.
    expect((at[5] ?? 0) - (at[1] ?? 0)).toBeGreaterThan(800)
  })

  test('compiles no module again where only data changed, and decides by the new data', async () => {
    const compile = vi.spyOn(WebAssembly, 'compile')
    service.put(await made('one', {}, { a: { b: 1 } }))
    await start()
    const digest = engines[0]?.digest
    service.put(await made('two', { claims: { iat: NOW + 1 } }, { a: { b: 2 } }))
    await expect.poll(revision, patient).toBe('two')
    expect(compile).toHaveBeenCalledTimes(1)
    expect(source?.table('a')).toEqual({ b: 2 })
    expect(engines[1]?.digest).not.toBe(digest)
    compile.mockRestore()
  })
})

describe('while one serves', () => {
  const files = filesOf('bad')
  const by = (of: Files, more: Partial<Signer> = {}): Promise<Files> =>
    signed(of, { alg: 'ES256', key: mine.privateKey, claims: { iat: NOW + 5 }, ...more })
  const manifest = (more: object): Files => ({
    ...files,
    '.manifest': JSON.stringify({ ...JSON.parse(String(files['.manifest'])), ...more }),
  })
  const bytes = (of: Files): Promise<RequestListener> =>
    archive(of).then((body) => reply(200, {}, body))
  const optimised = async (): Promise<Files> =>
    Object.fromEntries(
      (
        await unpackBundle(
          readFileSync(new URL('../fixtures/policies/optimised.tar.gz', import.meta.url)),
        )
      ).map(([name, body]) => [name.replace(/^\//, ''), body]),
    )
  const whole = made('half')
  const cases: readonly (readonly [
    string,
    () => RequestListener | Promise<RequestListener>,
    RegExp,
  ])[] = [
    [
      'a page',
      () => reply(200, { 'content-type': 'text/html' }, '<p>'),
      /gives no gzip file, but 3 bytes of text\/html/,
    ],
    ['an error', () => reply(500), /answers 500/],
    ['no permission', () => reply(401), /does not know deputy \(401\)/],
    [
      'a redirect',
      () => reply(302, { location: 'https://elsewhere.test/b' }),
      /redirect to elsewhere\.test, which is not followed/,
    ],
    ['half a file', async () => reply(200, {}, (await whole).subarray(0, -500)), /not a gzip file/],
    [
      'a file without end',
      () => (_req, res) => void res.writeHead(200).write(Buffer.from([0x1f])),
      /took too long/,
    ],
    ['2 GiB of zeros', () => reply(200, {}, zeros()), /it unpacks to more than 16 MiB/],
    ['a gzip of no archive', () => reply(200, {}, gzipSync('x'.repeat(600))), /not a tar archive/],
    ['no signature', () => bytes(files), /there is none \(\.signatures\.json\)/],
    [
      'another key',
      async () => bytes(await by(files, { key: other.privateKey })),
      /it is not by prod/,
    ],
    [
      'our public key as a secret',
      async () => bytes(await by(files, { alg: 'HS256', key: Buffer.from(mine.pem) })),
      /its algorithm is "HS256"/,
    ],
    [
      'an older one',
      async () => bytes(await by(files, { claims: { iat: NOW - 5 } })),
      /before the one in use/,
    ],
    [
      'one without iat',
      async () => bytes(await by(files, { claims: {} })),
      /does not say when it was made/,
    ],
    [
      'one that ended',
      async () => bytes(await by(files, { claims: { iat: NOW, exp: NOW - 90 } })),
      /it ended at/,
    ],
    [
      'one of the future',
      async () => bytes(await by(files, { claims: { iat: NOW + 900 } })),
      /still to come/,
    ],
    [
      'a file that nobody signed',
      async () => bytes({ ...(await by(files)), 'more.rego': '' }),
      /more\.rego is there and was not signed/,
    ],
    [
      'a name outside',
      async () => {
        const entries = Object.entries(await by(files))
        return reply(200, {}, await archive([...entries, ['../outside', '']]))
      },
      /outside.*(?:not a name inside|is no)|tar/,
    ],
    [
      'two manifests',
      async () => {
        const entries = Object.entries(await by(files))
        return reply(200, {}, await archive([...entries, ['./.manifest', '{}']]))
      },
      /\.manifest is there twice/,
    ],
    [
      'a manifest below',
      async () => bytes(await by({ ...files, 'a/.manifest': '{}' })),
      /a second \.manifest to OPA/,
    ],
    [
      'roots that overlap',
      async () => bytes(await by(manifest({ roots: ['deputy', 'deputy_data', 'deputy_data/a'] }))),
      /root "deputy_data\/a" overlaps with "deputy_data"/,
    ],
    [
      'data outside its roots',
      async () =>
        bytes(
          await by({
            ...manifest({ roots: ['deputy', 'deputy_data/a'] }),
            'data.json': '{"deputy_data":{"b":{}}}',
          }),
        ),
      /data\.deputy_data\.b lies outside the roots/,
    ],
    ['-O 2', async () => bytes(await by(await optimised())), /build it with -O 0/],
    [
      'a module that is none',
      async () => bytes(await by({ ...files, 'policy.wasm': 'x' })),
      /cannot be compiled/,
    ],
    [
      'wrong tables',
      async () => bytes(await by(filesOf('bad', { grants: [] }))),
      /deputy_data\.grants is not an object/,
    ],
  ]
  /** A gzip file of 2 GiB, of members that follow each other (RFC 1952 2.2). */
  const zeros = (): Buffer => {
    const member = gzipSync(Buffer.alloc(64 * 1024 ** 2), { level: 1 })
    return Buffer.concat(Array.from({ length: 32 }, () => member))
  }

  test('whatever else comes changes nothing but what is told, and the next good one heals it', async () => {
    const good = await made('good')
    service.put(good)
    await start()
    const engine = source?.current()
    for (const [name, make, message] of cases) {
      service.answer(await make())
      await expect.poll(problem, { ...patient, message: name }).toMatch(message)
      expect(source?.current(), name).toBe(engine)
      expect(source?.unread(), name).toBeNull()
      expect(await engine?.evaluate('{"version":1}'), name).not.toHaveProperty('failed')
      service.put(good)
      await expect.poll(problem, { ...patient, message: name }).toBeNull()
    }
    service.put(await made('next', { claims: { iat: NOW + 9 } }))
    await expect.poll(() => [revision(), problem()], patient).toEqual(['next', null])
  })

  test('a refusal is told once, and counted each time', async () => {
    service.put(await made('good'))
    await start()
    service.put(await made('bad', { key: other.privateKey }))
    await expect.poll(() => counts()?.refused, patient).toBeGreaterThan(2)
    expect(said).toEqual(['the new policy is refused, the last good one serves on'])
    expect(refusals).toEqual(['the signature of the policy bundle: it is not by prod'])
    expect(source?.failures()).toBeGreaterThan(2)
    // What was refused is asked for whole again: a tag of it counts for nothing.
    expect(service.asked.at(-1)).not.toHaveProperty('if-none-match')
    // Taken back, the one in use is as good as it was.
    service.put(await made('good'))
    await expect.poll(problem, patient).toBeNull()
  })

  test('a clock that jumps past its end, or before its beginning, leaves it in use and heals', async () => {
    service.put(await made('one', { claims: { iat: NOW, exp: NOW + 3_600 } }))
    await start()
    const next = await made('two', { claims: { iat: NOW + 1, exp: NOW + 3_600 } })
    for (const [ms, message] of [
      [7_200_000, /it ended at/],
      [-7_200_000, /still to come/],
    ] as const) {
      skew = ms
      service.put(next)
      await expect.poll(problem, patient).toMatch(message)
      expect(revision()).toBe('one')
    }
    skew = 0
    await expect.poll(revision, patient).toBe('two')
  })

  test('going back is allowed where the configuration says so', async () => {
    service.put(await made('new'))
    await start({ rollback: true })
    service.put(await made('old', { claims: { iat: NOW - 900 } }))
    await expect.poll(revision, patient).toBe('old')
  })
})

describe('a restart without the service', () => {
  const away = reply(503)
  test('serves the last good bundle, and remembers what came before it', async () => {
    service.put(await made('one'))
    await start()
    service.answer(away)
    await again()
    expect(revision()).toBe('one')
    expect(source?.current()?.origin).toMatchObject({ from: 'kept', signed: { key: 'prod' } })
    await expect.poll(problem, patient).toMatch(/answers 503/)
    service.put(await made('zero', { claims: { iat: NOW - 5 } }))
    await expect.poll(problem, patient).toMatch(/before the one in use/)
    expect(revision()).toBe('one')
    // The same bytes from the service are no news.
    service.put(await made('two', { claims: { iat: NOW + 5 } }))
    await expect.poll(revision, patient).toBe('two')
    await again()
    expect(revision()).toBe('two')
  })
  test('serves nothing that does not verify any more', async () => {
    service.put(await made('one'))
    await start()
    service.answer(away)
    await again({ verification: { keys: { prod: other.pem } } })
    expect(revision()).toBeUndefined()
    expect(said).toContain('the policy bundle that was kept for this start cannot be used')
    const [name = ''] = kept()
    writeFileSync(join(folder, 'bundles', name), (await made('one')).subarray(0, 900))
    await again()
    expect(revision()).toBeUndefined()
    service.put(await made('one'))
    await expect.poll(revision, patient).toBe('one')
  })
  test('serves nothing that ended meanwhile', async () => {
    service.put(await made('one', { claims: { iat: NOW, exp: NOW + 3_600 } }))
    await start()
    service.answer(away)
    skew = 7_200_000
    await again()
    expect(revision()).toBeUndefined()
    skew = 0
    await again()
    expect(revision()).toBe('one')
  })
  test('serves what was unsigned on purpose, and never what another address gave', async () => {
    service.put(await archive(filesOf('plain')))
    await start({ verification: null })
    expect(source?.current()?.origin).toEqual({ from: 'service', signed: null })
    service.answer(away)
    await again({ verification: null })
    expect(revision()).toBe('plain')
    await source?.close()
    await start(
      { verification: null },
      { kept: createKeptBundle(join(folder, 'bundles'), 'https://other.test', MOST) },
    )
    expect(revision()).toBeUndefined()
  })
  test('is told of before, where the bundle cannot be kept, and it is kept as soon as it can be', async () => {
    writeFileSync(join(folder, 'bundles'), 'in the way')
    service.put(await made('one'))
    await start()
    expect(revision()).toBe('one')
    expect(said).toContain('the policy bundle serves and could not be kept for the next start')
    rmSync(join(folder, 'bundles'))
    // Other bytes with the same answer: a restart of the service gives them new tags.
    const bytes = await made('one')
    service.answer((req, res) => reply(200, {}, bytes)(req, res))
    const names = (): string => readdirSync(folder, { recursive: true }).join(' ')
    await expect.poll(names, patient).toMatch(/^bundles bundles\/[0-9a-f]{16}\.tar\.gz$/)
  })
})

describe('tables beside a service', () => {
  const tables = (value: unknown): void => {
    mkdirSync(join(folder, 'tables'), { recursive: true })
    writeFileSync(join(folder, 'tables/extra.json'), JSON.stringify(value))
  }
  test('change without a question to the service, and wrong ones leave both as they are', async () => {
    tables({ a: 1 })
    service.put(await made('one', {}, { extra: {} }))
    await start({ data: join(folder, 'tables') }, { poll: 60_000 })
    const digest = source?.current()?.digest
    tables({ a: 2 })
    await expect.poll(() => source?.current()?.digest, patient).not.toBe(digest)
    expect(source?.table('extra')).toEqual({ a: 2 })
    tables([])
    await expect.poll(problem, patient).toMatch(/extra\.json: not an object/)
    expect(revision()).toBe('one')
    tables({ a: 3 })
    await expect.poll(problem, patient).toBeNull()
    expect(service.asked).toHaveLength(1)
  })
  test('that are wrong at the start hold back a good bundle until they are mended', async () => {
    tables([])
    service.put(await made('one', {}, { extra: {} }))
    await start({ data: join(folder, 'tables') }, { poll: 600_000 })
    expect([revision(), problem()]).toEqual([undefined, expect.stringMatching(/not an object/)])
    tables({ a: 1 })
    await expect.poll(revision, patient).toBe('one')
  })
})

test('at rest it asks and looks no more, and what serves goes on for who holds it', async () => {
  service.put(await made('one'))
  await start()
  const engine = source?.current()
  source?.rest()
  await new Promise((resolve) => setTimeout(resolve, 100))
  const before = service.asked.length
  service.put(await made('two', { claims: { iat: NOW + 1 } }))
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(service.asked.length).toBe(before)
  expect(revision()).toBe('one')
  expect(await engine?.evaluate('{"version":1}')).not.toHaveProperty('failed')
})

describe('whoever only looks', () => {
  test('asks once and keeps nothing', async () => {
    service.put(await made('one'))
    await start({}, { ask: 'once' })
    expect(revision()).toBe('one')
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(service.asked).toHaveLength(1)
    expect(() => kept()).toThrow(/ENOENT/)
  })
  test('or does not ask, and says so', async () => {
    await start({}, { ask: 'never' })
    expect(problem()).toBe(`the bundle service ${service.url} was not asked`)
    expect([service.asked, source?.service()]).toEqual([[], null])
  })
})

describe('a service that fails', () => {
  const pausesOf = async (answers: readonly (number | null)[], poll: number) => {
    const at: number[] = []
    const asked = createService({
      download: () => {
        const retryAfter = answers[at.length] ?? null
        at.push(performance.now())
        return Promise.resolve({ kind: 'failed', why: 'away', retryAfter })
      },
      take: () => Promise.resolve(true),
      poll,
      once: false,
      clock,
      log,
    })
    await expect.poll(() => at.length, patient).toBeGreaterThanOrEqual(answers.length)
    await asked.close()
    return at.slice(1, answers.length).map((each, i) => each - (at[i] ?? 0))
  }
  test('is asked less and less often, up to twice the time between questions', async () => {
    const pauses = await pausesOf([null, null, null, null], 100)
    for (const each of pauses) {
      expect(each).toBeGreaterThan(95)
      expect(each).toBeLessThan(paced(400))
    }
    const [first = 0, second = 0] = await pausesOf([null, null, null], 60_000)
    expect(first).toBeGreaterThan(490)
    expect(first).toBeLessThan(paced(1_300))
    expect(second).toBeGreaterThan(990)
    expect(said).toContain('away')
  })
  test('is left alone for as long as it says', async () => {
    const [pause = 0] = await pausesOf([700, null], 10)
    expect(pause).toBeGreaterThan(690)
  })
})
