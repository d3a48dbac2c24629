// Google's APIs from their discovery documents. A method's list of scopes means "any one of these", in no order of reach.
import { fields, members, short, text, texts, typeOf } from './found.ts'
import type { Found, Parameter } from './found.ts'
import { specText } from './specs.ts'

const APIS =
  'gmail.v1 calendar.v3 drive.v3 docs.v1 sheets.v4 slides.v1 people.v1 tasks.v1 chat.v1 meet.v2 forms.v1 admin.directory_v1'.split(
    ' ',
  )

type Method = {
  readonly raw: Readonly<Record<string, unknown>>
  readonly scopes: readonly string[]
}
const methodsIn = (resource: unknown): readonly Method[] => [
  ...Object.values(fields(fields(resource)['methods'])).map((raw) => ({
    raw: fields(raw),
    scopes: texts(fields(raw)['scopes']),
  })),
  ...Object.values(fields(fields(resource)['resources'])).flatMap(methodsIn),
]

/** Of add-ons, of administrators of chat and of apps, or of a whole cloud: nobody's to consent to here. */
const NEVER = /\.addons\.current|\/auth\/chat\.(?:bot|app|admin|import)|\/auth\/cloud-platform$/
/** They suffice for some things only: what an application made or opened, some kinds of file, some fields of a person. */
const PARTIAL =
  /\/auth\/(?:drive\.(?:photos|meet|appdata|apps)|calendar\.(?:app\.created|events\.(?:owned|public|freebusy))|chat\.memberships\.app|gmail\.settings\.sharing|userinfo\.|user\.|directory\.readonly|contacts\.other)/
const OPENED = 'https://www.googleapis.com/auth/drive.file'
const MAIL = 'https://mail.google.com/'

/** Fewest methods first, over all APIs: what opens least. What suffices for some things only comes behind what does for all. */
const ranked = (
  scopes: readonly string[],
  reach: ReadonlyMap<string, number>,
  { api, reads }: { readonly api: string; readonly reads: boolean },
): readonly string[] => {
  const weight = (scope: string): number =>
    (scope === MAIL ? 100_000 : 0) +
    (PARTIAL.test(scope) || (reads && scope === OPENED) ? 10_000 : 0) -
    (reads && scope.endsWith('.readonly') ? 5_000 : 0) +
    (reach.get(scope) ?? 0)
  return (
    scopes
      // Charts of a sheet in slides need those of Sheets besides, not instead.
      .filter(
        (scope) =>
          !NEVER.test(scope) &&
          !(api === 'slides.v1' && /spreadsheets|drive\.readonly/.test(reads ? '' : scope)),
      )
      .toSorted((a, b) => weight(a) - weight(b) || (a < b ? -1 : 1))
  )
}

const parametersOf = (raw: Method['raw'], refs: (ref: string) => unknown): readonly Parameter[] => [
  ...Object.entries(fields(raw['parameters'])).flatMap(([name, value]): Parameter[] => {
    const one = fields(value)
    const place = text(one['location'])
    if (place !== 'path' && place !== 'query') return []
    return [
      {
        name,
        in: place,
        type: one['repeated'] === true ? `${typeOf(one, refs)}[]` : typeOf(one, refs),
        required: one['required'] === true,
        description: short(one['description']),
      },
    ]
  }),
  ...members(raw['request'], refs),
]

/**
 * `{+name}` takes several segments, and its pattern says which: `^spaces/[^/]+$` are two of them, `^.*$` at the end as many as
 * there are. Anything else would be a template of which nobody knows where it ends.
 */
const spelt = (path: string, parameters: unknown): string =>
  path.replaceAll(/\{\+(\w+)\}/g, (whole, name: string, at: number) => {
    const pattern = text(fields(fields(parameters)[name])['pattern'])
    if (pattern === '^.*$' && at + whole.length === path.length) return `{${name}+}`
    if (!/^\^(?:[\w-]+|\[\^\/\]\+)(?:\/(?:[\w-]+|\[\^\/\]\+))*\$$/.test(pattern))
      throw new Error(`${path}: ${pattern} does not say how many segments ${whole} takes`)
    let before = path.slice(0, at).split('/').at(-2) ?? ''
    return pattern
      .slice(1, -1)
      .replaceAll('[^/]+', '*')
      .split('/')
      .map((segment) => (segment === '*' ? `{${before}Id}` : (before = segment)))
      .join('/')
  })

/** A verb behind a parameter of the template is Google's own; so are the names of what `{+name}` is spelt out to. */
const ofApi = (
  api: string,
  document: Readonly<Record<string, unknown>>,
  reach: ReadonlyMap<string, number>,
): readonly Found[] => {
  const schemas = fields(document['schemas'])
  const refs = (ref: string): unknown => schemas[ref]
  const base = text(document['servicePath'])
  const host = new URL(text(document['rootUrl'])).host
  return methodsIn(document).flatMap(({ raw, scopes }): Found[] => {
    const least = ranked(scopes, reach, { api, reads: raw['httpMethod'] === 'GET' })
    const about = {
      id: text(raw['id']),
      method: text(raw['httpMethod']),
      host,
      summary: short(raw['description']),
      scopes: least.length === 0 ? null : least.map((scope) => [scope]),
      parameters: parametersOf(raw, refs),
    }
    const media = fields(fields(fields(raw['mediaUpload'])['protocols'])['simple'])
    const path = `/${base}${spelt(text(raw['path']), raw['parameters'])}`
    const own = { ...about, path, ...(raw['supportsMediaUpload'] === true ? { upload: true } : {}) }
    const upload = spelt(text(media['path']), raw['parameters'])
    return upload === '' ? [own] : [own, { ...own, path: upload }]
  })
}

export const google = (): readonly Found[] => {
  const documents = APIS.map((api) => ({
    api,
    document: fields(
      JSON.parse(specText('google', `googleapiclient/discovery_cache/documents/${api}.json`)),
    ),
  }))
  const reach = new Map<string, number>()
  for (const { document } of documents)
    for (const { scopes } of methodsIn(document))
      for (const scope of scopes) reach.set(scope, (reach.get(scope) ?? 0) + 1)
  return documents.flatMap(({ api, document }) => ofApi(api, document, reach))
}
