// A tool of several steps, one of which somebody has to approve: by both doors, nothing is done twice, and nothing by half
// without saying so.
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import type { Fields } from '../support/deputy.ts'
import { startMcpHouse, type McpHouse } from '../support/mcphost.ts'

const TOOLS = `
provider: acme
tools:
  Acme.Publish:
    description: Writes a note and announces it.
    input: { title: { type: string, required: true } }
    steps:
      - { operation: notes.create, as: made, body: { title: { $arg: title } } }
      - { operation: notes.announce, as: told, body: { title: { $arg: title } } }
  Acme.Derive:
    description: Writes a note and announces it by its id.
    input: { title: { type: string, required: true } }
    steps:
      - { operation: notes.create, as: made, body: { title: { $arg: title } } }
      - { operation: notes.announce, as: told, body: { id: { $step: made, at: /id } } }
  Acme.Forbidden:
    description: Writes a note and does what nobody may.
    steps:
      - { operation: notes.create, as: made, body: { title: x } }
      - { operation: notes.erase, as: gone, query: { id: { $step: made, at: /id } } }
`
let house: McpHouse
/** Takes every span. */
const collector = createServer((req, res) => req.resume().on('end', () => res.end()))
beforeAll(async () => {
  await new Promise<void>((resolve) => {
    collector.listen(0, '127.0.0.1', resolve)
  })
  const { port } = collector.address() as AddressInfo
  house = await startMcpHouse(
    {
      telemetry: { otlp: `http://127.0.0.1:${port}`, traces: 1 },
      network: { allow_private: [{ net: '127.0.0.0/8' }] },
    },
    {
      tools: TOOLS,
      operations: [
        {
          id: 'notes.announce',
          method: 'POST',
          path: '/announce',
          access: 'admin',
          scopes: [['notes']],
        },
      ],
      rows: {
        announce: {
          access: ['admin'],
          approval: { lead: { approvers: ['person:bob'], ttl_s: 900 } },
        },
      },
    },
  )
  const { document } = await execute('Acme.Publish', 'connect')
  await house.visit(String(document['url']), 'alice')
})
afterAll(async () => {
  await house.close()
  collector.closeAllConnections()
  collector.close()
})
beforeEach(() => {
  house.upstream.seen.length = 0
})

type Said = { readonly code: string | null; readonly document: Fields }
const post = async (path: string, body: object, headers: Record<string, string> = {}) => {
  const answer = await fetch(`${house.deputy.agent}${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'deputy-user': 'alice',
      ...headers,
    },
    body: JSON.stringify(body),
  })
  return {
    code: answer.headers.get('deputy-answer'),
    document: (await answer.json()) as Fields,
  }
}
const execute = (tool: string, title: string, headers: Record<string, string> = {}) =>
  post('/v1/tools/execute', { tool_name: tool, input: { title } }, headers)
/** What the model reads. */
const mcp = async (tool: string, title: string): Promise<Said> => {
  const { document } = await post('/mcp', {
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: { name: tool.replace('.', '_').toLowerCase(), arguments: { title } },
  })
  const result = document['result'] as { readonly structuredContent: Fields }
  const { structuredContent: said } = result
  return { code: typeof said['code'] === 'string' ? said['code'] : null, document: said }
}
const approve = async (link: unknown): Promise<string> => {
  const browser = createBrowser()
  let page = await browser.open(String(link))
  for (let i = 0; i < 6 && !page.text.includes('name="csrf"'); i++)
    page = await browser.submit(
      page,
      page.text.includes('value="login"') ? { login: 'bob', password: 'x' } : {},
    )
  return (await browser.submit(page, { answer: 'yes' })).text
}
const sent = (): readonly string[] =>
  house.upstream.seen.map(({ method, url, body }) => `${method} ${url} ${body.toString()}`)

const doors = { execute, mcp }
test.for(['execute', 'mcp'] as const)(
  '%s: what is known of later steps is asked first: nothing is done before the yes, and all once after it',
  async (door) => {
    const call = () => doors[door]('Acme.Publish', door)
    const first = await call()
    expect(first).toMatchObject({ code: 'approval_required' })
    expect(sent()).toEqual([])
    expect(await approve(first.document['url'])).toContain('You approved this call')
    expect((await call()).code).toBe(null)
    const both = [`POST /notes {"title":"${door}"}`, `POST /announce {"title":"${door}"}`]
    expect(sent()).toEqual(both)
    expect(await call()).toMatchObject({ code: 'approval_required' })
    expect(sent()).toEqual(both)
  },
)

test('the caller that waits is held before anything is done', async () => {
  const waiting = execute('Acme.Publish', 'held', { prefer: 'wait=30' })
  const { document } = await execute('Acme.Publish', 'held')
  expect(sent()).toEqual([])
  await approve(document['url'])
  expect((await waiting).document).toMatchObject({ success: true })
  expect(sent()).toEqual(['POST /notes {"title":"held"}', 'POST /announce {"title":"held"}'])
})

test('a step that an earlier answer makes: what is done already is said, with no invitation to do it again', async () => {
  const said = await execute('Acme.Derive', 'd')
  expect(said).toMatchObject({
    code: 'partly_done',
    document: {
      success: false,
      output: {
        error: {
          kind: 'TOOL_RUNTIME_FATAL',
          can_retry: false,
          status_code: 403,
          extra: {
            stopped_at: 'notes.announce',
            done: [{ operation: 'notes.create', answers: [{ id: 'n1', who: 'somebody' }] }],
            answer: { code: 'approval_required' },
          },
        },
      },
    },
  })
  expect(JSON.stringify(said)).not.toContain('"url"')
  const told = await mcp('Acme.Derive', 'd')
  expect(told).toMatchObject({
    code: 'partly_done',
    document: { stopped_at: 'notes.announce', done: [{ operation: 'notes.create' }] },
  })
  expect(sent()).toEqual(['POST /notes {"title":"d"}', 'POST /notes {"title":"d"}'])
})

/** The call of the second step, by the proxy's door, with the headers that a tool sends. */
const linkOfStep = async (): Promise<unknown> => {
  const { promise, resolve } = Promise.withResolvers<string>()
  request(
    `${house.deputy.agent}/api.acme.test/announce`,
    {
      method: 'POST',
      headers: {
        'deputy-user': 'alice',
        accept: 'application/json, */*;q=0.5',
        'content-type': 'application/json',
      },
    },
    (answer) => void text(answer).then(resolve),
  ).end('{"id":"n1"}')
  return (JSON.parse(await promise) as Fields)['url']
}
test('there the caller that waits is held in the middle, and the tool goes on', async () => {
  const waiting = execute('Acme.Derive', 'd', { prefer: 'wait=30' })
  await expect.poll(sent).toEqual(['POST /notes {"title":"d"}'])
  await approve(await linkOfStep())
  expect((await waiting).document).toMatchObject({ success: true })
  expect(sent()).toEqual(['POST /notes {"title":"d"}', 'POST /announce {"id":"n1"}'])
})

test('where policy lets nobody do a later step, nothing is begun', async () => {
  const said = await post('/v1/tools/execute', { tool_name: 'Acme.Forbidden', input: {} })
  expect(said).toMatchObject({ code: 'tool_not_found' })
  expect(sent()).toEqual([])
})

/** Those that a collector took, or that wait for it to. */
const spans = async (): Promise<number> => {
  const text = await (await fetch(`http://${house.deputy.admin}/metrics`)).text()
  const [, taken] = /^deputy_spans_total\{outcome="exported"\} (\d+)$/m.exec(text) ?? []
  return Number(taken)
}
test('each call that leaves or is refused is one span, what is asked before it and may leave is none', async () => {
  const settled = async (): Promise<number> => {
    let last = -1
    await expect
      .poll(
        async () => {
          const before = last
          last = await spans()
          return last - before
        },
        { interval: 1_500 },
      )
      .toBe(0)
    return last
  }
  const before = await settled()
  const refused = await execute('Acme.Publish', 'spans')
  expect(await settled()).toBe(before + 1)
  await approve(refused.document['url'])
  expect((await execute('Acme.Publish', 'spans')).code).toBe(null)
  expect(await settled()).toBe(before + 3)
})
