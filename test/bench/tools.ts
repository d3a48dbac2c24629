// Tools: a call by MCP against the same call through the proxy's door, of one deputy, in interleaved rounds; and the list of
// an endpoint of forty.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { say, type Size } from './calls.ts'
import type { Job, Round } from './load.ts'
import { agentPort, memoryOf, root, start, type Child } from './processes.ts'
import { median, type Section } from './report.ts'
import { CALLERS, seed } from './seed.ts'
import { LAST, type UpstreamAsk, type UpstreamSays } from './upstream.ts'

const TOOLS = 40
const script = (name: string): string => join(root, 'test/bench', name)

const message = (person: string, method: string, params: object): string => {
  const name = 'name' in params ? `Mcp-Name: ${String(params.name)}\r\n` : ''
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method,
    params: {
      ...params,
      _meta: {
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientCapabilities': {},
      },
    },
  })
  return [
    'POST /mcp HTTP/1.1',
    'Host: 127.0.0.1:7410',
    'Accept: application/json, text/event-stream',
    'Content-Type: application/json',
    'MCP-Protocol-Version: 2026-07-28',
    `Mcp-Method: ${method}`,
    `${name}Content-Length: ${body.length}`,
    `Deputy-User: ${person}`,
    'Connection: keep-alive',
    '',
    body,
  ].join('\r\n')
}
const calls = CALLERS.map((person) =>
  message(person, 'tools/call', {
    name: 'Bench_IssuesListForRepo',
    arguments: { owner: person, repo: 'app', query: { state: 'open', per_page: '30' } },
  }),
)
const lists = CALLERS.map((person) => message(person, 'tools/list', {}))

const PAGE = 10
const pages = CALLERS.map((person) =>
  [
    `GET /v1/tools?plain=true&limit=${PAGE} HTTP/1.1`,
    'Host: 127.0.0.1:7410',
    `Deputy-User: ${person}`,
    'Connection: keep-alive',
    '',
    '',
  ].join('\r\n'),
)

type Way = { readonly name: string; readonly requests: readonly string[]; readonly last: string }

export const measureTools = async (size: Size): Promise<Section> => {
  const children: Child[] = []
  const kept = (child: Child): Child => {
    children.push(child)
    return child
  }
  const wrong: string[] = []
  try {
    const upstream = kept(start([script('upstream.ts')], 'load'))
    const listening = await upstream.next<UpstreamSays>()
    if (listening.kind !== 'listening') throw new Error('the upstream does not listen')
    const load = kept(start([script('load.ts')], 'load'))
    const plan = { trust: 'plain', people: 10, held: 10, operations: TOOLS } as const
    const home = await seed(join(size.folder, 'tools'), plan, `http://127.0.0.1:${listening.port}`)
    const config = JSON.parse(readFileSync(home.config, 'utf8')) as object
    const tools = { endpoints: [{ path: '/mcp', tools: ['Bench.*'] }] }
    writeFileSync(home.config, JSON.stringify({ ...config, tools }))
    say('starting deputy with tools')
    const deputy = kept(start(['bin/deputy.js', 'serve', '--config', home.config], 'proxy'))
    const port = await agentPort(deputy)
    const idle = memoryOf(deputy.pid)
    const ways: readonly Way[] = [
      { name: 'the proxy’s door', requests: home.requests, last: LAST },
      { name: 'tools/call', requests: calls, last: LAST },
      { name: `tools/list of ${TOOLS}`, requests: lists, last: '"cacheScope":"private"}}' },
      {
        name: `/v1/tools?plain=true, ${PAGE} of ${TOOLS}`,
        requests: pages,
        last: `"total_count":${PAGE + 1}}`,
      },
    ]
    const rounds = new Map(ways.map(({ name }) => [name, [] as Round[]]))
    for (let i = 0; i < size.rounds; i++)
      for (const way of ways) {
        say(`round ${i + 1} of ${size.rounds}: ${way.name}`)
        const job: Job = {
          port,
          requests: way.requests,
          connections: size.connections,
          pids: [deputy.pid],
          last: way.last,
          // Code that runs for the first time is compiled for a while.
          warmMs: i === 0 ? Math.min(size.windowMs, 3_000) : size.windowMs / 6,
          ms: size.windowMs,
        }
        const round = await load.next<Round>(job)
        const ask: UpstreamAsk = { kind: 'seen' }
        const said = await upstream.next<UpstreamSays>(ask)
        if (said.kind !== 'seen') throw new Error('the upstream does not answer')
        if (round.errors > 0) wrong.push(`${way.name}: ${round.errors} errors, as ${round.example}`)
        if (round.requests === 0) wrong.push(`${way.name}: nothing was answered in time`)
        if (said.seen.foreign + said.seen.tagged > 0)
          wrong.push(`${way.name}: a call went out as somebody else: ${said.seen.example}`)
        rounds.get(way.name)?.push(round)
      }
    const cpu = (name: string): number =>
      median((rounds.get(name) ?? []).map((one) => (one.cpu[0] ?? NaN) / one.requests))
    const base = cpu(ways[0]?.name ?? '')
    return {
      title: 'Tools',
      columns: ['way', 'CPU of deputy for one (µs)', 'against the proxy’s door', 'p50 (ms)'],
      rows: ways.map(({ name }) => [
        name,
        cpu(name).toFixed(0),
        `${(cpu(name) / base).toFixed(2)} ×`,
        (median((rounds.get(name) ?? []).map((one) => one.p50)) / 1_000).toFixed(2),
      ]),
      notes: [
        `${size.rounds} rounds of ${size.windowMs} ms, ${size.connections} connections; ${idle.toFixed(0)} MB before the first of them`,
        `each of the ${TOOLS} tools of the list is decided for its person each time; of a page ${PAGE + 1}`,
      ],
      wrong,
      skipped: [],
    }
  } finally {
    await Promise.all(children.map((child) => child.stop()))
  }
}
