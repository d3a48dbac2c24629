// Under `audit.user_ids: hashed` an agent that makes up ids of people fills no store with keys.
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

const start = async (config: Fields): Promise<Deputy> => {
  const upstream = await startUpstream()
  ends.push(() => upstream.close())
  const token = 'token-of-alice-0123456789'
  upstream.people.set(token, 'alice')
  const deputy = await startDeputy({
    upstream: upstream.origin,
    held: [{ person: 'alice', token }],
    config: { audit: { sink: ['file:audit.jsonl'], user_ids: 'hashed' }, ...config },
  })
  ends.push(deputy.close)
  return deputy
}

test.each([
  ['a file says who is there', {}, ['alice', 'bob']],
  ['nobody says who is there', { entitlements: undefined }, ['alice']],
] as const)('where %s, the others have no key', async (_what, config, known) => {
  const deputy = await start(config)
  const people = ['alice', 'bob', ...Array.from({ length: 30 }, (_, i) => `made-up-${i}`)]
  for (const id of people) await (await fetch(`${deputy.agent}/~${id}/api.acme.test/items`)).text()
  await deputy.stop()
  const decisions = deputy.evidence().filter(({ event }) => event === 'decision')
  expect(decisions).toHaveLength(people.length)
  const nameless = decisions.filter(
    ({ user }) => (user as { readonly id: string }).id === 'hmac2:nobody',
  )
  expect(nameless).toHaveLength(people.length - known.length)
  const store = await openSqlite(join(deputy.dir, 'deputy.db'))
  ends.push(() => store.close())
  const keys = await store.personKeys.page('', 100)
  expect(keys.map(({ person }) => person.id).sort()).toEqual(known)
})
