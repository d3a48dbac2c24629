// Answers that are no tokens. A grant dies only when the provider says so; nothing is followed, stored or repeated for ever.
import {
  begin,
  connects,
  count,
  each,
  readsType,
  refreshes,
  statusOf,
  untouched,
  type Quirk,
  type Stage,
} from './check.ts'
import type { Twist } from './session.ts'
import type { Attempt } from './world.ts'

type Make = (attempt: Attempt, stage: Stage) => Twist
const HTML = '<!doctype html><title>Bad gateway</title><p>rt-leak</p>'
const html = (status: number): Twist => ({
  status,
  body: HTML,
  headers: { 'content-type': 'text/html' },
})
const problem = (status: number, error: string, headers: Record<string, string> = {}): Twist => ({
  status,
  headers,
  body: JSON.stringify({ error }),
})
const elsewhere =
  (status: number): Make =>
  ({ session }) => ({ status, headers: { location: `/${session.id}/elsewhere` } })

/** What any server may answer instead of a token, and what that says about the grant: nothing. */
const HARMLESS: readonly (readonly [string, Make])[] = [
  ['redirect (302)', elsewhere(302)],
  ['redirect (307)', elsewhere(307)],
  ['500 without a word', () => problem(500, '')],
  ['500 that says invalid_grant', () => problem(500, 'invalid_grant')],
  ['502 from a gateway, HTML', () => html(502)],
  ['403 from a gateway, HTML', () => html(403)],
  ['404, HTML', () => html(404)],
  ['503 with Retry-After in seconds', () => problem(503, '', { 'retry-after': '120' })],
  ['429 with Retry-After in seconds', () => problem(429, 'rate_limited', { 'retry-after': '120' })],
  [
    '429 with Retry-After as a date',
    (_, { world }) =>
      problem(429, 'rate_limited', {
        'retry-after': new Date(world.now() + 120_000).toUTCString(),
      }),
  ],
  ['an answer of 4 MB', () => ({ size: 'large' })],
  ['an answer without end', () => ({ size: 'endless' })],
  ['an answer that grows a thousand times when it is unpacked', () => ({ size: 'bomb' })],
  ['an answer that comes a byte at a time', () => ({ size: 'drip' })],
  ['200 without a token', () => ({ body: '{"hello":"world"}' })],
  ['200, HTML', () => html(200)],
  ['JSON with the token twice', () => ({ body: '{"access_token":"a","access_token":"b"}' })],
]

const atConsent = ([name, make]: readonly [string, Make]): Quirk => ({
  id: `consent: ${name}`,
  run: async (stage) => {
    const attempt = begin(stage, (one) => ({ token: { always: make(one, stage) } }))
    const end = await attempt.connect()
    return end === 'provider_error' ? untouched(attempt) : `the consent ended as ${end}`
  },
})

const followed = ({ session }: Attempt): string | null =>
  session.seen.some(({ endpoint }) => endpoint === 'other') ? 'a redirect was followed' : null

/** The failure comes once; the credential stays, and after a while the next refresh works. */
const survives = (id: string, make: Make): Quirk => ({
  id,
  applies: refreshes,
  run: async (stage) => {
    const attempt = begin(stage, (one) => ({ refresh: [make(one, stage)] }))
    const { size, body } = make(attempt, stage)
    // A whole answer that nobody could read may have spent the refresh token: sent again, it may end everything.
    const unread =
      size === 'large' || size === 'bomb' || size === 'endless' || body?.startsWith('{')
    const { lostResponse } = stage.provider
    const single = lostResponse !== 'yes' && lostResponse !== 'partly'
    // The scripted provider rotates into the long ones.
    const rotated = size === 'large' && stage.example.rotates && stage.example.reuse !== 'works'
    const ended = (how: string): boolean =>
      ((unread === true && single) || rotated) && how === 'reauthorization_required'
    return each(
      () => connects(attempt, stage),
      async () => {
        const how = await attempt.refresh()
        if (ended(how))
          return count(attempt, 'refresh') === 1 ? null : 'a refresh token was sent again'
        if (how !== 'credential_unavailable' && how !== 'refreshed')
          return `a refresh ended as ${how}`
        return (await statusOf(attempt)) === 'active'
          ? null
          : 'the grant was given up, though nobody ended it'
      },
      () => followed(attempt),
      async () => {
        stage.world.later(3_700_000) // past every cool-down
        const how = await attempt.refresh()
        return how === 'refreshed' || ended(how) ? null : `the next refresh ended as ${how}`
      },
      () =>
        count(attempt, 'refresh') <= 4
          ? null
          : `${count(attempt, 'refresh')} requests for two refreshes`,
    )
  },
})

const dies = (
  id: string,
  word: string,
  twist: Twist,
  applies: Quirk['applies'] = refreshes,
): Quirk => ({
  id,
  applies,
  run: async (stage) => {
    const attempt = begin(stage, () => ({ refresh: { always: { ...twist, error: word } } }))
    return each(
      () => connects(attempt, stage),
      async () => {
        const how = await attempt.refresh()
        const status = await statusOf(attempt)
        return how === 'reauthorization_required' && status === 'needs_reauth'
          ? null
          : `answer.errors should map ${word} to invalid_grant: a refresh that was refused with it ended as ${how}`
      },
      () => (count(attempt, 'refresh') === 1 ? null : 'a dead refresh token was sent again'),
    )
  },
})

const ofClient = (word: string, twist: Twist): Quirk => ({
  id: `wrong client: ${word}${twist.headers === undefined ? '' : ', 401 with WWW-Authenticate'}`,
  applies: refreshes,
  run: async (stage) => {
    const attempt = begin(stage, () => ({ refresh: { always: { ...twist, error: word } } }))
    return each(
      () => connects(attempt, stage),
      async () => {
        const how = await attempt.refresh()
        if (how === 'credential_unavailable' && (await statusOf(attempt)) === 'active') return null
        return `answer.errors should map ${word} to invalid_client: it is our client that is wrong, and the person's grant ended as ${how}`
      },
      async () => {
        await attempt.refresh()
        return count(attempt, 'refresh') === 1
          ? null
          : 'a client that was refused asked again at once'
      },
    )
  },
})

/** Refused in words that say nothing (Dex says invalid_request of a dead grant), it does not heal by waiting. */
const persists = (word: string): Quirk => ({
  id: `refused for five minutes: ${word}`,
  applies: refreshes,
  run: async (stage) => {
    const twist = plainly(word, { status: 400 })
    const attempt = begin(stage, () => ({ refresh: [twist, twist, twist] }))
    return each(
      () => connects(attempt, stage),
      async () => {
        for (const ms of [0, 150_000, 151_000]) {
          stage.world.later(ms)
          const how = await attempt.refresh()
          if (how === 'reauthorization_required') break
          if (how !== 'credential_unavailable') return `a refresh ended as ${how}`
        }
        return (await statusOf(attempt)) === 'needs_reauth'
          ? null
          : `the person was not asked, though ${word} did not go away`
      },
      async () => {
        // The old grant was kept.
        stage.world.later(3_700_000)
        const how = await attempt.refresh()
        if (how === 'reauthorization_required') return null // a word of its own for a dead grant
        return how === 'refreshed' && (await statusOf(attempt)) === 'active'
          ? null
          : `a grant that works again ended as ${how}`
      },
    )
  },
})

const CHALLENGE: Twist = { status: 401, headers: { 'www-authenticate': 'Basic realm="token"' } }

/** In the words of RFC 6749 5.2, however the provider itself would say it. */
const plainly = (word: string, twist: Twist): Twist => ({
  ...twist,
  body: JSON.stringify({ error: word }),
})

/** The words of this provider, from its example. */
const ofWords = ({ example }: Stage): readonly Quirk[] =>
  [...new Set([...example.dead, 'invalid_grant'])].map((word) => {
    const status = { status: example.error_status }
    const twist = example.dead.includes(word) ? status : plainly(word, status)
    return dies(`grant is gone: ${word}`, word, twist)
  })

export const failures = (stage: Stage): readonly Quirk[] => [
  ...HARMLESS.map(atConsent),
  ...stage.example.client.map((word) => ({
    ...atConsent([`${word}, status ${stage.example.error_status}`, () => ({ error: word })]),
  })),
  atConsent(['401 with WWW-Authenticate', () => ({ ...CHALLENGE, error: 'invalid_client' })]),
  atConsent(['the answer is lost', () => ({ lose: true })]),
  {
    ...atConsent(['a DPoP token', () => ({ members: { token_type: 'DPoP' } })]),
    applies: (one) => !readsType(one),
  },
  ...HARMLESS.map(([name, make]) => survives(`refresh: ${name}`, make)),
  ...ofWords(stage),
  dies(
    'grant is gone: invalid_grant with status 200',
    'invalid_grant',
    plainly('invalid_grant', { status: 200 }),
  ),
  ...(stage.example.step === undefined
    ? []
    : [dies(`the person must come by: ${stage.example.step}`, stage.example.step, {})]),
  ...stage.example.client.map((word) => ofClient(word, {})),
  persists('invalid_request'),
  persists('a_word_of_its_own'),
  ofClient('invalid_client', plainly('invalid_client', CHALLENGE)),
]
