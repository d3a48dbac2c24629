// Endpoints of the door for MCP hosts: who may ask which, what is listed when groups change, tools that are searched for,
// results that are too large, and hosts that sign people in themselves.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AUDIENCE, startIssuer, type Issuer } from '../support/issuer.ts'
import { startMcpHouse, type McpHouse } from '../support/mcphost.ts'

const NEW = '2026-07-28'
type Heard = {
  readonly status: number
  readonly headers: Headers
  readonly result: { readonly [name: string]: unknown }
  readonly error: unknown
}
const ask = async (
  house: McpHouse,
  params: { readonly [name: string]: unknown },
  { path = '/mcp', headers = {}, method = 'tools/call' } = {},
): Promise<Heard> => {
  const all = {
    'content-type': 'application/json',
    'deputy-user': 'alice',
    'mcp-protocol-version': NEW,
    'mcp-method': method,
    ...(typeof params['name'] === 'string' ? { 'mcp-name': params['name'] } : {}),
    ...headers,
  }
  const answer = await fetch(`${house.deputy.agent}${path}`, {
    method: 'POST',
    headers: Object.fromEntries(Object.entries(all).filter(([, value]) => value !== '')),
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method,
      params: {
        ...params,
        _meta: {
          'io.modelcontextprotocol/protocolVersion': NEW,
          'io.modelcontextprotocol/clientCapabilities': {},
        },
      },
    }),
  })
  const body = JSON.parse(await answer.text()) as { result?: Heard['result']; error?: unknown }
  return {
    status: answer.status,
    headers: answer.headers,
    result: body.result ?? {},
    error: body.error,
  }
}
const namesAt = async (house: McpHouse, path: string, user = 'alice') => {
  const { result } = await ask(
    house,
    {},
    { path, method: 'tools/list', headers: { 'deputy-user': user } },
  )
  return (result['tools'] as { readonly name: string }[] | undefined)?.map(({ name }) => name)
}
const structured = ({ result }: Heard) =>
  result['structuredContent'] as { readonly [name: string]: unknown }
const call = (house: McpHouse, name: string, args: object = {}, path = '/mcp') =>
  ask(house, { name, arguments: args }, { path })
const connect = async (house: McpHouse, user = 'alice'): Promise<void> => {
  const asked = await ask(
    house,
    { name: 'Acme_ListNotes', arguments: {} },
    { headers: { 'deputy-user': user } },
  )
  const url = structured(asked)['url']
  if (typeof url === 'string') await house.visit(url, user)
}

describe('several endpoints', () => {
  let house: McpHouse
  const many = Array.from({ length: 1_000 }, (_, i) => ({
    id: `bulk.n${i}`,
    method: 'GET',
    path: `/bulk/${i}`,
    access: 'read',
    scopes: [['notes']],
  }))
  beforeAll(async () => {
    house = await startMcpHouse(
      {
        tools: {
          files: ['./tools.yaml'],
          endpoints: [
            { path: '/mcp', tools: ['Acme.ListNotes', 'Acme.CreateNote', 'Acme.EraseNotes'] },
            { path: '/mcp/readers', tools: ['Acme.List*'] },
            { path: '/mcp/others', tools: ['Acme.*'], agents: ['agent:sales*'] },
            { path: '/mcp/all', tools: ['Acme.*'], discovery: true },
            { path: '/mcp/thousand', tools: ['Acme.Bulk*'] },
          ],
        },
      },
      { operations: many },
    )
  })
  afterAll(() => house.close())

  test('each lists its own, and is asked by its own agents only', async () => {
    expect(await namesAt(house, '/mcp')).toEqual(['Acme_CreateNote', 'Acme_ListNotes'])
    expect(await namesAt(house, '/mcp/readers')).toEqual(['Acme_ListNotes'])
    const others = await ask(house, {}, { path: '/mcp/others', method: 'tools/list' })
    expect(others.status).toBe(404)
    const elsewhere = await call(house, 'Acme_CreateNote', { title: 'x' }, '/mcp/readers')
    expect(elsewhere.error).toEqual({ code: -32602, message: 'Unknown tool: Acme_CreateNote' })
  })

  test('when a group is removed, the next list and the next call know it', async () => {
    await connect(house)
    expect(await namesAt(house, '/mcp')).toEqual(['Acme_CreateNote', 'Acme_ListNotes'])
    house.people({ alice: ['readers'], bob: ['readers'], carol: ['writers'] })
    await expect.poll(() => namesAt(house, '/mcp')).toEqual(['Acme_ListNotes'])
    const denied = await call(house, 'Acme_CreateNote', { title: 'x' })
    expect(structured(denied)).toMatchObject({ code: 'policy_denied' })
    expect(await namesAt(house, '/mcp', 'carol')).toEqual(['Acme_CreateNote', 'Acme_ListNotes'])
    house.people({ alice: ['writers'], bob: ['readers'], carol: ['writers'] })
    await expect.poll(() => namesAt(house, '/mcp')).toEqual(['Acme_CreateNote', 'Acme_ListNotes'])
  })

  test('a thousand tools are three: search, describe, call', async () => {
    const three = ['call_tool', 'describe_tool', 'search_tools']
    expect(await namesAt(house, '/mcp/thousand')).toEqual(three)
    expect(await namesAt(house, '/mcp/thousand')).toEqual(three)
    expect(await namesAt(house, '/mcp/all')).toEqual(three)
    // Whoever wrote it did not say that they are to be searched for; once is enough to say so.
    const warned = house.deputy.logged().match(/\/mcp\/\w+ has more than 40 tools/g)
    expect(warned).toEqual(['/mcp/thousand has more than 40 tools'])
    await connect(house)
    const at = '/mcp/all'
    const found = structured(await call(house, 'search_tools', { query: 'note', limit: 5 }, at))
    const names = (found['tools'] as { readonly name: string }[]).map(({ name }) => name)
    expect(names).toContain('Acme_ListNotes')
    // What policy refuses is not found.
    expect(names).not.toContain('Acme_EraseNotes')
    const described = structured(await call(house, 'describe_tool', { name: 'Acme_ListNotes' }, at))
    expect(described).toMatchObject({ name: 'Acme_ListNotes', inputSchema: { type: 'object' } })
    const hidden = structured(await call(house, 'describe_tool', { name: 'Acme_EraseNotes' }, at))
    expect(hidden).toMatchObject({ code: 'tool_not_found' })
    const called = await call(
      house,
      'call_tool',
      { name: 'Acme_ListNotes', arguments: { n: 2 } },
      at,
    )
    expect(structured(called)).toMatchObject({ notes: ['first', 'second'] })
    const denied = await call(house, 'call_tool', { name: 'Acme_EraseNotes' }, at)
    expect(structured(denied)).toMatchObject({ code: 'policy_denied' })
    const wrong = await call(
      house,
      'call_tool',
      { name: 'Acme_ListNotes', arguments: { m: 2 } },
      at,
    )
    expect(structured(wrong)).toMatchObject({ code: 'invalid_arguments' })
    for (const args of [{}, { name: 3 }])
      expect(structured(await call(house, 'call_tool', args, at))).toMatchObject({
        code: 'invalid_arguments',
      })
    expect((await call(house, 'search_tools', { limit: 3 }, at)).result['isError']).toBe(true)
  })

  test('an answer of 50 MB, one that is no text, and one that is cut, are said in a sentence', async () => {
    await connect(house)
    const { upstream } = house
    const before = upstream.handle
    try {
      upstream.handle = (_seen, res) => {
        res.writeHead(200, { 'content-type': 'application/json' })
        const chunk = Buffer.alloc(1_000_000, 0x20)
        let left = 50
        const more = (): void => {
          if (left-- > 0 && !res.destroyed) res.write(chunk, more)
          else res.end()
        }
        more()
      }
      const large = await call(house, 'Acme_ListNotes')
      expect(large.result).toMatchObject({ isError: true })
      expect(JSON.stringify(large.result)).toContain('larger than a tool may read')
      upstream.handle = (_seen, res) =>
        void res
          .writeHead(200, { 'content-type': 'application/octet-stream' })
          .end(Buffer.from([0xff, 0xfe, 0]))
      expect(JSON.stringify((await call(house, 'Acme_ListNotes')).result)).toContain('no text')
      upstream.handle = (_seen, res) => {
        const notes = Array.from({ length: 20_000 }, (_, i) => `note ${i}`)
        res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ notes }))
      }
      const cut = await call(house, 'Acme_ListNotes')
      expect(structured(cut)).toMatchObject({ truncated: true, hint: expect.any(String) })
      expect(JSON.stringify(structured(cut)).length).toBeLessThan(70_000)
    } finally {
      upstream.handle = before
    }
    expect(structured(await call(house, 'Acme_ListNotes'))).toMatchObject({
      notes: ['first', 'second'],
    })
  })

  test('endpoints change while hosts are connected, and a wrong one keeps the others', async () => {
    const file = join(house.deputy.dir, 'deputy.yaml')
    const before = readFileSync(file, 'utf8')
    const config = JSON.parse(before) as { tools: { endpoints: object[] } }
    const write = (endpoints: readonly object[]) => {
      const tools = { ...config.tools, endpoints }
      writeFileSync(file, JSON.stringify({ ...config, tools }), { mode: 0o600 })
      return house.deputy.reload()
    }
    await write([{ path: '/mcp', tools: ['Acme.ListNotes'] }])
    expect(await namesAt(house, '/mcp')).toEqual(['Acme_ListNotes'])
    expect((await ask(house, {}, { path: '/mcp/all', method: 'tools/list' })).status).toBe(404)
    await write([{ path: '/v1/mcp' }])
    expect(await namesAt(house, '/mcp')).toEqual(['Acme_ListNotes'])
    writeFileSync(file, before, { mode: 0o600 })
    await house.deputy.reload()
    expect(await namesAt(house, '/mcp/readers')).toEqual(['Acme_ListNotes'])
  })
})

describe('hosts that sign people in themselves', () => {
  let house: McpHouse
  let issuer: Issuer
  beforeAll(async () => {
    issuer = await startIssuer()
    await issuer.rotate('k1')
    house = await startMcpHouse({
      identity: {
        trust: 'asserted',
        issuers: [
          {
            issuer: issuer.url,
            realm: 'local',
            audience: AUDIENCE,
            agent: '/client_id',
            insecure: true,
          },
        ],
      },
    })
  })
  afterAll(async () => {
    await house.close()
    issuer.close()
  })
  const bearer = (token: string) => ({ authorization: `Bearer ${token}`, 'deputy-user': '' })
  const signed = (claims: object = {}) =>
    issuer.sign({ sub: 'alice', client_id: 'host', ...claims })

  test('are told where, take a token there, and it goes nowhere', async () => {
    for (const headers of [
      { authorization: '', 'deputy-user': '' },
      bearer('nonsense'),
      bearer(await signed({ aud: 'https://elsewhere.example' })),
      bearer(await signed({ exp: Math.floor(Date.now() / 1_000) - 10 })),
    ]) {
      const refused = await ask(house, {}, { method: 'tools/list', headers })
      expect(refused.status).toBe(401)
      expect(refused.headers.get('www-authenticate')).toBe(
        `Bearer resource_metadata="${house.deputy.agent}/.well-known/oauth-protected-resource/mcp"`,
      )
    }
    for (const path of ['', '/mcp']) {
      const metadata = await fetch(
        `${house.deputy.agent}/.well-known/oauth-protected-resource${path}`,
      )
      expect(await metadata.json()).toMatchObject({
        resource: `${house.deputy.agent}/mcp`,
        authorization_servers: [issuer.url],
      })
    }
    const none = await fetch(`${house.deputy.agent}/.well-known/oauth-protected-resource/other`)
    expect(none.status).toBe(404)
    const token = await signed()
    const listed = await ask(house, {}, { method: 'tools/list', headers: bearer(token) })
    expect(listed.status, JSON.stringify(listed)).toBe(200)
    const params = { name: 'Acme_ListNotes', arguments: {} }
    const asked = await ask(house, params, { headers: bearer(token) })
    await house.visit(String(structured(asked)['url']), 'alice')
    const done = await ask(house, params, { headers: bearer(token) })
    expect(structured(done)).toMatchObject({ notes: ['first', 'second'] })
    expect(house.upstream.bytes().includes(token)).toBe(false)
    expect(
      house.deputy
        .evidence()
        .filter(({ via }) => via === 'mcp')
        .at(-1),
    ).toMatchObject({
      user: { id: 'alice', verified: true },
      agent: { id: 'host' },
    })
  })
})
