import { expect, test } from 'vitest'
import { createScimDirectory, personIn } from '../../proxy/directory/scim.ts'
import type { ScimRow } from '../../proxy/model.ts'

const of = { tenant: 'default', realm: 'local' }
const ROW: ScimRow = {
  kind: 'User',
  id: '1',
  name: 'alice',
  externalId: null,
  version: 1,
  body: JSON.stringify({ roles: [{ value: 'dev' }], entitlements: [{ value: 'gold' }] }),
  createdAt: 0,
  changedAt: 0,
}
const directory = (rows: readonly ScimRow[] | Error) =>
  createScimDirectory({
    scim: {
      get: () => Promise.resolve(null),
      find: () => (rows instanceof Error ? Promise.reject(rows) : Promise.resolve(rows)),
      groups: () => Promise.resolve([{ id: 'g', kind: 'Group', name: 'staff', direct: true }]),
    },
    of,
    user: 'userName',
    clock: { mono: () => 0 },
    seen: { answered: () => {}, failed: () => {} },
  })

test('what was pushed is what is known, without an age', async () => {
  expect(await directory([ROW]).ask({ ...of, id: 'alice' }, 0)).toMatchObject({
    active: true,
    groups: ['staff'],
    roles: ['dev'],
    entitlements: ['gold'],
    source: 'scim',
    asOf: null,
  })
})

test('people of another tenant or realm are nobody, two of one id and a broken store are no answer', async () => {
  expect(await directory([ROW]).ask({ ...of, tenant: 'other', id: 'alice' }, 0)).toBeNull()
  expect(await directory([ROW]).ask({ ...of, realm: 'other', id: 'alice' }, 0)).toBeNull()
  expect(await directory([]).ask({ ...of, id: 'alice' }, 0)).toBeNull()
  await expect(directory([ROW, ROW]).ask({ ...of, id: 'alice' }, 0)).rejects.toThrow('several')
  await expect(directory(new Error('x')).ask({ ...of, id: 'alice' }, 0)).rejects.toThrow('store')
  expect(personIn(of, 'externalId', ROW)).toBeNull()
})
