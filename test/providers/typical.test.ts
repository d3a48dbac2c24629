// What each vendor's own client sends, recorded by calling it; and that deputy knows what that is.
/* oxlint-disable unicorn/require-post-message-target-origin -- chat.postMessage is no window */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { calendar as calendarApi } from '@googleapis/calendar'
import { drive as driveApi } from '@googleapis/drive'
import { gmail as gmailApi } from '@googleapis/gmail'
import { Client as HubSpot } from '@hubspot/api-client'
import { Connection } from '@jsforce/jsforce-node'
import { LinearClient } from '@linear/sdk'
import { Client as Graph } from '@microsoft/microsoft-graph-client'
import { Octokit } from '@octokit/rest'
import { WebClient } from '@slack/web-api'
import { parse } from 'graphql'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callsOf, createTypical, TYPICAL } from './typical.ts'

let origin = ''
const seen: string[] = []
/** The root fields of a GraphQL document: ` query viewer`. */
const fieldsOf = (body: string): string => {
  const { query } = JSON.parse(body) as { readonly query: string }
  return parse(query)
    .definitions.flatMap((one) =>
      one.kind === 'OperationDefinition'
        ? one.selectionSet.selections.map((field) =>
            field.kind === 'Field' ? ` ${one.operation} ${field.name.value}` : '',
          )
        : [],
    )
    .join('')
}
/** A stand-in for every vendor: writes down what comes, and says as little as lets a client go on. */
const recorder = createServer((req, res) => {
  const chunks: Buffer[] = []
  req.on('data', (chunk: Buffer) => void chunks.push(chunk))
  req.on('end', () => {
    const [asked = ''] = (req.url ?? '').split('?')
    // The bulk jobs of Salesforce's client keep only the origin of the address that it was given.
    const path = asked.startsWith('/services/') ? `/acme.my.salesforce.com${asked}` : asked
    const fields = path.endsWith('/graphql') ? fieldsOf(Buffer.concat(chunks).toString()) : ''
    seen.push(`${req.method ?? ''} ${path.slice(1)}${fields}`)
    const upload_url = `${origin}/files.slack.com/upload/v1/abc`
    const more = path.endsWith('/query')
      ? { nextRecordsUrl: '/services/data/v65.0/query/01g-2' }
      : {}
    res.setHeader('content-type', 'application/json')
    res.end(JSON.stringify({ ok: true, id: '1', upload_url, file_id: 'F1', records: [], ...more }))
  })
})
beforeAll(async () => {
  await new Promise<void>((done) => void recorder.listen(0, '127.0.0.1', done))
  origin = `http://127.0.0.1:${(recorder.address() as AddressInfo).port}`
})
afterAll(() => {
  recorder.closeAllConnections()
  recorder.close()
})
const at = (host: string): string => `${origin}/${host}`
const redirected = (url: unknown, init?: RequestInit): Promise<Response> =>
  fetch(String(url).replace('https://', `${origin}/`), init)

const repo = { owner: 'acme', repo: 'web' }
const git = { ...repo, issue_number: 1, pull_number: 1, body: 'x', title: 'x' }
type Calls = () => readonly (() => PromiseLike<unknown>)[]

const github: Calls = () => {
  const { rest, graphql } = new Octokit({ auth: 'x', request: { fetch: redirected } })
  return [
    () => rest.users.getAuthenticated(),
    () => rest.repos.get(repo),
    () => rest.repos.listForAuthenticatedUser(),
    () => rest.repos.getContent({ ...repo, path: 'src/main.ts' }),
    () =>
      rest.repos.createOrUpdateFileContents({ ...repo, path: 'a/b.md', message: 'x', content: '' }),
    () => rest.repos.listCommits(repo),
    () => rest.repos.compareCommitsWithBasehead({ ...repo, basehead: 'main...topic' }),
    () => rest.git.getTree({ ...repo, tree_sha: 'main', recursive: '1' }),
    () => rest.git.createRef({ ...repo, ref: 'refs/heads/x', sha: 'abc' }),
    () => rest.issues.listForRepo(repo),
    () => rest.issues.create(git),
    () => rest.issues.createComment(git),
    () => rest.issues.addLabels({ ...git, labels: ['bug'] }),
    () => rest.pulls.list(repo),
    () => rest.pulls.create({ ...git, head: 'topic', base: 'main' }),
    () => rest.pulls.listFiles(git),
    () => rest.pulls.createReview({ ...git, event: 'COMMENT' }),
    () => rest.pulls.merge(git),
    () => rest.search.issuesAndPullRequests({ q: 'is:open' }),
    () => rest.search.code({ q: 'x' }),
    () => rest.actions.listWorkflowRunsForRepo(repo),
    () => rest.checks.listForRef({ ...repo, ref: 'main' }),
    () => rest.repos.downloadZipballArchive({ ...repo, ref: 'main' }),
    () => rest.repos.uploadReleaseAsset({ ...repo, release_id: 1, name: 'a.zip', data: 'x' }),
    () => graphql('query { repository(owner: "acme", name: "web") { id } viewer { login } }'),
  ]
}
const google: Calls = () => {
  const options = { auth: 'x', fetchImplementation: redirected }
  const { users } = gmailApi({ version: 'v1', ...options })
  const calendar = calendarApi({ version: 'v3', ...options })
  const drive = driveApi({ version: 'v3', ...options })
  const me = { userId: 'me', id: '1' }
  const at = { calendarId: 'primary', eventId: '1' }
  const event = { ...at, requestBody: {} }
  const fileId = '1'
  const media = { mimeType: 'text/plain', body: 'hello' }
  return [
    () => users.getProfile(me),
    () => users.messages.list(me),
    () => users.messages.get(me),
    () => users.messages.send({ ...me, requestBody: { raw: 'x' } }),
    () => users.messages.send({ ...me, media: { mimeType: 'message/rfc822', body: 'x' } }),
    () => users.messages.modify(me),
    () => users.messages.batchModify(me),
    () => users.messages.attachments.get({ ...me, messageId: '1' }),
    () => users.threads.get(me),
    () => users.drafts.create({ ...me, requestBody: {} }),
    () => users.labels.list(me),
    () => calendar.calendarList.list(),
    () => calendar.events.list(at),
    () => calendar.events.insert(event),
    () => calendar.events.patch(event),
    () => calendar.events.delete(at),
    () => calendar.events.quickAdd({ ...at, text: 'x' }),
    () => calendar.freebusy.query({ requestBody: {} }),
    () => drive.files.list(),
    () => drive.files.get({ fileId, alt: 'media' }),
    () => drive.files.export({ fileId, mimeType: 'text/plain' }),
    () => drive.files.create({ requestBody: { name: 'x' }, media }),
    () => drive.files.update({ fileId, media }),
    () => drive.permissions.create({ fileId, requestBody: {} }),
    () => drive.comments.list({ fileId, fields: '*' }),
    () => drive.changes.getStartPageToken(),
  ]
}
const microsoft: Calls = () => {
  const graph = Graph.init({
    baseUrl: `${at('graph.microsoft.com')}/`,
    authProvider: (done) => done(null, 'x'),
  })
  const reads = [
    '/me',
    '/me/messages',
    '/me/messages/1',
    '/me/messages/1/attachments',
    '/me/mailFolders/inbox/messages',
    '/me/mailFolders/inbox/messages/delta',
    '/me/events',
    '/me/calendarView',
    '/me/drive/root/children',
    '/me/drive/root:/notes.txt:/content',
    '/me/drive/root:/reports/notes.txt:/content',
    '/me/drive/items/1/content',
    "/me/drive/root/search(q='plan')",
    '/me/drive/root:/reports',
    '/me/drive/root:/reports/2026:/children',
    '/me/drive/items/1/permissions',
    "/me/drive/items/1/workbook/worksheets/S/range(address='A1:B2')",
    '/users/ann@corp.test/drive/root/children',
    '/groups/1/drive/items/2',
    '/groups/1/drive/root:/plan.docx:/content',
    '/sites/1/drive/root/children',
    '/sites/1/drive/items/2/content',
    "/sites/1/drive/root/search(q='it''s a plan')",
    '/drives/1/root:/reports/notes.txt:/permissions',
    '/drives/1/root/children',
    '/me/joinedTeams',
    '/teams/1/channels/2/messages',
    '/me/chats',
    '/me/contacts',
    '/me/people',
    '/me/todo/lists/1/tasks',
    '/users/ann@corp.test',
    '/sites/root',
  ]
  const posts = [
    '/me/sendMail',
    '/me/messages/1/reply',
    '/me/messages/1/move',
    '/me/events',
    '/me/calendar/getSchedule',
    '/me/drive/root:/big.bin:/createUploadSession',
    '/me/drive/items/1:/big.bin:/createUploadSession',
    '/sites/1/drive/items/2/createLink',
    '/groups/1/drive/root:/big.bin:/createUploadSession',
    '/chats/1/messages',
    '/search/query',
    '/$batch',
  ]
  return [
    ...reads.map((path) => () => graph.api(path).get() as Promise<unknown>),
    ...posts.map((path) => () => graph.api(path).post({}) as Promise<unknown>),
    () => graph.api('/me/drive/root:/notes.txt:/content').put('hello') as Promise<unknown>,
    () => graph.api('/me/messages/1').patch({ isRead: true }) as Promise<unknown>,
    () => graph.api('/me/events/1').delete() as Promise<unknown>,
  ]
}
const slack: Calls = () => {
  const web = new WebClient('x', {
    slackApiUrl: `${at('slack.com')}/api/`,
    retryConfig: { retries: 0 },
  })
  const [channel, ts, user, text] = ['C1', '1.2', 'U1', 'hello']
  return [
    () => web.auth.test(),
    () => web.conversations.list(),
    () => web.conversations.info({ channel }),
    () => web.conversations.history({ channel }),
    () => web.conversations.replies({ channel, ts }),
    () => web.conversations.members({ channel }),
    () => web.conversations.open({ users: user }),
    () => web.conversations.join({ channel }),
    () => web.chat.postMessage({ channel, text }),
    () => web.chat.update({ channel, ts, text }),
    () => web.chat.delete({ channel, ts }),
    () => web.chat.postEphemeral({ channel, user, text }),
    () => web.chat.scheduleMessage({ channel, text, post_at: 1 }),
    () => web.chat.getPermalink({ channel, message_ts: ts }),
    () => web.users.list({}),
    () => web.users.info({ user }),
    () => web.users.lookupByEmail({ email: 'ann@corp.test' }),
    () => web.users.profile.set({ profile: {} }),
    () => web.search.messages({ query: 'x' }),
    () => web.reactions.add({ channel, timestamp: ts, name: 'eyes' }),
    () => web.files.list({}),
    () => web.filesUploadV2({ channel_id: channel, content: 'x', filename: 'x.txt' }),
    () => web.pins.add({ channel, timestamp: ts }),
    () => web.views.open({ trigger_id: '1', view: { type: 'home', blocks: [] } }),
  ]
}
const salesforce: Calls = () => {
  const force = new Connection({
    instanceUrl: at('acme.my.salesforce.com'),
    accessToken: 'x',
    version: '65.0',
  })
  const account = force.sobject('Account')
  const [one, two] = [
    { Id: '001', Name: 'a' },
    { Id: '002', Name: 'b' },
  ]
  return [
    () => force.identity(),
    () => force.limits(),
    () => force.describeGlobal(),
    () => force.query('SELECT Id FROM Account', { autoFetch: false }),
    () => force.queryMore('/services/data/v65.0/query/01g-2'),
    () => force.search('FIND {x}'),
    () => account.describe(),
    () => account.find({ Name: 'x' }).limit(1),
    () => account.retrieve('001'),
    () => account.retrieve(['001', '002']),
    () => account.create({ Name: 'a' }),
    () => account.create([{ Name: 'a' }, { Name: 'b' }]),
    () => account.update(one),
    () => account.update([one, two]),
    () => account.upsert({ Name: 'a', Key__c: '1' }, 'Key__c'),
    () => account.destroy('001'),
    () => account.destroy(['001', '002']),
    () => account.recent(),
    () => account.layouts(),
    () => account.updated(new Date(0), new Date(1_000)),
    () => account.deleted(new Date(0), new Date(1_000)),
    () => force.recent(),
    () => force.tabs(),
    () => force.quickActions(),
    () => force.bulk2.createJob({ object: 'Account', operation: 'insert' }).open(),
  ]
}
const hubspot: Calls = () => {
  const client = new HubSpot({ basePath: at('api.hubapi.com'), accessToken: 'x' })
  const { crm, files } = client
  const inputs = { inputs: [] }
  const ids = { inputs: [], properties: [], propertiesWithHistory: [] }
  const ask = { filterGroups: [], limit: 2 } as never
  const create = { properties: {}, associations: [] }
  return [
    () => crm.contacts.basicApi.getPage(),
    () => crm.contacts.basicApi.getById('1'),
    () => crm.contacts.basicApi.create(create),
    () => crm.contacts.basicApi.update('1', create),
    () => crm.contacts.basicApi.archive('1'),
    () => crm.contacts.searchApi.doSearch(ask),
    () => crm.contacts.batchApi.read(ids),
    () => crm.contacts.batchApi.create(inputs),
    () => crm.contacts.batchApi.upsert(inputs),
    () => crm.companies.basicApi.getPage(),
    () => crm.companies.searchApi.doSearch(ask),
    () => crm.deals.basicApi.create(create),
    () => crm.deals.batchApi.update(inputs),
    () => crm.tickets.basicApi.getPage(),
    () => crm.objects.notes.basicApi.create(create),
    () => crm.objects.tasks.basicApi.getPage(),
    () => crm.objects.basicApi.getPage('p_cars'),
    () => crm.associations.v4.basicApi.getPage('contacts', '1', 'companies'),
    () => crm.associations.v4.basicApi.create('contacts', '1', 'companies', '2', []),
    () => crm.owners.ownersApi.getPage(),
    () => crm.pipelines.pipelinesApi.getAll('deals'),
    () => crm.properties.coreApi.getAll('contacts'),
    () => crm.schemas.coreApi.getAll(),
    () => files.filesApi.getById('1'),
    () => files.filesApi.upload({ data: Buffer.from('x'), name: 'x.txt' }, undefined, '/x'),
    () => client.apiRequest({ path: '/account-info/v3/details' }),
  ]
}
const linear: Calls = () => {
  const client = new LinearClient({ apiKey: 'x', apiUrl: `${at('api.linear.app')}/graphql` })
  const [id, teamId, title] = ['1', 't', 'x']
  return [
    () => client.viewer,
    () => client.organization,
    () => client.users(),
    () => client.teams(),
    () => client.team(teamId),
    () => client.issues(),
    () => client.issue(id),
    () => client.searchIssues('x'),
    () => client.createIssue({ teamId, title }),
    () => client.updateIssue(id, { title }),
    () => client.archiveIssue(id),
    () => client.createIssueRelation({ issueId: id, relatedIssueId: '2', type: 'blocks' as never }),
    () => client.createIssueBatch({ issues: [{ teamId, title }] }),
    () => client.comments(),
    () => client.createComment({ issueId: id, body: 'x' }),
    () => client.createAttachment({ issueId: id, title, url: 'https://corp.test' }),
    () => client.fileUpload('text/plain', 'x.txt', 1),
    () => client.projects(),
    () => client.createProject({ name: 'x', teamIds: [teamId] }),
    () => client.workflowStates(),
    () => client.issueLabels(),
    () => client.cycles(),
    () => client.documents(),
    () => client.notifications(),
  ]
}
const CLIENTS: Readonly<Record<string, Calls>> = {
  '@octokit/rest': github,
  '@googleapis/*': google,
  '@microsoft/microsoft-graph-client': microsoft,
  '@slack/web-api': slack,
  '@jsforce/jsforce-node': salesforce,
  '@hubspot/api-client': hubspot,
  '@linear/sdk': linear,
}

test.each(Object.entries(CLIENTS))('%s sends what is listed of it', async (name, calls) => {
  seen.length = 0
  // What it makes of so poor an answer does not matter.
  for (const call of calls()) await Promise.resolve(call()).catch(() => {})
  const listed = TYPICAL[name]
  expect([...new Set(seen)]).toEqual(listed && callsOf(listed))
})

describe('by the shipped definitions', () => {
  const operations = createTypical()
  test.each(Object.entries(TYPICAL))('%s: what is unknown has its reason', (_, client) => {
    const unknown = callsOf(client).filter((call) => operations(client, call).includes('unknown'))
    expect(unknown.toSorted()).toEqual(Object.keys(client.unknown ?? {}).toSorted())
  })

  test('calls inside a call are read, and each root field is an operation', () => {
    const of = (name: string, call: string) => {
      const client = TYPICAL[name]
      return client && operations(client, call)
    }
    expect(of('@microsoft/microsoft-graph-client', 'POST graph.microsoft.com/v1.0/$batch')).toEqual(
      ['batch'],
    )
    expect(of('@linear/sdk', 'POST api.linear.app/graphql query viewer query nothing')).toEqual([
      'viewer.get',
      'unknown',
    ])
  })

  test('an upload under another path is the operation that it is', () => {
    const client = TYPICAL['@googleapis/*']
    const call = 'POST gmail.googleapis.com/upload/gmail/v1/users/me/messages/send'
    expect(client && operations(client, call)).toEqual(['gmail.users.messages.send'])
  })
})
