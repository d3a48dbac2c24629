import { expect, test } from 'vitest'
import type { Decision } from '../../proxy/model.ts'
import { createEvidence } from '../../proxy/way/evidence.ts'
import type { Decided } from '../../proxy/way/evidence.ts'

const JWT = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln'

/** The record of one decision. */
const recorded = async (decision: Pick<Decision, 'effect' | 'reasons'>, hashed = false) => {
  const lines: string[] = []
  const quiet = () => undefined
  const evidence = createEvidence({
    journal: {
      append: (event, fields) => {
        lines.push(`{"event":"${event}"${fields}}`)
        return Promise.resolve()
      },
      healthy: () => true,
      lines: () => lines.length,
      close: () => Promise.resolve(),
    },
    clock: { now: Date.now, mono: () => performance.now() },
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    hashed,
    hmac: (purpose, text) => `${purpose}-${text.length}`,
  })
  const decided = {
    id: 'x1',
    n: 1,
    traceparent: null,
    principal: {
      person: { id: 'alice@example.com', realm: 'corp', tenant: 'acme' },
      agent: 'agent:triage',
      run: null,
      verified: true,
    },
    route: {
      connection: { name: 'github', provider: { id: 'github', secretSegments: [] } },
      host: 'api.github.com',
      target: { method: 'GET', path: '/a', segments: ['a'], raw: ['a'], query: [] },
    },
    operation: { id: 'issues.get', access: 'read' },
    body: null,
    stripped: [],
    facts: { entitlements: { source: 'file', digest: 'sha256:0' }, ageMs: () => 0 },
    decision: { id: 'd1', grants: [], obligations: {}, revision: 'r', digest: 'd', ...decision },
  }
  await evidence.decided(decided as unknown as Decided)
  evidence.close()
  return JSON.parse(lines[0] ?? '').decision
}

test('codes stay codes, and beside them stands what they say, at most 256 characters of each', async () => {
  const long = '\u{1f600}'.repeat(300)
  expect(
    await recorded({
      effect: 'deny',
      reasons: [
        { code: 'not_yours', msg: 'issue 7 is "somebody" else\u2019s\n' },
        { code: 'long', msg: long },
      ],
    }),
  ).toEqual({
    effect: 'deny',
    id: 'd1',
    reasons: ['not_yours', 'long'],
    messages: ['issue 7 is "somebody" else\u2019s\n', '\u{1f600}'.repeat(256)],
    grants: [],
    obligations: [],
  })
  expect(await recorded({ effect: 'allow', reasons: [] })).toEqual({
    effect: 'allow',
    id: 'd1',
    reasons: [],
    grants: [],
    obligations: [],
  })
})

test('a message hides what the record hides: credentials always, people and addresses under `hashed`', async () => {
  const reasons = [
    { code: 'a', msg: `alice@example.com sent "${JWT}" to bob@example.com, not carol` },
  ]
  expect((await recorded({ effect: 'deny', reasons })).messages).toEqual([
    `alice@example.com sent "hmac:message-${JWT.length}" to bob@example.com, not carol`,
  ])
  expect((await recorded({ effect: 'deny', reasons }, true)).messages).toEqual([
    `hmac:user-17 sent "hmac:message-${JWT.length}" to hmac:message-15, not carol`,
  ])
})
