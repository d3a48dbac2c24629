// Simple JSONPath, as foreign definitions write it → the places of our own vocabulary.
import type { Place } from '../../model.ts'

/** `$.data.items[0].id` → `/data/items/0/id`; null: more than a path. A last `[*]` names the whole list. */
const pointerOf = (path: string): string | null => {
  const bare = path.replace(/^(['"])(.*)\1$/s, '$2').replace(/\[\*\]$/, '')
  const step = /^(?:\.([A-Za-z_][\w-]*)|\[(\d+)\]|\[(['"])(.*?)\3\])/
  let rest = bare.startsWith('$') ? bare.slice(1) : ''
  let pointer = ''
  while (rest !== '') {
    const match = step.exec(rest)
    if (match === null) return null
    const key = match[1] ?? match[2] ?? match[4] ?? ''
    pointer += `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
    rest = rest.slice(match[0].length)
  }
  return pointer === '' ? null : pointer
}

/** A path, `join(…, ' ')` (a list is read as one anyway) or `jwt_decode(path, path)`; null: something else. */
export const placeOf = (expression: string): Place | null => {
  const trimmed = expression.trim()
  const join = /^join\(\s*(.+?)\s*,\s*(['"])[ ,]?\2\s*\)$/s.exec(trimmed)
  if (join?.[1] !== undefined) return placeOf(join[1])
  const decode = /^jwt_decode\(\s*(.+?)\s*,\s*(.+?)\s*\)$/s.exec(trimmed)
  if (decode === null) return pointerOf(trimmed)
  const [jwt, claim] = [pointerOf(decode[1] ?? ''), pointerOf(decode[2] ?? '')]
  return jwt === null || claim === null ? null : { jwt, claim }
}
