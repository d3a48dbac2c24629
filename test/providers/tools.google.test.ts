// Google's tools against Google's discovery documents: each request, and each pointer into an answer.
import { expect, test } from 'vitest'
import { isObject } from '../../proxy/wire/json.ts'
import { specText } from '../catalogues/specs.ts'
import { ANY, shapeOf, type Shape } from '../support/shape.ts'
import { shippedTools, toolMistakes, withoutSpecs, type SpecCall } from '../support/tools.ts'

const missing = withoutSpecs('google')
type Raw = { readonly [name: string]: unknown }
const raw = (value: unknown): Raw => (isObject(value) ? value : {})

const documents = new Map<string, Raw>()
const VERSIONS: Readonly<Record<string, string>> = {
  gmail: 'v1',
  calendar: 'v3',
  drive: 'v3',
  docs: 'v1',
  sheets: 'v4',
  people: 'v1',
  tasks: 'v1',
}
const documentOf = (api: string): Raw => {
  const known = documents.get(api)
  if (known !== undefined) return known
  const name = `googleapiclient/discovery_cache/documents/${api}.${VERSIONS[api] ?? ''}.json`
  const read = raw(JSON.parse(specText('google', name)))
  documents.set(api, read)
  return read
}

const methodOf = (id: string, at: Raw): Raw => {
  const [, ...names] = id.split('.')
  const method = names.pop() ?? ''
  const resource = names.reduce<Raw>((within, name) => raw(raw(within['resources'])[name]), at)
  return raw(raw(resource['methods'])[method])
}

/** A parameter's value comes as it is, before it is text; `repeated` is a list. */
const queryShape = (document: Raw, method: Raw): Shape => {
  const entries = Object.entries({ ...raw(document['parameters']), ...raw(method['parameters']) })
  const properties = Object.fromEntries(
    entries
      .filter(([, each]) => raw(each)['location'] === 'query')
      .map(([name, each]) => [
        name,
        raw(each)['repeated'] === true ? { type: 'array', items: each } : each,
      ]),
  )
  const required = Object.keys(properties).filter(
    (name) => raw(properties[name])['required'] === true,
  )
  return shapeOf(
    { type: 'object', properties: { ...properties, '': {} }, required },
    () => ({}),
    false,
  )
}

const specOf = (id: string, upload: boolean): SpecCall => {
  const document = documentOf(id.split('.')[0] ?? '')
  const method = methodOf(id, document)
  const refs = (name: string): unknown => raw(document['schemas'])[name]
  const media = raw(raw(raw(method['mediaUpload'])['protocols'])['simple'])
  const own = `/${String(document['servicePath'])}${String(method['flatPath'] ?? method['path'])}`
  const shape = (part: unknown): Shape | null =>
    part === undefined ? null : shapeOf(part, refs, false)
  const query = queryShape(document, method)
  return {
    method: String(method['httpMethod']),
    path: upload ? String(media['path']) : own,
    // An upload says what kind it is.
    query:
      upload && query.kind === 'object'
        ? { ...query, members: new Map([...query.members, ['uploadType', () => ANY]]) }
        : query,
    request: shape(method['request']),
    response: shape(method['response']),
  }
}

test.skipIf(missing !== '')(
  `every request of Google's tools is one of its discovery documents${missing}`,
  async () => {
    const { tools, problems } = await shippedTools('google')
    expect(problems).toEqual([])
    const found = tools.flatMap((tool) =>
      toolMistakes(tool, ({ operation, content }) => specOf(operation.id, content !== null)),
    )
    expect(found).toEqual([])
  },
)
