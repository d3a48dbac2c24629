import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { InputMember, Log, PolicyDecision, PolicyEngine } from '../../proxy/model.ts'
import {
  openShadow,
  type Differed,
  type Shadow,
  type ShadowResult,
} from '../../proxy/policy/shadow.ts'
import { paced } from '../support/pace.ts'

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/policies/${name}.tar.gz`, import.meta.url))
const clock = { now: () => Date.now(), mono: () => performance.now() }
let folder = ''
let errors: string[] = []
let counted: ShadowResult[] = []
let differed: Differed[] = []
let shadow: Shadow
const quiet = (): void => undefined
const log: Log = {
  debug: quiet,
  info: quiet,
  warn: quiet,
  error: (_, msg) => void errors.push(msg),
}
const told = {
  counted: (result: ShadowResult) => void counted.push(result),
  differed: (what: Differed) => void differed.push(what),
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-shadow-'))
  errors = []
  counted = []
  differed = []
})
afterEach(async () => {
  await shadow.close()
  rmSync(folder, { recursive: true })
})
const open = (name: string | null): void => {
  const bundle = join(folder, 'bundle.tar.gz')
  if (name !== null) copyFileSync(fixture(name), bundle)
  shadow = openShadow({ bundle, data: null, inputLimit: 32_768, log, clock, poll: 50 })
}
const loaded = (revision: string) => expect.poll(() => shadow.revision()).toBe(revision)
const ALLOW: PolicyDecision = {
  version: 1,
  allow: true,
  reasons: [],
  required_scopes: [],
  obligations: {},
  max_entitlement_age_s: 60,
  grants: ['use'],
}
const DENY: PolicyDecision = {
  ...ALLOW,
  allow: false,
  reasons: [{ code: 'no_grant', msg: '' }],
  grants: [],
}
const serving = (answer: PolicyDecision | Promise<PolicyDecision>): PolicyEngine => ({
  revision: 'serving',
  digest: '',
  asks: { zones: [], history: null },
  evaluate: () => answer,
  close: () => Promise.resolve(),
})
/** What `stuck` lets staff do, unless the path is `late`. */
const input = (path = 'now', groups = ['staff']): string =>
  JSON.stringify({
    version: 1,
    request_id: 'E1',
    request: { segments: [path], part: { number: 2, of: 3 } },
    operation: { id: 'a' },
    user: { groups },
  })
const counts = (...results: readonly ShadowResult[]) => expect.poll(() => counted).toEqual(results)

const shipped = fileURLToPath(new URL('../../policies/bundle.tar.gz', import.meta.url))
const groupsOf = (input: object): readonly string[] =>
  (input as { readonly user: { readonly groups: readonly string[] } }).user.groups
const golden = JSON.parse(
  readFileSync(new URL('../golden/merge-a-pull.json', import.meta.url), 'utf8'),
) as { readonly input: { readonly operation: object; readonly request: object } }

describe('a shadow whose rows ask for what those in force do not', () => {
  const read = {
    ...golden.input,
    operation: { id: 'a.get', kind: 'rest', access: 'read', required_scopes: [] },
    request: {
      ...golden.input.request,
      method: 'GET',
      segments: ['x'],
      body: { state: 'none', bytes: 0 },
    },
  }
  /** 02:30 UTC: in Tokyo it is 11:30. */
  const now: InputMember = ['now', '{"unix_s":1790044200,"weekday":"tue","hour":2}']
  const asked = async (row: object): Promise<void> => {
    const data = join(folder, 'tables')
    mkdirSync(data)
    const table = (name: string, value: object): void =>
      writeFileSync(join(data, `${name}.json`), JSON.stringify(value))
    table('grants', { github: { r: { operations: ['*'], roles: ['any'], ...row } } })
    table('role_grants', {})
    table('group_roles', Object.fromEntries(groupsOf(read).map((group) => [group, ['any']])))
    shadow = openShadow({ bundle: shipped, data, inputLimit: 32_768, log, clock, poll: 50 })
    await expect.poll(() => shadow.revision()).not.toBeNull()
    const { now: _, ...rest } = read as typeof read & { readonly now: unknown }
    await shadow.beside(serving(ALLOW), told).evaluate(JSON.stringify(rest), [now])
  }
  test('is told the time in its zones', async () => {
    await asked({ when: [{ zone: 'Asia/Tokyo', from: '11:30', to: '11:31' }] })
    await counts('same')
  })
  test('which is that of the call', async () => {
    await asked({ when: [{ zone: 'Asia/Tokyo', from: '11:31' }] })
    await counts('allow_to_deny')
  })
  test('is asked as if nothing had gone before', async () => {
    await asked({ history: [{ by: 'person', operations: ['*'], within_s: 60, at_most: 0 }] })
    await counts('same')
  })
})

describe('a shadow', () => {
  test('is asked what the one that serves was asked, and says nothing of what is the same', async () => {
    open('stuck')
    await loaded('stuck')
    const engine = shadow.beside(serving(ALLOW), told)
    expect(shadow.beside(serving(ALLOW), told)).not.toBe(engine)
    expect(engine.evaluate(input())).toBe(ALLOW)
    await counts('same')
    expect(differed).toEqual([])
  })
  test.each([
    [ALLOW, [], 'allow_to_deny'],
    [DENY, ['staff'], 'deny_to_allow'],
    [{ ...DENY, reasons: [{ code: 'other', msg: '' }] }, [], 'otherwise'],
  ] as const)('that differs is recorded with the call: %#', async (answer, groups, result) => {
    open('stuck')
    await loaded('stuck')
    const engine = shadow.beside(serving(Promise.resolve(answer)), told)
    expect(await engine.evaluate(input('now', [...groups]))).toBe(answer)
    await counts(result)
    expect(differed).toMatchObject([
      {
        exchange: 'E1',
        part: 2,
        result,
        serving: { allow: answer.allow },
        policy: { revision: 'stuck' },
      },
    ])
  })
  test('that never ends fails, and holds nobody up', async () => {
    open('stuck')
    await loaded('stuck')
    const engine = shadow.beside(serving(ALLOW), told)
    const began = performance.now()
    expect(engine.evaluate(input('late'))).toBe(ALLOW)
    expect(engine.evaluate(input())).toBe(ALLOW)
    expect(performance.now() - began).toBeLessThan(paced(50))
    await counts('failed', 'same')
  })
  test('is skipped where too many wait for it, which is counted', async () => {
    open('stuck')
    await loaded('stuck')
    const engine = shadow.beside(serving(ALLOW), told)
    for (let i = 0; i < 300; i++) void engine.evaluate(input())
    expect(counted.filter((one) => one === 'skipped')).toHaveLength(300 - 256)
    await expect.poll(() => counted.filter((one) => one === 'same').length).toBe(256)
  })
  test('that may not serve, or is not there, is told and skipped, until its file is mended', async () => {
    open(null)
    await expect.poll(() => shadow.problem()).toMatch(/does not exist/)
    expect(errors).toEqual(['policy.shadow is refused, and calls go on without it'])
    const engine = shadow.beside(serving(ALLOW), told)
    expect(engine.evaluate(input())).toBe(ALLOW)
    expect(counted).toEqual(['skipped'])
    copyFileSync(fixture('stuck'), join(folder, 'bundle.tar.gz'))
    await loaded('stuck')
    expect(shadow.problem()).toBe(null)
    void engine.evaluate(input())
    await counts('skipped', 'same')
    copyFileSync(fixture('wild'), join(folder, 'bundle.tar.gz'))
    await loaded('wild')
  })
})
