// The catalogues against a second source of each vendor: another client than the one that they are made from, or the
// vendor's reference. Every call that both name is compared, so ten at random are among them.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import type { OperationRow } from '../../proxy/model.ts'
import { describe as describeOperations } from '../../proxy/providers/parameters.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { PYTHON } from '../support/built.ts'
import { createTypical } from './typical.ts'

const root = join(import.meta.dirname, '../..')
const { providers } = compileProviders(readProviderFiles(join(root, 'providers')))
const rowsOf = (id: string): readonly OperationRow[] => providers.get(id)?.operations ?? []
const shape = (path: string): string => path.replaceAll(/\{\+?\w+\+?\}/g, '{}')
const callOf = ({ method, path }: OperationRow): string => `${method} ${shape(path)}`
const callsOf = (id: string): ReadonlySet<string> => new Set(rowsOf(id).map(callOf))

/** Empty, or why nothing is compared: said aloud. */
const missing = (path: string): string =>
  existsSync(path) ? '' : ` (SKIPPED: ${path} is missing: .ci/run makes it)`
/** All files below a folder whose names end so, as one text each. */
const filesIn = (folder: string, ending: string): readonly string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => readFileSync(join(folder, name), 'utf8'))

describe('Google against the clients @googleapis/*', () => {
  const CALL = /url: \(rootUrl \+\s*'([^']+)'\)\.replace\([^\n]*\n\s*method: '(\w+)'/g
  const UPLOAD = /mediaUrl: \(rootUrl \+ '([^']+)'\)/g
  test.each([
    ['calendar', 'v3'],
    ['drive', 'v3'],
    ['gmail', 'v1'],
  ])('%s: every call of its client is known, and every row is one of its calls', (api, version) => {
    const source = readFileSync(
      join(root, `node_modules/@googleapis/${api}/build/${version}.js`),
      'utf8',
    )
    const theirs = new Set(
      [...source.matchAll(CALL)].map(([, path = '', method = '']) => `${method} ${shape(path)}`),
    )
    const uploads = new Set([...source.matchAll(UPLOAD)].map(([, path = '']) => shape(path)))
    expect(theirs.size).toBeGreaterThan(30)
    const ours = callsOf('google')
    expect([...theirs].filter((call) => !ours.has(call))).toEqual([])
    const rows = rowsOf('google').filter(({ id }) => id.startsWith(`${api}.`))
    const strange = rows.filter((row) => !theirs.has(callOf(row)) && !uploads.has(shape(row.path)))
    expect(strange.map(callOf)).toEqual([])
  })
})

describe('HubSpot against @hubspot/api-client', () => {
  const CALL = /localVarPath = '([^']+)'[\s\S]*?HttpMethod\.(\w+)/g
  const theirs = new Set(
    filesIn(join(root, 'node_modules/@hubspot/api-client/lib/codegen'), 'Api.js').flatMap(
      (source) =>
        [...source.matchAll(CALL)].map(([, path = '', method = '']) => `${method} ${shape(path)}`),
    ),
  )
  const rows = rowsOf('hubspot')
  test('most rows are calls of its client, with the same method and the same slashes', () => {
    expect(theirs.size).toBeGreaterThan(600)
    const both = rows.filter((row) => theirs.has(callOf(row)))
    expect(both.length).toBeGreaterThan(480)
  })
  test('no row has another method than its client where that knows one call only', () => {
    const byPath = Map.groupBy(theirs, (call) => call.slice(call.indexOf(' ') + 1))
    const strange = rows.filter((row) => {
      const known = byPath.get(shape(row.path))
      return known?.length === 1 && !known.includes(callOf(row))
    })
    expect(strange.map(callOf)).toEqual([])
  })
})

describe('Slack against slack_sdk, the client for Python', () => {
  // The environment of the clients for Python that CI makes, whichever Python that is.
  const clients = join(dirname(PYTHON), '../lib')
  const python = existsSync(clients) ? (readdirSync(clients)[0] ?? '') : ''
  const file = join(clients, python, 'site-packages/slack_sdk/web/client.py')
  const lacks = missing(file)
  test.skipIf(lacks !== '')(`every operation is a method of it${lacks}`, () => {
    const source = readFileSync(file, 'utf8')
    const theirs = new Set(
      [...source.matchAll(/self\.api_call\(\s*"([\w.]+)"/g)].map(([, name = '']) => name),
    )
    expect(theirs.size).toBeGreaterThan(300)
    const ids = new Set(
      rowsOf('slack')
        .filter(({ host }) => host === 'slack.com')
        .map(({ path }) => path.replace('/api/', '')),
    )
    // Its client for Python names these two elsewhere.
    expect([...ids].filter((id) => !theirs.has(id))).toEqual([
      'files.remote.add',
      'files.remote.update',
    ])
  })
})

describe('Gitea against its client for Go', () => {
  // Its source, where the clients for Go were built.
  const folder = join(homedir(), 'go/pkg/mod/code.gitea.io/sdk/gitea@v0.24.1')
  const lacks = missing(folder)
  test.skipIf(lacks !== '')(`nearly every call of it is a row${lacks}`, () => {
    const CALL = /"(GET|POST|PUT|PATCH|DELETE)",\s*(?:fmt\.Sprintf\()?"(\/[^"?]+)/g
    const theirs = new Set(
      filesIn(folder, '.go').flatMap((source) =>
        [...source.matchAll(CALL)].map(
          ([, method = '', path = '']) => `${method} /api/v1${path.replaceAll(/%[sdv]/g, '{}')}`,
        ),
      ),
    )
    const ours = callsOf('gitea')
    expect(theirs.size).toBeGreaterThan(250)
    expect([...theirs].filter((call) => !ours.has(call)).toSorted()).toEqual([
      'GET /api/v1/activitypub/user-id/{}',
      'GET /api/v1/nodeinfo',
      // Written another way in its source: an archive with its suffix, a raw file by its path.
      'GET /api/v1/repos/{}/{}/archive/{}{}',
      // `.diff` and `.patch` behind a name: a template says no part of a segment.
      'GET /api/v1/repos/{}/{}/git/commits/{}.{}',
      'GET /api/v1/repos/{}/{}/pulls/{}.{}',
      'GET /api/v1/repos/{}/{}/raw/{}/{}',
      'POST /api/v1/activitypub/user-id/{}/inbox',
    ])
  })
})

describe('Microsoft against the reference of Graph', () => {
  // "HTTP request" of the pages driveitem-createlink, driveitem-search, contact-delete, onenote-list-pages and
  // chat-removeallaccessforuser: what is in a drive is described by no client of Microsoft's but there.
  const operation = createTypical()
  test.each([
    ['driveitem-createlink', 'POST', '{drive}/items/1/createLink'],
    ['driveitem-search', 'GET', "{drive}/root/search(q='Contoso%20Project')"],
  ])('%s is known from every drive', (_, method, path) => {
    const drives = ['drives/1', 'groups/1/drive', 'me/drive', 'sites/1/drive', 'users/1/drive']
    const calls = drives.map(
      (drive) => `${method} graph.microsoft.com/v1.0/${path.replace('{drive}', drive)}`,
    )
    const ids = calls.flatMap((call) => operation({ provider: 'microsoft', sends: '' }, call))
    expect(ids).not.toContain('unknown')
    expect(new Set(ids).size).toBe(5)
  })
  test.each([
    ['DELETE me/contacts/1', 'me.contacts.delete'],
    ['DELETE users/1/contacts/1', 'users.contacts.delete'],
    ['DELETE me/contactFolders/1/contacts/2', 'me.contactFolders.contacts.delete'],
    [
      'DELETE users/1/contactFolders/1/childFolders/2/contacts/3',
      'users.contactFolders.childFolders.contacts.delete',
    ],
    ['GET me/onenote/pages', 'me.onenote.pages.list'],
    ['GET groups/1/onenote/pages', 'groups.onenote.pages.list'],
    ['GET sites/1/onenote/pages', 'sites.onenote.pages.list'],
    ['POST chats/1/removeAllAccessForUser', 'chats.removeAllAccessForUser'],
  ])('%s is %s', (call, id) => {
    const [method = '', path = ''] = call.split(' ')
    const whole = `${method} graph.microsoft.com/v1.0/${path}`
    expect(operation({ provider: 'microsoft', sends: '' }, whole)).toEqual([id])
  })
})

describe('Linear against another reading of its schema', () => {
  /** As a reference made from the schema by introspection has them; `!`: needed. */
  const THEIRS = `
    cycleArchive(id!) cycleShiftAll(input!) customerMerge(sourceCustomerId!,targetCustomerId!)
    customerNeedDelete(keepAttachment,id!) integrationFigma(redirectUri!,code!) initiativeUnarchive(id!)
    integrationMcpServerPersonalConnect(serverUrl!) logoutSession(sessionId!) emojiDelete(id!)
    attachmentLinkZendesk(createAsUser,displayIconUrl,title,ticketId!,issueId!,id,url)`
  test.each(THEIRS.trim().split(/\s+/))('%s', (field) => {
    const [, name = '', list = ''] = /^(\w+)\((.*)\)$/.exec(field) ?? []
    const texts: unknown = JSON.parse(
      readFileSync(join(root, 'providers/linear.parameters.json'), 'utf8'),
    )
    const all = describeOperations({ operations: rowsOf('linear') }, texts)
    const ours = all.get(name)?.parameters.map((one) => `${one.name}${one.required ? '!' : ''}`)
    const theirs = list.split(',')
    // The catalogue is of a newer schema, where some fields take more than they must.
    expect(ours).toEqual(expect.arrayContaining(theirs))
    const more = ours?.filter((one) => !theirs.includes(one)) ?? []
    expect(more.filter((one) => one.endsWith('!'))).toEqual([])
  })
})
