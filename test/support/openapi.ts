// The OpenAPI document of a running deputy, held against the specification and against every answer that passes here.
import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect } from 'vitest'

type Content = Readonly<Record<string, { readonly schema: object }>>
type Response = { readonly $ref?: string; readonly content?: Content }
export type Operation = {
  readonly parameters: readonly { readonly name: string; readonly in: string }[]
  readonly requestBody?: { readonly content: Content }
  readonly responses: Readonly<Record<string, Response>>
}
export type Doc = {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: {
    readonly responses: Readonly<Record<string, Response>>
    readonly schemas: Readonly<Record<string, object>>
    readonly securitySchemes: Readonly<Record<string, object>>
  }
}

/** What OpenAPI 3.1.0 says of the objects that the document may have; a member that is not named here is refused. */
const only = (properties: object, required: readonly string[] = []): object => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
})
const map = (of: object, names: object = {}): object => ({
  type: 'object',
  propertyNames: names,
  additionalProperties: of,
})
const at = (name: string): object => ({ $ref: `#/$defs/${name}` })
const text = { type: 'string', minLength: 1 }
const META = {
  ...only(
    {
      openapi: { const: '3.1.0' },
      info: only({ title: text, version: text }, ['title', 'version']), // 4.8.2
      paths: map(at('path'), { pattern: '^/' }), // 4.8.8
      components: only({
        schemas: map(at('schema'), { pattern: '^[a-zA-Z0-9._-]+$' }), // 4.8.7
        responses: map(at('response')),
        securitySchemes: map({
          oneOf: [
            only(
              {
                type: { const: 'apiKey' },
                in: { enum: ['header', 'query', 'cookie'] },
                name: text,
                description: text,
              },
              ['type', 'in', 'name'],
            ),
            only({ type: { const: 'http' }, scheme: text, description: text }, ['type', 'scheme']),
          ],
        }),
      }),
    },
    ['openapi', 'info', 'paths'],
  ),
  $defs: {
    schema: { $ref: 'https://json-schema.org/draft/2020-12/schema' },
    media: only({ schema: at('schema') }, ['schema']),
    content: map(at('media'), { pattern: '^[a-z]+/[a-z+]+$' }),
    header: only({ description: text, schema: at('schema') }, ['schema']),
    response: {
      oneOf: [
        only({ $ref: { const: '#/components/responses/Problem' } }, ['$ref']),
        only({ description: text, headers: map(at('header')), content: at('content') }, [
          'description',
        ]), // 4.8.17
      ],
    },
    path: map(
      only(
        {
          summary: text,
          security: { type: 'array', items: map({ type: 'array', maxItems: 0 }) },
          parameters: {
            type: 'array',
            items: only(
              {
                name: text,
                in: { enum: ['path', 'query'] },
                required: { type: 'boolean' },
                schema: at('schema'),
              },
              ['name', 'in', 'schema'],
            ), // 4.8.12
          },
          requestBody: only({ required: { type: 'boolean' }, content: at('content') }, ['content']),
          responses: map(at('response'), { pattern: '^(?:[1-5]\\d\\d|default)$' }), // 4.8.16
        },
        ['responses'],
      ),
      { enum: ['get', 'post', 'delete'] },
    ),
  },
}

const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true })
const valid = ajv.compile(META)
const names = (template: string): readonly (string | undefined)[] =>
  [...template.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)

/** Faults of the document itself. */
export const faults = (doc: Doc): readonly string[] => {
  const found = valid(doc) ? [] : (valid.errors ?? []).map((e) => `${e.instancePath} ${e.message}`)
  for (const [path, methods] of Object.entries(doc.paths))
    for (const [method, operation] of Object.entries(methods)) {
      const where = `${method} ${path}`
      const keys = operation.parameters.map((each) => `${each.in} ${each.name}`)
      if (new Set(keys).size < keys.length) found.push(`${where}: a parameter twice`)
      const inPath = keys.filter((key) => key.startsWith('path ')).toSorted()
      if (
        inPath.join() !==
        names(path)
          .map((name) => `path ${name}`)
          .toSorted()
          .join()
      )
        found.push(`${where}: its path and its parameters differ`)
      const { security } = operation as unknown as { security: readonly object[] }
      for (const scheme of security.flatMap((each) => Object.keys(each)))
        if (!Object.hasOwn(doc.components.securitySchemes, scheme))
          found.push(`${where}: no security scheme ${scheme}`)
    }
  for (const [, to = ''] of JSON.stringify(doc).matchAll(/"\$ref":"#\/([^"]*)"/g)) {
    const end = to
      .split('/')
      .reduce<unknown>((value, key) => (value as Record<string, unknown>)?.[key], doc)
    if (end === undefined) found.push(`#/${to} leads nowhere`)
  }
  return found
}

/** A schema of the document, with what it refers to. */
export const schemaIn = (doc: Doc, schema: object): object => ({
  allOf: [schema],
  components: doc.components,
})

const docs = new Map<string, Promise<Doc>>()
export const docAt = (origin: string): Promise<Doc> => {
  const known =
    docs.get(origin) ??
    fetch(`${origin}/v1/openapi.json`).then(async (answer) => (await answer.json()) as Doc)
  docs.set(origin, known)
  return known
}

const patternOf = (template: string): RegExp =>
  new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`)

/** A `fetch` for clients of deputy's APIs: an answer that the document does not describe fails the test. */
export const conforming: typeof fetch = async (input, init) => {
  const answer = await fetch(input, init)
  const { origin, pathname } = new URL(input instanceof Request ? input.url : input)
  const method = (init?.method ?? (input instanceof Request ? input.method : 'GET')).toLowerCase()
  const doc = await docAt(origin)
  const [, methods] =
    Object.entries(doc.paths).find(([path]) => patternOf(path).test(pathname)) ?? []
  const responses = methods?.[method]?.responses ?? {
    default: { $ref: '#/components/responses/Problem' },
  }
  const named = responses[answer.status] ?? responses['default']
  const response = named?.$ref === undefined ? named : doc.components.responses['Problem']
  const told = `${method} ${pathname} ${answer.status}`
  const body = await answer.clone().text()
  const type = (answer.headers.get('content-type') ?? '').split(';')[0] ?? ''
  if (response?.content === undefined) {
    expect(body, told).toBe('')
    return answer
  }
  const schema = response.content[type]?.schema
  expect(schema, `${told} is ${type}`).toBeDefined()
  if (type === 'application/problem+json')
    expect(answer.headers.get('deputy-answer'), told).not.toBeNull()
  const fits = ajv.validate(schemaIn(doc, schema ?? {}), JSON.parse(body))
  expect(fits, `${told}: ${ajv.errorsText()} in ${body}`).toBe(true)
  return answer
}
