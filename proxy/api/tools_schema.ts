// What is asked of the tools' API and what it answers: for the checks of its routes, and for the OpenAPI document.
import { z } from 'zod'
import type { ApiRoute } from './openapi.ts'
import { short } from './rest.ts'

const whole = (most: number, at: string) =>
  z
    .string()
    .regex(/^\d{1,9}$/, 'is a whole number')
    .default(at)
    .transform(Number)
    .pipe(z.int().max(most, `is at most ${most}`))
export const FORMATS = ['arcade', 'openai', 'anthropic'] as const
export const filter = z.strictObject({
  service_domains: z.unknown().optional(),
  operations: z
    .strictObject({
      any_of: z.array(z.string()).optional(),
      all_of: z.array(z.string()).optional(),
      none_of: z.array(z.string()).optional(),
    })
    .optional(),
})
export const listQuery = z.strictObject({
  toolkit: short.optional(),
  user_id: short.optional(),
  limit: whole(100, '25'),
  offset: whole(1_000_000, '0'),
  include_format: z.string().optional(),
  include_all_versions: z.string().optional(),
  filter: z.string().max(4_096).optional(),
  /** Those that are one operation by itself, too. */
  plain: z.enum(['true', 'false']).default('false'),
  format: z.enum(['openai', 'anthropic'], { error: 'is openai or anthropic' }).default('openai'),
})
export const oneQuery = listQuery.pick({ user_id: true, include_format: true, format: true })
export const executeBody = z.strictObject({
  tool_name: short,
  tool_version: short.optional(),
  input: z.unknown().optional(),
  user_id: short.optional(),
  /** Which connection, where several have the tool. */
  connection: short.optional(),
  run_at: z.unknown().optional(),
  include_error_stacktrace: z.boolean().optional(),
})
export const requirementsBody = z
  .strictObject({
    tool_names: z.array(short).max(100).optional(),
    tools: z
      .array(z.object({ tool_name: short }))
      .max(100)
      .optional(),
    user_id: short.optional(),
    authorize: z.boolean().default(false),
    next_uri: z.string().max(2_048).optional(),
  })
  .refine(({ tool_names, tools }) => tool_names !== undefined || tools !== undefined, {
    error: 'needs tool_names or tools',
  })

const loose = z.looseObject({})
const page = z.object({
  items: z.array(loose),
  limit: z.int(),
  offset: z.int(),
  page_count: z.int(),
  total_count: z.int(),
})
export const TOOLS_API: readonly ApiRoute[] = [
  {
    method: 'get',
    path: '/v1/tools',
    summary: 'The tools that policy lets this person use through this agent now',
    auth: 'tag',
    query: listQuery,
    answer: page,
  },
  {
    method: 'get',
    path: '/v1/tools/{name}',
    summary: 'One of them, by any spelling of its name',
    auth: 'tag',
    query: oneQuery,
    answer: loose,
  },
  {
    method: 'get',
    path: '/v1/formatted_tools',
    summary: 'The same list as a model’s interface takes it',
    auth: 'tag',
    query: listQuery,
    answer: page,
  },
  {
    method: 'get',
    path: '/v1/formatted_tools/{name}',
    summary: 'One of them, formatted',
    auth: 'tag',
    query: oneQuery,
    answer: loose,
  },
  {
    method: 'post',
    path: '/v1/tools/execute',
    summary: 'Carry out a tool',
    auth: 'tag',
    body: executeBody,
    answer: loose,
  },
  {
    method: 'post',
    path: '/v1/tools/requirements',
    summary: 'What some tools still need of the person; authorize begins it',
    auth: 'tag',
    body: requirementsBody,
    answer: loose,
  },
  {
    method: 'get',
    path: '/v1/scheduled_tools',
    summary: 'Scheduled calls: there are none',
    auth: 'tag',
    query: listQuery,
    answer: page,
  },
]
