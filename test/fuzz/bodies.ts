// Bodies that are read in more than one way: members and fields twice and in every spelling, charsets, codings and media
// types that say something else than the bytes do. Text is latin1: one character a byte.
import { constant, oneof, record, tuple, type Arbitrary } from 'fast-check'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { FORGED, of, often, SMUGGLED, some, wire } from './pick.ts'

export type Sent = {
  /** Lines of the head that speak of the body, without its length. */
  readonly headers: readonly string[]
  readonly text: string
}

/** A name of a field, and what some reader takes for that name. */
const name = often(
  of('title', 'title', 'more', 'note', 'n'),
  of(
    'Title',
    'TITLE',
    ' title',
    'title ',
    't%69tle',
    'title%00',
    'title[]',
    'title[a]',
    'title.x',
    'ti\u200btle',
    't\u0131tle',
    '\uff54itle',
    'TITLE\u0301',
    '_method',
    'X-HTTP-Method-Override',
    '__proto__',
    'constructor',
  ),
  9,
)
const CREDENTIALS = [
  'access_token',
  'Access_Token',
  'access-token',
  'oauth_token',
  'bearer_token',
  'access_token[]',
]
const value = often(
  of('a', 'b', 'c d', '1', '', 'x=y', 'caf\u00e9'),
  of(
    '\u0000',
    'a\u0000b',
    '\ufeffa',
    '%',
    '%zz',
    '%C0%AE',
    '+',
    '%2B',
    '\u202e',
    'a\r\nb',
    'a&title=b',
    'a;title=b',
    'DELETE',
  ),
  9,
)

const jsonName = often(
  name,
  of(
    't\\u0069tle',
    '\\u0054itle',
    't\\u0049tle',
    'title\\u0000',
    '\\ufefftitle',
    'titl\\u0065',
    'titl\\e',
  ),
)
const jsonValue = often(
  oneof(
    value.map((text) => JSON.stringify(text)),
    of('null', 'true', '1', '{"a":1}', '["a"]', '[{"title":"b"}]', '{"title":"b"}'),
  ),
  of(
    '1e400',
    '9007199254740993',
    '-0',
    '1.0',
    '01',
    '+1',
    'NaN',
    'Infinity',
    '0x1',
    '.5',
    "'a'",
    '"\\ud800"',
    '"\\x61"',
    '"a\tb"',
    '"a',
    'undefined',
    '"a" "b"',
    '"\\/"',
    '"a\\',
    `"${'a'.repeat(300)}"`,
  ),
)
const member = tuple(jsonName, jsonValue, often(of(':'), of(' : ', '=', '::', ''))).map(
  ([key, said, colon]) => `"${key}"${colon}${said}`,
)
const object = tuple(
  some(
    often(
      member,
      of(
        `"access_token":"${FORGED}"`,
        `"Oauth_Token":"${FORGED}"`,
        `"access_token":{"x":"${FORGED}"}`,
      ),
      20,
    ),
    4,
    1,
  ),
  often(of(','), of(',,', ';', ' , ', ',/*,*/', ',\n//x\n', '}{')),
).map(([members, comma]) => `{${members.join(comma)}}`)
const json = tuple(
  often(
    object,
    of(
      '[]',
      '{}',
      '"title"',
      '1',
      'null',
      '',
      '[{"title":"b"}]',
      `${'['.repeat(70)}${']'.repeat(70)}`,
    ),
  ),
  often(
    of(''),
    of(
      '\ufeff',
      ' ',
      '\n',
      '\u0000',
      '/*x*/',
      '//x\n',
      ")]}'\n",
      '\u001e',
      'title=b&',
      'x',
      '#\n',
      '\u000b',
    ),
  ),
  often(of(''), of('x', ' ', '\u0000', '\n{"title":"b"}', '&title=b', ';', ',', '\r\n\r\n', '}')),
).map(([text, before, after]) => before + text + after)

const field = tuple(name, value, often(of('='), of('', '==', '=%3D', '%3D', ' = '))).map(
  ([key, said, equals]) => `${key}${equals}${said.replaceAll(' ', '+')}`,
)
const form = tuple(
  some(
    often(
      field,
      of(
        ...CREDENTIALS.map((key) => `${key}=${FORGED}`),
        `a=1;access_token=${FORGED}`,
        `?access_token=${FORGED}`,
      ),
      20,
    ),
    4,
    1,
  ),
  often(of('&'), of(';', '&&', '&amp;', '\r\n', ',')),
).map(([fields, and]) => fields.join(and))

const NL = '\r\n'
const disposition = often(
  tuple(name, of('"', '')).map(([key, quote]) => `form-data; name=${quote}${key}${quote}`),
  of(
    "form-data; name*=UTF-8''title",
    'form-data; name="a"; name="title"',
    'form-data; name="title"; filename="x"',
    'form-data; name="ti\\tle"',
    'form-data; name="=?utf-8?q?title?="',
    'attachment; name="title"',
    'form-data;name=title',
    'form-data; filename="; name=title"',
    'form-data; name="title"; name*=x',
    "form-data; name='title'",
    'form-data',
    '',
    'form-data; name="a\\"; name="title"',
    'Form-Data; NAME="title"',
    'form-data; name="tit"; name*0="le"',
  ),
)
const part = tuple(
  disposition,
  value,
  often(
    of(''),
    of(
      'Content-Type: application/json',
      'Content-Type: text/plain; charset=utf-16',
      'Content-Transfer-Encoding: base64',
      'Content-Disposition: form-data; name="title"',
      'Content-Transfer-Encoding: quoted-printable',
      ' folded: x',
      'X: y',
      'Content-Type: multipart/mixed; boundary=c',
      'no colon',
      `Authorization: ${FORGED}`,
    ),
  ),
  often(of(NL), of('\n', '\r')),
).map(
  ([said, text, more, end]) =>
    `Content-Disposition: ${said}${end}${more === '' ? '' : more + end}${end}${text}`,
)
const multipart = tuple(
  some(
    often(
      part,
      of(
        ...CREDENTIALS.map(
          (key) => `Content-Disposition: form-data; name="${key}"${NL}${NL}${FORGED}`,
        ),
      ),
      20,
    ),
    3,
    1,
  ),
  often(of(NL), of('\n')),
  often(of('b'), of('b ', 'B', 'bb', 'b--', ' b')),
  often(of(''), of('preamble\r\n', '\r\n', '--b\r\n', '\ufeff')),
  often(
    of('--b--\r\n', '--b--'),
    of('', '--b', '--b-- x', '--b--\r\nepilogue', '--b--\r\n--b\r\n', '--c--', '--b- -'),
  ),
).map(
  ([parts, end, boundary, before, after]) =>
    before + parts.map((one) => `--${boundary}${end}${one}${end}`).join('') + after,
)

const CHARSETS = [
  'utf-8',
  'UTF8',
  '"utf-8"',
  'utf-16',
  'utf-16le',
  'UTF-16BE',
  'utf-32',
  'utf-7',
  'iso-8859-1',
  'windows-1252',
  'shift_jis',
  'ibm037',
  '',
  'x',
  'utf-8,utf-16',
  "'utf-16'",
]
const parameters = often(
  of('', '', '; charset=utf-8'),
  oneof(
    of(...CHARSETS).map((charset) => `; charset=${charset}`),
    of(
      ';',
      '; x',
      '; charset=utf-8; charset=utf-16',
      ';charset=utf-16;charset=utf-8',
      ' ; charset = utf-16',
      "; charset*=utf-8''utf-16",
      ', text/plain',
      ',application/x-www-form-urlencoded',
      '; boundary=c',
      '; profile="a;b"',
      '\t',
      '; charset="utf-16',
      '; charset="ut\\f-16"',
    ),
  ),
  9,
)
const boundary = often(
  of('; boundary=b', '; boundary="b"'),
  of(
    '',
    '; boundary=c',
    '; boundary=b; boundary=c',
    '; boundary=c; boundary=b',
    '; boundary= b',
    '; Boundary=b',
    '; xboundary=c; boundary=b',
    '; boundary="b "',
    "; boundary*=utf-8''c; boundary=b",
    '; boundary*0=c; boundary=b',
    '; boundary="a\\b"',
    '; boundary=b,c',
    '; charset=utf-16; boundary=b',
  ),
)
const TYPES = {
  json: often(
    of('application/json', 'application/json', 'application/vnd.a+json'),
    of(
      'application/JSON',
      'text/json',
      'application/x-json',
      'text/plain',
      'application/ld+json',
      'application/javascript',
    ),
  ),
  form: often(
    of('application/x-www-form-urlencoded'),
    of(
      'Application/X-WWW-Form-Urlencoded',
      'x-www-form-urlencoded',
      'text/plain',
      'application/x-www-form-urlencoded-x',
    ),
  ),
  multipart: often(
    of('multipart/form-data'),
    of('Multipart/Form-Data', 'multipart/mixed', 'multipart/related', 'multipart/x'),
  ),
} as const
/** Types of which no server of ours makes fields, or only a lenient one. */
const other = of(
  '',
  'json',
  'text/plain',
  'text/html',
  'image/png',
  'application/octet-stream',
  'application/xml',
  'application/graphql',
  'application/x-ndjson',
  '*/*',
  'application/json/x',
  'application/',
  '/json',
  ' application/json',
  'application/json\t',
  'application/cbor',
  'text/x-json',
  'application/soap+xml',
  'application/json application/x-www-form-urlencoded',
  'application/csp-report',
  'message/http',
  'video/mp4',
  'application/yaml',
)
const typed = <K extends keyof typeof TYPES>(kind: K, text: Arbitrary<string>) =>
  tuple(
    text,
    often(
      tuple(TYPES[kind], kind === 'multipart' ? boundary : parameters).map(([a, b]) => a + b),
      oneof(other, TYPES.json, TYPES.form),
    ),
  )

/** The same characters in other bytes. */
const ENCODED: Readonly<Record<string, (text: string) => string>> = {
  utf8: wire,
  latin1: (text) => Buffer.from(text, 'latin1').toString('latin1'),
  utf16le: (text) => Buffer.from(text, 'utf16le').toString('latin1'),
  utf16be: (text) => Buffer.from(text, 'utf16le').swap16().toString('latin1'),
  'utf16le with its mark': (text) => Buffer.from(`\ufeff${text}`, 'utf16le').toString('latin1'),
  'utf16be with its mark': (text) =>
    Buffer.from(`\ufeff${text}`, 'utf16le').swap16().toString('latin1'),
}
const CODED: Readonly<Record<string, (text: string) => string>> = {
  '': (text) => text,
  gzip: (text) => gzipSync(Buffer.from(text, 'latin1')).toString('latin1'),
  deflate: (text) => deflateSync(Buffer.from(text, 'latin1')).toString('latin1'),
  br: (text) => brotliCompressSync(Buffer.from(text, 'latin1')).toString('latin1'),
}
/** What a head says of the coding, and whether it is so. */
const coding = often(
  constant({ says: [] as readonly string[], is: '' }),
  record({
    is: of('', 'gzip', 'deflate', 'br'),
    says: oneof(
      some(
        of(
          'gzip',
          'deflate',
          'br',
          'identity',
          'GZIP',
          'x-gzip',
          'gzip, identity',
          'identity, gzip',
          '',
          'zstd',
          'chunked',
          'aws-chunked',
        ),
        2,
      ),
    ),
  }),
  14,
)

export const body: Arbitrary<Sent> = record({
  kind: oneof(
    { weight: 5, arbitrary: typed('json', json) },
    { weight: 3, arbitrary: typed('form', form) },
    { weight: 2, arbitrary: typed('multipart', multipart) },
    {
      weight: 1,
      arbitrary: tuple(
        of(
          'plain',
          '\u0000',
          SMUGGLED,
          `0\r\n\r\n${SMUGGLED}`,
          '<a><title>b</title></a>',
          'title: b\n',
          'query { title }',
        ),
        other,
      ),
    },
  ),
  bytes: often(of('utf8'), of(...Object.keys(ENCODED)), 14),
  coding,
  /** Lines of the type: one; none, or two that differ, at times. */
  lines: often(
    of('one'),
    of('none', 'another first', 'another behind', 'the same', 'underscored'),
    20,
  ),
}).map(({ kind: [text, type], bytes, coding: { says, is }, lines }): Sent => {
  const line = `Content-Type: ${type}`
  const another = 'Content-Type: text/plain'
  const types: Readonly<Record<string, readonly string[]>> = {
    one: [line],
    none: [],
    'another first': [another, line],
    'another behind': [line, another],
    'the same': [line, line],
    underscored: [line, 'Content_Type: text/plain'],
  }
  return {
    headers: [...(types[lines] ?? []), ...says.map((one) => `Content-Encoding: ${one}`)],
    text: (CODED[is] ?? wire)((ENCODED[bytes] ?? wire)(text)),
  }
})
