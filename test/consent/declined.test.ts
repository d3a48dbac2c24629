import { expect, test } from 'vitest'
import { createDeclined } from '../../proxy/consent/declined.ts'
import type { FlowRow, Store } from '../../proxy/model.ts'

const HOUR = 3_600_000
const NOW = 10 * HOUR
const who = {
  person: { tenant: 'default', realm: 'corp', id: 'alice' },
  agent: 'triage',
  connection: 'github',
}
const row = (change: Partial<FlowRow> = {}): FlowRow => ({
  hash: 'f1',
  nonce: 'n',
  tenant: 'default',
  realm: 'corp',
  user: 'alice',
  agent: 'triage',
  connection: 'github',
  scopes: ['repo'],
  reauthorization: false,
  status: 'failed',
  failure: 'denied',
  nextUri: null,
  createdAt: NOW - 1_000,
  expiresAt: NOW + HOUR,
  stateHash: null,
  cookieHash: null,
  sealedLeg: null,
  legExpiresAt: null,
  endedAt: NOW - 500,
  ...change,
})
/** @param ended newest first, as the store gives them */
const ask = (ended: readonly FlowRow[], open: readonly FlowRow[] = []) => {
  const since: number[] = []
  const flows: Pick<Store['flows'], 'endedSince' | 'open'> = {
    endedSince: (_person, _agent, _connection, from) => {
      since.push(from)
      return Promise.resolve(ended)
    },
    open: () => Promise.resolve(open),
  }
  const declined = createDeclined({ flows: flows as Store['flows'] }, { now: () => NOW }, HOUR)
  return { since, of: (...scopes: readonly string[]) => declined(who, scopes) }
}

test('a No counts for as long as it says, from the moment it was said', async () => {
  const { of, since } = ask([row()])
  expect(await of('repo')).toEqual({
    authorizationId: 'ac_f1',
    scopes: ['repo'],
    declined: { at: NOW - 500, until: NOW - 500 + HOUR },
  })
  expect(since).toEqual([NOW - HOUR])
})

test('to the same or to more, not to something else', async () => {
  const { of } = ask([row()])
  expect(await of('gist', 'repo')).not.toBeNull()
  expect(await of('gist')).toBeNull()
  expect(await of()).toBeNull()
})

test.each<[string, readonly FlowRow[]]>([
  ['nobody was asked', []],
  ['a link only ended', [row({ failure: 'expired' })]],
  ['they said yes since', [row({ hash: 'f2', status: 'completed', failure: null }), row()]],
])('they may be asked where %s', async (_name, ended) => {
  expect(await ask(ended).of('repo')).toBeNull()
})

test('an earlier Yes does not undo it', async () => {
  const ended = [row(), row({ hash: 'f0', status: 'completed', failure: null })]
  expect(await ask(ended).of('repo')).toMatchObject({ authorizationId: 'ac_f1' })
})

test.each<[string, Partial<FlowRow>, boolean]>([
  ['a newer link asks for it', {}, true],
  ['that link asks for more than was refused', { scopes: ['gist', 'repo'] }, true],
  ['that link asks for something else', { scopes: ['gist'] }, false],
  ['that link has ended', { expiresAt: NOW }, false],
  ['that link is older than the No', { createdAt: NOW - 501 }, false],
  ['that link is another agent’s', { agent: 'other' }, false],
  ['that link is for another connection', { connection: 'other' }, false],
])('made on purpose: %s', async (_name, change, anew) => {
  const open = row({
    hash: 'f2',
    status: 'pending',
    failure: null,
    createdAt: NOW - 500,
    ...change,
  })
  expect((await ask([row()], [open]).of('gist', 'repo')) === null).toBe(anew)
})
