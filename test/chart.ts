// The generated parts of the chart: made from its schema and the configuration's, written and compared by `npm run check`.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { isMap, isScalar, parseDocument } from 'yaml'
import type { Document, YAMLMap } from 'yaml'
import { configJsonSchema, keysOf } from '../proxy/config/words.ts'
import { isTree } from './docs.ts'
import type { Tree } from './docs.ts'

export const CHART = fileURLToPath(new URL('../helm/deputy/', import.meta.url))
const WIDTH = 96

/** Keys of deputy.yaml that the chart sets itself: nobody else may. */
const SET_BY_CHART = [
  ['', ['version', 'state', 'workloads']],
  ['listeners', ['agent', 'admin', 'connect', 'operators', 'agent_tls', 'extra']],
  ['policy', ['bundle', 'data']],
  ['vault', ['keys', 'store']],
] as const

/** What stands there may be put in by deputy, from a file or the environment. */
const PUT_IN = { type: 'string', pattern: String.raw`\$\{(env|file):` }
const narrow = ({ type, pattern, enum: values, minLength }: Tree): boolean =>
  type === 'string' &&
  (pattern !== undefined ||
    values !== undefined ||
    (typeof minLength === 'number' && minLength > 1))

/** A schema without defaults, which are deputy's, and with `required` for what is still there. */
const bare = (schema: unknown): unknown => {
  if (Array.isArray(schema)) return schema.map(bare)
  if (!isTree(schema)) return schema
  const { default: _, required, ...rest } = schema
  const kept = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, bare(value)]))
  const { properties } = kept
  const wanted =
    Array.isArray(required) && isTree(properties)
      ? required.filter((key) => typeof key === 'string' && Object.hasOwn(properties, key))
      : []
  const whole = { ...kept, ...(wanted.length === 0 ? {} : { required: wanted }) }
  if (!narrow(whole)) return whole
  const { description, title, ...strict } = whole as Tree
  const words = {
    ...(title === undefined ? {} : { title }),
    ...(description === undefined ? {} : { description }),
  }
  return { ...words, anyOf: [strict, PUT_IN] }
}

/** A ConfigMap is no place for a secret: these are read from a file that is mounted. */
const SECRET =
  /(?:^|\.)(?:client_secret|client_key|bearer|password)$|^connect\.(?:verifier|notify)\.key$|^hooks\[\]\.key$/
const byFile = (schema: Tree): void => {
  const { description } = schema
  for (const key of Object.keys(schema)) delete schema[key]
  const words = `${String(description)} Only by reference: \`\${file:/run/secrets/deputy/NAME/KEY}\`.`
  // That it is one is looked at by a template: a schema's error would print the value.
  Object.assign(schema, { description: words, type: 'string' })
}

/** What `config` may say: the schema of deputy.yaml without what the chart sets. */
const configDefinition = (): Tree => {
  const { $schema: _, ...schema } = structuredClone(configJsonSchema()) as Tree
  for (const [path, keys] of SET_BY_CHART) {
    const properties = schema['properties']
    const section = path === '' ? schema : isTree(properties) ? properties[path] : undefined
    const own = isTree(section) ? section['properties'] : undefined
    if (!isTree(own)) throw new Error(`the configuration has no section ${path}`)
    for (const key of keys) delete own[key]
  }
  const { required: _required, ...definition } = bare(schema) as Tree
  for (const [path, each] of keysOf(definition)) {
    if (SECRET.test(path)) byFile(each)
    // Names are free there, and each value may be a key.
    const { additionalProperties: value } = each
    if (path === 'telemetry.headers' && isTree(value)) byFile(value)
  }
  return {
    ...definition,
    description:
      'deputy.yaml, but for what the chart sets itself: version, state, workloads, the addresses of listeners, policy.bundle, policy.data, vault.keys and vault.store.',
  }
}

const part = (schema: Tree, root: Tree): Tree => {
  const { $ref: ref, ...rest } = schema
  if (typeof ref !== 'string') return rest
  const found = ref
    .split('/')
    .slice(1)
    .reduce<unknown>((at, key) => (isTree(at) ? at[key] : undefined), root)
  if (!isTree(found)) throw new Error(`${ref} leads nowhere`)
  return found
}

const wrapped = (text: string): string => {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + word.length < WIDTH)
      lines[lines.length - 1] += ` ${word}`
    else lines.push(word)
  }
  return lines.map((line) => ` ${line}`).join('\n')
}

type Row = { readonly path: string; readonly schema: Tree; readonly value: string }
/** Puts each value's sentence above it. @returns a row for each value of values.yaml */
const annotate = (map: YAMLMap, schema: Tree, root: Tree, path = ''): readonly Row[] => {
  const { properties } = schema
  if (!isTree(properties)) return []
  map.commentBefore = null // the parser's place for the first key's
  return map.items.flatMap((pair) => {
    const key = isScalar(pair.key) ? String(pair.key.value) : ''
    const at = path === '' ? key : `${path}.${key}`
    const own = properties[key]
    if (!isTree(own)) throw new Error(`values.yaml: ${at} is not in values.schema.json`)
    const of = part(own, root)
    const { description } = of
    if (typeof description !== 'string') throw new Error(`values.schema.json: ${at} has no words`)
    if (isScalar(pair.key)) {
      pair.key.commentBefore = wrapped(description)
      pair.key.spaceBefore = path === ''
    }
    const nested = isMap(pair.value) && pair.value.flow !== true ? pair.value : null
    const row = {
      path: at,
      schema: of,
      value: nested === null ? JSON.stringify(pair.value) : '',
    }
    return nested === null ? [row] : [row, ...annotate(nested, of, root, at)]
  })
}

const typeOf = (schema: Tree): string => {
  const { enum: values, type } = schema
  if (Array.isArray(values)) return values.map((value) => `\`${String(value)}\``).join(', ')
  return String(type)
}

const readme = (rows: readonly Row[]): string =>
  [
    '| value | type | default | what it is |',
    '|---|---|---|---|',
    ...rows.map(
      ({ path, schema, value }) =>
        `| \`${path}\` | ${typeOf(schema)} | ${value === '' || value === '""' ? '' : `\`${value}\``} | ${String(schema['description'])} |`,
    ),
  ].join('\n')

const read = (name: string): string => readFileSync(`${CHART}${name}`, 'utf8')

/** Compares the generated parts, or writes them. Returns the files that are not what their sources say. */
export const generatedChart = (write: boolean): readonly string[] => {
  const schema = JSON.parse(read('values.schema.json')) as Tree
  schema['definitions'] = { config: configDefinition() }
  const values: Document = parseDocument(read('values.yaml'))
  if (!isMap(values.contents)) throw new Error('values.yaml holds no values')
  values.commentBefore = null
  const rows = annotate(values.contents, schema, schema)
  const [begin, end] = ['<!-- generated: values -->', '<!-- end: values -->']
  const [before = '', rest = ''] = read('README.md').split(begin)
  const [, after] = rest.split(end)
  if (after === undefined) throw new Error('helm/deputy/README.md has no marks of its table')
  const fresh: Readonly<Record<string, string>> = {
    'values.schema.json': `${JSON.stringify(schema, null, 2)}\n`,
    'values.yaml': values.toString({ lineWidth: 0 }).trimStart(),
    'README.md': `${before}${begin}\n\n${readme(rows)}\n\n${end}${after}`,
  }
  return Object.entries(fresh).flatMap(([name, text]) => {
    if (text === read(name)) return []
    if (!write) return [`helm/deputy/${name}`]
    writeFileSync(`${CHART}${name}`, text)
    return []
  })
}
