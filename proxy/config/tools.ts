// `tools` of the configuration: own files, and which of all tools are listed for hosts that speak MCP.
import { z } from 'zod'
import { text } from './values.ts'

/** One list of tools for MCP hosts. */
const endpoint = z.strictObject({
  path: z.string().regex(/^\/mcp(?:\/[a-z0-9-]+)*$/, 'must be /mcp, or a path below it'),
  tools: z.array(text).min(1).optional(),
  agents: z.array(text).min(1).optional(),
  discovery: z.boolean().default(false),
})
export const tools = z.strictObject({
  files: z.array(text).default([]),
  endpoints: z
    .array(endpoint)
    .default([])
    .refine(
      (rows) => new Set(rows.map(({ path }) => path)).size === rows.length,
      'two of them have one path',
    ),
})
