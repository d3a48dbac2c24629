// A fleet: several deputies on one PostgreSQL and one key ring.
import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { secret } from '../../proxy/secret.ts'
import { readRing } from '../../proxy/vault/ring_file.ts'
import { createSealer, newKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { AGENT, startDeputy } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { createBrowser } from '../support/browser.ts'
import { postgres } from '../support/postgres.ts'
import { lines, sendRaw } from '../support/raw.ts'
import type { RawAnswer } from '../support/raw.ts'
import { startRelay } from '../support/relay.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'
import { paced } from '../support/pace.ts'
import { QUIET } from '../support/log.ts'

const server = await postgres()
const absent = 'absent' in server
const TOKEN = 'at-alice-0123456789abcdef'
let upstream: Upstream
const open: (() => Promise<unknown>)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  upstream.handle = null
  for (const close of open.splice(0).toReversed()) await close()
})

const call = (
  deputy: Pick<Deputy, 'agent'>,
  user = 'alice',
  ...more: readonly string[]
): Promise<RawAnswer> =>
  sendRaw(
    deputy.agent,
    lines(
      'GET /api.acme.test/a HTTP/1.1',
      `Host: ${new URL(deputy.agent).host}`,
      `Deputy-User: ${user}`,
      ...more,
    ),
  )
const codeOf = (answer: RawAnswer): unknown => answer.headers.get('deputy-answer')?.[0] ?? null

/** Two deputies behind a wire that can be cut, and alice's credential. */
const fleet = async (more: Fields = {}) => {
  if (absent) throw new Error(server.absent)
  const direct = await server.fresh()
  const url = new URL(direct)
  const relay = await startRelay({ host: url.hostname, port: Number(url.port) })
  open.push(() => relay.close())
  url.port = String(relay.port)
  const keys = join(mkdtempSync(join(tmpdir(), 'fleet-')), 'keys.json')
  writeFileSync(keys, newKeyRing(Date.now(), randomBytes), { mode: 0o600 })
  const store = await openPostgres(direct, { log: QUIET })
  open.push(() => store.close())
  const vault = createVault({
    store,
    sealer: createSealer(await readRing(keys), () => readRing(keys)),
    clock: { now: () => Date.now(), mono: () => performance.now() },
    randomId: randomUUID,
  })
  const credential = await vault.connect({
    person: { tenant: 'default', realm: 'local', id: 'alice' },
    agent: AGENT,
    connection: 'acme',
    provider: 'acme',
    account: { id: 'alice', label: 'alice' },
    tokens: { access: secret(TOKEN), refresh: null, scopes: ['notes'], expiresIn: 3600 },
    scopes: ['notes'],
  })
  const config = { vault: { store: url.href, keys }, ...more }
  const start = async (): Promise<Deputy> => {
    const deputy = await startDeputy({
      upstream: upstream.origin,
      config,
      people: [{ id: 'alice', groups: ['staff'], roles: ['operator-run'] }],
    })
    open.push(() => deputy.close())
    return deputy
  }
  return { deputies: [await start(), await start()] as const, vault, credential, relay, keys }
}

describe.skipIf(absent)(
  `deputies on one PostgreSQL${absent ? ` (SKIPPED: ${server.absent})` : ''}`,
  { timeout: 120_000 },
  () => {
    test('share what a person connected, and a revocation stops calls of all of them within a second', async () => {
      const { deputies, vault, credential } = await fleet()
      for (const deputy of deputies) expect((await call(deputy)).json['login']).toBe('alice')
      const arrived = Promise.withResolvers<void>()
      upstream.handle = () => arrived.resolve() // and never answers
      const flying = call(deputies[1])
      await arrived.promise
      const began = performance.now()
      await vault.revoke(credential)
      expect(codeOf(await flying)).toBe('consent_required')
      expect(performance.now() - began).toBeLessThan(paced(1_000))
      for (const deputy of deputies) expect(codeOf(await call(deputy))).toBe('consent_required')
    })

    test('let a held call go on when its person says yes at another replica, and share one link', async () => {
      const { deputies } = await fleet({ identity: { trust: 'plain', agent: 'agent:second' } })
      const [here, there] = deputies
      const held = [1, 2].map(() => call(here, 'alice', 'Prefer: wait=20'))
      const { url } = (await call(there)).json as { url: string }
      await expect
        .poll(async () => (await fetch(`http://${here.admin}/metrics`)).text())
        .toMatch(/^deputy_held_calls 2$/m)
      // The page of the other replica; on a laptop its own terminal shows the code.
      const browser = createBrowser()
      const code = readFileSync(join(there.dir, '.deputy-code'), 'utf8').trim()
      const asked = await browser.open(there.connect + new URL(url).pathname)
      const page = await browser.submit(asked, { code })
      const began = performance.now()
      expect((await browser.submit(page, { answer: 'yes' })).text).toContain('is connected')
      for (const answer of await Promise.all(held)) expect(answer.json['login']).toBe('alice')
      expect(performance.now() - began).toBeLessThan(paced(2_000))
    })

    test('refuse a run that one of them revoked within a second, and cut what it has in flight there', async () => {
      const bearer = 'operator-bearer-000000000000000000000'
      const { deputies } = await fleet({ operators: [{ name: 'me', bearer, may: ['runs'] }] })
      const [here, there] = deputies
      const api = async (method: string, path: string, body?: object) => {
        const headers = { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' }
        const answer = await fetch(`${here.connect}/v1/admin/runs${path}`, {
          method,
          headers,
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        })
        const text = await answer.text()
        if (!answer.ok) throw new Error(text)
        return text
      }
      const run = JSON.parse(
        await api('POST', '', {
          user_id: 'alice',
          agent: AGENT,
          connections: ['acme'],
          expires_in: 60,
        }),
      ) as { readonly id: string; readonly token: string }
      for (const deputy of deputies)
        expect((await call(deputy, run.token)).json['login']).toBe('alice')
      const arrived = Promise.withResolvers<void>()
      upstream.handle = () => arrived.resolve() // and never answers
      const flying = call(there, run.token)
      await arrived.promise
      const began = performance.now()
      await api('DELETE', `/${run.id}`)
      expect(codeOf(await flying)).toBe('unauthenticated')
      expect(codeOf(await call(there, run.token))).toBe('unauthenticated')
      expect(performance.now() - began).toBeLessThan(paced(1_000))
    })

    test('let nothing of an agent through that was switched off at one of them, and cut what it has in flight at the others within a second', async () => {
      const bearer = 'operator-bearer-000000000000000000000'
      const { deputies, relay } = await fleet({
        operators: [{ name: 'me', bearer, may: ['revoke', 'runs'] }],
      })
      const [here, there] = deputies
      const api = async (method: string, path: string): Promise<unknown> => {
        const headers = { authorization: `Bearer ${bearer}` }
        const answer = await fetch(`${here.connect}/v1/admin/agents/${path}`, { method, headers })
        return answer.json()
      }
      for (const deputy of deputies) expect((await call(deputy)).json['login']).toBe('alice')
      const arrived = Promise.withResolvers<void>()
      upstream.handle = () => arrived.resolve() // and never answers
      const flying = call(there)
      await arrived.promise
      const began = performance.now()
      expect(await api('POST', `${AGENT}/disable`)).toMatchObject({
        disabled: [{ tenant: null, by: 'operator' }],
      })
      const cut = await flying
      expect([cut.status, codeOf(cut)]).toEqual([403, 'agent_disabled'])
      expect(performance.now() - began).toBeLessThan(paced(1_000))
      upstream.handle = null
      const left = upstream.seen.length
      for (const deputy of deputies) expect(codeOf(await call(deputy))).toBe('agent_disabled')
      expect(upstream.seen).toHaveLength(left)
      // Nobody knows any more which agents are off: nobody is let through.
      relay.set('cut')
      await expect.poll(async () => codeOf(await call(there))).toBe('vault_unavailable')
      relay.set('open')
      await expect.poll(async () => codeOf(await call(there))).toBe('agent_disabled')
      expect(await api('POST', `${AGENT}/enable`)).toMatchObject({ disabled: [] })
      await expect.poll(async () => (await call(there)).json['login']).toBe('alice')
    })

    test('refuse everything while the database is away, are not ready, and recover by themselves', async () => {
      const { deputies, relay } = await fleet()
      const [deputy] = deputies
      expect((await call(deputy)).status).toBe(200)
      const left = upstream.seen.length
      relay.set('cut')
      await expect.poll(async () => codeOf(await call(deputy))).toBe('vault_unavailable')
      const ready = await fetch(`http://${deputy.admin}/readyz`)
      expect(ready.status).toBe(503)
      const refused = upstream.seen.length
      expect(codeOf(await call(deputy))).toBe('vault_unavailable')
      expect(upstream.seen.length).toBe(refused)
      expect(refused).toBeGreaterThanOrEqual(left)
      relay.set('open')
      await expect.poll(async () => (await call(deputy)).status).toBe(200)
      expect((await fetch(`http://${deputy.admin}/readyz`)).status).toBe(200)
    })

    test('give a person one name in the evidence; erased at one, nobody is linked by either, and they come back as another', async () => {
      const { deputies, keys } = await fleet({
        audit: { sink: ['file:audit.jsonl'], user_ids: 'hashed' },
      })
      const [here, there] = deputies
      const name = (deputy: Deputy): unknown =>
        deputy.evidence().findLast(({ event }) => event === 'decision')?.['user']
      await Promise.all(deputies.map((deputy) => call(deputy)))
      const { id } = name(here) as { readonly id: string }
      expect(id).toMatch(/^hmac2:/)
      expect(name(there)).toMatchObject({ id })
      const run = async (dir: string, ...args: readonly string[]) => {
        const bin = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
        const config = args[1] === 'verify' ? [] : ['--config', join(dir, 'deputy.yaml')]
        const full = [bin, ...args, ...config]
        return promisify(execFile)(process.execPath, full, { cwd: dir }).then(
          ({ stdout, stderr }) => ({ code: 0, said: stdout + stderr }),
          (error: { code: number; stdout: string; stderr: string }) => ({
            code: error.code,
            said: error.stdout + error.stderr,
          }),
        )
      }
      expect(await run(there.dir, 'audit', 'whois', id)).toMatchObject({
        code: 0,
        said: `${id}\talice\tdefault\tlocal\n`,
      })
      // Its evidence is the replica's own: both are named, as whoever exports must.
      const evidence = deputies.flatMap(({ dir }) => ['--evidence', join(dir, 'audit.jsonl')])
      const { said } = await run(here.dir, 'people', 'export', 'alice', ...evidence)
      const doc = JSON.parse(said.slice(0, said.lastIndexOf('}') + 1)) as {
        readonly evidence: readonly { readonly file: string }[]
      }
      expect(new Set(doc.evidence.map(({ file }) => file)).size).toBe(2)
      expect((await run(here.dir, 'people', 'erase', 'alice')).said).toContain('no key is left')
      for (const { dir } of deputies)
        expect(await run(dir, 'audit', 'whois', id)).toMatchObject({
          code: 1,
          said: expect.stringContaining('was erased at') as string,
        })
      for (const deputy of deputies) {
        expect(codeOf(await call(deputy))).toBe('consent_required')
        expect(name(deputy)).not.toMatchObject({ id })
      }
      expect(name(here)).toEqual(name(there))
      for (const deputy of deputies) {
        await deputy.stop()
        const file = join(deputy.dir, 'audit.jsonl')
        expect(await run(deputy.dir, 'audit', 'verify', file, '--keys', keys)).toMatchObject({
          code: 0,
        })
        expect(readFileSync(file, 'utf8')).not.toContain('"alice"')
      }
    })

    test('keep serving while keys rotate beside them, and show the password of the database nowhere', async () => {
      const { deputies, keys, vault, credential } = await fleet()
      const [{ dir }] = deputies
      const before = (await readRing(keys)).current.kid
      const run = async (...args: readonly string[]): Promise<string> => {
        const { stdout, stderr } = await promisify(execFile)(
          process.execPath,
          [
            fileURLToPath(new URL('../../bin/deputy.js', import.meta.url)),
            ...args,
            '--config',
            join(dir, 'deputy.yaml'),
          ],
          { cwd: dir, env: { PATH: process.env['PATH'] ?? '' } },
        )
        return stdout + stderr
      }
      const shown = [await run('print-config'), await run('keys', 'rotate')]
      expect(shown[0]).toContain('postgres:hidden@')
      expect(shown[1]).toContain('sealed anew: 1, all in all')
      expect(shown[1]).toContain(`${before}: nothing is sealed under it`)
      for (const deputy of deputies) expect((await call(deputy)).json['login']).toBe('alice')
      expect((await vault.open(credential, { fresh: true }))?.access.reveal()).toBe(TOKEN)
      for (const text of [...shown, ...deputies.map((deputy) => deputy.logged())])
        for (const part of ['pass:word', 'pass%3Aword']) expect(text).not.toContain(part)
    })
  },
)
