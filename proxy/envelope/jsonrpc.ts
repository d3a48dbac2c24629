// One JSON-RPC message of MCP, in one reading (revisions 2025-11-25 and 2026-07-28): what it calls, by which name, with what.
import type { Json, McpCall, Names } from '../model.ts'
import { Problem } from '../problem.ts'
import {
  exactly,
  hasNumber,
  isMarked,
  isObject,
  markNumbers,
  memberAt,
  quoted,
} from '../wire/json.ts'

/** Of the newer revision each request says these (`_meta`), and headers repeat what the body says. */
const META = 'io.modelcontextprotocol/'
const MODERN = '2026-07-28'
/** Under this name deputy asks a client to show its link; what it says to that is for deputy. */
export const ASKED = 'deputy'

/** Members whose meaning is the protocol's (JSON-RPC 2.0, 4 and 5). */
export const MEMBERS: ReadonlySet<string> = new Set([
  'jsonrpc',
  'id',
  'method',
  'params',
  'result',
  'error',
])
/** Members of `params` that say what is called. */
const PARAMS = [
  'name',
  'uri',
  'ref',
  'arguments',
  'argument',
  'context',
  '_meta',
  'inputResponses',
  'requestState',
  'cursor',
  'notifications',
]
/** Which member of `params` names what is called. */
const NAMED: ReadonlyMap<string, 'name' | 'uri' | 'ref'> = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
  ['resources/subscribe', 'uri'],
  ['resources/unsubscribe', 'uri'],
  ['completion/complete', 'ref'],
])
/** Whoever may read a resource may hear of its changes, and who may get a prompt may have its arguments completed. */
const SAME_AS: ReadonlyMap<unknown, string> = new Map([
  ['resources/subscribe', 'resources/read'],
  ['resources/unsubscribe', 'resources/read'],
  ['ref/prompt', 'prompts/get'],
  ['ref/resource', 'resources/read'],
])

const refused = (detail: string): Problem => new Problem('request_invalid', detail)
const mismatch = (header: string): Problem =>
  new Problem('request_invalid', `the header ${header} does not say what the body says`, {
    extra: { rpc: -32020 },
  })
const shown = (text: string): string => quoted(text.slice(0, 64))
/** One text for all spellings that readers who fold case take for one. */
export const folded = (text: string): string => text.toUpperCase().toLowerCase()

type Fields = { readonly [name: string]: unknown }
type Headers = Readonly<Record<string, string | readonly string[] | undefined>>

const foldedNames = new WeakMap<readonly string[], ReadonlyMap<string, string>>()
const spellings = (names: readonly string[]): ReadonlyMap<string, string> => {
  let known = foldedNames.get(names)
  if (known === undefined)
    foldedNames.set(names, (known = new Map(names.map((name) => [folded(name), name]))))
  return known
}
/** Members that some readers take for one of these and others do not. */
const oneSpelling = (of: Fields, names: readonly string[], where: string): void => {
  const known = spellings(names)
  for (const key of Object.keys(of)) {
    const name = known.get(folded(key))
    if (name !== undefined && name !== key)
      throw refused(`${where} has the member ${shown(key)}, which some servers take for ${name}`)
  }
}

const idOf = (id: unknown): string | number => {
  if (typeof id === 'string' && id.length <= 256) return id
  if (Number.isSafeInteger(id)) return id as number
  throw refused(
    'the id of a JSON-RPC request is a text of at most 256 characters or a whole number',
  )
}

// oxlint-disable-next-line no-control-regex
const UNSAFE = /[\0-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/
const textOf = (value: unknown, what: string, most: number): string => {
  if (typeof value !== 'string' || value === '') throw refused(`${what} is no text`)
  if (value.length > most) throw refused(`${what} has more than ${most} characters`)
  if (UNSAFE.test(value)) throw refused(`${what} holds a character that is not shown`)
  return value
}

/** What is called, and the row under which it may be. */
const called = (
  method: string,
  params: Fields,
): { readonly key: string; readonly name: string | null } => {
  const by = NAMED.get(method)
  if (by === undefined) return { key: method, name: null }
  if (by !== 'ref') {
    const name = textOf(params[by], `params.${by}`, by === 'uri' ? 2_000 : 128)
    return { key: `${SAME_AS.get(method) ?? method} ${name}`, name }
  }
  const ref = isObject(params['ref']) ? params['ref'] : {}
  oneSpelling(ref, ['type', 'name', 'uri'], 'params.ref')
  const as = SAME_AS.get(ref['type'])
  if (as === undefined) throw refused('params.ref is neither a prompt nor a resource')
  const name =
    as === 'prompts/get'
      ? textOf(ref['name'], 'params.ref.name', 128)
      : textOf(ref['uri'], 'params.ref.uri', 2_000)
  return { key: `${as} ${name}`, name }
}

/** `=?base64?…?=` where the value is no plain header text. */
const plainHeader = (value: string): string => {
  const encoded = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/.exec(value)
  return encoded === null ? value : Buffer.from(encoded[1] ?? '', 'base64').toString('utf8')
}
const headerOf = (headers: Headers, name: string): string | null => {
  const value = headers[name]
  if (value === undefined) return null
  // Said twice it reads `a, a`, and fits nothing.
  return plainHeader(String(value))
}
/** Every text, number and truth value in it. */
const scalars = (value: unknown): readonly string[] =>
  typeof value === 'object' && value !== null
    ? Object.values(value).flatMap(scalars)
    : [String(value)]

/** A server, or what stands before it, may go by the headers: they say what the body says, or the call is refused. */
const checkHeaders = (
  headers: Headers,
  said: { readonly method: string; readonly name: string | null; readonly version: string | null },
  params: Fields,
): void => {
  const { method, name, version } = said
  const modern = version !== null && version >= MODERN
  const told = headerOf(headers, 'mcp-protocol-version')
  if (version !== null && (told === null ? modern : told !== version))
    throw mismatch('MCP-Protocol-Version')
  if (version === null && told !== null && told >= MODERN) throw mismatch('MCP-Protocol-Version')
  const toldMethod = headerOf(headers, 'mcp-method')
  if (toldMethod === null ? modern : toldMethod !== method) throw mismatch('Mcp-Method')
  const toldName = headerOf(headers, 'mcp-name')
  const wanted = NAMED.get(method) === 'ref' ? null : name
  if (
    toldName === null
      ? modern && wanted !== null && /^(?:tools\/call|prompts\/get|resources\/read)$/.test(method)
      : toldName !== wanted
  )
    throw mismatch('Mcp-Name')
  checkMirrored(headers, params['arguments'])
}
/** `Mcp-Param-NAME` repeats one argument; which one, only the server's schema says. */
const checkMirrored = (headers: Headers, given: unknown): void => {
  for (const header of Object.keys(headers)) {
    if (!header.startsWith('mcp-param-')) continue
    const value = headerOf(headers, header) ?? ''
    const own = isObject(given)
      ? Object.keys(given).find((key) => folded(key) === header.slice('mcp-param-'.length))
      : undefined
    const among = own !== undefined && isObject(given) ? scalars(given[own]) : scalars(given)
    if (!among.includes(value)) throw mismatch(header)
  }
}

const urlIn = (capabilities: unknown): boolean =>
  isObject(capabilities) &&
  isObject(capabilities['elicitation']) &&
  isObject(capabilities['elicitation']['url'])

/** What the client's person did with the link that deputy asked it to show. */
const answerIn = (params: Fields): McpCall['answered'] => {
  const all = params['inputResponses']
  if (!isObject(all) || !Object.hasOwn(all, ASKED)) return null
  const own = all[ASKED]
  return isObject(own) && own['action'] === 'accept' ? 'accept' : 'declined'
}
/** Do answers to the server's questions say more than that its person agrees or does not? */
const tells = (params: Fields): boolean => {
  const all = params['inputResponses'] ?? {}
  if (!isObject(all)) return true
  return Object.entries(all).some(
    ([name, one]) =>
      name !== ASKED &&
      !(isObject(one) && /^\{"action":"(?:accept|decline|cancel)"\}$/.test(JSON.stringify(one))),
  )
}
/** At most so many, since each is decided. */
const MOST_URIS = 64
/** The rows of the resources of whose changes it asks to hear. */
const subscribed = (params: Fields): readonly string[] => {
  const wanted = params['notifications'] ?? {}
  if (!isObject(wanted)) throw refused('params.notifications is no JSON object')
  oneSpelling(wanted, ['resourceSubscriptions'], 'params.notifications')
  const uris = wanted['resourceSubscriptions'] ?? []
  const where = 'params.notifications.resourceSubscriptions'
  if (!Array.isArray(uris) || uris.length > MOST_URIS)
    throw refused(`${where} is no list of at most ${MOST_URIS} URIs`)
  return uris.map((uri) => `resources/read ${textOf(uri, where, 2_000)}`)
}
/** The text without what was said to deputy; every other byte of a value stays. */
const withoutAnswer = (text: string): string => {
  const whole = JSON.parse(text, exactly) as {
    params: { inputResponses?: Record<string, unknown> }
  }
  const { [ASKED]: _own, ...others } = whole.params.inputResponses ?? {}
  if (Object.keys(others).length > 0) whole.params.inputResponses = others
  else delete whole.params.inputResponses
  return JSON.stringify(whole)
}
export type Spoken = { readonly call: McpCall; /** What will be sent. */ readonly text: string }

/**
 * @param value of the text, parsed without duplicate keys
 * @throws Problem request_invalid: a batch, no JSON-RPC 2.0, or headers that say something else
 */
export const readMessage = (text: string, value: unknown, headers: Headers): Spoken => {
  if (Array.isArray(value)) throw refused('JSON-RPC messages come one by one, never in a batch')
  if (!isObject(value) || value['jsonrpc'] !== '2.0')
    throw refused('the body is no JSON-RPC 2.0 message')
  const odd = Object.keys(value).find((key) => !MEMBERS.has(key))
  if (odd !== undefined) throw refused(`the JSON-RPC message has the member ${shown(odd)}`)
  if (!Object.hasOwn(value, 'method')) return { call: responseOf(value), text }
  const method = textOf(value['method'], 'the method', 128)
  // Rows of answers are no methods.
  if (!/^[\w$./-]+$/.test(method) || /^response(?:\/empty)?$/.test(method))
    throw refused('the method is no name of a method')
  if (Object.hasOwn(value, 'result') || Object.hasOwn(value, 'error'))
    throw refused('the JSON-RPC message is both a request and a response')
  const params = value['params'] ?? {}
  if (!isObject(params)) throw refused('params is no JSON object')
  oneSpelling(params, PARAMS, 'params')
  const meta = params['_meta'] ?? {}
  if (!isObject(meta)) throw refused('params._meta is no JSON object')
  const version = meta[`${META}protocolVersion`] ?? null
  if (version !== null && typeof version !== 'string')
    throw refused('the protocol version is no text')
  const given = params['arguments']
  if (given !== undefined && given !== null && !isObject(given))
    throw refused('params.arguments is no JSON object')
  const { key, name } = called(method, params)
  checkHeaders(headers, { method, name, version }, params)
  const answered = answerIn(params)
  const also = [...(tells(params) ? ['response'] : []), ...subscribed(params)]
  const modern = version !== null && version >= MODERN
  const call: McpCall = {
    kind: Object.hasOwn(value, 'id') ? 'request' : 'notification',
    id: Object.hasOwn(value, 'id') ? idOf(value['id']) : null,
    method,
    key,
    name,
    ...(also.length === 0 ? {} : { also }),
    modern,
    // Of the older revision only the opening says it; later calls know it by their session.
    url: modern
      ? urlIn(meta[`${META}clientCapabilities`])
      : method === 'initialize' && urlIn(params['capabilities']),
    answered,
  }
  return { call, text: answered === null ? text : withoutAnswer(text) }
}

/** An error that tells the server no more than that there is one. */
const isShort = (error: unknown): boolean => {
  if (!isObject(error)) return false
  const { code, message = '', ...more } = error
  const short = typeof message === 'string' && message.length <= 128
  return Number.isSafeInteger(code) && short && Object.keys(more).length === 0
}
/** What the client says to a question of the server. */
const responseOf = (value: Fields): McpCall => {
  const ends = ['result', 'error'].filter((key) => Object.hasOwn(value, key))
  if (ends.length !== 1) throw refused('the JSON-RPC message is neither a request nor a response')
  idOf(value['id'])
  const { result, error } = value
  const empty =
    ends[0] === 'error' ? isShort(error) : isObject(result) && Object.keys(result).length === 0
  return {
    kind: 'response',
    id: null,
    method: 'response',
    key: empty ? 'response/empty' : 'response',
    name: null,
    modern: false,
    url: false,
    answered: null,
  }
}

/**
 * What a completion says of arguments: the one that is being typed, and those before it, as arguments of what is completed.
 * @throws Problem request_invalid: one of them has more than one reading
 */
const completed = (params: Fields): Fields => {
  const { argument, context = {} } = params
  if (!isObject(argument)) throw refused('params.argument is no JSON object')
  if (!isObject(context)) throw refused('params.context is no JSON object')
  oneSpelling(argument, ['name', 'value'], 'params.argument')
  oneSpelling(context, ['arguments'], 'params.context')
  const before = context['arguments'] ?? {}
  if (!isObject(before) || Object.values(before).some((one) => typeof one !== 'string'))
    throw refused('params.context.arguments is no JSON object of texts')
  const name = textOf(argument['name'], 'params.argument.name', 128)
  const { value } = argument
  if (typeof value !== 'string') throw refused('params.argument.value is no text')
  if (Object.hasOwn(before, name) && before[name] !== value)
    throw refused('params.context.arguments has another value for the argument that is completed')
  return Object.fromEntries([...Object.entries(before), [name, value]])
}

/** Some servers parse an argument that is a text, where they expect more than a text; Python's reader knows NaN, too. */
const parses = (text: string): boolean => {
  try {
    const value: unknown = JSON.parse(text.replaceAll(/\b(?:NaN|Infinity)\b/g, '0'))
    return typeof value === 'object'
  } catch {
    return false
  }
}
/** Does a text stand where an object or a list is meant, or one in which a server may find such? */
const hidden = (value: unknown, pointer: string, names: Names): boolean => {
  const parts = pointer.split('/')
  return parts.some((_, i) => {
    const at = memberAt(value, `/params/arguments${parts.slice(0, i + 1).join('/')}`, names)
    const text = at !== undefined && 'value' in at ? at.value : undefined
    return typeof text === 'string' && (i < parts.length - 1 || parses(text))
  })
}

/**
 * The arguments that an operation's `inspect` names, pointers into `params.arguments`; of a completion, into what it says of
 * arguments.
 * @throws Problem request_invalid: one of them has more than one reading
 */
export const argumentsAt = (
  text: string,
  value: unknown,
  inspect: readonly string[],
  names: Names,
): Readonly<Record<string, Json>> => {
  if (inspect.length > 0 && isObject(value) && value['method'] === 'completion/complete') {
    const given = {
      params: { arguments: completed(isObject(value['params']) ? value['params'] : {}) },
    }
    return argumentsAt(JSON.stringify(given), given, inspect, names)
  }
  const found: Record<string, Json> = {}
  let marked: unknown
  for (const pointer of inspect) {
    const whole = `/params/arguments${pointer}`
    if (hidden(value, pointer, names))
      throw refused(`the arguments have a text where ${pointer} is, which some servers parse`)
    const at = memberAt(value, whole, names)
    if (at === undefined) continue
    if ('clash' in at)
      throw refused(
        `the arguments have ${at.clash}, which some servers take for a part of ${pointer}`,
      )
    if (hasNumber(at.value) && isMarked(memberAt((marked ??= markNumbers(text)), whole, names)))
      throw refused(`${pointer} holds a number that other readers round otherwise (RFC 7493 2.2)`)
    found[pointer] = at.value as Json
  }
  return found
}
