// `deputy vault backup | restore | replay`: copies of the vault, and who was revoked since.
import { copyFileSync, existsSync, linkSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { controlSocket } from '../config/address.ts'
import type { Loaded } from '../config/load.ts'
import type { Log, Store } from '../model.ts'
import { SESSION_MS } from '../consent/session.ts'
import { ANCHORED } from '../audit/chain.ts'
import { openJournal, sinksOf } from '../audit/journal.ts'
import { readSegment } from '../audit/segments.ts'
import { replayRevocations } from '../compose/replay.ts'
import type { Replayed } from '../compose/replay.ts'
import { ringsOf, systemClock } from '../compose/snapshot.ts'
import { syncFolder } from '../files.ts'
import { messageOf } from '../problem.ts'
import * as copies from '../store/copy.ts'
import { explain, takeFile } from '../store/migrations.ts'
import { openSqlite } from '../store/sqlite.ts'
import { createUlid } from '../ulid.ts'
import { boundOf } from '../vault/leases.ts'
import { readRing } from '../vault/ring_file.ts'
import { createSealer, kidOf } from '../vault/seal.ts'
import type { KeyRing } from '../vault/seal.ts'
import { createEvidence } from '../audit/records.ts'
import { reachLocal } from './local.ts'
import { member, overSocket } from './operate.ts'

type Options = {
  readonly loaded: Loaded
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}
/** A command that failed says one sentence and ends with 1. */
const spoken = async (complain: Options['complain'], work: () => Promise<number>) => {
  try {
    return await work()
  } catch (error) {
    complain(messageOf(error))
    return 1
  }
}

/** The file of the vault. Throws an Error that says what to do with PostgreSQL. */
const fileOf = ({ config, written }: Loaded, instead: string): string => {
  const { store } = config.vault
  if (!store.startsWith('sqlite:')) throw new Error(`vault.store is PostgreSQL: ${instead}`)
  return written(store.slice('sqlite:'.length))
}

const PAGE = 500
/**
 * That the ring opens what is in a vault: every key is there, and one row of each key opens.
 * @returns how many credentials there are. Throws an Error that names `of` and the keys that are missing
 */
const opens = async (store: Store, ring: KeyRing, of: string): Promise<number> => {
  const sealer = createSealer(ring)
  const tried = new Set<string>()
  const missing = new Set<string>()
  let found = 0
  for (let page = await store.sealed.page(null, PAGE); page.length > 0;) {
    for (const { table, id, sealed } of page) {
      const kid = kidOf(sealed) ?? 'an unknown key'
      if (table === 'credentials') found += 1
      if (!ring.seal.has(kid)) missing.add(kid)
      else if (table === 'credentials' && !tried.has(kid)) {
        tried.add(kid)
        const row = await store.credentials.byId(id)
        if (row !== null)
          await sealer.open(row.sealed, boundOf(row)).catch((error: unknown) => {
            throw new Error(
              `${of} is sealed under another key than the ${kid} of vault.keys: ${messageOf(error)}. Use the ring that belongs to it.`,
              { cause: error },
            )
          })
      }
    }
    page = await store.sealed.page(page.at(-1) ?? null, PAGE)
  }
  if (missing.size > 0)
    throw new Error(
      `${of} is sealed under keys that vault.keys lacks (${[...missing].join(', ')}): bring them back into the ring from your copy of it.`,
    )
  return found
}

/** Whole, ours, and opened by the ring. @returns how many credentials are in it */
const examine = async (path: string, ring: KeyRing, of: string): Promise<number> => {
  copies.settleDatabase(path, of)
  const store = await openSqlite(path)
  try {
    return await opens(store, ring, of)
  } finally {
    await store.close()
  }
}

/** A copy of the running vault, or of its file while nobody serves. @returns exit code: 0, or 1 with what is wrong */
export const vaultBackup = ({
  loaded,
  file,
  print,
  complain,
}: Options & { readonly file: string }): Promise<number> =>
  spoken(complain, async () => {
    const { config, at, written } = loaded
    const path = fileOf(loaded, 'back it up with pg_dump (see docs/storage.md).')
    const ring = await readRing(at(config.vault.keys), ringsOf(loaded))
    const target = resolve(file)
    const part = `${target}.part`
    copies.newFile(target) // ours from now on; it gets its content in one step
    try {
      const beside = await overSocket(controlSocket(config.vault.store, written))
      const answer = await beside?.ask('POST', '/v1/admin/vault/copy', { file: part })
      if (answer === undefined) await copies.copyDatabase(path, part)
      else if (answer.status !== 204) throw new Error(String(member(answer.body, 'detail')))
      const found = await examine(part, ring, 'the copy')
      copies.settleDatabase(part, 'the copy')
      renameSync(part, target)
      syncFolder(target)
      print(`${target}: ${found} connections, whole, opened by the key ring`)
      complain(
        'Keep the key ring elsewhere: the copy is worth nothing without it, and everything with it.',
      )
      return 0
    } catch (error) {
      copies.removeDatabase(part)
      rmSync(target, { force: true })
      throw error
    }
  })

/** The files of the configured evidence: those of `audit.sink` and what was rotated out of them, beside them. */
export const evidenceOf = async ({ config, written }: Loaded): Promise<readonly string[]> => {
  const found: string[] = []
  for (const sink of sinksOf(config.audit, written)) {
    if (sink === 'stdout' || !existsSync(dirname(sink.file))) continue
    const stem = basename(sink.file, extname(sink.file))
    for (const entry of readdirSync(dirname(sink.file), { withFileTypes: true })) {
      const path = join(dirname(sink.file), entry.name)
      if (!entry.isFile() || !entry.name.startsWith(stem)) continue
      if ((await readSegment(path)) !== null) found.push(path)
    }
  }
  return found
}

type Evidence = {
  /** Further files of evidence, or those elsewhere. */
  readonly evidence: readonly string[]
}
const filesOf = async (loaded: Loaded, { evidence }: Evidence): Promise<readonly string[]> => [
  ...new Set([...(await evidenceOf(loaded)), ...evidence.map((file) => resolve(file))]),
]
const NO_EVIDENCE =
  'no file holds the evidence: name it with --evidence, for whoever was revoked since the copy would come back'

/** Carries out again what was revoked since the copy out of which the vault came, on either store. @returns exit code */
export const vaultReplay = ({
  loaded,
  print,
  complain,
  ...named
}: Options & Evidence): Promise<number> =>
  spoken(complain, async () => {
    const files = await filesOf(loaded, named)
    if (files.length === 0) throw new Error(NO_EVIDENCE)
    const reach = await reachLocal(loaded, complain)
    try {
      const { status, body } = await reach.ask('POST', '/v1/admin/vault/replay', { files })
      if (status !== 200) throw new Error(`${status}: ${String(member(body, 'detail'))}`)
      return told(body, print, complain)
    } finally {
      await reach.close()
    }
  })

const told = (body: unknown, print: Options['print'], complain: Options['complain']): number => {
  const list = (name: string): readonly unknown[] => {
    const value = member(body, name)
    return Array.isArray(value) ? value : []
  }
  for (const line of list('printed')) print(String(line))
  for (const line of list('complaints')) complain(String(line))
  return Number(member(body, 'code'))
}

/** Keeps every other process from the vault. @returns what lets them in again */
const taken = (path: string): (() => void) => {
  try {
    return takeFile(path)
  } catch (error) {
    throw explain(path, error)
  }
}

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
/** Writes one event into the configured evidence, by a process of its own. */
const recordOf = async ({ config, written }: Loaded, ring: KeyRing) => {
  const clock = systemClock()
  const sealer = createSealer(ring)
  const journal = await openJournal({
    sinks: sinksOf(config.audit, written),
    fsync: 'each',
    clock,
    proc: createUlid(clock.now)(),
    anchor: { sign: sealer.sign, ...ANCHORED },
    log: quiet,
  })
  // It names nobody.
  const evidence = createEvidence({ journal, clock, log: quiet, names: null, hmac: sealer.hmac })
  const close = async (): Promise<void> => {
    evidence.close()
    await journal.close()
  }
  return { event: evidence.event, close }
}

/** Puts the new file in the place of the vault in one step; what was there stays beside it. @returns where */
const replaceFile = (path: string, next: string, now: number): string | null => {
  copies.foldDatabase(path)
  const aside = existsSync(path)
    ? `${path}.before-${new Date(now).toISOString().replaceAll(/[:.]/g, '-')}`
    : null
  if (aside !== null)
    try {
      linkSync(path, aside)
    } catch {
      copyFileSync(path, aside) // no second name on this file system
    }
  // A log of changes that could not be folded belongs to the old file, and would be read into the new one.
  for (const end of ['-wal', '-shm'])
    if (existsSync(`${path}${end}`))
      renameSync(`${path}${end}`, `${aside ?? `${path}.stray`}${end}`)
  renameSync(next, path)
  syncFolder(path)
  return aside
}

/**
 * Puts a copy in the place of the vault while nobody serves, after what was revoked since is revoked in it. What goes
 * wrong leaves the vault as it was; the vault that was there is kept beside it.
 * @returns exit code: 0, or 1 with what is wrong and what to do
 */
export const vaultRestore = ({
  loaded,
  file,
  without,
  print,
  complain,
  ...named
}: Options & Evidence & { readonly file: string; readonly without: boolean }): Promise<number> =>
  spoken(complain, async () => {
    const { config, at, written } = loaded
    const path = fileOf(loaded, 'restore it with pg_restore, then run `deputy vault replay`.')
    if ((await overSocket(controlSocket(config.vault.store, written))) !== null)
      throw new Error('deputy serves from this vault: end it first, then restore.')
    const ring = await readRing(at(config.vault.keys), ringsOf(loaded))
    const from = resolve(file)
    const files = without ? [] : await filesOf(loaded, named)
    if (!without && files.length === 0)
      throw new Error(
        `${NO_EVIDENCE}. Nothing was changed. (--without-evidence restores all the same.)`,
      )
    const free = taken(path)
    const next = `${path}.restoring`
    try {
      copies.removeDatabase(next) // left over from one that was cut off: we have the lock
      await copies.copyDatabase(from, next)
      const found = await examine(next, ring, from)
      const record = await recordOf(loaded, ring)
      try {
        const now = Date.now()
        const store = await openSqlite(next)
        let replayed: Replayed | null = null
        try {
          if (without) await store.copied.void(now + SESSION_MS)
          else
            replayed = await replayRevocations(store, files, now, {
              strict: true,
              sealer: createSealer(ring),
            })
        } finally {
          await store.close()
        }
        if (replayed !== null && replayed.code !== 0) {
          for (const line of replayed.complaints) complain(line)
          throw new Error(
            'Nothing was changed. Name what is missing with --evidence, or restore all the same with --without-evidence and revoke by hand.',
          )
        }
        copies.settleDatabase(next, from)
        await record.event('vault.restored', { file: from, connections: found, replayed })
        const aside = replaceFile(path, next, now)
        if (replayed !== null) told(replayed, print, complain)
        print(`${path}: restored from ${from}, ${found} connections`)
        if (aside !== null) print(`what was there before: ${aside}`)
        if (without)
          complain(
            'WITHOUT EVIDENCE: whoever was revoked since the copy is connected again. Run `deputy vault replay --evidence FILE`, or revoke by hand.',
          )
        return without ? 1 : 0
      } finally {
        await record.close()
      }
    } finally {
      copies.removeDatabase(next)
      free()
    }
  })
