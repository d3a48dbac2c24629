import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'
import { createAddressTags, isAddressTag } from '../../proxy/wire/address_tag.ts'

let now = 1_800_000_000_000
const key = randomBytes(32)
const tags = createAddressTags({ key, randomBytes, now: () => now })
const target = '/upload/v1/ABC?token=x'
const refused = /is over, or was made for another address/
const host = 'files.example'
const seal = (tag: string, methods = ['POST', 'PUT']) => tags.seal(tag, { host, target, methods })
const at = (text: string, method = 'POST') => canonicalTarget(method, text)

test('it opens for its own address, and the text in it cannot be read', () => {
  const tag = `user:${Buffer.from('älice').toString('latin1')}`
  const sealed = seal(tag)
  expect(sealed).toMatch(/^dps_[A-Za-z0-9_-]+$/)
  expect(Buffer.from(sealed.slice(4), 'base64url').toString('latin1')).not.toContain('lice')
  expect(tags.open(sealed, host, at(target))).toBe(tag)
  expect(seal(tag)).not.toBe(sealed)
  expect(tags.open(seal(''), host, at(target))).toBe('')
})

test('no other address, no other key, no changed letter, and not for long', () => {
  const sealed = seal('user:alice')
  for (const [there, other] of [
    ['files.example', '/upload/v1/ABD?token=x'],
    ['files.example', '/upload/v1/ABC'],
    ['files.example', `${target}&a=b`],
    ['file.example', target],
  ] as const)
    expect(() => tags.open(sealed, there, at(other))).toThrow(refused)
  const foreign = createAddressTags({ key: randomBytes(32), randomBytes, now: () => now })
  expect(() => foreign.open(sealed, host, at(target))).toThrow(refused)
  for (let i = 4; i < sealed.length; i += 7) {
    const changed = `${sealed.slice(0, i)}${sealed[i] === 'A' ? 'B' : 'A'}${sealed.slice(i + 1)}`
    expect(() => tags.open(changed, host, at(target))).toThrow(refused)
  }
  for (const short of ['dps_', 'dps_AAAA', sealed.slice(0, 40)])
    expect(() => tags.open(short, host, at(target))).toThrow(refused)
  now += 10 * 60_000
  expect(() => tags.open(sealed, host, at(target))).toThrow(refused)
})

test('it is for its methods: one that loads does not delete, and one that uploads does not load', () => {
  const opens = (sealed: string, methods: readonly string[]): readonly string[] =>
    methods.filter((method) => {
      try {
        return tags.open(sealed, host, at(target, method)) === 'user:alice'
      } catch {
        return false
      }
    })
  const all = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']
  expect(opens(seal('user:alice', ['GET']), all)).toEqual(['GET', 'HEAD'])
  expect(opens(seal('user:alice'), all)).toEqual(['POST', 'PUT'])
})

test('a person’s name is none', () => {
  expect(isAddressTag('dps_x')).toBe(true)
  for (const name of ['alice', 'dpr_x', null]) expect(isAddressTag(name)).toBe(false)
})
