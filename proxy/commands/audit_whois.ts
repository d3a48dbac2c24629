// `deputy audit whois`: which person an `hmac:…` of the evidence is, for whoever holds the key ring (`audit.user_ids: hashed`).
import { existsSync } from 'node:fs'
import { ringsOf } from '../compose/snapshot.ts'
import { controlSocket } from '../config/address.ts'
import type { Loaded } from '../config/load.ts'
import { visible } from '../observe/log.ts'
import { messageOf } from '../problem.ts'
import { openStore } from '../store/open.ts'
import { readRing } from '../vault/rotate.ts'
import { createSealer, type KeyRing } from '../vault/seal.ts'
import { QUIET } from './aside.ts'
import { member, overSocket, type Reach } from './operate.ts'

type Options = {
  readonly loaded: Loaded
  /** As the evidence has them: `hmac:` and 43 characters. */
  readonly hashes: readonly string[]
  /** Who it may be; empty: whoever the vault knows. */
  readonly users: readonly string[]
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}

const HASH = /^hmac:[\w-]{43}$/
/** The most that the API gives at once. */
const PAGE = 100

/** As `records.ts` writes a person, under each key that the ring has or had; the newest first. */
const hashesOf = (ring: KeyRing): ((id: string) => readonly string[]) => {
  const sealers = ring.hash.toReversed().map((key) => createSealer({ ...ring, hash: [key] }))
  return (id) => sealers.map(({ hmac }) => `hmac:${hmac('user', id)}`)
}

const overApi = async ({ ask }: Reach): Promise<readonly string[]> => {
  const ids: string[] = []
  for (let total = Infinity; ids.length < total;) {
    const path = `/v1/admin/user_connections?limit=${PAGE}&offset=${ids.length}`
    const { status, body } = await ask('GET', path)
    const items = member(body, 'items')
    if (status !== 200 || !Array.isArray(items)) throw new Error(String(member(body, 'detail')))
    if (items.length === 0) break
    ids.push(...items.map((item) => String(member(item, 'user_id'))))
    total = Number(member(body, 'total_count'))
  }
  return ids
}

/** Everybody with a connection: asked of the deputy that serves here, else of the vault itself. */
const known = async ({ config, written }: Loaded): Promise<readonly string[]> => {
  const { store: named } = config.vault
  const beside = await overSocket(controlSocket(named, written))
  if (beside !== null) return overApi(beside)
  // A vault that is not there is not made for this.
  if (named.startsWith('sqlite:') && !existsSync(written(named.slice('sqlite:'.length)))) return []
  const store = await openStore(named, written, QUIET)
  try {
    return (await store.credentials.list({})).map(({ user }) => user)
  } finally {
    await store.close()
  }
}

/** @returns exit code: 0 each is somebody; 1 one is nobody who was tried, or nobody could be asked; 64 nothing was asked */
export const auditWhois = async ({ loaded, hashes, users, ...io }: Options): Promise<number> => {
  const complain = (line: string): void => io.complain(visible(line))
  const print = (...fields: readonly string[]): void => io.print(fields.map(visible).join('\t'))
  const odd = hashes.find((hash) => !HASH.test(hash))
  if (odd !== undefined || hashes.length + users.length === 0) {
    complain(
      odd === undefined
        ? 'name hashes as the evidence has them (hmac:…), or people with --user'
        : `${odd} is no hash of a person: it is hmac: and 43 characters`,
    )
    return 64
  }
  try {
    const ring = await readRing(loaded.at(loaded.config.vault.keys), ringsOf(loaded))
    const hashed = hashesOf(ring)
    if (hashes.length === 0) {
      for (const id of users) for (const hash of hashed(id)) print(hash, id)
      return 0
    }
    const tried = [...new Set(users.length > 0 ? users : await known(loaded))]
    const people = new Map(tried.flatMap((id) => hashed(id).map((hash) => [hash, id] as const)))
    const lost = hashes.filter((hash) => !people.has(hash))
    for (const hash of hashes) {
      const id = people.get(hash)
      if (id !== undefined) print(hash, id)
    }
    for (const hash of lost) complain(`${hash} is none of the ${tried.length} people tried`)
    return lost.length === 0 ? 0 : 1
  } catch (error) {
    complain(messageOf(error))
    return 1
  }
}
