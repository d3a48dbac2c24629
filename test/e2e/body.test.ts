// Bodies that nobody declared harmless, over real sockets: refused, or read as the provider will read them.
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { providersAt, startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { lines, sendRaw } from '../support/raw.ts'
import type { RawAnswer } from '../support/raw.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-of-the-provider-0123456789'
const FORGED = 'forged-by-the-model-0123456789'
const FORM = 'application/x-www-form-urlencoded'
const JSON_TYPE = 'application/json'
let upstream: Upstream
let deputy: Deputy

/** `stream` says nothing about bodies; `graph` does not tell cases apart. */
const graph = (origin: string): Fields => ({
  id: 'graph',
  authorize: `${origin}/oauth/authorize`,
  token: `${origin}/oauth/token`,
  client_auth: 'client_secret_post',
  hosts: { 'api.graph.test': origin },
  names: 'insensitive',
  spellings: ['emailAddress', 'address'],
  operations: [
    {
      scopes: [[]],
      write: {
        'graph.send': { call: 'POST /send', inspect: ['/message/toRecipients'] },
        'graph.put': { call: 'PUT /files/{name}', upload: true },
        'graph.pack': { call: 'POST /pack', opaque: 'application/x-pack' },
      },
    },
  ],
})

beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  const connection = { client_id: 'deputy', client_secret: 'client-secret-0123456789', scopes: [] }
  const { providers = {}, role_grants = {}, grants = {} } = TABLES
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: ['acme', 'stream', 'graph'].map((name) => ({
      person: 'alice',
      connection: name,
      token: TOKEN,
    })),
    tables: {
      ...TABLES,
      role_grants: { ...role_grants, graph: role_grants['stream'] },
      grants: { ...grants, graph: grants['stream'] },
      providers: {
        ...providers,
        graph: { hosts: ['api.graph.test'], assets: [], inspect_body: [] },
      },
    },
    config: {
      limits: { inspected_body: '64KiB', request_body: '1MiB' },
      providers: [...providersAt(upstream.origin), graph(upstream.origin)],
      connections: Object.fromEntries(
        ['acme', 'stream', 'graph'].map((provider) => [provider, { provider, ...connection }]),
      ),
    },
  })
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})
beforeEach(() => {
  upstream.seen.length = 0
})

const send = (
  target: string,
  type: string | null,
  body: string | Buffer,
  more: readonly string[] = [],
  method = 'POST',
): Promise<RawAnswer> => {
  const bytes = Buffer.from(body)
  const head = lines(
    `${method} ${target} HTTP/1.1`,
    `Host: ${new URL(deputy.agent).host}`,
    'Deputy-User: alice',
    ...(type === null ? [] : [`Content-Type: ${type}`]),
    `Content-Length: ${bytes.length}`,
    ...more,
  )
  return sendRaw(deputy.agent, Buffer.concat([Buffer.from(head, 'latin1'), bytes]))
}
const refused = async (asked: Promise<RawAnswer>, status: number): Promise<void> => {
  const answer = await asked
  expect([answer.status, answer.headers.has('deputy-answer')]).toEqual([status, true])
  expect(upstream.seen).toEqual([])
  expect(answer.raw.toString()).not.toContain(FORGED)
}
const arrives = async (asked: Promise<RawAnswer>) => {
  const answer = await asked
  expect([answer.status, answer.raw.toString('latin1')]).toEqual([200, expect.any(String)])
  const [seen] = upstream.seen
  if (seen === undefined) throw new Error('the provider saw nothing')
  return seen
}

const parts = (name: string, value: string): string =>
  `--x\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n--x--\r\n`
const PARTS = 'multipart/form-data; boundary=x'

describe('a definition that says nothing about bodies', () => {
  test.each([
    ['an override in a form', FORM, '_method=DELETE', 400],
    ['an override without a type', null, 'a=1&_method=DELETE', 400],
    ['an override in JSON', JSON_TYPE, '{"_method":"DELETE"}', 400],
    ['an override in parts', PARTS, parts('_method', 'DELETE'), 400],
    ['a token in JSON that calls itself a form', FORM, `{"access_token":"${FORGED}"}`, 400],
    ['an override in JSON behind a comment', FORM, '/* a */ // b\n{"_method":"DELETE"}', 400],
    ['a token in JSON behind a comment', null, `/**/{"access_token":"${FORGED}"}`, 400],
    ['a token in JSON', JSON_TYPE, `{"access_token":"${FORGED}"}`, 400],
    ['a token in text', 'text/plain', `access_token=${FORGED}`, 400],
    ['a token without a type', null, `access_token=${FORGED}`, 400],
    ['a token in parts', PARTS, parts('access_token', FORGED), 400],
    ['a type that is two', `${FORM}, x`, '_method=DELETE', 415],
    ['a type that is none', 'form', '_method=DELETE', 415],
    ['mixed parts', 'multipart/mixed; boundary=x', parts('access_token', FORGED), 415],
    ['XML', 'text/xml', '<a/>', 415],
    ['a GraphQL document', 'application/graphql', '{ a }', 415],
    ['lines of JSON', 'application/x-ndjson', '{}\n{}', 415],
    ['JSON and more', JSON_TYPE, '{"a":1} x', 400],
    ['JSON with NaN', JSON_TYPE, '{"a":NaN}', 400],
    ['JSON in UTF-16', JSON_TYPE, Buffer.from('{"a":1}', 'utf16le'), 400],
    ['half of a surrogate pair', JSON_TYPE, '{"a":"\\ud800"}', 400],
    ['fields beyond the limit', FORM, `a=${'x'.repeat(70_000)}`, 413],
    ['JSON beyond the limit', JSON_TYPE, `"${'x'.repeat(70_000)}"`, 413],
    ['no type beyond the limit', null, 'x'.repeat(70_000), 413],
  ])('%s', async (_name, type, body, status) => {
    await refused(send('/api.stream.test/notes/7', type, body), status)
  })
  test('a download host gets no credential in a body either', async () => {
    const token = `{"access_token":"${FORGED}"}`
    await refused(send('/dl.acme.test/f', JSON_TYPE, token, [], 'GET'), 400)
  })
  test('fields that say they are too long are refused before one of them is sent', async () => {
    const head = lines(
      'POST /api.stream.test/a HTTP/1.1',
      `Host: ${new URL(deputy.agent).host}`,
      'Deputy-User: alice',
      `Content-Type: ${FORM}`,
      'Content-Length: 70000',
    )
    await refused(sendRaw(deputy.agent, head), 413)
  })
  test('gzip hides nothing, and arrives as it was read; another coding is refused', async () => {
    const gzip = ['Content-Encoding: gzip', 'Content-MD5: x']
    await refused(send('/api.stream.test/a', FORM, gzipSync('_method=DELETE'), gzip), 400)
    await refused(
      send('/api.stream.test/a', JSON_TYPE, gzipSync(`{"access_token":"${FORGED}"}`), gzip),
      400,
    )
    await refused(send('/api.stream.test/a', JSON_TYPE, gzipSync('[]').subarray(0, 12), gzip), 400)
    await refused(
      send('/api.stream.test/a', JSON_TYPE, gzipSync(`"${'x'.repeat(66_000)}"`), gzip),
      413,
    )
    await refused(send('/api.stream.test/a', FORM, 'a=1', ['Content-Encoding: br']), 415)
    await refused(send('/api.stream.test/a', FORM, 'a=1', ['Content-Encoding: gzip, gzip']), 415)
    const more = Buffer.concat([gzipSync('{}'), Buffer.from('and more')])
    await refused(send('/api.stream.test/a', JSON_TYPE, more, gzip), 400)
    const packed = Buffer.concat([gzipSync('{"a":'), gzipSync('1}')])
    const { body, headers } = await arrives(send('/api.stream.test/a', JSON_TYPE, packed, gzip))
    expect(body.toString()).toBe('{"a":1}')
    expect(headers).toMatchObject({ 'content-length': '7', 'content-type': JSON_TYPE })
    expect(headers).not.toHaveProperty('content-encoding')
    expect(headers).not.toHaveProperty('content-md5')
  })
  test('a token in a form is cut out and named', async () => {
    const seen = await arrives(send('/api.stream.test/a', FORM, `a=1&access_token=${FORGED}&b=%20`))
    expect([seen.body.toString(), seen.headers['content-length']]).toEqual(['a=1&b=%20', '9'])
    const decision = deputy.evidence().findLast(({ event }) => event === 'decision')
    expect(decision?.['stripped']).toContain('body:access_token')
  })
  test.each([
    ['image/png', 'x'.repeat(70_000)],
    ['application/octet-stream', '_method=DELETE'],
    [FORM, 'a=1&b=%zz'],
    [FORM, '{"a":1}'],
    [JSON_TYPE, '[{"id":9007199254740993}]'],
    ['text/plain', '[a link](b) & more'],
    ['text/plain', '/* a comment */ p { color: red } /* without end'],
    ['text/plain', '/*'],
    [null, 'hello'],
  ])('%s arrives as it came', async (type, body) => {
    expect((await arrives(send('/api.stream.test/a', type, body))).body.toString()).toBe(body)
  })
})

describe('members that policy needs', () => {
  const good = '{"title":"a"}'
  test.each([
    [JSON_TYPE, good],
    [FORM, good],
    [FORM, 'title=a'],
    [null, good],
    [PARTS, parts('title', 'a')],
  ])('%s %s is read', async (type, body) => {
    await arrives(send('/api.acme.test/notes', type, body))
  })
  test.each([
    ['a list', JSON_TYPE, `[${good}]`, 400],
    ['another case', JSON_TYPE, '{"title":"a","TITLE":"b"}', 400],
    ['a number that overflows', JSON_TYPE, '{"title":1e400}', 400],
    ['a number that rounds', JSON_TYPE, '{"title":[9007199254740993]}', 400],
    ['JSON behind a comment', FORM, '/**/{"title":"a"}', 400],
    ['a form beside JSON', FORM, '{"x":"&title=b&"}', 400],
    ['bytes without fields', 'application/octet-stream', good, 415],
    ['text', 'text/plain', 'title=a', 415],
    ['another charset', `${JSON_TYPE}; charset=utf-7`, good, 415],
    ['Latin-1 outside ASCII', `${FORM}; charset=iso-8859-1`, 'title=%e9', 415],
  ])('%s is refused', async (_name, type, body, status) => {
    await refused(send('/api.acme.test/notes', type, body), status)
  })
  test('the query may say the same, and nothing else', async () => {
    await refused(send('/api.acme.test/notes?title=b', JSON_TYPE, good), 400)
    await refused(send('/api.acme.test/notes?title=a', JSON_TYPE, '{}'), 400)
    await refused(send('/api.acme.test/notes?title=a&title=b', null, ''), 400)
    await refused(send('/api.acme.test/notes?Title=b', JSON_TYPE, good), 400)
    await arrives(send('/api.acme.test/notes?title=a', JSON_TYPE, good))
  })
  test('a provider that does not tell cases apart takes either spelling, and never both', async () => {
    const to = '[{"EmailAddress":{"Address":"a@b"}}]'
    await refused(
      send(
        '/api.graph.test/send',
        JSON_TYPE,
        `{"message":{"toRecipients":[]},"Message":{"toRecipients":${to}}}`,
      ),
      400,
    )
    await arrives(send('/api.graph.test/send', JSON_TYPE, `{"Message":{"ToRecipients":${to}}}`))
  })
})

describe('what an operation excuses', () => {
  test.each([
    ['a file that claims to be JSON', JSON_TYPE, '{"a":1} x'],
    ['mixed parts', 'multipart/mixed; boundary=x', parts('a', 'b')],
    ['XML', 'application/xml', '<a/>'],
    ['a large form', FORM, `a=${'x'.repeat(70_000)}`],
    ['large text', 'text/plain', 'x'.repeat(70_000)],
  ])('an upload: %s', async (_name, type, body) => {
    const seen = await arrives(send('/api.graph.test/files/a', type, body, [], 'PUT'))
    expect(seen.body.toString()).toBe(body)
  })
  test('an upload is no way for a credential, or round the method', async () => {
    await refused(send('/api.graph.test/files/a', FORM, '_method=DELETE', [], 'PUT'), 400)
    const token = `{"access_token":"${FORGED}"}`
    await refused(send('/api.graph.test/files/a', JSON_TYPE, token, [], 'PUT'), 400)
    await refused(send('/api.graph.test/files/a', `${FORM}, x`, 'a=1', [], 'PUT'), 415)
  })
  test('an opaque body passes in its own type', async () => {
    const seen = await arrives(send('/api.graph.test/pack', 'Application/X-Pack; v=1', '_method=x'))
    expect(seen.body.toString()).toBe('_method=x')
    upstream.seen.length = 0
    for (const type of ['application/x-pack, x', 'application/x-other', null])
      await refused(send('/api.graph.test/pack', type, '_method=x'), 415)
  })
})

describe('headers and addresses', () => {
  test.each([
    'X-HTTP-Method-Override',
    'X-HTTP-Method',
    'X-Method-Override',
    'x_http_method_override',
    'HTTP-Method-Override',
  ])('%s is refused, not cut', async (name) => {
    await refused(send('/api.stream.test/a', FORM, 'a=1', [`${name}: DELETE`]), 400)
  })
  test('what a front server says of the user stays behind, and is named', async () => {
    const names = ['Client-Cert', 'Remote-User', 'X-WEBAUTH-USER', 'X-MS-CLIENT-PRINCIPAL']
    names.push('X-Forwarded-User', 'X-Auth-Request-Email', 'Cf-Access-Jwt-Assertion')
    names.push('As-User', 'X-Redmine-Switch-User', 'Dropbox-API-Select-Admin', 'X-Client-S-DN')
    names.push('DD-Application-Key', 'X-Act-As')
    const headers = names.map((name) => `${name}: ${FORGED}`)
    const seen = await arrives(
      send(
        `/api.stream.test/a?bearer_token=${FORGED}&private_token=${FORGED}`,
        FORM,
        'a=1',
        headers,
      ),
    )
    expect([seen.url, upstream.bytes().includes(FORGED)]).toEqual(['/a', false])
    const decision = deputy.evidence().findLast(({ event }) => event === 'decision')
    expect(decision?.['stripped']).toEqual(
      expect.arrayContaining([
        'query:bearer_token',
        ...names.map((name) => `header:${name.toLowerCase()}`),
      ]),
    )
  })
  test('an address that the provider signed keeps its signature, also behind a redirect', async () => {
    const signed = '/f?token=s1&key=s2&auth=s3&sid=s4'
    upstream.handle = (_seen, res) =>
      void res.writeHead(302, { location: `https://dl.acme.test${signed}` }).end()
    const answer = await send('/api.acme.test/a', null, '', [], 'GET')
    upstream.handle = null
    upstream.seen.length = 0
    const location = new URL(answer.headers.get('location')?.[0] ?? '')
    expect(location.pathname).toBe('/dl.acme.test/f')
    await send(`${location.pathname}${location.search}`, null, '', [], 'GET')
    expect([upstream.seen[0]?.url, upstream.seen[0]?.who]).toEqual([signed, null])
  })
})
