// The configuration changes while calls run: nothing is dropped, or the last good one serves on and says why.
import { writeFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-0123456789abcdef'
let upstream: Upstream
const ends: (() => unknown)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})
const HELD = [
  { person: 'alice', token: TOKEN },
  { person: 'alice', token: TOKEN, connection: 'stream' },
]
const begin = async (config: Fields = {}): Promise<Deputy> => {
  const deputy = await startDeputy({ upstream: upstream.origin, held: HELD, config })
  ends.push(() => deputy.close())
  return deputy
}
const call = async (deputy: Deputy, path = '/api.acme.test/a'): Promise<unknown> => {
  const answer = await fetch(`${deputy.agent}${path}`, { headers: { 'deputy-user': 'alice' } })
  const said = (await answer.json()) as { code?: string; login?: string }
  return said.code ?? said.login
}
const rewrite = (deputy: Deputy, change: (config: Record<string, unknown>) => void): void => {
  const path = join(deputy.dir, 'deputy.yaml')
  const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
  change(config)
  writeFileSync(path, JSON.stringify(config))
}

test('a thousand calls while the configuration is read again and again: none fails', async () => {
  const deputy = await begin()
  let going = true
  const failed: unknown[] = []
  let done = 0
  const workers = Array.from({ length: 8 }, async () => {
    while (going || done < 1_000) {
      const said = await call(deputy)
      done++
      if (said !== 'alice') failed.push(said)
    }
  })
  for (let i = 0; i < 10; i++) {
    rewrite(deputy, (config) => (config['limits'] = { calls_per_agent: 500 + i }))
    await deputy.reload()
  }
  going = false
  await Promise.all(workers)
  expect(failed).toEqual([])
  const events = deputy.evidence().filter(({ event }) => event === 'config.reloaded')
  expect(events.at(-1)).toMatchObject({ revision: 11 })
})
