// docs/tools-list.md: every shipped tool, its operations and what they may do, made from the files that ship.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { readProviderFiles } from '../proxy/commands/providers.ts'
import type { Access } from '../proxy/model.ts'
import { compileProviders } from '../proxy/providers/parse.ts'
import { readTools, type Tool } from '../proxy/tools/definition.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
export const TOOLED = [
  'google',
  'microsoft',
  'slack',
  'github',
  'salesforce',
  'hubspot',
  'linear',
] as const

/** As far as a definition goes; whether documents of GraphQL ask for what they say, load.ts sees. */
const readShippedTools = (): ReadonlyMap<string, readonly Tool[]> => {
  const { providers } = compileProviders(readProviderFiles(`${ROOT}providers`))
  return new Map(
    TOOLED.map((id) => {
      const provider = providers.get(id)
      if (provider === undefined) throw new Error(`no provider ${id}`)
      const text = readFileSync(`${ROOT}providers/${id}.tools.yaml`, 'utf8')
      const tools = readTools(parse(text, { maxAliasCount: -1 }), provider, (path, what) => {
        throw new Error(`${id}.tools.yaml: ${path}: ${what}`)
      })
      return [id, tools] as const
    }),
  )
}

const WEIGHT: readonly Access[] = ['read', 'write', 'delete', 'admin']
const heaviest = (tool: Tool): Access =>
  tool.steps
    .map(({ operation }) => operation.access)
    .reduce((a, b) => (WEIGHT.indexOf(b) > WEIGHT.indexOf(a) ? b : a), 'read')

const row = (tool: Tool): string => {
  const operations = [...new Set(tool.steps.map(({ operation }) => `\`${operation.id}\``))]
  const called = tool.aliases.length === 0 ? '' : ` (also ${tool.aliases.join(', ')})`
  const cells = [
    `\`${tool.name}\``,
    `${tool.description}${called}`,
    operations.join(', '),
    heaviest(tool),
  ]
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

/** A table for each toolkit, and how many there are. */
export const toolsList = (): string => {
  const all = [...readShippedTools().values()].flat()
  const kits = Map.groupBy(all, ({ toolkit }) => toolkit)
  return [
    `${all.length} tools in ${kits.size} toolkits.`,
    ...[...kits].map(([kit, tools]) =>
      [
        `## ${kit}`,
        '',
        '| tool | what it does | operations | access |',
        '|---|---|---|---|',
        ...tools.map(row),
      ].join('\n'),
    ),
  ].join('\n\n')
}
