// The console on a whole deputy: operators sign in at a real OpenID provider, look, and end things.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Browser } from '../support/browser.ts'
import {
  heardUntil,
  REFRESH,
  startConsoleWorld,
  tokenOf,
  type ConsoleWorld,
  type Who,
} from '../support/console.ts'

let world: ConsoleWorld
beforeAll(async () => {
  world = await startConsoleWorld()
})
afterAll(() => world?.close())

const events = (name: string) => world.deputy.evidence().filter(({ event }) => event === name)

describe('an operator', () => {
  test('signs in, sees what happens with the reason of each refusal, and is in the evidence', async () => {
    expect(await world.call('north', 'alice')).toBe(200)
    expect(await world.call('south', 'bob')).toBe(403)
    const [, page] = await world.enter('ada')
    expect([page.status, page.url]).toEqual([200, `${world.url}/console`])
    expect(page.text).toContain('The provider answered 200')
    expect(page.text).toContain('/problems/policy_denied')
    expect(page.text).toContain('Refused by policy')
    expect(events('operator.listed').at(-1)).toMatchObject({
      operator: 'sso:ada',
      what: 'console/now',
      signed_in: { id: 'ada', roles: ['operator'] },
    })
  })

  test('revokes one connection after a question, and is told what became of it', async () => {
    const [browser] = await world.enter('ada')
    const page = await browser.open(`${world.url}/console/person?tenant=north&realm=corp&id=alice`)
    const sure = await world.press(browser, page, 'value="connection"')
    expect(sure.text).toContain('Revoke this connection?')
    expect(events('connection.revoked')).toEqual([])
    const done = await world.press(browser, sure, 'name="sure"')
    expect(done.text).toMatch(/Revoked here|Gone here/)
    expect(events('connection.revoked')).toMatchObject([
      { operator: 'sso:ada', user: { id: 'alice', tenant: 'north' }, connection: 'acme' },
    ])
    expect(await world.call('north', 'alice')).toBe(403)
  })
})

/** The token of the forms that this browser sees. */
const csrfOf = async (browser: Browser): Promise<string> =>
  /name="csrf" value="([^"]+)"/.exec(
    (await browser.open(`${world.url}/console/people`)).text,
  )?.[1] ?? ''
/** A form as a browser sends it, whether or not a page shows it. */
const post = async (
  browser: Browser,
  fields: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ readonly status: number; readonly text: string }> => {
  const form = '<form method="post" action="/console/act"></form>'
  const page = await browser.open(`${world.url}/console/people`)
  return browser.submit({ ...page, text: form }, fields, { headers })
}
const alice = { tenant: 'south', realm: 'corp', id: 'alice' }

describe('who only looks', () => {
  test.each(['vera', 'otto'] as const)('%s sees no button, and a form is refused', async (who) => {
    const [browser] = await world.enter(who)
    const page = await browser.open(
      `${world.url}/console/person?${new URLSearchParams(alice).toString()}`,
    )
    expect(page.text).toContain('they end nothing')
    expect(page.text).not.toContain('/console/act')
    const before = events('operator.refused').length
    const csrf = await csrfOf(browser)
    for (const act of ['person', 'agent-off', 'run', 'connection']) {
      const answer = await post(browser, { csrf, act, ...alice, sure: 'yes' })
      expect([answer.status, act]).toEqual([403, act])
    }
    expect(events('operator.refused').length).toBe(before + 4)
    expect(events('connection.revoked').some((one) => one['operator'] === `sso:${who}`)).toBe(false)
    expect(await world.call('south', 'alice')).toBe(200)
  })
  test('whoever has no role sees nothing, and that is in the evidence', async () => {
    const [, page] = await world.enter('nobody')
    expect(page.status).toBe(403)
    expect(page.text).toContain('has no role')
    expect(page.text).not.toContain('alice')
    expect(events('operator.refused').at(-1)).toMatchObject({
      operator: 'sso:nobody',
      lacks: 'role',
    })
  })
  test('nobody is sent to the sign-in, and the stream answers 401', async () => {
    const answer = await fetch(`${world.url}/console/people`, { redirect: 'manual' })
    expect(answer.status).toBe(303)
    expect(answer.headers.get('location')).toContain(world.idp.issuer)
    expect((await fetch(`${world.url}/console/live`)).status).toBe(401)
  })
})

describe('a form', () => {
  test('without the token, with another session’s, or from elsewhere does nothing', async () => {
    const [browser] = await world.enter('ada')
    const [other] = await world.enter('ada')
    const fields = { act: 'person', ...alice, sure: 'yes' }
    const csrf = await csrfOf(browser)
    const foreign = await csrfOf(other)
    expect(foreign).not.toBe(csrf)
    expect((await post(browser, fields)).status).toBe(403)
    expect((await post(browser, { ...fields, csrf: foreign })).status).toBe(403)
    for (const headers of [
      { origin: 'https://evil.example' },
      { 'sec-fetch-site': 'cross-site' },
    ] as const)
      expect(
        (await post(browser, { ...fields, csrf }, headers as Record<string, string>)).status,
      ).toBe(403)
    expect((await post(browser, { csrf, act: 'constructor', sure: 'yes' })).status).toBe(404)
    expect((await post(browser, { csrf, act: 'connection', id: 'none', sure: 'yes' })).status).toBe(
      404,
    )
    expect(await world.call('south', 'alice')).toBe(200)
  })
})

describe('no byte of the pages', () => {
  test('holds a token, a secret or a cookie of anybody', async () => {
    const [browser] = await world.enter('ada')
    for (const path of [
      '',
      '/people',
      '/agents',
      '/agent?id=agent-1',
      '/runs',
      '/waiting',
      '/policy',
      '/health',
    ])
      expect([(await browser.open(`${world.url}/console${path}`)).status, path]).toEqual([
        200,
        path,
      ])
    const seen = browser.seen
      .map(({ text, headers }) => `${text} ${headers.get('location') ?? ''}`)
      .join('\n')
    for (const canary of [
      tokenOf('north', 'alice'),
      tokenOf('south', 'alice'),
      REFRESH,
      'client-secret-of-acme-0123456789',
      ...world.secrets(),
    ])
      for (const form of [
        canary,
        encodeURIComponent(canary),
        Buffer.from(canary).toString('base64'),
      ])
        expect(seen.includes(form), canary.slice(0, 12)).toBe(false)
  })
})

describe('acts', () => {
  test('an agent is switched off and on, by name', async () => {
    const [browser] = await world.enter('ada')
    const at = `${world.url}/console/agent?id=agent-1`
    const sure = await world.press(browser, await browser.open(at), 'agent-off')
    expect(await world.call('south', 'alice')).toBe(200)
    await world.press(browser, sure, 'name="sure"')
    expect(await world.call('south', 'alice')).toBe(403)
    expect(events('agent.disabled').at(-1)).toMatchObject({
      operator: 'sso:ada',
      agent: { id: 'agent-1' },
      tenant: null,
    })
    const on = await world.press(browser, await browser.open(at), 'agent-on')
    await world.press(browser, on, 'name="sure"')
    expect(await world.call('south', 'alice')).toBe(200)
    expect(events('agent.enabled')).toHaveLength(1)
  })
  test('everything of a person ends; a provider that does not confirm is told honestly', async () => {
    world.upstream.token = null
    const [browser] = await world.enter('ada')
    const page = await browser.open(
      `${world.url}/console/person?${new URLSearchParams(alice).toString()}`,
    )
    const sure = await world.press(browser, page, 'value="person"')
    expect(sure.text).toContain('Revoke everything of this person?')
    const done = await world.press(browser, sure, 'name="sure"')
    expect(done.text).toContain('What became of each connection')
    // The provider of this connection has no way to revoke.
    expect(done.text).toContain('the provider has no way to revoke it there')
    expect(done.text).toContain('Done here, but something is left')
    expect(events('connection.revoked').at(-1)).toMatchObject({
      operator: 'sso:ada',
      user: alice,
      result: 'not_supported',
    })
    expect(await world.call('south', 'alice')).toBe(403)
  })
})

describe('break-glass', () => {
  test('is offered with a word of what it is, and used only by the yes', async () => {
    const [browser] = await world.enter('gus')
    const used = () => events('operator.break_glass')
    const csrf = await csrfOf(browser)
    const asked = await post(browser, { csrf, act: 'agent-off', id: 'agent-9' })
    expect(asked.text).toContain('breaks the glass')
    expect([asked.status, used()]).toEqual([200, []])
    const done = await post(browser, { csrf, act: 'agent-off', id: 'agent-9', sure: 'yes' })
    expect(done.status).toBe(200)
    expect(used()).toMatchObject([{ operator: 'sso:gus', lacks: 'revoke', method: 'POST' }])
  })
})

test('signing out ends the session in every copy of its cookie, and its stream', async () => {
  const [browser] = await world.enter('ada')
  const page = await browser.open(`${world.url}/console`)
  const cookie = [...(browser.cookies.get(new URL(world.url).host) ?? [])]
    .map(([name, value]) => `${name}=${value}`)
    .join('; ')
  const stream = await fetch(`${world.url}/console/live?since=0`, { headers: { cookie } })
  expect(stream.headers.get('content-type')).toContain('text/event-stream')
  const reading = stream.text()
  await world.call('south', 'bob')
  const out = await world.press(browser, page, 'sign-out')
  expect(out.text).toContain('Signed out')
  // Also ends: nothing else would let this promise settle.
  expect(await reading).toContain('event: end')
  const again = await fetch(`${world.url}/console/people`, {
    headers: { cookie },
    redirect: 'manual',
  })
  expect(again.status).toBe(303)
})

test('the stream brings rows as the page has them, a call’s end in place of its beginning', async () => {
  const [browser] = await world.enter('ada')
  await browser.open(`${world.url}/console`)
  const cookie = [...(browser.cookies.get(new URL(world.url).host) ?? [])]
    .map(([name, value]) => `${name}=${value}`)
    .join('; ')
  const abort = new AbortController()
  const stream = await fetch(`${world.url}/console/live?effect=deny`, {
    headers: { cookie },
    signal: abort.signal,
  })
  await world.call('south', 'bob', '/api.acme.test/shown-in-the-stream')
  const text = await heardUntil(stream, 'shown-in-the-stream')
  expect(text).toMatch(/event: rows\ndata: <tr id="r\d+">.*Refused by policy/)
  expect(text).not.toContain('>Allowed<')
  abort.abort()
})

test('the health page says what the probe says', async () => {
  const [browser] = await world.enter('vera')
  const page = await browser.open(`${world.url}/console/health`)
  expect(page.text).toContain('All is well')
  for (const name of ['policy', 'audit', 'clock', 'vault']) expect(page.text).toContain(`>${name}<`)
})

test('every page names its policy: no script but ours, no frame, nothing kept', async () => {
  const [, page] = await world.enter('vera' satisfies Who)
  const policy = page.headers.get('content-security-policy') ?? ''
  expect(policy).toMatch(
    /^default-src 'none'; script-src 'self' 'sha256-[^']+'; connect-src 'self';/,
  )
  expect(policy).toContain("frame-ancestors 'none'")
  expect(policy).not.toContain('unsafe')
  expect(page.headers.get('cache-control')).toBe('no-store')
})

describe('elsewhere', () => {
  test('under hashed ids the records show pseudonyms; a reload and a drain end the streams', async () => {
    const other = await startConsoleWorld({
      config: { audit: { sink: ['file:audit.jsonl'], user_ids: 'hashed' } },
    })
    try {
      expect(await other.call('north', 'alice')).toBe(200)
      const [browser, page] = await other.enter('ada')
      expect(page.text).toMatch(/hmac2:[\w-]{20,}/)
      expect(page.text).not.toContain('alice')
      const cookie = [...(browser.cookies.get(new URL(other.url).host) ?? [])]
        .map(([name, value]) => `${name}=${value}`)
        .join('; ')
      const stream = () =>
        fetch(`${other.url}/console/live?since=0`, { headers: { cookie } }).then((one) =>
          one.text(),
        )
      const first = stream()
      const file = join(other.deputy.dir, 'deputy.yaml')
      const config = JSON.parse(readFileSync(file, 'utf8')) as object
      await expect
        .poll(() => other.deputy.evidence().filter(({ what }) => what === 'console/live').length)
        .toBe(1)
      writeFileSync(file, JSON.stringify({ ...config, limits: { calls: 9_999 } }))
      await other.deputy.reload()
      expect(await first).toContain('event: end')
      const second = stream()
      await expect
        .poll(() => other.deputy.evidence().filter(({ what }) => what === 'console/live').length)
        .toBe(2)
      await other.deputy.stop()
      expect(await second).toContain('event: end')
    } finally {
      await other.close()
    }
  })
  test('it can be turned off', async () => {
    const other = await startConsoleWorld({ console: false })
    try {
      expect((await fetch(`${other.url}/console`)).status).toBe(404)
    } finally {
      await other.close()
    }
  })
})
