import { expect, test } from 'vitest'
import type { Decision } from '../../proxy/model.ts'
import { obligations } from '../../proxy/pipeline/obligations.ts'
import { codeOf } from '../wire/fixture.ts'

const allowWith = (given: Decision['obligations']): Decision =>
  ({ effect: 'allow', obligations: given }) as unknown as Decision

test('an obligation of any type turns the permit into a refusal; none leaves it', () => {
  expect(codeOf(() => obligations(allowWith({})))).toBeNull()
  for (const type of ['rate_limit', 'log', ''])
    expect(codeOf(() => obligations(allowWith({ slow: { type, properties: {} } })))).toBe(
      'obligation_refused',
    )
})
