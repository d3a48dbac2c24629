// A whole deputy with the starter policy between a vendor's own SDK and a stand-in for the vendor that remembers who came.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { expect } from 'vitest'
import { CLIENT_SECRET, startDeputy } from './deputy.ts'
import type { Deputy, EvidenceLine, Fields, Held } from './deputy.ts'
import { startUpstream } from './upstream.ts'
import type { Seen, Upstream } from './upstream.ts'

/** alice and bob may write, rita may read, dave has connected nothing, carol may do nothing. */
const PEOPLE: readonly Fields[] = [
  { id: 'alice', groups: ['engineering'] },
  { id: 'bob', groups: ['engineering'] },
  { id: 'dave', groups: ['engineering'] },
  { id: 'rita', groups: ['staff'] },
  { id: 'carol', groups: ['sales'] },
].map((person) => ({ ...person, realm: 'corp' }))
const AGENT = 'agent:triage'
const ISSUER = 'https://idp.test'

type VendorConnection = {
  readonly provider: string
  readonly hosts?: readonly string[]
  readonly scopes: readonly string[]
  readonly more?: Fields
}
type VendorHeld = Omit<Held, 'person' | 'agent'> & { readonly person: string }
export type Vendor = {
  readonly deputy: Deputy
  readonly upstream: Upstream
  /** The person's tag, for the slot where the SDK wants its key. */
  readonly tag: (person: string) => string
  /**
   * Does what an agent does, and holds deputy to it: these operations and no others were classified and allowed for this
   * person, and the vendor saw this person's own token on every call and nothing that the agent had put there.
   */
  readonly through: <T>(
    person: string,
    operations: readonly string[],
    call: () => PromiseLike<T>,
  ) => Promise<T>
  /** The same for what must not leave: gives back what the SDK threw. */
  readonly refused: (
    person: string,
    operation: string,
    call: () => PromiseLike<unknown>,
  ) => Promise<unknown>
  readonly close: () => Promise<void>
}

/** Starts both. Where the vendor's endpoints are reached is the only thing that the configuration changes. */
export const startVendor = async (setup: {
  readonly connections: Readonly<Record<string, VendorConnection>>
  readonly held: readonly VendorHeld[]
  /** Of everybody, beside those of their groups. */
  readonly roles?: readonly string[]
  readonly config?: Fields
  readonly listeners?: () => Fields
  /** Further keys of connections, by name. */
  readonly override?: (upstream: Upstream) => Readonly<Record<string, Fields>>
}): Promise<Vendor> => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-vendor-'))
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }
  writeFileSync(join(folder, 'jwks.json'), JSON.stringify({ keys: [jwk] }))
  const upstream = await startUpstream()
  for (const { person, token } of setup.held) upstream.people.set(token, person)
  const connections = Object.entries(setup.connections).map(([name, one]) => [
    name,
    {
      provider: one.provider,
      client_id: 'deputy',
      client_secret: CLIENT_SECRET,
      scopes: one.scopes,
      token: `${upstream.origin}/oauth/token`,
      ...(one.hosts === undefined
        ? {}
        : { hosts: Object.fromEntries(one.hosts.map((host) => [host, upstream.origin])) }),
      ...one.more,
      ...setup.override?.(upstream)[name],
    },
  ])
  const deputy = await startDeputy({
    upstream: upstream.origin,
    people: PEOPLE.map((one) => (setup.roles === undefined ? one : { ...one, roles: setup.roles })),
    tables: null,
    held: setup.held.map((one) => ({
      ...one,
      person: { tenant: 'default', realm: 'corp', id: one.person },
      agent: AGENT,
      scopes: one.scopes ?? setup.connections[one.connection ?? '']?.scopes ?? [],
    })),
    config: {
      listeners: {
        agent: '127.0.0.1:0',
        admin: '127.0.0.1:0',
        connect: '127.0.0.1:0',
        ...setup.listeners?.(),
      },
      identity: {
        trust: 'asserted',
        issuers: [
          {
            issuer: ISSUER,
            jwks: join(folder, 'jwks.json'),
            realm: 'corp',
            audience: 'deputy',
            agent: '/act/sub',
          },
        ],
      },
      providers: [],
      connections: Object.fromEntries(connections),
      connect: {
        verifier: { url: 'http://127.0.0.1:9/', key: 'canary-verifier-key-000000000000000' },
      },
      ...setup.config,
    },
  })
  const now = Math.floor(Date.now() / 1_000)
  const tags = new Map<string, string>()
  for (const person of PEOPLE) {
    const id = String(person['id'])
    const signed = new SignJWT({ act: { sub: AGENT } }).setProtectedHeader({
      alg: 'ES256',
      kid: 'k',
    })
    signed.setIssuer(ISSUER).setAudience('deputy').setSubject(id)
    tags.set(
      id,
      await signed
        .setIssuedAt(now)
        .setExpirationTime(now + 3_000)
        .sign(privateKey),
    )
  }

  const named = (line: EvidenceLine, name: string): Fields => (line[name] ?? {}) as Fields
  const lines = (from: number, event: string): readonly EvidenceLine[] =>
    deputy
      .evidence()
      .slice(from)
      .filter((line) => line.event === event)
  /** Nothing that the agent brought, and no other person's token, is in the bytes that the vendor got. */
  const clean = (person: string, seen: readonly Seen[]): void => {
    for (const call of seen) {
      expect(call.who, `${call.method} ${call.url}`).toBe(person)
      const bytes = `${call.url}\n${call.rawHeaders.join('\n')}\n${call.body.toString('latin1')}`
      expect(bytes).not.toMatch(/deputy-/i)
      expect(bytes).not.toContain('dummy')
      for (const tag of tags.values()) expect(bytes).not.toContain(tag)
      for (const [token, owner] of upstream.people)
        if (owner !== person) expect(bytes).not.toContain(token)
    }
  }

  return {
    deputy,
    upstream,
    tag: (person) => tags.get(person) ?? '',
    through: async (person, operations, call) => {
      const [from, calls] = [deputy.evidence().length, upstream.seen.length]
      const value = await call()
      // A decision is written before the call leaves, its outcome maybe after the SDK has the answer.
      const decisions = lines(from, 'decision')
      const exchanges = new Set(decisions.map(({ exchange }) => exchange))
      const ended = () =>
        lines(from, 'outcome').filter(({ exchange }) => exchanges.has(exchange)).length
      await expect.poll(ended).toBe(exchanges.size)
      expect(decisions.map((line) => named(line, 'operation')['id'])).toEqual(operations)
      for (const line of decisions) {
        expect(named(line, 'user')).toMatchObject({ id: person, verified: true })
        expect(named(line, 'decision')['effect']).toBe('allow')
      }
      clean(person, upstream.seen.slice(calls))
      return value
    },
    refused: async (person, operation, call) => {
      const [from, calls] = [deputy.evidence().length, upstream.seen.length]
      let thrown: unknown = null
      try {
        await call()
      } catch (error) {
        thrown = error
      }
      if (thrown === null) throw new Error('the SDK reported success for a call that was refused')
      expect(upstream.seen.slice(calls)).toEqual([])
      const decisions = lines(from, 'decision')
      expect(decisions.map((line) => named(line, 'operation')['id'])).toEqual([operation])
      expect(decisions.map((line) => named(line, 'user')['id'])).toEqual([person])
      return thrown
    },
    close: async () => {
      await deputy.close()
      await upstream.close()
      rmSync(folder, { recursive: true })
    },
  }
}

/** What a stand-in answers with: JSON unless it is bytes. */
export const reply = (
  res: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void => {
  const raw = Buffer.isBuffer(body)
  const type = { 'content-type': raw ? 'application/octet-stream' : 'application/json' }
  res.writeHead(status, { ...(body === null ? {} : type), ...headers })
  res.end(body === null ? undefined : raw ? body : JSON.stringify(body))
}

/**
 * Hands every call on to an emulator as the vendor's own host would get it.
 * @param mount where the emulator keeps the vendor's root; links in its answers lose it again
 */
export const relayed =
  (emulator: string, host: string, mount = '') =>
  (seen: Seen, res: ServerResponse): Promise<void> =>
    new Promise((resolve, reject) => {
      const headers = { ...seen.headers, host, 'x-forwarded-proto': 'https' }
      const call = request(
        `${emulator}${mount}${seen.url}`,
        { method: seen.method, headers },
        (answer) => {
          const chunks: Buffer[] = []
          answer.on('data', (chunk: Buffer) => chunks.push(chunk))
          answer.on('error', reject)
          answer.on('end', () => {
            const body = Buffer.concat(chunks)
            const { 'content-length': _, 'transfer-encoding': __, ...kept } = answer.headers
            res.writeHead(answer.statusCode ?? 500, kept)
            res.end(
              mount === ''
                ? body
                : body.toString().replaceAll(`https://${host}${mount}/`, `https://${host}/`),
            )
            resolve()
          })
        },
      )
      call.on('error', reject)
      call.end(seen.body)
    })
