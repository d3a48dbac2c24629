// Requests as hostile and as odd as they come, made from a seed: the bytes that go over the wire, nothing repaired.
import { array, boolean, constantFrom, oneof, record, sample, type Arbitrary } from 'fast-check'

export type Case = {
  /** Names the request: the first segment of its path. */
  readonly id: string
  readonly bytes: Buffer
}

/** A credential of the model's own invention, and a request that hides in a body: neither may ever arrive. */
export const FORGED = 'forged-credential-4b1d'
export const HIDDEN = 'hidden-request-77aa'

const often = <T>(usual: Arbitrary<T>, odd: Arbitrary<T>): Arbitrary<T> =>
  oneof({ weight: 9, arbitrary: usual }, { weight: 1, arbitrary: odd })
const of = (...values: readonly string[]): Arbitrary<string> => constantFrom(...values)
/** Few of many, in any order. */
const some = (value: Arbitrary<string>, most: number): Arbitrary<readonly string[]> =>
  array(value, { maxLength: most })

const method = often(
  of('GET', 'POST', 'PUT', 'PATCH', 'DELETE'),
  of(
    'HEAD',
    'OPTIONS',
    'get',
    'TRACE',
    'CONNECT',
    'GET\t',
    'PROPFIND',
    'P OST',
    '',
    'QUERY',
    '\u00c9T',
  ),
)
const segment = often(
  of(
    'notes',
    'a',
    '7',
    'x.y',
    'a-b_c~d',
    'caf%C3%A9',
    'a%20b',
    'a+b',
    'a@b',
    'a:b',
    "a'b",
    '(a)',
    'a,b',
    'a=b',
    '$a',
    'a!b*',
  ),
  of(
    '..',
    '.',
    '%2e%2e',
    '%2E.',
    '..%2f',
    'a%2Fb',
    'a%2F..%2Fb',
    '%5c..',
    'a\\b',
    '..;',
    'a;b=c',
    '%00',
    'a%00b',
    '%0d%0a',
    '%',
    '%zz',
    '%C0%AE',
    '%E0%80%AF',
    'a%25b',
    '%252e%252e',
    'a b',
    'a#b',
    'caf\u00e9',
    '',
    ' ',
    '%20',
    'http:',
    '[a]',
    '{a}',
    'a|b',
    'a^b',
    'a`b',
    'a"b',
    '<a>',
    '%7f',
    '%u0061',
    'NOTES',
    'notes%2e',
    'notes.',
    'a?b',
    '%3f',
    '%23',
    '~bob',
    '%7Ebob',
  ),
)
const pair = often(
  of(
    'a=1',
    'b=2',
    'state=open',
    'q=a%20b',
    'q=a+b',
    'a',
    'a=',
    'x=%C3%A9',
    'page=2',
    'filter=a%3Db',
    'a=1',
  ),
  of(
    '=1',
    '',
    'a=1;b=2',
    'a;b',
    `access_token=${FORGED}`,
    `Access_Token=${FORGED}`,
    `api_key=${FORGED}`,
    'a[]=1',
    'a[b]=1',
    'a=%',
    'a=%zz',
    '%61=1',
    'A=1',
    'title=x',
    'a=%00',
    'a=%0d%0a',
    '_method=DELETE',
    'a=1=2',
    'a=\u00e9',
    'a=%C0%AE',
    'a=b#c',
    `access%5Ftoken=${FORGED}`,
    'a=1&&b',
    'a==',
    '+a=1',
    'a+b=1',
    '%20a=1',
    'a=%2B',
    'a=%26b%3D1',
    'a?b=1',
    "a='",
    'a=%E2%80%AE',
  ),
)
const header = often(
  of(
    'Accept: application/json',
    'X-Test: 1',
    'User-Agent: octokit',
    'Accept-Encoding: identity',
    'If-None-Match: "a"',
    'X-Empty:',
  ),
  of(
    `Authorization: Bearer ${FORGED}`,
    `Cookie: session=${FORGED}`,
    `X-Api-Key: ${FORGED}`,
    `Authorization : Bearer ${FORGED}`,
    `X_Authorization: ${FORGED}`,
    `Proxy-Authorization: Basic ${FORGED}`,
    `authorization:Bearer ${FORGED}`,
    ' folded: 1',
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: identity',
    'Transfer-Encoding: chunked, chunked',
    'Transfer-Encoding: xchunked',
    'Transfer-Encoding:\tchunked',
    'Transfer_Encoding: chunked',
    'Content-Length: 0',
    'Content-Length: 5',
    'Content-Length: +5',
    'Content-Length: 5, 5',
    'Content-Length: 0x5',
    'Content_Length: 5',
    'Content-Length: 99',
    'Connection: Authorization',
    'Connection: close, Deputy-User',
    'Connection: Content-Length',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Upgrade: h2c',
    'Host: other.test',
    'X-Forwarded-Host: other.test',
    'X-HTTP-Method-Override: DELETE',
    'X-Original-URL: /admin',
    'X-Rewrite-Url: /a',
    'Deputy-User: bob',
    'Deputy_User: bob',
    'Deputy-Connection: fuzz',
    'Expect: 100-continue',
    'Expect: foo',
    'TE: trailers',
    'Trailer: X',
    'X-A: a\u0000b',
    'X-A: a\rb',
    'X-A: a\u0001',
    'no colon',
    ': empty',
    'X A: 1',
    'X-A\u00e9: 1',
    'X-\u00e9: 1',
    'Range: bytes=0-1',
    'Content-Encoding: gzip',
    'Forwarded: for=1',
    'X-Forwarded-User: bob',
    'Keep-Alive: 1',
    'Max-Forwards: 0',
    'Prefer: wait=0',
  ),
)
const type = often(
  of(
    'application/json',
    'application/x-www-form-urlencoded',
    'text/plain',
    'application/json; charset=utf-8',
    'application/octet-stream',
  ),
  of(
    'application/JSON',
    'application/json; charset=utf-16',
    'application/json, text/plain',
    'text/json',
    'application/x-www-form-urlencoded; x',
    'application/vnd.a+json',
    'multipart/form-data; boundary=b',
    'multipart/form-data',
    'application/xml',
    '',
    'json',
    'application/graphql',
    'application/json;charset=',
    ' application/json',
    'application/json\t',
    'text/html',
    'image/png',
    'application/x-json',
    'text/x-json',
  ),
)
const SMUGGLED = `GET /${HIDDEN}/a HTTP/1.1\r\nHost: api.fuzz.test\r\n\r\n`
const body = often(
  of(
    '{"title":"a"}',
    '{"title":"b","more":[1,2]}',
    'title=a&more=b',
    '[]',
    '{}',
    'plain',
    '{"title":{"a":1}}',
    'title=a%20b',
    '{"title":null}',
  ),
  of(
    '{"title":"a","title":"b"}',
    '{"Title":"a"}',
    '{"title":"a","TITLE":"b"}',
    '{"title":"a"}x',
    '\ufeff{"title":"a"}',
    "{'title':1}",
    '{"t\\u0069tle":"b"}',
    '{"title":"a","t\\u0069tle":"b"}',
    '{"title":1e400}',
    '{"title":9007199254740993}',
    '{"title":NaN}',
    '{"title":"\\ud800"}',
    `{"access_token":"${FORGED}"}`,
    `access_token=${FORGED}`,
    'title=a&title=b',
    'Title=a',
    'title[]=a',
    'title=a;title=b',
    'title',
    '=a',
    `--b\r\nContent-Disposition: form-data; name="title"\r\n\r\na\r\n--b--\r\n`,
    '--b\r\n\r\n',
    '{"title":"a"',
    '{"title":"a",}',
    '{"title":01}',
    '_method=DELETE&title=a',
    '{"_method":"DELETE"}',
    '\u0000',
    '{"title":"a"}\u0000',
    '{"__proto__":{"title":"b"}}',
    SMUGGLED,
    `0\r\n\r\n${SMUGGLED}`,
    '{"title":"\u00e9"}',
    '{"title":"a\tb"}',
    '/*x*/{"title":"a"}',
    ' {"title":"a"} ',
    '"title"',
    '1',
    'null',
    `${'['.repeat(70)}${']'.repeat(70)}`,
  ),
)
/** How the body is framed: as it should be in most cases. */
const framing = often(
  of('counted'),
  of('chunked', 'chunked', 'none', 'short', 'long', 'both', 'odd chunks', 'trailer'),
)

const framed = (
  how: string,
  text: string,
): { readonly headers: readonly string[]; readonly sent: string } => {
  const length = Buffer.byteLength(text, 'latin1')
  const chunk = `${length.toString(16)}\r\n${text}\r\n`
  const chunked = 'Transfer-Encoding: chunked'
  const last = length === 0 ? '0\r\n\r\n' : `${chunk}0\r\n\r\n`
  switch (how) {
    case 'counted':
      return { headers: [`Content-Length: ${length}`], sent: text }
    case 'chunked':
      return { headers: [chunked], sent: last }
    case 'none':
      return { headers: [], sent: text }
    case 'short':
      return { headers: [`Content-Length: ${Math.max(0, length - 3)}`], sent: text }
    case 'long':
      return { headers: [`Content-Length: ${length + 3}`], sent: text }
    case 'both':
      return { headers: [`Content-Length: ${length}`, chunked], sent: last }
    case 'odd chunks':
      return { headers: [chunked], sent: `${length.toString(16)};a="b"\r\n${text}\n0\r\n\r\n` }
    default:
      return { headers: [chunked], sent: `${chunk}0\r\nAuthorization: Bearer ${FORGED}\r\n\r\n` }
  }
}
/** UTF-8 once, so that what is not ASCII goes out as a client writes it. */
const wire = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

const version = oneof(
  { weight: 30, arbitrary: of('HTTP/1.1') },
  {
    weight: 1,
    arbitrary: of('HTTP/1.0', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/0.9', 'HTTP/1.1 '),
  },
)
const prefix = oneof(
  { weight: 20, arbitrary: of('/api.fuzz.test/') },
  {
    weight: 1,
    arbitrary: of(
      '//api.fuzz.test/',
      '/api.fuzz.test//',
      '/API.fuzz.test/',
      '/api.fuzz.test:443/',
      '/fuzz@api.fuzz.test/',
      '/~alice/api.fuzz.test/',
      '/api.fuzz.test/../api.fuzz.test/',
      'http://api.fuzz.test/',
      '/api.fuzz.test%2f',
    ),
  },
)

/** One request; `id` stands in its path, unless the path itself is what is odd. */
const request = record({
  method,
  version,
  prefix,
  segments: array(segment, { minLength: 1, maxLength: 3 }),
  pairs: some(pair, 3),
  headers: some(header, 3),
  type,
  body,
  framing,
  pipelined: boolean(),
}).map((of) => (id: string, host: string): Case => {
  const bare =
    ['GET', 'HEAD', 'OPTIONS', 'DELETE', 'get'].includes(of.method) && of.framing === 'counted'
  const { headers, sent } = bare ? { headers: [], sent: '' } : framed(of.framing, wire(of.body))
  const target = `${of.prefix}${id}/${of.segments.join('/')}${of.pairs.length > 0 ? `?${of.pairs.join('&')}` : ''}`
  const head = [
    `${of.method} ${target} ${of.version}`,
    `Host: ${host}`,
    'Deputy-User: alice',
    ...(bare ? [] : [`Content-Type: ${of.type}`]),
    ...headers,
    ...of.headers,
  ].map(wire)
  const next = of.pipelined ? SMUGGLED : ''
  return { id, bytes: Buffer.from(`${head.join('\r\n')}\r\n\r\n${sent}${next}`, 'latin1') }
})

/** `count` requests of `seed`, named from `first` on and sent to `host`: the same each time. */
export const generated = (
  seed: number,
  count: number,
  first: number,
  host: string,
): readonly Case[] =>
  sample(request, { seed, numRuns: count }).map((make, i) => make(`c${first + i}`, host))
