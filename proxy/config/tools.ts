// `tools` of the configuration: own files, and which of all tools are listed for hosts that speak MCP.
import { z } from 'zod'
import { unbuilt } from './unbuilt.ts'
import { text } from './values.ts'

const endpoint = z.strictObject({
  path: z.string().regex(/^\/mcp(?:\/[a-z0-9-]+)*$/, 'must be /mcp, or a path below it'),
  tools: z.array(text).optional(),
  agents: z.array(text).optional(),
  discovery: z.boolean().default(false),
})
export const tools = z.strictObject({
  files: z.array(text).default([]),
  endpoints: unbuilt(z.array(endpoint).default([]), 'tools over MCP'),
})
