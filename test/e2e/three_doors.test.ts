// One decision, three doors: generated calls by SDK, by tool and by MCP have the same decision in the evidence and the same
// bytes at the provider, and a plan says the same before.
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startMcpHouse, type McpHouse } from '../support/mcphost.ts'
import type { Seen } from '../support/upstream.ts'

const TOOLS = `
provider: acme
tools:
  Acme.ListNotes:
    description: Reads notes.
    input:
      n: { type: integer, default: 5 }
      search: { type: string }
    steps: [{ operation: notes.list, query: { max: { $arg: n }, q: { $arg: search } } }]
  Acme.GetNote:
    description: Reads a note.
    input: { id: { type: string, required: true } }
    steps: [{ operation: notes.get, path: { id: { $arg: id } } }]
  Acme.CreateNote:
    description: Writes a note.
    input:
      title: { type: string, required: true }
      tags: { type: array, items: string }
      rank: { type: number }
    steps:
      - operation: notes.create
        body: { title: { $arg: title }, tags: { $arg: tags }, rank: { $arg: rank } }
  Acme.EraseNotes:
    description: Removes every note.
    steps: [{ operation: notes.erase }]
`
const CALLS = 500
const SEED = 20_260_728

let house: McpHouse
beforeAll(async () => {
  house = await startMcpHouse(
    {},
    {
      tools: TOOLS,
      operations: [
        {
          id: 'notes.get',
          method: 'GET',
          path: '/notes/{id}',
          access: 'read',
          scopes: [['notes']],
        },
      ],
    },
  )
})
afterAll(() => house.close())

/** Mulberry32: the same numbers each time. */
const numbers = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}
type Call = {
  readonly user: string
  readonly tool: string
  readonly input: { readonly [name: string]: unknown }
  readonly method: string
  /** Of the provider, as an SDK would write it. */
  readonly target: string
  readonly body: string | null
}
const generated = (next: () => number): Call => {
  const pick = <T>(all: readonly T[]): T => all[Math.floor(next() * all.length)] as T
  const letters = Array.from('aZ09-._~ +&=#?%\'"()é€😀‮\t\n<>{}[]:@!$,;|^`*')
  const texts = (most: number): string =>
    Array.from({ length: Math.floor(next() * most) }, () => pick(letters)).join('')
  const user = pick(['alice', 'bob', 'carol'])
  const kind = pick(['list', 'get', 'create', 'erase'] as const)
  if (kind === 'list') {
    const n = Math.floor(next() * 100)
    const search = next() < 0.5 ? undefined : texts(20)
    const q = search === undefined ? '' : `&q=${encodeURIComponent(search)}`
    const input = search === undefined ? { n } : { n, search }
    return {
      user,
      tool: 'Acme.ListNotes',
      input,
      method: 'GET',
      target: `/notes?max=${n}${q}`,
      body: null,
    }
  }
  if (kind === 'get') {
    // What may stand in one segment of a path; the rest is refused by tools before anything is sent.
    const id = `n${texts(12).replaceAll(/[;%\p{Cc}]/gu, '')}`
    const target = `/notes/${encodeURIComponent(id)}`
    return { user, tool: 'Acme.GetNote', input: { id }, method: 'GET', target, body: null }
  }
  if (kind === 'create') {
    const input = {
      title: texts(30),
      ...(next() < 0.5 ? {} : { tags: [texts(5), texts(5)] }),
      ...(next() < 0.5 ? {} : { rank: Math.round(next() * 1_000) / 8 }),
    }
    return {
      user,
      tool: 'Acme.CreateNote',
      input,
      method: 'POST',
      target: '/notes',
      body: JSON.stringify(input),
    }
  }
  return {
    user,
    tool: 'Acme.EraseNotes',
    input: {},
    method: 'DELETE',
    target: '/notes',
    body: null,
  }
}

const post = (
  path: string,
  user: string,
  body: object,
  headers: Readonly<Record<string, string>> = {},
) =>
  fetch(`${house.deputy.agent}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'deputy-user': user, ...headers },
    body: JSON.stringify(body),
  })
const DOORS = {
  // As it is written: fetch would escape more of an address than most SDKs do.
  proxy: ({ user, method, target, body }: Call) =>
    new Promise<Response>((resolve, reject) => {
      request(
        `${house.deputy.agent}/`,
        {
          method,
          path: `/api.acme.test${target}`,
          headers: {
            'deputy-user': user,
            accept: 'application/json, */*;q=0.5',
            ...(body === null
              ? {}
              : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
          },
        },
        (answer) => {
          text(answer).then((read) => resolve(new Response(read)), reject)
        },
      )
        .on('error', reject)
        .end(body ?? undefined)
    }),
  tool: ({ user, tool, input }: Call) =>
    post('/v1/tools/execute', user, { tool_name: tool, input }),
  mcp: ({ user, tool, input }: Call) => {
    const name = tool.replace('.', '_')
    const _meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    }
    return post(
      '/mcp',
      user,
      { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: input, _meta } },
      { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': name },
    )
  },
} as const

/** Which headers a client adds of itself says nothing of the call. */
const CLIENTS_OWN =
  /^(?:host|connection|user-agent|accept-language|accept-encoding|sec-fetch-.*|traceparent)$/
const bytesOf = ({ method, url, headers, body }: Seen) => ({
  method,
  url,
  body: body.toString('latin1'),
  headers: Object.entries(headers)
    .filter(([name]) => !CLIENTS_OWN.test(name))
    .toSorted(([a], [b]) => (a < b ? -1 : 1)),
})
type Record_ = {
  readonly via?: string
  readonly user: { readonly id: string }
  readonly operation: object
  readonly connection: string
  readonly decision: { readonly effect: string; readonly reasons: unknown }
  readonly request?: object
}

test(
  `${CALLS} calls: the same decision and the same bytes by each door`,
  { timeout: 300_000 },
  async () => {
    for (const user of ['alice', 'bob']) {
      const asked = await (
        await DOORS.proxy({
          user,
          tool: '',
          input: {},
          method: 'GET',
          target: '/notes',
          body: null,
        })
      ).json()
      await house.visit((asked as { readonly url: string }).url, user)
    }
    const next = numbers(SEED)
    const effects = new Map<string, number>()
    const calls = Array.from({ length: CALLS }, () => generated(next))
    const planned: string[] = []
    for (let i = 0; i < CALLS; i += 1) {
      const call = calls[i] as Call
      const answer = await post('/v1/plan', call.user, {
        calls: [
          { id: 'tool', tool: call.tool, input: call.input },
          {
            id: 'request',
            request: {
              method: call.method,
              url: `https://api.acme.test${call.target}`,
              headers: call.body === null ? {} : { 'content-type': 'application/json' },
              ...(call.body === null ? {} : { body: call.body }),
            },
          },
        ],
      })
      const { calls: rows } = (await answer.json()) as {
        readonly calls: readonly { readonly effect: string }[]
      }
      expect([i, rows[0]?.effect]).toEqual([i, rows[1]?.effect])
      planned.push(rows[0]?.effect ?? '')
    }
    house.upstream.seen.length = 0
    const told: Record<keyof typeof DOORS, { readonly seen: readonly object[] }[]> = {
      proxy: [],
      tool: [],
      mcp: [],
    }
    const from = house.deputy.evidence().length
    for (const call of calls)
      for (const door of ['proxy', 'tool', 'mcp'] as const) {
        house.upstream.seen.length = 0
        await (await DOORS[door](call)).arrayBuffer()
        told[door].push({ seen: house.upstream.seen.map(bytesOf) })
      }
    const records = house.deputy
      .evidence()
      .slice(from)
      .filter(({ event }) => event === 'decision') as unknown as readonly Record_[]
    const by = (door: string) =>
      records
        .filter(({ via = 'proxy' }) => via === door)
        .map(({ user, operation, decision: { effect, reasons } }) => ({
          user,
          operation,
          effect,
          reasons,
        }))
    expect(by('proxy')).toHaveLength(CALLS)
    calls.forEach((call, i) => {
      const one = { call, decision: by('proxy')[i], ...told.proxy[i] }
      expect({ call, decision: by('tool')[i], ...told.tool[i] }).toEqual(one)
      expect({ call, decision: by('mcp')[i], ...told.mcp[i] }).toEqual(one)
      expect([call, planned[i]]).toEqual([call, one.decision?.effect])
      expect(told.proxy[i]?.seen).toHaveLength(one.decision?.effect === 'allow' ? 1 : 0)
      effects.set(planned[i] ?? '', (effects.get(planned[i] ?? '') ?? 0) + 1)
    })
    // All kinds came, so that equal means something.
    for (const effect of ['allow', 'deny', 'consent_required'])
      expect([effect, effects.get(effect) ?? 0]).toEqual([
        effect,
        expect.toSatisfy((n: number) => n > 50),
      ])
  },
)
