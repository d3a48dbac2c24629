// The pages of agents over real HTTP: who sees what of one, who stops it, and what nobody can guess.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { agentRows, agentsOf } from '../../proxy/config/agents.ts'
import { readLogo, type Logo } from '../../proxy/config/logo.ts'
import type { Person } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { createBrowser } from '../support/browser.ts'
import type { Browser, Visit } from '../support/browser.ts'
import { ALICE, BOB, startConsent } from '../support/consent.ts'
import type { Consent } from '../support/consent.ts'

const TRIAGE = 'agent:triage'
const STRANGE = '"><img src=x onerror=alert(1)>'
const CAROL: Person = { tenant: 'other', realm: 'corp', id: 'carol' }
const SVG = '<svg xmlns="http://www.w3.org/2000/svg"></svg>'
const { agents } = agentsOf(
  agentRows.parse([
    {
      id: TRIAGE,
      name: 'Triage <b>',
      owner: { id: 'bob', tenant: 'acme', everywhere: true },
      contact: 'mailto:triage@acme.example',
      workload: 'cluster',
    },
    { id: 'agent:shared', name: 'Shared', owner: { id: 'bob', tenant: 'acme' } },
    { id: 'agent:secret', name: 'Secret', owner: { id: 'carol', tenant: 'other' } },
  ]),
  { tenants: ['acme', 'other'], realms: ['corp'] },
)
const logo = readLogo(Buffer.from(SVG))
const marks = new Map<string, Logo>(typeof logo === 'string' ? [] : [[TRIAGE, logo]])

let house: Consent
const page = (id = ''): string =>
  `${house.publicUrl}/agents${id === '' ? '' : `/${encodeURIComponent(id)}`}`
const connect = (person: Person, agent: string, connection = 'acme') =>
  house.vault.connect({
    person,
    agent,
    connection,
    provider: 'acme',
    account: { id: person.id, label: `${person.id}-acme` },
    tokens: {
      access: secret(`at-${randomUUID()}`),
      refresh: null,
      scopes: ['repo'],
      expiresIn: 3600,
    },
    scopes: ['repo'],
  })
const signIn = async (browser: Browser, login: string, at = page()): Promise<Visit> => {
  let visit = await browser.open(at)
  while (new URL(visit.url).origin === house.idp.issuer)
    visit = await browser.submit(visit, { login, password: 'x' })
  return visit
}
const form = (visit: Visit, act: string): Visit => {
  const found = [...visit.text.matchAll(/<form[\s\S]*?<\/form>/g)]
    .map(([text]) => text)
    .find((text) => text.includes(`value="${act}"`))
  if (found === undefined) throw new Error(`nothing to ${act} in ${visit.text}`)
  return { ...visit, text: found }
}
/** Presses the button, and says on the page that asks that it is meant. */
const press = async (browser: Browser, visit: Visit, act: string): Promise<Visit> => {
  const asked = await browser.submit(form(visit, act), { act })
  expect(asked.text).toContain('name="sure"')
  return browser.submit(asked)
}
const named = (event: string) =>
  house.events.filter((each) => each.event === event).map(({ fields }) => fields)
const grant = async (person: Person, agent = TRIAGE): Promise<boolean> => {
  const holding = await house.vault.look(person, 'acme', agent)
  return holding.kind === 'held' && holding.granted !== null
}

describe('the pages of agents', () => {
  beforeAll(async () => {
    house = await startConsent({ agents, marks })
  })
  afterAll(() => house.close())
  beforeEach(async () => {
    for (const { credential } of await house.vault.list({})) await house.vault.revoke(credential)
    for (const { agent, tenant } of await house.agents.list())
      await house.agents.enable(agent, tenant, 'operator')
    house.events.length = 0
    house.cut.length = 0
    house.suspended.clear()
  })

  test('a person sees who acts for them and what it may do, and of the others nothing', async () => {
    await connect(ALICE, TRIAGE)
    await connect(BOB, TRIAGE)
    const browser = createBrowser()
    const visit = await signIn(browser, 'alice', page(TRIAGE))
    expect([visit.status, visit.url]).toEqual([200, page(TRIAGE)])
    for (const said of ['Triage &lt;b&gt;', TRIAGE, 'bob', 'alice-acme', '<code>repo</code>'])
      expect(visit.text).toContain(said)
    expect(visit.text).toContain('href="mailto:triage@acme.example"')
    expect(visit.text).toContain(
      `src="data:image/svg+xml;base64,${Buffer.from(SVG).toString('base64')}"`,
    )
    expect(visit.text).not.toContain('bob-acme')
    expect(visit.text).not.toContain('everybody')
    const all = await browser.open(page())
    expect(all.text).toContain(`href="/agents/${encodeURIComponent(TRIAGE)}"`)
    expect(all.text).not.toContain('Secret')
    const own = await browser.open(`${house.publicUrl}/connections`)
    expect(own.text).toContain(
      `<a href="/agents/${encodeURIComponent(TRIAGE)}">Triage &lt;b&gt;</a>`,
    )
  })

  test('an agent of others, one that nobody has and one of another tenant look all alike', async () => {
    await connect(BOB, TRIAGE)
    await connect(CAROL, 'agent:secret')
    const browser = createBrowser()
    await signIn(browser, 'alice')
    const pages = await Promise.all(
      [TRIAGE, 'agent:secret', 'agent:none'].map((id) => browser.open(page(id))),
    )
    expect(pages.map(({ status }) => status)).toEqual([404, 404, 404])
    expect(new Set(pages.map(({ text }) => text)).size).toBe(1)
  })

  test('an agent without a row is shown by its id, as it is written, and as unknown', async () => {
    const turned = `a\u202eb${STRANGE}`
    await connect(ALICE, turned)
    const browser = createBrowser()
    await signIn(browser, 'alice')
    const visit = await browser.open(page(turned))
    expect(visit.status).toBe(200)
    expect(visit.text).toContain('Your organisation does not know this agent')
    expect(visit.text).toContain('a\\u{202e}b&quot;&gt;&lt;img')
    expect(visit.text).not.toMatch(/\u202e|<img src=x/)
  })

  test('a person stops an agent for themself in one go: grants, runs, links; the accounts stay', async () => {
    await connect(ALICE, TRIAGE)
    await connect(BOB, TRIAGE)
    const reach = { connections: ['acme'], operations: null }
    const who = { person: ALICE, agent: TRIAGE }
    const until = house.clock.now() + 60_000
    const { token } = await house.runs.mint({ ...who, ...reach, by: 'x', expiresAt: until })
    const link = await house.flows.begin({ ...who, connection: 'second' }, ['repo'])
    const browser = createBrowser()
    const done = await press(browser, await signIn(browser, 'alice', page(TRIAGE)), 'stop')
    expect(done.text).toContain('Triage &lt;b&gt; can no longer act for you')
    expect([await grant(ALICE), await grant(BOB)]).toEqual([false, true])
    expect((await house.vault.look(ALICE, 'acme', TRIAGE)).kind).toBe('held')
    await expect(Promise.resolve().then(() => house.runs.verify(token))).rejects.toThrow('revoked')
    expect(await house.flows.byAuthorizationId(link.authorizationId)).toMatchObject({
      failure: 'revoked',
    })
    expect(named('connection.disconnected')).toMatchObject([
      { user: { id: 'alice', verified: true }, agent: { id: TRIAGE }, result: 'agent' },
    ])
    expect(named('run.revoked')).toMatchObject([{ agent: { id: TRIAGE } }])
    expect((await browser.open(page(TRIAGE))).status).toBe(404)
  })

  test('what is connected for an agent while it is stopped is stopped as well', async () => {
    await connect(ALICE, TRIAGE)
    const { cancel } = house.flows
    const ending = vi.spyOn(house.flows, 'cancel').mockImplementation(async (person, agent) => {
      await connect(ALICE, TRIAGE, 'second')
      return cancel(person, agent)
    })
    const browser = createBrowser()
    const visit = await signIn(browser, 'alice', page(TRIAGE))
    await press(browser, visit, 'stop').finally(() => ending.mockRestore())
    expect(await house.vault.look(ALICE, 'second', TRIAGE)).toMatchObject({ granted: null })
    expect(named('connection.disconnected')).toHaveLength(2)
  })

  test('its owner sees for whom of their own tenant it acts, and switches it off and on, asked once more', async () => {
    await connect(ALICE, TRIAGE)
    await connect(CAROL, TRIAGE)
    const browser = createBrowser()
    const visit = await signIn(browser, 'bob', page(TRIAGE))
    expect(visit.text).toContain('1 person of your organisation, at 1 connection.')
    expect(visit.text).toContain('alice')
    expect(visit.text).not.toContain('carol')
    const asked = await browser.submit(form(visit, 'off'), { act: 'off' })
    expect(asked.text).toContain('Switch Triage &lt;b&gt; off for everybody?')
    expect(await house.agents.list()).toEqual([])
    const done = await browser.submit(asked)
    expect(done.text).toContain('is switched off for everybody')
    expect(house.cut).toEqual([{ agent: TRIAGE, tenant: null }])
    expect(named('agent.disabled')).toEqual([
      { agent: { id: TRIAGE }, tenant: null, by: BOB, verified: true },
    ])
    const again = await browser.open(page(TRIAGE))
    expect(again.text).toContain('Switched off by its owner')
    const on = await press(browser, again, 'on')
    expect(on.text).toContain('is switched on again')
    expect(named('agent.enabled')).toMatchObject([{ agent: { id: TRIAGE }, by: BOB }])
    expect(await house.agents.list()).toEqual([])
  })

  test('an owner of one tenant switches it for that tenant alone, and lifts nothing else', async () => {
    await connect(CAROL, 'agent:shared')
    const browser = createBrowser()
    await press(browser, await signIn(browser, 'bob', page('agent:shared')), 'off')
    expect(house.cut).toEqual([{ agent: 'agent:shared', tenant: 'acme' }])
    expect(named('agent.disabled')).toMatchObject([
      { agent: { id: 'agent:shared' }, tenant: 'acme' },
    ])
    expect(await house.agents.offFor('agent:shared', 'other')).toBeNull()
    await house.agents.disable('agent:shared', null, 'operator')
    const wider = await browser.open(page('agent:shared'))
    expect(wider.text).toContain('only an operator can switch it on again')
    await house.agents.enable('agent:shared', null, 'operator')
    await press(browser, await browser.open(page('agent:shared')), 'on')
    expect(await house.agents.list()).toEqual([])
  })

  test('what an operator switched off an owner cannot switch on', async () => {
    await house.agents.disable(TRIAGE, null, 'operator')
    const browser = createBrowser()
    const visit = await signIn(browser, 'bob', page(TRIAGE))
    expect(visit.text).toContain('only an operator can switch it on again')
    const csrf = /name="csrf" value="([^"]*)"/.exec(visit.text)?.[1] ?? ''
    expect(csrf).toBe('') // no form at all
    await house.agents.enable(TRIAGE, null, 'operator')
    const before = await browser.open(page(TRIAGE))
    await house.agents.disable(TRIAGE, null, 'operator')
    const sent = await browser.submit(form(before, 'off'), { act: 'on', sure: 'yes' })
    expect(sent.text).toContain('nothing was changed')
    expect(await house.agents.list()).toMatchObject([{ agent: TRIAGE, by: 'operator' }])
    expect(named('agent.enabled')).toEqual([])
  })

  test('nobody else switches it: not a person that it acts for, nor an owner who has left meanwhile', async () => {
    await connect(ALICE, TRIAGE)
    await connect(CAROL, TRIAGE)
    for (const login of ['alice', 'carol']) {
      const browser = createBrowser()
      const visit = await signIn(browser, login, page(TRIAGE))
      const sent = await browser.submit(form(visit, 'stop'), { act: 'off', sure: 'yes' })
      expect(sent.status, login).toBe(403)
    }
    const browser = createBrowser()
    const visit = await signIn(browser, 'bob', page(TRIAGE))
    house.suspended.add('bob')
    const sent = await browser.submit(form(visit, 'off'), { act: 'off', sure: 'yes' })
    expect(sent.status).toBe(404)
    expect((await browser.open(page(TRIAGE))).status).toBe(404)
    expect(await house.agents.list()).toEqual([])
  })

  test('a form of another page, another agent or without its token changes nothing', async () => {
    await connect(BOB, 'agent:mine')
    const browser = createBrowser()
    const visit = await signIn(browser, 'bob', page(TRIAGE))
    const foreign = await browser.submit(
      form(visit, 'off'),
      { act: 'off', sure: 'yes' },
      { headers: { origin: 'https://evil.example' } },
    )
    expect(foreign.status).toBe(403)
    const other = await browser.open(page('agent:mine'))
    const csrf = /name="csrf" value="([^"]*)"/.exec(other.text)?.[1] ?? ''
    const moved = await browser.submit(form(visit, 'off'), { act: 'off', sure: 'yes', csrf })
    expect(moved.status).toBe(403)
    const odd = await browser.submit(form(visit, 'off'), { act: 'burn', sure: 'yes' })
    expect(odd.status).toBe(404)
    expect(await house.agents.list()).toEqual([])
  })

  test('the consent page says who asks, and of one that is switched off nobody consents', async () => {
    const who = { person: ALICE, agent: TRIAGE, connection: 'acme' }
    const { url } = await house.flows.begin(who, ['openid', 'repo'])
    const browser = createBrowser()
    const visit = await signIn(browser, 'alice', url)
    expect(visit.text).toContain('Connect Acme &lt;Code&gt; for Triage &lt;b&gt;?')
    expect(visit.text).toContain('href="mailto:triage@acme.example"')
    await house.agents.disable(TRIAGE, null, 'owner')
    const off = await browser.open(url)
    expect([off.status, off.text.includes('This agent is switched off')]).toEqual([403, true])
    const yes = await browser.submit(visit, { answer: 'yes' })
    expect(yes.status).toBe(403)
    await expect(house.flows.begin(who, ['mail'])).rejects.toMatchObject({
      code: 'agent_disabled',
    })
    await house.agents.enable(TRIAGE, null, 'owner')
    expect((await browser.open(url)).status).toBe(200)
  })

  test('a consent that is on its way when the agent is switched off gives it nothing', async () => {
    const who = { person: ALICE, agent: TRIAGE, connection: 'acme' }
    const { url } = await house.flows.begin(who, ['openid', 'repo'])
    const flow = await house.flows.find(url.slice(url.lastIndexOf('/') + 1))
    if (flow === null) throw new Error('no flow')
    const redirectUri = house.redirectUri('acme')
    const { location, cookie } = await house.flows.leg(flow, redirectUri)
    const answer = new URL(await house.provider.consent(location, 'alice-acme'))
    await house.agents.disable(TRIAGE, 'acme', 'operator')
    const finish = () =>
      house.flows.finish({
        connection: 'acme',
        params: answer.searchParams,
        cookie,
        person: ALICE,
        verified: true,
        redirectUri,
      })
    await expect(finish()).rejects.toMatchObject({ code: 'agent_disabled' })
    expect(await grant(ALICE)).toBe(false)
    await house.agents.enable(TRIAGE, 'acme', 'operator')
    expect((await finish()).kind).toBe('completed')
  })
})

describe('on a laptop', () => {
  test('the page asks for the code and the name, as one’s own connections do', async () => {
    const local = await startConsent({ signIn: 'local', agents })
    try {
      await local.vault.connect({
        person: ALICE,
        agent: TRIAGE,
        connection: 'acme',
        provider: 'acme',
        account: { id: 'a', label: 'a' },
        tokens: { access: secret('at-1'), refresh: null, scopes: ['repo'], expiresIn: 3600 },
        scopes: ['repo'],
      })
      const browser = createBrowser()
      const at = `${local.publicUrl}/agents/${encodeURIComponent(TRIAGE)}`
      const asked = await browser.open(at)
      expect(asked.text).toContain('name="user"')
      const code = local.printed.join(' ').match(/[A-Z0-9]{4}-[A-Z0-9]{4}/)?.[0] ?? ''
      const shown = await browser.submit(asked, { user: 'alice', code })
      expect([shown.status, shown.url]).toEqual([200, at])
    } finally {
      await local.close()
    }
  })
})
