import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { GENESIS, lineAfter, linkOf } from '../../proxy/audit/chain.ts'
import { tornOf } from '../../proxy/audit/segments.ts'
import { anchorsOf, verifyJournal } from '../../proxy/audit/verify.ts'

const NOW = '2026-11-28T12:00:00.000Z'
const started = (proc: string, fields: object) =>
  lineAfter(
    { proc, seq: 0, hash: GENESIS },
    NOW,
    'process.started',
    `,${JSON.stringify(fields).slice(1, -1)}`,
  )
const file = (...lines: readonly string[]) => Readable.from(lines.map((line) => `${line}\n`))
const first = started('P1', { after: [], torn: [] })
const link = linkOf(Buffer.from(first))

test('half a line between two files is one that the next start names, byte for byte', async () => {
  const half = '{"v":1,"proc":"P1"'
  const torn = () => Readable.from([`${first}\n${half}`])
  const next = (named: string) =>
    file(started('P2', { after: [link], torn: [tornOf('a', Buffer.from(named))] }))
  expect(await verifyJournal([torn(), next(half)])).toMatchObject({ ok: true, procs: 2, torn: 0 })
  expect(await verifyJournal([torn(), next(`${half},`)])).toMatchObject({
    ok: false,
    problems: [{ line: 1, what: expect.stringContaining('half a line of 18 bytes') }],
  })
  expect(await verifyJournal([torn()])).toMatchObject({ ok: true, torn: half.length })
})

test('who has not stopped is named, and what came before is wanted', async () => {
  expect(await verifyJournal(file(first))).toMatchObject({ running: 'P1', continues: null })
  const second = started('P2', { after: [link], torn: [] })
  expect(await verifyJournal(file(second))).toMatchObject({
    ok: false,
    problems: [{ file: null, line: 1, what: expect.stringContaining('lines up to 1 of P1') }],
  })
})

test('anchors of a copy are read also where nothing else of it is there', async () => {
  const anchor = lineAfter(
    link ?? { proc: '', seq: 0, hash: '' },
    NOW,
    'chain.anchor',
    `,"anchor":${JSON.stringify({ seq: 1, hash: link?.hash })}`,
  )
  expect(await anchorsOf(file('junk', anchor, '{}'))).toEqual([link])
})
