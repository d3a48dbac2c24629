// The generated parts of docs/: made from the sources that they describe, written and compared by `npm run check`.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { configSchema } from '../proxy/config/schema.ts'
import { configJsonSchema, keysOf, WORDS } from '../proxy/config/words.ts'
import { CATALOGUE } from '../proxy/problem.ts'
import { countsTable, rulesTable } from './catalogues/counts.ts'
import { typicalTable } from './providers/typical.ts'
import { sdksTable } from './sdks/table.ts'
import { toolsList } from './tools_list.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const WIDTH = 116

export type Tree = { [key: string]: unknown }
export const isTree = (value: unknown): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** As few words as make a configuration with every section that has defaults. */
const LEAST = {
  version: 1,
  identity: { trust: 'plain' },
  entitlements: { source: 'file' },
  policy: { bundle: './bundle.tar.gz' },
  connections: { github: { provider: 'github' } },
  vault: { keys: './keys.json' },
}
const UNITS = {
  duration: { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 },
  size: { GiB: 1024 ** 3, MiB: 1024 ** 2, KiB: 1024, B: 1 },
} as const
const amount = (value: number, kind: 'duration' | 'size'): string => {
  if (value === 0) return kind === 'duration' ? '0s' : '0B'
  const [unit, factor] = Object.entries(UNITS[kind]).find(([, each]) => value % each === 0) ?? []
  return `${value / (factor ?? 1)}${unit ?? ''}`
}

const shown = (value: unknown): string =>
  typeof value === 'string' ? value : JSON.stringify(value)
const each = (schema: Tree): readonly Tree[] =>
  Array.isArray(schema['anyOf']) ? schema['anyOf'].filter(isTree) : [schema]
const typeOf = (schema: Tree): string => {
  const { title, const: only, enum: values, type } = schema
  if (only !== undefined) return `\`${shown(only)}\``
  if (Array.isArray(values)) return values.map((value) => `\`${String(value)}\``).join(', ')
  if (typeof title === 'string') return title
  if (type === 'object') return 'section'
  return type === 'string' ? 'text' : type === 'array' ? 'list' : String(type)
}
const typesOf = (schema: Tree): string => each(schema).map(typeOf).join(' or ')

const reach = (tree: unknown, path: string): unknown =>
  path
    .replaceAll('NAME', 'github')
    .split('.')
    .reduce<unknown>((at, key) => (isTree(at) ? at[key] : undefined), tree)
/** It is there because somebody must say it. */
const given = (path: string): boolean => reach(LEAST, path) !== undefined

/** What holds where nobody said anything, as it would be written. */
const defaultOf = (path: string, schema: Tree, parsed: unknown): string | null => {
  const { default: told } = schema
  const value =
    isTree(told) || (Array.isArray(told) && told.length === 0)
      ? undefined
      : (told ?? reach(parsed, path))
  const titles = each(schema).map(({ title }) => title)
  if (typeof value === 'number' && titles.includes('duration')) return amount(value, 'duration')
  if (typeof value === 'number' && titles.includes('size')) return amount(value, 'size')
  if (isTree(value) && 'port' in value) return `${String(value['host'])}:${String(value['port'])}`
  if (Array.isArray(value)) return value.length === 0 ? null : JSON.stringify(value)
  return value === undefined || isTree(value) ? null : shown(value)
}

/** At most `WIDTH` columns; what stands in backticks stays whole. */
const wrapped = (text: string, indent: string): string => {
  const lines: string[] = []
  let line = ''
  for (const word of text.match(/(?:`[^`]*`|\S)+/g) ?? []) {
    if (line !== '' && indent.length + line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].join(`\n${indent}`)
}

/** Every key of the configuration: type, default, what it is for, an example. */
const configuration = (): string => {
  const parsed: unknown = configSchema.parse(LEAST)
  return keysOf(configJsonSchema())
    .map(([path, schema]) => {
      const words = WORDS[path]
      if (words === undefined) throw new Error(`proxy/config/words.ts has no words for ${path}`)
      const { example } = words
      const usual = given(path) ? null : defaultOf(path, schema, parsed)
      const about = [typesOf(schema), ...(usual === null ? [] : [`default \`${usual}\``])].join(
        ', ',
      )
      const such = example === undefined ? '' : ` Example: \`${example}\``
      const heading = path.includes('.') || path.includes('[]') ? '' : `\n### ${path}\n\n`
      return `${heading}${wrapped(`- \`${path}\` (${about}): ${words.says}${such}`, '  ')}`
    })
    .join('\n')
    .trim()
}

/** The catalogue of problems as a table. */
const problems = (): string =>
  [
    '| code | status | meaning | what to do |',
    '|---|---|---|---|',
    ...Object.entries(CATALOGUE).map(
      ([code, { status, title, todo }]) => `| \`${code}\` | ${status} | ${title} | ${todo} |`,
    ),
  ].join('\n')

/** The way of a call, as it stands in the source. */
const theWay = (): string => {
  const source = readFileSync(`${ROOT}proxy/pipeline/pep.ts`, 'utf8')
  const [, way = ''] = /\n( {2}const way: Way = [^]*?\n {2}\})\n/.exec(source) ?? []
  return ['```ts', way.replaceAll(/^ {2}/gm, ''), '```'].join('\n')
}

const GENERATED = [
  ['docs/architecture.md', 'the way', theWay],
  ['docs/answers.md', 'problem codes', problems],
  ['docs/configuration.md', 'keys', configuration],
  ['docs/catalogues.md', 'catalogues', countsTable],
  ['docs/catalogues.md', 'typical calls', typicalTable],
  ['docs/catalogues.md', 'access', rulesTable],
  ['docs/sdks.md', 'sdks', sdksTable],
  ['docs/tools-list.md', 'tools', toolsList],
] as const

/** Compares the generated parts, or writes them. Returns the files whose part is not what the sources say. */
export const generatedDocs = (write: boolean): readonly string[] =>
  GENERATED.flatMap(([file, name, make]) => {
    const text = readFileSync(`${ROOT}${file}`, 'utf8')
    const [begin, end] = [`<!-- generated: ${name} -->\n`, `<!-- end: ${name} -->`]
    const [before, rest = ''] = text.split(begin)
    const [, after] = rest.split(end)
    if (before === undefined || after === undefined)
      throw new Error(`${file} has no marks of the generated part "${name}"`)
    const fresh = `${before}${begin}\n${make()}\n\n${end}${after}`
    if (write && fresh !== text) writeFileSync(`${ROOT}${file}`, fresh)
    return write || fresh === text ? [] : [file]
  })
