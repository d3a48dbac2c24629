// Turns URLs in answers to deputy: otherwise a client would leave the policy on page 2.
import type { Addressing } from '../model.ts'

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
export type Reached = {
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

const plant = (pointers: readonly string[]): Node => {
  const root = made()
  for (const pointer of pointers) {
    let node = root
    for (const part of pointer.split('/').slice(1)) {
      const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
      const ends = key.startsWith('*') && key !== '**'
      const [list, name] = ends ? [node.endings, key.slice(1)] : [node.keys, key]
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
  /** Strings here are URLs. */
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

const places = new WeakMap<readonly string[], Place>()
const startOf = (pointers: readonly string[]): Place => {
  let start = places.get(pointers)
  if (start === undefined) {
    const root = plant(pointers)
    const deep = root.keys.get('**')
    start = placeOf(deep === undefined ? [root] : [root, deep])
    places.set(pointers, start)
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

type Walk = {
  readonly text: string
  readonly readdress: Readdress
  readonly splices: Splice[]
}

const walk = (walking: Walk, from: number, place: Place, depth: number): number => {
  const { text, readdress, splices } = walking
  const at = blank(text, from)
  const open = text.charAt(at)
  if (open === '"') {
    const end = stringEnd(text, at)
    if (!place.leaf) return end
    const next = readdress(unquoted(text, at, end))
    if (next !== null) splices.push({ from: at, to: end, text: JSON.stringify(next) })
    return end
  }
  if (open !== '{' && open !== '[') return wordEnd(text, at)
  if (place.dead) return nestedEnd(text, at)
  if (depth === DEEPEST) return BROKEN
  const close = open === '{' ? '}' : ']'
  let cursor = blank(text, at + 1)
  if (text.charAt(cursor) === close) return cursor + 1
  for (let index = 0; ; index++) {
    let key = ''
    if (open === '[') key = String(index)
    else {
      const end = text.charAt(cursor) === '"' ? stringEnd(text, cursor) : BROKEN
      key = unquoted(text, cursor, end)
      cursor = blank(text, end)
      if (text.charAt(cursor) !== ':') return BROKEN
      cursor++
    }
    cursor = blank(text, walk(walking, cursor, place.below(key), depth + 1))
    if (text.charAt(cursor) === close) return cursor + 1
    if (text.charAt(cursor) !== ',') return BROKEN
    cursor = blank(text, cursor + 1)
  }
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
 * Readdresses the strings that JSON pointers name (RFC 6901; `*` is any key or index, `**` any
 * depth, `*_url` any key of that ending); every other byte stays, numbers too. What is not JSON
 * comes back as it was.
 * @param readdress is asked for absolute URLs alone, and must answer by their scheme and
 *   authority whether it changes them
 */
export const rewriteJson = (
  text: string,
  pointers: readonly string[],
  readdress: Readdress,
): string => {
  if (!mayChange(text, readdress)) return text
  const splices: Splice[] = []
  try {
    // A byte order mark may stand before it (RFC 8259 8.1).
    const from = text.startsWith('\ufeff') ? 1 : 0
    if (walk({ text, readdress, splices }, from, startOf(pointers), 0) === BROKEN) return text
  } catch (error) {
    if (error instanceof SyntaxError) return text // a string with a broken escape
    throw error
  }
  let done = 0
  let out = ''
  for (const splice of splices) {
    out += text.slice(done, splice.from) + splice.text
    done = splice.to
  }
  return out + text.slice(done)
}
