// URLs on their way back lead to deputy again; otherwise a client walks out of the policy on page 2.
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
  listener: (prefix, _host, path) => `${prefix.replace(/\/$/, '')}${path}`,
}

/**
 * The same URL as the agent reaches it through deputy, or null when it is no absolute http(s) URL of a served host.
 * @param served true, or the name that the agent uses for it; asked with lower-case `host`, or `host:port` off the default port
 * @param prefix path addressing: all before the host, `http://127.0.0.1:7410/~alice/`; else the origin that the agent called,
 *   with `/~alice` where the path named the person
 * @param connection named before the host in path addressing, unless the prefix ends with one (`github@`); null: none
 */
export const rewriteUrl = (
  url: string,
  served: (host: string) => boolean | string,
  prefix: string,
  addressing: Addressing,
  connection: string | null,
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

/** For `Location` and `Link`: a path alone means the provider's host, not deputy's root (RFC 3986 5.2.2). */
export const rewriteReference = (
  reference: string,
  host: string,
  readdress: Readdress,
): string | null =>
  readdress(/^\/(?![/\\])/.test(reference) ? `https://${host}${reference}` : reference)

/** A `Link` header value (RFC 8288 3) with each target readdressed; parameters keep their bytes. */
export const rewriteLink = (value: string, readdress: Readdress): string =>
  value.replaceAll(/"(?:\\.|[^"\\])*"?|<([^<>]*)>/g, (part: string, target: string | undefined) => {
    const next = target === undefined ? null : readdress(target)
    return next === null ? part : `<${next}>`
  })

// --- JSON -----------------------------------------------------------------------------------------

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

const BLANKS: ReadonlySet<string | undefined> = new Set([' ', '\t', '\r', '\n'])
const blank = (text: string, from: number): number => {
  let at = from
  while (BLANKS.has(text[at])) at++
  return at
}

/** Index behind any value, however deep, without a look inside. */
const valueEnd = (text: string, from: number): number => {
  const stop = /["[\]{},]/g
  let depth = 0
  stop.lastIndex = from
  for (let hit = stop.exec(text); hit !== null; hit = stop.exec(text)) {
    const [mark] = hit
    if (mark === '"') {
      const end = stringEnd(text, hit.index)
      if (end === BROKEN || depth === 0) return end
      stop.lastIndex = end
    } else if (mark === '[' || mark === '{') depth++
    else if (depth === 0) return hit.index
    else if (mark !== ',' && --depth === 0) return hit.index + 1
  }
  return BROKEN
}

type Splice = { readonly from: number; readonly to: number; readonly text: string }

type Walk = {
  readonly text: string
  readonly readdress: Readdress
  readonly splices: Splice[]
}

/** @throws SyntaxError where a key, or a string that a pointer names, is none */
const walk = (walking: Walk, from: number, nodes: readonly Node[], depth: number): number => {
  const { text, readdress, splices } = walking
  const at = blank(text, from)
  const open = text.charAt(at)
  if (nodes.length === 0) return valueEnd(text, at)
  if (open === '"') {
    const end = stringEnd(text, at)
    if (!nodes.some((node) => node.leaf)) return end
    const next = readdress(String(JSON.parse(text.slice(at, end))))
    if (next !== null) splices.push({ from: at, to: end, text: JSON.stringify(next) })
    return end
  }
  if (open !== '{' && open !== '[') return valueEnd(text, at)
  if (depth === DEEPEST) return BROKEN
  const close = open === '{' ? '}' : ']'
  let cursor = blank(text, at + 1)
  if (text.charAt(cursor) === close) return cursor + 1
  for (let index = 0; ; index++) {
    let key = String(index)
    if (open === '{') {
      const end = stringEnd(text, cursor)
      key = String(JSON.parse(text.slice(cursor, end)))
      cursor = blank(text, end)
      if (text.charAt(cursor) !== ':') return BROKEN
      cursor++
    }
    // At BROKEN stands nothing, and so none of the marks that are looked for.
    cursor = blank(text, walk(walking, cursor, step(nodes, key), depth + 1))
    if (text.charAt(cursor) === close) return cursor + 1
    if (text.charAt(cursor) !== ',') return BROKEN
    cursor = blank(text, cursor + 1)
  }
}

/**
 * Readdresses the strings that JSON pointers name (RFC 6901; `*` is any key or index, `**` any depth, `*_url` any
 * key of that ending); every other byte stays, numbers too.
 * What is not JSON comes back as it was.
 */
export const rewriteJson = (
  text: string,
  pointers: readonly string[],
  readdress: Readdress,
): string => {
  const splices: Splice[] = []
  try {
    const root = plant(pointers)
    const deep = root.keys.get('**')
    const roots = deep === undefined ? [root] : [root, deep]
    // A byte order mark may stand before it (RFC 8259 8.1).
    const from = text.startsWith('\ufeff') ? 1 : 0
    if (walk({ text, readdress, splices }, from, roots, 0) === BROKEN) return text
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
