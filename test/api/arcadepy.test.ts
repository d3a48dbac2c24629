// The authorization API with the unmodified Python client, a process of its own that tells all it hears.
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startWorld, type World } from '../sandbox/world.ts'
import { createBrowser } from '../support/browser.ts'
import { clickThrough } from '../support/click.ts'
import { BACKEND, startHouse, VERIFIER_KEY } from '../support/house.ts'
import type { House } from '../support/house.ts'

/** A Python that has the client; `.ci/run` makes this one. */
const PYTHON =
  process.env['DEPUTY_ARCADEPY'] ?? join(homedir(), '.cache/deputy-ci/arcadepy-1.10.0/bin/python')
const CLIENT = fileURLToPath(new URL('arcadepy_client.py', import.meta.url))
const missing = existsSync(PYTHON) ? null : `${PYTHON} is missing: .ci/run makes it`
if (missing !== null && process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
if (missing !== null) process.stderr.write(`SKIPPED: ${missing}\n`)

const running = new Set<ChildProcess>()
type Answer = { readonly [name: string]: unknown }
const python = (baseUrl: string, apiKey: string, ...args: readonly string[]) => {
  const child = spawn(PYTHON, [CLIENT, ...args], {
    env: { ARCADE_BASE_URL: baseUrl, ARCADE_API_KEY: apiKey, ARCADE_LOG: 'debug' },
  })
  running.add(child)
  child.once('close', () => running.delete(child))
  let [out, log] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => void (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => void (log += chunk.toString()))
  const ended = new Promise<number | null>((end, fail) =>
    child.once('error', fail).once('close', end),
  )
  return {
    said: () => `${out}${log}`,
    answers: () =>
      out
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Answer),
    /** Exit status. */
    ended,
    /** The first answer, once the client waits for what comes after it. */
    waiting: async (): Promise<Answer & { readonly url: string }> => {
      await expect.poll(() => log).toContain('Sending HTTP Request: GET')
      return JSON.parse(out) as Answer & { readonly url: string }
    },
  }
}

const needs = missing === null ? '' : ` (SKIPPED: ${missing})`
describe.skipIf(missing !== null)(`arcadepy${needs}`, () => {
  let folder = ''
  let world: World
  let house: House
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'deputy-arcadepy-'))
    world = await startWorld({ folder, fixedPorts: false })
    house = await startHouse()
  })
  // Nothing else ends a client that waits: it asks again without end.
  afterEach(() => running.forEach((child) => child.kill('SIGKILL')))
  afterAll(async () => {
    await world.close()
    await house.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test('the client starts an authorization and waits while the person consents, and then the agent may call', async () => {
    const tag = await world.idp.assertion('alice', 'py')
    const agent = python(world.agent, tag, 'agent', 'alice', 'github', 'repo')
    const started = await agent.waiting()
    expect(started).toMatchObject({
      id: expect.stringMatching(/^ac_/),
      status: 'pending',
      url: expect.stringContaining(`${world.connect}/connect/`),
      provider_id: 'github',
      user_id: 'alice',
      scopes: ['repo'],
      context: {},
    })
    await clickThrough(createBrowser(), started.url, { login: 'alice', account: 'alice-gh' })
    expect(await agent.ended, agent.said()).toBe(0)
    const completed = { id: started['id'], status: 'completed', context: {} }
    expect(agent.answers().slice(1)).toMatchObject([completed, completed])
    // One question held open until the answer, and `status`: the client heard of it, it did not ask around.
    expect(agent.said().match(/HTTP Response: GET/g)).toHaveLength(2)
    const headers = { 'deputy-user': tag }
    const called = await fetch(`${world.agent}/api.github.com/user`, { headers })
    expect(await called.json()).toMatchObject({ login: 'alice-gh' })
    const tokens = new Set(
      world.provider.seen.map((call) => call.authorization?.split(' ')[1] ?? ''),
    )
    expect(tokens.size).toBeGreaterThan(0)
    for (const token of tokens) expect(agent.said()).not.toContain(token)
  })

  test('a person who says no ends the client’s wait, in a sentence and without a link', async () => {
    const tag = await house.tag('carol')
    const agent = python(house.deputy.agent, tag, 'agent', 'carol', 'acme', 'openid')
    const { url } = await agent.waiting()
    const browser = createBrowser()
    const page = await browser.submit(await browser.open(url), { answer: 'no' })
    expect(page.text).toContain('Nothing was connected')
    expect(await agent.ended).toBe(1)
    expect(agent.said()).toMatch(
      /arcadepy\.APIStatusError: Error code: 410 .*Nothing was connected: the request was declined/,
    )
  })

  test('what policy refuses is the client’s PermissionDeniedError with the reason, and no link', async () => {
    const tag = await world.idp.assertion('bob', 'py')
    const agent = python(world.agent, tag, 'agent', 'bob', 'github', 'repo')
    expect(await agent.ended).toBe(1)
    expect(agent.said()).toMatch(/arcadepy\.PermissionDeniedError: Error code: 403 .*policy_denied/)
    expect(agent.said()).not.toContain('/connect/')
  })

  test('the application confirms who was there, and an operator lists page by page and deletes', async () => {
    const agent = python(
      house.deputy.agent,
      await house.tag('alice'),
      'agent',
      'alice',
      'acme',
      'openid',
    )
    const started = await agent.waiting()
    const at = await house.walk(createBrowser(), started.url, 'alice-acme')
    expect(agent.answers()).toHaveLength(1)
    const flow = at.searchParams.get('flow_id') ?? ''
    const application = python(house.deputy.connect, VERIFIER_KEY, 'application', flow, 'alice')
    expect(await application.ended, application.said()).toBe(0)
    expect(application.answers()).toEqual([{ auth_id: started['id'] }])
    expect(await agent.ended, agent.said()).toBe(0)
    expect(agent.answers().map(({ status }) => status)).toEqual([
      'pending',
      'completed',
      'completed',
    ])
    expect((await house.call(await house.tag('alice'))).status).toBe(200)

    await house.connect('bob', 'bob-acme')
    const operator = python(house.deputy.connect, BACKEND, 'operator')
    expect(await operator.ended, operator.said()).toBe(0)
    const [one, other, left] = operator.answers()
    expect(new Set([one?.['user_id'], other?.['user_id']])).toEqual(new Set(['alice', 'bob']))
    expect(left).toMatchObject({ items: [], total_count: 0 })
    const after = await house.call(await house.tag('alice'))
    expect(after.headers.get('deputy-answer')).toBe('consent_required')
    const tokens = house.provider.requests
      .filter(({ path }) => path === '/token/revocation')
      .map(({ form }) => form['token'] ?? '')
    expect(tokens).toHaveLength(4)
    for (const { said } of [agent, application, operator])
      for (const token of tokens) expect(said()).not.toContain(token)
  })
})
