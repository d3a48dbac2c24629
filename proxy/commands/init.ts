// `deputy init`: a first configuration for a laptop, with keys and the starter policy beside it. Never overwrites.
import { copyFileSync, constants, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { readYaml, shipped } from '../config/load.ts'
import { NOT_REGISTERED } from '../config/rules.ts'
import { messageOf } from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { keygen } from './keys.ts'

/**
 * Provider → the scopes that a first configuration names. Of other providers
 * `deputy providers show` prints which scopes their operations need.
 */
export const SCOPES: ReadonlyMap<string, string> = new Map([
  ['github', ' repo, "read:org" '],
  ['gitea', ' "read:user", "write:issue", "write:repository" '],
])

/** Begins the names of the variables for a provider's client: `GITHUB` of `GITHUB_CLIENT_ID`. */
const prefixOf = (provider: string): string => provider.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')
const connectionOf = (provider: string): string => provider.replaceAll(/[^a-z0-9-]/g, '-')
const callbackOf = (provider: string): string =>
  `http://localhost:7412/callback/${connectionOf(provider)}`

/** @param own people host this provider themselves, so the connection must name the host */
const text = (provider: string, own: boolean): string => {
  const name = prefixOf(provider)
  return `# deputy on a laptop: every process of this machine may name any user, so everything listens on loopback.
# \`deputy validate\` checks this file; docs/configuration.md explains every key.
version: 1

identity:
  trust: plain            # a call names its user without proof: user:alice@example.com where the SDK puts its key,
                          # or the header Deputy-User: alice@example.com. Beyond a laptop use asserted: signed tags
  realm: local

entitlements:
  source: file            # who is in which group; read again when it changes
  file: ./people.yaml
  max_age: { read: 30s, write: 0s, delete: 0s, admin: 0s }

policy:
  bundle: ./policies/bundle.tar.gz    # the starter policy: groups engineering (read, write) and staff (read); its sources are beside it

connections:
  ${connectionOf(provider)}:
    provider: ${provider}${own ? '\n    hosts: [ git.example.com ]    # put your own here; agents call http://127.0.0.1:7410/git.example.com/…' : ''}
    client_id: "\${env:${name}_CLIENT_ID:-${NOT_REGISTERED}}"       # callback: ${callbackOf(provider)}
    client_secret: "\${env:${name}_CLIENT_SECRET:-${NOT_REGISTERED}}"
    scopes: [${SCOPES.get(provider) ?? ''}]          # the most that may ever be asked for

vault:
  store: sqlite:deputy.db
  keys: ./keys.json       # the key ring: without it nothing in the vault can be opened, so keep a copy

connect:
  sign_in: local          # the page asks for the code that \`deputy serve\` prints

audit:
  sink: [ "file:audit.jsonl" ]
`
}

const PEOPLE = `# Who is who, for entitlements.source: file. Edit it while deputy serves: a change
# counts within a second.
people:
  - { id: alice@example.com, groups: [ engineering ] }
  - { id: bob@example.com, groups: [ staff ] }
`

/** Files of the policy as it ships: what is compiled, its tests, schemas and probes, and the bundle; relative names. */
const policyFiles = (): readonly string[] => {
  const from = shipped('policies')
  return readdirSync(from, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'capabilities.ts')
    .map((entry) => relative(from, join(entry.parentPath, entry.name)))
    .sort()
}

/** @returns exit code: 0, or 1 when something was in the way (what was there stays as it is) */
export const init = async (options: {
  readonly provider: string
  readonly dir: string
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): Promise<number> => {
  const dir = resolve(options.dir)
  if (
    !existsSync(shipped(`providers/${options.provider}.yaml`)) ||
    /[^a-z0-9_-]/.test(options.provider)
  ) {
    options.complain(
      `there is no provider ${JSON.stringify(options.provider)}: \`deputy providers list\` names them`,
    )
    return 1
  }
  const definition = await readYaml(shipped(`providers/${options.provider}.yaml`))
  const hosts =
    isObject(definition) && !isObject(definition['host_from_token']) ? definition['hosts'] : null
  const own = Array.isArray(hosts) && hosts.length === 0
  mkdirSync(dir, { recursive: true })
  let failed = false
  const write = (name: string, make: (path: string) => void, tell = true): void => {
    const path = join(dir, name)
    try {
      make(path)
      if (tell) options.print(`wrote ${path}`)
    } catch (error) {
      const exists = error instanceof Error && 'code' in error && error.code === 'EEXIST'
      options.complain(
        exists ? `${path} exists and stays as it is` : `${path}: ${messageOf(error)}`,
      )
      if (!exists) failed = true
    }
  }
  write('deputy.yaml', (path) =>
    writeFileSync(path, text(options.provider, own), { flag: 'wx', mode: 0o600 }),
  )
  write('people.yaml', (path) => writeFileSync(path, PEOPLE, { flag: 'wx', mode: 0o600 }))
  // Whoever has a policy already may have removed files of the starter policy: none comes back.
  if (existsSync(join(dir, 'policies/.manifest')))
    options.complain(`${join(dir, 'policies')} exists and stays as it is`)
  else {
    const names = policyFiles()
    for (const name of names)
      write(
        join('policies', name),
        (path) => {
          mkdirSync(dirname(path), { recursive: true })
          copyFileSync(shipped(`policies/${name}`), path, constants.COPYFILE_EXCL)
        },
        false,
      )
    options.print(
      `wrote ${join(dir, 'policies')}: the starter policy with its sources; after a change run \`deputy policy test\` and \`deputy policy build\` in ${dir}`,
    )
  }
  if (existsSync(join(dir, 'keys.json')))
    options.complain(`${join(dir, 'keys.json')} exists and stays as it is`)
  else if (
    (await keygen({
      out: join(dir, 'keys.json'),
      print: (line) => options.print(`wrote ${line}`),
    })) !== 0
  )
    failed = true
  if (failed) return 1
  options.print(
    `Next: register an OAuth app at the provider with the callback ${callbackOf(options.provider)}, set ${prefixOf(options.provider)}_CLIENT_ID and ${prefixOf(options.provider)}_CLIENT_SECRET to its id and secret, then \`npx --no deputy serve --config ${join(options.dir, 'deputy.yaml')}\``,
  )
  const host = own ? 'git.example.com' : Array.isArray(hosts) ? String(hosts[0]) : '{your host}'
  options.print(
    `Your agent: base URL http://127.0.0.1:7410/${host} and, where the SDK puts its key, user:alice@example.com`,
  )
  return 0
}
