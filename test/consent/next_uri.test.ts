import { expect, test } from 'vitest'
import { mayReturnTo } from '../../proxy/consent/next_uri.ts'

const OWN = ['https://app.example', 'http://localhost:3000']

test.each([
  'https://app.example',
  'https://app.example/back?x=1#y',
  'https://APP.example:443/back',
  'http://localhost:3000/done',
])('a person may be sent back to %s', (uri) => {
  expect(mayReturnTo(OWN, uri)).toBe(true)
})

test.each([
  ['another host', 'https://evil.example/'],
  ['a longer host', 'https://app.example.evil.test/'],
  ['the host as a name of a user', 'https://app.example@evil.test/'],
  ['another scheme', 'http://app.example/'],
  ['another port', 'https://app.example:8443/'],
  ['a script', 'javascript:alert(1)//https://app.example'],
  ['data', 'data:text/html,x'],
  ['a file', 'file:///etc/passwd'],
  ['an app', 'app.example:back'],
  ['a path alone', '/back'],
  ['no scheme', '//app.example/back'],
  ['nothing', ''],
])('not to %s', (_name, uri) => {
  expect(mayReturnTo(OWN, uri)).toBe(false)
})

test('an origin that is none lets nothing through', () => {
  expect(mayReturnTo(['null'], 'data:text/html,x')).toBe(false)
  expect(mayReturnTo([], 'https://app.example/')).toBe(false)
})
