import { describe, expect, test } from 'vitest'
import type { Connection, HeldConnection } from '../../proxy/model.ts'
import {
  connectionsPage,
  surePage,
  type ConnectionsView,
  type Ending,
} from '../../proxy/people/connections_page.ts'
import { de } from '../../proxy/people/languages/de.ts'
import { en } from '../../proxy/people/languages/en.ts'
import type { Html } from '../../proxy/people/markup.ts'
import { provider } from '../wire/fixture.ts'

const textOf = (part: Html): string => {
  if (part instanceof Promise) throw new Error('a part came late')
  return part.toString()
}
const EVIL = '<script>alert(1)</script>'
const connection: Connection = {
  name: 'acme',
  provider,
  clientId: 'c',
  clientSecret: null,
  scopes: [],
}
const agent = (name: string, lastUsedAt: number | null = null) => ({
  agent: name,
  scopes: ['notes'],
  at: Date.UTC(2026, 0, 2),
  lastUsedAt,
})
const held = (change: Partial<HeldConnection> = {}): HeldConnection => ({
  credential: 'k1',
  person: { tenant: 'default', realm: 'corp', id: 'alice' },
  connection: 'acme',
  provider: 'acme',
  account: 'alice-at-acme',
  status: 'active',
  scopes: ['notes'],
  storedAt: 1,
  agents: [agent('triage')],
  ...change,
})
const view = (change: Partial<ConnectionsView> = {}): ConnectionsView => ({
  person: { tenant: 'default', realm: 'corp', id: 'alice' },
  verified: true,
  held: [held()],
  connections: new Map([['acme', connection]]),
  agentName: (id) => id,
  told: null,
  csrf: 'token-1',
  signOut: 'token-2',
  ...change,
})
const page = (change: Partial<ConnectionsView> = {}, texts = en): string =>
  textOf(connectionsPage(view(change))(texts).body)
const forms = (text: string): readonly string[] => text.match(/<form[^]*?<\/form>/g) ?? []

describe('my connections', () => {
  test('says as whom one is connected, who may use it and since when, and how to end it', () => {
    const text = page()
    for (const part of [
      'Acme',
      en.mine.connectedAs('alice-at-acme'),
      'triage',
      en.mine.never,
      '2026-01-02 00:00 UTC',
    ])
      expect(text).toContain(part)
    const [end, out] = forms(text)
    expect(end).toContain('name="csrf" value="token-1"')
    expect(end).toContain('name="credential" value="k1"')
    expect(end).not.toContain('name="agent"')
    expect(out).toContain('action="/sign-out"')
    expect(out).toContain('name="csrf" value="token-2"')
  })
  test('lets one agent of several be ended alone', () => {
    const text = page({ held: [held({ agents: [agent('triage', 5), agent('second')] })] })
    const ends = forms(text).filter((form) => form.includes('name="agent"'))
    expect(ends.map((form) => /name="agent" value="([^"]*)"/.exec(form)?.[1])).toEqual([
      'triage',
      'second',
    ])
    expect(text).toContain('1970-01-01 00:00 UTC')
  })
  test('is of nothing where nothing is held', () => {
    const text = page({ held: [] })
    expect(text).toContain(en.mine.none)
    expect(forms(text)).toHaveLength(1)
  })
  test('warns of what the provider withdrew, and says what nobody uses', () => {
    expect(page({ held: [held({ status: 'needs_reauth' })] })).toContain(en.mine.withdrawn('Acme'))
    expect(page()).not.toContain('class="warn"')
    expect(page({ held: [held({ agents: [] })] })).toContain(en.mine.noAgent)
  })
  test('shows a connection that is configured no more, by its names', () => {
    const text = page({
      held: [held({ connection: 'old', provider: 'gone' })],
      connections: new Map(),
    })
    for (const part of ['<h2>gone</h2>', en.mine.connection('old'), '<code>notes</code>'])
      expect(text).toContain(part)
  })
  test('says where nobody vouches for who this is', () => {
    expect(page({ verified: false })).toContain(en.unverified)
    expect(page()).not.toContain(en.unverified)
  })
  test('escapes every name', () => {
    const text = page({
      held: [
        held({
          account: EVIL,
          agents: [agent(EVIL), agent('b')],
          connection: EVIL,
          provider: EVIL,
          credential: EVIL,
        }),
      ],
      person: { tenant: EVIL, realm: 'r', id: EVIL },
      told: { ending: 'revoked', provider: EVIL, account: EVIL, agent: EVIL },
    })
    expect(text).not.toContain(EVIL)
    expect(text).toContain('&lt;script&gt;')
  })
})

describe('how a disconnection went', () => {
  const endings: Record<Ending, string> = {
    revoked: 'told ',
    access_outlives: 'told ',
    already_dead: 'told ',
    agent: 'told ',
    gone: 'told ',
    standing: 'told ',
    shorter: 'told ',
    not_supported: 'told part',
    failed: 'told bad',
  }
  test.each(Object.entries(endings))(
    '%s looks as certain as it is, in both languages',
    (ending, look) => {
      const told = { ending: ending as Ending, provider: 'Acme', account: 'alice', agent: 'triage' }
      for (const texts of [en, de]) {
        const text = page({ told }, texts)
        expect(text).toContain(`<div class="${look}" role="status">`)
        expect(text).toContain(texts.ending[told.ending](told)[0])
      }
    },
  )
  test('is not told where nothing was ended', () => {
    expect(page()).not.toContain('role="status"')
  })
})

test('before anything ends the same form is asked once more, and there is a way back', () => {
  const { body, tone } = surePage({
    action: '/connections',
    ask: (sure) => sure.disconnect('Acme', 'alice'),
    fields: { csrf: 't', credential: EVIL },
  })(en)
  const text = textOf(body)
  expect(tone).toBe('alert')
  expect(forms(text)).toHaveLength(1)
  for (const part of [
    'action="/connections"',
    'name="csrf" value="t"',
    'name="sure" value="yes"',
    'href="/connections"',
  ])
    expect(text).toContain(part)
  expect(text).toContain('name="credential" value="&lt;script&gt;')
})
