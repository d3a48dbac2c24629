// The first bytes of a small JSON answer, looked at before they pass: some providers say 401 in a body, with status 200.
import type { Unauthorized } from '../model.ts'
import { meansUnauthorized, parseStrict } from '../wire/json.ts'

/** Bytes of an answer that is kept back; a longer one passes at once. */
const MOST = 4_096

export type Peek = {
  /** @returns `more`: keep it back; `unauthorized`: the provider does not accept the token; `pass`: let it through. */
  readonly chunk: (chunk: Buffer) => 'more' | 'unauthorized' | 'pass'
  /** What was kept back so far, in order. */
  readonly kept: readonly Buffer[]
}

/**
 * null: nothing of this answer is kept back. Where it does not say how long it is, the first chunk alone is looked at,
 * so that no byte of a stream waits for another.
 * @param header the values of one header, by its lower-case name
 */
export const peekAt = (
  rules: Unauthorized | null | undefined,
  header: (name: string) => readonly string[],
): Peek | null => {
  if (rules == null) return null
  const type = header('content-type')[0]?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (!/^application\/(?:[\w.+-]+\+)?json$/.test(type)) return null
  const encoding = header('content-encoding')[0] ?? 'identity'
  if (encoding.toLowerCase() !== 'identity') return null
  const length = header('content-length')[0]
  const whole = length === undefined ? null : Number(length)
  if (whole !== null && !(whole > 0 && whole <= MOST)) return null
  const kept: Buffer[] = []
  let size = 0
  return {
    kept,
    chunk: (chunk) => {
      kept.push(chunk)
      size += chunk.length
      if (size > MOST) return 'pass'
      if (whole !== null && size < whole) return 'more'
      return meansUnauthorized(rules, read(Buffer.concat(kept).toString()))
        ? 'unauthorized'
        : 'pass'
    },
  }
}

const read = (text: string): unknown => {
  try {
    return parseStrict(text)
  } catch {
    return undefined // no JSON, or not the whole of it
  }
}
