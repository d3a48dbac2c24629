// `deputy keygen`: writes a new key ring, once.
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { newKeyRing } from '../vault/seal.ts'

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
