import { expect, test } from 'vitest'
import type { Full, Json, Take } from '../../../proxy/model.ts'
import { createLimits } from '../../../proxy/pipeline/obligation/limits.ts'
import type { Due } from '../../../proxy/pipeline/obligations.ts'

type Told = {
  readonly type?: string
  readonly name?: string
  readonly properties?: Due['properties']
  readonly tenant?: string
  readonly realm?: string
  readonly id?: string
  readonly agent?: string
  readonly connection?: string
  readonly operation?: string
  readonly part?: number | null
  readonly call?: object
  readonly body?: object
  readonly act?: object
  readonly backOff?: (ms: number) => Promise<boolean>
}
const RATE = { key: ['person'], limit: 2, window_s: 60 }
const due = ({
  type = 'rate_limit',
  name = 'calls',
  properties = RATE,
  tenant = 'acme',
  realm = 'corp',
  id = 'alice',
  agent = 'triage',
  connection = 'work',
  operation = 'notes.make',
  part = null,
  call = {},
  body = {},
  act = {},
  backOff = () => Promise.resolve(false),
}: Told = {}): Due =>
  ({
    type,
    name,
    properties,
    about: {
      call,
      part,
      backOff,
      who: { person: { tenant, realm, id }, agent },
      route: { connection: { name: connection } },
      act: { operation: { id: operation, inspect: ['/n', '/to'] }, ...act },
      body: { state: 'parsed', json: {}, contentType: 'application/json', ...body },
    },
  }) as unknown as Due

const counting = (say: readonly (Full | null)[] = []) => {
  const asked: (readonly Take[])[] = []
  const { together } = createLimits((takes) => {
    asked.push(takes)
    return Promise.resolve(say[asked.length - 1] ?? null)
  })
  const keyOf = async (told: Told): Promise<string> => {
    await together([due(told)])
    return JSON.stringify(asked.at(-1)?.[0]?.key)
  }
  return { together, asked, keyOf }
}
const thrown = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => null,
    (error: unknown) => error,
  )

test('a counter is of one tenant, and of what its key names, however that is written', async () => {
  const { keyOf, asked } = counting()
  const all = {
    key: ['tenant', 'person', 'agent', 'connection', 'operation'],
    limit: 2,
    window_s: 60,
  }
  const plain = { properties: all }
  const keys = new Set<string>()
  const others: readonly Told[] = [
    {},
    { name: 'other' },
    { tenant: 'acme2' },
    { realm: 'corp2' },
    { id: 'bob' },
    { realm: 'corp","alice', id: '' },
    { realm: '', id: 'corp,alice' },
    { agent: 'alice' },
    { connection: 'triage' },
    { operation: 'work' },
  ]
  for (const other of others) keys.add(await keyOf({ ...plain, ...other }))
  expect(keys.size).toBe(others.length)
  // The order in which a row names them changes nothing, and what it does not name neither.
  const turned = { ...all, key: all.key.toReversed() }
  expect(keys).toContain(await keyOf({ properties: turned }))
  const ofTenant = { properties: { ...RATE, key: ['tenant'] } }
  expect(await keyOf({ ...ofTenant, id: 'bob', agent: 'x' })).toBe(await keyOf(ofTenant))
  expect(asked.at(-1)?.[0]?.person).toBeNull()
  expect(await keyOf({ ...ofTenant, tenant: 'other' })).not.toBe(await keyOf(ofTenant))
})

test('parts of a call count each, together, and once however often the call is decided', async () => {
  const { together, asked } = counting()
  const call = {}
  const parts = [1, 2, 3].map((part) => due({ call, part }))
  await together(parts)
  expect(asked.map((takes) => takes.length)).toEqual([3])
  await together([...parts, due({ call, part: 1, name: 'other' })])
  expect(asked.map((takes) => takes.length)).toEqual([3, 1])
  await together(parts)
  await together([due()])
  expect(asked.map((takes) => takes.length)).toEqual([3, 1, 1])
})

test('a limit that is reached refuses with its name and its time, and the next try counts', async () => {
  const { together, asked } = counting([{ at: 1, retryMs: 1_001 }])
  const call = {}
  const both = [due({ call }), due({ call, name: 'narrow' })]
  expect(await thrown(together(both))).toMatchObject({
    code: 'rate_limited',
    message: "policy's limit narrow is reached: 2 in 60 s for each person",
    extra: { obligation: 'narrow', retry_after: 2 },
  })
  await together(both)
  expect(asked.map((takes) => takes.length)).toEqual([2, 2])
})

test('a store that names a limit that was not asked for lets nothing pass', async () => {
  const { together } = counting([{ at: 1, retryMs: 1 }])
  await expect(together([due()])).rejects.toMatchObject({ code: 'internal' })
})

test('whoever asks to wait is counted again after the wait, until there is no time left', async () => {
  const waits: number[] = []
  const backOff = (ms: number): Promise<boolean> => Promise.resolve(waits.push(ms) < 3)
  const full = (retryMs: number): Full => ({ at: 0, retryMs })
  await counting([full(5), full(7)]).together([due({ backOff })])
  expect(waits).toEqual([5, 7])
  const refused = thrown(counting([full(9)]).together([due({ backOff })]))
  expect(await refused).toMatchObject({ code: 'rate_limited' })
})

test.each<[string, string, Due['properties']]>([
  ['rate_limit', 'has a key', { ...RATE, key: 'person' }],
  ['rate_limit', 'has a key', { ...RATE, key: ['person', 'person'] }],
  ['rate_limit', 'has a key', { ...RATE, key: ['__proto__'] }],
  ['rate_limit', 'has a key', { ...RATE, key: ['planet'] }],
  ['rate_limit', 'has a key', { ...RATE, key: [] }],
  [
    'rate_limit',
    'has burst, which rate_limit does not: key, limit, window_s',
    { ...RATE, burst: 2 },
  ],
  [
    'budget',
    'has burst, which budget does not: key, limit, window_s, pointer, of',
    { ...RATE, burst: 2 },
  ],
  ['rate_limit', 'has a limit', { ...RATE, limit: Number.NaN }],
  ['rate_limit', 'has a limit', { ...RATE, limit: '20' }],
  ['rate_limit', 'has a window_s', { ...RATE, window_s: 0 }],
  ['rate_limit', 'has a limit', { ...RATE, limit: -1 }],
  ['rate_limit', 'has a limit', { ...RATE, limit: 1.5 }],
  ['rate_limit', 'has a limit', { ...RATE, limit: 2 ** 53 }],
  ['rate_limit', 'has a limit', { key: ['person'], window_s: 1 }],
  ['rate_limit', 'has a window_s', { ...RATE, window_s: 2_678_401 }],
  ['rate_limit', 'has pointer, which', { ...RATE, pointer: '/n' }],
  ['budget', 'has no pointer', { ...RATE, of: 'value' }],
  ['budget', 'has an of', { ...RATE, pointer: '/n' }],
  ['budget', 'which is not read', { ...RATE, pointer: '/other', of: 'value' }],
  ['budget', 'of which only items', { ...RATE, pointer: 'request.mail', of: 'value' }],
  ['budget', 'no mail was read', { ...RATE, pointer: 'request.mail', of: 'items' }],
])('%s that %s is refused before anything is counted', async (type, why, properties) => {
  const { together, asked } = counting()
  const error = await thrown(together([due(), due({ type, properties })]))
  expect(error).toMatchObject({ code: 'obligation_refused', extra: { obligation: 'calls' } })
  expect(String(error)).toContain(why)
  expect(asked).toEqual([])
})

test('what can never be counted is told before any call comes', () => {
  const { able } = createLimits(() => Promise.resolve(null))
  expect(() => able('calls', { type: 'rate_limit', properties: { ...RATE, limit: -1 } })).toThrow(
    'has a limit',
  )
  for (const of of [{ limit: 0 }, { window_s: 1 }, { window_s: 2_678_400 }, { limit: 2 ** 53 - 1 }])
    able('calls', { type: 'rate_limit', properties: { ...RATE, ...of } })
})

test('a counter of one person is theirs, so that it goes with them', async () => {
  const { keyOf, asked } = counting()
  await keyOf({})
  expect(asked[0]?.[0]?.person).toEqual({ tenant: 'acme', realm: 'corp', id: 'alice' })
})

const budget = (of: string, pointer = '/n'): Told => ({
  type: 'budget',
  properties: { ...RATE, pointer, of },
})
const amount = async (told: Told): Promise<number | undefined> => {
  const { together, asked } = counting()
  await together([due(told)])
  return asked[0]?.[0]?.amount
}

test('a budget adds up what was read of the call, by whichever door it came', async () => {
  expect(await amount(due0({ '/n': 7 }))).toBe(7)
  expect(await amount(due0({ '/n': [1, 2] }, 'items'))).toBe(2)
  expect(await amount({ ...budget('value'), act: { mcp: { arguments: { '/n': 3 } } } })).toBe(3)
  expect(await amount({ ...budget('value'), act: { graphql: { arguments: { '/n': 4 } } } })).toBe(4)
  expect(await amount(due0({ '/n': 0 }))).toBe(0)
  const form = { contentType: 'application/x-www-form-urlencoded; charset=utf-8' }
  expect(await amount({ ...budget('value'), body: { ...form, json: { '/n': '1200' } } })).toBe(1200)
  expect(await amount({ ...budget('value'), body: { state: 'none', json: { '/n': '5' } } })).toBe(5)
  const mail = { unread: false, to: ['a', 'b'], cc: ['c'], bcc: [] }
  expect(await amount({ ...budget('items', 'request.mail'), body: { mail } })).toBe(3)
})
const due0 = (json: Readonly<Record<string, Json>>, of = 'value'): Told => ({
  ...budget(of),
  body: { json },
})

test.each<[string, Told]>([
  [
    'a body that was not read',
    { ...budget('value'), body: { state: 'unparsed', json: { '/n': 1 } } },
  ],
  ['a body that is too large', { ...budget('value'), body: { state: 'too_large' } }],
  ['nothing at the pointer', budget('value')],
  [
    'what an object inherits',
    { ...budget('value', '/to'), body: { json: Object.create({ '/to': 1 }) as object } },
  ],
  ['a fraction', due0({ '/n': 1.5 })],
  ['what is beyond 2^53', due0({ '/n': 2 ** 53 })],
  ['less than nothing', due0({ '/n': -1 })],
  ['a text in JSON', due0({ '/n': '1' })],
  ['a list as a value', due0({ '/n': [1] })],
  ['a value as a list', due0({ '/n': 1 }, 'items')],
  ['a text as a list', due0({ '/n': 'ab' }, 'items')],
  [
    'a mail that was not read',
    { ...budget('items', 'request.mail'), body: { mail: { unread: true } } },
  ],
  ...['+1', '1e3', '01', ' 1', '0x1', '', '99999999999999999'].map((text): [string, Told] => [
    `the form's ${JSON.stringify(text)}`,
    {
      ...budget('value'),
      body: { contentType: 'application/x-www-form-urlencoded', json: { '/n': text } },
    },
  ]),
  [
    'several fields of one name',
    {
      ...budget('value'),
      body: { contentType: 'application/x-www-form-urlencoded', json: { '/n': ['5'] } },
    },
  ],
])('a budget never takes %s for nothing', async (_, told) => {
  await expect(amount(told)).rejects.toMatchObject({ code: 'obligation_refused' })
})

test('of what the call does not have it says so', async () => {
  await expect(amount(budget('value'))).rejects.toThrow(
    'adds up "/n", which the call does not have',
  )
})

test('a name that is not well-formed is refused by itself', async () => {
  const { together } = counting()
  await expect(together([due({ id: '\ud800' })])).rejects.toMatchObject({
    code: 'obligation_refused',
  })
})
