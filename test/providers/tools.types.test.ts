// Slack's, Salesforce's and HubSpot's tools. No specification of theirs is published that is whole, so the arguments are
// held against the types of the clients that the vendors (for Salesforce: everybody) use, by the compiler.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { isObject } from '../../proxy/wire/json.ts'
import { ANY } from '../support/shape.ts'
import {
  callsOf,
  everyArgument,
  keptPointers,
  queryOf,
  shippedTools,
  toolMistakes,
  type Call,
  type SpecCall,
} from '../support/tools.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'deputy-tools-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** What the compiler has against the lines, each behind the name of the tool that it is of. */
const compiled = (head: string, lines: readonly string[]): readonly string[] => {
  const file = join(dir, 'arguments.ts')
  writeFileSync(file, `${head}\n${lines.join('\n')}\n`)
  const flags = [
    '--noEmit',
    '--strict',
    '--skipLibCheck',
    '--module',
    'nodenext',
    '--target',
    'esnext',
  ]
  const { stdout } = spawnSync(
    join(ROOT, 'node_modules/.bin/tsc'),
    [...flags, '--types', 'node', '--typeRoots', join(ROOT, 'node_modules/@types'), file],
    { encoding: 'utf8', cwd: dir },
  )
  const first = head.split('\n').length + 1
  return [...stdout.matchAll(/\((\d+),\d+\): error (.*)/g)].map(
    ([, line = '0', what = '']) =>
      `${/\/\* (.*?) \*\//.exec(lines[Number(line) - first] ?? '')?.[1] ?? line}: ${what}`,
  )
}
/** Is there something at this path? What is open to any name does not count. */
const HAS = `type Known<T> = { [K in keyof T as string extends K ? never : K]: T[K] }
type Has<T, P> = P extends [infer K, ...infer R]
  ? NonNullable<T> extends readonly (infer E)[] ? (K extends '*' ? Has<E, R> : false)
  : K extends keyof Known<NonNullable<T>> ? Has<NonNullable<T>[K & keyof NonNullable<T>], R> : false
  : true`
const bodyOf = ({ request }: Call): object => {
  const body: unknown = request.body === null ? {} : JSON.parse(String(request.body))
  return isObject(body) ? body : {}
}
const pascal = (id: string): string =>
  id
    .split('.')
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('')

test(
  'every call of Slack’s tools is one that Slack’s client takes',
  { timeout: 120_000 },
  async () => {
    const { tools, problems } = await shippedTools('slack')
    expect(problems).toEqual([])
    const calls = tools.flatMap((tool) =>
      [callsOf(tool), callsOf(tool, everyArgument(tool))]
        .flat()
        .map((call) => ({ tool, call, id: call.step.operation.id })),
    )
    for (const { call, id } of calls) expect(call.request.target.split('?')[0]).toBe(`/api/${id}`)
    const given = calls.map(
      ({ tool, call, id }, i) =>
        `const a${i}: S.${pascal(id)}Arguments = ${JSON.stringify({ ...queryOf(call), ...bodyOf(call) })} /* ${tool.name} */`,
    )
    const answers = tools.flatMap((tool) =>
      keptPointers(tool).map(([step, path]) => {
        const id = tool.steps.find(({ name }) => name === step)?.operation.id ?? ''
        return `true satisfies Has<S.${pascal(id)}Response, ${JSON.stringify(path)}> /* ${tool.name} */`
      }),
    )
    const head = `import type * as S from '${ROOT}node_modules/@slack/web-api/dist/index.js'\n${HAS}`
    expect(compiled(head, [...given, ...answers])).toEqual([])
    expect(
      compiled(head, ['const x: S.ChatPostMessageArguments = { channl: "" } /* odd */']),
    ).toHaveLength(1)
  },
)

/** `SELECT a, b FROM X WHERE …` */
const SOQL = /^SELECT ([\w, .]+) FROM (\w+)/
test(
  'fields of Salesforce’s tools are those of its standard objects',
  { timeout: 120_000 },
  async () => {
    const { tools, problems } = await shippedTools('salesforce')
    expect(problems).toEqual([])
    const fields = (of: string): string => `F.StandardSchema['SObjects']['${of}']['Fields']`
    const lines = tools.flatMap((tool) =>
      callsOf(tool, everyArgument(tool)).flatMap((call) => {
        const [, sobject = ''] = /\/sobjects\/(\w+)/.exec(call.request.target) ?? []
        const { q, fields: read } = queryOf(call)
        const [, selected = '', from = ''] = SOQL.exec(typeof q === 'string' ? q : '') ?? []
        const custom = sobject.endsWith('__c')
        const names = selected === '' ? (typeof read === 'string' ? read : '') : selected
        return [
          ...(call.request.body === null || custom
            ? []
            : [
                `(${JSON.stringify(bodyOf(call))}) satisfies { [K in keyof ${fields(sobject)}]?: unknown }`,
              ]),
          ...names
            .split(',')
            .map((name) => name.trim())
            .filter((name) => name !== '' && !name.includes('.') && !custom)
            .map((name) => `'${name}' satisfies keyof ${fields(from === '' ? sobject : from)}`),
        ].map((line) => `${line} /* ${tool.name} */`)
      }),
    )
    const head = `import type * as F from '${ROOT}node_modules/@jsforce/jsforce-node/lib/types/standard-schema.js'`
    expect(lines.length).toBeGreaterThan(30)
    expect(compiled(head, lines)).toEqual([])
  },
)

/** The calls that the code of HubSpot's client makes: what stands between one address and the next is of the first. */
const clientCalls = (
  api: string,
): readonly (Omit<SpecCall, 'request'> & { readonly place: string })[] =>
  readFileSync(join(CLIENT, `${api}.js`), 'utf8')
    .split("const localVarPath = '")
    .slice(1)
    .map((part) => {
      const path = part.slice(0, part.indexOf("'"))
      const method = /HttpMethod\.(\w+)/.exec(part)?.[1] ?? ''
      const query = [...part.matchAll(/(?:set|append)QueryParam\("(\w+)"/g)]
      return {
        method,
        path,
        place: `${method} ${path}`,
        query: {
          kind: 'object',
          members: new Map(query.map(([, name = '']) => [name, () => ANY])),
          required: [],
          others: null,
        },
        response: null,
      }
    })
const CLIENT = join(ROOT, 'node_modules/@hubspot/api-client/lib/codegen/crm')

test(
  'every call of HubSpot’s tools is one that HubSpot’s client makes',
  { timeout: 120_000 },
  async () => {
    const { tools, problems } = await shippedTools('hubspot')
    expect(problems).toEqual([])
    const kinds = ['contacts', 'companies', 'deals']
    const apis = kinds.flatMap((kind) => [`${kind}/apis/BasicApi`, `${kind}/apis/SearchApi`])
    const all = [...apis, 'owners/apis/OwnersApi'].flatMap(clientCalls)
    const found = tools.flatMap((tool) =>
      toolMistakes(tool, ({ operation }) => {
        const wanted = `${operation.method} ${operation.path}`
        const call = all.find(({ place }) => place === wanted || place === `${wanted}/`)
        if (call === undefined) throw new Error(`${tool.name}: the client has no ${wanted}`)
        return { ...call, path: operation.path, request: operation.method === 'GET' ? null : ANY }
      }),
    )
    expect(found).toEqual([])
    const bodies = tools.flatMap((tool) =>
      callsOf(tool, everyArgument(tool)).flatMap((call) => {
        const { id } = call.step.operation
        const body = id.includes('searchApi')
          ? 'Partial<H.PublicObjectSearchRequest>'
          : id.endsWith('create')
            ? "Pick<H.SimplePublicObjectInputForCreate, 'properties'>"
            : 'H.SimplePublicObjectInput'
        return call.request.body === null
          ? []
          : [`(${JSON.stringify(bodyOf(call))}) satisfies ${body} /* ${tool.name} */`]
      }),
    )
    expect(bodies).toHaveLength(9)
    const head = `import type * as H from '${CLIENT}/contacts/models/all.js'`
    expect(compiled(head, bodies)).toEqual([])
  },
)
