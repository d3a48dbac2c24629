// Keys of tables that a bundle's Rego does not know: it was built before they were, and would grant without them. Pure.
import type { Ceilings, Grants, Row } from './tables.ts'

/** Keys of rows that narrow what a row grants, and that an older policy never asks for. */
const SAID: Readonly<Record<string, (row: Row) => boolean>> = {
  when: (row) => row.when.length > 0,
  arguments: (row) => row.arguments.length > 0,
  max_body_bytes: (row) => row.max_body_bytes !== null,
  mail: (row) => row.mail.domains !== undefined,
  history: (row) => row.history.length > 0,
}

/**
 * Keys and tables that are used and that the compiled policy never names, each as a problem. What Rego looks up stands in
 * the module as a text with a zero byte at each end.
 */
export const unreadKeys = (
  wasm: Uint8Array,
  grants: Grants,
  agents: Ceilings | null,
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
    ...(agents === null || named('agents') ? [] : [`agents: ${what('this table')}`]),
  ]
}
