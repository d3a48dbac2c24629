// A real forge from end to end: consent at its own pages, tokens that live for seconds, its API by Octokit, and git.
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Octokit } from '@octokit/rest'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { startIdp, type Idp } from '../sandbox/idp.ts'
import { createBrowser } from '../support/browser.ts'
import { clickThrough } from '../support/click.ts'
import { BUNDLE, startDeputy, until, type Deputy, type Fields } from '../support/deputy.ts'
import { missingGitea, startGitea, type App, type Gitea } from '../support/gitea.ts'
import { freePort } from '../support/ports.ts'

const missing = missingGitea()
const needs = missing === null ? '' : ` (SKIPPED: ${missing})`
const ROOT = join(import.meta.dirname, '../..')
const STARTER = JSON.parse(
  readFileSync(join(ROOT, 'policies/deputy_data/data.json'), 'utf8'),
) as Readonly<Record<string, Fields>>
/** Seconds that Gitea's access tokens live. */
const LIFE = 6
const SCOPES = ['read:user', 'write:issue', 'write:repository']
const PAGES_SECRET = randomBytes(24).toString('base64url')

describe.skipIf(missing !== null)(`Gitea${needs}`, () => {
  let folder = ''
  let gitea: Gitea
  let idp: Idp
  let app: App
  let deputy: Deputy
  /** bob's own token, in the hands of the model. */
  let found = ''
  const opened: (() => Promise<void>)[] = []
  const tags = new Map<string, string>()
  const tag = (person: string): string => tags.get(person) ?? ''

  const call = (
    person: string,
    path: string,
    init: {
      readonly method?: string
      readonly headers?: Readonly<Record<string, string>>
      readonly body?: string | URLSearchParams
    } = {},
  ): Promise<Response> =>
    fetch(`${deputy.agent}/git.test${path}`, {
      ...init,
      headers: { 'deputy-user': tag(person), ...init.headers },
    })
  const who = async (answer: Promise<Response>): Promise<unknown> => {
    const { login } = (await (await answer).json()) as Fields
    return login
  }
  const octokit = (person: string): Octokit =>
    new Octokit({ baseUrl: `${deputy.agent}/git.test/api/v1`, auth: tag(person) })
  const connect = async (person: string, link: string): Promise<string> => {
    const browser = createBrowser()
    const page = await clickThrough(browser, link, { login: person, account: '' })
    return (await gitea.consent(browser, page, person)).text
  }
  /** One command of git; neither the user's own configuration nor a terminal is asked. */
  const git = (
    ...args: readonly string[]
  ): Promise<{ readonly code: number; readonly out: string }> =>
    new Promise((resolve) =>
      execFile(
        'git',
        ['-c', 'user.name=alice', '-c', 'user.email=alice@x.test', ...args],
        {
          env: {
            PATH: process.env['PATH'],
            HOME: folder,
            GIT_CONFIG_NOSYSTEM: '1',
            GIT_TERMINAL_PROMPT: '0',
            ...(args.includes('protocol.version=0')
              ? { GIT_TRACE_CURL: '1', GIT_TRACE_CURL_NO_DATA: '1' }
              : {}),
            TAG: tag('alice'),
          },
        },
        (error, out, err) =>
          resolve({
            code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1,
            out: `${out}${err}`,
          }),
      ),
    )
  const operations = (): readonly unknown[] =>
    deputy
      .evidence()
      .filter(({ event }) => event === 'decision')
      .map((line) => (line['operation'] as Fields)['id'])

  const hosted = (host: string, client: App): Fields => ({
    provider: 'gitea',
    hosts: { [host]: gitea.origin },
    client_id: client.id,
    client_secret: client.secret,
    scopes: SCOPES,
  })
  /** A deputy as `deputy init` writes one; alice and dora are its people. */
  const startLaptop = async (name: string) => {
    const port = await freePort()
    const url = `http://127.0.0.1:${port}`
    const client = await gitea.app(`${url}/callback/${name}`)
    const laptop = await startDeputy({
      upstream: gitea.origin,
      tables: {},
      people: ['alice', 'dora'].map((id) => ({ id, groups: ['engineering'] })),
      config: {
        listeners: { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: `127.0.0.1:${port}` },
        policy: { bundle: BUNDLE },
        providers: [],
        connections: { [name]: hosted(`${name}.test`, client) },
        connect: { url, sign_in: 'local' },
      },
    })
    return {
      laptop,
      client,
      /** Says yes to deputy and at Gitea; returns the last page of deputy. */
      connect: async (user: string, link: string, account: string): Promise<string> => {
        const browser = createBrowser()
        const code = readFileSync(join(laptop.dir, '.deputy-code'), 'utf8').trim()
        const page = await browser.submit(await browser.open(link), { code, user })
        const there = await browser.submit(page, { answer: 'yes' })
        return (await gitea.consent(browser, there, account)).text
      },
    }
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'deputy-gitea-test-'))
    const [idpPort, port] = [await freePort(), await freePort()]
    gitea = await startGitea(LIFE)
    opened.push(gitea.close)
    const url = `http://localhost:${port}`
    idp = await startIdp({
      port: idpPort,
      pages: { clientId: 'pages', clientSecret: PAGES_SECRET, url },
    })
    opened.push(idp.close)
    for (const person of ['alice', 'bob']) tags.set(person, await idp.assertion(person, 'triage'))
    app = await gitea.app(`${url}/callback/gitea`)
    found = await gitea.personalToken('bob')
    await gitea.api('alice', 'POST', '/user/repos', {
      name: 'app',
      private: true,
      auto_init: true,
      default_branch: 'main',
    })
    await gitea.api('alice', 'PUT', '/repos/alice/app/collaborators/bob', { permission: 'write' })
    deputy = await startDeputy({
      upstream: gitea.origin,
      tables: { grants: STARTER['grants'] ?? {} },
      people: [
        { id: 'alice', realm: 'corp', groups: ['engineering'] },
        { id: 'bob', realm: 'corp', groups: ['staff'] },
      ],
      config: {
        listeners: { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: `127.0.0.1:${port}` },
        identity: {
          trust: 'asserted',
          issuers: [
            {
              issuer: idp.issuer,
              realm: 'corp',
              audience: 'deputy',
              user: '/sub',
              agent: '/act/sub',
            },
          ],
        },
        policy: { bundle: BUNDLE, data: './tables' },
        providers: [],
        connections: { gitea: hosted('git.test', app) },
        connect: {
          url,
          sign_in: {
            issuer: idp.issuer,
            client_id: 'pages',
            client_secret: PAGES_SECRET,
            user: '/sub',
            realm: 'corp',
          },
        },
      },
    })
    opened.push(deputy.close)
  })
  afterAll(async () => {
    for (const close of opened.toReversed()) await close()
    rmSync(folder, { recursive: true, force: true })
  })

  test('one consent at Gitea’s own pages asks for all that the connection may ever ask for, because Gitea never widens it', async () => {
    const asked = await call('alice', '/api/v1/user')
    expect([asked.status, asked.headers.get('deputy-answer')]).toEqual([403, 'consent_required'])
    const link = (await asked.json()) as { readonly url: string; readonly scopes: unknown }
    expect(link.scopes).toEqual(SCOPES)
    expect(await connect('alice', link.url)).toContain('connected')
    expect(await who(call('alice', '/api/v1/user'))).toBe('alice')
    const other = (await (await call('bob', '/api/v1/user')).json()) as { readonly url: string }
    await connect('bob', other.url)
    expect(await who(call('bob', '/api/v1/user'))).toBe('bob')
    expect(await who(call('alice', '/api/v1/user'))).toBe('alice')
    const used = deputy
      .evidence()
      .map((line) => line['credential'] as Fields | undefined)
      .find((credential) => credential?.['account'] === 'alice')
    // Gitea’s token answer tells no scopes: these come from its introspection.
    expect(used?.['scopes']).toEqual([...SCOPES, 'read:misc'].toSorted())
  })

  test('Octokit opens an issue as alice, who is its author for everybody, and bob of staff may only read it', async () => {
    const issue = { owner: 'alice', repo: 'app', title: 'from the agent' }
    const made = await octokit('alice').rest.issues.create(issue)
    expect([made.status, made.data.user?.login]).toEqual([201, 'alice'])
    const seen = await gitea.api('bob', 'GET', `/repos/alice/app/issues/${made.data.number}`)
    expect(seen).toMatchObject({ title: 'from the agent', user: { login: 'alice' } })
    const read = await octokit('bob').rest.issues.get({ ...issue, issue_number: made.data.number })
    expect(read.data.title).toBe('from the agent')
    const refused = await call('bob', '/api/v1/repos/alice/app/issues', {
      method: 'POST',
      body: JSON.stringify({ title: 'by bob' }),
      headers: { 'content-type': 'application/json' },
    })
    expect([refused.status, refused.headers.get('deputy-answer')]).toEqual([403, 'policy_denied'])
  })

  test('page 2 leads back through deputy: Gitea’s absolute Link headers are rewritten, and Octokit follows them', async () => {
    for (const title of ['second', 'third'])
      await gitea.api('alice', 'POST', '/repos/alice/app/issues', { title })
    const path = '/api/v1/repos/alice/app/issues?limit=1&state=all'
    const straight = await fetch(`${gitea.origin}${path}`, {
      headers: { authorization: `token ${found}` },
    })
    expect(straight.headers.get('link')).toContain(`<${gitea.origin}/api/v1/`)
    const link = (await call('alice', path)).headers.get('link') ?? ''
    expect(link).toContain(`<${deputy.agent}/git.test/api/v1/repos/alice/app/issues?`)
    expect(link).not.toContain(gitea.origin)
    const pages: string[] = []
    const client = octokit('alice')
    const each = client.paginate.iterator('GET /repos/alice/app/issues', { limit: 1 })
    for await (const page of each) pages.push(page.url)
    expect(pages).toHaveLength(3)
    for (const page of pages) expect(page.startsWith(`${deputy.agent}/git.test/`)).toBe(true)
  })

  test('a credential of bob’s acts nowhere in alice’s calls, in none of the places where Gitea looks for one first', async () => {
    const issues = '/api/v1/repos/alice/app/issues'
    const authorOf = async (answer: Response): Promise<unknown> =>
      ((await answer.json()) as { readonly user?: { readonly login: string } }).user?.login
    const form = () => new URLSearchParams({ title: 'form', token: found })
    // What it is worth: Gitea takes the token of query and form before that of the header.
    const straight = await fetch(`${gitea.origin}${issues}`, {
      method: 'POST',
      headers: { authorization: 'Bearer of-somebody-else' },
      body: form(),
    })
    expect(await authorOf(straight)).toBe('bob')
    expect(await authorOf(await call('alice', issues, { method: 'POST', body: form() }))).toBe(
      'alice',
    )
    const basic = `Basic ${Buffer.from(`bob:${found}`).toString('base64')}`
    for (const [path, headers] of [
      ['/api/v1/user', { authorization: `token ${found}` }],
      ['/api/v1/user', { authorization: basic }],
      [`/api/v1/user?token=${found}`, {}],
      [`/api/v1/user?access_token=${found}`, {}],
      ['/api/v1/user?sudo=bob', {}],
      ['/api/v1/user', { sudo: 'bob' }],
      ['/api/v1/user', { cookie: `i_like_gitea=${found}` }],
    ] as const)
      expect(await who(call('alice', path, { headers }))).toBe('alice')
    const nothing = await fetch(`${deputy.agent}/git.test/api/v1/user`, {
      headers: { authorization: `token ${found}` },
    })
    expect([nothing.status, nothing.headers.get('deputy-answer')]).toEqual([401, 'unauthenticated'])
    const stripped = deputy.evidence().flatMap((line) => line['stripped'] ?? [])
    expect(new Set(stripped)).toEqual(
      new Set([
        'body:token',
        'header:authorization',
        'query:token',
        'query:access_token',
        'query:sudo',
        'header:sudo',
        'header:cookie',
      ]),
    )
  })

  test('git clones a private repository through deputy, by a header or by the tag as its password', async () => {
    const remote = `${deputy.agent}/git.test/alice/app.git`
    const refused = await git('clone', '-q', remote, join(folder, 'none'))
    expect(refused).toMatchObject({ code: 128, out: expect.stringContaining('could not read') })
    const header = `http.extraHeader=Deputy-User: ${tag('alice')}`
    const one = await git('-c', header, 'clone', '-q', remote, join(folder, 'one'))
    expect(one).toEqual({ code: 0, out: '' })
    expect(readFileSync(join(folder, 'one/README.md'), 'utf8')).toContain('app')
    // What a credential helper says is asked for by a 401 that offers Basic.
    const helper = 'credential.helper=!f() { echo username=x; echo "password=$TAG"; }; f'
    const two = await git('-c', helper, 'clone', '-q', remote, join(folder, 'two'))
    expect(two).toEqual({ code: 0, out: '' })
    expect(readFileSync(join(folder, 'two/.git/config'), 'utf8')).not.toContain(tag('alice'))
    expect(operations()).toEqual(expect.arrayContaining(['git.advertise', 'git.fetch']))
  })

  test('a push is refused by the starter policy, and passes once a table allows it', async () => {
    const header = `http.extraHeader=Deputy-User: ${tag('alice')}`
    const at = ['-c', header, '-C', join(folder, 'one')] as const
    // Past what is inspected and past what git sends in one piece; it does not shrink.
    const bytes = randomBytes(3 * 1024 ** 2)
    writeFileSync(join(folder, 'one/data.bin'), bytes)
    await git(...at, 'add', '.')
    await git(...at, 'commit', '-q', '-m', 'by the agent')
    const refused = await git(...at, 'push', '-q', 'origin', 'main')
    expect([refused.code, refused.out]).toEqual([1, expect.stringContaining('403')])
    const last = deputy.evidence().findLast(({ event }) => event === 'decision')
    expect(last).toMatchObject({ operation: { id: 'git.push' }, decision: { effect: 'deny' } })

    const grants = structuredClone(STARTER['grants']) as Record<string, Record<string, Fields>>
    const row = grants['gitea']?.['gitea-write'] ?? {}
    const wider = { ...row, operations: [...(row['operations'] as string[]), 'git.push'] }
    grants['gitea'] = { ...grants['gitea'], 'gitea-write': wider }
    writeFileSync(join(deputy.dir, 'tables/grants.json'), JSON.stringify(grants))
    let pushed = refused
    for (let tries = 0; pushed.code !== 0 && tries < 20; tries += 1) {
      await pause(100)
      pushed = await git(...at, 'push', '-q', 'origin', 'main')
    }
    expect([pushed.code, pushed.out]).toEqual([0, expect.stringContaining('Processed 1 ref')])
    const feed = () => gitea.api('bob', 'GET', '/repos/alice/app/activities/feeds')
    await expect
      .poll(async () => JSON.stringify(Object.values(await feed())))
      .toMatch(/"op_type":"commit_repo"/)
    const acts = Object.values(await feed()) as Fields[]
    expect(acts.find((act) => act['op_type'] === 'commit_repo')).toMatchObject({
      act_user: { login: 'alice' },
    })

    // Many refs make the question of a fetch so long that git compresses it.
    const commits = Array.from({ length: 30 }, (_, i) =>
      [`commit refs/heads/b${i}`, 'committer a <a@x.test> 0 +0000', 'data 2', i + 10, ''].join(
        '\n',
      ),
    )
    writeFileSync(join(folder, 'commits'), commits.join(''))
    const many = `alias.many=!git fast-import --quiet <${join(folder, 'commits')}`
    expect(await git(...at, '-c', many, 'many')).toEqual({ code: 0, out: '' })
    expect((await git(...at, 'push', '-q', 'origin', '--all')).code).toBe(0)
    const three = join(folder, 'three')
    const remote = `${deputy.agent}/git.test/alice/app.git`
    const old = await git('-c', header, '-c', 'protocol.version=0', 'clone', remote, three)
    expect(old.code).toBe(0)
    expect(old.out).toMatch(/Send header: content-encoding: gzip/i)
    expect(readFileSync(join(three, 'data.bin')).equals(bytes)).toBe(true)
  })

  test('a body that git’s own type does not name cannot pass unread: no form, no token in it', async () => {
    const answer = await call('alice', '/alice/app.git/git-upload-pack', {
      method: 'POST',
      body: new URLSearchParams({ token: found }),
    })
    expect([answer.status, answer.headers.get('deputy-answer')]).toEqual([
      415,
      'unsupported_media_type',
    ])
  })

  test('eight calls at the end of a token’s life make one refresh, and the grant lives on', async () => {
    await call('alice', '/api/v1/user')
    for (const round of [1, 2]) {
      await pause(LIFE * 1_000)
      const before = gitea.tokenRequests()
      const names = await Promise.all(
        Array.from({ length: 8 }, () => who(call('alice', '/api/v1/user'))),
      )
      expect(names).toEqual(Array.from({ length: 8 }, () => 'alice'))
      await until(() => gitea.tokenRequests() > before, 'Gitea logs the refresh')
      await pause(200)
      expect([round, gitea.tokenRequests() - before]).toEqual([round, 1])
    }
    expect(gitea.said()).not.toContain('was used twice')
  })

  test('Gitea does as its definition says: a spent refresh token is refused by a sentence alone, the grant survives, scopes stay', async () => {
    const own = await gitea.app('http://127.0.0.1:9/callback')
    const refresh = (token = '') =>
      gitea.oauth(own, 'access_token', { grant_type: 'refresh_token', refresh_token: token })

    const first = await gitea.grant(own, 'alice', 'read:user')
    const four = await Promise.all([1, 2, 3, 4].map(() => refresh(first['refresh_token'])))
    expect(four.map(({ status }) => status).filter((status) => status === 200)).toHaveLength(1)
    const winner = four.find(({ status }) => status === 200)?.body['refresh_token']
    // The word for a wrong client: only the sentence says what it is.
    expect(await refresh(first['refresh_token'])).toEqual({
      status: 400,
      body: { error: 'unauthorized_client', error_description: 'token was already used' },
    })
    expect((await refresh(winner)).status).toBe(200)
    expect((await refresh('x')).body['error_description']).toBe('unable to parse refresh token')

    const wider = await gitea.grant(own, 'alice', 'read:user write:repository')
    const told = await gitea.oauth(own, 'introspect', { token: wider['access_token'] ?? '' })
    expect(told.body['scope']).toBe('read:user')
  })

  test('a consent elsewhere ends alice’s refresh token: she gets a link, and bob’s calls go on', async () => {
    expect(await gitea.grant(app, 'alice', '')).toHaveProperty('access_token')
    await pause(LIFE * 1_000)
    const lost = await call('alice', '/api/v1/user')
    expect(lost.headers.get('deputy-answer')).toBe('reauthorization_required')
    expect(await who(call('bob', '/api/v1/user'))).toBe('bob')
    await connect('alice', ((await lost.json()) as { readonly url: string }).url)
    expect(await who(call('alice', '/api/v1/user'))).toBe('alice')
  })

  test('what alice disconnects is gone here, and its record says that Gitea could not be told', async () => {
    const browser = createBrowser()
    const url = `${deputy.connect.replace('127.0.0.1', 'localhost')}/connections`
    let page = await browser.open(url)
    while (page.text.includes('name="prompt"'))
      page = await browser.submit(page, { login: 'alice', password: 'x' })
    expect(page.text).toContain('triage')
    page = await browser.submit(await browser.submit(page)) // asked whether she is sure
    expect(page.text).toContain('Gitea offers no way to withdraw the access from here')
    expect(page.text).toContain('No account is connected')
    const [told] = deputy.evidence().filter(({ event }) => event === 'connection.disconnected')
    expect(told).toMatchObject({ user: { id: 'alice' }, result: 'not_supported' })
    const answer = await call('alice', '/api/v1/user')
    expect(answer.headers.get('deputy-answer')).toBe('consent_required')
    expect(await who(call('bob', '/api/v1/user'))).toBe('bob')
  })

  test('on a laptop the person stands in git’s address, and git tells them the link', async () => {
    const { laptop, connect: say } = await startLaptop('forge')
    try {
      const remote = `${laptop.agent}/~alice/forge.test/alice/app.git`
      const { out } = await git('clone', remote, join(folder, 'none'))
      const link = /remote: deputy: To go on, connect your Gitea account: (\S+)/.exec(out)?.[1]
      expect(await say('alice', link ?? out, 'alice')).toContain('connected')
      const cloned = await git('clone', '-q', remote, join(folder, 'laptop'))
      expect(cloned).toEqual({ code: 0, out: '' })
      expect(readFileSync(join(folder, 'laptop/README.md'), 'utf8')).toContain('app')
    } finally {
      await laptop.close()
    }
  })

  test('an older and narrower yes at Gitea is not taken for the wider one: deputy says which scopes are missing', async () => {
    const { laptop, client, connect: say } = await startLaptop('old')
    try {
      await gitea.grant(client, 'bob', 'read:user')
      const ask = (path: string): Promise<Response> =>
        fetch(`${laptop.agent}/~dora/old.test${path}`)
      const { url } = (await (await ask('/api/v1/user')).json()) as { readonly url: string }
      const page = await say('dora', url, 'bob')
      expect(page).toContain('write:repository')
      expect(await who(ask('/api/v1/user'))).toBe('bob')
      const refused = await ask('/api/v1/repos/alice/app')
      expect(refused.headers.get('deputy-answer')).toBe('consent_required')
    } finally {
      await laptop.close()
    }
  })

  test('every row of the catalogue is a path of Gitea’s own specification, or git over HTTP', async () => {
    const answer = await fetch(`${gitea.origin}/swagger.v1.json`)
    const { paths } = (await answer.json()) as { readonly paths: Readonly<Record<string, object>> }
    const shape = (path: string): string => path.replaceAll(/\{[^}]*\}/g, '{}')
    const known = new Set(
      Object.entries(paths).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => `${method.toUpperCase()} /api/v1${shape(path)}`),
      ),
    )
    const { providers } = compileProviders(readProviderFiles(join(ROOT, 'providers')))
    const rows = providers.get('gitea')?.operations ?? []
    const unknown = rows.map(({ method, path }) => `${method} ${shape(path)}`)
    expect(unknown.filter((row) => !known.has(row))).toEqual([
      'GET /{}/{}/info/refs',
      'POST /{}/{}/git-upload-pack',
      'POST /{}/{}/git-receive-pack',
    ])
    expect(rows.length).toBeGreaterThan(100)
  })
})
