// Salesforce's composite resources: each subrequest and each record is a call, and references lead only where they cannot lead astray.
import { describe, expect, test } from 'vitest'
import { readComposite } from '../../proxy/envelope/salesforce_composite.ts'
import { providerOf, refusalOf } from './fixture.ts'

type Format = Parameters<typeof readComposite>[0]
const provider = providerOf({})
const DATA = '/services/data/v65.0'
const read = (format: Format, value: unknown, method = 'POST', path = 'composite') =>
  readComposite(format, value, {
    method,
    segments: ['services', 'data', 'v65.0', ...path.split('/')],
    provider,
  })
const targets = (...args: Parameters<typeof read>): readonly string[] =>
  read(...args).map(({ method, target }) => `${method} ${target}`)
const sub = (more: object) => ({
  method: 'GET',
  url: `${DATA}/sobjects/Account/1`,
  referenceId: 'r1',
  ...more,
})
const account = (more: object = {}) => ({ attributes: { type: 'Account' }, ...more })

test('composite: each subrequest, with a place of its own for its body', () => {
  const made = sub({ method: 'POST', url: `${DATA}/sobjects/Account`, body: { Name: 'a' } })
  const next = sub({ referenceId: 'r2', url: `${DATA}/sobjects/Account/@{r1.id}` })
  const calls = read('salesforce_composite', { allOrNone: true, compositeRequest: [made, next] })
  expect(calls).toEqual([
    {
      method: 'POST',
      target: `${DATA}/sobjects/Account`,
      contentType: null,
      body: { kind: 'json', value: { Name: 'a' }, pointer: '/compositeRequest/0/body' },
      stripped: [],
      refers: false,
    },
    expect.objectContaining({ target: `${DATA}/sobjects/Account/@{r1.id}` }),
  ])
  const refers = sub({ body: { Name: ['@{r1.id}'] } })
  expect(read('salesforce_composite', { compositeRequest: [refers] })[0]?.refers).toBe(true)
})

test('batch and graph: the same in their own words', () => {
  expect(
    targets('salesforce_batch', {
      haltOnError: true,
      batchRequests: [
        { method: 'GET', url: 'v65.0/sobjects/Account/1' },
        { method: 'PATCH', url: `${DATA}/sobjects/Account/1`, richInput: { Name: 'a' } },
      ],
    }),
  ).toEqual([`GET ${DATA}/sobjects/Account/1`, `PATCH ${DATA}/sobjects/Account/1`])
  const graph = { graphId: 'g', compositeRequest: [sub({})] }
  expect(targets('salesforce_graph', { graphs: [graph, graph] })).toHaveLength(2)
  const bad = { graphId: 'h', compositeRequest: [sub({ url: 'elsewhere' })] }
  expect(refusalOf(() => read('salesforce_graph', { graphs: [graph, bad] }))).toContain('part 2: ')
})

test('a list of records is a call on each', () => {
  const path = 'composite/sobjects'
  expect(targets('salesforce_records', { records: [account(), account()] }, 'POST', path)).toEqual([
    `POST ${DATA}/sobjects/Account`,
    `POST ${DATA}/sobjects/Account`,
  ])
  const known = { records: [account({ id: '001' }), account({ Id: '0/2' })] }
  expect(targets('salesforce_records', known, 'PATCH', path)).toEqual([
    `PATCH ${DATA}/sobjects/Account/001`,
    `PATCH ${DATA}/sobjects/Account/0%2F2`,
  ])
  const external = { records: [account({ Ext__c: '7' })] }
  expect(targets('salesforce_records', external, 'PATCH', `${path}/Account/Ext__c`)).toEqual([
    `PATCH ${DATA}/sobjects/Account/Ext__c/7`,
  ])
})

test('a tree is a call on each of its records, at every depth', () => {
  const tree = {
    records: [
      account({
        Contacts: {
          records: [
            {
              attributes: { type: 'Contact' },
              Cases: { records: [{ attributes: { type: 'Case' } }] },
            },
          ],
        },
      }),
    ],
  }
  expect(targets('salesforce_tree', tree, 'POST', 'composite/tree/Account')).toEqual([
    `POST ${DATA}/sobjects/Account`,
    `POST ${DATA}/sobjects/Contact`,
    `POST ${DATA}/sobjects/Case`,
  ])
})

describe('is refused:', () => {
  test.each<[string, Format, unknown]>([
    ['no object', 'salesforce_composite', []],
    ['another member', 'salesforce_composite', { compositeRequest: [sub({})], x: 1 }],
    ['none', 'salesforce_composite', { compositeRequest: [] }],
    ['no graph', 'salesforce_graph', { graphs: [] }],
    [
      'another host',
      'salesforce_composite',
      { compositeRequest: [sub({ url: 'https://x.test/' })] },
    ],
    ['another place', 'salesforce_composite', { compositeRequest: [sub({ url: '/secur/x' })] }],
    ['a word twice', 'salesforce_composite', { compositeRequest: [sub({}), sub({})] }],
    [
      'a part of a file',
      'salesforce_batch',
      { batchRequests: [{ method: 'POST', url: 'v65.0/x', binaryPartName: 'a' }] },
    ],
    [
      'a URL without a version',
      'salesforce_batch',
      { batchRequests: [{ method: 'GET', url: '/x' }] },
    ],
    ['a body that is text', 'salesforce_composite', { compositeRequest: [sub({ body: 'x' })] }],
    ['a record without a type', 'salesforce_records', { records: [{ Name: 'a' }] }],
    [
      'a type that leads elsewhere',
      'salesforce_records',
      { records: [{ attributes: { type: '../x' } }] },
    ],
  ])('%s', (_, format, value) => {
    expect(refusalOf(() => read(format, value))).toMatch(/^request_invalid: /)
  })

  test.each([
    '@{r1.Name}',
    '@{r1.records[0].Id}',
    '@{r2.id}',
    '@{r3.id}',
    '%40%7Br1.id%7D',
    '@%7br1.id}',
    '%40{r1.id}',
  ])('a URL that refers to %s', (reference) => {
    const compositeRequest = [
      sub({ method: 'POST', url: `${DATA}/sobjects/Account`, body: {} }),
      sub({ referenceId: 'r2' }),
      sub({ referenceId: 'r3', url: `${DATA}/sobjects/Account/${reference}` }),
    ]
    expect(refusalOf(() => read('salesforce_composite', { compositeRequest }))).toMatch(
      /^request_invalid: part 3: /,
    )
  })

  test('records that are known by nothing, by two spellings, or are of another type', () => {
    const patch = (record: object, path = 'composite/sobjects'): string =>
      refusalOf(() => read('salesforce_records', { records: [record] }, 'PATCH', path))
    for (const said of [
      patch(account()),
      patch(account({ id: '1', Id: '2' })),
      patch(account({ Ext__c: '1' }), 'composite/sobjects/Contact/Ext__c'),
      // JSON.parse makes 9007199254740992 of it.
      patch(account({ Ext__c: 9_007_199_254_740_992 }), 'composite/sobjects/Account/Ext__c'),
      patch(account({ id: 7 })),
    ])
      expect(said).toMatch(/^request_invalid: part 1: /)
  })

  test('a tree whose records are not what its URL says, or that are spelled another way', () => {
    const tree = (record: object): string =>
      refusalOf(() =>
        read('salesforce_tree', { records: [record] }, 'POST', 'composite/tree/Account'),
      )
    expect(tree({ attributes: { type: 'Note' } })).toContain('another type than the URL')
    const note = { attributes: { type: 'Note' } }
    expect(tree(account({ Notes: { Records: [note] } }))).toContain('Records is spelled records')
  })

  test('a credential among the headers of a subrequest', () => {
    const compositeRequest = [sub({ httpHeaders: { Authorization: 'x' } })]
    expect(refusalOf(() => read('salesforce_composite', { compositeRequest }))).toMatch(
      /^credential_in_body: part 1: /,
    )
  })
})
