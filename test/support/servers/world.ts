// A deputy (or several on one store) between programs that call and an API that asks a real authorization server about
// each token. Whatever passes to the token endpoint is seen.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createBrowser } from '../browser.ts'
import { startChild, TABLES } from '../deputy.ts'
import type { Child, Fields } from '../deputy.ts'
import { lines, sendRaw } from '../raw.ts'
import { basic, post } from './server.ts'
import type { AuthorizationServer, Kind, Posted } from './server.ts'
import { freePort } from '../ports.ts'

/** Life of the access tokens of `short`, in seconds: a machine that is busy must not eat it up. */
const TTL = 8
/** Those of `long` live longer, but their definition says this and reads nothing from the answer. */
export const EARLY = 4
/** Spring Authorization Server takes no two clients with one secret. */
const secretOf = (client: string): string => `canary-client-secret-of-${client}-000000000000`
const CONNECTIONS = { short: 'api.acme.test', long: 'api.stream.test' } as const
type ConnectionName = keyof typeof CONNECTIONS

const listen = async (listener: RequestListener) => {
  const server = createServer({ keepAliveTimeout: 30_000 }, listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: (): void => {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** What went through to the token endpoint, and what was answered. */
export type Passed = {
  readonly connection: ConnectionName
  /** Who signed in, as the server introspects the new token; of a refusal: whose refresh token it was. */
  readonly who: string
  readonly sent: URLSearchParams
  readonly status: number
  readonly answer: Fields
  /** When the request came, and when the answer did, ms. */
  readonly asked: number
  readonly at: number
  /** When it had been handed on, ms; null: not yet, or whoever asked was gone. */
  handed: number | null
}

/** What the server says, ms: a slow one has less left to say than TTL. */
export const lifeOf = ({ answer }: Passed): number => Number(answer['expires_in']) * 1_000

const startGlass = async (server: AuthorizationServer, slowMs: () => number) => {
  const passed: Passed[] = []
  const owners = new Map<string, string>()
  const pass = async (
    connection: ConnectionName,
    sent: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<Passed> => {
    const asked = Date.now()
    await sleep(slowMs())
    const form = new URLSearchParams(sent)
    const { status, answer } = await post(server.token, form, headers)
    const at = Date.now()
    // The token of a family that was killed meanwhile is nobody's.
    const owner = owners.get(form.get('refresh_token') ?? '')
    const who =
      status === 200
        ? ((await server.introspect(String(answer['access_token']))).who ?? owner)
        : owner
    if (status === 200) owners.set(String(answer['refresh_token']), who ?? '')
    return { connection, who: who ?? '', sent: form, status, answer, asked, at, handed: null }
  }
  const { url, close } = await listen((req, res) => {
    const parts: Buffer[] = []
    req.on('data', (part: Buffer) => parts.push(part))
    req.once('end', () => {
      const { authorization = '', 'content-type': type = '' } = req.headers
      const headers = { authorization, 'content-type': type }
      const connection = req.url === '/long' ? 'long' : 'short'
      pass(connection, Buffer.concat(parts).toString(), headers).then(
        (one) => {
          passed.push(one)
          res.once('finish', () => void (one.handed = Date.now()))
          res
            .writeHead(one.status, { 'content-type': 'application/json' })
            .end(JSON.stringify(one.answer))
        },
        () => res.destroy(),
      )
    })
  })
  return { url, close, passed }
}

type Visited = {
  /** Whom the caller said the call is for. */
  readonly for: string
  /** Whose token it was; null: it is not active. */
  readonly who: string | null
  readonly token: string
  readonly held: boolean
}
const startApi = async (server: AuthorizationServer) => {
  const visits: Visited[] = []
  /** Calls with `held` wait here before their token is looked at. */
  const gate = { opens: Promise.resolve(), waiting: 0 }
  const { url, close } = await listen((req, res) => {
    const answer = async (): Promise<void> => {
      const { searchParams } = new URL(req.url ?? '', 'http://api')
      const held = searchParams.has('held')
      if (held) {
        gate.waiting += 1
        await gate.opens
      }
      const token = (req.headers.authorization ?? '').replace(/^Bearer /, '')
      const { active, who: name } = await server.introspect(token)
      const who = active ? name : null
      visits.push({ for: searchParams.get('for') ?? '', who, token, held })
      res
        .writeHead(active ? 200 : 401, { 'content-type': 'application/json' })
        .end(JSON.stringify({ who }))
    }
    answer().catch(() => res.destroy())
  })
  return { url, close, visits, gate }
}

export type World = Awaited<ReturnType<typeof startWorld>>
export type Answered = {
  readonly status: number
  readonly code: string | null
  readonly who: unknown
  readonly url: string
}

/**
 * @param people who has an account at the server and may call
 * @param early life of the access tokens of `long` by their definition, seconds
 */
export const startWorld = async (
  kind: Kind,
  people: readonly string[] = ['alice', 'bob'],
  early = EARLY,
) => {
  // The servers must know the addresses before a deputy has them.
  const pages = [await freePort(), await freePort()] as const
  const client = (id: ConnectionName, accessTtl: number) => ({
    id,
    secret: secretOf(id),
    accessTtl,
    redirectUris: pages.map((port) => `http://localhost:${port}/callback/${id}`),
  })
  const server = await kind.start({
    accounts: people,
    clients: [client('short', TTL), client('long', 600)],
  })
  let slow = 0
  const glass = await startGlass(server, () => slow)
  const api = await startApi(server)
  const provider = (id: string, connection: ConnectionName, more: Fields): Fields => ({
    ...server.definition,
    id,
    token: `${glass.url}/${connection}`,
    hosts: { [CONNECTIONS[connection]]: api.url },
    operations: [{ id: `${id}.me.read`, method: 'GET', path: '/me', access: 'read', scopes: [[]] }],
    ...more,
  })
  const connection = (name: string, id: string): Fields => ({
    provider: id,
    client_id: name,
    client_secret: secretOf(name),
    scopes: ['openid'],
  })
  const children: Child[] = []
  const start = async (config: Fields): Promise<Child> => {
    const child = await startChild({
      upstream: api.url,
      tables: TABLES,
      people: people.map((id) => ({ id, groups: ['staff'] })),
      config: {
        providers: [
          provider('acme', 'short', {}),
          provider('stream', 'long', {
            answer: { expires_in: ['/not_told'] },
            access_token_ttl: early,
          }),
        ],
        connections: { short: connection('short', 'acme'), long: connection('long', 'stream') },
        ...config,
      },
    })
    children.push(child)
    return child
  }
  const listeners = (connect: string): Fields => ({
    agent: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    connect,
  })

  /** @param more `&held`: waits at the API's gate */
  const call = async (
    deputy: Child,
    who: string,
    name: ConnectionName = 'short',
    more = '',
  ): Promise<Answered> => {
    const answer = await sendRaw(
      deputy.agent,
      lines(
        `GET /${CONNECTIONS[name]}/me?for=${who}${more} HTTP/1.1`,
        `Host: ${new URL(deputy.agent).host}`,
        `Deputy-User: ${who}`,
      ),
      { ms: 30_000 },
    )
    return {
      status: answer.status,
      code: answer.headers.get('deputy-answer')?.[0] ?? null,
      who: answer.json['who'],
      url: String(answer.json['url']),
    }
  }
  /** Follows the link of an answer: deputy's page, then the server's, until one asks nothing more. */
  const consent = async (
    deputy: Child,
    who: string,
    name: ConnectionName = 'short',
  ): Promise<void> => {
    const browser = createBrowser()
    const { url, code } = await call(deputy, who, name)
    if (!code?.endsWith('_required')) throw new Error(`no link for ${who}: ${code}`)
    let page = await browser.open(url)
    for (let clicks = 0; clicks < 10; clicks += 1) {
      if (!page.url.startsWith(new URL(url).origin))
        page = await browser.submit(page, server.fill(page, who))
      else if (page.text.includes('name="code"'))
        page = await browser.submit(page, { code: codeOf(deputy) })
      else if (page.text.includes('name="csrf"'))
        page = await browser.submit(page, { answer: 'yes' })
      else if (page.status === 200) return
      else break
    }
    throw new Error(`${page.status} ${page.url}: ${page.text}`)
  }
  const codeOf = (deputy: Child): string =>
    readFileSync(join(deputy.dir, '.deputy-code'), 'utf8').trim()
  /** At their own page. */
  const disconnect = async (deputy: Child, who: string, name: ConnectionName): Promise<void> => {
    const browser = createBrowser()
    const asked = await browser.open(`${deputy.connect}/connections`)
    const page = await browser.submit(asked, { code: codeOf(deputy), user: who })
    const text = page.text.split('<section>').find((part) => part.includes(`Connection ${name}`))
    // It asks whether the person is sure.
    await browser.submit(await browser.submit({ ...page, text: text ?? '' }))
  }
  const chain = (who: string, name: ConnectionName = 'short'): readonly Passed[] =>
    glass.passed.filter((one) => one.who === who && one.connection === name)

  return {
    server,
    api,
    call,
    consent,
    disconnect,
    chain,
    /** Every token request takes that much longer. */
    slow: (ms: number): void => void (slow = ms),
    /** One deputy on SQLite. */
    single: (): Promise<Child> => start({ listeners: listeners(`127.0.0.1:${pages[0]}`) }),
    /** Two on one PostgreSQL; the first has the pages. */
    pair: async (store: string): Promise<readonly [Child, Child]> => {
      const url = `http://localhost:${pages[1]}`
      const connect = { sign_in: 'local', url }
      const first = await start({
        listeners: listeners(`127.0.0.1:${pages[1]}`),
        connect,
        vault: { store, keys: './keys.json' },
      })
      const second = await start({
        listeners: listeners('off'),
        connect,
        vault: { store, keys: join(first.dir, 'keys.json') },
      })
      return [first, second]
    },
    /** When the newest access token ends by what the server said, ms. */
    endOf: (who: string): number => {
      const last = chain(who).findLast(({ status }) => status === 200)
      return last === undefined ? 0 : last.at + lifeOf(last)
    },
    /** Spends a refresh token as somebody who has the client's secret would, past deputy and its glass. */
    spend: (refresh_token: string): Promise<Posted> =>
      post(
        server.token,
        new URLSearchParams({ grant_type: 'refresh_token', refresh_token }),
        basic('short', secretOf('short')),
      ),
    /** Ends a grant at the server, past deputy. */
    withdraw: async (refreshToken: string): Promise<void> => {
      if (server.withdraw !== undefined) return server.withdraw(refreshToken)
      const form = new URLSearchParams({ token: refreshToken, token_type_hint: 'refresh_token' })
      const client = basic('short', secretOf('short'))
      const { status } = await post(String(server.definition['revoke']), form, client)
      if (status !== 200) throw new Error(`revocation: ${status}`)
    },
    close: async (): Promise<void> => {
      for (const child of children) await child.close()
      glass.close()
      api.close()
      await server.close()
    },
  }
}
