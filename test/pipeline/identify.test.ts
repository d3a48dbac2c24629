// Who calls: one tag or none, read in one way, and never a default. test/e2e/identity.test.ts has the calls themselves.
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { SignJWT, UnsecuredJWT } from 'jose'
import { afterEach, describe, expect, test } from 'vitest'
import type { Principal, Workload } from '../../proxy/model.ts'
import { createIssuerKeys } from '../../proxy/oauth/issuer_keys.ts'
import { Problem } from '../../proxy/problem.ts'
import { secret } from '../../proxy/secret.ts'
import { createApplications, type Application } from '../../proxy/pipeline/application.ts'
import { createIdentify, type Identify, type Issuer } from '../../proxy/pipeline/identify.ts'

const NOW = 1_800_000_000
const ISSUER = 'https://login.corp.example'
const ED = generateKeyPairSync('ed25519')
const OTHER = generateKeyPairSync('ed25519')

const jwk = (key: KeyObject, kid?: string) => ({
  ...key.export({ format: 'jwk' }),
  ...(kid === undefined ? {} : { kid }),
})
const open: { close: () => void }[] = []
afterEach(() => open.splice(0).forEach((one) => one.close()))

const WORKLOADS: ReadonlyMap<string, Workload> = new Map(
  ['nightly', 'crm'].map((name) => [
    name,
    { name, subject: name, agent: `agent:${name}`, expiresAt: (NOW + 300) * 1_000 },
  ]),
)
const sentBy = (raw: readonly string[]): string | null => {
  const at = raw.indexOf('Deputy-Agent')
  return at === -1 ? null : (raw[at + 1] ?? null)
}
const awayOf = (id: string, agent: string): Principal => ({
  person: { tenant: 'default', realm: 'corp', id },
  agent,
  verified: true,
  claims: null,
  issuedAt: null,
  expiresAt: null,
  run: null,
  standing: `s-${id}`,
  standings: [],
})

type Standing = NonNullable<Parameters<typeof createIdentify>[0]['standing']>
type Told = {
  readonly trust?: 'asserted' | 'plain'
  readonly issuer?: Partial<Issuer>
  readonly rows?: readonly Application[]
  /** Workloads by what they send as Deputy-Agent; `alice` and `bob` let `nightly` act while they are away. */
  readonly workloads?: boolean
  /** The one that calls, whatever is sent. */
  readonly workload?: Workload | null
  /** What else holds of the run. */
  readonly ran?: Partial<Principal>
  /** false: nobody can let a workload act while they are away. */
  readonly away?: boolean
  /** Which workload calls is known only later. */
  readonly later?: boolean
}
const world = ({
  trust = 'asserted',
  issuer = {},
  rows = [],
  workloads = false,
  workload = null,
  ran = {},
  away = true,
  later = false,
}: Told = {}) => {
  const quiet = () => undefined
  const now = { s: NOW, wrong: null as 'ahead' | 'behind' | null }
  const published = { keys: [jwk(ED.publicKey, 'k1')] as object[], asked: 0, away: false }
  const whose = (token: string): Principal => {
    if (token !== RUN) throw new Problem('unauthenticated', 'no such run')
    return { ...run, ...ran }
  }
  const clock = {
    now: () => now.s * 1_000,
    mono: () => now.s * 1_000,
    wrong: () => now.wrong,
    lead: () => 0,
  }
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
  const fetch = () => {
    published.asked++
    if (published.away) return Promise.reject(new Error('away'))
    return Promise.resolve(Response.json({ keys: published.keys }))
  }
  const standing: Standing = ({ name, agent }, user) => {
    if (name !== 'nightly' || !['', 'alice', 'bob'].includes(user))
      throw new Problem('unauthenticated', `nobody lets ${name} act (${user})`)
    return awayOf(user === '' ? 'alice' : user, agent)
  }
  const identify = createIdentify({
    trust,
    header: 'deputy-user',
    maxAge: 600_000,
    issuers: [
      {
        issuer: ISSUER,
        jwksUri: `${ISSUER}/keys`,
        jwksFile: null,
        realm: 'corp',
        audience: 'deputy',
        user: '/sub',
        agent: '/client_id',
        tenant: null,
        tenants: null,
        ...issuer,
      },
    ],
    plainAgent: 'laptop',
    plainRealm: 'local',
    applications: createApplications(rows),
    run: whose,
    workloads: {
      some: workloads || workload !== null,
      of: (raw) => {
        const found = workload ?? WORKLOADS.get(sentBy(raw) ?? '') ?? null
        return later && found !== null ? Promise.resolve(found) : found
      },
      meant: (jwt) => jwt.startsWith('eyJ3b3JrbG9hZ'),
      sent: sentBy,
      forget: quiet,
    },
    ...(away ? { standing } : {}),
    keysOf: (source) => {
      const keys = createIssuerKeys(source, { grace: 3_600_000, fetch, clock, log })
      open.push(keys)
      return keys
    },
    clock,
  })
  return { identify, now, published }
}
const RUN = 'dpr_0123456789abcdefghij'
const run: Principal = {
  person: { tenant: 'default', realm: 'corp', id: 'of-the-run' },
  agent: 'runner',
  verified: true,
  claims: null,
  issuedAt: null,
  expiresAt: null,
  run: 'r1',
}

type Claims = Readonly<Record<string, unknown>>
const CLAIMS: Claims = {
  iss: ISSUER,
  aud: 'deputy',
  sub: 'alice',
  client_id: 'triage',
  iat: NOW,
  exp: NOW + 300,
}
type Signed = { readonly key?: KeyObject; readonly alg?: string; readonly kid?: string | null }
const sign = (
  claims: Claims = {},
  { key = ED.privateKey, alg = 'EdDSA', kid = 'k1' }: Signed = {},
): Promise<string> =>
  new SignJWT({ ...CLAIMS, ...claims })
    .setProtectedHeader({ alg, ...(kid === null ? {} : { kid }) })
    .sign(key)

const header = (value: string): string[] => ['Deputy-User', value]
const slot = (value: string): string[] => ['AUTHORIZATION', value]
const basic = (pair: string | Buffer): string => `Basic ${Buffer.from(pair).toString('base64')}`

/** Whom the call is for, told at once; null: somebody has to be asked. */
const known = (identify: Identify, headers: string[], named: string | null = null) => {
  const found = identify.identify(headers, named)
  return found instanceof Promise ? null : found.who
}
/** Whom the call is for, or the code and the words of its refusal. */
const who = async (identify: Identify, headers: string[], named: string | null = null) => {
  try {
    return (await identify.identify(headers, named)).who.person.id
  } catch (error) {
    if (error instanceof Problem) return `${error.code}: ${error.message}`
    throw error
  }
}
const DENIED = /^unauthenticated: /
const NO_TAG = /^unauthenticated: the call has no tag/
const TWO = /^unauthenticated: two tags name different users/
const NONE_OF_OURS = /^unauthenticated: the tag is no assertion of a configured issuer/

describe('an assertion', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 })
  const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve })
  const [p256, p384, p521] = [ec('P-256'), ec('P-384'), ec('P-521')]
  test.each([
    ['RS256', rsa],
    ['RS384', rsa],
    ['RS512', rsa],
    ['PS256', rsa],
    ['PS384', rsa],
    ['PS512', rsa],
    ['ES256', p256],
    ['ES384', p384],
    ['ES512', p521],
    ['EdDSA', ED],
    ['Ed25519', ED],
  ])('may be signed with %s', async (alg, { publicKey, privateKey }) => {
    const { identify, published } = world()
    published.keys = [jwk(publicKey, 'k1')]
    expect(await who(identify, header(await sign({}, { key: privateKey, alg })))).toBe('alice')
  })
  test('may not be signed by a secret, nor by nobody', async () => {
    const { identify } = world()
    const shared = await new SignJWT(CLAIMS)
      .setProtectedHeader({ alg: 'HS256', kid: 'k1' })
      .sign(Buffer.alloc(32, 1))
    for (const token of [shared, new UnsecuredJWT(CLAIMS).encode()])
      expect(await who(identify, header(token))).toMatch(DENIED)
  })
  test('tells person, agent, claims and times', async () => {
    const { identify } = world({ issuer: { tenant: '/org', tenants: ['acme'] } })
    const token = await sign({ org: 'acme', groups: ['staff'] })
    expect((await identify.identify(header(token), null)).who).toEqual({
      person: { tenant: 'acme', realm: 'corp', id: 'alice' },
      agent: 'triage',
      verified: true,
      claims: { ...CLAIMS, org: 'acme', groups: ['staff'] },
      issuedAt: NOW * 1_000,
      expiresAt: (NOW + 300) * 1_000,
      run: null,
    })
  })
  test('is told with the place where it stood', async () => {
    const { identify } = world()
    const token = await sign()
    const placed = async (...headers: string[]) => (await identify.identify(headers, null)).place
    const inSlot = slot(`Bearer ${token}`)
    expect(await placed(...inSlot)).toBe('slot')
    expect(await placed(...header(token))).toBe('elsewhere')
    // Then one of two Authorization headers may be a credential, and is named as one.
    expect(await placed(...inSlot, ...slot('Bearer sk-123'))).toBe('elsewhere')
    expect(await placed(...inSlot, ...header(token))).toBe('elsewhere')
  })
  test('needs no tenant where the issuer has one', async () => {
    const { identify } = world()
    expect(await identify.identify(header(await sign({ org: 'x' })), null)).toMatchObject({
      who: { person: { tenant: 'default' } },
    })
  })
  type Row = [what: string, claims: Claims, end: RegExp | string, issuer?: Partial<Issuer>]
  const rows: Row[] = [
    ['that is for somebody else', { aud: 'other' }, DENIED],
    ['of another issuer', { iss: 'https://evil.example' }, NONE_OF_OURS],
    ['that ends in a moment', { iat: NOW - 100, exp: NOW + 1 }, 'alice'],
    ['that ends now', { iat: NOW - 100, exp: NOW }, /has expired/],
    ['that ended a moment ago', { iat: NOW - 100, exp: NOW - 1 }, /has expired/],
    ['without an end', { exp: undefined }, DENIED],
    ['without a beginning', { iat: undefined }, DENIED],
    ['of a clock that is a minute ahead', { iat: NOW + 60 }, 'alice'],
    ['of a clock that is further ahead', { iat: NOW + 61 }, /issued in the future/],
    ['that lives as long as it may', { exp: NOW + 600 }, 'alice'],
    ['that lives longer', { exp: NOW + 601 }, /lives longer than identity.max_age \(600 s\)/],
    ['without a user', { sub: undefined }, /no user at \/sub/],
    ['whose user is no text', { sub: 7 }, /no user at \/sub/],
    ['whose user has control characters', { sub: 'a\u0000' }, /control characters/],
    ['without an agent', { client_id: undefined }, /no agent at \/client_id/],
    ['without the tenant', {}, /no tenant at \/org/, { tenant: '/org' }],
    ['of any tenant', { org: 'acme' }, 'alice', { tenant: '/org' }],
    ['of no tenant of its issuer', { org: 'b' }, /tenant/, { tenant: '/org', tenants: ['a'] }],
    ['whose email is verified', { email: 'a@b', email_verified: true }, 'a@b', { user: '/email' }],
    ['whose email is not', { email: 'a@b' }, /email is not verified/, { user: '/email' }],
    [
      'whose email is, they say',
      { email: 'a@b', email_verified: 'true' },
      /email is not verified/,
      { user: '/email' },
    ],
  ]
  test.each<Row>(rows)('%s', async (_what, more, end, issuer = {}) => {
    const { identify } = world({ issuer })
    const told = await who(identify, header(await sign(more)))
    if (typeof end === 'string') expect(told).toBe(end)
    else expect(told).toMatch(end)
  })
  test('has one reading', async () => {
    const { identify } = world()
    const part = (text: string): string => Buffer.from(text).toString('base64url')
    const twice = JSON.stringify(CLAIMS).replace('{', '{"sub":"bob",')
    const token = `${part('{"alg":"EdDSA","kid":"k1"}')}.${part(twice)}.c2ln`
    expect(await who(identify, header(token))).toMatch(/cannot be read in one way/)
    const good = await sign()
    for (const other of [`${good}=`, `${good}~`, `${good}.`])
      expect(await who(identify, header(other)), other).toMatch(NONE_OF_OURS)
  })
  test('that does not verify says why to the log', async () => {
    const { identify } = world()
    const token = await sign({ aud: ['x'] })
    await expect(identify.identify(header(token), null)).rejects.toMatchObject({
      message: 'the assertion does not verify: ERR_JWT_CLAIM_VALIDATION_FAILED',
      cause: { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED' },
    })
  })
  test('that is longer than 16 kB is not read', async () => {
    const { identify } = world()
    expect(await who(identify, header('x'.repeat(16_384)))).toMatch(NONE_OF_OURS)
    expect(await who(identify, header('x'.repeat(16_385)))).toMatch(/the tag is too long/)
  })
})

describe('the keys of an issuer', () => {
  test('are asked for again for a name that is not among them', async () => {
    const { identify, published } = world()
    expect(await who(identify, header(await sign()))).toBe('alice')
    published.keys = [jwk(OTHER.publicKey, 'k2')]
    const token = await sign({}, { key: OTHER.privateKey, kid: 'k2' })
    expect(await who(identify, header(token))).toBe('alice')
    expect(await who(identify, header(await sign({}, { kid: 'k3' })))).toMatch(
      /does not verify: ERR_JWKS_NO_MATCHING_KEY/,
    )
    // The old key serves nobody any more.
    expect(await who(identify, header(await sign()))).toMatch(DENIED)
  })
  test('without names are each tried, and asked for again where none fits', async () => {
    const { identify, published } = world()
    const unnamed = (key: KeyObject) => sign({}, { key, kid: null })
    published.keys = [jwk(OTHER.publicKey)]
    expect(await who(identify, header(await unnamed(OTHER.privateKey)))).toBe('alice')
    published.keys = [jwk(ED.publicKey)]
    expect(await who(identify, header(await unnamed(ED.privateKey)))).toBe('alice')
    published.keys = [jwk(generateKeyPairSync('ed25519').publicKey), jwk(OTHER.publicKey)]
    expect(await who(identify, header(await unnamed(OTHER.privateKey)))).toBe('alice')
    expect(await who(identify, header(await unnamed(ED.privateKey)))).toMatch(
      /does not verify: ERR_JWS_SIGNATURE_VERIFICATION_FAILED/,
    )
  })
  test('are not asked for again by what no newer key would mend', async () => {
    const { identify, published } = world()
    published.keys = [jwk(OTHER.publicKey), jwk(ED.publicKey), jwk(OTHER.publicKey, 'k1')]
    const unnamed = { kid: null }
    expect(await who(identify, header(await sign({}, unnamed)))).toBe('alice')
    for (const [token, why] of [
      [await sign({ aud: 'x' }, unnamed), 'ERR_JWT_CLAIM_VALIDATION_FAILED'],
      [await sign(), 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED'],
    ] as const)
      expect(await who(identify, header(token))).toContain(why)
    expect(published.asked).toBe(1)
  })
  test('that cannot be had or used are the issuer’s fault, not the tag’s', async () => {
    const { identify, published } = world()
    published.away = true
    expect(await who(identify, header(await sign()))).toMatch(/^issuer_unavailable: /)
    const other = world()
    other.published.keys = [jwk(ED.privateKey, 'k1')]
    expect(await who(other.identify, header(await sign()))).toMatch(
      /^issuer_unavailable: the issuer publishes keys that cannot be used/,
    )
  })
})

describe('what was verified', () => {
  test('is remembered until it ends', async () => {
    const { identify, now } = world()
    const token = await sign()
    const { who: alice } = await identify.identify(header(token), null)
    expect(known(identify, header(token))).toBe(alice)
    now.s = NOW + 299
    expect(known(identify, header(token))).toBe(alice)
    now.s = NOW + 300
    expect(await who(identify, header(token))).toMatch(/has expired/)
  })
  test('is void with the key that verified it, and when everything is forgotten, also while it is verified', async () => {
    const { identify, published } = world()
    const token = await sign()
    const alice = await identify.identify(header(token), null)
    identify.forget()
    const again = identify.identify(header(token), null)
    expect(again).toBeInstanceOf(Promise)
    identify.forget()
    expect(await again).toEqual(alice)
    const third = identify.identify(header(token), null)
    expect(third).toBeInstanceOf(Promise)
    await third
    published.keys = [jwk(OTHER.publicKey, 'k2')]
    expect(await who(identify, header(await sign({}, { key: OTHER.privateKey, kid: 'k2' })))).toBe(
      'alice',
    )
    expect(await who(identify, header(token))).toMatch(DENIED)
  })
})

describe('signed tags', () => {
  test('stand in the header or where the SDK puts its key, once or alike', async () => {
    const { identify } = world()
    const [alice, bob] = [await sign(), await sign({ sub: 'bob', aud: ['x', 'deputy'] })]
    const foreign = await sign({ iss: 'https://other.example' })
    const forOther = await sign({ aud: ['x', 'y'] })
    const forNobody = await sign({ aud: undefined })
    const rows: readonly (readonly [string[], string | RegExp])[] = [
      [header(alice), 'alice'],
      [header(`bearer  ${alice}`), 'alice'],
      [slot(alice), 'alice'],
      [slot(`Bearer ${alice}`), 'alice'],
      [slot(`Token  ${alice} and more`), 'alice'],
      [slot(basic(`x:${alice}`)), 'alice'],
      [slot(basic(bob)), 'bob'],
      [slot(`Bearer ${bob}`), 'bob'],
      [header(RUN), 'of-the-run'],
      [slot(`Bearer ${RUN}`), 'of-the-run'],
      [header('dpr_other'), /no such run/],
      [[...header(alice), ...header(`Bearer ${alice}`), ...slot(alice), ...slot(alice)], 'alice'],
      [[...header(alice), ...header(bob)], TWO],
      [[...header(alice), ...slot(bob)], TWO],
      [[...slot(alice), ...slot(bob)], TWO],
      [[...header(alice), ...slot(RUN)], TWO],
      [[...header(RUN), ...slot(`Bearer ${RUN}`)], 'of-the-run'],
      // The key of an SDK is a credential, which names nobody.
      ...['secret', 'a.b.c', foreign, forOther, forNobody, `${bob}~`].flatMap(
        (key): readonly (readonly [string[], string | RegExp])[] => [
          [[...header(alice), ...slot(`Bearer ${key}`)], 'alice'],
          [slot(`Bearer ${key}`), NO_TAG],
        ],
      ),
      [['X-Other', alice, 'Deputy-Usex', alice, 'Authorizatiox', alice], NO_TAG],
      [header(''), NO_TAG],
      [[], NO_TAG],
      [header('alice'), NONE_OF_OURS],
      [slot('user:alice'), NO_TAG],
    ]
    for (const [headers, end] of rows) {
      const told = expect(await who(identify, headers), headers.join(' '))
      if (typeof end === 'string') told.toBe(end)
      else told.toMatch(end)
      expect(identify.tagged(headers), headers.join(' ')).toBe(
        typeof end === 'string' || end === NONE_OF_OURS || end.source === 'no such run',
      )
    }
    expect(await who(identify, header(alice), 'alice')).toMatch(/a name in the path is unsigned/)
    expect(identify.tag(slot(`Bearer ${alice}`), null)).toBe(alice)
  })
})

describe('plain names', () => {
  const latin = (text: string): string => Buffer.from(text).toString('latin1')
  const rows: readonly (readonly [string[], string | null, string | RegExp])[] = [
    [header('alice'), null, 'alice'],
    [[], 'alice', 'alice'],
    [slot('user:alice'), null, 'alice'],
    [slot('Bearer user:alice'), null, 'alice'],
    [slot('Token user:alice and more'), null, 'alice'],
    [slot(basic('key:user:alice')), null, 'alice'],
    [header(latin('jos\u00e9')), null, 'jos\u00e9'],
    [[], 'jos\u00e9', 'jos\u00e9'],
    [slot(`Bearer user:${latin('jos\u00e9')}`), null, 'jos\u00e9'],
    [slot(basic('user:jos\u00e9')), null, /has no tag/],
    [slot(basic('key:user:jos\u00e9')), null, 'jos\u00e9'],
    // In Latin-1 two people's names would become one.
    [header('jos\u00e9'), null, /not UTF-8/],
    [slot(basic(Buffer.from('key:user:jos\u00e8', 'latin1'))), null, /not UTF-8/],
    [[...header('alice'), ...slot('user:alice')], 'alice', 'alice'],
    [[...header('alice'), ...slot('Bearer sk-123')], null, 'alice'],
    [[...header('alice'), ...header('bob')], null, TWO],
    [[...header('alice'), ...slot('user:bob')], null, TWO],
    [header('alice'), 'bob', TWO],
    [header(RUN), null, 'of-the-run'],
    [header(`Bearer ${RUN}`), null, 'of-the-run'],
    [slot(`Bearer ${RUN}`), null, 'of-the-run'],
    [[...header(RUN), ...slot(RUN)], null, 'of-the-run'],
    [[...header(RUN), ...header('dpr_other')], null, TWO],
    [[...header(RUN), ...slot('dpr_other')], null, TWO],
    [[...slot(RUN), ...slot('dpr_other')], null, TWO],
    [[...slot('dpr_other'), ...slot(RUN)], null, TWO],
    [[...header('alice'), ...slot(RUN)], null, TWO],
    [header(RUN), 'alice', TWO],
    [header('dpr_other'), null, /no such run/],
    [slot('Bearer sk-123'), null, NO_TAG],
    [['X-Other', 'alice', 'Deputy-Usex', 'alice'], null, NO_TAG],
    [header(''), null, NO_TAG],
    [[], null, NO_TAG],
    [header('a\u0007'), null, /control characters/],
    [[], RUN, /a run token goes into a header/],
  ]
  test.each(rows)('%j and in the path %j: %s', async (headers, named, end) => {
    const { identify } = world({ trust: 'plain' })
    const told = expect(await who(identify, headers, named))
    if (typeof end === 'string') told.toBe(end)
    else told.toMatch(end)
  })
  test('are no token of a workload', async () => {
    const { identify } = world({ trust: 'plain' })
    expect(await who(identify, header('Bearer eyJ3b3JrbG9hZCI6MX0.eyJhIjoxfQ.c2ln'))).toMatch(
      /a token stands where the name should be/,
    )
  })
  test('make one unverified principal each', async () => {
    const { identify } = world({ trust: 'plain' })
    const alice = known(identify, header('alice'))
    expect(alice).toEqual({
      person: { tenant: 'default', realm: 'local', id: 'alice' },
      agent: 'laptop',
      verified: false,
      claims: null,
      issuedAt: null,
      expiresAt: null,
      run: null,
    })
    // What is remembered of somebody is remembered by their principal.
    expect(known(identify, [], 'alice')).toBe(alice)
    expect(known(identify, header('bob'))).not.toBe(alice)
    const placed = async (headers: string[], named: string | null = null) =>
      (await identify.identify(headers, named)).place
    expect(await placed(slot('user:alice'))).toBe('slot')
    expect(await placed(slot('user:alice'), 'alice')).toBe('elsewhere')
    expect(await placed(header('alice'))).toBe('elsewhere')
    expect(await placed([], 'alice')).toBe('elsewhere')
  })
  test('are tags as they may stand in the key slot', () => {
    const { identify } = world({ trust: 'plain' })
    expect(identify.tag(header(latin('jos\u00e9')), null)).toBe(`user:${latin('jos\u00e9')}`)
    expect(identify.tag(slot(`Bearer ${RUN}`), null)).toBe(RUN)
    expect(identify.tagged(header('alice'))).toBe(true)
    expect(identify.tagged(slot('Bearer sk-123'))).toBe(false)
    expect(() => identify.tagged(null as unknown as string[])).toThrow(TypeError)
  })
  test('in a body count where the headers name nobody', () => {
    const { identify, now } = world({ trust: 'plain' })
    expect(identify.named('bob', slot('Bearer sk-123'))).toMatchObject({ person: { id: 'bob' } })
    expect(identify.named('bob', header('alice'))).toBeNull()
    expect(identify.named('bob', header(''))).toBeNull()
    expect(identify.named('bob', slot(RUN))).toBeNull()
    now.wrong = 'behind'
    expect(() => identify.named('bob', [])).toThrow(
      expect.objectContaining({ code: 'clock_wrong' }) as Error,
    )
  })
})

describe('names with the key of an application', () => {
  const KEY = 'crm-'.padEnd(40, 'k')
  const crm: Application = {
    name: 'crm',
    keys: [{ digest: createHash('sha256').update(KEY).digest(), key: secret(KEY) }],
    workload: null,
    agent: 'agent:crm',
    realm: 'corp',
    tenants: ['a', 'b'],
    people: ['*'],
  }
  const tenant = ['Deputy-Tenant', 'a']
  const JOSE = Buffer.from('jos\u00e9').toString('latin1')
  test('are none where plain names are trusted: what looks like a key is no tag there', async () => {
    const { identify } = world({ trust: 'plain', rows: [crm] })
    const both = [...header('alice'), ...slot(`Bearer ${KEY}`)]
    expect(await identify.identify(both, null)).toMatchObject({
      who: { person: { id: 'alice' } },
      place: 'elsewhere',
    })
  })
  test('are none of a program’s that names another', async () => {
    const { identify } = world({ rows: [crm] })
    const named = (headers: string[]) => identify.named('alice', headers, 'a')
    expect(await named(slot(`Bearer ${KEY}`))).toMatchObject({ person: { id: 'alice' } })
    expect(await named(slot(`Bearer ${KEY}:bob`))).toBeNull()
    const plain = world({ trust: 'plain' }).identify
    expect(await plain.named('alice', slot(`Bearer ${await sign()}`))).toMatchObject({
      person: { id: 'alice' },
    })
  })
  test('are none beside a signed tag, whatever key of a provider stands in the slot', async () => {
    const { identify } = world({ rows: [crm] })
    const theirs = slot(`Bearer ${'x'.repeat(40)}:y`)
    expect(await who(identify, [...header(await sign()), ...theirs])).toBe('alice')
    expect(await who(identify, [...header(RUN), ...theirs])).toBe('of-the-run')
    expect(await who(identify, theirs)).toMatch(/^application_unknown: /)
  })
  test('are known at once, one value for each person, wherever the key stood', async () => {
    const { identify } = world({ rows: [crm] })
    const both = [...slot(`Bearer ${KEY}`), ...header('alice'), ...tenant]
    const alice = known(identify, both)
    expect(alice).toMatchObject({ person: { tenant: 'a', id: 'alice' }, assertedBy: 'crm' })
    expect(known(identify, [...slot(`${KEY}:alice`), ...tenant])).toBe(alice)
    const placed = async (headers: string[]) => (await identify.identify(headers, null)).place
    expect(await placed(both)).toBe('slot')
    expect(await placed([...header(`${KEY}:alice`), ...slot('Bearer ghp'), ...tenant])).toBe(
      'elsewhere',
    )
    expect(await placed([...header(await sign()), ...slot('Bearer ghp')])).toBe('elsewhere')
  })
  test('are tags as they may stand in the key slot, with their tenant', () => {
    const { identify } = world({ rows: [crm] })
    const named = [...slot(`Bearer ${KEY}`), ...header(JOSE)]
    expect(identify.tag(named, null)).toBe(`${KEY}:${JOSE}`)
    expect(identify.tag([...named, ...tenant], null)).toBe(`${KEY}:${JOSE}\n\na`)
    expect(identify.tagged(named)).toBe(true)
    expect(identify.tagged(slot(`Bearer ${KEY}`))).toBe(false)
  })
  test('in a body count beside the key alone', async () => {
    const { identify } = world({ rows: [crm] })
    const alone = slot(`Bearer ${KEY}`)
    expect(identify.named('bob', alone, 'b')).toMatchObject({ person: { tenant: 'b', id: 'bob' } })
    expect(identify.named('bob', [...alone, ...tenant])).toMatchObject({ person: { tenant: 'a' } })
    expect(identify.named('bob', [...alone, ...header('alice')])).toBeNull()
    expect(identify.named('bob', slot(await sign()))).toBeNull()
    expect(() => identify.named('bob', slot('Bearer ghp'))).toThrow(/no tag/)
  })
  test('with a certificate as the key are tags too, and a bad one in the slot is no room for that of a body', async () => {
    const workload = { name: 'nightly', subject: 's', agent: 'agent:crm', expiresAt: NOW * 2_000 }
    const row = { ...crm, keys: [], workload: 'nightly', tenants: ['a'] }
    const { identify } = world({ rows: [row], workload })
    for (const sent of [header('alice'), slot('Bearer user:alice')]) {
      const caller = await identify.identify(sent, null)
      expect(caller.who).toMatchObject({ person: { id: 'alice' }, assertedBy: 'crm' })
      expect(identify.tag(sent, null)).toBe('user:alice')
    }
    expect(identify.named('bob', [])).toMatchObject({ person: { id: 'bob' } })
    for (const bad of ['\xff', 'alice'])
      expect(() => identify.named('bob', [...slot(`user:${bad}`), ...slot('user:\xff')])).toThrow(
        /not UTF-8/,
      )
    expect(identify.named('bob', slot('user:alice'))).toBeNull()
  })
  test('are nothing where the path names somebody, or trust is plain', () => {
    const { identify } = world({ rows: [crm] })
    expect(() => identify.identify(slot(`${KEY}:alice`), 'alice')).toThrow(/path is unsigned/)
    const plain = world({ rows: [crm], trust: 'plain' }).identify
    expect(() => plain.identify(slot(`${KEY}:alice`), null)).toThrow(/no tag/)
  })
  test('are found where none belong', () => {
    const { identify } = world({ rows: [crm] })
    expect(identify.tags.holds(`see ${KEY}:alice`)).toBe(true)
  })
})

describe('a tag beside the token of a workload', () => {
  const workload: Workload = {
    name: 'nightly',
    subject: 'sub',
    agent: 'agent:n',
    expiresAt: (NOW + 100) * 1_000,
  }
  const FOREIGN = /^workload_unauthenticated: the tag is for .*, and the workload’s token says/
  test('is of the same agent, and both must hold', async () => {
    const { identify } = world({ workload })
    const mine = header(await sign({ client_id: 'agent:n' }))
    const { who: joined } = await identify.identify(mine, null)
    expect(joined).toMatchObject({
      agent: 'agent:n',
      workload: { name: 'nightly', subject: 'sub' },
      expiresAt: (NOW + 100) * 1_000,
    })
    expect(known(identify, mine), 'one value for each two').toBe(joined)
    const asked = world({ workload, later: true })
    expect((await asked.identify.identify(mine, null)).who).toEqual(joined)
    const later = world({ workload: { ...workload, expiresAt: (NOW + 900) * 1_000 } })
    expect((await later.identify.identify(mine, null)).who.expiresAt).toBe((NOW + 300) * 1_000)
  })
  test('that is for another agent is refused: an assertion, a run, an application’s word', async () => {
    const { identify } = world({ workload })
    expect(await who(identify, header(await sign()))).toMatch(FOREIGN)
    for (const ran of [{}, { verified: false }])
      expect(await who(world({ workload, ran }).identify, header(RUN))).toMatch(FOREIGN)
    const key = 'crm-key--'.padEnd(40, 'k')
    const rows: readonly Application[] = [
      {
        name: 'crm',
        keys: [{ digest: createHash('sha256').update(key).digest(), key: secret(key) }],
        workload: null,
        agent: 'agent:crm',
        realm: 'corp',
        tenants: ['default'],
        people: ['*'],
      },
    ]
    expect(await who(world({ workload, rows }).identify, slot(`Bearer ${key}:alice`))).toMatch(
      FOREIGN,
    )
  })
  test('is heard, and not that its workload may act for somebody who is away', async () => {
    const { identify } = world({ workloads: true, ran: { agent: 'agent:nightly' } })
    const nightly = ['Deputy-Agent', 'nightly']
    expect(await who(identify, [...nightly, ...header(RUN)])).toBe('of-the-run')
    expect(await who(identify, nightly)).toBe('alice')
    const nobody = world({ workloads: true, away: false }).identify
    expect(await who(nobody, nightly)).toMatch(NO_TAG)
  })
  test('that names somebody in the path is no name for an application’s workload', async () => {
    const row: Application = {
      name: 'crm',
      keys: [],
      workload: 'nightly',
      agent: 'agent:n',
      realm: 'corp',
      tenants: ['default'],
      people: ['*'],
    }
    const { identify } = world({ rows: [row], workload })
    expect(await who(identify, header('alice'))).toBe('alice')
    expect(await who(identify, header('alice'), 'bob')).toMatch(/^[a-z_]+: /)
    const both = [...header('alice'), ...slot(`Bearer ${await sign()}`)]
    expect(await who(world().identify, both), 'without an application').toMatch(TWO)
  })
  test('goes into an address with it, and nothing that nobody asks for here', async () => {
    const nightly = ['Deputy-Agent', 'nightly']
    const token = await sign()
    const tagOf = (told: Told, headers: string[]) => world(told).identify.tag(headers, null)
    expect(tagOf({}, [...header(token), ...nightly, 'Deputy-Tenant', 'a'])).toBe(token)
    expect(tagOf({ workloads: true }, [...header(token), ...nightly])).toBe(`${token}\nnightly`)
    const plain = { trust: 'plain', workloads: true } as const
    expect(tagOf(plain, [...header('alice'), ...nightly])).toBe('user:alice\nnightly')
    expect(tagOf(plain, nightly)).toBe('\nnightly')
    expect(() => tagOf({ trust: 'plain' }, [])).toThrow(Problem)
  })
  test('and a name alone are a tag where a workload’s token came, and is asked for', () => {
    const alice = header('alice')
    const nightly = ['Deputy-Agent', 'nightly', ...alice]
    const row: Application = {
      name: 'crm',
      keys: [],
      workload: 'crm',
      agent: 'agent:crm',
      realm: 'corp',
      tenants: ['default'],
      people: ['*'],
    }
    const { identify } = world({ rows: [row], workloads: true })
    expect([identify.tagged(alice), identify.tagged(nightly)]).toEqual([false, true])
    expect(world({ rows: [row] }).identify.tagged(nightly)).toBe(false)
  })
  test('that is a plain name is of whichever agent the workload is', async () => {
    const { identify } = world({ trust: 'plain', workload })
    expect((await identify.identify(header('alice'), null)).who).toMatchObject({
      agent: 'agent:n',
      expiresAt: workload.expiresAt,
    })
  })
  test('need not name an agent where a workload does, and must where none may or none did', async () => {
    const unnamed = header(await sign({ client_id: undefined }))
    expect(await who(world({ workload }).identify, unnamed)).toBe('alice')
    expect(await who(world({ workloads: true }).identify, unnamed)).toMatch(
      /^unauthenticated: the tag names no agent, and no token of a workload came/,
    )
    expect(await who(world().identify, unnamed)).toMatch(
      /^unauthenticated: the assertion has no agent at \/client_id/,
    )
  })
})

describe('a workload that names nobody by a tag', () => {
  const by = (name: string, ...more: readonly string[]): string[] => ['Deputy-Agent', name, ...more]
  /** `crm` is the key of an application; `nightly` is none's. */
  const crm: Application = {
    name: 'crm',
    keys: [],
    workload: 'crm',
    agent: 'agent:crm',
    realm: 'corp',
    tenants: ['default'],
    people: ['*'],
  }
  const { identify } = world({ rows: [crm], workloads: true })
  test('acts by standing: for the person that is named, or the only one', async () => {
    for (const [headers, id] of [
      [by('nightly'), 'alice'],
      [by('nightly', ...header('bob')), 'bob'],
      [by('nightly', ...slot('Bearer user:bob')), 'bob'],
      [by('nightly', ...slot('Bearer ghp_123')), 'alice'],
    ] as const)
      expect(known(identify, headers)).toMatchObject({
        person: { id },
        standing: `s-${id}`,
        agent: 'agent:nightly',
        workload: { name: 'nightly' },
      })
    expect(await who(identify, by('nightly', ...header('carol')))).toMatch(/nobody lets nightly/)
    expect(await who(identify, header('alice'))).toMatch(/^application_unknown/)
  })
  test('a signed tag says whom the call is for, and a second name is one too many', async () => {
    const token = await sign({ sub: 'carol', client_id: 'agent:nightly' })
    for (const headers of [header(token), slot(`Bearer ${token}`)]) {
      const caller = (await identify.identify(by('nightly', ...headers), null)).who
      expect(caller).toMatchObject({ person: { id: 'carol' } })
      expect(caller.standings).toBe(undefined)
    }
    const two = [...header('alice'), ...slot('user:bob')]
    expect(await who(identify, by('nightly', ...two))).toMatch(TWO)
    expect(await who(identify, by('nightly', ...header(`${token}x`)))).toMatch(DENIED)
    expect(await who(identify, by('nightly'), 'alice')).toMatch(/path is unsigned/)
    const unknown = `${'k'.repeat(40)}:bob`
    expect(await who(identify, by('nightly', ...slot(unknown)))).toMatch(/^application_unknown/)
  })
  test('whose token is the key of an application names people by that row alone', async () => {
    expect(known(identify, by('crm', ...header('alice')))).toMatchObject({ assertedBy: 'crm' })
    expect(known(identify, by('crm', ...header('alice')))?.standings).toBe(undefined)
    expect(await who(identify, by('crm'))).toMatch(NO_TAG)
    // And the other way round: what is no key names nobody for an application.
    expect(known(identify, by('nightly', ...header('alice')))?.assertedBy).toBe(undefined)
  })
  test('what stands in the key slot is a credential unless it names somebody', async () => {
    const placed = async (headers: string[]) => (await identify.identify(headers, null)).place
    expect(await placed(by('nightly', ...slot('Bearer ghp_123')))).toBe('elsewhere')
    expect(await placed(by('nightly', ...slot('Bearer user:bob')))).toBe('slot')
  })
  test('is known again by what it sent, as it may stand in the key slot', () => {
    expect(identify.tag(by('nightly'), null)).toBe('\nnightly')
    expect(identify.tag(by('nightly', ...header('bob')), null)).toBe('user:bob\nnightly')
    expect(known(identify, by('nightly', ...slot('user:bob')))).toMatchObject({
      person: { id: 'bob' },
    })
    expect(identify.tag([], null)).toBe('') // by a certificate
    expect(identify.tagged(by('nightly'))).toBe(false)
    expect(identify.tagged(by('nightly', ...header('bob')))).toBe(true)
  })
  test('under plain a name is the tag, and standing is for calls without', () => {
    const plain = world({ trust: 'plain', workloads: true }).identify
    expect(known(plain, by('nightly', ...header('carol')))).toMatchObject({ verified: false })
    expect(known(plain, by('nightly', ...slot('user:carol')))).toMatchObject({ verified: false })
    expect(known(plain, by('nightly'))).toMatchObject({ standing: 's-alice' })
    expect(plain.tag(by('nightly'), null)).toBe('\nnightly')
  })
})

test('a clock that is wrong is no clock to judge a tag by, whenever it is found out', async () => {
  const { identify, now } = world()
  const [token, old] = [await sign(), await sign({ iat: NOW - 100, exp: NOW - 1 })]
  now.wrong = 'ahead'
  expect(await who(identify, header(old))).toMatch(/^clock_wrong: /)
  now.wrong = 'behind'
  expect(await who(identify, header(old))).toMatch(/has expired/)
  expect(await who(identify, header(token))).toMatch(/^clock_wrong: /)
  expect(await who(identify, header(RUN))).toMatch(/^clock_wrong: /)
  now.wrong = null
  expect(await who(identify, header(token))).toBe('alice')
})

test('a tag is found where none belongs', async () => {
  const { identify } = world()
  expect(identify.tags.holds(`see ${await sign()} there`)).toBe(true)
  expect(identify.tags.holds(`see ${await sign({ aud: 'other' })} there`)).toBe(false)
})
