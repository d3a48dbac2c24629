// `policy.shadow` in a deputy that serves: what it says is counted and recorded, and changes nothing.
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BUNDLE, prepareFolder, startDeputy, type Deputy } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const STUCK = fileURLToPath(new URL('../fixtures/policies/stuck.tar.gz', import.meta.url))
const LOOPS = fileURLToPath(new URL('../fixtures/policies/loops.tar.gz', import.meta.url))

let upstream: Upstream
let deputy: Deputy
const start = async (bundle: string): Promise<void> => {
  const setup = {
    upstream: upstream.origin,
    people: [
      { id: 'alice', groups: ['staff'] },
      { id: 'bob', groups: ['staff'] },
    ],
    held: [{ person: 'alice', token: 'at-alice' }],
    config: { policy: { bundle: BUNDLE, data: './tables', shadow: './shadow.tar.gz' } },
  }
  const dir = await prepareFolder(setup)
  copyFileSync(bundle, join(dir, 'shadow.tar.gz'))
  deputy = await startDeputy(setup, dir)
}
beforeEach(async () => {
  upstream = await startUpstream()
  upstream.people.set('at-alice', 'alice')
})
afterEach(async () => {
  await deputy.close()
  await upstream.close()
})
const call = async (who: string, path: string): Promise<number> => {
  const answer = await fetch(`${deputy.agent}/${path}`, { headers: { 'deputy-user': who } })
  await answer.text()
  return answer.status
}
const page = async (path: string): Promise<string> =>
  (await fetch(`http://${deputy.admin}${path}`)).text()
const counts = async (): Promise<Readonly<Record<string, number>>> =>
  Object.fromEntries(
    [
      ...(await page('/metrics')).matchAll(
        /^deputy_policy_shadow_total\{result="(\w+)"\} (\d+)$/gm,
      ),
    ].map(([, result = '', n]) => [result, Number(n)]),
  )
const serving = (revision: string) =>
  expect.poll(() => page('/readyz?verbose')).toMatch(new RegExp(`policy\\.shadow.*${revision}`))

test('each difference is one record beside the decision, and no answer is another', async () => {
  await start(STUCK)
  await serving('stuck')
  expect(await call('alice', 'api.acme.test/items')).toBe(200)
  expect(await call('bob', 'api.acme.test/items')).toBe(403)
  expect(await call('alice', 'api.acme.test/late')).toBe(200)
  expect(await call('alice', 'api.acme.test/items')).toBe(200)
  await expect.poll(counts).toEqual({ same: 2, deny_to_allow: 1, failed: 1 })
  const told = deputy.evidence().filter(({ event }) => event === 'policy.shadow')
  const refused = deputy
    .evidence()
    .find(({ event, user }) => event === 'decision' && (user as { id: string }).id === 'bob')
  expect(told).toMatchObject([
    {
      exchange: refused?.['exchange'],
      result: 'deny_to_allow',
      serving: { allow: false, reasons: ['connection_missing'] },
      shadow: { allow: true, reasons: [] },
      policy: { revision: 'stuck' },
    },
  ])
})

test('a plan and a list are no calls: the shadow is not asked about them', async () => {
  await start(STUCK)
  await serving('stuck')
  await fetch(`${deputy.agent}/v1/plan`, {
    method: 'POST',
    headers: { 'deputy-user': 'alice', 'content-type': 'application/json' },
    body: JSON.stringify({ calls: [{ method: 'GET', url: 'https://api.acme.test/items' }] }),
  }).then((answer) => answer.text())
  await fetch(`${deputy.agent}/v1/tools?plain=true`, { headers: { 'deputy-user': 'alice' } }).then(
    (answer) => answer.text(),
  )
  expect(await call('alice', 'api.acme.test/items')).toBe(200)
  await expect.poll(counts).toEqual({ same: 1 })
})

test('one that never ends when it is loaded harms nothing; a reload puts another in its place', async () => {
  await start(LOOPS)
  expect(await call('alice', 'api.acme.test/items')).toBe(200)
  expect(await counts()).toEqual({ skipped: 1 })
  await expect.poll(() => page('/readyz?verbose')).toMatch(/policy\.shadow.*none; .*policy_timeout/)
  expect((await fetch(`http://${deputy.admin}/readyz`)).status).toBe(200)
  copyFileSync(STUCK, join(deputy.dir, 'other.tar.gz'))
  const file = join(deputy.dir, 'deputy.yaml')
  writeFileSync(file, readFileSync(file, 'utf8').replace('shadow.tar.gz', 'other.tar.gz'))
  await deputy.reload()
  await serving('stuck')
  expect(await call('alice', 'api.acme.test/items')).toBe(200)
  await expect.poll(counts).toEqual({ skipped: 1, same: 1 })
})
