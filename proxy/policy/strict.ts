// Reads JSON and YAML strictly: what two readers could understand differently is an error that
// names its place.
import { LineCounter, parseDocument } from 'yaml'
import { yamlWords } from '../config/lines.ts'
import type { Json } from '../model.ts'
import { messageOf } from '../problem.ts'

const NESTING = 64

const lineAt = (text: string, offset: number): number => {
  let line = 1
  for (let i = text.indexOf('\n'); i !== -1 && i < offset; i = text.indexOf('\n', i + 1)) line++
  return line
}

/** Walks JSON that is known to be well formed; names the first key given twice or level too deep. */
const oddity = (text: string): string | null => {
  const open: (Set<string> | null)[] = []
  let keyNext = false
  for (let i = 0; i < text.length; i++) {
    const keys = open.at(-1) ?? null
    switch (text.charCodeAt(i)) {
      case 0x22: {
        let end = i + 1
        while (text.charCodeAt(end) !== 0x22) end += text.charCodeAt(end) === 0x5c ? 2 : 1
        if (keyNext && keys !== null) {
          const key = String(JSON.parse(text.slice(i, end + 1)))
          if (keys.has(key))
            return `line ${lineAt(text, i)}: key ${JSON.stringify(key)} is there twice`
          keys.add(key)
          keyNext = false
        }
        i = end
        break
      }
      case 0x7b:
      case 0x5b:
        keyNext = text.charCodeAt(i) === 0x7b
        if (open.push(keyNext ? new Set() : null) > NESTING)
          return `line ${lineAt(text, i)}: nested deeper than ${NESTING} levels`
        break
      case 0x7d:
      case 0x5d:
        open.pop()
        keyNext = false
        break
      case 0x2c:
        keyNext = keys !== null
        break
      default:
    }
  }
  return null
}

/** JSON without duplicate keys, at most 64 levels deep. Throws an Error that begins with `where` and names the line. */
export const parseJson = (text: string, where: string): Json => {
  let value: Json
  try {
    value = JSON.parse(text) as Json
  } catch (error) {
    throw new Error(`${where}: ${messageOf(error)}`, {
      cause: error,
    })
  }
  const odd = oddity(text)
  if (odd !== null) throw new Error(`${where}: ${odd}`)
  return value
}

const yamlOddity = (value: unknown, depth: number): string | null => {
  if (typeof value === 'number' && !Number.isFinite(value)) return 'a number is not finite'
  if (typeof value === 'bigint') return 'an integer is too large'
  if (typeof value !== 'object' || value === null) return null
  if (depth >= NESTING) return `nested deeper than ${NESTING} levels`
  for (const inner of Object.values(value)) {
    const odd = yamlOddity(inner, depth + 1)
    if (odd !== null) return odd
  }
  return null
}

/** YAML 1.2 with the limits of `parseJson`: plain data, no tags of other types, at most 100 aliases. */
const parseYaml = (text: string, where: string): Json => {
  const lines = new LineCounter()
  const document = parseDocument(text, {
    uniqueKeys: true,
    // Without, `!!set` and `!!binary` would be objects that no policy can read.
    resolveKnownTags: false,
    lineCounter: lines,
    prettyErrors: false,
  })
  const first = document.errors[0] ?? document.warnings[0]
  if (first !== undefined)
    throw new Error(
      `${where}: line ${lines.linePos(first.pos[0]).line}: ${first.name === 'YAMLParseError' ? yamlWords(first) : first.message}`,
    )
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    throw new Error(`${where}: ${messageOf(error)}`, {
      cause: error,
    })
  }
  const odd = yamlOddity(value, 0)
  if (odd !== null) throw new Error(`${where}: ${odd}`)
  return value as Json
}

/** Reads `.json`, `.yaml` and `.yml` by their name; bytes must be UTF-8. */
export const parseNamed = (name: string, bytes: Uint8Array): Json => {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new Error(`${name}: not UTF-8`, { cause: error })
  }
  return name.endsWith('.json') ? parseJson(text, name) : parseYaml(text, name)
}
