// Vendors' own clients send batches through deputy and the starter policy: each call in one is decided, and one that is refused keeps all of them back.
import { Client as HubSpot } from '@hubspot/api-client'
import { Connection } from '@jsforce/jsforce-node'
import { BatchRequestContent, Client as Graph } from '@microsoft/microsoft-graph-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { EvidenceLine, Fields } from '../support/deputy.ts'
import { reply, startVendor } from '../support/vendor.ts'
import type { Vendor } from '../support/vendor.ts'

const HOST = 'acme.my.salesforce.com'
const GMAIL = 'https://www.googleapis.com/auth/gmail'
const connections = {
  microsoft: {
    provider: 'microsoft',
    hosts: ['graph.microsoft.com'],
    scopes: ['User.Read', 'Mail.ReadWrite', 'Mail.Send'],
  },
  google: {
    provider: 'google',
    hosts: ['gmail.googleapis.com'],
    scopes: [`${GMAIL}.readonly`, `${GMAIL}.modify`],
  },
  salesforce: { provider: 'salesforce', hosts: [HOST], scopes: ['api'] },
  hubspot: {
    provider: 'hubspot',
    hosts: ['api.hubapi.com'],
    scopes: ['crm.objects.contacts.read', 'crm.objects.contacts.write'],
  },
}
const people = ['alice', 'rita'] as const

let vendor: Vendor
let before = 0
beforeAll(async () => {
  vendor = await startVendor({
    connections,
    held: people.flatMap((person) =>
      Object.keys(connections).map((connection) => ({
        person,
        connection,
        token: `token-of-${person}-at-${connection}`,
        ...(connection === 'salesforce' ? { host: HOST } : {}),
      })),
    ),
  })
})
afterAll(() => vendor.close())
beforeEach(() => {
  vendor.upstream.seen.length = 0
  before = vendor.deputy.evidence().length
  vendor.upstream.handle = (_seen, res) => reply(res, 200, { results: [], responses: [] })
})

const decided = (): readonly unknown[] =>
  vendor.deputy
    .evidence()
    .slice(before)
    .filter(({ event }) => event === 'decision')
    .map((line: EvidenceLine) => {
      const { id } = line['operation'] as { id: string }
      const { method, path } = line['request'] as Fields
      return [
        line['part'],
        id,
        `${String(method)} ${String(path)}`,
        (line['decision'] as Fields)['effect'],
      ]
    })
const sent = (): string => vendor.upstream.seen.map(({ body }) => body.toString()).join('\n')

type Answer = { readonly status: number; readonly code: string | null; readonly text: string }
const send = async (
  person: string,
  url: string,
  body: string | Buffer,
  type = 'application/json',
): Promise<Answer> => {
  const answer = await fetch(`${vendor.deputy.agent}/${url}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${vendor.tag(person)}`, 'content-type': type },
    body: Buffer.isBuffer(body) ? new Uint8Array(body) : body,
  })
  return {
    status: answer.status,
    code: answer.headers.get('deputy-answer'),
    text: await answer.text(),
  }
}

describe('Graph’s client', () => {
  const graph = (person: string): Graph =>
    Graph.init({
      baseUrl: `${vendor.deputy.agent}/graph.microsoft.com/`,
      authProvider: (done) => done(null, 'dummy'),
      fetchOptions: { headers: { 'Deputy-User': vendor.tag(person) } },
    })
  const batch = async (steps: readonly Request[]): Promise<unknown> =>
    new BatchRequestContent(
      steps.map((request, i) => ({ id: String(i + 1), request })),
    ).getContent()
  /** The client cuts the origin off; without one a Request of Node cannot be made. */
  const at = (path: string, init: RequestInit = {}): Request =>
    new Request(`https://graph.microsoft.com${path}`, init)
  const json = (method: string, body: object): RequestInit => ({
    method,
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })

  test('three requests are three decisions and one call', async () => {
    const content = await batch([
      at('/me'),
      at('/me/messages?$top=2'),
      at('/me/messages/m1', json('PATCH', { isRead: true })),
    ])
    await graph('alice').api('/$batch').post(content)
    expect(decided()).toEqual([
      [1, 'user-get', 'GET /v1.0/me', 'allow'],
      [2, 'user-list-messages', 'GET /v1.0/me/messages', 'allow'],
      [3, 'message-update', 'PATCH /v1.0/me/messages/m1', 'allow'],
    ])
    expect(JSON.parse(sent())).toEqual(content)
    expect(vendor.upstream.seen[0]?.who).toBe('alice')
  })

  test('one that its person may not send keeps all of them back, and the answer says which', async () => {
    const content = await batch([at('/me'), at('/me/messages/m1', { method: 'DELETE' })])
    const refusal = graph('rita').api('/$batch').post(content)
    await expect(refusal).rejects.toThrow()
    expect(vendor.upstream.seen).toEqual([])
    expect(decided()).toEqual([
      [1, 'user-get', 'GET /v1.0/me', 'allow'],
      [2, 'message-delete', 'DELETE /v1.0/me/messages/m1', 'deny'],
    ])
    const answer = await send('rita', 'graph.microsoft.com/v1.0/$batch', JSON.stringify(content))
    expect(answer).toMatchObject({ status: 403, code: 'policy_denied' })
    expect(JSON.parse(answer.text)).toMatchObject({
      part: 2,
      error: { code: 'policy_denied', message: expect.stringContaining('part 2 of 2') as unknown },
    })
  })

  test('a tag of deputy stays out of it, in base64 too', async () => {
    const body = Buffer.from(`note=dpr_${'aB3-_'.repeat(9)}`).toString('base64')
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' }
    const requests = [
      { id: '1', method: 'GET', url: '/me' },
      { id: '2', method: 'PATCH', url: '/me/messages/m1', headers, body },
    ]
    const answer = await send(
      'alice',
      'graph.microsoft.com/v1.0/$batch',
      JSON.stringify({ requests }),
    )
    expect(answer).toMatchObject({ status: 400, code: 'credential_in_body' })
    expect(JSON.parse(answer.text)).toMatchObject({ part: 2 })
    expect(vendor.upstream.seen).toEqual([])
  })

  test('pages in its answers come through deputy again', async () => {
    const next = 'https://graph.microsoft.com/v1.0/me/messages?$skip=2'
    vendor.upstream.handle = (_seen, res) =>
      reply(res, 200, { responses: [{ id: '1', body: { '@odata.nextLink': next } }] })
    const answer = (await graph('alice')
      .api('/$batch')
      .post(await batch([at('/me/messages')]))) as { responses: [{ body: Fields }] }
    expect(answer.responses[0].body['@odata.nextLink']).toBe(
      `${vendor.deputy.agent}/graph.microsoft.com/v1.0/me/messages?$skip=2`,
    )
  })
})

describe('Google’s batches', () => {
  /** As google-api-python-client 2.202 writes them: lines end in LF, each part has the client's key and its host. */
  const batch = (person: string, requests: readonly (readonly [string, string])[]): string =>
    requests
      .map(
        ([line, body], i) =>
          `--===============7330845974216740156==\nContent-Type: application/http\nMIME-Version: 1.0\nContent-Transfer-Encoding: binary\nContent-ID: <b29c5de2 + ${i + 1}>\n\n` +
          `${line} HTTP/1.1\nContent-Type: application/json\nMIME-Version: 1.0\naccept: application/json\nauthorization: Bearer ${vendor.tag(person)}\nHost: 127.0.0.1:7410\n${body === '' ? '' : `content-length: ${body.length}\n`}\n${body}\n`,
      )
      .join('') + '--===============7330845974216740156==--\n'
  const type = 'multipart/mixed; boundary="===============7330845974216740156=="'
  const READ = ['GET /gmail.googleapis.com/gmail/v1/users/me/messages/1?alt=json', ''] as const
  const MODIFY = [
    'POST /gmail.googleapis.com/gmail/v1/users/me/messages/1/modify?alt=json',
    '{"addLabelIds": ["STARRED"]}',
  ] as const

  test('each part is decided; the key, the host and deputy’s own path in it never arrive', async () => {
    const { status } = await send(
      'alice',
      'gmail.googleapis.com/batch/gmail/v1',
      batch('alice', [READ, MODIFY]),
      type,
    )
    expect(status).toBe(200)
    expect(decided()).toEqual([
      [1, 'gmail.users.messages.get', 'GET /gmail/v1/users/me/messages/1', 'allow'],
      [2, 'gmail.users.messages.modify', 'POST /gmail/v1/users/me/messages/1/modify', 'allow'],
    ])
    expect(sent()).toContain('\nGET /gmail/v1/users/me/messages/1?alt=json HTTP/1.1\n')
    expect(sent()).toContain(MODIFY[1])
    expect(sent()).not.toMatch(/authorization|127\.0\.0\.1|gmail\.googleapis/i)
    expect(sent()).not.toContain(vendor.tag('alice'))
  })

  test('one that is refused keeps all of them back', async () => {
    const answer = await send(
      'rita',
      'gmail.googleapis.com/batch/gmail/v1',
      batch('rita', [READ, MODIFY]),
      type,
    )
    expect(answer).toMatchObject({ status: 403, code: 'policy_denied' })
    expect(JSON.parse(answer.text)).toMatchObject({
      error: { code: 403, status: 'PERMISSION_DENIED' },
    })
    expect(vendor.upstream.seen).toEqual([])
  })
})

describe('jsforce', () => {
  const salesforce = (person: string): Connection =>
    new Connection({
      instanceUrl: `${vendor.deputy.agent}/${HOST}`,
      accessToken: vendor.tag(person),
      version: '65.0',
    })
  const DATA = '/services/data/v65.0'
  const composite = {
    allOrNone: true,
    compositeRequest: [
      { method: 'POST', url: `${DATA}/sobjects/Account`, referenceId: 'made', body: { Name: 'a' } },
      { method: 'GET', url: `${DATA}/sobjects/Account/@{made.id}`, referenceId: 'again' },
    ],
  }

  test('a composite call is its subrequests, and a list of records a call on each', async () => {
    await salesforce('alice').requestPost('/composite', composite)
    vendor.upstream.handle = (_seen, res) =>
      reply(
        res,
        200,
        [1, 2].map((id) => ({ id: String(id), success: true, errors: [] })),
      )
    await salesforce('alice')
      .sobject('Contact')
      .create([{ LastName: 'a' }, { LastName: 'b' }])
    expect(decided()).toEqual([
      [1, 'sobject.create', `POST ${DATA}/sobjects/Account`, 'allow'],
      [2, 'sobject.retrieve', `GET ${DATA}/sobjects/Account/@{made.id}`, 'allow'],
      [1, 'sobject.create', `POST ${DATA}/sobjects/Contact`, 'allow'],
      [2, 'sobject.create', `POST ${DATA}/sobjects/Contact`, 'allow'],
    ])
  })

  test('one that is refused keeps all of them back, in Salesforce’s own words', async () => {
    await expect(salesforce('rita').requestPost('/composite', composite)).rejects.toThrow(
      /part 1 of 2/,
    )
    expect(vendor.upstream.seen).toEqual([])
  })
})

describe('HubSpot’s client', () => {
  const hubspot = (person: string): HubSpot =>
    new HubSpot({
      accessToken: vendor.tag(person),
      basePath: `${vendor.deputy.agent}/api.hubapi.com`,
    })

  test('reads many, and may not archive many by a POST', async () => {
    const { batchApi } = hubspot('rita').crm.contacts
    await batchApi.read({ inputs: [{ id: '1' }], properties: [], propertiesWithHistory: [] })
    await expect(batchApi.archive({ inputs: [{ id: '1' }] })).rejects.toThrow()
    expect(decided()).toEqual([
      [
        undefined,
        'crm.contacts.batchApi.read',
        'POST /crm/v3/objects/contacts/batch/read',
        'allow',
      ],
      [
        undefined,
        'crm.contacts.batchApi.archive',
        'POST /crm/v3/objects/contacts/batch/archive',
        'deny',
      ],
    ])
    expect(vendor.upstream.seen).toHaveLength(1)
  })
})

test('one consent asks for the least that suffices for all parts', async () => {
  const requests = [
    { id: '1', method: 'GET', url: '/me/messages' },
    { id: '2', method: 'PATCH', url: '/me/messages/1', body: { isRead: true } },
  ]
  const answer = await send('dave', 'graph.microsoft.com/v1.0/$batch', JSON.stringify({ requests }))
  expect(answer).toMatchObject({ status: 403, code: 'consent_required' })
  expect(JSON.parse(answer.text)).toMatchObject({ scopes: ['Mail.ReadWrite'] })
  expect(vendor.upstream.seen).toEqual([])
})

test.each<[string, string, string | Buffer, string, number]>([
  ['JSON as text', '$batch', '{"requests":[]}', 'text/plain', 415],
  ['JSON as parts', '$batch', '{"requests":[]}', 'multipart/mixed; boundary=b', 415],
  ['UTF-16', '$batch', Buffer.from('{"requests":[]}', 'utf16le'), 'application/json', 400],
  ['another charset', '$batch', '{"requests":[]}', 'application/json; charset=utf-16', 415],
  ['nesting', '$batch', `{"requests":${'['.repeat(70)}${']'.repeat(70)}}`, 'application/json', 400],
  ['no body', '$batch', '', 'application/json', 400],
  ['a query', '$batch?a=b', '{"requests":[]}', 'application/json', 400],
])('a batch with %s is refused', async (_, path, body, type, status) => {
  const answer = await send('alice', `graph.microsoft.com/v1.0/${path}`, body, type)
  expect(answer.status).toBe(status)
  expect(vendor.upstream.seen).toEqual([])
})

test.each<[string, string, string, string]>([
  [
    'a batch in a batch',
    'graph.microsoft.com/v1.0/$batch',
    '{"requests":[{"id":"1","method":"POST","url":"/$batch","body":{"requests":[]}}]}',
    'part 1: it holds calls of its own',
  ],
  [
    'an absolute URL',
    'graph.microsoft.com/v1.0/$batch',
    '{"requests":[{"id":"1","method":"GET","url":"https://elsewhere.test/me"}]}',
    'part 1: its url',
  ],
  [
    'a credential',
    'graph.microsoft.com/v1.0/$batch',
    '{"requests":[{"id":"1","method":"GET","url":"/me","headers":{"Authorization":"Bearer x"}}]}',
    'part 1: the header \\"Authorization\\" is a credential',
  ],
  [
    'another word for the method',
    'graph.microsoft.com/v1.0/$batch',
    '{"requests":[{"id":"1","method":"POST","url":"/me","headers":{"X-HTTP-Method-Override":"DELETE"}}]}',
    'part 1: a header overrides the method',
  ],
  [
    'a member twice',
    'graph.microsoft.com/v1.0/$batch',
    '{"requests":[{"id":"1","method":"GET","url":"/me","method":"DELETE"}]}',
    'stands twice',
  ],
  [
    'too many',
    'graph.microsoft.com/v1.0/$batch',
    JSON.stringify({
      requests: Array.from({ length: 1_001 }, (_, i) => ({
        id: `${i}`,
        method: 'GET',
        url: '/me',
      })),
    }),
    'send at most 200',
  ],
])('%s is refused, and nothing is sent', async (_, url, body, why) => {
  const answer = await send('alice', url, body)
  expect(answer.status).toBe(400)
  expect(answer.text).toContain(why)
  expect(vendor.upstream.seen).toEqual([])
})
