// What may be demanded to be sealed, and where nobody could keep it so that it is refused.
import { expect, test } from 'vitest'
import type { JsonObject } from '../../../proxy/model.ts'
import { NO_BODY, type Body } from '../../../proxy/pipeline/inspect.ts'
import { createSealCarrier } from '../../../proxy/pipeline/obligation/seal.ts'
import type { Obliged } from '../../../proxy/pipeline/obligations.ts'
import { STANDING } from '../../../proxy/pipeline/standing.ts'
import { provider } from '../../wire/fixture.ts'

const jsonOf = (text: string, more: Partial<Body> = {}): Body => ({
  ...NO_BODY,
  state: 'parsed',
  bytes: Buffer.from(text),
  contentType: 'application/json',
  ...more,
})
type Given = {
  readonly kind?: string
  readonly websocket?: readonly string[]
  readonly part?: number
  readonly body?: Body
  readonly insensitive?: boolean
  /** Names of the query. */
  readonly query?: readonly string[]
}
const make = ({ written = true, auditRequired = true } = {}) => {
  const kept: string[] = []
  const events: Readonly<Record<string, unknown>>[] = []
  const logged: string[] = []
  const log = (_fields: object, text: string): void => void logged.push(text)
  const carrier = createSealCarrier({
    keep: async ({ exchange, in: where }, text) => {
      kept.push(`${exchange} ${where} ${text}`)
      return 'sha256:1'
    },
    evidence: {
      event: async (_event, fields) => {
        if (!written) throw new Error('full')
        events.push(fields)
      },
    },
    auditRequired,
    log: { debug: log, info: log, warn: log, error: log },
  })
  const asked = async (of: Given, properties: JsonObject) => {
    const { kind = 'rest', websocket, part = null, body = NO_BODY, insensitive = false } = of
    const act = { operation: { ...STANDING, websocket }, kind }
    const names = { insensitive, spellings: [] }
    const query = (of.query ?? []).map((name) => ({ name, value: 'v' }))
    const route = {
      connection: { name: 'acme', provider: { ...provider, names } },
      target: { query },
    }
    const who = { person: { id: 'alice' }, agent: 'a' }
    const about = { exchange: 'E1', who, part, act, body, route } as unknown as Obliged
    return carrier(about, 'r', properties)
  }
  return { asked, kept, events, logged }
}
const refused = { code: 'obligation_refused' }
const RESPONSE = { in: 'response', pointers: ['/a'] }
const REQUEST = { in: 'request', pointers: ['/a'] }

const inRequest = (pointer: string): JsonObject => ({ in: 'request', pointers: [pointer] })
const formOf = (text: string): Body =>
  jsonOf(text, { contentType: 'application/x-www-form-urlencoded' })

test.each<[string, JsonObject]>([
  ['no place', { pointers: ['/a'] }],
  ['another place', { in: 'answer', pointers: ['/a'] }],
  ['no pointers', { in: 'response', pointers: [] }],
  ['a pointer that is none', { in: 'response', pointers: ['a'] }],
  ['a member more', { ...RESPONSE, unless: 'x' }],
])('with %s it is refused', async (_what, properties) => {
  await expect(make().asked({}, properties)).rejects.toMatchObject(refused)
})

test.each<[string, Given, readonly JsonObject[]]>([
  ['a message', { kind: 'mcp' }, [REQUEST, RESPONSE]],
  ['GraphQL', { kind: 'graphql' }, [REQUEST, RESPONSE]],
  ['a part of a batch', { part: 1 }, [REQUEST, RESPONSE]],
  ['a WebSocket', { websocket: [] }, [REQUEST, RESPONSE]],
  ['a body that passes unread', { body: jsonOf('{}', { unseen: true }) }, [REQUEST]],
  ['a body that streams', { body: jsonOf('{}', { bytes: null }) }, [REQUEST]],
  ['a form that is JSON to some', { body: formOf('{"a":1}') }, [REQUEST]],
  ['a field that the query has', { body: formOf('a=1'), query: ['A'] }, [REQUEST]],
  ['what is in a field', { body: formOf('a=1') }, ['/a/b', '/*', '/a~1'].map(inRequest)],
  ['another text', { body: jsonOf('a', { contentType: 'text/plain' }) }, [REQUEST]],
])('of %s nothing can be kept', async (_what, of, demands) => {
  const { asked, kept } = make()
  for (const each of demands) await expect(asked(of, each)).rejects.toMatchObject(refused)
  expect(kept).toEqual([])
})

test('each value is kept as it was written, also of a member that stands twice', async () => {
  const { asked, kept, events } = make()
  const body = jsonOf('{"a":1.50,"A":2,"b":[{"a":"x"},{"a":null}],"a":"\\u0041"}')
  await asked({ body }, { in: 'request', pointers: ['/a', '/b/*/a', '/none'] })
  await asked({ body, insensitive: true }, REQUEST)
  expect(kept).toEqual([
    'E1 request {"version":1,"obligation":"r","in":"request","status":null,"members":{"/a":[1.50,"\\u0041"],"/b/*/a":["x",null],"/none":[]}}',
    'E1 request {"version":1,"obligation":"r","in":"request","status":null,"members":{"/a":[1.50,2,"\\u0041"]}}',
  ])
  expect(events.map(({ values, members }) => [values, members])).toEqual([
    [4, 'sha256:1'],
    [3, 'sha256:1'],
  ])
})

test('of a form each field that is named is kept, decoded; one that has two readings does not leave', async () => {
  const { asked, kept } = make()
  const pointers = ['/amount', '/to', '/none']
  await asked({ body: formOf('amount=1%2C50&note=x&to=Zo%C3%AB+S') }, { in: 'request', pointers })
  expect(kept).toEqual([
    'E1 request {"version":1,"obligation":"r","in":"request","status":null,"members":{"/amount":["1,50"],"/to":["Zo\u00eb S"],"/none":[]}}',
  ])
  for (const text of ['amount=1&amount=2', 'amount=1&Amount=2', 'a=1;amount=2', 'amount=%ff'])
    await expect(asked({ body: formOf(text) }, { in: 'request', pointers })).rejects.toMatchObject({
      code: 'request_invalid',
    })
  expect(kept).toHaveLength(1)
})

test('of an answer without a body the record says that nothing was there', async () => {
  const { asked, kept } = make()
  const owed = await asked({}, RESPONSE)
  if (owed?.in !== 'answer') throw new Error('nothing is owed')
  await owed.kept({ status: 204, text: null })
  expect(kept).toEqual([
    'E1 response {"version":1,"obligation":"r","in":"response","status":204,"members":{"/a":[]}}',
  ])
  await expect(owed.kept({ status: 200, text: '{"a":' })).rejects.toMatchObject({
    code: 'answer_not_redactable',
  })
})

test('more than 1 MiB is refused', async () => {
  const { asked, kept } = make()
  const body = jsonOf(JSON.stringify({ a: 'x'.repeat(1024 * 1024) }))
  await expect(asked({ body }, REQUEST)).rejects.toMatchObject(refused)
  expect(kept).toEqual([])
})

test('without its line of evidence it is refused where evidence is required, and told where it is not', async () => {
  const strict = make({ written: false })
  await expect(strict.asked({}, REQUEST)).rejects.toMatchObject({ code: 'audit_unavailable' })
  const loose = make({ written: false, auditRequired: false })
  await loose.asked({}, REQUEST)
  expect(loose.logged).toEqual(['an evidence record could not be written'])
})
