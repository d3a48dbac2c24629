import { createHash } from 'node:crypto'
import { Hono } from 'hono'
import { describe, expect, test } from 'vitest'
import { bearerAmong, createGate, personNamed, type Machine } from '../../proxy/api/operator.ts'
import { toProblem } from '../../proxy/problem.ts'

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
const OPERATORS: readonly Machine[] = [
  { name: 'runner', bearer: [digest('k-1'), digest('k-0')], may: ['runs'] },
  { name: 'desk', bearer: [digest('k-2')], may: ['connections', 'revoke'], tenants: ['acme'] },
]
const gateOf = (local = false) => {
  const told: unknown[] = []
  let strangers = 0
  const at = { ms: 5_000 }
  const gate = createGate({
    operators: OPERATORS,
    signIn: null,
    log: { warn: () => undefined },
    local,
    mono: () => at.ms,
    onEvent: (event, fields) => {
      told.push([event, fields])
      return Promise.resolve()
    },
    stranger: () => void (strangers += 1),
  })
  const app = new Hono()
  app.get('/:may', async (c) => {
    const operator = await gate.enter(c, c.req.param('may') as 'runs')
    return c.text(operator.name)
  })
  app.onError((error, c) => c.text(toProblem(error).code, 403))
  const enter = async (may: string, authorization?: string): Promise<string> => {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
    return (await app.request(`/${may}`, { headers })).text()
  }
  return { gate, enter, told, at, strangers: () => strangers }
}

describe('a bearer', () => {
  test.each([
    ['Bearer k-1', 'runner'],
    ['bearer   k-1', 'runner'],
    ['k-1', 'runner'],
    ['Bearer k-0', 'runner'],
    ['Bearer k-2', 'operator_refused'],
    ['Bearer k-3', 'unauthenticated'],
    ['Bearer K-1', 'unauthenticated'],
    ['Bearer k-1 ', 'runner'],
    ['Basic k-1', 'unauthenticated'],
    ['Bearer ', 'unauthenticated'],
    [undefined, 'unauthenticated'],
  ])('%j opens runs as: %s', async (authorization, who) => {
    expect(await gateOf().enter('runs', authorization)).toBe(who)
  })
  test('of nobody is counted as a stranger, and the evidence is not filled with it', async () => {
    const { enter, told, strangers } = gateOf()
    await enter('runs', 'x')
    await enter('runs', 'Bearer k-1')
    expect([strangers(), told]).toEqual([1, []])
  })
  test('of an operator who may not is evidence', async () => {
    const { enter, told, strangers } = gateOf()
    expect(await enter('revoke', 'Bearer k-1')).toBe('operator_refused')
    expect(told).toEqual([['operator.refused', { operator: 'runner', lacks: 'revoke' }]])
    expect(strangers()).toBe(0)
  })
  test('of one who is refused again and again fills no evidence: they are counted, and others are told of', async () => {
    const { gate, enter, told, at, strangers } = gateOf()
    for (let i = 0; i < 50; i++) await enter('revoke', 'Bearer k-1')
    expect([told.length, strangers()]).toEqual([10, 40])
    await enter('runs', 'Bearer k-2')
    expect(told.at(-1)).toEqual(['operator.refused', { operator: 'desk', lacks: 'runs' }])
    const [, desk] = OPERATORS
    if (desk === undefined) throw new Error('no desk')
    for (let i = 0; i < 50; i++) expect(await gate.sees(desk, 'other')).toBe(false)
    expect([told.length, strangers()]).toEqual([20, 81])
    at.ms += 1_000
    await enter('revoke', 'Bearer k-1')
    expect(told).toHaveLength(21)
  })
  test('is not asked for at the socket of this machine', async () => {
    const { enter } = gateOf(true)
    for (const may of ['runs', 'connections', 'revoke']) expect(await enter(may)).toBe('local')
  })
  test('is the last of those that it fits, whatever stands before it', async () => {
    const app = new Hono()
    const digests = [digest('a'), digest('b'), digest('')]
    app.get('/', (c) => c.text(String(bearerAmong(c, digests))))
    const at = async (headers: Record<string, string>) =>
      (await app.request('/', { headers })).text()
    expect(await at({ authorization: 'Bearer b' })).toBe('1')
    expect(await at({ authorization: 'Bearer c' })).toBe('-1')
    expect(await at({})).toBe('2')
  })
})

describe('a tenant', () => {
  test('is served by who names it, and by who names none', async () => {
    const { gate, told } = gateOf()
    const [runner, desk] = OPERATORS
    if (runner === undefined || desk === undefined) throw new Error('no operators')
    expect([gate.serves(runner, 'x'), gate.serves(desk, 'acme'), gate.serves(desk, 'x')]).toEqual([
      true,
      true,
      false,
    ])
    await gate.mustServe(desk, 'acme')
    await expect(gate.mustServe(desk, 'other')).rejects.toMatchObject({ code: 'operator_refused' })
    expect(told).toEqual([['operator.refused', { operator: 'desk', lacks: 'tenant' }]])
  })
})

describe('a person', () => {
  const naming = {
    tenants: ['acme'],
    realms: ['corp', 'local'],
    realmsOf: () => ['corp', 'local'],
  }
  test('is named by what was said, else by the only possibility', () => {
    expect(personNamed(naming, 'alice', { realm: 'corp' })).toEqual({
      id: 'alice',
      tenant: 'acme',
      realm: 'corp',
    })
    expect(personNamed(naming, 'alice', { realm: 'other', tenant: 't' })).toEqual({
      id: 'alice',
      tenant: 't',
      realm: 'other',
    })
  })
  test.each([
    ['alice', {}, 'realm: is missing; there are corp, local'],
    ['', { realm: 'corp' }, 'user_id: '],
    ['a\u0000b', { realm: 'corp' }, 'user_id: '],
    ['a'.repeat(257), { realm: 'corp' }, 'user_id: '],
  ])('%j of %j is not told apart: %s', (id, said, why) => {
    expect(() => personNamed(naming, id, said)).toThrow(why)
  })
})
