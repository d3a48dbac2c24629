// The decisions that the evidence holds, read back so that they can be asked again.
import { hash } from 'node:crypto'
import { z } from 'zod'
import type { Foreign } from './chain.ts'
import { linesOf, record } from './chain.ts'
import { bytesOf } from './segments.ts'

const text = z.string().max(65_536)
const texts = z.array(text)
const schema = z.object({
  v: z.literal(1),
  proc: text,
  seq: z.number().int(),
  time: z.iso.datetime(),
  exchange: text,
  n: z.number().int(),
  part: z.number().int().optional(),
  via: z.enum(['proxy', 'tool', 'mcp']).default('proxy'),
  user: z.object({
    id: text,
    realm: text,
    tenant: text,
    verified: z.boolean(),
    asserted_by: text.optional(),
    standing: text.optional(),
  }),
  agent: z.object({
    id: text,
    workload: z.object({ name: text, subject: text }).optional(),
  }),
  run: text.nullable().default(null),
  connection: text,
  provider: text,
  operation: z.object({
    id: text,
    access: z.enum(['read', 'write', 'delete', 'admin']),
    graphql: z.object({ type: z.enum(['query', 'mutation']), field: text }).optional(),
    mcp: z.object({ method: text, name: text.optional() }).optional(),
  }),
  request: z.object({
    method: text,
    host: text,
    path: text,
    query_keys: texts,
    body_digest: text.nullable(),
  }),
  stripped: texts,
  entitlements: z.object({ source: text, age_ms: z.number().min(0), digest: text }),
  checks: z.object({ answers: z.record(text, z.boolean()) }).optional(),
  decision: z.object({
    effect: z.enum([
      'allow',
      'deny',
      'consent_required',
      'approval_required',
      'step_up_required',
      'error',
    ]),
    id: text,
    reasons: texts,
    messages: texts.default([]),
    grants: texts,
  }),
  policy: z.object({ revision: text, digest: text }),
  /** Digest of the sealed input; absent: none is kept. */
  input: text.optional(),
})

const outcome = z.object({
  exchange: text,
  sent: z.literal(true),
  credential: z.object({ scopes: texts }),
})

/** A line `decision`, and where it stands. */
export type Recorded = z.output<typeof schema> & {
  /** Scopes of the account that it left with, by its outcome; null: it did not leave, or nothing says so. */
  readonly scopes: readonly string[] | null
  readonly file: string
  readonly line: number
  /** ms since the epoch. */
  readonly at: number
  /** sha256 (hex) of its bytes. */
  readonly hash: string
}

/** What the lines are besides decisions; `broken`: they do not follow the line before, so that somebody changed the file. */
export type Tally = {
  lines: number
  decisions: number
  /** Of another version of the evidence, or no record at all. */
  unread: number
  broken: number
  /** Half a last line: a crash, or a write under way. */
  torn: number
}
export const newTally = (): Tally => ({ lines: 0, decisions: 0, unread: 0, broken: 0, torn: 0 })

/** Does each line name the one before it? Only lines that stand beside each other are compared. */
const follows = () => {
  let [proc, seq, last] = ['', 0, '']
  return (line: Foreign, own: string): boolean => {
    const same = line['proc'] === proc
    const right = !same || (line['seq'] === seq + 1 && line['prev'] === last)
    ;[proc, seq, last] = [String(line['proc']), Number(line['seq']), own]
    return right
  }
}

/** A call whose outcome comes later than so many decisions is taken as one without. */
const MOST_OPEN = 4_096

/** Decisions in their order, each held until its outcome is there. */
const withOutcomes = () => {
  type Held = { record: Recorded; open: boolean }
  const held: Held[] = []
  const open = new Map<string, Held>()
  const settle = (one: Held): void => {
    one.open = false
    if (open.get(one.record.exchange) === one) open.delete(one.record.exchange)
  }
  return {
    decision: (record: Recorded): void => {
      const one = { record, open: record.decision.effect === 'allow' && record.part === undefined }
      held.push(one)
      const before = open.get(record.exchange)
      if (before !== undefined) settle(before)
      if (one.open) open.set(record.exchange, one)
    },
    outcome: (line: Foreign): void => {
      const one = open.get(String(line['exchange']))
      if (one === undefined) return
      settle(one)
      const said = outcome.safeParse(line)
      if (said.success) one.record = { ...one.record, scopes: said.data.credential.scopes }
    },
    /** @param all also those whose outcome has not come */
    *done(all: boolean): Generator<Recorded> {
      let n = 0
      for (const one of held) {
        if (one.open && !all && held.length - n <= MOST_OPEN) break
        n += 1
        settle(one)
        yield one.record
      }
      held.splice(0, n)
    },
  }
}

/**
 * Every decision of these files, in their order; packed ones too.
 * @param wanted lines without these bytes are of no interest; that each names the one before is looked at all the same
 * @throws Error of a file that cannot be read
 */
export const decisionsIn = async function* (
  files: readonly string[],
  tally: Tally,
  wanted: Buffer | null = null,
): AsyncGenerator<Recorded> {
  for (const file of files) {
    const chained = follows()
    const calls = withOutcomes()
    for await (const { number, bytes, whole } of linesOf(bytesOf(file))) {
      if (!whole) {
        tally.torn += 1
        continue
      }
      tally.lines += 1
      const line = record(bytes)
      if (line === null || line['v'] !== 1) {
        tally.unread += 1
        continue
      }
      const own = hash('sha256', bytes)
      if (!chained(line, own)) tally.broken += 1
      if (wanted !== null && !bytes.includes(wanted)) continue
      if (line['event'] === 'outcome') calls.outcome(line)
      if (line['event'] === 'decision') {
        const parsed = schema.safeParse(line)
        if (parsed.success) {
          tally.decisions += 1
          const at = Date.parse(parsed.data.time)
          calls.decision({ ...parsed.data, scopes: null, file, line: number, at, hash: own })
        } else tally.unread += 1
      }
      yield* calls.done(false)
    }
    yield* calls.done(true)
  }
}
