// Microsoft Graph from the request builders of its own Python client: URL template, methods, the vendor's sentence on each.
import { short, type Found, type Parameter } from './found.ts'
import { idOf } from './paths.ts'
import { specFiles, specText } from './specs.ts'

const TEMPLATE = /super\(\).__init__\(request_adapter, "\{\+baseurl\}([^"]*)"/
const METHOD =
  /^ {4}async def (get|post|put|patch|delete)\(self,(?:body: ([^,]+), )?[^\n]*-> ([^\n]*):\n {8}"""\n([\s\S]*?)"""/gm

const decoded = (name: string): string =>
  decodeURIComponent(name).replaceAll(/\W+(\w)/g, (_, letter: string) => letter.toUpperCase())

/** `{message%2Did}` → `{messageId}`; the same name twice gets a number, as the source has it. */
const template = (path: string): string =>
  path.replaceAll(/\{([^}]*)\}/g, (_, name: string) => `{${decoded(name)}}`).replaceAll('%24', '$')

/** `?start={start}{&%24top,x*}`, or `{?%24top,x*}`: those with a name before `=` are needed. */
const query = (raw: string): readonly Parameter[] => {
  const needed = [...raw.matchAll(/[?&]([\w%]+)=\{/g)].map(([, name = '']) => name)
  const free = (/\{[?&]([^}]*)\}/.exec(raw)?.[1] ?? '').split(',').filter((name) => name !== '')
  return [...needed, ...free].map((name) => ({
    name: decodeURIComponent(name.replace('*', '')),
    in: 'query',
    type: /%24(?:top|skip)$/.test(name) ? 'integer' : name === '%24count' ? 'boolean' : 'string',
    required: needed.includes(name),
    description: '',
  }))
}

/** Where people work. The trees of a tenant's administrators stay `unknown`, and so does what lies deeper than a cell of a sheet. */
const TREES = new Set(
  'me users groups teams chats drives sites shares planner places contacts organization directoryObjects search education employeeExperience communications solutions teamwork subscriptions invitations applications servicePrincipals reports print teamsTemplates domains subscribedSkus devices directoryRoles appCatalogs external connections'.split(
    ' ',
  ),
)
const MOST_DEEP = 10
const within = (path: string): boolean => {
  const [, , tree = '', ...rest] = path.split('/')
  // Excel's functions calculate: one operation for each of them tells policy nothing.
  return (
    TREES.has(tree.split('(')[0] ?? '') &&
    rest.length < MOST_DEEP &&
    !path.includes('/workbook/functions/')
  )
}

/** Whoever calls is `me`: the client writes it as /users/{me}, people write /me. */
const mine = (found: Found, raw: { readonly kind: 'collection' | 'one' | 'action' }): Found[] => {
  const rest = found.path.replace(/^\/v1\.0\/users\/\{userId\}/, '')
  if (rest === found.path || (rest === '' && found.method === 'DELETE')) return [found]
  const path = `/v1.0/me${rest}`
  return [found, { ...found, path, id: idOf(found.method, path, raw.kind) }]
}

/** The client writes a function without arguments with its parentheses, the reference and people without. */
const bare = (found: Found): Found[] => {
  const path = found.path.replaceAll('()', '')
  return path === found.path ? [found] : [found, { ...found, path }]
}

const ofFile = (file: string): readonly Found[] => {
  const source = specText('microsoft', file)
  const raw = TEMPLATE.exec(source)?.[1] ?? ''
  const path = `/v1.0${template(raw.replace(/(?:\{\?|\?).*$/, ''))}`
  // A function with arguments inside its segment is not one segment and a name.
  if (/\([^)]*\{/.test(path) || !within(path)) return []
  const collection = /^ {4}def by_\w+\(/m.test(source)
  return [...source.matchAll(METHOD)].flatMap(
    ([, word = '', body = '', answer = '', doc = '']): Found[] => {
      const method = word.toUpperCase()
      const item = path.endsWith('}')
      const noun = item || collection || /Provides operations to manage/.test(source)
      const kind =
        !noun || path.endsWith(')') ? 'action' : collection && !item ? 'collection' : 'one'
      const found: Found = {
        id: idOf(method, path, kind),
        method,
        path,
        host: null,
        summary: short(doc.trim().split('\n')[0]),
        scopes: null,
        parameters: method === 'GET' ? query(raw) : [],
        // The body is a file, of whatever type.
        ...(body === 'bytes' ? { upload: true } : {}),
      }
      return answer === '' ? [] : mine(found, { kind }).flatMap(bare)
    },
  )
}

export const microsoft = (): readonly Found[] =>
  specFiles('microsoft')
    .filter((path) => path.endsWith('_request_builder.py'))
    .flatMap(ofFile)
