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
    // `groups(uniqueName='x')`: another address of what policy guards by this segment.
    TREES.has(tree) && rest.length < MOST_DEEP && !path.includes('/workbook/functions/')
  )
}

type Kind = 'collection' | 'one' | 'action'
/** Whoever calls is `me`: the client writes it as /users/{me}, people write /me. */
const mine = (found: Found, kind: Kind): readonly Found[] => {
  const rest = found.path.replace(/^\/v1\.0\/users\/\{userId\}/, '')
  if (rest === found.path || (rest === '' && found.method === 'DELETE')) return []
  const path = `/v1.0/me${rest}`
  return [{ ...found, path, id: idOf(found.method, path, kind) }]
}

/** The client describes what is in a drive once, below /drives; people go on from whoever's drive it is. */
const HOLDERS = [
  'me/drive',
  'users/{userId}/drive',
  'groups/{groupId}/drive',
  'sites/{siteId}/drive',
]
const IN_DRIVE =
  /^\/v1\.0\/drives\/\{driveId\}\/((?:items|recent|sharedWithMe|special|following|bundles|search)(?:[/(].*)?)$/
/** What is done with an item, wherever in a drive it is found: by its id, as its root, as a folder that has a name, or by path. */
const OF_ITEM =
  /^items\/\{driveItemId\}((?:\/(?:children|content|copy|create\w+|delta(?:\(.*\))?|follow|unfollow|invite|listItem|permissions(?:\/\{permissionId\})?|permanentDelete|preview|restore|checkin|checkout|discardCheckout|search\(.*\)|thumbnails(?:\/\{thumbnailSetId\})?|versions(?:\/\{driveItemVersionId\}(?:\/(?:content|restoreVersion))?)?))?)$/
const FOLDERS = ['items/{driveItemId}', 'root', 'special/{driveItemId}']

/** One row of an item → where else it is named: the root, folders that have a name, a path from each (`root:/{path+}:/content`). */
const named = (found: Found, kind: Kind, at: string): readonly Found[] => {
  const rest = OF_ITEM.exec(at)?.[1]
  if (rest === undefined) return []
  const base = '/v1.0/drives/{driveId}'
  const idAt = (folder: string): string => idOf(found.method, `${base}/${folder}${rest}`, kind)
  return FOLDERS.flatMap((folder) => {
    const ends = rest === '' ? ['{path+}', '{path+}:'] : ['{path+}:']
    const item = folder === 'root' ? 'items/{driveItemId}' : folder
    return [
      ...(folder === 'items/{driveItemId}' || (rest === '' && found.method === 'DELETE')
        ? []
        : [{ ...found, path: `${base}/${folder}${rest}`, id: idAt(folder) }]),
      ...ends.map((end) => ({
        ...found,
        path: `${base}/${folder}:/${end}${rest}`,
        id: idAt(item),
      })),
    ]
  })
}

/** The same call by the other addresses that it has. */
const hung = (found: Found, kind: Kind): readonly Found[] => {
  const at = IN_DRIVE.exec(found.path)?.[1]
  if (at === undefined) return mine(found, kind)
  const inDrives = [found, ...named(found, kind, at)]
  // Sheets have most rows: those of others' drives are known below /drives, and so is what few clients ask of an item.
  const often = OF_ITEM.test(at) || at.split('/').length <= 2
  const holders = often ? HOLDERS : at.includes('/workbook') ? HOLDERS.slice(0, 1) : []
  return [
    ...inDrives.slice(1),
    ...holders.flatMap((holder) =>
      inDrives
        .map((one) => ({
          ...one,
          path: one.path.replace('drives/{driveId}', holder),
          id: one.id.replace(/^drives\./, `${holder.replace(/\/\{\w+\}/, '').replace('/', '.')}.`),
        }))
        .filter((one) => within(one.path)),
    ),
  ]
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
  if (!within(path)) return []
  const collection = /^ {4}def by_\w+\(/m.test(source)
  return [...source.matchAll(METHOD)].flatMap(
    ([, word = '', body = '', answer = '', doc = '']): Found[] => {
      const method = word.toUpperCase()
      const item = path.endsWith('}')
      const noun = item || collection || /Provides operations to manage/.test(source)
      const kind =
        !noun || path.endsWith('()') ? 'action' : collection && !item ? 'collection' : 'one'
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
      return answer === '' ? [] : [found, ...hung(found, kind)].flatMap(bare)
    },
  )
}

export const microsoft = (): readonly Found[] =>
  specFiles('microsoft')
    .filter((path) => path.endsWith('_request_builder.py'))
    .flatMap(ofFile)
