import * as fc from 'fast-check'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Client } from 'undici'
import { describe, expect, test } from 'vitest'
import { secret } from '../../proxy/secret.ts'
import {
  challengeIn,
  answerHeaders as edited,
  answerTrailers,
  createAnswerReader,
  createScrubbers,
  createSift,
  namedTrailers,
  scopesLacking,
  uncoded,
  upstreamHeaders,
  type UpstreamInput,
} from '../../proxy/wire/headers.ts'
import { codeOf, provider } from './fixture.ts'
import { cpuMs } from '../support/pace.ts'

const TOKEN = 'gho_16C7e42F292c6912E7710c838347Ae178B4a'

type More = Partial<UpstreamInput> & { readonly tagHeader?: string }

const send = (rawHeaders: readonly string[], { tagHeader = 'Deputy-User', ...more }: More = {}) => {
  const sifted = createSift([tagHeader.toLowerCase()], () => false)(
    rawHeaders,
    more.provider ?? provider,
  )
  const headers = upstreamHeaders({
    sifted,
    host: 'api.acme.example',
    provider,
    token: secret(TOKEN),
    contentLength: null,
    chunked: false,
    coding: 'as_asked',
    ...more,
  })
  return { headers, stripped: sifted.stripped }
}
const valuesOf = (headers: readonly string[], name: string): readonly string[] =>
  headers.filter((_, i) => i % 2 === 1 && headers[i - 1] === name)

const answerHeaders = (raw: readonly (string | Buffer)[], changed = false): string[] =>
  edited(createAnswerReader()(raw), changed, false, (value) => value)

test('of a body that was unpacked neither coding nor digest is sent', () => {
  const kept = ['a', 'content-encoding', 'content-encoding', 'gzip', 'content-md5', 'x', 'b', 'c']
  const sifted = { kept, accepted: 'gzip', stripped: ['header:authorization'] }
  expect(uncoded(sifted)).toEqual({ ...sifted, kept: ['a', 'content-encoding', 'b', 'c'] })
})

describe('what the agent may say', () => {
  test.each([
    ['Accept', 'application/vnd.github+json'],
    ['Accept-Encoding', 'gzip, br'],
    ['Content-Type', 'application/json'],
    ['User-Agent', 'octokit'],
    ['If-None-Match', 'W/"x"'],
    ['Range', 'bytes=0-1023999'],
    ['Idempotency-Key', 'k'],
    ['X-Idempotency-Key', 'k'],
    ['X-Goog-Encryption-Key', 'k'],
    ['X-Amz-Server-Side-Encryption-Customer-Key', 'k'],
    ['X-Goog-Drive-Resource-Keys', 'k'],
    ['X-Pattern', 'k'],
    ['X-Monkey', 'k'],
    ['X-Design', 'k'],
    ['X-GitHub-Api-Version', '2022-11-28'],
    ['X-Stainless-Lang', 'js'],
    ['Notion-Version', '2026-01-01'],
    ['Stripe-Version', '2026-01-01'],
    ['ConsistencyLevel', 'eventual'],
    ['Mcp-Session-Id', '1'],
    ['Mcp-Protocol-Version', '2026-07-28'],
    ['Workbook-Session-Id', 'cluster=1'],
    ['Dropbox-API-Arg', '{}'],
    ['X-Author', 'a'],
    ['X-Goog-Upload-Command', 'start'],
    ['Traceparent', '00-1-2-01'],
    ['Prefer', 'respond-async'],
  ])('%s passes', (name, value) => {
    const { headers, stripped } = send([name, value])
    expect(valuesOf(headers, name.toLowerCase())).toEqual([value])
    expect(stripped).toEqual([])
  })

  test.each([
    'Authorization',
    'PROXY-Authorization',
    'Cookie',
    'Cookie2',
    'ApiKey',
    'X-Auth-Token',
    'X-Access-Token',
    'X-Original-Host',
    'X-Api-Key',
    'x_api_key',
    'X.Api.Key',
    'Api-Key',
    'Key',
    'X-Key',
    'X-Redmine-Switch-User',
    'Dropbox-API-Select-Admin',
    'X-Client-S-DN',
    'X-Run-As',
    'DD_KEY',
    'X-Pat',
    'GitHub-Pat',
    'Ticket',
    'X-Auth-Ticket',
    'X-Pwd',
    'X-Pass',
    'Passphrase',
    'X-Passcode',
    'X-Sid',
    'X-Sig',
    'X-Creds',
    'Password',
    'Secret',
    'Session',
    'Impersonate',
    'X-Delegate-To',
    'X-Delegated-User',
    'Masquerade-As',
    'X-Assume-Role',
    'X-Do-As',
    'DoAs',
    'Private-Token',
    'X-Shopify-Access-Token',
    'X-Figma-Token',
    'X-Goog-Api-Key',
    'X-Goog-IAM-Authorization-Token',
    'X-Goog-AuthUser',
    'Ocp-Apim-Subscription-Key',
    'X-Acme-OTP',
    'X-GitHub-OTP',
    'As-User',
    'es-security-runas-user',
    'MSCRMCallerID',
    'CallerObjectId',
    'X-Trino-User',
    'X-Hasura-Role',
    'X-Hasura-User-Id',
    'AccessKey',
    'X-AppKey',
    'DeveloperKey',
    'X-LicenseKey',
    'as_user',
    'Sudo',
    'Impersonate-User',
    'X-On-Behalf-Of',
    'DPoP',
    'PayPal-Auth-Assertion',
    'X-Amz-Security-Token',
    'X-SFDC-Session',
    'X-CSRF-Token',
    'X-My-Password',
    'Signature',
    'X-OAuth-Basic',
    'Client-Cert',
    'Client-Cert-Chain',
    'X-Client-Cert',
    'X-SSL-Client-S-DN',
    'SSL-Client-Verify',
    'X-ARR-ClientCert',
    'X-Forwarded-Client-Cert',
    'Remote-User',
    'REMOTE_USER',
    'X-Remote-User',
    'X-Remote-Group',
    'X-Remote-Extra-Scopes',
    'X-WEBAUTH-USER',
    'X-MS-CLIENT-PRINCIPAL',
    'X-MS-CLIENT-PRINCIPAL-ID',
    'X-Forwarded-User',
    'X-Forwarded-Email',
    'X-Forwarded-Preferred-Username',
    'X-Auth-Request-User',
    'X-Authenticated-User',
    'X-Authentik-Username',
    'X-Amzn-Oidc-Identity',
    'X-Goog-Authenticated-User-Email',
    'Cf-Access-Authenticated-User-Email',
    'Tailscale-User-Login',
    'X-Consumer-Username',
    'X-User',
    'X-User-Id',
    'X-Email',
    'SM_USER',
    'iv-user',
    'OAM_REMOTE_USER',
    'X-Original-URL',
    'X-Rewrite-URL',
  ])('%s is stripped, and named', (name) => {
    const { headers, stripped } = send([name, 'S3CR', 'Accept', '*/*'])
    expect(headers.join('\n')).not.toContain('S3CR')
    expect(stripped).toEqual([`header:${name.toLowerCase()}`])
  })

  test.each([
    'Deputy-User',
    'Deputy-Connection',
    'Deputy-Anything',
    'Origin',
    'Referer',
    'Sec-Fetch-Mode',
    'Sec-Fetch-Site',
    'Via',
    'Forwarded',
    'X-Forwarded-For',
    'X-Forwarded-Host',
    'X_Forwarded_Host',
    'X-Real-IP',
    'Expect',
    'TE',
    'Trailer',
    'Transfer-Encoding',
    'Keep-Alive',
    'Upgrade',
    'Proxy-Connection',
    'HTTP2-Settings',
    'Max-Forwards',
    'Alt-Used',
    'Early-Data',
    'X-Client-IP',
    'X-Cluster-Client-IP',
    'True-Client-IP',
    'CF-Connecting-IP',
    'Content-Length',
    'Host',
  ])('%s stays behind silently', (name) => {
    const { headers, stripped } = send([name, '77777'])
    expect(headers.join('\n')).not.toContain('77777')
    expect(stripped).toEqual([])
  })

  test('a tag header of another name stays behind, and is no stripped credential', () => {
    const { headers, stripped } = send(['X-AGENT-User', 'alice'], { tagHeader: 'X-Agent-User' })
    expect(headers.join()).not.toContain('alice')
    expect(stripped).toEqual([])
  })

  test('a tag in a value is stripped and named, and one in a name is refused', () => {
    const sift = createSift(['deputy-user'], (text) => text.includes('dpr_'))
    const raw = ['X-A', 'dpr_1', 'Via', 'dpr_2', 'X-B', '1', 'Prefer', 'dpr_3']
    expect(sift(raw, provider)).toEqual({
      kept: ['x-b', '1'],
      accepted: '',
      stripped: ['header:x-a', 'header:prefer'],
    })
    expect(codeOf(() => sift(['X-dpr_1', 'a'], provider))).toBe('request_invalid')
  })

  test('all that an agent accepts is asked for as one line, and nothing where it says nothing', () => {
    const { headers } = send(['Accept-Encoding', 'gzip', 'accept-encoding', 'br'])
    expect(valuesOf(headers, 'accept-encoding')).toEqual(['gzip, br'])
    expect(send([]).headers).not.toContain('accept-encoding')
    expect(send([]).headers).not.toContain('content-length')
  })

  test('a body of unknown length has none told', () => {
    expect(send([], { chunked: true }).headers).not.toContain('content-length')
  })

  test('a header that Connection names stays behind', () => {
    const { headers } = send(['Connection', 'close, X-Hop', 'X-Hop', '1', 'X-Stay', '2'])
    expect(valuesOf(headers, 'x-hop')).toEqual([])
    expect(valuesOf(headers, 'connection')).toEqual([])
    expect(valuesOf(headers, 'x-stay')).toEqual(['2'])
    const asked = ['Accept-Encoding', 'gzip', 'Connection', 'x-hop']
    expect(valuesOf(send(asked).headers, 'accept-encoding')).toEqual(['gzip'])
    const named = [...asked, 'Connection', 'Accept-Encoding']
    expect(valuesOf(send(named).headers, 'accept-encoding')).toEqual([])
  })

  test('the injected credential is there exactly once', () => {
    const { headers } = send(['Authorization', 'Bearer a', 'authorization', 'token b'])
    expect(valuesOf(headers, 'authorization')).toEqual([`Bearer ${TOKEN}`])
  })

  test('a header of another name carries the bare token where the provider wants it so', () => {
    const shop = { ...provider, present: { header: 'X-Shop-Pass', scheme: '' } }
    const { headers, stripped } = send(['X-Shop-Pass', 'mine', 'x_shop_pass', 'mine'], {
      provider: shop,
    })
    expect(valuesOf(headers, 'x-shop-pass')).toEqual([TOKEN])
    expect(headers.join()).not.toContain('mine')
    expect(stripped).toEqual(['header:x-shop-pass', 'header:x_shop_pass'])
  })

  test('Basic carries it as a name or as a password, and no name with a colon (RFC 7617 2)', () => {
    const present = { header: 'authorization', scheme: 'Basic' }
    const named = { ...provider, present: { ...present, pair: { before: '', after: ':' } } }
    const secretly = { ...provider, present: { ...present, pair: { before: 'x:', after: '' } } }
    const said = (as: typeof named, token = TOKEN): string => {
      const { headers } = send([], { provider: as, token: secret(token) })
      const [value = ''] = valuesOf(headers, 'authorization')
      return Buffer.from(value.replace('Basic ', ''), 'base64').toString()
    }
    expect([said(named), said(secretly)]).toEqual([`${TOKEN}:`, `x:${TOKEN}`])
    expect(said(secretly, 'a:b')).toBe('x:a:b')
    expect(codeOf(() => said(named, 'a:b'))).toBe('credential_unavailable')
  })

  test('a download host gets no credential, and the agent’s is stripped all the same', () => {
    const { headers } = send(['Authorization', 'Bearer a'], { token: null })
    expect(headers.join()).not.toMatch(/bearer|gho_/i)
  })

  test.each(['a\r\nX: y', 'a b', 'é', ''])(
    'a token that is no header value (%j) is refused',
    (bad) => {
      expect(codeOf(() => send([], { token: secret(bad) }))).toBe('credential_unavailable')
    },
  )

  test('required headers fill in, and the agent’s own value wins', () => {
    expect(valuesOf(send([]).headers, 'user-agent')).toEqual(['deputy'])
    const { headers } = send(['USER-AGENT', 'mine'])
    expect(valuesOf(headers, 'user-agent')).toEqual(['mine'])
    expect(valuesOf(headers, 'acme-version')).toEqual(['2026-01-01'])
  })

  test('duplicates keep their order and their bytes', () => {
    const { headers } = send(['X-A', '1', 'Accept', 'a', 'x-a', 'caf\xe9'])
    expect(valuesOf(headers, 'x-a')).toEqual(['1', 'caf\xe9'])
  })

  test('host and length are ours', () => {
    const { headers } = send(['Host', 'evil.test', 'Content-Length', '9'], { contentLength: 3 })
    expect(valuesOf(headers, 'host')).toEqual(['api.acme.example'])
    expect(valuesOf(headers, 'content-length')).toEqual(['3'])
    expect(codeOf(() => send([], { contentLength: 3, chunked: true }))).toBe('internal')
  })

  test.each([
    ['wait=60', []],
    ['Wait = 60', []],
    ['wait', []],
    ['respond-async, wait=60', ['respond-async']],
    ['wait=60; x=y, handling=lenient', ['handling=lenient']],
    ['a="x, wait=1", wait=2', ['a="x, wait=1"']],
    ['waiting=1', ['waiting=1']],
    ['outlook.timezone="a\\", wait=3", WAIT=1', ['outlook.timezone="a\\", wait=3"']],
    [',,wait=1,', []],
    ['a, , b', ['a, b']],
  ])('of Prefer: %s only wait is deputy’s', (value, left) => {
    expect(valuesOf(send(['Prefer', value]).headers, 'prefer')).toEqual(left)
  })

  test.each([
    ['as_asked', 'gzip, br', ['gzip, br']],
    ['identity', 'gzip, br', ['identity']],
    ['identity', null, ['identity']],
    ['rewritable', 'br, gzip;q=0.5', ['gzip']],
    ['rewritable', 'br', ['identity']],
    ['rewritable', 'gzip;q=0', ['identity']],
    ['rewritable', 'gzip; q=0.000, br', ['identity']],
    ['rewritable', null, ['identity']],
  ] as const)('coding %s with %s asks for %j', (coding, asked, expected) => {
    const raw = ['Range', 'bytes=0-9999', 'If-Range', '"x"']
    const { headers } = send(asked === null ? raw : [...raw, 'Accept-Encoding', asked], { coding })
    expect(valuesOf(headers, 'accept-encoding')).toEqual(expected)
    expect(valuesOf(headers, 'range').length).toBe(coding === 'rewritable' ? 0 : 1)
    expect(valuesOf(headers, 'if-range').length).toBe(coding === 'rewritable' ? 0 : 1)
  })

  test('the header of the token and those that the definition names, however they are spelt', () => {
    const own = {
      ...provider,
      present: { header: 'Acme-Grant', scheme: '' },
      strip: { ...provider.strip, headers: ['acme-view'] },
    }
    for (const name of ['Acme-Grant', 'acme_grant', 'Acme-View', 'ACME_VIEW'])
      expect(send([name, 'S3CR'], { provider: own }).stripped).toEqual([
        `header:${name.toLowerCase()}`,
      ])
    for (const name of ['Acme-Grants', 'Acme-Views', 'Acme-Scope'])
      expect(send([name, '1'], { provider: own }).stripped).toEqual([])
  })

  test('a session of a protocol is a credential where the definition says so', () => {
    const own = { ...provider, strip: { ...provider.strip, headers: ['mcp-session-id'] } }
    const raw = ['Mcp-Session-Id', '1']
    expect(send(raw, { provider: own }).stripped).toEqual(['header:mcp-session-id'])
    expect(send(raw).stripped).toEqual([])
  })

  test.each([
    ['bytes=0-', true],
    ['bytes=1000-', true],
    ['bytes=0-1023', true],
    ['BYTES=500-1523', true],
    ['bytes=-1024', true],
    ['bytes=0-1022', false],
    ['bytes=500-1522', false],
    ['bytes=-1023', false],
    ['bytes=9999-0', false],
    ['bytes=-', false],
    ['bytes=', false],
    ['bytes=0-9999,20000-30000', false],
    ['bytes=0-9999, bytes=0-3', false],
    ['bytes =0-9999', false],
    ['lines=0-9999', false],
  ])('with a token the range %s goes along: %j', (range, goes) => {
    const raw = ['Range', range, 'If-Range', '"x"']
    for (const coding of ['identity', 'as_asked'] as const) {
      const { headers } = send(raw, { coding })
      expect([valuesOf(headers, 'range'), valuesOf(headers, 'if-range')]).toEqual(
        goes ? [[range], ['"x"']] : [[], []],
      )
    }
    expect(valuesOf(send(raw, { token: null }).headers, 'range')).toEqual([range])
  })

  test.each(['Request-Range', 'X-Ms-Range', 'X-Amz-Range', 'x_goog_range'])(
    'a range by a name of its own stays behind: %s',
    (name) => {
      const { headers } = send([name, 'bytes=0-6', 'Content-Range', 'bytes 0-6/7'])
      expect(valuesOf(headers, name.toLowerCase())).toEqual([])
      expect(valuesOf(headers, 'content-range')).toEqual(['bytes 0-6/7'])
    },
  )

  test('of two ranges in two lines none goes along, and a long token wants a longer one', () => {
    const named = send(['X-A', 'range', 'Range', 'bytes=0-'], { coding: 'identity' })
    expect(valuesOf(named.headers, 'range')).toEqual(['bytes=0-'])
    const two = send(['Range', 'bytes=0-9999', 'range', 'bytes=0-9999'], { coding: 'identity' })
    expect(valuesOf(two.headers, 'range')).toEqual([])
    const token = secret('t'.repeat(1_000))
    const range = (last: number) =>
      valuesOf(send(['Range', `bytes=0-${last}`], { coding: 'identity', token }).headers, 'range')
    expect([range(7_998), range(7_999)]).toEqual([[], ['bytes=0-7999']])
  })

  const credentials = ['authorization', 'cookie', 'x-api-key', ...provider.strip.headers]
  const spelled = fc
    .tuple(fc.constantFrom(...credentials), fc.infiniteStream(fc.boolean()), fc.boolean())
    .map(([name, upper, underscore]) => {
      const mixed = name
        .split('')
        .map((c) => (upper.next().value === true ? c.toUpperCase() : c))
        .join('')
      return underscore ? mixed.replaceAll('-', '_') : mixed
    })
  const HARMLESS = ['Accept', 'X-Trace', 'Range', 'connection', 'X-A']
  const harmless = fc.constantFrom(...HARMLESS)

  test('no listed credential survives, whatever its case, spelling or number', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(spelled, harmless), { maxLength: 12 }), (names) => {
        const raw = names.flatMap((name) => [name, 'S3CR'])
        const { headers, stripped } = send(raw)
        const kept = headers.filter((_, i) => i % 2 === 0).map((n) => n.replaceAll('_', '-'))
        for (const name of credentials.filter((n) => n !== 'authorization')) {
          expect(kept).not.toContain(name)
        }
        expect(valuesOf(headers, 'authorization')).toEqual([`Bearer ${TOKEN}`])
        const cut = names.filter((name) => !HARMLESS.includes(name)).map((n) => n.toLowerCase())
        expect(stripped).toEqual([...new Set(cut)].map((name) => `header:${name}`))
        const again = send(headers.filter((_, i) => !/^(?:S3CR|Bearer.*)$/.test(headers[i] ?? '')))
        expect(valuesOf(again.headers, 'authorization').length).toBe(1)
      }),
    )
  })

  test('undici sends them as they are', async () => {
    let seen: IncomingMessage | null = null
    const server = createServer((req, res) => {
      seen = req
      res.end()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = new Client(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const { headers } = send(['X-A', '1', 'x-a', 'caf\xe9', 'Cookie', 'c', 'Connection', 'close'], {
      contentLength: 2,
    })
    const { body } = await client.request({ path: '/', method: 'POST', headers, body: 'hi' })
    await body.dump()
    await client.close()
    server.close()
    const raw = (seen as IncomingMessage | null)?.rawHeaders ?? []
    expect(raw).toEqual(expect.arrayContaining(['host', 'api.acme.example', 'content-length', '2']))
    expect(valuesOf(raw, 'x-a')).toEqual(['1', 'caf\xe9'])
    expect(valuesOf(raw, 'authorization')).toEqual([`Bearer ${TOKEN}`])
    expect(raw).not.toContain('cookie')
  })
})

describe('what of the answer comes back', () => {
  test.each([
    'Connection',
    'Keep-Alive',
    'Transfer-Encoding',
    'Upgrade',
    'Trailer',
    'Set-Cookie',
    'Set-Cookie2',
    'TE',
    'Public-Key-Pins',
    'Proxy-Status',
    'Proxy-Authenticate',
    'Deputy-Answer',
    'DEPUTY-User',
    'Alt-Svc',
    'Strict-Transport-Security',
    'Clear-Site-Data',
    'Access-Control-Allow-Origin',
  ])('%s does not', (name) => {
    expect(answerHeaders([name, 'x', 'Date', 'y'])).toEqual(['Date', 'y'])
  })

  test('everything else does, with case, order, duplicates and bytes', () => {
    const raw = [
      'ETag',
      '"a"',
      'X-B',
      '1',
      'Link',
      '<a>',
      'x-b',
      'caf\xe9',
      'WWW-Authenticate',
      'Bearer',
    ]
    expect(answerHeaders(raw.map((text) => Buffer.from(text, 'latin1')))).toEqual(raw)
    expect(answerHeaders(raw)).toEqual(raw)
  })

  test('what Connection names does not', () => {
    expect(answerHeaders(['X-Hop', '1', 'Connection', 'x-hop', 'X-B', '2'])).toEqual(['X-B', '2'])
    const other = ['X-Hop', '1', 'X-C', 'x-hop']
    expect(answerHeaders(other), 'another header may say the same').toEqual(other)
  })

  test('a rewritten body loses what spoke of its bytes', () => {
    const raw = [
      'ETag',
      '"a"',
      'Content-MD5',
      'x',
      'Digest',
      'x',
      'Content-Digest',
      'x',
      'Repr-Digest',
      'x',
      'Accept-Ranges',
      'bytes',
      'Content-Length',
      '3',
      'Content-Encoding',
      'gzip',
    ]
    expect(answerHeaders([...raw, 'Date', 'x'], true)).toEqual(['Date', 'x'])
    expect(answerHeaders(raw)).toEqual(raw)
  })
})

test('a value that holds URLs is edited by its rule, whatever the case of its name', () => {
  const raw = ['LINK', '<a>', 'location', 'b', 'Content-Location', 'c', 'X-Location', 'd']
  const seen = edited(createAnswerReader()(raw), false, false, (value, rule) =>
    rule === 'name' ? value : `${rule} ${value}`,
  )
  expect(seen.filter((_, i) => i % 2 === 1)).toEqual(['links <a>', 'url b', 'url c', 'keep d'])
})

test.each([
  [['Content-Encoding', 'identity', 'Content-Encoding', 'GZIP'], 'gzip'],
  [['Content-Encoding', 'gzip, identity'], 'gzip'],
  [['Content-Encoding', 'gzip', 'Content-Encoding', 'br'], 'gzip, br'],
  [['Content-Encoding', ', gzip,'], 'gzip'],
  [['Content-Encoding', ''], 'identity'],
  [['Content-Encoding', 'chunked'], 'chunked'],
  [['X-Coding', 'gzip'], 'identity'],
  [['Transfer-Encoding', 'gzip, chunked'], 'gzip'],
  [['Transfer-Encoding', 'chunked', 'Content-Encoding', 'identity'], 'identity'],
])('every line and list of codings is read: %j', (raw, coding) => {
  expect(createAnswerReader()(raw).coding).toBe(coding)
})

test('the type is that of the first line', () => {
  const raw = ['X-A', 'no', 'Content-Type', 'text/html', 'content-type', 'text/plain']
  expect(createAnswerReader()(raw).type).toBe('text/html')
  expect(createAnswerReader()(['X-A', 'no']).type).toBe('')
})

test('a name that holds the token is left out, and so is the length of what has none', () => {
  const head = createAnswerReader()(['X-Secret', '1', 'Content-Length', '3', 'X-B', '2'])
  const clean = (text: string): string => text.replace('Secret', '***')
  expect(edited(head, false, true, clean)).toEqual(['X-B', '2'])
})

test('of a challenge, a member that echoes the token is left out', () => {
  const said = 'Bearer error="insufficient_user_authentication", acr_values="to\\ken", max_age=5'
  expect(challengeIn(said, (text) => text.replace('token', '***'))).toEqual({ max_age: '5' })
})

describe('trailers', () => {
  const same = (text: string): string => text

  test('an agent’s are named, each once, and no name that could be a token', () => {
    const named = (...names: string[]) => namedTrailers(names.flatMap((name) => [name, 'v']))
    expect(named('X-A', 'x-a', 'X-B')).toEqual(['trailer:x-a', 'trailer:x-b'])
    expect(named('a'.repeat(40))).toEqual([`trailer:${'a'.repeat(40)}`])
    for (const name of ['a'.repeat(41), 'X-DPR_1', 'X-eyJhbGci'])
      expect(named(name)).toEqual(['trailer:[redacted]'])
  })

  test('a provider’s come back as they came, and the others are named', () => {
    const raw = ['Grpc-Status', '0 ', 'Set-Cookie', 'a=b', 'Link', '<a>', 'grpc-status', 'caf\xe9']
    expect(answerTrailers(raw, false, same)).toEqual({
      kept: [
        ['Grpc-Status', '0'],
        ['grpc-status', 'caf\xe9'],
      ],
      dropped: ['trailer:set-cookie', 'trailer:link'],
    })
    const bytes = raw.map((text) => Buffer.from(text, 'latin1'))
    expect(answerTrailers(bytes, false, same)).toEqual(answerTrailers(raw, false, same))
  })

  test('a digest comes back of a body that did not change', () => {
    const raw = ['Content-Digest', 'sha-256=:x:']
    expect(answerTrailers(raw, false, same).kept).toEqual([['Content-Digest', 'sha-256=:x:']])
    expect(answerTrailers(raw, true, same)).toEqual({
      kept: [],
      dropped: ['trailer:content-digest'],
    })
  })

  test.each([
    ['Cache-Control', 'no-store'],
    ['Content-Type', 'text/html'],
    ['X-Auth-Info', 'a'],
    ['X A', 'a'],
    ['X-A', 'a\u0000b'],
  ])('%s: %j does not come back', (name, value) => {
    expect(answerTrailers([name, value], false, same)).toEqual({
      kept: [],
      dropped: [`trailer:${name.toLowerCase()}`],
    })
  })

  test('the token stands neither in a value nor in a name', () => {
    const clean = (text: string): string => text.replace('T0KEN', '***')
    expect(answerTrailers(['X-T0KEN', '1', 'X-B', 'is T0KEN'], false, clean)).toEqual({
      kept: [['X-B', 'is ***']],
      dropped: ['trailer:[redacted]'],
    })
  })
})

test.each([
  ['Bearer error="insufficient_scope", scope="repo  user "', ['repo', 'user']],
  ['Bearer error="insufficient_scope"', []],
  ['Bearer error="invalid_token", scope="repo"', []],
])('the scopes that %s lacks are %j', (said, lacking) => {
  expect(scopesLacking(said)).toEqual(lacking)
})

test('a scrubber watches for the revealed token', () => {
  const scrubber = createScrubbers()(secret(TOKEN))
  expect(scrubber.text(`Bearer ${TOKEN}`)).toBe(`Bearer [redacted]${'*'.repeat(30)}`)
  expect(scrubber.hits()).toBe(1)
})

test('a text without the token stays as it is, whatever its letters', () => {
  const text = 'ein anderer Text, auch mit \u20ac und \u0142'
  expect(createScrubbers()(secret(TOKEN)).text(text)).toBe(text)
})

describe('the watcher of a body', () => {
  const watched = (status: number, type: string, body: Buffer): string | null => {
    const watcher = createScrubbers()(secret(TOKEN)).body(status, type)
    return watcher && Buffer.concat([watcher.push(body), watcher.end()]).toString('latin1')
  }
  const tail = Buffer.from(`${TOKEN.slice(10)} is the rest`)

  test('searches a part of a document for parts of the token, a whole one for all of it', () => {
    expect(watched(206, 'text/plain', tail)).toBe(`${'*'.repeat(30)} is the rest`)
    expect(watched(200, 'text/plain', tail)).toBe(tail.toString())
    expect(watched(200, 'text/plain', Buffer.from(TOKEN))).not.toContain(TOKEN.slice(10))
  })

  test('reads characters of two bytes', () => {
    const wide = Buffer.from(`a ${TOKEN}`, 'utf16le')
    const rest = Buffer.from(`${TOKEN.slice(10)} is the rest`, 'utf16le')
    expect(watched(200, 'text/plain; charset=utf-16le', rest)).toBe(rest.toString())
    expect(watched(200, 'text/plain; charset=utf-16le', tail)).toBe(tail.toString())
    for (const status of [200, 206])
      expect(
        watched(status, 'text/plain; charset=utf-16le', wide)?.replaceAll('\0', ''),
      ).not.toContain(TOKEN.slice(0, 10))
  })

  test('is none for several parts in one, nor for characters that nobody knows', () => {
    expect(watched(206, ' Multipart/byteranges; boundary=x', tail)).toBeNull()
    expect(watched(200, 'multipart/mixed; boundary=x', tail)).toBe(tail.toString())
    for (const status of [200, 206])
      expect(watched(status, 'text/plain; charset=utf-7', tail)).toBeNull()
  })
})

describe('a challenge of an API', () => {
  const b64 = (text: string): string => Buffer.from(text).toString('base64')
  test.for<[string, string, object | null]>([
    [
      'of RFC 9470 is read',
      'Bearer realm="x", error="insufficient_user_authentication", error_description="a, \\"b\\"", acr_values="urn:mfa urn:hw", max_age=300',
      { acr_values: 'urn:mfa urn:hw', max_age: '300' },
    ],
    [
      'of RFC 9470 may ask for an age alone',
      'DPoP error="insufficient_user_authentication", max_age="0"',
      { max_age: '0' },
    ],
    [
      'of Microsoft is read',
      `Bearer realm="", authorization_uri="https://x.example/authorize", error="insufficient_claims", claims="${b64('{"access_token": {"nbf": {"essential": true}}}')}"`,
      { claims: '{"access_token":{"nbf":{"essential":true}}}' },
    ],
    [
      'with claims that are none is one all the same',
      'Bearer error="insufficient_claims", claims="!"',
      {},
    ],
    [
      'with claims of two readings brings none of them',
      `Bearer error="insufficient_claims", claims="${b64('{"a":1,"a":2}')}"`,
      {},
    ],
    [
      'with a level in control characters brings none',
      'Bearer error="insufficient_user_authentication", acr_values="a\u0007b"',
      {},
    ],
    ['of an expired token is none', 'Bearer error="invalid_token"', null],
    ['that is only quoted is none', 'Bearer error_description="error=insufficient_claims"', null],
    ['of another scheme is none', 'Basic realm="insufficient_claims"', null],
    ['that is empty is none', '', null],
  ])('%s', ([, value, expected]) => {
    expect(challengeIn(value, (text) => text)).toEqual(expected)
  })

  test.each(['[]', 'null', '1', '"x"'])(
    'with claims that are no object (%s) brings none',
    (text) => {
      const said = `Bearer error="insufficient_claims", claims="${b64(text)}"`
      expect(challengeIn(said, (one) => one)).toEqual({})
    },
  )

  test('brings claims of 6,000 characters, and of more none', () => {
    const claims = (bytes: number): string => `{"a":"${'x'.repeat(bytes - 8)}"}`
    const read = (text: string) =>
      challengeIn(`Bearer error="insufficient_claims", claims="${b64(text)}"`, (one) => one)
    expect(read(claims(4_500))).toEqual({ claims: claims(4_500) })
    expect(read(claims(4_501))).toEqual({})
  })

  test('that is long is read in no time', () => {
    for (const text of [
      'a'.repeat(16_384),
      'a '.repeat(8_192),
      'a="'.repeat(5_000),
      `a${' '.repeat(16_000)}`,
    ])
      expect(cpuMs(() => challengeIn(text, (said) => said))).toBeLessThan(200)
  })
})
