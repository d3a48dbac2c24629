import { expect, test } from 'vitest'
import { regoMutants } from './find_rego.ts'

const whats = (text: string): readonly string[] =>
  regoMutants('x.rego', text).map(({ what }) => what)

test('texts, numbers, operators and negations change; what people read, and what only names a member, does not', () => {
  expect(whats('deny contains {"code": "x_y", "msg": "no == more"} if input.a == 1')).toEqual([
    'deny contains {"code": "x_y", "msg": "no == more"} if input.a == 1 | "x_y" to "x_y~"',
    'deny contains {"code": "x_y", "msg": "no == more"} if input.a == 1 | == to !=',
    'deny contains {"code": "x_y", "msg": "no == more"} if input.a == 1 | 1 to 2',
  ])
  expect(whats('# a == 1\nimport data.x\npackage y')).toEqual([])
  expect(whats('a if not b')).toEqual(['a if not b | not to nothing'])
  expect(whats('a if true')).toEqual(['a if true | true to false'])
})

test('each condition of several is left out once, and a membership is turned round', () => {
  const text = 'a if {\n\tx in y\n\tz\n}'
  const by = new Map(regoMutants('x.rego', text).map((mutant) => [mutant.what, mutant.text]))
  expect([...by.keys()]).toEqual(['x in y | not in', 'x in y | without', 'z | without'])
  expect(by.get('x in y | not in')).toBe('a if {\n\tnot x in y\n\tz\n}')
  expect(by.get('z | without')).toBe('a if {\n\tx in y\n\n}')
  expect(whats('a if {\n\tx\n}')).toEqual([])
})
