// Grants that nobody used for long, in a whole deputy: who keeps them, and who does not.
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { prepareFolder, providersAt, startDeputy, until } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'

const DAY = 86_400_000

test('a whole deputy refreshes idle grants of people whom source and policy allow, says so, and nobody else’s', async ({
  onTestFinished,
}) => {
  const upstream = await startUpstream()
  onTestFinished(() => upstream.close())
  const people = ['alice', 'bob', 'carol', 'dave']
  const setup = {
    upstream: upstream.origin,
    config: {
      providers: providersAt(upstream.origin).map((one) => ({ ...one, refresh_idle_days: 60 })),
    },
    people: [
      { id: 'alice', groups: ['staff'] },
      { id: 'bob', groups: ['staff'], active: false },
      { id: 'carol', groups: [] },
    ],
    held: people.map((person) => ({
      person,
      token: `at-${person}-0123456789`,
      refresh: `rt-${person}-1`,
      agedMs: 45 * DAY,
    })),
  }
  const dir = await prepareFolder(setup)
  const db = new DatabaseSync(join(dir, 'deputy.db'))
  db.exec('UPDATE credentials SET idle_from = stored_at + 1') // their spread is over
  db.close()
  const deputy = await startDeputy(setup, dir)
  onTestFinished(() => deputy.close())
  const decided = () =>
    deputy.evidence().filter(({ event }) => event === 'connection.decided').length
  await until(() => decided() === 2 && upstream.refreshes.length === 1, 'a pass')
  await until(
    () => deputy.evidence().some(({ event }) => event === 'connection.refreshed'),
    'the record',
  )
  expect(upstream.refreshes.map((form) => form.get('refresh_token'))).toEqual(['rt-alice-1'])
  const lines = deputy.evidence()
  expect(lines.find(({ event }) => event === 'connection.refreshed')).toMatchObject({
    user: { id: 'alice' },
    connection: 'acme',
    generation: 2,
    idle_days: 45,
    result: 'refreshed',
  })
  // Whom the source does not list as active policy is not even asked about.
  const effects = lines
    .filter(({ event }) => event === 'connection.decided')
    .map(({ user, decision }) => [
      (user as { id: string }).id,
      (decision as { effect: string }).effect,
    ])
  expect(Object.fromEntries(effects)).toEqual({ alice: 'allow', carol: 'deny' })
  const counted = async (): Promise<readonly string[]> =>
    (await (await fetch(`http://${deputy.admin}/metrics`)).text())
      .split('\n')
      .filter((line) => line.startsWith('deputy_idle_refreshes_total'))
      .toSorted()
  await expect
    .poll(counted)
    .toEqual([
      'deputy_idle_refreshes_total{provider="acme",outcome="not_allowed"} 3',
      'deputy_idle_refreshes_total{provider="acme",outcome="refreshed"} 1',
    ])
})
