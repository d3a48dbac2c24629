// Where in a file of YAML a problem is, in words: problems name keys, people look for lines.
import { isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, type YAMLError } from 'yaml'
import { readText } from '../files.ts'

/** What is wrong with the writing, by the parser's code, and what to do. */
const YAML: Readonly<Record<string, string>> = {
  ALIAS_PROPS: 'a repeated part (*name) can have no name of its own: remove it',
  BAD_ALIAS: 'a name behind * is unknown or empty: quote a value that begins with *',
  BAD_DQ_ESCAPE: 'a backslash in "double quotes" begins nothing known: use single quotes',
  BAD_INDENT:
    'the line is indented otherwise than those it belongs to, or a bracket above it is not closed: align or close it',
  BAD_SCALAR_START: 'a value may not begin with @ or `: put it in quotes',
  BLOCK_AS_IMPLICIT_KEY:
    'two "key: value" stand on one line: put each on its own line, or the value in quotes',
  BLOCK_IN_FLOW:
    'a list with - or an indented part stands between [ ] or { }: write it with commas',
  DUPLICATE_KEY: 'a key stands here twice: keep one',
  MULTIPLE_DOCS: 'a second document begins here (---): keep one in the file',
  MISSING_CHAR:
    'something is missing here: a closing quote, bracket or brace, a comma, or a space behind a colon',
  MULTILINE_IMPLICIT_KEY:
    'a key goes over several lines: is a colon missing, or a quote not closed?',
  TAB_AS_INDENT: 'the line is indented with a tab: use spaces',
  UNEXPECTED_TOKEN:
    'something stands here that does not belong: is a quote, bracket or comma too many?',
}
/** What is wrong with the writing, and what to do. */
export const yamlWords = ({ code }: YAMLError): string =>
  YAML[code] ?? 'this cannot be read: keys and values are written `key: value`, lists with -'
/** `:LINE: what is wrong, and what to do`, to stand behind the name of the file. */
export const inYaml = (error: YAMLError): string =>
  `:${error.linePos?.[0].line ?? 1}: ${yamlWords(error)}`

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

/** Of a file of the configuration. */
export const MOST_BYTES = 4 * 1024 ** 2
/** The same for a file; as they are, where it cannot be read any more. */
export const located = (path: string, problems: readonly string[]): Promise<readonly string[]> =>
  readText(path, MOST_BYTES).then(
    (text) => withLines(text, problems),
    () => problems,
  )
