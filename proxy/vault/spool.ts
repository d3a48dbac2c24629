// Refreshed tokens that the store did not take, sealed, one file each: they outlive the process that got them.
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log, Person, StoredCredential, TokenSet } from '../model.ts'
import type { Sealer } from './seal.ts'

/** What a refresh brought: all that is needed to store it later, under its lease or a new one. */
export type Unstored = {
  readonly lease: string
  readonly tokens: TokenSet
  /** As it is served meanwhile; its generation is the one to come. */
  readonly credential: Pick<
    StoredCredential,
    'id' | 'person' | 'connection' | 'generation' | 'storedAt'
  >
}
export type Spool = {
  /** Resolves once the file is on the disk. Rejects when it cannot be written. */
  readonly keep: (entry: Unstored) => Promise<void>
  readonly drop: (credential: string) => Promise<void>
  /** What earlier processes left. A file that does not open is told, and stays. */
  readonly left: () => Promise<readonly Unstored[]>
}

type Head = {
  readonly credential: string
  readonly person: Person
  readonly connection: string
  readonly generation: number
  readonly lease: string
  readonly scopes: readonly string[] | null
  readonly expiresIn: number | null
  readonly storedAt: number
}
const NAME = /^[\w-]{1,64}\.json$/
/** Everything beside the tokens is authenticated with them. */
const boundTo = (head: Head) => ({ purpose: 'unstored', head: JSON.stringify(head) })

/** Files in a spool; none where there is no folder. */
export const spooled = async (folder: string): Promise<readonly string[]> =>
  (
    await readdir(folder).catch((error: NodeJS.ErrnoException): string[] => {
      if (error.code === 'ENOENT') return []
      throw error
    })
  ).filter((name) => NAME.test(name))

/** @param folder made when the first file is written; a rename within it is the commit */
export const createSpool = (deps: {
  readonly folder: string
  readonly sealer: Pick<Sealer, 'seal' | 'open'>
  readonly log: Log
}): Spool => {
  const { folder, sealer, log } = deps
  const fileOf = (credential: string): string => join(folder, `${credential}.json`)
  const read = async (path: string): Promise<Unstored> => {
    const { head, sealed } = JSON.parse(await readFile(path, 'utf8')) as {
      readonly head: Head
      readonly sealed: string
    }
    const secrets = await sealer.open(sealed, boundTo(head))
    const access = secrets.get('access')
    if (access === undefined) throw new Error('it holds no access token')
    const { credential: id, person, connection, generation, storedAt, lease } = head
    const { scopes, expiresIn } = head
    return {
      lease,
      tokens: { access, refresh: secrets.get('refresh') ?? null, scopes, expiresIn },
      credential: { id, person, connection, generation, storedAt },
    }
  }
  return {
    keep: async ({ lease, tokens, credential }) => {
      const { id, person, connection, generation, storedAt } = credential
      const { access, refresh, scopes, expiresIn } = tokens
      const head = {
        ...{ credential: id, person, connection, generation },
        ...{ lease, scopes, expiresIn, storedAt },
      }
      const sealed = await sealer.seal({ access, refresh }, boundTo(head))
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const path = fileOf(id)
      const beside = await open(`${path}.new`, 'w', 0o600)
      try {
        await beside.writeFile(JSON.stringify({ head, sealed }))
        await beside.sync()
      } finally {
        await beside.close()
      }
      await rename(`${path}.new`, path)
      const whole = await open(folder, 'r')
      await whole.sync().finally(() => whole.close())
    },
    drop: (credential) => rm(fileOf(credential), { force: true }),
    left: async () => {
      const found: Unstored[] = []
      for (const name of await spooled(folder))
        try {
          found.push(await read(join(folder, name)))
        } catch (error) {
          log.error(
            {
              file: join(folder, name),
              reason: error instanceof Error ? error.message : 'unknown',
            },
            'a refreshed token in the spool does not open: bring back the key that it names; it stays where it is',
          )
        }
      return found
    },
  }
}
