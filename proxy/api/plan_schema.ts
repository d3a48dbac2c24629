// What a plan is asked with and what it answers: for the check of its route, and for the OpenAPI document.
import { z } from 'zod'
import type { ApiRoute } from './openapi.ts'
import { short } from './rest.ts'

const MOST = 50
// oxlint-disable-next-line no-control-regex
const NO_CONTROL = /^[^\x00-\x08\x0a-\x1f\x7f\u0100-\uffff]*$/

const request = z.strictObject({
  method: z.string().regex(/^[A-Z]{1,16}$/, 'is a method in capitals, such as GET'),
  /** The provider's own address. */
  url: z
    .string()
    .max(8_192)
    .regex(
      // oxlint-disable-next-line no-control-regex
      /^https?:\/\/[^/?#@\s]+(?:[/?][^#\s\x00-\x1f\x7f]*)?$/,
      'is an address of the provider, such as https://api.github.com/user, without user and fragment',
    ),
  headers: z
    .record(
      z.string().regex(/^[\w!#$%&'*+.^`|~-]{1,128}$/, 'is no name of a header'),
      z.string().max(8_192).regex(NO_CONTROL, 'has a character that no header may have'),
    )
    .default({}),
  /** A text is sent as it is, anything else as JSON. */
  body: z.unknown().optional(),
})
const call = z
  .strictObject({
    id: short,
    tool: short.optional(),
    request: request.optional(),
    /** Of a tool. */
    input: z.unknown().optional(),
    /** Which, where several serve it. */
    connection: z
      .string()
      .max(100)
      .regex(/^[a-z0-9][a-z0-9-]*$/, 'is no name of a connection')
      .optional(),
  })
  .refine((one) => (one.tool === undefined) !== (one.request === undefined), {
    error: 'needs tool or request, one of them',
  })
  .refine((one) => one.request === undefined || one.input === undefined, {
    error: 'has input, which is for tools: what a request sends is its body',
  })
export const planBody = z.strictObject({
  calls: z
    .array(call)
    .min(1)
    .max(MOST, `are at most ${MOST} in one plan`)
    .refine((calls) => new Set(calls.map(({ id }) => id)).size === calls.length, {
      error: 'two of them have one id',
    }),
  user_id: short.optional(),
})
export type PlanCall = z.output<typeof call>

const EFFECTS = [
  'allow',
  'undetermined',
  'approval_required',
  'step_up_required',
  'consent_required',
  'deny',
  'error',
] as const
/** The further on, the more stands against it. */
export type PlanEffect = (typeof EFFECTS)[number]
export const against = (effect: PlanEffect): number => EFFECTS.indexOf(effect)

const planAnswer = z.object({
  calls: z.array(
    z.object({
      id: z.string(),
      effect: z.enum(EFFECTS),
      reasons: z.array(z.string()),
      scopes: z.array(z.string()),
      detail: z.string().optional(),
      connection: z.string().optional(),
      operations: z.array(z.string()).optional(),
      demands: z.array(z.looseObject({ name: z.string(), type: z.string() })).optional(),
    }),
  ),
  authorization_id: z.string().optional(),
  url: z.string().optional(),
  expires_at: z.string().optional(),
  authorizations: z.array(z.looseObject({})).optional(),
})
export const PLAN_API: readonly ApiRoute[] = [
  {
    method: 'post',
    path: '/v1/plan',
    summary: 'What policy would say of these calls now; nothing runs',
    auth: 'tag',
    body: planBody,
    answer: planAnswer,
  },
]
