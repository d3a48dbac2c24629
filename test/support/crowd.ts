// A vault in which very many people connected accounts: rows as consents would have left them.
import { DatabaseSync } from 'node:sqlite'

/** Of `acme` for `agent-0` to `agent-9`; each third person has `stream` besides. The database must not be in use. */
export const crowd = (path: string, people: number, tenant = 'north'): void => {
  const db = new DatabaseSync(path)
  const account = db.prepare(
    `INSERT INTO credentials (id, tenant, realm, user_id, connection, provider, slot, account_id, account, status, generation, scopes, sealed, stored_at) VALUES (?, ?, 'corp', ?, ?, ?, 'default', ?, ?, 'active', 1, '["notes"]', 'jwe', 1)`,
  )
  const grant = db.prepare(
    `INSERT INTO grants (tenant, realm, user_id, connection, agent, scopes, at) VALUES (?, 'corp', ?, ?, ?, '["notes"]', 1)`,
  )
  db.exec('BEGIN')
  for (let n = 0; n < people; n += 1) {
    const id = `person-${String(n).padStart(7, '0')}@north.example`
    for (const connection of n % 3 === 0 ? ['acme', 'stream'] : ['acme']) {
      account.run(`${tenant}-${connection}-${n}`, tenant, id, connection, connection, id, id)
      grant.run(tenant, id, connection, `agent-${n % 10}`)
    }
  }
  db.exec('COMMIT')
  db.close()
}
