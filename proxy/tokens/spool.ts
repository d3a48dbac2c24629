// What the store does not take is sealed into a spool, one file each, which outlives the process.
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log, Person, StoredCredential, TokenSet } from '../model.ts'
import { messageOf } from '../problem.ts'
import type { Sealer } from '../vault/seal.ts'

/** What a refresh brought: all that is needed to store it later, under its lease or a new one. */
type Unstored = {
  readonly lease: string
  readonly tokens: TokenSet
  /** As it is served meanwhile; its generation is the one to come. */
  readonly credential: Pick<
    StoredCredential,
    'id' | 'person' | 'connection' | 'provider' | 'generation' | 'storedAt'
  >
}
export type Spool = {
  /** Resolves once the file is on the disk. Rejects when it cannot be written. `conflict`: a store has another one. */
  readonly keep: (entry: Unstored, kind?: 'conflict') => Promise<void>
  readonly drop: (credential: string, kind?: 'conflict') => Promise<void>
  /** The tokens that came second for this credential; null: none. */
  readonly conflict: (credential: string) => Promise<Unstored | null>
  /** What earlier processes left. A file that does not open is told, and stays. */
  readonly left: () => Promise<readonly Unstored[]>
  /** How many files there are, as far as this process wrote or found them. */
  readonly size: () => number
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
  readonly clientId?: string
  readonly provider?: string
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
  const fileOf = (credential: string, kind?: 'conflict'): string =>
    join(folder, `${credential}${kind === undefined ? '' : `.${kind}`}.json`)
  /** Paths. Counted here: whoever asks for metrics must not wait for a disk. */
  const files = new Set<string>()
  const read = async (path: string): Promise<Unstored> => {
    const { head, sealed } = JSON.parse(await readFile(path, 'utf8')) as {
      readonly head: Head
      readonly sealed: string
    }
    const secrets = await sealer.open(sealed, boundTo(head))
    const access = secrets.get('access')
    if (access === undefined) throw new Error('it holds no access token')
    const { credential: id, person, connection, generation, storedAt, lease } = head
    const { scopes, expiresIn, clientId, provider } = head
    return {
      lease,
      tokens: {
        access,
        refresh: secrets.get('refresh') ?? null,
        scopes,
        expiresIn,
        ...(clientId === undefined ? {} : { clientId }),
      },
      credential: {
        id,
        person,
        connection,
        generation,
        storedAt,
        ...(provider === undefined ? {} : { provider }),
      },
    }
  }
  return {
    keep: async ({ lease, tokens, credential }, kind) => {
      const { id, person, connection, provider, generation, storedAt } = credential
      const { access, refresh, scopes, expiresIn, clientId } = tokens
      const head = {
        credential: id,
        person,
        connection,
        generation,
        lease,
        scopes,
        expiresIn,
        storedAt,
        ...(clientId === undefined ? {} : { clientId }),
        ...(provider === undefined ? {} : { provider }),
      }
      const sealed = await sealer.seal({ access, refresh }, boundTo(head))
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const path = fileOf(id, kind)
      const beside = await open(`${path}.new`, 'w', 0o600)
      try {
        await beside.writeFile(JSON.stringify({ head, sealed }))
        await beside.sync()
      } finally {
        await beside.close()
      }
      await rename(`${path}.new`, path)
      files.add(path)
      const whole = await open(folder, 'r')
      try {
        await whole.sync()
      } finally {
        await whole.close()
      }
    },
    drop: async (credential, kind) => {
      const path = fileOf(credential, kind)
      await rm(path, { force: true })
      files.delete(path)
    },
    size: () => files.size,
    conflict: (credential) =>
      read(fileOf(credential, 'conflict')).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return null
        throw error
      }),
    left: async () => {
      const found: Unstored[] = []
      for (const name of await spooled(folder)) {
        files.add(join(folder, name))
        try {
          found.push(await read(join(folder, name)))
        } catch (error) {
          log.error(
            {
              file: join(folder, name),
              reason: messageOf(error),
            },
            'a refreshed token in the spool does not open: bring back the key that it names; it stays where it is',
          )
        }
      }
      return found
    },
  }
}
