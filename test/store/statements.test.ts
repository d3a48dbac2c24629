import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { MIGRATIONS } from '../../proxy/store/migrations.ts'
import { PAGE_OF_PEOPLE, personal } from '../../proxy/store/personal.ts'
import { below, GROUPS, MEMBERS, present } from '../../proxy/store/scim.ts'
import { statements } from '../../proxy/store/statements.ts'

const db = new DatabaseSync(':memory:')
for (const text of MIGRATIONS) db.exec(text)
const sql = statements(':now', '0')
const PERSON = { tenant: '', realm: '', user: '' }

/** Tables that a statement reads from end to end, and how. */
const scanned = (text: string): readonly string[] =>
  db
    .prepare(`EXPLAIN QUERY PLAN ${text}`)
    .all()
    .map(({ detail }) => String(detail))
    .filter((detail) =>
      /^SCAN [a-z]+_[a-z_]+|^SCAN (?:credentials|grants|flows|runs|standings|notices|asks)/.test(
        detail,
      ),
    )

/** What reads a whole table, and why it may. */
const WHOLE: Readonly<Record<string, string>> = {
  // After the clock of the machine was set.
  limitsLater: 'limit_counts',
  limitsCapped: 'limit_counts',
  historyLater: 'call_history',
  historyCapped: 'call_history',
  // An operator's command.
  voidLinks: 'flows',
  // Once a minute, over what lives for hours or days.
  sweepAsks: 'asks',
  sweepErasedNames: 'erased_names',
  sweepRuns: 'runs',
  sweepSessions: 'ended_sessions',
  // Once a minute, in an index that holds little else.
  clients: 'credentials',
  // Tables of few rows, and the first row of a table.
  agentsOff: 'disabled_agents',
  probe: 'write_probe',
  check: 'credentials',
}

test('no statement reads a whole table but those that may: a million people make such a one take seconds', () => {
  const found = Object.entries(sql).flatMap(([name, text]) =>
    scanned(typeof text === 'string' ? text : text(PERSON)).map((detail) => [
      name,
      detail.split(' ')[1] ?? '',
    ]),
  )
  expect(Object.fromEntries(found)).toEqual(WHOLE)
  expect(scanned(sql.clients)).toEqual(['SCAN credentials USING COVERING INDEX credentials_client'])
})

test('a page of connections is read in the order of an index, and nothing is sorted for it', () => {
  for (const also of ['', ' AND tenant IN (:tenant0, :tenant1)', ' AND provider = :wanted']) {
    const plan = db.prepare(`EXPLAIN QUERY PLAN ${sql.page({}, also)}`).all()
    expect(plan.map(({ detail }) => String(detail)).join()).toMatch(
      /^(?:SCAN|SEARCH) credentials USING INDEX \S+( \(tenant=\?\))?$/,
    )
    expect(sql.counted({}, also)).toContain(' LIMIT :most)')
  }
})

test('a page of a tenant’s people takes no more of any table than the page, and no row', () => {
  const tables = db
    .prepare(`EXPLAIN QUERY PLAN ${PAGE_OF_PEOPLE}`)
    .all()
    .map(({ detail }) => String(detail))
    .filter((detail) => /(?:INDEX|KEY)/.test(detail))
  expect(tables.length).toBeGreaterThan(5)
  for (const detail of tables) expect(detail).toMatch(/tenant=\? AND \(realm,user_id\)>/)
})

test('nobody’s groups, and no group’s members, take a look at all members or resources of the realm', () => {
  for (const text of [GROUPS, MEMBERS, below(3), present(200)]) {
    const plan = db.prepare(`EXPLAIN QUERY PLAN ${text}`).all()
    const details = plan.map(({ detail }) => String(detail))
    expect(details.filter((detail) => /^SCAN scim_|AUTOMATIC/.test(detail))).toEqual([])
    const searches = details.filter((detail) =>
      / USING (?:COVERING )?(?:INDEX|PRIMARY)/.test(detail),
    )
    expect(searches.length).toBeGreaterThan(0)
    for (const detail of searches) expect(detail).toMatch(/ AND (?:id|member_id|group_id)=\?/)
  }
})

test.each(['userName', 'externalId', 'id'] as const)(
  'what is kept of a person is found by an index, whichever name SCIM has them by: %s',
  (scim) => {
    const plans = personal(scim).flatMap(({ table, whose }) =>
      db.prepare(`EXPLAIN QUERY PLAN SELECT 1 FROM ${table} WHERE ${whose}`).all(),
    )
    const columns = { userName: 'exact', externalId: 'external_id', id: 'id' }
    const details = plans.map(({ detail }) => String(detail))
    expect(details.filter((detail) => detail.startsWith('SCAN'))).toEqual([])
    const pushed = details.filter((detail) => detail.startsWith('SEARCH scim_resources'))
    expect(pushed).toHaveLength(2)
    for (const detail of pushed) expect(detail).toContain(` AND ${columns[scim]}=?`)
  },
)

test('what is asked of a person is found by an index, and a list of everybody is asked for in so many words', () => {
  for (const list of [sql.list, sql.runs, sql.standings, sql.openAsks, sql.endSignIns]) {
    expect(scanned(list(PERSON))).toEqual([])
    expect(list({})).not.toContain(':user')
  }
  expect(scanned(sql.list({}))).toHaveLength(1)
})
