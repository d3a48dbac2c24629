// What a quirk is, and the steps that most of them share. A step returns null, or what the definition should say.
import type { Provider } from '../model.ts'
import { pointerTo, type Example } from './example.ts'
import type { Script, Twist } from './session.ts'
import type { Attempt, World } from './world.ts'

export type Stage = {
  readonly world: World
  readonly provider: Provider
  /** As the definition writes it: `provider` has what its issuer said besides. */
  readonly written: Provider
  readonly example: Example
}
export type Quirk = {
  readonly id: string
  readonly applies?: (stage: Stage) => boolean
  /** null: fine; else what is wrong, said as what the definition should say where that would help. */
  readonly run: (stage: Stage) => Promise<string | null>
}

export const holds = (template: unknown, name: string): boolean =>
  JSON.stringify(template ?? null).includes(`{${name}`)
export const refreshes = ({ provider, example }: Stage): boolean =>
  provider.refresh !== null && holds(example.token, 'refresh_token')
/** Answers of another kind of token are told apart by it, so it cannot be odd. */
export const readsType = ({ provider }: Stage): boolean =>
  Object.keys({ ...provider.answer.onlyIf, ...provider.refresh?.answer.onlyIf }).length > 0

/** An attempt whose script may know its own session. */
export const begin = (
  { world, provider, example }: Stage,
  script: (attempt: Attempt) => Script = () => ({}),
): Attempt => {
  const attempt = world.attempt(provider, example, {})
  attempt.session.script = script(attempt)
  return attempt
}

const scopeAdvice = ({ session, scopes }: Attempt, { provider, example }: Stage): string => {
  const { granted } = session
  if (!scopes.every((scope) => granted.includes(scope)))
    return provider.scopeParam === example.scope_param
      ? `scope.separator should be ${JSON.stringify(example.scope_separator)}: the provider understood ${JSON.stringify(granted)}`
      : `scope.param should be ${example.scope_param}`
  const written = granted.map((scope) => `${example.scope_prefix}${scope}`)
  const where =
    pointerTo(session.answer, written.join(example.answer_separator)) ??
    pointerTo(session.answer, written)
  if (where !== null && !provider.answer.scope.includes(where))
    return `answer.scope should list ${where}`
  if (example.scope_prefix !== '' && provider.answer.scopePrefix !== example.scope_prefix)
    return `answer.scope_prefix should be ${example.scope_prefix}`
  return `answer.scope_separator should be ${JSON.stringify(example.answer_separator)}`
}

/** Why a consent did not end as it should, as far as it can be told from outside. */
const advice = (attempt: Attempt, stage: Stage, end: string): string => {
  const { session } = attempt
  const { provider } = stage
  const [complaint] = session.complaints
  if (complaint !== undefined) return complaint
  if (session.answer === null) return `the consent ended as ${end}, and no token was given`
  const token = pointerTo(session.answer, [...session.access].at(-1) ?? null)
  if (token !== null && !provider.answer.accessToken.includes(token))
    return `answer.access_token should list ${token}; if your provider answers otherwise than RFC 6749 says, write its answer under example.token`
  if (end === 'partial') return scopeAdvice(attempt, stage)
  if (provider.account !== null)
    return `account.id leads nowhere in what ${provider.account.from} answers: ${JSON.stringify(provider.account.id)}`
  return `the consent ended as ${end}`
}

export const connects = async (attempt: Attempt, stage: Stage): Promise<string | null> => {
  const end = await attempt.connect()
  if (end !== 'completed') return advice(attempt, stage, end)
  const { granted } = attempt.session
  // Read back by the same wrong rule, scopes may look right here and be none there.
  const understood = attempt.scopes.every((scope) => granted.includes(scope))
  return understood ? null : scopeAdvice(attempt, stage)
}

/** The newest token of the right kind goes out, once, and nothing else does. */
export const calls = async (attempt: Attempt): Promise<string | null> => {
  const { status, seen } = await attempt.call()
  const { session } = attempt
  const [first] = seen
  if (first === undefined) return `a call ended with ${status} before it reached the provider`
  if (JSON.stringify(seen.map(({ headers }) => headers)).includes('forged'))
    return 'the forged credential of the agent reached the provider'
  if (status === 200) return null
  return first.token?.startsWith('xt-') === true
    ? 'answer.access_token leads to the token of another slot'
    : (session.complaints[0] ??
        `a call with the stored token ended with ${status}: present should say how the token is sent`)
}

export const refreshed = async (attempt: Attempt, stage: Stage): Promise<string | null> => {
  const { session } = attempt
  const before = session.answer
  const given =
    before === null || session.refresh === null ? null : pointerTo(before, session.refresh)
  const how = await attempt.refresh()
  if (how === 'refreshed') return null
  const { refreshToken } = stage.provider.answer
  if (session.answer === before && given !== null && !refreshToken.includes(given))
    return `answer.refresh_token should list ${given}`
  const [complaint] = session.complaints
  if (complaint !== undefined) return complaint
  const token =
    session.answer === before ? null : pointerTo(session.answer, [...session.access].at(-1) ?? null)
  const rules = stage.provider.refresh?.answer ?? stage.provider.answer
  return token !== null && !rules.accessToken.includes(token)
    ? `refresh.answer.access_token should list ${token}`
    : `a refresh ended as ${how}`
}

/** Runs steps until one of them has something to say. */
export const each = async (
  ...steps: readonly (() => Promise<string | null> | string | null)[]
): Promise<string | null> => {
  for (const step of steps) {
    const said = await step()
    if (said !== null) return said
  }
  return null
}

/** Consent, call, refresh, call: with the same twist in both token answers it must all work. */
export const works =
  (
    twist: (attempt: Attempt, stage: Stage) => Twist,
    more: (attempt: Attempt) => Promise<string | null>,
  ) =>
  async (stage: Stage): Promise<string | null> => {
    const attempt = begin(stage, (one) => ({
      token: [twist(one, stage)],
      refresh: [twist(one, stage)],
    }))
    return each(
      () => connects(attempt, stage),
      () => calls(attempt),
      () => more(attempt),
      async () =>
        refreshes(stage)
          ? each(
              () => refreshed(attempt, stage),
              () => calls(attempt),
              () => more(attempt),
            )
          : null,
    )
  }

export const untouched = async (attempt: Attempt): Promise<string | null> => {
  if (attempt.session.seen.some(({ endpoint }) => endpoint === 'other'))
    return 'a redirect of the token endpoint was followed'
  return (await attempt.held()).kind === 'none' ? null : 'something was stored'
}
export const statusOf = async (attempt: Attempt): Promise<string> => {
  const holding = await attempt.held()
  return holding.kind === 'held' ? holding.status : 'none'
}
export const count = (attempt: Attempt, endpoint: 'refresh' | 'token'): number =>
  attempt.session.seen.filter((one) => one.endpoint === endpoint).length
