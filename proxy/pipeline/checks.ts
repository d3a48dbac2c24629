// What do authorization services say of this very call? Asked after it came, and only where the answer can matter.
import type { Ask, Check } from '../directory/checks.ts'
import { keyOf } from '../directory/source.ts'
import type { Clock, Decision, PolicyEngine } from '../model.ts'
import { Problem } from '../problem.ts'
import { concerns } from '../wire/pattern.ts'
import { Unaskable, type ValueOf } from '../wire/template.ts'
import type { Decide, Question } from './decide.ts'

type Parameters = ReadonlyMap<string, string | undefined>
/** Parameters of the operation's path, by their names. */
const parametersOf = ({ operation, segments }: Question['act']): Parameters => {
  const path = 'path' in operation && typeof operation.path === 'string' ? operation.path : ''
  const parts = path.split('/').slice(1)
  const found = new Map<string, string>()
  let i = 0
  for (const [n, part] of parts.entries()) {
    const [, name, rest, verb = ''] = /^\{([A-Za-z_]\w*)(\+?)\}(:\w*)?$/.exec(part) ?? []
    const from = i++
    if (name === undefined) continue
    // `{x+}:` ends behind the first colon, a last `{x+}` with the path.
    if (rest === '+' && verb === ':')
      i = segments.findIndex((one, at) => at >= from && one.endsWith(':')) + 1
    else if (rest === '+' && n === parts.length - 1) i = segments.length
    const said = segments.slice(from, i).join('/')
    if (said !== '') found.set(name, said.slice(0, said.length - verb.length))
  }
  return found
}

/** What a template may name of this call. @throws Unaskable for a member of the body that is no single value */
const valuesOf = ({ principal, route, act, body }: Question): ValueOf => {
  const { person, agent } = principal
  const own = new Map([
    ['id', person.id],
    ['tenant', person.tenant],
    ['realm', person.realm],
    ['agent', agent],
    ['connection', route.connection.name],
    ['operation', act.operation.id],
    ['access', act.operation.access],
  ])
  let parameters: Parameters | null = null
  return (name) => {
    if (name.startsWith('path.'))
      return (parameters ??= parametersOf(act)).get(name.slice('path.'.length))
    if (!name.startsWith('body/')) return own.get(name)
    const pointer = name.slice('body'.length)
    const said = body?.json[pointer]
    if (said === undefined || said === null) return undefined
    if (typeof said === 'object') throw new Unaskable(`{${name}} is a list or an object`)
    return String(said)
  }
}

/** With each there are twice as many cases; of more only the two ends are tried. */
const MOST_TRIED = 3
/** Ways in which they may be answered, all yes first. */
const cases = (names: readonly string[]): readonly Readonly<Record<string, boolean>>[] => {
  const all = 2 ** names.length
  const tried = names.length > MOST_TRIED ? [0, all - 1] : Array.from({ length: all }, (_, i) => i)
  return tried.map((bits) =>
    Object.fromEntries(names.map((name, i) => [name, Math.floor(bits / 2 ** i) % 2 === 0])),
  )
}
/** Not refused; and what only wants fresher facts is not refused yet. */
const open = ({ effect, reasons }: Decision): boolean =>
  effect === 'deny'
    ? reasons.every(({ code }) => code === 'entitlements_stale')
    : effect !== 'error'

/** A check whose question has everything, or that this call would change. */
type Due = { readonly name: string; readonly ask: Ask | Unaskable }
const dueOf = (concerned: readonly Check[], question: Question): readonly Due[] => {
  const valueOf = valuesOf(question)
  const whose = keyOf(question.principal.person)
  return concerned.flatMap(({ name, about }): readonly Due[] => {
    try {
      const ask = about(valueOf, whose)
      return ask === null ? [] : [{ name, ask }]
    } catch (error) {
      if (error instanceof Unaskable) return [{ name, ask: error }]
      throw error
    }
  })
}
const unanswered = (cause: unknown): never => {
  throw new Problem(
    'entitlements_unavailable',
    'the authorization service could not be asked about this call',
    { cause },
  )
}

export const createChecks = (
  decide: Decide,
  checks: readonly Check[],
  clock: Pick<Clock, 'mono'>,
): {
  /** Decides a call by what the services say of it. Rejects with Problem entitlements_unavailable, request_invalid. */
  readonly asking: Decide
  /** Decides a call that is none yet: what would be the answer in the best case? Nobody is asked. */
  readonly supposing: Decide
} => {
  const concerned = ({ act }: Question): readonly Check[] =>
    act.kind === 'deputy'
      ? []
      : checks.filter(({ operations }) =>
          operations.some((named) => concerns(named, act.operation.id)),
        )
  /** The first case in which it is not refused; null: it is refused whatever they say. */
  const best = async (
    engine: PolicyEngine | null,
    question: Question,
    names: readonly string[],
  ): Promise<Decision | null> => {
    for (const supposed of cases(names)) {
      const decision = await decide(engine, { ...question, checks: supposed })
      if (open(decision)) return decision
    }
    return null
  }

  const askAll = async (engine: PolicyEngine | null, question: Question): Promise<Decision> => {
    const due = dueOf(concerned(question), question)
    const names = due.map(({ name }) => name)
    if (names.length === 0) return decide(engine, question)
    if (names.length <= MOST_TRIED) {
      const possible = await best(engine, question, names)
      // A call that no answer could help is nobody's business there.
      if (possible === null) return decide(engine, question)
      if (possible.effect === 'deny') return possible
    }
    for (const { ask } of due)
      if (ask instanceof Unaskable)
        throw new Problem('request_invalid', ask.message, { cause: ask })
    const began = clock.mono()
    const said = await Promise.all(
      due.map(
        async ({ name, ask }) => [name, !(ask instanceof Unaskable) && (await ask())] as const,
      ),
    ).catch(unanswered)
    const answers = Object.fromEntries(said)
    const ms = clock.mono() - began
    const decision = await decide(engine, { ...question, checks: answers })
    return { ...decision, checks: { answers, ms } }
  }
  return checks.length === 0
    ? { asking: decide, supposing: decide }
    : {
        asking: (engine, question) =>
          concerned(question).length === 0 ? decide(engine, question) : askAll(engine, question),
        supposing: (engine, question) => {
          const names = concerned(question).map(({ name }) => name)
          return names.length === 0
            ? decide(engine, question)
            : best(engine, question, names).then((found) => found ?? decide(engine, question))
        },
      }
}
