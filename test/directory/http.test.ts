// A directory of one realm: who is asked about there, and who is nobody without a question.
import { expect, test } from 'vitest'
import { createHttpDirectory } from '../../proxy/directory/http.ts'
import { QUIET } from '../support/log.ts'

test('people of another realm, and ids that cannot be named, are nobody, and nothing is asked', async () => {
  const asked: string[] = []
  const directory = createHttpDirectory({
    kind: {
      preset: 'none',
      url: 'https://dir.test/{id}',
      method: 'GET',
      body: undefined,
      places: {
        id: '/id',
        active: null,
        groups: '/groups',
        roles: null,
        entitlements: null,
        manager: null,
        next: null,
      },
    },
    realm: 'corp',
    get: {
      fetch: (input) => {
        asked.push(input instanceof Request ? input.url : String(input))
        return Promise.resolve(Response.json({ id: 'alice', groups: ['staff'] }))
      },
      authorization: () => Promise.resolve(null),
    },
    timeoutMs: 1_000,
    keepMs: 0,
    clock: { now: () => Date.now(), mono: () => 7 },
    log: QUIET,
    seen: { answered: () => {}, failed: () => {} },
  })
  const of = (id: string, realm = 'corp') => directory.ask({ tenant: 'default', realm, id }, 0)
  expect(of('alice', 'partner')).toBeNull()
  expect(of('../admin')).toBeNull()
  expect(of('')).toBeNull()
  expect(asked).toEqual([])
  expect(await of('alice')).toMatchObject({
    active: true,
    groups: ['staff'],
    source: 'http',
    asOf: 7,
  })
  expect(asked).toEqual(['https://dir.test/alice'])
  await expect(Promise.resolve(of('bob'))).rejects.toThrow('another person')
})
