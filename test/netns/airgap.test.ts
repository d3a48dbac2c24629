// Whom deputy calls in a network without a way to the internet: the provider and the identity provider of its configuration. The kernel counts.
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { prepareFolder, providersAt, until } from '../support/deputy.ts'
import { AGENT, createWorld, DEPUTY, HOST, node, skipped, tree } from './world.ts'
import type { World } from './world.ts'

const NAMES = { 'provider.test': HOST.provider, 'idp.test': HOST.stranger }
const TOKEN = 'at-alice-acme-0123456789'
const IDLE_MS = 5_000
/** Every packet of deputy's uid that is for somebody else: address, protocol, port, and how many. */
const WATCH = `
table inet watch {
  set to4 { type ipv4_addr . inet_proto . inet_service; flags dynamic; counter; }
  set to6 { type ipv6_addr . inet_proto . inet_service; flags dynamic; counter; }
  counter others { }
  chain counted {
    meta nfproto ipv4 meta l4proto { tcp, udp } add @to4 { ip daddr . meta l4proto . th dport } accept
    meta nfproto ipv6 meta l4proto { tcp, udp } add @to6 { ip6 daddr . meta l4proto . th dport } accept
    counter name others
  }
  chain out {
    type filter hook output priority -300;
    # Not "all but others'": what a process leaves behind when it ends has no owner.
    meta skuid ${DEPUTY} oifname != "lo" jump counted
  }
}`
type Elem = {
  readonly elem: {
    readonly val: { readonly concat: readonly (string | number)[] }
    readonly counter: { readonly packets: number }
  }
}
type Listed = {
  readonly nftables: readonly {
    readonly set?: { readonly elem?: readonly Elem[] }
    readonly counter?: { readonly packets: number }
  }[]
}

const missing = skipped === '' ? opensslMissing() : skipped
describe.skipIf(missing !== '')(`a site without the internet${missing}`, () => {
  let world: World
  const keys = generateKeyPairSync('ed25519')
  beforeAll(async () => {
    const made = join('/run', `deputy-airgap-${process.pid}`)
    mkdirSync(made)
    const tls = makeCertificate(made, 'DNS:provider.test,DNS:idp.test')
    const jwks = join(made, 'jwks.json')
    writeFileSync(
      jwks,
      JSON.stringify({ keys: [{ ...keys.publicKey.export({ format: 'jwk' }), kid: 'k1' }] }),
    )
    world = await createWorld({
      names: NAMES,
      people: { [TOKEN]: 'alice-acme' },
      issuer: 'https://idp.test',
      jwks,
      tls,
    })
    const folder = await prepareFolder({
      upstream: 'https://provider.test',
      config: {
        listeners: { agent: '127.0.0.1:7410', admin: '0.0.0.0:7411', connect: '127.0.0.1:7412' },
        providers: providersAt('https://provider.test'),
        identity: {
          trust: 'asserted',
          issuers: [{ issuer: 'https://idp.test', audience: 'deputy', realm: 'local' }],
        },
        connect: { sign_in: { issuer: 'https://idp.test', client_id: 'pages', realm: 'local' } },
        upstream: { ca: './tls.crt' },
        network: { allow_private: [{ net: '198.51.100.0/24' }, { net: '203.0.113.0/24' }] },
      },
      // Expired: the call needs a new token first.
      held: [
        {
          person: 'alice',
          agent: 'agent-1',
          token: 'at-old',
          refresh: 'rt-1',
          expiresIn: 1,
          agedMs: 60_000,
        },
      ],
    })
    writeFileSync(join(folder, 'tls.crt'), tls.pem)
    execFileSync('chown', ['-R', String(DEPUTY), folder])
    execFileSync('mv', [folder, join(world.dir, 'deputy')])
    execFileSync('rm', ['-r', made])
    world.nft(WATCH)
  })
  afterAll(() => world.close())

  /** `ADDRESS PROTOCOL PORT` → packets, so far. */
  const destinations = (): ReadonlyMap<string, number> => {
    const listed = (set: string) =>
      (world.rules('list', 'set', 'inet', 'watch', set) as Listed).nftables
    return new Map(
      ['to4', 'to6'].flatMap((set) =>
        listed(set).flatMap(({ set: found }) =>
          (found?.elem ?? []).map(
            ({ elem: { val, counter } }) => [val.concat.join(' '), counter.packets] as const,
          ),
        ),
      ),
    )
  }
  const otherPackets = (): number =>
    (world.rules('list', 'counter', 'inet', 'watch', 'others') as Listed).nftables.reduce(
      (sum, { counter }) => sum + (counter?.packets ?? 0),
      0,
    )
  const asked = (): readonly string[] => [
    ...new Set(world.came().flatMap(({ dns }) => (typeof dns === 'string' ? [dns] : []))),
  ]

  test('from its start through a call with a refresh, and idle, deputy calls the two and nobody else', async () => {
    const config = ['--config', join(world.dir, 'deputy/deputy.yaml')]
    const checked = await world.inPod(
      { uid: DEPUTY },
      ...node(tree('bin/deputy.js'), 'validate', '--offline', ...config),
    )
    expect([checked.code, destinations().size], checked.err).toEqual([0, 0])
    const serve = [...node(tree('bin/deputy.js'), 'serve', ...config)]
    const deputy = world.startInPod({ uid: DEPUTY }, ...serve)
    await until(() => {
      if (deputy.ended() !== null) throw new Error(deputy.said())
      return deputy.said().includes('deputy is ready')
    }, 'deputy is ready')
    const tag = await new SignJWT({ act: { sub: 'agent-1' } })
      .setProtectedHeader({ alg: 'EdDSA', kid: 'k1' })
      .setIssuer('https://idp.test')
      .setAudience('deputy')
      .setSubject('alice')
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(keys.privateKey)
    const call = {
      name: 'call',
      kind: 'http',
      host: '127.0.0.1',
      port: 7410,
      path: '/api.acme.test/a',
    }
    const headers = { 'Deputy-User': tag, Host: '127.0.0.1:7410' }
    const said = await world.inPod(
      { uid: AGENT },
      ...node(tree('test/netns/probe.mjs'), JSON.stringify([{ ...call, headers }])),
    )
    expect(said.out, deputy.said()).toMatch(/reached 200 .*alice-acme/)
    // What a timer would send is sent in this time, or named by the counts of a longer run.
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS))
    const found = destinations()
    process.stdout.write(
      [
        '',
        'Packets that deputy sent, by destination',
        ...[...found].map(([to, packets]) => `${to.padEnd(30)} ${packets}`),
        '',
      ].join('\n'),
    )
    expect([...found.keys()].toSorted()).toEqual([
      `${HOST.resolver} udp 53`,
      `${HOST.provider} tcp 443`,
      `${HOST.stranger} tcp 443`,
    ])
    expect(otherPackets()).toBe(0)
    expect(asked().toSorted()).toEqual(['idp.test', 'provider.test'])
    const paths = world
      .came()
      .flatMap(({ http, path }) => (typeof http !== 'string' ? [] : [`${http}${String(path)}`]))
    expect(paths.toSorted()).toEqual([
      'idp.test/.well-known/openid-configuration',
      'idp.test/keys',
      'provider.test/a',
      'provider.test/oauth/token',
    ])
  })

  test('the count sees what deputy’s uid sends, and nobody else’s', async () => {
    const connects = (port: number) =>
      node(
        '-e',
        `require('net').connect(${port}, '${HOST.metadata}').on('connect', () => process.exit())`,
      )
    const before = [...destinations().keys()]
    await world.inPod({ uid: DEPUTY }, ...connects(80))
    await world.inPod({ uid: AGENT }, ...connects(443))
    expect([...destinations().keys()].toSorted()).toEqual(
      [...before, `${HOST.metadata} tcp 80`].toSorted(),
    )
    expect(world.came()).toContainEqual(expect.objectContaining({ tcp: HOST.metadata, port: 443 }))
  })
})
