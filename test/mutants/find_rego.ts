// What a slip of a policy's author could look like: every text, number, operator and line of the Rego, changed one at a time.
export type RegoMutant = {
  /** Below policies/. */
  readonly path: string
  readonly line: number
  readonly what: string
  readonly text: string
}

type Cut = {
  readonly from: number
  readonly to: number
  readonly by: string
  readonly what: string
}

const OPPOSITE: Readonly<Record<string, string>> = {
  '==': '!=',
  '!=': '==',
  '<=': '>',
  '>=': '<',
  '>': '<=',
  '<': '>=',
  true: 'false',
  false: 'true',
}
const TOKEN =
  /"(?:[^"\\]|\\.)*"|==|!=|<=|>=|(?<=\s)[<>](?=\s)|\btrue\b|\bfalse\b|(?<![\w.])\d+\b|\bnot /g
/** No rule of its own: what an author writes about the file, and what it needs. */
const SKIPPED = /^\s*(?:#|package |import |$)/

const tokens = (line: string): readonly Cut[] =>
  [...line.matchAll(TOKEN)].flatMap(({ 0: token, index }): Cut[] => {
    const cut = (by: string): Cut[] => [
      {
        from: index,
        to: index + token.length,
        by,
        what: `${token.trim()} to ${by === '' ? 'nothing' : by}`,
      },
    ]
    const before = line.slice(0, index)
    // What a reason says to people, and the names of members, are nothing that decides.
    if (token.startsWith('"'))
      return /"msg": \$?$/.test(before) || line.slice(index + token.length - 1).startsWith('":')
        ? []
        : cut(`${token.slice(0, -1)}~"`)
    if (token === 'not ') return cut('')
    if (/^\d/.test(token)) return cut(String(Number(token) + 1))
    return cut(OPPOSITE[token] ?? token)
  })

/** Is the line one condition of several? Taking out the last of a body leaves no rule. */
const condition = (lines: readonly string[], i: number): boolean => {
  const line = lines[i] ?? ''
  const indent = /^\t+/.exec(line)?.[0] ?? ''
  if (indent === '' || /[[{(,]$|^\t+[\])}]|^\t*"/.test(line)) return false
  const alike = (at: number): boolean =>
    (lines[at] ?? '').startsWith(indent) && !(lines[at] ?? '').slice(indent.length).startsWith('\t')
  return alike(i - 1) || alike(i + 1)
}

/**
 * @param path below policies/
 * @param text of a file of Rego that is no test
 */
export const regoMutants = (path: string, text: string): readonly RegoMutant[] => {
  const lines = text.split('\n')
  const times = new Map<string, number>()
  return lines.flatMap((line, i) => {
    if (SKIPPED.test(line)) return []
    const own: Cut[] = [...tokens(line)]
    if (
      / in \S/.test(line) &&
      /^\t+(?!some |every |not )/.test(line) &&
      !/[[{]$/.test(line) &&
      !line.includes('contains ')
    )
      own.push({
        from: /^\t+/.exec(line)?.[0].length ?? 0,
        to: /^\t+/.exec(line)?.[0].length ?? 0,
        by: 'not ',
        what: 'not in',
      })
    if (condition(lines, i)) own.push({ from: 0, to: line.length, by: '', what: 'without' })
    return own.map(({ from, to, by, what }): RegoMutant => {
      const said = `${line.trim().slice(0, 100)} | ${what.slice(0, 60)}`
      const time = (times.get(said) ?? 0) + 1
      times.set(said, time)
      const changed = line.slice(0, from) + by + line.slice(to)
      return {
        path,
        line: i + 1,
        what: time === 1 ? said : `${said} (${time})`,
        text: lines.toSpliced(i, 1, changed).join('\n'),
      }
    })
  })
}
