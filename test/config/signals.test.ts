import { expect, test } from 'vitest'
import { signal } from '../../proxy/config/signals.ts'

const issuer = 'https://idp.test'
const client = { client_id: 'deputy', client_secret: 'secret', token: 'https://idp.test/token' }

test.each([
  { audience: 'deputy', push: true },
  { audience: ['a', 'b'], poll: 'https://idp.test/poll', bearer: 'token' },
  { audience: 'deputy', poll: 'https://idp.test/poll', ...client },
  { manage: true, ...client },
  { manage: true, push: true, bearer: 'token' },
])('goes together: %j', (row) => {
  expect(signal.safeParse({ issuer, ...row }).success).toBe(true)
})
test.each([
  [{ audience: 'deputy' }, 'needs push: true'],
  [{ push: true }, 'say what its events have as aud'],
  [{ manage: true }, 'manage: needs a bearer'],
  [{ manage: true, poll: 'https://idp.test/poll', bearer: 'x' }, 'says where events wait'],
  [{ manage: true, client_id: 'deputy' }, 'client_id: needs client_secret and token'],
  [{ manage: true, bearer: 'x', ...client }, 'keep one'],
  [{ manage: true, ...client, token: 'http://idp.test/token' }, 'is plain http'],
])('does not: %j', (row, problem) => {
  const { error } = signal.safeParse({ issuer, ...row })
  expect(error?.issues.map(({ message }) => message).join()).toContain(problem)
})
