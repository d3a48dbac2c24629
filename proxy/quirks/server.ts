// One scripted provider: a real server that plays what an example documents, and misbehaves as a script tells it.
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Json } from '../model.ts'
import { complain, type ClientFacts } from './client_auth.ts'
import { render, type Example } from './example.ts'
import { fieldsOf, readAll, send, valuesOf } from './session.ts'
import type { Endpoint, Script, Seen, Session, Twist } from './session.ts'

const sha = (text: string): string => createHash('sha256').update(text).digest('base64url')

/** @param client how deputy is registered there */
export const startScripted = async (client: ClientFacts) => {
  const sessions = new Map<string, Session>()

  const failed = (
    session: Session,
    response: ServerResponse,
    word: string,
    twist: Twist = {},
  ): void => {
    const { example } = session
    send(response, twist, example.error_status, render(example.error, { error: word }) ?? {})
  }

  /** The token answer as documented, with the twist's changes. */
  const tokens = (
    session: Session,
    response: ServerResponse,
    twist: Twist,
    refreshing: boolean,
  ): void => {
    const { example } = session
    const template =
      twist.template === 'both' && example.both !== undefined
        ? example.both
        : ((refreshing ? example.refresh : undefined) ?? example.token)
    const values = { ...valuesOf(session), ...twist.values }
    const body = { ...(render(template, values) as Record<string, Json>) }
    for (const [name, value] of Object.entries(twist.members ?? {}))
      if (value === undefined) delete body[name]
      else body[name] = value
    if (typeof values.access_token === 'string') session.access.add(values.access_token)
    session.answer = body
    send(response, twist, 200, body)
  }

  const grant = (
    session: Session,
    form: URLSearchParams,
    twist: Twist,
    response: ServerResponse,
  ): void => {
    const code = session.codes.get(form.get('code') ?? '')
    session.codes.delete(form.get('code') ?? '')
    const verified =
      code?.challenge == null || sha(form.get('code_verifier') ?? '') === code.challenge
    if (code === undefined || code.redirectUri !== form.get('redirect_uri') || !verified)
      return failed(session, response, session.example.dead[0] ?? 'invalid_grant')
    session.granted = code.scopes
    session.serial += 1
    session.alive = true
    const gives = JSON.stringify(session.example.token).includes('{refresh_token}')
    session.refresh = gives ? `rt-${session.id}-${session.serial}` : null
    tokens(session, response, twist, false)
  }

  const refresh = (
    session: Session,
    form: URLSearchParams,
    twist: Twist,
    response: ServerResponse,
  ): void => {
    const { example } = session
    const sent = form.get('refresh_token') ?? ''
    const dead = example.dead[0] ?? 'invalid_grant'
    if (session.spent.has(sent) && example.reuse === 'kills') session.alive = false
    const good = sent === session.refresh || (session.spent.has(sent) && example.reuse === 'works')
    if (!session.alive || !good) return failed(session, response, dead)
    session.serial += 1
    if (example.access_dies) session.access.clear()
    if (example.rotates && !Object.hasOwn(twist.values ?? {}, 'refresh_token')) {
      session.spent.add(sent)
      session.refresh = `rt-${session.id}-${session.serial}`
    }
    tokens(session, response, twist, true)
  }

  const authorize = (session: Session, asked: URLSearchParams, response: ServerResponse): void => {
    const { example } = session
    const uri = asked.get('request_uri')
    const query = uri === null ? asked : (session.pushed.get(uri) ?? new URLSearchParams())
    const code = randomBytes(8).toString('hex')
    const scopes = (query.get(example.scope_param) ?? '')
      .split(example.scope_separator)
      .filter(Boolean)
    const wrong =
      query.get('response_type') !== 'code' || query.get('client_id') !== client.id
        ? 'the authorization request lacks response_type=code or the client_id'
        : example.pkce === 'required' && query.get('code_challenge') === null
          ? 'pkce should be true: this provider refuses requests without a challenge'
          : null
    const redirectUri = query.get('redirect_uri') ?? ''
    session.codes.set(code, { scopes, redirectUri, challenge: query.get('code_challenge') })
    const location = new URL(redirectUri)
    if (wrong === null) location.searchParams.set('code', code)
    else {
      session.complaints.push(wrong)
      location.searchParams.set('error', 'invalid_request')
    }
    location.searchParams.set('state', query.get('state') ?? '')
    if (session.issuer !== null) location.searchParams.set('iss', session.issuer)
    response.writeHead(302, { location: location.href }).end()
  }

  const revoke = (session: Session, seen: Seen, twist: Twist, response: ServerResponse): void => {
    const { example } = session
    const about = example.revoke ?? {
      status: 200,
      style: 'rfc7009' as const,
      dead: { status: 400 },
    }
    const named = seen.form.get('token') ?? seen.form.get('access_token') ?? seen.token ?? ''
    const known = session.alive && (named === session.refresh || session.access.has(named))
    if (!known) return send(response, twist, about.dead.status, about.dead.body ?? {})
    session.access.delete(named)
    if (named === session.refresh || about.style === 'bearer' || about.style === 'github')
      session.refresh = null
    send(response, twist, about.status, about.body ?? {})
  }

  /** RFC 8414 2, of a server that has everything. */
  const metadata = ({ issuer, example }: Session) => ({
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    revocation_endpoint: `${issuer}/revoke`,
    pushed_authorization_request_endpoint: `${issuer}/par`,
    authorization_response_iss_parameter_supported: true,
    token_endpoint_auth_methods_supported: example.client_auth,
    code_challenge_methods_supported: ['S256'],
    scopes_supported: ['openid', 'offline_access'],
  })

  const route = (
    session: Session,
    seen: Seen,
    { query, twist }: { readonly query: URLSearchParams; readonly twist: Twist },
    response: ServerResponse,
  ): void => {
    const { example } = session
    const [header = '', value = ''] = (example.present ?? '').split(/: (.*)/)
    const shown =
      example.present === undefined ||
      seen.headers[header.toLowerCase()] === value.replace('{token}', seen.token ?? '')
    const holds = seen.token !== null && session.access.has(seen.token)
    if (holds && !shown && seen.endpoint === 'api') {
      session.complaints.push(`present should be ${example.present}`)
      return send(response, twist, 401, {})
    }
    if (twist.error !== undefined) return failed(session, response, twist.error, twist)
    if (twist.status !== undefined && (twist.status < 200 || twist.status > 204))
      return send(response, twist, twist.status, {})
    // Nothing was done where the answer is not the one that says so.
    if ((twist.size ?? 'large') !== 'large' || twist.body !== undefined)
      return send(response, twist, 200, {})
    switch (seen.endpoint) {
      case 'metadata':
        return send(response, twist, 200, { ...metadata(session), ...twist.members })
      case 'authorize':
        return authorize(session, query, response)
      case 'par': {
        const uri = `urn:ietf:params:oauth:request_uri:${randomBytes(8).toString('hex')}`
        session.pushed.set(uri, seen.form)
        return send(response, twist, 201, { request_uri: uri, expires_in: 60 })
      }
      case 'token':
        return grant(session, seen.form, twist, response)
      case 'refresh':
        return refresh(session, seen.form, twist, response)
      case 'userinfo':
      case 'introspect': {
        const method = seen.endpoint === 'userinfo' ? example.userinfo_method : 'POST'
        const named =
          seen.endpoint === 'introspect' ? session.access.has(seen.form.get('token') ?? '') : false
        if (seen.method !== method || (!holds && !named)) return send(response, twist, 401, {})
        return send(
          response,
          twist,
          200,
          render(example[seen.endpoint] ?? {}, { ...valuesOf(session), ...twist.values }) ?? {},
        )
      }
      case 'revoke':
        return revoke(session, seen, twist, response)
      case 'api':
        return send(response, twist, holds ? 200 : 401, { ok: holds })
      case 'other':
        return send(response, twist, 404, {})
      default:
        return seen.endpoint satisfies never
    }
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://scripted')
    const [, name = '', place = ''] = url.pathname.split('/')
    const form = fieldsOf(await readAll(request))
    const token =
      Object.values(request.headers)
        .join(' ')
        .match(/\b[ax]t-[\w.-]+/)?.[0] ?? null
    const session =
      sessions.get(name) ?? sessions.get(token?.split('-').slice(1, -1).join('-') ?? '')
    if (session === undefined) return void response.writeHead(404).end('{}')
    const about = place === '.well-known' && url.pathname.endsWith('/openid-configuration')
    const again = place === 'token' && form.get('grant_type') === 'refresh_token'
    const known = ['authorize', 'par', 'token', 'userinfo', 'introspect', 'revoke']
    const endpoint = (
      !sessions.has(name)
        ? 'api'
        : about
          ? 'metadata'
          : again
            ? 'refresh'
            : known.includes(place)
              ? place
              : 'other'
    ) as Endpoint
    const seen = { endpoint, method: request.method ?? '', headers: request.headers, form, token }
    session.seen.push(seen)
    const script = session.script[endpoint]
    const count = session.seen.filter((one) => one.endpoint === endpoint).length - 1
    const twist =
      (script === undefined ? undefined : 'always' in script ? script.always : script[count]) ?? {}
    if (endpoint === 'token' || endpoint === 'refresh' || endpoint === 'par') {
      const wrong = await complain(session.example, client, seen)
      if (wrong !== null) {
        session.complaints.push(wrong)
        return failed(session, response, session.example.client[0] ?? 'invalid_client')
      }
    }
    route(session, seen, { query: url.searchParams, twist }, response)
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) =>
      response.destroy(error instanceof Error ? error : undefined),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const scripted = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** @param named it has an issuer, and says so */
    open: (id: string, example: Example, script: Script, named = false): Session => {
      const fresh = {
        id,
        example,
        script,
        seen: [],
        complaints: [],
        answer: null,
        account: 1,
        granted: [],
        serial: 0,
      }
      const state = {
        access: new Set<string>(),
        refresh: null,
        spent: new Set<string>(),
        alive: true,
      }
      const issuer = named ? `${scripted.origin}/${id}` : null
      const session: Session = { ...fresh, issuer, ...state, codes: new Map(), pushed: new Map() }
      sessions.set(id, session)
      return session
    },
    close: (): Promise<void> =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return scripted
}
