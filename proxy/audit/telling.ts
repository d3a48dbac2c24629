// Which words of a record tell who a person is, and what stands there instead.
import { follow } from '../follow.ts'
import type { Person } from '../model.ts'
import { UNNAMED, type Name, type Names } from './names.ts'

/** Events about people of whom others speak, who may never have been here: no key is made for them. */
const OF_OTHERS = /^(?:operator|person|tenant|signal|entitlement)\./

type Fields = Readonly<Record<string, unknown>>
const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null
/** null: it does not say all three parts, so it is nobody in particular. */
const personIn = (value: unknown): Person | null => {
  if (!isFields(value)) return null
  const { tenant, realm, id } = value
  return typeof tenant === 'string' && typeof realm === 'string' && typeof id === 'string'
    ? { tenant, realm, id }
    : null
}
export const NOBODY: Name = { id: UNNAMED, mask: () => UNNAMED }

/** @param deps.names null: people are named as they are, and what is masked is under a key of the ring */
export const createTeller = ({
  names,
  hmac,
}: {
  readonly names: Names | null
  readonly hmac: (purpose: string, text: string) => string
}) => {
  const mask = (purpose: string, text: string): string => `hmac:${hmac(purpose, text)}`
  const of = (person: Person): Name | Promise<Name> => names?.of(person) ?? { id: person.id, mask }
  /** Somebody whose key cannot be had is not named: what ended, or was refused, is recorded all the same. */
  const known = (person: Person): Name | Promise<Name> => {
    if (names === null) return { id: person.id, mask }
    const found = names.known(person)
    return found instanceof Promise
      ? found.then(
          (name) => name ?? NOBODY,
          () => NOBODY,
        )
      : found
  }

  /** A member of an event that holds a person, or names people of the same tenant and realm by their ids. */
  const shown = async (
    [member, value]: readonly [string, unknown],
    { subject, named }: { readonly subject: Person | null; readonly named: typeof of },
  ): Promise<unknown> => {
    const idOf = async (id: unknown): Promise<string> =>
      subject === null ? UNNAMED : (await named({ ...subject, id: String(id) })).id
    if (Array.isArray(value) && member === 'by') return Promise.all(value.map(idOf))
    if (Array.isArray(value) && member === 'approvers')
      return Promise.all(value.map(async (one: Fields) => ({ ...one, id: await idOf(one['id']) })))
    if (!isFields(value) || (member !== 'user' && member !== 'by') || !('id' in value)) return value
    const person = personIn(value)
    return { ...value, id: person === null ? UNNAMED : (await named(person)).id }
  }

  return {
    known,
    /** Of whom a decision is. @param somebody a key is made where they have none. Rejects as `Names.of` */
    decided: (person: Person, somebody: boolean): Name | Promise<Name> => {
      if (names === null || somebody) return of(person)
      return follow(names.known(person), (name) => name ?? NOBODY)
    },
    /** The members of an event without a person, an account or an address in clear. Rejects as `Names.of`. */
    event: async (event: string, fields: Fields): Promise<Fields> => {
      const named = OF_OTHERS.test(event) ? known : of
      const subject = personIn(fields['user'])
      const at = personIn(fields['by']) ?? subject
      const told: Record<string, unknown> = {}
      for (const [member, value] of Object.entries(fields)) {
        told[member] = await shown([member, value], { subject, named })
        if (member === 'account' && value != null) {
          const name = subject === null ? NOBODY : await named(subject)
          const text = typeof value === 'string' ? value : JSON.stringify(value)
          told[member] = name.mask('account', text)
        }
        if (member === 'from' && isFields(value) && 'address' in value) {
          const name = at === null ? NOBODY : await named(at)
          told[member] = { ...value, address: name.mask('address', String(value['address'])) }
        }
      }
      return told
    },
  }
}
