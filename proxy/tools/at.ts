// The tools of a set of connections: of the files that ship, and of own ones.
import { describedOperations } from '../config/descriptions.ts'
import type { Connection } from '../model.ts'
import { createCatalogue, type Catalogue, type Offer } from './catalogue.ts'
import { loadTools, shippedToolFiles, type ToolFile } from './load.ts'

/** @param own files of the configuration; one of their tools takes the place of its namesake */
export const catalogueAt = async (
  connections: ReadonlyMap<string, Connection>,
  own: readonly ToolFile[],
): Promise<Catalogue> => {
  const ids = [...connections.values()].flatMap(({ provider }) => provider.lineage)
  const files = [...(await shippedToolFiles(ids)), ...own]
  const offers: Offer[] = []
  const problems = new Set<string>()
  for (const connection of connections.values()) {
    const loaded = await loadTools(connection.provider, files)
    for (const problem of loaded.problems) problems.add(problem)
    for (const tool of loaded.tools) offers.push({ tool, connection })
  }
  return createCatalogue(connections, {
    offers,
    problems: [...problems],
    parametersOf: describedOperations,
  })
}
