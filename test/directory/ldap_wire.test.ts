// Connections to an LDAP server: encrypted and verified before a password leaves, used again, and bounded.
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLdapWire, type LdapServer } from '../../proxy/directory/ldap_wire.ts'
import { createDial, type Open } from '../../proxy/net/dial.ts'
import { secret } from '../../proxy/secret.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { startRelay, type Relay } from '../support/relay.ts'
import {
  missingOpenldap,
  ROOT_DN,
  startOpenldap,
  SUFFIX,
  type Openldap,
} from '../support/servers/openldap.ts'

const PASSWORD = 'canary-root-password'
const DIAL = { connectTimeout: 5_000, idleTimeout: 5_000, ca: null }
const dial = createDial({ ...DIAL, allowPrivate: [{ net: '127.0.0.0/8' }] })
const WANTED = {
  base: SUFFIX,
  scope: 'base',
  filter: '(objectClass=*)',
  attributes: ['dc'],
} as const
const never = new AbortController().signal
const serverAt = (port: number, more: Partial<LdapServer> = {}): LdapServer => ({
  host: '127.0.0.1',
  port,
  tls: 'none',
  files: null,
  dn: ROOT_DN,
  password: secret(PASSWORD),
  domainScope: false,
  ...more,
})
const askOnce = async (
  server: LdapServer,
  open: Open = dial.open,
  signal = never,
): Promise<unknown> => {
  const wire = createLdapWire(server, open)
  try {
    return await wire.ask((search) => search(WANTED), signal)
  } finally {
    wire.close()
  }
}
afterAll(() => dial.close())

const missing = missingOpenldap ?? (opensslMissing() === '' ? null : 'openssl is missing')
describe.skipIf(missing !== null)(
  `OpenLDAP${missing === null ? '' : ` (SKIPPED: ${missing})`}`,
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'deputy-ldap-'))
    let slapd: Openldap
    let relay: Relay
    let files: LdapServer['files']
    beforeAll(async () => {
      const tls = makeCertificate(folder, 'DNS:localhost')
      files = { connection: 'ldap', where: 'entitlements.ldap.ca', ca: tls.cert, client: null }
      slapd = await startOpenldap(tls)
      await slapd.add(SUFFIX, { objectClass: ['dcObject', 'organization'], dc: 'acme', o: 'acme' })
      relay = await startRelay({ host: '127.0.0.1', port: slapd.port })
    })
    afterAll(async () => {
      await relay?.close()
      await slapd?.close()
      rmSync(folder, { recursive: true })
    })

    test.each(['starttls', 'at_once'] as const)(
      'TLS %s, verified by its own authority',
      async (tls) => {
        const port = tls === 'at_once' ? slapd.tlsPort : slapd.port
        expect(await askOnce(serverAt(port, { tls, host: 'localhost', files }))).toEqual([
          { dn: SUFFIX, dc: 'acme' },
        ])
        // Of nobody that is trusted, and for another name.
        for (const wrong of [
          { host: 'localhost', files: null },
          { host: '127.0.0.1', files },
        ])
          await expect(askOnce(serverAt(port, { tls, ...wrong }))).rejects.toMatchObject({
            reason: 'unreachable',
          })
      },
    )

    test('an address that is not allowed is not dialled', async () => {
      const strict = createDial({ ...DIAL, allowPrivate: [] })
      await expect(askOnce(serverAt(slapd.port), strict.open)).rejects.toThrow('allow_private')
      await strict.close()
    })

    test('a connection is used again, and one that was taken away is replaced unseen', async () => {
      const wire = createLdapWire(serverAt(relay.port), dial.open)
      const ask = () => wire.ask((search) => search(WANTED), never)
      for (let i = 0; i < 5; i += 1) await ask()
      expect(relay.most()).toBe(1)
      relay.set('cut')
      relay.set('open')
      await ask()
      wire.close()
    })

    test('a wrong password, a limit of the server and no such base are closed', async () => {
      await expect(
        askOnce(serverAt(slapd.port, { password: secret('wrong') })),
      ).rejects.toMatchObject({ reason: 'refused' })
      const wire = createLdapWire(serverAt(slapd.port), dial.open)
      const gone = { ...WANTED, base: `ou=gone,${SUFFIX}` }
      await expect(
        wire.ask((search) => search({ ...gone, scope: 'sub' }), never),
      ).rejects.toMatchObject({ reason: 'status' })
      expect(await wire.ask((search) => search(gone), never)).toBeNull()
      wire.close()
    })
  },
)

describe('what is no LDAP server', () => {
  const withServer = async (
    serve: (socket: Socket) => void,
    check: (port: number) => Promise<void>,
  ): Promise<void> => {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket.on('error', () => {}))
      serve(socket)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      await check((server.address() as AddressInfo).port)
    } finally {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
  }
  test('a server that sends without end is cut', async () => {
    await withServer(
      (socket) => socket.once('data', () => socket.write(Buffer.alloc(5 * 1024 ** 2, 0x30))),
      async (port) =>
        expect(askOnce(serverAt(port))).rejects.toMatchObject({ reason: 'too_large' }),
    )
  })
  test('whoever stops waiting ends the connection', async () => {
    await withServer(
      () => {},
      async (port) => {
        const signal = AbortSignal.timeout(200)
        await expect(askOnce(serverAt(port), dial.open, signal)).rejects.toMatchObject({
          reason: 'unreachable',
        })
      },
    )
  })
  test('a page that ends the connection is unreachable', async () => {
    await withServer(
      (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n<html>'),
      async (port) =>
        expect(askOnce(serverAt(port))).rejects.toMatchObject({ reason: 'unreachable' }),
    )
  })
})
