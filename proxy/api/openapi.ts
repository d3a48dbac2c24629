// The OpenAPI document of deputy's own APIs, from the schemas that the routes check by, as zod writes them.
// `@hono/zod-openapi` would cost 7 ms and 0.4 MB at the first request. But its document leaves out the bounds of whole
// numbers, the pattern of times and what closes an object, and its routes read a body by `JSON.parse`, where a key that
// stands twice has two readings: all that would stay of it is the list below.
import { z } from 'zod'
import { CATALOGUE } from '../problem.ts'

export type ApiRoute = {
  readonly method: 'get' | 'post' | 'delete'
  /** `/v1/admin/runs/{id}` */
  readonly path: string
  readonly summary: string
  /** null: anybody may ask. */
  readonly auth: 'tag' | 'operator' | 'verifier' | null
  readonly query?: z.ZodObject
  readonly body?: z.ZodType
  /** null: 204. */
  readonly answer: z.ZodType | null
  /** Default 200. */
  readonly status?: number
  /** An answer beside the problems of its status. */
  readonly also?: {
    readonly status: number
    readonly description: string
    readonly answer: z.ZodType
  }
}

const SECURITY = {
  tag: {
    type: 'apiKey',
    in: 'header',
    name: 'Deputy-User',
    description:
      'The tag that names the user: a signed assertion, a run token, or a name under identity.trust: plain. Authorization takes a signed one as well.',
  },
  operator: {
    type: 'http',
    scheme: 'bearer',
    description: 'A bearer of operators, or a token of the issuer of operators_sign_in.',
  },
  verifier: { type: 'http', scheme: 'bearer', description: 'The key of connect.verifier.' },
} as const

const schemaOf = (schema: z.ZodType, io: 'input' | 'output'): object => {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' })
  void $schema
  return rest
}
const json = (schema: object, type = 'application/json'): object => ({ [type]: { schema } })

const text = { type: 'string' } as const
const PROBLEM = json({ $ref: '#/components/schemas/Problem' }, 'application/problem+json')
const PROBLEM_SCHEMA = {
  type: 'object',
  required: ['type', 'title', 'status', 'detail', 'instance', 'code', 'message'],
  properties: {
    type: text,
    title: text,
    status: { type: 'integer' },
    detail: { ...text, description: 'A sentence that may be shown to the user as it stands.' },
    instance: text,
    code: { type: 'string', enum: Object.keys(CATALOGUE) },
    message: { ...text, description: 'The same as detail.' },
    url: { ...text, description: 'A link for the user alone.' },
    retry_after: { type: 'number', description: 'Seconds.' },
  },
} as const
const PROBLEM_HEADERS = {
  'Deputy-Answer': { description: 'The code.', schema: text },
  'Retry-After': { description: 'Seconds, where waiting makes sense.', schema: text },
}

const parameters = (route: ApiRoute): readonly object[] => {
  const query = route.query === undefined ? null : z.toJSONSchema(route.query, { io: 'input' })
  const required = query?.required ?? []
  return [
    ...[...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string' },
    })),
    ...Object.entries(query?.properties ?? {}).map(([name, schema]) => ({
      name,
      in: 'query',
      required: required.includes(name),
      schema,
    })),
  ]
}

const operation = (route: ApiRoute): object => ({
  summary: route.summary,
  security: route.auth === null ? [] : [{ [route.auth]: [] }],
  parameters: parameters(route),
  ...(route.body === undefined
    ? {}
    : { requestBody: { required: true, content: json(schemaOf(route.body, 'input')) } }),
  responses: {
    ...(route.answer === null
      ? { 204: { description: 'Done' } }
      : {
          [route.status ?? 200]: {
            description: 'The answer',
            content: json(schemaOf(route.answer, 'output')),
          },
        }),
    ...(route.also === undefined
      ? {}
      : {
          [route.also.status]: {
            description: route.also.description,
            content: { ...json(schemaOf(route.also.answer, 'output')), ...PROBLEM },
          },
        }),
    default: { $ref: '#/components/responses/Problem' },
  },
})

/** OpenAPI 3.1, which speaks JSON Schema 2020-12 as it is. */
export const openApi = (
  title: string,
  publicUrl: string,
  routes: readonly ApiRoute[],
): Readonly<Record<string, unknown>> => {
  const paths = new Map<string, Record<string, object>>()
  for (const route of routes)
    paths.set(route.path, {
      ...paths.get(route.path),
      [route.method]: operation(route),
    })
  const used = Object.entries(SECURITY).filter(([name]) => routes.some(({ auth }) => auth === name))
  return {
    openapi: '3.1.0',
    info: { title, version: '1' },
    paths: Object.fromEntries(paths),
    components: {
      schemas: { Problem: PROBLEM_SCHEMA },
      securitySchemes: Object.fromEntries(used),
      responses: {
        Problem: {
          description: `RFC 9457; each type is explained under ${publicUrl}/problems/`,
          headers: PROBLEM_HEADERS,
          content: PROBLEM,
        },
      },
    },
  }
}
