// `deputy keygen` writes a new key ring, once; `deputy keys rotate` seals everything anew under a new key.
import { randomBytes } from 'node:crypto'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { Loaded } from '../config/load.ts'
import type { Log, Store } from '../model.ts'
import { openStore } from '../store/open.ts'
import { addKey, readRing, removeKeys, reseal } from '../vault/rotate.ts'
import type { Resealed } from '../vault/rotate.ts'
import { createSealer, newKeyRing } from '../vault/seal.ts'
import { spooled } from '../vault/spool.ts'

type KeygenOptions = {
  /** Where the ring goes; a missing folder is made, an existing file is never overwritten. */
  readonly out: string
  readonly print: (line: string) => void
  /** ms since the epoch. */
  readonly now?: () => number
}

/** Writes a key ring (mode 0600). Returns the exit code: 0, or 1 with a message. */
export const keygen = async ({ out, print, now = Date.now }: KeygenOptions): Promise<number> => {
  const path = resolve(out)
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(path, newKeyRing(now(), randomBytes), { flag: 'wx', mode: 0o600, flush: true })
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null
    print(
      code === 'EEXIST'
        ? `${path} exists and is not overwritten: without these keys nothing in the vault opens. Choose another --out.`
        : `cannot write ${path}: ${error instanceof Error ? error.message : 'unknown error'}`,
    )
    return 1
  }
  print(path)
  return 0
}

type RotateOptions = {
  readonly loaded: Pick<Loaded, 'config' | 'at'>
  /** Adds no key; removes those that nothing is sealed under. */
  readonly retire: boolean
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
  readonly now?: () => number
}

/** A process that read the ring before this may still be about to store what it sealed. */
const SETTLED_MS = 10 * 60_000
const AGAIN = '`deputy keys rotate --retire`'

/** @returns exit code: 0, or 1 with what is wrong and what to do */
export const keysRotate = async (options: RotateOptions): Promise<number> => {
  const { loaded, complain } = options
  const { config, at } = loaded
  const say = (fields: object, msg: string): void => complain(`${msg} ${JSON.stringify(fields)}`)
  const log: Log = { debug: () => {}, info: () => {}, warn: say, error: say }
  let store: Store
  try {
    readRing(at(config.vault.keys))
    store = await openStore(config.vault.store, at, log)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    complain(message)
    if (message.includes('in use by another process'))
      complain(
        'With SQLite one process has the file: stop `deputy serve`, run this again, start it again. With PostgreSQL keys rotate while deputy serves.',
      )
    return 1
  }
  try {
    return await rotate(store, options)
  } catch (error) {
    complain(error instanceof Error ? error.message : String(error))
    complain(`Nothing is lost: what was sealed anew stays so. ${AGAIN} goes on.`)
    return 1
  } finally {
    await store.close()
  }
}

const rotate = async (
  store: Store,
  { loaded, retire, print, complain, now = Date.now }: RotateOptions,
): Promise<number> => {
  const path = loaded.at(loaded.config.vault.keys)
  const settled = now() - statSync(path).mtimeMs
  if (!retire) print(`${addKey(path, now())} was added to ${path} and seals from now on`)
  const ring = readRing(path)
  const result = await reseal({
    store,
    sealer: createSealer(ring, () => readRing(path)),
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
    const waiting = (await spooled(loaded.at(loaded.config.vault.spool))).length
    if (waiting > 0) {
      complain(
        `${waiting} refreshed tokens wait in ${loaded.at(loaded.config.vault.spool)}, perhaps under an old key: nothing was removed. Start deputy, which stores them, and run ${AGAIN} again.`,
      )
      return 1
    }
    if (settled < SETTLED_MS) {
      complain(
        `The ring changed less than ${SETTLED_MS / 60_000} minutes ago, and a running deputy may be about to store what it sealed before: nothing was removed. Run ${AGAIN} later.`,
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
        ? `${kid}: nothing is sealed under it; ${AGAIN} removes it`
        : `${kid}: still needed by ${rows} row${rows === 1 ? '' : 's'}`,
    )
  }
  return old.filter((kid) => (used.get(kid) ?? 0) === 0)
}
