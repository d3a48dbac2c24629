// Providers without OAuth: each person pastes a key of their own on the page, and nobody else's call ever carries it. The
// provider knows people by their keys; the pages, the store and the way are deputy's own.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import OpenAI, { PermissionDeniedError } from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import type { Browser, Visit } from '../support/browser.ts'
import { CLIENT_SECRET, startDeputy } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Seen, Upstream } from '../support/upstream.ts'

const KEYS = {
  alice: 'sk-alice-0123456789abcdefABCDEF',
  bob: 'sk-bob-9876543210fedcbaFEDCBA',
  again: 'sk-alice-the-second-5555555555',
}
let upstream: Upstream
let deputy: Deputy
/** Keys that the provider takes → whose they are. */
const owners = new Map<string, string>()
/** How the provider is told of a key. */
const keyOf = ({ headers }: Seen): string => {
  const { authorization = '' } = headers
  const [, pair] = /^Basic (.*)$/.exec(authorization) ?? []
  if (pair !== undefined)
    return /^(.*):$/.exec(Buffer.from(pair, 'base64').toString())?.[1] ?? 'no pair'
  return String(headers['x-api-key'] ?? authorization.replace(/^Bearer /, ''))
}
/** What the provider answers to a call of the API whose key it takes; null: whose it was. */
let answer: ((seen: Seen, res: Parameters<NonNullable<Upstream['handle']>>[1]) => void) | null

const mapped = (...hosts: readonly string[]) =>
  Object.fromEntries(hosts.map((host) => [host, upstream.origin]))

beforeAll(async () => {
  upstream = await startUpstream()
  upstream.handle = (seen, res) => {
    const who = owners.get(keyOf(seen))
    const json = (status: number, body: object) =>
      res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    if (who === undefined) return void json(401, { error: { message: `bad key ${keyOf(seen)}` } })
    if (/^\/v1\/(?:account|users\/me)$/.test(seen.url))
      return void json(200, { id: who, name: who })
    if (answer !== null) return answer(seen, res)
    json(200, { who, data: [], id: 'x' })
  }
  const basic = {
    id: 'basic',
    credential: 'api_key',
    hosts: { 'api.basic.test': upstream.origin },
    present: 'Authorization: Basic base64({token}:)',
    operations: [{ id: 'it', method: 'GET', path: '/it', access: 'read', scopes: [[]] }],
  }
  const row = {
    kinds: ['rest'],
    access: ['read', 'write'],
    operations: ['*'],
    max_entitlement_age_s: 300,
  }
  const hosts: Record<string, readonly string[]> = {
    openai: ['api.openai.com'],
    anthropic: ['api.anthropic.com'],
    stripe: ['api.stripe.com', 'files.stripe.com'],
    notion_key: ['api.notion.com'],
    basic: ['api.basic.test'],
  }
  const each = (value: (id: string) => unknown) =>
    Object.fromEntries(Object.keys(hosts).map((id) => [id, value(id)]))
  deputy = await startDeputy({
    upstream: upstream.origin,
    tables: {
      group_roles: { staff: ['user'] },
      role_grants: each(() => ({ user: ['use'] })),
      grants: each(() => ({ use: row })),
      providers: each((id) => ({ hosts: hosts[id], assets: [], inspect_body: [] })),
    },
    people: ['alice', 'bob']
      .map((id) => ({ id, groups: ['staff'] }))
      .concat([{ id: 'carol', groups: [] }]),
    config: {
      providers: [basic],
      connections: {
        openai: {
          provider: 'openai',
          hosts: mapped('api.openai.com'),
          userinfo: `${upstream.origin}/v1/models`,
        },
        anthropic: {
          provider: 'anthropic',
          hosts: mapped('api.anthropic.com'),
          userinfo: `${upstream.origin}/v1/models`,
        },
        stripe: {
          provider: 'stripe',
          hosts: mapped('api.stripe.com', 'files.stripe.com'),
          userinfo: `${upstream.origin}/v1/account`,
        },
        notion: {
          provider: 'notion_key',
          hosts: mapped('api.notion.com'),
          userinfo: `${upstream.origin}/v1/users/me`,
        },
        basic: { provider: 'basic' },
      },
    },
  })
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})
beforeEach(() => {
  owners.clear()
  for (const [who, key] of Object.entries(KEYS)) owners.set(key, who)
  upstream.seen.length = 0
  answer = null
})

const call = (path: string, person: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${deputy.agent}${path}`, {
    ...init,
    headers: {
      ...(init.headers as Record<string, string> | undefined),
      'deputy-user': person,
    },
  })
type Refusal = { readonly [key: string]: unknown; readonly url: string }
const linkFor = async (path: string, person: string): Promise<string> => {
  const response = await call(path, person)
  expect([response.status, response.headers.get('deputy-answer')]).toEqual([
    403,
    'consent_required',
  ])
  return ((await response.json()) as Refusal).url
}
/** Signs in with the code of the terminal, as far as the page that asks for the key. */
const pageFor = async (browser: Browser, link: string): Promise<Visit> => {
  const page = await browser.open(link)
  if (!page.text.includes('name="code"')) return page
  const code = readFileSync(join(deputy.dir, '.deputy-code'), 'utf8').trim()
  return browser.submit(page, { code })
}
const connect = async (path: string, person: string, key: string): Promise<Visit> => {
  const browser = createBrowser()
  const page = await pageFor(browser, await linkFor(path, person))
  return browser.submit(page, { answer: 'yes', key })
}
describe('a person pastes their own key', () => {
  test('and their calls carry it, whatever the agent put there; nobody else’s do', async () => {
    const path = '/api.openai.com/v1/models'
    const browser = createBrowser()
    const page = await pageFor(browser, await linkFor(path, 'alice'))
    expect(page.text).toContain('Your own key of OpenAI')
    expect(page.text).toMatch(/<input[^>]*name="key"[^>]*type="password"[^>]*autocomplete="off"/s)
    const done = await browser.submit(page, { answer: 'yes', key: `  ${KEYS.alice}\n` })
    expect(done.text).toContain('OpenAI is connected')
    upstream.seen.length = 0
    const told = await call(path, 'alice', { headers: { authorization: `Bearer ${KEYS.bob}` } })
    expect(await told.json()).toMatchObject({ who: 'alice' })
    expect(upstream.seen.map(keyOf)).toEqual([KEYS.alice])
    // Bob has none, and alice's is not his.
    const bobs = await call(path, 'bob')
    expect([bobs.status, bobs.headers.get('deputy-answer')]).toEqual([403, 'consent_required'])
    // Consent is per agent, and the key is policy's to refuse.
    expect((await call('/api.openai.com/v1/organization/users', 'alice')).status).toBe(403)
    expect((await call(path, 'carol')).headers.get('deputy-answer')).toBe('policy_denied')
    expect(upstream.seen).toHaveLength(1)
  })

  test.each([
    ['/api.anthropic.com/v1/models', 'x-api-key', KEYS.alice],
    ['/api.stripe.com/v1/customers', 'authorization', `Bearer ${KEYS.alice}`],
    ['/api.notion.com/v1/users', 'authorization', `Bearer ${KEYS.alice}`],
    [
      '/api.basic.test/it',
      'authorization',
      `Basic ${Buffer.from(`${KEYS.alice}:`).toString('base64')}`,
    ],
  ])('%s gets it as the definition says', async (path, header, value) => {
    const done = await connect(path, 'alice', KEYS.alice)
    expect(done.text).toContain('is connected')
    upstream.seen.length = 0
    expect((await call(path, 'alice')).status).toBe(200)
    expect(upstream.seen[0]?.headers[header]).toBe(value)
  })

  test('a wrong key is said to be wrong, and nothing is stored', async () => {
    const path = '/api.openai.com/v1/models'
    const browser = createBrowser()
    let page = await pageFor(browser, await linkFor(path, 'bob'))
    page = await browser.submit(page, { answer: 'yes', key: 'sk-wrong-00000000000000000' })
    expect(page.status).toBe(422)
    expect(page.text).toContain('OpenAI does not accept this key')
    expect(page.text).not.toContain('sk-wrong')
    for (const key of [
      '',
      'short',
      'two words 0123456789',
      'x'.repeat(4097),
      'dpr_0123456789abcdef',
      'ключ-0123456789',
    ]) {
      upstream.seen.length = 0
      page = await browser.submit(page, { answer: 'yes', key })
      expect([key, page.status]).toEqual([key, 422])
      expect(page.text).toContain('does not look like a key')
      expect(upstream.seen).toEqual([])
    }
    expect((await call(path, 'bob')).headers.get('deputy-answer')).toBe('consent_required')
    // The same link takes the right one.
    page = await browser.submit(page, { answer: 'yes', key: KEYS.bob })
    expect(page.text).toContain('OpenAI is connected')
    expect(await (await call(path, 'bob')).json()).toMatchObject({ who: 'bob' })
  })

  test('whoever guesses needs a new link after ten keys', async () => {
    const browser = createBrowser()
    let page = await pageFor(browser, await linkFor('/api.stripe.com/v1/balance', 'bob'))
    for (let i = 0; i < 10; i += 1) {
      page = await browser.submit(page, { answer: 'yes', key: `sk-guess-0123456789-${i}` })
      expect(page.status).toBe(422)
    }
    page = await browser.submit(page, { answer: 'yes', key: KEYS.bob })
    expect(page.text).not.toContain('is connected')
    expect(upstream.seen).toHaveLength(10)
    expect((await call('/api.stripe.com/v1/balance', 'bob')).status).toBe(403)
  })

  test('a page of another origin cannot paste one, nor can a form without its token', async () => {
    const browser = createBrowser()
    const page = await pageFor(browser, await linkFor('/api.stripe.com/v1/balance', 'bob'))
    const given = { answer: 'yes', key: KEYS.bob }
    const foreign = { headers: { origin: 'https://evil.example' } }
    expect((await browser.submit(page, given, foreign)).status).toBe(403)
    expect((await browser.submit(page, { ...given, csrf: 'x' })).status).toBe(403)
    expect(upstream.seen).toEqual([])
  })

  test('a form of parts is refused, broken or not, and deputy logs no fault of its own', async () => {
    const form = `--x\r\nContent-Disposition: form-data; name="key"; filename="a"\r\n\r\n${KEYS.bob}`
    const sent = await fetch(`${deputy.connect}/sign-in/local`, {
      method: 'POST',
      headers: { 'content-type': 'multipart/form-data; boundary=x', origin: deputy.connect },
      body: form,
    })
    expect(sent.status).toBe(415)
    expect(await sent.text()).not.toContain(KEYS.bob)
    expect(deputy.logged()).not.toContain('a page failed')
  })

  test('a key that its provider withdrew is replaced by pasting anew', async () => {
    const path = '/api.anthropic.com/v1/models'
    owners.delete(KEYS.alice)
    const refused = await call(path, 'alice')
    expect([refused.status, refused.headers.get('deputy-answer')]).toEqual([
      403,
      'reauthorization_required',
    ])
    const { url } = (await refused.json()) as Refusal
    const browser = createBrowser()
    const page = await pageFor(browser, url)
    expect((await browser.submit(page, { answer: 'yes', key: KEYS.again })).text).toContain(
      'Anthropic is connected',
    )
    expect(await (await call(path, 'alice')).json()).toMatchObject({ who: 'again' })
  })
})

describe('the official client', () => {
  const client = (person: string) =>
    new OpenAI({
      baseURL: `${deputy.agent}/api.openai.com/v1`,
      apiKey: `user:${person}`,
      maxRetries: 0,
    })

  test('of OpenAI lists, asks and streams, with the person in its key slot', async () => {
    answer = ({ url }, res) => {
      if (url !== '/v1/chat/completions') {
        res
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ object: 'list', data: [{ id: 'gpt-x', object: 'model' }] }))
        return
      }
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      for (const content of ['one ', 'two ', `your key is ${KEYS.alice}`])
        res.write(
          `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content } }] })}\n\n`,
        )
      res.end('data: [DONE]\n\n')
    }
    const models = await client('alice').models.list()
    expect(models.data.map(({ id }) => id)).toEqual(['gpt-x'])
    const stream = await client('alice').chat.completions.create({
      model: 'gpt-x',
      messages: [{ role: 'user', content: 'hello' }],
      stream: true,
    })
    const said: string[] = []
    for await (const chunk of stream) said.push(chunk.choices[0]?.delta.content ?? '')
    expect(said.slice(0, 2)).toEqual(['one ', 'two '])
    expect(said[2]).toMatch(/^your key is \[redacted\]\**$/)
    expect(upstream.seen.map(keyOf)).toEqual([KEYS.alice, KEYS.alice])
  })

  test('raises its own exception when deputy refuses, with our sentence and the link', async () => {
    const error: unknown = await client('carol')
      .models.list()
      .catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(PermissionDeniedError)
    expect(error).toMatchObject({ status: 403, code: 'policy_denied' })
  })
})

describe('a key is nowhere but in the vault', () => {
  test('no evidence, log or file of deputy’s holds one', () => {
    const files = readdirSync(deputy.dir, { recursive: true, encoding: 'utf8' })
      .map((name) => join(deputy.dir, name))
      .filter((path) => statSync(path).isFile())
    const texts = [deputy.logged(), ...files.map((path) => readFileSync(path, 'latin1'))]
    for (const key of [...Object.values(KEYS), 'sk-wrong-', 'sk-guess-'])
      expect(texts.filter((text) => text.includes(key))).toEqual([])
    expect(deputy.evidence().some(({ event }) => event === 'consent.completed')).toBe(true)
  })
})

test('what only an OAuth client has is refused in the configuration', async () => {
  const started = startDeputy({
    upstream: upstream.origin,
    config: {
      connections: {
        openai: { provider: 'openai', client_id: 'x', client_secret: CLIENT_SECRET, scopes: ['a'] },
      },
    },
  })
  await expect(started).rejects.toThrow(
    /client_id: has no use.*client_secret.*scopes: have no use/s,
  )
})
