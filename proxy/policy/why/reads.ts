// What of an input may a policy look at? A module keeps every name that its rules write as a text in its own bytes, and
// rows say by their keys what they ask for. Pure.
import type { JsonObject } from '../../model.ts'
import { isObject } from '../../wire/json.ts'
import { concerns } from '../../wire/pattern.ts'

/** What the answer to one call may hang on, besides who calls and where to. */
export type Reads = {
  /** Does a rule or a table write this name, or this JSON pointer? */
  readonly names: (text: string) => boolean
  /** Members of the input that a row asks for which may cover the operation, as `user.auth`. */
  readonly rows: (
    lineage: readonly string[],
    operation: { readonly id: string; readonly access: string },
  ) => ReadonlySet<string>
  /** Do the tables say to whom mail may go? */
  readonly domains: (lineage: readonly string[]) => boolean
  /** Do the tables hide what a GraphQL selection names? */
  readonly selections: (lineage: readonly string[]) => boolean
}

/** Keys of a row, and the member of the input that they ask for where they ask for something. */
const ASKED: Readonly<Record<string, string>> = {
  step_up: 'user.auth',
  approval: 'approvals',
  history: 'history',
  arguments: 'request.body',
  max_body_bytes: 'request.body',
  mail: 'request.mail',
}
/** Neither nothing, nor a list or an object of nothing. */
const asks = (value: unknown): boolean =>
  value !== undefined &&
  value !== null &&
  !(typeof value === 'object' && Object.keys(value).length === 0)

/** `*`, `a.b.c`, `a.b.*` */
export const namesOperation = (name: unknown, id: string): boolean =>
  typeof name === 'string' && concerns(name, id)

const own = (table: unknown, name: string): unknown =>
  isObject(table) && Object.hasOwn(table, name) ? table[name] : undefined

type ReadBy = {
  readonly wasm: Uint8Array
  readonly tables: ReadonlyMap<string, JsonObject>
}

/** Of several policies that are compared: what any of them may look at. */
export const readsOf = (policies: readonly ReadBy[]): Reads => {
  const texts = policies.map(({ wasm, tables }) => ({
    // Texts end with a zero there; what ends with a longer one is found too, which errs on the side of doubt.
    module: Buffer.from(wasm.buffer, wasm.byteOffset, wasm.byteLength),
    // Its own probes are no part of what a policy decides by.
    data: JSON.stringify([...tables].filter(([name]) => name !== 'probes')),
  }))
  const known = new Map<string, boolean>()
  const rowsFor = new Map<string, ReadonlySet<string>>()
  return {
    names: (text) => {
      let found = known.get(text)
      if (found === undefined) {
        found = texts.some(
          ({ module, data }) =>
            module.includes(`\0${text}\0`) || data.includes(JSON.stringify(text)),
        )
        if (known.size < 10_000) known.set(text, found)
      }
      return found
    },
    rows: (lineage, { id, access }) => {
      const key = JSON.stringify([lineage, id, access])
      let members = rowsFor.get(key)
      if (members === undefined) {
        members = new Set(
          policies.flatMap(({ tables }) =>
            lineage.flatMap((provider) =>
              Object.values(own(tables.get('grants'), provider) ?? {}).flatMap((row: unknown) => {
                const named = own(row, 'operations')
                if (!Array.isArray(named) || !named.some((one) => namesOperation(one, id)))
                  return []
                const reaches = own(row, 'access')
                if (Array.isArray(reaches) && !reaches.includes(access)) return []
                return Object.entries(ASKED).flatMap(([name, member]) =>
                  asks(own(row, name)) ? [member] : [],
                )
              }),
            ),
          ),
        )
        if (rowsFor.size < 10_000) rowsFor.set(key, members)
      }
      return members
    },
    domains: (lineage) =>
      policies.some(({ tables }) =>
        lineage.some((provider) => asks(own(own(tables.get('guards'), provider), 'domains'))),
      ),
    selections: (lineage) =>
      policies.some(({ tables }) =>
        lineage.some((provider) => asks(own(own(tables.get('providers'), provider), 'hidden'))),
      ),
  }
}
