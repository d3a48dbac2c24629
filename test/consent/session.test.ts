// What a browser is asked to keep: names and attributes of our cookies, to the letter.
import { expect, test } from 'vitest'
import { createSealedCookies } from '../../proxy/consent/session.ts'

const cookiesOf = (publicUrl: string) =>
  createSealedCookies({
    publicUrl,
    clock: { now: () => 0, mono: () => 0 },
    sealer: { sealText: async () => '', openText: async () => '' },
  }).cookies

test('over https a cookie is bound to this host and to TLS (RFC 6265bis 4.1.3.2)', () => {
  const cookies = cookiesOf('https://deputy.example')
  expect(cookies.name('deputy-session')).toBe('__Host-deputy-session')
  expect(cookies.write('deputy-session', 'a.b-c_d', 3_600_999)).toBe(
    '__Host-deputy-session=a.b-c_d; Max-Age=3600; Path=/; HttpOnly; Secure; SameSite=Lax',
  )
})

test('over plain http, where browsers refuse that prefix, it has neither; no age deletes it', () => {
  const cookies = cookiesOf('http://localhost:7412')
  expect(cookies.name('deputy-session')).toBe('deputy-session')
  expect(cookies.write('deputy-session', '', 0)).toBe(
    'deputy-session=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax',
  )
})
