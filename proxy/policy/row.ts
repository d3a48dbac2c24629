// One row of the table grants: as people write it, with few keys, and whole, as the policy sees it. Pure.
import { z } from 'zod'
import { DAYS, isZone } from '../wire/zone.ts'

export const texts = z.array(z.string())
export const access = z.enum(['read', 'write', 'delete', 'admin'])
const count = z.int().min(0)
/** s; a day at most, because nobody remembers more of what went before. */
const DAY_S = 86_400

// --- what deputy does with an allow, and what lifts a refusal ------------------------------------

const key = z
  .array(z.enum(['person', 'agent', 'connection', 'operation', 'tenant']))
  .min(1)
  .refine((names) => new Set(names).size === names.length, 'names one of them twice')
/** s; 31 days at most. */
const window_s = z.int().min(1).max(2_678_400)
const short = z.string().min(1).max(128)
const obligation = z.discriminatedUnion(
  'type',
  [
    z.strictObject({
      type: z.literal('rate_limit'),
      properties: z.strictObject({ key, limit: count, window_s }),
    }),
    z.strictObject({
      type: z.literal('budget'),
      properties: z.strictObject({
        key,
        limit: count,
        window_s,
        pointer: z
          .string()
          .regex(
            /^(?:\/.*|request\.mail)$/s,
            'must be /a/b, which the operation inspects, or request.mail',
          ),
        of: z.enum(['value', 'items']),
      }),
    }),
    z.strictObject({
      type: z.literal('redact'),
      properties: z.strictObject({
        in: z.enum(['request', 'response']),
        pointers: z.array(z.string().regex(/^\//, 'must be a JSON pointer: /a/b')).min(1),
      }),
    }),
    z.strictObject({
      type: z.literal('seal'),
      properties: z.strictObject({
        in: z.enum(['request', 'response']),
        pointers: z.array(z.string().regex(/^\//, 'must be a JSON pointer: /a/b')).min(1),
      }),
    }),
    z.strictObject({
      type: z.literal('notification'),
      properties: z.strictObject({
        to: z.union([short, z.array(short).min(1).max(16)], {
          error: 'must be a text or a list of them',
        }),
        topic: short,
        body: z.string().min(1).max(2_000),
      }),
    }),
    z.strictObject({
      type: z.literal('log'),
      properties: z.strictObject({
        level: z.enum(['debug', 'info', 'warn', 'error']),
        tags: z.array(short).max(16).optional(),
      }),
    }),
  ],
  { error: 'must be one of rate_limit, budget, redact, seal, notification, log' },
)
const step_up = z.strictObject({ acr_values: texts.min(1), max_auth_age_s: z.number().min(0) })
const approval = z
  .strictObject({
    approvers: z.array(
      z
        .string()
        .regex(/^(?:group:.+|person:.+|manager)$/s, 'must be group:NAME, person:ID or manager'),
    ),
    ttl_s: z.number().min(1).max(2_592_000).describe('30 days at most'),
    self: z.boolean().optional().describe('the person themselves may say it'),
  })
  .refine(
    ({ approvers, self }) => approvers.length > 0 || self === true,
    'names nobody who may approve',
  )

// --- conditions ----------------------------------------------------------------------------------

/** At most two stars, with something between them: no text is asked about twice. */
export const isGlob = (text: string): boolean => {
  const pieces = text.split('*')
  return pieces.length <= 3 && pieces.slice(1, -1).every((piece) => piece !== '')
}
const GLOB = 'has one * or two with something between them'
const time = (last: string) =>
  z
    .string()
    .regex(/^(?:[01]\d|2[0-3]):[0-5]\d$|^24:00$/, 'must be a time from 00:00 to 24:00')
    .refine((text) => text !== '24:00' || last === 'to', '24:00 is the end of a day: write 00:00')
const days = z.array(z.enum(DAYS)).min(1)
const zone = z.string().refine(isZone, 'is no time zone: write an IANA name such as Europe/Berlin')
const span = z
  .strictObject({
    zone: zone.optional(),
    days: days.optional().describe('on which the window begins'),
    from: time('from').optional(),
    to: time('to').optional().describe('earlier than from: on the next day'),
  })
  .refine(({ from = '00:00', to = '24:00' }) => from !== to, 'from and to are the same: say which')

const scalar = z.union([z.string(), z.number(), z.boolean()], {
  error: 'must be a text, a number, true or false',
})
const COMPARISONS = ['equals', 'one_of', 'suffix', 'at_most', 'matches_glob'] as const
const argument = z
  .strictObject({
    pointer: z
      .string()
      .regex(
        /^(?:\/.*|\?.+)$/s,
        'must be /a/b, which the operation inspects, or ?name of the query',
      ),
    equals: scalar.optional(),
    one_of: z.array(scalar).min(1).optional(),
    suffix: z.string().min(1).optional(),
    at_most: z.number().min(0).optional().describe('a number from 0 to this'),
    matches_glob: z.string().refine(isGlob, GLOB).optional(),
  })
  .refine(
    (one) => COMPARISONS.filter((name) => one[name] !== undefined).length === 1,
    `says exactly one of ${COMPARISONS.join(', ')}`,
  )
/** In lower case: policy sees no other. */
export const domain = z
  .string()
  .regex(
    /^(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]+$/,
    'must be example.com or *.example.com, in lower case and A-labels',
  )
const mail = z.strictObject({ domains: z.array(domain).min(1).optional() })
const earlier = z.strictObject({
  by: z.enum(['person', 'run']),
  provider: z.string().optional().describe("* or one; absent: the row's own"),
  operations: texts.min(1),
  within_s: z.int().min(1).max(DAY_S),
  at_most: count,
})

// --- the row -------------------------------------------------------------------------------------

const shape = {
  kinds: z.array(z.enum(['rest', 'graphql', 'mcp', 'asset'])),
  access: z.array(access),
  operations: texts.describe('a.b.c, a.b.*, a.* or *'),
  path: texts.describe(
    'one entry a segment; * is any one, public-* begins one, a last ** any rest',
  ),
  agents: z
    .array(
      z.union([z.string(), z.strictObject({ id: z.string(), workload: z.string() })], {
        error: 'must be an agent, or one with its workload: { "id": …, "workload": … }',
      }),
    )
    .describe('* or an agent; with workload only where that workload made the call'),
  entitlement: z.string().describe('* or one the person must have'),
  scopes: texts,
  max_entitlement_age_s: z.number().min(0),
  obligations: z.record(z.string(), obligation),
  step_up: z.record(z.string(), step_up),
  approval: z.record(z.string(), approval),
  checks: texts.describe('names of entitlements.checks that must all say yes to this very call'),
  when: z.array(span).describe('any one of these times; none: always'),
  arguments: z.array(argument).describe('all of these must hold'),
  max_body_bytes: z.int().min(0).nullable().describe('null: no bound'),
  mail: mail.describe('every recipient is in one of these domains'),
  history: z.array(earlier).describe('more earlier calls than this refuse'),
}

/** A row as it is written: `operations`, and what differs from the defaults. */
export const writtenRow = z
  .strictObject({
    ...shape,
    roles: texts.describe('who has it, in place of what role_grants says'),
  })
  .partial()
  .extend({ operations: shape.operations })
  .describe('all keys but operations have defaults')

export type Written = z.output<typeof writtenRow>
type Shape = { readonly [K in keyof typeof shape]: z.output<(typeof shape)[K]> }
type Window = {
  readonly zone: string
  readonly days: readonly (typeof DAYS)[number][]
  /** Minutes of the day, `22:00`. */
  readonly from: string
  /** Earlier than `from`: on the next day. */
  readonly to: string
}
/** A row with all its keys. */
export type Row = Omit<Shape, 'when' | 'history'> & {
  readonly when: readonly Window[]
  readonly history: readonly (z.output<typeof earlier> & { readonly provider: string })[]
}

const DEFAULTS = {
  kinds: ['rest', 'graphql', 'mcp', 'asset'],
  access: ['read'],
  path: ['**'],
  agents: ['*'],
  entitlement: '*',
  scopes: [],
  max_entitlement_age_s: 60,
  obligations: {},
  step_up: {},
  approval: {},
  checks: [],
  when: [],
  arguments: [],
  max_body_bytes: null,
  mail: {},
  history: [],
} satisfies Partial<Row>
const EVERY_TIME: Window = {
  zone: 'UTC',
  days: DAYS,
  from: '00:00',
  to: '24:00',
}

/** The row as the policy sees it. @param provider whose row it is */
export const wholeRow = (provider: string, { roles: _roles, ...row }: Written): Row =>
  ({
    ...DEFAULTS,
    ...row,
    when: (row.when ?? []).map((one) => ({ ...EVERY_TIME, ...one })),
    history: (row.history ?? []).map((one) => ({ provider, ...one })),
  }) as Row

/** What one row may ever do, for the table agents. */
export const writtenCeiling = z
  .strictObject({ connections: texts, operations: texts, access: z.array(access) })
  .partial()
export type Ceiling = {
  readonly connections: readonly string[]
  readonly operations: readonly string[]
  readonly access: readonly z.output<typeof access>[]
}
const NO_CEILING: Ceiling = {
  connections: ['*'],
  operations: ['*'],
  access: ['read', 'write', 'delete', 'admin'],
}
export const wholeCeiling = (row: z.output<typeof writtenCeiling>): Ceiling =>
  ({ ...NO_CEILING, ...row }) as Ceiling

// --- what a row of the right shape says in vain --------------------------------------------------

/** `*`, `a.b.c`, `a.b.*`; anything else looks like a pattern and matches nothing. */
const OPERATION = /^(?:\*|[^.*\s]+(?:\.[^.*\s]+)*(?:\.\*)?)$/

/** Names of operations that match nothing. @param where the list, as in `operations` */
export const namesInVain = (names: readonly string[], where: string): readonly string[] =>
  names.flatMap((name, i) =>
    OPERATION.test(name)
      ? []
      : [`${where}.${i}: ${JSON.stringify(name)} matches nothing: write a.b.c, a.b.*, a.* or *`],
  )

const pathInVain = (path: readonly string[]): readonly string[] =>
  path.flatMap((segment, i) => {
    const said = `path.${i}: ${JSON.stringify(segment)}`
    if (segment === '**' && i < path.length - 1)
      return [`${said} matches nothing here: ** stands last`]
    if (segment.includes('/')) return [`${said} is no segment: write one entry for each`]
    return segment === '**' || isGlob(segment) ? [] : [`${said} matches nothing: a segment ${GLOB}`]
  })

/** Demands share their names: the decision holds one of each. */
const namesTwice = (row: Row): readonly string[] => {
  const kinds = ['obligations', 'step_up', 'approval'] as const
  return kinds.flatMap((kind, i) =>
    Object.keys(row[kind]).flatMap((name) => {
      const other = kinds.slice(0, i).find((one) => Object.hasOwn(row[one], name))
      return other === undefined
        ? []
        : [`${kind}.${name}: ${other} uses this name too, so the call would be refused`]
    }),
  )
}

/** What a query says is text. */
const argumentsInVain = (row: Row): readonly string[] =>
  row.arguments.flatMap(({ pointer, at_most, equals, one_of = [] }, i) => {
    const values = equals === undefined ? one_of : [equals]
    const number =
      at_most !== undefined ||
      (values.length > 0 && values.every((value) => typeof value !== 'string'))
    return pointer.startsWith('?') && number
      ? [
          `arguments.${i}: a value of the query is a text, so this never holds: quote it, or name texts`,
        ]
      : []
  })

/** What a row of the right shape says in vain, as `member: why`. */
export const rowProblems = (found: Row): readonly string[] => {
  const problems: string[] = []
  for (const member of ['kinds', 'access', 'operations', 'agents', 'path'] as const)
    if (found[member].length === 0) problems.push(`${member}: [] matches nothing`)
  problems.push(...namesInVain(found.operations, 'operations'))
  for (const [i, { operations }] of found.history.entries())
    problems.push(...namesInVain(operations, `history.${i}.operations`))
  for (const [i, agent] of found.agents.entries())
    if (typeof agent === 'object' && found.agents.some((id) => id === '*' || id === agent.id))
      problems.push(
        `agents.${i}: ${JSON.stringify(agent.id)} is there without a workload too, so none is needed: keep one of the two`,
      )
  return [...problems, ...argumentsInVain(found), ...pathInVain(found.path), ...namesTwice(found)]
}
