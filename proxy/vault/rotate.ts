// Rotation: adds a key to the ring, and seals everything anew under the current one.
import { randomBytes } from 'node:crypto'
import { statSync } from 'node:fs'
import type { SealedRow, Store } from '../model.ts'
import { messageOf } from '../problem.ts'
import { createSealer, kidOf, newKey } from './seal.ts'
import type { KeyRing, Sealer } from './seal.ts'
import { addKey, readRing, removeKeys } from './ring_file.ts'
import { PLAIN, type Rings } from './wrapped.ts'

type Resealed = {
  readonly moved: number
  /** Rows that do not open: left as they are. */
  readonly broken: readonly { readonly row: SealedRow; readonly reason: string }[]
  /** key id → rows under it. */
  readonly used: ReadonlyMap<string, number>
}

const PAGE = 200
const PASSES = 10

/**
 * Seals everything anew under the current key while others work: a row that changed meanwhile is theirs, and is
 * looked at again in the next pass. Ends when a pass found nothing to do.
 */
export const reseal = async (deps: {
  readonly store: Pick<Store, 'sealed'>
  readonly sealer: Pick<Sealer, 'reseal'>
  readonly progress: (moved: number) => void
  readonly page?: number
}): Promise<Resealed> => {
  const { store, sealer, progress, page = PAGE } = deps
  let moved = 0
  for (let pass = 1; ; pass += 1) {
    const used = new Map<string, number>()
    const broken: { readonly row: SealedRow; readonly reason: string }[] = []
    let busy = false
    for (let after: SealedRow | null = null; ;) {
      const rows: readonly SealedRow[] = await store.sealed.page(after, page)
      for (const row of rows) {
        const next = await sealer.reseal(row.sealed).catch((error: unknown) => {
          broken.push({ row, reason: messageOf(error) })
          return null
        })
        const done = next !== null && (await store.sealed.replace(row, next))
        busy ||= next !== null
        moved += done ? 1 : 0
        const kid = kidOf(done ? next : row.sealed) ?? 'unknown'
        used.set(kid, (used.get(kid) ?? 0) + 1)
      }
      after = rows.at(-1) ?? null
      if (after === null) break
      progress(moved)
    }
    if (!busy || pass === PASSES) return { moved, broken, used }
  }
}

/** Keys that sealed rows name and the ring lacks; the first rows stand for all. */
export const missingKeys = async (
  store: Pick<Store, 'sealed'>,
  ring: KeyRing,
): Promise<readonly string[]> => {
  const kids = (await store.sealed.page(null, PAGE)).map(({ sealed }) => kidOf(sealed) ?? '')
  return [...new Set(kids)].filter((kid) => kid !== '' && !ring.seal.has(kid))
}

/** A process that read the ring before this may still be about to store what it sealed. */
const SETTLED_MS = 10 * 60_000
export const ROTATE_AGAIN = '`deputy keys rotate --retire`'

/**
 * The whole command: adds a key and seals everything anew under it, or removes what nothing needs.
 * @returns exit code: 0, or 1 with what is wrong and what to do
 */
export const rotateKeys = async (options: {
  readonly store: Pick<Store, 'sealed'>
  /** The ring's file. */
  readonly path: string
  readonly rings?: Rings
  /** How many refreshed tokens wait for the store, sealed. */
  readonly waiting: () => Promise<number>
  readonly retire: boolean
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
  readonly now: () => number
}): Promise<number> => {
  const { store, path, rings = PLAIN, retire, print, complain, now } = options
  const settled = now() - statSync(path).mtimeMs
  if (!retire) {
    const entry = await rings.entry(newKey('seal', now(), randomBytes))
    print(`${addKey(path, now(), entry)} was added to ${path} and seals from now on`)
  }
  const ring = await readRing(path, rings)
  const result = await reseal({
    store,
    sealer: createSealer(ring, () => readRing(path, rings)),
    progress: (moved) => print(`sealed anew: ${moved}`),
  })
  const { moved, broken, used } = result
  print(
    `sealed anew: ${moved}, all in all; under ${ring.current.kid} now: ${used.get(ring.current.kid) ?? 0}`,
  )
  for (const { row, reason } of broken)
    complain(`${row.table} ${row.id} does not open and stays as it is: ${reason}`)
  const unused = report(
    [...ring.seal.keys()].filter((kid) => kid !== ring.current.kid),
    result,
    print,
  )
  if (retire && unused.length > 0) {
    const waiting = await options.waiting()
    if (waiting > 0) {
      complain(
        `${waiting} refreshed tokens wait in vault.spool, perhaps under an old key: nothing was removed. Start deputy, which stores them, and run ${ROTATE_AGAIN} again.`,
      )
      return 1
    }
    if (settled < SETTLED_MS) {
      complain(
        `The ring changed less than ${SETTLED_MS / 60_000} minutes ago, and a running deputy may be about to store what it sealed before: nothing was removed. Run ${ROTATE_AGAIN} later.`,
      )
      return 1
    }
    removeKeys(path, unused)
    print(`removed: ${unused.join(', ')}`)
  }
  return broken.length === 0 ? 0 : 1
}

/** @returns the old keys that nothing is sealed under */
const report = (
  old: readonly string[],
  { used }: Resealed,
  print: (line: string) => void,
): readonly string[] => {
  for (const kid of old) {
    const rows = used.get(kid) ?? 0
    print(
      rows === 0
        ? `${kid}: nothing is sealed under it; ${ROTATE_AGAIN} removes it`
        : `${kid}: still needed by ${rows} row${rows === 1 ? '' : 's'}`,
    )
  }
  return old.filter((kid) => (used.get(kid) ?? 0) === 0)
}
