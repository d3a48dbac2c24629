// Hooks: services of the team's own that judge calls. Their keys, and what goes together.
import { z } from 'zod'
import { OPERATION } from './checks.ts'
import { duration, insecure, secure, signingKey, some, text, url } from './values.ts'

/** An agent's client waits for as long, at each call. */
const MOST_MS = 10_000

const hook = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z][a-z0-9_-]{0,31}$/, 'must be small letters, digits, _ and -, a letter first'),
    when: z.enum(['before', 'after']),
    url,
    key: signingKey,
    operations: z
      .array(text.regex(OPERATION, 'names nothing: write a.b.c, a.b.* or *'))
      .min(1)
      .default(['*']),
    timeout: some(duration)
      .refine((ms) => ms <= MOST_MS, 'must be 10s at most')
      .default(2_000),
    insecure,
  })
  .superRefine(secure((entry) => [entry.url]))

export const hooks = z
  .array(hook)
  .max(16)
  .superRefine((entries, ctx) => {
    for (const [i, { name }] of entries.entries())
      if (entries.findIndex((other) => other.name === name) !== i)
        ctx.addIssue({ code: 'custom', path: [i, 'name'], message: `two hooks are called ${name}` })
  })
  .default([])
