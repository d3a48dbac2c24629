// Where in the file a problem is: problems name keys, people look for lines.
import { isMap, isPair, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import { readText } from '../files.ts'

/** The offset of what a path of keys names, or of the nearest section around it; null: nothing of it is there. */
const offsetOf = (node: unknown, steps: readonly string[]): number | null => {
  if (steps.length === 0) return null
  if (isSeq(node)) {
    const [first = '', ...rest] = steps
    const item = node.items[Number(first)]
    const at = isMap(item) || isSeq(item) || isScalar(item) ? (item.range?.[0] ?? null) : null
    return offsetOf(item, rest) ?? at
  }
  if (!isMap(node)) return null
  // A name may hold dots: api.github.com.
  for (let n = 1; n <= steps.length; n += 1) {
    const key = steps.slice(0, n).join('.')
    const pair = node.items.find(
      (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === key,
    )
    if (pair !== undefined && isScalar(pair.key))
      return offsetOf(pair.value, steps.slice(n)) ?? pair.key.range?.[0] ?? null
  }
  return null
}

/** Puts `line N: ` before each problem that begins with a path of keys of this text. Pure. */
export const withLines = (text: string, problems: readonly string[]): readonly string[] => {
  const counter = new LineCounter()
  const { contents } = parseDocument(text, { uniqueKeys: false, lineCounter: counter })
  return problems.map((problem) => {
    const [path = ''] = problem.split(': ', 1)
    const offset = offsetOf(contents, path.split('.'))
    return offset === null ? problem : `line ${counter.linePos(offset).line}: ${problem}`
  })
}

const MOST_BYTES = 4 * 1024 ** 2
/** The same for a file; as they are, where it cannot be read any more. */
export const located = (path: string, problems: readonly string[]): Promise<readonly string[]> =>
  readText(path, MOST_BYTES).then(
    (text) => withLines(text, problems),
    () => problems,
  )
