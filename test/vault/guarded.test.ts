import { expect, test } from 'vitest'
import { Problem } from '../../proxy/problem.ts'
import { createGuarded } from '../../proxy/vault/guarded.ts'

class Own extends Error {}
const guarded = createGuarded('it cannot be read now', (error) => error instanceof Own)
const failing = (cause: Error) => guarded(() => Promise.reject(cause))

test('what the store says passes, and its failure is one problem with its cause', async () => {
  expect(await guarded(() => Promise.resolve(7))).toBe(7)
  const cause = new Error('the disk is gone')
  await expect(failing(cause)).rejects.toMatchObject({
    code: 'vault_unavailable',
    message: 'it cannot be read now',
    cause,
  })
})

test('a problem and an error of the work itself stay what they are', async () => {
  for (const error of [new Problem('not_found', 'there is none'), new Own('another account')])
    await expect(failing(error)).rejects.toBe(error)
})
