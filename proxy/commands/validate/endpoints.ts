// What each endpoint for MCP hosts would list, and what that costs a model before it has done anything.
import type { Parts } from '../../compose/snapshot.ts'
import type { Loaded } from '../../config/load.ts'
import { DISCOVERY_TEXT } from '../../tools/discovery.ts'
import { catalogueAt } from '../../tools/at.ts'
import { endpointOf, MOST_LISTED, textOf } from '../../tools/endpoint.ts'
import type { Findings } from './machine.ts'

const count = (n: number): string => n.toLocaleString('en-US')
/** Of English and JSON, a token has four bytes or so. */
const cost = (bytes: number): string =>
  `${count(bytes)} bytes, about ${count(Math.ceil(bytes / 4))} tokens`

export const endpoints = async (
  { config, connections }: Pick<Loaded, 'config' | 'connections'>,
  { toolFiles }: Pick<Parts, 'toolFiles'>,
): Promise<Findings> => {
  const rows = config.tools.endpoints
  if (rows.length === 0) return { problems: [], warnings: [] }
  const catalogue = await catalogueAt(connections, toolFiles)
  const problems: string[] = []
  const warnings: string[] = []
  for (const [i, row] of rows.entries()) {
    const at = `tools.endpoints.${i}`
    const { entries, discovery, tooMany, unmatched } = await endpointOf(row, catalogue)
    for (const pattern of unmatched)
      problems.push(
        `${at}.tools: no tool of the configured connections fits ${JSON.stringify(pattern)}`,
      )
    if (tooMany)
      problems.push(
        `${at}: ${row.path} would list ${count(entries.length)} tools, and models choose badly among more than ${MOST_LISTED}: name fewer of them, or say discovery: true`,
      )
    const remote = entries.filter(({ offer }) => offer.tool.remote !== undefined).length
    const more = remote === 0 ? '' : `, and what MCP servers say of ${count(remote)} of them`
    const listed = `[${discovery ? DISCOVERY_TEXT : entries.map(textOf).join()}]`
    warnings.push(
      discovery
        ? `${at}: ${row.path} lists 3 tools by which ${count(entries.length)} are found: ${cost(listed.length)}`
        : `${at}: ${row.path} lists ${count(entries.length)} tool${entries.length === 1 ? '' : 's'}: ${cost(listed.length)}${more}`,
    )
  }
  return { problems, warnings }
}
