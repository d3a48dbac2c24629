// A real Gitea on loopback: fresh data, people alice and bob, their consent at its own pages.
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createBrowser, type Browser, type Visit } from './browser.ts'
import { freePort } from './ports.ts'

/** Binary, templates and locales; `.ci/run` makes it. */
const FOLDER = process.env['DEPUTY_GITEA'] ?? join(homedir(), '.cache/deputy-ci/gitea-1.26.4')
const BINARY = join(FOLDER, 'gitea')
const run = promisify(execFile)

/** null, or what is missing, said aloud; under DEPUTY_NO_SKIP=1 it throws. */
export const missingGitea = (): string | null => {
  if (existsSync(BINARY)) return null
  const missing = `${BINARY} is missing: .ci/run builds it`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
  process.stderr.write(`SKIPPED: ${missing}\n`)
  return missing
}

const passwordOf = (name: string): string => `${name}-Pw-1`

const configuration = (folder: string, port: number, accessTtl: number): string => `
RUN_MODE = prod
RUN_USER = ${userInfo().username}
WORK_PATH = ${folder}
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = ${port}
ROOT_URL = http://127.0.0.1:${port}/
STATIC_ROOT_PATH = ${FOLDER}
OFFLINE_MODE = true
DISABLE_SSH = true
[database]
DB_TYPE = sqlite3
PATH = ${folder}/gitea.db
SQLITE_JOURNAL_MODE = WAL
[security]
INSTALL_LOCK = true
SECRET_KEY = of-a-test-0123456789
INTERNAL_TOKEN = of-a-test-0123456789
[oauth2]
ACCESS_TOKEN_EXPIRATION_TIME = ${accessTtl}
INVALIDATE_REFRESH_TOKENS = true
JWT_SIGNING_ALGORITHM = ES256
[service]
DISABLE_REGISTRATION = true
[log]
MODE = console
LEVEL = Info
logger.router.MODE = console
[session]
PROVIDER = memory
[cron]
ENABLED = false
[indexer]
ISSUE_INDEXER_TYPE = db
[picture]
DISABLE_GRAVATAR = true
[actions]
ENABLED = false
[packages]
ENABLED = false
`

type Answer = Readonly<Record<string, string>>
export type App = { readonly id: string; readonly secret: string; readonly redirectUri: string }
export type Gitea = Awaited<ReturnType<typeof startGitea>>

/** @param accessTtl seconds that an access token lives */
export const startGitea = async (accessTtl: number) => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-gitea-'))
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const config = join(folder, 'app.ini')
  mkdirSync(join(folder, 'log'))
  writeFileSync(config, configuration(folder, port, accessTtl), { mode: 0o600 })
  const env = {
    PATH: process.env['PATH'],
    HOME: folder,
    USER: userInfo().username,
    GITEA_WORK_DIR: folder,
    GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT: 'true',
  }
  const child = spawn(BINARY, ['--config', config, 'web'], { env })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => void (said += chunk.toString()))
  // Whatever ends this process, Gitea does not outlive it.
  const last = (): void => void child.kill('SIGKILL')
  process.once('exit', last)
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const close = async (): Promise<void> => {
    process.removeListener('exit', last)
    last()
    await ended
    rmSync(folder, { recursive: true, force: true })
  }

  /** A call of the API as one of its people, straight to Gitea. */
  const api = async (person: string, method: string, path: string, body?: object) => {
    const basic = Buffer.from(`${person}:${passwordOf(person)}`).toString('base64')
    const answer = await fetch(`${origin}/api/v1${path}`, {
      method,
      headers: { authorization: `Basic ${basic}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
    return (text === '' ? {} : JSON.parse(text)) as Readonly<Record<string, unknown>>
  }

  try {
    for (const until = Date.now() + 60_000; ;) {
      const up = await fetch(`${origin}/api/v1/version`).catch(() => null)
      if (up?.ok === true) break
      if (child.exitCode !== null || Date.now() > until) throw new Error(`Gitea: ${said}`)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    const flags = ['--username', 'boss', '--password', passwordOf('boss'), '--email', 'boss@x.test']
    await run(
      BINARY,
      ['--config', config, 'admin', 'user', 'create', '--admin', ...flags].concat(
        '--must-change-password=false',
      ),
      { env },
    )
    for (const name of ['alice', 'bob'])
      await api('boss', 'POST', '/admin/users', {
        username: name,
        email: `${name}@x.test`,
        password: passwordOf(name),
        must_change_password: false,
      })
  } catch (error) {
    await close()
    throw error
  }

  /** Signs in and says yes, as long as the page is one of Gitea; returns the first that is not. */
  const consent = async (
    browser: Browser,
    start: Visit,
    person: string,
    until?: (url: URL) => boolean,
  ): Promise<Visit> => {
    let page = start
    for (let pages = 0; pages < 5 && page.url.startsWith(`${origin}/`); pages += 1) {
      const fields = page.url.includes('/user/login')
        ? { user_name: person, password: passwordOf(person) }
        : { granted: 'true' }
      page = await browser.submit(page, fields, until === undefined ? {} : { until })
    }
    return page
  }
  /** A question to an OAuth endpoint as the application. */
  const oauth = async (client: App, path: string, fields: Answer) => {
    const basic = Buffer.from(`${client.id}:${client.secret}`).toString('base64')
    const answer = await fetch(`${origin}/login/oauth/${path}`, {
      method: 'POST',
      headers: { authorization: `Basic ${basic}` },
      body: new URLSearchParams(fields),
    })
    return { status: answer.status, body: (await answer.json()) as Answer }
  }

  return {
    origin,
    api,
    said: (): string => said,
    /** Token requests that came so far, for codes and for refreshes. */
    tokenRequests: (): number =>
      said.match(/completed POST \/login\/oauth\/access_token/g)?.length ?? 0,
    /** Registers an OAuth application. */
    app: async (redirectUri: string): Promise<App> => {
      const made = await api('boss', 'POST', '/user/applications/oauth2', {
        name: 'deputy',
        redirect_uris: [redirectUri],
        confidential_client: true,
      })
      return { id: String(made['client_id']), secret: String(made['client_secret']), redirectUri }
    },
    /** A token of one's own making, as an agent might have found it. */
    personalToken: async (person: string): Promise<string> => {
      const scopes = ['write:user', 'write:repository', 'write:issue']
      const made = await api(person, 'POST', `/users/${person}/tokens`, { name: 'found', scopes })
      return String(made['sha1'])
    },
    consent,
    oauth,
    /** What a person grants an application without deputy: a consent at the pages, a code, its tokens. */
    grant: async (client: App, person: string, scope: string): Promise<Answer> => {
      const browser = createBrowser()
      const ask = new URL(`${origin}/login/oauth/authorize`)
      ask.search = String(
        new URLSearchParams({
          client_id: client.id,
          redirect_uri: client.redirectUri,
          response_type: 'code',
          state: 's',
          ...(scope === '' ? {} : { scope }),
        }),
      )
      const back = (url: URL): boolean => url.href.startsWith(client.redirectUri)
      const page = await consent(browser, await browser.open(ask, back), person, back)
      const code = new URL(page.url).searchParams.get('code') ?? ''
      const redirect_uri = client.redirectUri
      const fields = { grant_type: 'authorization_code', code, redirect_uri }
      return (await oauth(client, 'access_token', fields)).body
    },
    close,
  }
}
