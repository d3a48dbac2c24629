// Quirks of whose token it is and where it may go: pinned hosts, changed accounts, and what revocation really did.
import {
  begin,
  calls,
  connects,
  each,
  refreshes,
  statusOf,
  untouched,
  type Quirk,
  type Stage,
} from './check.ts'
import type { Values } from './example.ts'
import type { Twist } from './session.ts'

const FOREIGN = (host: string): readonly string[] => [
  'https://evil.example',
  `http://${host}`,
  `https://${host}.evil.example`,
  `https://${host}@evil.example`,
  `https://${host}:8443`,
  'https://127.0.0.1',
  `https://evil.example/${host}`,
]
const pinned = ({ provider }: Stage): boolean => Boolean(provider.hostFromToken)
const HOSTS: readonly Quirk[] = [
  {
    id: 'host from the token: a foreign one is refused',
    applies: pinned,
    run: async (stage) => {
      const key = stage.provider.hostFromToken?.pointer.slice(1) ?? ''
      for (const value of [...FOREIGN(stage.example.host ?? ''), null, undefined]) {
        const attempt = begin(stage, () => ({ token: [{ members: { [key]: value } }] }))
        const end = await attempt.connect()
        if (end !== 'provider_error')
          return `host_from_token.suffixes let ${String(value)} through (${end})`
        const left = await untouched(attempt)
        if (left !== null) return left
      }
      return null
    },
  },
  {
    id: 'host from the token: another customer’s is a 404',
    applies: (stage) => pinned(stage) && stage.example.other_host !== undefined,
    run: async (stage) => {
      const attempt = begin(stage)
      return each(
        () => connects(attempt, stage),
        () => calls(attempt),
        async () => {
          const { status, seen } = await attempt.call(stage.example.other_host)
          return status === 404 && seen.length === 0
            ? null
            : `the token went to another host (${status})`
        },
      )
    },
  },
  {
    id: 'host from the token: a refresh that names another is not used',
    applies: (stage) => pinned(stage) && refreshes(stage) && stage.example.other_host !== undefined,
    run: async (stage) => {
      const key = stage.provider.hostFromToken?.pointer.slice(1) ?? ''
      const value = `https://${stage.example.other_host}`
      const attempt = begin(stage, () => ({ refresh: [{ members: { [key]: value } }] }))
      return each(
        () => connects(attempt, stage),
        async () => {
          const how = await attempt.refresh()
          return how === 'reauthorization_required'
            ? null
            : `a refresh for another host ended as ${how}`
        },
      )
    },
  },
]

const asks = ({ provider }: Stage): boolean => provider.account !== null
const ACCOUNTS: readonly Quirk[] = [
  {
    id: 'account: another one at the next consent is refused',
    applies: asks,
    run: async (stage) => {
      const attempt = begin(stage)
      return each(
        () => connects(attempt, stage),
        async () => {
          attempt.session.account = 2
          const end = await attempt.connect()
          return end === 'account_mismatch'
            ? null
            : `account.id should tell two accounts apart: the second consent ended as ${end}`
        },
        async () => {
          const holding = await attempt.held()
          return holding.kind === 'held' && holding.generation === 1
            ? null
            : 'the first account’s token was replaced'
        },
      )
    },
  },
  ...[401, 500].map((status) => ({
    id: `account: the provider answers ${status} when asked whose token it is`,
    applies: ({ provider }: Stage) =>
      provider.account !== null && provider.account.from !== 'token',
    run: async (stage: Stage) => {
      const attempt = begin(stage, () => ({
        userinfo: { always: { status } },
        introspect: { always: { status } },
      }))
      const end = await attempt.connect()
      return end === 'provider_error' ? untouched(attempt) : `the consent ended as ${end}`
    },
  })),
]

const revoked = (
  id: string,
  twist: Twist | null,
  wanted: readonly string[],
  applies: Quirk['applies'] = () => true,
): Quirk => ({
  id: `revocation: ${id}`,
  applies,
  run: async (stage) => {
    const attempt = begin(stage, () => (twist === null ? {} : { revoke: { always: twist } }))
    return each(
      () => connects(attempt, stage),
      async () => {
        if (id === 'gone already') attempt.session.alive = false
        const { access } = attempt.session
        const told = await attempt.revoke()
        if (!wanted.includes(told))
          return `revoke should say how: the result is ${told}, and ${wanted.join(' or ')} would be true`
        const lives = access.size > 0 || attempt.session.refresh !== null
        return told === 'revoked' && lives && twist === null
          ? 'revoke leaves a token that works, and says revoked'
          : null
      },
      async () => ((await statusOf(attempt)) === 'none' ? null : 'the credential is still here'),
    )
  },
})
const revocable = ({ provider }: Stage): boolean => provider.revoke !== null
const REVOCATIONS: readonly Quirk[] = [
  revoked('as documented', null, ['revoked', 'access_outlives'], revocable),
  revoked('status 204', { status: 204 }, ['revoked', 'access_outlives'], revocable),
  revoked(
    'gone already',
    null,
    ['already_dead'],
    (stage) => revocable(stage) && stage.example.revoke !== undefined,
  ),
  revoked('503', { status: 503 }, ['failed'], revocable),
  revoked('the answer is lost', { lose: true }, ['failed'], revocable),
  revoked(
    'a redirect',
    { status: 302, headers: { location: '/elsewhere' } },
    ['failed'],
    revocable,
  ),
  revoked('there is none', null, ['not_supported'], (stage) => !revocable(stage)),
  {
    id: 'revocation: the provider has one',
    applies: (stage) => stage.example.revoke !== undefined,
    run: async ({ provider }) =>
      provider.revoke === null ? 'revoke should name the endpoint' : null,
  },
]

const METADATA: readonly (readonly [string, Values, string | null])[] = [
  ['is laid under the definition', {}, null],
  ['of another issuer', { issuer: 'https://evil.example' }, null],
  ['with an endpoint in plain http', { token_endpoint: 'http://evil.example/token' }, 'token'],
  ['without PKCE', { code_challenge_methods_supported: ['plain'] }, 'pkce'],
]
/** What an issuer says of itself: what does not fit makes no endpoint of it known. */
const ISSUERS = METADATA.map(([what, members, key]): Quirk => {
  const bad = Object.keys(members).length > 0
  return {
    id: `metadata ${what}`,
    applies: ({ written }) =>
      Boolean(written.discover) && (key === null || written.discover?.left.includes(key) === true),
    run: async ({ world, written, example }) => {
      const { discover, token } = await world.discovered(written, example, members)
      if (!bad) return discover?.problem ?? (token === null ? 'token is not known' : null)
      return discover?.problem ? null : 'it was believed'
    },
  }
})

export const PLACES: readonly Quirk[] = [...ISSUERS, ...HOSTS, ...ACCOUNTS, ...REVOCATIONS]
