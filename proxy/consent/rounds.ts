// What is to be told to people is looked for again and again, one look at a time.

/** Looks every `ms`, and when woken, until closed. `ready`: false while the clock is wrong, and nothing is looked for then. */
export const createRounds = (
  ms: number,
  ready: () => boolean,
  look: () => Promise<void>,
  failed: (error: unknown) => void,
): { readonly wake: () => void; readonly close: () => Promise<void> } => {
  let looking: Promise<void> | null = null
  const wake = (): void => {
    if (looking !== null || !ready()) return
    looking = look()
      .catch(failed)
      .finally(() => (looking = null))
  }
  const timer = setInterval(wake, ms).unref()
  return {
    wake,
    close: async () => {
      clearInterval(timer)
      await looking
    },
  }
}
