// What every batch has in common: how many calls it may hold, and which headers and addresses of theirs have one reading.
import type { Provider } from '../model.ts'
import { Problem } from '../problem.ts'
import { foldHeader, overridesMethod } from '../wire/canonical.ts'
import { isCredentialHeader } from '../wire/strip.ts'

/** Calls in one batch: each is decided, and nobody else's call waits longer for that than for a large one. */
export const MOST_PARTS = 200

export const refused = (detail: string, cause?: unknown): Problem =>
  new Problem('request_invalid', detail, cause === undefined ? {} : { cause })

/** What is wrong with one of the calls says with which: `part 2: …`. */
export const inPart = <T>(part: number, work: () => T): T => {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    const { code, message, extra, cause } = error
    throw new Problem(code, `part ${part}: ${message}`, { extra: { ...extra, part }, cause })
  }
}

/** Each of the calls, numbered from 1, or from where the list before it ended. */
export const eachPart = <T, R>(
  calls: readonly T[],
  read: (call: T, index: number) => R,
  before = 0,
): readonly R[] => {
  if (calls.length === 0) throw refused('the batch holds no call')
  if (before + calls.length > MOST_PARTS)
    throw refused(`the batch holds ${before + calls.length} calls; send at most ${MOST_PARTS}`)
  return calls.map((call, i) => inPart(before + i + 1, () => read(call, i)))
}

/** Of the batch or of the network, never of one call: a server might take the call elsewhere, or read another body. */
const FRAMING =
  /^(?:connection|keep-alive|transfer-encoding|te|trailer|upgrade|expect|via|forwarded|proxy-.*|x-forwarded-.*|x-original-.*|x-rewrite-.*|deputy-.*|content-encoding|(?:x-)?prefer-push|x-http-.*)$/
// oxlint-disable-next-line no-control-regex
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
// oxlint-disable-next-line no-control-regex
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/**
 * What becomes of a header of one of the calls.
 * @throws Problem request_invalid for one that two servers read differently
 */
export const headerRule = (
  name: string,
  value: string,
  provider: Provider,
): 'keep' | 'type' | 'host' | 'length' | 'credential' => {
  const lower = name.toLowerCase()
  const folded = foldHeader(lower)
  if (!NAME.test(name)) throw refused('a header has a name that is not a token')
  if (!VALUE.test(value)) throw refused('a header is folded or holds a control character')
  if (overridesMethod(folded))
    throw refused('a header overrides the method: send the method itself')
  if (FRAMING.test(folded)) throw refused(`the header ${folded} has no place in a batch`)
  if (isCredentialHeader(lower, provider)) return 'credential'
  if (folded !== lower && /^(?:content-(?:type|length)|host)$/.test(folded))
    throw refused(`a header reads as ${folded} on some servers and as another on others`)
  if (lower === 'content-type') return 'type'
  if (lower === 'host') return 'host'
  return lower === 'content-length' ? 'length' : 'keep'
}
