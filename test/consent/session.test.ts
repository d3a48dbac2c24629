// What a browser is asked to keep: names and attributes of our cookies, to the letter.
import { expect, test } from 'vitest'
import type { Store } from '../../proxy/model.ts'
import { createSealedCookies, createSessions } from '../../proxy/consent/session.ts'

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
    '__Host-deputy-session=a.b-c_d; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure',
  )
})

test('over plain http, where browsers refuse that prefix, it has neither; no age deletes it', () => {
  const cookies = cookiesOf('http://localhost:7412')
  expect(cookies.name('deputy-session')).toBe('deputy-session')
  expect(cookies.write('deputy-session', '', 0)).toBe(
    'deputy-session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0',
  )
})

const depsOf = (ended: Store['sessions']['ended']) => ({
  publicUrl: 'http://localhost:7412',
  clock: { now: () => 0, mono: () => 0 },
  sealer: {
    sealText: async (_purpose: string, _bound: object, text: string) =>
      Buffer.from(text).toString('base64url'),
    openText: async (_purpose: string, _bound: object, sealed: string) =>
      Buffer.from(sealed, 'base64url').toString(),
  },
  randomBytes: (size: number) => Buffer.alloc(size),
  store: { sessions: { ended, end: async () => {}, sweep: async () => 0 } },
})

test('a session lasts as long as who vouched for its person is the one that is asked', async () => {
  const deps = depsOf(async () => false)
  const person = { tenant: 'default', realm: 'corp', id: 'alice' }
  const cookie = await createSessions(deps, 'https://idp.example').begin(person, true)
  const value = /=([^;]+)/.exec(cookie)?.[1] ?? ''
  const at = (by: string) => createSessions(deps, by).session(() => value)
  expect(await at('https://idp.example')).toMatchObject({ person })
  expect(await at('https://other.example')).toBe(null)
})

test('a session of somebody whose sessions have all ended is none: it is asked with whose it is', async () => {
  const deps = depsOf(async (_hash, _until, whose) => whose?.id === 'erased')
  const sessions = createSessions(deps, 'https://idp.example')
  for (const id of ['erased', 'other']) {
    const person = { tenant: 't', realm: 'r', id }
    const value = /=([^;]+)/.exec(await sessions.begin(person, true))?.[1]
    const found = (await sessions.session(() => value))?.person ?? null
    expect(found).toEqual(id === 'erased' ? null : person)
  }
})
