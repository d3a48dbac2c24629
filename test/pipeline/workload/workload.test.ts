// Which agent a call is from: one token of a workload, read in one way. test/e2e/workloads.test.ts has the calls themselves.
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SignJWT, UnsecuredJWT } from 'jose'
import { afterEach, describe, expect, test } from 'vitest'
import type { ClientCertificate } from '../../../proxy/model.ts'
import type { Fetch } from '../../../proxy/net/dial.ts'
import { createIssuerKeys } from '../../../proxy/oauth/issuer_keys.ts'
import { createWorkloads, type WorkloadIssuer } from '../../../proxy/pipeline/workload/workload.ts'
import type { WorkloadRow } from '../../../proxy/pipeline/workload/rows.ts'
import { Problem } from '../../../proxy/problem.ts'

const NOW = 1_800_000_000
const CLUSTER = 'https://kubernetes.default.svc'
const KEY = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const OTHER = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const open: { close: () => void }[] = []
afterEach(() => open.splice(0).forEach((one) => one.close()))

const NAMESPACE = '/kubernetes.io/namespace'
const ACCOUNT = '/kubernetes.io/serviceaccount/name'
const TRIAGE: WorkloadRow = {
  name: 'triage',
  match: [
    [NAMESPACE, 'agents'],
    [ACCOUNT, 'triage-*'],
  ],
  agent: 'agent:triage',
}
const ISSUER: WorkloadIssuer = {
  issuer: CLUSTER,
  jwksUri: `${CLUSTER}/keys`,
  jwksFile: null,
  audience: 'deputy',
  maxAge: 600_000,
  review: null,
  rows: [TRIAGE],
}
/** @param more rows of client certificates, and issuers whose API server is asked about each token */
const world = (
  rows: readonly WorkloadRow[] = [TRIAGE],
  required = true,
  more: {
    readonly certificates?: readonly WorkloadRow[]
    readonly issuers?: readonly WorkloadIssuer[]
    readonly fetch?: Fetch
  } = {},
) => {
  const quiet = () => undefined
  const now = { s: NOW, mono: 0 }
  const published = { away: false, asked: 0 }
  const clock = { now: () => now.s * 1_000, mono: () => now.s * 1_000 }
  const fetch = () => {
    published.asked++
    if (published.away) return Promise.reject(new Error('away'))
    const keys = [{ ...KEY.publicKey.export({ format: 'jwk' }), kid: 'k1' }]
    return Promise.resolve(Response.json({ keys }))
  }
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
  const workloads = createWorkloads({
    header: 'deputy-agent',
    required,
    issuers: [...(rows.length === 0 ? [] : [{ ...ISSUER, rows }]), ...(more.issuers ?? [])],
    certificates: more.certificates ?? [],
    fetch: more.fetch ?? (() => Promise.reject(new Error('nobody is asked'))),
    log,
    keysOf: (source) => {
      const keys = createIssuerKeys(source, { grace: 60_000, fetch, clock, log })
      open.push(keys)
      return keys
    },
    clock,
  })
  return { workloads, now, published }
}
const SUBJECT = 'system:serviceaccount:agents:triage-1'
const CLAIMS = {
  iss: CLUSTER,
  aud: ['deputy'],
  sub: SUBJECT,
  iat: NOW,
  nbf: NOW,
  exp: NOW + 600,
  'kubernetes.io': { namespace: 'agents', serviceaccount: { name: 'triage-1', uid: 'u1' } },
}
type Claims = Readonly<Record<string, unknown>>
const sign = (claims: Claims = {}, key = KEY.privateKey, alg = 'RS256'): Promise<string> =>
  new SignJWT({ ...CLAIMS, ...claims }).setProtectedHeader({ alg, kid: 'k1' }).sign(key)
const header = (value: string): string[] => ['Deputy-Agent', value]
const agentOf = async (workloads: ReturnType<typeof world>['workloads'], headers: string[]) => {
  try {
    return (await workloads.of(headers))?.agent ?? null
  } catch (error) {
    if (error instanceof Problem) return `${error.code}: ${error.message}`
    throw error
  }
}
const DENIED = /^workload_unauthenticated: /

test('a token names the agent, bare or as a bearer', async () => {
  const { workloads } = world()
  const token = await sign()
  expect(await workloads.of(header(token))).toEqual({
    name: 'triage',
    subject: SUBJECT,
    agent: 'agent:triage',
    expiresAt: (NOW + 600) * 1_000,
  })
  expect(await agentOf(workloads, ['DEPUTY-AGENT', `Bearer  ${token} `])).toBe('agent:triage')
})

test('the claim may name the agent', async () => {
  const { workloads } = world([{ ...TRIAGE, agent: '/sub' }])
  expect(await agentOf(workloads, header(await sign()))).toBe(SUBJECT)
  const long = world([{ ...TRIAGE, match: [['/iss', '*']], agent: '/kubernetes.io/namespace' }])
  for (const namespace of ['a'.repeat(257), 'a\u0000', 7, undefined])
    expect(
      await agentOf(long.workloads, header(await sign({ 'kubernetes.io': { namespace } }))),
    ).toMatch(
      /^workload_unauthenticated: the workload’s token has no name at \/kubernetes\.io\/namespace/,
    )
})

test.each<[string, Claims, RegExp]>([
  ['another audience', { aud: ['https://kubernetes.default.svc'] }, /does not verify/],
  ['no audience', { aud: undefined }, /does not verify/],
  ['the past', { iat: NOW - 700, nbf: NOW - 700, exp: NOW }, /has expired/],
  ['the future', { nbf: NOW + 120 }, /does not verify/],
  ['a later hour', { iat: NOW + 120, exp: NOW + 700 }, /issued in the future/],
  ['no end', { exp: undefined }, /does not verify/],
  ['no beginning', { iat: undefined }, /does not verify/],
  ['too long a life', { exp: NOW + 601 }, /lives longer than its max_age \(600 s\)/],
  ['no subject', { sub: undefined }, /no name at \/sub/],
  ['another issuer', { iss: 'https://other.example' }, /no token of an issuer/],
  [
    'another namespace',
    { 'kubernetes.io': { namespace: 'other', serviceaccount: { name: 'triage-1' } } },
    /triage wants another \/kubernetes\.io\/namespace/,
  ],
  [
    'another service account',
    { 'kubernetes.io': { namespace: 'agents', serviceaccount: { name: 'default' } } },
    /triage wants another \/kubernetes\.io\/serviceaccount\/name/,
  ],
])('a token of %s is refused', async (_, claims, said) => {
  const { workloads } = world()
  const answer = await agentOf(workloads, header(await sign(claims)))
  expect(answer).toMatch(DENIED)
  expect(answer).toMatch(said)
})

test('a token must be signed, by a key of the issuer and not by a secret', async () => {
  const { workloads } = world()
  const secret = await new SignJWT(CLAIMS)
    .setProtectedHeader({ alg: 'HS256', kid: 'k1' })
    .sign(Buffer.from(KEY.publicKey.export({ format: 'pem', type: 'spki' })))
  for (const token of [
    secret,
    new UnsecuredJWT(CLAIMS).encode(),
    await sign({}, OTHER.privateKey),
    'no token',
    '',
    `${await sign()}.x`,
    `${await sign()}${'x'.repeat(16_384)}`,
  ])
    expect(await agentOf(workloads, header(token))).toMatch(DENIED)
})

test('a pod takes its own token only', async () => {
  const mine: WorkloadRow = { ...TRIAGE, match: [['/kubernetes.io/pod/uid', 'uid-of-this-pod']] }
  const { workloads } = world([mine])
  const of = (uid: string) => sign({ 'kubernetes.io': { pod: { name: 'p', uid } } })
  expect(await agentOf(workloads, header(await of('uid-of-this-pod')))).toBe('agent:triage')
  for (const token of [await of('uid-of-another'), await of('uid-of-this-pod2'), await sign()])
    expect(await agentOf(workloads, header(token))).toMatch(DENIED)
})

test.each([
  ['a*c', 'abc', true],
  ['a*c', 'ac', true],
  ['a*a', 'a', false],
  ['*', '', true],
  ['a*b*c', 'a-b-c', true],
  ['a*b*c', 'abbc', true],
  ['a*b*bc', 'abc', false],
  ['a**c', 'ac', true],
  ['a*c', 'abcd', false],
  ['a.c', 'abc', false],
])('%s stands for %s: %s', async (pattern, value, meant) => {
  const { workloads } = world([{ ...TRIAGE, match: [['/claim', pattern]] }])
  const answer = await agentOf(workloads, header(await sign({ claim: value })))
  if (meant) expect(answer).toBe('agent:triage')
  else expect(answer).toMatch(DENIED)
})

test('the first row that matches counts', async () => {
  const { workloads } = world([{ ...TRIAGE, match: [[ACCOUNT, 'other']], agent: 'x' }, TRIAGE])
  expect(await agentOf(workloads, header(await sign()))).toBe('agent:triage')
})

test('one token, and only one', async () => {
  const { workloads } = world()
  const token = await sign()
  expect(await agentOf(workloads, [...header(token), ...header(token)])).toMatch(/came twice/)
  expect(await agentOf(workloads, [])).toMatch(/does not say which agent/)
  expect(await agentOf(world([TRIAGE], false).workloads, [])).toBeNull()
  expect(world([]).workloads.of(header('anything'))).toBeNull()
})

test('a header of the same length is another one', async () => {
  const { workloads } = world()
  const headers = ['X-Request-Id', 'x', ...header(await sign()), 'Deputy-Agents', 'y']
  expect(await agentOf(workloads, headers)).toBe('agent:triage')
  expect(workloads.sent(['X-Request-Id', 'x'])).toBeNull()
})

describe('a client certificate', () => {
  const uri = 'spiffe://corp/triage'
  const certificates: readonly WorkloadRow[] = [
    { name: 'mesh', match: [['/uri', uri]], agent: 'agent:triage' },
    { name: 'other', match: [['/uri', 'spiffe://corp/other']], agent: 'agent:other' },
  ]
  const shown = (validTo: number, name = uri): ClientCertificate => ({
    uris: [name],
    dns: [],
    cns: [],
    validFrom: 0,
    validTo,
    problem: null,
  })
  const END = (NOW + 600) * 1_000
  test('names the agent by itself, and is asked for where it may', async () => {
    const { workloads } = world([], true, { certificates })
    expect(workloads.some).toBe(true)
    expect(await workloads.of([], shown(END))).toMatchObject({ agent: 'agent:triage' })
    expect(await agentOf(workloads, [])).toMatch(/as deputy-agent, or show its certificate$/)
    expect(await agentOf(world().workloads, [])).toMatch(/as deputy-agent$/)
    expect(world([]).workloads.some).toBe(false)
  })
  test('says nothing where no row is about certificates', async () => {
    const { workloads } = world()
    const of = await workloads.of(header(await sign()), shown(END, 'spiffe://unknown'))
    expect(of).toMatchObject({ name: 'triage', expiresAt: END })
  })
  test('beside a token says the same, and the earlier end counts, whether or not the token is known', async () => {
    const { workloads } = world([TRIAGE], true, { certificates })
    const mine = header(await sign())
    for (const [validTo, expiresAt] of [
      [END - 1_000, END - 1_000],
      [END + 1_000, END],
    ] as const)
      expect(await workloads.of(mine, shown(validTo))).toMatchObject({ name: 'triage', expiresAt })
    const known = await workloads.of(mine)
    expect(workloads.of(mine, shown(END))).toBe(known)
    workloads.forget()
    const foreign = shown(END, 'spiffe://corp/other')
    for (const _ of ['new', 'known'])
      await expect((async () => workloads.of(mine, foreign))()).rejects.toMatchObject({
        code: 'workload_unauthenticated',
        message: expect.stringContaining('the client certificate says agent:other') as string,
      })
  })
})

test('an issuer whose API server is to be asked is asked, and its keys are not enough', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-workload-'))
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, 'own')
  const reviewing = 'https://reviewing.test'
  const review = { where: 'w', server: 'https://api.test', ca: null, tokenFile, cache: 0 }
  const urls: string[] = []
  const { workloads, published } = world([TRIAGE], true, {
    issuers: [{ ...ISSUER, issuer: reviewing, jwksUri: null, review }],
    fetch: async (url) => {
      urls.push(url instanceof Request ? url.url : url.toString())
      return Response.json({
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        status: {
          authenticated: true,
          audiences: ['deputy'],
          user: { username: SUBJECT, uid: 'u1' },
        },
      })
    },
  })
  const token = await sign({ iss: reviewing }, OTHER.privateKey)
  expect(workloads.meant(token)).toBe(true)
  expect(await agentOf(workloads, header(token))).toBe('agent:triage')
  expect(urls).toEqual(['https://api.test/apis/authentication.k8s.io/v1/tokenreviews'])
  expect(await agentOf(workloads, header(await sign()))).toBe('agent:triage')
  expect([urls.length, published.asked]).toEqual([1, 1])
  rmSync(folder, { recursive: true })
})

test('it is remembered until it ends, by the clock that never goes back', async () => {
  const { workloads, now } = world()
  const token = await sign()
  const first = await workloads.of(header(token))
  expect(workloads.of(header(token))).toBe(first)
  workloads.forget()
  const again = workloads.of(header(token))
  expect(again).toBeInstanceOf(Promise)
  expect(await again).toEqual(first)
  now.s = NOW + 600
  expect(await agentOf(workloads, header(token))).toMatch(/has expired/)
})

test('an issuer that cannot be asked is no fault of the token', async () => {
  const { workloads, published } = world()
  published.away = true
  expect(await agentOf(workloads, header(await sign()))).toMatch(/^issuer_unavailable: /)
})

test('what is meant for deputy is known without asking anybody', async () => {
  const { workloads, published } = world()
  expect(workloads.meant(await sign())).toBe(true)
  expect(workloads.meant(await sign({ aud: 'deputy' }))).toBe(true)
  expect(workloads.meant(await sign({ aud: 'vault' }))).toBe(false)
  expect(workloads.meant('eyJx.eyJ.x')).toBe(false)
  expect(published.asked).toBe(0)
})
