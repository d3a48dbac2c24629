// The door for MCP hosts, message by message in both revisions: what is answered, and what is refused how.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startMcpHouse, type McpHouse } from '../support/mcphost.ts'

let house: McpHouse
beforeAll(async () => {
  house = await startMcpHouse()
})
afterAll(() => house.close())

const at = (path = '/mcp'): string => `${house.deputy.agent}${path}`
const NEW = '2026-07-28'
type Reply = {
  readonly status: number
  readonly headers: Headers
  readonly body: {
    readonly result?: { readonly [name: string]: unknown }
    readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown }
  }
}
const post = async (
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
  path = '/mcp',
): Promise<Reply> => {
  const answer = await fetch(at(path), {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'deputy-user': 'alice', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  const text = await answer.text()
  return {
    status: answer.status,
    headers: answer.headers,
    body: text === '' ? {} : JSON.parse(text),
  }
}
const meta = (capabilities: object = {}) => ({
  'io.modelcontextprotocol/protocolVersion': NEW,
  'io.modelcontextprotocol/clientCapabilities': capabilities,
})
const modern = (
  method: string,
  params: { readonly [name: string]: unknown } = {},
  { user = 'alice', url = false, headers = {} } = {},
): Promise<Reply> =>
  post(
    {
      jsonrpc: '2.0',
      id: 7,
      method,
      params: { ...params, _meta: meta(url ? { elicitation: { form: {}, url: {} } } : {}) },
    },
    {
      'deputy-user': user,
      'mcp-protocol-version': NEW,
      'mcp-method': method,
      ...(typeof params['name'] === 'string' ? { 'mcp-name': params['name'] } : {}),
      ...headers,
    },
  )
const toolsOf = ({ body }: Reply): readonly { readonly [name: string]: unknown }[] =>
  body.result?.['tools'] as never

const text = ({ body }: Reply): string =>
  (body.result?.['content'] as { readonly text: string }[] | undefined)?.[0]?.text ?? ''
const structured = ({ body }: Reply) =>
  body.result?.['structuredContent'] as { readonly [name: string]: unknown }
const call = (
  name: string,
  args: object = {},
  options: Parameters<typeof modern>[2] & { readonly more?: object } = {},
): Promise<Reply> => modern('tools/call', { name, arguments: args, ...options.more }, options)
const connected = async (user: string): Promise<void> => {
  const asked = await call('Acme_ListNotes', {}, { user })
  const link = structured(asked)['url']
  if (typeof link === 'string') await house.visit(link, user)
}

describe('2026-07-28 on the wire', () => {
  test('one page lists what this person may use, with what needs a consent marked', async () => {
    const listed = await modern('tools/list')
    expect(listed.status, JSON.stringify(listed.body)).toBe(200)
    expect(listed.body.result).toMatchObject({
      resultType: 'complete',
      ttlMs: 0,
      cacheScope: 'private',
    })
    expect(toolsOf(listed).map(({ name }) => name)).toEqual(['Acme_CreateNote', 'Acme_ListNotes'])
    expect(toolsOf(listed)[0]).toMatchObject({
      title: 'Acme.CreateNote',
      annotations: { readOnlyHint: false, destructiveHint: false },
      inputSchema: { type: 'object', required: ['title'] },
      _meta: { 'deputy/consent': { connection: 'acme' } },
    })
    expect(await modern('tools/list')).toMatchObject({ body: listed.body })
    // bob reads only.
    expect(
      toolsOf(await modern('tools/list', {}, { user: 'bob' })).map(({ name }) => name),
    ).toEqual(['Acme_ListNotes'])
  })

  test('server/discover says both revisions; an unknown method is 404 and -32601', async () => {
    expect((await modern('server/discover')).body.result).toMatchObject({
      supportedVersions: [NEW, '2025-11-25'],
      capabilities: { tools: {} },
      cacheScope: 'private',
      ttlMs: 0,
    })
    const unknown = await modern('prompts/list')
    expect([unknown.status, unknown.body.error?.code]).toEqual([404, -32601])
  })

  test('without a link that the host can show, the link is text and structured content', async () => {
    const asked = await call('Acme_CreateNote', { title: 'x' }, { user: 'carol' })
    expect(asked.status).toBe(200)
    expect(asked.body.result).toMatchObject({ resultType: 'complete', isError: true })
    expect(structured(asked)).toMatchObject({
      code: 'consent_required',
      scopes: ['notes'],
      authorization_id: expect.stringMatching(/^ac_/),
      url: expect.stringContaining('/connect/'),
      expires_at: expect.any(String),
    })
    expect(text(asked)).toMatch(/^consent_required: .*http:\/\/\S+\/connect\/\S+ Show this link/)
  })

  test('a host that shows links is asked to, and its repeated call waits for the person', async () => {
    const asked = await call('Acme_ListNotes', { n: 2 }, { url: true })
    expect(asked.body.result).toMatchObject({
      resultType: 'input_required',
      inputRequests: { deputy: { method: 'elicitation/create', params: { mode: 'url' } } },
    })
    const state = String(asked.body.result?.['requestState'])
    const requests = asked.body.result?.['inputRequests'] as {
      deputy: { params: { url: string } }
    }
    const accept = { inputResponses: { deputy: { action: 'accept' } } }
    // Of another person, of other arguments, of another tool, edited: nothing is asked of anybody.
    // How the call before ended may be written a moment later.
    const judged = () => house.deputy.evidence().filter(({ event }) => event !== 'outcome').length
    const before = judged()
    const edited = `${state.slice(0, -2)}${state.endsWith('AA') ? 'BB' : 'AA'}`
    for (const wrong of [
      call(
        'Acme_ListNotes',
        { n: 2 },
        { url: true, user: 'carol', more: { ...accept, requestState: state } },
      ),
      call('Acme_ListNotes', { n: 3 }, { url: true, more: { ...accept, requestState: state } }),
      call('Acme_CreateNote', { n: 2 }, { url: true, more: { ...accept, requestState: state } }),
      call('Acme_ListNotes', { n: 2 }, { url: true, more: { ...accept, requestState: edited } }),
      call('Acme_ListNotes', { n: 2 }, { url: true, more: { ...accept, requestState: 'v1.x' } }),
    ])
      expect((await wrong).body.error).toMatchObject({
        code: -32602,
        message: expect.stringContaining('requestState is not of this call'),
      })
    expect(judged()).toBe(before)
    const refused = await call(
      'Acme_ListNotes',
      { n: 2 },
      {
        url: true,
        more: { inputResponses: { deputy: { action: 'decline' } }, requestState: state },
      },
    )
    expect(structured(refused)).toMatchObject({ code: 'consent_declined' })
    const repeated = call(
      'Acme_ListNotes',
      { n: 2 },
      { url: true, more: { ...accept, requestState: state } },
    )
    let ended = false
    void repeated.then(() => (ended = true))
    await expect
      .poll(
        () =>
          house.deputy
            .evidence()
            .filter(
              ({ decision }) =>
                (decision as { effect?: string } | undefined)?.effect === 'consent_required',
            ).length,
      )
      .toBeGreaterThanOrEqual(2)
    expect(ended).toBe(false)
    await house.visit(requests.deputy.params.url, 'alice')
    const done = await repeated
    expect(done.body.result).toMatchObject({ resultType: 'complete' })
    expect(structured(done)).toEqual({ notes: ['first', 'second'], next: { page_token: 'two' } })
    expect(text(done)).toBe(JSON.stringify(structured(done)))
    // Replayed, it is a call like any other: decided anew, and held for nobody.
    const again = await call(
      'Acme_ListNotes',
      { n: 2 },
      { url: true, more: { ...accept, requestState: state } },
    )
    expect(structured(again)).toMatchObject({ notes: ['first', 'second'] })
  })

  test('pages go on by the arguments that next says', async () => {
    await connected('alice')
    const first = structured(await call('Acme_ListNotes', { n: 2 }))
    const next = first['next'] as object
    expect(structured(await call('Acme_ListNotes', { n: 2, ...next }))).toEqual({
      notes: ['third'],
    })
  })

  test('what policy refuses says why and is no question to anybody, with no link', async () => {
    await connected('alice')
    const asked = { url: true }
    const denied = await call('Acme_EraseNotes', {}, asked)
    expect(denied.body.result).toMatchObject({ isError: true, resultType: 'complete' })
    expect(structured(denied)).toMatchObject({
      code: 'policy_denied',
      reasons: expect.any(Array),
      decision_id: expect.any(String),
    })
    expect(text(denied)).toMatch(/^policy_denied: .*Do not retry unchanged\.$/)
    expect(JSON.stringify(denied.body)).not.toContain('http')
  })

  test('a tool that is not there is a fault, arguments that are wrong are for the model', async () => {
    const unknown = await call('Acme_Nope')
    expect([unknown.status, unknown.body.error]).toEqual([
      200,
      { code: -32602, message: 'Unknown tool: Acme_Nope' },
    ])
    const sent = house.upstream.seen.length
    for (const [args, said] of [
      [{}, '`title` is missing; it must be a string'],
      [{ title: 3 }, '`title` must be a string, not a number'],
      [{ title: 'x', colour: 'red' }, 'has no argument "colour"'],
      [JSON.parse('{"title":"x","__proto__":{"admin":true}}'), '__proto__'],
    ] as const) {
      const wrong = await call('Acme_CreateNote', args)
      expect(
        text(wrong) + JSON.stringify(wrong.body.error ?? ''),
        JSON.stringify(wrong.body),
      ).toContain(said)
    }
    expect(house.upstream.seen.length).toBe(sent)
  })

  test('headers that disagree with the body, revisions that nobody speaks, and batches are refused', async () => {
    const name = 'Acme_ListNotes'
    const other = await call(name, {}, { headers: { 'mcp-name': 'Other' } })
    expect([other.status, other.body.error?.code]).toEqual([400, -32020])
    const method = await modern('tools/list', {}, { headers: { 'mcp-method': 'tools/call' } })
    expect([method.status, method.body.error?.code]).toEqual([400, -32020])
    const version = await post(
      {
        jsonrpc: '2.0',
        id: 1,
        method: 'tools/list',
        params: { _meta: { ...meta(), 'io.modelcontextprotocol/protocolVersion': '1900-01-01' } },
      },
      { 'mcp-protocol-version': '1900-01-01', 'mcp-method': 'tools/list' },
    )
    expect([version.status, version.body.error]).toEqual([
      400,
      {
        code: -32022,
        message: 'Unsupported protocol version',
        data: { supported: [NEW, '2025-11-25'], requested: '1900-01-01' },
      },
    ])
    const bare = await post(
      { jsonrpc: '2.0', id: 1, method: 'tools/list', params: {} },
      { 'mcp-protocol-version': NEW, 'mcp-method': 'tools/list' },
    )
    expect([bare.status, bare.body.error?.code]).toEqual([400, -32602])
    const batch = await post([{ jsonrpc: '2.0', id: 1, method: 'ping' }])
    expect([batch.status, batch.body.error?.code]).toEqual([400, -32600])
    const broken = await post('{"jsonrpc":')
    expect([broken.status, broken.body.error?.code]).toEqual([400, -32700])
    const large = await post({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name, arguments: { x: 'x'.repeat(1_100_000) } },
    })
    expect(large.status).toBe(413)
  })
})

describe('who may ask', () => {
  test('nobody, GET, DELETE and pages of a browser are refused by HTTP', async () => {
    const nobody = await post({ jsonrpc: '2.0', id: 1, method: 'ping' }, { 'deputy-user': '' })
    expect(nobody.status).toBe(401)
    expect(nobody.headers.get('www-authenticate')).toMatch(/^Bearer/)
    for (const method of ['GET', 'DELETE']) {
      const answer = await fetch(at(), { method, headers: { 'deputy-user': 'alice' } })
      expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST'])
    }
    const page = await post(
      { jsonrpc: '2.0', id: 1, method: 'ping' },
      { origin: 'https://evil.test' },
    )
    expect(page.status).toBe(403)
    expect((await post({ jsonrpc: '2.0', id: 1, method: 'ping' }, {}, '/mcp/other')).status).toBe(
      404,
    )
  })
})

describe('2025-11-25 on the wire', () => {
  const opened = async (user: string, capabilities: object) => {
    const answer = await post(
      {
        jsonrpc: '2.0',
        id: 0,
        method: 'initialize',
        params: {
          protocolVersion: '2025-11-25',
          capabilities,
          clientInfo: { name: 't', version: '1' },
        },
      },
      { 'deputy-user': user },
    )
    expect(answer.body.result).toMatchObject({
      protocolVersion: '2025-11-25',
      capabilities: { tools: {} },
      serverInfo: { name: 'deputy' },
    })
    return answer.headers.get('mcp-session-id')
  }
  const old = (method: string, params: object, headers: Readonly<Record<string, string>>) =>
    post(
      { jsonrpc: '2.0', id: 3, method, params },
      { 'mcp-protocol-version': '2025-11-25', ...headers },
    )

  test('a session seals that its client can show links; without it the link is text', async () => {
    const session = await opened('carol', { elicitation: { form: {}, url: {} } })
    expect(session).not.toBeNull()
    expect(await opened('carol', { elicitation: {} })).toBeNull()
    const params = { name: 'Acme_ListNotes', arguments: {} }
    const asked = await old('tools/call', params, {
      'deputy-user': 'carol',
      'mcp-session-id': session ?? '',
    })
    expect(asked.body.error).toMatchObject({
      code: -32042,
      data: { elicitations: [{ mode: 'url', elicitationId: expect.stringMatching(/^ac_/) }] },
    })
    const plain = await old('tools/call', params, { 'deputy-user': 'carol' })
    expect(plain.body.result).toMatchObject({ isError: true })
    expect(plain.body.result).not.toHaveProperty('resultType')
    expect(text(plain)).toContain('/connect/')
    // Somebody else's session is nobody's.
    for (const headers of [
      { 'deputy-user': 'alice', 'mcp-session-id': session ?? '' },
      { 'deputy-user': 'carol', 'mcp-session-id': `u${(session ?? '').slice(1)}x` },
    ])
      expect((await old('tools/call', params, headers)).status).toBe(404)
    const denied = await old(
      'tools/call',
      { name: 'Acme_EraseNotes', arguments: {} },
      {
        'deputy-user': 'carol',
        'mcp-session-id': session ?? '',
      },
    )
    expect(structured(denied)).toMatchObject({ code: 'policy_denied' })
  })

  test('a notification is 202, a ping is answered, a list has no word of the newer revision', async () => {
    const heard = await post({ jsonrpc: '2.0', method: 'notifications/initialized' })
    expect([heard.status, heard.body]).toEqual([202, {}])
    expect((await old('ping', {}, {})).body.result).toEqual({})
    const listed = await old('tools/list', {}, {})
    expect(Object.keys(listed.body.result ?? {})).toEqual(['tools'])
    const unknown = await old('prompts/list', {}, {})
    expect([unknown.status, unknown.body.error?.code]).toEqual([200, -32601])
  })
})
