// Identity providers tell what happened; it has its effect at once, on every replica, and nothing that is not theirs has any.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { newKeyRing } from '../../proxy/vault/seal.ts'
import { startChild, startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { startIssuer, type Issuer } from '../support/issuer.ts'
import { paced } from '../support/pace.ts'
import { postgres } from '../support/postgres.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-0123456789abcdef'
const BASE = 'https://schemas.openid.net/secevent/'
const REVOKED = `${BASE}caep/event-type/session-revoked`
const CLAIMS = `${BASE}caep/event-type/token-claims-change`
const LOGOUT = 'http://schemas.openid.net/event/backchannel-logout'

const server = await postgres()
const absent = 'absent' in server

let upstream: Upstream
let issuer: Issuer
let directory: Server
let deputy: Deputy
let settings: Fields
let groups: readonly string[] = ['staff']
/** What waits at the transmitter, and what was acknowledged or complained of. */
const waiting = new Map<string, string>()
const acked: string[] = []
const complaints: Fields[] = []
let pollAnswers: 'well' | 'html' | 'never' = 'well'
let jti = 0

const onPoll = (body: Fields): Fields => {
  for (const id of body['ack'] as readonly string[]) {
    acked.push(id)
    waiting.delete(id)
  }
  for (const [id, fault] of Object.entries(body['setErrs'] as Fields)) {
    complaints.push({ id, ...(fault as Fields) })
    waiting.delete(id)
  }
  return { sets: Object.fromEntries(waiting) }
}
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  issuer = await startIssuer()
  directory = createServer((req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => void chunks.push(chunk))
    req.on('end', () => {
      if (req.url !== '/poll') {
        const id = (req.url ?? '').slice(1)
        return res
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ id, active: true, groups }))
      }
      if (pollAnswers === 'never') return res
      if (pollAnswers === 'html') return res.writeHead(200).end('<html>sign in</html>')
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Fields
      return res
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify(onPoll(body)))
    })
  })
  await new Promise<void>((resolve) => directory.listen(0, '127.0.0.1', resolve))
  const at = `http://127.0.0.1:${(directory.address() as AddressInfo).port}`
  settings = {
    entitlements: {
      source: 'http',
      http: {
        preset: 'none',
        url: `${at}/{id}`,
        id: '/id',
        active: '/active',
        groups: '/groups',
        timeout: '3s',
      },
      max_age: { read: '30s' },
    },
    connect: { sign_in: { issuer: issuer.url, client_id: 'deputy-pages', realm: 'local' } },
    signals: [{ issuer: issuer.url, audience: 'deputy', push: true }],
  }
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: [{ person: 'alice', token: TOKEN }],
    config: {
      ...settings,
      signals: [{ issuer: issuer.url, audience: 'deputy', push: true, poll: `${at}/poll` }],
    },
  })
})
afterAll(async () => {
  await deputy?.close()
  directory?.closeAllConnections()
  directory?.close()
  issuer?.close()
  await upstream?.close()
})
beforeEach(() => {
  groups = ['staff']
  pollAnswers = 'well'
})

const now = (): number => Math.floor(Date.now() / 1_000)
const claims = (type: string, more: Fields = {}, about: Fields = {}): Fields => ({
  iss: issuer.url,
  aud: 'deputy',
  jti: `event-${++jti}`,
  iat: now(),
  sub_id: { format: 'iss_sub', iss: issuer.url, sub: 'alice' },
  events: { [type]: about },
  ...more,
})
const signed = (said: Fields, header: Fields = {}): Promise<string> =>
  issuer.signText(
    JSON.stringify(said),
    JSON.stringify({ alg: 'RS256', kid: 'k1', typ: 'secevent+jwt', ...header }),
  )
const push = async (
  token: string,
  type = 'application/secevent+jwt',
  at: Pick<Deputy, 'connect'> = deputy,
): Promise<readonly [number, unknown]> => {
  const answer = await fetch(`${at.connect}/signals`, {
    method: 'POST',
    headers: { 'content-type': type },
    body: token,
  })
  const text = await answer.text()
  return [answer.status, text === '' ? null : (JSON.parse(text) as Fields)['err']]
}
const logout = async (token: string): Promise<number> => {
  const answer = await fetch(`${deputy.connect}/logout/backchannel`, {
    method: 'POST',
    body: new URLSearchParams({ logout_token: token }),
  })
  await answer.text()
  return answer.status
}
const logoutClaims = (more: Fields = {}): Fields => ({
  iss: issuer.url,
  aud: 'deputy-pages',
  sub: 'alice',
  jti: `logout-${++jti}`,
  iat: now(),
  exp: now() + 120,
  events: { [LOGOUT]: {} },
  ...more,
})
const call = async (): Promise<number> => {
  const answer = await fetch(`${deputy.agent}/~alice/api.acme.test/a`)
  await answer.text()
  return answer.status
}
/** A call whose answer has begun and does not end. */
const stream = async (): Promise<Promise<'whole' | 'cut'>[]> => {
  upstream.handle = (_seen, res) => void res.writeHead(200).write('begun')
  const answer = await fetch(`${deputy.agent}/~alice/api.acme.test/a`)
  upstream.handle = null
  return [
    answer.text().then(
      () => 'whole',
      () => 'cut',
    ),
  ]
}
const since = (before: number, event: string): readonly Fields[] =>
  deputy
    .evidence()
    .slice(before)
    .filter((line) => line.event === event)

describe('an event', () => {
  test('makes the next read ask anew, though reads may use facts of 30 s', async () => {
    expect(await call()).toBe(200)
    groups = []
    expect(await call()).toBe(200)
    const before = deputy.evidence().length
    expect(await push(await signed(claims(CLAIMS, {}, { claims: { groups: [] } })))).toEqual([
      202,
      null,
    ])
    expect(await call()).toBe(403)
    expect(since(before, 'signal.received')).toMatchObject([
      { cause: 'token_claims_change', via: 'push', user: { id: 'alice', realm: 'local' } },
    ])
    expect(since(before, 'entitlement.invalidated')).toMatchObject([
      { source: 'signals', cause: 'token_claims_change' },
    ])
    groups = ['staff']
    await push(await signed(claims(CLAIMS)))
    expect(await call()).toBe(200)
  })
  test.each([
    ['caep/event-type/session-revoked', 'cut'],
    ['risc/event-type/account-disabled', 'cut'],
    ['risc/event-type/account-purged', 'cut'],
    ['risc/event-type/credential-compromise', 'cut'],
    ['risc/event-type/sessions-revoked', 'cut'],
  ])('%s: a stream is cut', async (type, how) => {
    const [ended] = await stream()
    expect((await push(await signed(claims(`${BASE}${type}`))))[0]).toBe(202)
    expect(await ended).toBe(how)
  })
  test('of another person, or that only asks anew, cuts nothing', async () => {
    const [ended] = await stream()
    const sub = { format: 'iss_sub', iss: issuer.url, sub: 'bob' }
    await push(await signed(claims(REVOKED, { sub_id: sub })))
    for (const kind of ['credential-change', 'assurance-level-change', 'device-compliance-change'])
      expect((await push(await signed(claims(`${BASE}caep/event-type/${kind}`))))[0]).toBe(202)
    expect(await Promise.race([ended, Promise.resolve('goes on')])).toBe('goes on')
    await push(await signed(claims(REVOKED)))
    expect(await ended).toBe('cut')
  })
  test.each<[string, Fields]>([
    ['email', { format: 'email', email: 'alice' }],
    ['opaque', { format: 'opaque', id: 'alice' }],
    ['account', { format: 'account', uri: 'acct:alice' }],
    ['complex', { format: 'complex', user: { format: 'opaque', id: 'alice' } }],
  ])('names people as %s', async (_, subject) => {
    const [ended] = await stream()
    expect(await push(await signed(claims(REVOKED, { sub_id: subject })))).toEqual([202, null])
    expect(await ended).toBe('cut')
  })
  test('counts once: a second time it is taken and does nothing', async () => {
    const token = await signed(claims(REVOKED))
    expect(await push(token)).toEqual([202, null])
    const [ended] = await stream()
    const before = deputy.evidence().length
    for (let n = 0; n < 5; n += 1) expect(await push(token)).toEqual([202, null])
    expect(since(before, 'signal.received')).toEqual([])
    expect(await Promise.race([ended, Promise.resolve('goes on')])).toBe('goes on')
    await push(await signed(claims(REVOKED)))
    expect(await ended).toBe('cut')
  })
  test('that comes late cuts what was begun before it, and nothing that began later', async () => {
    const [ended] = await stream()
    const before = deputy.evidence().length
    const late = now() - 600
    expect((await push(await signed(claims(REVOKED, { iat: late }))))[0]).toBe(202)
    // The time that the event tells of counts, not the one at which it was told.
    const told = { event_timestamp: late }
    expect((await push(await signed(claims(REVOKED, {}, told))))[0]).toBe(202)
    expect(since(before, 'signal.received')).toHaveLength(2)
    expect(await call()).toBe(200)
    expect(await Promise.race([ended, Promise.resolve('goes on')])).toBe('goes on')
    await push(await signed(claims(REVOKED)))
    expect(await ended).toBe('cut')
  })
  test('of the stream itself is noted', async () => {
    const before = deputy.evidence().length
    const sub = { format: 'opaque', id: 'stream-1' }
    const type = `${BASE}ssf/event-type/verification`
    expect(await push(await signed(claims(type, { sub_id: sub }, { state: 'x' })))).toEqual([
      202,
      null,
    ])
    expect(since(before, 'signal.received')).toMatchObject([{ cause: 'verification' }])
  })
})

describe('what does not hold is refused and does nothing', () => {
  const other = { format: 'iss_sub', iss: 'https://elsewhere.test', sub: 'alice' }
  test.each<[string, () => Fields, Fields, string]>([
    ['issuer', () => ({ iss: 'https://elsewhere.test' }), {}, 'invalid_issuer'],
    ['audience', () => ({ aud: 'another' }), {}, 'invalid_audience'],
    ['type', () => ({}), { typ: 'JWT' }, 'invalid_request'],
    ['time to come', () => ({ iat: now() + 600 }), {}, 'invalid_request'],
    ['time long past', () => ({ iat: now() - 8 * 86_400 }), {}, 'invalid_request'],
    ['exp', () => ({ exp: now() + 60 }), {}, 'invalid_request'],
    ['sub', () => ({ sub: 'alice' }), {}, 'invalid_request'],
    ['no jti', () => ({ jti: undefined }), {}, 'invalid_request'],
    ['key', () => ({}), { kid: 'unknown' }, 'invalid_key'],
    ['alg', () => ({}), { alg: 'none' }, 'invalid_request'],
    ['symmetric alg', () => ({}), { alg: 'HS256' }, 'invalid_request'],
    ['format', () => ({ sub_id: { format: 'did', url: 'did:x' } }), {}, 'invalid_request'],
    ['no subject', () => ({ sub_id: undefined }), {}, 'invalid_request'],
    ['subject of another', () => ({ sub_id: other }), {}, 'invalid_request'],
    ['two events', () => ({ events: { [REVOKED]: {}, [CLAIMS]: {} } }), {}, 'invalid_request'],
  ])('wrong: %s', async (_, more, header, fault) => {
    const before = deputy.evidence().length
    expect(await push(await signed(claims(REVOKED, more()), header))).toEqual([400, fault])
    expect(since(before, 'signal.received')).toEqual([])
  })
  test('a signature by nobody, no token at all, a megabyte, another type of body', async () => {
    const token = await signed(claims(REVOKED))
    expect(await push(`${token.slice(0, -12)}AAAAAAAAAAAA`)).toEqual([400, 'invalid_key'])
    expect(await push('no token')).toEqual([400, 'invalid_request'])
    expect(await push('a.'.repeat(500_000))).toEqual([400, 'invalid_request'])
    expect(await push(token, 'application/json')).toEqual([400, 'invalid_request'])
    expect((await fetch(`${deputy.connect}/signals`)).status).toBe(405)
    expect(await call()).toBe(200)
  })
  test('of many at once each counts, and others are served', async () => {
    const before = deputy.evidence().length
    const sub = { format: 'opaque', id: 'crowd' }
    const tokens = await Promise.all(
      Array.from({ length: 500 }, () => signed(claims(CLAIMS, { sub_id: sub }))),
    )
    const all = Promise.all([...tokens, ...tokens].map((token) => push(token)))
    expect(await call()).toBe(200)
    expect(new Set((await all).map(([status]) => status))).toEqual(new Set([202]))
    expect(since(before, 'signal.received')).toHaveLength(500)
  }, 120_000)
})

describe('ten thousand events at once', () => {
  test('are all taken, in bounded memory, and others are served', async () => {
    const child = await startChild({
      upstream: upstream.origin,
      held: [{ person: 'alice', token: TOKEN }],
      config: settings,
    })
    try {
      const metric = async (name: string): Promise<number> => {
        const text = await (await fetch(`http://${child.admin}/metrics`)).text()
        return Number(new RegExp(`^${name}(?:{[^}]*})? (\\S+)$`, 'm').exec(text)?.[1])
      }
      const resident = () => metric('process_resident_memory_bytes')
      const served = async (): Promise<number> => {
        const began = performance.now()
        const answer = await fetch(`${child.agent}/~alice/api.acme.test/a`)
        await answer.text()
        expect(answer.status).toBe(200)
        return performance.now() - began
      }
      await served()
      const tokens: string[] = []
      for (let n = 0; n < 10_000; n += 1) {
        const sub_id = { format: 'opaque', id: `person-${n % 1_000}` }
        tokens.push(await signed(claims(n % 2 === 0 ? CLAIMS : REVOKED, { sub_id })))
      }
      const before = await resident()
      const began = performance.now()
      const statuses = new Map<number, number>()
      const pushing = Promise.all(
        Array.from({ length: 200 }, async () => {
          for (let token = tokens.pop(); token !== undefined; token = tokens.pop()) {
            const [status] = await push(token, undefined, child)
            statuses.set(status, (statuses.get(status) ?? 0) + 1)
          }
        }),
      )
      let [most, slowest, calls] = [before, 0, 0]
      while (tokens.length > 0) {
        slowest = Math.max(slowest, await served())
        calls += 1
        most = Math.max(most, await resident())
      }
      await pushing
      expect([...statuses]).toEqual([[202, 10_000]])
      process.stderr.write(
        `10,000 events in ${((performance.now() - began) / 1_000).toFixed(1)} s; ${calls} calls beside them, the slowest ${slowest.toFixed(0)} ms; ${((most - before) / 1e6).toFixed(0)} MB more\n`,
      )
      expect(most - before).toBeLessThan(250e6)
    } finally {
      await child.close()
    }
  }, 600_000)
})

describe('back-channel logout', () => {
  test('ends what the person has running, once', async () => {
    const [ended] = await stream()
    const before = deputy.evidence().length
    const token = await signed(logoutClaims(), { typ: 'logout+jwt' })
    expect([await logout(token), await logout(token)]).toEqual([200, 200])
    expect(await ended).toBe('cut')
    expect(since(before, 'signal.received')).toMatchObject([{ cause: 'logout', via: 'logout' }])
  })
  test.each<[string, Fields, Fields?]>([
    ['a nonce', { nonce: 'n' }],
    ['no exp', { exp: undefined }],
    ['long expired', { iat: 1_000, exp: 1_001 }],
    ['nobody named', { sub: undefined }],
    ['only a session of nobody', { sub: undefined, sid: 's' }],
    ['another audience', { aud: 'another' }],
    ['another issuer', { iss: 'https://elsewhere.test' }],
    ['no event', { events: {} }],
    ['a security event', {}, { typ: 'secevent+jwt' }],
  ])('with %s is refused', async (_, more, header = { typ: 'logout+jwt' }) => {
    expect(await logout(await signed(logoutClaims(more), header))).toBe(400)
  })
})

describe('a logout token that names only a session', () => {
  let asserted: Deputy
  beforeAll(async () => {
    asserted = await startDeputy({
      upstream: upstream.origin,
      people: [{ id: 'alice', realm: 'corp', tenant: 'default', groups: ['staff'] }],
      held: [
        {
          person: { tenant: 'default', realm: 'corp', id: 'alice' },
          agent: 'agent-1',
          token: TOKEN,
        },
      ],
      config: {
        identity: {
          trust: 'asserted',
          issuers: [{ issuer: issuer.url, realm: 'corp', audience: 'deputy' }],
        },
        connect: { sign_in: { issuer: issuer.url, client_id: 'deputy-pages', realm: 'corp' } },
      },
    })
  })
  afterAll(() => asserted?.close())
  const told = async (sid: string): Promise<readonly [number, string]> => {
    const token = await signed(logoutClaims({ sub: undefined, sid }), { typ: 'logout+jwt' })
    const answer = await fetch(`${asserted.connect}/logout/backchannel`, {
      method: 'POST',
      body: new URLSearchParams({ logout_token: token }),
    })
    return [answer.status, await answer.text()]
  }
  test('ends what that person runs who came here by it; any other session is refused', async () => {
    const deputyUser = await issuer.sign({ sub: 'alice', sid: 'session-1' })
    upstream.handle = (_seen, res) => void res.writeHead(200).write('begun')
    const answer = await fetch(`${asserted.agent}/api.acme.test/a`, {
      headers: { 'deputy-user': deputyUser },
    })
    upstream.handle = null
    expect(answer.status).toBe(200)
    const ended = answer.text().then(
      () => 'whole',
      () => 'cut',
    )
    expect(await told('session-2')).toEqual([
      400,
      expect.stringContaining('nobody came here by that session'),
    ])
    expect(await Promise.race([ended, Promise.resolve('goes on')])).toBe('goes on')
    expect((await told('session-1'))[0]).toBe(200)
    expect(await ended).toBe('cut')
    expect(asserted.evidence().filter(({ event }) => event === 'signal.received')).toMatchObject([
      { cause: 'logout', user: { id: 'alice', realm: 'corp' } },
    ])
  })
})

describe('events that wait at the transmitter', () => {
  const wait = async (said: Fields): Promise<string> => {
    const id = String(said['jti'])
    waiting.set(id, await signed(said))
    return id
  }
  test('are fetched, have their effect and are acknowledged; what does not hold is complained of', async () => {
    const [ended] = await stream()
    const bad = await wait(claims(REVOKED, { aud: 'another' }))
    const good = await wait(claims(REVOKED))
    expect(await ended).toBe('cut')
    await expect.poll(() => acked).toContain(good)
    await expect
      .poll(() => complaints)
      .toContainEqual(expect.objectContaining({ id: bad, err: 'invalid_audience' }))
  })
  test('are fetched again after an answer that is none', async () => {
    pollAnswers = 'html'
    await expect.poll(deputy.logged).toContain('events cannot be polled')
    pollAnswers = 'well'
    const id = await wait(claims(REVOKED))
    await expect.poll(() => acked, { timeout: 60_000 }).toContain(id)
  })
})

describe.skipIf(absent)(
  `two replicas${absent ? ` (SKIPPED: ${server.absent})` : ''}`,
  { timeout: 120_000 },
  () => {
    const TYPE = 'application/secevent+jwt'
    let fleet: Deputy[] = []
    beforeAll(async () => {
      if (absent) return
      const keys = join(mkdtempSync(join(tmpdir(), 'signals-')), 'keys.json')
      writeFileSync(keys, newKeyRing(Date.now(), randomBytes), { mode: 0o600 })
      const vault = { store: await server.fresh(), keys }
      const start = () => startDeputy({ upstream: upstream.origin, config: { ...settings, vault } })
      fleet = [await start(), await start()]
    })
    afterAll(async () => {
      for (const each of fleet) await each.close()
    })
    const denied = async (at: Deputy): Promise<boolean> => {
      const answer = await fetch(`${at.agent}/~alice/api.acme.test/a`)
      await answer.text()
      return answer.headers.get('deputy-answer') === 'policy_denied'
    }
    test('what one is told is in force at the other within a second, and counts once for both', async () => {
      const [one, other] = fleet
      if (one === undefined || other === undefined) throw new Error('there are two')
      const took: number[] = []
      for (let n = 0; n < 30; n += 1) {
        groups = ['staff']
        await push(await signed(claims(CLAIMS)), TYPE, one)
        await expect.poll(() => denied(other)).toBe(false)
        groups = []
        expect(await denied(other)).toBe(false)
        const token = await signed(claims(CLAIMS))
        const began = performance.now()
        expect(await push(token, TYPE, one)).toEqual([202, null])
        while (!(await denied(other)));
        const ms = performance.now() - began
        expect(ms).toBeLessThan(paced(5_000))
        took.push(ms)
        const before = other.evidence().length
        expect(await push(token, TYPE, other)).toEqual([202, null])
        expect(
          other
            .evidence()
            .slice(before)
            .filter(({ event }) => event === 'signal.received'),
        ).toEqual([])
      }
      took.sort((a, b) => a - b)
      const at = (share: number): string => (took[Math.floor(share * 30)] ?? 0).toFixed(0)
      process.stderr.write(
        `push to effect at the other replica: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms\n`,
      )
      expect(took[15]).toBeLessThan(paced(1_000))
    })
  },
)
