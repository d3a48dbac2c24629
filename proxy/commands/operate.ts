// Commands that talk to the operators' API: over HTTP with a bearer from a file or the environment, never an argument, or by the socket of a deputy on this machine.
import { existsSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { isLoopback } from '../config/address.ts'
import { answers } from '../net/control.ts'
import { visible } from '../observe/log.ts'
import { messageOf } from '../problem.ts'

export type Answer = {
  readonly status: number
  readonly headers: { readonly get: (name: string) => string | null }
  readonly body: unknown
}
/** The operators' API, wherever it is. */
export type Reach = {
  /** @param path with its query */
  readonly ask: (method: string, path: string, body?: object) => Promise<Answer>
  readonly close: () => Promise<void>
}

export const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined

/** Any answer of ours: JSON or nothing. */
export const readAnswer = async (response: {
  readonly status: number
  readonly headers: Answer['headers']
  readonly text: () => Promise<string>
}): Promise<Answer> => {
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    body: text === '' ? null : (JSON.parse(text) as unknown),
  }
}
export const written = (method: string, body: object | undefined) => ({
  method,
  ...(body === undefined
    ? {}
    : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
})

/** null: nobody serves there. Throws an Error when the socket is another user's. */
export const overSocket = async (socketPath: string): Promise<Reach | null> =>
  (await answers(socketPath))
    ? {
        ask: (method, path, body) =>
          new Promise((resolve, reject) => {
            const { headers = {}, body: sent } = written(method, body)
            const asked = request({ socketPath, path, method, headers }, (answer) => {
              const got = answer.headers
              const get = (name: string): string | null => got[name]?.toString() ?? null
              const { statusCode: status = 0 } = answer
              readAnswer({ status, headers: { get }, text: () => text(answer) }).then(
                resolve,
                reject,
              )
            })
            asked.once('error', reject)
            asked.end(sent)
          }),
        close: () => Promise.resolve(),
      }
    : null

/** The options by which each of these commands says whom it asks. */
export type Asked = { url?: string; tokenFile?: string; config?: string }
export type Operate = {
  /** Where the operators' API is; absent: this machine's deputy, unless a bearer says otherwise. */
  readonly url?: string | undefined
  /** The API without a bearer, for whoever may open the socket or the vault; null: no configuration. */
  readonly local: () => Promise<Reach | null>
  readonly tokenFile?: string | undefined
  /** DEPUTY_OPERATOR_TOKEN. */
  readonly token: string | undefined
  /** Where `deputy login` keeps a person's sign-in. */
  readonly loginFile: string
  /** The deputy of this configuration is meant, whoever is signed in. */
  readonly config?: string | undefined
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}
type Params = Readonly<Record<string, string | undefined>>

const DEFAULT = 'http://127.0.0.1:7412'

/** Who asks: the bearer of a machine, or a person who signed in. null: neither. */
const asker = async (options: Operate): Promise<{ bearer: string; url: string } | null> => {
  const { tokenFile, token = '', url, loginFile, config, complain } = options
  if (tokenFile !== undefined)
    return { bearer: readFileSync(tokenFile, 'utf8').trim(), url: url ?? DEFAULT }
  if (token !== '') return { bearer: token, url: url ?? DEFAULT }
  // Most have no sign-in, and need nothing of what reads one.
  if ((config !== undefined && url === undefined) || !existsSync(loginFile)) return null
  const { bearerOf, savedLogin } = await import('./login.ts')
  const login = savedLogin(loginFile)
  if (login === null) return null
  if (url !== undefined && new URL(url).origin !== login.url)
    throw new Error(
      `you are signed in at ${login.url}, whose token is for no other: sign in by \`deputy login --url ${url}\`, or use a bearer`,
    )
  const bearer = await bearerOf(loginFile, login)
  complain(visible(`as ${login.name} (${login.issuer})`))
  return { bearer, url: login.url }
}
export const textOf = (value: unknown, name: string): string => {
  const found = member(value, name)
  return typeof found === 'string' || typeof found === 'number' ? String(found) : ''
}

/** What is foreign cannot move the cursor or look like another column. */
export const line = (fields: readonly string[]): string => fields.map(visible).join('\t')

/** The operators' API over HTTP, as the operator. */
const remote = ({ bearer, url: origin }: { bearer: string; url: string }): Reach => ({
  ask: async (method, path, body) => {
    const url = new URL(path, origin)
    if (url.protocol !== 'https:' && !isLoopback(url.hostname.replace(/^\[|\]$/g, '')))
      throw new Error(`${url.origin}: the token would travel in the clear: use https`)
    const sent = written(method, body)
    const response = await fetch(url, {
      ...sent,
      redirect: 'error',
      headers: { ...sent.headers, authorization: `Bearer ${bearer}` },
    }).catch((error: unknown) => {
      throw new Error(`${url.origin} cannot be reached: is \`deputy serve\` running there?`, {
        cause: error,
      })
    })
    return readAnswer(response)
  },
  close: () => Promise.resolve(),
})

export type Ask = (method: string, path: string, query?: Params, body?: object) => Promise<Answer>

/** Prints what deputy did, and 1 instead of a stack when it refused. */
export const carried = async (
  options: Operate,
  work: (ask: Ask) => Promise<number>,
): Promise<number> => {
  let reach: Reach | null = null
  try {
    const who = await asker(options)
    if (who !== null) reach = remote(who)
    else if (options.url === undefined) reach = await options.local()
    if (reach === null)
      throw new Error(
        'no operator: sign in by `deputy login`, name a file with --token-file, or set DEPUTY_OPERATOR_TOKEN',
      )
    const { ask } = reach
    return await work(async (method, path, query = {}, body) => {
      const params = Object.entries(query).filter(([, value]) => value !== undefined)
      const search = new URLSearchParams(params as [string, string][]).toString()
      const answer = await ask(method, search === '' ? path : `${path}?${search}`, body)
      if (answer.status < 200 || answer.status > 299)
        throw new Error(`${answer.status}: ${textOf(answer.body, 'detail')}`)
      return answer
    })
  } catch (error) {
    options.complain(visible(messageOf(error)))
    return 1
  } finally {
    await reach?.close()
  }
}
const listed = (value: unknown, name: string): readonly unknown[] => {
  const list = member(value, name)
  return Array.isArray(list) ? list : []
}
/** One line a result; 1 when a provider may still accept a token. */
export const results = (options: Pick<Operate, 'print' | 'complain'>, body: unknown): number => {
  const all = listed(body, 'results')
  for (const each of all)
    options.print(
      line(['user_id', 'connection_id', 'account', 'result'].map((name) => textOf(each, name))),
    )
  if (all.length === 0) options.complain('nothing was connected')
  return all.some((each) => member(each, 'result') === 'failed') ? 1 : 0
}

/** Prints the token, alone on standard output: it is shown this once. */
export const runsCreate = (
  options: Operate & {
    readonly user: string
    readonly agent: string
    readonly connection: readonly string[]
    readonly operation?: readonly string[] | undefined
    /** Seconds. */
    readonly expiresIn: number
    readonly tenant?: string | undefined
    readonly realm?: string | undefined
  },
): Promise<number> =>
  carried(options, async (ask) => {
    const { body } = await ask(
      'POST',
      '/v1/admin/runs',
      {},
      {
        user_id: options.user,
        agent: options.agent,
        connections: options.connection,
        operations: options.operation,
        expires_in: options.expiresIn,
        tenant: options.tenant,
        realm: options.realm,
      },
    )
    options.complain(visible(`run ${textOf(body, 'id')} until ${textOf(body, 'expires_at')}`))
    options.print(textOf(body, 'token'))
    return 0
  })

/** One line a connection: id, person, connection, account, status, agents. */
export const connectionsList = (
  options: Operate & {
    readonly user?: string | undefined
    readonly provider?: string | undefined
    readonly tenant?: string | undefined
  },
): Promise<number> =>
  carried(options, async (ask) => {
    for (let offset = 0; ;) {
      const { user, provider, tenant } = options
      const query = { user_id: user, provider_id: provider, tenant }
      const page = { ...query, limit: '100', offset: String(offset) }
      const { body } = await ask('GET', '/v1/admin/user_connections', page)
      const items = listed(body, 'items')
      for (const each of items)
        options.print(
          line([
            textOf(each, 'id'),
            `${textOf(each, 'user_id')} (${textOf(each, 'tenant')}, ${textOf(each, 'realm')})`,
            textOf(each, 'connection_id'),
            textOf(member(each, 'provider_user_info'), 'account'),
            textOf(each, 'connection_status'),
            listed(each, 'agents')
              .map((agent) => textOf(agent, 'agent'))
              .join(', '),
          ]),
        )
      offset += items.length
      if (items.length === 0 || offset >= Number(member(body, 'total_count'))) return 0
    }
  })

/** One connection by id, or all of a person, of an agent of theirs, or of a connection. */
export const connectionsRevoke = (
  options: Operate & {
    readonly id?: string | undefined
    readonly user?: string | undefined
    readonly agent?: string | undefined
    readonly connection?: string | undefined
    readonly tenant?: string | undefined
    readonly realm?: string | undefined
  },
): Promise<number> =>
  carried(options, async (ask) => {
    const { id, user, agent, connection, tenant, realm } = options
    if ([id, user, connection].filter((each) => each !== undefined).length !== 1)
      throw new Error('name one of: an id, --user, --connection')
    if (agent !== undefined && user === undefined) throw new Error('--agent needs --user')
    if (id !== undefined) {
      const { headers } = await ask(
        'DELETE',
        `/v1/admin/user_connections/${encodeURIComponent(id)}`,
      )
      const result = headers.get('deputy-revocation') ?? 'unknown'
      options.print(line([id, result]))
      return result === 'failed' ? 1 : 0
    }
    const { body } =
      user !== undefined
        ? await ask('DELETE', `/v1/admin/users/${encodeURIComponent(user)}/connections`, {
            tenant,
            realm,
            agent,
          })
        : await ask(
            'DELETE',
            `/v1/admin/connections/${encodeURIComponent(connection ?? '')}/grants`,
            { tenant },
          )
    return results(options, body)
  })

/** One line an agent: id, name, owner, where it is switched off. */
const agentLine = (each: unknown): string =>
  line([
    textOf(each, 'id'),
    textOf(each, 'name'),
    textOf(each, 'owner'),
    listed(each, 'disabled')
      .map((off) => {
        const where = textOf(off, 'tenant')
        return `off ${where === '' ? 'for everybody' : `for ${where}`} since ${textOf(off, 'at')} by ${textOf(off, 'by')}`
      })
      .join(', ') || 'on',
  ])

export const agentsList = (options: Operate): Promise<number> =>
  carried(options, async (ask) => {
    for (let offset = 0; ;) {
      const page = { limit: '100', offset: String(offset) }
      const { body } = await ask('GET', '/v1/admin/agents', page)
      const items = listed(body, 'items')
      for (const each of items) options.print(agentLine(each))
      offset += items.length
      if (items.length === 0 || offset >= Number(member(body, 'total_count'))) return 0
    }
  })

/** Prints how it stands afterwards. */
export const agentsSwitch = (
  options: Operate & {
    readonly id: string
    readonly to: 'disable' | 'enable'
    readonly tenant?: string | undefined
  },
): Promise<number> =>
  carried(options, async (ask) => {
    const { id, to, tenant } = options
    const path = `/v1/admin/agents/${encodeURIComponent(id)}/${to}`
    options.print(agentLine((await ask('POST', path, { tenant })).body))
    return 0
  })

const EVIDENCE: Readonly<Record<string, string>> = {
  unlinkable: 'the evidence stays, and no key is left that links it to the person',
  names_stay: 'the evidence stays and names the person until it is removed (audit.retention)',
}

/**
 * Revokes everything of a person and forgets them; the evidence stays, as it must.
 * @returns exit code: 1 nothing was kept of them, or a provider may still accept a token
 */
export const peopleErase = (
  options: Operate & {
    readonly user: string
    readonly tenant?: string | undefined
    readonly realm?: string | undefined
  },
): Promise<number> =>
  carried(options, async (ask) => {
    const { user, tenant, realm } = options
    const path = `/v1/admin/users/${encodeURIComponent(user)}`
    const { body } = await ask('DELETE', path, { tenant, realm })
    const code = results(options, body)
    const erased = member(body, 'erased')
    if (member(body, 'known') === false) {
      options.complain(
        'nothing is kept of this person: they were erased before, or check the id, --realm and --tenant',
      )
      return 1
    }
    const left = Number(member(body, 'left') ?? 0)
    if (left > 0)
      options.complain(`${left} accounts were connected meanwhile: erase again to end them as well`)
    options.complain(
      `erased: ${textOf(erased, 'authorizations')} authorizations, ${textOf(erased, 'runs')} runs; ${EVIDENCE[textOf(body, 'evidence')] ?? 'the evidence stays'}`,
    )
    return left > 0 ? 1 : code
  })
