import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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

const policies = fileURLToPath(new URL('../../policies', import.meta.url))
const places = { named: process.env['DEPUTY_OPA'], path: process.env['PATH'], home: homedir() }
const opa = await findOpa(places).catch(() => null)

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

  test('that is nowhere is an exit code and one line', async () => {
    expect(await policyBuild({ root, places: { path: root }, print })).toBe(1)
    expect(said).toEqual([expect.stringMatching(/was not found: install it/)])
  })
})

const needs = opa === null ? ` (SKIPPED: needs opa ${OPA_VERSION}, name it with DEPUTY_OPA)` : ''

describe.skipIf(opa === null)(`a build${needs}`, () => {
  beforeEach(() => cpSync(policies, join(root, 'policies'), { recursive: true }))

  test('takes the refusal that the README adds, and its test', async () => {
    const readme = readFileSync(join(policies, '../README.md'), 'utf8')
    const [rule = '', proof = '', ...rest] = [...readme.matchAll(/```rego\n(.*?)```/gs)].map(
      ([, rego = '']) => rego,
    )
    expect(rest).toEqual([])
    const at = join(root, 'policies/deputy/providers/github')
    writeFileSync(join(at, 'freeze.rego'), rule)
    writeFileSync(join(at, 'freeze_test.rego'), proof)
    expect([await policyTest({ root, places, print }), said]).toEqual([
      0,
      [expect.stringMatching(/PASS/)],
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

  test('refuses a function that WebAssembly would have to call out for', async () => {
    appendFileSync(join(root, 'policies/deputy/main.rego'), '\nlate if time.now_ns() > 0\n')
    expect(await policyBuild({ root, places, print })).toBe(1)
    expect(said.join()).toMatch(/undefined function time\.now_ns/)
  })
})

describe.skipIf(opa === null)(`the policy's own tests${needs}`, () => {
  beforeEach(() => cpSync(policies, join(root, 'policies'), { recursive: true }))
  const tested = (): Promise<number> => policyTest({ root, places, print })
  const add = (file: string, text: string): void =>
    appendFileSync(join(root, 'policies/deputy', file), text)

  test('pass for the shipped policy', async () => {
    expect(await tested()).toBe(0)
    expect(said).toEqual([expect.stringMatching(/^tests: PASS: \d+\/\d+$/)])
  })

  test('fail for a format, a field that no input has, a failing test, and a line without a test', async () => {
    add('main.rego', '\nx   := 1\n')
    expect([await tested(), said.at(-1)]).toEqual([1, expect.stringMatching(/^format: /)])
    cpSync(join(policies, 'deputy/main.rego'), join(root, 'policies/deputy/main.rego'))
    add('main.rego', '\nodd := input.user.salary\n')
    expect([await tested(), said.at(-1)]).toEqual([
      1,
      expect.stringMatching(/^types: [^]*undefined ref: input\.user\.salary/),
    ])
    cpSync(join(policies, 'deputy/main.rego'), join(root, 'policies/deputy/main.rego'))
    add('main.rego', '\nuntested if input.version == 3\n')
    expect([await tested(), said.at(-1)]).toEqual([1, expect.stringMatching(/main\.rego:\d+-\d+/)])
    add('main_test.rego', '\ntest_wrong := false\n')
    expect([await tested(), said.at(-1)]).toEqual([
      1,
      expect.stringMatching(/^tests: [^]*test_wrong/),
    ])
  })
})
