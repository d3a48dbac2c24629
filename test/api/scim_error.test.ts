import { expect, test } from 'vitest'
import { errorBody } from '../../proxy/api/scim_error.ts'

test('the status is text, and the type is there only if there is one', () => {
  expect(JSON.parse(errorBody(404, null, 'gone'))).toEqual({
    schemas: ['urn:ietf:params:scim:api:messages:2.0:Error'],
    status: '404',
    detail: 'gone',
  })
  expect(JSON.parse(errorBody(409, 'uniqueness', 'x'))).toMatchObject({ scimType: 'uniqueness' })
})
