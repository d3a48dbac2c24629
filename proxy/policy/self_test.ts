// The questions that a policy must answer rightly before it may serve. Pure, but for the asking.
import type { JsonObject, PolicyDecision, PolicyFailure } from '../model.ts'
import { isObject } from '../wire/json.ts'
import { readAnswer } from './decision.ts'
import type { Isolate } from './threads.ts'

/** ms: an evaluation that takes longer may not run in the thread that serves everybody. */
export const SLOW = 5
const PATIENCE = 1000
const ROUNDS = 5
/** One that is asked, whoever ends it. */
type Asking = Pick<Isolate, 'ask' | 'alive'>

const person = { id: 'nobody', realm: 'r', tenant: 't', verified: true, active: true }
const hostile: readonly (readonly [string, unknown])[] = [
  ['the empty input', {}],
  ['an input of another version', { version: 2 }],
  ['an input with nothing but its version', { version: 1 }],
  [
    'an input whose fields are all of another type',
    {
      version: '1',
      user: 'admin',
      agent: true,
      provider: ['*'],
      request: 1,
      operation: '*',
      approvals: '*',
    },
  ],
  [
    'a person without groups and an operation that nobody knows',
    {
      version: 1,
      user: { ...person, groups: [], roles: [], entitlements: [], entitlements_age_ms: 0 },
      agent: { id: '*' },
      provider: { id: '*', connection: '*', connected: true, account: '*', granted_scopes: ['*'] },
      request: {
        method: '*',
        host: '*',
        segments: ['**'],
        query: {},
        stripped: [],
        body: { state: 'none', bytes: 0 },
      },
      operation: { id: 'unknown', kind: 'rest', access: 'read', required_scopes: [] },
      approvals: [],
    },
  ],
]

/** Input of the right shape and nearly `limit` bytes, spread over every list that a policy may loop over. */
const largestInput = (limit: number): string => {
  const list = (prefix: string, share: number): string[] =>
    Array.from(
      { length: Math.floor((limit * share) / (prefix.length + 7)) },
      (_, i) => `${prefix}${1000 + i}`,
    )
  const text = JSON.stringify({
    version: 1,
    request_id: 'largest',
    now: { unix_s: 0, weekday: 'thu', hour: 0 },
    user: {
      ...person,
      groups: list('g', 0.15),
      roles: list('r', 0.15),
      entitlements: list('e', 0.1),
      entitlements_age_ms: 0,
    },
    agent: { id: 'agent' },
    provider: {
      id: 'github',
      connection: 'github',
      connected: true,
      account: 'a',
      granted_scopes: list('s', 0.1),
    },
    request: {
      method: 'POST',
      host: 'api.github.com',
      segments: list('p', 0.1),
      query: { q: list('q', 0.05) },
      stripped: [],
      body: { state: 'parsed', bytes: limit, json: { '/a': 'x'.repeat(Math.floor(limit * 0.15)) } },
    },
    operation: { id: 'a.b', kind: 'rest', access: 'write', required_scopes: list('s', 0.1) },
    approvals: [],
  })
  return text.length <= limit ? text : '{}'
}

/** A bundle's own golden inputs: `data.deputy_data.probes`, name → {input, allow, codes?}. */
type Golden = {
  readonly name: string
  readonly input: { readonly [name: string]: unknown }
  readonly allow: boolean
  readonly codes: unknown
}

/** Throws an Error that names the probe which is none. */
export const readGolden = (table: unknown): readonly Golden[] => {
  if (table === undefined) return []
  if (!isObject(table)) throw new Error('deputy_data.probes is not an object')
  return Object.entries(table).map(([name, probe]) => {
    if (!isObject(probe) || !isObject(probe['input']) || typeof probe['allow'] !== 'boolean')
      throw new Error(`deputy_data.probes: ${JSON.stringify(name)} is not {input, allow, codes}`)
    return { name, input: probe['input'], allow: probe['allow'], codes: probe['codes'] }
  })
}

const show = (answer: PolicyDecision | PolicyFailure): string =>
  'failed' in answer
    ? `${answer.failed} (${answer.detail})`
    : `${answer.allow ? 'allow' : 'deny'} ${JSON.stringify(answer.reasons.map(({ code }) => code))}`

/** Best of several: the first ones meet code that is not yet optimised, and a busy machine disturbs some. */
const timed = async (
  isolate: Asking,
  input: string,
): Promise<{ answer: PolicyDecision | PolicyFailure; ms: number }> => {
  let best = Infinity
  for (let round = 1; ; round++) {
    const { answer, ms } = await isolate.ask(input, PATIENCE)
    best = Math.min(best, ms)
    if (best <= SLOW || round === ROUNDS || !isolate.alive())
      return { answer: typeof answer === 'string' ? readAnswer(answer) : answer, ms: best }
  }
}

/**
 * Asks the bundle's golden inputs. Throws an Error that names the first wrong answer.
 * @returns ms of the slowest
 */
export const proveGolden = async (isolate: Asking, golden: readonly Golden[]): Promise<number> => {
  let slowest = 0
  for (const { name, input, allow, codes } of golden) {
    const { answer, ms } = await timed(isolate, JSON.stringify(input))
    slowest = Math.max(slowest, ms)
    const right =
      !('failed' in answer) &&
      answer.allow === allow &&
      (codes === undefined ||
        JSON.stringify(codes) === JSON.stringify(answer.reasons.map(({ code }) => code)))
    if (!right)
      throw new Error(
        `the policy's own probe ${JSON.stringify(name)} gave ${show(answer)}, and the table probes says ${allow ? 'allow' : 'deny'}${codes === undefined ? '' : ` ${JSON.stringify(codes)}`}`,
      )
  }
  return slowest
}

/**
 * Asks what no policy may allow, and one input of the largest size. Throws an Error when something is allowed, or when
 * the empty input gets no well-formed refusal (a rule misspelt, the wrong entry point).
 * @returns ms of the slowest
 */
export const proveHostile = async (isolate: Asking, inputLimit: number): Promise<number> => {
  let slowest = 0
  for (const [i, [name, input]] of hostile.entries()) {
    const { answer, ms } = await timed(isolate, JSON.stringify(input))
    slowest = Math.max(slowest, ms)
    const refused = 'failed' in answer ? i > 0 && answer.failed !== 'policy_timeout' : !answer.allow
    if (!refused) throw new Error(`the policy fails its self-test: ${name} gave ${show(answer)}`)
  }
  const { answer, ms } = await timed(isolate, largestInput(inputLimit))
  if (!('failed' in answer) && answer.allow)
    throw new Error('the policy fails its self-test: it allows an operation that no catalogue has')
  return Math.max(slowest, ms)
}

/** Whoever is in its group may do anything at its provider, and no agent may do anything. */
const SEALED: Readonly<Record<string, JsonObject>> = {
  group_roles: { sealed: ['sealed'] },
  role_grants: { sealed: { sealed: ['all'] } },
  grants: { sealed: { all: { operations: ['*'] } } },
  providers: { sealed: { hosts: ['sealed.example'], assets: [], inspect_body: [] } },
  agents: {},
}
const sealed = JSON.stringify({
  version: 1,
  request_id: 'sealed',
  now: { unix_s: 0, weekday: 'thu', hour: 0 },
  user: { ...person, groups: ['sealed'], roles: [], entitlements: [], entitlements_age_ms: 0 },
  agent: { id: 'agent' },
  provider: {
    id: 'sealed',
    connection: 'sealed',
    connected: true,
    account: 'a',
    granted_scopes: [],
    lineage: ['sealed'],
  },
  request: {
    method: 'GET',
    host: 'sealed.example',
    segments: ['a'],
    query: {},
    stripped: [],
    body: { state: 'none', bytes: 0 },
  },
  operation: { id: 'a.b', kind: 'rest', access: 'read', required_scopes: [] },
  approvals: [],
})

/**
 * Asks by tables that let no agent do anything. Throws an Error when it is allowed: the policy never reads the table
 * agents, so that every ceiling would be as if it were not there.
 * @param documentOf the `data` document with these tables
 * @param patience ms
 */
export const proveCeilings = async (
  isolate: Pick<Isolate, 'askAll'>,
  documentOf: (tables: ReadonlyMap<string, JsonObject>) => Uint8Array<ArrayBuffer>,
  patience: number,
): Promise<void> => {
  const data = documentOf(new Map(Object.entries(SEALED)))
  const said = await isolate.askAll({ inputs: [sealed], data }, patience)
  const [answer] = 'failed' in said ? [] : said
  if (typeof answer !== 'string') return
  const read = readAnswer(answer)
  if (!('failed' in read) && read.allow)
    throw new Error(
      'the policy of this bundle never reads the table agents: build it from Rego that does, as the starter policy of this version',
    )
}
