// Plans through a whole deputy: what each call would be told, one link for all that is missing, and nothing that runs.
import { execFile, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { clickThrough } from '../support/click.ts'
import { startDeputy, type Fields } from '../support/deputy.ts'
import { startMcpHouse, type McpHouse } from '../support/mcphost.ts'

const TOOLS = `
provider: acme
tools:
  Acme.CreateNote:
    description: Writes a note.
    input:
      title: { type: string, required: true }
    steps: [{ operation: notes.create, body: { title: { $arg: title } } }]
  Acme.EraseNotes:
    description: Removes every note.
    steps: [{ operation: notes.erase }]
  Acme.Twice:
    description: Reads, then writes what it read.
    steps:
      - { operation: notes.list, as: list }
      - { operation: notes.create, body: { title: { $step: list, at: /notes/0 } } }
`
const connection = {
  provider: 'acme',
  client_id: 'deputy',
  client_secret: 'canary-provider-secret-00000000000000',
  scopes: ['notes'],
}
let house: McpHouse
beforeAll(async () => {
  house = await startMcpHouse(
    { connections: { acme: connection, second: connection } },
    { tools: TOOLS },
  )
})
afterAll(() => house.close())
beforeEach(() => {
  house.upstream.seen.length = 0
})

type Row = {
  readonly id: string
  readonly effect: string
  readonly reasons: readonly string[]
  readonly scopes: readonly string[]
  readonly detail?: string
}
type Answer = {
  readonly calls: readonly Row[]
  readonly authorization_id?: string
  readonly url?: string
  readonly authorizations?: readonly { readonly id: string; readonly connection: string }[]
  readonly detail?: string
}
const ask = async (
  body: unknown,
  user = 'alice',
): Promise<{ readonly status: number; readonly body: Answer }> => {
  const answer = await fetch(`${house.deputy.agent}/v1/plan`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'deputy-user': user },
    body: JSON.stringify(body),
  })
  return { status: answer.status, body: (await answer.json()) as Answer }
}
const plan = async (calls: readonly object[], user = 'alice'): Promise<Answer> => {
  const { status, body } = await ask({ calls }, user)
  expect([status, body.detail]).toEqual([200, undefined])
  return body
}
const status = async (id: string, user = 'alice', wait = 0) => {
  const answer = await fetch(`${house.deputy.agent}/v1/auth/status?id=${id}&wait=${wait}`, {
    headers: { 'deputy-user': user },
  })
  return (await answer.json()) as {
    readonly status: string
    readonly authorizations?: readonly { readonly status: string }[]
  }
}
const read = (id: string, at: string) => ({
  id,
  connection: at,
  request: { method: 'GET', url: 'https://api.acme.test/notes?page=two' },
})

test('several things that are missing have one link and one page, on which their person sees what is left', async () => {
  const before = house.deputy.evidence().length
  const planned = await plan([
    read('a', 'acme'),
    { id: 'b', tool: 'Acme.CreateNote', connection: 'second', input: { title: 'x' } },
    { id: 'c', tool: 'Acme_EraseNotes', connection: 'second' },
    { id: 'd', request: { method: 'GET', url: 'https://api.acme.test/notes' } },
    { id: 'e', tool: 'Acme.CreateNote', connection: 'acme', input: { titel: 'x' } },
    { id: 'f', tool: 'Acme.Creat', connection: 'acme' },
  ])
  expect(
    planned.calls.map(({ id, effect, reasons, scopes }) => [id, effect, reasons, scopes]),
  ).toEqual([
    ['a', 'consent_required', ['connection_missing'], ['notes']],
    ['b', 'consent_required', ['connection_missing'], ['notes']],
    ['c', 'deny', expect.arrayContaining(['no_grant']), []],
    ['d', 'deny', ['connection_ambiguous'], []],
    ['e', 'deny', ['invalid_arguments'], []],
    ['f', 'deny', ['tool_not_found'], []],
  ])
  expect(planned.calls[4]?.detail).toContain('titel')
  expect(planned.authorizations?.map((one) => one.connection)).toEqual(['acme', 'second'])
  // It is asked again, and nobody has to keep two links apart.
  const again = await plan([read('a', 'acme'), read('b', 'second')])
  expect(again.url).toBe(planned.url)

  const [id = '', url = ''] = [planned.authorization_id, planned.url]
  expect(await status(id)).toMatchObject({ status: 'pending' })
  expect((await status(id, 'bob')).status).toBe(404)
  const browser = createBrowser()
  const seeing = async (link: string): Promise<string> =>
    (await clickThrough(browser, link, { login: 'alice', account: 'alice' })).text
  const parts = (await seeing(url)).matchAll(/href="(\/connect\/[\w-]+)"/g)
  const paths = [...parts].map(([, path]) => path ?? '')
  expect(paths).toHaveLength(2)
  const waits = status(id, 'alice', 30)
  const done = await seeing(new URL(paths[0] ?? '', url).href)
  expect(done).toContain(`href="${new URL(url).pathname}">See what is left</a>`)
  expect((await status(id)).authorizations?.map((one) => one.status).toSorted()).toEqual([
    'completed',
    'pending',
  ])
  const page = await seeing(url)
  expect([...page.matchAll(/href="\/connect\//g)]).toHaveLength(1)
  expect(page).toContain('One is left.')
  await seeing(new URL(paths[1] ?? '', url).href)
  // Whoever waits is woken by the last of them.
  expect(await waits).toMatchObject({ status: 'completed' })
  expect(await seeing(url)).toContain('Nothing is left to do here.')

  const allowed = await plan([read('a', 'acme'), read('b', 'second')])
  expect(allowed).toEqual({
    calls: ['a', 'b'].map((one, i) => ({
      id: one,
      effect: 'allow',
      reasons: [],
      scopes: [],
      connection: ['acme', 'second'][i],
      operations: ['notes.list'],
    })),
  })
  // Nothing ran, and the evidence does not look as if something had.
  expect(house.upstream.seen).toEqual([])
  const events = house.deputy
    .evidence()
    .slice(before)
    .map(({ event }) => event)
  expect(events.filter((event) => event === 'plan.decided')).toHaveLength(10)
  expect(events.filter((event) => /^(?:decision|outcome|refused)/.test(event))).toEqual([])
})

test('a person who may not never gets a link, and a No is no reason to ask again', async () => {
  const denied = await plan(
    [{ id: 'x', tool: 'Acme.CreateNote', connection: 'acme', input: { title: 'x' } }],
    'bob',
  )
  expect(denied).toMatchObject({ calls: [{ effect: 'deny', scopes: [] }] })
  expect(denied.url).toBeUndefined()
  const asked = await plan([read('x', 'second')], 'bob')
  await house.visit(asked.url ?? '', 'bob', 'no')
  const after = await plan([read('x', 'second'), read('y', 'acme')], 'bob')
  expect(after.calls[0]).toMatchObject({
    effect: 'consent_required',
    reasons: ['connection_missing', 'declined'],
  })
  expect(after.authorizations?.map((one) => one.connection)).toEqual(['acme'])
})

test('a step that an earlier answer makes is told as what it is: not known yet', async () => {
  const asked = await plan([{ id: 'x', tool: 'Acme.Twice', connection: 'acme' }], 'carol')
  expect(asked.calls[0]).toMatchObject({
    effect: 'consent_required',
    operations: ['notes.list', 'notes.create'],
  })
  await house.visit(asked.url ?? '', 'carol')
  expect(
    (await plan([{ id: 'x', tool: 'Acme.Twice', connection: 'acme' }], 'carol')).calls,
  ).toMatchObject([{ effect: 'undetermined', reasons: ['depends_on_answer'] }])
  expect(
    (await plan([{ id: 'x', tool: 'Acme.Twice', connection: 'acme' }], 'bob')).calls,
  ).toMatchObject([{ effect: 'deny' }])
})

test('what is no plan is refused in a sentence, and asks nobody', async () => {
  const one = read('a', 'acme')
  const wrong: readonly (readonly [object, string])[] = [
    [{ calls: [] }, 'calls'],
    [{ calls: [one, one] }, 'two of them have one id'],
    [{ calls: Array.from({ length: 51 }, (_, i) => read(`c${i}`, 'acme')) }, 'at most 50'],
    [{ calls: [{ id: 'a' }] }, 'needs tool or request'],
    [{ calls: [{ ...one, tool: 'x' }] }, 'needs tool or request'],
    [{ calls: [{ ...one, input: {} }] }, 'has input'],
    [
      { calls: [{ ...one, request: { ...one.request, url: '/notes' } }] },
      'address of the provider',
    ],
    [
      { calls: [{ ...one, request: { ...one.request, url: 'https://bob@api.acme.test/' } }] },
      'address of the provider',
    ],
    [
      { calls: [{ ...one, request: { ...one.request, headers: { 'x-a': 'b\r\nc' } } }] },
      'no header may have',
    ],
    [{ calls: [one], user_id: 'bob' }, 'user_id'],
  ]
  for (const [body, what] of wrong) {
    const answer = await ask(body)
    expect([what, answer.status]).toEqual([what, 400])
    expect(answer.body.detail).toContain(what)
  }
  const named = { ...one, request: { ...one.request, headers: { 'Deputy-User': 'bob' } } }
  expect((await plan([named])).calls).toMatchObject([
    { effect: 'deny', reasons: ['request_invalid'] },
  ])
  expect((await fetch(`${house.deputy.agent}/v1/plan`)).status).toBe(405)
})

const curl = spawnSync('curl', ['--version']).error === undefined
if (!curl && process.env['DEPUTY_NO_SKIP'] === '1') throw new Error('curl is missing')
if (!curl) process.stderr.write('SKIPPED: curl is missing\n')
test.skipIf(!curl)(
  'the command of docs/plan.md plans at the providers that it names, with one link for both',
  async () => {
    const book = readFileSync(new URL('../../docs/plan.md', import.meta.url), 'utf8')
    const command = /^```sh\n(curl [^]*?)^```$/m.exec(book)?.[1] ?? ''
    const hosts = { google: ['gmail.googleapis.com'], github: ['api.github.com'] }
    const each = (of: (id: string) => unknown): Fields =>
      Object.fromEntries(Object.keys(hosts).map((id) => [id, of(id)]))
    const use = {
      kinds: ['rest'],
      access: ['read', 'write'],
      operations: ['*'],
      max_entitlement_age_s: 300,
    }
    const deputy = await startDeputy({
      upstream: house.upstream.origin,
      people: [{ id: 'alice@example.com', groups: ['staff'] }],
      tables: {
        group_roles: { staff: ['user'] },
        role_grants: each(() => ({ user: ['use'] })),
        grants: each(() => ({ use })),
        providers: Object.fromEntries(
          Object.entries(hosts).map(([id, of]) => [
            id,
            { hosts: of, assets: [], inspect_body: [] },
          ]),
        ),
      },
      config: {
        connections: {
          google: {
            provider: 'google',
            client_id: 'deputy',
            client_secret: 's'.repeat(32),
            scopes: ['https://www.googleapis.com/auth/gmail.readonly'],
          },
          github: {
            provider: 'github',
            client_id: 'deputy',
            client_secret: 's'.repeat(32),
            scopes: ['repo'],
          },
        },
      },
    })
    try {
      const { stdout } = await promisify(execFile)('sh', [
        '-c',
        command.replace('http://127.0.0.1:7410', deputy.agent),
      ])
      const planned = JSON.parse(stdout) as Answer
      expect(planned.calls).toMatchObject([
        { id: 'mail', effect: 'consent_required', connection: 'google' },
        { id: 'issue', effect: 'consent_required', connection: 'github', scopes: ['repo'] },
      ])
      expect(planned.url).toContain(`${deputy.connect}/`)
      expect(planned.authorizations?.map(({ connection: at }) => at)).toEqual(['google', 'github'])
    } finally {
      await deputy.close()
    }
  },
)

test('what policy demands with its word is told as far as it is known, and nothing is counted', async () => {
  const limited = await startMcpHouse(
    {},
    {
      tools: TOOLS,
      obligations: {
        hourly: {
          type: 'rate_limit',
          properties: { key: ['person'], limit: 1, window_s: 3_600 },
        },
      },
      rows: {
        erase: {
          access: ['delete'],
          operations: ['notes.erase'],
          approval: { lead: { approvers: ['person:bob'], ttl_s: 900 } },
        },
      },
    },
  )
  try {
    const planned = async () => {
      const answer = await fetch(`${limited.deputy.agent}/v1/plan`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'deputy-user': 'alice' },
        body: JSON.stringify({
          calls: [
            { id: 'a', tool: 'Acme.CreateNote', input: { title: 'x' } },
            { id: 'b', tool: 'Acme.EraseNotes' },
            { id: 'c', request: { method: 'PATCH', url: 'https://api.acme.test/none' } },
            { id: 'd', tool: 'Acme.Twice' },
          ],
        }),
      })
      return (await answer.json()) as {
        readonly calls: readonly { readonly effect: string; readonly demands?: unknown }[]
        readonly url: string
      }
    }
    const first = await planned()
    await limited.visit(first.url, 'alice')
    const hourly = {
      name: 'hourly',
      type: 'rate_limit',
      key: ['person'],
      limit: 1,
      window_s: 3_600,
    }
    const lead = { name: 'lead', type: 'approval', approvers: ['person:bob'], ttl_s: 900 }
    for (const _ of [1, 2])
      expect((await planned()).calls.map(({ effect, demands }) => [effect, demands])).toEqual([
        ['allow', [hourly]],
        ['approval_required', [lead]],
        ['deny', undefined],
        ['undetermined', [hourly]],
      ])
    // The starter policy names none before the account is there.
    expect(first.calls[0]).toMatchObject({ effect: 'consent_required' })
    expect(first.calls[0]).not.toHaveProperty('demands')
    const answer = await fetch(`${limited.deputy.agent}/api.acme.test/notes`, {
      headers: { 'deputy-user': 'alice' },
    })
    // The one call of the hour is still there.
    expect(answer.status).toBe(200)
    await answer.text()
  } finally {
    await limited.close()
  }
})
