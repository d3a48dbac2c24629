// Services of the team's own that judge calls which policy allowed: before they leave, or with their answers. They can only
// take away: refuse, or redact. What they do not say in time refuses.
import { bodiesIn, partsOf, type Redacted } from '../../envelope/redacted.ts'
import type { Hook, HookAnswer } from '../../directory/hook.ts'
import { keyOf } from '../../directory/source.ts'
import type { Clock, Decision, PolicyEngine } from '../../model.ts'
import type { Guard } from '../../net/guarded.ts'
import { whole } from '../../policy/instance.ts'
import { Problem } from '../../problem.ts'
import { atPointer, EXACT, exactly, readStrict } from '../../wire/json.ts'
import { redactJson } from '../../wire/rewrite.ts'
import { questionsOf, type Decide, type Question } from '../decide.ts'
import { refuse, type Obliged, type Redaction } from '../obligations.ts'
import { ofShare } from '../request.ts'
import { concerns } from '../../wire/pattern.ts'

/** What one hook said of a call, or of a part of it, for the evidence. */
export type HookSaid = {
  readonly hook: string
  readonly when: Hook['when']
  readonly said: 'allow' | 'refused' | 'unavailable'
  readonly codes: readonly string[]
  readonly ms: number
  readonly part?: number
}
/** A call that policy allowed, with its parts. */
type Hooked = {
  readonly each: readonly (readonly [Obliged, Decision])[]
  readonly question: Question
  /** Learns what each hook says. */
  readonly said: HookSaid[]
}
export type Hooks = {
  /** What is to be taken out of the request. Rejects with policy_denied, hook_unavailable, obligation_refused. */
  readonly before: (of: Hooked) => Promise<readonly Redaction[]>
  /** What judges the answer; undefined: no hook does. */
  readonly after: (of: Hooked) => Guard['judge']
}

/** Questions of one call at once. */
const AT_ONCE = 8
/** Levels of an answer that a hook is shown. */
const DEEPEST = 200

const NO_ZONES: readonly string[] = []
/**
 * What policy sees of a call, as JSON: asked for as policy would be, of one that only listens.
 * @param zones whose local times it tells
 */
export const documentOf = async (
  decide: Decide,
  question: Question,
  zones: readonly string[] = NO_ZONES,
): Promise<string> => {
  let heard = '{}'
  const listening: PolicyEngine = {
    revision: '',
    digest: '',
    asks: { zones, history: null },
    evaluate: (input, repeated = []) => {
      heard = whole(input, repeated)
      return { failed: 'policy_undefined', detail: '' }
    },
    close: () => Promise.resolve(),
  }
  await decide(listening, question)
  return heard
}

/**
 * @param deps.decide that of policy, without what authorization services say
 * @param deps.redact checks whether something can be taken out of such a request; throws the Problem of one where not
 */
export const createHooks = (deps: {
  readonly hooks: readonly Hook[]
  readonly decide: Decide
  readonly redact: (about: Obliged, name: string, pointers: readonly string[]) => Redaction
  readonly clock: Pick<Clock, 'mono'>
  readonly seen: (hook: string, when: string, said: string, seconds: number) => void
}): Hooks => {
  const { clock } = deps
  const of = (when: Hook['when']): readonly Hook[] => deps.hooks.filter((one) => one.when === when)
  const [before, after] = [of('before'), of('after')]

  /** One question to one hook, and a record of what it said. */
  const ask = async (hook: Hook, body: string, { who, part }: Obliged, said: HookSaid[]) => {
    const { name, when } = hook
    const began = clock.mono()
    const note = (how: HookSaid['said'], codes: readonly string[]): void => {
      const ms = Math.round((clock.mono() - began) * 10) / 10
      said.push({ hook: name, when, said: how, codes, ms, ...(part === null ? {} : { part }) })
      deps.seen(name, when, how, ms / 1_000)
    }
    let answer: HookAnswer
    try {
      answer = await hook.ask(body, ofShare(who), keyOf(who.person))
    } catch (cause) {
      note('unavailable', [])
      const what = `the hook ${name} could not be asked, or did not answer as a hook does`
      throw new Problem('hook_unavailable', what, { cause, extra: { hook: name } })
    }
    const reasons = answer.reasons.map(({ code, msg }) => ({ code: `hook_${code}`, msg }))
    note(
      answer.allow ? 'allow' : 'refused',
      reasons.map(({ code }) => code),
    )
    if (answer.allow) return answer
    const told = reasons.map(({ code, msg }) => (msg === '' ? code : `${msg} (${code})`)).join('; ')
    const what = when === 'before' ? 'this call' : 'the answer of this call, which was carried out,'
    throw new Problem(
      'policy_denied',
      `The hook ${name} does not allow ${what}${part === null ? '' : ` in part ${part}`}: ${told || 'it gives no reason'}.`,
      {
        extra: {
          reasons: reasons.length === 0 ? ['hook_refused'] : reasons.map(({ code }) => code),
          hook: name,
          ...(part === null ? {} : { part }),
        },
      },
    )
  }
  const concerned = (hook: Hook, { act }: Obliged): boolean =>
    hook.operations.some((named) => concerns(named, act.operation.id))
  /** What policy saw of the call, or of each of its parts. */
  const inputsOf = ({ question, each: [first] }: Hooked) => {
    const { parts = [] } = first?.[0].within ?? {}
    const all = questionsOf(question, parts)
    return ({ act, part }: Obliged, { checks }: Decision): Promise<string> =>
      documentOf(deps.decide, {
        ...(all[(part ?? 0) - 1] ?? question),
        act,
        ...(checks === undefined ? {} : { checks: checks.answers }),
      })
  }
  const head = ({ name, when }: Hook, { exchange, part }: Obliged): string =>
    `{"version":1,"hook":${JSON.stringify(name)},"when":"${when}","exchange":"${exchange}","part":${part ?? 'null'}`

  const answered = (input: string, status: number, text: string | null): string =>
    `,"input":${input},"answer":{"status":${status},"body":${text ?? 'null'}}}`

  /** Where the answers to the parts stand; null: it is one answer. */
  const placesIn = (value: unknown, status: number, { each: [first] }: Hooked) => {
    const within = first?.[0].within
    const { bytes = null } = first?.[0].whole ?? {}
    if (within?.envelope === undefined || bytes === null || status >= 300) return null
    const parts = partsOf(within.envelope.format, JSON.parse(bytes.toString('utf8')))
    return parts === null ? null : bodiesIn(value, parts)
  }
  const judgeOf =
    (hooks: readonly Hook[], of: Hooked): NonNullable<Guard['judge']> =>
    async ({ status, text: came }) => {
      let text = came?.replace(/^\ufeff/, '') ?? null
      let count = 0
      const inputOf = inputsOf(of)
      for (const hook of hooks) {
        const value = text === null ? null : readOnce(text)
        const places = placesIn(value, status, of)
        const whole = places === null ? null : exactValue(text)
        const pointers: string[] = []
        for (const [about, decision] of of.each.filter(([one]) => concerned(hook, one))) {
          const place = places === null || about.part === null ? '' : places[about.part - 1]
          const body =
            place === '' ? text : place == null ? null : JSON.stringify(atPointer(whole, place))
          const input = await inputOf(about, decision)
          const said = await ask(
            hook,
            head(hook, about) + answered(input, status, body),
            about,
            of.said,
          )
          pointers.push(...said.redact.map((pointer) => `${place ?? ''}${pointer}`))
        }
        if (text === null || pointers.length === 0) continue
        const done: Redacted = redactJson(text, pointers, EXACT)
        text = done.text
        count += done.count
      }
      return { text: text ?? '', count }
    }

  return {
    before: async (of) => {
      const redactions: Redaction[] = []
      const inputOf = inputsOf(of)
      for (const hook of before) {
        const due = of.each.filter(([about]) => concerned(hook, about))
        for (let at = 0; at < due.length; at += AT_ONCE) {
          const some = due.slice(at, at + AT_ONCE).map(async ([about, decision]) => {
            const input = await inputOf(about, decision)
            const { redact } = await ask(
              hook,
              `${head(hook, about)},"input":${input}}`,
              about,
              of.said,
            )
            if (redact.length > 0) redactions.push(deps.redact(about, hook.name, redact))
          })
          const failed = (await Promise.allSettled(some)).find(
            ({ status }) => status === 'rejected',
          )
          if (failed?.status === 'rejected') throw failed.reason
        }
      }
      return redactions
    },
    after: (of) => {
      const hooks = after.filter((hook) => of.each.some(([about]) => concerned(hook, about)))
      const format = of.each[0]?.[0].within.envelope?.format
      if (hooks.length > 0 && format !== undefined && partsOf(format, EMPTY) === null)
        refuse(
          hooks[0]?.name ?? '',
          'a hook must see the answer to each call of this batch, and these cannot be told apart: send the calls alone',
        )
      return hooks.length === 0 ? undefined : judgeOf(hooks, of)
    },
  }
}

/** A batch of any format, without calls. */
const EMPTY = { requests: [], compositeRequest: [], batchRequests: [] }

const unreadable = (): never => {
  throw new Problem(
    'answer_not_redactable',
    'the answer is not JSON with one reading, as a hook must see it',
  )
}
const readOnce = (text: string): unknown => {
  try {
    return readStrict(text, null, DEEPEST).value
  } catch {
    return unreadable()
  }
}
/** The same with each number as it was written. */
const exactValue = (text: string | null): unknown => JSON.parse(text ?? 'null', exactly)
