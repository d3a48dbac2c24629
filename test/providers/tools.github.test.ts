// GitHub's tools against its OpenAPI document: each request, and each pointer into an answer.
import { expect, test } from 'vitest'
import type { Step } from '../../proxy/tools/definition.ts'
import { isObject } from '../../proxy/wire/json.ts'
import { specText } from '../catalogues/specs.ts'
import { shapeOf, type Shape } from '../support/shape.ts'
import { shippedTools, toolMistakes, withoutSpecs, type SpecCall } from '../support/tools.ts'

const missing = withoutSpecs('github')
type Raw = { readonly [name: string]: unknown }
const raw = (value: unknown): Raw => (isObject(value) ? value : {})
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

const reader = (): ((step: Step) => SpecCall) => {
  const document = raw(JSON.parse(specText('github')))
  const refs = (name: string): unknown =>
    name
      .split('/')
      .slice(1)
      .reduce<unknown>((at, key) => raw(at)[key], document)
  const resolved = (value: unknown): Raw => {
    const name = raw(value)['$ref']
    return typeof name === 'string' ? raw(refs(name)) : raw(value)
  }
  const bare = (path: string): string => path.replaceAll(/\{[^}]*\}/g, '{}')
  const paths = new Map(
    Object.entries(raw(document['paths'])).map(([path, item]) => [bare(path), raw(item)] as const),
  )
  const json = (part: Raw): Shape | null => {
    const content = raw(raw(part['content'])['application/json'])['schema']
    return content === undefined ? null : shapeOf(content, refs, false)
  }
  return ({ operation }) => {
    const item = paths.get(bare(operation.path))
    if (item === undefined) throw new Error(`${operation.id}: no path ${operation.path}`)
    const method = raw(item[operation.method.toLowerCase()])
    const parameters = list(method['parameters'])
      .map(resolved)
      .filter((one) => one['in'] === 'query')
    const properties = Object.fromEntries(
      parameters.map((one) => [String(one['name']), one['schema']]),
    )
    const body = resolved(method['requestBody'])
    const request = json(body)
    const responses = raw(method['responses'])
    const answered = ['200', '201', '202'].map((status) => responses[status])
    return {
      method: item[operation.method.toLowerCase()] === undefined ? 'no method' : operation.method,
      // The same but for names; ours says where slashes may stand.
      path: operation.path,
      query: shapeOf(
        {
          type: 'object',
          properties: { ...properties, '': {} },
          required: parameters.filter((one) => one['required'] === true).map((one) => one['name']),
        },
        refs,
        false,
      ),
      request,
      response: json(resolved(answered.find((one) => one !== undefined))),
    }
  }
}

test.skipIf(missing !== '')(
  `every request of GitHub's tools is one of its OpenAPI document${missing}`,
  async () => {
    const { tools, problems } = await shippedTools('github')
    expect(problems).toEqual([])
    const specOf = reader()
    expect(tools.flatMap((tool) => toolMistakes(tool, specOf))).toEqual([])
  },
)
