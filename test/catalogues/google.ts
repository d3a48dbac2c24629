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

/** Fewest methods of the API first: what opens least. Scopes of add-ons, of administrators and of apps are nobody's to consent to. */
const ranked = (
  scopes: readonly string[],
  reach: ReadonlyMap<string, number>,
): readonly string[] => {
  const mail = 'https://mail.google.com/'
  const weight = (scope: string): number => (scope === mail ? 100_000 : 0) + (reach.get(scope) ?? 0)
  return scopes
    .filter((scope) => !/\.addons\.current|\/auth\/chat\.(?:bot|app|admin|import)/.test(scope))
    .toSorted((a, b) => weight(a) - weight(b) || a.length - b.length || (a < b ? -1 : 1))
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

/** A verb behind a parameter of the template; `{+name}` of the source is spelt out by flatPath. */
const ofApi = (api: string): readonly Found[] => {
  const document = fields(
    JSON.parse(specText('google', `googleapiclient/discovery_cache/documents/${api}.json`)),
  )
  const schemas = fields(document['schemas'])
  const refs = (ref: string): unknown => schemas[ref]
  const methods = methodsIn(document)
  const reach = new Map<string, number>()
  for (const { scopes } of methods)
    for (const scope of scopes) reach.set(scope, (reach.get(scope) ?? 0) + 1)
  const base = text(document['servicePath'])
  const host = new URL(text(document['rootUrl'])).host
  return methods.flatMap(({ raw, scopes }): Found[] => {
    const about = {
      id: text(raw['id']),
      method: text(raw['httpMethod']),
      host,
      summary: short(raw['description']),
      scopes: scopes.length === 0 ? null : ranked(scopes, reach).map((scope) => [scope]),
      parameters: parametersOf(raw, refs),
    }
    if (about.scopes?.length === 0) about.scopes = null
    const media = fields(fields(fields(raw['mediaUpload'])['protocols'])['simple'])
    const path = `/${base}${text(raw['flatPath']) || text(raw['path'])}`.replaceAll('{+', '{')
    const own = { ...about, path, ...(raw['supportsMediaUpload'] === true ? { upload: true } : {}) }
    const upload = text(media['path']).replaceAll('{+', '{')
    return upload === '' ? [own] : [own, { ...own, path: upload }]
  })
}

export const google = (): readonly Found[] => APIS.flatMap(ofApi)
