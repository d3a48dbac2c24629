// The clocks of this process, moved while a deputy serves in it.
import { vi } from 'vitest'

export type Clocks = {
  /** Sets the wall clock, as somebody with a watch would: by this much from where it is. */
  readonly set: (ms: number) => void
  /** Lets time pass, by every clock. */
  readonly pass: (ms: number) => void
  readonly restore: () => void
}

export const moveClocks = (): Clocks => {
  const [wall, mono] = [Date.now.bind(Date), performance.now.bind(performance)]
  let [later, passed] = [0, 0]
  const spies = [
    vi.spyOn(Date, 'now').mockImplementation(() => wall() + later + passed),
    vi.spyOn(performance, 'now').mockImplementation(() => mono() + passed),
  ]
  return {
    set: (ms) => void (later += ms),
    pass: (ms) => void (passed += ms),
    restore: () => {
      for (const spy of spies) spy.mockRestore()
    },
  }
}
