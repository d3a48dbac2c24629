// The configuration: unknown → Config, or every problem at once with its path.
import { salvage, saying } from '../mistakes.ts'
import { knownElsewhere } from './known.ts'
import { between } from './rules.ts'
import { configSchema, type Config } from './schema.ts'

/**
 * @returns the configuration, or every problem as `path: message`; `rest` is what could be read all the same, to look for
 * further problems in what it names. Pure.
 */
export const parseConfig = (
  raw: unknown,
):
  | { readonly config: Config }
  | { readonly problems: readonly string[]; readonly rest: Config | null } => {
  // A parser that is compiled for one reading costs more than it saves: 12 ms and 1.4 MB of a start.
  const parsed = configSchema.safeParse(raw, { jitless: true })
  if (parsed.success) {
    const problems = between(parsed.data)
    return problems.length > 0 ? { problems, rest: parsed.data } : { config: parsed.data }
  }
  const { issues } = parsed.error
  const rest = salvage(configSchema, raw, issues)
  const first = issues
    .flatMap(saying((at, key) => knownElsewhere(configSchema, at, key)))
    .map((problem) =>
      problem.startsWith('auth: is no key')
        ? `${problem}: \`deputy import FILE\` writes the providers of such a file in the words of deputy`
        : problem,
    )
  const more = rest === null ? [] : between(rest)
  // What follows only from a missing or removed value is no problem of its own.
  const wrong = first.map((problem) => problem.slice(0, problem.indexOf(':')))
  const own = more.filter((problem) => !wrong.some((path) => problem.startsWith(path)))
  return { problems: [...first, ...own], rest }
}
