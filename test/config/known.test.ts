import { expect, test } from 'vitest'
import { z } from 'zod'
import { knownElsewhere } from '../../proxy/config/known.ts'

const client = z.strictObject({ client_id: z.string(), scopes: z.array(z.string()).optional() })
const schema = z.strictObject({
  version: z.literal(1),
  listeners: z.strictObject({ agent: z.string().default('x') }).optional(),
  connections: z.record(z.string(), client).default({}),
  rows: z.array(z.strictObject({ name: z.string(), agent: z.string() })).optional(),
  door: z.union([z.literal('off'), z.strictObject({ secret: z.string() })]).optional(),
  one: z.strictObject({ all: z.string() }).optional(),
  two: z.strictObject({ all: z.string() }).optional(),
  three: z.strictObject({ all: z.string() }).optional(),
  four: z.strictObject({ all: z.string() }).optional(),
})

test.each<[at: readonly PropertyKey[], key: string, hint: string]>([
  [['connections', 'github'], 'scope', ': is scopes meant?'],
  [['rows', 0], 'nmae', ''],
  [['rows', 0], 'names', ': is name meant?'],
  [['door'], 'secrets', ': is secret meant?'],
  [[], 'client_id', ': it belongs under connections.NAME'],
  [['door'], 'agent', ': it belongs under listeners, or under rows.NAME'],
  [['listeners'], 'version', ': it belongs at the left edge, in no section'],
  [[], 'Listeners', ': is listeners meant?'],
  [[], 'elephants', ''],
  [['door'], 'all', ''],
])('at %j the key %s%s', (at, key, hint) => {
  expect(knownElsewhere(schema, at, key)).toBe(hint)
})
