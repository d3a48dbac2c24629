// The calls that the vendors' own clients typically make: typical.test.ts records what they send, and the table of SDKs
// (test/sdks/) makes them through deputy. Each client is pointed as docs/agents.md says.
/* oxlint-disable unicorn/require-post-message-target-origin -- chat.postMessage is no window */
import { calendar as calendarApi } from '@googleapis/calendar'
import { drive as driveApi } from '@googleapis/drive'
import { auth as googleAuth, gmail as gmailApi } from '@googleapis/gmail'
import { Client as HubSpot } from '@hubspot/api-client'
import { Connection } from '@jsforce/jsforce-node'
import { LinearClient } from '@linear/sdk'
import { Client as Graph } from '@microsoft/microsoft-graph-client'
import { Octokit } from '@octokit/rest'
import { WebClient } from '@slack/web-api'

/** Where the clients are pointed: an origin that takes a vendor's host as the first segment, and what stands for the key. */
export type Pointed = { readonly origin: string; readonly key: string }
const redirected =
  ({ origin }: Pointed) =>
  (url: unknown, init?: RequestInit): Promise<Response> =>
    fetch(String(url).replace('https://', `${origin}/`), init)

const repo = { owner: 'acme', repo: 'web' }
const git = { ...repo, issue_number: 1, pull_number: 1, body: 'x', title: 'x' }
type Calls = readonly (() => PromiseLike<unknown>)[]

export const octokit = ({ origin, key }: Pointed): Octokit =>
  new Octokit({ baseUrl: `${origin}/api.github.com`, auth: key })
const github = (at: Pointed): Calls => {
  const { rest, graphql } = octokit(at)
  const uploads = { baseUrl: `${at.origin}/uploads.github.com` }
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
    () =>
      rest.repos.uploadReleaseAsset({
        ...repo,
        ...uploads,
        release_id: 1,
        name: 'a.zip',
        data: 'x',
      }),
    () => graphql('query { repository(owner: "acme", name: "web") { id } viewer { login } }'),
  ]
}
export const googleApis = (at: Pointed) => {
  const { OAuth2 } = googleAuth
  const auth = new OAuth2()
  auth.setCredentials({ access_token: at.key })
  const options = { auth, fetchImplementation: redirected(at) }
  return {
    gmail: gmailApi({ version: 'v1', ...options }),
    calendar: calendarApi({ version: 'v3', ...options }),
    drive: driveApi({ version: 'v3', ...options }),
  }
}
const google = (pointed: Pointed): Calls => {
  const { gmail, calendar, drive } = googleApis(pointed)
  const { users } = gmail
  const me = { userId: 'me', id: '1' }
  const mail = 'To: ann@corp.test\r\n\r\nhello'
  const raw = Buffer.from(mail).toString('base64url')
  const at = { calendarId: 'primary', eventId: '1' }
  const event = { ...at, requestBody: {} }
  const fileId = '1'
  const media = { mimeType: 'text/plain', body: 'hello' }
  return [
    () => users.getProfile(me),
    () => users.messages.list(me),
    () => users.messages.get(me),
    () => users.messages.send({ ...me, requestBody: { raw } }),
    () => users.messages.send({ ...me, media: { mimeType: 'message/rfc822', body: mail } }),
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
/** Over plain http this client sends no key: a header names the person. */
export const graphClient = ({ origin, key }: Pointed): Graph =>
  Graph.init({
    baseUrl: `${origin}/graph.microsoft.com/`,
    authProvider: (done) => done(null, '-'),
    fetchOptions: { headers: { 'Deputy-User': key } },
  })
const microsoft = (at: Pointed): Calls => {
  const graph = graphClient(at)
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
  const one = { id: '1', method: 'GET', url: '/me' }
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
    ...posts.map(
      (path) => () =>
        graph.api(path).post(path === '/$batch' ? { requests: [one] } : {}) as Promise<unknown>,
    ),
    () => graph.api('/me/drive/root:/notes.txt:/content').put('hello') as Promise<unknown>,
    () => graph.api('/me/messages/1').patch({ isRead: true }) as Promise<unknown>,
    () => graph.api('/me/events/1').delete() as Promise<unknown>,
  ]
}
export const slackClient = ({ origin, key }: Pointed): WebClient =>
  new WebClient(key, { slackApiUrl: `${origin}/slack.com/api/`, retryConfig: { retries: 0 } })
const slack = (at: Pointed): Calls => {
  const web = slackClient(at)
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
export const jsforce = ({ origin, key }: Pointed): Connection =>
  new Connection({
    instanceUrl: `${origin}/acme.my.salesforce.com`,
    accessToken: key,
    version: '65.0',
  })
const salesforce = (at: Pointed): Calls => {
  const force = jsforce(at)
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
export const hubspotClient = ({ origin, key }: Pointed): HubSpot =>
  new HubSpot({ basePath: `${origin}/api.hubapi.com`, accessToken: key })
const hubspot = (at: Pointed): Calls => {
  const client = hubspotClient(at)
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
export const linearClient = ({ origin, key }: Pointed): LinearClient =>
  new LinearClient({
    apiUrl: `${origin}/api.linear.app/graphql`,
    accessToken: '-',
    headers: { 'Deputy-User': key },
  })
const linear = (at: Pointed): Calls => {
  const client = linearClient(at)
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
/** By the client's name in TYPICAL. */
export const CALLS: Readonly<Record<string, (at: Pointed) => Calls>> = {
  '@octokit/rest': github,
  '@googleapis/*': google,
  '@microsoft/microsoft-graph-client': microsoft,
  '@slack/web-api': slack,
  '@jsforce/jsforce-node': salesforce,
  '@hubspot/api-client': hubspot,
  '@linear/sdk': linear,
}
