// Whom a key names: one key, one name, within the row's people and tenants. test/e2e/applications.test.ts has the calls themselves.
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createApplications, type Application } from '../../proxy/pipeline/application.ts'
import { Problem } from '../../proxy/problem.ts'
import { secret } from '../../proxy/secret.ts'

const [KEY, NEXT, OTHER] = ['crm-key/+', 'crm-next-', 'shop-key-'].map((name) =>
  name.padEnd(40, 'k'),
)
const keyOf = (value = '') => ({
  digest: createHash('sha256').update(value).digest(),
  key: secret(value),
})
const crm: Application = {
  name: 'crm',
  keys: [keyOf(KEY), keyOf(NEXT)],
  workload: null,
  agent: 'agent:crm',
  realm: 'corp',
  tenants: ['acme'],
  people: ['*@acme.example', 'ünal'],
}
const shop: Application = { ...crm, name: 'shop', keys: [keyOf(OTHER)], tenants: ['a', 'b'] }
const cron: Application = { ...crm, name: 'cron', keys: [], workload: 'nightly' }
/** Whoever names anybody. */
const ALL = 'all-key--'.padEnd(40, 'k')
const all: Application = { ...crm, name: 'all', keys: [keyOf(ALL)], people: ['*'] }
const applications = createApplications([crm, shop, cron, all])
const RUN = `dpr_${'r'.repeat(43)}`
const JWT = 'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln'
const isTag = (text: string): boolean => text === RUN || text === JWT

type Sent = { readonly slot?: readonly string[]; readonly header?: readonly string[] }
const read = ({ slot = [], header = [] }: Sent, more: readonly string[] = []) => {
  const claim = applications.read({ slot, header }, isTag)
  if (claim === null) return null
  const { person, assertedBy, agent, verified } = applications.principal(
    claim.application,
    claim.user,
    more,
  )
  return { who: `${person.tenant}/${person.realm}/${person.id}`, assertedBy, agent, verified }
}
const codeOf = (work: () => unknown): string | null => {
  try {
    work()
    return null
  } catch (error) {
    if (error instanceof Problem) return error.code
    throw error
  }
}
const basic = (pair: string): string => `Basic ${Buffer.from(pair).toString('base64')}`
const latin1 = (text: string): string => Buffer.from(text).toString('latin1')
const ALICE = 'alice@acme.example'
const whole = (name: string): Sent => ({ slot: [`Bearer ${ALL}:${name}`] })
const escaped = (text = ''): string => text.replaceAll('-', '%2D')

describe('a key names a person', () => {
  test.each<[string, Sent, string?]>([
    ['beside the header', { slot: [`Bearer ${KEY}`], header: [ALICE] }],
    ['the next key too', { slot: [`Bearer ${NEXT}`], header: [ALICE] }],
    ['without a scheme', { slot: [KEY ?? ''], header: [ALICE] }],
    ['in the slot', { slot: [`Bearer ${KEY}:${ALICE}`] }],
    ['in the slot without a scheme', { slot: [`${KEY}:${ALICE}`] }],
    ['in the slot, as GitHub’s SDK has it', { slot: [`token ${KEY}:${ALICE}`] }],
    ['as the password of Basic', { slot: [basic(`x:${KEY}:${ALICE}`)] }],
    ['as the password beside the header', { slot: [basic(`x:${KEY}`)], header: [ALICE] }],
    ['as the name of Basic', { slot: [basic(`${KEY}:${ALICE}`)] }],
    ['as the name with no password', { slot: [basic(`${KEY}:${ALICE}:`)] }],
    ['as the name alone', { slot: [basic(`${KEY}:`)], header: [ALICE] }],
    ['in the header', { header: [`${KEY}:${ALICE}`] }],
    [
      'in the header, whatever the slot holds',
      { header: [`${KEY}:${ALICE}`], slot: ['Bearer gh'] },
    ],
    ['and the key twice alike', { slot: [`Bearer ${KEY}`], header: [`${KEY}:${ALICE}`] }],
    ['twice alike', { slot: [`Bearer ${KEY}:${ALICE}`], header: [ALICE, ALICE] }],
    ['in UTF-8', { slot: [`Bearer ${KEY}`], header: [latin1('ünal')] }, 'ünal'],
  ])('%s', (_how, sent, id = ALICE) => {
    expect(read(sent)).toEqual({
      who: `acme/corp/${id}`,
      assertedBy: 'crm',
      agent: 'agent:crm',
      verified: false,
    })
  })
  test('and what stands in the key slot for it is the key and the name', () => {
    for (const sent of [
      { slot: [`Bearer ${KEY}`], header: [ALICE] },
      { header: [`${KEY}:${ALICE}`], slot: [] },
    ])
      expect(applications.read({ ...sent }, isTag)?.tag()).toBe(`${KEY}:${ALICE}`)
    const claim = applications.read({ slot: [`Bearer ${KEY}`], header: [latin1('ünal')] }, isTag)
    expect(claim?.tag()).toBe(`${KEY}:${latin1('ünal')}`)
    expect(claim?.inSlot).toBe(true)
    for (const sent of [
      { header: [`${KEY}:${ALICE}`], slot: ['Bearer gh'] },
      { slot: [`Bearer ${KEY}`, 'Bearer gh'], header: [ALICE] },
    ])
      expect(applications.read(sent, isTag)?.inSlot).toBe(false)
    expect([applications.some, createApplications([]).some]).toEqual([true, false])
  })
  test('one value for each, by which others remember what they made of it', () => {
    const ask = () => applications.principal(crm, ALICE, [])
    expect(ask()).toBe(ask())
  })
})

describe('refused, each by its own code', () => {
  test.each<[string, string, Sent]>([
    ['no user', 'application_user_missing', { slot: [`Bearer ${KEY}`] }],
    ['an empty one', 'application_user_missing', { slot: [`Bearer ${KEY}:`], header: [''] }],
    [
      'two keys',
      'application_keys_differ',
      { slot: [`Bearer ${KEY}`], header: [`${NEXT}:${ALICE}`] },
    ],
    [
      'two keys of two',
      'application_keys_differ',
      { slot: [KEY ?? '', OTHER ?? ''], header: [ALICE] },
    ],
    ['a key as the name', 'application_keys_differ', { slot: [basic(`${KEY}:${OTHER}`)] }],
    ['its own key as the name', 'application_keys_differ', { slot: [`Bearer ${KEY}:${KEY}`] }],
    ['a key as the name, in Basic', 'application_keys_differ', whole(basic(`x:${OTHER}`))],
    ['a key as the name, escaped', 'application_keys_differ', whole(escaped(OTHER))],
    ['a workload’s token as the name', 'application_keys_differ', whole(`Bearer ${JWT}`)],
    ['a run token in the name', 'application_keys_differ', whole(`of ${RUN}`)],
    ['what begins as a run token', 'application_keys_differ', whole('dpr_x')],
    ['a run token beside it', 'application_beside_tag', { ...whole(ALICE), header: [RUN] }],
    [
      'an assertion with something behind it',
      'application_beside_tag',
      { slot: [`Bearer ${JWT} x`], header: [`${KEY}:${ALICE}`] },
    ],
    ['an assertion', 'application_beside_tag', { slot: [`Bearer ${KEY}`], header: [JWT] }],
    [
      'a run token',
      'application_beside_tag',
      { slot: [`Bearer ${RUN}`], header: [`${KEY}:${ALICE}`] },
    ],
    [
      'somebody else’s user',
      'application_user_refused',
      { slot: [`Bearer ${KEY}`], header: ['eve@evil.example'] },
    ],
    [
      'another spelling',
      'application_user_refused',
      { slot: [`Bearer ${KEY}`], header: ['alice@ACME.example'] },
    ],
    [
      'two names',
      'unauthenticated',
      { slot: [`Bearer ${KEY}:${ALICE}`], header: ['bob@acme.example'] },
    ],
    [
      'a name that is not UTF-8',
      'unauthenticated',
      { slot: [`Bearer ${KEY}`], header: ['\xff@acme.example'] },
    ],
    [
      'a long name',
      'unauthenticated',
      { slot: [`Bearer ${KEY}`], header: [`${'a'.repeat(256)}@acme.example`] },
    ],
    [
      'several tenants, none named',
      'application_tenant_missing',
      { slot: [`Bearer ${OTHER}`], header: [ALICE] },
    ],
  ])('%s', (_what, code, sent) => {
    expect(codeOf(() => read(sent))).toBe(code)
  })
  test('no name at all where a program says it', () => {
    expect(codeOf(() => applications.principal(crm, '', []))).toBe('application_user_missing')
  })
  test('a name without a key, or with what is none', () => {
    const unknown = (sent: Sent) => applications.unknown({ slot: [], header: [], ...sent })?.code
    expect(unknown({ header: [ALICE] })).toBe('application_unknown')
    expect(unknown({ slot: [`Bearer ${'x'.repeat(40)}:${ALICE}`] })).toBe('application_unknown')
    expect(unknown({ slot: ['Bearer ghp_0123456789'] })).toBeUndefined()
    for (const value of [JWT, RUN, '']) expect(unknown({ header: [value] })).toBeUndefined()
    expect(createApplications([]).unknown({ header: [ALICE], slot: [] })).toBeNull()
  })
})

describe('tenants', () => {
  test('the header says which; it may be no other', () => {
    const sent = { slot: [`Bearer ${OTHER}`], header: [ALICE] }
    expect(read(sent, ['Deputy-Tenant', 'b'])?.who).toBe(`b/corp/${ALICE}`)
    expect(read(sent, ['Deputy-Tenant', 'a'])?.who).toBe(`a/corp/${ALICE}`)
    const twice = ['Deputy-Tenant', 'b', 'X-Request-Idx', 'c', 'deputy-tenant', ' b ']
    expect(read(sent, twice)?.who).toBe(`b/corp/${ALICE}`)
    expect(codeOf(() => read(sent, ['Deputy-Tenant', 'c']))).toBe('application_user_refused')
    expect(codeOf(() => read(sent, ['Deputy-Tenant', 'a', 'deputy-tenant', 'b']))).toBe(
      'unauthenticated',
    )
    const one = { slot: [`Bearer ${KEY}:${ALICE}`] }
    expect(codeOf(() => read(one, ['Deputy-Tenant', 'a']))).toBe('application_user_refused')
    expect(read(one, ['Deputy-Tenant', 'acme'])?.who).toBe(`acme/corp/${ALICE}`)
  })
})

describe('a workload’s token as the key', () => {
  const nightly = { name: 'nightly', subject: 's', agent: 'agent:crm', expiresAt: 1 }
  test('is that of the row, and of no other', () => {
    expect(applications.ofWorkload(nightly)?.name).toBe('cron')
    expect(applications.ofWorkload({ ...nightly, name: 'x' })).toBeNull()
    expect(applications.ofWorkload(null)).toBeNull()
  })
  test('the name stands in the header or in the slot, and beside no signed tag', () => {
    const named = (sent: Sent) => applications.nameIn({ slot: [], header: [], ...sent }, isTag)
    expect(named({ header: [ALICE] })).toBe(ALICE)
    expect(named({ slot: [`Bearer user:${ALICE}`] })).toBe(ALICE)
    expect(named({ slot: ['Bearer ghp_0'] })).toBeNull()
    for (const value of [JWT, RUN]) expect(named({ header: [value] })).toBeNull()
    expect(codeOf(() => named({ header: [ALICE], slot: [`Bearer ${JWT} x`] }))).toBe(
      'application_beside_tag',
    )
    expect(codeOf(() => named({ header: [ALICE], slot: [`Bearer ${JWT}`] }))).toBe(
      'application_beside_tag',
    )
  })
})

test('a key is found in any text, and nothing is found without one', () => {
  expect(applications.holds(`a ${KEY} b`)).toBe(true)
  expect(applications.holds(`a${NEXT}`)).toBe(true)
  expect(applications.holds('k'.repeat(100))).toBe(false)
  expect(createApplications([]).holds(KEY ?? '')).toBe(false)
  expect(read({ slot: ['Bearer ghp_0123456789012345678901234567890123456'] })).toBeNull()
})
