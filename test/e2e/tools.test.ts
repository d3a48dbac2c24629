// Tools through a whole deputy, with the client that people's code has: listed by policy, consented, carried out as the
// calls that they are, refused in sentences; one key with many users.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Arcade, { PermissionDeniedError } from '@arcadeai/arcadejs'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { prepareFolder, startDeputy, TABLES, type Deputy, type Fields } from '../support/deputy.ts'
import { startIssuer, type Issuer } from '../support/issuer.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { PROVIDER_YAML, TOOLS_YAML } from '../tools/sample.ts'

const KEY = 'canary-crm-key/+-0123456789abcdefghijklmnop='
const USERS = ['alice@acme.example', 'bob@acme.example', 'carol@acme.example']
const [ALICE = '', BOB = '', CAROL = ''] = USERS
const tokenOf = (id: string): string => `at-${id.split('@')[0] ?? ''}-0123456789`

let upstream: Upstream
let people: Issuer
let deputy: Deputy
beforeAll(async () => {
  ;[upstream, people] = await Promise.all([startUpstream(), startIssuer()])
  for (const id of USERS) upstream.people.set(tokenOf(id), id)
  const row = (TABLES['grants'] as { acme: { use: Fields } }).acme.use
  const tables: Readonly<Record<string, Fields>> = {
    ...TABLES,
    group_roles: { staff: ['user'], readers: ['reader'] },
    role_grants: { acme: { user: ['use'], reader: ['look'] } },
    grants: {
      acme: {
        use: { ...row, kinds: ['rest', 'graphql'], access: ['read', 'write'] },
        look: { ...row, access: ['read'], path: ['v1', 'files', 'public', '*'] },
      },
    },
    providers: { acme: { hosts: ['api.acme.test'], assets: [], inspect_body: [] } },
  }
  const provider = {
    ...PROVIDER_YAML,
    hosts: { 'api.acme.test': upstream.origin },
    authorize: `${upstream.origin}/oauth/authorize`,
    token: `${upstream.origin}/oauth/token`,
    client_auth: 'client_secret_post',
  }
  const connection = {
    provider: 'acme',
    client_id: 'deputy',
    client_secret: 's'.repeat(32),
    scopes: ['notes.read', 'notes.write'],
  }
  const setup = {
    upstream: upstream.origin,
    tables,
    people: [
      { id: ALICE, groups: ['staff'] },
      { id: BOB, groups: ['staff'] },
      { id: CAROL, groups: ['readers'] },
    ],
    held: [ALICE, CAROL].map((id) => ({
      person: { tenant: 'default', realm: 'corp', id },
      agent: 'agent:crm',
      token: tokenOf(id),
      scopes: ['notes.read', 'notes.write'],
    })),
    config: {
      identity: {
        trust: 'asserted',
        issuers: [{ issuer: people.url, audience: 'deputy', realm: 'corp' }],
      },
      connect: { verifier: { url: 'https://app.example/verify', key: 'k'.repeat(32) } },
      applications: [{ name: 'crm', bearer: KEY, agent: 'agent:crm', people: ['*@acme.example'] }],
      providers: [provider],
      connections: { acme: connection },
      tools: { files: ['./acme.tools.yaml'] },
      limits: { tool_result: '1KiB' },
    },
  }
  const dir = await prepareFolder(setup)
  writeFileSync(join(dir, 'acme.tools.yaml'), TOOLS_YAML)
  deputy = await startDeputy(setup, dir)
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
  people.close()
})
beforeEach(() => {
  upstream.seen.length = 0
})
afterEach(() => {
  upstream.handle = null
})

const client = () => new Arcade({ baseURL: deputy.agent, apiKey: KEY, maxRetries: 0 })
const execute = (tool_name: string, input: Record<string, unknown>, user_id = ALICE) =>
  client().tools.execute({ tool_name, input, user_id })
const json = (value: unknown, headers: Record<string, string> = {}, status = 200) => {
  upstream.handle = (_seen, res) =>
    void res
      .writeHead(status, { 'content-type': 'application/json', ...headers })
      .end(JSON.stringify(value))
}
const decisions = () => deputy.evidence().filter(({ event }) => event === 'decision')

describe('execute', () => {
  test('a tool is the call that it is: the person’s token, the same evidence, and the door', async () => {
    json({ id: 'n1', secret: 'x' }, {}, 201)
    const before = decisions().length
    const done = await execute('acme_createnote', { title: 'Größe', tags: ['a'] })
    expect(done).toMatchObject({
      success: true,
      status: 'success',
      output: { value: { id: 'n1' } },
    })
    expect(
      upstream.seen.map(({ method, url, who, body }) => [method, url, who, body.toString()]),
    ).toEqual([['POST', '/v1/me/notes?kind=plain', ALICE, '{"title":"Größe","tags":["a"]}']])
    expect(upstream.seen[0]?.headers['deputy-user']).toBeUndefined()
    expect(decisions().slice(before)).toMatchObject([
      {
        via: 'tool',
        user: { id: ALICE, asserted_by: 'crm' },
        operation: { id: 'notes.create', access: 'write' },
        decision: { effect: 'allow' },
      },
    ])
  })

  test('a recipe is several calls, each decided by itself, and says how to go on', async () => {
    upstream.handle = ({ url }, res) =>
      void res.writeHead(200, { 'content-type': 'application/json' }).end(
        JSON.stringify(
          url.includes('/notes?')
            ? {
                notes: [{ id: 'a' }, { id: 'b' }, { id: 'c' }, { id: 'd' }],
                total: 9,
                next: 'p2',
              }
            : { id: url.split(/[/?]/)[4], title: 't', text: 'long' },
        ),
      )
    const before = decisions().length
    const done = await execute('Acme.ListNotes', { n: 4 })
    expect(done.output?.value).toEqual({
      notes: ['a', 'b', 'c'].map((id) => ({ id, title: 't' })),
      total: 9,
      next: { page_token: 'p2' },
    })
    expect(
      decisions()
        .slice(before)
        .map(({ operation }) => (operation as Fields)['id']),
    ).toEqual(['notes.list', 'notes.get', 'notes.get', 'notes.get'])
  })

  test('every operation is a tool by itself, also by its id, and a GraphQL tool is its field', async () => {
    json({ data: { boardCreate: { id: 'b1' } } })
    expect((await execute('Acme.CreateBoard', { name: 'x' })).output?.value).toEqual({ id: 'b1' })
    expect(decisions().at(-1)).toMatchObject({ operation: { id: 'boards.create' } })
    json({ notes: [] })
    for (const name of ['Acme.NotesList', 'notes.list', 'acme/notes.list', 'acme@notes.list'])
      expect((await execute(name, { who: 'me', query: { max: 3 } })).success, name).toBe(true)
    expect(upstream.seen.at(-1)?.url).toBe('/v1/me/notes?max=3')
  })

  test('without a consent it is a 403 with the link, and the same call works after it', async () => {
    const refused = await execute('Acme.CreateNote', { title: 't' }, BOB).catch(
      (error: unknown) => error,
    )
    expect(refused).toBeInstanceOf(PermissionDeniedError)
    const { error } = refused as { error: Fields }
    expect(error).toMatchObject({
      name: 'consent_required',
      code: 'consent_required',
      message: expect.any(String),
      url: expect.stringContaining('/connect/'),
      authorization_id: expect.stringMatching(/^ac_/),
      scopes: ['notes.write'],
    })
    expect(upstream.seen).toEqual([])
    const started = await client().tools.authorize({ tool_name: 'Acme.CreateNote', user_id: BOB })
    expect(started).toMatchObject({
      status: 'pending',
      url: expect.any(String),
      scopes: ['notes.write'],
    })
  })

  test('what policy refuses is for the model to read, and no exception that begins a consent', async () => {
    const done = await execute('Acme.DeleteNote', { id: 'n1' })
    expect(done).toMatchObject({
      success: false,
      output: {
        error: { kind: 'CONTEXT_DENIED', can_retry: false, extra: { code: 'policy_denied' } },
      },
    })
    expect(upstream.seen).toEqual([])
  })

  test.for([
    [{}, '`title` is missing'],
    [{ title: 't', nope: 1 }, 'no argument "nope"'],
    [{ title: 't', trace: 'a\r\nX-Evil: 1' }, 'printable ASCII'],
    [{ title: ['x'] }, '`title` must be a string'],
  ] as const)('bad arguments %j are a sentence, and nothing is sent', async ([input, sentence]) => {
    const done = await execute('Acme.CreateNote', input)
    expect(done.output?.error).toMatchObject({
      kind: 'TOOL_RUNTIME_BAD_INPUT_VALUE',
      can_retry: true,
      message: expect.stringContaining(sentence),
    })
    expect(upstream.seen).toEqual([])
  })

  test('a path that would lead elsewhere, and a body of a megabyte, are sentences too', async () => {
    const path = await execute('Acme.GetFile', { path: 'a/../../admin' })
    expect(path.output?.error?.message).toContain('`path` has a part')
    const large = await execute('Acme.CreateNote', {
      title: 't',
      body: 'x'.repeat(1_100_000),
    }).catch((error: unknown) => error)
    expect(large).toMatchObject({ status: 413, error: { code: 'request_too_large' } })
    expect(upstream.seen).toEqual([])
  })

  test('unknown names name the nearest; a name of a connection that has it not says who has', async () => {
    const unknown = await execute('Acme.CreateNot', {}).catch((error: unknown) => error)
    expect(unknown).toMatchObject({
      status: 404,
      error: { code: 'tool_not_found', nearest: expect.arrayContaining(['Acme.CreateNote']) },
    })
    const scheduled = await client()
      .tools.execute({
        tool_name: 'Acme.CreateNote',
        run_at: '2030-01-01T00:00:00Z',
        user_id: ALICE,
      })
      .catch((error: unknown) => error)
    expect(scheduled).toMatchObject({ status: 400 })
  })

  test('what the provider refuses is told in its words', async () => {
    json({ message: 'title has been used' }, {}, 422)
    expect((await execute('Acme.CreateNote', { title: 't' })).output?.error).toMatchObject({
      kind: 'UPSTREAM_RUNTIME_BAD_REQUEST',
      status_code: 422,
      message: expect.stringContaining('title has been used'),
    })
    json({}, { 'retry-after': '7' }, 429)
    expect((await execute('Acme.CreateNote', { title: 't' })).output?.error).toMatchObject({
      kind: 'UPSTREAM_RUNTIME_RATE_LIMIT',
      can_retry: true,
      retry_after_ms: 7_000,
    })
  })

  test('a result is cut at its limit; one of 50 MB, of bytes, and of no UTF-8 is a sentence', async () => {
    json({ id: 'f', text: 'x'.repeat(10_000), list: Array.from({ length: 1_000 }, (_, i) => i) })
    const cut = (await execute('Acme.GetFile', { path: 'a' })).output?.value as Fields
    expect(cut).toMatchObject({ id: 'f', truncated: true, hint: expect.any(String) })
    expect(JSON.stringify(cut).length).toBeLessThan(1_300)
    upstream.handle = (_seen, res) => {
      res.writeHead(200, { 'content-type': 'application/json' })
      const chunk = Buffer.alloc(1_048_576, 'x')
      for (let i = 0; i < 50; i++) res.write(chunk)
      res.end()
    }
    expect((await execute('Acme.GetFile', { path: 'a' })).output?.error?.message).toContain(
      'larger than a tool may read',
    )
    upstream.handle = (_seen, res) =>
      void res.writeHead(200, { 'content-type': 'image/png' }).end(Buffer.from([0x89, 0xff, 0]))
    expect((await execute('Acme.GetFile', { path: 'a' })).output?.error?.message).toContain(
      '3 bytes of image/png',
    )
    upstream.handle = (_seen, res) =>
      void res
        .writeHead(200, { 'content-type': 'application/json' })
        .end(Buffer.from('{"a":"\xff"}', 'latin1'))
    expect((await execute('Acme.GetFile', { path: 'a' })).output?.error?.message).toContain(
      'no text',
    )
    json({ id: 'f' })
    expect((await execute('Acme.GetFile', { path: 'a' })).success).toBe(true)
  })

  test('a caller who leaves ends the call inside', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    upstream.handle = (_seen, res) => void res.on('close', () => resolve())
    const leaving = new AbortController()
    const call = fetch(`${deputy.agent}/v1/tools/execute`, {
      method: 'POST',
      signal: leaving.signal,
      headers: { authorization: `Bearer ${KEY}:${ALICE}`, 'content-type': 'application/json' },
      body: JSON.stringify({ tool_name: 'Acme.GetFile', input: { path: 'a' } }),
    }).catch(() => null)
    await expect.poll(() => upstream.seen.length).toBe(1)
    leaving.abort()
    await Promise.all([promise, call])
    await expect
      .poll(() => deputy.evidence().at(-1))
      .toMatchObject({ event: 'outcome', result: 'interrupted', sent: true })
  })
})

describe('the list is the policy', () => {
  const names = async (user_id: string) =>
    (await client().tools.list({ user_id })).items.map(({ qualified_name }) => qualified_name)

  test('each person sees what they may use, and what needs a consent is marked', async () => {
    expect(await names(ALICE)).toEqual([
      'Acme.CreateBoard',
      'Acme.CreateNote',
      'Acme.GetFile',
      'Acme.ListNotes',
    ])
    // One path only is hers: it depends on the argument.
    expect(await names(CAROL)).toEqual(['Acme.GetFile'])
    const [file] = (await client().tools.list({ user_id: CAROL })).items
    expect(file?.metadata?.extras).toMatchObject({ may: 'perhaps' })
    const bobs = (await client().tools.list({ user_id: BOB })).items
    expect(bobs.map(({ requirements }) => requirements?.met)).toEqual([false, false, false, false])
    expect(bobs[1]?.requirements?.authorization).toMatchObject({
      id: 'acme',
      provider_id: 'acme',
      oauth2: { scopes: ['notes.write'] },
      token_status: 'not_started',
    })
  })

  test('one tool, formats, pages and filters', async () => {
    const tool = await client().tools.get('acme.createnote', {
      user_id: ALICE,
      include_format: ['openai'],
    })
    expect(tool).toMatchObject({
      name: 'CreateNote',
      fully_qualified_name: 'Acme.CreateNote@1.0.0',
      formatted_schema: { type: 'function' },
      requirements: { met: true },
    })
    expect(
      await client()
        .tools.get('Acme.DeleteNote', { user_id: ALICE })
        .catch((error: unknown) => error),
    ).toMatchObject({ status: 404 })
    const formatted = await client().tools.formatted.list({
      format: 'openai',
      user_id: ALICE,
      limit: 2,
    })
    expect(formatted.items).toMatchObject([
      { function: { name: 'Acme_CreateBoard' } },
      { function: { name: 'Acme_CreateNote' } },
    ])
    expect(
      await client().tools.formatted.get('Acme.CreateNote', {
        format: 'anthropic',
        user_id: ALICE,
      }),
    ).toMatchObject({ name: 'Acme_CreateNote', input_schema: {} })
    const page = await fetch(
      `${deputy.agent}/v1/tools?filter=${encodeURIComponent('{"operations":{"any_of":["read"]}}')}&plain=true&limit=100`,
      { headers: { authorization: `Bearer ${KEY}:${ALICE}` } },
    )
    const { items, total_count } = (await page.json()) as {
      items: { qualified_name: string }[]
      total_count: number
    }
    expect(items.map(({ qualified_name }) => qualified_name)).toEqual([
      'Acme.GetFile',
      'Acme.ListNotes',
      'Acme.FilesGet',
      'Acme.NotesGet',
      'Acme.NotesList',
    ])
    expect(total_count).toBe(5)
    expect((await client().tools.scheduled.list({})).items).toEqual([])
  })

  test('requirements say what is missing, and begin it', async () => {
    const ask = async (user: string, authorize: boolean) =>
      (await (
        await fetch(`${deputy.agent}/v1/tools/requirements`, {
          method: 'POST',
          headers: { authorization: `Bearer ${KEY}:${user}`, 'content-type': 'application/json' },
          body: JSON.stringify({ tool_names: ['Acme.CreateNote', 'Acme.ListNotes'], authorize }),
        })
      ).json()) as Fields
    expect(await ask(ALICE, true)).toMatchObject({ met: true })
    expect(await ask(BOB, false)).toMatchObject({
      met: false,
      authorization: { items: { acme: { met: false, token_status: 'not_started' } } },
    })
    expect(await ask(BOB, true)).toMatchObject({
      authorization: {
        items: {
          acme: {
            url: expect.stringContaining('/connect/'),
            scopes: expect.arrayContaining(['notes.read', 'notes.write']),
          },
        },
      },
    })
    expect(await ask(CAROL, false)).toMatchObject({
      met: false,
      denied: ['Acme.CreateNote', 'Acme.ListNotes'],
    })
  })

  test('when a group is lost, the next list is shorter', async () => {
    const rows = (groups: readonly string[]) =>
      JSON.stringify({
        people: [
          { id: ALICE, groups },
          { id: BOB, groups: ['staff'] },
          { id: CAROL, groups: ['readers'] },
        ],
      })
    writeFileSync(join(deputy.dir, 'people.yaml'), rows([]))
    await expect.poll(() => names(ALICE)).toEqual([])
    writeFileSync(join(deputy.dir, 'people.yaml'), rows(['staff']))
    await expect.poll(async () => (await names(ALICE)).length).toBe(4)
  })
})

test('nobody without a tag, and no user who is not the key’s', async () => {
  const bare = await fetch(`${deputy.agent}/v1/tools`)
  expect(bare.status).toBe(401)
  const other = await execute('Acme.CreateNote', { title: 't' }, 'eve@evil.example').catch(
    (error: unknown) => error,
  )
  expect(other).toMatchObject({ status: 403 })
  const twice = await fetch(`${deputy.agent}/v1/tools/execute`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}:${ALICE}`, 'content-type': 'application/json' },
    body: JSON.stringify({ tool_name: 'Acme.CreateNote', user_id: BOB }),
  })
  expect(twice.status).toBe(400)
  expect(upstream.seen).toEqual([])
})
