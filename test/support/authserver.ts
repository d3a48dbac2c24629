// A real, strict authorization server for tests: PKCE required, rotating refresh tokens, family revocation on reuse.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Provider } from 'oidc-provider'
import type { Configuration } from 'oidc-provider'

type SeenRequest = {
  readonly method: string
  /** Path without query: `/token`, `/me`, `/token/revocation`, `/auth`. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** Form fields, as the server parsed them (token, revocation); empty until it has answered. */
  readonly form: Readonly<Record<string, string>>
  /** 0 until it has answered. */
  readonly status: number
}

type Client = {
  readonly clientId: string
  /** Absent: a public client. */
  readonly clientSecret?: string
  readonly redirectUris: readonly string[]
  readonly auth?: 'client_secret_post' | 'client_secret_basic'
}

type AuthServerOptions = Client & {
  /** login name → further claims (email, groups, tenant...); `sub` is the login name. All come with scope `openid`. */
  readonly accounts: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  /** Further scopes beside `openid` and `offline_access`. */
  readonly scopes?: readonly string[]
  /** Lifetimes in seconds. */
  readonly ttl?: {
    readonly AccessToken?: number
    readonly RefreshToken?: number
    readonly Interaction?: number
    readonly Grant?: number
  }
  readonly clients?: readonly Client[]
  /** How whoever signs in from now on has done it; absent: nothing is told. */
  readonly signedIn?: () => { readonly acr: string; readonly amr: string[] }
  /** Default: a free one. */
  readonly port?: number
  readonly config?: Partial<Configuration>
}

export type AuthServer = {
  readonly issuer: string
  readonly endpoints: {
    readonly authorize: string
    readonly token: string
    readonly userinfo: string
    readonly revoke: string
    readonly jwks: string
  }
  /** Everything that came, in order; `/token` requests are the ones to count. */
  readonly requests: SeenRequest[]
  /** Runs before the server works on a request; a returned promise delays it. */
  before: (request: SeenRequest) => void | Promise<void>
  /** Runs after the server did its work: `lose` cuts the connection, so that the answer never arrives. */
  after: (request: SeenRequest) => 'lose' | void | Promise<'lose' | void>
  /** Signs in as `login`, says yes to everything, and returns the callback URL (not opened). */
  readonly consent: (url: string | URL, login: string) => Promise<string>
  /** Signs in and says no; returns the callback URL with `error=access_denied`. */
  readonly deny: (url: string | URL, login: string) => Promise<string>
  /** Does it demand PKCE, as it does from the start? */
  readonly pkce: (demanded: boolean) => void
  readonly close: () => Promise<void>
}

const metadata = (client: Client) => ({
  client_id: client.clientId,
  ...(client.clientSecret === undefined ? {} : { client_secret: client.clientSecret }),
  redirect_uris: [...client.redirectUris],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code' as const],
  token_endpoint_auth_method:
    client.clientSecret === undefined ? ('none' as const) : (client.auth ?? 'client_secret_post'),
})

const configuration = (options: AuthServerOptions): Configuration => ({
  clients: [options, ...(options.clients ?? [])].map(metadata),
  rotateRefreshToken: true,
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  clockTolerance: 0,
  conformIdTokenClaims: false,
  scopes: ['openid', 'offline_access', ...(options.scopes ?? [])],
  claims: { openid: ['sub', ...new Set(Object.values(options.accounts).flatMap(Object.keys))] },
  cookies: { keys: ['test'] },
  ttl: {
    AccessToken: 3600,
    RefreshToken: 86_400,
    Interaction: 600,
    Session: 600,
    Grant: 86_400,
    IdToken: 600,
    ...options.ttl,
  },
  features: {
    devInteractions: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
  },
  findAccount: (_ctx, id) => {
    const claims = Object.hasOwn(options.accounts, id) ? options.accounts[id] : undefined
    return claims && { accountId: id, claims: () => ({ ...claims, sub: id }) }
  },
  ...options.config,
})

/** Starts the server on 127.0.0.1. */
export const startAuthServer = async (options: AuthServerOptions): Promise<AuthServer> => {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, '127.0.0.1', resolve)
  })
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  let pkce = true
  const provider = new Provider(issuer, {
    ...configuration(options),
    pkce: { required: () => pkce },
  })
  const { signedIn } = options
  if (signedIn !== undefined) {
    const finished = provider.interactionFinished.bind(provider)
    provider.interactionFinished = (req, res, result, more) => {
      const login = 'login' in result ? result.login : undefined
      const said = login === undefined ? result : { ...result, login: { ...login, ...signedIn() } }
      return finished(req, res, said, more)
    }
  }
  const handle: AuthServer = {
    issuer,
    endpoints: {
      authorize: `${issuer}/auth`,
      token: `${issuer}/token`,
      userinfo: `${issuer}/me`,
      revoke: `${issuer}/token/revocation`,
      jwks: `${issuer}/jwks`,
    },
    requests: [],
    before: () => {},
    after: () => {},
    consent: (url, login) => walk(url, login, true),
    deny: (url, login) => walk(url, login, false),
    pkce: (demanded) => void (pkce = demanded),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  provider.use(async (ctx, next) => {
    const seen = {
      method: ctx.method,
      path: ctx.path,
      headers: ctx.headers,
      form: {} as Record<string, string>,
      status: 0,
    }
    handle.requests.push(seen)
    await handle.before(seen)
    await next()
    Object.assign(seen.form, ctx.oidc?.body)
    seen.status = ctx.status
    if ((await handle.after(seen)) !== 'lose') return
    ctx.respond = false
    ctx.req.socket.destroy()
  })
  const callback = provider.callback()
  server.on('request', (request, response) => void callback(request, response))
  return handle
}

/** A browser in twenty lines: follows redirects and forms of the development pages until it would leave the server. */
const walk = async (start: string | URL, login: string, yes: boolean): Promise<string> => {
  const origin = new URL(start).origin
  const cookies = new Map<string, string>()
  const open = async (url: URL, form?: Record<string, string>): Promise<Response> => {
    const response = await fetch(url, {
      redirect: 'manual',
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
      ...(form ? { method: 'POST', body: new URLSearchParams(form) } : {}),
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      cookies.set(name, value)
    }
    return response
  }
  let url = new URL(start)
  let response = await open(url)
  for (let hops = 0; hops < 20; hops += 1) {
    const location = response.headers.get('location')
    if (location !== null) {
      url = new URL(location, url)
      if (url.origin !== origin) return url.href
      response = await open(url)
      continue
    }
    const page = await response.text()
    const prompt = /name="prompt" value="(\w+)"/.exec(page)?.[1]
    if (prompt === undefined)
      throw new Error(`no form at ${url.href}: ${response.status} ${page.slice(0, 500)}`)
    response =
      prompt === 'consent' && !yes
        ? await open(new URL(`${url.pathname}/abort`, url))
        : await open(url, { prompt, login, password: 'x' })
  }
  throw new Error('the authorization server redirects without end')
}
