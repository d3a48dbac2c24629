// A certificate that ends while it is shown: said before, said when, and once each.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { watchCertificate } from '../../proxy/compose/certificate.ts'
import { makeAuthority } from '../../proxy/net/authority.ts'
import { createMetrics } from '../../proxy/observe/metrics.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'

const ends: (() => unknown)[] = []
afterEach(() => ends.splice(0).forEach((end) => end()))
const missing = opensslMissing()
const HOUR_MS = 3_600_000

test.skipIf(missing !== '')(`of two days, over its life${missing}`, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-certificate-'))
  ends.push(() => rmSync(dir, { recursive: true }))
  const { pem, key } = makeCertificate(dir)
  let tls: { cert: string; key: string } | null = { cert: pem, key: readFileSync(key, 'utf8') }
  let at = Date.now()
  const said: string[] = []
  const tell = (level: string) => (_fields: object, message: string) =>
    void said.push(`${level} ${message}`)
  const metrics = createMetrics({ version: '0' })
  const { look, check } = watchCertificate(
    {
      clock: { now: () => at, mono: () => at, wrong: () => null, lead: () => 0 },
      log: { debug: tell('debug'), info: tell('info'), warn: tell('warn'), error: tell('error') },
      opened: (end) => ends.push(end),
    },
    metrics,
    () => ({ tls, authority: null }),
  )
  expect(said).toEqual([])
  expect(check()).toEqual([{ name: 'certificate', ok: true, detail: '' }])
  expect(await metrics.render()).toMatch(
    /^deputy_certificate_expiry_timestamp_seconds\{listener="agent_tls"\} \d{10}$/m,
  )
  at += 40 * HOUR_MS
  look()
  look()
  expect(said).toEqual([expect.stringMatching(/^warn listeners\.agent_tls\.cert expires on 2/)])
  expect(check()[0]).toMatchObject({
    ok: true,
    detail: expect.stringContaining('expires on') as string,
  })
  at += 9 * HOUR_MS
  look()
  look()
  expect(said.slice(1)).toEqual([
    expect.stringMatching(/^error listeners\.agent_tls\.cert expired on 2.+: renew it$/),
  ])
  expect(check()[0]?.detail).toContain('expired on')
  tls = null
  look()
  expect(check()).toEqual([])
  expect(await metrics.render()).not.toContain('expiry_timestamp_seconds{')
})

test('the authority of a forward proxy, too', async () => {
  const authority = await makeAuthority(['api.acme.test'], Date.now(), 2)
  let at = Date.now()
  const said: string[] = []
  const tell = (_fields: object, message: string) => void said.push(message)
  const metrics = createMetrics({ version: '0' })
  const { look, check } = watchCertificate(
    {
      clock: { now: () => at, mono: () => at, wrong: () => null, lead: () => 0 },
      log: { debug: tell, info: tell, warn: tell, error: tell },
      opened: (end) => ends.push(end),
    },
    metrics,
    () => ({ tls: null, authority }),
  )
  expect([said, check()]).toEqual([[], [{ name: 'forward.ca', ok: true, detail: '' }]])
  expect(await metrics.render()).toMatch(/expiry_timestamp_seconds\{listener="forward"\} \d{10}$/m)
  at += 47 * HOUR_MS
  look()
  expect(said).toEqual([expect.stringMatching(/^forward\.ca expires on 2/)])
  at += 2 * HOUR_MS
  expect(check()[0]?.detail).toContain('expired on')
})
