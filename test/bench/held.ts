// A thousand calls that wait for their people: memory, and how soon each goes on once its person's consent was completed,
// in the same process (its own pages, clicked over HTTP) or by another one on the same PostgreSQL.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Agent, fetch } from 'undici'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { secret } from '../../proxy/secret.ts'
import { createSealer, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { createBrowser } from '../support/browser.ts'
import { AGENT, startChild, type Child, type Fields } from '../support/deputy.ts'
import { startServer } from '../support/postgres.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { say, type Size } from './calls.ts'
import { megabytes, n, part, verdict, type Section } from './report.ts'
import { QUIET } from '../support/log.ts'

const WAIT_S = 180

export const metricOf = async (deputy: Child, name: string): Promise<number> => {
  const admin = deputy.admin.replace(/^http:\/\//, '')
  const text = await (await fetch(`http://${admin}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
}
/** Resident memory, MB. */
const residentOf = async (deputy: Child): Promise<number> =>
  (await metricOf(deputy, 'process_resident_memory_bytes')) / 1e6

/** Calls of these people, all held. */
const holdCalls = async (deputy: Child, people: readonly string[], dispatcher: Agent) => {
  const wrong: string[] = []
  /** When each was answered. */
  const ended: number[] = people.map(() => NaN)
  const all = people.map(async (name, i) => {
    const answer = await fetch(`${deputy.agent}/api.stream.test/me`, {
      dispatcher,
      headers: { 'deputy-user': name, prefer: `wait=${WAIT_S}` },
    })
    const body = (await answer.json()) as { login?: string; code?: string }
    ended[i] = performance.now()
    if (answer.status !== 200 || body.login !== name)
      wrong.push(`a held call of ${name} got ${answer.status} ${body.code ?? body.login ?? ''}`)
  })
  const failed = Promise.all(all)
  // Heard below; until then a call that breaks must not end the process.
  failed.catch(() => {})
  for (let held = 0; held < people.length; held = await metricOf(deputy, 'deputy_held_calls')) {
    if (wrong.length > 0) throw new Error(wrong[0])
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return { ended, wrong, all: failed }
}

const namesOf = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, i) => `person-${i}`)
const holder = (upstream: Upstream, names: readonly string[], config: Fields): Promise<Child> =>
  startChild({
    upstream: upstream.origin,
    config: {
      limits: { calls_per_agent: 2_000, held_calls: 1_000 },
      ...config,
    },
    people: names.map((id) => ({ id, groups: ['staff'] })),
  })

type Held = {
  readonly name: string
  readonly people: number
  readonly idle: number
  readonly holding: number
  /** ms, one a call. */
  readonly took: readonly number[]
  readonly wrong: readonly string[]
}
/** Completes one person's consent; resolves to the moment from which the calls' wait counts. */
type Complete = (name: string) => Promise<number>

const measure = async (
  name: string,
  deputy: Child,
  /** One a call; a name may stand often. */
  calls: readonly string[],
  complete: Complete,
): Promise<Held> => {
  say(`consent: ${name}`)
  const dispatcher = new Agent({ connections: calls.length, headersTimeout: (WAIT_S + 10) * 1_000 })
  try {
    const idle = await residentOf(deputy)
    const held = await holdCalls(deputy, calls, dispatcher)
    const holding = await residentOf(deputy)
    const told = new Map<string, number>()
    for (const person of new Set(calls)) told.set(person, await complete(person))
    await held.all
    const took = calls.map((person, i) =>
      Math.max(0, (held.ended[i] ?? NaN) - (told.get(person) ?? NaN)),
    )
    const { wrong } = held
    return { name, people: new Set(calls).size, idle, holding, took, wrong }
  } finally {
    await dispatcher.destroy()
  }
}

/** The person at the pages; the provider sends the browser straight back. */
const clicking = (deputy: Child, upstream: Upstream): Complete => {
  const answered = new Map<string, number>()
  upstream.early = (req, res) => {
    const url = new URL(req.url ?? '/', upstream.origin)
    if (url.pathname !== '/oauth/authorize') return false
    const back = new URL(url.searchParams.get('redirect_uri') ?? '')
    back.searchParams.set('state', url.searchParams.get('state') ?? '')
    back.searchParams.set('code', 'code')
    res.writeHead(303, { location: back.href }).end()
    return true
  }
  let person = ''
  upstream.token = (_form, res) => {
    const tokens = { access_token: `token-of-${person}`, token_type: 'bearer', expires_in: 3_600 }
    answered.set(person, performance.now())
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(tokens))
  }
  return async (name) => {
    person = name
    const asked = await fetch(`${deputy.agent}/api.stream.test/me`, {
      headers: { 'deputy-user': name },
    })
    const { url = '' } = (await asked.json()) as { url?: string }
    const browser = createBrowser()
    const door = await browser.open(url)
    // Each code works once; the file holds the next one.
    const code = readFileSync(join(deputy.dir, '.deputy-code'), 'utf8').trim()
    const consent = await browser.submit(door, { code })
    const done = await browser.submit(consent, { answer: 'yes' })
    const at = answered.get(name)
    if (at === undefined || done.status !== 200)
      throw new Error(`the consent of ${name} ended at ${done.url} with ${done.status}`)
    return at
  }
}

const here = async (calls: readonly string[], name: string): Promise<Held> => {
  const upstream = await startUpstream()
  const people = [...new Set(calls)]
  for (const person of people) upstream.people.set(`token-of-${person}`, person)
  const deputy = await holder(upstream, people, {})
  try {
    return await measure(name, deputy, calls, clicking(deputy, upstream))
  } finally {
    await deputy.close()
    await upstream.close()
  }
}

const elsewhere = async (url: string, calls: readonly string[], name: string): Promise<Held> => {
  const upstream = await startUpstream()
  const people = [...new Set(calls)]
  for (const person of people) upstream.people.set(`token-of-${person}`, person)
  const deputy = await holder(upstream, people, { vault: { store: url, keys: './keys.json' } })
  const store = await openPostgres(url, { log: QUIET })
  try {
    const clock = { now: () => Date.now(), mono: () => performance.now() }
    const sealer = createSealer(parseKeyRing(readFileSync(join(deputy.dir, 'keys.json'), 'utf8')))
    const vault = createVault({ store, sealer, clock, randomId: randomUUID })
    return await measure(name, deputy, calls, async (id) => {
      const person = { tenant: 'default', realm: 'local', id }
      const flow = await store.flows.pending(
        { person, agent: AGENT, connection: 'stream', scopes: [] },
        Date.now(),
      )
      if (flow === null) throw new Error(`${id} has no flow`)
      await vault.connect({
        person,
        agent: AGENT,
        connection: 'stream',
        provider: 'stream',
        account: { id, label: id },
        tokens: { access: secret(`token-of-${id}`), refresh: null, scopes: [], expiresIn: 3_600 },
        scopes: [],
      })
      await store.flows.finish(flow.hash, 'completed', null, Date.now())
      await store.publish('flow', flow.hash)
      return performance.now()
    })
  } finally {
    await store.close()
    await deputy.close()
    await upstream.close()
  }
}

export const measureHeld = async ({ quick }: Size): Promise<Section> => {
  const calls = quick ? 20 : 1_000
  const names = namesOf(calls)
  const same = names.map(() => 'person-0')
  const skipped: string[] = []
  const rows = [
    await here(names, 'one process, SQLite'),
    await here(same, 'one process, SQLite, one consent for all'),
  ]
  let stop = async (): Promise<void> => {}
  let url: string | null = null
  try {
    url = (await startServer((end) => (stop = end))).url
  } catch (error) {
    if (process.env['DEPUTY_NO_SKIP'] === '1') throw error
    skipped.push(`PostgreSQL does not start: ${String(error)}`)
  }
  try {
    if (url !== null) rows.push(await elsewhere(url, names, 'another process, PostgreSQL'))
  } finally {
    await stop()
  }
  return {
    title: 'Consent',
    columns: [
      `${calls} held calls, the consent completed by`,
      'people',
      'idle (MB)',
      'holding (MB)',
      'more (MB)',
      'released: p50 (ms)',
      'p99 (ms)',
    ],
    rows: rows.map(({ name, people, idle, holding, took }) => [
      name,
      String(people),
      n(idle),
      n(holding),
      n(holding - idle),
      n(part(took, 0.5), 1),
      n(part(took, 0.99), 1),
    ]),
    notes: [
      verdict(megabytes(`with ${calls} held calls`, rows[0]?.holding ?? NaN, 150, 110)),
      'consents one after another, without a pause; one process: from the answer of the provider’s token endpoint; two: from the other one’s notice; to the whole answer of the held call',
    ],
    wrong: [...new Set(rows.flatMap(({ wrong }) => wrong))].slice(0, 5),
    skipped,
  }
}
