// A real Keycloak is asked while the call waits: what it says at this moment decides, and nothing does when it cannot say.
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { startRelay, type Relay } from '../support/relay.ts'
import { missingKeycloak, startKeycloak } from '../support/servers/keycloak.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const SECRET = 'canary-reader-secret-0000000000000000'
const PEOPLE = ['alice', 'bob', 'carol', 'dave', 'erin']
const tokenOf = (person: string): string => `at-${person}-0123456789abcdef`
const skipped = missingKeycloak === null ? '' : ` (SKIPPED: ${missingKeycloak})`

/** What the client that deputy asks as may do, and no more. */
const READER = ['view-users', 'query-users', 'query-groups', 'view-realm']

describe.skipIf(missingKeycloak !== null)(`Keycloak${skipped}`, () => {
  let keycloak: Awaited<ReturnType<typeof startKeycloak>>
  let upstream: Upstream
  let relay: Relay
  let deputy: Deputy
  /** Reads may be 30 s old here. */
  let lenient: Deputy
  const ids = new Map<string, string>()
  const admin = (method: string, path: string, body?: object): Promise<unknown> =>
    keycloak.admin(method, `/corp${path}`, body)
  const listed = async (path: string): Promise<readonly Record<string, string>[]> =>
    (await admin('GET', path)) as readonly Record<string, string>[]

  const settings = (max_age: Fields = {}): Fields => ({
    entitlements: {
      source: 'http',
      max_age,
      http: {
        preset: 'keycloak',
        url: `http://127.0.0.1:${relay.port}`,
        realm: 'corp',
        by: 'name',
        client_id: 'deputy-reader',
        client_secret: SECRET,
        timeout: '5s',
      },
    },
  })
  const start = (max_age?: Fields): Promise<Deputy> =>
    startDeputy({
      upstream: upstream.origin,
      held: [...PEOPLE, 'service-account-robot'].map((person) => ({
        person,
        token: tokenOf(person),
      })),
      config: settings(max_age),
    })

  beforeAll(async () => {
    keycloak = await startKeycloak()
    upstream = await startUpstream()
    for (const person of PEOPLE) upstream.people.set(tokenOf(person), person)
    relay = await startRelay({ host: '127.0.0.1', port: keycloak.port })
    await keycloak.admin('POST', '', {
      realm: 'corp',
      enabled: true,
      sslRequired: 'none',
      groups: [
        { name: 'staff', subGroups: [{ name: 'backend' }] },
        { name: 'other', subGroups: [{ name: 'staff' }] },
      ],
      users: PEOPLE.map((username) => ({
        username,
        enabled: true,
        email: `${username}@corp.test`,
        groups: { dave: ['/staff/backend'], erin: ['/other/staff'] }[username] ?? ['/staff'],
      })),
      clients: ['deputy-reader', 'robot'].map((clientId) => ({
        clientId,
        secret: SECRET,
        serviceAccountsEnabled: true,
        standardFlowEnabled: false,
      })),
    })
    for (const { id = '', username = '' } of await listed('/users?max=50')) ids.set(username, id)
    const accountOf = async (client: string): Promise<string> => {
      const [{ id = '' } = {}] = await listed(`/clients?clientId=${client}`)
      const account = (await admin('GET', `/clients/${id}/service-account-user`)) as Fields
      return String(account['id'])
    }
    const [{ id: management = '' } = {}] = await listed('/clients?clientId=realm-management')
    const roles = await listed(`/clients/${management}/roles?max=100`)
    await admin(
      'POST',
      `/users/${await accountOf('deputy-reader')}/role-mappings/clients/${management}`,
      roles.filter(({ name = '' }) => READER.includes(name)),
    )
    const staff = (await listed('/groups')).find(({ path }) => path === '/staff')
    ids.set('group staff', staff?.['id'] ?? '')
    ids.set('robot', await accountOf('robot'))
    await join('robot')
    deputy = await start()
    lenient = await start({ read: '30s' })
    // A server that has just begun is slow.
    for (const each of [deputy, lenient])
      await vi.waitFor(async () => expect(await call('alice', 'POST', each)).toEqual(FINE), {
        timeout: 120_000,
        interval: 500,
      })
  }, 600_000)
  afterAll(async () => {
    await deputy?.close()
    await lenient?.close()
    await relay?.close()
    await upstream?.close()
    await keycloak?.close()
  })

  const call = async (
    person: string,
    method = 'GET',
    at: Deputy = deputy,
  ): Promise<readonly [number, string]> => {
    const answer = await fetch(`${at.agent}/~${person}/api.acme.test/a`, { method })
    const text = await answer.text()
    const code: unknown = answer.ok ? undefined : (JSON.parse(text) as Fields)['code']
    return [answer.status, typeof code === 'string' ? code : 'ok']
  }
  const FINE = [200, 'ok']
  const DENIED = [403, 'policy_denied']
  const UNAVAILABLE = [503, 'entitlements_unavailable']
  const leave = (person: string): Promise<unknown> =>
    admin('DELETE', `/users/${ids.get(person)}/groups/${ids.get('group staff')}`)
  const join = (person: string): Promise<unknown> =>
    admin('PUT', `/users/${ids.get(person)}/groups/${ids.get('group staff')}`)

  test('a member who is taken out of the group is refused with the next call, read or write', async () => {
    for (const method of ['GET', 'POST']) {
      expect(await call('alice', method)).toEqual(FINE)
      await leave('alice')
      upstream.seen.length = 0
      expect(await call('alice', method)).toEqual(DENIED)
      expect(upstream.seen).toEqual([])
      expect(await call('bob', method)).toEqual(FINE)
      await join('alice')
      expect(await call('alice', method)).toEqual(FINE)
    }
  })

  test('where reads may be 30 s old, a write is refused with the next call all the same', async () => {
    expect(await call('alice', 'GET', lenient)).toEqual(FINE)
    await leave('alice')
    expect(await call('alice', 'GET', lenient)).toEqual(FINE)
    expect(await call('alice', 'POST', lenient)).toEqual(DENIED)
    // What the write learnt is what the next read knows.
    expect(await call('alice', 'GET', lenient)).toEqual(DENIED)
    await join('alice')
  })

  test('who is disabled or deleted is refused with the next call', async () => {
    expect(await call('bob')).toEqual(FINE)
    await admin('PUT', `/users/${ids.get('bob')}`, { username: 'bob', enabled: false })
    expect(await call('bob')).toEqual(DENIED)
    await admin('PUT', `/users/${ids.get('bob')}`, { username: 'bob', enabled: true })
    expect(await call('bob')).toEqual(FINE)
    expect(await call('carol')).toEqual(FINE)
    await admin('DELETE', `/users/${ids.get('carol')}`)
    expect(await call('carol')).toEqual(DENIED)
  })

  test('who is in a subgroup is in the group above it; a group of the same name elsewhere is another', async () => {
    expect(await call('dave')).toEqual(FINE)
    expect(await call('erin')).toEqual(DENIED)
  })

  test('a service account is nobody, whatever its groups', async () => {
    expect(await call('service-account-robot')).toEqual(DENIED)
    expect(await call('nobody')).toEqual(DENIED)
  })

  test('a directory that stops answering in the middle of calls lets nobody through, and heals by itself', async () => {
    for (const state of ['cut', 'freeze'] as const) {
      const calls = Array.from({ length: 60 }, (_, i) => call(i % 2 === 0 ? 'alice' : 'dave'))
      await Promise.race(calls)
      relay.set(state)
      upstream.seen.length = 0
      const late = Array.from({ length: 60 }, (_, i) =>
        call(i % 2 === 0 ? 'alice' : 'dave', i % 3 === 0 ? 'POST' : 'GET'),
      )
      for (const answer of await Promise.all(late)) expect(answer).toEqual(UNAVAILABLE)
      for (const answer of await Promise.all(calls))
        expect([FINE, UNAVAILABLE]).toContainEqual(answer)
      relay.set('open')
      await expect.poll(() => call('alice')).toEqual(FINE)
      expect(await call('dave')).toEqual(FINE)
    }
  })

  test('the evidence names the source and no age; metrics count its answers and failures', async () => {
    expect(await call('alice')).toEqual(FINE)
    const decision = deputy.evidence().findLast(({ event }) => event === 'decision')
    expect(decision?.['entitlements']).toMatchObject({ source: 'http', age_ms: 0 })
    const metrics = await (await fetch(`http://${deputy.admin}/metrics`)).text()
    expect(metrics).toMatch(
      /deputy_entitlements_question_duration_seconds_count\{source="http"\} \d/,
    )
    expect(metrics).toMatch(
      /deputy_entitlements_failures_total\{source="http",reason="unreachable"\}/,
    )
    expect(deputy.logged()).not.toContain(SECRET)
  })
})
