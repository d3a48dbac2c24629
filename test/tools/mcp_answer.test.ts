import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../../proxy/model.ts'
import {
  discovered,
  done,
  empty,
  failed,
  faultAnswer,
  listed,
  opened,
  ranAnswer,
  transportAnswer,
  unknownMethod,
  unknownTool,
  type Answer,
} from '../../proxy/tools/mcp_answer.ts'
import type { Ran } from '../../proxy/tools/run.ts'
import { toolNamed } from './sample.ts'

const NEW = { id: 1, modern: true, url: false }
const OLD = { id: 'a', modern: false, url: false }
const parsed = ({ status, headers = {}, body }: Answer) => ({
  status,
  headers,
  ...(JSON.parse(body ?? '{}') as { id: unknown; result?: JsonObject; error?: JsonObject }),
})
const LINK = 'https://deputy.example/connect/abc'
const refused = (
  code: string,
  more: JsonObject = {},
  status = 403,
  headers: Readonly<Record<string, string>> = {},
): Ran => ({
  kind: 'refused',
  status,
  code,
  document: {
    type: `https://deputy.example/problems/${code}`,
    title: 'T',
    status,
    instance: 'i',
    detail: 'Because.',
    code,
    ...more,
  },
  headers: new Map(Object.entries(headers)),
})
const consent = refused('consent_required', {
  url: LINK,
  authorization_id: 'ac_1',
  scopes: ['notes'],
  expires_at: '2026-11-30T00:00:00.000Z',
})
const state = (until: number): string => `s${until}`
const told = (to: typeof NEW | typeof OLD, ran: Ran) => parsed(ranAnswer(to, ran, state))

describe('a consent that is needed', () => {
  test('is the link as text and in structured content, where the host shows none', () => {
    const { status, result } = told(NEW, consent)
    expect(status).toBe(200)
    expect(result).toEqual({
      resultType: 'complete',
      isError: true,
      content: [
        {
          type: 'text',
          text: `consent_required: Because. ${LINK} Show this link to the person, and call the tool again when they are done.`,
        },
      ],
      structuredContent: {
        code: 'consent_required',
        url: LINK,
        authorization_id: 'ac_1',
        scopes: ['notes'],
        expires_at: '2026-11-30T00:00:00.000Z',
      },
    })
    expect(told(OLD, consent).result).not.toHaveProperty('resultType')
  })
  test('is a question in the newer revision, until the link ends', () => {
    expect(told({ ...NEW, url: true }, consent).result).toEqual({
      resultType: 'input_required',
      inputRequests: {
        deputy: {
          method: 'elicitation/create',
          params: { mode: 'url', url: LINK, message: 'Because.' },
        },
      },
      requestState: `s${Date.parse('2026-11-30T00:00:00.000Z')}`,
    })
  })
  test('is -32042 in the older one', () => {
    expect(told({ ...OLD, url: true }, consent)).toMatchObject({
      status: 200,
      id: 'a',
      error: {
        code: -32042,
        data: {
          elicitations: [{ mode: 'url', url: LINK, elicitationId: 'ac_1', message: 'Because.' }],
        },
      },
    })
  })
  test.each(['approval_required', 'step_up_required'])(
    '%s has its link as a consent has',
    (code) => {
      const of = refused(code, { url: LINK, authorization_id: 'ap_1' })
      expect(told(NEW, of).result).toMatchObject({
        isError: true,
        structuredContent: { code, url: LINK, authorization_id: 'ap_1' },
      })
      expect(JSON.stringify(told({ ...NEW, url: true }, of).result)).toContain('input_required')
      expect(told({ ...OLD, url: true }, of).error).toMatchObject({ code: -32042 })
    },
  )
  test('without a link, since the person has just declined, it is no question', () => {
    for (const to of [
      { ...NEW, url: true },
      { ...OLD, url: true },
    ])
      expect(told(to, refused('consent_required', { declined_at: 'now' })).result).toMatchObject({
        isError: true,
        structuredContent: { code: 'consent_required', declined_at: 'now' },
      })
  })
})

describe('what policy says', () => {
  const hosts = [NEW, OLD, { ...NEW, url: true }, { ...OLD, url: true }]
  test.each([
    ['policy_denied', { reasons: ['merge_freeze'], decision_id: 'd' }, 'policy_denied'],
    ['policy_denied', { reasons: ['approval_declined'], url: LINK }, 'policy_denied'],
    ['policy_denied', { reasons: ['approval_required', 'merge_freeze'] }, 'policy_denied'],
    ['approval_required', {}, 'approval_required'],
    ['step_up_required', { acr_values: 'mfa' }, 'step_up_required'],
    ['obligation_refused', { obligation: 'x' }, 'obligation_refused'],
  ])('%s %j is %s, no question and no link, to any host', (code, more, own) => {
    for (const to of hosts) {
      const answer = told(to, refused(code, more))
      expect(answer.result).toMatchObject({ isError: true, structuredContent: { code: own } })
      expect(JSON.stringify(answer)).not.toContain(LINK)
    }
  })
  test('says its reasons, and that repeating does not help', () => {
    const { result } = told(
      NEW,
      refused('policy_denied', { reasons: ['merge_freeze'], decision_id: 'd' }),
    )
    expect(result).toMatchObject({
      content: [{ text: 'policy_denied: Because. Do not retry unchanged.' }],
      structuredContent: { reasons: ['merge_freeze'], decision_id: 'd' },
    })
    expect(result?.['structuredContent']).not.toHaveProperty('type')
  })
  test('a limit of policy says when to try again; one of transport is HTTP', () => {
    const limited = refused('rate_limited', { retry_after: 42 }, 429, { 'retry-after': '42' })
    expect(told(NEW, limited)).toMatchObject({
      status: 200,
      headers: { 'retry-after': '42' },
      result: { isError: true, structuredContent: { code: 'rate_limited', retry_after: 42 } },
    })
    expect(told(NEW, refused('too_many_calls', {}, 429, { 'retry-after': '1' }))).toMatchObject({
      status: 429,
      headers: { 'retry-after': '1' },
      error: { code: 429 },
    })
  })
})

test('a result is text and structured content, with what was cut and how to go on', () => {
  const ran: Ran = { kind: 'done', value: { a: [1] }, truncated: true, next: { page: 2 } }
  const { result } = told(NEW, ran)
  const value = { a: [1], next: { page: 2 }, truncated: true, hint: expect.any(String) }
  expect(result?.['structuredContent']).toEqual(value)
  const [said] = (result?.['content'] ?? []) as unknown as readonly { readonly text: string }[]
  expect(JSON.parse(said?.text ?? '')).toEqual(value)
})

test('what the provider says of its failure reaches the model', () => {
  const ran: Ran = {
    kind: 'failed',
    status: 404,
    message: 'the provider answered 404: none',
    value: { message: 'none' },
    retryAfter: 3,
  }
  expect(told(OLD, ran)).toMatchObject({
    headers: { 'retry-after': '3' },
    result: {
      isError: true,
      content: [{ text: 'provider_error: the provider answered 404: none' }],
      structuredContent: { code: 'provider_error', status: 404, retry_after: 3 },
    },
  })
})

test('the five methods and faults as the revisions have them', () => {
  expect(parsed(opened(OLD, '2025-11-25', '1')).result).toMatchObject({
    protocolVersion: '2025-11-25',
    serverInfo: { name: 'deputy', version: '1' },
  })
  expect(parsed(discovered(NEW, '1')).result).toMatchObject({
    resultType: 'complete',
    supportedVersions: ['2026-07-28', '2025-11-25'],
  })
  expect(parsed(empty(OLD)).result).toEqual({})
  expect(parsed(empty(NEW)).result).toEqual({ resultType: 'complete' })
  expect(parsed(unknownTool(NEW, 'X')).error).toEqual({ code: -32602, message: 'Unknown tool: X' })
  expect(parsed(unknownMethod(NEW))).toMatchObject({ status: 404, error: { code: -32601 } })
  expect(parsed(unknownMethod(OLD))).toMatchObject({ status: 200, error: { code: -32601 } })
  expect(parsed(transportAnswer(NEW, 503, 'wait'))).toMatchObject({
    status: 503,
    error: { code: 503 },
  })
  expect(
    parsed(faultAnswer({ kind: 'fault', status: 400, id: null, code: -32700, message: 'm' })),
  ).toMatchObject({ status: 400, id: null, error: { code: -32700, message: 'm' } })
  expect(parsed(failed(NEW, 'c', 'm')).result).toMatchObject({ isError: true })
  expect(parsed(done(OLD, { x: '"\n' })).result).toMatchObject({ structuredContent: { x: '"\n' } })
})

test('a list marks what needs a consent, to the model and to the host', () => {
  const connection = { name: 'acme', provider: { name: 'Acme' } } as never
  const entry = { name: 'Acme_GetFile', offer: { tool: toolNamed('Acme.GetFile'), connection } }
  const seen = { may: 'yes', consent: null } as const
  const plain = parsed(listed(NEW, [{ entry, seen }], 30_000.7)).result
  expect(plain).toMatchObject({ ttlMs: 30_000, cacheScope: 'private' })
  expect(plain?.['tools']).toMatchObject([{ name: 'Acme_GetFile', description: 'Reads a file.' }])
  const marked = parsed(listed(OLD, [{ entry, seen: { ...seen, consent: ['notes'] } }], 5)).result
  expect(Object.keys(marked ?? {})).toEqual(['tools'])
  expect(marked?.['tools']).toMatchObject([
    {
      description: expect.stringMatching(
        /^Reads a file\. The person has to connect their Acme account/,
      ),
      _meta: { 'deputy/consent': { connection: 'acme', scopes: ['notes'] } },
    },
  ])
})
