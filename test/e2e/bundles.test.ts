// One bundle service for deputy and for OPA's own server: both end with the same revision and the same answers, refuse the
// same signatures, and deputy's calls go on whatever the service does.
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { findOpa } from '../../proxy/commands/policy.ts'
import { validate } from '../../proxy/commands/validate/command.ts'
import { openPolicySource } from '../../proxy/policy/source.ts'
import { createDownload } from '../../proxy/policy/download.ts'
import { createKeptBundle } from '../../proxy/policy/kept.ts'
import { unpackBundle } from '../../proxy/policy/bundle.ts'
import { archive, ecPair, signed, startBundleService } from '../support/bundles.ts'
import type { BundleService, Files, Pair, Signer } from '../support/bundles.ts'
import { BUNDLE, loadFolder, prepareFolder, startDeputy } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { lines, sendRaw } from '../support/raw.ts'
import { missingOpa, startOpa } from '../support/servers/opa.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-0123456789abcdef'
const BEARER = 'canary-bundle-bearer-0123456789abcdef'
const HELD = [{ person: 'alice', token: TOKEN }]
const root = fileURLToPath(new URL('../../', import.meta.url))
const places = { named: process.env['DEPUTY_OPA'], path: process.env['PATH'], home: homedir() }
const opaCommand = await findOpa(places).catch(() => null)
const [mine, other] = [ecPair(), ecPair()]
const NOW = Math.floor(Date.now() / 1_000)
const patient = { interval: 50 }
const ends: (() => unknown)[] = []
let upstream: Upstream
let service: BundleService
let starter: Files
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  starter = Object.fromEntries(
    (await unpackBundle(readFileSync(BUNDLE))).map(([name, body]) => [name.slice(1), body]),
  )
})
afterAll(() => upstream.close())
beforeEach(async () => {
  service = await startBundleService()
  ends.push(() => service.close())
})
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

/** The starter policy under another name. */
const named = async (revision: string, more: Partial<Signer> = {}): Promise<Buffer> => {
  const manifest = JSON.parse(Buffer.from(starter['.manifest'] ?? '').toString()) as object
  const files = { ...starter, '.manifest': JSON.stringify({ ...manifest, revision }) }
  const signer = { alg: 'ES256', key: mine.privateKey, claims: { iat: NOW }, ...more }
  return archive(await signed(files, signer))
}
const policyOf = (more: Fields = {}): Fields => ({
  policy: {
    bundle: service.url,
    bundle_auth: { bearer: BEARER },
    bundle_poll: '1s',
    verification: { keys: { prod: mine.pem } },
    data: './tables',
    data_unsigned: true,
    ...more,
  },
})
const setup = (more: Fields = {}) => ({
  upstream: upstream.origin,
  held: HELD,
  config: policyOf(more),
})
const deputyAt = async (folder: string): Promise<Deputy> => {
  const deputy = await startDeputy(setup(), folder)
  ends.push(() => deputy.close())
  return deputy
}
const verdict = async (deputy: Deputy): Promise<unknown> => {
  const { host } = new URL(deputy.agent)
  const answer = await sendRaw(
    deputy.agent,
    lines('GET /api.acme.test/a HTTP/1.1', `Host: ${host}`, 'Deputy-User: alice'),
  )
  return answer.json['code'] ?? answer.json['login']
}
const admin = async (deputy: Deputy, path: string): Promise<string> => {
  const origin = deputy.admin.startsWith('http') ? deputy.admin : `http://${deputy.admin}`
  return (await fetch(`${origin}${path}`)).text()
}
const revision = async (deputy: Deputy): Promise<string | undefined> =>
  /deputy_policy_info\{revision="([^"]+)"\}/.exec(await admin(deputy, '/metrics'))?.[1]
const readyLine = async (deputy: Deputy): Promise<string | undefined> =>
  (await admin(deputy, '/readyz?verbose')).split('\n').find((line) => / policy\b/.test(line))
const events = (deputy: Deputy, wanted: string) =>
  deputy.evidence().filter(({ event }) => event === wanted)

describe('a deputy with a bundle service', () => {
  test('serves what is signed, says so everywhere, refuses what is not, and heals', async () => {
    service.put(await named('one'))
    const deputy = await deputyAt(await prepareFolder(setup()))
    expect(await verdict(deputy)).toBe('alice')
    expect(service.asked[0]).toHaveProperty('authorization', `Bearer ${BEARER}`)
    expect(await readyLine(deputy)).toMatch(
      /one; signed by prod at 20.*; the bundle service answered at 20/,
    )
    expect(events(deputy, 'policy.loaded')).toEqual([
      expect.objectContaining({
        policy: { revision: 'one', digest: expect.any(String) },
        bundle: {
          from: 'service',
          signed: { key: 'prod', iat: new Date(NOW * 1_000).toISOString() },
          ordered: true,
        },
      }),
    ])

    service.put(await named('foreign', { key: other.privateKey, claims: { iat: NOW + 9 } }))
    await expect.poll(() => readyLine(deputy), patient).toMatch(/one; .*it is not by prod/)
    expect(await verdict(deputy)).toBe('alice')
    expect(await admin(deputy, '/metrics')).toMatch(
      /deputy_bundle_requests_total\{result="refused"\} [1-9]/,
    )
    expect(events(deputy, 'policy.failed')).toEqual([
      expect.objectContaining({ problem: expect.stringMatching(/it is not by prod/) }),
    ])

    service.put(await named('two', { claims: { iat: NOW + 9 } }))
    await expect.poll(() => revision(deputy), patient).toBe('two')
    await expect.poll(() => readyLine(deputy), patient).not.toMatch(/not by prod/)
    expect(await verdict(deputy)).toBe('alice')
    expect(deputy.logged() + JSON.stringify(deputy.evidence())).not.toContain(BEARER)
  })

  test('calls go on while bundles come and go, and each is decided by one of them', async () => {
    service.hold(await named('r0'))
    const deputy = await deputyAt(await prepareFolder(setup()))
    const over = new AbortController()
    const answers: unknown[] = []
    const caller = async (): Promise<void> => {
      while (!over.signal.aborted) answers.push(await verdict(deputy))
    }
    const callers = [caller(), caller()]
    for (let n = 1; n <= 4; n += 1) {
      service.hold(await named(`r${n}`, { claims: { iat: NOW + n } }))
      await expect.poll(() => revision(deputy), patient).toBe(`r${n}`)
    }
    over.abort()
    await Promise.all(callers)
    expect(answers.length).toBeGreaterThan(20)
    expect([...new Set(answers)]).toEqual(['alice'])
    const decided = new Set(
      events(deputy, 'decision').map(({ policy }) => (policy as { revision: string }).revision),
    )
    expect([...decided].every((each) => /^r[0-4]$/.test(each))).toBe(true)
    expect(decided.size).toBeGreaterThan(2)
  })

  test('starts without the service from what it kept, and refuses what is older than that', async () => {
    service.put(await named('one'))
    const folder = await prepareFolder(setup())
    const first = await startDeputy(setup(), folder)
    expect(await revision(first)).toBe('one')
    await first.stop()
    service.answer((_req, res) => void res.writeHead(503).end())
    const second = await deputyAt(folder)
    expect(await verdict(second)).toBe('alice')
    expect(await readyLine(second)).toMatch(/one; signed by prod .*; kept from the last run/)
    expect(events(second, 'policy.loaded').at(-1)).toMatchObject({ bundle: { from: 'kept' } })
    service.put(await named('zero', { claims: { iat: NOW - 9 } }))
    await expect.poll(() => readyLine(second), patient).toMatch(/one; .*before the one in use/)
    expect(await verdict(second)).toBe('alice')
  })

  test('never had a bundle: nothing is allowed, it is not ready, and says why', async () => {
    const deputy = await deputyAt(await prepareFolder(setup()))
    expect(await verdict(deputy)).toBe('policy_unavailable')
    expect(await readyLine(deputy)).toMatch(
      /none; the bundle service .* has no bundle there \(404\)/,
    )
    service.put(await named('one'))
    await expect.poll(() => verdict(deputy), patient).toBe('alice')
  })

  test('takes a new key from its configuration, and what the old one signed no more', async () => {
    service.put(await named('one'))
    const folder = await prepareFolder(setup())
    const deputy = await deputyAt(folder)
    const write = (of: Pair): void => {
      const file = join(folder, 'deputy.yaml')
      const config = JSON.parse(readFileSync(file, 'utf8')) as Fields
      writeFileSync(
        file,
        JSON.stringify({ ...config, ...policyOf({ verification: { keys: { next: of.pem } } }) }),
      )
    }
    // Nothing that the new key signed is there yet: the configuration is refused, and calls go on.
    write(other)
    await deputy.reload()
    expect(await admin(deputy, '/readyz?verbose')).toMatch(/config revision 1; .*it is not by next/)
    expect(await verdict(deputy)).toBe('alice')
    service.put(await named('two', { key: other.privateKey }))
    await deputy.reload()
    expect([await revision(deputy), await verdict(deputy)]).toEqual(['two', 'alice'])
    expect(await readyLine(deputy)).toMatch(/two; signed by next/)
  })

  test('a file that is signed is checked as well', async () => {
    const folder = await prepareFolder(setup())
    const file = join(folder, 'deputy.yaml')
    const config = JSON.parse(readFileSync(file, 'utf8')) as Fields
    const { policy } = policyOf({
      bundle: './signed.tar.gz',
      bundle_auth: undefined,
      bundle_poll: undefined,
    })
    writeFileSync(file, JSON.stringify({ ...config, policy }))
    writeFileSync(join(folder, 'signed.tar.gz'), await named('signed'))
    const deputy = await deputyAt(folder)
    expect([await revision(deputy), await verdict(deputy)]).toEqual(['signed', 'alice'])
    expect(events(deputy, 'policy.loaded').at(-1)).toMatchObject({
      bundle: { from: 'files', ordered: true },
    })
    copyFileSync(BUNDLE, join(folder, 'signed.tar.gz'))
    await expect
      .poll(() => readyLine(deputy), patient)
      .toMatch(/signed; .*there is none \(\.signatures/)
    expect(await verdict(deputy)).toBe('alice')
  })
})

describe('`deputy validate`', () => {
  const run = async (offline: boolean) => {
    const said: string[] = []
    const print = (line: string): void => void said.push(line)
    const loaded = await loadFolder(folder)
    const code = await validate({ loaded, offline, print, complain: print })
    return { code, said: said.join('\n') }
  }
  let folder = ''
  beforeEach(async () => {
    folder = await prepareFolder(setup())
    ends.push(() => rmSync(folder, { recursive: true }))
  })
  test('asks the service, keeps nothing, and refuses what a deputy would not serve', async () => {
    service.put(await named('one'))
    expect(await run(false)).toMatchObject({
      code: 0,
      said: expect.stringMatching(/policy one \(sha256/),
    })
    expect(readdirSync(folder)).not.toContain('bundles')
    service.put(await named('foreign', { key: other.privateKey }))
    expect(await run(false)).toMatchObject({
      code: 78,
      said: expect.stringMatching(/policy\.bundle: the signature .*it is not by prod/),
    })
  })
  test('--offline does not ask, and says so', async () => {
    expect(await run(true)).toMatchObject({
      code: 0,
      said: expect.stringMatching(/note: policy\.bundle: the bundle service .* was not asked/),
    })
    expect(service.asked).toEqual([])
  })
})

const why = missingOpa ?? (opaCommand === null ? 'opa is missing' : null)
describe.skipIf(why !== null)(
  `beside OPA’s own server${why === null ? '' : ` (SKIPPED: ${why})`}`,
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'deputy-bundles-'))
    afterAll(() => rmSync(folder, { recursive: true }))
    /** As a team builds and signs it, by opa alone. */
    const built = (revision: string, pair: Pair, iat: number): Buffer => {
      const [key, claims, out] = ['key.pem', 'claims.json', 'b.tar.gz'].map((each) =>
        join(folder, each),
      )
      if (key === undefined || claims === undefined || out === undefined)
        throw new Error('no names')
      writeFileSync(key, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))
      writeFileSync(claims, JSON.stringify({ iat }))
      const compile = 'build -t wasm -O 0 -e deputy/decision -b policies --ignore *_test.rego'
      const native = '--capabilities policies/capabilities.json'
      const sign = `--signing-alg ES256 --signing-key ${key} --claims-file ${claims}`
      const args = `${compile} ${native} -r ${revision} -o ${out} ${sign}`.split(' ')
      execFileSync(opaCommand ?? 'opa', args, { cwd: root, stdio: 'pipe' })
      return readFileSync(out)
    }
    test('both have the same revision, decide alike, and refuse the same signature', async () => {
      service.put(built('first', mine, NOW))
      const opa = await startOpa(service.url, mine.pem)
      ends.push(() => opa.close())
      const quiet = (): void => undefined
      const source = await openPolicySource({
        bundle: service.url,
        service: {
          download: createDownload({
            url: service.url,
            fetch,
            authorization: () => Promise.resolve(null),
          }),
          kept: createKeptBundle(join(folder, 'kept'), service.url, 1e8),
          poll: 200,
          ask: 'always',
        },
        verification: { keys: { prod: mine.pem } },
        data: null,
        providers: [],
        connections: [],
        inputLimit: 32_768,
        log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
        clock: { now: () => Date.now(), mono: () => performance.now() },
        onChange: quiet,
      })
      ends.push(() => source.close())
      expect(source.current()?.revision).toBe('first')
      await expect.poll(() => opa.revision(), patient).toBe('first')
      const golden = join(root, 'test/golden')
      let allowed = 0
      for (const name of readdirSync(golden)) {
        const { input, decision } = JSON.parse(readFileSync(join(golden, name), 'utf8')) as {
          readonly input: object
          readonly decision: { readonly allow: boolean }
        }
        allowed += decision.allow ? 1 : 0
        expect(await source.current()?.evaluate(JSON.stringify(input)), name).toEqual(decision)
        expect(await opa.decide(input), name).toEqual(decision)
      }
      expect(allowed).toBeGreaterThan(10)

      service.put(built('second', mine, NOW + 1))
      await expect.poll(() => source.current()?.revision, patient).toBe('second')
      await expect.poll(() => opa.revision(), patient).toBe('second')

      service.put(built('foreign', other, NOW + 2))
      const before = service.asked.length
      await expect.poll(() => source.problem(), patient).toMatch(/it is not by prod/)
      await expect.poll(() => service.asked.length, patient).toBeGreaterThan(before + 6)
      expect([source.current()?.revision, await opa.revision()]).toEqual(['second', 'second'])
    }, 120_000)
  },
)
