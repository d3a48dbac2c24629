// GitHub's REST API from Octokit's OpenAPI document, and the root fields of its GraphQL schema.
import { buildSchema, type GraphQLField } from 'graphql'
import { fields, list, members, short, text, typeOf } from './found.ts'
import type { Found, Parameter } from './found.ts'
import { specText } from './specs.ts'

const METHODS = ['get', 'put', 'post', 'patch', 'delete'] as const
const camel = (name: string): string =>
  name.replaceAll(/[-_]([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

/** Names that may hold slashes, as the hand-written rows have them. */
const SLASHES = new Set(['path', 'branch', 'tag', 'ref', 'basehead'])
const template = (path: string): string =>
  path.replaceAll(/\{([\w-]+)\}/g, (_, written: string) => {
    const name = written.replaceAll('-', '_')
    return SLASHES.has(name) ? `{${name}+}` : `{${name}}`
  })
/** They take an app's own key or secret, and give out tokens: no person's token is for them. */
const APART = /^\/(?:app|applications|app-manifests)(?:\/|$)/

const SCOPES =
  /needs? (either |both )?(?:the |at least the )?((?:`?[a-z]+(?:[_:][a-z_:]+)?`?(?:,? (?:or|and) (?:the )?|, )?)+?) scopes? to use this endpoint/i
/** "Scopes for OAuth apps": the sentences also name permissions of other kinds of token, and misspell. */
const KNOWN = new Set(
  'repo repo:status repo_deployment public_repo repo:invite security_events admin:repo_hook write:repo_hook read:repo_hook admin:org write:org read:org manage_runners:org admin:public_key write:public_key read:public_key gist notifications user read:user user:email user:follow project read:project delete_repo write:packages read:packages delete:packages admin:gpg_key write:gpg_key read:gpg_key admin:ssh_signing_key write:ssh_signing_key read:ssh_signing_key codespace codespace:secrets workflow admin:enterprise manage_runners:enterprise manage_billing:enterprise read:enterprise manage_billing:copilot copilot audit_log read:audit_log write:network_configurations read:network_configurations'.split(
    ' ',
  ),
)
/** What the vendor's sentence says; a sentence that says more than names is not believed. */
export const scopesIn = (description: string): readonly (readonly string[])[] | null => {
  const found = SCOPES.exec(description)
  if (
    found === null ||
    /private (?:or|and) public repositories|only works with public/i.test(description)
  )
    return null
  const names = [...(found[2] ?? '').matchAll(/[a-z]+(?:[_:][a-z_:]+)?/g)]
    .map(([name]) => name)
    .filter((name) => !['or', 'and', 'the'].includes(name))
  if (!names.every((name) => KNOWN.has(name))) return null
  const several = found[1] === 'both ' || / and /.test(found[2] ?? '')
  if (several) return / or /.test(found[2] ?? '') ? null : [names]
  // What may not suffice for a private repository comes behind what does.
  return names
    .toSorted((a, b) => Number(a === 'public_repo') - Number(b === 'public_repo'))
    .map((name) => [name])
}

export const githubRest = (): readonly Found[] => {
  const document = fields(JSON.parse(specText('github')))
  const components = fields(document['components'])
  const refs = (ref: string): unknown =>
    ref
      .split('/')
      .slice(2)
      .reduce<unknown>((at, key) => fields(at)[key], components)
  const parameter = (raw: unknown): Parameter[] => {
    const one = fields(fields(raw)['$ref'] === undefined ? raw : refs(text(fields(raw)['$ref'])))
    const place = text(one['in'])
    return place === 'path' || place === 'query' || place === 'header'
      ? [
          {
            name: place === 'path' ? text(one['name']).replaceAll('-', '_') : text(one['name']),
            in: place,
            type: typeOf(one['schema'], refs),
            required: one['required'] === true,
            description: short(one['description']),
          },
        ]
      : []
  }
  return Object.entries(fields(document['paths'])).flatMap(([path, item]) =>
    METHODS.flatMap((method): Found[] => {
      const operation = fields(item)[method]
      if (operation === undefined || APART.test(path)) return []
      const one = fields(operation)
      const [scope = '', name = ''] = text(one['operationId']).split('/')
      const content = fields(fields(one['requestBody'])['content'])
      const body = fields(content['application/json'] ?? Object.values(content)[0])['schema']
      const server = text(fields(list(one['servers'])[0])['url'])
      return [
        {
          id: `${camel(scope)}.${camel(name)}`,
          method: method.toUpperCase(),
          path: template(path),
          host: server.startsWith('https://uploads.') ? 'uploads.github.com' : null,
          summary: short(one['summary']),
          scopes: scopesIn(text(one['description'])),
          parameters: [...list(one['parameters']).flatMap(parameter), ...members(body, refs)],
        },
      ]
    }),
  )
}

/** A named or listed type of GraphQL as a type of JSON Schema. */
const jsonType = (type: string): string => {
  const inner = type.replaceAll('!', '')
  if (inner.startsWith('[')) return `${jsonType(inner.slice(1, -1))}[]`
  const known: Readonly<Record<string, string>> = {
    Int: 'integer',
    Float: 'number',
    Boolean: 'boolean',
  }
  if (known[inner] !== undefined) return known[inner]
  return inner.endsWith('Input') || inner.endsWith('Filter') || inner.endsWith('Order')
    ? 'object'
    : 'string'
}

const rootFields = (
  type: 'query' | 'mutation',
  of: Readonly<Record<string, GraphQLField<unknown, unknown>>>,
): readonly Found[] =>
  Object.values(of).map((field) => ({
    id: field.name,
    method: 'POST',
    path: '/graphql',
    host: null,
    graphql: `${type} ${field.name}`,
    summary: short(field.description ?? ''),
    scopes: null,
    parameters: field.args.map((argument) => ({
      name: argument.name,
      in: 'body',
      type: jsonType(String(argument.type)),
      required: String(argument.type).endsWith('!') && argument.defaultValue === undefined,
      description: short(argument.description ?? ''),
    })),
  }))

/** Every root field of GitHub's schema; `graphql.` keeps them apart from the ids of REST. */
export const githubGraphql = (): readonly Found[] => {
  const schema = buildSchema(specText('githubGraphql'), { assumeValidSDL: true })
  return [
    ...rootFields('query', schema.getQueryType()?.getFields() ?? {}),
    ...rootFields('mutation', schema.getMutationType()?.getFields() ?? {}),
  ].map((found) => ({ ...found, id: `graphql.${found.id}` }))
}
