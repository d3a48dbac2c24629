// Every page of the console with plausible content, sent as deputy sends it; and with hostile content in every field.
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import type { Minute, RecentRow } from '../../proxy/audit/recent.ts'
import type { AgentAbout } from '../../proxy/config/agents.ts'
import type {
  AskRow,
  FlowRow,
  HeldConnection,
  Person,
  RunRow,
  StandingRow,
} from '../../proxy/model.ts'
import { CONSOLE_STYLE, LIVE_SCRIPT } from '../../proxy/people/console/assets.ts'
import {
  agentPage,
  agentsPage,
  peoplePage,
  personPage,
  runsPage,
  waitingPage,
  type AgentView,
} from '../../proxy/people/console/lists_page.ts'
import { callPage, nowPage } from '../../proxy/people/console/now_page.ts'
import { strayPage, type Viewer } from '../../proxy/people/console/shell.ts'
import { healthPage, policyPage } from '../../proxy/people/console/state_page.ts'
import { toldOf, USUAL } from '../../proxy/people/console/told.ts'
import { notFoundPage } from '../../proxy/people/consent_pages.ts'
import { en } from '../../proxy/people/languages/en.ts'
import { STYLE, type Page } from '../../proxy/people/markup.ts'
import { createFrame } from '../../proxy/people/page.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'

const NOW = Date.UTC(2026, 10, 29, 11, 42)
/** Markup, an attribute's end, a text that turns round, controls, a formula, and much of it. */
export const HOSTILE = `"'><script>document.title="x"</script><img src=x onerror=alert(1)>\u202e\u2066evil\u2069\u0007\u001b[2J\u200b=1+1 ${'very-long-'.repeat(12)}`

/** Every text of the pages goes through `t`. */
const pagesOf = (t: (text: string) => string): Readonly<Record<string, () => Page>> => {
  const viewer: Viewer = {
    operator: {
      name: `sso:${t('ada')}`,
      may: ['connections', 'list', 'revoke', 'runs'],
      sso: { id: t('ada'), realm: 'corp', roles: ['operator'] },
    },
    csrf: 'token',
    acts: { revoke: true, runs: true },
  }
  const reader: Viewer = {
    operator: {
      name: 'sso:vera',
      may: ['connections', 'list'],
      tenants: [t('acme')],
      sso: { id: 'vera', realm: 'corp', roles: ['auditor'] },
    },
    csrf: 'token',
    acts: { revoke: false, runs: false },
  }
  const alice: Person = { tenant: t('acme'), realm: t('corp'), id: t('alice@example.com') }
  const bob: Person = { ...alice, tenant: 'default', id: t('bob@example.com') }
  const held: readonly HeldConnection[] = [
    {
      credential: '01JB5',
      person: alice,
      connection: t('github'),
      provider: 'github',
      account: t('alice-gh'),
      status: 'active',
      scopes: ['repo', 'read:org'],
      agents: [
        { agent: t('agent:triage'), scopes: ['repo'], at: NOW - 9e8, lastUsedAt: NOW - 60_000 },
        { agent: t('agent:release-notes'), scopes: ['repo'], at: NOW - 8e8, lastUsedAt: null },
      ],
      storedAt: NOW - 9e8,
    },
    {
      credential: '01JB6',
      person: alice,
      connection: t('company-google-calendar'),
      provider: 'google',
      account: t('alice@example.com'),
      status: 'needs_reauth',
      scopes: [t('https://www.googleapis.com/auth/calendar.readonly')],
      agents: [{ agent: t('agent:triage'), scopes: [], at: NOW - 9e8, lastUsedAt: null }],
      storedAt: NOW - 9e8,
    },
  ]
  const run = (id: string, more: Partial<RunRow>): RunRow => ({
    tokenHash: '',
    id,
    tenant: alice.tenant,
    realm: alice.realm,
    user: alice.id,
    agent: t('agent:nightly'),
    connections: [t('github')],
    operations: null,
    createdBy: t('backend'),
    createdAt: NOW - 3_600_000,
    expiresAt: NOW + 3_600_000,
    revokedAt: null,
    ...more,
  })
  const runs = [
    run('01JB5Z0000000000000000RUN1', {}),
    run('01JB5Z0000000000000000RUN2', { revokedAt: NOW - 60_000 }),
    run('01JB5Z0000000000000000RUN3', { expiresAt: NOW - 60_000 }),
  ]
  const standing: StandingRow = {
    id: '01JB7',
    tenant: alice.tenant,
    realm: alice.realm,
    user: alice.id,
    workload: t('nightly'),
    agent: t('agent:triage'),
    connection: t('github'),
    operations: ['issues.create'],
    createdAt: NOW - 9e8,
    expiresAt: NOW + 9e8,
    lastUsedAt: null,
    noticeAt: null,
  }
  const about: AgentAbout = {
    id: t('agent:triage'),
    name: t('Triage'),
    owner: bob,
    switched: null,
    contact: null,
    logo: null,
    workload: null,
  }
  const agent: AgentView = {
    id: t('agent:triage'),
    about,
    off: [],
    people: 12,
    connections: [t('github'), t('company-google-calendar')],
    mayDisable: true,
    mayEnable: false,
    grants: [alice, bob].map((person) => ({
      person,
      connection: t('github'),
      scopes: ['repo'],
      lastUsedAt: NOW - 60_000,
    })),
  }
  const off: AgentView = {
    ...agent,
    id: t('agent:scraper'),
    about: null,
    off: [{ agent: t('agent:scraper'), tenant: null, at: NOW - 9e5, by: 'operator' }],
    people: 1,
    mayDisable: false,
    mayEnable: true,
  }
  const asks: readonly { readonly row: AskRow; readonly id: string }[] = [
    {
      id: 'ap_1',
      row: {
        hash: '1',
        nonce: '1',
        kind: 'approval',
        tenant: alice.tenant,
        realm: alice.realm,
        user: alice.id,
        agent: t('agent:triage'),
        connection: t('github'),
        question: '',
        digest: '',
        operations: [t('repos.delete')],
        needs: '[]',
        sealed: null,
        status: 'pending',
        given: '[]',
        exchange: null,
        epoch: 0,
        createdAt: NOW,
        expiresAt: NOW + 9e5,
        endedAt: null,
        noticeAt: null,
        notices: 0,
      },
    },
  ]
  const flows: readonly FlowRow[] = [
    {
      hash: '2',
      nonce: '2',
      tenant: alice.tenant,
      realm: alice.realm,
      user: alice.id,
      agent: t('agent:triage'),
      connection: t('company-google-calendar'),
      scopes: [t('https://www.googleapis.com/auth/calendar.readonly')],
      reauthorization: false,
      status: 'pending',
      failure: null,
      nextUri: null,
      createdAt: NOW - 3e5,
      expiresAt: NOW + 8e7,
      stateHash: null,
      cookieHash: null,
      sealedLeg: null,
      legExpiresAt: null,
    },
  ]
  const row = (n: number, fields: object, outcome: object | null = null): RecentRow => ({
    file: '',
    line: n,
    newest: n,
    at: NOW - n * 7_000,
    fields: { time: new Date(NOW - n * 7_000).toISOString(), ...fields },
    outcome: outcome === null ? null : { time: new Date(NOW).toISOString(), ...outcome },
  })
  const call = (effect: string, more: object = {}) => ({
    event: 'decision',
    exchange: t('01JB5Z00000000000000000000'),
    n: 1,
    user: { ...alice, verified: true },
    agent: { id: t('agent:triage') },
    connection: t('github'),
    operation: { id: t('issues.create'), access: 'write' },
    request: { method: 'POST', host: 'api.github.com', path: t('/repos/acme/app/issues') },
    stripped: [t('header:authorization')],
    entitlements: { source: 'http', age_ms: 12 },
    decision: { effect, reasons: [], messages: [], grants: ['gh-write'], obligations: [], ...more },
    policy: { revision: t('2026-11-28') },
  })
  const end = (result: string, more: object = {}) => ({
    result,
    sent: result === 'ok',
    status: result === 'ok' ? 201 : null,
    credential: null,
    duration_ms: 48.2,
    bytes_in: 64,
    bytes_out: 812,
    ...more,
  })
  const rows: readonly RecentRow[] = [
    row(1, call('allow'), end('ok')),
    row(
      2,
      call('deny', {
        reasons: [t('entitlement_missing')],
        messages: [t('group leads is needed for repos.delete')],
      }),
    ),
    row(3, call('consent_required', { reasons: [t('connection_missing')] })),
    row(4, {
      event: 'refused',
      exchange: t('01JB5Z00000000000000000001'),
      code: 'unauthenticated',
    }),
    row(5, call('approval_required', { reasons: ['approval_missing'] })),
    row(6, call('allow'), end('rate_limited')),
    row(7, call('allow')),
    row(8, call('error', { reasons: ['policy_failed'] })),
    row(9, {
      event: 'connection.revoked',
      operator: t('sso:ada'),
      user: alice,
      connection: t('github'),
      result: t('revoked'),
    }),
    row(10, { event: 'refused', summed: { [t('unauthenticated')]: 1_204 } }),
  ]
  const minutes: readonly Minute[] = Array.from({ length: 60 }, (_, i) => {
    const wave = Math.round(30 + 20 * Math.sin(i / 7) + ((i * 37) % 11))
    return {
      at: NOW - (59 - i) * 60_000,
      effects: new Map([
        ['allow', wave],
        ['deny', i % 9 === 0 ? 6 : i % 3],
        ['consent_required', i % 13 === 0 ? 4 : 0],
        ['refused', i > 40 && i < 46 ? 22 : i % 17 === 0 ? 1 : 0],
        ...(i === 52 ? [['error', 2] as const] : []),
      ]),
      reasons: new Map([
        [t('entitlement_missing'), i % 3],
        ['unauthenticated', i > 40 && i < 46 ? 22 : 0],
        ['consent_required', i % 13 === 0 ? 4 : 0],
        ['rate_limited', i % 20 === 0 ? 1 : 0],
        [t('outside_hours'), i % 9 === 0 ? 2 : 0],
      ]),
    }
  })
  const told = rows.map(toldOf)
  const now = (of: Viewer, some: typeof told, hour: readonly Minute[]): Page =>
    nowPage(of, { minutes: hour, rows: some, effects: USUAL, newest: 10, since: NOW - 9e7 })
  const quiet = minutes.map(({ at }) => ({ at, effects: new Map(), reasons: new Map() }))
  const checks = ['started', 'policy', 'audit', 'clock', 'vault'].map((name) => ({
    name,
    ok: true,
    detail: name === 'policy' ? t('2026-11-28; signed by prod') : '',
  }))
  const load = (event: string, fields: object) => ({
    n: 1,
    at: NOW - 9e6,
    event,
    exchange: '',
    fields: { ...fields },
    tenants: [],
  })
  const policy = {
    revision: t('2026-11-28'),
    digest: `sha256:${'4be1'.repeat(16)}`,
    problem: null,
    shadow: { revision: t('candidate'), problem: null },
    loads: [
      load('policy.loaded', {
        policy: { revision: t('2026-11-28') },
        bundle: { signed: { key: 'prod' } },
      }),
      load('policy.failed', { problem: t('the bundle is not signed') }),
    ],
    differences: [
      {
        ...load('policy.shadow', {
          result: 'allow_to_deny',
          serving: { allow: true, reasons: [], obligations: [t('redact')] },
          shadow: { allow: false, reasons: [t('outside_hours')], obligations: [] },
        }),
        exchange: t('01JB5Z00000000000000000000'),
      },
    ],
  } as const
  return {
    now: () => now(viewer, told, minutes),
    'now-reader': () => now(reader, told.slice(0, 2), minutes),
    'now-quiet': () => now(reader, [], quiet),
    call: () =>
      callPage(viewer, {
        exchange: t('01JB5Z00000000000000000000'),
        told: told[1] ?? null,
        lines: [
          '2026-11-29T11:41:46.000Z  alice@example.com (realm corp, tenant acme, verified) through agent:triage asked for repos.delete (delete) at github: DELETE api.github.com/repos/acme/app.',
          '  Cut out of what the agent sent: header:authorization.',
          '  What http said of the person was 12 ms old.',
          '  Policy 2026-11-28 refused it: group leads is needed for repos.delete (entitlement_missing).',
        ].map(t),
      }),
    'call-gone': () => callPage(viewer, { exchange: t('none'), told: null, lines: [] }),
    people: () =>
      peoplePage(viewer, {
        wanted: 'example',
        people: [
          { person: alice, held },
          { person: bob, held: held.slice(0, 1) },
        ],
        more: true,
      }),
    'people-none': () => peoplePage(reader, { wanted: '', people: [], more: false }),
    person: () =>
      personPage(viewer, { person: alice, held, runs, standings: [standing], now: NOW }),
    'person-reader': () =>
      personPage(reader, { person: alice, held, runs, standings: [standing], now: NOW }),
    agents: () => agentsPage(viewer, [agent, off]),
    agent: () => agentPage(viewer, agent),
    'agent-off': () => agentPage(viewer, off),
    runs: () => runsPage(viewer, runs, NOW),
    waiting: () => waitingPage(viewer, { flows, asks }),
    'waiting-none': () => waitingPage(reader, { flows: [], asks: [] }),
    policy: () => policyPage(viewer, policy),
    health: () => healthPage(viewer, checks, true),
    'health-ill': () =>
      healthPage(
        reader,
        [...checks, { name: t('vault'), ok: false, detail: t('the store does not answer') }],
        false,
      ),
    'signed-out': () =>
      strayPage('Signed out', ['Nobody is signed in here now.'], 'Sign in', 'good'),
  }
}
/** Name of the page → how it is made. */
export const CONSOLE = pagesOf((text) => text)
/** The same, with markup and marks in every text. */
export const HOSTILE_CONSOLE = pagesOf((text) => `${text}${HOSTILE}`)

export const startConsoleGallery = async (
  pages: Readonly<Record<string, () => Page>> = CONSOLE,
): Promise<{ readonly url: string; readonly close: () => void }> => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const frame = createFrame({
    sealer: createSealer(parseKeyRing(newKeyRing(0, randomBytes))),
    clock: { now: () => Date.now(), mono: () => performance.now() },
    publicUrl: url,
    texts: en,
    scripts: true,
  })
  const app = new Hono()
  const file = (path: string, type: string, text: string): void =>
    void app.get(path, (c) => c.body(text, 200, { 'Content-Type': type }))
  file('/style.css', 'text/css', STYLE)
  file('/console/style.css', 'text/css', CONSOLE_STYLE)
  file('/console/live.js', 'text/javascript', LIVE_SCRIPT)
  // Open as long as somebody looks.
  app.get('/console/live', (c) =>
    streamSSE(c, async (stream) => {
      await stream.writeSSE({ event: 'nothing', data: '' })
      await new Promise<void>((resolve) => stream.onAbort(resolve))
    }),
  )
  app.get('/:name', (c) => frame.show(c, (pages[c.req.param('name')] ?? notFoundPage)()))
  const listener = getRequestListener(app.fetch)
  server.on('request', (request, response) => void listener(request, response))
  return {
    url,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}
