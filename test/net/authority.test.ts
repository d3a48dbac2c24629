// What an authority of deputy's own vouches for, and what it cannot: as Node's own TLS judges it.
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createTcp, type AddressInfo } from 'node:net'
import { connect, createServer, TLSSocket } from 'node:tls'
import { beforeAll, expect, test } from 'vitest'
import {
  createLeaves,
  makeAuthority,
  permits,
  permitted,
  type Authority,
} from '../../proxy/net/authority.ts'

let ca: Authority
let now = Date.now()
beforeAll(async () => {
  ca = await makeAuthority(['api.acme.test', '.tenant.test'], now, 30)
})

/** What a client says that trusts this authority alone. */
const judged = async (name: string, made: Authority = ca): Promise<string> => {
  const leaf = createLeaves(
    () => made,
    () => now,
  )
  const server = createServer({
    SNICallback: (asked, done) => void leaf(asked).then((context) => done(null, context), done),
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const said = await new Promise<string>((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', servername: name, ca: made.cert }, () => {
      socket.destroy()
      resolve('trusted')
    })
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)))
  })
  server.close()
  return said
}

test('its hosts and what is below them are trusted, no other name is', async () => {
  for (const name of ['api.acme.test', 'a.tenant.test']) expect(await judged(name)).toBe('trusted')
  for (const name of ['evil.example', 'acme.test', 'api.acme.test.evil.example', 'xapi.acme.test'])
    expect(await judged(name), name).not.toBe('trusted')
})

test('a leaf has no name but its host: an empty sequence, and BoringSSL refuses any other', async () => {
  const leaf = createLeaves(
    () => ca,
    () => now,
  )
  const server = createServer({ SNICallback: (name, done) => void leaf(name).then((c) => done(null, c), done) })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const socket = connect({ port, host: '127.0.0.1', servername: 'api.acme.test', ca: ca.cert })
  await once(socket, 'secureConnect')
  // Behind the times of its validity, and before its key.
  const named = Buffer.from('Z\x30\x00\x30', 'latin1')
  expect(socket.getPeerCertificate().raw.includes(named)).toBe(true)
  socket.destroy()
  server.close()
})

test('it says for which hosts it was made', async () => {
  expect(await permitted(ca.cert)).toEqual(['api.acme.test', 'tenant.test'])
  expect(permits(['tenant.test'], 'a.tenant.test')).toBe(true)
  expect(permits(['tenant.test'], 'atenant.test')).toBe(false)
})

test('it is an authority for leaves alone, by a key that is its own, for as long as it says', async () => {
  const cert = new X509Certificate(ca.cert)
  expect(cert.ca).toBe(true)
  expect(cert.verify(cert.publicKey)).toBe(true)
  expect(cert.validToDate.getTime() - now).toBeLessThanOrEqual(30 * 86_400_000)
  const other = await makeAuthority(['api.acme.test'], now, 1)
  expect(other.key).not.toBe(ca.key)
  expect(new X509Certificate(other.cert).serialNumber).not.toBe(cert.serialNumber)
})

test('a leaf is made once, and anew before it ends', async () => {
  const leaf = createLeaves(
    () => ca,
    () => now,
  )
  const first = leaf('api.acme.test')
  expect(leaf('api.acme.test')).toBe(first)
  await first
  now += 13 * 3_600_000
  const next = leaf('api.acme.test')
  expect(next).not.toBe(first)
  await next
  now = Date.now()
})

test('a key that is not the authority’s makes no leaf that is trusted, and a broken one makes none', async () => {
  const other = await makeAuthority(['api.acme.test'], now, 1)
  expect(await judged('api.acme.test', { cert: ca.cert, key: other.key })).not.toBe('trusted')
  await expect(
    createLeaves(
      () => ({ cert: ca.cert, key: 'no' }),
      () => now,
    )('api.acme.test'),
  ).rejects.toThrow()
})

test('leaves are kept for so many hosts and no more, and another authority makes its own', async () => {
  let own = ca
  const leaf = createLeaves(
    () => own,
    () => now,
  )
  const first = await leaf('a.tenant.test')
  expect(await leaf('a.tenant.test')).toBe(first)
  own = await makeAuthority(['.tenant.test'], now, 1)
  const other = await leaf('a.tenant.test')
  expect(other).not.toBe(first)
  for (let n = 0; n < 255; n++) await leaf(`b${n}.tenant.test`)
  expect(await leaf('a.tenant.test')).toBe(other)
  for (let n = 0; n < 256; n++) await leaf(`c${n}.tenant.test`)
  expect(await leaf('a.tenant.test')).not.toBe(other)
})

test('a client cannot have the handshake made again and again', async () => {
  const leaf = createLeaves(
    () => ca,
    () => now,
  )
  const secureContext = await leaf('api.acme.test')
  const server = createTcp((socket) => {
    new TLSSocket(socket, { isServer: true, secureContext }).on('error', () => undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const again = await new Promise<Error | null>((resolve) => {
    const client = connect(
      { port, host: '127.0.0.1', servername: 'api.acme.test', ca: ca.cert, maxVersion: 'TLSv1.2' },
      () => client.renegotiate({}, (error) => (client.destroy(), resolve(error))),
    )
    client.on('error', resolve)
  })
  server.close()
  expect(again).not.toBeNull()
})
