// Who is whom at an MCP server: what is remembered of a server is one person's, one agent's and one account's (against whole
// servers: e2e/mcp_endpoints_remote and _hostile).
import { expect, test } from 'vitest'
import type { Connection, Holding, Principal } from '../../proxy/model.ts'
import { parseProvider } from '../../proxy/providers/parse.ts'
import { remoteTools } from '../../proxy/tools/remote.ts'
import { createRemotes } from '../../proxy/tools/remote_run.ts'
import type { Send } from '../../proxy/tools/run.ts'

const parsed = parseProvider(
  {
    id: 'acme',
    name: 'Acme',
    kind: 'mcp',
    url: 'https://mcp.acme.test/mcp',
    tools: [{ name: 'whoami', access: 'read' }],
  },
  'acme.yaml',
)
if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
const [offer] = remoteTools({ name: 'notes', provider: parsed.provider } as Connection).offers
if (offer === undefined) throw new Error('none')

/** A server of the older revision, which gives each opening a session. */
const world = () => {
  const heard: (readonly [string, string | undefined])[] = []
  let opened = 0
  const send: Send = (request) => {
    const { method } = JSON.parse(request.body?.toString() ?? '') as { readonly method: string }
    const at = request.headers.indexOf('mcp-session-id')
    heard.push([method, at === -1 ? undefined : request.headers[at + 1]])
    const headers = new Map([['content-type', 'application/json']])
    const old = method !== 'server/discover'
    if (method === 'initialize') headers.set('mcp-session-id', `s${++opened}`)
    const said = old
      ? { result: { protocolVersion: '2025-11-25', content: [] } }
      : { error: { code: -32601, message: 'no' } }
    const body = Buffer.from(JSON.stringify({ id: 1, ...said }))
    return Promise.resolve({ status: old ? 200 : 400, headers, body, end: 'whole' })
  }
  return { heard, send }
}
const LIMITS = { answers: 100_000, result: 10_000 }

test('a session is never used for another tenant, realm, person, agent or account', async () => {
  const { heard, send } = world()
  const { run } = createRemotes()
  const call = async (
    change: object = {},
    agent = 'a',
    account = 'x',
  ): Promise<string | undefined> => {
    const person = { tenant: 't', realm: 'r', id: 'alice', ...change }
    const held: Holding = {
      kind: 'held',
      credential: 'c',
      status: 'active',
      account,
      generation: 1,
      scopes: [],
      granted: [],
    }
    const ran = await run(
      {
        who: { person, agent } as Principal,
        send,
        look: () => held,
        seen: () => Promise.resolve({ may: 'yes', consent: null }),
      },
      offer,
      {},
      LIMITS,
    )
    expect(ran.kind).toBe('done')
    return heard.at(-1)?.[1]
  }
  expect([await call(), await call()]).toEqual(['s1', 's1'])
  const others = [
    await call({ tenant: 'other' }),
    await call({ realm: 'other' }),
    await call({ id: 'bob' }),
    await call({}, 'b'),
    await call({}, 'a', 'y'),
  ]
  expect(others).toEqual(['s2', 's3', 's4', 's5', 's6'])
  expect(await call()).toBe('s1')
  // Which revision the server speaks was found out once.
  expect(heard.filter(([method]) => method === 'server/discover')).toHaveLength(1)
})

test('whoever has to consent first, or may not, opens nothing: the call itself is refused', async () => {
  for (const seen of [
    { may: 'no', consent: null },
    { may: 'yes', consent: ['write'] },
  ] as const) {
    const { heard } = world()
    const headers = new Map([['deputy-answer', 'consent_required']])
    const body = Buffer.from('{"error":{"data":{"status":403,"url":"http://x"}}}')
    const ran = await createRemotes().run(
      {
        who: { person: { tenant: 't', realm: 'r', id: 'alice' }, agent: 'a' } as Principal,
        send: (request) => {
          heard.push([String(JSON.parse(request.body?.toString() ?? '').method), undefined])
          return Promise.resolve({ status: 200, headers, body, end: 'whole' })
        },
        look: () => ({ kind: 'none' }),
        seen: () => Promise.resolve(seen),
      },
      offer,
      {},
      LIMITS,
    )
    expect(ran).toMatchObject({ kind: 'refused', status: 403, code: 'consent_required' })
    expect(heard).toEqual([['tools/call', undefined]])
  }
})

test.each([400, 404, 405])(
  'a call that was answered %i is never carried out twice: it is repeated only where a session was sent and is unknown',
  async (status) => {
    for (const withSession of [true, false]) {
      const heard: string[] = []
      let answers = status
      const send: Send = (request) => {
        const { method } = JSON.parse(request.body?.toString() ?? '') as { readonly method: string }
        heard.push(method)
        const headers = new Map([['content-type', 'application/json']])
        if (withSession && method === 'initialize') headers.set('mcp-session-id', 's1')
        const said = method === 'server/discover' ? 400 : method === 'tools/call' ? answers : 200
        const result = { protocolVersion: '2025-11-25', content: [] }
        const body = Buffer.from(
          JSON.stringify({ id: 1, ...(said === 200 ? { result } : { error: { code: 1 } }) }),
        )
        return Promise.resolve({ status: said, headers, body, end: 'whole' })
      }
      const { run } = createRemotes()
      const call = async () =>
        run(
          {
            who: { person: { tenant: 't', realm: 'r', id: 'alice' }, agent: 'a' } as Principal,
            send,
            look: () => ({ kind: 'none' }),
            seen: () => Promise.resolve({ may: 'yes', consent: null }),
          },
          offer,
          {},
          LIMITS,
        )
      expect(await call()).toMatchObject({ kind: 'failed', status })
      const times = withSession && status === 404 ? 2 : 1
      expect(heard.filter((method) => method === 'tools/call')).toHaveLength(times)
      // Whoever calls again opens anew: the server may have become another.
      heard.length = 0
      answers = 200
      expect((await call()).kind).toBe('done')
      expect(heard).toContain(times === 2 ? 'tools/call' : 'initialize')
    }
  },
)
