// What becomes of a call at its provider, step by step. The agent's side is real; of the provider's only what undici tells.
import { once } from 'node:events'
import { createServer, request, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Injected, Provider } from '../../proxy/model.ts'
import { Problem } from '../../proxy/problem.ts'
import { secret } from '../../proxy/secret.ts'
import {
  createForward,
  type Forwarded,
  type Job,
  type Outcome,
} from '../../proxy/pipeline/forward.ts'
import { provider } from '../wire/fixture.ts'

const token = (text: string, generation = 1): Injected => ({
  token: secret(text),
  credential: 'c1',
  generation,
  account: 'alice',
  scopes: ['read'],
  refreshed: false,
})
const OLD = token('at-old-0123456789')
const NEW = token('at-new-0123456789', 2)

/** One try, as undici tells of it. */
const tryOf = (options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler) => {
  const did = { paused: 0, resumed: 0, aborted: null as Error | null }
  const controller = {
    rawHeaders: [] as (string | Buffer)[],
    rawTrailers: [] as (string | Buffer)[],
    pause: () => void did.paused++,
    resume: () => void did.resumed++,
    abort: (reason: Error) => void (did.aborted ??= reason),
  }
  const given = controller as unknown as Dispatcher.DispatchController
  return {
    did,
    options,
    headers: options.headers as readonly string[],
    start: () => handler.onRequestStart?.(given, {}),
    head: (status: number, ...rawHeaders: (string | Buffer)[]) => {
      controller.rawHeaders = rawHeaders
      handler.onResponseStart?.(given, status, {}, '')
    },
    upgrade: () => {
      const socket = new PassThrough()
      handler.onRequestUpgrade?.(given, 101, {}, socket)
      return socket
    },
    data: (text: string | Buffer) => handler.onResponseData?.(given, Buffer.from(text)),
    end: (...rawTrailers: string[]) => {
      controller.rawTrailers = rawTrailers
      handler.onResponseEnd?.(given, {})
    },
    fail: (error: unknown) => handler.onResponseError?.(given, error as Error),
  }
}
type Try = ReturnType<typeof tryOf>
const headerOf = ({ headers }: Try, name: string): string | undefined =>
  headers[headers.findIndex((one, i) => i % 2 === 0 && one === name) + 1 || headers.length]

/** The body that streams; null: there is none. */
const bodyOf = ({ options: { body } }: Try): Readable | null =>
  body instanceof Readable ? body : null

type Body = Job['body']
const NONE: Body = {
  state: 'none',
  bytes: null,
  declared: 0,
  contentType: null,
  json: {},
  digest: null,
  stripped: [],
}
const READ: Body = { ...NONE, state: 'parsed', bytes: Buffer.from('{"a":1}'), declared: 7 }
const STREAM: Body = { ...NONE, state: 'unparsed', declared: null }

type Given = {
  readonly job?: Partial<Job>
  readonly provider?: Partial<Provider>
  readonly scopes?: readonly string[]
  readonly method?: string
  readonly send?: string
  readonly trailers?: Readonly<Record<string, string>>
  /** More is to be sent. */
  readonly more?: boolean
  readonly dispatch?: () => void
  /** The agent is gone before the call goes on its way. */
  readonly gone?: boolean
}
const open: (() => void)[] = []
beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }))
afterEach(() => {
  vi.useRealTimers()
  for (const close of open.splice(0)) close()
})

/** A call by a real agent. `next` waits for the next try of it. */
const call = async (given: Given = {}) => {
  const tries: Try[] = []
  const waiting: ((one: Try) => void)[] = []
  const reported: unknown[][] = []
  let taken = 0
  const { forward, close } = createForward({
    dispatcher: {
      dispatch: (options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler) => {
        given.dispatch?.()
        const one = tryOf(options, handler)
        bodyOf(one)?.on('error', one.fail)
        tries.push(one)
        waiting.shift()?.(one)
        return true
      },
    },
    idleTimeout: 3_000,
    requestBody: 10,
    rewrittenBody: 1_000,
    clock: { mono: () => 0, now: () => 0 },
    upstream: (what) => void reported.push(Object.values(what)),
  })
  open.push(close)
  const { promise: ended, resolve } = Promise.withResolvers<Forwarded>()
  const ending = new AbortController()
  const server = createServer((req, res) => {
    const begin = async (): Promise<void> => {
      if (given.gone === true) {
        req.socket.destroy()
        await once(res, 'close')
      }
      const job = {
        route: {
          connection: {
            name: 'acme',
            provider: { ...provider, requiredHeaders: {}, ...given.provider },
            scopes: given.scopes ?? ['read', 'write'],
          },
          host: 'api.acme.example',
          origin: 'https://api.acme.example',
          authority: 'api.acme.example',
          port: 443,
          asset: false,
          addressing: { kind: 'path', prefix: '/api.acme.example' },
          named: null,
          target: {
            method: given.method ?? 'GET',
            path: '/a',
            segments: ['a'],
            raw: ['a'],
            query: [],
          },
        },
        body: NONE,
        injected: OLD,
        pointers: [],
        signed: null,
        sifted: { kept: [], accepted: 'gzip, zstd', stripped: [] },
        again: () => Promise.resolve(null),
        served: () => false,
        signal: ending.signal,
        ...given.job,
      } as unknown as Job
      const end = await forward(job, req, res)
      if (end.problem !== null && !res.headersSent) res.writeHead(599).end()
      resolve(end)
    }
    void begin()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const agent = request({ port, host: '127.0.0.1', method: given.method ?? 'GET' })
  agent.on('error', () => undefined)
  if (given.trailers !== undefined) {
    agent.write(given.send ?? '')
    agent.addTrailers(given.trailers)
    agent.end()
  } else if (given.more === true) agent.write(given.send ?? '')
  else agent.end(given.send)
  const answered = new Promise<IncomingMessage | null>((got) => {
    agent.once('response', got).once('close', () => got(null))
  })
  return {
    tries,
    reported,
    ended,
    agent,
    abort: (reason: Problem) => ending.abort(reason),
    next: (): Promise<Try> => {
      const one = tries[taken++]
      return one === undefined ? new Promise((got) => waiting.push(got)) : Promise.resolve(one)
    },
    answer: async () => {
      const response = await answered
      if (response === null) return 'nothing'
      let text = ''
      try {
        for await (const chunk of response) text += String(chunk)
      } catch {
        text += ' (cut)'
      }
      return `${response.statusCode} ${text}`.trim()
    },
    response: answered,
  }
}
type Call = Awaited<ReturnType<typeof call>>
/** The problem that it became, and its outcome. */
const problemOf = async ({ ended }: Call): Promise<Problem & { readonly outcome: Outcome }> => {
  const { problem, outcome } = await ended
  if (problem === null) throw new Error(`it ended as ${outcome.result}`)
  return Object.assign(problem, { outcome })
}
const outcomeOf = async ({ ended }: Call): Promise<Outcome> => {
  const { problem, outcome } = await ended
  if (problem !== null) throw problem
  return outcome
}
const coded = (code: unknown, message = 'x'): Error => Object.assign(new Error(message), { code })
const REVOKED = () => new Problem('credential_unavailable', 'revoked')

test('a call goes out with its token, its answer comes back, and the outcome says so', async () => {
  const one = await call({
    job: { body: READ, sifted: { kept: [], accepted: 'gzip', stripped: [] } },
    method: 'POST',
  })
  const sent = await one.next()
  expect(sent.options).toMatchObject({
    origin: 'https://api.acme.example',
    path: '/a',
    method: 'POST',
    body: READ.bytes,
  })
  expect(headerOf(sent, 'authorization')).toBe('Bearer at-old-0123456789')
  expect(headerOf(sent, 'content-length')).toBe('7')
  sent.start()
  sent.head(103, 'Link', '</a>')
  sent.head(200, 'Content-Type', 'text/plain')
  sent.data('it echoes at-old-0123456789')
  sent.end()
  expect(await one.answer()).toMatch(/^200 it echoes (?!at-old).+/)
  expect(await outcomeOf(one)).toMatchObject({
    result: 'ok',
    sent: true,
    status: 200,
    bytesIn: 7,
    credential: OLD,
    masked: 1,
    unrewritten: false,
    stripped: [],
    dropped: [],
  })
  expect(one.reported).toEqual([['POST', 200, 'api.acme.example', 443, '', 0]])
  expect(sent.did).toEqual({ paused: 0, resumed: 0, aborted: null })
  one.abort(REVOKED())
  expect(one.reported).toHaveLength(1)
})

describe('the request', () => {
  test('has no body, or one whose length is known, or one that streams, and never two of them', async () => {
    const options = async (job: Partial<Job>) => {
      const one = await call({ job, method: 'POST', send: 'abc' })
      const sent = await one.next()
      sent.start()
      sent.head(204)
      sent.end()
      await one.ended
      const { body } = sent.options
      return [headerOf(sent, 'content-length'), body === null ? null : Buffer.isBuffer(body)]
    }
    expect(await options({ body: NONE })).toEqual([undefined, null])
    expect(await options({ body: { ...READ, declared: null } })).toEqual(['7', true])
    expect(await options({ body: STREAM })).toEqual([undefined, false])
    expect(await options({ body: { ...STREAM, declared: 3 } })).toEqual(['3', false])
  })
  test('asks for a coding that can be searched or rewritten where that must be done', async () => {
    const asked = async (job: Partial<Job>) => {
      const sent = await (await call({ job })).next()
      return headerOf(sent, 'accept-encoding')
    }
    expect(await asked({})).toBe('identity')
    expect(await asked({ injected: null })).toBe('gzip, zstd')
    const rewritten = await asked({ injected: null, pointers: ['/url'] })
    expect(rewritten).not.toBe('gzip, zstd')
    expect(rewritten).toContain('gzip')
    expect(await asked({ pointers: ['/url'] })).toBe(rewritten)
    const guard = { pass: (text: string) => ({ text, count: 0 }) }
    expect(await asked({ injected: null, guard })).toBe(rewritten)
    const signed = { pointers: ['/url'], seal: () => 'dps_x' }
    expect(await asked({ injected: null, signed })).toBe(rewritten)
  })
  test('that streams says what was left behind; one that was read has said it before', async () => {
    const trailers = { 'X-Sum': '1' }
    const stripped = async (job: Partial<Job>) => {
      const one = await call({ job, method: 'POST', send: 'abc', trailers })
      const sent = await one.next()
      const body = bodyOf(sent)
      if (body !== null) await once(body.resume(), 'end')
      sent.start()
      sent.head(200)
      sent.end()
      return (await outcomeOf(one)).stripped
    }
    expect(await stripped({ body: STREAM })).toEqual(['trailer:x-sum'])
    expect(await stripped({ body: READ })).toEqual([])
  })
  test('that is longer than it may be ends as it should, and not as the provider’s fault', async () => {
    const one = await call({ job: { body: STREAM }, method: 'POST', send: 'x'.repeat(11) })
    const problem = await problemOf(one)
    expect(problem.code).toBe('request_too_large')
    expect(problem.message).toMatch(/bytes\)$/)
    expect(problem.extra).toHaveProperty('sent')
  })
  test('that cannot be sent is a fault of ours, or what was thrown says', async () => {
    const fails = async (error: Error): Promise<Problem> => {
      const dispatch = (): never => {
        throw error
      }
      return problemOf(await call({ dispatch }))
    }
    expect(await fails(new Error('bug'))).toMatchObject({
      code: 'internal',
      extra: { sent: false },
    })
    expect((await fails(new Problem('upstream_prohibited', 'x'))).code).toBe('upstream_prohibited')
    const odd = await call({ job: { injected: { ...OLD, token: secret('a\nb') } } })
    expect((await problemOf(odd)).code).not.toBe('upstream_unreachable')
    expect(odd.tries).toEqual([])
  })
})

describe('what goes wrong on the way is told by its kind', () => {
  test.each<[unknown, string, RegExp]>([
    [coded('ENOTFOUND'), 'dns_error', /name could not be resolved/],
    [coded('EAI_AGAIN'), 'dns_error', /name could not be resolved/],
    [coded('ECONNREFUSED'), 'connection_refused', /refused the connection/],
    [coded('EHOSTUNREACH'), 'destination_ip_unroutable', /no way to the provider/],
    [coded('ENETUNREACH'), 'destination_ip_unroutable', /no way to the provider/],
    [coded('CERT_HAS_EXPIRED'), 'tls_certificate_error', /does not verify/],
    [coded('DEPTH_ZERO_SELF_SIGNED_CERT'), 'tls_certificate_error', /does not verify/],
    [coded('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'tls_certificate_error', /does not verify/],
    [coded('ERR_TLS_CERT_ALTNAME_INVALID'), 'tls_certificate_error', /does not verify/],
    [coded('ERR_SSL_WRONG_VERSION_NUMBER'), 'tls_protocol_error', /TLS with the provider/],
    [coded('EPROTO'), 'tls_protocol_error', /TLS with the provider/],
    [coded('UND_ERR_RES_CONTENT_LENGTH_MISMATCH'), 'http_response_incomplete', /before its length/],
    [coded('UND_ERR_HEADERS_OVERFLOW'), 'http_response_header_section_size', /64 kB/],
    [coded('HPE_INVALID_CONSTANT'), 'http_protocol_error', /not HTTP\/1.1/],
    [Object.assign(new Error('x'), { name: 'HTTPParserError' }), 'http_protocol_error', /not HTTP/],
    [new Error('bad response'), 'http_protocol_error', /nobody asked for/],
    [new Error('bad upgrade'), 'http_protocol_error', /nobody asked for/],
    [new Error('no bad response'), 'destination_unavailable', /provider failed;/],
    [coded('EPIPE'), 'destination_unavailable', /provider failed \(EPIPE\);/],
    [coded(7), 'destination_unavailable', /provider failed;/],
    ['ECONNREFUSED', 'destination_unavailable', /provider failed;/],
    [{ code: 'ECONNREFUSED' }, 'destination_unavailable', /provider failed;/],
    [{ message: 'bad response' }, 'destination_unavailable', /provider failed;/],
  ])('%o is %s', async (error, kind, words) => {
    const one = await call()
    const sent = await one.next()
    sent.fail(error)
    const problem = await problemOf(one)
    expect(problem).toMatchObject({ code: 'upstream_unreachable', extra: { sent: false } })
    expect(problem.headers['proxy-status']).toBe(
      `deputy; error=${kind}; details="upstream_unreachable"`,
    )
    expect(problem.message).toMatch(words)
    expect(problem.message).toMatch(/; the request was not sent$/)
    expect(one.reported).toMatchObject([['GET', 0, 'api.acme.example', 443, problem.code, 0]])
  })
  test.each<[string, boolean, string, string]>([
    ['UND_ERR_CONNECT_TIMEOUT', false, 'upstream_timeout', 'connection_timeout'],
    ['ETIMEDOUT', false, 'upstream_timeout', 'connection_timeout'],
    ['ETIMEDOUT', true, 'upstream_unreachable', 'connection_terminated'],
    ['ECONNRESET', true, 'upstream_unreachable', 'connection_terminated'],
    ['DEPUTY_ADDRESS_PROHIBITED', false, 'upstream_prohibited', 'destination_ip_prohibited'],
    ['DEPUTY_PROXY_REFUSED', false, 'egress_refused', 'http_request_denied'],
    ['DEPUTY_PROXY_TIMEOUT', false, 'upstream_timeout', 'connection_timeout'],
    ['DEPUTY_PROXY_UNREACHABLE', false, 'upstream_unreachable', 'destination_unavailable'],
    ['DEPUTY_PROXY_FAILED', false, 'upstream_unreachable', 'destination_unavailable'],
    ['DEPUTY_PROXY_GARBLED', false, 'upstream_unreachable', 'http_protocol_error'],
    ['DEPUTY_TRUST_UNREADABLE', false, 'upstream_unreachable', 'tls_certificate_error'],
  ])('%s, sent: %s', async (code, started, which, kind) => {
    const one = await call()
    const sent = await one.next()
    if (started) sent.start()
    sent.fail(coded(code))
    const problem = await problemOf(one)
    expect([problem.code, problem.headers['proxy-status'], problem.extra['sent']]).toEqual([
      which,
      `deputy; error=${kind}; details="${which}"`,
      started,
    ])
    expect(problem.message).toMatch(
      started ? /was sent, and the provider may have carried it out$/ : /the request was not sent$/,
    )
  })
  test('an answer that cannot be searched for the token is refused, and the request was sent', async () => {
    const one = await call()
    const sent = await one.next()
    sent.start()
    sent.head(200, 'Content-Encoding', 'x-odd')
    const problem = await problemOf(one)
    expect(problem.code).toBe('answer_not_redactable')
    expect(problem.message).toMatch(
      /the request was sent, and the provider may have carried it out$/,
    )
    expect(problem).toMatchObject({ outcome: { status: 200, result: 'answer_not_redactable' } })
  })
  test('nobody asked for another protocol', async () => {
    const one = await call()
    const sent = await one.next()
    sent.start()
    sent.head(101, 'Upgrade', 'x')
    expect((await problemOf(one)).headers['proxy-status']).toContain('http_protocol_error')
    expect(sent.did.aborted).toBeInstanceOf(Problem)
  })
})

describe('silence', () => {
  test.each([false, true])('of longer than the deadline ends a call, sent: %s', async (started) => {
    const one = await call()
    const sent = await one.next()
    if (started) sent.start()
    vi.advanceTimersByTime(3_000)
    expect(one.reported).toEqual([])
    vi.advanceTimersByTime(1_000)
    const problem = await problemOf(one)
    expect(problem.code).toBe('upstream_timeout')
    expect(problem.message).toMatch(/^nothing moved to or from the provider for 3 s/)
    expect(problem.headers['proxy-status']).toContain(
      started ? 'http_response_timeout' : 'connection_timeout',
    )
    if (!started) sent.start()
    expect(sent.did.aborted).toBeInstanceOf(Error)
  })
  test('is counted from the last byte, either way', async () => {
    const one = await call({ job: { body: STREAM }, method: 'POST', send: 'a', more: true })
    const sent = await one.next()
    sent.start()
    const came: string[] = []
    bodyOf(sent)?.on('data', (chunk) => came.push(String(chunk)))
    await expect.poll(() => came).toEqual(['a'])
    vi.advanceTimersByTime(3_000)
    one.agent.end('b')
    await expect.poll(() => came).toEqual(['a', 'b'])
    vi.advanceTimersByTime(3_000)
    sent.head(200)
    vi.advanceTimersByTime(3_000)
    sent.data('a')
    vi.advanceTimersByTime(3_000)
    sent.data('b')
    sent.end()
    expect(await one.answer()).toBe('200 ab')
  })
})

describe('a 401', () => {
  const again = (end: Injected | null | Error) => {
    const asked: unknown[][] = []
    return {
      asked,
      again: (...what: unknown[]) => {
        asked.push(what)
        return end instanceof Error ? Promise.reject(end) : Promise.resolve(end)
      },
    }
  }
  test('is tried once more with a newer token, and what the old try still says is nobody’s', async () => {
    const { asked, again: ask } = again(NEW)
    const one = await call({ job: { again: ask, body: READ }, method: 'POST' })
    const old = await one.next()
    old.start()
    old.head(401)
    const fresh = await one.next()
    expect(asked).toEqual([[OLD, 'status']])
    expect(old.did).toMatchObject({ paused: 1, resumed: 0 })
    expect(old.did.aborted?.message).toMatch(/^superseded/)
    expect(headerOf(fresh, 'authorization')).toBe('Bearer at-new-0123456789')
    expect(fresh.options.body).toBe(READ.bytes)
    old.head(500)
    fresh.start()
    fresh.head(200, 'Content-Type', 'text/plain')
    fresh.data('a')
    old.data('junk')
    old.end()
    old.fail(coded('ECONNRESET'))
    expect((await one.response)?.statusCode).toBe(200)
    fresh.data('b')
    fresh.end()
    expect(await one.answer()).toBe('200 ab')
    expect(await outcomeOf(one)).toMatchObject({ credential: NEW, status: 200 })
    expect(one.reported).toHaveLength(1)
  })
  test('of the newer one passes', async () => {
    const { asked, again: ask } = again(NEW)
    const one = await call({ job: { again: ask } })
    ;(await one.next()).head(401)
    const fresh = await one.next()
    fresh.head(401)
    fresh.end()
    expect(await one.answer()).toBe('401')
    expect(asked).toHaveLength(1)
  })
  test.each<[string, Given, number]>([
    ['where there is no newer token', {}, 1],
    ['where the body is gone', { job: { body: STREAM }, method: 'POST', send: 'x' }, 0],
    ['where there was no token', { job: { injected: null } }, 0],
  ])('passes %s', async (_what, given, times) => {
    const { asked, again: ask } = again(null)
    const one = await call({ ...given, job: { ...given.job, again: ask } })
    const sent = await one.next()
    sent.head(401, 'WWW-Authenticate', 'Bearer error="insufficient_scope", scope="write"')
    await expect.poll(() => sent.did.resumed).toBe(times)
    sent.data('no')
    sent.end()
    expect(await one.answer()).toBe('401 no')
    expect(asked).toHaveLength(times)
    expect(one.tries).toHaveLength(1)
  })
  test('whose new token fails ends as that says', async () => {
    const fails = async (error: Error) => {
      const one = await call({ job: { again: again(error).again } })
      ;(await one.next()).head(401)
      return problemOf(one)
    }
    expect((await fails(new Problem('reauthorization_required', 'gone'))).code).toBe(
      'reauthorization_required',
    )
    const bug = new Error('bug')
    expect(await fails(bug)).toMatchObject({ code: 'credential_unavailable', cause: bug })
  })
  test('is not tried again for a caller who is gone', async () => {
    const { promise, resolve } = Promise.withResolvers<Injected | null>()
    const one = await call({ job: { again: () => promise } })
    const sent = await one.next()
    sent.head(401)
    one.abort(REVOKED())
    await one.ended
    resolve(NEW)
    await new Promise((later) => setImmediate(later))
    expect(one.tries).toHaveLength(1)
    expect(sent.did.resumed).toBe(0)
    // Nor does the old answer come in place of the refusal, though it was let through at that moment.
    const still = Promise.withResolvers<Injected | null>()
    const two = await call({ job: { again: () => still.promise } })
    const old = await two.next()
    old.head(401)
    still.resolve(null)
    two.abort(REVOKED())
    expect(await two.answer()).toBe('599')
    expect(old.did.resumed).toBe(0)
  })
  test('that comes when its call has ended is nobody’s', async () => {
    const one = await call()
    const sent = await one.next()
    one.abort(REVOKED())
    await one.ended
    sent.head(200, 'X-Late', 'yes')
    sent.data('late')
    sent.end()
    expect(await one.answer()).toBe('599')
    expect(one.reported).toHaveLength(1)
  })
  test('that asks for another sign-in says which, without the token in it', async () => {
    const demand = (acr: string): string[] => [
      'www-Authenticate',
      `Bearer error="insufficient_user_authentication", acr_values="${acr}"`,
    ]
    const asks = async (acr: string) => {
      const one = await call()
      ;(await one.next()).head(401, 'X-Authenticate-Ww', 'x', ...demand(acr))
      return problemOf(one)
    }
    expect(await asks('high')).toMatchObject({
      code: 'step_up_required',
      extra: { acr_values: 'high', sent: false },
      message: 'the provider demands another sign-in',
      outcome: { status: 401 },
    })
    expect((await asks(OLD.token.reveal())).extra['acr_values']).toBeUndefined()
    for (const [status, injected] of [
      [401, null],
      [200, OLD],
    ] as const) {
      const one = await call({ job: { injected } })
      const sent = await one.next()
      sent.head(status, ...demand('high'))
      sent.end()
      expect(await one.answer()).toBe(String(status))
    }
  })
})

describe('a 403', () => {
  const names = (
    scope: string,
    header: string | Buffer = 'WWW-Authenticate',
  ): (string | Buffer)[] => [header, `Bearer error="insufficient_scope", scope="${scope}"`]
  test.each<[string, Given, (string | Buffer)[], readonly string[] | null]>([
    ['for want of a scope asks for it', {}, names('read write'), ['write']],
    ['so it does in bytes', {}, names('write', Buffer.from('www-authenticate')), ['write']],
    ['but not for one that may not be asked for', {}, names('write admin'), null],
    ['nor for one that is there', {}, names('read'), null],
    ['nor without a token', { job: { injected: null } }, names('write'), null],
    ['nor as another header says', {}, names('write', 'WWW-Authenticatx'), null],
    ['nor for nothing', {}, [], null],
  ])('%s', async (_what, given, headers, scopes) => {
    const one = await call(given)
    const sent = await one.next()
    sent.start()
    sent.head(403, ...headers)
    if (scopes === null) {
      sent.end()
      expect(await one.answer()).toBe('403')
      return
    }
    expect(await problemOf(one)).toMatchObject({
      code: 'consent_required',
      extra: { scopes, sent: true },
      outcome: { status: 403 },
    })
  })
})

describe('a body that says 401', () => {
  const bad = '{"error":"invalid_auth"}'
  const json = (length: number): string[] => [
    'Content-Type',
    'application/json',
    'Content-Length',
    String(length),
  ]
  const given = (end: Injected | null, asked: unknown[] = []): Given => ({
    provider: { unauthorized: { pointer: '/error', values: ['invalid_auth'] } },
    job: {
      again: (_used, said) => {
        asked.push(said)
        return Promise.resolve(end)
      },
    },
  })
  test('is held back until it is whole, and tried once more', async () => {
    const asked: unknown[] = []
    const one = await call(given(NEW, asked))
    const old = await one.next()
    old.start()
    old.head(200, ...json(bad.length))
    old.data(bad.slice(0, 9))
    expect(asked).toEqual([])
    old.data(bad.slice(9))
    const fresh = await one.next()
    expect(asked).toEqual(['body'])
    fresh.start()
    old.end()
    fresh.head(200, ...json(2))
    fresh.data('{}')
    fresh.end()
    expect(await one.answer()).toBe('200 {}')
  })
  test('passes where there is no newer token', async () => {
    const one = await call(given(null))
    const sent = await one.next()
    sent.head(200, ...json(bad.length))
    sent.data(bad.slice(0, 9))
    sent.data(bad.slice(9))
    await expect.poll(() => sent.did.resumed).toBe(1)
    sent.end()
    expect(await one.answer()).toBe(`200 ${bad}`)
  })
  test('and others pass as they are, in order', async () => {
    const asked: unknown[] = []
    const one = await call(given(NEW, asked))
    const sent = await one.next()
    sent.head(200, ...json(8))
    sent.data('{"a"')
    sent.data(':"b"')
    // At once, and not when it ends.
    expect((await one.response)?.statusCode).toBe(200)
    sent.data('')
    sent.end()
    expect(await one.answer()).toMatch(/^200 \{"a":"b"/)
    expect([asked, one.tries.length]).toEqual([[], 1])
  })
  test('of which only the head comes passes with it', async () => {
    const one = await call({ ...given(NEW), method: 'HEAD' })
    const sent = await one.next()
    sent.head(200, ...json(9))
    sent.end()
    expect(await one.answer()).toBe('200')
    expect(await outcomeOf(one)).toMatchObject({ result: 'ok' })
  })
  test('is nobody’s once the call has ended', async () => {
    const one = await call(given(NEW))
    const sent = await one.next()
    sent.head(200, ...json(bad.length))
    sent.data(bad.slice(0, 9))
    one.abort(REVOKED())
    expect((await problemOf(one)).code).toBe('credential_unavailable')
    expect(await one.answer()).toBe('599')
    expect(() => sent.end()).not.toThrow()
  })
})

describe('a call that ends before its answer does', () => {
  test('is cut where the answer had begun, and what still comes is nobody’s', async () => {
    const one = await call()
    const sent = await one.next()
    sent.start()
    sent.head(200, 'Content-Length', '2000000')
    // The end may be the beginning of the token, and waits for what follows.
    sent.data('begun at-old')
    const response = await one.response
    await once(response as IncomingMessage, 'readable')
    const reason = REVOKED()
    one.abort(reason)
    expect(await outcomeOf(one)).toMatchObject({ result: 'interrupted', status: 200, bytesOut: 6 })
    expect(sent.did.aborted).toBe(reason)
    sent.data(Buffer.alloc(1_000_000))
    sent.end()
    sent.fail(coded('ECONNRESET'))
    expect(await one.answer()).toMatch(/^200 begun +\(cut\)$/)
    expect([sent.did.paused, one.reported.length]).toEqual([0, 1])
    expect(one.reported[0]?.[4]).toBe('credential_unavailable')
  })
  test.each<[string, readonly string[], string, object]>([
    [
      'of gRPC ends by a status',
      [],
      '200 begun',
      { 'grpc-status': '14', 'grpc-message': 'revoked.' },
    ],
    [
      'of gRPC that has a length is cut all the same',
      ['Content-Length', '9'],
      '200 begun (cut)',
      {},
    ],
  ])('a stream %s', async (_name, head, text, trailers) => {
    const body = { ...NONE, contentType: 'application/grpc' }
    const one = await call({ job: { body } })
    const sent = await one.next()
    sent.start()
    sent.head(200, 'Content-Type', 'application/grpc', ...head)
    sent.data('begun')
    const response = (await one.response) as IncomingMessage
    await once(response, 'readable')
    one.abort(REVOKED())
    expect(await outcomeOf(one)).toMatchObject({ result: 'interrupted', status: 200 })
    expect(await one.answer()).toBe(text)
    expect(response.trailers).toMatchObject(trailers)
  })
  test('is refused where it had not, and its head comes too late', async () => {
    const one = await call()
    const sent = await one.next()
    one.abort(REVOKED())
    expect(await problemOf(one)).toMatchObject({
      code: 'credential_unavailable',
      message: 'revoked',
      extra: { sent: false },
      outcome: { result: 'credential_unavailable', credential: OLD },
    })
    expect(await one.answer()).toBe('599')
    sent.start()
    expect(sent.did.aborted).toBeInstanceOf(Error)
    expect(() => {
      sent.head(200)
      sent.data('late')
      sent.end()
    }).not.toThrow()
  })
  test('is no WebSocket any more, whatever the provider says', async () => {
    const one = await call({ job: { websocket: true } })
    const sent = await one.next()
    one.abort(REVOKED())
    await problemOf(one)
    expect(await one.answer()).toBe('599')
    expect(sent.upgrade().destroyed).toBe(true)
  })
  test('before it left never leaves', async () => {
    const one = await call({ job: { signal: AbortSignal.abort(REVOKED()) } })
    expect((await problemOf(one)).code).toBe('credential_unavailable')
    await new Promise((later) => setImmediate(later))
    expect(one.tries).toEqual([])
  })
  test('that was about to leave, and ended in the same turn, never leaves', async () => {
    const signal = {
      aborted: false,
      reason: REVOKED(),
      // Queued before the calls of this turn leave together.
      addEventListener: (_: string, ended: () => void) => process.nextTick(ended),
      removeEventListener: () => undefined,
    } as unknown as AbortSignal
    const one = await call({ job: { signal } })
    expect((await problemOf(one)).code).toBe('credential_unavailable')
    await new Promise((later) => setImmediate(later))
    expect(one.tries).toEqual([])
  })
  test('because its caller left is ended at the provider, too', async () => {
    const one = await call()
    const sent = await one.next()
    sent.start()
    one.agent.destroy()
    expect(await outcomeOf(one)).toMatchObject({ result: 'interrupted', sent: true, status: null })
    expect(sent.did.aborted?.message).toBe('the caller left')
    expect(one.reported).toEqual([['GET', 0, 'api.acme.example', 443, 'aborted', 0]])
  })
  test('because its caller had left is never sent', async () => {
    const one = await call({ gone: true })
    expect(await outcomeOf(one)).toMatchObject({ result: 'interrupted', sent: false })
    await new Promise((later) => setImmediate(later))
    expect(one.tries).toEqual([])
  })
})

test('a caller who reads slowly slows the provider, and is waited for', async () => {
  const one = await call()
  const sent = await one.next()
  sent.start()
  sent.head(200)
  const response = (await Promise.race([one.response, Promise.resolve()])) ?? null
  expect(response).toBeNull()
  for (let i = 0; i < 40 && sent.did.paused === 0; i++) {
    sent.data(Buffer.alloc(1_000_000, 'x'))
    await new Promise((later) => setImmediate(later))
  }
  expect(sent.did.paused).toBe(1)
  const got = await one.response
  got?.resume()
  await expect.poll(() => sent.did.resumed).toBe(1)
  sent.end()
  expect(await outcomeOf(one)).toMatchObject({ result: 'ok' })
})
