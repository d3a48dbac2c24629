// `deputy audit whois`: which person a name of the evidence is (`audit.user_ids: hashed`), for whoever holds vault and key ring.
import { existsSync } from 'node:fs'
import { controlSocket } from '../config/address.ts'
import type { Loaded } from '../config/load.ts'
import { visible } from '../observe/log.ts'
import { messageOf } from '../problem.ts'
import { reachLocal } from './local.ts'
import { member, overSocket, textOf } from './operate.ts'

/**
 * Where a name leads: `person` null where to nobody; then `erasedAt` (ISO 8601), or how many people were `tried`, and of how
 * many the key did not open.
 */
type Led = {
  readonly name: string
  readonly person: { readonly id: string; readonly tenant: string; readonly realm: string } | null
  readonly erasedAt: string | null
  readonly tried: number
  readonly unopened: number
}
const ledOf = (item: unknown): Led => ({
  name: textOf(item, 'name'),
  person:
    member(item, 'user_id') === undefined
      ? null
      : {
          id: textOf(item, 'user_id'),
          tenant: textOf(item, 'tenant'),
          realm: textOf(item, 'realm'),
        },
  erasedAt: member(item, 'erased_at') === undefined ? null : textOf(item, 'erased_at'),
  tried: Number(member(item, 'tried') ?? 0),
  unopened: Number(member(item, 'unopened') ?? 0),
})

/**
 * @param names whose these are; empty: what those of `users` are
 * @throws Error that says what is wrong with the vault or the keys
 */
export const whoseNames = async (
  loaded: Loaded,
  names: readonly string[],
  users: readonly string[],
  complain: (line: string) => void,
): Promise<readonly Led[]> => {
  const { store } = loaded.config.vault
  const file = store.startsWith('sqlite:') ? loaded.written(store.slice('sqlite:'.length)) : null
  // A vault that is not there is not made for this.
  const served = await overSocket(controlSocket(store, loaded.written))
  if (served === null && file !== null && !existsSync(file))
    throw new Error(`${file} does not exist: there is no vault that knows anybody`)
  const reach = served ?? (await reachLocal(loaded, complain))
  try {
    const { status, body } = await reach.ask('POST', '/v1/admin/whois', { names, users })
    const items = member(body, 'items')
    if (status !== 200 || !Array.isArray(items))
      throw new Error(`${status}: ${textOf(body, 'detail')}`)
    return items.map(ledOf)
  } finally {
    await reach.close()
  }
}

type Options = {
  readonly loaded: Loaded
  /** As the evidence has them: `hmac2:` or `hmac:`, and 43 characters. */
  readonly hashes: readonly string[]
  /** Who it may be; empty: whoever the vault knows. */
  readonly users: readonly string[]
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}

const HASH = /^hmac2?:[\w-]{43}$/

/** @returns exit code: 0 each is somebody; 1 one is nobody, was erased, or nobody could be asked; 64 nothing was asked */
export const auditWhois = async ({ loaded, hashes, users, ...io }: Options): Promise<number> => {
  const complain = (line: string): void => io.complain(visible(line))
  const print = (...fields: readonly string[]): void => io.print(fields.map(visible).join('\t'))
  const odd = hashes.find((hash) => !HASH.test(hash))
  if (odd !== undefined || hashes.length + users.length === 0) {
    complain(
      odd === undefined
        ? 'name hashes as the evidence has them (hmac2:…), or people with --user'
        : `${odd} is no hash of a person: it is hmac2: or hmac: and 43 characters`,
    )
    return 64
  }
  try {
    let lost = 0
    for (const { name, person, erasedAt, tried, unopened } of await whoseNames(
      loaded,
      [...new Set(hashes)],
      users,
      complain,
    )) {
      if (person !== null) {
        print(name, person.id, person.tenant, person.realm)
        continue
      }
      lost += 1
      complain(
        erasedAt === null
          ? `${name} is none of the ${tried} people tried${unopened === 0 ? '' : `, unless it is one of ${unopened} whose key the ring does not open`}`
          : `${name} was erased at ${erasedAt}: no key is left that tells who it was`,
      )
    }
    return lost === 0 ? 0 : 1
  } catch (error) {
    complain(messageOf(error))
    return 1
  }
}
