import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ANCHORED } from '../../proxy/audit/chain.ts'
import { decisionsIn, newTally, type Recorded, type Tally } from '../../proxy/audit/decisions.ts'
import { openJournal } from '../../proxy/audit/journal.ts'

const quiet = () => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
const DECISION = {
  exchange: 'E1',
  n: 1,
  trace_id: null,
  user: { id: 'alice', realm: 'r', tenant: 't', verified: true },
  agent: { id: 'a' },
  run: null,
  connection: 'c',
  provider: 'p',
  operation: { id: 'a.b', access: 'read' },
  request: { method: 'GET', host: 'h', path: '/x', query_keys: [], body_digest: null },
  stripped: [],
  entitlements: { source: 'file', age_ms: 0, digest: 'd' },
  decision: {
    effect: 'deny',
    id: 'D1',
    reasons: ['no'],
    messages: ['no.'],
    grants: [],
    obligations: [],
  },
  policy: { revision: '1', digest: 'sha256:0' },
}
const fieldsOf = (of: object): string => `,${JSON.stringify(of).slice(1, -1)}`

let folder = ''
let lines: string[] = []
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-decisions-'))
  const file = join(folder, 'source.jsonl')
  const journal = await openJournal({
    sinks: [{ file }],
    fsync: 'never',
    clock: { now: Date.now, mono: () => performance.now() },
    proc: 'P1',
    log,
    anchor: { sign: () => ({ kid: 'k', signature: 's' }), ...ANCHORED },
  })
  await journal.append('decision', fieldsOf(DECISION))
  await journal.append('outcome', ',"exchange":"E1"')
  await journal.append('decision', fieldsOf({ ...DECISION, exchange: 'E2', part: 2, via: 'mcp' }))
  await journal.close()
  lines = readFileSync(file, 'utf8').trimEnd().split('\n')
})
afterAll(() => rmSync(folder, { recursive: true }))

const read = async (text: string, wanted?: string): Promise<readonly [Recorded[], Tally]> => {
  const file = join(folder, 'case.jsonl')
  writeFileSync(file, text)
  const tally = newTally()
  const found: Recorded[] = []
  for await (const one of decisionsIn(
    [file],
    tally,
    wanted === undefined ? undefined : Buffer.from(wanted),
  ))
    found.push(one)
  return [found, tally]
}
const joined = (all: readonly string[]): string => `${all.join('\n')}\n`

test('decisions come in their order, with the place where they stand', async () => {
  const [found, tally] = await read(joined(lines))
  expect(
    found.map(({ exchange, part, via, decision }) => [exchange, part, via, decision.reasons]),
  ).toEqual([
    ['E1', undefined, 'proxy', ['no']],
    ['E2', 2, 'mcp', ['no']],
  ])
  expect(found[0]).toMatchObject({
    file: join(folder, 'case.jsonl'),
    at: Date.parse(found[0]?.time ?? ''),
  })
  expect(tally).toEqual({ lines: lines.length, decisions: 2, unread: 0, broken: 0, torn: 0 })
})
test('only those of the exchange that is sought are read whole', async () => {
  const [found] = await read(joined(lines), '"E2"')
  expect(found.map(({ exchange }) => exchange)).toEqual(['E2'])
})
test('a line that was changed, left out, or is of another version is counted', async () => {
  const at = lines.findIndex((line) => line.includes('"E1"'))
  const changed = lines.with(at, (lines[at] ?? '').replace('alice', 'alicf'))
  expect((await read(joined(changed)))[1].broken).toBe(1)
  expect((await read(joined(lines.toSpliced(at, 1))))[1].broken).toBe(1)
  expect((await read(joined([...lines, '{"v":2}', 'no JSON', '[]'])))[1].unread).toBe(3)
  const strange = (lines[at] ?? '').replace('"effect":"deny"', '"effect":"perhaps"')
  expect((await read(joined([strange])))[1]).toMatchObject({ unread: 1, decisions: 0 })
})
test('half a last line is torn, and no record', async () => {
  const [found, tally] = await read(joined(lines) + (lines[0] ?? '').slice(0, 40))
  expect([found.length, tally.torn, tally.unread]).toEqual([2, 1, 0])
})
test('a file that is not there is an error', async () => {
  await expect(decisionsIn([join(folder, 'none')], newTally()).next()).rejects.toThrow('ENOENT')
})
