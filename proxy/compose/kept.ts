// What one configuration hands on to the next: parts whose own settings have not changed go on, with all that they know.
type Part<T = unknown> = {
  readonly value: T
  /** At the end of the process. */
  readonly close: () => unknown
  /** After a reload, while calls of the configuration before may still use it; absent: as `close`. */
  readonly retire?: () => unknown
}

/** The part of this name that is made of these settings: the one before's, or a new one. */
export type Keep = <T>(name: string, settings: unknown, make: () => Part<T>) => T

export type Keeping = {
  readonly keep: Keep
  /** In force. @returns retires what only the one before used */
  readonly commit: () => () => Promise<void>
  /** Never to be in force: what was made for it is closed. */
  readonly drop: () => Promise<void>
}

const ids = new WeakMap<object, number>()
let last = 0
/** Secrets and keys are compared by identity: each reading makes new ones. */
const identity = (value: object): string => {
  const id = ids.get(value) ?? ++last
  ids.set(value, id)
  return `#${id}`
}
const isPlain = (value: object): boolean =>
  Array.isArray(value) ||
  (Object.getPrototypeOf(value) === Object.prototype &&
    !Object.values(value).some((member) => typeof member === 'function'))
const keyOf = (name: string, settings: unknown): string =>
  `${name} ${JSON.stringify(
    settings,
    function (this: Readonly<Record<string, unknown>>, key, value) {
      const raw = this[key]
      return typeof raw === 'object' && raw !== null && !isPlain(raw) ? identity(raw) : value
    },
  )}`

export const createKept = () => {
  let inForce: ReadonlyMap<string, Part> = new Map()
  /** Everything that is not closed yet. */
  const open = new Set<Part>()
  const end = async (parts: Iterable<Part>, how: 'close' | 'retire'): Promise<void> => {
    for (const part of [...parts].toReversed())
      if (open.has(part)) {
        if (how === 'close' || part.retire === undefined) {
          open.delete(part)
          await part.close()
        } else await part.retire()
      }
  }
  return {
    /** For the next configuration: one at a time. */
    next: (): Keeping => {
      const mine = new Map<string, Part>()
      return {
        keep: <T>(name: string, settings: unknown, make: () => Part<T>): T => {
          const key = keyOf(name, settings)
          const part = mine.get(key) ?? inForce.get(key) ?? make()
          mine.set(key, part)
          open.add(part)
          return part.value as T
        },
        commit: () => {
          const gone = [...inForce.values()].filter((part) => ![...mine.values()].includes(part))
          inForce = mine
          return () => end(gone, 'retire')
        },
        drop: () => {
          const before = new Set(inForce.values())
          return end(
            [...mine.values()].filter((part) => !before.has(part)),
            'close',
          )
        },
      }
    },
    close: () => end(open, 'close'),
  }
}

export type Kept = ReturnType<typeof createKept>
