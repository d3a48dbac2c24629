// One kind of work in each turn of the event loop: what waits meanwhile gathers, and is done in one go, while its code
// and data are in the processor's caches. Under load that is worth more than any single step; alone, nothing waits.
// The queue is the module's own because the event loop is: there is one in a process.

type Gathering = {
  readonly size: () => number
  readonly work: () => void
  /** Its size at the last turn, and the turns that it has waited because it grew. */
  seen: number
  waited: number
}

/** Several items that still become more wait so many turns: the rest is on its way. */
const MOST_TURNS = 4
const queue: Gathering[] = []
const next = (): void => {
  const [first] = queue
  if (first === undefined) return
  const size = first.size()
  if (size > 1 && size > first.seen && first.waited < MOST_TURNS) {
    first.seen = size
    first.waited++
    setImmediate(next)
    return
  }
  queue.shift()
  if (queue.length > 0) setImmediate(next)
  first.work()
}

/**
 * Gathers items and hands them over together, in a turn that no other gathering works in.
 * @param work must not throw
 * @returns takes an item
 */
export const gather = <T>(work: (batch: readonly T[]) => void): ((item: T) => void) => {
  let items: T[] = []
  const size = (): number => items.length
  const all = (): void => {
    const batch = items
    items = []
    work(batch)
  }
  return (item) => {
    if (items.push(item) > 1) return
    if (queue.push({ size, work: all, seen: 0, waited: 0 }) === 1) setImmediate(next)
  }
}
