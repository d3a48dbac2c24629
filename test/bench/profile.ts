// A CPU profile of V8 → where the time went, by function. Pure.

type Node = {
  readonly id: number
  readonly callFrame: {
    readonly functionName: string
    readonly url: string
    readonly lineNumber: number
  }
  readonly children?: readonly number[]
}
export type Profile = {
  readonly nodes: readonly Node[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}
type Spent = {
  readonly where: string
  /** Parts of all time that the process was busy: alone, and with what it called. */
  readonly self: number
  readonly total: number
}

const OUTSIDE = new Set(['(idle)', '(program)', '(root)'])

/** Functions by their own time, the most expensive first. `home` is cut off the file names. */
export const spent = (profile: Profile, home: string): readonly Spent[] => {
  const name = ({ callFrame: { functionName, url, lineNumber } }: Node): string => {
    const file = url.replace(/^file:\/\//, '').replace(home, '')
    return `${functionName || '(anonymous)'}${file === '' ? '' : ` ${file}:${lineNumber + 1}`}`
  }
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]))
  const own = new Map<number, number>()
  profile.samples.forEach((id, i) => {
    own.set(id, (own.get(id) ?? 0) + (profile.timeDeltas[i] ?? 0))
  })
  const self = new Map<string, number>()
  const total = new Map<string, number>()
  let busy = 0
  const add = (map: Map<string, number>, key: string, time: number): void =>
    void map.set(key, (map.get(key) ?? 0) + time)
  /** Sums a subtree; `above` holds the functions that are already being counted, so recursion counts once. */
  const walk = (node: Node, above: ReadonlySet<string>): number => {
    const key = name(node)
    const mine = own.get(node.id) ?? 0
    if (!OUTSIDE.has(node.callFrame.functionName)) {
      add(self, key, mine)
      busy += mine
    }
    const within = new Set([...above, key])
    const below = (node.children ?? []).flatMap((id) => nodes.get(id) ?? [])
    const sum = below.reduce((time, child) => time + walk(child, within), mine)
    if (!above.has(key)) add(total, key, sum)
    return sum
  }
  const [root] = profile.nodes
  if (root !== undefined) walk(root, new Set())
  return [...self]
    .map(([where, time]) => ({ where, self: time / busy, total: (total.get(where) ?? 0) / busy }))
    .sort((a, b) => b.self - a.self)
}
