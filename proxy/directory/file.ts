// Entitlements from a YAML file that is looked at: for development, and the simplest truth there is.
import { createHash } from 'node:crypto'
import type { BigIntStats } from 'node:fs'
import { mayHeal, readText, statOf, Unreadable } from '../files.ts'
import type { Clock, Log, Person } from '../model.ts'
import { messageOf } from '../problem.ts'
import { readPeople } from './people_file.ts'
import { keyOf, personOf, type Directory } from './source.ts'

/** How often the file is looked at, and after how long without an answer it is not known any more what it says. */
const LOOK_MS = 250
const LOST_MS = 5_000
/** Time stamps may be so coarse that a second write leaves no trace: what is that fresh is read again. */
const COARSE_MS = 50
/** Of the text, which may be long: it is compared, and not kept. */
const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex')
const mark = ({ ino, size, mtimeNs, mtimeMs, ctimeNs }: BigIntStats): string => {
  const now = Date.now()
  return [ino, size, mtimeNs, ctimeNs, now - Number(mtimeMs) < COARSE_MS ? now : ''].join()
}

export type FileDirectory = Directory & {
  /** Whom the file lists, in its order. */
  readonly everybody: () => readonly Person[]
}

/**
 * `people: [{ id, realm?, tenant?, active?, groups, roles, entitlements, manager? }]`. Its own truth: age 0 while it can be read,
 * and a change counts within half a second.
 * Rejects at start when the file is missing or malformed; later nobody is known until it is mended, and the log says so.
 * @param options.realm realm of rows that name none
 */
export const openFileDirectory = async (options: {
  readonly path: string
  readonly realm: string
  readonly clock: Clock
  readonly log: Log
  readonly onChange: () => void
}): Promise<FileDirectory> => {
  const { path, realm } = options
  const read = (written: string) => readPeople(written, { path, realm, now: options.clock.now() })
  const keys = new WeakMap<Person, string>()
  // Looked at, not watched: inotify is deaf on some volumes and hears every write beside the file, evidence among them.
  // Taken before reading, so that what changes meanwhile is a change.
  let seen = mark(await statOf(options.path))
  const first = await readText(options.path)
  let text = hashOf(first)
  let people = await read(first)
  /** Why nobody is known; null: people are. */
  let problem: string | null = null
  let unread: string | null = null
  const reload = async (): Promise<void> => {
    try {
      const now = await readText(options.path)
      unread = null
      const hash = hashOf(now)
      if (problem === null && hash === text) return
      people = await read(now)
      text = hash
      problem = null
      options.log.info({ people: people.size }, 'entitlements file read')
    } catch (error) {
      if (mayHeal(error)) seen = ''
      unread = error instanceof Unreadable ? error.message : null
      const said = messageOf(error)
      if (said === problem) return
      // Old facts must not go on counting as new ones: nothing is known until the file can be read.
      problem = said
      options.log.error(
        { err: error },
        'entitlements file is broken: nobody is known until it is mended',
      )
    }
    options.onChange()
  }
  let looking = false
  let looked = options.clock.mono()
  const look = async (): Promise<void> => {
    if (looking) return
    looking = true
    const now = await statOf(options.path).then(mark, (error: unknown) => messageOf(error))
    if (now !== seen) {
      seen = now
      await reload()
    }
    looked = options.clock.mono()
    looking = false
  }
  const timer = setInterval(() => void look(), LOOK_MS)
  timer.unref()
  return {
    ask: (person) => {
      if (problem !== null || options.clock.mono() - looked > LOST_MS)
        throw new Error('the entitlements file cannot be read')
      let key = keys.get(person)
      if (key === undefined) keys.set(person, (key = keyOf(person)))
      return people.get(key) ?? null
    },
    everybody: () => [...people.keys()].map(personOf),
    unread: () => unread,
    forget: () => {},
    close: () => clearInterval(timer),
  }
}
