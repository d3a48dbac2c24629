// The readers find what ordinary servers find in a body, each in its own way.
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { fieldsIn } from './readers.ts'

const FORM = 'application/x-www-form-urlencoded'
const PARTS = '--b\r\nContent-Disposition: form-data; name="title"\r\n\r\na\r\n--b--\r\n'
test.each<[string, string, string | Buffer, unknown]>([
  ['JSON under any type', 'text/plain', '{"title":"a"}', 'a'],
  ['the last of two members', 'application/json', '{"title":"b","title":"a"}', 'a'],
  ['UTF-16 by its zero bytes', 'application/json', Buffer.from('{"title":"a"}', 'utf16le'), 'a'],
  ['a byte order mark', 'application/json', '\ufeff{"title":"a"}', 'a'],
  ['a form', FORM, 'x=1&title=a', 'a'],
  [
    'a form in the charset of its type',
    `${FORM}; charset=utf-16le`,
    Buffer.from('title=a', 'utf16le'),
    'a',
  ],
  ['a field behind a semicolon', FORM, 'x=1;title=a', 'a'],
  ['a field in brackets', FORM, 'title[x]=a', 'a'],
  ['multipart', 'multipart/form-data; boundary=b', PARTS, 'a'],
])('%s', async (_, type, body, title) => {
  const found = await fieldsIn({ 'content-type': [type] }, Buffer.from(body as string))
  expect(found).toContainEqual(['title', title])
})

test('a coding that the head names is undone', async () => {
  const headers = { 'content-type': ['application/json'], 'content-encoding': ['gzip'] }
  expect(await fieldsIn(headers, gzipSync('{"title":"a"}'))).toEqual([['title', 'a']])
})

test.each([
  ['of an image', 'image/png', '{"title":"a"}'],
  ['of text', 'text/plain', 'title=a'],
  ['of the items of a list', 'application/json', '[{"title":"a"}]'],
])('nobody makes a title %s', async (_, type, body) => {
  const found = await fieldsIn({ 'content-type': [type] }, Buffer.from(body))
  expect(found.filter(([name]) => name === 'title')).toEqual([])
})
