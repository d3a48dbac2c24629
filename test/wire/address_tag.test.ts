import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { createAddressTags, isAddressTag } from '../../proxy/wire/address_tag.ts'

let now = 1_800_000_000_000
const key = randomBytes(32)
const tags = createAddressTags({ key, randomBytes, now: () => now })
const target = '/upload/v1/ABC?token=x'
const refused = /is over, or was made for another address/

test('it opens for its own address, and the text in it cannot be read', () => {
  const tag = `user:${Buffer.from('älice').toString('latin1')}`
  const sealed = tags.seal(tag, 'files.example', target)
  expect(sealed).toMatch(/^dps_[A-Za-z0-9_-]+$/)
  expect(Buffer.from(sealed.slice(4), 'base64url').toString('latin1')).not.toContain('lice')
  expect(tags.open(sealed, 'files.example', target)).toBe(tag)
  expect(tags.seal(tag, 'files.example', target)).not.toBe(sealed)
  expect(tags.open(tags.seal('', 'files.example', target), 'files.example', target)).toBe('')
})

test('no other address, no other key, no changed letter, and not for long', () => {
  const sealed = tags.seal('user:alice', 'files.example', target)
  for (const [host, other] of [
    ['files.example', '/upload/v1/ABD?token=x'],
    ['files.example', '/upload/v1/ABC'],
    ['files.example', `${target}&a=b`],
    ['file.example', target],
  ] as const)
    expect(() => tags.open(sealed, host, other)).toThrow(refused)
  const foreign = createAddressTags({ key: randomBytes(32), randomBytes, now: () => now })
  expect(() => foreign.open(sealed, 'files.example', target)).toThrow(refused)
  for (let at = 4; at < sealed.length; at += 7) {
    const changed = `${sealed.slice(0, at)}${sealed[at] === 'A' ? 'B' : 'A'}${sealed.slice(at + 1)}`
    expect(() => tags.open(changed, 'files.example', target)).toThrow(refused)
  }
  for (const short of ['dps_', 'dps_AAAA', sealed.slice(0, 40)])
    expect(() => tags.open(short, 'files.example', target)).toThrow(refused)
  now += 10 * 60_000
  expect(() => tags.open(sealed, 'files.example', target)).toThrow(refused)
})

test('a person’s name is none', () => {
  expect(isAddressTag('dps_x')).toBe(true)
  for (const name of ['alice', 'dpr_x', null]) expect(isAddressTag(name)).toBe(false)
})
