import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { readBundle } from '../../proxy/policy/bundle.ts'
import { wholeRow } from '../../proxy/policy/row.ts'
import type { Written } from '../../proxy/policy/row.ts'
import { checkTables } from '../../proxy/policy/make.ts'
import type { Grants } from '../../proxy/policy/tables.ts'
import { unreadKeys } from '../../proxy/policy/unread.ts'

const bundleAt = (path: string) => readBundle(readFileSync(new URL(path, import.meta.url)))
const shipped = await bundleAt('../../policies/bundle.tar.gz')
const other = await bundleAt('../fixtures/policies/odd.tar.gz')
const NONE = { agents: null, guards: null }
const rows = (row: Partial<Written>): Grants => ({
  github: {
    plain: wholeRow('github', { operations: ['*'] }),
    r: wholeRow('github', { operations: ['*'], ...row }),
  },
})

describe('a key that the compiled policy never reads is named, for it would be granted without', () => {
  test.each<[string, Partial<Written>]>([
    ['when', { when: [{ from: '07:00' }] }],
    ['arguments', { arguments: [{ pointer: '/a', equals: 1 }] }],
    ['max_body_bytes', { max_body_bytes: 1 }],
    ['mail', { mail: { domains: ['example.com'] } }],
    ['checks', { checks: ['may'] }],
    ['history', { history: [{ by: 'run', operations: ['*'], within_s: 1, at_most: 0 }] }],
  ])('%s', (key, row) => {
    expect(unreadKeys(other.wasm, rows(row), NONE)).toEqual([
      `grants: the policy of this bundle never reads the key ${key}: build it from Rego that does, as the starter policy of this version`,
    ])
    expect(unreadKeys(shipped.wasm, rows(row), { ...NONE, agents: {} })).toEqual([])
  })
  test('the table of ceilings', () => {
    expect(unreadKeys(other.wasm, rows({}), { ...NONE, agents: {} })).toEqual([
      expect.stringMatching(/^agents: /),
    ])
  })
  test.each(['domains', 'branches'])('%s of a guard', (key) => {
    const guards = { github: { [key]: ['x'] }, google: { merge: true } }
    expect(unreadKeys(other.wasm, rows({}), { ...NONE, guards })).toEqual([
      expect.stringContaining(`guards: the policy of this bundle never reads the key ${key}`),
    ])
    expect(unreadKeys(shipped.wasm, rows({}), { ...NONE, guards })).toEqual([])
  })
  test('and what nobody says needs nobody who reads it', () => {
    expect(unreadKeys(other.wasm, rows({}), NONE)).toEqual([])
  })
})

test('such tables do not serve', () => {
  const grants = { github: { r: { operations: ['*'], when: [{ from: '07:00' }] } } }
  const folder = new Map([['grants', { where: 't/grants.yaml', value: grants, own: true }]])
  expect(() => checkTables(other, 'odd', folder)).toThrow(
    'the policy of this bundle never reads the key when',
  )
  expect(checkTables(shipped, 'shipped', folder).get('grants')?.value).toMatchObject(grants)
})
