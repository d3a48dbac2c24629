// Turns URLs in answers to deputy: otherwise a client would leave the policy on page 2. Replaces and takes out what JSON
// pointers name, every other byte as it came.
import type { Addressing, Names } from '../model.ts'
import { alike, folded } from './json.ts'

/** URL in, the one to write instead out; null: leave it. */
export type Readdress = (url: string) => string | null

// Bytes behind the authority stay as they came: `{?name,label}` is a template, not a URL.
const ABSOLUTE = /^(?:(https?):)?\/\/(?:[^/?#\\@]*@)?([a-z0-9.-]+)(?::([0-9]*))?(?=[/?#{]|$)(.*)$/is

type Way = (prefix: string, host: string, path: string, chosen: string) => string | null

const WAYS: Readonly<Record<Addressing['kind'], Way>> = {
  path: (prefix, host, path, chosen) => `${prefix}${chosen}${host}${path}`,
  host: (prefix, host, path) => {
    const own = /^(https?:\/\/)[^/]*?(:[0-9]+)?(\/.*?)?\/?$/i.exec(prefix)
    // A Host header has room for one port, and that is deputy's.
    if (own === null || host.includes(':')) return null
    return `${own[1] ?? ''}${host}.localhost${own[2] ?? ''}${own[3] ?? ''}${path}`
  },
  // Plain http is what makes a client hand the call to its proxy instead of tunnelling past it.
  absolute: (_prefix, host, path) => `http://${host}${path}`,
  // It comes back here by itself.
  forward: (_prefix, host, path) => `https://${host}${path}`,
  listener: (prefix, _host, path) => `${prefix.replace(/\/$/, '')}${path}`,
}

/** How an agent reaches hosts through deputy. */
type Reached = {
  /**
   * true, or the name that the agent uses for it; asked with lower-case `host`, or `host:port` off
   * the default port.
   */
  readonly served: (host: string) => boolean | string
  /**
   * Path addressing: all before the host, `http://127.0.0.1:7410/~alice/`; else the origin that the
   * agent called, with
   * `/~alice` where the path named the person.
   */
  readonly prefix: string
  readonly addressing: Addressing
  /**
   * Named before the host in path addressing, unless the prefix ends with one (`github@`); null:
   * none.
   */
  readonly connection: string | null
}

/**
 * The same URL as the agent reaches it through deputy, or null when it is no absolute http(s) URL
 * of a served host.
 */
export const rewriteUrl = (
  url: string,
  { served, prefix, addressing, connection }: Reached,
): string | null => {
  const [, scheme = 'https', authority = '', port = '', rest = ''] = ABSOLUTE.exec(url) ?? []
  if (authority === '') return null
  const name = authority.toLowerCase().replace(/\.$/, '')
  const usual = port === '' || port === (scheme.toLowerCase() === 'http' ? '80' : '443')
  const answer = served(usual ? name : `${name}:${port}`)
  if (answer === false) return null
  const host = answer === true ? (usual ? name : `${name}:${port}`) : answer
  const chosen = connection === null || prefix.endsWith('@') ? '' : `${connection}@`
  return WAYS[addressing.kind](prefix, host, rest.startsWith('/') ? rest : `/${rest}`, chosen)
}

/** A parameter more at the end of a URL's query, before its fragment. */
export const withParameter = (url: string, parameter: string): string =>
  url.replace(/(?=#|$)/, `&${parameter}`)

/**
 * For `Location` and `Link`: a path alone means the provider's host, not deputy's root (RFC 3986
 * 5.2.2).
 */
export const rewriteReference = (
  reference: string,
  host: string,
  readdress: Readdress,
): string | null =>
  readdress(/^\/(?![/\\])/.test(reference) ? `https://${host}${reference}` : reference)

/** A `Link` header value (RFC 8288 3) with each target readdressed; parameters keep their bytes. */
export const rewriteLink = (value: string, host: string, readdress: Readdress): string =>
  value.replaceAll(/"(?:\\.|[^"\\])*"?|<([^<>]*)>/g, (part: string, target: string | undefined) => {
    const next = target === undefined ? null : rewriteReference(target, host, readdress)
    return next === null ? part : `<${next}>`
  })

// --- JSON
// -----------------------------------------------------------------------------------------

type Node = {
  readonly keys: Map<string, Node>
  /** Of a part such as `*_url`, or `*` for any: what a key must end with. */
  readonly endings: Map<string, Node>
  /** `**`: stands at every depth below. */
  deep: boolean
  leaf: boolean
}
const made = (): Node => ({ keys: new Map(), endings: new Map(), deep: false, leaf: false })

/** A name as it is compared. */
type Fold = (name: string) => string
const exact: Fold = (name) => name

const plant = (pointers: readonly string[], fold: Fold): Node => {
  const root = made()
  for (const pointer of pointers) {
    let node = root
    for (const part of pointer.split('/').slice(1)) {
      const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
      const ends = key.startsWith('*') && key !== '**'
      const list = ends ? node.endings : node.keys
      const name = fold(ends ? key.slice(1) : key)
      const next = list.get(name) ?? made()
      if (key === '**') next.deep = true
      list.set(name, next)
      node = next
    }
    node.leaf = true
  }
  return root
}

const step = (nodes: readonly Node[], key: string): readonly Node[] => {
  const next: Node[] = []
  const enter = (node: Node | undefined): void => {
    if (node === undefined || next.includes(node)) return
    next.push(node)
    // `**` is also no level at all: what follows it may stand right here.
    enter(node.keys.get('**'))
  }
  for (const node of nodes) {
    enter(node.keys.get(key))
    for (const [ending, found] of node.endings) if (key.endsWith(ending)) enter(found)
    if (node.deep) enter(node)
  }
  return next
}

/**
 * Where the walk stands among the pointers. Made once for each kind of key, so that an answer of 1
 * MB makes few.
 */
type Place = {
  /** A pointer names what stands here. */
  readonly leaf: boolean
  /** No pointer leads on from here. */
  readonly dead: boolean
  readonly below: (key: string) => Place
}
const placeOf = (nodes: readonly Node[]): Place => {
  const endings = nodes.flatMap((node) => [...node.endings.keys()])
  const known = new Map<string, Place>()
  return {
    leaf: nodes.some((node) => node.leaf),
    dead: nodes.length === 0,
    below(key) {
      let kind = nodes.some((node) => node.keys.has(key)) ? `/${key}` : ''
      for (const ending of endings) if (key.endsWith(ending)) kind += `*${ending}`
      let place = known.get(kind)
      if (place === undefined) known.set(kind, (place = placeOf(step(nodes, key))))
      return place
    },
  }
}

const places = new Map<Fold, WeakMap<readonly string[], Place>>()
const startOf = (pointers: readonly string[], fold: Fold): Place => {
  const known = places.get(fold) ?? new WeakMap<readonly string[], Place>()
  places.set(fold, known)
  let start = known.get(pointers)
  if (start === undefined) {
    const root = plant(pointers, fold)
    const deep = root.keys.get('**')
    start = placeOf(deep === undefined ? [root] : [root, deep])
    known.set(pointers, start)
  }
  return start
}

/** No place in a text: no mark that is looked for stands there. */
const BROKEN = -1
/** Levels of an answer; deeper ones are no vendor's, and would use up the stack. */
const DEEPEST = 200

/** Index behind the string that begins at `at`; BROKEN when it has no end. */
const stringEnd = (text: string, at: number): number => {
  for (let end = text.indexOf('"', at + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let slashes = 0
    while (text.charCodeAt(end - 1 - slashes) === 92) slashes++
    if (slashes % 2 === 0) return end + 1
  }
  return BROKEN
}

const blank = (text: string, from: number): number => {
  for (let at = from; ; at++) {
    const code = text.charCodeAt(at)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return at
  }
}

/** Index behind a number, `true`, `false` or `null`. */
const wordEnd = (text: string, from: number): number => {
  let at = from
  while (!',]} \t\r\n'.includes(text.charAt(at))) at++
  return at
}

/** What the string between two quotes says; most have nothing to undo. */
const unquoted = (text: string, at: number, end: number): string => {
  const inside = text.slice(at + 1, end - 1)
  return inside.includes('\\') ? String(JSON.parse(text.slice(at, end))) : inside
}

/** Index behind an object or array, however deep, without a look inside. */
const nestedEnd = (text: string, from: number): number => {
  const stop = /["[\]{}]/g
  let depth = 0
  stop.lastIndex = from
  for (let hit = stop.exec(text); hit !== null; hit = stop.exec(text)) {
    const [mark] = hit
    if (mark === '"') {
      const end = stringEnd(text, hit.index)
      if (end === BROKEN) return BROKEN
      stop.lastIndex = end
    } else if (mark === '[' || mark === '{') depth++
    else if (--depth === 0) return hit.index + 1
  }
  return BROKEN
}

type Splice = { readonly from: number; readonly to: number; readonly text: string }
/** A member or an item with its name, and whether it is taken out. */
type Entry = { readonly from: number; readonly to: number; readonly out: boolean }

type Walk = {
  readonly text: string
  readonly fold: Fold
  /**
   * What becomes of what a pointer names. `strings`: of a string its new JSON text, null: as it is; `values`: of any
   * value; `take`: it is taken out with its name.
   */
  readonly how: 'strings' | 'values' | 'take'
  readonly edit: (raw: string) => string | null
  readonly splices: Splice[]
}

/** What is taken out goes with one of the commas beside it. */
const takenOut = (entries: readonly Entry[]): readonly Splice[] => {
  const last = entries.findLastIndex(({ out }) => !out)
  const splices = entries.slice(0, last + 1).flatMap(({ from, out }, i) => {
    const next = entries[i + 1]
    return out && next !== undefined ? [{ from, to: next.from, text: '' }] : []
  })
  const end = entries.at(-1)
  if (end?.out === true)
    splices.push({ from: entries[last]?.to ?? entries[0]?.from ?? end.from, to: end.to, text: '' })
  return splices
}

const nothing = (walking: Walk, at: number, open: string): number =>
  open === '"'
    ? stringEnd(walking.text, at)
    : open === '{' || open === '['
      ? nestedEnd(walking.text, at)
      : wordEnd(walking.text, at)

const walk = (walking: Walk, from: number, place: Place, depth: number): number => {
  const { text, how, splices } = walking
  const at = blank(text, from)
  const open = text.charAt(at)
  const nested = open === '{' || open === '['
  if (place.leaf && (how !== 'strings' || open === '"')) {
    const end = nothing(walking, at, open)
    const next = end === BROKEN ? null : walking.edit(text.slice(at, end))
    if (next !== null) splices.push({ from: at, to: end, text: next })
    return end
  }
  if (!nested || place.dead) return nothing(walking, at, open)
  if (depth === DEEPEST) return BROKEN
  const close = open === '{' ? '}' : ']'
  const entries: Entry[] = []
  let cursor = blank(text, at + 1)
  if (text.charAt(cursor) === close) return cursor + 1
  for (let index = 0; ; index++) {
    const start = cursor
    let key = ''
    if (open === '[') key = String(index)
    else {
      const end = text.charAt(cursor) === '"' ? stringEnd(text, cursor) : BROKEN
      key = unquoted(text, cursor, end)
      cursor = blank(text, end)
      if (text.charAt(cursor) !== ':') return BROKEN
      cursor++
    }
    const below = place.below(walking.fold(key))
    const end = walk(walking, cursor, below, depth + 1)
    if (how === 'take') entries.push({ from: start, to: end, out: below.leaf })
    cursor = blank(text, end)
    if (text.charAt(cursor) === close) {
      splices.push(...takenOut(entries))
      return cursor + 1
    }
    if (text.charAt(cursor) !== ',') return BROKEN
    cursor = blank(text, cursor + 1)
  }
}

/** null: it is not JSON, or too deep. */
const edited = (
  text: string,
  pointers: readonly string[],
  way: Pick<Walk, 'fold' | 'how' | 'edit'>,
): { readonly text: string; readonly count: number } | null => {
  const splices: Splice[] = []
  try {
    // A byte order mark may stand before it (RFC 8259 8.1).
    const from = text.startsWith('\ufeff') ? 1 : 0
    if (walk({ ...way, text, splices }, from, startOf(pointers, way.fold), 0) === BROKEN)
      return null
  } catch (error) {
    if (error instanceof SyntaxError) return null // a string with a broken escape
    throw error
  }
  // What is taken out is known at the end of what it stood in.
  splices.sort((a, b) => a.from - b.from)
  let done = 0
  let out = ''
  for (const splice of splices) {
    out += text.slice(done, splice.from) + splice.text
    done = splice.to
  }
  return { text: out + text.slice(done), count: splices.length }
}

/**
 * A string that begins as a URL with an authority does; `/` may be escaped, and so may a quote in
 * it.
 */
const URL_HEAD = /"((?:https?:)?(?:\\?\/){2}[^"/?#]*)/gi
/**
 * Would any URL of this text be written otherwise? At the speed of one search, where the walk looks
 * at each character.
 */
export const mayChange = (text: string, readdress: Readdress): boolean => {
  // Any character of a URL's beginning may be escaped (RFC 8259 7): no look from outside finds
  // that.
  if (text.includes('\\u00')) return true
  const seen = new Set<string>()
  URL_HEAD.lastIndex = 0
  for (let hit = URL_HEAD.exec(text); hit !== null; hit = URL_HEAD.exec(text)) {
    const [, head = ''] = hit
    if (seen.has(head)) continue
    seen.add(head)
    const url = head.replaceAll('\\/', '/')
    if (url.includes('\\') || readdress(url) !== null) return true
  }
  return false
}

/**
 * Edits the strings that JSON pointers name (RFC 6901; `*` is any key or index, `**` any depth, `*_url` any key of that
 * ending); every other byte stays, numbers too. What is not JSON comes back as it was.
 * @param edit the new string; null: as it is
 */
export const editJson = (
  text: string,
  pointers: readonly string[],
  edit: (value: string) => string | null,
): string =>
  edited(text, pointers, {
    fold: exact,
    how: 'strings',
    edit: (raw) => {
      const next = edit(unquoted(raw, 0, raw.length))
      return next === null ? null : JSON.stringify(next)
    },
  })?.text ?? text

/**
 * Readdresses the strings that JSON pointers name, as `editJson`.
 * @param readdress is asked for absolute URLs alone, and must answer by their scheme and
 *   authority whether it changes them
 */
export const rewriteJson = (
  text: string,
  pointers: readonly string[],
  readdress: Readdress,
): string => (mayChange(text, readdress) ? editJson(text, pointers, readdress) : text)

// --- redaction

const MOST_POINTERS = 64
const MOST_CHARACTERS = 512
const POINTER = /^(?:\/(?:[^~/]|~[01])*)+$/
/** Pointers as redactions and hooks name them: RFC 6901 of members and items, with `*` for any and `**` for any depth. */
export const arePointers = (value: unknown): value is readonly string[] =>
  Array.isArray(value) &&
  value.length <= MOST_POINTERS &&
  value.every(
    (one) => typeof one === 'string' && one.length <= MOST_CHARACTERS && POINTER.test(one),
  )

/** What stands in the place of a value that was redacted. */
const REDACTED = '[redacted]'
const REPLACEMENT = JSON.stringify(REDACTED)

const whole = (
  text: string,
  pointers: readonly string[],
  way: Pick<Walk, 'fold' | 'how' | 'edit'>,
): { readonly text: string; readonly count: number } => {
  JSON.parse(text.replace(/^\ufeff/, ''))
  const done = edited(text, pointers, way)
  if (done === null) throw new SyntaxError(`nesting is deeper than ${DEEPEST}`)
  return done
}

/**
 * Replaces each value that a pointer names, whatever it is, by `"[redacted]"`; of a member that stands twice both.
 * @param names how the provider compares names
 * @returns the document, and how many values were replaced
 * @throws SyntaxError: not JSON, or deeper than 200 levels where a pointer leads
 */
export const redactJson = (
  text: string,
  pointers: readonly string[],
  { insensitive }: Pick<Names, 'insensitive'>,
): { readonly text: string; readonly count: number } =>
  whole(text, pointers, {
    fold: insensitive ? folded : exact,
    how: 'values',
    edit: () => REPLACEMENT,
  })

/**
 * Each value that a pointer names, as JSON text of its own; of a member that stands twice both.
 * @param names how the provider compares names
 * @throws SyntaxError as `redactJson`
 */
export const valuesInJson = (
  text: string,
  pointers: readonly string[],
  { insensitive }: Pick<Names, 'insensitive'>,
): readonly string[] => {
  const values: string[] = []
  const edit = (raw: string): null => (values.push(raw), null)
  whole(text, pointers, { fold: insensitive ? folded : exact, how: 'values', edit })
  return values
}

/**
 * Takes out each member and item that a pointer names, and each whose name some reader takes for that one.
 * @returns the document, and how many splices were made
 * @throws SyntaxError as `redactJson`
 */
export const takeOutOfJson = (
  text: string,
  pointers: readonly string[],
): { readonly text: string; readonly count: number } =>
  whole(text, pointers, { fold: alike, how: 'take', edit: () => null })
