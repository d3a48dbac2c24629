// Texts with `{names}` that stand for values of one call, for whoever is asked about it. Pure.
// A value must stay a value: what would change the question around it is refused, never sent.

/** What a call is known by. `path.NAME`: a parameter of the operation's path; `body/POINTER`: a member that it inspects. */
const NAME =
  /^(?:id|tenant|realm|agent|connection|operation|access|path\.[A-Za-z_]\w*|body(?:\/[^/{}]*)+)$/
const PLACE = /\{([^{}\s"]*)\}/g
const MOST_LENGTH = 512

/** One more literal than names: they take turns. */
export type Template = {
  readonly literals: readonly string[]
  readonly names: readonly string[]
}
/** undefined: the call has no such value. */
export type ValueOf = (name: string) => string | undefined

/** A value that would change what is asked. The message names the place, never the value. */
export class Unaskable extends Error {}
/** The call lacks what this names. */
export class Lacking extends Error {}

/** @throws Error that says what is wrong with it */
export const readTemplate = (text: string): Template => {
  const literals: string[] = []
  const names: string[] = []
  let done = 0
  for (const found of text.matchAll(PLACE)) {
    const [place, name = ''] = found
    if (!NAME.test(name))
      throw new Error(
        `${place} is nothing that a call has: use {id}, {tenant}, {realm}, {agent}, {connection}, {operation}, {access}, {path.NAME} or {body/POINTER}`,
      )
    const literal = text.slice(done, found.index)
    if (names.length > 0 && literal === '')
      throw new Error(`nothing stands between two values before ${place}: put a / between them`)
    literals.push(literal)
    names.push(name)
    done = found.index + place.length
  }
  return { literals: [...literals, text.slice(done)], names }
}

/** Is it one value and nothing beside it? */
const alone = ({ literals }: Template): boolean => literals.every((literal) => literal === '')

const NEVER = /[\p{Cc}\p{Cf}]/u
/** What tuples, users and relations are written with, in OpenFGA and its like. */
const MEANS_MORE = /[:#*\s]/u
const refuse = (name: string, why: string): never => {
  throw new Unaskable(`{${name}} ${why}, which would change what is asked`)
}
const checked = (template: Template, i: number, value: string, free: boolean): string => {
  const name = template.names[i] ?? ''
  if (value === '') return refuse(name, 'is empty')
  if (value.length > MOST_LENGTH) return refuse(name, `is longer than ${MOST_LENGTH} characters`)
  if (!value.isWellFormed() || NEVER.test(value))
    return refuse(name, 'holds a character that nobody sees')
  if (!free && MEANS_MORE.test(value))
    return refuse(name, 'holds a colon, a hash, an asterisk or a space')
  // Two values of one text: only one way to take them apart again.
  const after = template.literals[i + 1] ?? ''
  const last = i === template.names.length - 1
  if (!last && `${value}${after}`.indexOf(after) !== value.length)
    return refuse(name, `holds ${JSON.stringify(after)}, which divides it from the next value`)
  return value
}

/**
 * @param free a value that is the whole text may hold anything that is seen; otherwise only an agent's name may, which
 * whoever set deputy up has given: one colon, as in `agent:triage`
 * @throws Unaskable, Lacking
 */
export const filled = (
  template: Template,
  valueOf: ValueOf,
  {
    free = false,
    write = (value) => value,
  }: { readonly free?: boolean; readonly write?: (value: string, name: string) => string } = {},
): string => {
  const { literals, names } = template
  const values = names.map((name) => {
    const value = valueOf(name)
    if (value === undefined) throw new Lacking(name)
    return value
  })
  const only = alone(template)
  return literals
    .map((literal, i) => {
      const [value, name] = [values[i], names[i]]
      if (value === undefined || name === undefined) return literal
      const typed = only && name === 'agent' && /^[^:#*\s]+:[^:#*\s]+$/u.test(value)
      return literal + write(checked(template, i, value, typed || (free && only)), name)
    })
    .join('')
}

/** Values and what stands beside them, between the characters that divide an address. */
const PARTS = /(?:\{[^{}]*\}|[^/?&=])+|[/?&=]/g
/** Percent-encoded, each value is a part of the address or of one of its parts. */
const written = (value: string, name: string): string =>
  /[/\\]/.test(value) || /^\.+$/.test(value)
    ? refuse(name, 'holds a slash, or nothing but dots')
    : encodeURIComponent(value).replaceAll(
        /[!'()*]/g,
        (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
      )
export const filledUrl = (url: string, valueOf: ValueOf): string =>
  (url.match(PARTS) ?? [])
    .map((part) => filled(readTemplate(part), valueOf, { free: true, write: written }))
    .join('')

/** A JSON value whose texts are templates. */
export const filledJson = (value: unknown, valueOf: ValueOf): unknown =>
  typeof value === 'string'
    ? filled(readTemplate(value), valueOf, { free: true })
    : Array.isArray(value)
      ? value.map((item: unknown) => filledJson(item, valueOf))
      : typeof value === 'object' && value !== null
        ? Object.fromEntries(
            Object.entries(value).map(([key, item]) => [key, filledJson(item, valueOf)]),
          )
        : value

/** The names in all texts of a value. @throws Error that says what is wrong with one */
export const namesIn = (value: unknown): readonly string[] =>
  typeof value === 'string'
    ? readTemplate(value).names
    : typeof value === 'object' && value !== null
      ? Object.values(value).flatMap(namesIn)
      : []
