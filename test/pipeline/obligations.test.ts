import { expect, test } from 'vitest'
import type { Decision } from '../../proxy/model.ts'
import {
  createObligations,
  refuse,
  type Carrier,
  type Obliged,
} from '../../proxy/pipeline/obligations.ts'
import { Problem } from '../../proxy/problem.ts'
import { codeOf } from '../wire/fixture.ts'

const about = { exchange: 'x', part: null } as unknown as Obliged
const demanding = (...types: readonly string[]): Pick<Decision, 'obligations'> => ({
  obligations: Object.fromEntries(types.map((type, i) => [`${i}`, { type, properties: { i } }])),
})

test('an obligation of an unknown type turns the permit into a refusal before any is carried out; none leaves it', () => {
  const did: string[] = []
  const { able, carry } = createObligations(new Map([['log', () => void did.push('log')]]))
  expect(carry([[about, demanding()]])).toEqual([])
  for (const type of ['rate_limit', ''])
    for (const ask of [
      able,
      (decision: ReturnType<typeof demanding>) => carry([[about, decision]]),
    ])
      expect(codeOf(() => ask(demanding('log', type)))).toBe('obligation_refused')
  expect(did).toEqual([])
})

test('each is carried out in the order of their types, with its own name and properties', async () => {
  const did: unknown[] = []
  const carrier =
    (type: string): Carrier =>
    async (of, name, properties) => {
      await Promise.resolve()
      did.push([type, of.exchange, name, properties['i']])
    }
  const { carry } = createObligations(
    new Map([
      ['count', carrier('count')],
      ['tell', carrier('tell')],
    ]),
  )
  const left = await carry([
    [about, demanding('tell', 'count')],
    [{ ...about, exchange: 'y' }, demanding('count')],
  ])
  expect(left, 'carriers that leave nothing to be done').toEqual([])
  expect(did).toEqual([
    ['count', 'x', '1', 1],
    ['count', 'y', '0', 0],
    ['tell', 'x', '0', 0],
  ])
})

test('what is still to be done on the way is told; what cannot be met is a refusal that names it', async () => {
  const later = { in: 'response', pointers: ['/a'], part: null } as const
  const { carry } = createObligations(
    new Map<string, Carrier>([
      ['hide', () => later],
      ['odd', (_about, name) => refuse(name, 'nobody knows how')],
    ]),
  )
  expect(await carry([[about, demanding('hide')]])).toEqual([later])
  await expect(carry([[about, demanding('hide', 'odd')]])).rejects.toMatchObject({
    code: 'obligation_refused',
    message: 'policy demands "1": nobody knows how',
    extra: { obligation: '1' },
  })
})

test('what a carrier throws is what the call gets, and nothing after it is carried out', async () => {
  const did: string[] = []
  const { carry } = createObligations(
    new Map<string, Carrier>([
      ['count', () => Promise.reject(new Problem('obligation_refused', 'full'))],
      ['tell', () => void did.push('told')],
    ]),
  )
  await expect(carry([[about, demanding('tell', 'count')]])).rejects.toThrow('full')
  expect(did).toEqual([])
})

test('what is gathered is carried out together, before all others; one that can never be is refused before anything is', async () => {
  const [did, seen]: [string[], string[]] = [[], []]
  const { able, carry } = createObligations(
    new Map([['log', () => void did.push('log')]]),
    {
      types: new Set(['count', 'sum']),
      able: (name, { properties }) => {
        if (properties['i'] === 9) throw new Problem('obligation_refused', name)
      },
      together: (due) => {
        did.push(due.map(({ type }) => type).join('+'))
        return did.length < 3
          ? Promise.resolve()
          : Promise.reject(new Problem('rate_limited', 'full'))
      },
    },
    (type, result) => void seen.push(`${type} ${result}`),
  )
  await carry([
    [about, demanding('log', 'count')],
    [about, demanding('sum')],
  ])
  expect(did).toEqual(['count+sum', 'log'])
  await expect(Promise.resolve(carry([[about, demanding('log', 'sum')]]))).rejects.toThrow('full')
  expect(did.at(-1)).toBe('sum')
  expect(seen).toEqual(['count ok', 'sum ok', 'log ok', 'sum rate_limited'])
  const never = { obligations: { x: { type: 'sum', properties: { i: 9 } } } }
  expect(codeOf(() => able(never))).toBe('obligation_refused')
  expect(codeOf(() => carry([[about, never]]))).toBe('obligation_refused')
  expect(did).toHaveLength(3)
  await carry([[about, demanding('log')]])
  expect(did.slice(3), 'of nothing nothing is gathered').toEqual(['log'])
})
