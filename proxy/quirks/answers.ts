// Odd answers that must work all the same: content types, codings, lifetimes, scopes, refresh tokens, token types.
import {
  begin,
  calls,
  connects,
  each,
  holds,
  readsType,
  refreshed,
  refreshes,
  works,
  type Quirk,
  type Stage,
} from './check.ts'
import type { Example } from './example.ts'
import type { Twist } from './session.ts'
import type { Attempt } from './world.ts'

const fine = (): Promise<null> => Promise.resolve(null)
const always = (id: string, twist: Twist, applies?: Quirk['applies']): Quirk => ({
  id,
  run: works(() => twist, fine),
  ...(applies === undefined ? {} : { applies }),
})

const flat = ({ example }: Stage): boolean =>
  [example.token, example.refresh ?? {}].every((template) =>
    Object.values(template).every((value) => typeof value !== 'object' && value !== '{scopes}'),
  )

/** A life that the answer told must be kept, within a few seconds; one that it did not must not end the token now. */
const lifeOf =
  (told: boolean, example: Example) =>
  async (attempt: Attempt): Promise<string | null> => {
    const life = await attempt.life()
    if (told && (life === null || Math.abs(life - example.expires_in) > 60))
      return `the token should live ${example.expires_in} s and is taken to live ${life ?? 'for ever'}: answer.expires_in should lead to it`
    return life !== null && life <= 0 ? 'a token that was just given counts as expired' : null
  }
const lives = (
  id: string,
  told: boolean,
  value: (seconds: number, now: number) => string | number | null | undefined,
): Quirk => ({
  id,
  applies: ({ example }) => holds(example.token, 'expires_in'),
  run: (stage) => {
    const { example } = stage
    const twist = (): Twist => {
      const made = value(example.expires_in, stage.world.now())
      return { values: { expires_in: made, expires_in_text: made } }
    }
    return works(twist, lifeOf(told, example))(stage)
  },
})

const scoped = ({ provider, example }: Stage): boolean =>
  provider.scopeParam !== null &&
  (holds(example.token, 'scope') || holds(example.introspect, 'scope'))
const named = (stage: Stage, scopes: readonly string[]): string[] =>
  [...(stage.provider.scopeAlways ?? []), ...scopes].map(
    (scope) => `${stage.example.scope_prefix}${scope}`,
  )
const allHeld = async (attempt: Attempt): Promise<string | null> => {
  const holding = await attempt.held()
  const missing =
    holding.kind === 'held' ? attempt.scopes.filter((scope) => !holding.scopes.includes(scope)) : []
  return missing.length === 0
    ? null
    : `granted scopes were not understood: ${missing.join(', ')} missing`
}

/** The refresh token of a refresh: what it must be afterwards, a second refresh shows. */
const second = (id: string, value: (attempt: Attempt) => Twist): Quirk => ({
  id,
  applies: refreshes,
  run: async (stage) => {
    const attempt = begin(stage, (one) => ({ refresh: [value(one)] }))
    return each(
      () => connects(attempt, stage),
      () => refreshed(attempt, stage),
      () => calls(attempt),
      () => refreshed(attempt, stage),
    )
  },
})
const without = (value: null | '' | undefined): Twist => ({ values: { refresh_token: value } })

export const ANSWERS: readonly Quirk[] = [
  always('token answer: form-encoded', { as: 'form' }, flat),
  always('token answer: JSON called text/html', { as: 'html' }),
  always('token answer: status 201', { status: 201 }),
  always('token answer: gzip', { as: 'gzip' }),
  {
    id: 'token answer: a token of 8 KB',
    run: works(
      ({ session }) => ({ values: { access_token: `at-${session.id}-${'x'.repeat(8_000)}` } }),
      fine,
    ),
  },
  lives('expires_in: a text', true, (seconds) => String(seconds)),
  lives('expires_in: a number', true, (seconds) => seconds),
  lives(
    'expires_in: seconds since the epoch',
    true,
    (seconds, now) => Math.floor(now / 1000) + seconds,
  ),
  lives('expires_in: a date', true, (seconds, now) => new Date(now + seconds * 1000).toISOString()),
  lives('expires_in: 0', false, () => 0),
  lives('expires_in: null', false, () => null),
  lives('expires_in: negative', false, () => -1),
  lives('expires_in: absent', false, () => undefined),
  ...['bot', 'BEARER', '', undefined].map((type) => ({
    ...always(`token_type: ${JSON.stringify(type) ?? 'absent'}`, { members: { token_type: type } }),
    applies: (stage: Stage) => !readsType(stage),
  })),
  {
    id: 'scopes: a list',
    applies: scoped,
    run: (stage) =>
      works(
        ({ scopes }) => ({ values: { scope: named(stage, scopes), scopes: named(stage, scopes) } }),
        allHeld,
      )(stage),
  },
  {
    id: 'scopes: absent, which means as asked',
    applies: scoped,
    run: works(() => ({ values: { scope: undefined, scopes: undefined } }), allHeld),
  },
  {
    id: 'scopes: fewer than asked',
    applies: scoped,
    run: async (stage) => {
      const less = (attempt: Attempt): Twist => {
        const some = named(stage, attempt.scopes.slice(0, -1))
        return { values: { scopes: some, scope: some.join(stage.example.answer_separator) } }
      }
      const attempt = begin(stage, (one) => ({ token: [less(one)], introspect: [less(one)] }))
      const end = await attempt.connect()
      const holding = await attempt.held()
      const last = attempt.scopes.at(-1) ?? ''
      if (end === 'partial' && holding.kind === 'held' && !holding.scopes.includes(last))
        return null
      return `a consent to fewer scopes ended as ${end}: answer.scope and scope_separator should say what was granted`
    },
  },
  second('refresh_token of a refresh: absent', () => without(undefined)),
  second('refresh_token of a refresh: null', () => without(null)),
  second('refresh_token of a refresh: empty', () => without('')),
  second('refresh_token of a refresh: the same', ({ session }) => ({
    values: { refresh_token: `rt-${session.id}-1` },
  })),
  {
    id: 'refresh_token of a refresh: a new one',
    applies: refreshes,
    run: (stage) => {
      const { refresh, ...rest } = stage.example
      const template = holds(refresh, 'refresh_token') ? { refresh } : {}
      const example = { ...rest, ...template, rotates: true, reuse: 'dead' as const }
      return second('', () => ({})).run({ ...stage, example })
    },
  },
  ...([null, '', undefined] as const).map((value) => ({
    id: `refresh_token of the consent: ${JSON.stringify(value) ?? 'absent'}`,
    applies: refreshes,
    run: async (stage: Stage) => {
      const attempt = begin(stage, () => ({ token: [without(value)] }))
      return each(
        () => connects(attempt, stage),
        () => calls(attempt),
      )
    },
  })),
]
