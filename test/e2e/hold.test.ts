// Calls that wait for their person: `Prefer: wait=` (RFC 7240), against the whole sandbox.
import { mkdtempSync, rmSync } from 'node:fs'
import { request, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startWorld, type World } from '../sandbox/world.ts'
import { createBrowser } from '../support/browser.ts'
import { clickThrough } from '../support/click.ts'
import { startDeputy, type Deputy } from '../support/deputy.ts'

const dir = mkdtempSync(join(tmpdir(), 'deputy-hold-'))
let world: World
beforeAll(async () => {
  world = await startWorld({ folder: dir, fixedPorts: false })
})
afterAll(async () => {
  await world.close()
  rmSync(dir, { recursive: true, force: true })
})

const call = async (agent: string, headers: Record<string, string>, signal?: AbortSignal) =>
  fetch(`${world.agent}/api.github.com/user`, {
    headers: { 'deputy-user': await world.idp.assertion('alice', agent), ...headers },
    ...(signal === undefined ? {} : { signal }),
  })
const held = async (): Promise<number> => {
  const metrics = await (await fetch(`${world.admin}/metrics`)).text()
  return Number(/^deputy_held_calls (\d+)$/m.exec(metrics)?.[1])
}
/** The link of the flow that a held call waits for: the same person, agent and scopes share it. */
const linkFor = async (agent: string): Promise<string> => {
  const answer = await call(agent, {})
  const { url } = (await answer.json()) as { url: string }
  return url
}

test('a call with Prefer: wait goes on as the person once they have consented, and policy decides anew', async () => {
  const waiting = call('patient', { prefer: 'respond-async, wait=30' })
  await expect.poll(held).toBe(1)
  await clickThrough(createBrowser(), await linkFor('patient'), {
    login: 'alice',
    account: 'alice-gh',
  })
  const answer = await waiting
  expect(answer.status).toBe(200)
  expect(await answer.json()).toMatchObject({ login: 'alice-gh' })
  expect(await held()).toBe(0)
  const decisions = world
    .evidence()
    .filter(
      ({ event, agent }) => event === 'decision' && (agent as { id: string }).id === 'patient',
    )
    .map(({ n, decision }) => [n, (decision as { effect: string }).effect])
  expect(decisions).toContainEqual([1, 'consent_required'])
  expect(decisions).toContainEqual([2, 'allow'])
})

test('the deadline answers with the link', async () => {
  const began = performance.now()
  const answer = await call('hasty', { prefer: 'wait=1' })
  expect(performance.now() - began).toBeGreaterThan(900)
  expect(answer.headers.get('deputy-answer')).toBe('consent_required')
  expect(await answer.json()).toMatchObject({ url: expect.stringContaining('/connect/') as string })
})

test('a caller that leaves is forgotten', async () => {
  const controller = new AbortController()
  const gone = call('leaver', { prefer: 'wait=30' }, controller.signal)
  await expect.poll(held).toBe(1)
  controller.abort()
  await expect(gone).rejects.toThrow()
  await expect.poll(held).toBe(0)
})

test('a person who says no ends the wait at once, with a fresh link', async () => {
  const waiting = call('refused', { prefer: 'wait=30' })
  await expect.poll(held).toBe(1)
  const link = await linkFor('refused')
  const browser = createBrowser()
  await clickThrough(browser, link, { login: 'alice', account: 'alice-gh', answer: 'no' })
  const answer = await waiting
  expect(answer.headers.get('deputy-answer')).toBe('consent_required')
  expect(((await answer.json()) as { url: string }).url).not.toBe(link)
})

describe('room', () => {
  const HOLD_MS = 60_000
  let deputy: Deputy
  const start = async (limits: object = {}): Promise<void> => {
    deputy = await startDeputy({
      upstream: 'http://127.0.0.1:9',
      config: { connect: { sign_in: 'local', hold: `${HOLD_MS}ms` }, limits },
    })
  }
  const ask = (
    user: string,
    init: Omit<RequestInit, 'headers'> & { readonly headers?: Record<string, string> } = {},
  ) =>
    fetch(`${deputy.agent}/api.acme.test/notes`, {
      ...init,
      headers: { 'deputy-user': user, ...init.headers },
    })
  const waiting = async (): Promise<number> => {
    const metrics = await (await fetch(`http://${deputy.admin}/metrics`)).text()
    return Number(/^deputy_held_calls (\d+)$/m.exec(metrics)?.[1])
  }
  const code = (answer: Response): string | null => answer.headers.get('deputy-answer')

  test('connect.hold parks callers that say nothing, Prefer: wait=0 does not; past limits.held_calls the link comes at once', async () => {
    await start({ held_calls: 2 })
    const controller = new AbortController()
    const parked = ['alice', 'bob'].map((user) => ask(user, { signal: controller.signal }))
    await expect.poll(waiting).toBe(2)
    const began = performance.now()
    const answer = await ask('alice')
    // Clients of GitHub obey a Retry-After at a 403 and never show the link: who did not ask to wait gets none.
    expect([code(answer), answer.headers.get('retry-after')]).toEqual(['consent_required', null])
    const asked = await ask('alice', { headers: { prefer: 'wait=1' } })
    expect([code(asked), asked.headers.get('retry-after')]).toEqual(['consent_required', '15'])
    controller.abort()
    await Promise.allSettled(parked)
    await expect.poll(waiting).toBe(0)
    expect(code(await ask('alice', { headers: { prefer: 'wait=0' } }))).toBe('consent_required')
    expect(performance.now() - began).toBeLessThan(HOLD_MS)
    await deputy.close()
  })

  test('bodies that do not fit limits.held_bytes are not held', async () => {
    await start({ held_bytes: '1KiB' })
    const send = (size: number, signal?: AbortSignal) =>
      ask('alice', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ title: 'x'.repeat(size) }),
        ...(signal === undefined ? {} : { signal }),
      })
    const controller = new AbortController()
    const parked = send(600, controller.signal)
    await expect.poll(waiting).toBe(1)
    expect(code(await send(600))).toBe('consent_required')
    expect(await waiting()).toBe(1)
    controller.abort()
    await Promise.allSettled([parked])
    await deputy.close()
  })

  test('a call whose body nobody has read is not held: its caller could leave unseen', async () => {
    await start()
    const began = performance.now()
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const upload = request(
        `${deputy.agent}/api.acme.test/upload/big.bin`,
        { method: 'POST', headers: { 'deputy-user': 'alice', 'content-length': 5_000_000 } },
        resolve,
      )
      upload.on('error', reject)
      upload.write(Buffer.alloc(1_000))
    })
    expect([answer.statusCode, answer.headers['deputy-answer']]).toEqual([403, 'consent_required'])
    expect(performance.now() - began).toBeLessThan(HOLD_MS)
    answer.destroy()
    await deputy.close()
  })

  test('at shutdown every held call is answered with its link', async () => {
    await start()
    const parked = ['alice', 'bob'].map((user) => ask(user))
    await expect.poll(waiting).toBe(2)
    const closing = deputy.close()
    for (const answer of await Promise.all(parked)) {
      expect(code(answer)).toBe('consent_required')
      expect(await answer.json()).toMatchObject({
        url: expect.stringContaining('/connect/') as string,
      })
    }
    await closing
  })
})

test('a hold ends with the tag that it was asked with', async () => {
  const began = performance.now()
  const tag = await world.idp.assertion('alice', 'short-lived', 4)
  const answer = await fetch(`${world.agent}/api.github.com/user`, {
    headers: { 'deputy-user': tag, prefer: 'wait=60' },
  })
  expect(answer.headers.get('deputy-answer')).toBe('consent_required')
  // Long before the minute is over.
  expect(performance.now() - began).toBeLessThan(30_000)
})
