import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  OPA_VERSION,
  contentRevision,
  findOpa,
  policyBuild,
  policyTest,
} from '../../proxy/commands/policy.ts'
import { unpackBundle } from '../../proxy/policy/bundle.ts'
import { createVerifier } from '../../proxy/policy/signature.ts'
import { ecPair, rsaPair } from '../support/bundles.ts'

const policies = fileURLToPath(new URL('../../policies', import.meta.url))
const places = { named: process.env['DEPUTY_OPA'], path: process.env['PATH'], home: homedir() }
const opa = await findOpa(places).catch(() => null)

const AS_WRITTEN = /^golden inputs in WebAssembly: (\d+) of \1 as written$/

let root = ''
let said: string[] = []
const print = (line: string): void => void said.push(line)
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'deputy-policy-'))
  said = []
})
afterEach(() => rmSync(root, { recursive: true }))

describe('the compiler', () => {
  test('of another version is refused, and the message says what to install', async () => {
    const file = join(root, 'opa')
    writeFileSync(file, '#!/bin/sh\necho "Version: 1.9.0"\n', { mode: 0o755 })
    await expect(findOpa({ path: root })).rejects.toThrow(
      `opa ${OPA_VERSION} is needed, but ${file} is 1.9.0`,
    )
    await expect(findOpa({ opa: file })).rejects.toThrow(/is 1\.9\.0/)
  })

  test('that cannot be run, or is a folder of that name, is passed over and named', async () => {
    const [broken, folder] = [join(root, 'broken'), join(root, 'folder')]
    mkdirSync(join(folder, 'opa'), { recursive: true })
    mkdirSync(broken)
    writeFileSync(join(broken, 'opa'), '#!/bin/sh\nexit 3\n', { mode: 0o755 })
    const path = `${broken}:${folder}`
    await expect(findOpa({ named: '', path })).rejects.toThrow(
      `but ${broken}/opa does not say its version, ${folder}/opa does not say its version: install it`,
    )
    const good = join(root, 'opa')
    writeFileSync(good, `#!/bin/sh\necho "Version: ${OPA_VERSION}"\n`, { mode: 0o755 })
    expect(await findOpa({ path: `${path}:${root}` })).toBe(good)
  })

  test('that is nowhere is an exit code and one line', async () => {
    mkdirSync(join(root, 'policies'))
    writeFileSync(join(root, 'policies/.manifest'), '{}')
    expect(await policyBuild({ root, places: { path: root }, print })).toBe(1)
    expect(said).toEqual([
      expect.stringMatching(/was not found: install it \(go install .*, or a binary of https:/),
    ])
    said = []
    const named = join(root, 'no-opa')
    expect(await policyTest({ root, places: { named }, print })).toBe(1)
    expect(said).toEqual([
      expect.stringMatching(/golden inputs in WebAssembly: policies\/bundle\.tar\.gz: .*ENOENT/),
      expect.stringMatching(/^NOT RUN: format, types, the Rego tests .* cannot be run/),
    ])
    expect(said[1]).toContain(`${named} cannot be run`)
  })

  test('that is nowhere still lets golden inputs be asked of the compiled policy, and says what was not run', async () => {
    cpSync(policies, join(root, 'policies'), { recursive: true })
    cpSync(join(policies, '../test/golden'), join(root, 'test/golden'), { recursive: true })
    const run = (): Promise<number> => policyTest({ root, places: { path: root }, print })
    expect(await run()).toBe(2)
    expect(said).toEqual([
      expect.stringMatching(AS_WRITTEN),
      expect.stringMatching(/^NOT RUN: .*was not found/),
    ])
    appendFileSync(join(root, 'policies/deputy/main.rego'), '\n# more\n')
    const file = join(root, 'test/golden/merge-a-pull.json')
    writeFileSync(file, readFileSync(file, 'utf8').replace('"github_merge"', '"github_verge"'))
    writeFileSync(join(root, 'test/golden/none.json'), '[]')
    said = []
    expect(await run()).toBe(1)
    expect(said).toEqual([
      expect.stringMatching(/^golden inputs in WebAssembly: \d+ of \d+ as written$/),
      '  test/golden/none.json: is not { input, decision }',
      '  test/golden/merge-a-pull.json: deny ["github_merge"]',
      expect.stringContaining('was built from other sources than those that are there'),
      expect.stringMatching(/^NOT RUN: /),
    ])
  })

  test('is not asked where there is no policy: the message names the folder and what writes one', async () => {
    for (const command of [policyBuild, policyTest]) {
      said = []
      expect(await command({ root, places, print })).toBe(1)
      expect(said).toEqual([
        expect.stringMatching(/policies is no folder of policy sources: `deputy init` writes one/),
      ])
      expect(said[0]).toContain(root)
    }
  })
})

const needs = opa === null ? ` (SKIPPED: needs opa ${OPA_VERSION}, name it with DEPUTY_OPA)` : ''

/** ms: some ask the compiler several times, which took more than two minutes on a busy machine. */
const LONG = { timeout: 300_000 }

describe.skipIf(opa === null)(`a build${needs}`, LONG, () => {
  beforeEach(() => cpSync(policies, join(root, 'policies'), { recursive: true }))

  test('is signed with a key of any kind that verifies, and says when', async () => {
    const key = join(root, 'key.pem')
    for (const pair of [ecPair(), rsaPair()]) {
      writeFileSync(key, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))
      const out = 'signed.tar.gz'
      said = []
      expect(await policyBuild({ root, places, print, out, signingKey: key, scope: 'prod' })).toBe(
        0,
      )
      expect(said).toEqual([expect.stringMatching(/^signed\.tar\.gz: revision \w{16}, signed$/)])
      const files = await unpackBundle(readFileSync(join(root, out)))
      const { issuedAt } = await createVerifier({ keys: { own: pair.pem }, scope: 'prod' })(files)
      expect(Math.abs((issuedAt ?? 0) - Date.now())).toBeLessThan(60_000)
    }
  })

  test('is not signed with what is no key, and what cannot be carried out is said', async () => {
    const key = join(root, 'key.pem')
    writeFileSync(key, 'hush')
    for (const [options, message] of [
      [{ signingKey: key }, /key\.pem is no private key in PEM/],
      [{ signingKey: key, check: true }, /^--check: a signed bundle/],
      [{ scope: 'prod' }, /^--scope: is of a signature/],
    ] as const) {
      said = []
      expect(await policyBuild({ root, places, print, out: 'b', ...options })).toBe(1)
      expect(said).toEqual([expect.stringMatching(message)])
      expect(said[0]).not.toContain('hush')
    }
  })

  test('takes the refusal that docs/policy.md adds, and its test', async () => {
    const book = readFileSync(join(policies, '../docs/policy.md'), 'utf8')
    const [rule = '', proof = '', ...rest] = [...book.matchAll(/```rego\n(.*?)```/gs)].map(
      ([, rego = '']) => rego,
    )
    expect(rest).toEqual([])
    const at = join(root, 'policies/deputy/providers/github')
    writeFileSync(join(at, 'freeze.rego'), rule)
    writeFileSync(join(at, 'freeze_test.rego'), proof)
    expect([await policyTest({ root, places, print, coverage: 100 }), said]).toEqual([
      0,
      [expect.stringMatching(/PASS/), expect.stringMatching(AS_WRITTEN), 'coverage: 100 %'],
    ])
    writeFileSync(join(at, 'freeze.rego'), rule.replace('"sat", "sun"', '"sat"'))
    expect(await policyTest({ root, places, print })).toBe(1)
  })

  test('in another folder gives the committed bytes', async () => {
    rmSync(join(root, 'policies/bundle.tar.gz'))
    expect(await policyBuild({ root, places, print })).toBe(0)
    const [here, there] = [root, join(policies, '..')].map((at) =>
      readFileSync(join(at, 'policies/bundle.tar.gz')),
    )
    expect(here?.equals(there ?? Buffer.alloc(0))).toBe(true)
  })

  test('that is checked writes nothing and fails once a source has changed, but not for a test', async () => {
    const before = await contentRevision(join(root, 'policies'))
    appendFileSync(join(root, 'policies/deputy/main_test.rego'), '\n# more\n')
    expect([await policyBuild({ root, places, print, check: true }), said]).toEqual([0, []])
    appendFileSync(join(root, 'policies/deputy/main.rego'), '\n# more\n')
    expect(await contentRevision(join(root, 'policies'))).not.toBe(before)
    expect(await policyBuild({ root, places, print, check: true })).toBe(1)
    expect(said).toEqual([
      'policies/bundle.tar.gz does not match its sources: run `deputy policy build`',
    ])
  })

  test('that answers a probe wrongly, or has a wrong table, replaces nothing', async () => {
    const bundle = join(root, 'policies/bundle.tar.gz')
    const before = readFileSync(bundle)
    const change = (file: string, from: string, to: string): void => {
      const path = join(root, 'policies/deputy_data', file)
      const text = readFileSync(path, 'utf8')
      expect(text).toContain(from)
      writeFileSync(path, text.replace(from, to))
    }
    change('probes/data.json', '"allow": true', '"allow": false')
    expect(await policyBuild({ root, places, print })).toBe(1)
    expect(said).toEqual([expect.stringMatching(/own probe "engineering reads" gave allow/)])
    change('probes/data.json', '"allow": false', '"allow": true')
    change('data.json', '"agents"', '"agent"')
    said = []
    expect(await policyBuild({ root, places, print })).toBe(1)
    expect(said.join()).toMatch(
      /policies: deputy_data\.grants: github\.gh-read: there is no member "agent": is agents meant\?/,
    )
    expect(readFileSync(bundle).equals(before)).toBe(true)
  })

  test('refuses a function that WebAssembly would have to call out for', async () => {
    appendFileSync(join(root, 'policies/deputy/main.rego'), '\nlate if time.now_ns() > 0\n')
    expect(await policyBuild({ root, places, print })).toBe(1)
    expect(said.join()).toMatch(/undefined function time\.now_ns/)
  })
})

describe.skipIf(opa === null)(`the policy's own tests${needs}`, LONG, () => {
  beforeEach(() => cpSync(policies, join(root, 'policies'), { recursive: true }))
  const tested = (coverage?: number): Promise<number> =>
    policyTest({ root, places, print, coverage })
  const add = (file: string, text: string): void =>
    appendFileSync(join(root, 'policies/deputy', file), text)

  test('pass for the shipped policy', async () => {
    expect(await tested(100)).toBe(0)
    expect(said).toEqual([
      expect.stringMatching(/^tests: PASS: \d+\/\d+$/),
      expect.stringMatching(AS_WRITTEN),
      'coverage: 100 %',
    ])
  })

  test('fail for a format, a field that no input has, and a failing test', async () => {
    add('main.rego', '\nx   := 1\n')
    expect([await tested(), said.at(-1)]).toEqual([1, expect.stringMatching(/^format: /)])
    cpSync(join(policies, 'deputy/main.rego'), join(root, 'policies/deputy/main.rego'))
    add('main.rego', '\nodd := input.user.salary\n')
    expect([await tested(), said.at(-1)]).toEqual([
      1,
      expect.stringMatching(/^types: [^]*undefined ref: input\.user\.salary/),
    ])
    cpSync(join(policies, 'deputy/main.rego'), join(root, 'policies/deputy/main.rego'))
    add('main_test.rego', '\ntest_wrong := false\n')
    expect([await tested(), said.at(-1)]).toEqual([
      1,
      expect.stringMatching(/^tests: policies\/deputy\/main_test\.rego[^]*test_wrong/),
    ])
  })

  test('tell what no test reaches, which fails only where a figure is asked for', async () => {
    add('main.rego', '\nuntested if input.version == 3\n')
    const told = [
      expect.stringMatching(/PASS/),
      expect.stringMatching(AS_WRITTEN),
      expect.stringMatching(/^coverage: 9\d\.\d+ %; no test reaches:$/),
      expect.stringMatching(/^ {2}policies\/deputy\/main\.rego:\d+-\d+$/),
    ]
    expect([await tested(), said]).toEqual([0, told])
    const [, file = ''] = /^ {2}(.*):/.exec(said.at(-1) ?? '') ?? []
    expect(existsSync(join(root, file))).toBe(true)
    said = []
    expect([await tested(100), said]).toEqual([1, [...told, 'at least 100 % is asked for']])
  })
})
