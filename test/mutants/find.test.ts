import { expect, test } from 'vitest'
import { mutantsOf } from './find.ts'

const whats = (text: string): readonly string[] => mutantsOf('x.ts', text).map(({ what }) => what)

test('a refusal is taken out; what else depends on a condition never and always happens', () => {
  expect(whats('function f(a: string) { if (!ok(a)) throw new Error(a) }')).toEqual([
    'f never: if (!ok(a))',
  ])
  expect(whats('const f = (a: string) => { if (ok(a)) return 1; return a ? 2 : 3 }')).toEqual([
    'f never: if (ok(a))',
    'f always: if (ok(a))',
    'f false: a ?',
    'f true: a ?',
  ])
  expect(whats('for (const a of b) throw new Error(a)')).toEqual(['top never: throw new Error(a)'])
  expect(mutantsOf('x.ts', 'if (ok) f()')[0]?.text).toBe('if (false) f()')
})

test('each operand of a chain is left out once, and keeps its own parentheses', () => {
  const text = 'const f = (a: B) => a !== null && (a.x || a.y) && a.z'
  const by = new Map(mutantsOf('x.ts', text).map((mutant) => [mutant.what, mutant.text]))
  expect([...by.keys()]).toEqual([
    'f without: && a !== null',
    'f without: && a.x || a.y',
    'f without: && a.z',
    'f without: || a.x',
    'f without: || a.y',
  ])
  expect(by.get('f without: && a.z')).toBe('const f = (a: B) => (a !== null) && (a.x || a.y)')
  expect(by.get('f without: || a.x')).toBe('const f = (a: B) => a !== null && ((a.y)) && a.z')
})

test('bounds move by one, and clamps lose an end; a loop’s own condition stays', () => {
  expect(whats('const f = (n: number) => Math.max(0, n) > 5')).toEqual([
    'f >=: Math.max(0, n) > 5',
    'f without: Math.max 0',
    'f without: Math.max n',
  ])
  expect(whats('for (let i = 0; i < 3; i++) g()')).toEqual([])
  expect(mutantsOf('x.ts', 'f(a ?? 0 <= b)')[0]?.text).toBe('f(a ?? (0) < (b))')
})

test('each entry of a list of names is taken off it', () => {
  expect(whats("const NAMES = new Set(['a', /b/])")).toEqual([
    "NAMES without: 'a'",
    'NAMES without: /b/',
  ])
  expect(mutantsOf('x.ts', "const NETS = [['a', 1], ['b', 2]] as const")[0]?.text).toBe(
    "const NETS = [['b', 2]] as const",
  )
  expect(whats("const f = (n: string) => ['a', n]")).toEqual([])
  expect(whats("const f = () => ['a', 'pair']")).toEqual([])
})

test('looks at lists are not taken', () => {
  expect(whats('const f = () => a.some(g) || b.every(g)').slice(2)).toEqual([
    'f false: a.some(g)',
    'f true: b.every(g)',
  ])
  expect(mutantsOf('x.ts', 'f((a ?? b).filter(g))')[0]?.text).toBe('f((a ?? b))')
})

test('the same check twice in one place has two names, and lines are the source’s', () => {
  expect(
    mutantsOf('x.ts', 'if (a) throw a\n\nif (a) throw b').map(({ line, what }) => [line, what]),
  ).toEqual([
    [1, 'top never: if (a)'],
    [3, 'top never: if (a) (2)'],
  ])
})
