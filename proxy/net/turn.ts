// One kind of work in each turn of the event loop: what waits meanwhile gathers, and is done in one go, while its code
// and data are in the processor's caches. Under load that is worth more than any single step; alone, nothing waits.
// The list is the module's own because the event loop is: there is one in a process.

const waiting: (() => void)[] = []
const next = (): void => {
  const work = waiting.shift()
  if (waiting.length > 0) setImmediate(next)
  work?.()
}

/** Runs `work` in a turn of its own, after what waits already. */
export const inTurn = (work: () => void): void => {
  if (waiting.push(work) === 1) setImmediate(next)
}
