// A line as a log record: the body is the line, its members are attributes under names that others know.
import { expect, test } from 'vitest'
import { logRecordOf } from '../../proxy/audit/log_record.ts'
import { record } from '../../proxy/audit/chain.ts'
import { decision, evidenceOf, outcome } from './evidence_lines.ts'

const recordOf = (event: string, fields: object) => {
  const line = evidenceOf([['2026-11-28T00:00:01.500Z', event, fields]])[1] ?? ''
  return { line, made: logRecordOf(line, record(Buffer.from(line)) ?? {}) }
}

test('a decision', () => {
  const trace = 'a'.repeat(32)
  const { line, made } = recordOf('decision', {
    ...decision({ exchange: 'A', effect: 'deny', reasons: ['no_grant'] }),
    trace_id: trace,
  })
  expect(made).toMatchObject({
    body: line,
    event: 'decision',
    time: Date.parse('2026-11-28T00:00:01.500Z'),
    severity: 'WARN',
    traceId: trace,
  })
  expect(made.attributes).toMatchObject({
    'event.name': 'decision',
    'log.record.uid': 'P1:2',
    'deputy.proc': 'P1',
    'deputy.seq': 2,
    'deputy.exchange': 'A',
    'user.id': 'alice@example.com',
    'deputy.user.realm': 'corp',
    'deputy.user.verified': true,
    'gen_ai.agent.id': 'agent:triage',
    'gen_ai.tool.name': 'issues.create',
    'deputy.operation.access': 'write',
    'http.request.method': 'POST',
    'url.path': '/repos/acme/app/issues',
    'server.address': 'api.github.com',
    'deputy.decision.effect': 'deny',
    'deputy.decision.reasons': ['no_grant'],
    'deputy.policy.revision': 'r1',
  })
  // What chains the lines is in the body alone, and what says nothing is nowhere.
  for (const name of ['deputy.prev', 'deputy.v', 'deputy.time', 'deputy.run', 'deputy.trace_id'])
    expect(made.attributes).not.toHaveProperty(name)
})

test('an outcome, and other events', () => {
  expect(recordOf('outcome', outcome('A')).made).toMatchObject({
    severity: 'INFO',
    traceId: null,
    attributes: {
      'http.response.status_code': 201,
      'http.response.body.size': 812,
      'deputy.credential.account': 'alice-gh',
    },
  })
  expect(recordOf('refused', { code: 'unauthenticated' }).made.severity).toBe('WARN')
  expect(recordOf('policy.loaded', {}).made.severity).toBe('INFO')
})

test('hostile members stay within bounds, and the body is exact all the same', () => {
  const deep = { a: { b: { c: { d: { e: 1 } } } } }
  const many = Object.fromEntries(
    Array.from({ length: 500 }, (_, i) => [`m${i}`, 'x'.repeat(9_000)]),
  )
  const { line, made } = recordOf('odd', {
    deep,
    list: [{ a: 1 }],
    trace_id: 'no',
    __proto__: null,
    many,
    time2: '\u0000',
  })
  expect(made.body).toBe(line)
  expect(made.traceId).toBeNull()
  expect(Object.keys(made.attributes).length).toBeLessThanOrEqual(128)
  for (const value of Object.values(made.attributes))
    expect(String(value).length).toBeLessThanOrEqual(4_096)
  expect(JSON.stringify(made.attributes)).not.toContain('"deputy.deep.a.b.c.d.e"')
  expect(logRecordOf('{}', {}).time).toBe(0)
})
