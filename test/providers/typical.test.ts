// What each vendor's own client sends, recorded by calling it; and that deputy knows what that is.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parse } from 'graphql'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callsOf, createTypical, TYPICAL } from './typical.ts'
import { CALLS } from './typical_calls.ts'

let origin = ''
const seen: string[] = []
/** The root fields of a GraphQL document: ` query viewer`. */
const fieldsOf = (body: string): string => {
  const { query } = JSON.parse(body) as { readonly query: string }
  return parse(query)
    .definitions.flatMap((one) =>
      one.kind === 'OperationDefinition'
        ? one.selectionSet.selections.map((field) =>
            field.kind === 'Field' ? ` ${one.operation} ${field.name.value}` : '',
          )
        : [],
    )
    .join('')
}
/** A stand-in for every vendor: writes down what comes, and says as little as lets a client go on. */
const recorder = createServer((req, res) => {
  const chunks: Buffer[] = []
  req.on('data', (chunk: Buffer) => void chunks.push(chunk))
  req.on('end', () => {
    const [asked = ''] = (req.url ?? '').split('?')
    // The bulk jobs of Salesforce's client keep only the origin of the address that it was given.
    const path = asked.startsWith('/services/') ? `/acme.my.salesforce.com${asked}` : asked
    const fields = path.endsWith('/graphql') ? fieldsOf(Buffer.concat(chunks).toString()) : ''
    seen.push(`${req.method ?? ''} ${path.slice(1)}${fields}`)
    const upload_url = `${origin}/files.slack.com/upload/v1/abc`
    const more = path.endsWith('/query')
      ? { nextRecordsUrl: '/services/data/v65.0/query/01g-2' }
      : {}
    res.setHeader('content-type', 'application/json')
    res.end(JSON.stringify({ ok: true, id: '1', upload_url, file_id: 'F1', records: [], ...more }))
  })
})
beforeAll(async () => {
  await new Promise<void>((done) => void recorder.listen(0, '127.0.0.1', done))
  origin = `http://127.0.0.1:${(recorder.address() as AddressInfo).port}`
})
afterAll(() => {
  recorder.closeAllConnections()
  recorder.close()
})
test.each(Object.entries(CALLS))('%s sends what is listed of it', async (name, calls) => {
  seen.length = 0
  // What it makes of so poor an answer does not matter.
  for (const call of calls({ origin, key: 'x' })) await Promise.resolve(call()).catch(() => {})
  const listed = TYPICAL[name]
  expect([...new Set(seen)]).toEqual(listed && callsOf(listed))
})

describe('by the shipped definitions', () => {
  const operations = createTypical()
  test.each(Object.entries(TYPICAL))('%s: what is unknown has its reason', (_, client) => {
    const unknown = callsOf(client).filter((call) => operations(client, call).includes('unknown'))
    expect(unknown.toSorted()).toEqual(Object.keys(client.unknown ?? {}).toSorted())
  })

  test('calls inside a call are read, and each root field is an operation', () => {
    const of = (name: string, call: string) => {
      const client = TYPICAL[name]
      return client && operations(client, call)
    }
    expect(of('@microsoft/microsoft-graph-client', 'POST graph.microsoft.com/v1.0/$batch')).toEqual(
      ['batch'],
    )
    expect(of('@linear/sdk', 'POST api.linear.app/graphql query viewer query nothing')).toEqual([
      'viewer.get',
      'unknown',
    ])
  })

  test('an upload under another path is the operation that it is', () => {
    const client = TYPICAL['@googleapis/*']
    const call = 'POST gmail.googleapis.com/upload/gmail/v1/users/me/messages/send'
    expect(client && operations(client, call)).toEqual(['gmail.users.messages.send'])
  })
})
