// HubSpot's own client, unmodified, through deputy and the starter policy.
import { Client } from '@hubspot/api-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { backlotMissing, startBacklot } from '../support/backlot.ts'
import type { Backlot } from '../support/backlot.ts'
import type { Seen } from '../support/upstream.ts'
import { relayed, reply, startVendor } from '../support/vendor.ts'
import type { Vendor } from '../support/vendor.ts'

const SCOPES = [
  ...['contacts', 'companies', 'deals'].flatMap((type) => [
    `crm.objects.${type}.read`,
    `crm.objects.${type}.write`,
  ]),
  'crm.objects.owners.read',
]
const connections = {
  hubspot: { provider: 'hubspot', hosts: ['api.hubapi.com'], scopes: SCOPES },
}
const client = (vendor: Vendor, person: string): Client =>
  new Client({
    basePath: `${vendor.deputy.agent}/api.hubapi.com`,
    accessToken: vendor.tag(person),
  })
const search = (after?: string) => ({ filterGroups: [], limit: 2, ...(after ? { after } : {}) })

/** A CRM of five records of each kind; it knows people by their token alone. */
const crm = ({ who, method, url, body }: Seen, res: Parameters<typeof reply>[0]): void => {
  const { pathname, searchParams } = new URL(url, 'https://api.hubapi.com')
  if (who === null)
    return reply(res, 401, { status: 'error', message: 'no', category: 'INVALID_AUTHENTICATION' })
  const record = (n: number) => ({
    id: String(n),
    properties: { owner: who },
    createdAt: '2030-01-01T00:00:00Z',
    updatedAt: '2030-01-01T00:00:00Z',
    archived: false,
  })
  const page = (from: number) => ({
    total: 5,
    results: [1, 2, 3, 4, 5].map(record).slice(from, from + 2),
    ...(from > 3
      ? {}
      : {
          paging: {
            next: {
              after: String(from + 2),
              link: `https://api.hubapi.com${pathname}?after=${from + 2}`,
            },
          },
        }),
  })
  if (pathname.endsWith('/404'))
    return reply(res, 404, {
      status: 'error',
      message: 'Object not found.',
      correlationId: 'c-1',
      category: 'OBJECT_NOT_FOUND',
    })
  if (/\/(?:contacts|companies|deals)$/.test(pathname) && method === 'GET')
    return reply(res, 200, page(Number(searchParams.get('after') ?? 0)))
  if (pathname.endsWith('/search')) {
    const { after = '0' } = JSON.parse(body.toString()) as { readonly after?: string }
    return reply(res, 200, page(Number(after)))
  }
  if (pathname.endsWith('/owners/')) return reply(res, 200, page(4))
  return reply(res, method === 'POST' ? 201 : 200, record(9))
}

describe('HubSpot’s client and a CRM that is written to', () => {
  let vendor: Vendor
  beforeAll(async () => {
    vendor = await startVendor({
      connections,
      held: [
        { person: 'alice', connection: 'hubspot', token: 'CJ-alice-0123456789' },
        {
          person: 'bob',
          connection: 'hubspot',
          token: 'CJ-bob-of-half-an-hour-ago',
          refresh: 'na1-bob',
          expiresIn: 1_800,
          agedMs: 1_800_000,
        },
      ],
    })
  })
  afterAll(() => vendor.close())
  beforeEach(() => void (vendor.upstream.handle = crm))

  test.each(['contacts', 'companies', 'deals'] as const)(
    '%s: five operations and a walk over pages, as the person’s',
    async (kind) => {
      const { basicApi, searchApi } = client(vendor, 'alice').crm[kind]
      const as = <T>(operation: string, call: () => Promise<T>): Promise<T> =>
        vendor.through('alice', [`crm.${kind}.${operation}`], call)
      const properties = { name: 'x' }
      const got = await as('basicApi.getById', () => basicApi.getById('9'))
      expect(got.properties).toEqual({ owner: 'alice' })
      await as('basicApi.create', () => basicApi.create({ properties, associations: [] }))
      await as('basicApi.update', () => basicApi.update('9', { properties }))
      const found = await as('searchApi.doSearch', () => searchApi.doSearch(search()))
      const next = found.paging?.next
      expect(next?.link).toBe(
        `${vendor.deputy.agent}/api.hubapi.com/crm/v3/objects/${kind}/search?after=2`,
      )
      await as('searchApi.doSearch', () => searchApi.doSearch(search(next?.after)))
      await vendor.refused('alice', `crm.${kind}.basicApi.archive`, () => basicApi.archive('9'))
      const all = await vendor.through(
        'alice',
        Array<string>(3).fill(`crm.${kind}.basicApi.getPage`),
        () => client(vendor, 'alice').crm[kind].getAll(2),
      )
      expect(all.map(({ id }) => id)).toEqual(['1', '2', '3', '4', '5'])
    },
  )

  test('owners, and a call by hand, go the same way', async () => {
    const hubspot = client(vendor, 'alice')
    const as = <T>(operation: string, call: () => Promise<T>): Promise<T> =>
      vendor.through('alice', [operation], call)
    await as('crm.owners.ownersApi.getPage', () => hubspot.crm.owners.ownersApi.getPage())
    await as('crm.owners.ownersApi.getById', () => hubspot.crm.owners.ownersApi.getById(9))
    const answer = await as('crm.contacts.basicApi.getPage', () =>
      hubspot.apiRequest({ path: '/crm/v3/objects/contacts' }),
    )
    expect(answer.status).toBe(200)
  })

  test('a developer’s API key beside the tag goes nowhere', async () => {
    const hubspot = new Client({
      basePath: `${vendor.deputy.agent}/api.hubapi.com`,
      accessToken: vendor.tag('alice'),
      developerApiKey: 'dummy-developer-key',
    })
    await vendor.through('alice', ['crm.deals.basicApi.getById'], () =>
      hubspot.crm.deals.basicApi.getById('9'),
    )
  })

  test('an expired token is renewed on the way, and the client notices nothing', async () => {
    vendor.upstream.people.delete('CJ-bob-of-half-an-hour-ago')
    vendor.upstream.people.set('CJ-bob-fresh-0123456789', 'bob')
    vendor.upstream.token = (form, res) => {
      expect(form.get('refresh_token')).toBe('na1-bob')
      reply(res, 200, {
        token_type: 'bearer',
        access_token: 'CJ-bob-fresh-0123456789',
        refresh_token: 'na1-bob',
        expires_in: 1_800,
        scopes: SCOPES,
      })
    }
    const got = await vendor.through('bob', ['crm.deals.basicApi.getById'], () =>
      client(vendor, 'bob').crm.deals.basicApi.getById('9'),
    )
    expect(got.properties).toEqual({ owner: 'bob' })
    expect(vendor.upstream.refreshes.length).toBe(1)
  })

  test('HubSpot’s own error reaches the caller as HubSpot worded it', async () => {
    const missing = client(vendor, 'alice').crm.contacts.basicApi.getById('404')
    await expect(missing).rejects.toMatchObject({
      code: 404,
      body: { category: 'OBJECT_NOT_FOUND', correlationId: 'c-1' },
    })
  })

  test.each([
    ['carol', 'policy_denied'],
    ['dave', 'consent_required'],
  ])('for %s the error of the client tells of %s', async (person, code) => {
    const error = await vendor.refused(person, 'crm.contacts.basicApi.getById', () =>
      client(vendor, person).crm.contacts.basicApi.getById('9'),
    )
    expect(error).toMatchObject({
      code: 403,
      headers: { 'deputy-answer': code },
      body: { code, ...(code === 'consent_required' ? { url: expect.any(String) } : {}) },
    })
  })
})

const missing = backlotMissing()
describe.skipIf(missing !== '')(
  `HubSpot’s client and a HubSpot that refuses junk${missing}`,
  () => {
    let backlot: Backlot
    let vendor: Vendor
    beforeAll(async () => {
      backlot = await startBacklot()
      vendor = await startVendor({
        connections,
        held: [
          { person: 'alice', connection: 'hubspot', token: backlot.token('dana.whitfield') },
          { person: 'bob', connection: 'hubspot', token: backlot.token('ava.chen') },
          { person: 'rita', connection: 'hubspot', token: 'CJ-junk-0123456789' },
        ],
      })
      vendor.upstream.handle = relayed(backlot.origin, 'api.hubapi.com', '/hubspot')
    })
    afterAll(async () => {
      await vendor?.close()
      await backlot?.close()
    })

    test('each person sees what HubSpot shows to them, page by page', async () => {
      for (const kind of ['contacts', 'companies', 'deals'] as const) {
        const count = async (person: string, pages: number): Promise<number> => {
          const api = client(vendor, person).crm[kind]
          const operations = Array<string>(pages).fill(`crm.${kind}.basicApi.getPage`)
          return (await vendor.through(person, operations, () => api.getAll(1))).length
        }
        expect(await count('alice', 3)).toBe(3)
        expect(await count('bob', 1)).toBe(0)
      }
      const { results } = await client(vendor, 'alice').crm.deals.basicApi.getPage(1)
      const id = results[0]?.id ?? ''
      const operation = 'crm.deals.basicApi.getById'
      const got = await vendor.through('alice', [operation], () =>
        client(vendor, 'alice').crm.deals.basicApi.getById(id),
      )
      expect(got.id).toBe(id)
      const hidden = client(vendor, 'bob').crm.deals.basicApi.getById(id)
      await expect(hidden).rejects.toMatchObject({ code: 404 })
    })

    test('a token that HubSpot does not know is refused in HubSpot’s words', async () => {
      const call = client(vendor, 'rita').crm.contacts.basicApi.getPage()
      await expect(call).rejects.toMatchObject({
        code: 401,
        body: { category: 'INVALID_AUTHENTICATION' },
      })
    })
  },
)
