// An agent as one person is shown it: what is foreign reads as it is written, and who owns it is for their tenant.
import { expect, test } from 'vitest'
import { agentRows, agentsOf } from '../../proxy/config/agents.ts'
import { agentPage, agentView, type AgentPageView } from '../../proxy/people/agents_page.ts'
import { de } from '../../proxy/people/languages/de.ts'
import { en } from '../../proxy/people/languages/en.ts'

const { agents: about } = agentsOf(
  agentRows.parse([{ id: 'agent:triage', name: 'Triage', owner: { id: 'bob', tenant: 'acme' } }]),
  { tenants: ['acme', 'other'], realms: ['corp'] },
)
const known = { about, marks: new Map() }
const page = (change: Partial<AgentPageView> = {}): AgentPageView => ({
  agent: agentView(known, 'agent:triage', { tenant: 'acme' }),
  off: null,
  held: [],
  connections: new Map(),
  owned: null,
  csrf: 'token',
  ...change,
})
const text = (view: AgentPageView, texts = en): string => {
  const { body } = agentPage(view)(texts)
  if (body instanceof Promise) throw new Error('the page is not there at once')
  return body.toString()
}

test('its owner is named to people of the same tenant alone', () => {
  expect(agentView(known, 'agent:triage', { tenant: 'acme' }).owner).toBe('bob')
  expect(agentView(known, 'agent:triage', { tenant: 'other' })).toMatchObject({
    owner: null,
    name: 'Triage',
    known: true,
  })
})

test('one without a row is unknown, unless the organisation has no rows at all', () => {
  expect(agentView(known, 'agent:x', { tenant: 'acme' }).known).toBe(false)
  expect(agentView({ ...known, about: new Map() }, 'agent:x', { tenant: 'acme' }).known).toBe(null)
  const strange = agentView(known, 'a\u202e\u0000\u200bb', { tenant: 'acme' })
  expect(strange.name).toBe('a\\u{202e}\\u{0}\\u{200b}b')
})

test('without anything to stop there is nothing to press, and an owner has one thing to press', () => {
  expect(text(page())).not.toContain('<form')
  const owned = { people: 0, connections: 0, whom: [], mayEnable: false }
  expect(text(page({ owned }))).toContain('value="off"')
  const off = { agent: 'agent:triage', tenant: null, at: 0, by: 'owner' as const }
  expect(text(page({ owned: { ...owned, mayEnable: true }, off }), de)).toContain('value="on"')
  expect(text(page({ owned, off }))).not.toContain('<form')
})

test('of many people the first are named and the others counted', () => {
  const whom = [{ id: 'alice\u202e', connections: ['github', 'google'] }]
  const shown = text(page({ owned: { people: 41, connections: 2, whom, mayEnable: false } }))
  expect(shown).toContain('41 people of your organisation, at 2 connections.')
  expect(shown).toContain('and 40 more')
  expect(shown).toContain('alice\\u{202e}')
})
