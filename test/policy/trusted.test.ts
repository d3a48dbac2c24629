import { describe, expect, test } from 'vitest'
import type { BundleFiles } from '../../proxy/policy/bundle.ts'
import { createTrust } from '../../proxy/policy/trusted.ts'
import { ecPair, filesOf, signed } from '../support/bundles.ts'

const NOW = 1_800_000_000_000
const [mine, other] = [ecPair(), ecPair()]
let now = NOW
const clock = { now: () => now, mono: () => 0 }
const verification = { keys: { prod: mine.pem } }
const trustOf = (rollback = false) => {
  now = NOW
  return createTrust(verification, { rollback, clock })
}
/** @param iat seconds after NOW; null: none */
const made = async (revision: string, iat: number | null, exp?: number): Promise<BundleFiles> =>
  Object.entries(
    await signed(filesOf(revision), {
      alg: 'ES256',
      key: mine.privateKey,
      claims: {
        ...(iat === null ? {} : { iat: NOW / 1_000 + iat }),
        ...(exp === undefined ? {} : { exp: NOW / 1_000 + exp }),
      },
    }),
  ).map(([name, value]) => [name, Buffer.from(value)])

describe('bundles of one signer', () => {
  test('go forward by `iat`; what was only read moves nothing', async () => {
    const trust = trustOf()
    const newer = await trust.read(await made('new', -10))
    expect(newer.bundle.revision).toBe('new')
    await trust.read(await made('old', -20))
    trust.use(newer)
    await trust.read(await made('same moment', -10))
    await expect(trust.read(await made('old', -20))).rejects.toThrow(/before the one in use/)
    await expect(trust.read(await made('none', null))).rejects.toThrow(/does not say when/)
  })
  test('have no order without `iat`', async () => {
    const trust = trustOf()
    trust.use(await trust.read(await made('a', null)))
    expect((await trust.read(await made('b', -99))).signed?.issuedAt).toBe(NOW - 99_000)
  })
  test('go back where that is allowed, and forward from there again once it is not', async () => {
    const trust = trustOf(true)
    trust.use(await trust.read(await made('new', -10)))
    const old = await made('old', -20)
    trust.use(await trust.read(old))
    const next = trustOf()
    next.use(await next.readKept(old))
    await next.read(await made('new', -15))
    await expect(next.read(await made('older', -30))).rejects.toThrow(/before the one in use/)
  })
  test('end (`exp`): also one that was kept, and yet none before it is taken', async () => {
    const trust = trustOf()
    const kept = await made('kept', -10, 10)
    now = NOW + 90_000
    await expect(trust.readKept(kept)).rejects.toThrow(/it ended at/)
    await expect(trust.read(await made('older', -20))).rejects.toThrow(/before the one in use/)
    now = NOW
    expect((await trust.readKept(kept)).bundle.revision).toBe('kept')
  })
  test('a clock that is behind refuses them until it is right', async () => {
    const trust = trustOf()
    const fresh = await made('fresh', 0)
    now = NOW - 3_600_000
    await expect(trust.read(fresh)).rejects.toMatchObject({ code: 'DEPUTY_BUNDLE_UNTIMELY' })
    now = NOW
    expect((await trust.read(fresh)).bundle.revision).toBe('fresh')
  })
})

test('what was kept and is not ours any more sets no order', async () => {
  const trust = createTrust({ keys: { next: other.pem } }, { rollback: false, clock })
  await expect(trust.readKept(await made('kept', 0))).rejects.toThrow(/not by next/)
  now = NOW
  const files = await signed(filesOf('by the next key'), {
    alg: 'ES256',
    key: other.privateKey,
    claims: { iat: NOW / 1_000 - 500 },
  })
  const read = await trust.read(
    Object.entries(files).map(([name, value]) => [name, Buffer.from(value)]),
  )
  expect(read.bundle.revision).toBe('by the next key')
})

test('without verification a signed bundle is refused, as OPA does', async () => {
  const trust = createTrust(null, { rollback: false, clock })
  await expect(trust.read(await made('a', 0))).rejects.toThrow(
    /nothing says whose signature counts/,
  )
})
