// What a start leaves behind is a fifth of the memory of an idle deputy, and while it idles nobody would collect it; what a
// stream is read into lies about for as long as V8 likes.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

type Collect = (
  how: { readonly type: 'minor' } | { readonly type: 'major'; readonly flavor: 'last-resort' },
) => void

/** Said while it runs, so that no command line must say it; `gc` is only named in contexts made from then on. */
const collector = (): Collect => {
  setFlagsFromString('--expose-gc')
  const gc: Collect = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  return gc
}

/** Collects everything that can be collected and gives its pages back. The thread stands still meanwhile: some 50 ms. */
export const collect = (): void => collector()({ type: 'major', flavor: 'last-resort' })

/** Bytes of streams after which what they were read into is collected, and of a piece: an ordinary answer is none. */
const PASSED = 2 * 1024 ** 2
const PIECE = 16_384

/**
 * Is told of each piece that has passed. A stream is read into ever new memory, which is garbage as soon as it is written:
 * V8 lets some 50 MB of it lie about. To collect what is that young takes less than 1 ms, and memory that is used again at
 * once is still in the processor's caches: a stream costs a third less.
 */
export const createSweep = (): ((bytes: number) => void) => {
  let gc: Collect | null = null
  let passed = 0
  return (bytes) => {
    if (bytes >= PIECE) passed += bytes
    if (passed < PASSED) return
    passed = 0
    gc ??= collector()
    gc({ type: 'minor' })
  }
}
