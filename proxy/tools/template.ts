// The templates of a tool's requests: what stands in the YAML, read once, and filled for each call. Pure.
import type { Json } from '../model.ts'
import { atPointer, isObject } from '../wire/json.ts'
import { mimeMessage } from './mime.ts'

/** How a text stands in another language: 'it\\'s' as in SOQL and in Drive's q, or "a \\"phrase\\"" of a search. */
type Quote = 'backslash' | 'phrase'

export type Template =
  | { readonly kind: 'literal'; readonly value: Json }
  /** Of a list also the element that `item` means. */
  | { readonly kind: 'arg'; readonly name: string }
  | { readonly kind: 'step'; readonly name: string; readonly at: string }
  | { readonly kind: 'item'; readonly at: string }
  /** Literal texts and names of arguments in turn, a text first. */
  | { readonly kind: 'text'; readonly parts: readonly string[]; readonly quote: Quote | null }
  | { readonly kind: 'mime'; readonly members: Members }
  | { readonly kind: 'json'; readonly of: Template }
  | { readonly kind: 'split'; readonly of: Template; readonly by: string }
  | { readonly kind: 'join'; readonly of: Template; readonly by: string }
  /** A list from a list; `item` is its element. */
  | { readonly kind: 'map'; readonly of: Template; readonly to: Template }
  | { readonly kind: 'base64'; readonly of: Template }
  /** Where a step's answer says that the next page is: its `Link` header (RFC 8288) with rel=next. */
  | { readonly kind: 'link'; readonly step: string }
  /** One parameter of the query of a URL. */
  | { readonly kind: 'query'; readonly of: Template; readonly name: string }
  | { readonly kind: 'list'; readonly items: readonly Template[] }
  | { readonly kind: 'object'; readonly members: Members }
export type Members = readonly (readonly [string, Template])[]

/** What a template is filled with. */
export type Given = {
  readonly args: ReadonlyMap<string, Json>
  readonly steps: ReadonlyMap<string, Json>
  readonly item: Json | undefined
  readonly links: ReadonlyMap<string, string>
}
/** The arguments cannot be sent as they are; the message is for the model. */
export class Unsendable extends Error {
  override readonly name = 'Unsendable'
}

/** What a template refers to, for the check of a file. */
export type Uses = {
  readonly arg: (name: string) => void
  readonly step: (name: string) => void
  readonly item: () => void
  readonly wrong: (what: string) => void
}

const MIME = new Set([
  'to',
  'cc',
  'bcc',
  'subject',
  'text',
  'type',
  'from',
  'reply_to',
  'in_reply_to',
  'references',
])
const POINTER = /^(?:\/(?:[^~/]|~[01])*)*$/

const pointerOf = (at: unknown, uses: Uses): string => {
  if (typeof at === 'string' && POINTER.test(at)) return at
  uses.wrong('is no JSON pointer (a text that begins with /)')
  return ''
}
const onlyKeys = (raw: object, keys: readonly string[], uses: Uses): void => {
  for (const key of Object.keys(raw))
    if (!keys.includes(key)) uses.wrong(`${key} is not known beside ${keys[0] ?? ''}`)
}
const QUOTE: Readonly<Record<Quote, RegExp>> = { backslash: /[\\']/g, phrase: /[\\"]/g }
const quoted = (text: string, quote: Quote): string => {
  const mark = quote === 'phrase' ? '"' : "'"
  return mark + text.replaceAll(QUOTE[quote], '\\$&') + mark
}

const textOf = (raw: unknown, quote: unknown, uses: Uses): Template => {
  if (typeof raw !== 'string') uses.wrong('$text must be a text')
  const known = quote === 'backslash' || quote === 'phrase' ? quote : null
  if (known !== quote && quote !== undefined) uses.wrong('quote is backslash or phrase')
  const parts = String(raw).split(/\{(\w+)\}/)
  parts.forEach((name, i) => {
    if (i % 2 === 1) uses.arg(name)
  })
  return { kind: 'text', parts, quote: known }
}

const OPERATORS: Readonly<
  Record<string, (raw: { readonly [name: string]: unknown }, uses: Uses) => Template>
> = {
  $arg: (raw, uses) => {
    onlyKeys(raw, ['$arg'], uses)
    const name = String(raw['$arg'])
    uses.arg(name)
    return { kind: 'arg', name }
  },
  $step: (raw, uses) => {
    onlyKeys(raw, ['$step', 'at'], uses)
    const name = String(raw['$step'])
    uses.step(name)
    return { kind: 'step', name, at: pointerOf(raw['at'] ?? '', uses) }
  },
  $item: (raw, uses) => {
    onlyKeys(raw, ['$item'], uses)
    uses.item()
    return { kind: 'item', at: pointerOf(raw['$item'], uses) }
  },
  $text: (raw, uses) => {
    onlyKeys(raw, ['$text', 'quote'], uses)
    return textOf(raw['$text'], raw['quote'], uses)
  },
  $mime: (raw, uses) => {
    onlyKeys(raw, ['$mime'], uses)
    const members = readMembers(raw['$mime'], uses)
    for (const [name] of members) if (!MIME.has(name)) uses.wrong(`$mime has no member ${name}`)
    return { kind: 'mime', members }
  },
  $json: (raw, uses) => {
    onlyKeys(raw, ['$json'], uses)
    return { kind: 'json', of: readTemplate(raw['$json'], uses) }
  },
  $split: (raw, uses) => {
    onlyKeys(raw, ['$split'], uses)
    const { of, by } = isObject(raw['$split']) ? raw['$split'] : { of: null, by: null }
    if (typeof by !== 'string' || by === '') uses.wrong('$split needs { of, by }, by being a text')
    return { kind: 'split', of: readTemplate(of, uses), by: typeof by === 'string' ? by : ',' }
  },
  $join: (raw, uses) => {
    onlyKeys(raw, ['$join'], uses)
    const { of, by } = isObject(raw['$join']) ? raw['$join'] : { of: null, by: null }
    if (typeof by !== 'string') uses.wrong('$join needs { of, by }, by being a text')
    return { kind: 'join', of: readTemplate(of, uses), by: typeof by === 'string' ? by : ',' }
  },
  $map: (raw, uses) => {
    onlyKeys(raw, ['$map'], uses)
    const { of, to } = isObject(raw['$map']) ? raw['$map'] : { of: null, to: null }
    if (of === null) uses.wrong('$map needs { of, to }')
    const within: Uses = { ...uses, item: () => undefined }
    return { kind: 'map', of: readTemplate(of, uses), to: readTemplate(to, within) }
  },
  $base64: (raw, uses) => {
    onlyKeys(raw, ['$base64'], uses)
    return { kind: 'base64', of: readTemplate(raw['$base64'], uses) }
  },
  $link: (raw, uses) => {
    onlyKeys(raw, ['$link'], uses)
    const step = String(raw['$link'])
    uses.step(step)
    return { kind: 'link', step }
  },
  $query: (raw, uses) => {
    onlyKeys(raw, ['$query'], uses)
    const { of, name } = isObject(raw['$query']) ? raw['$query'] : { of: null, name: null }
    if (typeof name !== 'string') uses.wrong('$query needs { of, name }, name being a text')
    return { kind: 'query', of: readTemplate(of, uses), name: String(name) }
  },
}

/** The members of an object whose own names mean nothing here: those of a query or of headers. */
export const readMembers = (raw: unknown, uses: Uses): Members => {
  if (raw === undefined) return []
  if (!isObject(raw)) {
    uses.wrong('must be members with their values')
    return []
  }
  return Object.entries(raw).map(([name, value]) => [name, readTemplate(value, uses)] as const)
}

export const readTemplate = (raw: unknown, uses: Uses): Template => {
  if (Array.isArray(raw)) {
    const items = raw.map((item: unknown) => readTemplate(item, uses))
    return items.every((item) => item.kind === 'literal')
      ? { kind: 'literal', value: raw as Json }
      : { kind: 'list', items }
  }
  if (!isObject(raw)) return { kind: 'literal', value: (raw ?? null) as Json }
  const operator = Object.keys(raw).find((key) => key.startsWith('$'))
  if (operator !== undefined) {
    const read = Object.hasOwn(OPERATORS, operator) ? OPERATORS[operator] : undefined
    if (read !== undefined) return read(raw, uses)
    uses.wrong(`${operator} is not known: one of ${Object.keys(OPERATORS).join(', ')}`)
    return { kind: 'literal', value: null }
  }
  const members = readMembers(raw, uses)
  return members.every(([, each]) => each.kind === 'literal')
    ? { kind: 'literal', value: raw as Json }
    : { kind: 'object', members }
}

const plain = (value: unknown): Json | undefined => value as Json | undefined

/** A text or a whole number, as it stands in a text; anything else cannot. */
export const asText = (value: Json, what: string): string => {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  throw new Unsendable(`${what} must be a text or a number here`)
}

const listed = (value: Json, what: string): readonly Json[] => {
  if (Array.isArray(value)) return value as readonly Json[]
  throw new Unsendable(`${what} must be an array here`)
}

const filledMembers = (members: Members, given: Given): [string, Json][] =>
  members.flatMap(([name, each]) => {
    const value = filled(each, given)
    return value === undefined ? [] : [[name, value] as [string, Json]]
  })

/** @param escape what is put between the literal texts of a `$text`: one segment of a path, say */
export const filledText = (
  parts: readonly string[],
  { args }: Given,
  escape: (text: string, name: string) => string,
): string | undefined => {
  let text = parts[0] ?? ''
  for (let i = 1; i < parts.length; i += 2) {
    const name = parts[i] ?? ''
    const value = args.get(name)
    if (value === undefined) return undefined
    text += escape(asText(value, `\`${name}\``), name) + (parts[i + 1] ?? '')
  }
  return text
}

/** The value that a template means; undefined: it stands on an argument that is absent. @throws Unsendable */
export const filled = (template: Template, given: Given): Json | undefined => {
  switch (template.kind) {
    case 'literal':
      return template.value
    case 'arg':
      return given.args.get(template.name)
    case 'step':
      return plain(atPointer(given.steps.get(template.name), template.at))
    case 'item':
      return plain(atPointer(given.item, template.at))
    case 'text': {
      const { quote } = template
      return filledText(template.parts, given, (text, name) =>
        quote !== null && typeof given.args.get(name) === 'string' ? quoted(text, quote) : text,
      )
    }
    // What loses all that stands in it by absence is absent itself: `start: { dateTime: { $arg: start } }`.
    case 'list': {
      const items = template.items.flatMap((item) => {
        const value = filled(item, given)
        return value === undefined ? [] : [value]
      })
      return items.length === 0 ? undefined : items
    }
    case 'object': {
      const members = filledMembers(template.members, given)
      return members.length === 0 ? undefined : Object.fromEntries(members)
    }
    case 'join': {
      const value = filled(template.of, given)
      if (value === undefined) return undefined
      const list = listed(value, 'what is joined').map((one) => asText(one, 'what is joined'))
      return list.length === 0 ? undefined : list.join(template.by)
    }
    case 'map': {
      const value = filled(template.of, given)
      if (value === undefined) return undefined
      return listed(value, 'what is mapped').flatMap((item) => {
        const one = filled(template.to, { ...given, item })
        return one === undefined ? [] : [one]
      })
    }
    case 'base64': {
      const value = filled(template.of, given)
      return value === undefined
        ? undefined
        : Buffer.from(asText(value, 'what is encoded')).toString('base64')
    }
    case 'json': {
      const value = filled(template.of, given)
      return value === undefined ? undefined : JSON.stringify(value)
    }
    case 'split': {
      const value = filled(template.of, given)
      if (value === undefined) return undefined
      const parts = asText(value, 'what is split').split(template.by)
      return parts.map((part) => part.trim()).filter((part) => part !== '')
    }
    case 'link':
      return given.links.get(template.step)
    case 'query': {
      const url = filled(template.of, given)
      if (typeof url !== 'string' || !URL.canParse(url, 'http://x')) return undefined
      return new URL(url, 'http://x').searchParams.get(template.name) ?? undefined
    }
    case 'mime':
    default:
      return mimeMessage(new Map(filledMembers(template.members, given)), (what) => {
        throw new Unsendable(what)
      })
  }
}
