// What deputy adds to one call of an MCP server's tool, and to a list of sixty of which half may be seen.
import { Agent, fetch } from 'undici'
import { startChild, TABLES } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import { say, type Size } from './calls.ts'
import { n, part, type Section } from './report.ts'

const TOKEN = 'at-alice-0123456789abcdef'
const HOST = 'mcp.acme.test'
const TOOLS = Array.from({ length: 60 }, (_, i) => ({
  name: `tool_${i}`,
  description: 'Does one of sixty things, which the model reads about here at some length.',
  inputSchema: { type: 'object', properties: { title: { type: 'string' } } },
}))
const ROW = { kinds: ['mcp'], operations: ['*'], max_entitlement_age_s: 300 }

export const measureMcp = async ({ quick }: Size): Promise<Section> => {
  const calls = quick ? 20 : 1_000
  say(`mcp: ${calls} calls of a tool, one after the other`)
  const upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  upstream.handle = ({ body }, res) => {
    const { id, method } = JSON.parse(body.toString()) as { id: number; method: string }
    const result =
      method === 'tools/list' ? { tools: TOOLS } : { content: [{ type: 'text', text: 'done' }] }
    const text = JSON.stringify({ jsonrpc: '2.0', id, result })
    res.writeHead(200, { 'content-type': 'application/json' }).end(text)
  }
  const deputy = await startChild({
    upstream: upstream.origin,
    held: [{ person: 'alice', connection: 'acme', token: TOKEN, scopes: [] }],
    people: [{ id: 'alice', groups: ['staff'] }],
    tables: {
      ...TABLES,
      role_grants: { acme: { user: ['use'] } },
      grants: { acme: { use: ROW } },
      providers: { acme: { hosts: [HOST], assets: [], inspect_body: [] } },
    },
    config: {
      providers: [
        {
          id: 'acme',
          kind: 'mcp',
          url: `https://${HOST}/mcp`,
          hosts: { [HOST]: upstream.origin },
          authorize: `${upstream.origin}/authorize`,
          token: `${upstream.origin}/token`,
          client_auth: 'none',
          tools: TOOLS.map(({ name }, i) => ({ name, access: i % 2 === 0 ? 'read' : 'admin' })),
        },
      ],
      connections: { acme: { provider: 'acme', client_id: 'deputy' } },
    },
  })
  const dispatcher = new Agent({ connections: 1 })
  const wrong: string[] = []
  const timed = async (url: string, method: string, right: RegExp): Promise<number[]> => {
    const took: number[] = []
    // The first tenth warms up.
    for (let i = 0; i < calls * 1.1; i++) {
      const params = method === 'tools/call' ? { name: 'tool_0', arguments: { title: 'a' } } : {}
      const began = performance.now()
      const answer = await fetch(url, {
        dispatcher,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'deputy-user': 'alice',
          authorization: `Bearer ${TOKEN}`,
        },
        body: JSON.stringify({ jsonrpc: '2.0', id: i, method, params }),
      })
      const text = await answer.text()
      if (i >= calls * 0.1) took.push(performance.now() - began)
      if (!right.test(text)) wrong.push(`${answer.status} ${text.slice(0, 200)}`)
    }
    return took
  }
  try {
    const rows: string[][] = []
    for (const [method, right] of [
      ['tools/call', /"done"/],
      ['tools/list', /"tool_58"/],
    ] as const) {
      const direct = await timed(`${upstream.origin}/mcp`, method, right)
      const through = await timed(`${deputy.agent}/${HOST}/mcp`, method, right)
      const added = (share: number): string => n(part(through, share) - part(direct, share), 2)
      rows.push([
        method,
        n(part(direct, 0.5), 2),
        n(part(through, 0.5), 2),
        added(0.5),
        added(0.99),
      ])
    }
    return {
      title: 'MCP',
      columns: ['message', 'direct p50 (ms)', 'through deputy p50 (ms)', 'added p50', 'added p99'],
      rows,
      notes: ['one connection; the list has 60 tools, each decided, of which 30 are shown'],
      wrong: [...new Set(wrong)].slice(0, 5),
      skipped: [],
    }
  } finally {
    await dispatcher.destroy()
    await deputy.close()
    await upstream.close()
  }
}
