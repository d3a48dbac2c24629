// `deputy audit verify`, the command itself: what somebody with the files but not the key may try.
import { execFile } from 'node:child_process'
import { generateKeyPairSync, hash, sign } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Link } from '../../proxy/audit/chain.ts'
import { ANCHORED, anchorText, GENESIS, lineAfter, signedLine } from '../../proxy/audit/chain.ts'
import { openJournal } from '../../proxy/audit/journal.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const quiet = () => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
const pair = generateKeyPairSync('ed25519')
const other = generateKeyPairSync('ed25519')

let root = ''
let folder = ''
let path = ''
/** Three processes: two that stopped, one that crashed 40 lines after its anchor. */
let genuine: readonly string[] = []
beforeAll(async () => {
  root = fs.mkdtempSync(join(tmpdir(), 'deputy-verify-'))
  const file = join(root, 'source.jsonl')
  for (const proc of ['P1', 'P2', 'P3']) {
    const journal = await openJournal({
      sinks: [{ file }],
      fsync: 'never',
      clock: { now: Date.now, mono: () => performance.now() },
      proc,
      log,
      anchor: {
        sign: (text) => ({
          kid: 'sign-1',
          signature: sign(null, Buffer.from(text), pair.privateKey).toString('base64url'),
        }),
        ...ANCHORED,
      },
    })
    for (let n = 0; n < 40; n++) await journal.append('decision', `,"n":${n}`)
    if (proc === 'P3') genuine = linesIn(file)
    await journal.close()
  }
  const jwk = { ...pair.publicKey.export({ format: 'jwk' }), kid: 'sign-1' }
  fs.writeFileSync(join(root, 'keys.json'), JSON.stringify({ keys: [jwk] }))
})
afterAll(() => fs.rmSync(root, { recursive: true }))
beforeEach(() => {
  folder = fs.mkdtempSync(join(root, 'case-'))
  path = join(folder, 'audit.jsonl')
})

const linesIn = (file: string) => fs.readFileSync(file, 'utf8').split('\n').slice(0, -1)
const put = (lines: readonly string[], file = path) =>
  fs.writeFileSync(file, lines.map((line) => `${line}\n`).join(''))
const linkOf = (line: string): Link => {
  const { proc, seq } = JSON.parse(line)
  return { proc, seq, hash: hash('sha256', line) }
}
const of = (proc: string) => genuine.filter((line) => line.startsWith(`{"v":1,"proc":"${proc}"`))
const now = () => new Date().toISOString()

/** Lines that follow `last`, chained as deputy would. */
const forged = (last: Link, count: number, time: (n: number) => string = now) => {
  const lines: string[] = []
  for (let n = 0; n < count; n++) {
    const line = lineAfter(last, time(n), 'decision', ',"n":"forged"')
    lines.push(line)
    last = linkOf(line)
  }
  return lines
}
const started = (proc: string, after: Link, more = '') =>
  lineAfter(
    { proc, seq: 0, hash: GENESIS },
    now(),
    'process.started',
    `,"after":[${JSON.stringify(after)}],"torn":[]${more}`,
  )
const anchorAfter = (line: string, key = other.privateKey) => {
  const { proc, seq, hash } = linkOf(line)
  const text = lineAfter(
    { proc, seq, hash },
    now(),
    'chain.anchor',
    `,"anchor":${JSON.stringify({ seq, hash })}`,
  )
  const signature = sign(null, Buffer.from(anchorText(text)), key).toString('base64url')
  return signedLine(text, { kid: 'sign-1', signature })
}
/** The same events again, chained anew, with anchors that `keep` lets stand. */
const redone = (lines: readonly string[], keep: boolean) => {
  const made: string[] = []
  let last: Link = { proc: '', seq: 0, hash: GENESIS }
  for (const line of lines) {
    const { proc, event, time, seq: _, v: __, prev: ___, ...fields } = JSON.parse(line)
    if (event === 'chain.anchor' && !keep) continue
    if (proc !== last.proc) {
      fields.after = last.seq === 0 ? [] : [last]
      last = { proc, seq: 0, hash: GENESIS }
    }
    const { anchor, ...rest } = fields
    const text =
      anchor === undefined ? rest : { anchor: { ...anchor, seq: last.seq, hash: last.hash } }
    const members = JSON.stringify(text).slice(1, -1)
    made.push(lineAfter(last, time, event, members === '' ? '' : `,${members}`))
    last = linkOf(made.at(-1) ?? '')
  }
  return made
}

const run = promisify(execFile)
const verified = async (args: readonly string[] = [path], keys = true) => {
  const given = keys ? ['--keys', join(root, 'keys.json')] : []
  return run(process.execPath, [command, 'audit', 'verify', ...args, ...given]).then(
    ({ stdout }) => ({ code: 0, out: stdout }),
    (error: { code: number; stdout: string }) => ({ code: error.code, out: error.stdout }),
  )
}

const lastOf = (lines: readonly string[]) => linkOf(lines.at(-1) ?? '')
const at = (ms: number) => new Date(Date.now() + ms).toISOString()

describe('one file', () => {
  test.each<[string, number, RegExp, () => readonly string[]]>([
    [
      'one that crashed, or whose end was cut off',
      2,
      /40 lines after it, not yet anchored\n.*whole up to the last anchor, but its end is not proved/,
      () => genuine,
    ],
    [
      'the orderly stop and its anchor cut off',
      2,
      /process P2 has not stopped: .*its end was cut off/,
      () => [...of('P1'), ...of('P2').slice(0, -2)],
    ],
    [
      'processes that all stopped',
      0,
      /0 lines after it\n.*: whole/,
      () => [...of('P1'), ...of('P2')],
    ],
    [
      'a chain redone without anchors',
      2,
      /nothing is signed\n.*whole, but nothing proves it/,
      () => redone(genuine, false),
    ],
    [
      'a chain redone with the old signatures',
      1,
      /signature/,
      () =>
        redone(
          genuine.map((line) => line.replace('"n":7}', '"n":8}')),
          true,
        ),
    ],
    [
      'a tail that was cut',
      2,
      /process P3 has not stopped: .*its end was cut off/,
      () => genuine.slice(0, -20),
    ],
    [
      'a tail cut behind the start of its process',
      1,
      /no anchor follows process.started of P3/,
      () => genuine.slice(0, -41),
    ],
    [
      'an end without its anchor',
      1,
      /no anchor follows process.stopped/,
      () => of('P1').slice(0, -1),
    ],
    [
      'a first process that was removed',
      1,
      /audit.jsonl:1: lines up to 44 of P1 came before, and are not here/,
      () => [...of('P2'), ...of('P3')],
    ],
    [
      'a first process that was removed, and the next one says there was none',
      1,
      /signature of this anchor/,
      () => redone([...of('P2'), ...of('P3')], true),
    ],
    [
      'a process removed from the middle',
      1,
      /P3 did not start after/,
      () => [...of('P1'), ...of('P3')],
    ],
    [
      'one anchor, and 5,000 forged lines',
      1,
      /no anchor for more than 1000 lines/,
      () => [...of('P1').slice(0, 2), ...forged(lastOf(of('P1').slice(0, 2)), 5_000)],
    ],
    [
      'lines after the last anchor that took longer than deputy waits',
      1,
      /no anchor for more than 1000 lines or 60 seconds/,
      () => [...genuine, ...forged(lastOf(genuine), 3, (n) => at(n * 61_000))],
    ],
    [
      'a forged start at the end',
      1,
      /no anchor follows process.started of P9/,
      () => [...genuine, started('P9', lastOf(genuine))],
    ],
    [
      'a forged start with an anchor by another key',
      1,
      /signature of this anchor is not by key sign-1/,
      () => {
        const start = started('P9', lastOf(genuine))
        return [...genuine, start, anchorAfter(start)]
      },
    ],
    [
      'a forged start and what is said to have happened after it',
      1,
      /audit.jsonl:132: no anchor follows process.started of P9/,
      () => {
        const start = started('P9', lastOf(genuine))
        return [...genuine, start, ...forged(linkOf(start), 3)]
      },
    ],
    [
      'two forged starts',
      1,
      /audit.jsonl:132: no anchor follows process.started of P8/,
      () => {
        const start = started('P8', lastOf(genuine))
        return [...genuine, start, started('P9', linkOf(start))]
      },
    ],
    [
      'lines after a stop',
      1,
      /process P2 goes on after it had stopped/,
      () => [...of('P1'), ...of('P2'), ...forged(lastOf(of('P2')), 1)],
    ],
    [
      'the time of an anchor changed, and what follows chained anew',
      1,
      /signature of this anchor/,
      () => {
        const [first = '', second = ''] = genuine
        const moved = second.replace(/"time":"\d{4}/, '"time":"1999')
        return [first, moved, ...forged(linkOf(moved), 3)]
      },
    ],
    [
      'a forged removal of what came before',
      1,
      /came before, and are not here/,
      () => {
        const rest = [...of('P2'), ...of('P3')]
        const segment = { file: 'audit.jsonl.0', ...lastOf(of('P1')) }
        const last = lastOf(rest)
        return [
          ...rest,
          lineAfter(last, now(), 'segment.removed', `,"segment":${JSON.stringify(segment)}`),
        ]
      },
    ],
  ])('%s: exit %i', async (_, code, said, lines) => {
    put(lines())
    const result = await verified()
    expect(result.out).toMatch(said)
    expect(result.code).toBe(code)
  })

  test('what is no evidence, or no key ring, is named, with what to do', async () => {
    put(genuine)
    const none = await verified([join(root, 'none.jsonl')])
    expect(none).toMatchObject({ code: 1 })
    expect(none.out).toContain('none.jsonl does not exist: create it, or name another')
    const noRing = await verified([path, '--keys', path], false)
    expect(noRing).toMatchObject({ code: 1 })
    expect(noRing.out).toContain('has no Ed25519 key; name the key ring of vault.keys')
  })

  test('without keys nothing is proved: exit 2; broken is broken', async () => {
    put(genuine)
    expect(await verified([path], false)).toMatchObject({ code: 2 })
    put(genuine.toSpliced(3, 1))
    expect(await verified([path], false)).toMatchObject({ code: 1 })
  })

  test('a copy of the anchors shows a tail that was cut, or a history that was redone', async () => {
    const held = join(folder, 'held')
    put([...of('P1'), ...of('P2')], held)
    put(genuine)
    expect(await verified([path, '--anchors', held])).toMatchObject({ code: 2 })
    put([...of('P1'), ...of('P2')])
    expect(await verified([path, '--anchors', held])).toMatchObject({ code: 0 })
    put(of('P1'))
    const cut = await verified([path, '--anchors', held])
    expect(cut.code).toBe(1)
    expect(cut.out).toContain('line 43 of P2, which an anchor held elsewhere names, is missing')
    put(redone(genuine, false))
    expect(await verified([path, '--anchors', held])).toMatchObject({ code: 1 })
    put([], held)
    expect(await verified([path, '--anchors', held])).toMatchObject({ code: 1 })
  })

  test('a torn last line is said and is no broken chain', async () => {
    fs.writeFileSync(path, `${genuine.join('\n')}\n{"v":1,"pr`)
    const { code, out } = await verified()
    expect(out).toContain('the last line is torn (10 bytes)')
    expect(out).not.toContain('BROKEN')
    expect(code).toBe(2)
  })

  test('a forged start and half a line prove nothing', async () => {
    fs.writeFileSync(path, `${[...genuine, started('P9', lastOf(genuine))].join('\n')}\n{"v":1`)
    expect((await verified()).code).not.toBe(0)
  })

  test('the process that holds the file may not have signed its last lines yet: exit 0 while it lives', async () => {
    put(genuine)
    const stat = fs.readFileSync('/proc/self/stat', 'utf8')
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
    const space = `${fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${fs.readlinkSync('/proc/self/ns/pid')}`
    const lock = (proc: string, pid: number, began = start) =>
      fs.writeFileSync(`${path}.lock`, JSON.stringify({ proc, pid, space, start: began }))
    lock('P3', process.pid)
    const { code, out } = await verified()
    expect(out).toMatch(/40 lines after it, not yet anchored\n.*: whole\n$/)
    expect(code).toBe(0)
    // Another process, a pid that came back, one that is gone.
    for (const [proc, pid, began] of [
      ['P9', process.pid, start],
      ['P3', process.pid, '1'],
      ['P3', 4_194_300, start],
    ] as const) {
      lock(proc, pid, began)
      expect((await verified()).code, `${proc} ${pid}`).toBe(2)
    }
  })
})

describe('several files', () => {
  /** Three files, cut where somebody rotated them. */
  const parts = () => [genuine.slice(0, 20), genuine.slice(20, 70), genuine.slice(70)] as const
  const rotated = () => {
    const [a, b, c] = parts()
    put(a, `${path}.2`)
    put(b, `${path}.1`)
    put(c)
  }

  test('the file alone, a folder, and the files in any order are the whole', async () => {
    rotated()
    fs.writeFileSync(`${path}.2.gz`, gzipSync(fs.readFileSync(`${path}.2`)))
    fs.rmSync(`${path}.2`)
    // What somebody copied, keys and the like are no part of it.
    fs.writeFileSync(join(folder, 'audit.db'), 'SQLite')
    for (const args of [[path], [folder], [path, `${path}.2.gz`, `${path}.1`]]) {
      const { code, out } = await verified(args)
      expect(out).toMatch(/ and 2 files before it: 130 lines of 3 processes: whole up to the last/)
      expect(code).toBe(2)
    }
  })

  test.each<[string, RegExp, () => void]>([
    ['the first file removed', /lines up to 20 of P1 came before/, () => fs.rmSync(`${path}.2`)],
    ['one in the middle removed', /came before, and are not here/, () => fs.rmSync(`${path}.1`)],
    [
      'the end of one in the middle cut',
      /came before, and are not here/,
      () => put(parts()[1].slice(0, -1), `${path}.1`),
    ],
    [
      'the start of one in the middle cut',
      /lines up to 21 of P1 came before/,
      () => put(parts()[1].slice(1), `${path}.1`),
    ],
    [
      'a line of an old one changed',
      /came before|is not the one that was written/,
      () =>
        put(
          parts()[0].map((line) => line.replace('"n":4', '"n":7')),
          `${path}.2`,
        ),
    ],
    [
      'half a line at the end of an old one',
      /half a line of 4 bytes stands before this one/,
      () => fs.appendFileSync(`${path}.1`, '{"v"'),
    ],
  ])('%s: exit 1, in a folder and by the file', async (_, said, change) => {
    rotated()
    change()
    for (const args of [[path], [folder]]) {
      const { code, out } = await verified(args)
      expect(out).toMatch(said)
      expect(code).toBe(1)
    }
  })

  test('two journals in one folder are both judged, and the worse one counts', async () => {
    put(genuine)
    put(redone(of('P1'), false), join(folder, 'other.jsonl'))
    expect(await verified([folder])).toMatchObject({ code: 2 })
    put(genuine.toSpliced(5, 1), join(folder, 'other.jsonl'))
    expect(await verified([folder])).toMatchObject({ code: 1 })
  })

  test('a folder without evidence, and a file that is missing, are not fine', async () => {
    expect(await verified([folder])).toMatchObject({ code: 1 })
    expect(await verified([path])).toMatchObject({ code: 1 })
  })
})
