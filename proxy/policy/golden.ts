// Inputs with the decisions that they must get, asked of the compiled policy: what opa's own tests do not see.
import { isDeepStrictEqual } from 'node:util'
import { isObject } from '../wire/json.ts'
import type { Bundle } from './bundle.ts'
import { readGolden } from './self_test.ts'
import { openTrial, type Answer } from './why/trial.ts'

const LIMIT = 1024 * 1024

const shown = (answer: Answer | undefined): string =>
  answer === undefined
    ? 'no answer'
    : 'failed' in answer
      ? `${answer.failed} (${answer.detail})`
      : `${answer.allow ? 'allow' : 'deny'} ${JSON.stringify(answer.reasons.map(({ code }) => code))}`

/**
 * @param files name → parsed document `{ input, decision }`; the decision is compared whole
 * @returns how many were asked, the bundle's own probes among them, and a line for each wrong answer
 */
export const askGolden = async (
  bundle: Bundle,
  files: ReadonlyMap<string, unknown>,
): Promise<{ readonly asked: number; readonly wrong: readonly string[] }> => {
  const own = bundle.data['deputy_data']
  const probes = readGolden(isObject(own) ? own['probes'] : undefined)
  const wrong: string[] = []
  const golden = [...files].flatMap(([name, document]) => {
    if (isObject(document) && isObject(document['input']) && isObject(document['decision']))
      return [{ name, input: document['input'], decision: document['decision'] }]
    wrong.push(`${name}: is not { input, decision }`)
    return []
  })
  const trial = await openTrial({ bundle, tables: new Map() }, LIMIT)
  try {
    const inputs = [...probes, ...golden].map(({ input }) => JSON.stringify(input))
    const answers = await trial.ask(inputs)
    for (const [i, { name, allow, codes }] of probes.entries()) {
      const answer = answers[i]
      const right =
        answer !== undefined &&
        !('failed' in answer) &&
        answer.allow === allow &&
        (codes === undefined ||
          isDeepStrictEqual(
            codes,
            answer.reasons.map(({ code }) => code),
          ))
      if (!right) wrong.push(`probe ${JSON.stringify(name)}: ${shown(answer)}`)
    }
    for (const [i, { name, decision }] of golden.entries()) {
      const answer = answers[probes.length + i]
      if (!isDeepStrictEqual(answer, decision)) wrong.push(`${name}: ${shown(answer)}`)
    }
    return { asked: inputs.length, wrong }
  } finally {
    await trial.close()
  }
}
