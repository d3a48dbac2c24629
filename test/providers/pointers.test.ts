// Places in JSON, as files of deputy name them.
import { expect, test } from 'vitest'
import { pointers } from '../../proxy/providers/pointers.ts'

test('a JSON pointer begins with a slash, and its escapes are those of RFC 6901', () => {
  expect(pointers.safeParse(['/a', '/a~1b/~0', '/', '/**/x_url']).success).toBe(true)
  for (const bad of ['', 'a', '/a~2', '$.a', '/~'])
    expect(pointers.safeParse([bad]).success).toBe(false)
})
