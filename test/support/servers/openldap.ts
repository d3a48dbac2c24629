// OpenLDAP's own server, with the entries that a test puts in, on a port of its own.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Attribute, Change, Client, Control } from 'ldapts'
import { freePort } from '../ports.ts'
import { missingProgram, startProgram } from './server.ts'

const ROOT = process.env['DEPUTY_OPENLDAP'] ?? join(homedir(), '.cache/deputy-ci/openldap-2.5')
const SLAPD = join(ROOT, 'usr/sbin/slapd')
export const missingOpenldap = missingProgram(SLAPD)

export const SUFFIX = 'dc=acme,dc=test'
export const ROOT_DN = `cn=root,${SUFFIX}`
const PASSWORD = 'canary-root-password'

/** Attributes that this server does not know by itself: those by which others say that an account is locked. */
const SCHEMA = [
  "attributetype ( 1.3.6.1.4.1.99999.1.1 NAME 'nsAccountLock' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )",
  "attributetype ( 1.3.6.1.4.1.99999.1.2 NAME 'userAccountControl' EQUALITY integerMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )",
  "attributetype ( 1.3.6.1.4.1.99999.1.3 NAME 'accountExpires' EQUALITY integerMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )",
  "objectclass ( 1.3.6.1.4.1.99999.2.1 NAME 'marked' SUP top AUXILIARY MAY ( nsAccountLock $ userAccountControl $ accountExpires ) )",
]

const MANAGE_REFERENCES = '2.16.840.1.113730.3.4.2'

export type Openldap = {
  readonly port: number
  /** TLS from the first byte, if it has a certificate. */
  readonly tlsPort: number
  readonly add: (
    dn: string,
    attributes: Readonly<Record<string, string | string[]>>,
  ) => Promise<void>
  readonly change: (
    dn: string,
    operation: 'add' | 'delete' | 'replace',
    type: string,
    values: readonly string[],
  ) => Promise<void>
  readonly remove: (dn: string) => Promise<void>
  /** A referral, which is an entry only for whoever manages it (RFC 3296 3). */
  readonly removeReference: (dn: string) => Promise<void>
  /** Ends the server; its data stay. */
  readonly stop: () => Promise<void>
  readonly start: () => Promise<void>
  readonly close: () => Promise<void>
}

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

/** @param tls PEM files that it shows; it takes StartTLS with them */
export const startOpenldap = async (tls?: {
  readonly cert: string
  readonly key: string
}): Promise<Openldap> => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-slapd-'))
  const data = join(folder, 'data')
  mkdirSync(data)
  const files = join(ROOT, 'etc/ldap/schema')
  writeFileSync(
    join(folder, 'slapd.conf'),
    [
      ...['core', 'cosine', 'nis', 'inetorgperson'].map(
        (name) => `include ${files}/${name}.schema`,
      ),
      ...SCHEMA,
      `modulepath ${join(ROOT, 'usr/lib/ldap')}`,
      'moduleload back_mdb',
      'moduleload memberof',
      'moduleload ppolicy',
      'allow bind_v2',
      ...(tls === undefined
        ? []
        : [`TLSCertificateFile ${tls.cert}`, `TLSCertificateKeyFile ${tls.key}`]),
      'database mdb',
      `suffix "${SUFFIX}"`,
      `rootdn "${ROOT_DN}"`,
      `rootpw ${PASSWORD}`,
      `directory ${data}`,
      'overlay memberof',
      'memberof-refint true',
      'overlay ppolicy',
      '',
    ].join('\n'),
  )
  const port = await freePort()
  const tlsPort = await freePort()
  const urls = [
    `ldap://127.0.0.1:${port}/`,
    ...(tls === undefined ? [] : [`ldaps://127.0.0.1:${tlsPort}/`]),
  ]
  const libraries = ['usr/lib', 'lib']
    .map((path) => join(ROOT, path))
    .filter(existsSync)
    .flatMap((path) =>
      readdirSync(path)
        .filter((name) => name.endsWith('-linux-gnu'))
        .map((name) => join(path, name)),
    )
  let end: (() => Promise<void>) | null = null
  const start = async (): Promise<void> => {
    end = await startProgram({
      command: SLAPD,
      args: ['-f', join(folder, 'slapd.conf'), '-h', urls.join(' '), '-d', '0'],
      env: { LD_LIBRARY_PATH: libraries.join(':') },
      ready: () => answers(port),
      withinMs: 60_000,
    })
  }
  await start()
  const as = async (act: (client: Client) => Promise<void>): Promise<void> => {
    const client = new Client({ url: `ldap://127.0.0.1:${port}` })
    try {
      await client.bind(ROOT_DN, PASSWORD)
      await act(client)
    } finally {
      await client.unbind()
    }
  }
  const stop = async (): Promise<void> => {
    await end?.()
    end = null
  }
  return {
    port,
    tlsPort,
    add: (dn, attributes) => as((client) => client.add(dn, { ...attributes })),
    change: (dn, operation, type, values) =>
      as((client) =>
        client.modify(
          dn,
          new Change({ operation, modification: new Attribute({ type, values: [...values] }) }),
        ),
      ),
    remove: (dn) => as((client) => client.del(dn)),
    removeReference: (dn) =>
      as((client) => client.del(dn, new Control(MANAGE_REFERENCES, { critical: true }))),
    stop,
    start,
    close: async () => {
      await stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
