// One step of a tool, its arguments and what earlier steps answered → the request that the proxy door would get. Pure:
// what cannot be sent in one reading is refused here, in a sentence for the model, and nothing is sent.
import type { Json } from '../model.ts'
import type { Step } from './definition.ts'
import { messageTo, UNASKED } from './remote_message.ts'
import { isObject } from '../wire/json.ts'
import {
  asText,
  filled,
  filledText,
  Unsendable,
  type Given,
  type Members,
  type Template,
} from './template.ts'

export type Request = {
  readonly method: string
  /** null: each person's token says it. */
  readonly host: string | null
  /** Path and query. */
  readonly target: string
  /** Names and values in turn. */
  readonly headers: readonly string[]
  readonly body: Buffer | null
}

const MOST_TARGET = 8_192
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\0-\x1f\x7f-\x9f\\;]/

/** Most values: nothing of it needs an escape, or a second look. */
const BARE = /^[\w-][\w.~-]*$/
/** One segment of a path, or several where `slashes` may stand in it. */
const segment = (value: string, name: string, slashes: 'none' | 'encoded' | 'plain'): string => {
  if (BARE.test(value)) return value
  if (!value.isWellFormed()) throw new Unsendable(`\`${name}\` holds half of a character`)
  if (CONTROL.test(value))
    throw new Unsendable(`\`${name}\` holds a control character, a backslash or a semicolon`)
  // Whoever decodes twice would read another path than policy does.
  if (/%[0-9a-f]{2}/i.test(value))
    throw new Unsendable(`\`${name}\` holds a percent escape: write the character itself`)
  const parts = value.split('/')
  if (slashes === 'none' && parts.length > 1)
    throw new Unsendable(`\`${name}\` may not contain a slash`)
  for (const part of parts)
    if (['', '.', '..'].includes(part.trim()))
      throw new Unsendable(
        value.trim() === ''
          ? `\`${name}\` must not be empty`
          : `\`${name}\` has a part that is empty, "." or ".."`,
      )
  return parts.map(encodeURIComponent).join(slashes === 'plain' ? '/' : '%2F')
}

const argOf = (template: Template, name: string): string =>
  template.kind === 'arg' ? template.name : name

const pathOf = ({ operation, path }: Step, given: Given): string => {
  const templates = new Map(path)
  const { path: shape } = operation
  return shape.replaceAll(/\{(\w+)(\+?)\}/g, (match, name: string, more: string, at: number) => {
    const template = templates.get(name)
    const last = at + match.length === shape.length
    const slashes =
      more === '' ? 'none' : last || shape.startsWith(':', at + match.length) ? 'plain' : 'encoded'
    // In a text of OData a quote stands twice.
    const quoted = shape[at - 1] === "'"
    const said = template === undefined ? name : argOf(template, name)
    // What the author of the tool writes between the arguments stands as it is: `root:/{name}:`.
    if (template?.kind === 'text') {
      const parts =
        slashes === 'encoded'
          ? template.parts.map((part) => part.replaceAll('/', '%2F'))
          : template.parts
      const text = filledText(parts, given, (each, arg) => {
        const escaped = segment(each, arg, slashes)
        return quoted ? escaped.replaceAll("'", "''") : escaped
      })
      if (text !== undefined) return text
    }
    const value = template === undefined ? undefined : filled(template, given)
    if (value === undefined) throw new Unsendable(`\`${said}\` is missing; the request needs it`)
    const text = segment(asText(value, `\`${said}\``), said, slashes)
    return quoted ? text.replaceAll("'", "''") : text
  })
}

const parameter = (text: string, name: string): string => {
  if (!text.isWellFormed()) throw new Unsendable(`\`${name}\` holds half of a character`)
  if (text.includes('\0')) throw new Unsendable(`\`${name}\` holds a zero byte`)
  return encodeURIComponent(text)
}
/** Every parameter with its template, those of the one argument that holds further ones last. */
const parametersOf = ({ query, rest }: Step, { args }: Given): Members => {
  const more = rest === null ? undefined : args.get(rest)
  return isObject(more)
    ? [
        ...query,
        ...Object.entries(more).map(([name, value]) => [name, { kind: 'literal', value }] as const),
      ]
    : query
}
const queryOf = (step: Step, given: Given): string => {
  const pairs: string[] = []
  for (const [name, template] of parametersOf(step, given)) {
    const value = filled(template, given)
    if (value === undefined || value === null) continue
    const said = argOf(template, name)
    const key = parameter(name, name).replaceAll('%24', '$')
    for (const one of Array.isArray(value) ? (value as readonly Json[]) : [value])
      pairs.push(`${key}=${parameter(asText(one, `\`${said}\``), said)}`)
  }
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`
}

const headersOf = ({ headers }: Step, given: Given): readonly string[] =>
  headers.flatMap(([name, template]) => {
    const value = filled(template, given)
    if (value === undefined || value === null) return []
    const said = argOf(template, name)
    const text = asText(value, `\`${said}\``)
    if (!/^[\x20-\x7e]*$/.test(text))
      throw new Unsendable(`\`${said}\` goes into a header: printable ASCII in one line only`)
    return [name, text]
  })

const contentOf = (
  { body, graphql, content }: Step,
  given: Given,
): { readonly type: string; readonly bytes: Buffer } | null => {
  if (graphql !== null) {
    const variables = Object.fromEntries(
      graphql.variables.flatMap(([name, template]) => {
        const value = filled(template, given)
        return value === undefined ? [] : [[name, value]]
      }),
    )
    const text = JSON.stringify({ query: graphql.document, variables })
    return { type: 'application/json', bytes: Buffer.from(text) }
  }
  if (content !== null) {
    const value = filled(content.of, given)
    return value === undefined
      ? null
      : { type: content.type, bytes: Buffer.from(asText(value, 'the content')) }
  }
  const value = body === null ? undefined : filled(body, given)
  return value === undefined
    ? null
    : { type: 'application/json', bytes: Buffer.from(JSON.stringify(value)) }
}

/** @throws Unsendable with a sentence for the model */
export const requestOf = (step: Step, given: Given): Request => {
  if (step.remote !== undefined)
    return messageTo(
      UNASKED,
      { host: step.host, path: step.operation.path },
      {
        method: 'tools/call',
        params: { name: step.remote, arguments: Object.fromEntries(given.args) },
      },
    )
  const target = pathOf(step, given) + queryOf(step, given)
  if (target.length > MOST_TARGET)
    throw new Unsendable(
      `the arguments make an address of more than ${MOST_TARGET} bytes: shorten them`,
    )
  const content = contentOf(step, given)
  const own = headersOf(step, given)
  return {
    method: step.operation.method,
    host: step.host,
    target,
    headers: content === null ? own : [...own, 'content-type', content.type],
    body: content?.bytes ?? null,
  }
}
