// What a GraphQL call really does, read from its document: nothing hides behind names, fragments, directives or a second reading.
import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import {
  buildSchema,
  execute,
  getIntrospectionQuery,
  GraphQLError,
  parse,
  type GraphQLFieldResolver,
} from 'graphql'
import { describe, expect, test } from 'vitest'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { MOST, readGraphql } from '../../proxy/envelope/graphql.ts'
import { Problem } from '../../proxy/problem.ts'
import { cpuMs } from '../support/pace.ts'

const fieldsOf = (query: string, more: object = {}): readonly string[] =>
  readGraphql({ query, ...more }).map(({ field: { type, fields } }) => `${type} ${fields[0]}`)

const refusal = (body: unknown): string => {
  try {
    return `passed: ${JSON.stringify(readGraphql(body))}`
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return `${error.code}: ${error.message}`
  }
}

describe('root fields', () => {
  test.each<[string, string, readonly string[]]>([
    ['an alias is what it stands for', '{ viewer: apiKeys { id } }', ['query apiKeys']],
    [
      'a fragment is what is in it, and in the fragments in it',
      'query { ...A } fragment A on Query { ...B a } fragment B on Query { b }',
      ['query b', 'query a'],
    ],
    [
      'a fragment without a condition, or with that of another type',
      'mutation { ... { a } ... on Query { b } ... @include(if: false) { c } }',
      ['mutation a', 'mutation b', 'mutation c'],
    ],
    [
      '@skip and @include leave nothing out',
      'query($n: Boolean = false) { a @skip(if: true) b @include(if: $n) ...F @skip(if: true) } fragment F on Query { c }',
      ['query a', 'query b', 'query c'],
    ],
    ['fields that merge are one call', '{ a { x } a { y } b: a { z } }', ['query a', 'query a']],
    [
      'text is no structure',
      '# mutation { m }\nquery { a(s: "} } mutation { m }", t: """ " } mutation { m } """) }',
      ['query a'],
    ],
    ['introspection is a field like others', '{ __schema { types { name } } }', ['query __schema']],
    [
      'the keyword stands where the grammar has it',
      'query mutation { mutation }',
      ['query mutation'],
    ],
  ])('%s', (_, query, fields) => {
    expect(fieldsOf(query)).toEqual(fields)
  })

  test('the operation that operationName names is the one that is read', () => {
    const query = 'query A { a } mutation B { b }'
    expect(fieldsOf(query, { operationName: 'A' })).toEqual(['query a'])
    expect(fieldsOf(query, { operationName: 'B' })).toEqual(['mutation b'])
    expect(readGraphql({ query, operationName: 'B' })[0]?.field).toMatchObject({
      name: 'B',
      depth: 1,
    })
  })

  test('what clients add passes: null members, an empty name for the only operation, their own name', () => {
    const query = 'query A { a }'
    for (const more of [
      { operationName: null, variables: null, extensions: null },
      { operationName: '', variables: {}, extensions: {} },
      { extensions: { clientLibrary: { name: '@apollo/client', version: '4.0.0' } } },
    ])
      expect(fieldsOf(query, more)).toEqual(['query a'])
  })

  test('depth is counted through fragments, and a fragment is walked once however often it is spread', () => {
    const query = '{ a { ...F } b } fragment F on X { c { ... { d } } e }'
    expect(readGraphql({ query }).map(({ field }) => field.depth)).toEqual([3, 1])
    const doubled = Array.from(
      { length: 60 },
      (_, i) => `fragment F${i} on X { x ...F${i + 1} ...F${i + 1} }`,
    )
    let found: readonly string[] = []
    const query60 = `{ ...F0 } ${doubled.join(' ')} fragment F60 on X { y }`
    expect(cpuMs(() => (found = fieldsOf(query60)))).toBeLessThan(1_000)
    expect(found).toEqual(['query x', 'query y'])
  })

  test('a tool’s introspection query fits the limits', () => {
    expect(fieldsOf(getIntrospectionQuery())).toEqual(['query __schema'])
  })
})

const nested = (n: number): string => `${'{ a '.repeat(n)}${'}'.repeat(n)}`

describe('refused, with a sentence', () => {
  test.each<[string, unknown, string]>([
    ['a batch', [{ query: '{ a }' }], 'GraphQL calls come one by one, never in a list'],
    ['a text', '{ a }', 'the body of a GraphQL call is a JSON object'],
    ['null', null, 'the body of a GraphQL call is a JSON object'],
    ['no document', { operationName: 'A' }, 'the GraphQL call has no document'],
    ['an empty document', { query: '' }, 'the GraphQL call has no document'],
    ['a document that is no text', { query: ['{ a }'] }, 'the GraphQL call has no document'],
    ['a member in capitals', { query: '{ a }', Query: 'mutation { b }' }, 'has the member "Query"'],
    ['a stored document', { query: '{ a }', id: 'b1' }, 'has the member "id"'],
    [
      'a persisted query beside the text',
      { query: '{ a }', extensions: { persistedQuery: { version: 1, sha256Hash: 'x' } } },
      'persisted queries among them, are refused',
    ],
    [
      'a persisted query without the text',
      { extensions: { persistedQuery: { version: 1, sha256Hash: 'x' } } },
      'persisted queries among them, are refused',
    ],
    ['extensions that are a list', { query: '{ a }', extensions: [] }, 'extensions is no JSON'],
    ['variables that are a text', { query: '{ a }', variables: '{}' }, 'variables is no JSON'],
    ['a name that is a number', { query: '{ a }', operationName: 1 }, 'operationName is no text'],
    [
      'a name that nothing has',
      { query: 'query A { a }', operationName: 'B' },
      'no such operation',
    ],
    ['a name for a nameless one', { query: '{ a }', operationName: 'A' }, 'no such operation'],
    ['several and no name', { query: 'query A { a } query B { b }' }, 'several operations'],
    [
      'several and an empty name',
      { query: 'query A { a } query B { b }', operationName: '' },
      'several operations',
    ],
    [
      'a nameless one among several',
      { query: '{ a } mutation B { b }', operationName: 'B' },
      'several operations',
    ],
    [
      'two of one name',
      { query: 'query A { a } mutation A { b }', operationName: 'A' },
      'two operations of the document have one name',
    ],
    [
      'two fragments of one name',
      { query: '{ ...F } fragment F on Q { a } fragment F on Q { b }' },
      'two fragments of the document have one name',
    ],
    [
      'a fragment that is not there',
      { query: '{ a { ...F } }' },
      'a fragment that it does not have',
    ],
    [
      'a fragment in itself',
      { query: '{ a { ...F } } fragment F on Q { b { ...F } }' },
      'spreads itself',
    ],
    [
      'a fragment in itself at the root',
      { query: '{ ...F } fragment F on Q { b ...F }' },
      'spreads itself',
    ],
    ['only fragments', { query: 'fragment F on Q { a }' }, 'no such operation'],
    ['no field', { query: '{ }' }, 'asks for nothing'],
    ['a subscription', { query: 'subscription { a }' }, 'subscriptions do not pass'],
    ['a type', { query: '{ a } type Query { b: Int }' }, 'defines types'],
    ['nonsense', { query: '{ a ' }, 'cannot be read at line 1'],
    ['a comment that never ends a line', { query: '# { a }' }, 'cannot be read'],
    [
      'too many root fields',
      { query: `{ ${Array.from({ length: MOST.fields + 1 }, (_, i) => `a${i}`).join(' ')} }` },
      `has ${MOST.fields + 1} root fields; send at most ${MOST.fields}`,
    ],
    ['too many tokens', { query: `{ ${'a '.repeat(MOST.tokens)} }` }, `${MOST.tokens} tokens`],
    ['too many comments', { query: `${'#\n'.repeat(MOST.tokens + 1)}{ a }` }, 'cannot be read'],
    ['too deep', { query: nested(MOST.depth + 1) }, `deeper than ${MOST.depth} fields`],
    ['far too deep for a stack', { query: nested(200_000) }, 'cannot be read'],
    ['lists in lists', { query: `{ a(x: ${'['.repeat(100_000)}) }` }, 'cannot be read'],
    ['a long field', { query: `{ ${'a'.repeat(MOST.name + 1)} }` }, 'more than 128 characters'],
    ['a long name', { query: `query ${'a'.repeat(MOST.name + 1)} { a }` }, 'more than 128 char'],
  ])('%s', (_, body, said) => {
    expect(refusal(body)).toContain(said)
    expect(refusal(body)).toMatch(/^request_invalid: /)
  })

  test('and never with the words of the document', () => {
    for (const query of ['{ a(token: "ghp_s3cret" ', 'query { ghp_s3cret', '"ghp_s3cret'])
      expect(refusal({ query })).not.toContain('s3cret')
  })
})

describe('what runs is what was read', () => {
  const ran: string[] = []
  const note: GraphQLFieldResolver<unknown, unknown> = (
    _source,
    _args,
    _context,
    { parentType, fieldName },
  ) => {
    ran.push(`${parentType.name.toLowerCase()} ${fieldName}`)
    return null
  }
  const schema = buildSchema(`
    type Query { a: Query b(x: [String]): Query c: Query }
    type Mutation { a: Query d: Query }
    type Subscription { a: Query }
  `)
  /** A server that runs whatever it can parse, without validating it. */
  const runs = async (body: {
    readonly query: string
    readonly operationName?: string | null
    readonly variables?: { readonly [name: string]: unknown }
  }): Promise<readonly string[]> => {
    ran.length = 0
    try {
      await execute({
        schema,
        document: parse(body.query),
        operationName: body.operationName,
        variableValues: body.variables,
        fieldResolver: note,
      })
    } catch (error) {
      if (!(error instanceof GraphQLError)) throw error
    }
    return [...ran]
  }

  const name = fc.constantFrom('A', 'B', 'F', 'G')
  const directive = fc.constantFrom(
    '',
    '',
    ' @skip(if: true)',
    ' @include(if: $v)',
    ' @skip(if: false)',
  )
  const { set } = fc.letrec<{ readonly set: string; readonly selection: string }>((tie) => ({
    set: fc
      .array(tie('selection'), { minLength: 1, maxLength: 3, depthIdentifier: 'set' })
      .map((all) => `{ ${all.join(' ')} }`),
    selection: fc.oneof(
      { depthIdentifier: 'set', maxDepth: 3 },
      fc
        .tuple(
          fc.constantFrom('', '', 'a: ', 'mutation: '),
          fc.constantFrom('a', 'b', 'c', 'd', '__typename'),
          directive,
        )
        .map((parts) => parts.join('')),
      fc.tuple(name, directive).map(([fragment, at]) => `...${fragment}${at}`),
      fc.constant('b(x: ["}", """ " mutation { d } """])'),
      fc
        .tuple(fc.constantFrom('... ', '... on Query ', '... on Mutation '), directive, tie('set'))
        .map((parts) => parts.join('')),
      fc.tuple(fc.constantFrom('a', 'x: a'), tie('set')).map((parts) => parts.join(' ')),
    ),
  }))
  const operation = fc.oneof(
    fc
      .tuple(
        fc.constantFrom('query', 'query', 'mutation', 'subscription'),
        fc.constantFrom('', 'A', 'A', 'B'),
        set,
      )
      .map(
        ([kind, own, body]) =>
          `${kind} ${own}${kind === 'query' ? '($v: Boolean = true)' : ''} ${body}`,
      ),
    set,
  )
  // Fragments that spread one another now and then, and the same one twice.
  const fragment = fc
    .tuple(fc.constantFrom('A', 'B', 'F', 'G'), set, fc.integer({ min: 0, max: 9 }))
    .map(
      ([own, body, odds]) =>
        `fragment ${own} on Query ${odds === 0 ? body : body.replaceAll(/\.\.\.[A-G]/g, 'c')}`,
    )
  const fragments = fc.uniqueArray(fragment, {
    minLength: 3,
    maxLength: 5,
    selector: (text) => text.slice(0, 10),
  })
  /** A cut, or a few bytes that mean something to a lexer, somewhere. */
  const broken = fc.tuple(
    fc.nat(400),
    fc.nat(3),
    fc.constantFrom(
      '',
      '',
      '',
      '"',
      '"""',
      '#',
      '\n',
      '\r',
      '{',
      '}',
      '\uFEFF',
      '\u2028',
      '...',
      '@',
    ),
  )
  const calls = fc
    .tuple(
      fc
        .tuple(fc.array(operation, { minLength: 1, maxLength: 2 }), fragments)
        // The second by its own name, mostly: two of one name are refused anyway.
        .map(([[first, second], parts]) =>
          [first, second?.replace(/^(query|mutation) A?(?=[ (])/, '$1 B'), ...parts].filter(
            (part) => part !== undefined,
          ),
        ),
      broken,
      fc.constantFrom(undefined, undefined, null, '', 'A', 'B'),
      fc.constantFrom({}, { v: false }, { v: true }),
    )
    .map(([definitions, [at, length, put], operationName, variables]) => {
      const text = definitions.join('\n')
      const query = put === '' ? text : text.slice(0, at) + put + text.slice(at + length)
      return { query, variables, ...(operationName === undefined ? {} : { operationName }) }
    })

  test('a document does nothing at a lenient server that was not read out of it, or it was refused', async () => {
    let [read, refused] = [0, 0]
    await fc.assert(
      fc.asyncProperty(calls, async (body) => {
        let found: readonly string[]
        try {
          found = readGraphql(body).map(({ field: { type, fields } }) => `${type} ${fields[0]}`)
          read++
        } catch (error) {
          if (!(error instanceof Problem)) throw error
          refused++
          return
        }
        for (const one of await runs(body)) expect(found).toContain(one)
      }),
      { numRuns: 3_000 },
    )
    // The generator makes both.
    expect(Math.min(read, refused)).toBeGreaterThan(200)
  })
})

describe('Linear', () => {
  const sdk = readFileSync(
    new URL('../../node_modules/@linear/sdk/dist/index.mjs', import.meta.url),
    'utf8',
  )
  const documents = [
    ...sdk.matchAll(/const \w+Document = new TypedDocumentString\(`([^`]+)`/g),
  ].map(([, text = '']) => text)
  const vendor = new Set(documents.flatMap((query) => fieldsOf(query)))
  const linear = compileProviders(
    readProviderFiles(new URL('../../providers', import.meta.url).pathname),
  ).providers.get('linear')

  test('every document of its own SDK is one call, well within the limits', () => {
    expect(documents.length).toBeGreaterThan(600)
    for (const query of documents) {
      const [one, ...more] = readGraphql({ query, operationName: null, variables: {} })
      expect(more).toEqual([])
      expect(one?.field.depth).toBeLessThanOrEqual(MOST.depth / 2)
    }
  })

  test('the catalogue names root fields that its SDK has, under the keyword that the SDK uses', () => {
    // What is generated comes from the types of the same SDK, some of which no document of it asks for.
    const byHand = readFileSync(new URL('../../providers/linear.yaml', import.meta.url), 'utf8')
    const listed =
      linear?.operations
        .flatMap(({ graphql = '' }) => graphql)
        .filter((one) => new RegExp(`\\b${one.split(' ')[1] ?? ''}\\b`).test(byHand)) ?? []
    expect(listed.length).toBeGreaterThan(80)
    expect(listed.filter((one) => !vendor.has(one) && !one.includes(' __'))).toEqual([])
  })

  test('what its catalogue calls a read is a query, and what deletes is called so', () => {
    for (const { graphql = '', access } of linear?.operations ?? []) {
      if (access === 'read') expect(graphql).toMatch(/^query /)
      if (/(?:Delete|Archive)$/.test(graphql)) expect(['delete', 'admin']).toContain(access)
    }
  })
})
