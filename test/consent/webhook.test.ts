// The webhook: signed, tried again, never in a call's way; and how many links one agent may make.
import { createHmac, createSecretKey } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createNotifier, type Notifier } from '../../proxy/consent/webhook.ts'
import type { Problem } from '../../proxy/problem.ts'
import { ALICE, startConsent, type Consent } from '../support/consent.ts'
import { createBrowser } from '../support/browser.ts'
import { until } from '../support/deputy.ts'
import { HOOK_KEY, startHouse } from '../support/house.ts'
import type { House } from '../support/house.ts'
import { paced } from '../support/pace.ts'

type Got = {
  readonly signature: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}
const got: Got[] = []
/** Status of the next answers; then 204. */
let answers: number[] = []
const hook = createServer((req, res) => {
  const chunks: Buffer[] = []
  req.on('data', (chunk: Buffer) => chunks.push(chunk))
  req.on('end', () => {
    const body = Buffer.concat(chunks).toString()
    const headers = Object.fromEntries(
      Object.entries(req.headers).map(([name, value]) => [name, String(value)]),
    )
    got.push({ signature: String(req.headers['deputy-signature']), headers, body })
    res.writeHead(answers.shift() ?? 204).end()
  })
})
let house: House
let webhook = ''
beforeAll(async () => {
  await new Promise<void>((resolve) => hook.listen(0, '127.0.0.1', resolve))
  webhook = `http://127.0.0.1:${(hook.address() as AddressInfo).port}/hooks/deputy`
  house = await startHouse({ connect: { notify: { webhook, key: HOOK_KEY } } })
})
afterAll(async () => {
  await house.close()
  hook.closeAllConnections()
  hook.close()
})
beforeEach(() => {
  got.length = 0
  answers = []
})

const good = ({ signature, body }: Got): boolean => {
  const [, t = '', v1 = ''] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(signature) ?? []
  return createHmac('sha256', HOOK_KEY).update(`${t}.${body}`).digest('hex') === v1
}

/** As a receiver would, with the library of Standard Webhooks. */
const verified = ({ headers, body }: Got, receiver: Webhook): string => {
  try {
    receiver.verify(body, headers)
    return 'yes'
  } catch (error) {
    return error instanceof Error ? error.message : ''
  }
}

test('a call without consent tells the application the link, signed; a joined link is not told twice', async () => {
  const answer = await house.call(await house.tag('alice'))
  const problem = (await answer.json()) as { authorization_id: string; url: string }
  await until(() => got.length > 0, 'the webhook')
  expect(got).toHaveLength(1)
  expect(got.map(good)).toEqual([true])
  const receiver = new Webhook(HOOK_KEY, { format: 'raw' })
  expect(got.map((each) => verified(each, receiver))).toEqual(['yes'])
  const wrong = new Webhook(HOOK_KEY.replace('0', '1'), { format: 'raw' })
  expect(got.map((each) => verified(each, wrong))).toEqual(['No matching signature found'])
  const changed = got.map((each) => ({ ...each, body: each.body.replace('alice', 'mallory') }))
  expect(changed.map((each) => verified(each, receiver))).toEqual(['No matching signature found'])
  expect(JSON.parse(got[0]?.body ?? '')).toEqual({
    event: 'authorization.required',
    authorization_id: problem.authorization_id,
    url: problem.url,
    user_id: 'alice',
    tenant: 'acme',
    realm: 'corp',
    agent: 'agent:triage',
    agent_url: `${house.url}/agents/agent%3Atriage`,
    connection: 'acme',
    scopes: ['openid'],
    expires_at: expect.stringMatching(/^\d{4}-.*Z$/),
  })
  await house.call(await house.tag('alice'))
  await until(
    () => house.deputy.evidence().some(({ event }) => event === 'consent.notified'),
    'the record',
  )
  expect(got).toHaveLength(1)
  expect(JSON.stringify(house.deputy.evidence())).not.toContain(problem.url)
})

test('the owner of a link is warned of somebody else at it, once, without who that was', async () => {
  const started = await house.authorize('bob', 'acme', 'agent:warned')
  for (let i = 0; i < 2; i += 1) {
    const { url = '' } = await house.authorize('bob', 'acme', 'agent:warned')
    const at = await house.walk(createBrowser(), url, 'alice-acme')
    const flow_id = at.searchParams.get('flow_id') ?? ''
    const call = house.verifier().auth.confirmUser({ flow_id, user_id: 'alice' })
    await expect(call).rejects.toMatchObject({ status: 400 })
  }
  const warnings = () => got.filter(({ body }) => body.includes('user_mismatch'))
  await until(() => warnings().length === 2, 'the warnings')
  expect(warnings().map(good)).toEqual([true, true])
  const ids = got.map(({ headers }) => headers['webhook-id'])
  expect(new Set(ids).size).toBe(got.length)
  expect(JSON.parse(warnings()[0]?.body ?? '')).toEqual({
    event: 'authorization.user_mismatch',
    authorization_id: started.id,
    user_id: 'bob',
    tenant: 'acme',
    realm: 'corp',
    agent: 'agent:warned',
    agent_url: `${house.url}/agents/agent%3Awarned`,
    connection: 'acme',
  })
})

test('a webhook that is down or slow does not hold the call; it is tried again, and the log and evidence say so', async () => {
  const began = performance.now()
  answers = [503, 200]
  const answer = await house.call(await house.tag('bob'))
  expect([answer.status, performance.now() - began < paced(900)]).toEqual([403, true])
  await until(() => got.length === 2, 'a second attempt')
  expect(got.map(good)).toEqual([true, true])
  const receiver = new Webhook(HOOK_KEY, { format: 'raw' })
  expect(got.map((each) => verified(each, receiver))).toEqual(['yes', 'yes'])
  expect(new Set(got.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  expect(house.deputy.logged()).toContain('http_503')
  // Six minutes later nobody takes it any more.
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 360_000 })
  try {
    expect(got.map((each) => verified(each, receiver))).toEqual([
      'Message timestamp too old',
      'Message timestamp too old',
    ])
  } finally {
    vi.useRealTimers()
  }
})

describe('a notifier', () => {
  let consent: Consent
  const closing: (() => Promise<void>)[] = []
  const events: { readonly event: string; readonly fields: object }[] = []
  const logged: string[] = []
  beforeEach(async () => {
    consent = await startConsent({ onLink: () => {} })
    events.length = 0
    logged.length = 0
  })
  afterEach(async () => {
    for (const close of closing.splice(0)) await close()
    await consent.close()
  })
  const begin = (agent = 'job') =>
    consent.flows.begin({ person: ALICE, agent, connection: 'acme' }, ['openid'])
  const write = (fields: object, msg: string): void =>
    void logged.push(`${msg} ${JSON.stringify(fields)}`)
  /** One of a process of its own: only the store is shared. */
  const make = (
    fetcher: typeof fetch = fetch,
    waits: readonly number[] = [5, 5],
    key = createSecretKey(Buffer.from(HOOK_KEY)),
  ): Notifier => {
    const flows = consent.replica()
    const notifier = createNotifier({
      webhook,
      key,
      due: flows.notices,
      next: flows.notifyAt,
      agentUrl: (agent) => `${consent.publicUrl}/agents/${encodeURIComponent(agent)}`,
      fetch: fetcher,
      clock: consent.clock,
      log: { debug: write, info: write, warn: write, error: write },
      onEvent: async (event, fields) => void events.push({ event, fields }),
      waits,
    })
    closing.push(notifier.close)
    notifier.wake()
    return notifier
  }

  test('gives up after its attempts, once, and says why without the link', async () => {
    const { url } = await begin()
    let asked = 0
    make(() => {
      asked += 1
      return Promise.reject(
        new TypeError('fetch failed', {
          cause: Object.assign(new Error('x'), { code: 'ECONNREFUSED' }),
        }),
      )
    })
    await until(() => events.length > 0, 'giving up')
    expect(asked).toBe(3)
    expect(events).toMatchObject([
      { event: 'consent.notify_failed', fields: { user: ALICE, reason: 'ECONNREFUSED' } },
    ])
    expect(logged).toHaveLength(3)
    expect(JSON.stringify([events, logged])).not.toContain(url)
  })

  test('a key that begins with whsec_ is read as receivers of Standard Webhooks read it', async () => {
    await begin()
    const written = `whsec_${Buffer.alloc(24, 7).toString('base64')}`
    make(fetch, [], createSecretKey(Buffer.from(written)))
    await until(() => events.length > 0, 'the record')
    expect(got.map((each) => verified(each, new Webhook(written)))).toEqual(['yes'])
  })

  test('a redirect is no yes', async () => {
    await begin()
    make(async () => new Response(null, { status: 302 }), [])
    await until(() => events.length > 0, 'giving up')
    expect(events).toMatchObject([{ fields: { reason: 'http_302' } }])
  })

  test('what a process had not delivered when it ended, the next one delivers', async () => {
    const { url } = await begin()
    let asked = 0
    const first = make((_url, init) => {
      asked += 1
      return new Promise((_resolve, reject) =>
        init?.signal?.addEventListener('abort', () => reject(new Error('ended'))),
      )
    })
    await until(() => asked === 1, 'an attempt')
    await first.close()
    expect(events).toEqual([])
    make()
    await until(() => events.length > 0, 'the record')
    expect(got.map(({ body }) => (JSON.parse(body) as { url: string }).url)).toEqual([url])
    expect(events).toMatchObject([{ event: 'consent.notified' }])
  })

  test('what a process took with it when it died is taken over after half a minute', async () => {
    await begin()
    await consent.replica().notices(consent.clock.now() + 30_000, 9)
    const notifier = make()
    notifier.wake()
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(got).toEqual([])
    consent.advance(30_001)
    notifier.wake()
    await until(() => events.length > 0, 'the record')
    expect(got).toHaveLength(1)
  })

  test('replicas share the work: of 300 links each is sent once, and no more than a hundred at a time', async () => {
    for (let i = 0; i < 300; i += 1) await begin(`job-${i}`)
    let [now, most, lost] = [0, 0, 0]
    const counted: typeof fetch = async (...args) => {
      most = Math.max(most, (now += 1))
      try {
        return await fetch(...args)
      } catch (error) {
        lost += 1 // on a busy machine an answer may come too late; that link is sent again
        throw error
      } finally {
        now -= 1
      }
    }
    make(counted)
    make()
    await until(() => events.length === 300, 'every link', 60_000)
    expect(new Set(got.map(({ body }) => (JSON.parse(body) as { url: string }).url)).size).toBe(300)
    expect(got.length).toBeLessThanOrEqual(300 + lost)
    expect(most).toBeLessThanOrEqual(100)
  })

  test('a link that was used meanwhile is sent to nobody', async () => {
    const { url } = await begin()
    const flow = await consent.flows.find(url.slice(url.lastIndexOf('/') + 1))
    if (flow !== null) await consent.flows.decline(flow, true)
    make()
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(got).toEqual([])
  })
})

test('thirty links are counted over all replicas and restarts, also when they are asked for at once', async () => {
  const consent = await startConsent()
  try {
    const flows = [consent.replica(), consent.replica()]
    const ask = (i: number) =>
      (flows[i % 2] ?? consent.flows)
        .begin({ person: ALICE, agent: 'agent:eager', connection: 'acme' }, [`scope-${i}`])
        .then(
          () => 'link',
          ({ code, extra }: Problem) => `${code} ${Number(extra['retry_after'])}`,
        )
    const answers: string[] = []
    for (let i = 0; i < 20; i += 1) answers.push(await ask(i))
    answers.push(...(await Promise.all(Array.from({ length: 12 }, (_, i) => ask(20 + 2 * i)))))
    expect(answers.filter((answer) => answer === 'link')).toHaveLength(30)
    expect(answers.at(-1)).toMatch(/^rate_limited (?:600|59\d)$/)
    consent.advance(600_001)
    expect(await ask(99)).toBe('link')
  } finally {
    await consent.close()
  }
})

describe('tools/authorize and links', () => {
  const tool = async (user: string, tool_name: string, agent?: string) => {
    const client = await house.agentClient(user, agent)
    return client.tools.authorize({ tool_name, user_id: user })
  }
  test('the unmodified client asks for one operation; several connections are ambiguous, an unknown one is named', async () => {
    const started = await tool('alice', 'second@acme.me.read')
    expect(started).toMatchObject({
      status: 'pending',
      provider_id: 'second',
      scopes: ['openid'],
      user_id: 'alice',
    })
    await expect(tool('alice', 'acme.me.read')).rejects.toMatchObject({
      status: 409,
      error: { connections: ['acme', 'second'] },
    })
    for (const name of ['acme.me.raed', 'github@acme.me.read', 'toString'])
      await expect(tool('alice', name)).rejects.toMatchObject({ status: 404 })
  })
  test('policy decides about the operation before there is a link', async () => {
    await expect(tool('nobody', 'second@acme.me.read')).rejects.toMatchObject({ status: 403 })
  })
  test('thirty links within ten minutes are the most for a person and agent; joined ones are free', async () => {
    const scopes = ['openid', 'notes', 'mail']
    const lists = scopes.flatMap((one, i) => [[one], [...scopes.slice(0, i), one, 'mail']])
    const begin = async (connection: string, list: readonly string[]) => {
      const client = await house.agentClient('carol', 'agent:eager')
      return client.auth
        .authorize({
          user_id: 'carol',
          auth_requirement: { id: connection, oauth2: { scopes: [...new Set(list)] } },
        })
        .then(
          ({ id }) => id ?? '',
          (error: { status: number; headers: Headers }) =>
            `${error.status} ${error.headers.get('retry-after')}`,
        )
    }
    const seen = new Set<string>()
    for (let round = 0; round < 12; round += 1) {
      for (const connection of ['acme', 'second'])
        for (const list of lists) seen.add(await begin(connection, list))
      if ([...seen].some((one) => one.startsWith('429'))) break
      // What was begun is over: the next ones are new links.
      await house.api('DELETE', '/v1/admin/users/carol/connections')
    }
    expect([...seen].filter((one) => one.startsWith('ac_'))).toHaveLength(30)
    expect([...seen].find((one) => one.startsWith('429'))).toMatch(/^429 \d{3}$/)
    const [other] = [await house.authorize('carol', 'acme', 'agent:calm')]
    expect(other).toMatchObject({ status: 'pending' })
    const again = await house.authorize('carol', 'acme', 'agent:calm')
    expect(again.id).toBe(other?.id)
  })
})
