// Keys of tables that a bundle's Rego does not know: it was built before they were, and would grant without them. Pure.
import type { JsonObject } from '../model.ts'
import { isObject } from '../wire/json.ts'
import type { Ceilings, Grants, Row } from './tables.ts'

/** Keys of rows that narrow what a row grants, and that an older policy never asks for. */
const SAID: Readonly<Record<string, (row: Row) => boolean>> = {
  when: (row) => row.when.length > 0,
  arguments: (row) => row.arguments.length > 0,
  max_body_bytes: (row) => row.max_body_bytes !== null,
  mail: (row) => row.mail.domains !== undefined,
  history: (row) => row.history.length > 0,
  checks: (row) => row.checks.length > 0,
}
/** Lists of the table guards that refuse, and that an older policy never asks for. */
const GUARDS = ['domains', 'branches'] as const

/**
 * Keys and tables that are used and that the compiled policy never names, each as a problem. What Rego looks up stands in
 * the module as a text with a zero byte at each end. Rows have had `agents` always, so whether the table of this name is
 * read is asked of the policy too, before it serves (self_test).
 */
export const unreadKeys = (
  wasm: Uint8Array,
  grants: Grants,
  { agents, guards }: { readonly agents: Ceilings | null; readonly guards: JsonObject | null },
): readonly string[] => {
  const module = Buffer.from(wasm.buffer, wasm.byteOffset, wasm.byteLength)
  const named = (name: string): boolean => module.includes(`\0${name}\0`)
  const rows = Object.values(grants).flatMap((byId) => Object.values(byId))
  const what = (name: string): string =>
    `the policy of this bundle never reads ${name}: build it from Rego that does, as the starter policy of this version`
  return [
    ...Object.entries(SAID)
      .filter(([key, said]) => !named(key) && rows.some(said))
      .map(([key]) => `grants: ${what(`the key ${key}`)}`),
    ...GUARDS.filter(
      (key) =>
        !named(key) &&
        Object.values(guards ?? {}).some((row) => isObject(row) && Object.hasOwn(row, key)),
    ).map((key) => `guards: ${what(`the key ${key}`)}`),
    ...(agents === null || named('agents') ? [] : [`agents: ${what('this table')}`]),
  ]
}
