// How the evidence names people, asked of the deputy of this machine, or of its vault while nobody serves.
import { existsSync } from 'node:fs'
import { controlSocket } from '../config/address.ts'
import type { Loaded } from '../config/load.ts'
import { reachLocal } from './local.ts'
import { member, overSocket } from './operate.ts'

/** Where a name leads: `person` null where to nobody; then `erasedAt` (ISO 8601) or how many people were `tried`. */
export type Led = {
  readonly name: string
  readonly person: { readonly id: string; readonly tenant: string; readonly realm: string } | null
  readonly erasedAt: string | null
  readonly tried: number
}
const textOf = (value: unknown, name: string): string => String(member(value, name) ?? '')
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
