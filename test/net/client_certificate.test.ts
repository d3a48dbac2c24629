// What a client certificate says, read whole or not at all. test/e2e/client_certificates.test.ts has the connections.
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import {
  alternativeNames,
  clientCertificate,
  readCertificate,
} from '../../proxy/net/client_certificate.ts'
import { makeAuthority } from '../support/authority.ts'
import { opensslMissing } from '../support/certificate.ts'

test.each<[string, readonly (readonly [string, string])[] | null]>([
  ['', []],
  ['DNS:a.test', [['DNS', 'a.test']]],
  [
    'URI:spiffe://corp/a, IP Address:127.0.0.1',
    [
      ['URI', 'spiffe://corp/a'],
      ['IP Address', '127.0.0.1'],
    ],
  ],
  ['URI:"spiffe://corp/x, URI:spiffe://corp/a"', [['URI', 'spiffe://corp/x, URI:spiffe://corp/a']]],
  [
    'DNS:"a\\"b", DNS:c',
    [
      ['DNS', 'a"b'],
      ['DNS', 'c'],
    ],
  ],
  ['DNS:"a', null],
  ['DNS:"a" URI:b', null],
  ['DNS:"\\x", DNS:b', null],
  ['a', null],
])('names are read from %s', (text, names) => {
  expect(alternativeNames(text)).toEqual(names)
})

const missing = opensslMissing()
test.skipIf(missing !== '')(`a certificate says who it is, and until when${missing}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-names-'))
  try {
    const ca = makeAuthority(folder, 'agents')
    const leaf = (names: string, how = {}) => new X509Certificate(ca.give(names, how).cert)
    const one = leaf('URI:spiffe://corp/a,DNS:A.test,DNS:b.test', { cn: 'triage' })
    expect(readCertificate(one, null)).toEqual({
      uris: ['spiffe://corp/a'],
      dns: ['a.test', 'b.test'],
      cns: ['triage'],
      validFrom: one.validFromDate.getTime(),
      validTo: one.validToDate.getTime(),
      problem: null,
    })
    expect(readCertificate(one, 'UNABLE_TO_VERIFY').problem).toMatch(
      /does not verify.*UNABLE_TO_VERIFY/,
    )
    expect(readCertificate(leaf('DNS:a', { ca: true }), null).problem).toMatch(/of an authority/)
    expect(readCertificate(leaf(''), null)).toMatchObject({ uris: [], dns: [], problem: null })
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a connection without TLS shows none', () => {
  expect(clientCertificate(new Socket())).toBeNull()
})
