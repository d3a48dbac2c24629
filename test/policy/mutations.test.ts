// Go and WebAssembly give the same answer also to inputs that nobody thought of: golden ones, changed at random places.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { findOpa, OPA_VERSION } from '../../proxy/commands/policy.ts'
import { activate } from '../../proxy/policy/activate.ts'
import { readBundle } from '../../proxy/policy/bundle.ts'
import { readAnswer } from '../../proxy/policy/decision.ts'
import type { JsonObject } from '../../proxy/model.ts'
import { isObject } from '../../proxy/wire/json.ts'

type Json = null | boolean | number | string | Json[] | { [name: string]: Json }
type Golden = { readonly input: Json }

const MUTATIONS = 3_000
const root = fileURLToPath(new URL('../../', import.meta.url))
const golden = readdirSync(join(root, 'test/golden')).map(
  (name) => (JSON.parse(readFileSync(join(root, 'test/golden', name), 'utf8')) as Golden).input,
)
/** mulberry32: the same numbers each time. */
const randomOf = (seed: number): (() => number) => {
  let state = seed
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
const random = randomOf(20_261_129)
const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T

const VALUES: readonly Json[] = [
  null,
  true,
  false,
  0,
  1,
  -1,
  1.5,
  300_001,
  '',
  'a',
  'main',
  'refs/heads/main',
  'DELETE',
  'POST',
  'PATCH',
  'GET',
  'admin',
  'write',
  'read',
  'graphql',
  'rest',
  'deputy',
  'unknown',
  'x@evil.example',
  'bob@example.com',
  'ä',
  '☃',
  [],
  {},
  ['a'],
  [1],
  [null],
  { a: 'b' },
  { unread: true, sends: true },
  { unread: false, sends: true, domains: ['evil.example'] },
  [{ email: 'x@evil.example' }],
  [{ emailAddress: { address: 'bob@example.com' } }, {}],
  'list',
  'engineering',
  ['engineering', 'staff'],
]
/** Texts that stand somewhere in a golden input come to stand elsewhere. */
const texts = new Set<string>()
const gather = (value: Json): void => {
  if (typeof value === 'string') texts.add(value)
  else if (Array.isArray(value)) value.forEach(gather)
  else if (value !== null && typeof value === 'object')
    for (const [name, inner] of Object.entries(value)) {
      texts.add(name)
      gather(inner)
    }
}
golden.forEach(gather)
const words = [...texts]

type Place = { readonly of: Json[] | { [name: string]: Json }; readonly key: string }
const placesIn = (value: Json): Place[] =>
  Array.isArray(value)
    ? value.flatMap((inner, i) => [{ of: value, key: String(i) }, ...placesIn(inner)])
    : isObject(value)
      ? Object.entries(value).flatMap(([key, inner]) => [{ of: value, key }, ...placesIn(inner)])
      : []

const setAt = ({ of, key }: Place, value: Json): void => {
  if (Array.isArray(of)) of[Number(key)] = value
  else of[key] = value
}
const mutated = (): Json => {
  const input = structuredClone(pick(golden))
  const other = placesIn(pick(golden))
  for (let i = 0, n = 1 + Math.floor(random() * 3); i < n; i++) {
    const all = placesIn(input)
    if (all.length === 0) break
    const place = pick(all)
    const kind = random()
    if (kind < 0.2 && !Array.isArray(place.of)) delete place.of[place.key]
    else if (kind < 0.3 && Array.isArray(place.of)) place.of.splice(Number(place.key), 1)
    else if (kind < 0.6) setAt(place, structuredClone(pick(VALUES)))
    else if (kind < 0.8) setAt(place, pick(words))
    else if (kind < 0.9 && other.length > 0) {
      // What another input has by this name.
      const same = other.filter(({ key }) => key === place.key)
      const from = pick(same.length === 0 ? other : same)
      setAt(place, structuredClone((from.of as { [name: string]: Json })[from.key] ?? null))
    } else if (!Array.isArray(place.of)) place.of[pick(words)] = structuredClone(pick(VALUES))
    else place.of.push(structuredClone(pick(VALUES)))
  }
  return input
}

const places = { named: process.env['DEPUTY_OPA'], path: process.env['PATH'], home: homedir() }
const opa = await findOpa(places).catch(() => null)
const needs = opa === null ? ` (SKIPPED: needs opa ${OPA_VERSION}, name it with DEPUTY_OPA)` : ''
const quiet = (): void => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
const clock = { now: () => Date.now(), mono: () => performance.now() }

/** So that the lists of the guards are asked for too. */
const GUARDS: JsonObject = {
  github: { branches: ['main', 'release/*'] },
  gitea: { branches: ['main'] },
  google: { domains: ['example.com'] },
  microsoft: { domains: ['example.com', '*.example.org'] },
  hubspot: { domains: ['example.com'] },
}

describe.skipIf(opa === null)(`the referee, opa ${OPA_VERSION}${needs}`, () => {
  test.each<[string, JsonObject]>([
    ['the shipped tables', {}],
    ['tables with lists', GUARDS],
  ])(
    `${MUTATIONS} changed golden inputs are decided the same: %s`,
    { timeout: 300_000 },
    async (_name, guards) => {
      const scratch = mkdtempSync(join(tmpdir(), 'deputy-mutations-'))
      const bundle = await readBundle(readFileSync(join(root, 'policies/bundle.tar.gz')))
      const listed = Object.keys(guards).length > 0
      const own = new Map(listed ? [['guards', guards]] : [])
      const engine = await activate(bundle, own, { log, clock })
      try {
        const all = Array.from({ length: MUTATIONS }, mutated)
        writeFileSync(join(scratch, 'input.json'), JSON.stringify({ all, guards }))
        const asked = listed ? ' with data.deputy_data.guards as guards' : ''
        const out = execFileSync(
          opa ?? '',
          [
            'eval',
            '-b',
            'policies',
            '-i',
            join(scratch, 'input.json'),
            '-f',
            'values',
            `[d | guards := input.guards; some one in input.all; d := data.deputy.decision with input as one${asked}]`,
          ],
          { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 28 },
        )
        const [go] = JSON.parse(out) as [unknown[]]
        expect(go).toHaveLength(MUTATIONS)
        const differ: unknown[] = []
        let allowed = 0
        for (const [i, input] of all.entries()) {
          const wasm = await engine.evaluate(JSON.stringify(input))
          // An answer of another shape is none, whoever gives it.
          const other = readAnswer(JSON.stringify([{ result: go[i] }]))
          if ('allow' in wasm && wasm.allow) allowed++
          if (JSON.stringify(sorted(wasm)) !== JSON.stringify(sorted(other)))
            differ.push({ input, wasm, go: other })
        }
        expect(differ).toEqual([])
        // Both kinds of answer, or the sameness would say little.
        expect(allowed).toBeGreaterThan(MUTATIONS / 20)
        expect(allowed).toBeLessThan(MUTATIONS * 0.8)
        for (const code of listed
          ? ['recipient_outside', 'invitation_outside', 'github_branch']
          : [])
          expect(out).toContain(code)
      } finally {
        await engine.close()
        rmSync(scratch, { recursive: true })
      }
    },
  )

  test('a bundle that opa optimised at level 2 is refused', { timeout: 120_000 }, async () => {
    const scratch = mkdtempSync(join(tmpdir(), 'deputy-optimised-'))
    try {
      const out = join(scratch, 'bundle.tar.gz')
      const build = ['build', '-t', 'wasm', '-O', '2', '-e', 'deputy/decision', '-b', 'policies']
      const only = [
        '--capabilities',
        'policies/capabilities.json',
        '--ignore',
        '*_test.rego',
        '-o',
        out,
      ]
      execFileSync(opa ?? '', [...build, ...only], { cwd: root })
      await expect(readBundle(readFileSync(out))).rejects.toThrow(/optimi[sz]ed|partial|-O/)
    } finally {
      rmSync(scratch, { recursive: true })
    }
  })
})

const sorted = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(sorted)
    : isObject(value)
      ? Object.fromEntries(
          Object.entries(value)
            .toSorted(([a], [b]) => (a < b ? -1 : 1))
            .map(([k, v]) => [k, sorted(v)]),
        )
      : value
