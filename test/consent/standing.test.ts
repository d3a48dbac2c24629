// People let a workload act while they are away: asked for, given on the page, bounded, told of, ended. With a moved clock.
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { moveClocks, type Clocks } from '../support/clocks.ts'
import { TABLES, type Fields } from '../support/deputy.ts'
import { HOOK_KEY, startHouse, type House } from '../support/house.ts'
import { startIssuer, type Issuer } from '../support/issuer.ts'

const DAY = 86_400_000
const AGENT = 'agent:triage'
const WAIT = { interval: 100 }
const got: Fields[] = []
const hook = createServer((req, res) => {
  const chunks: Buffer[] = []
  req.on('data', (chunk: Buffer) => chunks.push(chunk))
  req.on('end', () => {
    got.push(JSON.parse(Buffer.concat(chunks).toString()) as Fields)
    res.end()
  })
})
const rows = (max: number): Fields => ({
  user: { max_days: max, operations: ['acme.me.*'], agents: [AGENT] },
})
let clocks: Clocks
let cluster: Issuer
let house: House
let bobGave = 0
beforeAll(async () => {
  clocks = moveClocks()
  cluster = await startIssuer()
  await new Promise<void>((resolve) => void hook.listen(0, '127.0.0.1', resolve))
  const workload = (name: string): Fields => ({
    name,
    issuer: cluster.url,
    max_age: '1h',
    match: { '/sub': `system:serviceaccount:agents:${name}` },
    agent: AGENT,
  })
  house = await startHouse({
    grantTtl: 50 * 86_400,
    tables: { ...TABLES, standing: rows(90) },
    identity: { agent_required: false },
    config: { workloads: [workload('web'), workload('nightly'), workload('other')] },
    connect: {
      notify: {
        webhook: `http://127.0.0.1:${(hook.address() as AddressInfo).port}/`,
        key: HOOK_KEY,
      },
    },
  })
})
afterAll(async () => {
  clocks.restore()
  await house.close()
  cluster.close()
  hook.close()
})

const pod = (name: string): Promise<string> =>
  cluster.sign({
    act: undefined,
    aud: ['deputy'],
    sub: `system:serviceaccount:agents:${name}`,
  })
const ask = async (user: string, standing: Fields): Promise<Fields> => {
  const answer = await fetch(`${house.deputy.agent}/v1/auth/authorize`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'deputy-user': await house.tag(user),
      'deputy-agent': await pod('web'),
    },
    body: JSON.stringify({ user_id: user, auth_requirement: { id: 'acme' }, standing }),
  })
  return (await answer.json()) as Fields
}
const NIGHTLY = { workload: 'nightly', days: 30, operations: ['acme.me.read'] }
const confirm = async (flowId: string | null, user: string): Promise<Fields> =>
  (await house.verifier().post('/v1/auth/confirm_user', {
    body: { flow_id: flowId, user_id: user, tenant: 'acme' },
  })) as Fields
const give = async (user: string, days: number, standing: Fields = NIGHTLY): Promise<void> => {
  // After a leap of the clock, what is known of people must be looked at anew first.
  let url: unknown
  await expect.poll(async () => (url = (await ask(user, standing))['url']), WAIT).toBeTruthy()
  const fields = { days: String(days) }
  const at = await house.walk(createBrowser(), String(url), `${user}-acme`, fields)
  await confirm(at.searchParams.get('flow_id'), user)
}
/** A call of the job: nothing but its own token. */
const job = async (
  more: Readonly<Record<string, string>> = {},
  {
    method = 'GET',
    connection = 'acme',
    as = 'nightly',
    signal,
  }: {
    readonly method?: string
    readonly connection?: string
    readonly as?: string
    readonly signal?: AbortSignal
  } = {},
) => {
  const answer = await fetch(`${house.deputy.agent}/${connection}@api.acme.test/me`, {
    method,
    headers: { 'deputy-agent': await pod(as), ...more },
    ...(signal === undefined ? {} : { signal }),
  })
  const body = (await answer.json()) as Fields
  return {
    said: answer.headers.get('deputy-answer') ?? String(body['sub']),
    detail: (body['detail'] ?? '') as string,
    reasons: body['reasons'],
  }
}
const said = async (...of: Parameters<typeof job>): Promise<string> => (await job(...of)).said
const events = (name: string) => house.deputy.evidence().filter(({ event }) => event === name)
const table = (max: number): void =>
  writeFileSync(join(house.deputy.dir, 'tables', 'standing.json'), JSON.stringify(rows(max)))

test('nobody acts for anybody before a person said yes, and policy is asked before they are', async () => {
  expect(await said()).toBe('unauthenticated')
  expect(await said({ 'deputy-user': 'alice' })).toBe('unauthenticated')
  expect(await ask('alice', { ...NIGHTLY, days: 91 })).toMatchObject({
    code: 'policy_denied',
    reasons: ['no_grant'],
  })
  for (const [wrong, detail] of [
    [{ ...NIGHTLY, operations: ['acme.nothing'] }, /acme has no "acme.nothing"/],
    [{ ...NIGHTLY, workload: 'unknown' }, /is no row of workloads/],
  ] as const)
    expect(await ask('alice', wrong)).toMatchObject({
      code: 'request_invalid',
      detail: expect.stringMatching(detail) as string,
    })
  expect(events('standing.granted')).toEqual([])
})

test('the page says what is asked, the person chooses fewer days and never more, and the job acts as them', async () => {
  const { url } = await ask('alice', NIGHTLY)
  const page = await createBrowser().open(String(url))
  for (const part of ['While you are away', 'nightly', 'acme.me.read', 'max="30"'])
    expect(page.text).toContain(part)
  const longer = await createBrowser().submit(page, { answer: 'yes', days: '31' })
  expect(longer.status).toBe(403) // another browser's form
  const browser = createBrowser()
  const own = await browser.open(String(url))
  expect((await browser.submit(own, { answer: 'yes', days: '31' })).status).toBe(400)
  await give('alice', 20)
  expect(await said()).toBe('alice-acme')
  expect(events('decision').at(-1)).toMatchObject({
    user: { id: 'alice', verified: true, standing: expect.any(String) as string },
    agent: { id: AGENT, workload: { name: 'nightly' } },
  })
  await expect.poll(() => events('standing.used').length, WAIT).toBe(1)
  expect(events('standing.granted')).toHaveLength(1)
  await expect.poll(() => got.some(({ event }) => event === 'standing.used'), WAIT).toBe(true)
})

test('it is bounded to its connection, its operations and its workload, and is no tag at the API', async () => {
  expect(await said({}, { method: 'POST' })).toBe('standing_refused')
  expect(await said({}, { connection: 'second' })).toBe('standing_refused')
  expect(await said({}, { as: 'other' })).toBe('unauthenticated')
  expect(await said({ 'deputy-user': 'alice' }, { as: 'other' })).toBe('unauthenticated')
  const answer = await fetch(`${house.deputy.agent}/v1/auth/status?id=ac_x`, {
    headers: { 'deputy-agent': await pod('nightly') },
  })
  expect(answer.headers.get('deputy-answer')).toBe('unauthenticated')
})

test('of several people the call names the one that is meant, and nobody is told who the others are', async () => {
  await give('bob', 30)
  bobGave = Date.now()
  const open = await job()
  expect(open.said).toBe('unauthenticated')
  expect(open.detail).not.toMatch(/alice|bob/)
  expect(await said({ 'deputy-user': 'alice' })).toBe('alice-acme')
  expect(await said({ 'deputy-user': 'bob' })).toBe('bob-acme')
  const carol = await job({ 'deputy-user': 'carol' })
  expect(carol.said).toBe('unauthenticated')
  expect(carol.detail).not.toMatch(/alice|bob/)
})

test('policy and the identity provider decide each call: what they withdraw is refused', async () => {
  table(10)
  await expect
    .poll(() => job({ 'deputy-user': 'alice' }), WAIT)
    .toMatchObject({ said: 'policy_denied', reasons: ['standing_withdrawn', 'no_grant'] })
  table(90)
  await expect.poll(() => said({ 'deputy-user': 'alice' }), WAIT).toBe('alice-acme')
  house.people((all) => all.map((one) => (one['id'] === 'alice' ? { ...one, active: false } : one)))
  await expect.poll(() => said({ 'deputy-user': 'alice' }), WAIT).toBe('policy_denied')
  house.people((all) => all)
  await expect.poll(() => said({ 'deputy-user': 'alice' }), WAIT).toBe('alice-acme')
  clocks.set(2 * 3_600_000)
  expect(await said({ 'deputy-user': 'alice' })).toBe('clock_wrong')
  clocks.set(-2 * 3_600_000)
  await expect.poll(() => said({ 'deputy-user': 'alice' }), WAIT).toBe('alice-acme')
})

test('its end is told before it comes, once', async () => {
  for (const days of [6, 6, 5]) {
    clocks.pass(days * DAY)
    // What is known of people must be looked at anew first.
    await expect.poll(() => said({ 'deputy-user': 'alice' }), WAIT).toBe('alice-acme')
  }
  const ending = () => got.filter(({ event }) => event === 'standing.ending')
  expect(ending()).toEqual([])
  clocks.pass(DAY + 3_600_000)
  await expect.poll(() => ending().length, WAIT).toBe(1)
  expect(ending()[0]).toMatchObject({ user_id: 'alice', workload: 'nightly', connection: 'acme' })
  await expect.poll(() => events('standing.notified').length, WAIT).toBe(1)
})

test('its person shortens and stops it at their own page, and the next call is refused', async () => {
  const browser = createBrowser()
  const atVerifier = (to: URL): boolean => to.href.startsWith('http://127.0.0.1:9/')
  const away = await browser.open(`${house.url}/connections`, atVerifier)
  const { next_uri } = await confirm(new URL(away.url).searchParams.get('flow_id'), 'bob')
  let page = await browser.open(String(next_uri))
  const only = (button: string) => {
    const form = [...page.text.matchAll(/<form[^]*?<\/form>/g)]
      .map(([text]) => text)
      .find((text) => text.includes('/connections/standing') && text.includes(button))
    return { ...page, text: form ?? '' }
  }
  page = await browser.submit(only('Shorten'), { days: '25' })
  expect(page.text).toContain('for a shorter time now')
  const [changed] = events('standing.changed')
  const ends = Date.parse(String(changed?.['expires_at']))
  expect(Math.abs(ends - (bobGave + 25 * DAY))).toBeLessThan(60_000)
  expect(await said({ 'deputy-user': 'bob' })).toBe('bob-acme')
  page = await browser.submit(only('while I am away'))
  expect(page.text).toContain('while you are away?')
  expect(await said({ 'deputy-user': 'bob' })).toBe('bob-acme')
  page = await browser.submit(page)
  expect(page.text).toContain('may no longer act')
  expect(await said({ 'deputy-user': 'bob' })).toBe('unauthenticated')
  expect(events('standing.ended')).toMatchObject([{ by: 'person', user: { id: 'bob' } }])
  // Of one person left it need not say who.
  expect(await said()).toBe('alice-acme')
  clocks.pass(2 * DAY)
  // It ends by the clock, whatever else is known.
  expect(await said()).toBe('unauthenticated')
})

test('a job whose consent is missing waits, the link goes out, and it goes on; an operator ends it in flight', async () => {
  await give('alice', 90, { ...NIGHTLY, days: 90 })
  // So long without a call that the provider has forgotten the grant.
  clocks.pass(60 * DAY)
  const silent = { prefer: 'wait=0' }
  await expect.poll(() => said(silent), WAIT).toBe('reauthorization_required')
  got.length = 0
  const waiting = said()
  await expect.poll(() => got.length, WAIT).toBeGreaterThan(0)
  const { url } = got.find(({ event }) => event === 'authorization.required') ?? {}
  const at = await house.walk(createBrowser(), String(url), 'alice-acme')
  await confirm(at.searchParams.get('flow_id'), 'alice')
  expect(await waiting).toBe('alice-acme')

  const listed = await house.api('GET', '/v1/admin/standings?user_id=alice')
  const { items } = (await listed.json()) as { items: readonly Fields[] }
  expect(items).toMatchObject([{ user_id: 'alice', workload: 'nightly', connection_id: 'acme' }])
  const gone = await house.api('DELETE', '/v1/admin/users/alice/connections?tenant=acme&realm=corp')
  expect(await gone.json()).toMatchObject({ standings_ended: 1 })
  expect(await said()).toBe('unauthenticated')
  expect(events('standing.ended').at(-1)).toMatchObject({ by: 'operator', operator: 'backend' })
})
