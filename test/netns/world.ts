// A pod and the world around it, as network namespaces of this machine: a real kernel decides who reaches whom.
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const here = (name: string): string => join(ROOT, 'test/netns', name)
export const DEPUTY = 65532
export const AGENT = 1000
/** Addresses of the world, all behind one veth. */
export const HOST = {
  resolver: '192.0.2.1',
  provider: '198.51.100.10',
  provider6: '2001:db8:2::10',
  stranger: '203.0.113.7',
  stranger6: '2001:db8:3::7',
  metadata: '169.254.169.254',
  pod: '192.0.2.2',
} as const

/** Why nothing can be tried here; null: it can. */
const missing = (): string | null => {
  if (process.getuid?.() !== 0) return 'only root makes network namespaces'
  for (const tool of ['nft', 'ip', 'setpriv', 'unshare', 'perl'])
    if (spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
      return `${tool} is missing (apt-get install nftables iproute2 util-linux perl)`
  const made = spawnSync('unshare', ['-n', 'nft', 'add', 'table', 'inet', 'try'], {
    encoding: 'utf8',
  })
  return made.status === 0 ? null : `the kernel takes no rules here: ${made.stderr.trim()}`
}
const NOT_HERE = missing()
/** Empty, or what stands in a test's name: said aloud; under DEPUTY_NO_SKIP=1 it throws. */
export const skipped = (() => {
  if (NOT_HERE === null) return ''
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(NOT_HERE)
  process.stderr.write(`SKIPPED: ${NOT_HERE}\n`)
  return ` (SKIPPED: ${NOT_HERE})`
})()

const run = (command: string, ...args: readonly string[]): string => {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`)
  return stdout
}

/** The chart's rules, for the uid and ports that it uses. */
export const lockdownRules = (resolvers: readonly string[]): string => {
  const accepted = resolvers.map(
    (each) =>
      `    ${each.includes(':') ? 'ip6' : 'ip'} daddr ${each} meta l4proto { tcp, udp } th dport 53 accept\n`,
  )
  const rules = readFileSync(join(ROOT, 'helm/deputy/files/lockdown.nft'), 'utf8')
    .replaceAll('{{ .Values.securityContext.runAsUser }}', String(DEPUTY))
    .replace(
      /^\{\{- range \.Values\.lockdown\.resolvers \}\}\n[^]*?\{\{- end \}\}\n/m,
      accepted.join(''),
    )
  if (rules.includes('{{')) throw new Error(`not understood in the chart's rules: ${rules}`)
  return rules
}

type Came = Readonly<Record<string, unknown>>
export type Ran = { readonly code: number | null; readonly out: string; readonly err: string }
/** As whom a program runs. `caps`: held, such as `+setuid`. */
export type As = {
  readonly uid: number
  readonly caps?: readonly string[]
  readonly alone?: boolean
}
export type World = {
  /** A folder that every uid may read. */
  readonly dir: string
  /** Whatever came in outside of the pod, in order. */
  readonly came: () => readonly Came[]
  readonly nft: (rules: string) => void
  /** Runs in the pod, to its end. */
  readonly inPod: (as: As, ...command: readonly string[]) => Promise<Ran>
  /** Starts in the pod; ends with the world. @returns its standard error so far */
  readonly startInPod: (
    as: As,
    ...command: readonly string[]
  ) => { readonly said: () => string; readonly ended: () => number | null }
  /** `nft -j` in the pod. */
  readonly rules: (...args: readonly string[]) => unknown
  /** MAC of the world's end of the wire. */
  readonly mac: string
  readonly iface: string
  readonly close: () => Promise<void>
}

const NODE = join(ROOT, 'node_modules/node/bin/node')
/** deputy's tree as every uid may read it: the clone may be in a home. */
const TREE = `/run/deputy-tree-${process.pid}${Math.random().toString(36).slice(2, 6)}`
export const node = (...args: readonly string[]): readonly string[] => [
  existsSync(NODE) ? join(TREE, 'node_modules/node/bin/node') : process.execPath,
  ...args,
]
export const tree = (path: string): string => join(TREE, path)

const asUser = ({ uid, caps = [], alone = false }: As): readonly string[] => [
  ...(alone ? ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'] : []),
  'setpriv',
  '--reuid',
  String(uid),
  '--regid',
  String(uid),
  '--clear-groups',
  '--no-new-privs',
  '--bounding-set',
  ['-all', ...caps].join(),
  '--inh-caps',
  ['-all', ...caps].join(),
  ...(caps.length > 0 ? ['--ambient-caps', caps.join()] : []),
]

/**
 * @param names host name → IPv4 address, as the resolver tells
 * @param hosts.people access token → who that is
 */
export const createWorld = async (hosts: {
  readonly names?: Readonly<Record<string, string>>
  readonly people: Readonly<Record<string, string>>
  readonly issuer?: string
  readonly jwks?: string
  readonly tls?: { readonly cert: string; readonly key: string }
}): Promise<World> => {
  const id = `${process.pid}${Math.random().toString(36).slice(2, 5)}`
  const [pod, world] = [`dp-${id}`, `dw-${id}`]
  const [iface, outer] = [`p${id}`.slice(0, 15), `w${id}`.slice(0, 15)]
  const dir = mkdtempSync(join(tmpdir(), 'deputy-netns-'))
  run('chmod', '755', dir)
  const children: ChildProcess[] = []
  const ended: Promise<unknown>[] = []
  const ip = (ns: string, ...args: readonly string[]): string => run('ip', '-n', ns, ...args)
  const close = async (): Promise<void> => {
    for (const child of children) child.kill('SIGKILL')
    await Promise.all(ended)
    for (const ns of [pod, world]) {
      spawnSync('ip', ['netns', 'del', ns])
      rmSync(`/etc/netns/${ns}`, { recursive: true, force: true })
    }
    for (const left of ['/etc/netns', TREE]) spawnSync('rmdir', [left])
    rmSync(dir, { recursive: true, force: true })
  }
  const start = (command: readonly string[]): ChildProcess => {
    const [program = '', ...args] = command
    const child = spawn(program, args, { env: { PATH: process.env['PATH'] ?? '' }, cwd: '/' })
    children.push(child)
    ended.push(new Promise((resolve) => child.once('close', resolve)))
    return child
  }
  /** In the pod, with deputy's tree where everybody may read it. */
  const wrapped = (as: As, command: readonly string[]): readonly string[] => [
    'ip',
    'netns',
    'exec',
    pod,
    'sh',
    '-c',
    `mkdir -p ${TREE} && mount --bind "$0" ${TREE} && exec "$@"`,
    ROOT,
    ...asUser(as),
    ...command,
  ]
  try {
    run('ip', 'netns', 'add', pod)
    run('ip', 'netns', 'add', world)
    mkdirSync(`/etc/netns/${pod}`, { recursive: true })
    writeFileSync(`/etc/netns/${pod}/resolv.conf`, `nameserver ${HOST.resolver}\n`)
    run(
      'ip',
      'link',
      'add',
      iface,
      'netns',
      pod,
      'type',
      'veth',
      'peer',
      'name',
      outer,
      'netns',
      world,
    )
    for (const ns of [pod, world]) ip(ns, 'link', 'set', 'lo', 'up')
    ip(world, 'addr', 'add', `${HOST.resolver}/24`, 'dev', outer)
    ip(world, 'addr', 'add', '2001:db8:1::1/64', 'dev', outer, 'nodad')
    for (const address of [HOST.provider, HOST.stranger, HOST.metadata])
      ip(world, 'addr', 'add', `${address}/32`, 'dev', 'lo')
    for (const address of [HOST.provider6, HOST.stranger6])
      ip(world, 'addr', 'add', `${address}/128`, 'dev', 'lo', 'nodad')
    ip(world, 'link', 'set', outer, 'up')
    ip(pod, 'addr', 'add', `${HOST.pod}/24`, 'dev', iface)
    ip(pod, 'addr', 'add', '2001:db8:1::2/64', 'dev', iface, 'nodad')
    ip(pod, 'link', 'set', iface, 'up')
    ip(pod, 'route', 'add', 'default', 'via', HOST.resolver)
    ip(pod, '-6', 'route', 'add', 'default', 'via', '2001:db8:1::1')
    // As container runtimes have it: everybody may send an echo.
    run('ip', 'netns', 'exec', pod, 'sysctl', '-q', '-w', 'net.ipv4.ping_group_range=0 2147483647')
    const outside = start([
      'ip',
      'netns',
      'exec',
      world,
      process.execPath,
      here('hosts.mjs'),
      JSON.stringify({ names: {}, issuer: null, jwks: null, tls: null, ...hosts }),
    ])
    let told = ''
    let failed = ''
    outside.stdout?.on('data', (chunk: Buffer) => (told += chunk.toString()))
    outside.stderr?.on('data', (chunk: Buffer) => (failed += chunk.toString()))
    const came = (): readonly Came[] =>
      told
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Came)
    for (const late = Date.now() + 60_000; !came().some(({ ready }) => ready === true);) {
      if (outside.exitCode !== null || Date.now() > late) throw new Error(`no world: ${failed}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const { address: mac } = (
      JSON.parse(ip(world, '-j', 'link', 'show', outer)) as [{ address: string }]
    )[0]
    return {
      dir,
      mac,
      iface,
      came,
      nft: (rules) => {
        const { status, stderr } = spawnSync('ip', ['netns', 'exec', pod, 'nft', '-f', '-'], {
          input: rules,
          encoding: 'utf8',
        })
        if (status !== 0) throw new Error(stderr)
      },
      rules: (...args) =>
        JSON.parse(run('ip', 'netns', 'exec', pod, 'nft', '-j', ...args)) as unknown,
      inPod: async (as, ...command) => {
        const child = start(wrapped(as, command))
        let [out, err] = ['', '']
        child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()))
        child.stderr?.on('data', (chunk: Buffer) => (err += chunk.toString()))
        child.stdin?.end()
        const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
        return { code, out, err }
      },
      startInPod: (as, ...command) => {
        const child = start(wrapped(as, command))
        let said = ''
        for (const stream of [child.stdout, child.stderr])
          stream?.on('data', (chunk: Buffer) => (said += chunk.toString()))
        return { said: () => said, ended: () => child.exitCode }
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
