import { expect, test } from 'vitest'
import { assertOneReading } from '../../proxy/wire/jwt.ts'

const token = (header: string | Buffer, claims: string | Buffer): string =>
  `${[header, claims].map((part) => Buffer.from(part).toString('base64url')).join('.')}.c2ln`

test('header and claims have each member once, at every depth, however it is escaped', () => {
  expect(() =>
    assertOneReading(token('{"alg":"RS256"}', '{"sub":"alice","act":{"sub":"a"}}')),
  ).not.toThrow()
  for (const [header, claims, said] of [
    ['{"alg":"RS256"}', '{"sub":"alice","sub":"bob"}', '"sub" stands twice'],
    ['{"alg":"RS256"}', '{"sub":"alice","s\\u0075b":"bob"}', '"sub" stands twice'],
    ['{"alg":"RS256"}', '{"act":{"sub":"a","sub":"b"}}', '"sub" stands twice'],
    ['{"alg":"RS256","kid":"a","kid":"b"}', '{"sub":"alice"}', '"kid" stands twice'],
    ['{"alg":"RS256"}', Buffer.from('{"sub":"al\xefce"}', 'latin1'), 'UTF-8'],
    ['{"alg":"RS256"}', '', 'JSON'],
  ] as const)
    expect(() => assertOneReading(token(header, claims)), String(claims)).toThrow(said)
})
