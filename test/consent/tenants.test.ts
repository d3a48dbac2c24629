// What a tenant may store.
import { expect, test } from 'vitest'
import { boundsOf, createRoom, type Tenants } from '../../proxy/consent/tenants.ts'

const who = {
  person: { tenant: 'north', realm: 'corp', id: 'alice' },
  agent: 'agent:triage',
  connection: 'notes',
}
const stored = { people: 3, connections: 5, known: false, connected: false }

const roomOf = (tenants: Tenants, has = stored) => {
  const said: object[] = []
  const refused: string[] = []
  const room = createRoom({
    tenants,
    store: { stored: () => Promise.resolve(has) },
    onEvent: (event, fields) => void said.push({ event, ...fields }),
    refused: (tenant, bound) => void refused.push(`${tenant} ${bound}`),
  })
  return {
    said,
    refused,
    ask: () =>
      room(who).then(
        () => 'room',
        (error: unknown) => error,
      ),
  }
}

test.each([
  ['nothing is bounded', undefined, stored, null],
  ['the row bounds nothing', { north: {} }, stored, null],
  ['one more person fits', { north: { people: 4 } }, stored, null],
  ['one more account fits', { north: { connections: 6 } }, stored, null],
  ['everybody who may is there', { north: { people: 3 } }, stored, 'people'],
  ['somebody of them comes again', { north: { people: 3 } }, { ...stored, known: true }, null],
  ['the bound was lowered', { north: { people: 1 } }, { ...stored, known: true }, null],
  ['every account is there', { north: { connections: 5 } }, stored, 'connections'],
  [
    'one of them is renewed',
    { north: { connections: 5 } },
    { ...stored, known: true, connected: true },
    null,
  ],
  ['the tenant is not named any more', { south: {} }, stored, 'people'],
] as const)('%s', async (_, tenants, has, bound) => {
  const { ask, said, refused } = roomOf(tenants, has)
  if (bound === null) {
    expect([await ask(), said, refused]).toEqual(['room', [], []])
    return
  }
  expect(await ask()).toMatchObject({ code: 'tenant_quota', extra: { bound } })
  expect(refused).toEqual([`north ${bound}`])
  expect(said).toEqual([
    {
      event: 'tenant.refused',
      user: who.person,
      agent: { id: who.agent },
      connection: who.connection,
      bound,
    },
  ])
})

test('a name of what every object has is no row', () => {
  expect(boundsOf({ north: {} }, 'toString')).toEqual({
    people: 0,
    connections: 0,
    calls_per_minute: 0,
  })
})
