// The evidence of a serving process: its journal, what an earlier process left open in it, and what it says of keys and policy.
import { randomBytes } from 'node:crypto'
import type { Config } from '../config/schema.ts'
import type { BundleOrigin, PolicyEngine } from '../model.ts'
import { ANCHORED } from '../audit/chain.ts'
import { closeEnds } from '../audit/unfinished.ts'
import { exportedFile, openJournal, sinksOf, type OpenJournal } from '../audit/journal.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { PolicySource } from '../policy/source.ts'
import type { Sealer } from '../vault/seal.ts'
import { createInputs, INPUTS, type Inputs } from '../audit/inputs.ts'
import { createEvidence } from '../audit/records.ts'
import { publicKeyOf } from '../config/investigator.ts'
import { createNames, type Names } from '../audit/names.ts'
import { createRecent, type Recent } from '../audit/recent.ts'
import type { Journal, Store } from '../model.ts'
import { watchClock } from './clock.ts'
import type { Fetch } from '../net/dial.ts'
import { openExport } from './export.ts'
import type { Scope } from './scope.ts'

const DAY_MS = 86_400_000
/** When evidence files are closed, and how long they are kept after. */
const rotationOf = ({ rotate, retention }: Config['audit']) =>
  rotate === 'off'
    ? {}
    : {
        rotate: { size: rotate?.size ?? 256 * 1024 ** 2, everyMs: rotate?.every ?? DAY_MS },
        retentionMs: retention ?? 400 * DAY_MS,
      }

/** A key that is in use is seen to be within two days; a segment is removed within an hour. */
const SLACK_MS = 3 * DAY_MS
/** How long after its last line a name is in no evidence that is kept here, ms; null: some is kept for ever. */
export const lastEvidence = (audit: Config['audit']): number | null => {
  const { rotate, retentionMs } = {
    rotate: undefined,
    retentionMs: undefined,
    ...rotationOf(audit),
  }
  return rotate === undefined || retentionMs === undefined
    ? null
    : retentionMs + rotate.everyMs + SLACK_MS
}

/** A spool is closed often, so that what was taken can be removed. */
const SPOOLED = { rotate: { size: 16 * 1024 ** 2, everyMs: 3_600_000 } }
const spooled = (audit: Config['audit']): boolean => exportedFile(audit, String)?.spooled === true

type Audit = {
  readonly journal: OpenJournal
  readonly evidence: ReturnType<typeof createEvidence>
  /** How the evidence names people; null: by their ids. */
  readonly names: Names | null
  /** How far a collector has it, for `/readyz?verbose`; null: none gets it. */
  readonly exported: () => string | null
  /** What was written lately, for the console. */
  readonly recent: Recent
  /** An event that nobody waits for. */
  readonly note: (event: string, fields: Readonly<Record<string, unknown>>) => void
}

type Deps = {
  readonly store: Pick<Store, 'personKeys' | 'subscribe'>
  readonly sealer: Sealer
  readonly metrics: Metrics
  readonly newId: () => string
  readonly fetch: Fetch
}

/** The file of what policy was asked, a chain of its own; null: none is kept. Throws as `openJournal`. */
const openInputs = async (
  { config, written, clock, log, opened }: Scope,
  { sealer, newId }: Deps,
  proc: string,
): Promise<{ readonly journal: OpenJournal; readonly inputs: Inputs } | null> => {
  const { inputs, inputs_key: key, fsync, required } = config.audit
  if (inputs === 'off' || key === undefined) return null
  // Until it is open nobody is served, so nothing is appended before.
  const append: Journal['append'] = (...line) => journal.append(...line)
  const investigator = publicKeyOf(key)
  const kept = createInputs({ append, investigator, proc, randomBytes, required, log })
  const journal = await openJournal({
    sinks: [{ file: written(INPUTS) }],
    fsync,
    clock,
    proc: newId(),
    anchor: { sign: sealer.sign, ...ANCHORED },
    ...rotationOf(config.audit),
    log,
    key: 'audit.inputs',
    began: kept.began,
  })
  opened(() => journal.close())
  return { journal, inputs: kept }
}

/** null: people are named by their ids. */
const namesOf = (
  { config, clock, opened }: Scope,
  { store, sealer, newId }: Deps,
): Names | null => {
  if (config.audit.user_ids !== 'hashed') return null
  const names = createNames({ store, sealer, clock, newId, randomBytes })
  opened(() => names.close())
  return names
}

/** Both are as well as the worse of the two; what is counted are lines of evidence. */
const together = (evidence: OpenJournal, inputs: OpenJournal): OpenJournal => ({
  ...evidence,
  healthy: () => evidence.healthy() && inputs.healthy(),
  fault: () => evidence.fault() ?? inputs.fault(),
  reopen: () => {
    evidence.reopen()
    inputs.reopen()
  },
})

export const openAudit = async (scope: Scope, deps: Deps): Promise<Audit> => {
  const { sealer, metrics, fetch } = deps
  /** Of this process, in every line. */
  const proc = deps.newId()
  const { config, written, log, clock, opened } = scope
  const sinks = sinksOf(config.audit, written)
  const exporting = openExport(scope, { metrics, fetch })
  await exporting.look()
  const recent = createRecent()
  const journal = await openJournal({
    sinks,
    fsync: config.audit.fsync,
    clock,
    proc,
    anchor: { sign: sealer.sign, ...ANCHORED },
    ...(spooled(config.audit) ? SPOOLED : rotationOf(config.audit)),
    full: exporting.full,
    waits: exporting.waits,
    written: (lines) => {
      try {
        recent.written(lines)
      } catch (error) {
        log.error({ err: error }, 'the console misses records that the evidence has')
      }
    },
    log,
  })
  opened(() => journal.close())
  const kept = await openInputs(scope, deps, proc)
  const both = kept === null ? journal : together(journal, kept.journal)
  opened(watchClock(clock, log))
  metrics.audit(both)
  await closeEnds(journal, sinks, proc)
  const names = namesOf(scope, deps)
  const evidence = createEvidence({
    journal,
    clock,
    log,
    names,
    hmac: sealer.hmac,
    ...(kept === null ? {} : { inputs: kept.inputs }),
  })
  opened(() => evidence.close())
  const note: Audit['note'] = (event, fields) =>
    void evidence
      .event(event, fields)
      .catch((error: unknown) => log.error({ err: error }, `${event} could not be recorded`))
  exporting.start(note)
  return { journal: both, evidence, names, recent, note, exported: exporting.detail }
}

/** Where it came from and whose it is; `ordered: false`: nothing says whether it is older than another. */
const bundleOf = (origin: BundleOrigin | undefined) => {
  if (origin === undefined) return {}
  const { from, signed } = origin
  if (signed === null) return { bundle: { from, signed: null, ordered: false } }
  const { key, issuedAt } = signed
  const iat = issuedAt === null ? null : new Date(issuedAt).toISOString()
  return { bundle: { from, signed: { key, iat }, ordered: iat !== null } }
}

/**
 * Says which policy decides from now on.
 * @returns what a newer one is told to
 */
export const recordPolicy = async (
  policy: PolicySource,
  { evidence, note }: Audit,
): Promise<(engine: PolicyEngine | null) => void> => {
  let last = ''
  const loaded = (engine: PolicyEngine | null): void => {
    if (engine === null) return
    const { revision, digest, origin } = engine
    const fields = { policy: { revision, digest }, ...bundleOf(origin) }
    const text = JSON.stringify(fields)
    if (text === last) return
    last = text
    note('policy.loaded', fields)
  }
  loaded(policy.current())
  // Without a policy deputy serves refusals, is not ready, and says why: the next good bundle ends that.
  const problem = policy.problem()
  if (problem !== null) await evidence.event('policy.failed', { problem })
  return loaded
}
