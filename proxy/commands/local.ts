// Commands on deputy's own machine: through the socket of a running one, else on the vault itself while nobody serves.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { controlSocket } from '../config/address.ts'
import { naming } from '../config/backend.ts'
import type { Loaded } from '../config/load.ts'
import type { Log } from '../model.ts'
import { createOAuthClient } from '../oauth/client.ts'
import { createFlows } from '../consent/flow.ts'
import { SESSION_MS } from '../consent/session.ts'
import { createRevoker } from '../tokens/revoke.ts'
import { ANCHORED } from '../audit/chain.ts'
import { closeEnds } from '../audit/unfinished.ts'
import { openJournal, sinksOf } from '../audit/journal.ts'
import { createOperatorsApi } from '../api/operators.ts'
import { Problem } from '../problem.ts'
import { dialOf, ringsOf, systemClock } from '../compose/snapshot.ts'
import { createPeopleKept } from '../audit/people_kept.ts'
import { replayRevocations } from '../compose/replay.ts'
import { openStore } from '../store/open.ts'
import { createUlid } from '../ulid.ts'
import { createAgents } from '../vault/agents.ts'
import { readRing } from '../vault/ring_file.ts'
import { createRuns } from '../vault/runs.ts'
import { createStandings } from '../vault/standings.ts'
import { createAsking } from '../compose/asks.ts'
import { createStandingCare } from '../consent/standing.ts'
import { createSealer } from '../vault/seal.ts'
import { createVault } from '../vault/vault.ts'
import { createNames } from '../audit/names.ts'
import { createEvidence } from '../audit/records.ts'
import { overSocket, readAnswer, written, type Reach } from './operate.ts'

/** The same API on the vault itself. Throws an Error that says what is wrong with the vault, the keys or the evidence. */
/** Nothing goes to providers from here. */
const NO_CALLS = { onEnded: () => {}, onFirstUse: () => {} }

const noRuns = (): never => {
  throw new Problem(
    'policy_unavailable',
    'policy decides whether a run may be, and `deputy serve` asks it: start it',
  )
}

/** What people are asked and let others do: ended here, never begun. */
const peopleOf = (
  { config }: Loaded,
  core: Parameters<typeof createAsking>[1] &
    Omit<Parameters<typeof createAsking>[0], 'config'> &
    Pick<Parameters<typeof createStandingCare>[0], 'standings' | 'onEvent'>,
) => {
  const { store, standings, clock, log, onEvent } = core
  const asking = createAsking({ config, clock, log }, core, {
    publicUrl: config.connect.url ?? 'http://localhost',
    people: { kind: 'none' },
    onEvent,
    wake: null,
  })
  const care = createStandingCare({ standings, store: store.standings, clock, log, onEvent })
  return { asks: asking.asks, standings, standing: asking.with(care) }
}

const onVault = async (loaded: Loaded, log: Log): Promise<Reach> => {
  const { config, at, written: inState, connections } = loaded
  const clock = systemClock()
  const newId = createUlid(clock.now)
  const sealer = createSealer(await readRing(at(config.vault.keys), ringsOf(loaded)))
  const opened: (() => Promise<unknown>)[] = []
  const close = async (): Promise<void> => {
    for (const each of opened.toReversed()) await each()
  }
  try {
    const store = await openStore(config.vault.store, inState, log)
    opened.push(() => store.close())
    const [sinks, proc] = [sinksOf(config.audit, inState), newId()]
    const journal = await openJournal({
      sinks,
      fsync: config.audit.fsync,
      clock,
      proc,
      anchor: { sign: sealer.sign, ...ANCHORED },
      log,
    })
    opened.push(() => journal.close())
    await closeEnds(journal, sinks, proc)
    const hashed = config.audit.user_ids === 'hashed'
    const names = hashed ? createNames({ store, sealer, clock, newId, randomBytes }) : null
    const evidence = createEvidence({ journal, clock, log, names, hmac: sealer.hmac })
    opened.push(async () => evidence.close())
    const dial = dialOf(loaded, log)
    opened.push(() => dial.close())
    const vault = createVault({ store, sealer, clock, randomId: newId })
    const client = createOAuthClient({ fetch: dial.fetch, clock })
    const publicUrl = config.connect.url ?? 'http://localhost'
    const onEvent = (event: string, fields: object): Promise<void> =>
      evidence.event(event, fields as Record<string, unknown>)
    const standings = createStandings({ store, clock, newId, log, ...NO_CALLS })
    const agents = createAgents({ store, clock, onDisabled: () => {} })
    const asked = { store, sealer, agents, standings, clock, log, onEvent }
    const app = createOperatorsApi({
      ...naming(config),
      operators: [],
      signIn: null,
      local: true,
      verifier: null,
      arrived: async () => null,
      connections: () => connections,
      vault,
      locate: vault.locate,
      revoker: createRevoker({ vault, client, connections: () => connections, log }),
      flows: createFlows({
        store,
        vault,
        sealer,
        client,
        publicUrl,
        clock,
        randomBytes,
        onEvent,
        connections: () => connections,
        linkTtlMs: config.connect.link_ttl,
      }),
      runs: createRuns({ store, clock, randomBytes, newId, onRevoked: () => {} }),
      agents: { ...agents, about: loaded.agents },
      ...peopleOf(loaded, asked),
      people: createPeopleKept({ config, store, sealer, names, clock, sessionMs: SESSION_MS }),
      maxRunMs: config.runs.max,
      permitRun: noRuns,
      replay: (files) => replayRevocations(store, files, clock.now(), { sealer }),
      onEvent,
      stranger: () => {},
      clock,
      publicUrl,
      newId,
      log,
    })
    return {
      ask: async (method, path, body) =>
        readAnswer(await app.request(`http://localhost${path}`, written(method, body))),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** @param say where warnings go */
export const reachLocal = async (loaded: Loaded, say: (line: string) => void): Promise<Reach> => {
  const path = controlSocket(loaded.config.vault.store, loaded.written)
  const warn = (fields: object, msg: string): void => say(`${msg} ${JSON.stringify(fields)}`)
  const log = { debug: () => {}, info: () => {}, warn, error: warn }
  return (await overSocket(path)) ?? onVault(loaded, log)
}

/** `deputy connect code`: the one-time code of `sign_in: local`, from the 0600 file that `serve` keeps. @returns exit code: 0, or 1 when nobody serves here */
export const connectCode = (options: {
  readonly written: (path: string) => string
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): number => {
  const file = options.written('.deputy-code')
  try {
    options.print(readFileSync(file, 'utf8').trim())
    return 0
  } catch (error) {
    options.complain(
      `no code at ${file}: is \`deputy serve\` running there with connect.sign_in: local? (${error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'})`,
    )
    return 1
  }
}
