// Calls inside a Microsoft Graph `$batch`: a list of requests with methods, relative URLs, headers and bodies (JSON batching;
// OData JSON 4.01, 19). A request that two readers would run differently refuses the whole.
import type { InnerBody, InnerCall, Provider } from '../model.ts'
import { Problem } from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { eachPart, headerRule, refused } from './inner.ts'

const MEMBERS: ReadonlySet<string> = new Set([
  'id',
  'method',
  'url',
  'headers',
  'body',
  'dependsOn',
])

/**
 * @param value the parsed body, without duplicate keys
 * @param root the path that every URL is relative to: `/v1.0`
 * @throws Problem request_invalid, credential_in_body
 */
export const readGraphBatch = (
  value: unknown,
  root: string,
  provider: Provider,
): readonly InnerCall[] => {
  if (!isObject(value) || Object.keys(value).some((key) => key !== 'requests'))
    throw refused('a batch is a JSON object with the one member requests')
  const { requests } = value
  if (!Array.isArray(requests)) throw refused('requests of the batch is no list')
  const ids = new Set<string>()
  return eachPart(requests, (request: unknown, i) => {
    const { id, dependsOn, ...call } = membersOf(request)
    // The answer names each by its id, and whoever reads it would take one for the other.
    if (typeof id !== 'string' || id === '' || ids.has(id.toLowerCase()))
      throw refused('its id is no text of its own')
    ids.add(id.toLowerCase())
    if (dependsOn !== undefined && !isTexts(dependsOn)) throw refused('dependsOn is no list of ids')
    return readCall(call, { root, provider, at: `/requests/${i}` })
  })
}

const isTexts = (value: unknown): boolean =>
  Array.isArray(value) && value.every((one) => typeof one === 'string')

const membersOf = (request: unknown): { readonly [name: string]: unknown } => {
  if (!isObject(request)) throw refused('it is no JSON object')
  const odd = Object.keys(request).find((key) => !MEMBERS.has(key))
  if (odd !== undefined)
    throw refused(`it has the member ${JSON.stringify(odd.slice(0, 64))}, which deputy cannot read`)
  return request
}

const readCall = (
  { method, url, headers, body }: { readonly [name: string]: unknown },
  of: { readonly root: string; readonly provider: Provider; readonly at: string },
): InnerCall => {
  if (typeof method !== 'string') throw refused('it has no method')
  // Absolute URLs, `//host` and those relative to another place lead where the batch does not.
  if (typeof url !== 'string' || !/^\/(?!\/)/.test(url))
    throw refused('its url does not begin with one slash: it is relative to the version of the API')
  const contentType = typeOf(headers, of.provider)
  return {
    method,
    target: of.root + url,
    contentType,
    body: bodyOf(body, contentType, `${of.at}/body`),
    stripped: [],
  }
}

/** The one Content-Type among the headers of a call in JSON. */
export const typeOf = (headers: unknown, provider: Provider): string | null => {
  if (headers === undefined || headers === null) return null
  if (!isObject(headers)) throw refused('its headers are no JSON object')
  let type: string | null = null
  const seen = new Set<string>()
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== 'string') throw refused('a header is no text')
    const rule = headerRule(name, value, provider)
    if (rule === 'credential')
      throw new Problem(
        'credential_in_body',
        `the header ${JSON.stringify(name.slice(0, 64))} is a credential: deputy supplies it`,
      )
    if (rule === 'host' || rule === 'length')
      throw refused(`the header ${name.toLowerCase()} has no place in a batch of JSON`)
    if (seen.has(name.toLowerCase())) throw refused('it has a header twice')
    seen.add(name.toLowerCase())
    if (rule === 'type') type = value
  }
  return type
}

/** JSON stands as it is; text of `text/…` as text, and everything else in base64 (OData JSON 4.01, 19.1). */
const bodyOf = (body: unknown, contentType: string | null, pointer: string): InnerBody => {
  if (body === undefined || body === null) return { kind: 'none' }
  if (typeof body !== 'string') return { kind: 'json', value: body, pointer }
  if (contentType === null || /json/i.test(contentType))
    throw refused('its body is text where a JSON object is expected')
  if (/^text\//i.test(contentType)) return { kind: 'bytes', bytes: Buffer.from(body) }
  if (!/^(?:[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)={0,2}$/.test(body))
    throw refused('its body is no base64')
  return { kind: 'bytes', bytes: Buffer.from(body, 'base64') }
}
