// `deputy selftest --from-agent`: tries to get round deputy from where the agent runs, and prints what it could reach.
// Nothing but Node's own modules, so that an agent's Node can run it where deputy's files are not (`--script`).
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
} from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'

/** Of a try: `closed` is only that nothing came back now. `there`: deputy, which must be. */
type Result = 'reached' | 'closed' | 'undetermined' | 'there' | 'allowed'
/** `kind` is what `--allow` names. */
type Finding = {
  readonly kind: string
  readonly way: string
  readonly result: Result
  readonly shows: string
}
type Said = Pick<Finding, 'result' | 'shows'>

export type SelftestOptions = {
  /** Origin of the agent listener. */
  readonly deputy: string
  /** As whom deputy runs. */
  readonly uid: number
  /** Its ports that are not for agents. */
  readonly ports: readonly number[]
  /** `host:port` that nobody but deputy should reach, over TCP. */
  readonly targets: readonly string[]
  /** Addresses of name servers outside, which the agent should not reach. */
  readonly resolvers: readonly string[]
  /** Paths that are deputy's alone. */
  readonly files: readonly string[]
  /** Kinds of findings that are taken as they are. */
  readonly allow: readonly string[]
  /** Names the resolvers of the pod. */
  readonly resolvConf: string
}

/** What is tried unless told otherwise: addresses that answer from everywhere, and where clouds keep credentials. */
export const USUAL: SelftestOptions = {
  deputy: 'http://127.0.0.1:7410',
  uid: 65532,
  ports: [7411, 7412, 7413],
  targets: [
    '1.1.1.1:443',
    '[2606:4700:4700::1111]:443',
    '169.254.169.254:80',
    '[fd00:ec2::254]:80',
  ],
  resolvers: ['1.1.1.1', '8.8.8.8', '2606:4700:4700::1111'],
  files: ['/etc/deputy', '/run/secrets/deputy', '/var/lib/deputy'],
  allow: [],
  resolvConf: '/etc/resolv.conf',
}

const KINDS = [
  'uid',
  'capabilities',
  'become',
  'listeners',
  'tcp',
  'proxy',
  'udp',
  'dns',
  'processes',
  'files',
  'sockets',
  'environment',
]
const WAIT_MS = 2_000
/** No try is waited for longer, whatever it does. */
const DEADLINE_MS = 8_000
const MOST_PROCESSES = 4_096

const closed = (shows: string): Said => ({ result: 'closed', shows })
const reached = (shows: string): Said => ({ result: 'reached', shows })
const undetermined = (shows: string): Said => ({ result: 'undetermined', shows })
const codeOf = (error: unknown): string =>
  typeof error === 'object' && error !== null && 'code' in error
    ? String(error.code)
    : String(error)
const SILENT = closed(`no answer in ${WAIT_MS / 1_000} s`)

/** What a network says when it lets nothing through, or has no way there; everything else is no answer to the question. */
const REFUSED =
  /^E(?:CONNREFUSED|CONNRESET|PERM|ACCES|HOSTUNREACH|NETUNREACH|HOSTDOWN|NETDOWN|TIMEDOUT|ADDRNOTAVAIL|AFNOSUPPORT|INVAL)$/
const failed = (error: unknown): Said => {
  const code = codeOf(error)
  return REFUSED.test(code)
    ? closed(code)
    : undetermined(
        /^E(?:NOTFOUND|AI_AGAIN)$/.test(code)
          ? `${code}: the name cannot be resolved here, so nothing was tried: give an address`
          : `${code}: this could not be tried`,
      )
}

const overTcp = (host: string, port: number): Promise<Said> =>
  new Promise((resolve) => {
    const socket = connect({ host, port, timeout: WAIT_MS })
    const say = (said: Said): void => {
      resolve(said)
      socket.destroy()
    }
    socket.once('connect', () => say(reached('a connection was taken')))
    socket.once('timeout', () => say(SILENT))
    socket.once('error', (error) => say(failed(error)))
  })

/** A question for `example.com` (RFC 1035 4): what answers it carries names out, and with them anything. */
const QUESTION = Buffer.from('0001010000010000000000000765786d61706c6503636f6d0000010001', 'hex')
const overUdp = (host: string): Promise<Said> =>
  new Promise((resolve) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    const timer = setTimeout(() => say(SILENT), WAIT_MS)
    const say = (said: Said): void => {
      clearTimeout(timer)
      resolve(said)
      try {
        socket.close()
      } catch {
        // It was closed by what failed.
      }
    }
    socket.once('message', () => say(reached('it answered a question for a name')))
    socket.once('error', (error) => say(failed(error)))
    const sent = (error: unknown): void => {
      if (error) say(failed(error))
    }
    // The runtime calls this with an error as well: no way there, or a name that is none.
    socket.connect(53, host, (error?: unknown) => {
      if (error) sent(error)
      else socket.send(QUESTION, sent)
    })
  })

/** Is deputy where the agent looks for it? Without it the rest would show nothing about this pod. */
const deputyThere = (origin: string): Promise<Said> =>
  new Promise((resolve) => {
    const { get } = origin.startsWith('https:') ? https : http
    // Whose certificate it is tells nothing here, and nothing secret is sent.
    const options = { timeout: WAIT_MS, agent: false, rejectUnauthorized: false }
    const req = get(`${origin}/v1/auth/status`, options, (res) => {
      res.destroy()
      resolve(
        res.headers['deputy-answer'] === undefined
          ? undetermined('something else answers there')
          : { result: 'there', shows: `it answers ${res.statusCode ?? 0}` },
      )
    })
    req.once('timeout', () => req.destroy(new Error('no answer')))
    req.once('error', (error) => resolve(undetermined(`deputy does not answer (${codeOf(error)})`)))
  })

/** Turns into another user, in a process of its own. */
const become = (uid: number): Promise<Said> =>
  new Promise((resolve) => {
    const say = (error: unknown): void =>
      resolve(
        codeOf(error) === 'EPERM' ? closed('EPERM') : undetermined(`${codeOf(error)}: not tried`),
      )
    try {
      const child = spawn(process.execPath, ['-e', ''], { uid, stdio: 'ignore' })
      child.once('error', say)
      child.once('spawn', () => resolve(reached('a process of that uid was started')))
    } catch (error) {
      say(error)
    }
  })

const CAPABILITIES =
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE'.split(
    ' ',
  )
const capabilities = (): Said => {
  const status = readFileSync('/proc/self/status', 'utf8')
  const field = (name: string): string => {
    const found = new RegExp(`^${name}:\\s*(\\S+)$`, 'm').exec(status)?.[1]
    if (found === undefined) throw new Error(`/proc/self/status does not say ${name}`)
    return found
  }
  const names = (...fields: readonly string[]): string => {
    const bits = fields.reduce((all, name) => all | BigInt(`0x${field(name)}`), 0n)
    return CAPABILITIES.filter((_, i) => ((bits >> BigInt(i)) & 1n) === 1n).join(', ')
  }
  const held = names('CapInh', 'CapPrm', 'CapEff', 'CapAmb')
  if (held !== '') return reached(`it holds ${held}: drop ALL`)
  const bounding = names('CapBnd')
  return field('NoNewPrivs') === '1' || bounding === ''
    ? closed('it holds none and can gain none')
    : reached(
        `a setuid program could give it ${bounding}: set allowPrivilegeEscalation: false, drop ALL`,
      )
}

/** Processes that a container of its own would not see. */
const processes = (uid: number): Said => {
  const seen: string[] = []
  for (const pid of readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .slice(0, MOST_PROCESSES)) {
    if (pid === String(process.pid)) continue
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
      const owner = statSync(`/proc/${pid}`).uid
      if (owner === uid || command === '/pause' || /\bdeputy\S* (?:\S+ )*serve\b/.test(command))
        seen.push(`${pid} (uid ${owner}) ${command.slice(0, 60)}`)
    } catch {
      // It has ended since.
    }
  }
  return seen.length === 0
    ? closed('none of deputy or of the pod is seen')
    : reached(`seen: ${seen.slice(0, 3).join('; ')}: set shareProcessNamespace: false`)
}

const file = (path: string): Said => {
  try {
    const folder = statSync(path).isDirectory()
    // Opened and not read: it may be of any size, and a pipe without a writer would be waited for.
    if (!folder) closeSync(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK))
    const inside = folder ? readdirSync(path).length : 1
    return reached(`it can be read (${inside} inside): mount it for deputy alone`)
  } catch (error) {
    const code = codeOf(error)
    return code === 'ENOENT' || code === 'EACCES' || code === 'ENOTDIR'
      ? closed(code)
      : undetermined(`${code}: not read`)
  }
}

const socketOf = (path: string): Promise<Said> =>
  new Promise((resolve) => {
    const socket = connect({ path: path.startsWith('@') ? `\0${path.slice(1)}` : path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(reached('a connection was taken'))
    })
    socket.once('error', (error) => {
      const code = codeOf(error)
      resolve(code === 'ENOENT' ? closed(code) : failed(error))
    })
  })
/** Sockets with deputy's name in this network namespace; a path among them is open only where its folder is mounted. */
const deputySockets = (): readonly string[] => [
  ...new Set(
    readFileSync('/proc/net/unix', 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/)[7] ?? '')
      .filter((path) => path.includes('deputy')),
  ),
]

const SECRET_NAME = /TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|CREDENTIAL|PRIVATE_?KEY|AUTH/i
const SECRET_VALUE =
  /^(?:eyJ[\w-]{10,}|gh[opsru]_|github_pat_|glpat-|xox[abepr]|xapp-|sk[-_]|pk_live|AKIA|ya29\.|dp[rs]_)|:\/\/[^/\s:@]+:[^/\s:@]+@|-----BEGIN [A-Z ]*PRIVATE KEY/
/** A run token or a tag is the agent's own; so is where a file lies. */
const isSecret = (name: string, value: string): boolean =>
  SECRET_VALUE.test(value) ||
  (SECRET_NAME.test(name) &&
    value.length >= 8 &&
    !/(?:_FILE|_PATH|_URL|_URI|_DIR|_SOCK)$/i.test(name) &&
    !(value.startsWith('/') && existsSync(value)))
/** Names only: what is found here is printed. */
const environment = (env: Readonly<Record<string, string | undefined>>): Said => {
  const names = Object.entries(env).flatMap(([name, value = '']) =>
    isSecret(name, value) ? [name] : [],
  )
  return names.length === 0
    ? closed('no name and no value looks like a credential')
    : reached(`look like credentials: ${names.join(', ')}`)
}

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount/token'
/** `host:port`, `[address]:port`. */
const split = (target: string): readonly [string, number] => {
  const colon = target.lastIndexOf(':')
  return [target.slice(0, colon).replace(/^\[|\]$/g, ''), Number(target.slice(colon + 1))]
}
const resolversIn = (path: string): readonly string[] =>
  [...readFileSync(path, 'utf8').matchAll(/^nameserver\s+(\S+)/gm)].map(
    ([, address = '']) => address,
  )
const ownAddresses = (): readonly string[] =>
  Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .filter(({ internal, scopeid }) => !internal && !scopeid)
    .map(({ address }) => address)

const USUAL_PORT: Readonly<Record<string, number>> = {
  'https:': 443,
  'socks5:': 1080,
  'socks5h:': 1080,
  'socks4:': 1080,
  'socks4a:': 1080,
}
/** Of a variable of the environment; clients take one without a scheme as http. null: it is no URL, and may hold a password. */
const proxyOf = (text = ''): URL | null => {
  const url = text.includes('://') ? text : `http://${text}`
  return URL.canParse(url) ? new URL(url) : null
}

type Try = readonly [kind: string, way: string, said: () => Said | Promise<Said>]
/** What only a list can tell: where it cannot be had, that is said instead. */
const each = (kind: string, way: string, list: () => readonly Try[]): readonly Try[] => {
  try {
    return list()
  } catch (error) {
    return [[kind, way, () => undetermined(`${codeOf(error)}: not tried`)]]
  }
}
const tries = (
  options: SelftestOptions,
  env: Readonly<Record<string, string | undefined>>,
): readonly Try[] => {
  const { deputy, uid, ports, targets, resolvers, files, resolvConf } = options
  const own = process.getuid?.() ?? -1
  const proxies = ['https_proxy', 'http_proxy', 'all_proxy']
    .flatMap((name) => [env[name.toUpperCase()], env[name]])
    .filter((url) => url !== undefined && url !== '')
    .map(proxyOf)
    .filter((proxy) => proxy?.host !== new URL(deputy).host)
  const here = new URL(deputy).hostname.replace(/^\[|\]$/g, '')
  return [
    ['deputy', deputy, () => deputyThere(deputy)],
    [
      'uid',
      `uid ${own}`,
      () =>
        own === 0 || own === uid
          ? reached(own === 0 ? 'it is root' : 'it is deputy’s own, which the rules let out')
          : closed('neither root nor deputy’s'),
    ],
    ['capabilities', 'capabilities', capabilities],
    // Before any process of our own is started.
    ['processes', 'processes', () => processes(uid)],
    ...[uid, 0]
      .filter((other) => other !== own)
      .map((other): Try => ['become', `uid ${other}`, () => become(other)]),
    ...each('listeners', 'deputy’s other ports', () =>
      [here, ...(here === '127.0.0.1' ? ownAddresses() : [])].flatMap((host) =>
        ports.map((port): Try => ['listeners', `${host} port ${port}`, () => overTcp(host, port)]),
      ),
    ),
    ...targets.map((target): Try => ['tcp', target, () => overTcp(...split(target))]),
    ...proxies.map((proxy): Try => {
      if (proxy === null) return ['proxy', 'environment', () => undetermined('a proxy is no URL')]
      const { hostname, protocol } = proxy
      const at = Number(proxy.port) || USUAL_PORT[protocol] || 80
      return ['proxy', `${hostname}:${at}`, () => overTcp(hostname.replace(/^\[|\]$/g, ''), at)]
    }),
    ...resolvers.flatMap((address): readonly Try[] => [
      ['udp', `${address} port 53`, () => overUdp(address)],
      ['tcp', `${address} port 53`, () => overTcp(address, 53)],
    ]),
    ...each('dns', resolvConf, () =>
      resolversIn(resolvConf).map((address): Try => ['dns', address, () => overUdp(address)]),
    ),
    ...[...files, ACCOUNT].map((path): Try => ['files', path, () => file(path)]),
    ...each('sockets', '/proc/net/unix', () =>
      deputySockets().map((path): Try => ['sockets', path, () => socketOf(path)]),
    ),
    ['environment', 'environment', () => environment(env)],
  ]
}

/** What a try says, within the deadline: its timer keeps the process alive, whatever has become of the try. */
const inTime = async (said: () => Said | Promise<Said>): Promise<Said> => {
  const asked = async (): Promise<Said> => said()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Said>((resolve) => {
    timer = setTimeout(() => resolve(undetermined('it took too long')), DEADLINE_MS)
  })
  return Promise.race([
    asked().catch((error: unknown) => undetermined(`${codeOf(error)}: not tried`)),
    late,
  ]).finally(() => clearTimeout(timer))
}
const printable = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '?')

/** @returns exit code: 0 nothing was reached; 1 something was; 2 nothing was, but not everything could be tried */
export const selftest = async (
  options: SelftestOptions & {
    readonly env: Readonly<Record<string, string | undefined>>
    readonly print: (line: string) => void
  },
): Promise<number> => {
  const { allow, env, print } = options
  const unknown = allow.filter((kind) => !KINDS.includes(kind))
  if (unknown.length > 0) {
    print(`--allow: ${unknown.join(', ')} is no kind: ${KINDS.join(', ')}`)
    return 64
  }
  if (!/^https?:$/.test(URL.parse(options.deputy)?.protocol ?? '')) {
    print(printable(`--deputy: ${options.deputy} must be a URL, such as ${USUAL.deputy}`))
    return 64
  }
  const findings = await Promise.all(
    tries(options, env).map(async ([kind, way, ask]): Promise<Finding> => {
      const said = await inTime(ask)
      const result = said.result === 'reached' && allow.includes(kind) ? 'allowed' : said.result
      return { kind, way, shows: said.shows, result }
    }),
  )
  const count = (result: Result): number => findings.filter((one) => one.result === result).length
  for (const { kind, way, result, shows } of findings)
    print(printable(`${result.padEnd(13)} ${kind.padEnd(13)} ${way}: ${shows}`))
  print(
    `${count('reached')} reached, ${count('undetermined')} undetermined, ${count('closed')} closed, ${count('allowed')} allowed`,
  )
  return count('reached') > 0 ? 1 : count('undetermined') > 0 ? 2 : 0
}

/** This file as one program of plain JavaScript for `node --input-type=module -`, which ends as `end` says. */
export const selftestScript = async (options: SelftestOptions, end: string): Promise<string> => {
  const { stripTypeScriptTypes } = await import('node:module')
  const source = readFileSync(new URL(import.meta.url), 'utf8')
  return `${stripTypeScriptTypes(source)}\nconst given = ${JSON.stringify(options)}\n${end}\n`
}
