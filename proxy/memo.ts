// The few texts that agents and providers repeat are judged once: a pure function with a bounded memory.

/** Whoever sends ever new or very long texts costs a look at each, and little memory. */
const MOST = 200
const LONGEST = 256

export const remembered = <T>(
  judge: (text: string) => T,
  most = MOST,
  longest = LONGEST,
): ((text: string) => T) => {
  const known = new Map<string, T>()
  return (text) => {
    if (text.length > longest) return judge(text)
    const found = known.get(text)
    if (found !== undefined) return found
    const judgement = judge(text)
    if (known.size >= most) known.clear()
    known.set(text, judgement)
    return judgement
  }
}

/** Options of an LRUCache for so many entries, whose memory grows as they come: one that is told `max` takes it all at once. */
export const room = (
  most: number,
): { readonly maxSize: number; readonly sizeCalculation: () => number } => ({
  maxSize: most,
  sizeCalculation: () => 1,
})
