// What the vendors' own clients typically send: twenty calls and more of each, batches and uploads among them. Those of the
// clients that are installed here are recorded by typical.test.ts; the two others are read from their sources.
import { join } from 'node:path'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import type { Connection, RootField } from '../../proxy/model.ts'
import { createClassify, opened, UNKNOWN } from '../../proxy/pipeline/classify.ts'
import { buildRoutes, matchRoute } from '../../proxy/pipeline/route.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'

type Client = {
  readonly provider: string
  /** A line for each: `METHOD host/path`, and of GraphQL the root fields. */
  readonly sends: string
  /** Those of them that are unknown, and why they stay so. */
  readonly unknown?: Readonly<Record<string, string>>
}
export const TYPICAL: Readonly<Record<string, Client>> = {
  '@octokit/rest': {
    provider: 'github',
    sends: `
      GET api.github.com/user
      GET api.github.com/repos/acme/web
      GET api.github.com/user/repos
      GET api.github.com/repos/acme/web/contents/src%2Fmain.ts
      PUT api.github.com/repos/acme/web/contents/a%2Fb.md
      GET api.github.com/repos/acme/web/commits
      GET api.github.com/repos/acme/web/compare/main...topic
      GET api.github.com/repos/acme/web/git/trees/main
      POST api.github.com/repos/acme/web/git/refs
      GET api.github.com/repos/acme/web/issues
      POST api.github.com/repos/acme/web/issues
      POST api.github.com/repos/acme/web/issues/1/comments
      POST api.github.com/repos/acme/web/issues/1/labels
      GET api.github.com/repos/acme/web/pulls
      POST api.github.com/repos/acme/web/pulls
      GET api.github.com/repos/acme/web/pulls/1/files
      POST api.github.com/repos/acme/web/pulls/1/reviews
      PUT api.github.com/repos/acme/web/pulls/1/merge
      GET api.github.com/search/issues
      GET api.github.com/search/code
      GET api.github.com/repos/acme/web/actions/runs
      GET api.github.com/repos/acme/web/commits/main/check-runs
      GET api.github.com/repos/acme/web/zipball/main
      POST uploads.github.com/repos/acme/web/releases/1/assets
      POST api.github.com/graphql query repository query viewer
    `,
  },
  '@googleapis/*': {
    provider: 'google',
    sends: `
      GET gmail.googleapis.com/gmail/v1/users/me/profile
      GET gmail.googleapis.com/gmail/v1/users/me/messages
      GET gmail.googleapis.com/gmail/v1/users/me/messages/1
      POST gmail.googleapis.com/gmail/v1/users/me/messages/send
      POST gmail.googleapis.com/upload/gmail/v1/users/me/messages/send
      POST gmail.googleapis.com/gmail/v1/users/me/messages/1/modify
      POST gmail.googleapis.com/gmail/v1/users/me/messages/batchModify
      GET gmail.googleapis.com/gmail/v1/users/me/messages/1/attachments/1
      GET gmail.googleapis.com/gmail/v1/users/me/threads/1
      POST gmail.googleapis.com/gmail/v1/users/me/drafts
      GET gmail.googleapis.com/gmail/v1/users/me/labels
      GET www.googleapis.com/calendar/v3/users/me/calendarList
      GET www.googleapis.com/calendar/v3/calendars/primary/events
      POST www.googleapis.com/calendar/v3/calendars/primary/events
      PATCH www.googleapis.com/calendar/v3/calendars/primary/events/1
      DELETE www.googleapis.com/calendar/v3/calendars/primary/events/1
      POST www.googleapis.com/calendar/v3/calendars/primary/events/quickAdd
      POST www.googleapis.com/calendar/v3/freeBusy
      GET www.googleapis.com/drive/v3/files
      GET www.googleapis.com/drive/v3/files/1
      GET www.googleapis.com/drive/v3/files/1/export
      POST www.googleapis.com/upload/drive/v3/files
      PATCH www.googleapis.com/upload/drive/v3/files/1
      POST www.googleapis.com/drive/v3/files/1/permissions
      GET www.googleapis.com/drive/v3/files/1/comments
      GET www.googleapis.com/drive/v3/changes/startPageToken
    `,
  },
  '@microsoft/microsoft-graph-client': {
    provider: 'microsoft',
    sends: `
      GET graph.microsoft.com/v1.0/me
      GET graph.microsoft.com/v1.0/me/messages
      GET graph.microsoft.com/v1.0/me/messages/1
      GET graph.microsoft.com/v1.0/me/messages/1/attachments
      GET graph.microsoft.com/v1.0/me/mailFolders/inbox/messages
      GET graph.microsoft.com/v1.0/me/mailFolders/inbox/messages/delta
      GET graph.microsoft.com/v1.0/me/events
      GET graph.microsoft.com/v1.0/me/calendarView
      GET graph.microsoft.com/v1.0/me/drive/root/children
      GET graph.microsoft.com/v1.0/me/drive/root:/notes.txt:/content
      GET graph.microsoft.com/v1.0/me/drive/root:/reports/notes.txt:/content
      GET graph.microsoft.com/v1.0/me/drive/items/1/content
      GET graph.microsoft.com/v1.0/me/drive/root/search(q='plan')
      GET graph.microsoft.com/v1.0/me/drive/root:/reports
      GET graph.microsoft.com/v1.0/me/drive/root:/reports/2026:/children
      GET graph.microsoft.com/v1.0/me/drive/items/1/permissions
      GET graph.microsoft.com/v1.0/me/drive/items/1/workbook/worksheets/S/range(address='A1:B2')
      GET graph.microsoft.com/v1.0/users/ann@corp.test/drive/root/children
      GET graph.microsoft.com/v1.0/groups/1/drive/items/2
      GET graph.microsoft.com/v1.0/groups/1/drive/root:/plan.docx:/content
      GET graph.microsoft.com/v1.0/sites/1/drive/root/children
      GET graph.microsoft.com/v1.0/sites/1/drive/items/2/content
      GET graph.microsoft.com/v1.0/sites/1/drive/root/search(q='it''s%20a%20plan')
      GET graph.microsoft.com/v1.0/drives/1/root:/reports/notes.txt:/permissions
      GET graph.microsoft.com/v1.0/drives/1/root/children
      GET graph.microsoft.com/v1.0/me/joinedTeams
      GET graph.microsoft.com/v1.0/teams/1/channels/2/messages
      GET graph.microsoft.com/v1.0/me/chats
      GET graph.microsoft.com/v1.0/me/contacts
      GET graph.microsoft.com/v1.0/me/people
      GET graph.microsoft.com/v1.0/me/todo/lists/1/tasks
      GET graph.microsoft.com/v1.0/users/ann@corp.test
      GET graph.microsoft.com/v1.0/sites/root
      POST graph.microsoft.com/v1.0/me/sendMail
      POST graph.microsoft.com/v1.0/me/messages/1/reply
      POST graph.microsoft.com/v1.0/me/messages/1/move
      POST graph.microsoft.com/v1.0/me/events
      POST graph.microsoft.com/v1.0/me/calendar/getSchedule
      POST graph.microsoft.com/v1.0/me/drive/root:/big.bin:/createUploadSession
      POST graph.microsoft.com/v1.0/me/drive/items/1:/big.bin:/createUploadSession
      POST graph.microsoft.com/v1.0/sites/1/drive/items/2/createLink
      POST graph.microsoft.com/v1.0/groups/1/drive/root:/big.bin:/createUploadSession
      POST graph.microsoft.com/v1.0/chats/1/messages
      POST graph.microsoft.com/v1.0/search/query
      POST graph.microsoft.com/v1.0/$batch
      PUT graph.microsoft.com/v1.0/me/drive/root:/notes.txt:/content
      PATCH graph.microsoft.com/v1.0/me/messages/1
      DELETE graph.microsoft.com/v1.0/me/events/1
    `,
  },
  '@slack/web-api': {
    provider: 'slack',
    sends: `
      POST slack.com/api/auth.test
      POST slack.com/api/conversations.list
      POST slack.com/api/conversations.info
      POST slack.com/api/conversations.history
      POST slack.com/api/conversations.replies
      POST slack.com/api/conversations.members
      POST slack.com/api/conversations.open
      POST slack.com/api/conversations.join
      POST slack.com/api/chat.postMessage
      POST slack.com/api/chat.update
      POST slack.com/api/chat.delete
      POST slack.com/api/chat.postEphemeral
      POST slack.com/api/chat.scheduleMessage
      POST slack.com/api/chat.getPermalink
      POST slack.com/api/users.list
      POST slack.com/api/users.info
      POST slack.com/api/users.lookupByEmail
      POST slack.com/api/users.profile.set
      POST slack.com/api/search.messages
      POST slack.com/api/reactions.add
      POST slack.com/api/files.list
      POST slack.com/api/files.getUploadURLExternal
      POST files.slack.com/upload/v1/abc
      POST slack.com/api/files.completeUploadExternal
      POST slack.com/api/pins.add
      POST slack.com/api/views.open
    `,
  },
  '@jsforce/jsforce-node': {
    provider: 'salesforce',
    sends: `
      GET acme.my.salesforce.com/services/data/v65.0
      GET acme.my.salesforce.com/services/data/v65.0/limits
      GET acme.my.salesforce.com/services/data/v65.0/sobjects
      GET acme.my.salesforce.com/services/data/v65.0/query
      GET acme.my.salesforce.com/services/data/v65.0/query/01g-2
      GET acme.my.salesforce.com/services/data/v65.0/search
      GET acme.my.salesforce.com/services/data/v65.0/sobjects/Account/describe
      GET acme.my.salesforce.com/services/data/v65.0/sobjects/Account/001
      POST acme.my.salesforce.com/services/data/v65.0/sobjects/Account
      POST acme.my.salesforce.com/services/data/v65.0/composite/sobjects
      PATCH acme.my.salesforce.com/services/data/v65.0/sobjects/Account/001
      PATCH acme.my.salesforce.com/services/data/v65.0/composite/sobjects
      PATCH acme.my.salesforce.com/services/data/v65.0/sobjects/Account/Key__c/1
      DELETE acme.my.salesforce.com/services/data/v65.0/sobjects/Account/001
      DELETE acme.my.salesforce.com/services/data/v65.0/composite/sobjects
      GET acme.my.salesforce.com/services/data/v65.0/sobjects/Account
      GET acme.my.salesforce.com/services/data/v65.0/sobjects/Account/describe/layouts
      GET acme.my.salesforce.com/services/data/v65.0/sobjects/Account/updated
      GET acme.my.salesforce.com/services/data/v65.0/sobjects/Account/deleted
      GET acme.my.salesforce.com/services/data/v65.0/recent
      GET acme.my.salesforce.com/services/data/v65.0/tabs
      GET acme.my.salesforce.com/services/data/v65.0/quickActions
      POST acme.my.salesforce.com/services/data/v65.0/jobs/ingest
    `,
    unknown: {
      'POST acme.my.salesforce.com/services/data/v65.0/jobs/ingest':
        'records come later, as CSV that policy does not read',
    },
  },
  '@hubspot/api-client': {
    provider: 'hubspot',
    sends: `
      GET api.hubapi.com/crm/v3/objects/contacts
      GET api.hubapi.com/crm/v3/objects/contacts/1
      POST api.hubapi.com/crm/v3/objects/contacts
      PATCH api.hubapi.com/crm/v3/objects/contacts/1
      DELETE api.hubapi.com/crm/v3/objects/contacts/1
      POST api.hubapi.com/crm/v3/objects/contacts/search
      POST api.hubapi.com/crm/v3/objects/contacts/batch/read
      POST api.hubapi.com/crm/v3/objects/contacts/batch/create
      POST api.hubapi.com/crm/v3/objects/contacts/batch/upsert
      GET api.hubapi.com/crm/v3/objects/companies
      POST api.hubapi.com/crm/v3/objects/companies/search
      POST api.hubapi.com/crm/v3/objects/deals
      POST api.hubapi.com/crm/v3/objects/deals/batch/update
      GET api.hubapi.com/crm/v3/objects/tickets
      POST api.hubapi.com/crm/v3/objects/notes
      GET api.hubapi.com/crm/v3/objects/tasks
      GET api.hubapi.com/crm/v3/objects/p_cars
      GET api.hubapi.com/crm/v4/objects/contacts/1/associations/companies
      PUT api.hubapi.com/crm/v4/objects/contacts/1/associations/companies/2
      GET api.hubapi.com/crm/v3/owners
      GET api.hubapi.com/crm/v3/pipelines/deals
      GET api.hubapi.com/crm/v3/properties/contacts
      GET api.hubapi.com/crm-object-schemas/v3/schemas
      GET api.hubapi.com/files/v3/files/1
      POST api.hubapi.com/files/v3/files
      GET api.hubapi.com/account-info/v3/details
    `,
    unknown: {
      'GET api.hubapi.com/crm/v4/objects/contacts/1/associations/companies':
        'no source at hand says which scope suffices',
      'PUT api.hubapi.com/crm/v4/objects/contacts/1/associations/companies/2':
        'no source at hand says which scope suffices',
      'GET api.hubapi.com/files/v3/files/1': 'no source at hand says which scope suffices',
      'POST api.hubapi.com/files/v3/files':
        'may publish to everybody, in a part that policy does not read',
      'GET api.hubapi.com/account-info/v3/details': 'no source at hand says which scope suffices',
    },
  },
  '@linear/sdk': {
    provider: 'linear',
    sends: `
      POST api.linear.app/graphql query viewer
      POST api.linear.app/graphql query organization
      POST api.linear.app/graphql query users
      POST api.linear.app/graphql query teams
      POST api.linear.app/graphql query team
      POST api.linear.app/graphql query issues
      POST api.linear.app/graphql query issue
      POST api.linear.app/graphql query searchIssues
      POST api.linear.app/graphql mutation issueCreate
      POST api.linear.app/graphql mutation issueUpdate
      POST api.linear.app/graphql mutation issueArchive
      POST api.linear.app/graphql mutation issueRelationCreate
      POST api.linear.app/graphql mutation issueBatchCreate
      POST api.linear.app/graphql query comments
      POST api.linear.app/graphql mutation commentCreate
      POST api.linear.app/graphql mutation attachmentCreate
      POST api.linear.app/graphql mutation fileUpload
      POST api.linear.app/graphql query projects
      POST api.linear.app/graphql mutation projectCreate
      POST api.linear.app/graphql query workflowStates
      POST api.linear.app/graphql query issueLabels
      POST api.linear.app/graphql query cycles
      POST api.linear.app/graphql query documents
      POST api.linear.app/graphql query notifications
    `,
  },
  'google-api-python-client': {
    provider: 'google',
    sends: `
      POST gmail.googleapis.com/batch/gmail/v1
      POST www.googleapis.com/batch/calendar/v3
      POST www.googleapis.com/batch/drive/v3
      POST www.googleapis.com/upload/drive/v3/files
      PUT www.googleapis.com/upload/drive/v3/files
    `,
  },
  'code.gitea.io/sdk/gitea': {
    provider: 'gitea',
    sends: `
      GET git.corp.test/api/v1/version
      GET git.corp.test/api/v1/user
      GET git.corp.test/api/v1/user/repos
      GET git.corp.test/api/v1/repos/search
      GET git.corp.test/api/v1/repos/acme/web
      GET git.corp.test/api/v1/repos/acme/web/branches
      GET git.corp.test/api/v1/repos/acme/web/branches/main
      GET git.corp.test/api/v1/repos/acme/web/commits
      GET git.corp.test/api/v1/repos/acme/web/contents/src/main.go
      POST git.corp.test/api/v1/repos/acme/web/contents/a/b.md
      PUT git.corp.test/api/v1/repos/acme/web/contents/a/b.md
      GET git.corp.test/api/v1/repos/acme/web/raw/src/main.go
      GET git.corp.test/api/v1/repos/acme/web/archive/main.zip
      GET git.corp.test/api/v1/repos/issues/search
      GET git.corp.test/api/v1/repos/acme/web/issues
      POST git.corp.test/api/v1/repos/acme/web/issues
      PATCH git.corp.test/api/v1/repos/acme/web/issues/1
      GET git.corp.test/api/v1/repos/acme/web/issues/1/comments
      POST git.corp.test/api/v1/repos/acme/web/issues/1/comments
      POST git.corp.test/api/v1/repos/acme/web/issues/1/labels
      GET git.corp.test/api/v1/repos/acme/web/pulls
      POST git.corp.test/api/v1/repos/acme/web/pulls
      GET git.corp.test/api/v1/repos/acme/web/pulls/1
      GET git.corp.test/api/v1/repos/acme/web/pulls/1.diff
      GET git.corp.test/api/v1/repos/acme/web/pulls/1/files
      POST git.corp.test/api/v1/repos/acme/web/pulls/1/reviews
      POST git.corp.test/api/v1/repos/acme/web/pulls/1/merge
      GET git.corp.test/api/v1/repos/acme/web/releases
      POST git.corp.test/api/v1/repos/acme/web/releases
      POST git.corp.test/api/v1/repos/acme/web/releases/1/assets
    `,
  },
}
export const callsOf = ({ sends }: Client): readonly string[] =>
  sends
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')

const dir = join(import.meta.dirname, '../../providers')
/** Those that a company hosts itself stand where this one's does. */
const OWN = new Map([['git.corp.test', 'https://git.corp.test']])
const ROOT_FIELD = / (query|mutation) (\w+)/g

/** Operations by the shipped definitions: one, or one for each root field. */
export const createTypical = (): ((client: Client, call: string) => readonly string[]) => {
  const { providers } = compileProviders(readProviderFiles(dir))
  const shipped = new Map(
    [...providers].map(([id, provider]) => {
      const own = provider.hosts.size === 0 && !provider.hostFromToken
      return [id, own ? { ...provider, hosts: OWN } : provider]
    }),
  )
  const classify = createClassify(shipped.values())
  return ({ provider: id }, call) => {
    const provider = shipped.get(id)
    if (provider === undefined) throw new Error(`there is no provider ${id}`)
    const connection: Connection = {
      name: id,
      provider,
      clientId: 'c',
      clientSecret: null,
      scopes: [],
    }
    const [method = '', url = ''] = call.split(' ')
    const req = { method, url: `http://${url}`, headers: {} }
    const route = matchRoute(buildRoutes([connection]), req, null)
    const act = classify(route)
    const fields = [...call.matchAll(ROOT_FIELD)].map(([, type, name = '']) => {
      const field: RootField = {
        type: type === 'query' ? 'query' : 'mutation',
        fields: [name],
        name: '',
        depth: 1,
        types: [],
        selects: [],
      }
      return { field, given: () => ({}) }
    })
    if (fields.length === 0) return [act.envelope === undefined ? act.operation.id : 'batch']
    const whole = opened(act, route, fields)
    return (whole.parts ?? [whole]).map(({ operation }) => operation.id)
  }
}

/** Client → how many calls, and how many of them no operation of the shipped definitions is; then which, and why. */
export const typicalTable = (): string => {
  const operations = createTypical()
  const all = Object.entries(TYPICAL).map(([name, client]) => {
    const calls = callsOf(client)
    const unknown = calls.filter((call) => operations(client, call).includes(UNKNOWN.id))
    return { name, client, calls, unknown }
  })
  return [
    '| client | calls | unknown |',
    '|---|---|---|',
    ...all.map(({ name, calls, unknown }) => `| ${name} | ${calls.length} | ${unknown.length} |`),
    '',
    '| unknown | because |',
    '|---|---|',
    ...all.flatMap(({ client, unknown }) =>
      unknown.map((call) => `| \`${call}\` | ${client.unknown?.[call] ?? 'it is missing'} |`),
    ),
  ].join('\n')
}
