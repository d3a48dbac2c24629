import { expect, test } from 'vitest'
import {
  changed,
  checked,
  credentialOf,
  ended,
  first,
  flowOf,
  personOf,
  runOf,
  toRaw,
} from '../../proxy/store/rows.ts'
import type { FlowRow, GrantRow } from '../../proxy/model.ts'
import { credential, owner } from './fixture.ts'

const grant: GrantRow = { ...owner, agent: 'triage', scopes: ['repo'], at: 1 }
const flow: FlowRow = {
  ...owner,
  hash: 'f1',
  nonce: 'n',
  agent: 'triage',
  scopes: ['repo'],
  reauthorization: true,
  status: 'pending',
  failure: null,
  nextUri: null,
  createdAt: 1,
  expiresAt: 2,
  stateHash: null,
  cookieHash: null,
  sealedLeg: null,
  legExpiresAt: null,
}

test.each(['a\ud800', '\udc00', 'x\ud83dy'])('text that is no Unicode is refused: %j', (id) => {
  expect(() => personOf({ tenant: 't', realm: 'r', id })).toThrow('not well-formed Unicode')
  expect(() => toRaw({ ...grant, agent: id })).toThrow('not well-formed Unicode')
  expect(() => checked({ a: 1, b: null, c: id })).toThrow('not well-formed Unicode')
})

test('a row goes in and comes back as it was; what it did not say is null', () => {
  const back = credentialOf(toRaw(credential))
  expect(back).toEqual({
    ...credential,
    clientId: null,
    refusedSince: null,
    refusedTimes: null,
    doubtfulSince: null,
  })
  expect(flowOf(toRaw(flow))).toMatchObject({
    ...flow,
    confirmHash: null,
    notices: 0,
    endedAt: null,
  })
  expect(flowOf(toRaw({ ...flow, reauthorization: false })).reauthorization).toBe(false)
  expect(toRaw(grant)).toMatchObject({ scopes: '["repo"]', lastUsedAt: null })
})

test('a run has its lists again; without operations it may do all', () => {
  const raw = { id: 'r', connections: '["a"]', operations: '["x.*"]' }
  expect(runOf(raw)).toEqual({ id: 'r', connections: ['a'], operations: ['x.*'] })
  for (const operations of [null, 'null'])
    expect(runOf({ ...raw, operations })).toMatchObject({ operations: null })
})

test('what changed is named so that everybody knows what to forget', () => {
  expect(JSON.parse(changed(credential))).toEqual(['acme', 'corp', 'alice', 'github', 'c1'])
  expect(JSON.parse(changed(grant))).toEqual(['acme', 'corp', 'alice', 'github', null])
  expect(JSON.parse(ended(grant))).toEqual(['acme', 'corp', 'alice', 'github', null, 'triage'])
})

test('the first row, or none', () => {
  expect(first([{ a: 1 }, { a: 2 }], (raw) => raw['a'])).toBe(1)
  expect(first([], (raw) => raw)).toBeNull()
})
