// `deputy keygen` writes a new key ring, once; `deputy keys rotate` seals everything anew under a new key.
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { controlSocket } from '../config/address.ts'
import type { Loaded } from '../config/load.ts'
import type { Log, Store } from '../model.ts'
import { messageOf } from '../problem.ts'
import { spooled } from '../tokens/spool.ts'
import { openStore } from '../store/open.ts'
import { ringsOf } from '../compose/snapshot.ts'
import { createKms } from '../vault/kms.ts'
import { convertKeys, readRing } from '../vault/ring_file.ts'
import { ROTATE_AGAIN, rotateKeys } from '../vault/rotate.ts'
import { newKeyRing } from '../vault/seal.ts'
import { wrappedText } from '../vault/wrapped.ts'
import { member, overSocket } from './operate.ts'

type KeygenOptions = {
  /** Where the ring goes; a missing folder is made, an existing file is never overwritten. */
  readonly out: string
  readonly print: (line: string) => void
  /** The program that wraps the keys: then nothing else of them is written. */
  readonly kms?: Loaded['kms']
  /** ms since the epoch. */
  readonly now?: () => number
}

/** Writes a key ring (mode 0600). Returns the exit code: 0, or 1 with a message. */
export const keygen = async (options: KeygenOptions): Promise<number> => {
  const { out, print, kms = null, now = Date.now } = options
  const path = resolve(out)
  try {
    const text = existsSync(path)
      ? '' // it is not written: said below
      : await wrappedText(newKeyRing(now(), randomBytes), ringsOf({ kms }))
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(path, text, { flag: 'wx', mode: 0o600, flush: true })
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null
    print(
      code === 'EEXIST'
        ? `${path} exists and is not overwritten: without these keys nothing in the vault opens. Choose another --out.`
        : `cannot write ${path}: ${messageOf(error)}`,
    )
    return 1
  }
  print(path)
  return 0
}

type RotateOptions = {
  readonly loaded: Pick<Loaded, 'config' | 'at' | 'written' | 'kms'>
  /** Adds no key; removes those that nothing is sealed under. */
  readonly retire: boolean
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
  readonly now?: () => number
}

/** @returns exit code: 0, or 1 with what is wrong and what to do */
export const keysRotate = async (options: RotateOptions): Promise<number> => {
  const { loaded, retire, print, complain, now = Date.now } = options
  const { config, at, written } = loaded
  const rings = ringsOf(loaded)
  const say = (fields: object, msg: string): void => complain(`${msg} ${JSON.stringify(fields)}`)
  const log: Log = { debug: () => {}, info: () => {}, warn: say, error: say }
  let store: Store
  try {
    await readRing(at(config.vault.keys), rings)
    // A deputy that has the file to itself does it, while it serves.
    const beside = await overSocket(controlSocket(config.vault.store, written))
    if (beside !== null) {
      const answer = await beside
        .ask('POST', '/v1/admin/keys/rotate', { retire })
        .finally(() => void beside.close())
      for (const line of listOf(member(answer.body, 'printed'))) print(line)
      for (const line of listOf(member(answer.body, 'complaints'))) complain(line)
      if (answer.status !== 200)
        complain(`${answer.status}: ${String(member(answer.body, 'detail'))}`)
      return answer.status === 200 ? Number(member(answer.body, 'code')) : 1
    }
    store = await openStore(config.vault.store, written, log)
  } catch (error) {
    complain(messageOf(error))
    return 1
  }
  try {
    const path = at(config.vault.keys)
    const waiting = async () => (await spooled(written(config.vault.spool))).length
    return await rotateKeys({ store, path, rings, waiting, retire, print, complain, now })
  } catch (error) {
    complain(messageOf(error))
    complain(`Nothing is lost: what was sealed anew stays so. ${ROTATE_AGAIN} goes on.`)
    return 1
  } finally {
    await store.close()
  }
}

/**
 * `deputy keys wrap` and `deputy keys unwrap`: the file goes from keys as they are to wrapped ones, or back.
 * @returns exit code: 0, or 1 with what is wrong and what to do
 */
export const keysConvert = async (options: {
  readonly loaded: Pick<Loaded, 'config' | 'at' | 'kms'>
  readonly to: 'wrapped' | 'plain'
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): Promise<number> => {
  const { loaded, to, print, complain } = options
  const { config, at, kms } = loaded
  const path = at(config.vault.keys)
  if (kms === null) {
    complain(
      'vault.kms: is not set: name the program that wraps the keys, exec:/path/of/the/program',
    )
    return 1
  }
  try {
    const changed = await convertKeys(path, createKms(kms), to)
    const now = to === 'wrapped' ? 'wrapped' : 'unwrapped'
    print(
      changed.length === 0
        ? `${path}: all keys are ${now} already`
        : `${path}: ${now} ${changed.join(', ')}`,
    )
    if (changed.length > 0)
      complain(
        to === 'wrapped'
          ? 'Restart deputy with this vault.kms. The disk and its copies held these keys as they were: `deputy keys rotate` makes a new one, and `deputy keys rotate --retire` removes the old.'
          : 'The file is the secret now: remove vault.kms from the configuration and restart deputy.',
      )
    return 0
  } catch (error) {
    complain(messageOf(error))
    return 1
  }
}

const listOf = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.map(String) : []
