// `deputy audit whois`: which person a name of the evidence is (`audit.user_ids: hashed`), for whoever holds vault and key ring.
import type { Loaded } from '../config/load.ts'
import { visible } from '../observe/log.ts'
import { messageOf } from '../problem.ts'
import { whoseNames } from './people_names.ts'

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
    for (const { name, person, erasedAt, tried } of await whoseNames(
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
          ? `${name} is none of the ${tried} people tried`
          : `${name} was erased at ${erasedAt}: no key is left that tells who it was`,
      )
    }
    return lost === 0 ? 0 : 1
  } catch (error) {
    complain(messageOf(error))
    return 1
  }
}
