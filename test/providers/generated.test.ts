import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { readGenerated } from '../../proxy/providers/generated.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import type { OperationRow } from '../../proxy/model.ts'
import { createTypical } from './typical.ts'

const shipped = join(import.meta.dirname, '../../providers')
const table = {
  source: ['npm acme 1.0.0'],
  hosts: ['api.acme.test'],
  graphql: '/graphql',
  scopes: [[['read'], ['all']]],
  operations: [
    ['docs.get', 'read', 'GET /docs/{id}', 0, 0],
    ['docs.put', 'write', 'PUT /docs/{id}', -1, -1, 1],
    ['viewer', 'read', 'query viewer', 0, -1],
  ],
}
const read = (raw: unknown): { rows: readonly OperationRow[]; problems: string[] } => {
  const problems: string[] = []
  const rows = readGenerated(raw, (at, what) => void problems.push(`${at}: ${what}`))
  return { rows, problems }
}
const acme = {
  id: 'acme',
  authorize: 'https://acme.test/authorize',
  token: 'https://acme.test/token',
  hosts: ['api.acme.test'],
  catalogue: 'acme.catalogue.json',
}
const compiled = (definition: object, raw: unknown = table) =>
  compileProviders(
    new Map<string, unknown>([
      ['p/acme.yaml', { ...acme, ...definition }],
      ['p/acme.catalogue.json', raw],
    ]),
  )
const ids = (rows: readonly OperationRow[] | undefined) => rows?.map(({ id }) => id)

describe('a generated catalogue', () => {
  test('is read row by row: access, call, scopes, host, what may be large', () => {
    const { rows, problems } = read(table)
    expect(problems).toEqual([])
    expect(rows).toMatchObject([
      { id: 'docs.get', access: 'read', method: 'GET', path: '/docs/{id}', host: 'api.acme.test' },
      { id: 'docs.put', upload: true, host: null, scopes: [] },
      { id: 'viewer', method: 'POST', path: '/graphql', graphql: 'query viewer' },
    ])
    expect(rows[0]?.scopes).toEqual([['read'], ['all']])
  })

  test('is read with what policy sees of bodies', () => {
    const inspect = [['/to', '/cc']]
    const operations = [['send', 'write', 'POST /send', -1, -1, 0, 0]]
    expect(read({ ...table, inspect, operations }).rows).toMatchObject([
      { id: 'send', upload: false, inspect: ['/to', '/cc'] },
    ])
    expect(read({ ...table, operations }).problems).toHaveLength(1)
    expect(read({ ...table, inspect: ['/to'], operations }).problems).toHaveLength(1)
  })

  test('where recipients of a mail stand is told by number too', () => {
    const mail = [{ to: ['/to'], sends: false }]
    const row = ['send', 'write', 'POST /mail', 0, -1, 0, -1]
    expect(read({ ...table, mail, operations: [[...row, 0]] }).rows).toMatchObject([
      { id: 'send', inspect: [], mail: { to: ['/to'], cc: [], sends: false, stored: false } },
    ])
    expect(read({ ...table, mail, operations: [row] }).rows[0]).not.toHaveProperty('mail')
    expect(read({ ...table, mail, operations: [[...row, 1]] }).problems).toHaveLength(1)
    expect(read({ ...table, mail: [{}], operations: [[...row, 0]] }).problems).toHaveLength(1)
  })

  test.each([
    ['no object', []],
    ['no rows', { ...table, operations: undefined }],
    ['scopes that are none', { ...table, scopes: [['read']] }],
    ['an access that there is not', { ...table, operations: [['x', 'any', 'GET /x', -1, -1]] }],
    ['half a row', { ...table, operations: [['x', 'read', 'GET /x']] }],
  ])('with %s is refused', (_, raw) => {
    const { rows, problems } = read(raw)
    expect(rows).toEqual([])
    expect(problems).toHaveLength(1)
  })

  test('adds to what was written by hand, which holds where both name a call', () => {
    const hand = [
      { id: 'mine', method: 'GET', path: '/docs/{doc}', access: 'admin', scopes: [['all']] },
    ]
    const one = compiled({ operations: hand.map((row) => ({ ...row, host: 'api.acme.test' })) })
    expect(one.problems).toEqual([])
    expect(ids(one.providers.get('acme')?.operations)).toEqual(['mine', 'docs.put', 'viewer'])
  })

  test('gives no id of the hand a second access', () => {
    const row = { id: 'docs.put', method: 'POST', path: '/x', access: 'admin', scopes: [[]] }
    expect(compiled({ operations: [row] }).problems).toEqual([
      'p/acme.yaml: catalogue.docs.put: is write here and admin where it is listed',
    ])
  })

  test('that is not there is a problem, and so is a host that the provider does not have', () => {
    const none = compileProviders(new Map([['p/acme.yaml', acme]]))
    expect(none.problems).toEqual(['p/acme.yaml: catalogue: there is no file acme.catalogue.json'])
    expect(compiled({ hosts: ['other.acme.test'] }).problems).toEqual([
      'p/acme.yaml: catalogue: api.acme.test is not among this provider’s hosts',
    ])
  })

  test('comes with what a definition extends, unless that lists operations of its own', () => {
    const with_ = (more: object) =>
      compileProviders(
        new Map<string, unknown>([
          ['p/acme.yaml', acme],
          ['p/acme.catalogue.json', table],
          ['p/child.yaml', { id: 'child', extends: 'acme', ...more }],
        ]),
      ).providers.get('child')?.operations
    expect(ids(with_({}))).toEqual(['docs.get', 'docs.put', 'viewer'])
    expect(ids(with_({ operations: [] }))).toEqual([])
  })
})

describe('the shipped catalogues', () => {
  const { providers, problems } = compileProviders(readProviderFiles(shipped))
  const rowsOf = (id: string): readonly OperationRow[] => providers.get(id)?.operations ?? []

  test('hold 5,000 operations and more, of whole vendors', () => {
    expect(problems).toEqual([])
    const least = {
      gitea: 450,
      github: 1_400,
      google: 450,
      hubspot: 700,
      linear: 550,
      microsoft: 8_000,
      salesforce: 18,
      slack: 270,
    }
    for (const [id, number] of Object.entries(least))
      expect([id, new Set(ids(rowsOf(id))).size >= number]).toEqual([id, true])
  })

  test.each([...providers.keys()])(
    '%s: every id has one access, every template can be matched',
    (id) => {
      const access = new Map<string, string>()
      for (const row of rowsOf(id)) {
        expect([row.id, access.get(row.id) ?? row.access]).toEqual([row.id, row.access])
        access.set(row.id, row.access)
        expect(row.id).toMatch(/^[\w.:$/-]{1,200}$/)
        for (const [i, segment] of row.path.slice(1).split('/').entries())
          expect(`${row.path} ${i} ${segment}`).toMatch(
            / (?:\{\w+\+?\}(?::\w*)?|[\w.~$@:=,()'!*+-]*|\w[\w.]*\((?:\w+='?\{\w+\}'?,?)+\))$/,
          )
      }
    },
  )

  test('no call that changes is a read', () => {
    // A question too long for a URL, a text that is rendered, and Slack, where the name alone tells.
    const asks =
      /search|query|batch(?:Api)?\.?(?:read|get)|retrieveSeveral|getByDataFilter|GetByDataFilter|getSchedule|findMeetingTimes|getByIds|getMailTips|getAvailableExtensionProperties|translateExchangeIds|check\w+|getMember\w+|markdown|countTokens|renderMarkup|FileContents|freebusy|git\.fetch|^graphql\.|^invoices\.preview$/i
    const wrong = [...providers.keys()].flatMap((id) =>
      id === 'slack' || id === 'linear'
        ? []
        : rowsOf(id)
            .filter((row) => row.access === 'read' && row.method !== 'GET' && !asks.test(row.id))
            .map((row) => row.id),
    )
    expect(wrong).toEqual([])
  })

  test.each([
    ['google', 'gmail.users.settings.delegates.create', 'admin'],
    ['google', 'drive.permissions.delete', 'admin'],
    ['google', 'calendar.events.watch', 'admin'],
    ['google', 'directory.users.makeAdmin', 'admin'],
    ['google', 'sheets.spreadsheets.values.batchGetByDataFilter', 'read'],
    ['google', 'gmail.users.messages.batchDelete', 'delete'],
    ['google', 'docs.documents.batchUpdate', 'write'],
    ['github', 'secretScanning.listAlertsForRepo', 'admin'],
    ['github', 'graphql.addStar', 'write'],
    ['github', 'graphql.deleteIssue', 'delete'],
    ['github', 'graphql.createRepositoryRuleset', 'admin'],
    ['hubspot', 'crm.objects.tickets.search', 'read'],
    ['hubspot', 'crm.objects.tickets.batch.archive', 'delete'],
    ['linear', 'oauthApplicationRotateSecret', 'admin'],
    ['linear', 'documentShare', 'admin'],
    ['linear', 'initiativeRemoveLabel', 'write'],
    ['linear', 'issueVcsBranchSearch', undefined],
    ['linear', 'releaseCreate', 'write'],
    ['linear', 'releasePipelineCreate', 'admin'],
    ['linear', 'releaseCompleteByAccessKey', 'admin'],
    ['linear', 'teamMemberships', 'read'],
    ['linear', 'teamMembershipCreate', 'admin'],
    ['linear', 'notificationSubscriptionCreate', 'write'],
    ['linear', 'integrations', 'read'],
    ['linear', 'integrationSlackPost', 'admin'],
    ['linear', 'agentSessionUpdate', 'write'],
    ['linear', 'agentSessionSshAddress', 'admin'],
    ['linear', 'auditEntries', 'admin'],
    ['linear', 'authenticationSessions', 'admin'],
    ['linear', 'organizationInvites', 'admin'],
    ['linear', 'usageAlerts', 'admin'],
    ['microsoft', 'me.messages.permanentDelete', 'delete'],
    ['microsoft', 'users.sendMail', 'write'],
    ['microsoft', 'groups.members.$ref.create', 'admin'],
    ['microsoft', 'groups.members.list', 'read'],
    ['microsoft', 'subscriptions.create', 'admin'],
    ['slack', 'conversations.invite', 'admin'],
    ['slack', 'files.delete', 'delete'],
    ['slack', 'bookmarks.add', 'write'],
    ['slack', 'admin.users.list', 'admin'],
    ['slack', 'oauth.v2.access', undefined],
    // Their answers are addresses that a client may use past deputy.
    ['slack', 'rtm.connect', 'admin'],
    ['microsoft', 'drives.items.createUploadSession', 'admin'],
    ['linear', 'fileUpload', 'admin'],
    ['google', 'calendar.events.quickAdd', 'admin'],
  ])('%s: %s is %s', (id, operation, access) => {
    expect(rowsOf(id).find((row) => row.id === operation)?.access).toBe(access)
  })

  test.each([
    ['microsoft', 'user-sendmail', 'users.sendMail'],
    ['microsoft', 'message-forward', 'me.mailFolders.messages.forward'],
    ['microsoft', 'message-reply', 'users.messages.reply'],
    ['microsoft', 'message-update', 'users.mailFolders.messages.update'],
    ['microsoft', 'user-post-messages', 'me.mailFolders.messages.create'],
    ['microsoft', 'user-post-events', 'me.calendar.events.create'],
    ['microsoft', 'event-update', 'users.calendars.events.update'],
    ['microsoft', 'driveitem-update', 'drives.items.update'],
    ['google', 'calendar.events.insert', 'calendar.events.import'],
    ['google', 'gmail.users.messages.modify', 'gmail.users.messages.batchModify'],
    ['slack', 'chat.postMessage', 'chat.scheduleMessage'],
    ['slack', 'chat.postMessage', 'chat.meMessage'],
    ['slack', 'chat.postMessage', 'chat.startStream'],
  ])('%s: what policy sees of %s it sees of %s', (id, hand, other) => {
    const seen = (operation: string) => rowsOf(id).find((row) => row.id === operation)?.inspect
    expect(seen(hand)?.length).toBeGreaterThan(0)
    expect(seen(other)).toEqual(seen(hand))
    const mail = (operation: string) => rowsOf(id).find((row) => row.id === operation)?.mail
    expect(mail(other)).toEqual(mail(hand))
  })

  test('say of all that sends mail to whom it goes, or that nobody can tell', () => {
    const SENDS = /\/(?:sendMail|messages\/send|drafts\/send|single-send|single-email\/send)$/
    const ANSWERS =
      /\/messages\/\{\w+\}\/(?:send|reply|replyAll|forward|createReply\w*|createForward)$/
    const rows = ['google', 'microsoft', 'hubspot'].flatMap((id) =>
      rowsOf(id).filter(
        ({ method, path }) =>
          method === 'POST' &&
          (SENDS.test(path) || (ANSWERS.test(path) && !/chats|channels|teams/i.test(path))),
      ),
    )
    expect(rows.length).toBeGreaterThan(40)
    expect(rows.filter(({ mail }) => mail === undefined).map(({ path }) => path)).toEqual([])
    const answers = rows.filter(({ path }) => /\/\{\w+\}\/(?:send|reply|replyAll)$/.test(path))
    expect(answers.length).toBeGreaterThan(8)
    expect(answers.filter(({ mail }) => mail?.stored !== true || !mail.sends)).toEqual([])
  })

  test('know names of several segments where the vendor takes them', () => {
    const operation = createTypical()
    const chat = 'chat.googleapis.com'
    const directory = 'admin.googleapis.com/admin/directory/v1/customer/my_customer/orgunits'
    expect(
      [
        `GET ${chat}/v1/media/abc`,
        `GET ${chat}/v1/media/spaces/A/messages/B/attachments/C`,
        `POST ${chat}/upload/v1/spaces/A/attachments:upload`,
        `POST ${chat}/upload/v1/A/attachments:upload`,
        `GET ${directory}/corp/sales`,
        `DELETE ${directory}/corp/sales/west`,
        `POST ${directory}/corp/sales`,
      ].flatMap((call) => operation({ provider: 'google', sends: '' }, call)),
    ).toEqual([
      'chat.media.download',
      'chat.media.download',
      'chat.media.upload',
      'unknown',
      'directory.orgunits.get',
      'directory.orgunits.delete',
      'unknown',
    ])
  })

  test('name scopes only where a source names them', () => {
    // Linear's page and Graph's client say of no single call which scope suffices: only rows by hand have them.
    for (const id of ['linear', 'microsoft']) {
      const raw: unknown = JSON.parse(readFileSync(join(shipped, `${id}.catalogue.json`), 'utf8'))
      const generated = readGenerated(raw, () => undefined)
      expect(generated.length).toBeGreaterThan(400)
      expect(generated.filter(({ scopes }) => scopes.length > 0).map((row) => row.id)).toEqual([])
    }
  })

  test('carry their source, and stay small enough to be read at a start', () => {
    for (const name of readdirSync(shipped).filter((one) => one.endsWith('.catalogue.json'))) {
      const text = readFileSync(join(shipped, name), 'utf8')
      expect(text).toMatch(/^\{"source":\["(?:npm|pypi|go) \S+ [\d.]+"/)
      expect(text.length).toBeLessThan(2_000_000)
    }
  })
})
