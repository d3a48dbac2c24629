// Whom the mail of a call goes to, as policy sees it (`request.mail`): from the members, or out of the message that the
// operation's row names (`mail:`). Pure.
import type { Json, Mail, MailPlaces, Names } from '../model.ts'
import { memberAt, readStrict } from '../wire/json.ts'
import { queryMembers } from '../wire/body.ts'
import { boundaryOf } from '../wire/multipart.ts'
import { addressOf, fromBase64, MOST_RECIPIENTS } from './address.ts'
import { refused } from './inner.ts'
import { readMessage, type Message } from './message.ts'

type Kind = 'to' | 'cc' | 'bcc'
const KINDS: readonly Kind[] = ['to', 'cc', 'bcc']

/** Nobody can tell here where it goes: a rule about recipients must refuse it. */
export const unread = (places: MailPlaces): Mail => ({ unread: true, sends: places.sends })

/** What a call without a body sends is stored, and what it keeps goes to nobody. */
const bodiless = (places: MailPlaces): Mail =>
  mailOf(places, { to: [], cc: [], bcc: [], attachments: 0 })

const mailOf = (places: MailPlaces, { to, cc, bcc, attachments }: Message): Mail => {
  const all = [...to, ...cc, ...bcc]
  if (all.length > MOST_RECIPIENTS)
    throw refused(`the mail has ${all.length} recipients; at most ${MOST_RECIPIENTS} can be judged`)
  if (all.length === 0 && places.sends) return unread(places)
  const domains = new Set(all.map((address) => address.slice(address.indexOf('@') + 1)))
  return {
    unread: false,
    sends: places.sends,
    to,
    cc,
    bcc,
    domains: [...domains].toSorted(),
    attachments,
  }
}

/** Is a body of this type a message, or does it hold one beside its JSON? */
export const isMessage = (places: MailPlaces | undefined, essence: string | null): boolean =>
  places !== undefined && essence !== null && Object.hasOwn(places.bodies, essence)

const at = (value: unknown, pointer: string, names: Names): unknown => {
  const found = memberAt(value, pointer, names)
  if (found === undefined) return undefined
  if ('clash' in found)
    throw refused(`the body has ${found.clash}, which some servers take for a part of ${pointer}`)
  // null is how some clients leave a member out.
  return found.value ?? undefined
}

const listed = (value: unknown, places: MailPlaces, kind: Kind, names: Names): string[] =>
  places[kind].flatMap((pointer) => {
    const list = at(value, pointer, names)
    if (list === undefined) return []
    if (typeof list === 'string' && places.address === '') return [addressOf(list)]
    if (!Array.isArray(list)) throw refused(`${pointer} is no list of recipients`)
    return list.map((one: unknown) => {
      const address = places.address === '' ? one : at(one, places.address, names)
      if (typeof address !== 'string')
        throw refused(`${pointer} holds a recipient without an address`)
      return addressOf(address)
    })
  })

const attached = (value: unknown, places: MailPlaces, names: Names): number =>
  places.attachments.reduce((sum, pointer) => {
    const list = at(value, pointer, names)
    return sum + (list === undefined ? 0 : Array.isArray(list) ? list.length : 1)
  }, 0)

const rawIn = (places: MailPlaces, value: unknown, names: Names): readonly Buffer[] =>
  places.raw.flatMap((pointer) => {
    const text = at(value, pointer, names)
    if (text === undefined) return []
    if (typeof text !== 'string') throw refused(`${pointer} is no text`)
    return [fromBase64(text)]
  })

const mailOfJson = (places: MailPlaces, value: unknown, names: Names): Mail => {
  const { stored } = places
  if (typeof value !== 'object' || value === null) return unread(places)
  const [message, second] = rawIn(places, value, names).map(readMessage)
  const members: Message = {
    to: listed(value, places, 'to', names),
    cc: listed(value, places, 'cc', names),
    bcc: listed(value, places, 'bcc', names),
    attachments: attached(value, places, names),
  }
  if (
    second !== undefined ||
    (message !== undefined && KINDS.some((kind) => members[kind].length > 0))
  )
    throw refused('the body holds a mail twice')
  // What is stored under this name may have recipients of its own.
  if (
    typeof stored !== 'boolean' &&
    stored.some((pointer) => at(value, pointer, names) !== undefined)
  )
    return unread(places)
  return mailOf(places, message ?? members)
}

const TYPE = /^content-type:[ \t]*([!-~]+\/[!-~]+?)[ \t]*(?:;[\t -~]*)?$/i

/** Google's multipart upload: a part of JSON, then the message (RFC 2387), each with a header of one line. */
const related = (bytes: Buffer, contentType: string): { metadata: string; message: Buffer } => {
  const delimiter = `--${boundaryOf(contentType)}`
  const text = bytes.toString('latin1')
  const end = text.startsWith(`${delimiter}\r\n`) ? '\r\n' : '\n'
  const pieces = `${end}${text}`.split(`${end}${delimiter}`)
  const [before, first, second, after, ...more] = pieces
  if (before !== '' || first === undefined || second === undefined || more.length > 0)
    throw refused('the upload is not one part of JSON and one mail between plain boundaries')
  if (after === undefined || !after.startsWith('--') || after.slice(2).trim() !== '')
    throw refused('the upload goes on behind its mail, or does not end')
  const part = (piece: string, wanted: RegExp): string => {
    const head = piece.indexOf(end + end)
    const lines = piece.slice(0, head).split(end).slice(1)
    const [, type = ''] = TYPE.exec(lines[0] ?? '') ?? []
    const others = lines.slice(1)
    if (
      head === -1 ||
      !piece.startsWith(end) ||
      !wanted.test(type) ||
      !others.every((line) =>
        /^(?:mime-version: ?1\.0|content-transfer-encoding: ?(?:7bit|8bit|binary))$/i.test(line),
      )
    )
      throw refused('the upload has a part that is not JSON first, and then message/rfc822')
    return piece.slice(head + 2 * end.length)
  }
  return {
    metadata: Buffer.from(part(first, /^application\/json$/i), 'latin1').toString('utf8'),
    message: Buffer.from(part(second, /^message\/rfc822$/i), 'latin1'),
  }
}

const strict = (text: string, names: Names): unknown => {
  if (text.trim() === '') return {}
  try {
    return readStrict(text, names).value
  } catch (cause) {
    throw refused('the upload has a part of JSON that cannot be read in one way', cause)
  }
}

type Of = { readonly essence: string | null; readonly contentType: string; readonly names: Names }

/** A body that is a message, and the JSON beside it. */
const messageOf = (
  places: MailPlaces,
  bytes: Buffer,
  { essence, contentType }: Pick<Of, 'essence' | 'contentType'>,
): { readonly metadata: string | null; readonly message: Buffer } => {
  const how = places.bodies[essence ?? '']
  if (how === 'related') return related(bytes, contentType)
  const text = how === 'base64' ? bytes.toString('latin1').replaceAll(/\r?\n/g, '') : null
  return { metadata: null, message: text === null ? bytes : fromBase64(text) }
}

const mailOfBytes = (
  places: MailPlaces,
  bytes: Buffer,
  { essence, contentType, names }: Of,
): Mail => {
  const { metadata, message } = messageOf(places, bytes, { essence, contentType })
  if (metadata === null) return mailOf(places, readMessage(message))
  const value = strict(metadata, names)
  const holds = [...KINDS.flatMap((kind) => places[kind]), ...places.raw, ...places.attachments]
  if (holds.some((pointer) => at(value, pointer, names) !== undefined))
    throw refused('the upload holds a mail twice')
  const beside = mailOfJson({ ...places, sends: false }, value, names)
  const mail = mailOf(places, readMessage(message))
  return beside.unread ? unread(places) : mail
}

/** Members of a mail have no place in the URL: some servers take them from there (wire/body, `queryMembers`). */
const checkQuery = (places: MailPlaces, query: Query): void => {
  const stored = typeof places.stored === 'boolean' ? [] : places.stored
  const lists = KINDS.flatMap((kind) => places[kind])
  queryMembers(query, [...lists, ...places.raw, ...places.attachments, ...stored], {})
}

type Query = readonly { readonly name: string; readonly value: string }[]

/**
 * The mail of one call.
 * @param body null: there is none; `value`: of JSON, without two members of one name; absent: it was not read as JSON
 * @throws Problem request_invalid: it cannot be read in one way
 */
export const mailIn = (
  places: MailPlaces,
  query: Query,
  body: (Of & { readonly bytes: Buffer | null; readonly value?: unknown }) | null,
): Mail => {
  checkQuery(places, query)
  if (places.stored === true) return unread(places)
  if (body === null) return bodiless(places)
  const { bytes, value, names } = body
  if (bytes !== null && isMessage(places, body.essence)) return mailOfBytes(places, bytes, body)
  return mailOfJson(places, value, names)
}

/**
 * The message (RFC 5322) in a body that `mailIn` has read; null: its mail stands in members, or is stored.
 * @param value of JSON
 */
export const messageIn = (
  places: MailPlaces,
  { bytes, value, ...of }: Of & { readonly bytes: Buffer | null; readonly value?: unknown },
): Buffer | null => {
  if (places.stored === true) return null
  if (bytes !== null && isMessage(places, of.essence)) return messageOf(places, bytes, of).message
  return rawIn(places, value, of.names)[0] ?? null
}

const nested = (pointer: string, value: string): Json =>
  pointer
    .split('/')
    .slice(1)
    .toReversed()
    .reduce<Json>((inner, name) => ({ [name]: inner }), value)

/**
 * What a message says, as the members that policy would have seen: a rule that asks for them holds for both.
 * @param inspect pointers that policy needs
 */
export const asMembers = (
  places: MailPlaces,
  mail: Mail,
  inspect: readonly string[],
): Readonly<Record<string, Json>> => {
  if (mail.unread) return {}
  const found: Record<string, Json> = {}
  for (const kind of KINDS)
    for (const pointer of places[kind])
      if (inspect.includes(pointer))
        found[pointer] = mail[kind].map((one) => nested(places.address, one))
  return found
}
