// The webhook: signed, tried again, never in a call's way; and how many links one agent may make.
import { createHmac, createSecretKey } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createNotifier } from '../../proxy/observe/notify.ts'
import { until } from '../support/deputy.ts'
import { HOOK_KEY, startHouse } from '../support/house.ts'
import type { House } from '../support/house.ts'

type Got = { readonly signature: string; readonly body: string }
const got: Got[] = []
/** Status of the next answers; then 204. */
let answers: number[] = []
const hook = createServer((req, res) => {
  const chunks: Buffer[] = []
  req.on('data', (chunk: Buffer) => chunks.push(chunk))
  req.on('end', () => {
    const body = Buffer.concat(chunks).toString()
    got.push({ signature: String(req.headers['deputy-signature']), body })
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

test('a call without consent tells the application the link, signed; a joined link is not told twice', async () => {
  const answer = await house.call(await house.tag('alice'))
  const problem = (await answer.json()) as { authorization_id: string; url: string }
  await until(() => got.length > 0, 'the webhook')
  expect(got).toHaveLength(1)
  expect(got.map(good)).toEqual([true])
  expect(JSON.parse(got[0]?.body ?? '')).toEqual({
    event: 'authorization.required',
    authorization_id: problem.authorization_id,
    url: problem.url,
    user_id: 'alice',
    tenant: 'acme',
    realm: 'corp',
    agent: 'agent:triage',
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

test('a webhook that is down or slow does not hold the call; it is tried again, and the log and evidence say so', async () => {
  const began = performance.now()
  answers = [503, 200]
  const answer = await house.call(await house.tag('bob'))
  expect([answer.status, performance.now() - began < 900]).toEqual([403, true])
  await until(() => got.length === 2, 'a second attempt', 4_000)
  expect(got.map(good)).toEqual([true, true])
  expect(house.deputy.logged()).toContain('http_503')
})

describe('a notifier', () => {
  const key = createSecretKey(Buffer.from(HOOK_KEY))
  const notice = {
    event: 'authorization.required',
    authorization_id: 'ac_00',
    url: 'http://localhost/connect/secret-link',
    user_id: 'alice',
    tenant: 'acme',
    realm: 'corp',
    agent: 'job',
    connection: 'acme',
    scopes: [],
    expires_at: '2999-01-01T00:00:00Z',
  }
  const make = (fetcher: typeof fetch) => {
    const events: { readonly event: string; readonly fields: object }[] = []
    const logged: string[] = []
    const write = (fields: object, msg: string): void =>
      void logged.push(`${msg} ${JSON.stringify(fields)}`)
    const notifier = createNotifier({
      webhook,
      key,
      fetch: fetcher,
      clock: { now: () => Date.now(), mono: () => performance.now() },
      log: { debug: write, info: write, warn: write, error: write },
      onEvent: async (event, fields) => void events.push({ event, fields }),
      waits: [5, 5],
    })
    return { notifier, events, logged }
  }
  test('gives up after its attempts, once, and says why without the link', async () => {
    let asked = 0
    const { notifier, events, logged } = make(() => {
      asked += 1
      return Promise.reject(
        new TypeError('fetch failed', {
          cause: Object.assign(new Error('x'), { code: 'ECONNREFUSED' }),
        }),
      )
    })
    notifier.send(notice)
    await until(() => events.length > 0, 'giving up')
    expect(asked).toBe(3)
    expect(events).toMatchObject([
      { event: 'consent.notify_failed', fields: { flow: '00', reason: 'ECONNREFUSED' } },
    ])
    expect(logged).toHaveLength(3)
    expect(JSON.stringify([events, logged])).not.toContain('secret-link')
  })
  test('a redirect is no yes, and closing ends what waits', async () => {
    const { notifier, events } = make(async () => new Response(null, { status: 302 }))
    notifier.send(notice)
    notifier.close()
    await until(() => events.length > 0, 'giving up')
    expect(events).toMatchObject([{ fields: { reason: 'http_302' } }])
  })
  test('no more than a thousand wait: the next is refused and recorded', async () => {
    const { notifier, events } = make(() => new Promise(() => {}))
    for (let i = 0; i < 1_001; i += 1) notifier.send(notice)
    await until(() => events.length > 0, 'the one too many')
    expect(events).toMatchObject([{ fields: { reason: 'too_many_waiting' } }])
  })
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
      await expect(tool('alice', name)).rejects.toMatchObject({ status: 400 })
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
