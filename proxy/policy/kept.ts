// The last good bundle of a bundle service on the disk, so that a restart without the service still has a policy.
import { createHash } from 'node:crypto'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { readWhole, syncFolder } from '../files.ts'

export type KeptBundle = {
  /** null: none was kept. Rejects where it cannot be read. */
  readonly read: () => Promise<Buffer | null>
  /** Whole or not at all, mode 0600. Rejects as the system does. */
  readonly write: (bytes: Uint8Array) => Promise<void>
}

/** Where the bundle of this address is kept. */
export const keptPath = (folder: string, url: string): string =>
  join(folder, `${createHash('sha256').update(url).digest('hex').slice(0, 16)}.tar.gz`)

/**
 * @param folder made when something is kept
 * @param url of the bundle: what another address gave is never taken for its bundle
 * @param most bytes of a bundle
 */
export const createKeptBundle = (folder: string, url: string, most: number): KeptBundle => {
  const path = keptPath(folder, url)
  return {
    read: async () => {
      try {
        return await readWhole(path, most)
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
        throw error
      }
    },
    write: async (bytes) => {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const next = `${path}.next`
      // What an end in the middle of writing left there may have another mode.
      await rm(next, { force: true })
      const file = await open(next, 'wx', 0o600)
      try {
        await file.writeFile(bytes)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(next, path)
      syncFolder(path)
    },
  }
}
