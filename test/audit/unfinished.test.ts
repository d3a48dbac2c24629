// What a crash left open is found again, and closed once.
import { generateKeyPairSync, sign } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { member } from '../../proxy/audit/chain.ts'
import { openJournal } from '../../proxy/audit/journal.ts'
import { closeEnds, openEnds } from '../../proxy/audit/unfinished.ts'
import { QUIET } from '../support/log.ts'

const { privateKey } = generateKeyPairSync('ed25519')
let folder = ''
let path = ''
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'deputy-unfinished-'))
  path = join(folder, 'audit.jsonl')
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

const open = (proc: string) =>
  openJournal({
    sinks: [{ file: path }],
    fsync: 'never',
    clock: { now: () => Date.now(), mono: () => performance.now() },
    proc,
    log: QUIET,
    anchor: {
      sign: (text) => ({
        kid: 'sign-1',
        signature: sign(null, Buffer.from(text), privateKey).toString('base64url'),
      }),
      everyLines: 1_000,
      everyMs: 60_000,
    },
  })
const read = () => fs.readFileSync(path, 'utf8')

describe('open ends', () => {
  const decision = (exchange: string, effect: string, more = '') =>
    member('exchange', exchange) + more + member('decision', { effect })
  const crashed = async (
    write: (append: (event: string, fields: string) => Promise<void>) => Promise<void>,
  ) => {
    const journal = await open('P1')
    await write(journal.append)
    const text = read()
    await journal.close()
    fs.writeFileSync(path, text)
  }

  test('are the calls that were allowed last and have no outcome', async () => {
    await crashed(async (append) => {
      await append('decision', decision('done', 'allow'))
      await append('outcome', member('exchange', 'done'))
      await append('decision', decision('denied', 'deny'))
      await append('decision', decision('open', 'allow'))
      await append('decision', decision('held', 'consent_required', ',"n":1'))
      await append('decision', decision('held', 'allow', ',"n":2'))
      await append('decision', decision('changed', 'allow', ',"n":1'))
      await append('decision', decision('changed', 'deny', ',"n":2'))
      await append('decision', decision('batch', 'allow', ',"part":1'))
      await append('decision', decision('batch', 'allow', ',"part":2'))
      await append('outcome', member('exchange', 'batch') + member('part', 1))
      await append('decision', decision('whole', 'allow', ',"part":1'))
      await append('outcome', member('exchange', 'whole'))
    })
    expect(await openEnds(path, 'P2')).toEqual([
      { exchange: 'open', part: null, proc: 'P1' },
      { exchange: 'held', part: null, proc: 'P1' },
      { exchange: 'batch', part: 2, proc: 'P1' },
    ])
  })

  test('closed by the next process, they stay closed; its own calls are under way', async () => {
    await crashed((append) => append('decision', decision('open', 'allow')))
    const journal = await open('P2')
    await journal.append('decision', decision('new', 'allow'))
    expect(await openEnds(path, 'P2')).toHaveLength(1)
    await journal.append('outcome', member('exchange', 'open') + member('result', 'unknown'))
    expect(await openEnds(path, 'P2')).toEqual([])
    await journal.close()
  })

  test('an orderly stop ends the search', async () => {
    const journal = await open('P1')
    await journal.append('decision', decision('open', 'allow'))
    await journal.append('decision', decision('\n"event":"process.stopped"', 'allow'))
    expect(await openEnds(path, 'P2')).toHaveLength(2)
    await journal.close()
    expect(await openEnds(path, 'P2')).toEqual([])
  })

  test('are recorded as unknown, each once, and a stream is not searched', async () => {
    await crashed(async (append) => {
      await append('decision', decision('open', 'allow'))
      await append('decision', decision('batch', 'allow', ',"part":2'))
    })
    const said: string[] = []
    const journal = await open('P2')
    const telling = {
      append: (event: string, fields: string) => {
        said.push(`{"event":"${event}"${fields}}`)
        return journal.append(event, fields)
      },
    }
    await closeEnds(telling, ['stdout', { file: path }], 'P2')
    expect(said.map((line) => JSON.parse(line))).toEqual([
      { event: 'outcome', exchange: 'open', result: 'unknown', sent: null, status: null },
      { event: 'outcome', exchange: 'batch', part: 2, result: 'unknown', sent: null, status: null },
    ])
    await closeEnds(telling, ['stdout', { file: path }], 'P2')
    expect(said).toHaveLength(2)
    await journal.close()
  })

  test('of lines that are no records, or of a file that is none, there are none', async () => {
    fs.writeFileSync(path, '')
    expect(await openEnds(path, 'P1')).toEqual([])
    await crashed((append) => append('decision', decision('open', 'allow')))
    // A torn line was promised to nobody.
    fs.appendFileSync(path, '{"event":"outcome","exchange":"open"}')
    expect(await openEnds(path, 'P2')).toHaveLength(1)
    fs.appendFileSync(path, '\n{"event":"decision","exchange":7,"decision":{"effect":"allow"}}\n')
    expect(await openEnds(path, 'P2')).toEqual([])
  })
})
