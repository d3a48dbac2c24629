// Quirks of a grant's life: rotation, reuse, lost answers, tokens of two kinds.
import {
  begin,
  calls,
  connects,
  count,
  each,
  holds,
  refreshed,
  refreshes,
  type Quirk,
  type Stage,
} from './check.ts'
import type { Twist } from './session.ts'
import type { Attempt } from './world.ts'

const documented: Quirk = {
  id: 'as documented: consent, call, refresh, call',
  run: async (stage) => {
    const { provider, example } = stage
    const attempt = begin(stage)
    return each(
      () => connects(attempt, stage),
      () => calls(attempt),
      async () => {
        const holding = await attempt.held()
        if (provider.account === null || holding.kind !== 'held') return null
        const wanted = `person-${attempt.session.account}@example.com`
        const shown = [example.userinfo, example.introspect, example.token].some((one) =>
          holds(one, 'label'),
        )
        return !shown || holding.account === wanted
          ? null
          : `account.label should lead to ${wanted}, not ${holding.account}`
      },
      async () => (refreshes(stage) ? refreshed(attempt, stage) : null),
      () => calls(attempt),
      () =>
        example.rotates && provider.rotation === 'none'
          ? 'rotation should be always: refreshing gives a new refresh token'
          : null,
    )
  },
}

const stampede: Quirk = {
  id: 'refresh: 20 callers at once make one request',
  applies: refreshes,
  run: async (stage) => {
    const attempt = begin(stage)
    return each(
      () => connects(attempt, stage),
      async () => {
        const ends = await Promise.all(Array.from({ length: 20 }, () => attempt.refresh()))
        const requests = count(attempt, 'refresh')
        return requests === 1 && ends.every((end) => end === 'refreshed' || end === 'kept')
          ? null
          : `${requests} requests, and the callers got ${[...new Set(ends)].join(', ')}`
      },
    )
  },
}

const lost = (
  id: string,
  change: Partial<Stage['example']>,
  applies: (stage: Stage) => boolean,
): Quirk => ({
  id,
  applies: (stage) => refreshes(stage) && applies(stage),
  run: async (plain) => {
    const stage = { ...plain, example: { ...plain.example, ...change } }
    const { provider, example } = stage
    const attempt = begin(stage, () => ({ refresh: [{ lose: true }] }))
    const recoverable = !example.rotates || example.reuse === 'works'
    return each(
      () => connects(attempt, stage),
      async () => {
        const how = await attempt.refresh()
        const wanted = recoverable ? 'refreshed' : 'reauthorization_required'
        return how === wanted ? null : `after a lost answer a refresh ended as ${how}`
      },
      () =>
        count(attempt, 'refresh') === 2
          ? null
          : `the refresh token went out ${count(attempt, 'refresh')} times`,
      () =>
        !recoverable && provider.lostResponse === 'yes'
          ? `lost_response should be 'no': a refresh token that was used ${example.reuse === 'kills' ? 'ends the whole grant' : 'is refused'} the second time`
          : null,
    )
  },
})

const stale: Quirk = {
  id: 'access token dies before its time: one refresh, one more try',
  applies: refreshes,
  run: async (stage) => {
    const attempt = begin(stage)
    return each(
      () => connects(attempt, stage),
      async () => {
        // A token that was stored just now is not refreshed for a 401.
        stage.world.later(31_000)
        attempt.session.access.clear()
        const { status, seen } = await attempt.call()
        return status === 200 && seen.length === 2 && count(attempt, 'refresh') === 1
          ? null
          : `a 401 led to ${seen.length} calls, ${count(attempt, 'refresh')} refreshes and status ${status}`
      },
    )
  },
}

const slots: readonly Quirk[] = [
  {
    id: 'slots: two kinds of tokens in one answer',
    applies: ({ example }) => example.both !== undefined,
    run: async (stage) => {
      const attempt = begin(stage, () => ({ token: [{ template: 'both' }] }))
      return each(
        () => connects(attempt, stage),
        () => calls(attempt),
        () => refreshed(attempt, stage),
        () => calls(attempt),
      )
    },
  },
  {
    id: 'slots: a refresh answers with a token of the other kind',
    applies: (stage) => stage.example.both !== undefined && refreshes(stage),
    run: async (stage) => {
      const other = (attempt: Attempt): Twist => ({
        body: JSON.stringify({
          ok: true,
          access_token: `xt-${attempt.session.id}-9`,
          token_type: 'other',
        }),
      })
      const attempt = begin(stage, (one) => ({ refresh: { always: other(one) } }))
      return each(
        () => connects(attempt, stage),
        async () => {
          await attempt.refresh()
          const { seen } = await attempt.call()
          return seen.some(({ token }) => token?.startsWith('xt-'))
            ? 'refresh.answer.only_if should say which token_type is this slot’s'
            : null
        },
      )
    },
  },
]

const rotating = (stage: Stage): boolean => stage.example.rotates
export const CHAINS: readonly Quirk[] = [
  documented,
  stampede,
  lost('lost answer', {}, () => true),
  lost(
    'lost answer: the old refresh token still works',
    { rotates: true, reuse: 'works' },
    rotating,
  ),
  lost(
    'lost answer: the old refresh token is refused',
    { rotates: true, reuse: 'dead' },
    (stage) => rotating(stage) && stage.example.reuse !== 'works',
  ),
  lost(
    'lost answer: reuse ends the whole grant',
    { rotates: true, reuse: 'kills' },
    (stage) => rotating(stage) && stage.example.reuse !== 'works',
  ),
  stale,
  ...slots,
]
