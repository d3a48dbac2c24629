// What a provider signed into the query of its own URL must pass when the agent follows that URL:
// deputy seals it on the way out, and checks the seal on the way back in.
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Person, Provider, Target } from '../model.ts'
import { canonicalTarget, targetText } from './canonical.ts'
import { providedValues } from './strip.ts'

/** Whose answer held the URL, and where it leads. */
export type Bound = {
  readonly person: Person
  readonly agent: string
  readonly connection: string
  readonly host: string
}

/** What a sealed URL is good for: to be read, or also to send there what an upload that was begun is to hold. */
export type Followed = 'read' | 'upload'

export type QuerySeals = {
  /**
   * @param target path and query as the provider wrote them
   * @param provider of the connection
   * @param said everything that the agent sent, asked for where it matters: what stands there is
   *   not the provider's word
   * @returns the seal, to be the last parameter of the query; null: the URL needs none, or may
   *   have none
   */
  readonly seal: (
    bound: Bound & { readonly followed?: Followed },
    target: string,
    provider: Provider,
    said: () => readonly string[],
  ) => string | null
  /** Does the seal stand for exactly this URL, and is it read there? */
  readonly opens: (seal: string, bound: Bound, target: Target) => boolean
}

const NAME = 'deputy_seal'
/** A URL to read lives as long as a sealed address (wire/address_tag), one to send to as long as a large upload may take; ms. */
const LIFE_MS: Readonly<Record<Followed, number>> = { read: 10 * 60_000, upload: 24 * 3_600_000 }
/** A seal to read lets no write be somebody else's. */
const FOLLOWED: ReadonlyMap<string, readonly Followed[]> = new Map([
  ['GET', ['read', 'upload']],
  ['HEAD', ['read', 'upload']],
  ['PUT', ['upload']],
  ['POST', ['upload']],
])
const SEAL = /^([0-9a-z]{1,11})\.[\w-]{43}$/
/** A provider may decode what it repeats; more often than this none does. */
const DECODINGS = 4

/** The target without seals, and the one that stood at its end; null: none did. */
export const unsealed = (
  target: Target,
): { readonly target: Target; readonly seal: string | null } => {
  if (!target.query.some(({ name }) => name === NAME)) return { target, seal: null }
  const last = target.query.at(-1)
  return {
    target: { ...target, query: target.query.filter(({ name }) => name !== NAME) },
    seal: last?.name === NAME ? last.value : null,
  }
}

const unescaped = (text: string): string =>
  text
    .replaceAll(/(?:%|(?<!\\)\\+(?:u00|x|u\{0*)|&#x0*)([0-9a-f]{2})[;}]?/gi, (_, hex: string) =>
      String.fromCharCode(parseInt(hex, 16)),
    )
    .replaceAll(/&#0*(\d{2,3});?/g, (_, code: string) => String.fromCharCode(Number(code)))
    .replaceAll(/(?<!\\)\\+\//g, '/')
    .replaceAll('+', ' ')
const ALNUM = /[0-9A-Za-z]/
/**
 * Shorter ones stand inside other words by chance: only where they are a word they count as said.
 */
const A_WORD = 8
const standsIn = (text: string, value: string): boolean => {
  if (value.length >= A_WORD) return text.includes(value)
  for (let at = text.indexOf(value); at !== -1; at = text.indexOf(value, at + 1))
    if (!ALNUM.test(text.charAt(at - 1)) && !ALNUM.test(text.charAt(at + value.length))) return true
  return false
}
/**
 * Letters and digits alone, in one case: what providers trim, join and re-case as they repeat it.
 */
const bare = (text: string): string => text.replaceAll(/[^0-9A-Za-z]+/g, '').toLowerCase()
const WORDS = /[0-9A-Za-z]{8,}/g
/**
 * The text, and what it says each time that its escapes are undone; null: it is escaped ever again,
 * and nobody knows.
 */
const readings = (text: string): readonly string[] | null => {
  const all = [text]
  for (let i = 0; i <= DECODINGS; i++) {
    const last = all.at(-1) ?? ''
    const next = unescaped(last)
    if (next === last) return all
    all.push(next)
  }
  return null
}
/** Does the value stand in the text, whole or in long pieces? */
const repeats = (text: string, value: string): boolean => {
  const wanted = Buffer.from(value).toString('latin1')
  const plain = bare(wanted)
  return (
    standsIn(text, wanted) ||
    (plain.length >= A_WORD && bare(text).includes(plain)) ||
    (text.match(WORDS) ?? []).some((word) => plain.includes(word.toLowerCase()))
  )
}

const read = (text: string): Target | null => {
  try {
    return canonicalTarget('GET', text)
  } catch {
    return null // A URL that deputy would refuse needs no seal.
  }
}

/**
 * @param deps.key 32 bytes, the same at every replica
 * @param deps.now ms since the epoch
 */
export const createQuerySeals = (deps: {
  readonly key: Buffer
  readonly now: () => number
}): QuerySeals => {
  const make = (bound: Bound, target: string, followed: Followed, until: string): string => {
    const { person, agent, connection, host } = bound
    const whose = [person.tenant, person.realm, person.id, agent, connection]
    const said = [...whose, host, target, followed, until]
    return `${until}.${createHmac('sha256', deps.key).update(JSON.stringify(said)).digest('base64url')}`
  }
  return {
    seal({ followed = 'read', ...bound }, text, provider, said) {
      const target = read(text)
      if (target === null) return null
      const values = providedValues(target, provider)
      // A redirect may lead wherever the agent said: then its query is the agent's.
      if (values === null || values.includes('')) return null
      const texts = said().map(readings)
      if (
        texts.some(
          (all) => all?.some((text) => values.some((value) => repeats(text, value))) ?? true,
        )
      )
        return null
      const until = (deps.now() + LIFE_MS[followed]).toString(36)
      return `${NAME}=${make(bound, targetText(target), followed, until)}`
    },
    opens(seal, bound, target) {
      const until = SEAL.exec(seal)?.[1]
      if (until === undefined || parseInt(until, 36) <= deps.now()) return false
      const given = Buffer.from(seal)
      return (FOLLOWED.get(target.method) ?? []).some((followed) =>
        timingSafeEqual(given, Buffer.from(make(bound, targetText(target), followed, until))),
      )
    },
  }
}
