// Builds the records of one call: who did what for whom, under which policy, and why (design 10).
// Each is joined from whole members, of which those that repeat are written once: to write it all anew costs 2 µs more,
// twice in every call.
import type {
  Clock,
  Decision,
  Entitlements,
  Holding,
  Injected,
  Journal,
  Log,
  McpCall,
  Person,
  Principal,
  RootField,
  Route,
  Via,
} from '../model.ts'
import type { ProblemCode } from '../problem.ts'
import { members, quoted, quotedList } from '../wire/json.ts'
import type { Inputs } from './inputs.ts'
import { createTeller, NOBODY } from './telling.ts'
import type { Name, Names } from './names.ts'
import type { Body } from '../pipeline/inspect.ts'
import type { Facts } from '../pipeline/entitlements.ts'
import type { Outcome } from '../pipeline/forward.ts'
import type { HookSaid } from '../pipeline/obligation/hooks.ts'
import type { TakenOut } from '../pipeline/obligation/redaction.ts'

/** What the record of a decision is built from. */
export type Decided = {
  readonly id: string
  readonly n: number
  /** absent: the proxy's door, of which the record says nothing. */
  readonly via: Via
  readonly traceparent: string | null
  readonly principal: Principal
  readonly route: Route
  readonly operation: { readonly id: string; readonly access: string }
  /** Of a root field of a GraphQL call. */
  readonly graphql?: RootField | undefined
  /** Of a message to an MCP server. */
  readonly mcp?: Pick<McpCall, 'method' | 'name'> | undefined
  /** Which of several calls inside the call, from 1. */
  readonly part?: number | undefined
  readonly body: Body | null
  readonly stripped: readonly string[]
  readonly facts: Facts
  readonly holding: Holding
  readonly decision: Decision
}

export type Finished = {
  readonly id: string
  /** Whose account was used. */
  readonly person: Person | null
  readonly connection: string
  readonly durationMs: number
  /** What hooks said; absent: none was asked. */
  readonly hooked?: readonly HookSaid[]
  /** How often the provider said "too many" before, and did nothing; absent: never. */
  readonly limited?: number
  /** What was taken out of the request before it left; null or absent: nothing. */
  readonly taken?: TakenOut | null
  readonly outcome: Outcome
}
/** What policy had redacted: the pointers into the request with the digest of what was sent, values in the answer. */
const redactedText = (taken: TakenOut | null, values: number): string =>
  taken === null && values === 0
    ? ''
    : `,"redacted":${JSON.stringify({
        ...(taken === null ? {} : { request: taken.pointers, body_digest: taken.digest }),
        response: values,
      })}`

/** Persons and paths as the evidence writes them. */
export type Pseudonyms = {
  readonly user: (person: Person) => string
  readonly path: (route: Route, person: Person) => string
}

export type Evidence = {
  /** Rejects when the record cannot be written. */
  readonly decided: (what: Decided) => Promise<void>
  /** No call waits for it: the journal writes it later, and says so if it cannot. */
  readonly finished: (what: Finished) => void
  /** Refusals before policy: limited per second, then summed. */
  readonly refused: (id: string, code: ProblemCode, person: Person | null) => void
  /** Any other event. `fields` holds no secret. */
  readonly event: (event: string, fields: Readonly<Record<string, unknown>>) => Promise<void>
  readonly close: () => void
}

/**
 * Does anybody but the caller say that there is such a person: a signature, a directory, or an account that they connected?
 * Ids that an agent makes up would fill the store with keys.
 */
const isSomebody = ({ principal, facts, holding }: Decided): boolean =>
  principal.verified ||
  holding.kind === 'held' ||
  (facts.entitlements.active && facts.entitlements.source !== 'none')

const TOO_LARGE = 'policy_input_too_large'
const REFUSED_PER_SECOND = 50
const LONG = 128
/** Characters of a reason's message. */
const MESSAGE = 256
const WORD = /[^\s"'`(),;<>[\]{}]+/g
/** Prefixes of well-known credentials, JWTs, and long words without a vowel pattern that only machines make. */
const CREDENTIAL =
  /^(?:eyJ[\w-]{10,}|gh[opsru]_|github_pat_|glpat-|xox[abepr]|xapp-|sk[-_]|pk_live|AKIA|ya29\.|dpr_)|^[A-Fa-f0-9]{40,}$|^(?=.*\d)(?=.*[A-Z])(?=.*[a-z])[\w+/=-]{40,}$/
const isCredential = (word: string): boolean => word.length >= 20 && CREDENTIAL.test(word)
/** What each of several sources said, so that it can be compared by itself. */
const originsText = (parts: readonly Entitlements[]): string =>
  `,"parts":${JSON.stringify(parts.map(({ source, active, digest }) => ({ source, active, digest })))}`

/** What authorization services said of the call. */
const checksText = ({ checks }: Decision): string =>
  checks === undefined
    ? ''
    : `"checks":${JSON.stringify({ answers: checks.answers, duration_ms: Math.round(checks.ms * 10) / 10 })},`
const viaText = ({ via }: Decided): string => (via === 'proxy' ? '' : `,"via":"${via}"`)

/** Such a name needs no escape in JSON either. */
const KEY = /^[A-Za-z$_][\w.$[\]-]{0,63}$/
const TRACE = /^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/

export const createEvidence = (deps: {
  readonly journal: Journal
  readonly clock: Clock
  readonly log: Log
  /** `audit.user_ids: hashed`; null: people are named by their ids. */
  readonly names: Names | null
  /** Keyed hash of the ring. */
  readonly hmac: (purpose: string, text: string) => string
  /** Keeps what policy was asked; absent: nobody does. */
  readonly inputs?: Pick<Inputs, 'keep' | 'members'>
}): Evidence & {
  readonly pseudonyms: Pseudonyms
  /** Seals members of requests and answers; null: nothing is sealed. */
  readonly sealMembers: Inputs['members'] | null
} => {
  const { journal } = deps
  const json = (value: unknown): string => JSON.stringify(value) ?? 'null'
  const hashed = deps.names !== null
  const teller = createTeller(deps)

  /** The name of somebody whose key is not remembered now is not waited for. */
  const atOnce = (person: Person): Name => {
    const name = teller.known(person)
    return name instanceof Promise ? NOBODY : name
  }

  const who = new WeakMap<Principal, { readonly id: string; readonly text: string }>()
  const whoText = (principal: Principal, name: Name): string => {
    const known = who.get(principal)
    let text = known?.text
    // Who was erased and came back has another name.
    if (text === undefined || known?.id !== name.id) {
      const { person, verified, agent, run, workload, assertedBy, standing } = principal
      const { realm, tenant } = person
      const by_standing = standing ?? undefined
      const user = {
        id: name.id,
        realm,
        tenant,
        verified,
        asserted_by: assertedBy,
        standing: by_standing,
      }
      const by = workload && { ...workload, verified: true }
      text = members({ user, agent: { id: agent, workload: by }, run })
      who.set(principal, { id: name.id, text })
    }
    return text
  }
  const pathText = ({ connection, target }: Route, { mask }: Name): string => {
    const { secretSegments } = connection.provider
    const hidden = (segment: string, i: number): boolean =>
      segment.length > LONG ||
      isCredential(segment) ||
      (hashed && segment.includes('@')) ||
      secretSegments.includes(target.segments[i - 1] ?? '')
    if (!target.segments.some(hidden)) return target.path
    return `/${target.raw
      .map((raw, i) => {
        const segment = target.segments[i] ?? ''
        return hidden(segment, i) ? mask('segment', segment) : raw
      })
      .join('/')}`
  }
  const keysText = (route: Route, { mask }: Name): string => {
    const { query } = route.target
    let text = ''
    for (const { name } of query) {
      const said = KEY.test(name) && !isCredential(name) ? name : mask('query', name)
      text += text === '' ? `"${said}"` : `,"${said}"`
    }
    return `[${text}]`
  }
  const graphqlText = ({ type, fields }: RootField, { mask }: Name): string => {
    const [field] = fields
    const named = isCredential(field) ? mask('field', field) : field
    return `,"graphql":${json({ type, field: named })}`
  }
  /** What is called by a name that the agent chose: a URI may hold anything. */
  const mcpText = ({ method, name }: Pick<McpCall, 'method' | 'name'>, { mask }: Name): string => {
    const odd = (text: string): boolean =>
      text.length > LONG || isCredential(text) || (hashed && text.includes('@'))
    const told = (text: string): string => (odd(text) ? mask('mcp', text) : text)
    const named = name === null ? undefined : told(name)
    return `,"mcp":${json({ method: told(method), name: named })}`
  }
  // What policy said repeats: its text is made once for each distinct answer, which the policy engine remembers by identity.
  type Said = { readonly members: string; readonly policy: string }
  const said = new WeakMap<Decision['reasons'], Map<Decision['effect'], Said>>()
  const saidText = (decision: Decision, principal: Principal, name: Name): string => {
    const { effect, id, reasons, grants, obligations, revision, digest } = decision
    let byEffect = said.get(reasons)
    if (byEffect === undefined) said.set(reasons, (byEffect = new Map()))
    let repeated = byEffect.get(effect)
    if (repeated === undefined) {
      repeated = {
        members: members({ grants, obligations: Object.keys(obligations) }),
        policy: json({ revision, digest }),
      }
      byEffect.set(effect, repeated)
    }
    const codes = json(reasons.map(({ code }) => code))
    return (
      `"decision":{"effect":"${effect}","id":"${id}","reasons":${codes}${messagesText(decision, principal, name)},${repeated.members}},` +
      `"policy":${repeated.policy}`
    )
  }
  /** What the codes say in words: policy may have put in it what the rest of the record hides. */
  const messagesText = (
    { reasons }: Decision,
    { person }: Principal,
    { id, mask }: Name,
  ): string => {
    if (reasons.length === 0) return ''
    const safe = (text: string): string =>
      text
        .replaceAll(person.id, () => id)
        .replaceAll(WORD, (word) =>
          isCredential(word) || (hashed && word.includes('@')) ? mask('message', word) : word,
        )
    return `,"messages":${json(reasons.map(({ msg }) => Array.from(safe(msg)).slice(0, MESSAGE).join('')))}`
  }
  const used = new WeakMap<Injected, { readonly id: string; readonly text: string }>()
  const usedText = (credential: Injected, connection: string, name: Name): string => {
    const known = used.get(credential)
    if (known !== undefined && known.id === name.id) return known.text
    const { generation, account, scopes, refreshed } = credential
    const told = hashed ? name.mask('account', account) : account
    const text = json({ connection, generation, account: told, scopes, refreshed })
    used.set(credential, { id: name.id, text })
    return text
  }

  let heard: Promise<void> | null = null
  let second = 0
  let count = 0
  const summed = new Map<string, number>()
  const lost = (error: unknown): void =>
    deps.log.error({ err: error }, 'an evidence record could not be written')
  const flush = (): void => {
    if (summed.size === 0) return
    const counts = Object.fromEntries(summed)
    summed.clear()
    journal.append('refused', `,"summed":${json(counts)}`).catch(lost)
  }
  const timer = setInterval(flush, 1_000)
  timer.unref()

  /** @param input digest of the sealed input; null: none is kept */
  const decided = (what: Decided, input: string | null, name: Name): Promise<void> => {
    const { route, facts, principal } = what
    const trace = TRACE.exec(what.traceparent ?? '')?.[1]
    const { source, digest, parts } = facts.entitlements
    return journal.append(
      'decision',
      `,"exchange":"${what.id}","n":${what.n}${what.part === undefined ? '' : `,"part":${what.part}`}${viaText(what)},"trace_id":${trace === undefined ? 'null' : `"${trace}"`},${whoText(principal, name)},"connection":"${route.connection.name}","provider":"${route.connection.provider.id}",` +
        `"operation":{"id":${quoted(what.operation.id)},"access":"${what.operation.access}"${what.graphql === undefined ? '' : graphqlText(what.graphql, name)}${what.mcp === undefined ? '' : mcpText(what.mcp, name)}},` +
        `"request":{"method":"${route.target.method}","host":"${route.host}","path":${quoted(pathText(route, name))},"query_keys":${keysText(route, name)},"body_digest":${what.body?.digest == null ? 'null' : `"${what.body.digest}"`}},` +
        `"stripped":${quotedList(what.stripped)},"entitlements":{"source":"${source}","age_ms":${Math.round(facts.ageMs())},"digest":"${digest}"${parts === undefined ? '' : originsText(parts)}},${checksText(what.decision)}` +
        saidText(what.decision, principal, name) +
        (input === null ? '' : `,"input":"${input}"`),
    )
  }

  const judged = (what: Decided, name: Name): Promise<void> => {
    const { asked, reasons } = what.decision
    // One that was too long for policy was not asked.
    const unasked = asked === undefined || reasons.some(({ code }) => code === TOO_LARGE)
    if (unasked || deps.inputs === undefined) return decided(what, null, name)
    return deps.inputs
      .keep({ exchange: what.id, n: what.n, part: what.part }, asked)
      .then((input) => decided(what, input, name))
  }

  return {
    decided(what) {
      const name = teller.decided(what.principal.person, isSomebody(what))
      return name instanceof Promise
        ? name.then((known) => judged(what, known))
        : judged(what, name)
    },
    finished(what) {
      const { id, person, connection, durationMs, taken = null, hooked = [], outcome } = what
      const { limited = 0 } = what
      const { result, sent, status, bytesIn, bytesOut, credential, masked, unrewritten } = outcome
      const { stripped, dropped, redacted = 0 } = outcome
      const write = (by: Name | null): Promise<void> =>
        journal.append(
          'outcome',
          `,"exchange":"${id}","result":"${result}","sent":${sent},"status":${status ?? 'null'},"credential":${credential === null || by === null ? 'null' : usedText(credential, connection, by)},` +
            `"bytes_in":${bytesIn},"bytes_out":${bytesOut},"duration_ms":${Math.round(durationMs * 10) / 10}` +
            `${masked > 0 ? `,"masked":${masked}` : ''}${unrewritten ? ',"unrewritten":true' : ''}${limited > 0 ? `,"limited":${limited}` : ''}${redactedText(taken, redacted)}${hooked.length > 0 ? `,"hooks":${json(hooked)}` : ''}` +
            `${stripped.length > 0 ? `,"stripped":${quotedList(stripped)}` : ''}${dropped.length > 0 ? `,"dropped":${quotedList(dropped)}` : ''}`,
          // It shares the write of the next decision.
          false,
        )
      const by = credential === null || person === null ? null : teller.known(person)
      const written = by instanceof Promise ? by.then(write) : write(by)
      // Records of one write share its promise.
      if (written !== heard) (heard = written).catch(lost)
    },
    refused(id, code, person) {
      const at = Math.floor(deps.clock.mono() / 1_000)
      if (at !== second) {
        second = at
        count = 0
      }
      count++
      if (count > REFUSED_PER_SECOND) summed.set(code, (summed.get(code) ?? 0) + 1)
      else {
        const write = (user: string): Promise<void> =>
          journal.append('refused', `,"exchange":"${id}","code":"${code}"${user}`)
        const shown = (name: Name): Promise<void> =>
          write(`,"user":${json({ ...person, id: name.id })}`)
        const name = person === null ? null : teller.known(person)
        const written =
          name === null ? write('') : name instanceof Promise ? name.then(shown) : shown(name)
        written.catch(lost)
      }
    },
    event(event, fields) {
      const append = (told: Readonly<Record<string, unknown>>): Promise<void> =>
        journal.append(
          event,
          Object.entries(told)
            .map(([name, value]) => `,${json(name)}:${json(value)}`)
            .join(''),
        )
      return hashed ? teller.event(event, fields).then(append) : append(fields)
    },
    sealMembers: deps.inputs?.members ?? null,
    pseudonyms: {
      user: (person) => atOnce(person).id,
      path: (route, person) => pathText(route, atOnce(person)),
    },
    close() {
      clearInterval(timer)
      flush()
    },
  }
}
