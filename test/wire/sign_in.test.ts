import { expect, test } from 'vitest'
import { signInOf } from '../../proxy/wire/sign_in.ts'

test('what the claims say of a sign-in, and nothing that is of another type', () => {
  expect(signInOf({ acr: 'high', amr: ['pwd', 'otp'], auth_time: 9 })).toEqual({
    acr: 'high',
    amr: ['pwd', 'otp'],
    at: 9_000,
  })
  expect(signInOf({ acr: 'high' })).toEqual({ acr: 'high', amr: [], at: null })
  expect(signInOf({ auth_time: 9 })).toEqual({ acr: null, amr: [], at: 9_000 })
  expect(signInOf({ amr: 'pwd' })).toEqual({ acr: null, amr: ['pwd'], at: null })
  for (const none of [null, {}, { acr: 1, amr: {}, auth_time: '9' }, { amr: [1, null] }])
    expect(signInOf(none)).toBeNull()
})
