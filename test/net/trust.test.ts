// Files that connections are dialled with; what a provider sees of them is in dial.test.ts.
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { Log } from '../../proxy/model.ts'
import { commonTrust, followTrust, trustOf, trustProblems } from '../../proxy/net/trust.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'

const folder = mkdtempSync(join(tmpdir(), 'deputy-trust-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)
const said: string[] = []
const write = (fields: object, msg: string): void =>
  void said.push(`${msg} ${JSON.stringify(fields)}`)
const log: Log = { debug: write, info: write, warn: write, error: write }

test('without files the runtime trusts as it does by itself', async () => {
  expect(await followTrust(commonTrust(null), log)()).toBe(null)
})

test('a connection adds its authorities to those of all, and has a certificate of its own', () => {
  const tls = { connection: 'bank', ca: '/b.pem', client: { cert: '/c.pem', key: '/k.pem' } }
  expect(trustOf(commonTrust('/a.pem'), tls)).toEqual({
    ca: [
      { where: 'upstream.ca', path: '/a.pem' },
      { where: 'connections.bank.ca', path: '/b.pem' },
    ],
    client: { where: 'connections.bank.client_cert', cert: '/c.pem', key: '/k.pem' },
  })
  expect(trustOf(commonTrust('/a.pem'), null)).toEqual(commonTrust('/a.pem'))
})

const missing = opensslMissing()
describe.skipIf(missing !== '')(`files${missing}`, () => {
  test('are all told of, each with its place', async () => {
    writeFileSync(at('junk.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
    const tls = {
      connection: 'bank',
      ca: at('junk.pem'),
      client: { cert: at('no.crt'), key: at('no.key') },
    }
    const problems = await trustProblems(trustOf(commonTrust(at('none.pem')), tls))
    expect(problems.map((problem) => problem.split(':')[0])).toEqual([
      'upstream.ca',
      'connections.bank.ca',
      'connections.bank.client_cert.cert',
      'connections.bank.client_cert.key',
    ])
    expect(problems[1]).toMatch(/is no list of certificates: write the PEM/)
  })
  test('of authorities may have comments in Latin-1, as those of many systems', async () => {
    const { cert } = makeCertificate(folder)
    writeFileSync(at('old.pem'), `# Autorit\u00e9\n${readFileSync(cert, 'utf8')}`, 'latin1')
    expect(await trustProblems(commonTrust(at('old.pem')))).toEqual([])
  })
  test('that stay make one context, read once; those that change make another', async () => {
    for (const name of ['one', 'two']) mkdirSync(at(name))
    const [one, two] = [makeCertificate(at('one')), makeCertificate(at('two'))]
    copyFileSync(one.cert, at('ca.pem'))
    const look = followTrust(commonTrust(at('ca.pem')), log)
    const [first, same] = await Promise.all([look(), look()])
    expect(first).not.toBe(null)
    expect([same, await look()]).toEqual([first, first])
    expect((await look()) === first).toBe(true)
    copyFileSync(two.cert, at('next.pem'))
    renameSync(at('next.pem'), at('ca.pem'))
    const second = await look()
    expect(second === first).toBe(false)
    said.length = 0
    rmSync(at('ca.pem'))
    expect((await look()) === second).toBe(true)
    expect((await look()) === second).toBe(true)
    expect(said).toHaveLength(1)
    expect(said[0]).toMatch(/the last good ones are used .*upstream\.ca: .*does not exist/)
    copyFileSync(one.cert, at('ca.pem'))
    expect((await look()) === second).toBe(false)
  })
  test('that were never good are not dialled without', async () => {
    await expect(followTrust(commonTrust(at('never.pem')), log)()).rejects.toMatchObject({
      code: 'DEPUTY_TRUST_UNREADABLE',
    })
  })
})
