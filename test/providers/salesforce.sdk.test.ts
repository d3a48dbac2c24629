// jsforce, as Salesforce publishes it, unmodified, through deputy and the starter policy. Every person has a host of their own.
import { Connection } from '@jsforce/jsforce-node'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Seen } from '../support/upstream.ts'
import { reply, startVendor } from '../support/vendor.ts'
import type { Vendor } from '../support/vendor.ts'

const HOST = { alice: 'acme.my.salesforce.com', bob: 'globex.my.salesforce.com' } as const
const DATA = '/services/data/v65.0'
const connections = {
  salesforce: { provider: 'salesforce', hosts: Object.values(HOST), scopes: ['api'] },
}
const client = (vendor: Vendor, person: string, host: string): Connection =>
  new Connection({
    instanceUrl: `${vendor.deputy.agent}/${host}`,
    accessToken: vendor.tag(person),
    version: '65.0',
  })

/** An organisation of five accounts, told in pages of two; it knows people by their token alone. */
const organisation = ({ who, method, url }: Seen, res: Parameters<typeof reply>[0]): void => {
  const { pathname } = new URL(url, 'https://x.test')
  const path = pathname.replace(DATA, '')
  if (who === null)
    return reply(res, 401, [
      { message: 'Session expired or invalid', errorCode: 'INVALID_SESSION_ID' },
    ])
  const account = (n: number) => ({ Id: `001-${n}`, Name: `${who} ${n}` })
  const page = (from: number) => ({
    totalSize: 5,
    done: from > 3,
    records: [1, 2, 3, 4, 5].map(account).slice(from, from + 2),
    ...(from > 3 ? {} : { nextRecordsUrl: `${DATA}/query/01g-${from + 2}` }),
  })
  if (path === '/services/oauth2/userinfo') return reply(res, 200, { user_id: who })
  if (path === '/query' || path === '/queryAll') return reply(res, 200, page(0))
  if (path.startsWith('/query/')) return reply(res, 200, page(Number(path.split('-')[1])))
  if (path === '/search') return reply(res, 200, { searchRecords: [account(1)] })
  if (path === '/recent') return reply(res, 200, [account(1)])
  if (path === '/limits') return reply(res, 200, { DailyApiRequests: { Max: 1, Remaining: 1 } })
  if (path === '/sobjects') return reply(res, 200, { sobjects: [] })
  if (path.endsWith('/VersionData')) return reply(res, 200, Buffer.from('nine byte'))
  if (path.endsWith('/none'))
    return reply(res, 404, [
      { message: 'The requested resource does not exist', errorCode: 'NOT_FOUND' },
    ])
  if (method === 'POST') return reply(res, 201, { id: '001-9', success: true, errors: [] })
  if (method === 'PATCH') return reply(res, 204, null)
  return reply(res, 200, { ...account(1), fields: [], recentItems: [] })
}

let vendor: Vendor
beforeAll(async () => {
  vendor = await startVendor({
    connections,
    held: [
      {
        person: 'alice',
        connection: 'salesforce',
        token: '00D-alice!0123456789',
        host: HOST.alice,
      },
      {
        person: 'bob',
        connection: 'salesforce',
        token: '00D-bob-which-idled-out',
        refresh: '5Aep-bob',
        expiresIn: null,
        agedMs: 60_000,
        host: HOST.bob,
      },
    ],
  })
})
afterAll(() => vendor.close())
beforeEach(() => void (vendor.upstream.handle = organisation))

test('fourteen operations arrive as the person’s, at the person’s own host', async () => {
  const salesforce = client(vendor, 'alice', HOST.alice)
  const account = salesforce.sobject('Account')
  const as = <T>(operation: string, call: () => PromiseLike<T>): Promise<T> =>
    vendor.through('alice', [operation], call)
  expect(await as('userinfo', () => salesforce.request('/services/oauth2/userinfo'))).toEqual({
    user_id: 'alice',
  })
  const first = await as('query', () =>
    salesforce.query("SELECT Id FROM Account WHERE Name != 'a&b'"),
  )
  expect(first.records[0]).toMatchObject({ Name: 'alice 1' })
  await as('queryAll', () => salesforce.query('SELECT Id FROM Account', { scanAll: true }))
  await as('search', () => salesforce.search('FIND {x} RETURNING Account(Id)'))
  await as('recent', () => salesforce.recent())
  await as('limits', () => salesforce.limits())
  await as('describeGlobal', () => salesforce.describeGlobal())
  await as('sobject.describe', () => account.describe())
  await as('sobject.describeBasic', () => account.recent())
  await as('sobject.retrieve', () => account.retrieve('001-1'))
  const made = await as('sobject.create', () => account.create({ Name: 'new' }))
  expect(made).toMatchObject({ success: true })
  await as('sobject.update', () => account.update({ Id: '001-9', Name: 'newer' }))
  await as('sobject.upsert', () => account.upsert({ Key__c: 'k', Name: 'x' }, 'Key__c'))
  const blob = await as('sobject.blob', async () => {
    const parts: Buffer[] = []
    const file = salesforce.sobject('ContentVersion').record('068-1')
    for await (const part of file.blob('VersionData')) parts.push(part as Buffer)
    return Buffer.concat(parts).toString()
  })
  expect(blob).toBe('nine byte')
})

test('a query over three pages follows the locators through deputy', async () => {
  const salesforce = client(vendor, 'alice', HOST.alice)
  const { records } = await vendor.through('alice', ['query', 'query.more', 'query.more'], () =>
    salesforce.query<{ Name: string }>('SELECT Name FROM Account', {
      autoFetch: true,
      maxFetch: 100,
    }),
  )
  expect(records.map(({ Name }) => Name)).toEqual([1, 2, 3, 4, 5].map((n) => `alice ${n}`))
})

test('an idle session is renewed at the first 401, and jsforce notices nothing', async () => {
  vendor.upstream.people.delete('00D-bob-which-idled-out')
  vendor.upstream.people.set('00D-bob!fresh-0123456789', 'bob')
  vendor.upstream.token = (form, res) => {
    expect(form.get('refresh_token')).toBe('5Aep-bob')
    reply(res, 200, {
      access_token: '00D-bob!fresh-0123456789',
      scope: 'api openid refresh_token',
      instance_url: `https://${HOST.bob}`,
      token_type: 'Bearer',
    })
  }
  const salesforce = client(vendor, 'bob', HOST.bob)
  const info = await salesforce.request('/services/oauth2/userinfo')
  expect(info).toEqual({ user_id: 'bob' })
  expect(vendor.upstream.refreshes.length).toBe(1)
  await vendor.through('bob', ['limits'], () => salesforce.limits())
  expect(vendor.upstream.refreshes.length).toBe(1)
})

test('the host of another organisation gets nothing', async () => {
  const error = await vendor.refused('alice', 'limits', () =>
    client(vendor, 'alice', HOST.bob).limits(),
  )
  expect(error).toMatchObject({ errorCode: 'ROUTE_NOT_FOUND' })
})

test('Salesforce’s own error reaches the caller as Salesforce worded it', async () => {
  const missing = client(vendor, 'alice', HOST.alice).sobject('Account').retrieve('none')
  await expect(missing).rejects.toMatchObject({
    errorCode: 'NOT_FOUND',
    message: 'The requested resource does not exist',
  })
})

test('records in a list are calls of their own; deleting, and what would carry the tag to Salesforce’s login are refused', async () => {
  const salesforce = client(vendor, 'alice', HOST.alice)
  const many = () => salesforce.sobject('Account').create([{ Name: 'a' }, { Name: 'b' }])
  await vendor.through('alice', ['sobject.create', 'sobject.create'], many)
  await vendor.refused('alice', 'sobject.delete', () =>
    salesforce.sobject('Account').delete('001-1'),
  )
  // What jsforce's `identity()` asks, with its token in the query, once it knows the address.
  await vendor.refused('alice', 'unknown', () =>
    salesforce.request(`${salesforce.instanceUrl}/id/00D/005?format=json&oauth_token=x`),
  )
})

test.each([
  ['carol', 'policy_denied'],
  ['dave', 'consent_required'],
])('for %s the error of jsforce tells of %s', async (person, code) => {
  const error = await vendor.refused(person, 'limits', () =>
    client(vendor, person, HOST.alice).limits(),
  )
  expect(error).toMatchObject({ errorCode: code.toUpperCase() })
  // What jsforce shows its user is our sentence, with the link.
  expect((error as Error).message).toContain(
    code === 'consent_required' ? 'http://localhost:' : 'The security policy does not allow',
  )
})
