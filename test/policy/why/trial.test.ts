import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { readBundle } from '../../../proxy/policy/bundle.ts'
import { openTrial, remembering, type Answer, type Trial } from '../../../proxy/policy/why/trial.ts'

const fixture = (name: string) =>
  readBundle(readFileSync(new URL(`../../fixtures/policies/${name}.tar.gz`, import.meta.url)))
const shipped = () =>
  readBundle(readFileSync(new URL('../../../policies/bundle.tar.gz', import.meta.url)))

const ends: Trial[] = []
const open = async (bundle: Awaited<ReturnType<typeof fixture>>): Promise<Trial> => {
  const trial = await openTrial({ bundle, tables: new Map() }, 32_768)
  ends.push(trial)
  return trial
}
afterEach(async () => {
  for (const trial of ends.splice(0)) await trial.close()
})
const word = (answer: Answer | undefined): string =>
  answer === undefined
    ? 'none'
    : 'failed' in answer
      ? answer.failed
      : answer.allow
        ? 'allow'
        : 'deny'
const odd = (name: string): string => JSON.stringify({ case: name })
/** What `stuck` is asked; at the path `late` it never ends. */
const stuck = (path: string): string =>
  JSON.stringify({
    user: { groups: ['staff'] },
    operation: { id: 'a' },
    request: { segments: [path] },
  })

describe('a policy that is only asked', () => {
  test('answers in the order of the questions, more than fit one turn', async () => {
    const trial = await open(await fixture('odd'))
    const asked = Array.from({ length: 600 }, (_, i) => odd(i % 3 === 0 ? 'allow' : 'no such case'))
    const answers = await trial.ask(asked)
    expect(answers).toHaveLength(600)
    expect(answers.map(word).slice(0, 4)).toEqual([
      'allow',
      'policy_malformed',
      'policy_malformed',
      'allow',
    ])
    expect(answers.map(word).slice(-3)).toEqual(['allow', 'policy_malformed', 'policy_malformed'])
  })
  test('that traps at one question answers the others', async () => {
    const trial = await open(await fixture('odd'))
    const answers = await trial.ask([
      odd('allow'),
      odd('conflict'),
      odd('allow'),
      odd('memory'),
      odd('allow'),
    ])
    expect(answers.map(word)).toEqual(['allow', 'policy_error', 'allow', 'policy_error', 'allow'])
  })
  test('that never ends at one question answers the others, and gives up after 50 of them', async () => {
    const trial = await open(await fixture('stuck'))
    const few = await trial.ask(['now', 'late', 'then'].map(stuck))
    expect(few.map(word)).toEqual(['allow', 'policy_timeout', 'allow'])
    const many = await trial.ask(Array.from({ length: 60 }, () => stuck('late')))
    expect(new Set(many.map(word))).toEqual(new Set(['policy_timeout']))
    expect(many.at(-1)).toEqual({
      failed: 'policy_timeout',
      detail: 'not asked: 50 questions did not end',
    })
  }, 120_000)
  test('is asked with other tables, and with its own again', async () => {
    const trial = await open(await shipped())
    const { input } = JSON.parse(
      readFileSync(new URL('../../golden/merge-a-pull.json', import.meta.url), 'utf8'),
    ) as { readonly input: object }
    const text = JSON.stringify(input)
    const lifted = new Map([['guards', { github: { merge: true } }]])
    expect((await trial.ask([text])).map(word)).toEqual(['deny'])
    expect((await trial.ask([text, text], lifted)).map(word)).toEqual(['allow', 'allow'])
    expect((await trial.ask([text])).map(word)).toEqual(['deny'])
    expect(trial.tables.get('group_roles')).toMatchObject({ staff: ['reader'] })
  })
  test('as an engine answers what is asked in one turn together, and once what is asked again', async () => {
    const trial = await open(await fixture('odd'))
    let asked = 0
    const engine = remembering({
      ...trial.engine,
      evaluate: (input) => {
        asked += 1
        return trial.engine.evaluate(input)
      },
    })
    const answers = await Promise.all(
      ['allow', 'conflict', 'allow'].map(async (name) => engine.evaluate(odd(name))),
    )
    expect(answers.map(word)).toEqual(['allow', 'policy_error', 'allow'])
    expect(asked).toBe(2)
  })
  test('whose thread was closed fails, and does not reject', async () => {
    const trial = await openTrial({ bundle: await fixture('loops'), tables: new Map() }, 32_768)
    const [late] = await trial.ask(['{}'])
    expect(word(late)).toBe('policy_timeout')
    await trial.close()
  })
})
