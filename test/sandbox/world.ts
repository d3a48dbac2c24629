// Three programs on loopback: an OpenID provider, a GitHub, and deputy as a process of its own, configured as anybody would.
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  copyFileSync,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startIdp, type Idp } from './idp.ts'
import { startProvider, type GitHub } from './provider.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** The command of this checkout, run by this Node. */
const HERE = [process.execPath, '--disable-sigusr1', join(ROOT, 'bin/deputy.js')] as const
/** A folder that has this file is a sandbox's and may be cleared. */
const MARK = '.deputy-sandbox'
const FIXED = { agent: 7410, admin: 7411, connect: 7412, idp: 7430, provider: 7440 } as const
type Ports = { readonly [name in keyof typeof FIXED]: number }

export type World = {
  readonly folder: string
  /** Where agents call: `http://127.0.0.1:PORT`. */
  readonly agent: string
  readonly admin: string
  readonly connect: string
  readonly idp: Idp
  readonly provider: GitHub
  /** alice's groups in the file that deputy watches: her organisation's word on her, now. */
  readonly setGroups: (groups: readonly string[]) => void
  /** Every line of evidence so far. */
  readonly evidence: () => readonly Readonly<Record<string, unknown>>[]
  /** Runs one command of deputy to its end. */
  readonly command: (
    ...args: readonly string[]
  ) => Promise<{ readonly code: number; readonly text: string }>
  /** Why deputy ended although nobody asked it to; else it stays pending. */
  readonly died: Promise<string>
  /** Ends what was started here, newest first. */
  readonly close: () => Promise<void>
}

/** What starts deputy, before its own arguments. */
export type Command = readonly [file: string, ...first: string[]]

/** All are held open until all are known, so that no two are the same. */
const freePorts = async (): Promise<Ports> => {
  const servers = Object.keys(FIXED).map((name) => ({ name, server: createServer() }))
  const ports = await Promise.all(
    servers.map(
      ({ name, server }) =>
        new Promise<readonly [string, number]>((done) =>
          server.listen(0, '127.0.0.1', () => done([name, (server.address() as AddressInfo).port])),
        ),
    ),
  )
  await Promise.all(servers.map(({ server }) => new Promise((done) => server.close(done))))
  return Object.fromEntries(ports) as Ports
}

const clear = (folder: string): void => {
  if (existsSync(folder) && readdirSync(folder).length > 0 && !existsSync(join(folder, MARK)))
    throw new Error(`${folder} holds files that are not a sandbox’s: name another --dir`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(join(folder, MARK), 'Cleared at each start of the sandbox.\n')
}

const configuration = (ports: Ports, secrets: { readonly pages: string; readonly app: string }) =>
  `# The sandbox's deputy, as it runs. For your own: real addresses, secrets as \${env:NAME}, and without network.
version: 1

listeners:
  agent: 127.0.0.1:${ports.agent}        # agents call here
  admin: 127.0.0.1:${ports.admin}        # /livez /readyz /metrics
  connect: 127.0.0.1:${ports.connect}      # people's pages

identity:
  trust: asserted              # every call carries a signed assertion: who, and which agent acts for them
  issuers:
    - { issuer: "http://127.0.0.1:${ports.idp}", realm: corp, audience: deputy, user: /sub, agent: /act/sub }

entitlements:                  # what the organisation says about people now
  source: file
  file: ./people.yaml

policy:
  bundle: ./bundle.tar.gz      # the starter policy, as committed

connections:
  github:
    provider: github
    client_id: sandbox-app
    client_secret: ${secrets.app}
    scopes: [ repo ]           # the most that may ever be asked for
    # The rest puts the sandbox's GitHub where the real one would be.
    authorize: "http://127.0.0.1:${ports.provider}/login/oauth/authorize"
    token: "http://127.0.0.1:${ports.provider}/login/oauth/access_token"
    userinfo: "http://127.0.0.1:${ports.provider}/user"
    revoke: "http://127.0.0.1:${ports.provider}/applications/{client_id}/token"
    hosts: { api.github.com: "http://127.0.0.1:${ports.provider}" }

vault: { store: "sqlite:deputy.db", keys: ./keys.json }

connect:
  url: http://localhost:${ports.connect}
  sign_in: { issuer: "http://127.0.0.1:${ports.idp}", client_id: deputy-pages, client_secret: ${secrets.pages}, user: /sub, realm: corp }

audit: { sink: [ "file:audit.jsonl" ] }

network: { allow_private: [ { net: 127.0.0.0/8 } ] }   # loopback is refused otherwise
`

const people = (alice: readonly string[]): string => `people:
  - { id: alice, groups: [ ${alice.join(', ')} ] }
  - { id: bob, groups: [ sales ] }      # the starter policy knows nothing of sales
`

const startDeputy = async (
  [program, ...first]: Command,
  config: string,
  log: string,
): Promise<ChildProcess> => {
  const child = spawn(program, [...first, 'serve', '--config', config], {
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  // Whatever ends this process, deputy does not outlive it.
  const last = (): void => void child.kill('SIGTERM')
  process.once('exit', last)
  child.once('exit', () => process.removeListener('exit', last))
  const file = createWriteStream(log, { mode: 0o600 })
  child.stderr?.pipe(file)
  let said = ''
  await new Promise<void>((ready, fail) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-4_000)
      if (said.includes('deputy is ready')) ready()
    })
    child.once('error', fail)
    child.once('exit', (code) => fail(new Error(`deputy ended with status ${code}:\n${said}`)))
  })
  return child
}

const endChild = (child: ChildProcess): Promise<void> =>
  new Promise((ended) => {
    if (child.exitCode !== null || child.signalCode !== null) return ended()
    const late = setTimeout(() => child.kill('SIGKILL'), 7_000)
    child.once('exit', () => {
      clearTimeout(late)
      ended()
    })
    child.kill('SIGTERM')
  })

/** Starts everything on a cleared folder; what was started is ended again when something fails. */
export const startWorld = async (options: {
  readonly folder: string
  readonly fixedPorts: boolean
  /** Another deputy than that of this checkout: it is given paths in `folder`, and ports of loopback. */
  readonly deputy?: Command
}): Promise<World> => {
  const deputy: Command = options.deputy ?? HERE
  const [program, ...first] = deputy
  const folder = resolve(options.folder)
  clear(folder)
  const at = (name: string): string => join(folder, name)
  const ports = options.fixedPorts ? FIXED : await freePorts()
  const connect = `http://localhost:${ports.connect}`
  const secrets = {
    pages: randomBytes(24).toString('base64url'),
    app: randomBytes(24).toString('base64url'),
  }
  const setGroups = (groups: readonly string[]): void => {
    // Renamed into place: nobody reads half a file.
    writeFileSync(at('people.yaml.new'), people(groups))
    renameSync(at('people.yaml.new'), at('people.yaml'))
  }
  const command: World['command'] = (...args) =>
    new Promise((done) =>
      execFile(program, [...first, ...args], (error, stdout, stderr) =>
        done({
          code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1,
          // Nothing is said by a program that could not be started.
          text: `${stdout}${stderr}`.trim() || (error?.message ?? ''),
        }),
      ),
    )

  const opened: (() => Promise<void>)[] = []
  const close = async (): Promise<void> => {
    for (const end of opened.splice(0).toReversed()) await end()
  }
  try {
    const idp = await startIdp({
      port: ports.idp,
      pages: { clientId: 'deputy-pages', clientSecret: secrets.pages, url: connect },
    })
    opened.push(idp.close)
    const provider = await startProvider({
      port: ports.provider,
      app: {
        clientId: 'sandbox-app',
        clientSecret: secrets.app,
        callback: `${connect}/callback/github`,
      },
    })
    opened.push(provider.close)
    writeFileSync(at('deputy.yaml'), configuration(ports, secrets), { mode: 0o600 })
    copyFileSync(join(ROOT, 'policies/bundle.tar.gz'), at('bundle.tar.gz'))
    setGroups(['engineering'])
    const keygen = await command('keygen', '--out', at('keys.json'))
    if (keygen.code !== 0) throw new Error(`deputy keygen failed: ${keygen.text}`)
    const child = await startDeputy(deputy, at('deputy.yaml'), at('deputy.log'))
    let ending = false
    opened.push(() => {
      ending = true
      return endChild(child)
    })
    const died = new Promise<string>((end) =>
      child.once('exit', (code, signal) => {
        if (!ending) end(`deputy ended by itself (${signal ?? code}): see ${at('deputy.log')}`)
      }),
    )
    return {
      folder,
      agent: `http://127.0.0.1:${ports.agent}`,
      admin: `http://127.0.0.1:${ports.admin}`,
      connect,
      idp,
      provider,
      setGroups,
      evidence: () =>
        readFileSync(at('audit.jsonl'), 'utf8')
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>),
      command,
      died,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
