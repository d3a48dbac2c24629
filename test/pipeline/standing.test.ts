// A call by standing stays within what its person let the workload do. test/consent/standing.test.ts has the calls themselves.
import { expect, test } from 'vitest'
import type { Decision, Operation, Principal, StandingRow } from '../../proxy/model.ts'
import type { Act } from '../../proxy/pipeline/classify.ts'
import {
  createStanding,
  STANDING,
  stillTheSame,
  tagOnly,
  withdrawn,
} from '../../proxy/pipeline/standing.ts'
import { Problem } from '../../proxy/problem.ts'

const DAY = 86_400_000
const row = (connection: string, days: number): StandingRow => ({
  id: `s-${connection}`,
  tenant: 'acme',
  realm: 'corp',
  user: 'alice',
  workload: 'nightly',
  agent: 'triage',
  connection,
  operations: ['issues.create'],
  createdAt: 0,
  expiresAt: days * DAY,
  lastUsedAt: null,
  noticeAt: null,
})
const tagged: Principal = {
  person: { tenant: 'acme', realm: 'corp', id: 'alice' },
  agent: 'triage',
  verified: true,
  claims: null,
  issuedAt: null,
  expiresAt: 5 * DAY,
  run: null,
}
const standings = [row('github', 30), row('slack', 2)]
const who: Principal = { ...tagged, standing: 's-github', standings }
const act = (id: string): Act => ({
  operation: { ...STANDING, id } satisfies Operation,
  kind: 'rest',
  segments: [],
})
const code = (work: () => unknown): unknown => {
  try {
    return work()
  } catch (error) {
    return error instanceof Problem ? error.code : error
  }
}

test('each connection has its own bound, and ends at its own hour', () => {
  const at = { now: DAY }
  const station = createStanding(() => at.now)
  expect(station.at(tagged, 'github')).toBe(tagged)
  const github = station.at(who, 'github')
  expect(station.at(who, 'github')).toBe(github)
  expect(github).toMatchObject({
    standing: 's-github',
    expiresAt: 5 * DAY,
    reach: { connections: ['github'], operations: ['issues.create'] },
    lets: { id: 's-github', days: 30, expires_at: 30 * 86_400, operations: ['issues.create'] },
  })
  expect(station.at(who, 'slack')).toMatchObject({ standing: 's-slack', expiresAt: 2 * DAY })
  expect(code(() => station.at(who, 'google'))).toBe('standing_refused')
  at.now = 2 * DAY
  expect(code(() => station.at(who, 'slack'))).toBe('standing_refused')
})

test('every operation of a call must be one of those', () => {
  const station = createStanding(() => 0)
  const github = station.at(who, 'github')
  expect(code(() => station.covers(github, act('issues.create')))).toBe(undefined)
  expect(code(() => station.covers(github, act('issues.get')))).toBe('standing_refused')
  const both: Act = {
    ...act('issues.create'),
    parts: [act('issues.create'), act('issues.delete')],
  }
  expect(code(() => station.covers(github, both))).toBe('standing_refused')
  expect(code(() => station.covers(tagged, act('issues.delete')))).toBe(undefined)
})

test('what policy says of the standing is its answer to the call, unless it is a yes', () => {
  const said = (effect: Decision['effect'], ...codes: readonly string[]): Decision => ({
    id: 'd',
    effect,
    reasons: codes.map((each) => ({ code: each, msg: '' })),
    requiredScopes: [],
    obligations: {},
    grants: [],
    revision: '',
    digest: '',
    decidedAt: 0,
  })
  expect(withdrawn(said('allow'))).toBe(null)
  expect(withdrawn(said('deny', 'no_grant'))?.reasons.map((each) => each.code)).toEqual([
    'standing_withdrawn',
    'no_grant',
  ])
  // A consent does not bring back what policy does not want.
  expect(withdrawn(said('consent_required', 'connection_missing'))?.effect).toBe('deny')
  const stale = said('deny', 'entitlements_stale')
  expect(withdrawn(stale)).toBe(stale)
  expect(withdrawn(said('error', 'policy_missing'))?.effect).toBe('error')
})

test('it is no tag where a person must be named', () => {
  expect(tagOnly(tagged)).toBe(tagged)
  expect(code(() => tagOnly(who))).toBe('unauthenticated')
})

test('a call that waited is still the same person’s, by the same standing', () => {
  const now = createStanding(() => 0).at(who, 'github')
  expect(stillTheSame(now, now)).toBe(now)
  expect(stillTheSame(tagged, tagged)).toBe(tagged)
  for (const more of [{ id: 'bob' }, { realm: 'other' }, { tenant: 'other' }]) {
    const other = { ...now, person: { ...now.person, ...more } }
    expect(code(() => stillTheSame(now, other))).toBe('standing_refused')
  }
  for (const other of [{ ...now, standing: 's-later' }, tagged])
    expect(code(() => stillTheSame(now, other))).toBe('standing_refused')
  expect(code(() => stillTheSame(tagged, now))).toBe('standing_refused')
  // A tag says itself whose the call is now.
  const moved = { ...tagged, person: { ...tagged.person, realm: 'other' } }
  expect(stillTheSame(tagged, moved)).toBe(moved)
})
