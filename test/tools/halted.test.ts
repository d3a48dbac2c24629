// What is told of a tool that stopped in the middle.
import { expect, test } from 'vitest'
import { toldHalted } from '../../proxy/tools/halted.ts'

const halted = {
  operation: 'notes.announce',
  done: [
    { operation: 'notes.create', answers: [{ id: 'n' }] },
    { operation: 'notes.upload', answers: [1, 2] },
  ],
}
const refused = (code: string) => ({
  kind: 'refused' as const,
  status: 403,
  code,
  document: {
    code,
    detail: 'Show this link and repeat the call.',
    url: 'https://u',
    authorization_id: 'a',
  },
  headers: new Map<string, string>(),
})
const failed = {
  kind: 'failed' as const,
  status: 409,
  message: 'the provider answered 409',
  value: { no: 1 },
  retryAfter: null,
}

test('nothing, where nothing was done', () => {
  expect(toldHalted(failed)).toBe(null)
  expect(toldHalted(refused('approval_required'))).toBe(null)
})
test('what was done, what it stopped at, and the answer to that', () => {
  expect(toldHalted({ ...failed, halted })).toEqual({
    message:
      'The provider answered 409. That stopped the tool at notes.announce, and done already is: notes.create, notes.upload (2 times). Do not call it again: that would be done again.',
    extra: { stopped_at: 'notes.announce', done: halted.done, answer: { no: 1 } },
  })
})
test('a link that helps the next call stays; one for a call that nobody can repeat is not handed out', () => {
  const consent = toldHalted({ ...refused('consent_required'), halted })
  expect(consent?.extra['answer']).toMatchObject({ url: 'https://u' })
  expect(consent?.message).toContain('Prefer: wait')
  const approval = toldHalted({ ...refused('approval_required'), halted })
  expect(approval?.extra['answer']).toEqual({ code: 'approval_required' })
  expect(approval?.message).not.toContain('repeat')
})
