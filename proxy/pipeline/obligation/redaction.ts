// The obligation `redact`: members that are taken out of what leaves, and values that are replaced in what comes back.
import { hash } from 'node:crypto'
import type { EnvelopeFormat } from '../../model.ts'
import { partsOf, redactAnswer, type Redacting } from '../../envelope/redacted.ts'
import type { Guard } from '../../net/guarded.ts'
import { beginsJson } from '../../wire/body.ts'
import { alike, EXACT } from '../../wire/json.ts'
import { readMedia } from '../../wire/media.ts'
import { takeOutOfJson } from '../../wire/rewrite.ts'
import { formNames } from '../../wire/strip.ts'
import type { Body } from '../inspect.ts'
import {
  readPointed,
  refuse,
  type Carrier,
  type Keeping,
  type Obliged,
  type Owed,
  type Pointed,
  type Redaction,
} from '../obligations.ts'
import type { Request } from '../request.ts'

/** What was taken out of a request: the pointers that were demanded, and `sha256:…` of what is sent; null: nothing was there. */
export type TakenOut = { readonly pointers: readonly string[]; readonly digest: string | null }

const UNREAD = 'what is said in a WebSocket is not read'
/** What an answer to this call is; a text: why nothing can be redacted in it. */
const answerOf = ({
  act,
  part,
  within,
}: Pick<Obliged, 'act' | 'part' | 'within'>): string | null =>
  act.operation.websocket != null
    ? UNREAD
    : act.kind === 'graphql'
      ? 'whoever asks by GraphQL names the members of the answer, so that no pointer finds them'
      : part === null || within.envelope === undefined || batchable(within.envelope.format)
        ? null
        : 'the answers to this kind of batch cannot be redacted one by one: send the calls alone'
const batchable = (format: EnvelopeFormat): boolean =>
  partsOf(format, { requests: [], compositeRequest: [], batchRequests: [] }) !== null

const matches = (part: string, name: string): boolean =>
  part.startsWith('*') ? alike(name).endsWith(alike(part.slice(1))) : alike(part) === alike(name)
/** Is what the pointer names this field, or something inside the field's value? */
const meets = (
  wanted: readonly string[],
  own: readonly string[],
  literal = false,
): 'named' | 'inside' | null => {
  const [part, ...rest] = wanted
  const [piece, ...pieces] = own
  if (part === undefined) return 'named'
  if (piece === undefined) return literal ? 'inside' : null
  if (part === '**') return meets(rest, own, literal) ?? meets(wanted, pieces, literal)
  return matches(part, piece) ? meets(rest, pieces, literal || !part.startsWith('*')) : null
}
/** The same of a name as forms and queries write it: `a[b]` and `a.b` lead to one member. */
const fieldAt = (name: string, pointer: string): 'named' | 'inside' | null => {
  const wanted = pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
  const own = name.split(/[[\].]+/).filter((piece) => piece !== '')
  return meets(wanted, [name]) ?? meets(wanted, own)
}

/** Throws where what is to be taken out could stand in a place that is not looked at. */
const checkRequest = (
  name: string,
  { act, part, body, route }: Obliged,
  { pointers }: Pointed,
): void => {
  if (part !== null || act.kind === 'mcp' || act.kind === 'graphql')
    refuse(name, 'nothing can be taken out of a call inside another one, or of a message')
  if (act.operation.websocket != null) refuse(name, UNREAD)
  const { query } = route.target
  for (const pointer of pointers)
    if (!/^\/\*(?!\*)/.test(pointer) && query.some((one) => fieldAt(one.name, pointer) !== null))
      refuse(name, `the query has a field of the name in ${pointer}: send it in the body`)
  if (body.state === 'none') return
  const { reading } = readMedia(body.contentType)
  const { bytes } = body
  if (bytes === null || body.unseen === true)
    return refuse(name, 'the body passes unread: nothing can be taken out of it')
  if ((reading !== 'json' && reading !== 'form') || (reading === 'form' && beginsJson(bytes)))
    refuse(name, 'members can be taken out of JSON and of forms alone')
  if (reading === 'form')
    for (const pair of bytes.toString('latin1').split('&'))
      if (formNames(pair).some((one) => pointers.some((at) => fieldAt(one, at) === 'inside')))
        refuse(name, 'a pointer leads into the value of a field of the form: send JSON')
}

/** What a hook wants to have taken out of a request. Throws where it cannot be. */
export const takenByHook = (
  about: Obliged,
  name: string,
  pointers: readonly string[],
): Redaction => {
  const read: Pointed = { in: 'request', pointers }
  checkRequest(name, about, read)
  return { ...read, part: about.part }
}

export const redactCarrier: Carrier = (about, name, properties) => {
  const read = readPointed('redact', name, properties)
  if (read.in === 'request') checkRequest(name, about, read)
  else {
    const why = answerOf(about)
    if (why !== null) refuse(name, why)
  }
  return { ...read, part: about.part }
}

const pointersIn = (
  redactions: readonly Redaction[],
  where: Redaction['in'],
): readonly string[] => {
  const [first, ...more] = redactions.filter((one) => one.in === where)
  // The same list is the same walk, made ready once.
  return more.length === 0
    ? (first?.pointers ?? [])
    : [...new Set([first, ...more].flatMap((one) => one?.pointers ?? []))]
}

/** Of the bytes that are sent nobody but deputy knows the digest. */
const OF_THE_BODY = /^(?:content-md5|digest|content-digest|repr-digest)$/

const formWithout = (bytes: Buffer, pointers: readonly string[]): Buffer => {
  const pairs = bytes.toString('latin1').split('&')
  const out = new Set(
    pairs.flatMap((pair, i) => {
      const names = formNames(pair)
      return pointers.some((at) => names.some((one) => fieldAt(one, at) === 'named')) ? [i] : []
    }),
  )
  return out.size === 0
    ? bytes
    : Buffer.from(pairs.filter((_, i) => !out.has(i)).join('&'), 'latin1')
}
const jsonWithout = (bytes: Buffer, pointers: readonly string[]): Buffer => {
  const { text, count } = takeOutOfJson(bytes.toString('utf8'), pointers)
  return count === 0 ? bytes : Buffer.from(text)
}

/**
 * The request as it leaves: without what was to be taken out. Policy saw, and decided, the whole of it.
 * @returns `taken` null: nothing was demanded
 */
const withoutRedacted = (
  request: Request,
  redactions: readonly Redaction[],
): { readonly request: Request; readonly taken: TakenOut | null } => {
  const pointers = pointersIn(redactions, 'request')
  if (pointers.length === 0) return { request, taken: null }
  const { body, sifted } = request
  const { bytes } = body
  const { reading } = readMedia(body.contentType)
  const kept =
    bytes === null
      ? null
      : reading === 'form'
        ? formWithout(bytes, pointers)
        : jsonWithout(bytes, pointers)
  if (kept === null || kept === bytes) return { request, taken: { pointers, digest: null } }
  const digest = `sha256:${hash('sha256', kept, 'hex')}`
  const sent: Body = { ...body, bytes: kept, declared: kept.length, digest }
  const headers = sifted.kept.filter((_, i) => !OF_THE_BODY.test(sifted.kept[i - (i % 2)] ?? ''))
  return {
    request: { ...request, body: sent, sifted: { ...sifted, kept: headers } },
    taken: { pointers, digest },
  }
}

/** How the answer is read; null: nothing is redacted in it. */
const redactingOf = (
  { act, body }: Request,
  redactions: readonly Redaction[],
): Redacting | null => {
  const pointers = pointersIn(redactions, 'response')
  if (pointers.length === 0) return null
  if (act.kind === 'mcp') return { kind: 'message', pointers }
  const parts =
    act.envelope === undefined || body.bytes === null
      ? null
      : partsOf(act.envelope.format, JSON.parse(body.bytes.toString('utf8')))
  if (parts === null) return { kind: 'document', pointers }
  const each = parts.ids.map((_, i) =>
    pointersIn(
      redactions.filter(({ part }) => part === i + 1),
      'response',
    ),
  )
  return { kind: 'batch', parts, pointers: each }
}

/** What keeps an answer back until all of it was looked at; null: nothing does. */
const guardOf = (
  request: Request,
  redactions: readonly Redaction[],
  judge: Guard['judge'],
): Guard | null => {
  const redacting = redactingOf(request, redactions)
  if (redacting === null && judge === undefined) return null
  const names = request.route.connection.provider.names ?? EXACT
  const pass: Guard['pass'] = (text, status) =>
    redacting === null ? { text, count: 0 } : redactAnswer(text, redacting, { status, names })
  return judge === undefined ? { pass } : { pass, judge }
}

/**
 * The call as it leaves, what was taken out of it, and what keeps its answer back.
 * @param judge judges the whole answer; undefined: nobody does
 * @throws Problem obligation_refused where nothing can be taken out
 */
export const redacting = (
  request: Request,
  owed: readonly Owed[],
  judge?: Guard['judge'],
): {
  readonly request: Request
  readonly taken: TakenOut | null
  readonly guard: Guard | null
} => {
  if (judge !== undefined && request.act.operation.websocket != null) refuse('hooks', UNREAD)
  const redactions = owed.filter((one) => one.in !== 'answer')
  const keepings = owed.filter((one) => one.in === 'answer')
  return {
    ...withoutRedacted(request, redactions),
    guard: guardOf(request, redactions, keptBy(keepings, judge)),
  }
}

/** Kept is what the agent gets: what judges take out of it is not in it. */
const keptBy = (keepings: readonly Keeping[], judge: Guard['judge']): Guard['judge'] =>
  keepings.length === 0
    ? judge
    : async (answer) => {
        const said = (await judge?.(answer)) ?? { text: answer.text ?? '', count: 0 }
        for (const { kept } of keepings)
          await kept({ ...answer, text: answer.text === null ? null : said.text })
        return said
      }
