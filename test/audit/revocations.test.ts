import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { revocationsIn } from '../../proxy/audit/revocations.ts'

let folder = ''
beforeEach(() => void (folder = fs.mkdtempSync(join(tmpdir(), 'deputy-revocations-'))))
afterEach(() => fs.rmSync(folder, { recursive: true }))

const START = Date.UTC(2026, 0, 1)
const user = { tenant: 'acme', realm: 'corp', id: 'alice' }
type Fields = { readonly [name: string]: unknown }
const line = (seq: number, event: string, fields: Fields = {}, proc = 'P1'): string =>
  JSON.stringify({
    v: 1,
    proc,
    seq,
    time: new Date(START + seq * 1_000).toISOString(),
    event,
    ...fields,
  })
const file = (name: string, ...lines: readonly string[]): string => {
  const path = join(folder, name)
  const text = lines.map((one) => `${one}\n`).join('')
  fs.writeFileSync(path, name.endsWith('.gz') ? gzipSync(text) : text)
  return path
}
const read = (...files: readonly string[]) => revocationsIn(files, START + 3_000)

describe('what was revoked', () => {
  test('is found with what it takes to do it again', async () => {
    const path = file(
      'a',
      line(1, 'process.started'),
      line(2, 'connection.revoked', { credential: 'c1', connection: 'github', result: 'revoked' }),
      line(3, 'connection.disconnected', {
        credential: 'c2',
        connection: 'github',
        result: 'failed',
      }),
      line(4, 'connection.revoked', {
        user,
        agent: { id: 'triage' },
        connection: 'github',
        result: 'grant_removed',
      }),
      line(5, 'run.revoked', { run: 'r1' }),
      line(6, 'person.erased', { user }),
      line(7, 'operator.erased', { user: { ...user, id: 'bob' } }),
      line(8, 'decision', { credential: 'c9' }),
      line(9, 'segment.removed', {}),
    )
    const { revocations, lines, began, problems } = await read(path)
    const at = (n: number) => START + n * 1_000
    expect(revocations).toEqual([
      { at: at(2), kind: 'credential', credential: 'c1', failed: false },
      { at: at(3), kind: 'credential', credential: 'c2', failed: true },
      { at: at(4), kind: 'grant', person: user, agent: 'triage', connection: 'github' },
      { at: at(5), kind: 'run', run: 'r1' },
      { at: at(6), kind: 'person', person: user },
      { at: at(7), kind: 'person', person: { ...user, id: 'bob' } },
    ])
    expect([lines, began, problems]).toEqual([9, START + 1_000, []])
  })

  test('agents that were switched off and on, with whose word that was and for whom', async () => {
    const agent = { id: 'triage' }
    const path = file(
      'a',
      line(1, 'process.started'),
      line(2, 'agent.disabled', { agent, tenant: null, by: user }),
      line(3, 'agent.disabled', { agent, tenant: 'acme', operator: 'me' }),
      line(4, 'agent.enabled', { agent, tenant: null, by: user }),
    )
    const { revocations, problems } = await read(path)
    const of = { kind: 'agent', agent: 'triage' }
    expect(problems).toEqual([])
    expect(revocations).toEqual([
      { ...of, at: START + 2_000, tenant: null, off: true, by: 'owner' },
      { ...of, at: START + 3_000, tenant: 'acme', off: true, by: 'operator' },
      { ...of, at: START + 4_000, tenant: null, off: false, by: 'owner' },
    ])
  })

  test.each<[string, Fields]>([
    ['connection.revoked', { connection: 'github', result: 'revoked' }],
    ['connection.disconnected', { credential: '', result: 'failed' }],
    ['connection.revoked', { user, connection: 'github', result: 'grant_removed' }],
    [
      'connection.revoked',
      { user: { ...user, id: 'hmac:x' }, agent: { id: 'a' }, connection: 'g', result: 'agent' },
    ],
    ['run.revoked', {}],
    ['person.erased', { user: { tenant: 'acme', realm: 'corp' } }],
    ['licence.withdrawn', { user }],
    ['device.disabled', {}],
    ['agent.disabled', { tenant: null }],
  ])('%s of %j is not passed over, though nobody can tell what it took', async (event, fields) => {
    const path = file(
      'a',
      line(1, 'process.started'),
      line(2, event, fields),
      line(3, event, fields),
    )
    const { revocations, problems } = await read(path)
    expect(revocations).toEqual([])
    expect(problems).toEqual([
      `2 × ${event}: this version cannot tell from the evidence what that took from whom: do it again by hand`,
    ])
  })
})

describe('files', () => {
  const [one, two, three] = [
    line(1, 'process.started'),
    line(2, 'run.revoked', { run: 'r' }),
    line(3, 'decision'),
  ]
  test('in any order, packed or not, each once, are one journal', async () => {
    const parts = [file('c', three), file('a.gz', one), file('b', two)]
    const found = await read(...parts, ...parts)
    expect(found).toMatchObject({ lines: 3, problems: [], began: START + 1_000 })
    expect(found.revocations).toHaveLength(1)
  })
  test('that are missing in between are a problem', async () => {
    const late = [line(7, 'decision'), line(9, 'decision')]
    const { problems } = await read(file('a', one), file('b', ...late))
    expect(problems.map((text) => text.replace(/^.*?:/, ''))).toEqual([
      expect.stringMatching(/^1: lines before it are missing/),
      expect.stringMatching(/^2: lines before it are missing/),
    ])
  })
  test('that begin after the copy was made are a problem, unless nothing can have come before', async () => {
    const { problems } = await revocationsIn([file('a', line(9, 'decision'))], START)
    expect(problems).toHaveLength(2)
    expect(problems[1]).toMatch(/the evidence begins at .*, and the copy may be as old as/)
    expect((await revocationsIn([file('b', line(9, 'decision'))], START + 9_000)).problems).toEqual(
      [],
    )
  })
  test('of a process that names the one before it go on', async () => {
    const after = [{ proc: 'P1', seq: 2 }]
    const next = line(
      1,
      'process.started',
      { after, time: new Date(START + 9_000).toISOString() },
      'P2',
    )
    expect((await read(file('a', one, two), file('b', next))).problems).toEqual([])
    expect((await read(file('a', one), file('b', next))).problems).toHaveLength(1)
  })
  test('whose lines are none are named with the line; what was torn off was promised to nobody', async () => {
    const path = file('a', one, 'somebody’s note', '{"event":"x"}', two)
    fs.appendFileSync(path, '{"half')
    const { problems, lines } = await read(path)
    expect(problems).toEqual([
      `${path}:2: is no line of the evidence`,
      `${path}:3: is no line of the evidence`,
    ])
    expect(lines).toBe(2)
  })
  test('that are no evidence, or not there, are an error that names them', async () => {
    await expect(read(file('notes', 'hello'))).rejects.toThrow(/notes: is no evidence of deputy/)
    await expect(read(join(folder, 'none'))).rejects.toThrow(/none/)
  })
  test('without a line say so', async () => {
    expect((await read(file('a'))).problems).toEqual([
      'there is no line in the evidence: name the files that hold it',
    ])
    expect((await read()).problems).toHaveLength(1)
  })
})
