// A name for a person that tells nothing to anybody who does not have the database.
import { createHmac } from 'node:crypto'
import type { Person } from '../model.ts'

/**
 * What stands for a person where only "has something of theirs been revoked?" is asked, also after
 * they were erased. The key is the database's own: it tells nothing to whoever does not hold the
 * database.
 */
export const pseudonym = (key: string, { tenant, realm, id }: Person): string =>
  createHmac('sha256', key)
    .update(JSON.stringify([tenant, realm, id]))
    .digest('base64url')
