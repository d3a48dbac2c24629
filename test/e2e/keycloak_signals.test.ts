// A real Keycloak tells by itself what happened: security events by streams that deputy keeps there, polled and pushed,
// logout tokens, and its feed of what administrators change.
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { missingKeycloak, startKeycloak } from '../support/servers/keycloak.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const SECRET = 'canary-client-secret-0000000000000000'
const PEOPLE = ['alice', 'bob', 'carol']
const skipped = missingKeycloak === null ? '' : ` (SKIPPED: ${missingKeycloak})`
/** What the client that deputy asks as may do, and no more. */
const READER = ['view-users', 'query-users', 'query-groups', 'view-realm', 'view-events']
const SLOW = { timeout: 120_000, interval: 250 }

describe.skipIf(missingKeycloak !== null)(`Keycloak${skipped}`, { timeout: 240_000 }, () => {
  let keycloak: Awaited<ReturnType<typeof startKeycloak>>
  let upstream: Upstream
  /** Polls its events and follows the feed; reads may be 30 s old at both. */
  let polls: Deputy
  let pushed: Deputy
  const ids = new Map<string, string>()
  const admin = (method: string, path: string, body?: object): Promise<unknown> =>
    keycloak.admin(method, `/corp${path}`, body)
  const listed = async (path: string): Promise<readonly Record<string, string>[]> =>
    (await admin('GET', path)) as readonly Record<string, string>[]
  const clientOf = async (name: string): Promise<Fields> =>
    (await listed(`/clients?clientId=${name}`))[0] ?? {}
  const issuer = (): string => `${keycloak.origin}/realms/corp`
  const tokenAt = (): string => `${issuer()}/protocol/openid-connect/token`
  const id = (person: string): string => ids.get(person) ?? ''

  const settings = (client: string, push: boolean, follow: Fields): Fields => ({
    entitlements: {
      source: 'http',
      max_age: { read: '30s' },
      http: {
        preset: 'keycloak',
        url: keycloak.origin,
        realm: 'corp',
        client_id: 'deputy-reader',
        client_secret: SECRET,
        ...follow,
      },
    },
    connect: {
      sign_in: { issuer: issuer(), client_id: 'pages', client_secret: SECRET, realm: 'local' },
    },
    signals: [
      {
        issuer: issuer(),
        manage: true,
        push,
        client_id: client,
        client_secret: SECRET,
        token: tokenAt(),
      },
    ],
  })
  const start = (config: Fields): Promise<Deputy> =>
    startDeputy({
      upstream: upstream.origin,
      held: PEOPLE.map((person) => ({
        person: id(person),
        token: `at-${person}-0123456789abcdef`,
      })),
      config,
    })
  const transmitting = async (name: string, push: string): Promise<void> => {
    const client = await clientOf(name)
    await admin('PUT', `/clients/${String(client['id'])}`, {
      ...client,
      attributes: {
        ...(client['attributes'] as Fields),
        'ssf.enabled': 'true',
        'ssf.defaultSubjects': 'ALL',
        'ssf.profile': 'SSF_1_0',
        ...(push === '' ? {} : { 'ssf.validPushUrls': push }),
      },
    })
    for (const scope of await listed('/client-scopes'))
      if (scope['name']?.startsWith('ssf.') === true)
        await admin('PUT', `/clients/${String(client['id'])}/optional-client-scopes/${scope['id']}`)
  }

  beforeAll(async () => {
    keycloak = await startKeycloak()
    upstream = await startUpstream()
    for (const person of PEOPLE) upstream.people.set(`at-${person}-0123456789abcdef`, person)
    await keycloak.admin('POST', '', {
      realm: 'corp',
      enabled: true,
      sslRequired: 'none',
      adminEventsEnabled: true,
      attributes: { 'ssf.transmitterEnabled': 'true' },
      groups: [{ name: 'staff' }],
      users: [
        ...PEOPLE.map((username) => ({
          username,
          enabled: true,
          email: `${username}@corp.test`,
          emailVerified: true,
          firstName: username,
          lastName: username,
          groups: ['/staff'],
          credentials: [{ type: 'password', value: `pw-${username}` }],
        })),
        {
          username: 'service-account-deputy-reader',
          enabled: true,
          serviceAccountClientId: 'deputy-reader',
          clientRoles: { 'realm-management': READER },
        },
      ],
      clients: [
        ...['deputy-reader', 'ssf-poll', 'ssf-push'].map((clientId) => ({
          clientId,
          secret: SECRET,
          serviceAccountsEnabled: true,
          standardFlowEnabled: false,
        })),
        {
          clientId: 'pages',
          secret: SECRET,
          directAccessGrantsEnabled: true,
          redirectUris: ['http://127.0.0.1/*'],
        },
      ],
    })
    for (const row of await listed('/users?max=50')) ids.set(row['username'] ?? '', row['id'] ?? '')
    const staff = (await listed('/groups')).find(({ path }) => path === '/staff')
    ids.set('group staff', staff?.['id'] ?? '')
    await transmitting('ssf-poll', '')
    polls = await start(settings('ssf-poll', false, { follow: 'admin_events' }))
    pushed = await start(settings('ssf-push', true, {}))
    // Its first tries are refused: where it may be pushed to is known from now on.
    await transmitting('ssf-push', `${pushed.connect}/*`)
    const pages = await clientOf('pages')
    await admin('PUT', `/clients/${String(pages['id'])}`, {
      ...pages,
      attributes: {
        ...(pages['attributes'] as Fields),
        'backchannel.logout.url': `${polls.connect}/logout/backchannel`,
        'backchannel.logout.session.required': 'true',
      },
    })
    for (const each of [polls, pushed])
      await vi.waitFor(async () => expect(await call('alice', each)).toBe(200), SLOW)
    await vi.waitFor(() => expect(streams(polls)).toEqual(['made', 'verified']), SLOW)
    await vi.waitFor(() => expect(streams(pushed)).toEqual(['made', 'verified']), SLOW)
  }, 900_000)
  afterAll(async () => {
    await polls?.close()
    await pushed?.close()
    await upstream?.close()
    await keycloak?.close()
  })

  const of = (at: Deputy, event: string): readonly Fields[] =>
    at.evidence().filter((line) => line.event === event)
  const streams = (at: Deputy): readonly unknown[] =>
    of(at, 'signal.stream').map(({ status }) => status)
  const call = async (person: string, at: Deputy): Promise<number> => {
    const answer = await fetch(`${at.agent}/~${id(person)}/api.acme.test/a`)
    await answer.text()
    return answer.status
  }
  /** A call whose answer has begun and does not end. */
  const stream = async (person: string, at: Deputy): Promise<{ ended: Promise<string> }> => {
    upstream.handle = (_seen, res) => void res.writeHead(200).write('begun')
    const answer = await fetch(`${at.agent}/~${id(person)}/api.acme.test/a`)
    upstream.handle = null
    return {
      ended: answer.text().then(
        () => 'whole',
        () => 'cut',
      ),
    }
  }
  const signIn = async (person: string): Promise<void> => {
    const answer = await fetch(tokenAt(), {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'password',
        client_id: 'pages',
        client_secret: SECRET,
        username: person,
        password: `pw-${person}`,
        scope: 'openid',
      }),
    })
    expect(answer.status, await answer.text()).toBe(200)
  }
  const took = async (what: string, work: Promise<unknown>): Promise<void> => {
    const began = performance.now()
    await work
    process.stderr.write(`${what}: ${(performance.now() - began).toFixed(0)} ms\n`)
  }

  test('its streams are made, verified and shown', async () => {
    for (const at of [polls, pushed]) {
      expect(of(at, 'signal.received')).toContainEqual(
        expect.objectContaining({ cause: 'verification', via: at === polls ? 'poll' : 'push' }),
      )
      const shown = await (await fetch(`http://${at.admin}/readyz?verbose`)).text()
      expect(shown).toMatch(/stream of http\S+ worked \d+ s ago/)
    }
    expect(await (await fetch(`http://${polls.admin}/metrics`)).text()).toContain(
      'deputy_feeds_failing{feed="stream"} 0',
    )
    expect(pushed.logged()).toContain('a feed fails')
  })
  test('a logout cuts what the person has running: by a poll, by a push', async () => {
    for (const at of [polls, pushed]) {
      const { ended } = await stream('alice', at)
      const other = await stream('bob', at)
      await signIn('alice')
      const via = at === polls ? 'poll' : 'push'
      await took(
        `${via}: from a logout to its event`,
        Promise.all([
          admin('POST', `/users/${id('alice')}/logout`),
          vi.waitFor(
            () =>
              expect(of(at, 'signal.received')).toContainEqual(
                expect.objectContaining({ cause: 'session_revoked', via }),
              ),
            { ...SLOW, interval: 20 },
          ),
        ]),
      )
      expect(await ended).toBe('cut')
      expect(await Promise.race([other.ended, Promise.resolve('goes on')])).toBe('goes on')
    }
  })
  test('its logout token, which names the person and the session, counts as well', async () => {
    await vi.waitFor(async () => {
      await signIn('bob')
      await admin('POST', `/users/${id('bob')}/logout`)
      expect(of(polls, 'signal.received')).toContainEqual(
        expect.objectContaining({
          cause: 'logout',
          via: 'logout',
          user: expect.objectContaining({ realm: 'local' }) as unknown,
        }),
      )
    }, SLOW)
  })
  test('a changed password makes what was known count no more', async () => {
    const new_ = { type: 'password', value: 'pw-carol-2', temporary: false }
    await admin('PUT', `/users/${id('carol')}/reset-password`, new_)
    for (const at of [polls, pushed])
      await vi.waitFor(
        () =>
          expect(of(at, 'entitlement.invalidated')).toContainEqual(
            expect.objectContaining({ source: 'signals', cause: 'credential_change' }),
          ),
        SLOW,
      )
  })
  test('a stream that was paused is told and enabled again', async () => {
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: 'ssf-poll',
      client_secret: SECRET,
      scope: 'ssf.manage ssf.read',
    })
    const { access_token: token } = (await (
      await fetch(tokenAt(), { method: 'POST', body: form })
    ).json()) as { access_token: string }
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const at = `${issuer()}/ssf/transmitter/streams`
    const rows = (await (await fetch(at, { headers })).json()) as readonly Fields[]
    const stream_id = String(rows[0]?.['stream_id'])
    const body = JSON.stringify({ stream_id, status: 'paused', reason: 'maintenance' })
    expect((await fetch(`${at}/status`, { method: 'POST', headers, body })).status).toBe(200)
    await vi.waitFor(() => expect(streams(polls)).toContain('paused'), SLOW)
    await vi.waitFor(async () => {
      const status = await fetch(`${at}/status?stream_id=${stream_id}`, { headers })
      expect(await status.json()).toMatchObject({ status: 'enabled' })
    }, SLOW)
    expect(polls.logged()).toContain('a stream sends no events')
  })
  test('whoever leaves a group, though reads may be 30 s old, is refused within moments, and cut', async () => {
    expect(await call('carol', polls)).toBe(200)
    const { ended } = await stream('carol', polls)
    await admin('DELETE', `/users/${id('carol')}/groups/${id('group staff')}`)
    await took(
      'a group that was left to a refused read',
      vi.waitFor(async () => expect(await call('carol', polls)).toBe(403), {
        ...SLOW,
        interval: 20,
      }),
    )
    // The other does not follow.
    expect(of(pushed, 'entitlement.invalidated')).not.toContainEqual(
      expect.objectContaining({ cause: 'admin_event' }),
    )
    const user = (await admin('GET', `/users/${id('carol')}`)) as object
    await admin('PUT', `/users/${id('carol')}`, { ...user, enabled: false })
    await took('a disabled user to a cut stream', ended)
    expect(await ended).toBe('cut')
  })
  test('a feed that records nothing says so, and calls go on', async () => {
    await admin('PUT', '', { realm: 'corp', adminEventsEnabled: false })
    const metrics = async () => (await fetch(`http://${polls.admin}/metrics`)).text()
    await vi.waitFor(
      async () => expect(await metrics()).toContain('deputy_feeds_failing{feed="admin_events"} 1'),
      SLOW,
    )
    const ready = await fetch(`http://${polls.admin}/readyz?verbose`)
    expect([ready.status, await ready.text()]).toEqual([
      200,
      expect.stringContaining('records no events of administrators'),
    ])
    expect(await call('bob', polls)).toBe(200)
  })
})
