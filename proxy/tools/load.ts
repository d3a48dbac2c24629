// Reads the files of tools that a set of providers has: those that ship, and own ones. Nothing is read before a door asks.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseDocument } from 'yaml'
import { inYaml } from '../config/lines.ts'
import { shipped } from '../config/load.ts'
import { readText } from '../files.ts'
import type { Provider } from '../model.ts'
import { messageOf } from '../problem.ts'
import { reporter } from '../providers/definition.ts'
import { isObject } from '../wire/json.ts'
import { readTools, type Step, type Tool } from './definition.ts'
import { checkArguments } from './schema.ts'

/** A file as it stands there. */
export type ToolFile = { readonly where: string; readonly raw: unknown }

/**
 * @param aliases how many of YAML's it may have; those that ship share their inputs by them
 * @throws Error that names the file and the line
 */
export const parseToolFile = (where: string, text: string, aliases = 100): ToolFile => {
  const document = parseDocument(text, { uniqueKeys: true })
  const [wrong] = document.errors
  if (wrong !== undefined) throw new Error(`${where}${inYaml(wrong)}`)
  return { where, raw: document.toJS({ maxAliasCount: aliases }) as unknown }
}
const readToolFile = async (path: string, where: string, aliases?: number): Promise<ToolFile> =>
  parseToolFile(where, await readText(path), aliases)

/** The file that ships for each of these providers, if there is one. */
export const shippedToolFiles = async (ids: Iterable<string>): Promise<readonly ToolFile[]> => {
  const folder = shipped('providers')
  const names = [...new Set(ids)].map((id) => `${id}.tools.yaml`)
  return Promise.all(
    names
      .filter((name) => existsSync(join(folder, name)))
      .map((name) => readToolFile(join(folder, name), `providers/${name}`, -1)),
  )
}
/** @returns what could be read, and what could not */
export const ownToolFiles = async (
  paths: readonly string[],
): Promise<{ readonly files: readonly ToolFile[]; readonly problems: readonly string[] }> => {
  const problems: string[] = []
  const files: ToolFile[] = []
  for (const path of paths)
    try {
      files.push(await readToolFile(path, path))
    } catch (error) {
      problems.push(messageOf(error))
    }
  return { files, problems }
}

const providerIn = ({ raw }: ToolFile): unknown => (isObject(raw) ? raw['provider'] : undefined)

/** Files that are for a provider which no connection has. */
export const unclaimed = (
  providers: readonly Provider[],
  files: readonly ToolFile[],
): readonly string[] =>
  files.flatMap((file) => {
    const of = providerIn(file)
    if (typeof of !== 'string') return [`${file.where}: provider: is missing`]
    return providers.some(({ lineage }) => lineage.includes(of))
      ? []
      : [`${file.where}: provider: no connection has ${JSON.stringify(of)}`]
  })

/** A document whose one field is another than the operation's would be decided as that other one. */
const checkDocument = async ({ operation, graphql }: Step): Promise<string | null> => {
  if (graphql === null) return null
  const { readGraphql } = await import('../envelope/graphql.ts')
  try {
    const inner = readGraphql({ query: graphql.document, variables: {} })
    const found = inner.map(({ field: { type, fields } }) => `${type} ${fields[0]}`)
    return found.includes(operation.graphql ?? '')
      ? null
      : `its document asks for ${found.join(', ')}, and ${operation.id} is ${operation.graphql ?? ''}`
  } catch (error) {
    return messageOf(error)
  }
}

/**
 * The tools of these files at a provider, and everything that is wrong with them, by file, tool, step and member. A file
 * for a definition that this one extends holds for it too.
 */
export const loadTools = async (
  provider: Provider,
  files: readonly ToolFile[],
): Promise<{ readonly tools: readonly Tool[]; readonly problems: readonly string[] }> => {
  const problems: string[] = []
  const tools = new Map<string, Tool>()
  for (const file of files) {
    const of = providerIn(file)
    if (!provider.lineage.includes(String(of))) continue
    const report = reporter(problems, file.where)
    for (const tool of readTools(file.raw, provider, report)) {
      const tried = tool.example === null ? null : checkArguments(tool, tool.example)
      if (tried !== null && 'wrong' in tried) report(`tools.${tool.name}.example`, tried.wrong)
      for (const [i, step] of tool.steps.entries()) {
        const wrong = await checkDocument(step)
        if (wrong !== null) report(`tools.${tool.name}.steps.${i}.graphql`, wrong)
      }
      tools.set(tool.name, tool)
    }
  }
  return { tools: [...tools.values()], problems }
}
