// Gitea's REST API from the Swagger document that the forge itself serves.
import { fields, list, members, short, text, typeOf, type Found, type Parameter } from './found.ts'
import { specText } from './specs.ts'

const METHODS = ['get', 'put', 'post', 'patch', 'delete'] as const
/** Names that may hold slashes, as the hand-written rows have them. */
const SLASHES = new Set(['filepath', 'branch', 'tag', 'ref', 'archive', 'basehead'])

export const gitea = (): readonly Found[] => {
  const document = fields(JSON.parse(specText('gitea').replaceAll(/\{\{[^}]*\}\}/g, '')))
  const definitions = fields(document['definitions'])
  const refs = (ref: string): unknown => definitions[ref.slice(ref.lastIndexOf('/') + 1)]
  const parameter = (raw: unknown): readonly Parameter[] => {
    const one = fields(raw)
    const place = text(one['in'])
    if (place === 'body') return members(one['schema'], refs)
    return place === 'path' || place === 'query' || place === 'header'
      ? [
          {
            name: text(one['name']),
            in: place,
            type: typeOf(one, refs),
            required: one['required'] === true,
            description: short(one['description']),
          },
        ]
      : []
  }
  return Object.entries(fields(document['paths'])).flatMap(([path, item]) =>
    METHODS.flatMap((method): Found[] => {
      if (fields(item)[method] === undefined) return []
      const one = fields(fields(item)[method])
      return [
        {
          id: text(one['operationId']),
          method: method.toUpperCase(),
          path: `/api/v1${path.replaceAll(/\{(\w+)\}/g, (whole, name: string) => (SLASHES.has(name) ? `{${name}+}` : whole))}`,
          host: null,
          summary: short(one['summary']),
          scopes: null,
          parameters: list(one['parameters']).flatMap(parameter),
        },
      ]
    }),
  )
}
