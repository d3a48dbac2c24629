// Rows of workloads against what was verified. test/pipeline/workload.test.ts has them behind tokens.
import { expect, test } from 'vitest'
import { agentOf, idAt, rowOf, type WorkloadRow } from '../../../proxy/pipeline/workload/rows.ts'

const row = (name: string, pointer: string, pattern: string, agent = 'a'): WorkloadRow => ({
  name,
  match: [[pointer, pattern]],
  agent,
})

test('the first row that fits is meant, and where none does each says what it wants', () => {
  const rows = [row('one', '/a', 'x'), row('two', '/a', 'y*'), row('three', '/a', '*')]
  expect(rowOf({ a: 'yes' }, rows, 'token').name).toBe('two')
  expect(() => rowOf({ a: 7 }, rows, 'certificate')).toThrow(
    'the workload’s certificate verifies, but no row of workloads is meant: one wants another /a, two wants another /a, three wants another /a',
  )
})

test('an agent is a name, or where its name stands', () => {
  expect(agentOf(row('one', '/a', '*', 'agent:a'), {}, 'token')).toBe('agent:a')
  expect(agentOf(row('one', '/a', '*', '/a'), { a: 'b' }, 'token')).toBe('b')
  for (const a of [7, '', 'a'.repeat(257), 'a\n', undefined])
    expect(() => idAt({ a }, '/a', 'token')).toThrow('has no name at /a')
})
