// Where else than in headers a call names its person: in an address that deputy sealed, or in the form field of an SDK's key.
import type { IncomingMessage } from 'node:http'
import type { Route } from '../model.ts'
import { Problem } from '../problem.ts'
import { isAddressTag, type AddressTags } from '../wire/address_tag.ts'
import { readMedia } from '../wire/media.ts'
import { formFields } from '../wire/strip.ts'

export type Tagged = {
  /** The headers, with what named the person elsewhere as if it stood in the key slot. */
  readonly rawHeaders: readonly string[]
  /** A name in the path or of a listener. */
  readonly named: string | null
  /** The route, without the tag that its address carried. */
  readonly route: Route
  /** What had to be read of the body to find the tag; null: nothing. */
  readonly read: Buffer | null
  /** Where it stood, if it was no header: that field, or that address, holds no credential of the agent's. */
  readonly place: 'form' | 'address' | null
}

/** The form field in which some SDKs send their key. */
const FIELD = 'token'

/** The first segment held a sealed tag: URLs in this call's answer get none of it. */
const withoutTag = (route: Route): Route => {
  const { addressing } = route
  if (!('prefix' in addressing)) return { ...route, named: null }
  const prefix = addressing.prefix.replace(/^\/~[^/]*/, '')
  return { ...route, named: null, addressing: { ...addressing, prefix } }
}

const mayHoldField = (req: IncomingMessage, route: Route, tagHeader: string): boolean =>
  route.named === null &&
  req.headers[tagHeader] === undefined &&
  req.headers.authorization === undefined &&
  route.connection.provider.strip.body.includes(FIELD) &&
  readMedia(req.headers['content-type'] ?? null).reading === 'form'

/**
 * @param tagHeader lower case
 * @param agentHeader lower case
 * @param read the body up to `limits.inspected_body`; null: it is longer
 * @throws Problem 401 for a sealed address that does not open
 */
export const createTagged = (deps: {
  readonly tagHeader: string
  readonly agentHeader: string
  readonly addressTags: AddressTags
  /** Do these headers name somebody by themselves? */
  readonly tagged: (rawHeaders: readonly string[]) => boolean
  readonly read: (req: IncomingMessage) => Promise<Buffer | null>
  /** So many bodies are read at once for callers whom nobody knows yet (`limits.calls`). */
  readonly most: number
}) => {
  let reading = 0
  const fromForm = async (req: IncomingMessage, route: Route): Promise<Tagged> => {
    if (reading >= deps.most)
      throw new Problem('too_many_calls', 'too many calls hold their tag in a form: send a header')
    reading++
    const bytes = await deps.read(req).finally(() => reading--)
    const { rawHeaders } = req
    const fields = bytes === null ? [] : formFields(bytes).filter(({ name }) => name === FIELD)
    const values = fields.flatMap((field) => [
      'authorization',
      // A name's bytes as latin1, as they would come in a header.
      Buffer.from(field.value()).toString('latin1'),
    ])
    const place = values.length > 0 ? ('form' as const) : null
    return { rawHeaders: [...rawHeaders, ...values], named: route.named, route, read: bytes, place }
  }
  return (req: IncomingMessage, route: Route): Tagged | Promise<Tagged> => {
    const { rawHeaders } = req
    const { named } = route
    if (isAddressTag(named)) {
      const opened = deps.addressTags.open(named, route.host, route.target)
      const [tag = '', workload = '', tenant = ''] = opened.split('\n', 3)
      // A client that sends its key may hold a newer one by now: that one counts.
      const sealed = deps.tagged(rawHeaders) ? [] : ['authorization', tag]
      const caller =
        workload === '' || req.headers[deps.agentHeader] !== undefined
          ? []
          : [deps.agentHeader, workload]
      return {
        rawHeaders: [
          ...rawHeaders,
          ...sealed,
          ...caller,
          ...(tenant === '' ? [] : ['deputy-tenant', tenant]),
        ],
        named: null,
        route: withoutTag(route),
        read: null,
        place: 'address',
      }
    }
    if (!mayHoldField(req, route, deps.tagHeader))
      return { rawHeaders, named, route, read: null, place: null }
    return fromForm(req, route)
  }
}
