// Calls that a person must approve, and calls that need a stronger sign-in: the whole of deputy, a real OpenID provider
// and a browser without a screen.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import { startAuthServer, type AuthServer } from '../support/authserver.ts'
import { createBrowser, type Browser, type Visit } from '../support/browser.ts'
import {
  AGENT,
  CLIENT_SECRET,
  startDeputy,
  TABLES,
  type Deputy,
  type EvidenceLine,
  type Fields,
} from '../support/deputy.ts'
import { freePort } from '../support/ports.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const SECRET = 'pages-secret-0123456789abcdef0123456'
const [MFA, PWD] = ['urn:acr:mfa', 'urn:acr:pwd']
const BEARER = 'operator-bearer-0123456789abcdef0123'
const PEOPLE: readonly Fields[] = [
  { id: 'alice', realm: 'corp', groups: ['staff'], manager: 'dora' },
  { id: 'bob', realm: 'corp', groups: ['staff', 'leads'] },
  { id: 'carol', realm: 'corp', groups: ['staff', 'leads', 'security'] },
  { id: 'dora', realm: 'corp', groups: ['staff'] },
  { id: 'eve', realm: 'other', groups: ['staff', 'leads'] },
]
const grants = (TABLES['grants'] as Record<string, { use: Fields }>)['acme']?.use
const row = (operations: readonly string[], more: Fields): Fields => ({
  ...grants,
  operations,
  ...more,
})
const approval = (approvers: readonly string[], more: Fields = {}): Fields => ({
  approval: { lead: { approvers, ttl_s: 900, ...more } },
})
const TABLE: Fields = {
  ...TABLES['grants'],
  acme: {
    read: row(['acme.get'], {}),
    write: row(['acme.post', 'acme.note', 'acme.upload'], approval(['group:leads'])),
    put: row(['acme.put'], approval(['manager'], { self: true })),
    drop: row(['acme.delete'], {
      step_up: { mfa: { acr_values: [MFA], max_auth_age_s: 600 } },
    }),
    patch: row(['acme.patch'], {
      approval: {
        lead: { approvers: ['group:leads'], ttl_s: 900 },
        sec: { approvers: ['group:security', 'person:dora'], ttl_s: 900 },
      },
    }),
  },
}
const tables = (acme: unknown = TABLE['acme']): Readonly<Record<string, Fields>> => ({
  ...TABLES,
  role_grants: {
    ...TABLES['role_grants'],
    acme: { user: Object.keys(acme as Fields) },
  },
  grants: { ...TABLE, acme },
})

/** What the application that delivers links was told. */
const told: Fields[] = []
const hook = createServer((req, res) => {
  void text(req).then((body) => {
    told.push(JSON.parse(body) as Fields)
    res.end()
  })
})
let idp: AuthServer
let upstream: Upstream
let deputy: Deputy
/** How the next people sign in. */
let acr: string = PWD
beforeAll(async () => {
  upstream = await startUpstream()
  await new Promise<void>((resolve) => hook.listen(0, '127.0.0.1', resolve))
  upstream.people.set('at-alice', 'alice')
  const port = await freePort()
  const url = `http://localhost:${port}`
  idp = await startAuthServer({
    clientId: 'pages',
    clientSecret: SECRET,
    redirectUris: [`${url}/sign-in/callback`],
    accounts: Object.fromEntries(['alice', 'bob', 'carol', 'dora', 'eve'].map((id) => [id, {}])),
    signedIn: () => ({ acr, amr: acr === MFA ? ['pwd', 'otp'] : ['pwd'] }),
    config: { acrValues: [MFA, PWD] },
  })
  deputy = await startDeputy({
    upstream: upstream.origin,
    people: PEOPLE,
    tables: tables(),
    held: ['alice', 'bob'].map((id) => ({
      person: { tenant: 'default', realm: 'corp', id },
      token: `at-${id}`,
    })),
    config: {
      listeners: { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: `127.0.0.1:${port}` },
      identity: { trust: 'plain', agent: AGENT, realm: 'corp' },
      connections: {
        acme: {
          provider: 'acme',
          client_id: 'deputy',
          client_secret: CLIENT_SECRET,
          scopes: ['notes'],
        },
      },
      connect: {
        url,
        notify: {
          webhook: `http://127.0.0.1:${(hook.address() as AddressInfo).port}/`,
          key: 'hook-key-0123456789abcdef0123456789',
        },
        sign_in: { issuer: idp.issuer, client_id: 'pages', client_secret: SECRET, realm: 'corp' },
      },
      operators: [{ name: 'ops', bearer: BEARER, may: ['connections', 'revoke'] }],
      limits: { inspected_body: '64KiB' },
    },
  })
})
afterAll(async () => {
  await deputy.close()
  hook.closeAllConnections()
  hook.close()
  await Promise.all([idp.close(), upstream.close()])
})
beforeEach(() => {
  upstream.seen.length = 0
  acr = PWD
})

type Answer = { readonly status: number; readonly code: string | null; readonly body: Fields }
const ask = async (
  method: string,
  path: string,
  init: { readonly body?: string | Buffer; readonly headers?: Record<string, string> } = {},
): Promise<Answer> => {
  const response = await fetch(`${deputy.agent}/api.acme.test${path}`, {
    method,
    headers: {
      'deputy-user': 'alice',
      ...(init.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...init.headers,
    },
    ...(init.body === undefined ? {} : { body: init.body as string }),
  })
  return {
    status: response.status,
    code: response.headers.get('deputy-answer'),
    body: (await response.json()) as Fields,
  }
}
/** Goes where a person would go, signing in at the organisation where that is asked. */
const visit = async (browser: Browser, url: string, login: string): Promise<Visit> =>
  through(browser, await browser.open(url), login)
const through = async (browser: Browser, from: Visit, login: string): Promise<Visit> => {
  let page = from
  for (let steps = 0; steps < 6; steps++) {
    const prompt = /name="prompt" value="(\w+)"/.exec(page.text)?.[1]
    if (prompt === undefined) return page
    page = await browser.submit(page, prompt === 'login' ? { login, password: 'x' } : {})
  }
  return page
}
const approve = async (url: unknown, login: string, answer = 'yes'): Promise<Visit> => {
  const browser = createBrowser()
  const page = await visit(browser, String(url), login)
  return page.text.includes('name="csrf"') ? browser.submit(page, { answer }) : page
}
const events = (name: string): readonly EvidenceLine[] =>
  deputy.evidence().filter(({ event }) => event === name)
const people = async (change: readonly Fields[]): Promise<void> => {
  const reads = (): number => deputy.logged().split('entitlements file read').length
  const before = reads()
  writeFileSync(join(deputy.dir, 'people.yaml'), JSON.stringify({ people: change }))
  await expect.poll(reads).toBeGreaterThan(before)
}

/** Another policy is in force. */
const policy = async (acme: unknown): Promise<void> => {
  const before = events('policy.loaded').length
  for (const [name, table] of Object.entries(tables(acme)))
    writeFileSync(join(deputy.dir, 'tables', `${name}.json`), JSON.stringify(table))
  await expect.poll(() => events('policy.loaded').length).toBeGreaterThan(before)
}

test('a call leaves once, after a lead has seen and approved it, and the evidence says who', async () => {
  const body = '{"title":"Broken <b>now</b>"}'
  const first = await ask('POST', '/notes?x=1', { body })
  expect(first).toMatchObject({ status: 403, code: 'approval_required' })
  expect(first.body).toMatchObject({
    authorization_id: expect.stringMatching(/^ap_[0-9a-f]{64}$/) as string,
    expires_at: expect.any(String) as string,
  })
  expect(upstream.seen).toEqual([])
  // The same call again joins the same link.
  expect((await ask('POST', '/notes?x=1', { body })).body['url']).toBe(first.body['url'])
  const seen = createBrowser()
  const page = await visit(seen, String(first.body['url']), 'bob')
  expect(page.status).toBe(200)
  for (const part of ['https://api.acme.test/notes?x=1', 'POST', 'acme.note', 'Broken &lt;b&gt;'])
    expect(page.text).toContain(part)
  expect(page.text).not.toContain('<b>now')
  const done = await seen.submit(page, { answer: 'yes' })
  expect(done.text).toContain('You approved this call')
  const status = await fetch(
    `${deputy.agent}/v1/auth/status?id=${String(first.body['authorization_id'])}`,
    { headers: { 'deputy-user': 'alice' } },
  )
  expect(await status.json()).toMatchObject({ status: 'completed' })
  expect((await ask('POST', '/notes?x=1', { body })).status).toBe(200)
  expect(upstream.seen.map(({ body: sent }) => sent.toString())).toEqual([body])
  expect(await ask('POST', '/notes?x=1', { body })).toMatchObject({ code: 'approval_required' })
  expect(upstream.seen).toHaveLength(1)
  expect(events('approval.given')).toMatchObject([{ by: { id: 'bob' }, names: ['lead'] }])
  const [used] = events('approval.used')
  expect(used).toMatchObject({ approvers: [{ name: 'lead', id: 'bob' }] })
  const allowed = deputy
    .evidence()
    .find(({ exchange, event }) => event === 'decision' && exchange === used?.['exchange'])
  expect(allowed).toMatchObject({ decision: { effect: 'allow' } })
})

test.each([
  ['another body', { body: '{"title":"b"}' }, '/a1'],
  ['another address', { body: '{"title":"a"}' }, '/a1?y=1'],
  ['another header', { body: '{"title":"a"}', headers: { 'if-match': 'x' } }, '/a1'],
])('a yes is none to %s', async (_name, other, path) => {
  const yes = await ask('POST', '/a1', { body: '{"title":"a"}' })
  await approve(yes.body['url'], 'bob')
  expect(await ask('POST', path, other)).toMatchObject({ code: 'approval_required' })
  expect(upstream.seen).toEqual([])
  const traced = {
    body: '{"title":"a"}',
    headers: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` },
  }
  expect((await ask('POST', '/a1', traced)).status).toBe(200)
})

test('two at once: one leaves', async () => {
  const body = '{"n":2}'
  await approve((await ask('POST', '/twice', { body })).body['url'], 'bob')
  const all = await Promise.all([1, 2, 3, 4].map(() => ask('POST', '/twice', { body })))
  expect(all.map(({ status }) => String(status)).toSorted()).toEqual(['200', '403', '403', '403'])
  expect(upstream.seen).toHaveLength(1)
})

test('nobody else approves: not the person, not who is no lead, not another realm; they are shown nothing of it', async () => {
  const { body: told } = await ask('POST', '/secret-thing', { body: '{"secret":"in-the-body"}' })
  for (const login of ['alice', 'dora']) {
    const page = await approve(told['url'], login)
    expect(page.status, login).toBe(403)
    for (const part of ['in-the-body', 'secret-thing', 'acme.post', AGENT])
      expect(page.text, `${login} ${part}`).not.toContain(part)
  }
  // `eve` leads in another realm: at this page she is of this one, where nobody knows her.
  expect((await approve(told['url'], 'eve')).status).toBe(403)
  expect(events('approval.stranger').map(({ by }) => (by as Fields)['id'])).toEqual([
    'alice',
    'dora',
    'eve',
  ])
  expect(await ask('POST', '/secret-thing', { body: '{"secret":"in-the-body"}' })).toMatchObject({
    code: 'approval_required',
  })
})

test('who lost the group since, or is not active any more, has not said yes', async () => {
  const body = '{"n":3}'
  await approve((await ask('POST', '/lost', { body })).body['url'], 'bob')
  await people(PEOPLE.map((one) => (one['id'] === 'bob' ? { ...one, groups: ['staff'] } : one)))
  const again = await ask('POST', '/lost', { body })
  expect(again).toMatchObject({ code: 'approval_required' })
  expect(events('approval.voided')).toMatchObject([{ by: ['bob'] }])
  await people(PEOPLE)
  // What was void stays void; somebody else may say yes at the same link.
  expect(await ask('POST', '/lost', { body })).toMatchObject({ code: 'approval_required' })
  await approve(again.body['url'], 'carol')
  expect((await ask('POST', '/lost', { body })).status).toBe(200)
})

test('a no is told, and the same is not asked again for a while', async () => {
  const body = '{"n":4}'
  const first = await ask('POST', '/no', { body })
  await approve(first.body['url'], 'bob', 'no')
  const after = await ask('POST', '/no', { body })
  expect(after).toMatchObject({ status: 403, code: 'policy_denied' })
  expect(after.body['reasons']).toEqual(['approval_declined'])
  expect(events('approval.declined')).toMatchObject([{ by: { id: 'bob' } }])
  expect(await ask('POST', '/no', { body: '{"n":5}' })).toMatchObject({ code: 'approval_required' })
})

test('a yes that is taken back counts no more', async () => {
  const body = '{"n":6}'
  const { body: told } = await ask('POST', '/back', { body })
  await approve(told['url'], 'bob')
  await approve(told['url'], 'bob', 'no')
  expect(await ask('POST', '/back', { body })).toMatchObject({ code: 'policy_denied' })
  expect(upstream.seen).toEqual([])
})

test('a call that waits goes on, decided anew', async () => {
  const waiting = ask('POST', '/hold', { body: '{"n":7}', headers: { prefer: 'wait=30' } })
  const list = (): Promise<Fields> =>
    fetch(`${deputy.connect}/v1/admin/approvals`, {
      headers: { authorization: `Bearer ${BEARER}` },
    }).then((answer) => answer.json() as Promise<Fields>)
  await expect.poll(async () => JSON.stringify(await list())).toContain('acme.post')
  const { body: told } = await ask('POST', '/hold', { body: '{"n":7}' })
  await approve(told['url'], 'carol')
  expect((await waiting).status).toBe(200)
})

test('the manager approves, and with self the person where they are among the approvers only', async () => {
  const { body: told } = await ask('PUT', '/managed', { body: '{}' })
  expect((await approve(told['url'], 'alice')).status).toBe(403)
  expect((await approve(told['url'], 'bob')).status).toBe(403)
  await approve(told['url'], 'dora')
  expect((await ask('PUT', '/managed', { body: '{}' })).status).toBe(200)
})

test('two yeses are two people’s, or one’s who is both', async () => {
  const { body: told } = await ask('PATCH', '/both', { body: '{}' })
  const one = await approve(told['url'], 'bob')
  expect(one.text).toContain('approved by')
  expect(await ask('PATCH', '/both', { body: '{}' })).toMatchObject({ code: 'approval_required' })
  await approve(told['url'], 'dora')
  expect((await ask('PATCH', '/both', { body: '{}' })).status).toBe(200)
  const { body: other } = await ask('PATCH', '/both2', { body: '{}' })
  await approve(other['url'], 'carol')
  expect((await ask('PATCH', '/both2', { body: '{}' })).status).toBe(200)
})

test('a body that streams is read as a whole, and one that is too long is refused', async () => {
  const octets = { 'content-type': 'application/octet-stream' }
  const small = { body: Buffer.from('plain words'), headers: octets }
  const { body: told, code } = await ask('POST', '/upload/x', small)
  expect(code).toBe('approval_required')
  await approve(told['url'], 'bob')
  expect((await ask('POST', '/upload/x', small)).status).toBe(200)
  expect(upstream.seen[0]?.body.toString()).toBe('plain words')
  const large = { body: Buffer.alloc(70_000, 97), headers: octets }
  expect(await ask('POST', '/upload/x', large)).toMatchObject({ status: 413 })
})

test('a form of another page approves nothing', async () => {
  const { body: told } = await ask('POST', '/csrf', { body: '{}' })
  const browser = createBrowser()
  const page = await visit(browser, String(told['url']), 'bob')
  for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }])
    expect((await browser.submit(page, { answer: 'yes' }, { headers })).status).toBe(403)
  expect((await browser.submit(page, { answer: 'yes', csrf: 'x' })).status).toBe(403)
  expect(await ask('POST', '/csrf', { body: '{}' })).toMatchObject({ code: 'approval_required' })
})

test('operators see what waits, without its content, and end it', async () => {
  const { body: told } = await ask('POST', '/ops', { body: '{"secret":"not-for-operators"}' })
  const id = String(told['authorization_id'])
  const headers = { authorization: `Bearer ${BEARER}` }
  const list = await (await fetch(`${deputy.connect}/v1/admin/approvals`, { headers })).text()
  expect(list).toContain(id)
  expect(list).not.toContain('not-for-operators')
  const gone = await fetch(`${deputy.connect}/v1/admin/approvals/${id}`, {
    method: 'DELETE',
    headers,
  })
  expect(gone.status).toBe(204)
  expect((await approve(told['url'], 'bob')).status).toBe(410)
  expect(
    (await ask('POST', '/ops', { body: '{"secret":"not-for-operators"}' })).body['url'],
  ).not.toBe(told['url'])
})

test('whoever delivers links is told of each, and nothing of its content', async () => {
  const { body } = await ask('POST', '/told', { body: '{"secret":"not-for-the-hook"}' })
  const mine = (): Fields | undefined => told.find(({ url }) => url === body['url'])
  await expect.poll(mine).toBeDefined()
  expect(mine()).toMatchObject({
    event: 'approval.requested',
    authorization_id: body['authorization_id'],
    user_id: 'alice',
    agent: AGENT,
    operations: ['acme.post'],
    needs: [{ name: 'lead', approvers: ['group:leads'] }],
  })
  expect(JSON.stringify(told)).not.toContain('not-for-the-hook')
  expect(events('approval.notified').length).toBeGreaterThan(0)
})

test('a plan says what needs a yes, and asks nobody', async () => {
  const before = events('approval.requested').length
  const plan = await fetch(`${deputy.agent}/v1/plan`, {
    method: 'POST',
    headers: { 'deputy-user': 'alice', 'content-type': 'application/json' },
    body: JSON.stringify({
      calls: [
        { id: 'a', request: { method: 'POST', url: 'https://api.acme.test/p', body: { a: 1 } } },
        { id: 'b', request: { method: 'DELETE', url: 'https://api.acme.test/p' } },
        { id: 'c', request: { method: 'GET', url: 'https://api.acme.test/p' } },
      ],
    }),
  })
  const { calls } = (await plan.json()) as { calls: readonly Fields[] }
  expect(calls.map(({ effect }) => effect)).toEqual([
    'approval_required',
    'step_up_required',
    'allow',
  ])
  expect(events('approval.requested')).toHaveLength(before)
})

test('another policy since then wants its own yes', async () => {
  const body = '{"n":8}'
  await approve((await ask('POST', '/policy', { body })).body['url'], 'bob')
  const acme = {
    ...(TABLE['acme'] as Fields),
    write: row(['acme.post', 'acme.note', 'acme.upload'], approval(['group:security'])),
  }
  await policy(acme)
  expect(await ask('POST', '/policy', { body })).toMatchObject({ code: 'approval_required' })
  await policy(TABLE['acme'])
  expect((await ask('POST', '/policy', { body })).status).toBe(200)
})

describe('a stronger sign-in', () => {
  const up = async (url: unknown, login: string, by: string): Promise<Visit> => {
    acr = by
    const browser = createBrowser()
    const page = await visit(browser, String(url), login)
    if (!page.text.includes('name="csrf"')) return page
    return through(browser, await browser.submit(page, { answer: 'yes' }), login)
  }

  test('lets the call pass once its person has made it, and not before', async () => {
    const first = await ask('DELETE', '/x')
    expect(first).toMatchObject({ status: 403, code: 'step_up_required' })
    expect(first.body).toMatchObject({
      authorization_id: expect.stringMatching(/^su_/) as string,
      acr_values: MFA,
      max_age: 600,
    })
    const { url } = first.body
    // Somebody else gets nothing by this link, and it stays good.
    expect((await up(url, 'bob', MFA)).status).toBe(403)
    const weak = await up(url, 'alice', PWD)
    expect(weak.text).toContain('not as strongly as policy asks')
    expect(await ask('DELETE', '/x')).toMatchObject({ code: 'step_up_required' })
    const waiting = ask('DELETE', '/x', { headers: { prefer: 'wait=30' } })
    const strong = await up(url, 'alice', MFA)
    expect(strong.text).toContain('You have signed in as was asked')
    expect((await waiting).status).toBe(200)
    expect((await ask('DELETE', '/other')).status).toBe(200)
    expect(events('step_up.completed')).toMatchObject([{ acr: MFA }])
    expect(events('step_up.failed')).toMatchObject([{ reason: 'acr', acr: PWD }])
  })
})

test('a call that waits through a reload goes by the directory of then', async () => {
  const body = { body: '{}' }
  const waiting = ask('PATCH', '/reloaded', { ...body, headers: { prefer: 'wait=30' } })
  const { url } = (await ask('PATCH', '/reloaded', body)).body
  await approve(url, 'bob')
  const path = join(deputy.dir, 'deputy.yaml')
  const before = readFileSync(path, 'utf8')
  const config = JSON.parse(before) as Fields
  const moved = PEOPLE.map((one) => (one['id'] === 'bob' ? { ...one, groups: ['staff'] } : one))
  writeFileSync(join(deputy.dir, 'moved.yaml'), JSON.stringify({ people: moved }))
  const entitlements = { ...(config['entitlements'] as Fields), file: 'moved.yaml' }
  writeFileSync(path, JSON.stringify({ ...config, entitlements }))
  try {
    await deputy.reload()
    const voided = events('approval.voided').length
    await approve(url, 'dora')
    await expect.poll(() => events('approval.voided').length).toBe(voided + 1)
    await approve(url, 'dora')
    await approve(url, 'carol')
    expect((await waiting).status).toBe(200)
  } finally {
    writeFileSync(path, before)
    await deputy.reload()
  }
})

// Last: what it ends is not there afterwards.
describe('what is revoked waits no more', () => {
  const headers = { authorization: `Bearer ${BEARER}` }
  const waits = async (id: unknown): Promise<boolean> => {
    const list = await fetch(`${deputy.connect}/v1/admin/approvals`, { headers })
    return (await list.text()).includes(String(id))
  }
  const operate = async (method: string, path: string): Promise<number> =>
    (await fetch(`${deputy.connect}/v1/admin/${path}`, { method, headers })).status

  test('an agent that is switched off: its links end, also those that were answered', async () => {
    const { body: one } = await ask('POST', '/off', {
      body: '{"n":1}',
      headers: { 'deputy-user': 'bob' },
    })
    const given = { body: '{"n":2}', headers: { 'deputy-user': 'bob' } }
    const { body: two } = await ask('POST', '/off', given)
    await approve(two['url'], 'carol')
    expect(await operate('POST', `agents/${AGENT}/disable`)).toBe(200)
    await expect.poll(() => waits(one['authorization_id'])).toBe(false)
    await expect.poll(() => waits(two['authorization_id'])).toBe(false)
    expect(await ask('POST', '/off', given)).toMatchObject({ code: 'agent_disabled' })
    expect(await operate('POST', `agents/${AGENT}/enable`)).toBe(200)
    expect(await ask('POST', '/off', given)).toMatchObject({ code: 'approval_required' })
  })

  test('a person: what was asked for them ends, and its links with it', async () => {
    const mine = { body: '{}', headers: { 'deputy-user': 'bob' } }
    const { body: one } = await ask('POST', '/gone', mine)
    expect(await waits(one['authorization_id'])).toBe(true)
    expect(await operate('DELETE', 'users/bob/connections?realm=corp')).toBe(200)
    expect(await waits(one['authorization_id'])).toBe(false)
    expect((await approve(one['url'], 'carol')).status).toBe(410)
    expect(await ask('POST', '/gone', mine)).toMatchObject({ code: 'consent_required' })
  })
})
