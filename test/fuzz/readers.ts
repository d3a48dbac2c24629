// The fields of a body as readers of Node's world have them, each in its own way: JSON whatever its type says, forms by
// name and by the first bracket, multipart, charsets and codings undone. What one of them finds, some provider finds.
import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib'

type Headers = Readonly<Record<string, readonly string[] | undefined>>
type Fields = readonly (readonly [string, unknown])[]

/** Nobody makes fields of these. */
const STREAM = /^(?:image|audio|video|font|model)\/|^application\/octet-stream\b/i
const CODINGS: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  gzip: gunzipSync,
  'x-gzip': gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
}
const tried = <T>(read: () => T, or: T): T => {
  try {
    return read()
  } catch {
    return or // This reader would refuse it.
  }
}
/** As it came, and as a server has it that undoes what the head says of its coding. */
const undone = (bytes: Buffer, codings: readonly string[]): readonly Buffer[] => [
  bytes,
  ...codings.flatMap((name) => {
    const undo = CODINGS[name.trim().toLowerCase()]
    return undo === undefined ? [] : tried(() => [undo(bytes)], [])
  }),
]
/** In UTF-8 and in the charset of the type. */
const texts = (bytes: Buffer, type: string, more: readonly string[] = []): readonly string[] => {
  const named = /charset\*?\s*=\s*["']?([\w-]+)/i.exec(type)?.[1] ?? 'utf-8'
  return [...new Set(['utf-8', named, ...more])].flatMap((charset) =>
    tried(() => [new TextDecoder(charset).decode(bytes)], []),
  )
}
/** Readers of JSON know UTF-16 by its zero bytes and by its mark (RFC 4627 3). */
const betrayed = (bytes: Buffer): readonly string[] =>
  bytes[0] === 0 || bytes[0] === 0xfe
    ? ['utf-16be']
    : bytes[1] === 0 || bytes[0] === 0xff
      ? ['utf-16le']
      : []
const ofJson = (text: string): Fields => {
  const value: unknown = tried(() => JSON.parse(text) as unknown, null)
  const objects = Array.isArray(value) ? value : [value]
  // A list has no member of its own, and its items may be anybody's.
  return objects.flatMap((one: unknown) =>
    typeof one !== 'object' || one === null
      ? []
      : Object.entries(one).filter(([name]) => one === value || name !== 'title'),
  )
}
/** `title[a]` is a part of `title` to the usual readers of forms, and many split at `;` as well. */
const ofForm = (text: string): Fields =>
  [text, text.replaceAll(';', '&')].flatMap((one) =>
    [...new URLSearchParams(one)].map(
      ([name, value]) => [name.replace(/\[.*$/s, ''), value] as const,
    ),
  )
const ofMultipart = async (bytes: Buffer, type: string): Promise<Fields> => {
  const headers = { 'content-type': type }
  const form = await new Response(Uint8Array.from(bytes), { headers }).formData().catch(() => null)
  if (form === null) return []
  return Promise.all(
    [...form].map(
      async ([name, value]) =>
        [name, typeof value === 'string' ? value : await value.text()] as const,
    ),
  )
}

/** @param headers all values by lower-case name */
export const fieldsIn = async (headers: Headers, body: Buffer): Promise<Fields> => {
  const found: (readonly [string, unknown])[] = []
  const codings = (headers['content-encoding'] ?? []).flatMap((line) => line.split(','))
  for (const type of headers['content-type'] ?? [''])
    for (const bytes of undone(body, codings)) {
      if (/^\s*multipart\//i.test(type)) found.push(...(await ofMultipart(bytes, type)))
      if (/^\s*application\/x-www-form-urlencoded\b/i.test(type))
        found.push(...texts(bytes, type).flatMap(ofForm))
      if (!STREAM.test(type.trim()))
        found.push(...texts(bytes, type, betrayed(bytes)).flatMap(ofJson))
    }
  return found
}
