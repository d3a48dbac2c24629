// Commands that talk to a running deputy's operators' API. The bearer comes from a file or the environment, never as an argument.
import { readFileSync } from 'node:fs'
import { isLoopback } from '../config/address.ts'
import { visible } from '../observe/log.ts'

export type Operate = {
  /** Where the operators' API is. */
  readonly url: string
  readonly tokenFile?: string | undefined
  /** DEPUTY_OPERATOR_TOKEN. */
  readonly token: string | undefined
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}
type Params = Readonly<Record<string, string | undefined>>
type Answer = { readonly status: number; readonly headers: Headers; readonly body: unknown }

const bearerOf = ({ tokenFile, token }: Operate): string => {
  if (tokenFile === undefined) {
    if (token === undefined || token === '')
      throw new Error(
        'no operator token: name a file with --token-file, or set DEPUTY_OPERATOR_TOKEN',
      )
    return token
  }
  return readFileSync(tokenFile, 'utf8').trim()
}
const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined
const textOf = (value: unknown, name: string): string => {
  const found = member(value, name)
  return typeof found === 'string' || typeof found === 'number' ? String(found) : ''
}

/** What is foreign cannot move the cursor or look like another column. */
const line = (fields: readonly string[]): string => fields.map(visible).join('\t')

/** Throws an Error with what deputy said, or why it cannot be asked. */
const ask = async (
  options: Operate,
  method: string,
  path: string,
  query: Params = {},
  body?: object,
): Promise<Answer> => {
  const url = new URL(path, options.url)
  if (url.protocol !== 'https:' && !isLoopback(url.hostname.replace(/^\[|\]$/g, '')))
    throw new Error(`${url.origin}: the token would travel in the clear: use https`)
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) url.searchParams.set(name, value)
  const response = await fetch(url, {
    method,
    redirect: 'error',
    headers: {
      authorization: `Bearer ${bearerOf(options)}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  }).catch((error: unknown) => {
    throw new Error(`${url.origin} cannot be reached: is \`deputy serve\` running there?`, {
      cause: error,
    })
  })
  const text = await response.text()
  const value: unknown = text === '' ? null : JSON.parse(text)
  if (!response.ok) throw new Error(`${response.status}: ${textOf(value, 'detail')}`)
  return { status: response.status, headers: response.headers, body: value }
}

/** Prints what deputy did, and 1 instead of a stack when it refused. */
const carried = async (options: Operate, work: () => Promise<number>): Promise<number> => {
  try {
    return await work()
  } catch (error) {
    options.complain(visible(error instanceof Error ? error.message : String(error)))
    return 1
  }
}
const listed = (value: unknown, name: string): readonly unknown[] => {
  const list = member(value, name)
  return Array.isArray(list) ? list : []
}
/** One line a result; 1 when a provider may still accept a token. */
const results = (options: Operate, body: unknown): number => {
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
  carried(options, async () => {
    const { body } = await ask(
      options,
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
  carried(options, async () => {
    for (let offset = 0; ;) {
      const { user, provider, tenant } = options
      const query = { user_id: user, provider_id: provider, tenant }
      const page = { ...query, limit: '100', offset: String(offset) }
      const { body } = await ask(options, 'GET', '/v1/admin/user_connections', page)
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
  carried(options, async () => {
    const { id, user, agent, connection, tenant, realm } = options
    if ([id, user, connection].filter((each) => each !== undefined).length !== 1)
      throw new Error('name one of: an id, --user, --connection')
    if (agent !== undefined && user === undefined) throw new Error('--agent needs --user')
    if (id !== undefined) {
      const { headers } = await ask(
        options,
        'DELETE',
        `/v1/admin/user_connections/${encodeURIComponent(id)}`,
      )
      const result = headers.get('deputy-revocation') ?? 'unknown'
      options.print(line([id, result]))
      return result === 'failed' ? 1 : 0
    }
    const { body } =
      user !== undefined
        ? await ask(options, 'DELETE', `/v1/admin/users/${encodeURIComponent(user)}/connections`, {
            tenant,
            realm,
            agent,
          })
        : await ask(
            options,
            'DELETE',
            `/v1/admin/connections/${encodeURIComponent(connection ?? '')}/grants`,
            { tenant },
          )
    return results(options, body)
  })

/** Revokes everything of a person and forgets them; the evidence stays, as it must. */
export const peopleErase = (
  options: Operate & {
    readonly user: string
    readonly tenant?: string | undefined
    readonly realm?: string | undefined
  },
): Promise<number> =>
  carried(options, async () => {
    const { user, tenant, realm } = options
    const path = `/v1/admin/users/${encodeURIComponent(user)}`
    const { body } = await ask(options, 'DELETE', path, { tenant, realm })
    const code = results(options, body)
    const erased = member(body, 'erased')
    options.complain(
      `erased: ${textOf(erased, 'authorizations')} authorizations, ${textOf(erased, 'runs')} runs; the evidence stays`,
    )
    return code
  })
