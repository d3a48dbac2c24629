// What a SCIM service provider says about itself (RFC 7643 5 to 7), and the shape of its answers.
import type { Hono } from 'hono'
import type { Env } from './rest.ts'
import { ScimError } from './scim_error.ts'
import { SCHEMAS, URN, type Kind } from './scim_schema.ts'

export const TYPE = 'application/scim+json'
export const LIST = 'urn:ietf:params:scim:api:messages:2.0:ListResponse'
/** Resources in one answer at most. */
export const MOST_COUNT = 200
export const KINDS = [
  ['Users', 'User'],
  ['Groups', 'Group'],
] as const

export const answer = (
  status: number,
  body: object | null,
  headers: Record<string, string> = {},
): Response =>
  new Response(body === null ? null : JSON.stringify(body), {
    status,
    headers: body === null ? headers : { 'content-type': TYPE, ...headers },
  })

const discovery = (base: string) => {
  const type = (kind: Kind): object => ({
    schemas: ['urn:ietf:params:scim:schemas:core:2.0:ResourceType'],
    id: kind,
    name: kind,
    endpoint: `/${kind}s`,
    description: kind === 'User' ? 'People' : 'Groups of people and of groups',
    schema: URN[kind],
    ...(kind === 'User' ? { schemaExtensions: [{ schema: URN.Enterprise, required: false }] } : {}),
    meta: { resourceType: 'ResourceType', location: `${base}/ResourceTypes/${kind}` },
  })
  const no = { supported: false }
  return {
    types: new Map<string, object>(KINDS.map(([, kind]) => [kind, type(kind)])),
    schemas: new Map<string, object>(
      SCHEMAS.map((schema) => [
        schema.id,
        {
          ...schema,
          schemas: ['urn:ietf:params:scim:schemas:core:2.0:Schema'],
          meta: { resourceType: 'Schema', location: `${base}/Schemas/${schema.id}` },
        },
      ]),
    ),
    provider: {
      schemas: ['urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig'],
      patch: { supported: true },
      bulk: { ...no, maxOperations: 0, maxPayloadSize: 0 },
      filter: { supported: true, maxResults: MOST_COUNT },
      changePassword: no,
      sort: no,
      etag: { supported: true },
      authenticationSchemes: [
        {
          type: 'oauthbearertoken',
          name: 'Bearer',
          description: 'The bearer of entitlements.scim in the Authorization header',
          specUri: 'https://www.rfc-editor.org/rfc/rfc6750',
          primary: true,
        },
      ],
      meta: { resourceType: 'ServiceProviderConfig', location: `${base}/ServiceProviderConfig` },
    },
  }
}

export const serveDiscovery = (app: Hono<Env>, base: string): void => {
  const { types, schemas, provider } = discovery(base)
  const listed = (all: ReadonlyMap<string, object>): Response =>
    answer(200, {
      schemas: [LIST],
      totalResults: all.size,
      startIndex: 1,
      itemsPerPage: all.size,
      Resources: [...all.values()],
    })
  app.get('/ServiceProviderConfig', () => answer(200, provider))
  for (const [name, all] of [
    ['ResourceTypes', types],
    ['Schemas', schemas],
  ] as const) {
    app.get(`/${name}`, (c) => {
      if (c.req.query('filter') !== undefined)
        throw new ScimError(403, null, 'what is served here is not filtered')
      return listed(all)
    })
    app.get(`/${name}/:id`, (c) => {
      const one = all.get(c.req.param('id'))
      if (one === undefined) throw new ScimError(404, null, 'nothing here has this id')
      return answer(200, one)
    })
  }
}
