// The vendors' SDKs, unmodified, as two people each: what docs/sdks.md says of them is what is seen here.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { backlotMissing } from '../support/backlot.ts'
import { GO, JARS, PYTHON } from '../support/built.ts'
import { startProgram } from './child.ts'
import type { Program } from './child.ts'
import { javaArgs, javaEnv } from './java.ts'
import { BYTES, JAVASCRIPT } from './javascript.ts'
import { counted, onlyOf, settled } from './measure.ts'
import type { Ask, Said, Step } from './measure.ts'
import { ROWS, WHO } from './rows.ts'
import type { Row } from './rows.ts'
import { startWorld } from './world.ts'
import type { Fields } from '../support/deputy.ts'
import type { Since, World } from './world.ts'

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
/** `.ci/run` makes it. */
const GH = process.env['DEPUTY_GH'] ?? join(homedir(), '.cache/deputy-ci/gh-2.23/usr/bin/gh')
/** Some have an https address of their own, which only HTTPS_PROXY reaches. */
const FORWARD = ['simple-salesforce', 'google-api-python-client', 'google-api-client']
const JAVA = ['java', ...javaArgs('Drive.java')] as const
const PROGRAMS: Readonly<Record<string, readonly [string, ...(readonly string[])]>> = {
  Python: [PYTHON, file('drive.py')],
  'Python by HTTPS_PROXY': [PYTHON, file('drive.py')],
  Go: [GO, 'drive'],
  Java: JAVA,
  'Java by HTTPS_PROXY': JAVA,
}
const NEEDS: Readonly<Record<string, string>> = { Python: PYTHON, Go: GO, Java: JARS }

/** Empty, or why nothing is tried: said aloud; under DEPUTY_NO_SKIP=1 it throws. */
const programOf = ({ language, sdk }: Row): string =>
  FORWARD.includes(sdk) ? `${language} by HTTPS_PROXY` : language
const missing = (row: Row): string => {
  const needs = NEEDS[row.language] ?? process.execPath
  if (existsSync(needs)) return ''
  const text = `${needs} is missing: .ci/run makes it`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(text)
  process.stderr.write(`SKIPPED: ${text}\n`)
  return ` (SKIPPED: ${text})`
}
const lacks = backlotMissing()
const rows = ROWS.filter((row) => missing(row) === '')

const nameOf = (row?: Row): string => `${row?.language}: ${row?.sdk}`
let world: World
const programs = new Map<string, Program>()
beforeAll(async () => {
  if (lacks !== '') return
  world = await startWorld()
  for (const [name, [command, ...args]] of Object.entries(PROGRAMS)) {
    if (!rows.some((row) => programOf(row) === name)) continue
    const forward = name.endsWith('HTTPS_PROXY')
    const { HTTPS_PROXY = '', SSL_CERT_FILE = '' } = world.env
    const java = forward && name.startsWith('Java') ? javaEnv(HTTPS_PROXY, [SSL_CERT_FILE]) : {}
    const env = forward ? { ...world.env, ...java } : {}
    programs.set(name, startProgram(command, [...args, world.deputy.agent], env))
  }
}, 120_000)
afterAll(async () => {
  for (const { close } of programs.values()) await close()
  await world?.close()
})

/** In this process, as a program of another language does it. */
const here: Ask = async (name, step, key) => {
  const sdk = JAVASCRIPT[name]
  if (sdk === undefined) throw new Error(`there is no ${name}`)
  const at = { origin: world.deputy.agent, key }
  if (step === 'calls') {
    // What a client makes of so poor an answer does not matter: what was sent is counted where it arrives.
    for (const call of sdk.calls(at)) await Promise.resolve(call()).catch(() => {})
    return { value: null }
  }
  try {
    return { value: await sdk[step]?.(at) }
  } catch (error) {
    return { told: sdk.told(error as never), error: String(error) }
  }
}
const ask = (row: Row, step: Step, person: string): Promise<Said> => {
  const program = programs.get(programOf(row))?.ask ?? here
  return program(row.sdk, step, world.tag(person))
}

type Facts = Readonly<Partial<Record<Step, { readonly said: Said; readonly since: Since }>>>
const STEPS = ['who', 'calls', 'pages', 'upload'] as const
const factsOf = async (row: Row, person: string): Promise<Facts> => {
  const facts: { [step in Step]?: { said: Said; since: Since } } = {}
  for (const step of STEPS) {
    if (step === 'upload' && !row.upload) continue
    let said: Said = { value: undefined }
    const since = await settled(world, async () => {
      said = await ask(row, step, person)
    })
    facts[step] = { said, since }
  }
  return facts
}
const valueOf = (facts: Facts, step: Step): unknown => {
  const said = facts[step]?.said ?? { value: undefined }
  return 'value' in said ? said.value : said
}
/** Whom the provider says that it serves, and whose every call was that it saw. */
const actsAs = (row: Row, person: 'alice' | 'bob', facts: Facts): void => {
  expect(valueOf(facts, 'who')).toBe(WHO[row.who][person === 'alice' ? 0 : 1])
  for (const each of Object.values(facts)) onlyOf(person, each.since)
}

describe.skipIf(lacks !== '').each(rows.map((row) => [nameOf(row), row] as const))(
  `%s${lacks}`,
  (_name, row) => {
    const facts: { alice?: Facts; bob?: Facts } = {}
    test('acts as the person that its tag names, in every call', { timeout: 120_000 }, async () => {
      for (const person of ['alice', 'bob'] as const) {
        const seen = await factsOf(row, person)
        facts[person] = seen
        actsAs(row, person, seen)
      }
    })
    test('would be found out if its person were swapped', () => {
      const { alice = {}, bob = {} } = facts
      expect(() => actsAs(row, 'alice', bob)).toThrow()
      expect(() => actsAs(row, 'bob', alice)).toThrow()
      // Each step by itself, not only the one that asks who it is.
      for (const step of STEPS.filter((each) => bob[each] !== undefined))
        expect(() => onlyOf('alice', bob[step]?.since ?? { seen: [], evidence: [] })).toThrow()
    })
    test('does as much as the table says', () => {
      for (const seen of Object.values(facts)) {
        const { calls, unknown } = counted(seen.calls?.since ?? { seen: [], evidence: [] })
        expect({ calls, unknown }).toEqual({ calls: row.calls, unknown: row.unknown })
        if (row.pages) expect(valueOf(seen, 'pages')).toEqual(['first', 'second'])
        if (row.upload) expect(seen.upload?.said).not.toHaveProperty('error')
        const bodies = seen.upload?.since.seen.map(({ body, headers }) =>
          headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body,
        )
        const whole = [BYTES, Buffer.from(BYTES).toString('base64')]
        expect((bodies ?? []).some((body) => whole.some((bytes) => body.includes(bytes)))).toBe(
          row.upload,
        )
      }
    })
    test('shows the refusal, and does not repeat it', async () => {
      let said: Said = { value: 'nothing was thrown' }
      const since = await settled(world, async () => {
        said = await ask(row, 'who', 'dave')
      })
      expect(counted(since).calls).toBe(row.asks)
      expect(said).toMatchObject({
        told: {
          ...(row.told.code ? { code: 'consent_required' } : {}),
          ...(row.told.url
            ? { url: expect.stringContaining(`${world.deputy.connect}/connect/`) }
            : {}),
        },
      })
    })
  },
)

/** Programs that no code points anywhere: HTTPS_PROXY names deputy, and nothing but their usual key names the person. */
const COMMANDS: Readonly<
  Record<string, (tag: string) => readonly [string, readonly string[], object]>
> = {
  curl: (tag) => [
    'curl',
    [
      '-sS',
      '--fail-with-body',
      '-H',
      `Authorization: Bearer ${tag}`,
      'https://api.github.com/user',
    ],
    {},
  ],
  'fetch of Node': (tag) => [
    process.execPath,
    [
      '--input-type=module',
      '-e',
      "const answer = await fetch('https://api.github.com/user', { headers: { authorization: `Bearer ${process.env.TAG}` } })\nconsole.log(await answer.text())",
    ],
    { TAG: tag },
  ],
  gh: (tag) => [GH, ['api', 'user'], { GH_TOKEN: tag, GH_CONFIG_DIR: tmpdir(), HOME: tmpdir() }],
}
describe.skipIf(lacks !== '').each(Object.keys(COMMANDS))(`%s by HTTPS_PROXY${lacks}`, (name) => {
  const run = async (person: string): Promise<string> => {
    const [command, args, more] = COMMANDS[name]?.(world.tag(person)) ?? ['', [], {}]
    const env = { PATH: process.env['PATH'] ?? '', ...world.env, ...more }
    const said = promisify(execFile)(command, [...args], { env, timeout: 110_000 })
    return said.then(
      ({ stdout }) => stdout,
      (error: { readonly stdout: string; readonly stderr: string }) => error.stdout + error.stderr,
    )
  }
  const skip = name === 'gh' && !existsSync(GH)
  if (skip && process.env['DEPUTY_NO_SKIP'] === '1')
    throw new Error(`${GH} is missing: .ci/run makes it`)
  test.skipIf(skip)(
    'acts as the person that its tag names, and shows the link',
    { timeout: 120_000 },
    async () => {
      for (const [person, other] of [
        ['alice', 'bob'],
        ['bob', 'alice'],
      ] as const) {
        let said = ''
        const since = await settled(world, async () => void (said = await run(person)))
        expect((JSON.parse(said) as { readonly login: unknown }).login).toBe(person)
        onlyOf(person, since)
        expect(() => onlyOf(other, since)).toThrow()
      }
      expect(await run('dave')).toContain(`${world.deputy.connect}/connect/`)
    },
  )
})

describe.skipIf(lacks !== '')(`the SDKs of Java, by a base URL and by the proxy${lacks}`, () => {
  test.each(
    rows.filter(({ language }) => language === 'Java').map((row) => [row.sdk, row] as const),
  )('%s', { timeout: 120_000 }, async (_name, row) => {
    for (const program of ['Java', 'Java by HTTPS_PROXY'])
      for (const person of ['alice', 'bob'] as const) {
        let said: Said | undefined
        const since = await settled(world, async () => {
          said = await programs.get(program)?.ask(row.sdk, 'who', world.tag(person))
        })
        expect(said).toEqual({ value: WHO[row.who][person === 'alice' ? 0 : 1] })
        onlyOf(person, since)
      }
  })
})

describe.skipIf(lacks !== '')(`what an SDK repeats by itself${lacks}`, () => {
  const gets = (said: Said): boolean => 'value' in said
  type Asked = { readonly person: unknown; readonly operation: unknown }
  const asked = new Map<unknown, Asked>()
  const ended: (Asked & { readonly limited: boolean })[] = []
  /** How the calls of this person ended. The evidence of all is long by now: each line is read once. */
  const endsOf = (person: string): readonly (Asked & { readonly limited: boolean })[] => {
    for (const { exchange, user, operation, result } of world.since()
      .evidence as readonly Fields[]) {
      if (operation !== undefined)
        asked.set(exchange, {
          person: (user as Fields)['id'],
          operation: (operation as Fields)['id'],
        })
      const call = asked.get(exchange)
      if (result !== undefined && call !== undefined)
        ended.push({ ...call, limited: result === 'rate_limited' })
    }
    return ended.filter((call) => call.person === person)
  }
  /** How often they were told to wait. */
  const limited = (person: string): number => endsOf(person).filter((call) => call.limited).length
  test('a 429, after as long as it says', { timeout: 120_000 }, async () => {
    const found = await Promise.all(
      rows.map(async (row, n) => {
        const person = `slow-${n}`
        const url = `${world.deputy.agent}/api.github.com/user`
        const spend = () => fetch(url, { headers: { 'deputy-user': world.tag(person) } })
        // Once more where the window ended before the SDK had asked.
        for (let tries = 0; tries < 20; tries += 1) {
          const earlier = limited(person)
          for (let status = 0; status !== 429;) {
            const answer = await spend()
            status = answer.status
            await answer.arrayBuffer()
          }
          // Its line may come later than its answer, and would be taken for the SDK's.
          await expect.poll(() => limited(person)).toBeGreaterThan(earlier)
          const before = endsOf(person).length
          if (!gets(await ask(row, 'who', person))) return false
          const since = endsOf(person).slice(before)
          // Some ask two questions, of which the first may fail: repeated is what was refused itself.
          if (
            since.some(
              ({ limited: refused, operation }, i) =>
                refused &&
                since.slice(i).some((later) => !later.limited && later.operation === operation),
            )
          )
            return true
        }
        throw new Error(`${nameOf(row)} was never refused, or never got what it asked for again`)
      }),
    )
    expect(Object.fromEntries(found.map((is, n) => [nameOf(rows[n]), is]))).toEqual(
      Object.fromEntries(rows.map((row) => [nameOf(row), row.again[429]])),
    )
  })
  test('a 503', { timeout: 120_000 }, async () => {
    world.since()
    let refused = 0
    const asked = rows.reduce((sum, { asks }) => sum + asks, 0)
    const look = setInterval(() => {
      refused += world.since().evidence.filter(({ event }) => event === 'refused').length
      if (refused >= asked) world.erinKnown(true)
    }, 50)
    const found = await Promise.all(rows.map((row) => ask(row, 'who', 'erin').then(gets)))
    clearInterval(look)
    expect(Object.fromEntries(found.map((is, n) => [nameOf(rows[n]), is]))).toEqual(
      Object.fromEntries(rows.map((row) => [nameOf(row), row.again[503]])),
    )
  })
})
