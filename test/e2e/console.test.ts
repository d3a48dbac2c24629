// The console on a whole deputy: operators sign in at a real OpenID provider, look, and end things.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startConsoleWorld, type ConsoleWorld } from '../support/console.ts'

let world: ConsoleWorld
beforeAll(async () => {
  world = await startConsoleWorld()
})
afterAll(() => world?.close())

const events = (name: string) => world.deputy.evidence().filter(({ event }) => event === name)

describe('an operator', () => {
  test('signs in, sees what happens with the reason of each refusal, and is in the evidence', async () => {
    expect(await world.call('north', 'alice')).toBe(200)
    expect(await world.call('south', 'bob')).toBe(403)
    const [, page] = await world.enter('ada')
    expect([page.status, page.url]).toEqual([200, `${world.url}/console`])
    expect(page.text).toContain('The provider answered 200')
    expect(page.text).toContain('/problems/policy_denied')
    expect(page.text).toContain('Refused by policy')
    expect(events('operator.listed').at(-1)).toMatchObject({
      operator: 'sso:ada',
      what: 'console.now',
      signed_in: { id: 'ada', roles: ['operator'] },
    })
  })

  test('revokes one connection after a question, and is told what became of it', async () => {
    const [browser] = await world.enter('ada')
    const page = await browser.open(`${world.url}/console/person?tenant=north&realm=corp&id=alice`)
    const sure = await world.press(browser, page, 'value="connection"')
    expect(sure.text).toContain('Revoke this connection?')
    expect(events('connection.revoked')).toEqual([])
    const done = await world.press(browser, sure, 'name="sure"')
    expect(done.text).toMatch(/Revoked here|Gone here/)
    expect(events('connection.revoked')).toMatchObject([
      { operator: 'sso:ada', user: { id: 'alice', tenant: 'north' }, connection: 'acme' },
    ])
    expect(await world.call('north', 'alice')).toBe(403)
  })
})
