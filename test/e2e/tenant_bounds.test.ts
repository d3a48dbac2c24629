// What a tenant may use at most: a full one is told so before it is given a link, a busy one keeps nobody else waiting.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { load } from '../../proxy/config/load.ts'
import type { Fields } from '../support/deputy.ts'
import { startTwoTenants, type Tenant, type TwoTenants } from '../support/two_tenants.ts'

/** North has four accounts of three people, south one. */
const FULL = { north: { connections: 4 }, south: { people: 1 } }
let house: TwoTenants
beforeAll(async () => {
  house = await startTwoTenants({ config: { tenants: FULL } })
})
afterAll(() => house.close())

const path = (): string => join(house.deputy.dir, 'deputy.yaml')
const write = (tenants: Fields): void => {
  const config = JSON.parse(readFileSync(path(), 'utf8')) as Fields
  writeFileSync(path(), JSON.stringify({ ...config, tenants }))
}
const bounded = async (tenants: Fields): Promise<void> => {
  write(tenants)
  await house.deputy.reload()
}
const ask = async (
  tenant: Tenant,
  user: string,
): Promise<Fields & { readonly status: unknown }> => {
  const answer = await fetch(`${house.deputy.agent}/v1/auth/authorize`, {
    method: 'POST',
    headers: {
      'deputy-user': await house.tag(tenant, user),
      'content-type': 'application/json',
    },
    body: JSON.stringify({ user_id: user, auth_requirement: { id: 'stream' } }),
  })
  return (await answer.json()) as Fields & { readonly status: unknown }
}
const call = async (tag: string, host = 'api.acme.test'): Promise<Response> =>
  fetch(`${house.deputy.agent}/${host}/a`, { headers: { 'deputy-user': tag } })
const metrics = async (): Promise<string> =>
  (await fetch(`http://${house.deputy.admin}/metrics`)).text()

test('a full tenant: no link for a new account or person, by either way; who is there goes on', async () => {
  expect(await ask('north', 'alice')).toMatchObject({ code: 'tenant_quota', bound: 'connections' })
  const direct = await call(await house.tag('north', 'alice'), 'api.stream.test')
  expect([direct.status, await direct.json()]).toEqual([
    403,
    expect.objectContaining({ code: 'tenant_quota', bound: 'connections' }),
  ])
  expect(await ask('south', 'bob')).toMatchObject({ code: 'tenant_quota', bound: 'people' })
  expect(await ask('south', 'alice')).toMatchObject({ status: 'pending' })
  expect((await call(await house.tag('north', 'alice'))).status).toBe(200)
  expect(house.deputy.evidence().filter(({ event }) => event === 'tenant.refused')).toMatchObject([
    { user: { tenant: 'north', id: 'alice' }, connection: 'stream', bound: 'connections' },
    { user: { tenant: 'north', id: 'alice' }, connection: 'stream', bound: 'connections' },
    { user: { tenant: 'south', id: 'bob' }, connection: 'stream', bound: 'people' },
  ])
  expect(await metrics()).toContain(
    'deputy_tenant_refusals_total{tenant="north",bound="connections"} 2',
  )
})

test('a link that was made before the bound: its page says so, and sends nobody to the provider', async () => {
  await bounded({ ...FULL, north: {} })
  const { url } = await ask('north', 'alice')
  const cookie = await house.cookie('north', 'alice')
  const page = await fetch(String(url), { headers: { cookie } })
  const csrf = /name="csrf" value="([^"]*)"/.exec(await page.text())?.[1] ?? ''
  await bounded(FULL)
  const opened = await fetch(String(url), { headers: { cookie } })
  expect([opened.status, await opened.text()]).toEqual([
    403,
    expect.stringContaining('Your organisation may connect no more'),
  ])
  const posted = await fetch(String(url), {
    method: 'POST',
    headers: { cookie, origin: house.url },
    body: new URLSearchParams({ csrf, answer: 'yes' }),
  })
  expect([posted.status, await posted.text()]).toEqual([
    403,
    expect.not.stringContaining('/oauth/'),
  ])
})

test('a tenant that floods is told to wait; every call of the other goes through', async () => {
  await bounded({ north: { calls_per_minute: 5 }, south: {} })
  const [flood, other] = [await house.tag('north', 'alice'), await house.tag('south', 'alice')]
  const answers = await Promise.all(
    Array.from({ length: 60 }, async (_, i) => {
      const answer = await call(i % 2 === 0 ? flood : other)
      return [answer.status, answer.headers.get('retry-after'), answer.headers.get('deputy-answer')]
    }),
  )
  const north = answers.filter((_, i) => i % 2 === 0)
  expect(north.filter(([status]) => status === 200).length).toBeLessThanOrEqual(6)
  const refused = north.filter(([status]) => status !== 200)
  for (const each of refused)
    expect(each).toEqual([429, expect.stringMatching(/^\d+$/), 'tenant_busy'])
  expect(answers.filter((_, i) => i % 2 === 1).map(([status]) => status)).toEqual(
    Array.from({ length: 30 }, () => 200),
  )
  const refusals = () =>
    house.deputy.evidence().filter(({ event, user }) => event === 'refused' && user !== undefined)
  const before = refusals().length
  expect(await ask('north', 'alice')).toMatchObject({ code: 'tenant_busy' })
  await expect
    .poll(() => refusals().slice(before))
    .toMatchObject([{ code: 'tenant_busy', user: { id: 'alice', tenant: 'north' } }])
  expect(await ask('south', 'alice')).toMatchObject({ status: 'pending' })
  expect(await metrics()).toMatch(
    /deputy_tenant_refusals_total\{tenant="north",bound="calls_per_minute"\} \d+/,
  )
})

test('every tenant has a row, and every row is of a tenant', async () => {
  write({ north: {}, nroth: {} })
  expect(await load(path(), {})).toMatchObject({
    problems: [
      expect.stringContaining('tenants: has no row for south'),
      expect.stringContaining('tenants.nroth: identity names no such tenant, only north, south'),
    ],
  })
})
