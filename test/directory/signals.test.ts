import { expect, test } from 'vitest'
import { EventRefused, meaningOf } from '../../proxy/directory/signals.ts'

const issuer = 'https://idp.test'
const naming = { user: null, realm: 'corp', tenant: null, tenants: ['a', 'b'] }
const BASE = 'https://schemas.openid.net/secevent/'
const said = (type: string, payload: object, event: unknown = {}) => ({
  issuer,
  type,
  event,
  payload: { ...payload },
})
const LOGOUT = 'http://schemas.openid.net/event/backchannel-logout'

test('a person is meant in each tenant that the source speaks for', () => {
  const subject = { sub_id: { format: 'iss_sub', iss: issuer, sub: 'alice' } }
  expect(meaningOf(said(`${BASE}caep/event-type/session-revoked`, subject), naming)).toEqual({
    kind: 'person',
    cause: 'session_revoked',
    ends: true,
    people: ['a', 'b'].map((tenant) => ({ tenant, realm: 'corp', id: 'alice' })),
  })
  expect(() =>
    meaningOf(said(`${BASE}caep/event-type/session-revoked`, subject), { ...naming, tenants: [] }),
  ).toThrow(EventRefused)
})
test('a logout token says who, and its own tenant where it has one', () => {
  const of = { ...naming, tenant: '/org' }
  expect(meaningOf(said(LOGOUT, { sub: 'alice', org: 'c' }), of)).toMatchObject({
    people: [{ tenant: 'c', id: 'alice' }],
  })
  expect(() => meaningOf(said(LOGOUT, {}), of)).toThrow('does not say who')
})
test('a logout token that names only a session means whoever had it', () => {
  expect(meaningOf(said(LOGOUT, { sid: 's' }), naming)).toEqual({
    kind: 'session',
    cause: 'logout',
    ends: true,
    sid: 's',
  })
  expect(meaningOf(said(LOGOUT, { sid: 's', sub: 'alice' }), naming)).toMatchObject({
    kind: 'person',
  })
})
test('a pointer of the configuration goes before the format; the older spelling is read', () => {
  const subject = { subject_type: 'iss-sub', iss: issuer, sub: 'x', email: 'alice@corp.test' }
  const type = `${BASE}risc/event-type/account-disabled`
  expect(meaningOf(said(type, {}, { subject }), { ...naming, user: '/email' })).toMatchObject({
    people: [{ id: 'alice@corp.test' }, { id: 'alice@corp.test' }],
  })
})
test('what is of no kind that is known here concerns nobody', () => {
  expect(meaningOf(said('https://elsewhere.test/event', {}), naming)).toEqual({ kind: 'other' })
})
