// Where an endpoint has more tools than a list can hold: three tools by which a model finds, reads and calls them. Pure.
import type { JsonObject } from '../model.ts'

export const DISCOVERY = {
  search: 'search_tools',
  describe: 'describe_tool',
  call: 'call_tool',
} as const

const MOST_FOUND = 25
const USUAL_FOUND = 10

const tool = (
  name: string,
  description: string,
  properties: JsonObject,
  required: readonly string[],
): JsonObject => ({
  name,
  title: name,
  description,
  inputSchema: { type: 'object', properties, required },
  annotations: {
    readOnlyHint: name !== DISCOVERY.call,
    destructiveHint: name === DISCOVERY.call,
    idempotentHint: name !== DISCOVERY.call,
    openWorldHint: true,
  },
})
const NAME = { type: 'string', description: 'The name of a tool, as search_tools gives it.' }

/** As `tools/list` tells them. */
export const DISCOVERY_TOOLS: readonly JsonObject[] = [
  tool(
    DISCOVERY.call,
    'Calls a tool that search_tools found, with arguments as describe_tool says.',
    { name: NAME, arguments: { type: 'object', description: 'The arguments of that tool.' } },
    ['name'],
  ),
  tool(DISCOVERY.describe, 'Says which arguments a tool takes and what it does.', { name: NAME }, [
    'name',
  ]),
  tool(
    DISCOVERY.search,
    'Finds tools by words: what is to be done, and where (send mail, create issue github).',
    {
      query: { type: 'string', description: 'Words.' },
      limit: {
        type: 'integer',
        description: `How many at most, up to ${MOST_FOUND}.`,
        default: USUAL_FOUND,
      },
    },
    ['query'],
  ),
]
export const DISCOVERY_TEXT = DISCOVERY_TOOLS.map((one) => JSON.stringify(one)).join()

/** The question, or what is wrong with it. */
export const readSearch = (
  given: unknown,
): { readonly query: string; readonly limit: number } | { readonly wrong: string } => {
  const { query, limit = USUAL_FOUND } = (given ?? {}) as {
    readonly query?: unknown
    readonly limit?: unknown
  }
  if (typeof query !== 'string' || query === '')
    return { wrong: '`query` is missing; it must be a string' }
  if (!Number.isSafeInteger(limit) || Number(limit) < 1)
    return { wrong: '`limit` must be a whole number of at least 1' }
  return { query: query.slice(0, 512), limit: Math.min(Number(limit), MOST_FOUND) }
}
