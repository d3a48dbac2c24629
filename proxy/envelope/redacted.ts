// Answers of which a part may not be seen: documents, messages of MCP servers, and batches, where each part has its own
// pointers. What cannot be read in one way is refused: nothing of it passes.
import type { EnvelopeFormat, Names } from '../model.ts'
import { Problem } from '../problem.ts'
import { atPointer, isObject, parseStrict } from '../wire/json.ts'
import { editJson, redactJson } from '../wire/rewrite.ts'

/** What is known of an answer before it comes. `pointers` are RFC 6901, with `*` for any member or item. */
export type Redacting =
  | { readonly kind: 'document'; readonly pointers: Pointers }
  | { readonly kind: 'message'; readonly pointers: Pointers }
  | { readonly kind: 'batch'; readonly parts: Parts; readonly pointers: readonly Pointers[] }
type Pointers = readonly string[]
/** How a batch's answer names its parts. */
export type Parts = { readonly format: BatchFormat; readonly ids: readonly string[] }
type BatchFormat = keyof typeof ANSWERS

export type Redacted = { readonly text: string; readonly count: number }

const unreadable = (detail: string): Problem => new Problem('answer_not_redactable', detail)

/** By the format of a batch: the list in the request and its ids, the list in the answer, and where a part's body is. */
const ANSWERS = {
  graph_batch: { asked: 'requests', id: 'id', answered: 'responses', body: 'body' },
  salesforce_composite: {
    asked: 'compositeRequest',
    id: 'referenceId',
    answered: 'compositeResponse',
    body: 'body',
  },
  salesforce_batch: { asked: 'batchRequests', id: null, answered: 'results', body: 'result' },
} as const

/**
 * @param request the batch's own document
 * @returns null: no part of an answer to such a batch can be told from another
 */
export const partsOf = (format: EnvelopeFormat, request: unknown): Parts | null => {
  if (!Object.hasOwn(ANSWERS, format)) return null
  const known = format as BatchFormat
  const { asked, id } = ANSWERS[known]
  const list = atPointer(request, `/${asked}`)
  return Array.isArray(list)
    ? {
        format: known,
        ids: list.map((one, i) => (id === null ? `${i}` : idOf(atPointer(one, `/${id}`)))),
      }
    : null
}
const idOf = (id: unknown): string => (typeof id === 'string' ? id.toLowerCase() : '')

/**
 * Where the body of each part stands in a batch's answer; null: it has none.
 * @throws Problem answer_not_redactable: a part that nobody asked for, or one twice
 */
export const bodiesIn = (value: unknown, { format, ids }: Parts): readonly (string | null)[] => {
  const { id, answered, body } = ANSWERS[format]
  const list = isObject(value) ? value[answered] : undefined
  if (!Array.isArray(list)) throw unreadable('the batch’s answer has no list of answers')
  const found: (string | null)[] = ids.map(() => null)
  const seen = new Set<number>()
  for (const [i, one] of list.entries()) {
    const part = id === null ? i : ids.indexOf(idOf(isObject(one) ? one[id] : undefined))
    if (!isObject(one) || found[part] === undefined || seen.has(part))
      throw unreadable('the batch’s answer has an answer that cannot be told from the others')
    seen.add(part)
    if (one[body] !== undefined && one[body] !== null) found[part] = `/${answered}/${i}/${body}`
  }
  return found
}

const strictly = (text: string): unknown => {
  try {
    return parseStrict(text.replace(/^\ufeff/, ''))
  } catch {
    // What the parser says would quote what may not be seen.
    throw unreadable('the answer is not JSON with one reading')
  }
}

const document = (text: string, pointers: Pointers, names: Names): Redacted => {
  try {
    return redactJson(text, pointers, names)
  } catch (error) {
    if (error instanceof SyntaxError) throw unreadable('the answer is no JSON document')
    throw error
  }
}
const under = (prefix: string, pointers: Pointers): Pointers =>
  pointers.map((pointer) => prefix + pointer)

const batch = (text: string, parts: Parts, each: readonly Pointers[], names: Names): Redacted => {
  const value = strictly(text)
  const all = bodiesIn(value, parts).flatMap((body, i) => {
    const pointers = each[i] ?? []
    if (body === null || pointers.length === 0) return []
    // What is no JSON stands there as a text.
    if (typeof atPointer(value, body) !== 'object')
      throw unreadable(`the answer to part ${i + 1} of the batch is no JSON document`)
    return under(body, pointers)
  })
  return document(text, all, names)
}

/** Members of a result that hold what a tool said; some servers and clients fold case. */
const SAID = ['structuredContent', 'content', 'contents', 'messages']
const TEXTS = ['/result/content/*/text', '/result/contents/*/text']

/** What of a result is a document by itself; texts in it must be JSON. */
const documentsIn = (result: { readonly [name: string]: unknown }): readonly string[] => {
  const odd = Object.keys(result).find((key) =>
    SAID.some((one) => one !== key && one.toLowerCase() === key.toLowerCase()),
  )
  if (odd !== undefined) throw unreadable(`the MCP server spells ${odd} as no server should`)
  if (result['messages'] !== undefined)
    throw unreadable('the MCP server answers a prompt, which has no members to redact')
  for (const list of [result['content'], result['contents']])
    if (
      list !== undefined &&
      !(
        Array.isArray(list) &&
        list.every(
          (one) =>
            isObject(one) &&
            typeof one['text'] === 'string' &&
            (one['type'] === undefined || one['type'] === 'text'),
        )
      )
    )
      throw unreadable('the MCP server answers with something else than texts')
  return SAID.some((key) => Object.hasOwn(result, key))
    ? ['/result/structuredContent', '/result/_meta']
    : ['/result']
}

const message = (text: string, pointers: Pointers, names: Names): Redacted => {
  const value = strictly(text)
  if (!isObject(value)) throw unreadable('the MCP server’s answer is no JSON-RPC message')
  // An error of HTTP may be any document.
  if (!Object.hasOwn(value, 'jsonrpc')) return document(text, pointers, names)
  const { result } = value
  const documents = isObject(result) ? documentsIn(result) : ['/result']
  const outer = document(
    text,
    [...documents, '/error/data', '/params'].flatMap((prefix) => under(prefix, pointers)),
    names,
  )
  let { count } = outer
  const inner = editJson(outer.text, TEXTS, (said) => {
    const done = document(said, pointers, names)
    count += done.count
    return done.count === 0 ? null : done.text
  })
  return { text: inner, count }
}

/**
 * The answer without what may not be seen: each value that a pointer names is `"[redacted]"`.
 * @param status of the answer: what failed as a whole is one document, also where parts were asked for
 * @throws Problem answer_not_redactable
 */
export const redactAnswer = (
  text: string,
  of: Redacting,
  { status, names }: { readonly status: number; readonly names: Names },
): Redacted => {
  if (of.kind === 'document') return document(text, of.pointers, names)
  if (of.kind === 'message') return message(text, of.pointers, names)
  return status < 300
    ? batch(text, of.parts, of.pointers, names)
    : document(text, [...new Set(of.pointers.flat())], names)
}
