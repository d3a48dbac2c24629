// HubSpot's APIs from the endpoint descriptions in arcade-hubspot-*-api.
import { fields, list, short, text, texts, type Found, type Parameter } from './found.ts'
import { idOf } from './paths.ts'
import { specFiles, specText, type SpecName } from './specs.ts'

const PARTS: readonly SpecName[] = [
  'hubspotCrm',
  'hubspotMarketing',
  'hubspotCms',
  'hubspotAutomation',
  'hubspotConversations',
  'hubspotEvents',
  'hubspotMeetings',
  'hubspotUsers',
]
const TYPES: Readonly<Record<string, string>> = { json: 'object', array: 'object[]' }
const parameterOf = (raw: unknown): Parameter[] => {
  const one = fields(raw)
  const place = text(one['accepted_as'])
  const schema = fields(one['value_schema'])
  const type = text(schema['val_type'])
  if (place !== 'path' && place !== 'query' && place !== 'body' && place !== 'header') return []
  return [
    {
      name: text(one['name']),
      in: place,
      type:
        type === 'array'
          ? `${TYPES[text(schema['inner_val_type'])] ?? text(schema['inner_val_type'])}[]`
          : (TYPES[type] ?? type),
      required: one['required'] === true,
      description: short(one['description']),
    },
  ]
}

const ofTool = (tool: Readonly<Record<string, unknown>>): Found | null => {
  const endpoint = fields(tool['http_endpoint'])
  if (text(fields(tool['metadata'])['object_type']) !== 'api_wrapper_tool') return null
  const oauth2 = fields(fields(fields(tool['requirements'])['authorization'])['oauth2'])
  const scopes = texts(oauth2['scopes'])
  return {
    id: '',
    method: text(endpoint['http_method']),
    path: new URL(text(endpoint['url'])).pathname.replaceAll('%7B', '{').replaceAll('%7D', '}'),
    host: null,
    summary: short(tool['description']),
    // Several are alternatives for several types of object: which of them suffices for this one, it does not say.
    scopes: scopes.length === 1 ? [scopes] : null,
    parameters: list(endpoint['parameters']).flatMap(parameterOf),
  }
}

export const hubspot = (): readonly Found[] => {
  const found = PARTS.flatMap((part) =>
    specFiles(part)
      .filter((path) => path.endsWith('.json'))
      .map((path) => ofTool(fields(JSON.parse(specText(part, path)))))
      .filter((one) => one !== null),
  )
  const shape = (path: string): string => path.replaceAll(/\{\w+\}/g, '{}').replace(/\/$/, '')
  const items = new Set(found.map(({ path }) => shape(path)))
  const gets = new Set(found.filter((one) => one.method === 'GET').map(({ path }) => shape(path)))
  return found.flatMap((one) => {
    const at = shape(one.path)
    const collection = items.has(`${at}/{}`) && !at.endsWith('{}')
    const noun = at.endsWith('{}') || collection || one.method !== 'POST' || gets.has(at)
    const id = idOf(one.method, one.path, !noun ? 'action' : collection ? 'collection' : 'one')
    // HubSpot's reference and its clients write some collections with a slash at the end, people without.
    const bare = one.path.replace(/\/$/, '')
    return [{ ...one, id }, ...(bare === one.path ? [] : [{ ...one, id, path: bare }])]
  })
}
