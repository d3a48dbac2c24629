// How the evidence names people under `audit.user_ids: hashed`: by an HMAC under a key of each person's own, which is
// sealed in the store. Who is erased loses it, and no key on earth tells whom these lines were about.
import { createHmac } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import type { Clock, Person, PersonKeyRow, Store } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Sealer } from '../vault/seal.ts'

/** A person as the evidence names them. */
export type Name = {
  readonly id: string
  /** What stands for an account, an address or a word of theirs. */
  readonly mask: (purpose: string, text: string) => string
}
export type Names = {
  /**
   * Makes a key for whoever has none; at once where it is remembered. Rejects with Problem `audit_unavailable` when the
   * store or the ring does not give it.
   */
  readonly of: (person: Person) => Name | Promise<Name>
  /** Makes none: a stranger's id costs no row. null: they have none. Rejects as `of`. */
  readonly known: (person: Person) => Name | Promise<Name | null>
  readonly close: () => void
}

/** How names under a key of the person's own begin; those under a key of the ring begin with `hmac:`. */
export const OWN = 'hmac2:'
/** Somebody of whom no key is kept: whoever was never let in, or is erased. */
export const UNNAMED = 'hmac2:nobody'
/** Does this text stand for one that the evidence does not tell? */
export const isHidden = (text: string): boolean => text.startsWith(OWN) || text.startsWith('hmac:')

const PURPOSE = 'evidence name'
const DAY_MS = 86_400_000
/** Names that are remembered. */
const MOST = 10_000

const boundOf = ({ tenant, realm, id }: Person) => ({ tenant, realm, user: id })
const nameUnder = (key: string, { tenant, realm, id }: Person): Name => {
  const secret = Buffer.from(key, 'base64url')
  const mask = (purpose: string, text: string): string =>
    OWN +
    createHmac('sha256', secret)
      .update(JSON.stringify([purpose, text]))
      .digest('base64url')
  return { id: mask('user', JSON.stringify([tenant, realm, id])), mask }
}
type Opener = Pick<Sealer, 'openText'>
/** Rejects where the ring does not open it. */
export const nameOf = async (sealer: Opener, { person, sealed }: PersonKeyRow): Promise<Name> =>
  nameUnder(await sealer.openText(PURPOSE, boundOf(person), sealed), person)

type Deps = {
  readonly store: Pick<Store, 'personKeys' | 'subscribe'>
  readonly sealer: Pick<Sealer, 'sealText' | 'openText'>
  readonly clock: Pick<Clock, 'now'>
  readonly newId: () => string
  readonly randomBytes: (size: number) => Buffer
}

export const createNames = ({ store, sealer, clock, newId, randomBytes }: Deps): Names => {
  // Looked at again after a day, so that a key that is in use is seen to be.
  const remembered = new LRUCache<string, Name>({ ...room(MOST), ttl: DAY_MS })
  const looking = new Map<string, Promise<Name | null>>()
  let erasures = 0
  const end = store.subscribe('person_key', (key) => {
    erasures += 1
    looking.clear()
    if (key === '*') remembered.clear()
    else remembered.delete(key)
  })

  const kept = async (person: Person, make: boolean): Promise<PersonKeyRow | null> => {
    const found = await store.personKeys.find(person)
    if (found !== null || !make) return found
    const sealed = await sealer.sealText(
      PURPOSE,
      boundOf(person),
      randomBytes(32).toString('base64url'),
    )
    return store.personKeys.put({ id: newId(), person, sealed, at: clock.now() })
  }
  const read = async (key: string, person: Person, make: boolean): Promise<Name | null> => {
    const before = erasures
    try {
      const row = await kept(person, make)
      if (row === null) return null
      if (clock.now() - row.usedAt > DAY_MS) await store.personKeys.used(row.id, clock.now())
      const name = await nameOf(sealer, row)
      // What was read before an erasure is not remembered after it.
      if (before === erasures) remembered.set(key, name)
      return name
    } catch (cause) {
      const why = 'the key under which the evidence names this person could not be had'
      throw new Problem('audit_unavailable', why, { cause })
    }
  }
  const look = (key: string, person: Person, make: boolean): Promise<Name | null> => {
    const place = `${make ? '+' : '-'}${key}`
    const under = looking.get(place)
    if (under !== undefined) return under
    const work = read(key, person, make).finally(() => {
      if (looking.get(place) === work) looking.delete(place)
    })
    looking.set(place, work)
    return work
  }
  const keyOf = ({ tenant, realm, id }: Person): string => JSON.stringify([tenant, realm, id])

  return {
    of: (person) => {
      const key = keyOf(person)
      return (
        remembered.get(key) ??
        look(key, person, true).then((name) => {
          if (name !== null) return name
          throw new Problem('audit_unavailable', 'the person was erased at this moment')
        })
      )
    },
    known: (person) => {
      const key = keyOf(person)
      return remembered.get(key) ?? look(key, person, false)
    },
    close: end,
  }
}
