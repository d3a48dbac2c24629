// A vault out of a copy: what was revoked since is revoked again, so that nobody who was comes back.
import { nameOf, OWN } from '../audit/names.ts'
import type { Person, Store } from '../model.ts'
import type { Sealer } from '../vault/seal.ts'
import { messageOf, Problem } from '../problem.ts'
import { copyDatabase } from '../store/copy.ts'
import { SESSION_MS } from '../consent/session.ts'
import { revocationsIn } from '../audit/revocations.ts'
import type { Revocation } from '../audit/revocations.ts'

export type Replayed = {
  /** 0, or 1: something may have been left out. */
  readonly code: number
  readonly printed: readonly string[]
  readonly complaints: readonly string[]
}
type Kept = Pick<
  Store,
  | 'credentials'
  | 'grants'
  | 'runs'
  | 'standings'
  | 'agents'
  | 'publish'
  | 'erase'
  | 'copied'
  | 'flows'
  | 'personKeys'
  | 'tenants'
>

/**
 * A copy of the vault while this process serves from it, which knows when it was made.
 * @param at resolves the path of the vault
 * @throws Problem request_invalid with a sentence for the operator
 */
export const copyVault = async (
  store: Pick<Store, 'check'>,
  name: string,
  at: (path: string) => string,
  file: string,
): Promise<void> => {
  if (!name.startsWith('sqlite:'))
    throw new Problem('request_invalid', 'vault.store is PostgreSQL: back it up with pg_dump')
  await store.check()
  await copyDatabase(at(name.slice('sqlite:'.length)), file).catch((error: unknown) => {
    throw new Problem('request_invalid', messageOf(error))
  })
}

/** What was there and is gone now. */
type Done = {
  credentials: number
  grants: number
  runs: number
  standings: number
  people: number
  agents: number
  failed: number
}

/** Of each agent and tenant only what was done last counts: off and on may both have been done since. */
const switched = (
  all: readonly Revocation[],
): readonly (Revocation & { readonly kind: 'agent' })[] => {
  const last = new Map<string, Revocation & { readonly kind: 'agent' }>()
  for (const each of all.filter((one) => one.kind === 'agent')) {
    const key = JSON.stringify([each.agent, each.tenant])
    if ((last.get(key)?.at ?? 0) <= each.at) last.set(key, each)
  }
  return [...last.values()]
}

const carryOut = async (
  store: Kept,
  what: Exclude<Revocation, { readonly kind: 'agent' }>,
  done: Done,
): Promise<void> => {
  const endRun = async (id: string): Promise<void> => {
    if (!(await store.runs.revoke(id, what.at))) return
    done.runs += 1
    await store.publish('run', id)
  }
  if (what.kind === 'credential') {
    if ((await store.credentials.remove(what.credential)) === null) return
    done.credentials += 1
    if (what.failed) done.failed += 1
    return
  }
  if (what.kind === 'run') return endRun(what.run)
  if (what.kind === 'standing') {
    const { standing, until } = what
    const hit =
      until === null
        ? (await store.standings.remove(standing)) !== null
        : await store.standings.shorten(standing, until, until)
    if (hit) done.standings += 1
    return store.publish('standing', `-${standing}`)
  }
  const { person, at } = what
  const { tenant, realm, id: user } = person
  // Whatever was granted after that is not what was revoked.
  const old = (await store.grants.list(person)).filter((grant) => grant.at <= at)
  if (what.kind === 'grant') {
    const { agent, connection } = what
    const has = old.some((grant) => grant.agent === agent && grant.connection === connection)
    if (has && (await store.grants.remove(person, agent, connection))) done.grants += 1
    return
  }
  for (const { agent, connection } of old) await store.grants.remove(person, agent, connection)
  const left = new Set((await store.grants.list(person)).map(({ connection }) => connection))
  const rows = await store.credentials.list({ tenant, realm, user })
  for (const { id, connection } of rows)
    if (!left.has(connection) && (await store.credentials.remove(id)) !== null)
      done.credentials += 1
  const runs = await store.runs.list({ tenant, realm, user })
  for (const run of runs) if (run.createdAt <= at && run.revokedAt === null) await endRun(run.id)
  for (const { id, createdAt } of await store.standings.list({ tenant, realm, user }))
    if (createdAt <= at && (await store.standings.remove(id)) !== null) {
      done.standings += 1
      await store.publish('standing', `-${id}`)
    }
  // Unless something of theirs is newer, no row names them any more.
  if (left.size > 0 || runs.some((run) => run.createdAt > at)) return
  const flows = await store.flows.erase(person)
  if (rows.length + old.length + runs.length + flows === 0) return
  done.people += 1
  await store.erase(person)
}

type Hidden = Exclude<Revocation, { readonly kind: 'agent' }>
const PAGE = 500
/**
 * The people whose names the evidence has under their own keys. Whoever has no key in this vault came after the copy, and
 * has nothing in it; unless people are in it who never had one, for the evidence named people by their ids.
 * @returns what each takes from whom, and sentences about what cannot be told
 */
const revealed = async (
  store: Kept,
  takes: readonly Hidden[],
  sealer: Pick<Sealer, 'openText'> | undefined,
): Promise<{ readonly takes: readonly Hidden[]; readonly problems: readonly string[] }> => {
  const hidden = takes.filter((each) => 'person' in each && each.person.id.startsWith(OWN))
  if (hidden.length === 0) return { takes, problems: [] }
  const people = new Map<string, Person>()
  if (sealer !== undefined)
    for (let after: string | null = ''; after !== null;) {
      const rows = await store.personKeys.page(after, PAGE)
      for (const row of rows) {
        // Whose key the ring does not open is nobody whose name is known, which is told where it may matter.
        const name = await nameOf(sealer, row).catch(() => null)
        if (name !== null) people.set(name.id, row.person)
      }
      after = rows.at(-1)?.id ?? null
    }
  const keyed = new Set([...people.values()].map((person) => JSON.stringify(person)))
  const keyless = async (tenant: string, realm: string): Promise<boolean> =>
    (await store.credentials.list({ tenant, realm })).some(
      ({ user: id }) => !keyed.has(JSON.stringify({ tenant, realm, id })),
    )
  const [known, problems]: [Hidden[], string[]] = [[], []]
  for (const each of takes) {
    if (!('person' in each) || !each.person.id.startsWith(OWN)) {
      known.push(each)
      continue
    }
    const { id: name, tenant, realm } = each.person
    const person = people.get(name)
    if (person !== undefined) known.push({ ...each, person })
    else if (await keyless(tenant, realm))
      problems.push(
        `${name} (realm ${realm}, tenant ${tenant}) is nobody whose key this vault has: what was taken from them, do again by hand`,
      )
  }
  return { takes: known, problems }
}

/**
 * Carries out again what the files say was revoked; what was granted since stays. May be repeated.
 * @param now ms since the epoch
 * @param how strict: nothing is carried out where something may have been left out; sealer: opens the keys by which the
 *   evidence names people
 * @throws Error of a file that cannot be read; what the store throws
 */
export const replayRevocations = async (
  store: Kept,
  files: readonly string[],
  now: number,
  how: { readonly strict?: boolean; readonly sealer?: Pick<Sealer, 'openText'> } = {},
): Promise<Replayed> => {
  const since = await store.copied.at()
  const found = await revocationsIn(files, since)
  const all = found.revocations.filter((each) => each.kind !== 'agent')
  const { takes, problems: untold } = await revealed(store, all, how.sealer)
  const problems = [...found.problems, ...untold]
  if (how.strict === true && problems.length > 0)
    return { code: 1, printed: [], complaints: problems }
  const done: Done = {
    credentials: 0,
    grants: 0,
    runs: 0,
    standings: 0,
    people: 0,
    agents: 0,
    failed: 0,
  }
  // Erasure first: it takes all that was revoked of a person as well.
  for (const each of takes) if (each.kind === 'person') await carryOut(store, each, done)
  for (const each of takes) if (each.kind !== 'person') await carryOut(store, each, done)
  // One that was switched on again stays as the copy has it: to switch it on is for people.
  for (const each of switched(found.revocations))
    if (each.off && (await store.agents.disable(each))) done.agents += 1
  const links = await store.copied.void(now + SESSION_MS)
  const { credentials, grants, runs, standings, people, agents, failed } = done
  return {
    code: problems.length > 0 ? 1 : 0,
    printed: [
      `the vault knows of times up to ${new Date(since).toISOString()}; ${found.lines} lines of evidence hold ${found.revocations.length} revocations`,
      `revoked again: ${credentials} connections, ${grants} grants of single agents, ${runs} runs, ${standings} standings; switched off again: ${agents} agents; erased again: ${people} people`,
      `void: ${links} links that were under way, and every session at the pages`,
    ],
    complaints: [
      ...problems,
      ...(failed > 0
        ? [`${failed} of these tokens may still work: their provider could not be told at the time`]
        : []),
    ],
  }
}
