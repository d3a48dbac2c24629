// A set of things that come and go thousands of times a second. A `Set` would do, but V8 rebuilds its table as it
// fills and empties, and an old table keeps every finished call alive until a major collection; slots are reused.

type Slots<T> = {
  /** @returns the slot to give back */
  readonly add: (value: T) => number
  readonly remove: (slot: number) => void
  readonly size: () => number
  /** A copy: what it is used for may add and remove. */
  readonly values: () => T[]
}

export const createSlots = <T>(): Slots<T> => {
  const slots: (T | null)[] = []
  const free: number[] = []
  return {
    add(value) {
      const slot = free.pop() ?? slots.length
      slots[slot] = value
      return slot
    },
    remove(slot) {
      slots[slot] = null
      free.push(slot)
    },
    size: () => slots.length - free.length,
    values: () => slots.filter((value) => value !== null),
  }
}
