import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonicalTarget, targetText } from '../../proxy/wire/canonical.ts'
import { createSift } from '../../proxy/wire/headers.ts'
import { multipartFields } from '../../proxy/wire/multipart.ts'
import {
  fieldsOf,
  formFields,
  jsonCredential,
  multipartCredential,
  providedValues,
  stripForm,
  stripQuery,
} from '../../proxy/wire/strip.ts'
import { cpuMs } from '../support/pace.ts'
import { codeOf, NAUGHTY, provider } from './fixture.ts'

const query = (text: string): readonly [string, readonly string[]] => {
  const { target, stripped } = stripQuery(canonicalTarget('GET', `/x?${text}`), provider)
  return [targetText(target), stripped]
}
const form = (text: string): readonly [string, readonly string[]] => {
  const { bytes, stripped } = stripForm(Buffer.from(text, 'latin1'), provider.strip.body)
  return [bytes.toString('latin1'), stripped]
}

/** What is cut out of the headers of a call. */
const strippedHeaders = (rawHeaders: readonly string[], tag: string, of = provider) =>
  createSift([tag], () => false)(rawHeaders, of).stripped

const percent = (text: string): string =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')

describe('a header', () => {
  const cut = (...names: readonly string[]): readonly string[] =>
    strippedHeaders(
      names.flatMap((name) => [name, 'v']),
      'deputy-user',
    )
  const each = (names: readonly string[]) => names.map((name) => `header:${name}`)
  test.each([
    ['that changes what policy saw', ['x-original-url', 'x-rewrite-url', 'x-original-host']],
    ['in which the token goes', ['authorization']],
    ['that the definition names, in its spelling and any other', ['boxapi', 'as-user', 'as_user']],
    ['that speaks of a credential', ['x-secret', 'x_secret', 'cookie']],
    ['that ends in key', ['x-master-key', 'x.master.key']],
    [
      'by which front servers name the user',
      ['remote-user', 'x-forwarded-email', 'x_webauth_user'],
    ],
    ['that acts as somebody', ['x-run-as', 'x-trino-user', 'x-openam-username']],
    ['that proves or signs for somebody', ['x-totp', 'x-mfa', 'x-2fa-code', 'x-hmac', 'x-sign']],
    ['that is a user by its whole name', ['x-user-id', 'groups', 'x_roles']],
  ])('%s is cut out, and named', (_what, names) => {
    expect(cut(...names)).toEqual(each(names))
  })
  test('of a session of nobody, and what only looks like one, stays', () => {
    expect(
      cut('mcp-session-id', 'workbook-session-id', 'x-user-agent', 'idempotency-key', 'accept'),
    ).toEqual([])
    expect(cut('Mcp_Session_Id', 'Deputy-User', 'X-Secret')).toEqual(
      each(['mcp_session_id', 'x-secret']),
    )
  })
  test('of such a session is cut out where the definition names it', () => {
    const strip = { ...provider.strip, headers: ['mcp-session-id', 'x-odd-name'] }
    const names = ['MCP-Session-Id', 'v', 'X_Odd_Name', 'v']
    expect(strippedHeaders(names, 'x', { ...provider, strip })).toEqual(
      each(['mcp-session-id', 'x_odd_name']),
    )
    const present = { header: 'X-Odd-Place', scheme: '' }
    expect(strippedHeaders(['x_odd_place', 'v'], 'x', { ...provider, present })).toEqual(
      each(['x_odd_place']),
    )
  })
})

describe('the query', () => {
  test.each([
    ['a=1&access_token=x&b=2', '/x?a=1&b=2', ['query:access_token']],
    ['access_token=x', '/x', ['query:access_token']],
    ['ACCESS_TOKEN=x', '/x', ['query:access_token']],
    ['%61ccess%5ftoken=x', '/x', ['query:access_token']],
    ['access.token=x', '/x', ['query:access_token']],
    ['access+token=x', '/x', ['query:access_token']],
    ['+access_token=x', '/x', ['query:access_token']],
    ['access[token=x', '/x', ['query:access_token']],
    ['token[]=x&token[a]=y', '/x', ['query:token']],
    ['$key=x&%24key=y', '/x', ['query:key']],
    ['api-key=x', '/x', ['query:api_key']],
    ['key=a&key=b', '/x', ['query:key']],
    ['token', '/x', ['query:token']],
    ['bearer_token=1&Bearer-Token=2', '/x', ['query:bearer_token']],
    ['sid=1&auth=2', '/x', ['query:sid', 'query:auth']],
    ['client_id=1', '/x', ['query:client_id']],
    ['teamId=1', '/x', ['query:teamid']],
    ['a=%2f+b&c=%41&key=1', '/x?a=%2f+b&c=%41', ['query:key']],
    ['state=open&keys=1&tokens=2&monkey=3', '/x?state=open&keys=1&tokens=2&monkey=3', []],
    ['a=access_token=x', '/x?a=access_token=x', []],
    ['%2561ccess_token=x', '/x', ['query:%61ccess_token']],
    ['%2561ccess=x', '/x?%2561ccess=x', []],
  ])('%s leaves as %s', (text, left, stripped) => {
    expect(query(text)).toEqual([left, stripped])
  })

  const CUT = [
    'key hapikey api_key apikey xApiKey x-api-key APIKEY access_key accessKey AWSAccessKeyId app_key application_key',
    'subscription-key userKey consumer_key oauth_consumer_key private_key signingKey x_key',
    'token access_token ACCESSTOKEN accessToken id_token userToken github_token developer-token oauth_token csrf_token',
    'exchange_token exchangeToken frontend_token frontendtoken authToken personal_access_token requestToken',
    'secret client_secret clientSecret password passwd user_password pwd pass passphrase passcode pat github_pat myPat',
    'jwt credential credentials creds assertion client_assertion bearer auth oauth x_auth authorization ticket authTicket',
    'sid mySid sig signature X-Amz-Signature X-Goog-Signature session session_id sessionId PHPSESSID JSESSIONID sessionToken',
    'otp totp cookie csrf xsrf dpop',
    'user[access_token] private[token] login[password] license_key write_key deploy_key passkey hmac',
    'delegation tempauth xoauth_requestor_id',
    'sudo impersonate impersonateUser impersonation_id act_as actAs run_as doAs as_user asUser as_user_id _switch_user',
    'on_behalf_of onBehalfOf onBehalfOfContentOwner masquerade_as proxy_user assume_role delegate delegated_user',
  ]
  test.each(CUT.flatMap((line) => line.split(' ')))(
    '%s says credential, or somebody else: cut',
    (name) => {
      expect(query(`${name}=S3CR&a=1`)).toEqual(['/x?a=1', [expect.stringMatching(/^query:./)]])
    },
  )

  const PASSES = [
    'pageToken page_token PAGETOKEN nextPageToken next_page_token startPageToken prevToken syncToken sync_token nextSyncToken',
    'requestSyncToken $skiptoken $deltatoken skipToken continuation_token continuationToken paginationToken cursor after',
    'cursorToken changeToken change_token scroll_token watchToken idempotency_token',
    'keys tokens Keys Tokens Session_IDs tokenType token_type secret_type secretType hide_secrets monkey resourceKey issueKey sort_key public_key',
    'key_id keyword passes passenger bypass compass pattern path patch signed signed_by signatures sidebar inside design',
    'author authors authored_by oauthApps sessions session_count ticket_id tickets jwts cookies_enabled passive password_age',
    'user user_id users owner as asset as_of assignee role delegates method verb http_method quota',
    'q state per_page fields alt supportsAllDrives timeMin orderBy $filter $select include_locale team_id',
  ]
  test.each(PASSES.flatMap((line) => line.split(' ')))(
    '%s is a plain parameter: passes',
    (name) => {
      expect(query(`${name}=1`)).toEqual([`/x?${name}=1`, []])
    },
  )

  test('a definition says which name is no credential there, and its own list comes first', () => {
    const strip = {
      ...provider.strip,
      query: ['Team.Key', '$where'],
      pass: ['token', 'Api-Key', 'team_key'],
    }
    const there = { ...provider, strip }
    const target = canonicalTarget(
      'GET',
      '/x?token=1&api_key=2&access_token=3&team_key=4&$where=5&where=6',
    )
    const cut = stripQuery(target, there)
    expect([targetText(cut.target), cut.stripped]).toEqual([
      '/x?token=1&api_key=2&where=6',
      ['query:access_token', 'query:team_key', 'query:$where'],
    ])
  })

  test('a long name is cut in the evidence', () => {
    expect(query(`${'a'.repeat(999)}_token=1`)[1]).toEqual([`query:${'a'.repeat(64)}`])
  })

  test.each([
    ['token=1&page=2', ['1']],
    ['sid=1&auth=2&X-Amz-Signature=3&download_token=4&key=%41', ['1', '2', '3', '4', 'A']],
    ['session=1&Session-Id=2&jwt=3&ticket=4&sig=5&signature=6&share_auth=7', '1234567'.split('')],
    ['page=2', null],
    ['', null],
    ['token=1&access_token=2', null],
    ['api_key=1', null],
    ['bearer=1', null],
    ['user_token=1', null],
    ['sudo=1', null],
    ['teamid=1', null],
    ['private_token=1', null],
  ])('%s: a provider may have put %j there', (text, values) => {
    expect(providedValues(canonicalTarget('GET', `/x?${text}`), provider)).toEqual(values)
    const listing = {
      ...provider,
      strip: { ...provider.strip, query: ['Token', 'sid', 'session'] },
    }
    if (values !== null)
      expect(providedValues(canonicalTarget('GET', `/x?${text}`), listing)).toBeNull()
  })

  test.each([
    '_method=DELETE',
    '_verb=DELETE',
    '_http_verb=DELETE',
    '_METHOD_override=DELETE',
    'method_override=DELETE',
    'http-method-override=DELETE',
    'X-HTTP-Verb=DELETE',
    'X-Method=DELETE',
    '$http_method=DELETE',
    '_HttpMethod=PATCH',
    '$httpMethod=DELETE',
    '%24httpHeaders=X-Goog-Api-Key:1',
    'X-HTTP-Method-Override=PUT',
    'a=1&x_http_method_override=PUT',
  ])('%s would change what policy saw: refused', (text) => {
    expect(codeOf(() => query(text))).toBe('request_invalid')
  })

  test('a query without credentials is the very same target', () => {
    const target = canonicalTarget('GET', '/x?a=1')
    expect(stripQuery(target, provider).target).toBe(target)
  })

  const names = ['key', 'token', 'access_token', 'sid', 'x_amz_signature', ...provider.strip.query]
  const disguise = fc.constantFrom(
    (name: string) => name,
    (name: string) => name.toUpperCase(),
    percent,
    (name: string) => `${name}[]`,
    (name: string) => `$${name}`,
    (name: string) => name.replace('_', '.'),
    (name: string) => `%20${name}`,
  )
  const pair = fc.oneof(
    fc.tuple(disguise, fc.constantFrom(...names)).map(([f, name]) => `${f(name)}=SECRET`),
    fc.constantFrom('a=1', 'b=%2f', 'per_page=50', 'q=x+y', 'state', '%C3%A9='),
  )

  test('no listed name survives, nothing else is lost, and twice is as good as once', () => {
    fc.assert(
      fc.property(fc.array(pair, { maxLength: 8 }), (pairs) => {
        const once = stripQuery(canonicalTarget('GET', `/x?${pairs.join('&')}`), provider)
        expect(targetText(once.target)).not.toContain('SECRET')
        expect(once.target.query.map(({ raw }) => raw)).toEqual(
          pairs.filter((text) => !text.endsWith('=SECRET')),
        )
        expect(once.stripped.length > 0).toBe(pairs.some((text) => text.endsWith('=SECRET')))
        const twice = stripQuery(once.target, provider)
        expect(twice).toEqual({ target: once.target, stripped: [] })
      }),
    )
  })
})

describe('a form body', () => {
  test.each([
    ['token=xoxb-1&channel=C1', 'channel=C1', ['body:token']],
    ['channel=C1&TOKEN=x', 'channel=C1', ['body:token']],
    ['text=a%20b+c&%74oken=x&blob=%FF\xe9', 'text=a%20b+c&blob=%FF\xe9', ['body:token']],
    ['token=1&token=2', '', ['body:token']],
    ['\r\ntoken=1', '', ['body:token']],
    ['a=1&%u0074oken=2', 'a=1', ['body:token']],
    ['token%00x=1&token\0=2', '', ['body:token']],
    ['\xef\xbb\xbftoken=1', '', ['body:token']],
    ['?token=1', '', ['body:token']],
    ['client_secret=1&access_token=2', '', ['body:client_secret', 'body:access_token']],
    ['oauth_token=1&bearer_token=2', '', ['body:oauth_token', 'body:bearer_token']],
    ['text=token', 'text=token', []],
    ['text=a;b', 'text=a;b', []],
    ['', '', []],
    ['&&', '&&', []],
    ['card[token]=1', 'card[token]=1', []],
  ])('%j leaves as %j', (text, left, stripped) => {
    expect(form(text)).toEqual([left, stripped])
  })

  test.each([
    'text=a;token=x',
    'a=1&_method=DELETE',
    'a;_method=PUT',
    '%5fmethod=PUT',
    '%u005fmethod=PUT',
    '_method%00x=PUT',
    '\xef\xbb\xbf_method=PUT',
    '?_method=PUT',
  ])('%j has two readings: refused', (text) => {
    expect(codeOf(() => form(text))).toBe('request_invalid')
  })

  test('bytes without credentials are the very same buffer', () => {
    const bytes = Buffer.from('a=1')
    expect(stripForm(bytes, ['token']).bytes).toBe(bytes)
  })

  test('stripping twice is as good as once, whatever the bytes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.string(), fc.constantFrom('token=1', 'a=b', ''))),
        (parts) => {
          const text = Buffer.from(parts.join('&'))
          if (codeOf(() => stripForm(text, ['token'])) !== null) return
          const once = stripForm(text, ['token'])
          expect(stripForm(once.bytes, ['token'])).toEqual({ bytes: once.bytes, stripped: [] })
        },
      ),
    )
  })
})

describe('the fields of a form that policy wants to see', () => {
  const fields = (text: string) =>
    fieldsOf(formFields(Buffer.from(text, 'latin1')), ['channel', 'channel_id'])

  test.each([
    ['channel=C1&text=a%26channel%3DC2', { channel: 'C1' }],
    ['text=%FF;&channel=C+1%2b', { channel: 'C 1+' }],
    ['%63hannel=C1', { channel: 'C1' }],
    ['channel&channel_id=', { channel: '', channel_id: '' }],
    ['text=channel&channels=C1', {}],
    ['', {}],
  ])('%s → %j', (text, found) => {
    expect(fields(text)).toEqual(found)
  })

  test.each([
    'channel=C1&channel=C2',
    'channel=C1&%63hannel=C2',
    'Channel=C1',
    'channel[]=C1',
    'channel[0]=C1&channel=C1',
    '+channel=C1',
    'channel.id=C1',
    'text=a;channel=C1',
    'channel=C1;x',
    'channel=%FF',
    'channel=%',
    'channel%00x=C1',
    '%u0063hannel=C1',
    '?channel=C1',
  ])('%s has more than one reading, and is refused', (text) => {
    expect(codeOf(() => fields(text))).toBe('request_invalid')
  })
})

describe('a JSON body', () => {
  test.each([
    [{ token: 'x' }, 'token'],
    [{ a: 1, Client_Secret: 'x' }, 'client_secret'],
    [[{ a: 1 }, { TOKEN: 'x' }], 'token'],
    [{ a: { token: 'x' } }, null],
    [{ Access_Token: 'x' }, 'access_token'],
    [{ bearer_token: 'x' }, 'bearer_token'],
    [['token'], null],
    ['token', null],
    [null, null],
    [42, null],
    [JSON.parse('{"__proto__":{"token":1}}'), null],
  ])('%j → %j', (value, name) => {
    expect(jsonCredential(value, provider.strip.body)).toBe(name)
  })
})

describe('a multipart body', () => {
  const type = 'multipart/form-data; boundary=XX'
  const part = (head: string, body = 'v'): string => `--XX\r\n${head}\r\n\r\n${body}\r\n`
  const field = (name: string): string => part(`Content-Disposition: form-data; name="${name}"`)
  const read = (text: string, contentType = type): string | null =>
    multipartCredential(
      multipartFields(Buffer.from(text, 'latin1'), contentType),
      provider.strip.body,
    )

  test.each([
    [field('channel'), null],
    [field('token'), 'token'],
    [field('a') + field('TOKEN'), 'token'],
    [field('%74oken'), 'token'],
    [part('content-disposition: form-data; name=token'), 'token'],
    [
      part('Content-Disposition: form-data; filename="t"; name="token"\r\nContent-Type: a/b'),
      'token',
    ],
    [part('Content-Disposition: form-data; name="f"; filename="token"'), null],
    [part('Content-Disposition: form-data; name="f"', 'name="token"\r\n-- XX'), null],
    [part('Content-Disposition: form-data; name="f"', ''), null],
    [field('access_token'), 'access_token'],
    [part('Content-Disposition: form-data; name="a"\r\nAuthorization: x'), 'authorization'],
    [part('X-Api_Key: x\r\nContent-Disposition: form-data; name="a"'), 'x-api_key'],
    [part('Content-Disposition: form-data; name="a"\r\nContent-Id: x\r\nExpires: 0'), null],
    ['', null],
  ])('%j → %j', (parts, name) => {
    expect(read(`${parts}--XX--\r\n`)).toBe(name)
  })

  test("Node's own FormData is read", async () => {
    const body = new FormData()
    body.set('file', new Blob(['--x\r\n']), 'a "b".txt')
    body.set('Token', 'x')
    const request = new Response(body)
    const bytes = Buffer.from(await request.arrayBuffer())
    const contentType = request.headers.get('content-type') ?? ''
    expect(multipartCredential(multipartFields(bytes, contentType), ['token'])).toBe('token')
    expect(multipartCredential(multipartFields(bytes, contentType), ['other'])).toBeNull()
  })

  test.each([
    ['a preamble', `x\r\n${field('a')}--XX--`],
    [
      'a boundary in the middle of a line',
      `${part('Content-Disposition: form-data; name="a"', 'xxx--XX\r\nContent-Disposition: form-data; name="b"\r\n\r\n')}--XX--`,
    ],
    [
      'a delimiter with something behind it',
      `${field('a')}--XXYYContent-Disposition: form-data; name="b"\r\n\r\nv\r\n--XX--`,
    ],
    ['an epilogue', `${field('a')}--XX--\r\n${field('token')}`],
    ['no end', field('a')],
    ['cut in a header', '--XX\r\nContent-Disposition: form-data; name="a"'],
    ['bare line feeds', field('a').replaceAll('\r\n', '\n')],
    [
      'a delimiter with bare line feeds inside a part',
      `${part('Content-Disposition: form-data; name="a"', 'x\n--XX\nContent-Disposition: form-data; name="token"\n\ny')}--XX--`,
    ],
    [
      'a longer boundary inside a part',
      `${part('Content-Disposition: form-data; name="a"', 'x\r\n--XXY\r\n')}--XX--`,
    ],
    [
      'a header behind a bare line feed',
      `${part('Content-Disposition: form-data; name="a"\nContent-Disposition: form-data; name="token"')}--XX--`,
    ],
    ['a folded header', `${part('Content-Disposition: form-data;\r\n name="token"')}--XX--`],
    [
      'two dispositions',
      `${part('Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="token"')}--XX--`,
    ],
    ['two names', `${part('Content-Disposition: form-data; name="a"; name="token"')}--XX--`],
    ['an extended name', `${part("Content-Disposition: form-data; name*=utf-8''token")}--XX--`],
    ['a quote in single quotes', `${part("Content-Disposition: form-data; name='token'")}--XX--`],
    [
      'a quote that some servers take for escaped',
      `${part('Content-Disposition: form-data; x="\\"; name=a; y="; name=token; z="')}--XX--`,
    ],
    ['an escaped name', `${part('Content-Disposition: form-data; name="to\\ken"')}--XX--`],
    [
      'an encoded word',
      `${part('Content-Disposition: form-data; name="=?utf-8?Q?token?="')}--XX--`,
    ],
    ['no name', `${part('Content-Disposition: form-data')}--XX--`],
    ['no disposition', `${part('Content-Type: text/plain')}--XX--`],
    ['no headers', '--XX\r\n\r\nv\r\n--XX--'],
    ['an attachment', `${part('Content-Disposition: attachment; name="a"')}--XX--`],
    [
      'parts in a part',
      `${part('Content-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed; boundary=YY')}--XX--`,
    ],
    ['an override', `${field('_method')}--XX--`],
  ])('%s is refused', (_what, text) => {
    expect(codeOf(() => read(text))).toBe('request_invalid')
  })

  test.each([
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary=XX; boundary=YY',
    'multipart/form-data; xboundary=YY; boundary=XX',
    'multipart/form-data; boundary*0=YY; boundary=XX',
    'multipart/form-data; boundary=XX; Boundary*=YY',
    'multipart/form-data; boundary="X X"',
    `multipart/form-data; boundary=${'x'.repeat(71)}`,
  ])('the type %s has no one boundary: refused', (contentType) => {
    expect(codeOf(() => read(`${field('a')}--XX--`, contentType))).toBe('request_invalid')
  })

  test('a boundary may hold the word, and a file the apostrophe of its name', () => {
    const text = `--aBoundary1\r\nContent-Disposition: form-data; name="token"; filename="it's"\r\n\r\nv\r\n--aBoundary1--`
    expect(read(text, 'multipart/form-data; boundary=aBoundary1')).toBe('token')
  })

  test('a quoted boundary is read', () => {
    expect(
      read(`${field('token')}--XX--`, 'multipart/form-data; charset=utf-8; Boundary="XX"'),
    ).toBe('token')
  })

  test('naughty names are refused or read, and never crash', () => {
    for (const name of NAUGHTY) {
      const text = `${field(name)}--XX--`
      expect([null, 'request_invalid']).toContain(codeOf(() => read(text)))
    }
  })
})

describe('header names for the evidence', () => {
  test('credentials are named once, the tag is not, and no value appears', () => {
    const raw = ['Authorization', 'Bearer S3CR', 'authorization', 'x', 'Deputy-User', 'alice']
    raw.push('COOKIE', 'S3CR', 'X-Acme-OTP', 'S3CR', 'Accept', '*/*', 'X_Api_Key', 'S3CR')
    expect(strippedHeaders(raw, 'deputy-user')).toEqual([
      'header:authorization',
      'header:cookie',
      'header:x-acme-otp',
      'header:x_api_key',
    ])
  })

  test('the header of the tag is none, whatever it is called', () => {
    expect(strippedHeaders(['X-Api-Key', 'user:alice'], 'x-api-key')).toEqual([])
  })

  test('a long name is cut', () => {
    const [name = ''] = strippedHeaders([`x-token-${'a'.repeat(999)}`, 'v'], 'deputy-user')
    expect(name.length).toBe('header:'.length + 64)
  })
})

test('a member of a field that is a credential is cut out of a form, by its whole name', () => {
  expect(form('user[access_token]=x&a=1')).toEqual(['a=1', ['body:access_token']])
  const other = 'user[access_tokens=1&user[access_tokens]=1&user[a]=1'
  expect(form(other)).toEqual([other, []])
  const { stripped } = stripForm(Buffer.from('login[password]=x&login[passwords]=x'), ['password'])
  expect(stripped).toEqual(['body:password'])
})

test('a name that was made to be read for ever is read in a time that grows with its length, and so is a form', () => {
  const long = `[${'passw'.repeat(30_000)}`
  const most = '&'.repeat(1_000_000)
  const all = cpuMs(() => {
    expect(form(`${long}=1`)).toEqual([`${long}=1`, []])
    expect(jsonCredential({ [long]: 1 }, [])).toBe(null)
    expect(form(most)).toEqual([most, []])
    expect(fieldsOf(formFields(Buffer.from(most.replaceAll('&', 'a&'))), ['title'])).toEqual({})
  })
  expect(all).toBeLessThan(4_000)
})
