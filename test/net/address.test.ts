import { describe, expect, test } from 'vitest'
import { createAddressRule, NEVER, PRIVATE } from '../../proxy/net/address.ts'

/** Range, its first and last address, and the public neighbours before and after it (null: none that is public). */
type Row = readonly [
  range: string,
  first: string,
  last: string,
  before: string | null,
  after: string | null,
]
const NO_CONFIGURATION_OPENS: readonly Row[] = [
  ['0.0.0.0/8', '0.0.0.0', '0.255.255.255', null, '1.0.0.0'],
  ['169.254.0.0/16', '169.254.0.0', '169.254.255.255', '169.253.255.255', '169.255.0.0'],
  ['192.0.0.0/24', '192.0.0.0', '192.0.0.255', '191.255.255.255', '192.0.1.0'],
  ['224.0.0.0/4', '224.0.0.0', '239.255.255.255', '223.255.255.255', null],
  ['240.0.0.0/4', '240.0.0.0', '255.255.255.255', null, null],
  ['100.100.100.200/32', '100.100.100.200', '100.100.100.200', null, null],
  ['168.63.129.16/32', '168.63.129.16', '168.63.129.16', '168.63.129.15', '168.63.129.17'],
  ['::/128', '::', '::', null, null],
  ['fe80::/10', 'fe80::', 'febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'fe7f:ffff::', null],
  ['fec0::/10', 'fec0::', 'feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', null, null],
  ['ff00::/8', 'ff00::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', null, null],
  ['fd00:ec2::/32', 'fd00:ec2::', 'fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff', null, null],
  ['fd20:ce::254/128', 'fd20:ce::254', 'fd20:ce::254', null, null],
  ['fd00:c1::a9fe:a9fe/128', 'fd00:c1::a9fe:a9fe', 'fd00:c1::a9fe:a9fe', null, null],
]
const ONLY_WHERE_LISTED: readonly Row[] = [
  ['10.0.0.0/8', '10.0.0.0', '10.255.255.255', '9.255.255.255', '11.0.0.0'],
  ['100.64.0.0/10', '100.64.0.0', '100.127.255.255', '100.63.255.255', '100.128.0.0'],
  ['127.0.0.0/8', '127.0.0.0', '127.255.255.255', '126.255.255.255', '128.0.0.0'],
  ['172.16.0.0/12', '172.16.0.0', '172.31.255.255', '172.15.255.255', '172.32.0.0'],
  ['192.0.2.0/24', '192.0.2.0', '192.0.2.255', '192.0.1.255', '192.0.3.0'],
  ['192.31.196.0/24', '192.31.196.0', '192.31.196.255', '192.31.195.255', '192.31.197.0'],
  ['192.52.193.0/24', '192.52.193.0', '192.52.193.255', '192.52.192.255', '192.52.194.0'],
  ['192.88.99.0/24', '192.88.99.0', '192.88.99.255', '192.88.98.255', '192.88.100.0'],
  ['192.168.0.0/16', '192.168.0.0', '192.168.255.255', '192.167.255.255', '192.169.0.0'],
  ['192.175.48.0/24', '192.175.48.0', '192.175.48.255', '192.175.47.255', '192.175.49.0'],
  ['198.18.0.0/15', '198.18.0.0', '198.19.255.255', '198.17.255.255', '198.20.0.0'],
  ['198.51.100.0/24', '198.51.100.0', '198.51.100.255', '198.51.99.255', '198.51.101.0'],
  ['203.0.113.0/24', '203.0.113.0', '203.0.113.255', '203.0.112.255', '203.0.114.0'],
  ['::/96', '::1', '::dfff:ffff', null, '::1:0:0'],
  ['::ffff:0:0/96', '::ffff:1.0.0.0', '::ffff:223.255.255.255', '::fffe:ffff:ffff', '::1:0:0:0'],
  [
    '::ffff:0:0:0/96',
    '::ffff:0:1.0.0.0',
    '::ffff:0:223.255.255.255',
    '::fffe:ffff:ffff:ffff',
    '::ffff:1:0:0',
  ],
  [
    '64:ff9b:1::/48',
    '64:ff9b:1::1.0.0.0',
    '64:ff9b:1:ffff:ffff:ffff:dfff:ffff',
    '64:ff9b:0:ffff::',
    '64:ff9b:2::',
  ],
  ['100::/64', '100::', '100::ffff:ffff:ffff:ffff', 'ff:ffff::', null],
  ['100:0:0:1::/64', '100:0:0:1::', '100::1:ffff:ffff:ffff:ffff', null, '100:0:0:2::'],
  [
    '2001::/23',
    '2001:0:102:304::fefe:fefe',
    '2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff',
    '2000:ffff::',
    '2001:200::',
  ],
  [
    '2001:db8::/32',
    '2001:db8::',
    '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff',
    '2001:db7::',
    '2001:db9::',
  ],
  ['2002::/16', '2002:100::', '2002:dfff:ffff:ffff::', '2001:ffff::', '2003::'],
  [
    '2620:4f:8000::/48',
    '2620:4f:8000::',
    '2620:4f:8000:ffff:ffff:ffff:ffff:ffff',
    '2620:4f:7fff::',
    '2620:4f:8001::',
  ],
  ['3fff::/20', '3fff::', '3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff', '3ffe:ffff::', '3fff:1000::'],
  ['5f00::/16', '5f00::', '5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '5eff::', '5f01::'],
  ['fc00::/7', 'fc00::', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'fbff::', 'fe00::'],
]
/** What another range covers: only there it tells whether its own range was read. */
const EVERYTHING = [{ net: '0.0.0.0/0' }, { net: '::/0' }]
const nobody = createAddressRule([])
const everybody = createAddressRule(EVERYTHING)

describe('every special range, at its edges and just outside', () => {
  test('the tables here and in the code list the same ranges', () => {
    expect(NO_CONFIGURATION_OPENS.map(([range]) => range)).toEqual(NEVER)
    expect(ONLY_WHERE_LISTED.map(([range]) => range)).toEqual(PRIVATE)
  })
  test.each(NO_CONFIGURATION_OPENS)('%s is never dialled', (_range, first, last, before, after) => {
    for (const address of [first, last]) {
      expect(nobody('h', address), address).toBe(false)
      expect(everybody('h', address), address).toBe(false)
    }
    for (const address of [before, after])
      if (address !== null) expect(nobody('h', address), address).toBe(true)
  })
  test.each(ONLY_WHERE_LISTED)(
    '%s is dialled only where it is listed',
    (_range, first, last, before, after) => {
      for (const address of [first, last]) {
        expect(nobody('h', address), address).toBe(false)
        expect(everybody('h', address), address).toBe(true)
      }
      for (const address of [before, after])
        if (address !== null) expect(nobody('h', address), address).toBe(true)
    },
  )
})

describe('an IPv4 address inside an IPv6 one', () => {
  const forms = (v4: string): readonly string[] => {
    const [a = 0, b = 0, c = 0, d = 0] = v4.split('.').map(Number)
    const hex = (high: number, low: number) => ((high << 8) | low).toString(16)
    const turned = `${hex(255 - a, 255 - b)}:${hex(255 - c, 255 - d)}`
    return [
      `::${v4}`,
      `::ffff:${v4}`,
      `::ffff:0:${v4}`,
      `64:ff9b::${v4}`,
      `64:ff9b:1::${v4}`,
      `64:ff9b:1:${hex(a, b)}:${hex(0, c)}:${hex(d, 0)}::`,
      `2002:${hex(a, b)}:${hex(c, d)}::1`,
      `2001:0:${hex(a, b)}:${hex(c, d)}::fefe:fefe`,
      `2001:0:102:304::${turned}`,
    ]
  }
  test('a metadata service is reached in no disguise, whatever is allowed', () => {
    for (const v4 of ['169.254.169.254', '100.100.100.200', '168.63.129.16', '192.0.0.192'])
      for (const address of forms(v4)) expect(everybody('h', address), address).toBe(false)
  })
  test('a private one needs its own entry, the disguise another', () => {
    const inside = [{ net: '10.0.0.0/8' }]
    for (const address of forms('10.1.2.3')) {
      expect(nobody('h', address), address).toBe(false)
      expect(createAddressRule([{ net: '::/0' }])('h', address), address).toBe(false)
      expect(createAddressRule([...inside, { net: '::/0' }])('h', address), address).toBe(true)
    }
    const listed = createAddressRule(inside)
    // The system dials the IPv4 address itself.
    expect(listed('h', '::ffff:10.1.2.3')).toBe(true)
    expect(listed('h', '64:ff9b::10.1.2.3')).toBe(true)
    expect(listed('h', '2002:a01:203::')).toBe(false)
  })
  test('a public one is public behind the well-known translation only', () => {
    expect(forms('8.8.8.8').filter((address) => nobody('h', address))).toEqual(['64:ff9b::8.8.8.8'])
  })
})

test('allow_private opens a network, or a network for one host', () => {
  const rule = createAddressRule([
    { host: 'Git.corp', net: '10.1.0.0/16' },
    { net: 'fd12:3456::/32' },
  ])
  expect(rule('git.CORP', '10.1.2.3')).toBe(true)
  expect(rule('git.corp', '10.2.2.3')).toBe(false)
  expect(rule('other.corp', '10.1.2.3')).toBe(false)
  expect(rule('anything', 'fd12:3456::1')).toBe(true)
  expect(rule('anything', 'fd12:3457::1')).toBe(false)
})

test('what is no address is not dialled; a zone does not hide one', () => {
  for (const address of ['', 'localhost', '1.2.3', '0x7f.1', 'fe80::1%eth0', '::1%lo'])
    expect(nobody('h', address), address).toBe(false)
  expect(nobody('h', '2606:4700::1111')).toBe(true)
})
