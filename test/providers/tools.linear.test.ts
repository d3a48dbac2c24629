// Linear's tools against its GraphQL schema, which is read back out of the types of Linear's own client: each document is
// valid, each set of variables is one that it takes, and each pointer leads to a field that it asks for.
import { buildSchema, getVariableValues, Kind, parse, validate } from 'graphql'
import type { DocumentNode, GraphQLSchema, SelectionSetNode } from 'graphql'
import { expect, test } from 'vitest'
import type { Step } from '../../proxy/tools/definition.ts'
import { isObject } from '../../proxy/wire/json.ts'
import { specFiles, specText } from '../catalogues/specs.ts'
import { declared, type Declared } from '../catalogues/typescript.ts'
import { ANY, type Shape } from '../support/shape.ts'
import {
  callsOf,
  everyArgument,
  shippedTools,
  toolMistakes,
  withoutSpecs,
} from '../support/tools.ts'

const missing = withoutSpecs('linear')

/** A type as it is written in TypeScript → in GraphQL, and what it names. */
const typeOf = (
  written: string,
): { readonly text: string; readonly names: string; readonly nullable: boolean } => {
  const maybe = /^(?:Input)?Maybe<(.*)>$/s.exec(written.trim())
  if (maybe !== null) return { ...typeOf(maybe[1] ?? ''), nullable: true }
  const list = /^Array<(.*)>$/s.exec(written.trim())
  if (list !== null) {
    const { text, names, nullable } = typeOf(list[1] ?? '')
    return { text: `[${text}${nullable ? '' : '!'}]`, names, nullable: false }
  }
  const scalar = /^Scalars\["(\w+)"\]/.exec(written.trim())
  const name = scalar?.[1] ?? written.trim()
  return { text: name, names: name, nullable: false }
}
type Member = {
  readonly name: string
  readonly type: ReturnType<typeof typeOf>
  readonly may: boolean
}
const membersOf = (body: string): readonly Member[] =>
  [...body.matchAll(/^ {2}(\w+)(\?)?: ([^;]*);/gm)].flatMap(([, name = '', may, written = '']) =>
    name === '__typename' ? [] : [{ name, type: typeOf(written), may: may !== undefined }],
  )

/** Every type that can be reached from the roots, as a schema. */
const schemaOf = (types: Declared, source: string): GraphQLSchema => {
  const lines: string[] = []
  // The printer writes `LinkURL` as `LinkUrl` there.
  const named = new Map([...types].map(([name, body]) => [name.toLowerCase(), body] as const))
  const enums = new Map(
    [...source.matchAll(/^declare enum (\w+) \{([^}]*)\}/gm)].map(
      ([, name = '', values = '']) => [name, values] as const,
    ),
  )
  const done = new Set(['String', 'Int', 'Float', 'Boolean', 'ID'])
  const fieldOf = (member: Member, args: string): string =>
    `  ${member.name}${args}: ${member.type.text}${member.type.nullable ? '' : '!'}`
  const visit = (name: string, input: boolean): void => {
    if (done.has(name)) return
    done.add(name)
    const values = enums.get(name)
    if (values !== undefined) {
      const words = [...values.matchAll(/= "(\w+)"/g)].map(([, word = '']) => word)
      lines.push(`enum ${name} { ${words.join(' ')} }`)
      return
    }
    const body = types.get(name)
    const members = body?.includes('{') === true ? membersOf(body) : []
    if (members.length === 0) {
      lines.push(`scalar ${name}`)
      return
    }
    const fields = members.map((member) => {
      visit(member.type.names, input)
      const given = named.get(`${name}${member.name}args`.toLowerCase())
      if (input || given === undefined) return fieldOf(member, '')
      const args = membersOf(given)
      for (const { type } of args) visit(type.names, true)
      return fieldOf(member, `(${args.map((arg) => fieldOf(arg, '')).join(', ')})`)
    })
    lines.push(`${input ? 'input' : 'type'} ${name} {\n${fields.join('\n')}\n}`)
  }
  visit('Query', false)
  visit('Mutation', false)
  return buildSchema(lines.join('\n'), { assumeValidSDL: true })
}

/** What a document asks for; lists are not told from objects here. */
const answerOf = (selections: SelectionSetNode): Shape => {
  const members = new Map(
    selections.selections.flatMap((one) =>
      one.kind === Kind.FIELD
        ? [
            [
              (one.alias ?? one.name).value,
              (): Shape => (one.selectionSet === undefined ? ANY : answerOf(one.selectionSet)),
            ] as const,
          ]
        : [],
    ),
  )
  const object: Shape = { kind: 'object', members, required: [], others: null }
  return { kind: 'either', of: [() => object, () => ({ kind: 'list', of: () => object })] }
}
const operationIn = (document: DocumentNode) => {
  const [definition] = document.definitions
  if (definition?.kind !== Kind.OPERATION_DEFINITION) throw new Error('no operation')
  return definition
}
const documentOf = ({ graphql }: Step): DocumentNode => parse(graphql?.document ?? '')
const specOf = (step: Step) => {
  const data = answerOf(operationIn(documentOf(step)).selectionSet)
  return {
    method: 'POST',
    path: '/graphql',
    query: ANY,
    request: ANY,
    response: {
      kind: 'object' as const,
      members: new Map([
        ['data', () => data],
        ['errors', () => ANY],
      ]),
      required: [],
      others: null,
    },
  }
}

test.skipIf(missing !== '')(
  `every document of Linear's tools is one of its schema, with the variables that it takes${missing}`,
  async () => {
    const { tools, problems } = await shippedTools('linear')
    expect(problems).toEqual([])
    const file = specFiles('linear').find((path) => /\/index-\w+\.d\.mts$/.test(path))
    const source = specText('linear', file)
    const schema = schemaOf(declared([source]), source)
    const found = tools.flatMap((tool) => [
      ...toolMistakes(tool, specOf),
      ...[callsOf(tool), callsOf(tool, everyArgument(tool))].flat().flatMap(({ step, request }) => {
        const document = documentOf(step)
        const sent: unknown = JSON.parse(String(request.body))
        const given = isObject(sent) && isObject(sent['variables']) ? sent['variables'] : {}
        const definitions = operationIn(document).variableDefinitions ?? []
        const declaredNames = definitions.map(({ variable }) => variable.name.value)
        const { errors = [] } = getVariableValues(schema, definitions, given)
        return [
          ...validate(schema, document).map(({ message }) => message),
          ...errors.map(({ message }) => message),
          ...Object.keys(given)
            .filter((name) => !declaredNames.includes(name))
            .map((name) => `no variable is called ${name}`),
        ].map((what) => `${tool.name}: ${what}`)
      }),
    ])
    expect(found).toEqual([])
  },
)
