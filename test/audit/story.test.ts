// The story of one call.
import { expect, test } from 'vitest'
import { storyOf } from '../../proxy/audit/story.ts'
import type { Row } from '../../proxy/audit/query.ts'
import { decision, outcome } from './evidence_lines.ts'

const row = (line: number, event: string, fields: object, end: object | null = null): Row => ({
  file: 'audit.jsonl',
  line,
  fields: { event, time: `T${line}`, ...fields },
  outcome: end === null ? null : { time: 'T9', ...end },
})

test('of a call that was allowed', () => {
  expect(storyOf([row(1, 'decision', decision({ exchange: 'A' }), outcome('A'))])).toEqual([
    'T1  alice@example.com (realm corp, tenant acme, verified) through agent:triage asked for issues.create (write) at github: POST api.github.com/repos/acme/app/issues.',
    '  Cut out of what the agent sent: header:authorization.',
    '  What http said of the person was 0 ms old.',
    '  Policy r1 allowed it, by row gh-write.',
    "T9  It left with the person's own token (account alice-gh, generation 4): the provider answered 201, after 12.3 ms (64 bytes in, 812 out).",
  ])
})

test('of one that was refused, and why', () => {
  const said = storyOf([
    row(1, 'decision', decision({ exchange: 'B', effect: 'deny', reasons: ['no_grant'] })),
  ])
  expect(said).toContain('  Policy r1 refused it: because of no_grant (no_grant).')
  expect(said.join('\n')).not.toContain('left')
})

test('of one that waited, and then never left', () => {
  const waits = decision({
    exchange: 'D',
    effect: 'consent_required',
    reasons: ['connection_missing'],
  })
  const end = outcome('D', {
    result: 'upstream_timeout',
    sent: false,
    status: null,
    credential: null,
  })
  const said = storyOf([
    row(1, 'decision', waits),
    row(2, 'decision', decision({ exchange: 'D', n: 2 }), end),
  ])
  expect(said).toContain('T2  It waited, and was decided anew.')
  expect(said.at(-1)).toBe(
    'T9  Nothing left: upstream_timeout, after 12.3 ms (64 bytes in, 812 out).',
  )
})

test('of one whose end is elsewhere, and of one that policy never saw', () => {
  expect(storyOf([row(1, 'decision', decision({ exchange: 'E' }))])).toContain(
    '  How it ended is not in these files.',
  )
  expect(storyOf([row(1, 'refused', { exchange: 'C', code: 'unauthenticated' })])).toEqual([
    'T1  Refused before policy was asked: unauthenticated.',
  ])
})
