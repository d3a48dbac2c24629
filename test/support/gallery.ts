// Every page that a person can come to see, with plausible content, sent exactly as deputy sends it.
import { join } from 'node:path'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import type {
  Connection,
  Flow,
  HeldConnection,
  Person,
  StandingAsk,
  StandingRow,
} from '../../proxy/model.ts'
import type { Page } from '../../proxy/people/markup.ts'
import {
  connectionsPage,
  surePage,
  type ConnectionsView,
  type Disconnected,
} from '../../proxy/people/connections_page.ts'
import {
  agentPage,
  agentsPage,
  type AgentPageView,
  type AgentView,
} from '../../proxy/people/agents_page.ts'
import * as pages from '../../proxy/people/consent_pages.ts'
import {
  approvalPage,
  declinedCallPage,
  missedPage,
  noApproverPage,
  usedPage,
  type ApprovalView,
} from '../../proxy/people/approval_page.ts'
import { notSteppedUpPage, steppedUpPage, stepUpPage } from '../../proxy/people/step_up.ts'
import { planPage } from '../../proxy/people/plan_page.ts'
import { serveGallery, type Gallery } from './gallery_server.ts'

const { providers } = compileProviders(
  readProviderFiles(join(import.meta.dirname, '../../providers')),
)
const connectionTo = (id: string, scopes: readonly string[]): Connection => {
  const provider = providers.get(id)
  if (provider === undefined) throw new Error(`no provider ${id}`)
  return { name: id, provider, clientId: 'client', clientSecret: null, scopes }
}
const github = connectionTo('github', ['repo', 'read:org'])
const google = connectionTo('google', ['https://www.googleapis.com/auth/gmail.readonly'])
const alice: Person = { tenant: 'acme', realm: 'corp', id: 'alice@example.com' }
const agent = (id: string, known: boolean | null = null): AgentView => ({
  id,
  name: id,
  mark: null,
  owner: null,
  contact: null,
  workload: null,
  known,
})
const SVG = Buffer.from(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4.5" cy="4.5" r="4" fill="#0b57d0"/></svg>',
)
const triage: AgentView = {
  id: 'agent:triage',
  name: 'Triage',
  mark: `data:image/svg+xml;base64,${SVG.toString('base64')}`,
  owner: 'bob@example.com',
  contact: 'mailto:triage@example.com',
  workload: 'cluster',
  known: true,
}
const lead = { name: 'lead', part: null, approvers: ['group:leads'], ttlS: 900, self: false }
const both = [lead, { ...lead, name: 'security', part: 2 }]
/** Markup, a text that turns round, controls, and what a terminal would obey. */
const HOSTILE = {
  title: '</pre><script>document.title = "x"</script><img src=x onerror=alert(1)>',
  body: 'pay \u202e\u2066000,1\u2069 EUR\u200b \u0007 \u001b]0;title\u0007 \u001b[2J',
}
const MAIL = Buffer.from(
  'To: bob@example.com\r\nSubject: Offer\r\n\r\nPlease find the offer attached.\r\n',
)
export const asked = ({
  body = { title: 'Broken on Safari', labels: ['bug'] },
  bytes = Buffer.from(JSON.stringify(body)),
  agent: by = triage,
  parts = 0,
}: {
  readonly body?: object
  readonly bytes?: Buffer
  readonly agent?: AgentView
  readonly parts?: number
} = {}): ApprovalView => ({
  shown: {
    method: 'POST',
    url: 'https://api.github.com/repos/acme/app/issues',
    headers: [
      ['accept', 'application/vnd.github+json'],
      ['content-type', 'application/json'],
    ],
    contentType: 'application/json',
    body: bytes.toString('base64'),
    account: 'alice-gh',
    why: ['a person must approve this very call'],
    parts: Array.from({ length: parts }, (_, i) => ({
      operation: 'issues.create',
      method: 'POST',
      target: `/repos/acme/app${i}/issues`,
      needs: i === 1,
    })),
    mails: [],
  },
  connection: github,
  connectionName: 'github',
  agent: by,
  person: alice,
  operations: ['issues.create'],
  digest: `sha256:${'4be1'.repeat(16)}`,
  expiresAt: Date.UTC(2026, 8, 1, 9, 30),
  mine: [lead],
  given: [],
  needs: [lead],
  complete: false,
  csrf: 'c',
  action: '#',
})
const stepUp = {
  agent: triage,
  connection: github,
  operations: ['issues.create'],
  demand: { acrValues: ['urn:acr:mfa'], maxAgeS: 600 },
  lacked: null,
  csrf: 'c',
  action: '#',
} as const
const view: pages.ConnectView = {
  connection: github,
  agent: agent('agent:triage'),
  person: alice,
  verified: true,
  scopes: ['repo'],
  again: [],
  step: 'provider',
  reauthorization: false,
  csrf: 'token',
  action: '/connect/x',
}
const part = (connection: string, scopes: readonly string[], status: Flow['status']): Flow => ({
  hash: '0'.repeat(64),
  person: alice,
  agent: 'agent:triage',
  connection,
  scopes,
  reauthorization: false,
  status,
  failure: status === 'failed' ? 'denied' : null,
  missing: [],
  nextUri: null,
  createdAt: 0,
  expiresAt: 0,
  leg: null,
})
/** One link for several consents, each further along than the one before it. */
const planned = (
  status: Flow['status'] = 'pending',
  each: readonly Flow['status'][] = ['pending', 'pending', 'completed', 'failed'],
): Flow => ({
  ...part('deputy.plan', [], status),
  parts: [
    ...each.map((one, i) => ({
      flow: i % 2 === 0 ? part('github', ['repo'], one) : part('google', google.scopes, one),
      id: 'x',
    })),
    { flow: part('github-enterprise', [], status), id: null },
  ],
})
const connectionOf = (name: string): Connection | null =>
  [github, google].find((one) => one.name === name) ?? null
const held = (change: Partial<HeldConnection>): HeldConnection => ({
  credential: '01JB5',
  person: alice,
  connection: 'github',
  provider: 'github',
  account: 'alice-gh',
  status: 'active',
  scopes: ['repo'],
  agents: [
    {
      agent: 'agent:triage',
      scopes: ['repo', 'read:org'],
      at: Date.UTC(2026, 8, 1, 9, 30),
      lastUsedAt: Date.UTC(2026, 10, 22, 15, 4),
    },
    {
      agent: 'agent:release-notes',
      scopes: ['repo'],
      at: Date.UTC(2026, 9, 11, 17, 2),
      lastUsedAt: null,
    },
  ],
  storedAt: 0,
  ...change,
})
const mine: ConnectionsView = {
  person: alice,
  verified: true,
  held: [
    held({}),
    held({
      credential: '01JB6',
      connection: 'google',
      provider: 'google',
      account: 'alice@example.com',
      status: 'needs_reauth',
      agents: [
        {
          agent: 'agent:calendar',
          scopes: google.scopes,
          at: Date.UTC(2026, 8, 1, 9, 30),
          lastUsedAt: null,
        },
      ],
    }),
  ],
  connections: new Map([github, google].map((connection) => [connection.name, connection])),
  agentName: (id) => (id === triage.id ? triage.name : id),
  told: null,
  csrf: 'token',
  signOut: 'token',
}
const NIGHTLY: StandingAsk = {
  workload: 'nightly',
  days: 30,
  operations: ['issues.create', 'issues.listForRepo'],
}
const standing: StandingRow = {
  id: '01JB7',
  tenant: alice.tenant,
  realm: alice.realm,
  user: alice.id,
  workload: NIGHTLY.workload,
  agent: 'agent:triage',
  connection: 'github',
  operations: NIGHTLY.operations,
  createdAt: Date.UTC(2026, 8, 1, 9, 30),
  expiresAt: Date.UTC(2026, 9, 1, 9, 30),
  lastUsedAt: null,
  noticeAt: null,
}
const told = (ending: Disconnected['ending'], agent: string | null = null): Page =>
  connectionsPage({
    ...mine,
    held: ending === 'agent' ? mine.held : [],
    told: { ending, provider: 'GitHub', account: 'alice-gh', agent },
  })
const sure = (ask: Parameters<typeof surePage>[0]['ask']): Page =>
  surePage({ action: '/connections', ask, fields: { csrf: 'token' } })
const LONG = `agent:${'very-long-name-without-a-place-to-break-'.repeat(4)}`

const agentMine: AgentPageView = {
  agent: triage,
  off: null,
  held: [held({})],
  connections: mine.connections,
  owned: {
    people: 130,
    connections: 2,
    whom: [
      { id: 'alice@example.com', connections: ['github'] },
      { id: 'carol@example.com', connections: ['github', 'google'] },
    ],
    mayEnable: false,
  },
  csrf: 'token',
}

/** Where people paste a key of their own. */
const keyed: pages.ConnectView = {
  ...view,
  connection: connectionTo('openai', []),
  scopes: [],
  step: 'key',
}

/** Name of the page → how it is made. */
export const GALLERY: Readonly<Record<string, () => Page>> = {
  index: pages.indexPage,
  consent: () => pages.connectPage(view),
  'consent-key': () => pages.connectPage(keyed),
  ...Object.fromEntries(
    (['malformed', 'refused', 'unknown'] as const).map((problem) => [
      `consent-key-${problem}`,
      () => pages.connectPage({ ...keyed, problem }),
    ]),
  ),
  'consent-known-agent': () => pages.connectPage({ ...view, agent: triage }),
  agents: () =>
    agentsPage({
      mine: [triage, agent('agent:calendar', false)],
      owned: [triage],
      told: { what: 'stopped', name: 'Release notes' },
    }),
  ...Object.fromEntries(
    (['off', 'on', 'unchanged'] as const).map((what) => [
      `agents-${what}`,
      () => agentsPage({ mine: [], owned: [triage], told: { what, name: triage.name } }),
    ]),
  ),
  agent: () => agentPage({ ...agentMine, owned: null }),
  'agent-owned': () => agentPage(agentMine),
  'agent-off': () =>
    agentPage({
      ...agentMine,
      off: { agent: triage.id, tenant: null, at: Date.UTC(2026, 10, 22, 15, 4), by: 'operator' },
    }),
  'agent-unknown': () =>
    agentPage({ ...agentMine, agent: agent(LONG, false), held: [], owned: null }),
  'agent-off-mine': () =>
    agentPage({
      ...agentMine,
      off: { agent: triage.id, tenant: null, at: Date.UTC(2026, 10, 22, 15, 4), by: 'owner' },
      owned: { people: 1, connections: 1, whom: [], mayEnable: true },
    }),
  'agent-sure': () => sure((_, { agent: words }) => words.sureOff(triage.name)),
  'agent-sure-stop': () => sure((_, { agent: words }) => words.sureStop(triage.name)),
  'agent-sure-on': () => sure((_, { agent: words }) => words.sureOn(triage.name)),
  'consent-agent-off': pages.agentOffPage,
  'consent-tenant-full': pages.tenantFullPage,
  'consent-standing': () => pages.connectPage({ ...view, standing: NIGHTLY }),
  'consent-long': () =>
    pages.connectPage({
      ...view,
      agent: agent(LONG, false),
      connection: google,
      person: { ...alice, id: `${'a'.repeat(200)}@example.com` },
      scopes: [...google.scopes, 'openid', 'offline_access', `${LONG}/scope`],
      again: ['email', LONG],
      verified: false,
      reauthorization: true,
    }),
  'consent-second-agent': () =>
    pages.connectPage({ ...view, agent: agent('agent:release-notes'), step: 'grant' }),
  'consent-stronger': () => pages.connectPage({ ...view, reauthorization: true, stronger: true }),
  // A call wanted one thing; of all that the scope opens, policy lets this person read issues.
  'consent-operation': () =>
    pages.connectPage({
      ...view,
      connection: { ...github, name: 'github-enterprise' },
      operation: 'issues.create',
      allowed: new Set(['issues.list', 'issues.create']),
    }),
  'consent-nothing-allowed': () => pages.connectPage({ ...view, allowed: new Set() }),
  'consent-unnamed': () =>
    pages.connectPage({
      ...view,
      connection: { ...github, provider: { ...github.provider, scopeWords: new Map() } },
      scopes: ['repo', 'profile', 'unheard-of'],
    }),
  plan: () => planPage({ agent: triage, flow: planned(), connectionOf }),
  'plan-over': () =>
    planPage({
      agent: agent('agent:triage', false),
      flow: planned('completed', ['completed']),
      connectionOf,
    }),
  'done-plan': () =>
    pages.donePage({ ...view, account: 'alice-gh', missing: [], rest: '/connect/whole' }),
  'consent-plain': () => pages.connectPage({ ...view, scopes: [] }),
  'done-before': () => pages.donePage({ ...view, account: null, missing: [], already: true }),
  done: () => pages.donePage({ ...view, account: 'alice-gh', missing: [] }),
  'done-partly': () => pages.donePage({ ...view, account: 'alice-gh', missing: ['read:org'] }),
  'wrong-person': pages.wrongPersonPage,
  expired: pages.expiredPage,
  denied: pages.deniedPage,
  'account-mismatch': () => pages.mismatchPage('GitHub'),
  'provider-error-unnamed': () => pages.providerErrorPage(null),
  'provider-error': () => pages.providerErrorPage('GitHub'),
  'admin-first': () => pages.adminPage('GitHub'),
  'another-sign-in': () => pages.strongerPage('GitHub'),
  'client-refused': () => pages.clientRefusedPage('GitHub'),
  'broken-callback': pages.brokenCallbackPage,
  'sign-in-failed': pages.signInFailedPage,
  'go-on': () => pages.goOnPage('GitHub', '#on'),
  'refused-form-link': () => pages.refusedFormPage(null),
  'refused-form': () => pages.refusedFormPage('/connections'),
  code: () => pages.codePage({ back: '/connect/x', own: false, problem: 'wrong' }),
  'code-wait': () => pages.codePage({ back: '/connect/x', own: false, problem: 'wait' }),
  'code-name': () => pages.codePage({ back: '/connections', own: true, problem: 'name' }),
  'code-own': () => pages.codePage({ back: '/connections', own: true, problem: null }),
  'signed-out': pages.signedOutPage,
  stray: pages.strayPage,
  inactive: pages.inactivePage,
  awaiting: pages.awaitingPage,
  connections: () => connectionsPage(mine),
  'connections-standing': () => connectionsPage({ ...mine, standings: [standing] }),
  'connections-standing-stopped': () => told('standing', 'agent:triage'),
  'connections-standing-shorter': () => told('shorter', 'agent:triage'),
  approval: () => approvalPage(asked()),
  'approval-hostile': () =>
    approvalPage(asked({ body: HOSTILE, agent: agent('agent:<b>', false) })),
  'approval-mail': () => {
    const view = asked({ body: { raw: MAIL.toString('base64url') } })
    const read = {
      to: ['bob@example.com'],
      cc: ['carol@example.com'],
      bcc: ['eve@example.com'],
      attachments: 2,
    }
    const mail = { unread: false, sends: true, domains: ['example.com'], ...read } as const
    const mails = [{ part: null, mail, message: MAIL.toString('base64') }]
    return approvalPage({ ...view, shown: { ...view.shown, mails } })
  },
  'approval-mail-unread': () => {
    const view = asked({ body: { raw: MAIL.toString('base64url') } })
    const mails = [{ part: 2, mail: { unread: true, sends: true }, message: null }] as const
    return approvalPage({ ...view, shown: { ...view.shown, mails: [...mails] } })
  },
  'approval-half': () =>
    approvalPage({
      ...asked({ parts: 2 }),
      needs: [1, 2].map((part) => ({ ...lead, part })),
      mine: [{ ...lead, part: 2 }],
      given: [{ name: 'lead', part: 1, by: 'bob' }],
    }),
  'approval-batch': () => approvalPage({ ...asked({ parts: 2 }), needs: both, mine: [lead] }),
  'approval-binary': () => approvalPage(asked({ bytes: Buffer.from([0, 255, 1, 254]) })),
  'approval-bodiless': () => approvalPage({ ...asked(), shown: { ...asked().shown, body: null } }),
  'approval-given': () =>
    approvalPage({ ...asked(), complete: true, given: [{ name: 'lead', part: null, by: 'bob' }] }),
  'approval-stranger': () => noApproverPage,
  'approval-declined': () => declinedCallPage,
  'approval-used': () => usedPage,
  'approval-missed': () => missedPage,
  'step-up': () => stepUpPage(stepUp),
  'step-up-again': () => stepUpPage({ ...stepUp, lacked: 'acr' }),
  'step-up-undated': () => stepUpPage({ ...stepUp, lacked: 'auth_time' }),
  'step-up-done': () => steppedUpPage,
  'step-up-declined': () => notSteppedUpPage,
  'sure-standing': () => sure((words) => words.standing('agent:triage', 'github')),
  'connections-no-agent': () =>
    connectionsPage({ ...mine, held: [held({ connection: 'github-old', agents: [] })] }),
  'connections-none': () => connectionsPage({ ...mine, held: [], verified: false }),
  'connections-revoked': () => told('revoked'),
  'connections-failed': () => told('failed'),
  'connections-unsupported': () => told('not_supported'),
  'connections-stopped': () => told('agent', 'agent:release-notes'),
  'connections-gone': () => told('gone'),
  'connections-renewed-no-more': () => told('access_outlives'),
  'connections-dead-before': () => told('already_dead'),
  'sure-disconnect': () => sure((words) => words.disconnect('GitHub', 'GitHub (alice-gh)')),
  'sure-stop': () => sure((words) => words.stop('agent:triage', 'GitHub (alice-gh)')),
  'sure-sign-out': () => sure((words) => words.signOut),
  'not-found': pages.notFoundPage,
  failure: pages.failurePage,
  ...Object.fromEntries(
    (['consent_required', 'upstream_prohibited'] as const).map((code) => [
      `problem-${code}`,
      () => pages.problemPage(code),
    ]),
  ),
}

export const startGallery = (): Promise<Gallery> => serveGallery(GALLERY)
