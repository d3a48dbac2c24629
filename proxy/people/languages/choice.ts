// The language of a page: what the browser asks for (RFC 9110 12.5.4), as far as there is a file
// for it, else English.
import type { Context } from 'hono'
import { detectFromHeader } from 'hono/language'
import { de } from './de.ts'
import { en, type Texts } from './en.ts'

const LANGUAGES: ReadonlyMap<string, Texts> = new Map([en, de].map((texts) => [texts.tag, texts]))

/** `de-AT` is German (RFC 4647 3.4), `q=0` is a no. */
export const textsFor = (c: Context): Texts => {
  const tag = detectFromHeader(c, {
    order: ['header'],
    lookupFromHeaderKey: 'accept-language',
    supportedLanguages: [...LANGUAGES.keys()],
    fallbackLanguage: en.tag,
    ignoreCase: true,
    caches: false,
    lookupQueryString: '',
    lookupCookie: '',
    lookupFromPathIndex: 0,
  })
  return LANGUAGES.get(tag ?? en.tag) ?? en
}
