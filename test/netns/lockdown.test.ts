// Who reaches whom from an agent's pod, without the chart's rules and with them: shown by the kernel, printed as a table.
import { appendFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startPod } from './pod.ts'
import { AGENT, DEPUTY, HOST, lockdownRules, node, skipped, tree } from './world.ts'
import type { As, World } from './world.ts'

const agent: As = { uid: AGENT }
const PROBE = tree('test/netns/probe.mjs')
const RAW = tree('test/netns/raw.pl')

/** A question for `example.com`, as anybody may send it. */
const QUESTION = Buffer.from(
  '000101000001000000000000076578616d706c6503636f6d0000010001',
  'hex',
).toString('latin1')

const call = {
  kind: 'http',
  path: '/api.acme.test/a',
  headers: { 'Deputy-User': 'alice', Host: '127.0.0.1:7410' },
}
const WAYS: Readonly<Record<string, object>> = {
  'deputy, and through it the provider': { ...call, host: '127.0.0.1', port: 7410 },
  'provider, TCP, IPv4': { kind: 'tcp', host: HOST.provider, port: 443 },
  'provider, TCP, IPv6': { kind: 'tcp', host: HOST.provider6, port: 443 },
  'provider, UDP (QUIC), IPv4': { kind: 'udp', host: HOST.provider, port: 443 },
  'provider, UDP (QUIC), IPv6': { kind: 'udp', host: HOST.provider6, port: 443 },
  'stranger, TCP, IPv4': { kind: 'tcp', host: HOST.stranger, port: 80 },
  'stranger, TCP, IPv6': { kind: 'tcp', host: HOST.stranger6, port: 80 },
  'metadata of the cloud': { kind: 'tcp', host: HOST.metadata, port: 80 },
  'DNS, the resolver of the pod': { kind: 'udp', host: HOST.resolver, port: 53, text: QUESTION },
  'DNS, another resolver': { kind: 'udp', host: HOST.stranger, port: 53, text: QUESTION },
  'the resolver, another port': { kind: 'tcp', host: HOST.resolver, port: 80 },
  'deputy’s probes and metrics, loopback': { kind: 'tcp', host: '127.0.0.1', port: 7411 },
  'deputy’s probes and metrics, pod address': { kind: 'tcp', host: HOST.pod, port: 7411 },
  'deputy’s pages': { kind: 'tcp', host: '127.0.0.1', port: 7412 },
  'another port of loopback': { kind: 'tcp', host: '127.0.0.1', port: 9000 },
}
type Table = Readonly<Record<string, string>>
const first = (text: string): string => text.split(' ')[0] ?? ''

/** Everything that a uid can try, and what came of it. */
const ways = async (world: World, as: As): Promise<Table> => {
  const list = Object.entries(WAYS).map(([name, to]) => ({ name, ...to }))
  const run = (...command: readonly string[]) => world.inPod(as, ...command)
  const [sent, icmp4, icmp6] = await Promise.all([
    run(...node(PROBE, JSON.stringify(list))),
    run('perl', RAW, 'icmp', HOST.stranger),
    run('perl', RAW, 'icmp', HOST.stranger6),
  ])
  if (sent.code !== 0) throw new Error(sent.err)
  return {
    ...(JSON.parse(sent.out) as Table),
    'stranger, ICMP, IPv4': icmp4.out,
    'stranger, ICMP, IPv6': icmp6.out,
  }
}
const table = (title: string, columns: Readonly<Record<string, Table>>): string => {
  const names = Object.keys(columns)
  const rows = Object.keys(Object.values(columns)[0] ?? {})
  const width = Math.max(...rows.map((row) => row.length))
  const line = (row: string, cells: readonly string[]): string =>
    `${row.padEnd(width)}  ${cells.map((cell) => cell.padEnd(24)).join('')}`.trimEnd()
  return [
    '',
    line(title, names),
    ...rows.map((row) =>
      line(
        row,
        names.map((name) => (columns[name]?.[row] ?? '').split(' ').slice(0, 2).join(' ')),
      ),
    ),
    '',
  ].join('\n')
}
const print = (text: string): void => {
  process.stdout.write(`${text}\n`)
  // The steps of CI keep it, too.
  const kept = process.env['DEPUTY_NET_TABLE']
  if (kept !== undefined) appendFileSync(kept, `${text}\n`)
}

describe.skipIf(skipped !== '')(`a pod of deputy and an agent${skipped}`, () => {
  let world: World
  const by: Record<string, Table> = {}
  beforeAll(async () => {
    ;({ world } = await startPod())
    world.startInPod(
      agent,
      ...node('-e', 'require("net").createServer().listen(9000, "127.0.0.1")'),
    )
    by['agent, no rules'] = await ways(world, agent)
    world.nft(lockdownRules([]))
    by['agent, locked'] = await ways(world, agent)
    by['deputy, locked'] = await ways(world, { uid: DEPUTY })
    world.nft(lockdownRules([HOST.resolver]))
    by['agent, locked, resolver'] = await ways(world, agent)
  })
  afterAll(async () => {
    print(table('Who reaches whom', by))
    await world.close()
  })
  const reached = (who: string): readonly string[] =>
    Object.entries(by[who] ?? {})
      .filter(([, said]) => first(said) === 'reached')
      .map(([way]) => way)
  const all = [...Object.keys(WAYS), 'stranger, ICMP, IPv4', 'stranger, ICMP, IPv6']

  test('without rules the agent reaches everything: so each way of the table is one', () => {
    expect(reached('agent, no rules')).toEqual(all)
  })
  test('the agent’s uid reaches deputy and nothing else outside of its own loopback', () => {
    expect(reached('agent, locked')).toEqual([
      'deputy, and through it the provider',
      'another port of loopback',
    ])
    expect(by['agent, locked']?.['deputy, and through it the provider']).toContain('alice-acme')
  })
  test('it hears so at once, whatever the protocol: nothing hangs', () => {
    expect(Object.values(by['agent, locked'] ?? {}).filter((said) => said === 'silent')).toEqual([])
  })
  test('a resolver that is named is open to the agent, at its port 53 alone', () => {
    expect(reached('agent, locked, resolver')).toEqual([
      'deputy, and through it the provider',
      'DNS, the resolver of the pod',
      'another port of loopback',
    ])
  })
  test('deputy reaches everything', () => {
    expect(reached('deputy, locked')).toEqual(all)
  })

  describe('ways round the rules, which admission must close', () => {
    const direct = (as: As, ...before: readonly string[]) =>
      world.inPod(
        as,
        ...before,
        ...node(
          PROBE,
          JSON.stringify([{ name: 'direct', kind: 'tcp', host: HOST.provider, port: 443 }]),
        ),
      )
    const become = ['setpriv', '--reuid', String(DEPUTY), '--clear-groups']
    const told: Record<string, string> = {}
    afterAll(() => {
      const rows = Object.entries(told).map(([way, said]) => `${way.padEnd(62)}  ${said}`)
      print(['', 'Ways round', ...rows, ''].join('\n'))
    })

    test('an agent without capabilities neither becomes deputy nor changes the rules', async () => {
      const became = await direct(agent, ...become)
      const flushed = await world.inPod(agent, 'nft', 'flush', 'ruleset')
      told['uid 1000 turns into deputy’s uid'] = became.err.trim()
      told['uid 1000 removes the rules'] = flushed.err.split('\n')[0] ?? ''
      expect([became.code, became.err]).toEqual([127, expect.stringContaining('not permitted')])
      expect(flushed.code).not.toBe(0)
    })
    test('nor does root without capabilities', async () => {
      const plain = await direct({ uid: 0 })
      const became = await direct({ uid: 0 }, ...become)
      told['root without capabilities, TCP to the provider'] = plain.out
      told['root without capabilities turns into deputy’s uid'] = became.err.trim()
      expect(plain.out).toBe('{"direct":"refused ECONNREFUSED"}')
      expect(became.code).toBe(127)
    })
    test('root with SETUID becomes deputy and gets out', async () => {
      const as = { uid: 0, caps: ['+setuid', '+setgid'] }
      const [plain, became] = [await direct(as), await direct(as, ...become)]
      told['root with SETUID turns into deputy’s uid, TCP to the provider'] = became.out
      expect(plain.out).toBe('{"direct":"refused ECONNREFUSED"}')
      expect(became.out).toBe('{"direct":"reached"}')
    })
    test('NET_RAW, which a runtime gives unless it is dropped, sends past the rules', async () => {
      const args = ['packet', world.iface, world.mac, HOST.pod, HOST.stranger]
      const arrived = () =>
        world.came().filter(({ udp, port }) => udp === HOST.stranger && port === 443).length
      const before = arrived()
      const none = await world.inPod(agent, 'perl', RAW, ...args)
      const held = await world.inPod({ ...agent, caps: ['+net_raw'] }, 'perl', RAW, ...args)
      told['uid 1000, a packet of its own making'] = none.out
      told['uid 1000 with NET_RAW, a packet of its own making'] = held.out
      expect([none.out, held.out]).toEqual(['refused Operation not permitted', 'sent'])
      await expect.poll(arrived).toBe(before + 1)
    })
    test('NET_ADMIN removes the rules', async () => {
      const as = { ...agent, caps: ['+net_admin'] }
      const flushed = await world.inPod(as, 'nft', 'flush', 'ruleset')
      const after = await direct(agent)
      told['uid 1000 with NET_ADMIN removes the rules, then TCP to the provider'] = after.out
      expect([flushed.code, after.out]).toEqual([0, '{"direct":"reached"}'])
    })
  })
})
