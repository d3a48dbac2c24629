// A message as Gmail's API answers it (`payload` of users.messages.get) → what a person would read of it. Pure: the text
// is somebody else's, and stays a text.
import type { Json, JsonObject } from '../model.ts'
import { isObject } from '../wire/json.ts'

/** Parts within parts; mails of people end at four. */
const DEEPEST = 16

type Part = { readonly [name: string]: unknown }
const partsOf = (part: Part): readonly Part[] => {
  const parts = part['parts']
  return Array.isArray(parts) ? parts.filter(isObject) : []
}

const header = (part: Part, wanted: string): string | undefined => {
  const headers = part['headers']
  if (!Array.isArray(headers)) return undefined
  for (const one of headers)
    if (
      isObject(one) &&
      String(one['name']).toLowerCase() === wanted &&
      typeof one['value'] === 'string'
    )
      return one['value']
  return undefined
}

const textOf = (part: Part): string => {
  const data = isObject(part['body']) ? part['body']['data'] : undefined
  if (typeof data !== 'string') return ''
  const [, charset = 'utf-8'] = /charset="?([\w-]+)/i.exec(header(part, 'content-type') ?? '') ?? []
  const bytes = Buffer.from(data, 'base64url')
  try {
    return new TextDecoder(charset).decode(bytes)
  } catch {
    return bytes.toString()
  }
}

/** The first part of this type that is no attachment. */
const find = (part: Part, type: string, depth = 0): Part | null => {
  const name = part['filename']
  if (part['mimeType'] === type && (name === undefined || name === '')) return part
  if (depth >= DEEPEST) return null
  for (const each of partsOf(part)) {
    const found = find(each, type, depth + 1)
    if (found !== null) return found
  }
  return null
}

const ENTITY: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  nbsp: ' ',
}
const BREAK: ReadonlySet<string> = new Set(['br', '/p', '/div', '/tr', '/li', '/h1', '/h2', '/h3'])

/** The words of an HTML page, in one pass, so that no page makes it slow. */
export const textOfHtml = (html: string): string => {
  const [first = '', ...rest] = html.split('<')
  let text = first
  let skipped: string | null = null
  for (const piece of rest) {
    const tag = (/^\/?[a-z][a-z0-9]*/i.exec(piece)?.[0] ?? '').toLowerCase()
    if (skipped !== null && tag !== `/${skipped}`) continue
    skipped = tag === 'style' || tag === 'script' ? tag : null
    const end = piece.indexOf('>')
    if (skipped !== null || end === -1) continue
    text += (BREAK.has(tag) ? '\n' : '') + piece.slice(end + 1)
  }
  return text
    .replaceAll(/&(?:#(\d{1,7})|([a-z]{2,4}));/g, (all, code?: string, name?: string) => {
      if (name !== undefined) return ENTITY[name] ?? all
      const point = Number(code)
      return point > 0 && point <= 0x10_ff_ff ? String.fromCodePoint(point) : all
    })
    .split('\n')
    .map((line) => line.trim())
    .filter((line, i, all) => line !== '' || (i > 0 && all[i - 1] !== ''))
    .join('\n')
    .trim()
}

const attachments = (part: Part, depth = 0): readonly Json[] => {
  const name = part['filename']
  const own =
    typeof name === 'string' && name !== '' ? [{ name, type: String(part['mimeType']) }] : []
  return depth >= DEEPEST
    ? own
    : [...own, ...partsOf(part).flatMap((each) => attachments(each, depth + 1))]
}

const SHOWN = ['from', 'to', 'cc', 'subject', 'date', 'message-id'] as const

/** Who, to whom, about what, and the text: the plain one, else what the HTML says. */
export const readMail = (payload: unknown): JsonObject => {
  if (!isObject(payload)) return {}
  const headers = SHOWN.flatMap((name) => {
    const value = header(payload, name)
    return value === undefined ? [] : [[name.replace('-', '_'), value] as const]
  })
  const plain = find(payload, 'text/plain')
  const html = plain === null ? find(payload, 'text/html') : null
  const text = plain !== null ? textOf(plain) : html !== null ? textOfHtml(textOf(html)) : ''
  const files = attachments(payload)
  return {
    ...Object.fromEntries(headers),
    text,
    ...(files.length === 0 ? {} : { attachments: files }),
  }
}
