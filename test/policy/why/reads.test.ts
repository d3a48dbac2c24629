import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { JsonObject } from '../../../proxy/model.ts'
import { readBundle } from '../../../proxy/policy/bundle.ts'
import { namesOperation, readsOf } from '../../../proxy/policy/why/reads.ts'

const { wasm } = await readBundle(
  readFileSync(new URL('../../../policies/bundle.tar.gz', import.meta.url)),
)
const reads = (tables: Readonly<Record<string, JsonObject>> = {}) =>
  readsOf([{ wasm, tables: new Map(Object.entries(tables)) }])

test('what a rule writes is found in the module, whole words alone', () => {
  const { names } = reads()
  expect([names('/event'), names('/force')]).toEqual([true, true])
  expect([names('/even'), names('event'), names('/no/rule/has/this')]).toEqual([
    false,
    false,
    false,
  ])
})
test('what a table writes is found too, but not what only its probes say', () => {
  expect(reads({ grants: { a: { b: { arguments: [{ pointer: '/x' }] } } } }).names('/x')).toBe(true)
  expect(reads({ probes: { a: { input: { '/x': 1 } } } }).names('/x')).toBe(false)
})
test('rows that may cover an operation say what they ask for', () => {
  const row = { operations: ['a.*'], step_up: {}, approval: {}, history: [], arguments: [] }
  const grants = {
    one: { plain: row, strong: { ...row, operations: ['a.b'], step_up: { x: {} } } },
    base: {
      counted: { ...row, history: [{ at_most: 1 }] },
      other: { ...row, operations: ['b'], approval: { x: {} } },
      mails: { ...row, operations: ['m.*'], mail: { domains: ['example.com'] } },
    },
  }
  const { rows } = reads({ grants })
  expect([...rows(['one'], { id: 'a.b', access: 'read' })]).toEqual(['user.auth'])
  expect([...rows(['one', 'base'], { id: 'a.b', access: 'read' })]).toEqual([
    'user.auth',
    'history',
  ])
  expect([...rows(['one'], { id: 'a.c', access: 'read' })]).toEqual([])
  expect([...rows(['base'], { id: 'm.send', access: 'read' })]).toEqual(['request.mail'])
  // A row of another access covers none of it.
  expect([...rows(['base'], { id: 'm.send', access: 'write' })]).toEqual(['request.mail'])
  const writes = { p: { r: { operations: ['*'], access: ['write'], approval: { x: {} } } } }
  const other = reads({ grants: writes })
  expect([...other.rows(['p'], { id: 'a', access: 'read' })]).toEqual([])
  expect([...other.rows(['p'], { id: 'a', access: 'write' })]).toEqual(['approvals'])
  expect([...rows(['none'], { id: 'a.b', access: 'read' })]).toEqual([])
})
test('a selection counts where a provider hides something', () => {
  const { selections } = reads({ providers: { a: { hidden: ['Secret'] }, b: { hidden: [] } } })
  expect([selections(['a']), selections(['b']), selections(['c', 'a'])]).toEqual([
    true,
    false,
    true,
  ])
})
test('to whom mail may go is asked where a guard lists domains', () => {
  const { domains } = reads({ guards: { a: { domains: ['example.com'] }, b: { merge: true } } })
  expect([domains(['a']), domains(['b']), domains(['b', 'a'])]).toEqual([true, false, true])
})
test('an operation is named by itself, by its family and by *', () => {
  expect(['*', 'a.b', 'a.*'].every((name) => namesOperation(name, 'a.b'))).toBe(true)
  expect(['a', 'a.b.*', 'b.*', 7].some((name) => namesOperation(name, 'a.b'))).toBe(false)
})
