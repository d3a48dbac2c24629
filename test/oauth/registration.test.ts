// Who deputy is at an authorization server where nobody registered it.
import { describe, expect, test } from 'vitest'
import { readMetadata } from '../../proxy/oauth/discovery.ts'
import { createClients } from '../../proxy/oauth/registration.ts'
import type { Connection } from '../../proxy/model.ts'

const ISSUER = 'https://id.acme.test'
const metadataOf = (more: object = {}) => {
  const found = readMetadata(
    { issuer: ISSUER, registration_endpoint: `${ISSUER}/register`, ...more },
    ISSUER,
    false,
  )
  if ('problem' in found) throw new Error(found.problem)
  return found.metadata
}
const connection = { name: 'acme', provider: { issuer: null } } as Connection
const world = (
  answer: object,
  status = 201,
  publicUrl = 'http://localhost:7412',
  now = () => 1_000_000_000_000,
) => {
  const kept = new Map<string, string>()
  const asked: unknown[] = []
  const answers: object[] = []
  const statuses: number[] = []
  const clients = createClients({
    fetch: async (url, init) => {
      asked.push([
        new Request(url).url,
        JSON.parse(typeof init?.body === 'string' ? init.body : ''),
      ])
      return Response.json(answers.shift() ?? answer, { status: statuses.shift() ?? status })
    },
    publicUrl,
    find: async (key) => kept.get(key) ?? null,
    keep: async (key, text, instead) => {
      if (instead === null ? !kept.has(key) : kept.get(key) === instead) kept.set(key, text)
    },
    now,
    registered: () => undefined,
  })
  return { clients, asked, kept, answers, statuses }
}

describe('a connection without a client', () => {
  test('registers one and goes by it from then on (RFC 7591)', async () => {
    const { clients, asked, kept } = world({ client_id: 'c1' })
    const first = await clients(connection, ISSUER, metadataOf())
    expect(first).toMatchObject({ id: 'c1', secret: null, auth: 'none' })
    expect(await clients(connection, ISSUER, metadataOf())).toEqual(first)
    expect(asked).toEqual([
      [
        `${ISSUER}/register`,
        {
          client_name: 'deputy',
          redirect_uris: ['http://localhost:7412/callback/acme'],
          grant_types: ['authorization_code', 'refresh_token'],
          response_types: ['code'],
          token_endpoint_auth_method: 'none',
        },
      ],
    ])
    await clients({ ...connection, name: 'second' }, ISSUER, metadataOf())
    expect(kept.size).toBe(2)
  })
  test('a server that names another issuer later gets neither client nor grants there, unless the operator names it', async () => {
    const { clients, asked } = world({ client_id: 'c1' })
    const other = 'https://other.test'
    await clients(connection, ISSUER, metadataOf())
    expect(await clients(connection, other, metadataOf())).toEqual({
      problem: expect.stringContaining('another authorization server than before'),
    })
    expect(asked).toHaveLength(1)
    const meant = { ...connection, provider: { ...connection.provider, issuer: other } }
    expect(await clients(meant, other, metadataOf())).toMatchObject({ id: 'c1' })
    expect(asked).toHaveLength(2)
  })
  test('keeps a secret that it is given, as a secret', async () => {
    const { clients, asked } = world({
      client_id: 'c1',
      client_secret: 'canary-secret',
      token_endpoint_auth_method: 'client_secret_post',
    })
    const told = { token_endpoint_auth_methods_supported: ['client_secret_post'] }
    const made = await clients(connection, ISSUER, metadataOf(told))
    expect(made).toMatchObject({ id: 'c1', auth: 'client_secret_post' })
    expect(JSON.stringify(made)).not.toContain('canary-secret')
    expect('secret' in made ? made.secret?.reveal() : '').toBe('canary-secret')
    expect(JSON.stringify(asked)).toContain('"client_secret_basic"')
  })
  test('a secret that ends is another one before it does (RFC 7591 3.2.1), and holds until it has ended', async () => {
    const day = 86_400_000
    let now = 1_700_000_000_000
    const { clients, asked, answers, statuses } = world({}, 201, undefined, () => now)
    const issued = (id: string, days: number) => ({
      client_id: id,
      client_secret: `canary-${id}`,
      client_secret_expires_at: now / 1_000 + days * 86_400,
    })
    const ask = () => clients(connection, ISSUER, metadataOf())
    answers.push(issued('c1', 10))
    expect(await ask()).toMatchObject({ id: 'c1', renewAt: now + 9 * day })
    now += 9 * day - 1
    expect(await ask()).toMatchObject({ id: 'c1' })
    expect(asked).toHaveLength(1)
    now += 1
    statuses.push(503)
    expect(await ask()).toMatchObject({
      id: 'c1',
      renewAt: now + 300_000,
      late: expect.stringContaining('503'),
    })
    answers.push(issued('c2', 10))
    const next = await ask()
    expect(next).toMatchObject({ id: 'c2' })
    expect('secret' in next ? next.secret?.reveal() : '').toBe('canary-c2')
    now += 10 * day
    statuses.push(503)
    expect(await ask()).toEqual({ problem: expect.stringContaining('503') })
    // What has ended already, or says no time, is none to go by; 0 does not end.
    for (const end of [now / 1_000 - 1, 'soon', 1.5]) {
      answers.push({ ...issued('c3', 1), client_secret_expires_at: end })
      expect(await ask()).toEqual({ problem: expect.stringContaining('has ended') })
    }
    answers.push({ ...issued('c4', 1), client_secret_expires_at: 0 })
    expect(await ask()).toEqual(expect.not.objectContaining({ renewAt: expect.anything() }))
    now += 1_000 * day
    expect(await ask()).toMatchObject({ id: 'c4' })
  })
  test('another replica was first: its client is everybody’s', async () => {
    const { clients, kept } = world({ client_id: 'late' })
    const key = JSON.stringify(['acme', 'http://localhost:7412/callback/acme'])
    const get = kept.has.bind(kept)
    kept.has = (name) => {
      kept.set(key, JSON.stringify({ id: 'early', secret: null, auth: 'none', issuer: ISSUER }))
      return get(name)
    }
    expect(await clients(connection, ISSUER, metadataOf())).toMatchObject({ id: 'early' })
  })
  test('is named by the URL of its document where the server reads such, and the pages are under https', async () => {
    const cimd = metadataOf({ client_id_metadata_document_supported: true })
    const { clients, asked } = world({ client_id: 'c1' }, 201, 'https://deputy.acme.test')
    expect(await clients(connection, ISSUER, cimd)).toMatchObject({
      id: 'https://deputy.acme.test/oauth-client/acme',
      secret: null,
      auth: 'none',
    })
    expect(asked).toEqual([])
    expect(await world({ client_id: 'c1' }).clients(connection, ISSUER, cimd)).toMatchObject({
      id: 'c1',
    })
  })
  test('says what to do where it gets none', async () => {
    const { clients } = world({ error: 'access_denied' }, 403)
    expect(await clients(connection, ISSUER, metadataOf())).toEqual({
      problem: expect.stringContaining('register it by hand'),
    })
    expect(
      await clients(connection, ISSUER, metadataOf({ registration_endpoint: undefined })),
    ).toEqual({ problem: expect.stringContaining('write client_id') })
  })
})
