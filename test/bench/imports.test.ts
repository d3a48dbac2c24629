import { expect, test } from 'vitest'
import { costsOf, loadedAtStart } from './imports.ts'

test('a library’s cost is told, and a sidecar starts without those that most never use', async () => {
  const [zod, pg] = costsOf(['zod', 'pg'], 1)
  expect(zod).toMatchObject({ name: 'zod', modules: expect.any(Number) as number })
  expect(Math.min(zod?.modules ?? 0, pg?.modules ?? 0)).toBeGreaterThan(10)
  const loaded = await loadedAtStart()
  expect(loaded).toContain('zod')
  for (const late of [
    'pg',
    'graphql',
    'hono',
    '@hono/node-server',
    'standardwebhooks',
    '@opentelemetry/api',
  ])
    expect(loaded).not.toContain(late)
})
