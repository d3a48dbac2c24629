// A second policy beside the one that serves. It is asked what that one was asked, in a thread of its own; what it says is
// counted and recorded, and nothing ever waits for it, passes because of it or fails with it.
import type {
  Asks,
  InputMember,
  Log,
  PolicyDecision,
  PolicyEngine,
  PolicyFailure,
} from '../model.ts'
import { isObject } from '../wire/json.ts'
import { createNow } from '../wire/now.ts'
import { whole } from './instance.ts'
import { openPolicySource, type PolicySource, type PolicySourceOptions } from './source.ts'
import { activateAside } from './why/trial.ts'

type Said = {
  readonly allow: boolean
  /** Codes of reasons; of a failure its own. */
  readonly reasons: readonly string[]
  readonly grants: readonly string[]
  readonly obligations: readonly string[]
}
/** `otherwise`: the same word, for other reasons or with other obligations or scopes. */
export type ShadowResult =
  'same' | 'allow_to_deny' | 'deny_to_allow' | 'otherwise' | 'failed' | 'skipped'
export type Differed = {
  readonly exchange: string
  /** Of a call that is several. */
  readonly part: number | null
  readonly result: Exclude<ShadowResult, 'same' | 'failed' | 'skipped'>
  readonly serving: Said
  readonly shadow: Said
  readonly policy: { readonly revision: string; readonly digest: string }
}
export type ShadowTold = {
  readonly counted: (result: ShadowResult) => void
  readonly differed: (what: Differed) => void
}
export type Shadow = {
  /** The same engine, whose questions the shadow is asked too. */
  readonly beside: (serving: PolicyEngine, told: ShadowTold) => PolicyEngine
  /** Revision of the shadow; null: there is none yet, or never was a good one. */
  readonly revision: () => string | null
  /** Why the newest files are not it; null: they are, or are not read yet. */
  readonly problem: () => string | null
  readonly close: () => Promise<void>
}

/** Questions that wait for the shadow; what comes beyond is skipped. */
const MOST_WAITING = 256

const saidBy = (answer: PolicyDecision | PolicyFailure): Said =>
  'failed' in answer
    ? { allow: false, reasons: [answer.failed], grants: [], obligations: [] }
    : {
        allow: answer.allow,
        reasons: answer.reasons.map(({ code }) => code),
        grants: answer.grants,
        obligations: Object.keys(answer.obligations).toSorted(),
      }
/** Which rows cover a call, and how old its facts might have been, is no difference as long as the word is the same. */
const alike = (a: PolicyDecision | PolicyFailure, b: PolicyDecision | PolicyFailure): boolean => {
  const text = (one: PolicyDecision | PolicyFailure): string =>
    'failed' in one
      ? one.failed
      : JSON.stringify([
          one.reasons.map(({ code }) => code),
          one.required_scopes,
          Object.entries(one.obligations).toSorted(([x], [y]) => (x < y ? -1 : 1)),
        ])
  return text(a) === text(b)
}
const resultOf = (
  serving: PolicyDecision | PolicyFailure,
  shadow: PolicyDecision | PolicyFailure,
): ShadowResult => {
  if ('failed' in shadow) return 'failed'
  const allowed = !('failed' in serving) && serving.allow
  if (allowed !== shadow.allow) return allowed ? 'allow_to_deny' : 'deny_to_allow'
  return alike(serving, shadow) ? 'same' : 'otherwise'
}

/** Which call it was, of the text that both were asked. */
const callIn = (text: string): Pick<Differed, 'exchange' | 'part'> => {
  const { request_id: exchange, request } = JSON.parse(text) as Readonly<Record<string, unknown>>
  const part = isObject(request) && isObject(request['part']) ? request['part']['number'] : null
  return { exchange: String(exchange), part: typeof part === 'number' ? part : null }
}

/**
 * What the tables of the shadow want to know, and those of the policy in force do not: the time in its zones. What went
 * before is not counted for it, so it is asked as if nothing had; nothing of a call waits for a shadow.
 */
const createFilling = () => {
  let time = 0
  const now = createNow({ now: () => time })
  return (members: readonly InputMember[], serving: Asks, shadow: Asks): readonly InputMember[] => {
    const filled = members.map((member): InputMember => {
      const [name, text] = member
      if (name !== 'now' || shadow.zones.every((zone) => serving.zones.includes(zone)))
        return member
      time = (JSON.parse(text) as { readonly unix_s: number }).unix_s * 1_000
      return now(shadow.zones)
    })
    return serving.history === null && shadow.history !== null
      ? [...filled, ['history', '{"person":[],"run":[]}']]
      : filled
  }
}

/** The log says of a shadow what is true of a shadow. */
const logOf = (log: Log, bundle: string): Log => ({
  debug: log.debug,
  info: (fields) => log.info(fields, 'policy.shadow loaded'),
  warn: () => {},
  error: (fields) =>
    log.error({ ...fields, bundle }, 'policy.shadow is refused, and calls go on without it'),
})

/** Begins to load, and does not wait for it. */
export const openShadow = (
  options: Omit<PolicySourceOptions, 'onChange' | 'activate' | 'providers' | 'connections'>,
): Shadow => {
  const { log } = options
  let source: PolicySource | null = null
  let closed = false
  const opening = openPolicySource({
    ...options,
    providers: [],
    connections: [],
    log: logOf(log, options.bundle),
    activate: activateAside,
    onChange: () => {},
  }).then(
    async (opened) => {
      source = opened
      if (closed) await opened.close()
    },
    (error: unknown) => log.error({ err: error }, 'policy.shadow could not be opened'),
  )
  let waiting = 0
  const filling = createFilling()
  const ask = async (
    shadow: PolicyEngine,
    asked: () => string,
    serving: PolicyDecision | PolicyFailure,
    told: ShadowTold,
  ): Promise<void> => {
    waiting += 1
    try {
      const text = asked()
      const said = await shadow.evaluate(text)
      const result = resultOf(serving, said)
      told.counted(result)
      if (result !== 'same' && result !== 'failed' && result !== 'skipped')
        told.differed({
          ...callIn(text),
          result,
          serving: saidBy(serving),
          shadow: saidBy(said),
          policy: { revision: shadow.revision, digest: shadow.digest },
        })
    } catch (error) {
      told.counted('failed')
      log.error({ err: error }, 'policy.shadow could not be asked')
    } finally {
      waiting -= 1
    }
  }
  const offer = (
    input: string,
    repeated: readonly InputMember[],
    serving: PolicyDecision | PolicyFailure,
    { told, asks }: { readonly told: ShadowTold; readonly asks: Asks },
  ): void => {
    const shadow = source?.current() ?? null
    if (shadow === null || waiting >= MOST_WAITING) told.counted('skipped')
    else void ask(shadow, () => whole(input, filling(repeated, asks, shadow.asks)), serving, told)
  }
  const wrapped = new WeakMap<PolicyEngine, PolicyEngine>()
  const beside: Shadow['beside'] = (serving, told) => {
    const of = { told, asks: serving.asks }
    let engine = wrapped.get(serving)
    if (engine !== undefined) return engine
    engine = {
      ...serving,
      evaluate: (input, repeated = [], agent = '') => {
        const answer = serving.evaluate(input, repeated, agent)
        if (!(answer instanceof Promise)) {
          offer(input, repeated, answer, of)
          return answer
        }
        return answer.then((said) => {
          offer(input, repeated, said, of)
          return said
        })
      },
    }
    wrapped.set(serving, engine)
    return engine
  }
  return {
    beside,
    revision: () => source?.current()?.revision ?? null,
    problem: () => source?.problem() ?? null,
    close: async () => {
      closed = true
      await opening
      await source?.close()
    },
  }
}
