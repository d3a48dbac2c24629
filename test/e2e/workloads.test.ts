// Which agent calls, by its own token: named, bounded, recorded, judged, and never sent on.
import { generateKeyPairSync } from 'node:crypto'
import { SignJWT, UnsecuredJWT } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parseConfig } from '../../proxy/config/parse.ts'
import { providersAt, startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { startIssuer } from '../support/issuer.ts'
import type { Issuer } from '../support/issuer.ts'
import { lines, sendRaw } from '../support/raw.ts'
import type { RawAnswer } from '../support/raw.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-acme-0123456789'
const AGENT = 'agent:triage'
let upstream: Upstream
let people: Issuer
let cluster: Issuer
beforeAll(async () => {
  ;[upstream, people, cluster] = await Promise.all([startUpstream(), startIssuer(), startIssuer()])
  upstream.people.set(TOKEN, 'alice-acme')
})
afterAll(async () => {
  await upstream.close()
  people.close()
  cluster.close()
})
beforeEach(() => {
  upstream.seen.length = 0
  cluster.down = false
})

const WORKLOAD = {
  name: 'triage',
  match: { '/kubernetes.io/namespace': 'agents', '/kubernetes.io/serviceaccount/name': 'triage' },
  agent: AGENT,
}
const row = (more: Fields = {}): Fields => ({ ...WORKLOAD, issuer: cluster.url, ...more })
const asserted = (more: Fields = {}): Fields => ({
  trust: 'asserted',
  issuers: [{ issuer: people.url, audience: 'deputy', realm: 'local' }],
  ...more,
})
const start = (config: Fields, more: Fields = {}): Promise<Deputy> =>
  startDeputy({
    upstream: upstream.origin,
    config: {
      workloads: [row()],
      identity: asserted(),
      connect: { verifier: { url: 'https://app.example/verify', key: 'k'.repeat(32) } },
      ...config,
    },
    held: [{ person: 'alice', agent: AGENT, token: TOKEN }],
    ...more,
  })

const pod = (more: Fields = {}): Promise<string> => {
  const now = Math.floor(Date.now() / 1_000)
  return cluster.sign({
    exp: now + 600,
    act: undefined,
    aud: ['deputy'],
    sub: 'system:serviceaccount:agents:triage',
    'kubernetes.io': { namespace: 'agents', serviceaccount: { name: 'triage', uid: 'u' } },
    ...more,
  })
}
/** A person's tag, which names no agent unless told. */
const tag = (more: Fields = {}): Promise<string> =>
  people.sign({ sub: 'alice', act: undefined, ...more })

const get = (deputy: Pick<Deputy, 'agent'>, ...headers: readonly string[]): Promise<RawAnswer> =>
  sendRaw(
    deputy.agent,
    lines('GET /api.acme.test/a HTTP/1.1', `Host: ${new URL(deputy.agent).host}`, ...headers),
  )
const refused = (answer: RawAnswer) => [answer.status, answer.json['code'], answer.json['detail']]
const by = async (more: Fields = {}): Promise<readonly string[]> => [
  `Deputy-User: ${await tag()}`,
  `Deputy-Agent: ${await pod(more)}`,
]
const last = (deputy: Deputy) => deputy.evidence().findLast(({ event }) => event === 'decision')

describe('a deputy that knows its workloads', () => {
  let deputy: Deputy
  beforeAll(async () => {
    deputy = await start({})
  })
  afterAll(() => deputy.close())

  test('takes the person from the tag and the agent from the token, and sends on neither', async () => {
    const headers = await by()
    const answer = await get(deputy, ...headers)
    expect([answer.status, answer.json['login']]).toEqual([200, 'alice-acme'])
    const sent = upstream.bytes().toString()
    for (const header of headers) expect(sent).not.toContain(header.split(': ')[1])
    expect(sent.toLowerCase()).not.toContain('deputy-agent')
    expect(last(deputy)).toMatchObject({
      user: { id: 'alice', verified: true },
      agent: {
        id: AGENT,
        workload: {
          name: 'triage',
          subject: 'system:serviceaccount:agents:triage',
          verified: true,
        },
      },
    })
  })

  test('takes a tag that names the same agent, and none that names another', async () => {
    const headers = async (agent: string) => [
      `Deputy-User: ${await tag({ act: { sub: agent } })}`,
      `Deputy-Agent: ${await pod()}`,
    ]
    expect((await get(deputy, ...(await headers(AGENT)))).status).toBe(200)
    upstream.seen.length = 0
    expect(refused(await get(deputy, ...(await headers('agent:other'))))).toEqual([
      401,
      'workload_unauthenticated',
      `The tag is for agent:other, and the workload’s token says that the call is from ${AGENT}.`,
    ])
    expect(upstream.seen).toEqual([])
  })

  test.each<[string, () => Promise<readonly string[]>, RegExp]>([
    ['without a token', async () => [`Deputy-User: ${await tag()}`], /does not say which agent/],
    [
      'for another audience',
      () => by({ aud: ['https://kubernetes.default.svc'] }),
      /does not verify/,
    ],
    ['that is over', () => by({ iat: 1_700_000_000, exp: 1_700_000_600 }), /(expired|not verify)/],
    ['without an end', () => by({ exp: undefined }), /does not verify/],
    [
      'of another namespace',
      () => by({ 'kubernetes.io': { namespace: 'x', serviceaccount: { name: 'triage' } } }),
      /triage wants another \/kubernetes\.io\/namespace/,
    ],
    ['of another issuer', () => by({ iss: 'https://other.example' }), /no token of an issuer/],
    [
      'that nobody signed',
      async () => [
        `Deputy-User: ${await tag()}`,
        `Deputy-Agent: ${new UnsecuredJWT({ iss: cluster.url, aud: 'deputy' }).encode()}`,
      ],
      /does not verify/,
    ],
    [
      'that a secret signed',
      async () => [
        `Deputy-User: ${await tag()}`,
        `Deputy-Agent: ${await new SignJWT({ iss: cluster.url, aud: 'deputy' }).setProtectedHeader({ alg: 'HS256', kid: 'k1' }).sign(Buffer.alloc(32, 7))}`,
      ],
      /does not verify/,
    ],
    [
      'that another key signed',
      async () => [
        `Deputy-User: ${await tag()}`,
        `Deputy-Agent: ${await new SignJWT({ iss: cluster.url, aud: 'deputy' }).setProtectedHeader({ alg: 'EdDSA', kid: 'k1' }).sign(generateKeyPairSync('ed25519').privateKey)}`,
      ],
      /does not verify/,
    ],
    ['twice', async () => [...(await by()), `deputy-agent: ${await pod()}`], /came twice/],
    [
      'in a header that Connection names',
      async () => [...(await by()), 'Connection: deputy-agent'],
      /Connection header names/,
    ],
  ])('refuses a call with a token %s', async (_, headers, said) => {
    const answer = refused(await get(deputy, ...(await headers())))
    expect(answer).toEqual([401, 'workload_unauthenticated', expect.stringMatching(said)])
    expect(upstream.seen).toEqual([])
  })

  test('takes no workload’s token for a person’s tag', async () => {
    const token = await pod()
    for (const slot of [`Deputy-User: ${token}`, `Authorization: Bearer ${token}`]) {
      const [status, code] = refused(await get(deputy, slot, `Deputy-Agent: ${token}`))
      expect([status, code]).toEqual([401, 'unauthenticated'])
    }
    expect(upstream.seen).toEqual([])
  })

  test('lets a workload’s token go nowhere else either', async () => {
    const token = await pod()
    const answer = await get(deputy, ...(await by()), `X-Note: it is ${token}`)
    expect(answer.status).toBe(200)
    expect(upstream.bytes().toString()).not.toContain(token)
    expect(last(deputy)?.['stripped']).toContain('header:x-note')
  })

  test('says 503 and nothing of the token while the issuer cannot be asked', async () => {
    cluster.down = true
    const fresh = await start({})
    try {
      expect(refused(await get(fresh, ...(await by())))).toEqual([
        503,
        'issuer_unavailable',
        'The keys of the issuer that signed this token cannot be read now.',
      ])
      cluster.down = false
      await expect.poll(async () => (await get(fresh, ...(await by()))).status).toBe(200)
    } finally {
      await fresh.close()
    }
  })

  test('asks for it at its own API too', async () => {
    const ask = async (...headers: readonly string[]) => {
      const body = JSON.stringify({
        user_id: 'alice',
        auth_requirement: { id: 'acme', oauth2: { scopes: ['notes'] } },
      })
      return sendRaw(
        deputy.agent,
        `${lines(
          'POST /v1/auth/authorize HTTP/1.1',
          `Host: ${new URL(deputy.agent).host}`,
          'Content-Type: application/json',
          `Content-Length: ${body.length}`,
          ...headers,
        )}${body}`,
      )
    }
    const alone = await ask(`Deputy-User: ${await tag()}`)
    expect([alone.status, alone.json['code']]).toEqual([401, 'workload_unauthenticated'])
    expect((await ask(...(await by()))).status).toBe(200)
  })
})

test('policy sees whose token named the agent', async () => {
  // A grant that no agent but this one has.
  const grants = structuredClone(TABLES['grants']) as Record<
    string,
    Record<string, { agents: string[] }>
  >
  for (const of of Object.values(grants)) for (const one of Object.values(of)) one.agents = [AGENT]
  const deputy = await start(
    { identity: asserted({ agent_required: false }) },
    { tables: { ...TABLES, grants } },
  )
  try {
    expect((await get(deputy, ...(await by()))).status).toBe(200)
    const other = await get(deputy, `Deputy-User: ${await tag({ act: { sub: 'agent:other' } })}`)
    expect(refused(other).slice(0, 2)).toEqual([403, 'policy_denied'])
    expect(last(deputy)).toMatchObject({ agent: { id: 'agent:other' } })
    expect(last(deputy)?.['agent']).not.toHaveProperty('workload')
    const nobody = await get(deputy, `Deputy-User: ${await tag()}`)
    expect(refused(nobody)).toEqual([
      401,
      'unauthenticated',
      'The tag names no agent, and no token of a workload came.',
    ])
  } finally {
    await deputy.close()
  }
})

test('under plain the token names the agent, in a header of its own name', async () => {
  const deputy = await start(
    {
      identity: { trust: 'plain', agent: 'laptop', agent_header: 'X-Caller' },
      workloads: [row({ agent: '/kubernetes.io/serviceaccount/name' })],
    },
    { held: [{ person: 'alice', agent: 'triage', token: TOKEN }] },
  )
  try {
    const answer = await get(deputy, 'Deputy-User: alice', `X-Caller: Bearer ${await pod()}`)
    expect(answer.status).toBe(200)
    expect(upstream.bytes().toString().toLowerCase()).not.toContain('x-caller')
    expect(last(deputy)).toMatchObject({
      user: { id: 'alice', verified: false },
      agent: { id: 'triage', workload: { name: 'triage' } },
    })
    for (const header of ['Connection: x-caller', 'X_Caller: a'])
      expect(
        (await get(deputy, 'Deputy-User: alice', `X-Caller: ${await pod()}`, header)).status,
      ).not.toBe(200)
    expect(refused(await get(deputy, 'Deputy-User: alice')).slice(0, 2)).toEqual([
      401,
      'workload_unauthenticated',
    ])
  } finally {
    await deputy.close()
  }
})

test('a person whom only the body names is asked for that agent', async () => {
  const deputy = await start(
    {
      identity: { trust: 'plain', agent: 'laptop' },
      workloads: [row({ agent: 'triage' })],
    },
    { held: [{ person: 'alice', agent: 'triage', token: TOKEN }] },
  )
  const ask = async (headers: Readonly<Record<string, string>>) => {
    const answer = await fetch(`${deputy.agent}/v1/auth/authorize`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({
        user_id: 'alice',
        auth_requirement: { id: 'acme', oauth2: { scopes: ['notes'] } },
      }),
    })
    const { status, code } = (await answer.json()) as Fields
    return [answer.status, code ?? status]
  }
  try {
    expect(await ask({ 'Deputy-Agent': await pod() })).toEqual([200, 'completed'])
    expect(await ask({})).toEqual([401, 'workload_unauthenticated'])
  } finally {
    await deputy.close()
  }
})

test('an address for a client without headers carries the workload’s token', async () => {
  const deputy = await start({
    providers: providersAt(upstream.origin).map((each) =>
      each['id'] === 'acme'
        ? {
            ...each,
            operations: [
              {
                id: 'acme.get',
                method: 'GET',
                path: '/{rest+}',
                access: 'read',
                scopes: [[]],
                signed: ['/url'],
              },
            ],
          }
        : each,
    ),
  })
  upstream.handle = (_, res) =>
    void res
      .setHeader('content-type', 'application/json')
      .end(JSON.stringify({ url: `https://api.acme.test/later` }))
  try {
    const answer = await get(deputy, ...(await by()))
    const url = String(answer.json['url'])
    expect(url).toContain('/~dps_')
    upstream.seen.length = 0
    expect((await fetch(url)).status).toBe(200)
    expect(upstream.seen).toMatchObject([{ url: '/later', who: 'alice-acme' }])
    expect(last(deputy)).toMatchObject({ agent: { id: AGENT, workload: { name: 'triage' } } })
  } finally {
    upstream.handle = null
    await deputy.close()
  }
})

test('without workloads the header is of no meaning, and is not sent on', async () => {
  const deputy = await start(
    { workloads: [], identity: { trust: 'plain', agent: 'laptop', agent_header: 'X-Caller' } },
    { held: [{ person: 'alice', token: TOKEN }] },
  )
  try {
    const answer = await get(
      deputy,
      'Deputy-User: alice',
      'X-Caller: secret-1',
      'Deputy-Agent: secret-2',
    )
    expect(answer.status).toBe(200)
    expect(upstream.bytes().toString()).not.toMatch(/secret-[12]|x-caller/i)
  } finally {
    await deputy.close()
  }
})

describe('a configuration', () => {
  const base: Fields = {
    version: 1,
    identity: { trust: 'plain' },
    policy: { bundle: './bundle.tar.gz' },
    connections: { github: { provider: 'github' } },
    vault: { keys: './keys.json' },
    connect: { sign_in: 'local' },
  }
  const good = { ...WORKLOAD, issuer: 'https://kubernetes.default.svc' }
  const problems = (more: Fields): string => {
    const parsed = parseConfig({ ...base, ...more })
    return 'problems' in parsed ? parsed.problems.join('\n') : ''
  }
  test.each<[string, Fields, RegExp]>([
    ['is fine', {}, /^$/],
    [
      'has no match',
      { workloads: [{ ...good, match: {} }] },
      /^workloads\.0\.match: needs one claim/,
    ],
    [
      'has a match that is no pointer',
      { workloads: [{ ...good, match: { namespace: 'a' } }] },
      /workloads\.0\.match\.namespace: is no JSON pointer/,
    ],
    [
      'has an empty match',
      { workloads: [{ ...good, match: { '/sub': '' } }] },
      /must not be empty/,
    ],
    [
      'has a plain issuer',
      { workloads: [{ ...good, issuer: 'http://cluster.example' }] },
      /plain http to another machine/,
    ],
    ['names a row twice', { workloads: [good, good] }, /workloads\.1\.name: triage is there twice/],
    [
      'has two audiences for an issuer',
      { workloads: [good, { ...good, name: 'b', audience: 'x' }] },
      /workloads\.1: names the issuer of workloads\.0, but another audience/,
    ],
    [
      'has keys twice',
      { workloads: [{ ...good, jwks: './a', jwks_uri: 'https://a.example' }] },
      /workloads\.0: has both/,
    ],
    [
      'would take a workload for a person',
      {
        workloads: [good],
        identity: { trust: 'asserted', issuers: [{ issuer: good.issuer, audience: 'deputy' }] },
      },
      /workloads\.0\.audience: identity\.issuers\.0 takes tags/,
    ],
    [
      'has one header for both',
      { identity: { trust: 'plain', header: 'X-A', agent_header: 'x-a' } },
      /identity\.agent_header: x-a carries the tag already/,
    ],
  ])('that %s says so', (_, more, said) => {
    expect(problems({ workloads: [good], ...more })).toMatch(said)
  })
})
