// Two tenants in one deputy: nothing of one is seen, changed, counted or guessed by the other, wherever one can ask.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createPlanApi } from '../../proxy/api/plan.ts'
import { createToolsApi } from '../../proxy/api/tools.ts'
import { createAuthApi } from '../../proxy/api/auth.ts'
import { createOperatorsApi } from '../../proxy/api/operators.ts'
import { program } from '../../proxy/main.ts'
import { createScimApi } from '../../proxy/api/scim.ts'
import { createSignalsApi } from '../../proxy/api/signals.ts'
import { createConnectApp } from '../../proxy/people/app.ts'
import type { Fields } from '../support/deputy.ts'
import { docAt } from '../support/openapi.ts'
import { postgres } from '../support/postgres.ts'
import {
  ABSENT,
  AGENT,
  COMMANDS,
  ON_THIS_MACHINE,
  OPERATORS,
  PAGES,
  SCIM,
  SIGNALS,
  TOLD_APART,
  type As,
  type Asked,
  type Case,
  type Ids,
} from '../support/tenant_cases.ts'
import {
  BEARERS,
  MARK,
  STANDING,
  startTwoTenants,
  TENANTS,
  tokenOf,
  VERIFIER_KEY,
  type Tenant,
  type TwoTenants,
} from '../support/two_tenants.ts'

const server = await postgres()
const STORES = [
  ['SQLite', {}],
  ...('absent' in server ? [] : [['PostgreSQL', { postgres: server }] as const]),
] as const

/** Every route of a listener's app, as its own table has it; what only refuses other methods is none. */
const routesOf = (app: {
  readonly routes: readonly { readonly method: string; readonly path: string }[]
}): readonly string[] => [
  ...new Set(
    app.routes
      .filter(({ method, path }) => method !== 'ALL' && !path.includes('*'))
      .map(({ method, path }) => `${method} ${path.replaceAll(/\{[^}]*\}/g, '')}`),
  ),
]
/** Events that name whoever was at a link of somebody else's. */
const STRANGERS: ReadonlySet<string> = new Set(['consent.user_mismatch', 'approval.stranger'])
/** Enough for an app to be made; none of it is called. */
const bare = {
  publicUrl: 'http://127.0.0.1:1',
  session: { publicUrl: 'http://127.0.0.1:1' },
  signIn: { kind: 'oidc' },
  asking: {},
  operators: [{ bearer: Buffer.alloc(32) }],
  local: true,
  clock: { mono: () => 0 },
  ...Object.fromEntries(['rotate', 'copy', 'replay'].map((name) => [name, () => {}])),
} as unknown
type Of<Make extends (deps: never) => unknown> = Parameters<Make>[0]
const TABLES = [
  [
    'agent',
    [
      ...routesOf(createAuthApi(bare as Of<typeof createAuthApi>)),
      ...routesOf(createToolsApi(bare as Of<typeof createToolsApi>)),
      ...routesOf(createPlanApi(bare as Of<typeof createPlanApi>)),
    ],
    AGENT,
    'tag',
  ],
  [
    'operators',
    routesOf(createOperatorsApi(bare as Of<typeof createOperatorsApi>)),
    OPERATORS,
    'operator',
  ],
  ['pages', routesOf(createConnectApp(bare as Of<typeof createConnectApp>)), PAGES, 'browser'],
  ['signals', routesOf(createSignalsApi(bare as Of<typeof createSignalsApi>)), SIGNALS, 'nobody'],
  ['scim', routesOf(createScimApi(bare as Of<typeof createScimApi>)), SCIM, 'operator'],
] as const satisfies readonly (readonly [
  string,
  readonly string[],
  Readonly<Record<string, Case>>,
  As,
])[]

const leaves = (of: Command, before: readonly string[] = []): readonly [string, Command][] =>
  of.commands.length === 0
    ? [[before.join(' '), of]]
    : of.commands.flatMap((each) => leaves(each, [...before, each.name()]))
const commands = leaves(program(() => {}))
const remote = commands.filter(([, { options }]) =>
  options.some(({ long }) => long === '--token-file'),
)

describe('every place has a case', () => {
  test.each(TABLES)('of %s', (name, routes, cases) => {
    expect(routes.length).toBeGreaterThan(0)
    for (const route of routes)
      expect(
        Object.keys(cases),
        `${route} of ${name} is not looked at with two tenants: add a case in test/support/tenant_cases.ts`,
      ).toContain(route)
    expect(Object.keys(cases).filter((key) => !routes.includes(key))).toEqual([])
  })
  test('every command', () => {
    for (const [name] of remote)
      expect(
        Object.keys(COMMANDS),
        `deputy ${name} is not looked at with two tenants: add a case in test/support/tenant_cases.ts`,
      ).toContain(name)
    for (const [name] of commands.filter((each) => !remote.includes(each)))
      expect(
        ON_THIS_MACHINE.has(name),
        `deputy ${name} takes no --token-file: name it in ON_THIS_MACHINE of test/support/tenant_cases.ts if only who has the files of a deputy can use it`,
      ).toBe(true)
  })
})

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
/** What an answer says, without the names by which it was asked and what chance or the clock wrote into it. */
const shapeOf = (text: string, ids: Ids): string => {
  let shape = text
  for (const [name, id] of Object.entries(ids))
    for (const form of new Set([id, encodeURIComponent(id)]))
      shape = shape.replaceAll(new RegExp(escaped(form), 'g'), `<${name}>`)
  return shape
    .replaceAll(/\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b/g, '<ulid>')
    .replaceAll(/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/g, '<uuid>')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>')
    .replaceAll(/(?<=name="csrf" value=")[^"]*/g, '<csrf>')
    .replaceAll(/(deputy-[\w-]+)=[^;\n]*/g, '$1=<sealed>')
}

const KINDS = [
  ...(['call', 'ask', 'status', 'page'] as const),
  ...(['listed', 'runs', 'mint', 'end', 'revoke', 'erase'] as const),
]
/** What somebody of a tenant may do, always by names that the other tenant uses as well. */
type Act = {
  readonly kind: (typeof KINDS)[number]
  readonly user: string
}
const step = fc.record({
  tenant: fc.constantFrom(...TENANTS),
  act: fc.record({
    kind: fc.constantFrom(...KINDS),
    user: fc.constantFrom('alice', 'bob'),
  }),
})
/** Without what chance and the clock wrote into it. */
const plain = (text: string): string =>
  shapeOf(text, ABSENT)
    .replaceAll(/\b(?:ac_[0-9a-f]{64}|run_[\w-]+)\b/g, '<id>')
    .replaceAll(/http:\/\/127\.0\.0\.1:\d+/g, '<origin>')
    .replaceAll(/\/connect\/[\w-]{43}/g, '<link>')
    .replaceAll(/"token":"[^"]*"/g, '<token>')
    // When a grant was last used is written a while later.
    .replaceAll(/(?<=<dt>Last used<\/dt>\s*)<dd>[\s\S]*?<\/dd>|<time[\s\S]*?<\/time>/g, '<time>')
    .replaceAll(/"stored_at":"[^"]*"|datetime="[^"]*"/g, '<time>')

/** One world: does what it is told and says what came of it. */
const play = (house: TwoTenants) => {
  const ids = new Map<string, string>()
  const operate = (tenant: Tenant, method: string, path: string, body?: object) =>
    fetch(`${house.deputy.connect}${path}`, {
      method,
      headers: { authorization: `Bearer ${BEARERS[tenant]}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  const agent = async (tenant: Tenant, user: string, path: string, body?: object) =>
    fetch(`${house.deputy.agent}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        'deputy-user': await house.tag(tenant, user),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  const answer = async (tenant: Tenant, { kind, user }: Act): Promise<Response> => {
    const own = (what: string): string => ids.get(`${tenant} ${user} ${what}`) ?? 'none'
    switch (kind) {
      case 'call':
        return agent(tenant, user, '/api.acme.test/a')
      case 'ask':
        return agent(tenant, user, '/v1/auth/authorize', {
          user_id: user,
          auth_requirement: { id: 'stream' },
        })
      case 'status':
        return agent(tenant, user, `/v1/auth/status?id=${own('ask')}`)
      case 'page':
        return fetch(`${house.url}/connections`, {
          headers: { cookie: await house.cookie(tenant, user) },
        })
      case 'listed':
        return operate(tenant, 'GET', '/v1/admin/user_connections')
      case 'runs':
        return operate(tenant, 'GET', '/v1/admin/runs')
      case 'mint':
        return operate(tenant, 'POST', '/v1/admin/runs', {
          user_id: user,
          agent: 'agent-1',
          connections: ['acme'],
          expires_in: 60,
        })
      case 'end':
        return operate(tenant, 'DELETE', `/v1/admin/runs/${own('mint')}`)
      case 'revoke':
        return operate(tenant, 'DELETE', `/v1/admin/users/${user}/connections`)
      case 'erase':
        return operate(tenant, 'DELETE', `/v1/admin/users/${user}`)
      default:
        return kind satisfies never
    }
  }
  return async (tenant: Tenant, act: Act): Promise<string> => {
    const got = await answer(tenant, act)
    const text = await got.text()
    const id = /"id":"([^"]*)"/.exec(text)?.[1]
    if (got.ok && id !== undefined) ids.set(`${tenant} ${act.user} ${act.kind}`, id)
    return `${got.status} ${plain(text)}`
  }
}

test('what south sees never depends on what north does, whatever both do', async () => {
  const [together, alone] = [await startTwoTenants(), await startTwoTenants()]
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
        const [both, single] = [play(together), play(alone)]
        for (const { tenant, act } of steps) {
          const seen = await both(tenant, act)
          if (tenant === 'south') expect(await single(tenant, act), act.kind).toEqual(seen)
        }
      }),
      { numRuns: 12, endOnFailure: true },
    )
  } finally {
    await together.close()
    await alone.close()
  }
})

describe.each(STORES)('with %s', (_, options) => {
  let house: TwoTenants
  let north: Ids
  let own: Pick<Ids, 'csrf' | 'user'>
  let cookie: string
  let tag: string
  const looked = { places: 0, requests: 0, lines: 0, records: 0, samples: 0, messages: 0 }

  const json = async (answer: Promise<Response>): Promise<Fields> =>
    (await (await answer).json()) as Fields
  const admin = (method: string, path: string, bearer: string, body?: object) =>
    fetch(`${house.deputy.connect}${path}`, {
      method,
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  const begin = async (tenant: string, user: string, connection = 'stream') =>
    json(
      fetch(`${house.deputy.agent}/v1/auth/authorize`, {
        method: 'POST',
        headers: {
          'deputy-user': await house.tag(tenant, user),
          'content-type': 'application/json',
        },
        body: JSON.stringify({ user_id: user, auth_requirement: { id: connection } }),
      }),
    )
  const browse = (path: string, cookies: string, form?: Readonly<Record<string, string>>) =>
    fetch(`${house.url}${path}`, {
      redirect: 'manual',
      headers: { cookie: cookies, ...(form === undefined ? {} : { origin: house.url }) },
      ...(form === undefined ? {} : { method: 'POST', body: new URLSearchParams(form) }),
    })
  const csrfOf = (html: string): string => /name="csrf" value="([^"]*)"/.exec(html)?.[1] ?? ''

  /** What north has: connections, a run, links at each step, a session. */
  const settle = async (): Promise<Ids> => {
    const user = `nora-${MARK}`
    const waits = await begin('north', 'alice')
    const link = String(waits['url']).slice(house.url.length + '/connect/'.length)
    const session = await house.cookie('north', 'alice')
    const page = await (await browse(`/connect/${link}`, session)).text()
    const csrf = csrfOf(page)
    const going = await (await browse(`/connect/${link}`, session, { csrf, answer: 'yes' })).text()
    const refused = await begin('north', 'bob')
    const other = String(refused['url']).slice(house.url.length)
    const bob = await house.cookie('north', 'bob')
    const sure = { csrf: csrfOf(await (await browse(other, bob)).text()), answer: 'no' }
    const said = (await browse(other, bob, sure)).headers.getSetCookie()
    const result = said.map((line) => /^deputy-result=([^;]*)/.exec(line)?.[1]).find(Boolean)
    const body = { user_id: 'alice', agent: 'agent-1', connections: ['acme'], expires_in: 600 }
    const run = await json(admin('POST', '/v1/admin/runs', BEARERS.north, body))
    const list = await json(admin('GET', '/v1/admin/user_connections?user_id=alice', BEARERS.north))
    const [held] = list['items'] as readonly Fields[]
    return {
      authorization: String(waits['id']),
      link,
      credential: String(held?.['id']),
      run: String(run['id']),
      standing: STANDING,
      ...house.asks,
      agent: `agent-${MARK}`,
      user,
      tenant: 'north',
      connection: `retired-${MARK}`,
      state: /[?&;]state=([\w-]+)/.exec(going)?.[1] ?? '',
      csrf,
      result: String(result),
      session: session.slice(session.indexOf('=') + 1),
    }
  }

  beforeAll(async () => {
    house = await startTwoTenants(options)
    north = await settle()
    for (const [name, id] of Object.entries(north)) expect(id, name).toMatch(/^(?!undefined)\S{5}/)
    cookie = await house.cookie('south', 'alice')
    tag = await house.tag('south', 'alice')
    own = { user: 'alice', csrf: csrfOf(await (await browse('/connections', cookie)).text()) }
    await vi.waitFor(() => expect(house.messages.length).toBeGreaterThanOrEqual(2), 30_000)
  })
  afterAll(async () => {
    process.stdout.write(`two tenants: ${JSON.stringify(looked)}\n`)
    await house.close()
  })

  const ask = async (
    method: string,
    { path, as, body, form, cookies = {} }: Asked,
    usual: As,
  ): Promise<{ readonly status: number; readonly text: string }> => {
    const who = as ?? usual
    const pages = usual === 'browser'
    const more = Object.entries(cookies).map(([name, value]) => `${name}=${value}`)
    looked.requests++
    const answer = await fetch(
      `${usual === 'tag' ? house.deputy.agent : pages ? house.url : house.deputy.connect}${path}`,
      {
        method,
        redirect: 'manual',
        headers: {
          ...(who === 'tag' ? { 'deputy-user': tag } : {}),
          ...(who === 'operator' ? { authorization: `Bearer ${BEARERS.south}` } : {}),
          ...(pages ? { cookie: [...(who === 'nobody' ? [] : [cookie]), ...more].join('; ') } : {}),
          ...(form === undefined ? {} : { origin: house.url }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(form === undefined ? {} : { body: new URLSearchParams(form) }),
      },
    )
    const skip = new Set(['date', 'content-length', 'keep-alive', 'connection'])
    const headers = [...answer.headers].filter(([name]) => !skip.has(name))
    return {
      status: answer.status,
      text: [...headers.map((line) => line.join(': ')), await answer.text()].join('\n'),
    }
  }

  describe.each(TABLES)('%s', (_name, routes, cases, usual) => {
    const table: Readonly<Record<string, Case>> = cases
    test.each(routes)('%s', async (route) => {
      const [method = ''] = route.split(' ')
      const foreign = table[route]?.(north, own) ?? []
      const absent = table[route]?.(ABSENT, own) ?? []
      const before = await house.rows('north')
      looked.places++
      for (const [i, asked] of foreign.entries()) {
        const theirs = await ask(method, asked, usual)
        const nobodys = await ask(method, absent[i] ?? asked, usual)
        const what = `${route} ${JSON.stringify(asked)}`
        const said = shapeOf(theirs.text, north)
        expect(said, what).not.toContain(MARK)
        if (!TOLD_APART.has(route))
          expect({ status: theirs.status, said }, what).toEqual({
            status: nobodys.status,
            said: shapeOf(nobodys.text, ABSENT),
          })
        else expect([theirs.status, nobodys.status], what).toEqual([403, 404])
        // Its session ended where it was at a link of somebody else.
        cookie = await house.cookie('south', 'alice')
        own = { user: 'alice', csrf: csrfOf(await (await browse('/connections', cookie)).text()) }
      }
      expect(await house.rows('north'), `${route} changed what north has`).toEqual(before)
    })
  })

  test('what the OpenAPI documents describe is all looked at', async () => {
    const listed = async (origin: string): Promise<readonly string[]> =>
      Object.entries((await docAt(origin)).paths).flatMap(([path, methods]) =>
        Object.keys(methods).map(
          (method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`,
        ),
      )
    for (const [origin, cases] of [
      [house.deputy.agent, AGENT],
      [house.deputy.connect, OPERATORS],
    ] as const)
      for (const route of await listed(origin)) expect(Object.keys(cases)).toContain(route)
  })

  const carry = async (name: string, args: readonly string[]): Promise<string> => {
    const lines: string[] = []
    const write = (line: unknown): boolean => lines.push(String(line)) > 0
    const spies = [process.stdout, process.stderr].map((stream) =>
      vi.spyOn(stream, 'write').mockImplementation(write),
    )
    try {
      await program((code) => void lines.push(`exit ${code}`)).parseAsync(
        [
          ...name.split(' '),
          ...args,
          '--url',
          house.deputy.connect,
          '--token-file',
          join(house.deputy.dir, 'bearer'),
        ],
        { from: 'user' },
      )
    } finally {
      for (const spy of spies) spy.mockRestore()
    }
    return lines.join('')
  }
  test.each(remote)('deputy %s', async (name) => {
    writeFileSync(join(house.deputy.dir, 'bearer'), BEARERS.south, { mode: 0o600 })
    const before = await house.rows('north')
    looked.places++
    const absent = COMMANDS[name]?.(ABSENT) ?? []
    for (const [i, args] of (COMMANDS[name]?.(north) ?? []).entries()) {
      const said = shapeOf(await carry(name, args), north)
      expect(said, `${name} ${args.join(' ')}`).not.toContain(MARK)
      expect(said, `${name} ${args.join(' ')}`).toBe(
        shapeOf(await carry(name, absent[i] ?? []), ABSENT),
      )
    }
    expect(await house.rows('north'), `${name} changed what north has`).toEqual(before)
  })

  test('each door of the agents: a person of the same name gets their own account, or none', async () => {
    const { agent } = house.deputy
    const doors = (to: string, key: string): readonly [string, RequestInit][] => [
      [`${agent}/${to}`, { headers: { 'deputy-user': key } }],
      [`${agent}/${to}`, { headers: { authorization: `Bearer ${key}` } }],
      [`${agent}/acme@${to}`, { headers: { 'deputy-user': key } }],
    ]
    const body = { user_id: 'alice', agent: 'agent-1', connections: ['acme'], expires_in: 600 }
    for (const tenant of TENANTS) {
      const { token } = await json(admin('POST', '/v1/admin/runs', BEARERS[tenant], body))
      for (const key of [await house.tag(tenant, 'alice'), String(token)])
        for (const [url, init] of doors('api.acme.test/a', key)) {
          looked.places++
          const answer = await fetch(url, init)
          await answer.body?.cancel()
          expect(house.upstream.seen.at(-1)?.who, url).toBe(`${tenant} alice`)
        }
    }
    // Only the bob of north has connected anything.
    const bobs = await fetch(`${agent}/api.acme.test/a`, {
      headers: { 'deputy-user': await house.tag('south', 'bob') },
    })
    expect(await bobs.json()).toMatchObject({ code: 'consent_required' })
    expect(house.upstream.bytes().toString('latin1')).not.toContain(tokenOf('north', 'bob'))
    const strange = await fetch(`${agent}/api.acme.test/a`, {
      headers: { 'deputy-user': await house.tag('nowhere', 'alice') },
    })
    expect([strange.status, await strange.text()]).toEqual([
      401,
      expect.not.stringContaining('north'),
    ])
    const verifier = await admin('POST', '/v1/auth/confirm_user', VERIFIER_KEY, {
      flow_id: 'x',
      user_id: 'alice',
    })
    expect(verifier.status).toBe(400)
  })

  test('metrics name nobody; a label of a tenant is of the bounds alone', async () => {
    const text = await (await fetch(`http://${house.deputy.admin}/metrics`)).text()
    const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    looked.samples = samples.length
    const people = ['alice', 'bob', 'agent-1', MARK, ...Object.values(north)]
    for (const line of samples) {
      const labels = /\{(.*)\}/.exec(line)?.[1] ?? ''
      for (const each of people)
        expect(labels.includes(`"${each}"`) || line.includes(MARK), line).toBe(false)
      if (!line.startsWith('deputy_tenant_')) expect(labels, line).not.toMatch(/"(?:north|south)"/)
    }
  })

  /** Every tenant that a value names, wherever in it. */
  const tenantsIn = (value: unknown): readonly string[] => {
    if (Array.isArray(value)) return value.flatMap(tenantsIn)
    if (typeof value !== 'object' || value === null) return []
    return Object.entries(value).flatMap(([name, each]) =>
      name === 'tenant' && typeof each === 'string' ? [each] : tenantsIn(each),
    )
  }
  test('a record, a line of the log, a message: each is of one tenant', () => {
    const records = house.deputy.evidence()
    looked.records = records.length
    for (const record of records) {
      const named = new Set(tenantsIn(record))
      const text = JSON.stringify(record)
      // The one who was at another's link is named to the auditor.
      if (STRANGERS.has(record.event)) expect([...named]).toContain('south')
      else expect(named.size, text).toBeLessThanOrEqual(1)
      // South may have named to us what it guesses; what north's things are called it cannot know.
      if (!STRANGERS.has(record.event) && named.has('south'))
        for (const id of [
          north.credential,
          north.run,
          north.standing,
          north.authorization,
          north.approval,
          north.stepUp,
          // What south switches, it has named itself.
          ...(record.event.startsWith('agent.') ? [] : [`agent-${MARK}`]),
        ])
          expect(text).not.toContain(id)
    }
    expect(records.some(({ event }) => event === 'operator.refused')).toBe(true)
    const lines = house.deputy.logged().split('\n')
    looked.lines = lines.length
    for (const line of lines)
      for (const name of ['alice', 'bob', MARK, tokenOf('north', 'alice')])
        expect(line, line).not.toContain(`"${name}`)
    looked.messages = house.messages.length
    for (const message of house.messages) {
      expect(tenantsIn(message)).toHaveLength(1)
      if (message['tenant'] === 'south') expect(JSON.stringify(message)).not.toContain('north')
    }
    // Who was at north's link hears of it only what the page said; the owner hears who they are themselves.
    const warned = house.messages.filter(({ event }) => event === 'authorization.user_mismatch')
    expect(warned.length).toBeGreaterThan(0)
    for (const message of warned) expect(JSON.stringify(message)).not.toContain('south')
  })
})
