// Client certificates against rows. test/e2e/client_certificates.test.ts has real ones.
import { expect, test } from 'vitest'
import type { ClientCertificate } from '../../../proxy/model.ts'
import { createCertificates } from '../../../proxy/pipeline/workload/certificate.ts'
import type { WorkloadRow } from '../../../proxy/pipeline/workload/rows.ts'

const NOW = 1_800_000_000_000
const rows: readonly WorkloadRow[] = [
  { name: 'mesh', match: [['/uri', 'spiffe://corp/*']], agent: '/uri' },
  {
    name: 'both',
    match: [
      ['/dns', 'b.test'],
      ['/cn', 'b'],
    ],
    agent: 'agent:b',
  },
  { name: 'any', match: [['/dns', '*.test']], agent: '/dns' },
]
const shown = (more: Partial<ClientCertificate> = {}): ClientCertificate => ({
  uris: ['spiffe://corp/a'],
  dns: [],
  cns: [],
  validFrom: NOW - 1,
  validTo: NOW + 1_000,
  problem: null,
  ...more,
})
const world = () => {
  const clock = { at: NOW, now: () => clock.at }
  return { clock, of: createCertificates(rows, clock) }
}

test('a certificate names its agent until it ends, by one value', () => {
  const { of, clock } = world()
  const one = shown()
  const workload = of(one)
  expect(workload).toEqual({
    name: 'mesh',
    subject: 'spiffe://corp/a',
    agent: 'spiffe://corp/a',
    expiresAt: NOW + 1_000,
  })
  expect(of(one)).toBe(workload)
  clock.at += 1_000
  expect(() => of(one)).toThrow('has expired')
  clock.at = NOW - 1
  expect(of(one)).toBe(workload)
  clock.at = NOW - 2
  expect(() => of(one)).toThrow('is not valid yet')
})

test('the earlier row is meant, in whatever order the names stand', () => {
  const { of } = world()
  for (const dns of [
    ['a.test', 'b.test'],
    ['b.test', 'a.test'],
  ])
    expect(of(shown({ uris: [], dns, cns: ['b'] }))).toMatchObject({
      name: 'both',
      subject: 'b.test',
      agent: 'agent:b',
    })
  expect(of(shown({ uris: [], dns: ['b.test'] }))).toMatchObject({ name: 'any', agent: 'b.test' })
})

test.each<[Partial<ClientCertificate>, RegExp]>([
  [{ problem: 'the chain is broken' }, /^the chain is broken$/],
  [{ uris: ['spiffe://corp/a', 'spiffe://corp/b'] }, /more than one URI name/],
  [{ cns: ['a', 'b'] }, /more than one CN name/],
  [{ uris: [] }, /mesh wants another \/uri, both wants another \/dns, any wants another \/dns/],
  [{ uris: ['https://corp/a'] }, /mesh wants another \/uri/],
])('what names nobody here is refused: %j', (more, said) => {
  const { of } = world()
  expect(() => of(shown(more))).toThrow(said)
})
