import { expect, test } from 'vitest'
import { problems } from '../../../proxy/people/languages/de_problems.ts'
import { CATALOGUE, type ProblemCode } from '../../../proxy/problem.ts'

/** Names that a program reads: settings, members, headers, paths. */
const names = (text: string): readonly string[] =>
  (
    text.match(
      /\b[a-z]+(?:[._][a-z_]+)+|\/\{\S+|\b(?:url|may|tenants|authorize)\b|\b(?:Content-Encoding|Expect|Deputy-Connection|Prefer: wait=60|HTTP\/1\.1|100-continue)(?![\w-])/g,
    ) ?? []
  ).toSorted()

test('each code has its German row, which names what the English one names', () => {
  expect(Object.keys(problems).toSorted()).toEqual(Object.keys(CATALOGUE).toSorted())
  for (const code of Object.keys(CATALOGUE) as ProblemCode[]) {
    const [german, english] = [problems[code], CATALOGUE[code]]
    expect(german.title, code).not.toBe(english.title)
    expect(german.todo, code).not.toBe(english.todo)
    expect(names(german.todo), code).toEqual(expect.arrayContaining([...names(english.todo)]))
  }
})
