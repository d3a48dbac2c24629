import { expect, test } from 'vitest'
import { configSchema, withoutPassword } from '../../proxy/config/schema.ts'

const store = configSchema.shape.vault.shape.store
const good = ['sqlite:deputy.db', 'postgres://u:p@h:5432/d', 'postgresql:///d?host=/run/pg']

test.each(good)('the store may be %s', (value) => {
  expect(store.parse(value)).toBe(value)
})

test.each(['sqlite:', 'mysql://u:sesame@h/d', 'postgres://u:sesame@h:port/d', 'postgres:', ''])(
  'the store may not be %s, and the message does not repeat it',
  (value) => {
    const { error } = store.safeParse(value)
    expect(error?.issues[0]?.message).toMatch(/is no store: write sqlite:PATH, or postgres:|empty/)
    expect(JSON.stringify(error)).not.toContain('sesame')
  },
)

test('a store is shown without its password, wherever the URL carries it', () => {
  for (const value of [
    'postgres://u:sesame@h:5432/d?sslmode=verify-full',
    'postgres://h/d?user=u&password=sesame',
  ])
    expect(withoutPassword(value)).not.toContain('sesame')
  expect(withoutPassword('postgres://u:p@h:5432/d?sslmode=verify-full')).toBe(
    'postgres://u:hidden@h:5432/d?sslmode=verify-full',
  )
  expect(withoutPassword('sqlite:deputy.db')).toBe('sqlite:deputy.db')
})
