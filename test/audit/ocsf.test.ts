// Evidence as OCSF: what a security lake reads of it.
import { expect, test } from 'vitest'
import { ocsfOf } from '../../proxy/audit/ocsf.ts'
import type { Row } from '../../proxy/audit/query.ts'
import { decision, outcome } from './evidence_lines.ts'

const row = (event: string, fields: object, end: object | null = null): Row => ({
  file: 'f',
  line: 1,
  fields: { v: 1, proc: 'P1', seq: 7, time: '2026-11-28T00:00:01.000Z', event, ...fields },
  outcome: end as Row['outcome'],
})

test('a call is API Activity: who, through what, on what, and what came of it', () => {
  const call = row('decision', decision({ exchange: 'A' }), outcome('A'))
  const { raw_data, ...event } = ocsfOf(call)
  expect(event).toEqual({
    category_uid: 6,
    class_uid: 6003,
    class_name: 'API Activity',
    activity_id: 3,
    type_uid: 600303,
    severity_id: 1,
    status_id: 1,
    status: 'Success',
    status_code: '201',
    action_id: 1,
    disposition_id: 1,
    duration: 12,
    actor: {
      user: { uid: 'alice@example.com', domain: 'corp', org: { uid: 'acme' } },
      app_name: 'agent:triage',
    },
    api: {
      operation: 'issues.create',
      service: { name: 'github', uid: 'github' },
      request: { uid: 'A' },
      response: { code: 201 },
    },
    http_request: {
      http_method: 'POST',
      url: { hostname: 'api.github.com', path: '/repos/acme/app/issues' },
    },
    dst_endpoint: { hostname: 'api.github.com' },
    policy: { uid: 'sha256:p', version: 'r1', is_applied: true },
    time: Date.parse('2026-11-28T00:00:01.000Z'),
    metadata: {
      version: '1.5.0',
      product: { name: 'deputy', vendor_name: 'deputy' },
      log_name: 'decision',
      log_version: '1',
      sequence: 7,
      uid: 'P1:7',
      correlation_uid: 'A',
      profiles: ['security_control'],
    },
  })
  expect(JSON.parse(String(raw_data))).toEqual(call.fields)
})

test.each<[string, object, object | null, object]>([
  [
    'a refusal of policy',
    decision({ exchange: 'B', effect: 'deny', reasons: ['no_grant'] }),
    null,
    { status_id: 2, action_id: 2, disposition_id: 2, severity_id: 2, status_detail: 'no_grant' },
  ],
  [
    'an error of the provider',
    decision({ exchange: 'B' }),
    outcome('B', { status: 500 }),
    { status_id: 2, action_id: 1, status_code: '500' },
  ],
  [
    'a cut stream',
    decision({ exchange: 'B' }),
    outcome('B', { result: 'interrupted', status: 200 }),
    { status_id: 2 },
  ],
  [
    'what never left',
    decision({ exchange: 'B' }),
    outcome('B', { result: 'vault_unavailable', sent: false, status: null }),
    { status_id: 2, status_code: 'vault_unavailable' },
  ],
  [
    'what has no end yet',
    decision({ exchange: 'B' }),
    null,
    { status_id: 0, status: 'Unknown', action_id: 1 },
  ],
  [
    'a read',
    decision({ exchange: 'B', access: 'read' }),
    null,
    { activity_id: 2, type_uid: 600302 },
  ],
  [
    'a delete',
    decision({ exchange: 'B', access: 'delete' }),
    null,
    { activity_id: 4, type_uid: 600304 },
  ],
  [
    'an act on rights',
    decision({ exchange: 'B', access: 'admin' }),
    null,
    { activity_id: 99, type_uid: 600399 },
  ],
])('%s', (_name, fields, end, want) => {
  expect(ocsfOf(row('decision', fields, end))).toMatchObject(want)
})

test('a refusal before policy names its code; other events are Base Events', () => {
  expect(ocsfOf(row('refused', { exchange: 'C', code: 'unauthenticated' }))).toMatchObject({
    class_uid: 6003,
    status_id: 2,
    action_id: 2,
    status_detail: 'unauthenticated',
    api: { operation: 'unknown' },
  })
  expect(ocsfOf(row('policy.loaded', { revision: 'r' }))).toMatchObject({
    class_uid: 0,
    type_uid: 99,
    activity_name: 'policy.loaded',
  })
})
