// A real OpenLDAP is asked while the call waits: what it says at this moment decides, and nothing does when it cannot say.
import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { entitlementsShow } from '../../proxy/commands/entitlements.ts'
import { validate } from '../../proxy/commands/validate/command.ts'
import {
  loadFolder,
  prepareFolder,
  startDeputy,
  type Deputy,
  type Fields,
} from '../support/deputy.ts'
import { startRelay, type Relay } from '../support/relay.ts'
import {
  missingOpenldap,
  startOpenldap,
  SUFFIX,
  type Openldap,
} from '../support/servers/openldap.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const SECRET = 'canary-ldap-secret-0000'
const STRANGE = 'o"neil, (jo) #1; *'
const PEOPLE = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'jürgen', STRANGE]
const tokenOf = (person: string): string => `at-${PEOPLE.indexOf(person)}-0123456789abcdef`
const skipped = missingOpenldap === null ? '' : ` (SKIPPED: ${missingOpenldap})`
const people = `ou=people,${SUFFIX}`
const groups = `ou=groups,${SUFFIX}`
/** RFC 4514. */
const named = (id: string): string => `uid=${id.replaceAll(/[",;#]/g, '\\$&')},${people}`

describe.skipIf(missingOpenldap !== null)(`OpenLDAP${skipped}`, () => {
  let slapd: Openldap
  let upstream: Upstream
  let relay: Relay
  /** Groups by a search, and by memberOf. */
  const deputies: Deputy[] = []

  const settings = (more: Fields): Fields => ({
    entitlements: {
      source: 'ldap',
      ldap: {
        url: `ldap://127.0.0.1:${relay.port}`,
        bind: { dn: `cn=deputy,${SUFFIX}`, password: SECRET },
        base: people,
        user: '(&(objectClass=person)(uid={id}))',
        id: 'uid',
        groups_base: groups,
        ...more,
      },
    },
  })
  const start = (more: Fields): Promise<Deputy> =>
    startDeputy({
      upstream: upstream.origin,
      held: PEOPLE.map((person) => ({ person, token: tokenOf(person) })),
      config: settings(more),
    })
  const group = (cn: string, member: readonly string[], below = groups): Promise<void> =>
    slapd.add(`cn=${cn},${below}`, { objectClass: 'groupOfNames', cn, member: [...member] })

  beforeAll(async () => {
    slapd = await startOpenldap()
    upstream = await startUpstream()
    for (const person of PEOPLE) upstream.people.set(tokenOf(person), person)
    relay = await startRelay({ host: '127.0.0.1', port: slapd.port })
    await slapd.add(SUFFIX, { objectClass: ['dcObject', 'organization'], dc: 'acme', o: 'acme' })
    for (const ou of ['people', 'groups', 'others'])
      await slapd.add(`ou=${ou},${SUFFIX}`, { objectClass: 'organizationalUnit', ou })
    await slapd.add(`cn=deputy,${SUFFIX}`, {
      objectClass: ['person', 'simpleSecurityObject'],
      cn: 'deputy',
      sn: 'deputy',
      userPassword: SECRET,
    })
    for (const id of PEOPLE)
      await slapd.add(named(id), {
        objectClass: ['inetOrgPerson', 'shadowAccount', 'marked'],
        uid: id,
        cn: id,
        sn: id,
      })
    const direct = ['alice', 'bob', 'carol', 'frank', 'jürgen', STRANGE]
    await group('staff', direct.map(named))
    // Dave is in a group of a group of it; these two are in each other as well.
    await group('inner', [named('dave')])
    await group('middle', [`cn=inner,${groups}`])
    await slapd.change(`cn=inner,${groups}`, 'add', 'member', [`cn=middle,${groups}`])
    await slapd.change(`cn=staff,${groups}`, 'add', 'member', [`cn=middle,${groups}`])
    // A group of the same name elsewhere is another.
    await group('staff', [named('erin')], `ou=others,${SUFFIX}`)
    deputies.push(await start({}), await start({ groups: 'memberOf' }))
  }, 120_000)
  afterAll(async () => {
    for (const each of deputies) await each.close()
    await relay?.close()
    await upstream?.close()
    await slapd?.close()
  })

  const at = (i: number): Deputy => deputies[i] ?? expect.fail('no deputy')
  const call = async (
    person: string,
    deputy = at(0),
    method = 'GET',
  ): Promise<readonly [number, string]> => {
    const answer = await fetch(`${deputy.agent}/~${encodeURIComponent(person)}/api.acme.test/a`, {
      method,
    })
    const text = await answer.text()
    const code: unknown = answer.ok ? undefined : (JSON.parse(text) as Fields)['code']
    return [answer.status, typeof code === 'string' ? code : 'ok']
  }
  const FINE = [200, 'ok']
  const DENIED = [403, 'policy_denied']
  const UNAVAILABLE = [503, 'entitlements_unavailable']
  const staff = (operation: 'add' | 'delete', person: string): Promise<void> =>
    slapd.change(`cn=staff,${groups}`, operation, 'member', [named(person)])

  test.each([0, 1])(
    'who is taken out of the group is refused with the next call (%i)',
    async (i) => {
      for (const method of ['GET', 'POST']) {
        expect(await call('alice', at(i), method)).toEqual(FINE)
        await staff('delete', 'alice')
        upstream.seen.length = 0
        expect(await call('alice', at(i), method)).toEqual(DENIED)
        expect(upstream.seen).toEqual([])
        expect(await call('bob', at(i), method)).toEqual(FINE)
        await staff('add', 'alice')
        expect(await call('alice', at(i), method)).toEqual(FINE)
      }
    },
  )

  test.each([0, 1])('nested groups count, a group elsewhere does not (%i)', async (i) => {
    expect(await call('dave', at(i))).toEqual(FINE)
    expect(await call('erin', at(i))).toEqual(DENIED)
  })

  test.each([
    ['pwdAccountLockedTime', '000001010000Z'],
    ['nsAccountLock', 'TRUE'],
    ['shadowExpire', '1'],
  ])('who is locked by %s is refused with the next call, and let in again', async (mark, value) => {
    expect(await call('bob')).toEqual(FINE)
    await slapd.change(named('bob'), 'add', mark, [value])
    for (const each of deputies) expect(await call('bob', each)).toEqual(DENIED)
    await slapd.change(named('bob'), 'delete', mark, [])
    expect(await call('bob')).toEqual(FINE)
  })

  test('who is deleted, or was never there, is refused', async () => {
    expect(await call('carol')).toEqual(FINE)
    await slapd.remove(named('carol'))
    for (const each of deputies) {
      expect(await call('carol', each)).toEqual(DENIED)
      expect(await call('nobody', each)).toEqual(DENIED)
    }
  })

  test('an id is a value and never a part of the filter; names with special characters are found', async () => {
    for (const id of ['*', 'a*', '*)(uid=*', 'alice)(|(uid=*', 'alice)', '\u{0}', 'alice\\2a'])
      expect([id, (await call(id))[0]]).not.toEqual([id, 200])
    for (const each of deputies)
      for (const id of [STRANGE, 'jürgen']) expect([id, await call(id, each)]).toEqual([id, FINE])
  })

  test('an answer about another spelling of the id is of another person', async () => {
    upstream.seen.length = 0
    for (const id of ['ALICE', 'alice ']) expect(await call(id)).toEqual(UNAVAILABLE)
    expect(upstream.seen).toEqual([])
    expect(await call('alice')).toEqual(FINE)
  })

  test('two entries of one id are nobody’s: closed, and others are served', async () => {
    await slapd.add(`cn=second,${people}`, {
      objectClass: 'inetOrgPerson',
      cn: 'second',
      sn: 'second',
      uid: 'frank',
    })
    expect(await call('frank')).toEqual(UNAVAILABLE)
    expect(at(0).logged()).toContain('several people')
    expect(await call('alice')).toEqual(FINE)
    await slapd.remove(`cn=second,${people}`)
    expect(await call('frank')).toEqual(FINE)
  })

  test('a referral is not followed: closed, and said', async () => {
    await slapd.add(`ou=far,${people}`, {
      objectClass: ['referral', 'extensibleObject'],
      ou: 'far',
      ref: `ldap://127.0.0.1:1/ou=far,${people}`,
    })
    expect(await call('alice')).toEqual(UNAVAILABLE)
    expect(at(0).logged()).toContain('refers to another server')
    await slapd.removeReference(`ou=far,${people}`)
    await expect.poll(() => call('alice')).toEqual(FINE)
  })

  test('a server that stops in the middle of calls lets nobody through, and heals by itself', async () => {
    const cases = {
      cut: () => relay.set('cut'),
      freeze: () => relay.set('freeze'),
      stop: () => slapd.stop(),
    }
    for (const [name, fail] of Object.entries(cases)) {
      const many = (): Promise<readonly [number, string]>[] =>
        Array.from({ length: 40 }, (_, i) => call(i % 2 === 0 ? 'alice' : 'dave', at(i % 2)))
      const before = many()
      await Promise.race(before)
      await fail()
      upstream.seen.length = 0
      for (const answer of await Promise.all(many()))
        expect([name, answer]).toEqual([name, UNAVAILABLE])
      for (const answer of await Promise.all(before))
        expect([FINE, UNAVAILABLE]).toContainEqual(answer)
      if (name === 'stop') await slapd.start()
      relay.set('open')
      for (const each of deputies)
        await vi.waitFor(async () => expect(await call('alice', each)).toEqual(FINE), {
          timeout: 60_000,
          interval: 300,
        })
    }
  }, 120_000)

  test('a wrong password is closed and said, and never shown', async () => {
    const wrong = await start({ bind: { dn: `cn=deputy,${SUFFIX}`, password: 'canary-wrong' } })
    try {
      expect(await call('alice', wrong)).toEqual(UNAVAILABLE)
      expect(wrong.logged()).toContain('its password is wrong')
      for (const each of [wrong, ...deputies]) {
        expect(each.logged()).not.toContain('canary-wrong')
        expect(each.logged()).not.toContain(SECRET)
      }
    } finally {
      await wrong.close()
    }
  })

  test('`deputy validate` asks about nobody; `deputy entitlements show` says what it knows', async () => {
    const folder = await prepareFolder({ upstream: upstream.origin, config: settings({}) })
    try {
      const loaded = await loadFolder(folder)
      const lines: string[] = []
      const print = (line: string): void => void lines.push(line)
      expect(await entitlementsShow({ loaded, user: 'dave', print, complain: print })).toBe(0)
      expect(lines.join('\n')).toMatch(/staff.*ldap/)
      expect(await validate({ loaded, print, complain: print })).toBe(0)
      expect(lines.join('\n')).toMatch(
        /entitlements\.ldap: asked about somebody who is not there, .* it knows nobody/,
      )
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('the evidence names the source and no age', async () => {
    expect(await call('alice')).toEqual(FINE)
    const decision = at(0)
      .evidence()
      .findLast(({ event }) => event === 'decision')
    expect(decision?.['entitlements']).toMatchObject({ source: 'ldap', age_ms: 0 })
  })
})
