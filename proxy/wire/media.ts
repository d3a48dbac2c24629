// Says how a body of each media type is read: first comes the grammar, then one table.
import { Problem } from '../problem.ts'

/**
 * `form`, `json`, `multipart`: its fields are read. `any`: no server's word for fields, but lenient
 * ones read it as JSON or as a form, so it is searched as both. `refused`: fields in a shape that
 * deputy cannot read. `stream`: nobody's fields.
 */
export type Reading = 'form' | 'json' | 'multipart' | 'any' | 'refused' | 'stream'

/** The first row that fits counts. A type that is not here, and a body without one, is `any`. */
export const MEDIA: readonly (readonly [RegExp, Reading])[] = [
  [/^application\/x-www-form-urlencoded$/, 'form'],
  [/^multipart\/form-data$/, 'multipart'],
  // Several documents in one body, and parts of any kind.
  [/^[^/]+\/(?:x-)?(?:nd-?json|jsonl|jsonlines|json-lines|json-seq)$|\+json-seq$/, 'refused'],
  [/^(?:multipart|message)\//, 'refused'],
  [/json|javascript|ecmascript|^application\/csp-report$/, 'json'],
  [/^(?:application|text)\/(?:.*\+)?(?:xml|xml-dtd|soap|wbxml)$/, 'refused'],
  [/\/(?:.*\+)?(?:x-)?(?:graphql|ya?ml|toml|x-?www-form.*|form-data|php-serialized)$/, 'refused'],
  [
    /\/(?:.*[+.-])?(?:cbor|msgpack|messagepack|bson|smile|ion|amf|protobuf|protobuffer)$/,
    'refused',
  ],
  [/^application\/(?:grpc|thrift|avro|hessian)|\/vnd\.(?:google\.protobuf|apache\.)/, 'refused'],
  [/^(?:image|audio|video|font|model)\//, 'stream'],
  [
    /^application\/(?:octet-stream|pdf|postscript|rtf|epub\+zip|wasm|java-archive|msword)$/,
    'stream',
  ],
  [
    /^application\/(?:x-)?(?:zip|zip-compressed|gzip|tar|gtar|bzip2?|xz|zstd|7z-compressed)$/,
    'stream',
  ],
  [/^application\/(?:vnd\.(?:rar|ms-|openxmlformats-|oasis\.opendocument)|x-git-)/, 'stream'],
]

export type Media = {
  /** `type/subtype`, lower case; null: the body came without a type. */
  readonly essence: string | null
  readonly charset: string | null
  readonly reading: Reading
}

// RFC 9110 8.3.1 and 5.6.6, without a blank around `=`; the type alone, then one parameter at a
// time.
const ESSENCE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+\/[!#$%&'*+\-.^_`|~0-9A-Za-z]+/
const PARAMETER =
  // oxlint-disable-next-line no-control-regex
  /^[ \t]*;[ \t]*(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)|"((?:[^"\\\0-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e\x80-\xff])*)"))?/

const unsupported = (detail: string): Problem => new Problem('unsupported_media_type', detail)

/**
 * @param contentType the one `Content-Type` of the call; null: there is none
 * @throws Problem 415 unsupported_media_type: not one media type, or a parameter twice
 */
export const readMedia = (contentType: string | null): Media => {
  if (contentType === null) return { essence: null, charset: null, reading: 'any' }
  const text = contentType.replaceAll(/^[ \t]+|(?<![ \t])[ \t]+$/g, '')
  const essence = ESSENCE.exec(text)?.[0].toLowerCase()
  if (essence === undefined) throw unsupported('Content-Type is no media type (RFC 9110 8.3.1)')
  const parameters = new Map<string, string>()
  for (let rest = text.slice(essence.length); rest !== '';) {
    const match = PARAMETER.exec(rest)
    if (match === null)
      throw unsupported('Content-Type is not one media type with parameters (RFC 9110 8.3.1)')
    const [whole, name = '', bare, quoted] = match
    rest = rest.slice(whole.length)
    if (name === '') continue
    if (parameters.has(name.toLowerCase()))
      throw unsupported('Content-Type has a parameter twice: servers take one or the other')
    parameters.set(name.toLowerCase(), bare ?? quoted?.replaceAll(/\\(.)/g, '$1') ?? '')
  }
  const reading = MEDIA.find(([pattern]) => pattern.test(essence))?.[1] ?? 'any'
  return { essence, charset: parameters.get('charset')?.toLowerCase() ?? null, reading }
}
