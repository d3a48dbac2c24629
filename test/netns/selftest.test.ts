// `deputy selftest --from-agent` where an agent would run it: in a pod with the chart's rules, and in worse ones.
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startPod } from './pod.ts'
import { AGENT, DEPUTY, HOST, lockdownRules, node, skipped, tree } from './world.ts'
import type { As, Ran, World } from './world.ts'

/** As a container has it: no capability, and no process but its own. */
const agent: As = { uid: AGENT, alone: true }
const OUT = [
  '--target',
  `${HOST.provider}:443`,
  `[${HOST.provider6}]:443`,
  `${HOST.stranger}:80`,
  `[${HOST.stranger6}]:80`,
  `${HOST.metadata}:80`,
  '--resolver',
  HOST.stranger,
]

describe.skipIf(skipped !== '')(`selftest${skipped}`, () => {
  let world: World
  let folder = ''
  beforeAll(async () => {
    ;({ world, folder } = await startPod())
  })
  afterAll(() => world.close())

  const selftest = (as: As, ...args: readonly string[]): Promise<Ran> =>
    world.inPod(
      as,
      ...node(tree('bin/deputy.js'), 'selftest', '--from-agent', '--file', folder, ...OUT, ...args),
    )
  const lines = ({ out }: Ran, result: string): readonly string[] =>
    out
      .split('\n')
      .filter((line) => line.startsWith(result))
      .map((line) => line.slice(14).replace(/ +/, ' ').split(': ')[0] ?? '')

  test('tells of everything that an agent without rules can reach', async () => {
    const ran = await selftest(agent)
    process.stdout.write(`\nWithout rules:\n${ran.out}\n`)
    expect(ran.code, ran.err).toBe(1)
    expect(lines(ran, 'reached').slice(0, 3)).toEqual([
      'listeners 127.0.0.1 port 7411',
      'listeners 127.0.0.1 port 7412',
      `listeners ${HOST.pod} port 7411`,
    ])
    for (const way of [HOST.provider, HOST.stranger, HOST.metadata])
      expect(ran.out).toContain(`reached       tcp           ${way}:`)
    for (const way of [HOST.provider6, HOST.stranger6])
      expect(ran.out).toContain(`reached       tcp           [${way}]:`)
    expect(ran.out).toContain(`reached       udp           ${HOST.stranger} port 53`)
    expect(ran.out).toContain(`reached       dns           ${HOST.resolver}`)
  })

  describe('in a locked pod', () => {
    beforeAll(() => world.nft(lockdownRules([])))

    test('reaches nothing, and says so', async () => {
      const ran = await selftest(agent)
      process.stdout.write(`\nLocked:\n${ran.out}\n`)
      expect(ran.code, ran.out + ran.err).toBe(0)
      expect(lines(ran, 'there')).toEqual(['deputy http://127.0.0.1:7410'])
      expect(ran.out).toMatch(/^0 reached, 0 undetermined, \d+ closed, 0 allowed$/m)
    })
    test('the same as one program for the agent’s own Node', async () => {
      const script = await world.inPod(
        { uid: DEPUTY },
        ...node(
          tree('bin/deputy.js'),
          'selftest',
          '--from-agent',
          '--script',
          '--file',
          folder,
          ...OUT,
        ),
      )
      const path = join(world.dir, 'selftest.mjs')
      writeFileSync(path, script.out)
      chmodSync(path, 0o644)
      const ran = await world.inPod(agent, ...node(path))
      expect(ran.code, ran.out + ran.err).toBe(0)
      expect(ran.out.split('\n').length).toBeGreaterThan(15)
    })
    test('a resolver that the pod may ask is a way out, unless it is allowed', async () => {
      world.nft(lockdownRules([HOST.resolver]))
      const [ran, allowed] = [await selftest(agent), await selftest(agent, '--allow', 'dns')]
      world.nft(lockdownRules([]))
      expect([ran.code, lines(ran, 'reached')]).toEqual([1, [`dns ${HOST.resolver}`]])
      expect([allowed.code, lines(allowed, 'allowed')]).toEqual([0, [`dns ${HOST.resolver}`]])
    })
    test.each<[string, As, string]>([
      ['that shares its processes with deputy', { uid: AGENT }, 'processes processes'],
      ['with a capability', { ...agent, caps: ['+net_raw'] }, 'capabilities capabilities'],
      ['that is root', { ...agent, uid: 0 }, 'uid uid 0'],
    ])('an agent %s is told', async (_, as, found) => {
      const ran = await selftest(as)
      expect(ran.code, ran.out).toBe(1)
      expect(lines(ran, 'reached')).toEqual([found])
    })
    test('root that may change its uid is told what it can become', async () => {
      const ran = await selftest({ ...agent, uid: 0, caps: ['+setuid', '+setgid'] })
      expect(lines(ran, 'reached')).toContain(`become uid ${DEPUTY}`)
    })
    test('whoever runs it as deputy is told that this shows nothing of the agent', async () => {
      const ran = await selftest({ uid: DEPUTY, alone: true })
      expect(ran.code).toBe(1)
      expect(lines(ran, 'reached')).toContain(`uid uid ${DEPUTY}`)
      expect(lines(ran, 'reached')).toContain(`files ${folder}`)
    })
    test('a secret in the environment is named and not shown', async () => {
      const ran = await world.inPod(
        agent,
        'env',
        'GITHUB_TOKEN=ghp_0123456789abcdef',
        'DATABASE=postgres://u:hunter2@db/x',
        ...node(tree('bin/deputy.js'), 'selftest', '--from-agent', ...OUT),
      )
      expect(ran.code).toBe(1)
      expect(ran.out).toContain('look like credentials: GITHUB_TOKEN, DATABASE')
      expect(ran.out).not.toMatch(/ghp_|hunter2/)
    })
    test('without deputy nothing is shown: undetermined is not well', async () => {
      const ran = await selftest(agent, '--deputy', 'http://127.0.0.1:7499')
      expect(ran.code, ran.out).toBe(2)
      expect(lines(ran, 'undetermined')).toEqual(['deputy http://127.0.0.1:7499'])
    })
    test('a name that cannot be resolved here was not tried', async () => {
      const ran = await selftest(agent, '--target', 'provider.test:443')
      expect(ran.code, ran.out).toBe(2)
      expect(ran.out).toMatch(
        /^undetermined +tcp +provider\.test:443: E(AI_AGAIN|NOTFOUND): the name cannot/m,
      )
    })
    describe('each command of the book', () => {
      const book = readFileSync(new URL('../../docs/operate/lockdown.md', import.meta.url), 'utf8')
      const blocks = [...book.matchAll(/^```sh\n([^]*?)\n```$/gm)].map(([, block = '']) => block)
      const ofAgent = blocks.filter((block) => block.startsWith('deputy '))
      /** The agent's container is this pod's; deputy and node are those of the tree, and the user deputy is its uid here. */
      const here = (block: string): string =>
        `set -e\n${block
          .replaceAll('kubectl exec -i POD --container agent -- node', node().join(' '))
          .replaceAll('$(id -u deputy)', '65532')
          .replaceAll(/^deputy /gm, `${node(tree('bin/deputy.js')).join(' ')} `)}`
      test('is there', () => expect([blocks.length, ofAgent.length]).toEqual([4, 3]))
      test.each(ofAgent)('%s', async (block) => {
        const work = join(world.dir, 'work')
        mkdirSync(work, { recursive: true })
        chmodSync(work, 0o777)
        const ran = await world.inPod(agent, 'sh', '-c', `cd ${work}\n${here(block)}`)
        expect(ran.code, ran.out + ran.err).toBe(0)
        expect(ran.out).toMatch(/^0 reached, 0 undetermined, \d+ closed, 0 allowed$/m)
      })
      test.each(blocks.filter((block) => !ofAgent.includes(block)))('%s', async (block) => {
        world.nft('delete table inet deputy')
        expect((await selftest(agent)).code).toBe(1)
        const root = { uid: 0, caps: ['+net_admin'] }
        const ran = await world.inPod(root, 'sh', '-c', `cd ${tree('')}\n${here(block)}`)
        expect([ran.code, ran.err]).toEqual([0, ''])
        expect((await selftest(agent)).code).toBe(0)
      })
    })
    test('what never answers is waited for a short while', async () => {
      world.nft(
        'table inet silence { chain out { type filter hook output priority -10; meta skuid 1000 oifname != "lo" drop; }; }',
      )
      const began = performance.now()
      const ran = await selftest(agent)
      world.nft('delete table inet silence')
      expect(ran.code, ran.out).toBe(0)
      expect(ran.out).toMatch(/tcp .*: no answer in 2 s/)
      expect(performance.now() - began).toBeLessThan(60_000)
    })
  })
})
