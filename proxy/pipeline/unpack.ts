// The calls in a batch, each as if it had come alone: canonical, classified, its body read. What one of them could hide
// refuses the whole, and says in which part.
import type { Access, InnerCall, Provider, Route } from '../model.ts'
import { Problem } from '../problem.ts'
import { inPart } from '../envelope/inner.ts'
import { asMembers, isMessage, mailIn } from '../envelope/mail.ts'
import { bodyRules, queryMembers, readBody, readMember } from '../wire/body.ts'
import type { Read } from '../wire/body.ts'
import { canonicalTarget } from '../wire/canonical.ts'
import { takes } from '../wire/grpc.ts'
import { atPointer } from '../wire/json.ts'
import { readMedia } from '../wire/media.ts'
import { stripQuery } from '../wire/strip.ts'
import type { Act, Classify } from './classify.ts'
import type { Body } from './inspect.ts'

const refused = (detail: string): Problem => new Problem('request_invalid', detail)
const unsupported = (detail: string): Problem => new Problem('unsupported_media_type', detail)

/** The strongest of what its calls mean. */
const STRENGTH: readonly Access[] = ['read', 'write', 'delete', 'admin']
const strongest = (acts: readonly Act[]): Access =>
  STRENGTH[Math.max(...acts.map(({ operation }) => STRENGTH.indexOf(operation.access)))] ?? 'admin'

/**
 * @returns the call with its parts, and what was read of the body of each
 * @throws Problem request_invalid, credential_in_body, unsupported_media_type
 */
export const unpack = (
  outer: Act,
  route: Route,
  body: Body,
  classify: Classify,
): { readonly act: Act; readonly body: Body } => {
  const { calls, marked } = body
  if (outer.envelope === undefined) return { act: outer, body }
  if (calls === undefined) throw refused('a batch comes with a body that holds its calls')
  // What stands in the URL of a batch may hold for each of its calls.
  if (route.target.query.length > 0) throw refused('a batch has no query in its URL')
  const parts = calls.map((call, i) =>
    inPart(i + 1, () => one(call, route, body, { classify, marked })),
  )
  const [first, ...rest] = parts.map(({ act }) => act)
  if (first === undefined) throw refused('the batch holds no call')
  const operation = { ...outer.operation, access: strongest([first, ...rest]) }
  return {
    act: { ...outer, operation, parts: [first, ...rest] },
    body: { ...body, parts: parts.map((part) => part.body) },
  }
}

const one = (
  call: InnerCall,
  route: Route,
  whole: Body,
  of: { readonly classify: Classify; readonly marked: (() => unknown) | undefined },
): { readonly act: Act; readonly body: Body } => {
  const { provider } = route.connection
  const target = canonicalTarget(call.method, call.target)
  if (stripQuery(target, provider).stripped.length > 0)
    throw new Problem('credential_in_body', 'its query holds a credential: deputy supplies it')
  const act = of.classify({ ...route, target })
  if (act.envelope !== undefined || act.fields !== undefined)
    throw refused('it holds calls of its own: send them one by one')
  const read = bodyOf(call, act, provider, of.marked)
  if (call.refers === true && (act.operation.inspect.length > 0 || act.operation.mail))
    throw refused(
      'policy needs members of its body, and it refers to what another part will answer',
    )
  queryMembers(target.query, act.operation.inspect, read.json)
  return { act: { ...act, target }, body: { ...read, digest: whole.digest } }
}

const bodyOf = (
  { body, contentType, target, method, stripped }: InnerCall,
  { operation }: Act,
  provider: Provider,
  marked: (() => unknown) | undefined,
): Body => {
  const rules = bodyRules(provider, operation)
  const said = { bytes: null, contentType, digest: null, stripped, json: {} }
  const { query } = canonicalTarget(method, target)
  const mailed = (of: Parameters<typeof mailIn>[2]): Pick<Body, 'mail'> =>
    operation.mail === undefined ? {} : { mail: mailIn(operation.mail, query, of) }
  if (body.kind === 'none')
    return {
      ...said,
      ...mailed(null),
      state: 'none',
      declared: 0,
      json: queryMembers(query, operation.inspect, null),
    }
  const media = readMedia(contentType ?? (body.kind === 'json' ? 'application/json' : null))
  if (operation.opaque && !takes(operation.opaque, media.essence))
    throw unsupported(`${operation.id} takes bodies of ${operation.opaque} and no others`)
  if (body.kind === 'json') {
    if (media.reading !== 'json' || (media.charset !== null && media.charset !== 'utf-8'))
      throw unsupported('its body is JSON, and its Content-Type says otherwise')
    const { json } = readMember(body.value, () => at(marked, body.pointer), rules)
    return {
      ...said,
      ...mailed({
        ...rules,
        essence: media.essence,
        contentType: '',
        bytes: null,
        value: body.value,
      }),
      state: 'parsed',
      declared: Buffer.byteLength(JSON.stringify(body.value)),
      json,
    }
  }
  const declared = body.bytes.length
  const of = { ...rules, essence: media.essence, contentType: contentType ?? '', bytes: body.bytes }
  if (operation.mail !== undefined && isMessage(operation.mail, media.essence)) {
    const mail = mailIn(operation.mail, query, of)
    const json = asMembers(operation.mail, mail, operation.inspect)
    return { ...said, mail, state: 'parsed', declared, json }
  }
  if (operation.opaque) return { ...said, state: 'unparsed', declared }
  const needed = operation.inspect.length > 0
  const passes = media.reading === 'stream' || (media.reading === 'refused' && operation.upload)
  if (passes && !needed) return { ...said, ...mailed(of), state: 'unparsed', declared }
  if (passes || media.reading === 'refused')
    throw unsupported('its body is of a type that deputy cannot read: send JSON')
  const read = whole(readBody(body.bytes, media, contentType ?? '', rules))
  const mail = mailed({ ...of, value: read.value })
  return { ...said, ...mail, state: read.state, declared, json: read.json }
}

const at = (marked: (() => unknown) | undefined, pointer: string): unknown =>
  atPointer(marked?.(), pointer)

/** Nothing is cut out of a part: what was read must be what is sent. */
const whole = (read: Read): Read => {
  const [first] = read.stripped
  if (first === undefined) return read
  throw new Problem(
    'credential_in_body',
    `its body has the credential ${first}: deputy supplies it`,
  )
}
