// Microsoft's tools against Graph's own Python client, which is made from Graph's specification: paths, queries, bodies
// and answers. Names of members begin with either case there: an action's own are written in capitals.
import { posix } from 'node:path'
import { expect, test } from 'vitest'
import type { Step } from '../../proxy/tools/definition.ts'
import { specFiles, specText } from '../catalogues/specs.ts'
import { ANY, type Shape } from '../support/shape.ts'
import { shippedTools, toolMistakes, withoutSpecs, type SpecCall } from '../support/tools.ts'

const missing = withoutSpecs('microsoft')
const ROOT = 'msgraph/generated'
const snake = (name: string): string => name.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase()

/** A new file is named by its folder: that is written down in words only ("Upload small files"). */
const IN_WORDS: Readonly<Record<string, string>> = {
  'PUT /v1.0/me/drive/root:/{path+}:/content': '/v1.0/me/drive/items/{id}/content',
}
/** `/v1.0/me/messages/{id}/move` → `users/item/messages/item/move` */
const folderOf = (path: string): string =>
  path
    .replace('/v1.0/me/drive/root/children', '/v1.0/drives/{d}/items/{i}/children')
    .replace('/v1.0/me/drive/', '/v1.0/drives/{d}/')
    .replace('/v1.0/me', '/v1.0/users/{u}')
    .split('/')
    .slice(2)
    .map((segment) => (segment.startsWith('{') ? 'item' : snake(segment)))
    .join('/')

const reader = (): ((step: Step) => SpecCall) => {
  const all = specFiles('microsoft')
  const files = new Set(all)
  const builders = new Map(
    all
      .filter((file) => file.endsWith('_request_builder.py'))
      .map((file) => [posix.dirname(file), file] as const),
  )
  const shapes = new Map<string, Shape>()
  /** @param from the folder of the file that names it */
  const model = (name: string, from: string): Shape => {
    const beside = `${from}/${snake(name)}.py`
    const file = files.has(beside) ? beside : `${ROOT}/models/${snake(name)}.py`
    const known = shapes.get(file)
    if (known !== undefined) return known
    if (!files.has(file)) return ANY
    const source = specText('microsoft', file)
    const folder = posix.dirname(file)
    const [, parents = ''] = /^class \w+\(([^)]*)\)/m.exec(source) ?? []
    const inherited = parents
      .split(', ')
      .filter((one) => files.has(`${ROOT}/models/${snake(one)}.py`))
      .flatMap((one) => {
        const shape = model(one, folder)
        return shape.kind === 'object' ? [...shape.members] : []
      })
    const own = [...source.matchAll(/^ {12}"([^"]+)": lambda n : .*n\.get_(\w+)\((\w*)\)\),$/gm)]
    const members = own.flatMap(([, key = '', read = '', of = '']) => {
      const one = (): Shape =>
        read.endsWith('object_value') || read.endsWith('object_values') ? model(of, folder) : ANY
      const shape: () => Shape = read.startsWith('collection')
        ? () => ({ kind: 'list', of: one })
        : one
      const small = key.slice(0, 1).toLowerCase() + key.slice(1)
      return [[key, shape] as const, [small, shape] as const]
    })
    // `@odata.type` and its like may stand in every object.
    const shape: Shape = {
      kind: 'object',
      members: new Map([
        ...inherited,
        ...members,
        ['@microsoft.graph.conflictBehavior', () => ANY] as const,
        ['@odata.nextLink', () => ANY] as const,
      ]),
      required: [],
      others: null,
    }
    shapes.set(file, shape)
    return shape
  }
  return ({ operation }) => {
    const path = IN_WORDS[`${operation.method} ${operation.path}`] ?? operation.path
    const folder = `${ROOT}/${folderOf(path)}`
    const file = builders.get(folder)
    if (file === undefined) throw new Error(`${operation.id}: nothing in ${folder}`)
    const source = specText('microsoft', file)
    const [, template = ''] = /"\{\+baseurl\}([^"]*)"/.exec(source) ?? []
    const method = new RegExp(
      `async def ${operation.method.toLowerCase()}\\(self,(?:body: (\\w+), )?[^\\n]*-> (?:Optional\\[)?(\\w+)`,
    ).exec(source)
    const query = [...template.matchAll(/(?:\{\?|[?&,])([^{}?&,=]+)(?==|,|\}|\*)/g)]
      .map(([, name = '']) => decodeURIComponent(name).replace('*', ''))
      .concat(operation.method === 'GET' ? ['$skiptoken'] : [])
    const [, body, answer = 'bytes'] = method ?? []
    return {
      method: method === null ? 'no method' : operation.method,
      path: operation.path,
      query: {
        kind: 'object',
        members: new Map(query.map((name) => [name, () => ANY])),
        required: [],
        others: null,
      },
      request: body === undefined ? null : body === 'bytes' ? ANY : model(body, folder),
      response: answer === 'bytes' || answer === 'None' ? null : model(answer, folder),
    }
  }
}

test.skipIf(missing !== '')(
  `every request of Microsoft's tools is one that Graph's client could make${missing}`,
  { timeout: 120_000 },
  async () => {
    const { tools, problems } = await shippedTools('microsoft')
    expect(problems).toEqual([])
    const specOf = reader()
    expect(tools.flatMap((tool) => toolMistakes(tool, specOf))).toEqual([])
  },
)
