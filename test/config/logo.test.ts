import { expect, test } from 'vitest'
import { readLogo } from '../../proxy/config/logo.ts'

const read = (text: string) => readLogo(Buffer.from(text))
const PNG = Buffer.from('89504e470d0a1a0a00', 'hex')

test('a PNG and an SVG are known by what they hold', () => {
  expect(readLogo(PNG)).toMatchObject({ type: 'image/png' })
  expect(
    read(
      '<?xml version="1.0"?>\n<!-- x --><svg xmlns="http://www.w3.org/2000/svg"><use href="#a"/></svg>',
    ),
  ).toMatchObject({ type: 'image/svg+xml' })
})

test.each([
  ['no image', '<html></html>', 'neither'],
  ['a GIF', 'GIF89a', 'neither'],
  ['a script', '<svg><script>1</script></svg>', 'script'],
  ['a handler', '<svg onload="x()"></svg>', 'handler'],
  ['foreign content', '<svg><foreignObject/></svg>', 'script'],
  ['a reference to elsewhere', '<svg><image href="https://x.test/a"/></svg>', 'elsewhere'],
  ['a script address', '<svg><a href = "javascript:x"/></svg>', 'elsewhere'],
  ['an entity', '<?xml version="1.0"?><svg><!ENTITY a "b"></svg>', 'script'],
])('%s is refused, and why is said', (_what, text, why) => {
  expect(read(text)).toContain(why)
})

test('a large file is refused', () => {
  expect(readLogo(Buffer.concat([PNG, Buffer.alloc(65_536)]))).toContain('larger')
})
