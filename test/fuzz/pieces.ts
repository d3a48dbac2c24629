// What a request line and a head are made of: methods, targets, parameters and headers, good and odd.
import { array, oneof, record, tuple, type Arbitrary } from 'fast-check'
import { FORGED, of, often, some } from './pick.ts'

export const method = often(
  of('GET', 'POST', 'PUT', 'PATCH', 'DELETE'),
  of(
    ...['HEAD', 'OPTIONS', 'get', 'TRACE', 'TRACK', 'CONNECT', 'GET\t', 'PROPFIND', 'P OST', '', 'QUERY', '\u00c9T', 'Get', 'G\u0000ET'],
    ...['DEBUG', 'PRI', 'PURGE', 'LINK', 'M-SEARCH', 'GET\u00a0', '\uff27ET', 'POST,GET', '"GET"'],
  ),
)
const segment = often(
  of(
    ...['notes', 'a', '7', 'x.y', 'a-b_c~d', 'caf%C3%A9', 'a%20b', 'a+b', 'a@b', 'a:b', "a'b", '(a)', 'a,b', 'a=b', '$a', 'a!b*'],
    ...['%61', '%4e', 'a%3Db', '%E2%82%AC', 'a%2Bb', 'a%26b', '...', 'notes..'],
  ),
  oneof(
    of(
      ...['..', '.', '%2e%2e', '%2E.', '..%2f', 'a%2Fb', 'a%2F..%2Fb', '%5c..', 'a\\b', '..;', 'a;b=c', '%00', 'a%00b', '%0d%0a', '%', '%zz'],
      ...['%C0%AE', '%E0%80%AF', 'a%25b', '%252e%252e', 'a b', 'a#b', 'caf\u00e9', '', ' ', '%20', 'http:', '[a]', '{a}', 'a|b', 'a^b', 'a`b'],
      ...['a"b', '<a>', '%7f', '%u0061', 'NOTES', 'notes%2e', 'notes.', 'a?b', '%3f', '%23', '~bob', '%7Ebob'],
    ),
    of(
      // Overlong, of the surrogates, past the last character; and what only some normalisation makes a dot, a slash or a blank.
      ...['%C0%AF', '%F0%80%80%AF', '%F8%80%80%80%AF', '%C1%9C', '%ED%A0%80', '%F4%90%80%80', '%C0%80', '%E0%80%AE%E0%80%AE', '%FF', '%C3'],
      ...['%EF%BC%8F', '%EF%BC%8E%EF%BC%8E', '%E2%80%A4%E2%80%A4', '%E2%80%A5', '%E2%88%95', '%E2%81%84', '%EF%BC%BC', '%EF%BC%85%32%66', 'e%CC%81'],
      ...['%E2%84%AA', '%C4%B0', '%E2%80%AE', '%C2%85', '%E2%80%A8', '%EF%BB%BF', '%C2%A0', '%E3%80%80'],
      // Parameters of a segment, drives, streams, stray escapes.
      ...['..;a=b', ';a', 'a;', ';', '..%3b', 'a%3Bb', ';%2f..', '..%00', '..%09', '.%2e', '%2e%2e%2f', '%2e%2e%5c', '..%c0%af', '.%252e', 'a%252Fb', 'a%255cb'],
      ...['%2F%2Fother.test', 'a%5Cb', 'C:', 'a::$DATA', 'con', 'a%', 'a%2', '%%32%66', '%2%66', '%u002f', '%U002f', '&#47;', 'a%0ab', 'a%0D', '%1f', '%80'],
      ...['https:', 'https%3A', '.git', '*', '**', 'a%2e%2fb', '%2f', '%2F..', 'notes%20', 'notes%2f', '%20%20', '. .', '%2e%20'],
      `access_token=${FORGED};`,
      `a;access_token=${FORGED}`,
    ),
  ),
)
const CREDENTIALS = ['access_token', 'Access_Token', 'access%5Ftoken', 'api_key', 'apikey', 'oauth_token', 'client_secret', 'password', 'sig', 'jwt', 'bearer_token', 'private_key', 'session', 'user[access_token]', 'access_token[]', 'access.token', '%20access_token', 'access_token%00x', '%EF%BB%BFaccess_token', 'AccessToken', '$key', 'X-Amz-Security-Token', 'auth', 'otp', 'sudo']
const pair = often(
  of('a=1', 'b=2', 'state=open', 'q=a%20b', 'q=a+b', 'a', 'a=', 'x=%C3%A9', 'page=2', 'filter=a%3Db', 'a=1'),
  oneof(
    of(...CREDENTIALS.map((name) => `${name}=${FORGED}`)),
    of(
      ...['=1', '', 'a=1;b=2', 'a;b', 'a[]=1', 'a[b]=1', 'a=%', 'a=%zz', '%61=1', 'A=1', 'title=x', 'title=a', 'Title=a', 'title[]=a', 't%69tle=a'],
      ...['a=%00', 'a=%0d%0a', '_method=DELETE', '_METHOD=DELETE', '%5fmethod=DELETE', '_method[]=DELETE', 'X-HTTP-Method-Override=DELETE', 'method=DELETE'],
      ...['a=1=2', 'a=\u00e9', 'a=%C0%AE', 'a=b#c', 'a=1&&b', 'a==', '+a=1', 'a+b=1', '%20a=1', 'a=%2B', 'a=%26b%3D1', 'a?b=1', "a='", 'a=%E2%80%AE'],
      ...['a=%ED%A0%80', 'a=%u0061', 'a%00b=1', 'a%3D1', 'a%26b=1', '__proto__=1', '__proto__[x]=1', 'constructor=1', 'a=1&a=2', 'a&a=', 'a=%FF', 'a%FF=1'],
      ...['?a=1', '/../a=1', 'a=\\', 'a=1%3Bb=2', 'a=1,2', 'a=%EF%BB%BF1', '%EF%BB%BFa=1', 'a=\t1', 'a=1&amp;b=2', 'a.b=1', 'a b=1', 'alt=media', '$alt=x'],
    ),
  ),
)
/** Names under which some server or front server looks for a credential, or for who somebody is. */
const KEYS = [
  ...['Authorization', 'authorization', 'X-Authorization', 'X_Authorization', 'Proxy-Authorization', 'X-Api-Key', 'Api-Key', 'X-Auth-Token', 'X-Access-Token'],
  ...['Private-Token', 'X-GitHub-Token', 'X-Shopify-Access-Token', 'X-Goog-Api-Key', 'X-Amz-Security-Token', 'Cookie', 'Cookie2', 'X-CSRF-Token', 'X-Session-Id'],
  ...['X-Forwarded-User', 'X-Forwarded-Access-Token', 'X-Remote-User', 'Remote-User', 'X-Auth-Request-Email', 'X-Impersonate-User', 'Sudo', 'X-Original-Authorization'],
  ...['X-Client-Cert', 'X-SSL-Client-DN', 'DPoP', 'Authentication', 'X-Token', 'X-User', 'Token', 'X-Amz-Date-Signature', 'X-Hub-Signature', 'X-Vault-Token'],
]
const METHODS = ['X-HTTP-Method-Override', 'X-Method-Override', 'X-HTTP-Method', 'X_HTTP_Method_Override', 'X-Http-Verb', 'HTTP-Method', 'X-Original-Method', 'Method-Override']
const header = often(
  of('Accept: application/json', 'X-Test: 1', 'User-Agent: octokit', 'Accept-Encoding: identity', 'If-None-Match: "a"', 'X-Empty:', 'X-Test:\t1 ', 'x-test: 2'),
  oneof(
    of(
      ...KEYS.map((name) => `${name}: Bearer ${FORGED}`),
      ...[`Authorization : Bearer ${FORGED}`, `authorization:Bearer ${FORGED}`, `Authorization\t: ${FORGED}`, `\tAuthorization: ${FORGED}`, ` Authorization: ${FORGED}`],
      ...[`X-A: b\nAuthorization: Bearer ${FORGED}`, `X-A: b\rAuthorization: ${FORGED}`, `X-A: b\r\n Authorization: x`, `Authorization:\r\n Bearer ${FORGED}`, `Autho\u0000rization: ${FORGED}`],
      ...['Deputy-User: bob', 'Deputy_User: bob', 'Deputy-User:', 'deputy-user: alice', 'Deputy-User: alice, bob', 'Deputy-Connection: fuzz', 'Deputy-Agent: x', 'X-Forwarded-User: bob'],
    ),
    of(
      ...['Transfer-Encoding: chunked', 'Transfer-Encoding: identity', 'Transfer-Encoding: chunked, chunked', 'Transfer-Encoding: xchunked', 'Transfer-Encoding:\tchunked'],
      ...['Transfer_Encoding: chunked', 'Transfer-Encoding: gzip, chunked', 'Transfer-Encoding: Chunked', 'Transfer-Encoding: chunked;a=b', 'Transfer-Encoding: chunked,', 'Transfer-Encoding:\r\n chunked'],
      ...['Transfer-Encoding: \u000bchunked', 'Transfer-Encoding:', 'X: y\nTransfer-Encoding: chunked', 'Transfer-Encoding : chunked', 'Transfer-Encoding: "chunked"', 'TE: chunked'],
      ...['Content-Length: 0', 'Content-Length: 5', 'Content-Length: +5', 'Content-Length: 5, 5', 'Content-Length: 0x5', 'Content_Length: 5', 'Content-Length: 99', 'Content-Length:', 'Content-Length: 05'],
      ...['Content-Length: 5 ', 'Content-Length: 5 5', 'Content-Length: 5.0', 'Content-Length: -0', 'Content-Length: 18446744073709551621', 'Content-Length: \u00a05', 'Content-Length : 5', 'Content-Length:\r\n 5'],
    ),
    of(
      ...['Host: other.test', 'Host: api.fuzz.test', 'Host:', 'Host: a, b', 'Host: api.fuzz.test:443', 'Host : other.test', 'Host: x@other.test', 'X-Forwarded-Host: other.test', 'X-Host: other.test', 'Forwarded: for=1;host=other.test'],
      ...['Connection: Authorization', 'Connection: close, Deputy-User', 'Connection: Content-Length', 'Connection: Upgrade', 'Connection: X-Test', 'Connection: close', 'Connection: keep-alive, Host', 'Connection: "close"', 'Proxy-Connection: keep-alive'],
      ...['Upgrade: websocket', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='],
      ...['Expect: 100-continue', 'Expect: foo', 'Expect:', 'Expect: 100-continue, foo', 'Expect: 100-Continue', 'Expect: 100-continue\r\nExpect: 100-continue'],
      ...['X-Original-URL: /admin', 'X-Rewrite-Url: /a', 'X-Forwarded-Prefix: /a', 'X-Original-Host: other.test', 'Base-Url: /a', 'Destination: /b', 'Location: /b', 'X-Forwarded-Path: /a', 'X-Forwarded-Proto: http'],
    ),
    of(...METHODS.map((name) => `${name}: DELETE`)),
    of(
      ...[' folded: 1', '\tfolded: 1', 'X-A: a\r\n b', 'X-A: a\u0000b', 'X-A: a\rb', 'X-A: a\nb', 'X-A: a\u0001', 'no colon', ': empty', 'X A: 1', 'X-A\u00e9: 1', 'X-\u00e9: 1', 'X-A: \u00e9', 'X-A: \u007f', 'X\u00a0A: 1', 'X-A\u0000: 1', '(X): 1', '"X": 1', 'X{: 1', '\ufeffX: 1'],
      ...['TE: trailers', 'Trailer: X', 'Trailer: Authorization', 'Range: bytes=0-1', 'Range: bytes=0-1,3-4', 'x-ms-range: bytes=0-1', 'Content-Range: bytes 0-1/2', 'If-Range: a', 'Keep-Alive: 1', 'Max-Forwards: 0', 'Prefer: wait=0', 'Prefer: wait=0, respond-async', 'Via: 1.1 x'],
      ...['Content-Encoding: gzip', 'Content-Disposition: form-data; name="title"', 'Content-Transfer-Encoding: base64', 'Content-MD5: x', 'Accept-Encoding: gzip;q=0', 'Accept: */*\u0000', 'Early-Data: 1', 'Cache-Control: no-store', 'Origin: https://x.test', 'Sec-Fetch-Site: none', 'Referer: http://a/~alice/'],
    ),
  ),
)
/** Of HTTP/1.1 alone. */
export const version = often(
  of('HTTP/1.1'),
  of('HTTP/1.0', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/0.9', 'HTTP/1.1 ', 'HTTP/1.1\t', 'HTTP/1.01', 'HTTP/01.1', 'HTTP/1.1\u0000', 'HTTP /1.1', 'HTTPS/1.1', ''),
  30,
)
/** How the host is named that the path belongs to; in a tunnel and over HTTP/2 at times too. */
export const prefix = oneof(
  { weight: 20, arbitrary: of('/api.fuzz.test/') },
  {
    weight: 1,
    arbitrary: of(
      ...['//api.fuzz.test/', '/api.fuzz.test//', '/API.fuzz.test/', '/api.fuzz.test:443/', '/fuzz@api.fuzz.test/', '/~alice/api.fuzz.test/', '/api.fuzz.test/../api.fuzz.test/'],
      ...['http://api.fuzz.test/', '/api.fuzz.test%2f', 'https://api.fuzz.test/', 'HTTP://API.fuzz.test/', `http://x:${FORGED}@api.fuzz.test/`, 'http://api.fuzz.test:80/', 'http://api.fuzz.test:443/'],
      ...['http://other.test/', 'http:/api.fuzz.test/', 'http:\\\\api.fuzz.test/', 'http://api.fuzz.test\\@other.test/', 'http://other.test#@api.fuzz.test/', 'http://api.fuzz.test./', 'http://api.fuzz.test?', '/api.fuzz.test./'],
      ...['/api%2efuzz.test/', '/~bob/api.fuzz.test/', '/~alice/~bob/api.fuzz.test/', '/%7Ealice/api.fuzz.test/', '/other@api.fuzz.test/', '/api.fuzz.test\\', '/api.fuzz.test;/', '/api.fuzz.test/;/', '/./api.fuzz.test/', '?/api.fuzz.test/'],
    ),
  },
)
/** A tag that stands before the others, behind them, or nowhere. */
export const tag = often(of('first'), of('last', 'none', 'bob', 'twice', 'lower'), 30)
export const fragment = often(of(''), of('#', '#a', `#access_token=${FORGED}`, '%23a', '?', '?#'), 30)
export const target: Arbitrary<{ readonly path: string; readonly query: string }> = tuple(
  array(segment, { minLength: 1, maxLength: 3 }),
  some(pair, 3),
  often(of('&'), of('&&', ';', '&amp;'), 30),
  fragment,
).map(([segments, pairs, and, end]) => ({
  path: segments.join('/'),
  query: (pairs.length > 0 ? `?${pairs.join(and)}` : '') + end,
}))
export const headers = some(header, 3)

/** What HTTP/2 alone has (RFC 9113 8.2, 8.3): pseudo-headers twice, late or unknown, and fields of another version. */
export const fields: Arbitrary<{ readonly before: readonly string[]; readonly late: readonly string[]; readonly scheme: string }> = record({
  before: often(some(of(''), 0), some(of(':method: DELETE', ':path: /a', ':authority: other.test', ':scheme: https', ':protocol: websocket', ':status: 200', ':x: y'), 1, 1), 20),
  late: often(
    some(of(''), 0),
    some(of(...[':path: /other/x', ':method: DELETE', 'X-Upper: 1', 'connection: close', 'te: gzip', 'te: trailers', 'transfer-encoding: chunked', 'host: other.test', 'host: api.fuzz.test', 'content-length: 5', 'x: a\r\nauthorization: b', 'x: a\u0000', 'x:  a ', ': x', 'cookie: a=1', 'cookie: b=2', 'keep-alive: 1', 'upgrade: h2c', 'expect: 100-continue', 'x y: 1', 'x: \u00e9']), 2, 1),
    8,
  ),
  scheme: often(of('http'), of('https', 'ftp', '', 'HTTP'), 30),
})
