import { spawn, spawnSync } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { auditVerify } from '../../proxy/commands/audit.ts'
import type { Log } from '../../proxy/model.ts'
import { GENESIS, isoTime, lineAfter, member } from '../../proxy/audit/chain.ts'
import { openEnds } from '../../proxy/audit/unfinished.ts'
import type { JournalOptions } from '../../proxy/audit/journal.ts'
import { openJournal } from '../../proxy/audit/journal.ts'
import { lockFile } from '../../proxy/audit/lock.ts'
import { verifyJournal } from '../../proxy/audit/verify.ts'

const source = (file: string) =>
  fileURLToPath(new URL(`../../proxy/audit/${file}`, import.meta.url))
const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const keys: ReadonlyMap<string, KeyObject> = new Map([['sign-1', publicKey]])
const log: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
}

let folder = ''
let path = ''
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'deputy-journal-'))
  path = join(folder, 'audit.jsonl')
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

const open = (proc: string, more: Partial<JournalOptions> = {}) =>
  openJournal({
    sinks: [{ file: path }],
    fsync: 'never',
    clock: { now: () => Date.now(), mono: () => performance.now() },
    proc,
    log,
    anchor: {
      sign: (text) => ({
        kid: 'sign-1',
        signature: sign(null, Buffer.from(text), privateKey).toString('base64url'),
      }),
      everyLines: 1_000,
      everyMs: 60_000,
    },
    ...more,
  })

const read = () => fs.readFileSync(path, 'utf8')
const lines = () => read().split('\n').slice(0, -1)
const records = () => lines().map((line) => JSON.parse(line) as Record<string, unknown>)
const write = (changed: readonly string[]) =>
  fs.writeFileSync(path, changed.map((line) => `${line}\n`).join(''))

/** A program of its own that has `journal`, `open(proc)` and `path`; fd 1 is what the test gives it. */
const program = (body: string): string => {
  const file = join(folder, 'program.ts')
  const key = JSON.stringify(privateKey.export({ format: 'jwk' }))
  fs.writeFileSync(
    file,
    `import { openJournal } from ${JSON.stringify(source('journal.ts'))}
import { createPrivateKey, sign } from 'node:crypto'
const key = createPrivateKey({ key: ${key}, format: 'jwk' })
const path = ${JSON.stringify(path)}
const quiet = () => {}
const open = (proc, sinks, more = {}) => openJournal({ sinks, fsync: 'never', proc, ...more,
  clock: { now: Date.now, mono: () => performance.now() },
  log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  anchor: { everyLines: 1000, everyMs: 60000,
    sign: (text) => ({ kid: 'sign-1', signature: sign(null, Buffer.from(text), key).toString('base64url') }) } })
const outcome = (promise) => promise.then(() => 'written', (error) => error.code)
${body}`,
  )
  return file
}

describe('writing', () => {
  test('a record that would forge the next line, or is no list of members, is refused and the chain goes on', async () => {
    const journal = await open('P1')
    for (const fields of [',"a":"\n"', '"a":1', '}{'])
      await expect(journal.append('decision', fields), fields).rejects.toMatchObject({
        code: 'audit_unavailable',
      })
    await journal.append('decision', member('wide', `\u00e9\u20ac\u{1f600}`.repeat(4_000)))
    await journal.append('outcome', '')
    await journal.close()
    const found = records().map(({ event }) => event)
    expect(found).toContain('outcome')
    expect(found.filter((event) => event === 'decision')).toHaveLength(1)
    expect((await verifyJournal(path, { publicKeys: keys })).problems).toEqual([])
  })

  test('the time of a record is what toISOString says', () => {
    const iso = isoTime()
    for (const at of [0, 1, 999, 1_000, 1_790_000_000_123.7, 1_790_000_000_999, 1_790_000_001_000])
      expect(iso(at)).toBe(new Date(Math.floor(at)).toISOString())
  })

  test('every line is a record whose prev is the hash of the line before it', async () => {
    const journal = await open('P1', { about: ',"version":"1"' })
    await journal.append('decision', member('exchange', 'x1'))
    await journal.append('outcome', '')
    await journal.close()
    const found = records()
    expect(found.map(({ event }) => event)).toEqual([
      'process.started',
      'chain.anchor',
      'decision',
      'outcome',
      'process.stopped',
      'chain.anchor',
    ])
    expect(found.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6])
    expect(found[0]).toMatchObject({
      v: 1,
      proc: 'P1',
      prev: GENESIS,
      after: [],
      torn: [],
      version: '1',
    })
    expect(lines()[2]).toMatch(
      /^{"v":1,"proc":"P1","seq":3,"prev":"[0-9a-f]{64}","time":"\d{4}-[^"]+Z","event":"decision","exchange":"x1"}$/,
    )
    expect(await verifyJournal(path, { publicKeys: keys })).toMatchObject({
      ok: true,
      lines: 6,
      procs: 1,
      unanchored: 0,
      torn: 0,
    })
  })

  test('append resolves only once its line can be read back', async () => {
    const journal = await open('P1')
    for (let i = 0; i < 20; i++) {
      await journal.append('decision', member('exchange', `x${i}`))
      expect(read()).toContain(`"exchange":"x${i}"}\n`)
    }
    await journal.close()
  })

  test('the lines of one turn share one write', async () => {
    const journal = await open('P1')
    const sizes = new Set<number>()
    const all = Array.from({ length: 500 }, () =>
      journal.append('decision', '').then(() => sizes.add(fs.statSync(path).size)),
    )
    expect(journal.waiting()).toBe(500)
    await Promise.all(all)
    expect(sizes.size).toBe(1)
    expect(journal.lines()).toBe(502)
    await journal.close()
  })

  test.each(['never', 'each', 20] as const)(
    'with fsync %s twenty thousand lines in a few hundred turns verify',
    async (fsync) => {
      const journal = await open('P1', { fsync })
      for (let turn = 0; turn < 200; turn++)
        await Promise.all(
          Array.from({ length: 100 }, (_, i) =>
            journal.append('decision', member('exchange', `${turn}.${i}`)),
          ),
        )
      await journal.close()
      const result = await verifyJournal(path, { publicKeys: keys })
      expect(result).toMatchObject({ ok: true, procs: 1 })
      expect(result.lines).toBe(journal.lines())
      expect(
        records().filter(({ event }) => event === 'chain.anchor').length,
      ).toBeGreaterThanOrEqual(18)
    },
  )

  test('any string makes a member that reads back as itself and cannot end the line', async () => {
    const nasty = 'a"b\\c\nd\r\u0000\u2028\u202e\ud800 \u{1f600} ","event":"outcome'
    const journal = await open('P1')
    await journal.append('decision', member('exchange', nasty) + member(nasty, 1))
    await journal.close()
    expect(records()[2]).toMatchObject({ event: 'decision', exchange: nasty, [nasty]: 1 })
    expect((await verifyJournal(path)).ok).toBe(true)
  })

  test('fields that would break the line are refused', async () => {
    const journal = await open('P1')
    await expect(journal.append('decision', ',"a":\n1')).rejects.toMatchObject({
      code: 'audit_unavailable',
    })
    await expect(journal.append('decision', '"a":1')).rejects.toMatchObject({
      code: 'audit_unavailable',
    })
    await journal.close()
    await expect(journal.append('decision', '')).rejects.toMatchObject({
      code: 'audit_unavailable',
    })
    expect(lines()).toHaveLength(4)
  })

  test('a quiet time ends with an anchor, and silence sets no second one', async () => {
    const sets = { sign: () => ({ kid: 'k', signature: 'AA' }), everyLines: 1_000, everyMs: 30 }
    const journal = await open('P1', { anchor: sets })
    const events = () => records().map(({ event }) => event)
    await expect.poll(events).toEqual(['process.started', 'chain.anchor'])
    await sleep(200)
    expect(events()).toEqual(['process.started', 'chain.anchor'])
    await journal.close()
  })

  test('no run of lines without an anchor is longer than said, by number or by the times in them', async () => {
    let now = Date.parse('2026-11-28T12:00:00.000Z')
    const clock = { now: () => now, mono: () => performance.now() }
    const journal = await open('P1', { clock })
    // One write of all of them.
    await Promise.all(Array.from({ length: 2_500 }, () => journal.append('decision', '')))
    const runs = () => {
      const found = [0]
      for (const { event } of records())
        if (event === 'chain.anchor') found.push(0)
        else found.push((found.pop() ?? 0) + 1)
      return found
    }
    expect(runs()).toEqual([1, 1_000, 1_000, 500])
    // The machine sleeps, or its clock steps back: the lines before are signed before the next one.
    for (const step of [3_600_000, -120_000]) {
      now += step
      await journal.append('decision', '')
    }
    expect(runs()).toEqual([1, 1_000, 1_000, 500, 1, 1])
    await journal.close()
    expect(await verifyJournal(path, { publicKeys: keys })).toMatchObject({ ok: true, found: 0 })
  })

  test('a key that cannot sign costs the anchor, not the records', async () => {
    const sign = () => {
      throw new Error('no key')
    }
    const journal = await open('P1', { anchor: { sign, everyLines: 2, everyMs: 60_000 } })
    await journal.append('decision', '')
    await journal.close()
    expect(await verifyJournal(path)).toMatchObject({ ok: true, lines: 3, lastAnchor: null })
  })

  test('the file is for its owner alone, and a group that was let in stays', async () => {
    await (await open('P1')).close()
    expect(fs.statSync(path).mode & 0o777).toBe(0o600)
    fs.chmodSync(path, 0o644)
    await (await open('P2')).close()
    expect(fs.statSync(path).mode & 0o777).toBe(0o640)
  })
})

describe('opening', () => {
  test('a second process goes on in the same file and names the line it follows', async () => {
    await (await open('P1')).close()
    await (await open('P2')).close()
    expect(records()[4]).toMatchObject({
      proc: 'P2',
      seq: 1,
      prev: GENESIS,
      after: [{ proc: 'P1', seq: 4 }],
    })
    expect(await verifyJournal(path, { publicKeys: keys })).toMatchObject({
      ok: true,
      procs: 2,
      lines: 8,
    })
  })

  test('a torn last line is moved aside and named, and is no broken chain', async () => {
    await (await open('P1')).close()
    fs.appendFileSync(path, '{"v":1,"proc":"P1","se')
    expect(await verifyJournal(path)).toMatchObject({ ok: true, torn: 22, lines: 4 })
    await (await open('P2')).close()
    expect(records()[4]).toMatchObject({ torn: [{ file: 'audit.jsonl', bytes: 22 }] })
    expect(fs.readFileSync(`${path}.torn`, 'utf8')).toBe('{"v":1,"proc":"P1","se')
    expect(await verifyJournal(path, { publicKeys: keys })).toMatchObject({
      ok: true,
      torn: 0,
      procs: 2,
    })
  })

  test('a second writer is refused with a sentence that says what to do', async () => {
    const journal = await open('P1')
    await expect(open('P2')).rejects.toThrow(
      /audit\.sink: .*audit\.jsonl is being written by process \d+ \(P1\).*file of its own.*remove/,
    )
    await journal.append('decision', '')
    await journal.close()
    await (await open('P2')).close()
    expect((await verifyJournal(path)).ok).toBe(true)
  })

  test('of many that come at once after a crash, one gets the file', async () => {
    fs.writeFileSync(
      `${path}.lock`,
      JSON.stringify({ proc: 'P0', pid: 2 ** 30, space: spaceOf(), start: '1' }),
    )
    const results = await Promise.allSettled(
      Array.from({ length: 5 }, (_, i) => lockFile(path, `P${i}`, log)),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  test('a lock of another container falls once it stops beating, and not before', async () => {
    const lock = `${path}.lock`
    fs.writeFileSync(lock, JSON.stringify({ proc: 'P0', pid: 1, space: 'elsewhere', start: '1' }))
    const beat = setInterval(() => fs.utimesSync(lock, new Date(), new Date()), 100)
    await expect(lockFile(path, 'P1', log, 1_000)).rejects.toThrow('P0')
    clearInterval(beat)
    const held = await lockFile(path, 'P1', log, 1_000)
    expect(held.held()).toBe(true)
    held.release()
    expect(fs.existsSync(lock)).toBe(false)
  })

  test.each([
    [
      'a file that is no journal',
      () => fs.writeFileSync(path, 'version: 1\n'),
      /does not end in an audit record/,
    ],
    ['a folder', () => fs.mkdirSync(path), /EISDIR/],
    ['a device', () => fs.symlinkSync('/dev/full', path), /is not a regular file/],
    [
      'a folder that is missing',
      () => (path = join(folder, 'no', 'audit.jsonl')),
      /no\/audit\.jsonl/,
    ],
  ])('%s is refused, unchanged, and no lock stays', async (_, prepare, message) => {
    prepare()
    await expect(open('P1')).rejects.toThrow(message)
    expect(fs.existsSync(`${path}.lock`)).toBe(false)
  })

  test('a crash leaves a file that opens again, without its lock and its half line', async () => {
    const child = spawn(process.execPath, [
      program(`const journal = await open('P1', [{ file: path }])
let n = 0
const more = () => { for (let i = 0; i < 50; i++) journal.append('decision', ',"exchange":"x' + n++ + '","decision":{"effect":"allow"}').catch(quiet); setImmediate(more) }
more()
console.log('running')`),
    ])
    await once(child.stdout, 'data')
    await sleep(100)
    child.kill('SIGKILL')
    await once(child, 'exit')
    const journal = await open('P2')
    const ends = await openEnds(path, 'P2')
    await journal.close()
    const result = await verifyJournal(path, { publicKeys: keys })
    expect(result).toMatchObject({ ok: true, procs: 2 })
    expect(ends).toHaveLength(records().filter(({ event }) => event === 'decision').length)
    expect(ends[0]).toEqual({ exchange: 'x0', part: null, proc: 'P1' })
  })
})

const spaceOf = (): string => {
  try {
    return `${fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${fs.readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return ''
  }
}

describe('a sink that fails', () => {
  test('a full disk refuses the batch, cuts its part off, and the chain goes on when there is room', () => {
    // The limit of 8 KiB takes a part of the large record, as a disk does that fills up.
    const file = program(`const journal = await open('P1', [{ file: path }])
const result = [await outcome(journal.append('decision', ',"size":"' + 'a'.repeat(4000) + '"'))]
result.push(await outcome(journal.append('decision', ',"size":"' + 'b'.repeat(6000) + '"')), journal.healthy())
result.push(await outcome(journal.append('decision', ',"size":"small"')), journal.healthy())
await journal.close()
console.log(JSON.stringify({ result, refused: journal.refused() }))`)
    const { stdout, stderr } = spawnSync(
      'bash',
      ['-c', `ulimit -S -f 8; exec "$0" "$1"`, process.execPath, file],
      { encoding: 'utf8' },
    )
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual({
      result: ['written', 'audit_unavailable', false, 'written', true],
      refused: 1,
    })
    expect(
      records().map(({ event, size }) => (typeof size === 'string' ? size[0] : event)),
    ).toEqual(['process.started', 'chain.anchor', 'a', 's', 'process.stopped', 'chain.anchor'])
  })

  test('after a write that failed the file verifies', async () => {
    const file = program(`const journal = await open('P1', [{ file: path }])
for (let i = 0; i < 40; i++) await outcome(journal.append('decision', ',"size":"' + 'a'.repeat(i * 97) + '"'))
await outcome(journal.close())`)
    spawnSync('bash', ['-c', `ulimit -S -f 8; exec "$0" "$1"`, process.execPath, file])
    const before = await verifyJournal(path, { publicKeys: keys })
    expect(before).toMatchObject({ ok: true, torn: 0 })
    expect(before.lines).toBeGreaterThan(5)
    await (await open('P2')).close()
    expect(await verifyJournal(path, { publicKeys: keys })).toMatchObject({ ok: true, procs: 2 })
  })

  test('what could not be written is tried again without waiting for a call, and counted', () => {
    const file = program(`const journal = await open('P1', [{ file: path }])
const result = [await outcome(journal.append('decision', ',"size":"' + 'a'.repeat(9000) + '"')), journal.healthy()]
while (!journal.healthy()) await new Promise((resolve) => setTimeout(resolve, 20))
console.log(JSON.stringify([...result, journal.healthy()]))
await journal.close()`)
    const { stdout } = spawnSync(
      'bash',
      ['-c', `ulimit -S -f 8; exec "$0" "$1"`, process.execPath, file],
      { encoding: 'utf8' },
    )
    expect(JSON.parse(stdout)).toEqual(['audit_unavailable', false, true])
    expect(records()[2]).toMatchObject({ event: 'audit.recovered', refused: 1 })
  })

  test('a full stdout refuses the call, and the file beside it keeps no line of it', async () => {
    const file = program(
      `const journal = await open('P1', [{ file: path }, 'stdout']).catch((error) => console.error(error.message))`,
    )
    const { stderr } = spawnSync(
      'bash',
      ['-c', `exec "$0" "$1" >/dev/full`, process.execPath, file],
      { encoding: 'utf8' },
    )
    expect(stderr).toContain('audit.sink: the first record could not be written')
    expect(read()).toBe('')
    expect(fs.existsSync(`${path}.lock`)).toBe(false)
  })

  test('stdout and a file get the same lines', async () => {
    const file = program(`const journal = await open('P1', [{ file: path }, 'stdout'])
for (let i = 0; i < 300; i++) await journal.append('decision', '')
await journal.close()`)
    const { stdout } = spawnSync(process.execPath, [file], { encoding: 'utf8' })
    expect(stdout).toBe(read())
    expect(stdout.split('\n')).toHaveLength(305)
  })

  test('a reader that stops reading stalls no turn, and calls are refused', async () => {
    const file = program(`const journal = await open('P1', ['stdout'])
const began = performance.now()
let longest = 0, last = began, result = []
const turn = setInterval(() => { const now = performance.now(); longest = Math.max(longest, now - last); last = now }, 5)
const first = outcome(journal.append('decision', ',"size":"' + 'a'.repeat(1_000_000) + '"'))
await new Promise((resolve) => setTimeout(resolve, 100))
result.push(journal.healthy(), await Promise.race([first, outcome(journal.append('decision', ''))]), journal.healthy())
const late = performance.now()
result.push(await outcome(journal.append('decision', '')), performance.now() - late < 2_500)
clearInterval(turn)
console.error(JSON.stringify({ result, longest: longest < 4_000 }))
process.exit(0)`)
    const child = spawn(process.execPath, [file])
    child.stdout.pause()
    let said = ''
    child.stderr.on('data', (data) => (said += data))
    await once(child.stderr, 'data')
    child.kill('SIGKILL')
    child.stdout.destroy()
    expect(JSON.parse(said)).toEqual({
      result: [true, 'audit_unavailable', false, 'audit_unavailable', true],
      longest: true,
    })
  })

  test('who lost the lock writes nothing more', async () => {
    const journal = await open('P1')
    fs.writeFileSync(`${path}.lock`, '{"proc":"P9","pid":1}')
    await expect.poll(() => journal.healthy()).toBe(false)
    await expect(journal.append('decision', '')).rejects.toMatchObject({
      code: 'audit_unavailable',
    })
    await expect(journal.close()).rejects.toThrow()
    expect(lines()).toHaveLength(2)
    expect(fs.existsSync(`${path}.lock`)).toBe(true)
  })
})

const raise = (error: Error): never => {
  throw error
}

describe('segments', () => {
  const closed = () =>
    fs
      .readdirSync(folder)
      .filter((name) => /^audit\.jsonl\.\d{8}T/.test(name))
      .toSorted()
  const whole = async () => {
    const files = [...closed().map((name) => join(folder, name)), path]
    return verifyJournal(files, { publicKeys: keys })
  }

  test('are closed by their age, counted from their first line, also over a restart', async () => {
    let now = Date.parse('2026-11-28T12:00:00.000Z')
    const more = {
      clock: { now: () => now, mono: () => performance.now() },
      rotate: { size: 1e9, everyMs: 3_600_000 },
    }
    const first = await open('P1', more)
    now += 3_500_000
    await first.append('decision', '')
    await first.close()
    expect(closed()).toEqual([])
    now += 200_000
    const second = await open('P2', more)
    await second.append('decision', '')
    await second.append('decision', '')
    await second.close()
    expect(closed()).toEqual(['audit.jsonl.20261128T130140.000Z'])
    expect(records()[0]).toMatchObject({
      event: 'segment.started',
      why: 'rotate',
      continues: { file: 'audit.jsonl.20261128T130140.000Z', proc: 'P2' },
    })
    expect(await whole()).toMatchObject({ ok: true, found: 0, procs: 2 })
  })

  test.each(['never', 'each', 20] as const)(
    'with fsync %s every record that was acknowledged is in one of them, once',
    async (fsync) => {
      const journal = await open('P1', { fsync, rotate: { size: 20_000, everyMs: 1e9 } })
      const kept: Promise<unknown>[] = []
      for (let turn = 0; turn < 60; turn++) {
        for (let i = 0; i < 20; i++)
          kept.push(journal.append('decision', member('exchange', `${turn}.${i}`)))
        if (turn % 3 === 0) await kept.at(-1)
        else await new Promise((resolve) => setImmediate(resolve))
      }
      await Promise.all(kept)
      await journal.close()
      expect(closed().length).toBeGreaterThan(5)
      const text = [...closed().map((name) => join(folder, name)), path]
        .map((file) => fs.readFileSync(file, 'utf8'))
        .join('')
      expect(text.match(/"exchange":"[\d.]+"/g)).toHaveLength(1_200)
      expect(new Set(text.match(/"exchange":"[\d.]+"/g)).size).toBe(1_200)
      expect(await whole()).toMatchObject({ ok: true, found: 0 })
      expect(journal.refused()).toBe(0)
    },
  )

  test('begin where a file was moved, also while no call comes', async () => {
    const journal = await open('P1')
    const moved = join(folder, 'audit-1.jsonl')
    fs.renameSync(path, moved)
    await expect.poll(() => fs.existsSync(path)).toBe(true)
    await expect.poll(() => records()[0]?.['event']).toBe('segment.started')
    await journal.close()
    expect(await verifyJournal([moved, path], { publicKeys: keys })).toMatchObject({ ok: true })
  })

  test('that cannot be closed go on, and are closed later', () => {
    const file = program(`import { openSync, closeSync } from 'node:fs'
const journal = await open('P1', [{ file: path }], { rotate: { size: 2000, everyMs: 1e9 } })
const many = []
try { for (;;) many.push(openSync('/dev/null', 'r')) } catch {}
// One is left: it opens the new file, and its folder cannot be flushed.
closeSync(many.pop())
const result = []
for (let i = 0; i < 9; i++) result.push(await outcome(journal.append('decision', ',"size":"' + 'a'.repeat(900) + '"')))
result.push(journal.healthy())
for (const fd of many) closeSync(fd)
await journal.close()
console.log(JSON.stringify(result))`)
    const { stdout, stderr } = spawnSync(
      'bash',
      ['-c', `ulimit -n 64; exec "$0" "$1"`, process.execPath, file],
      { encoding: 'utf8' },
    )
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual([...Array.from({ length: 9 }, () => 'written'), true])
    expect(closed()).toEqual([])
    expect(records().filter(({ event }) => event === 'decision')).toHaveLength(9)
  })
})

describe('verifying', () => {
  const filled = async () => {
    for (const proc of ['P1', 'P2']) {
      const journal = await open(proc)
      for (let i = 0; i < 10; i++) await journal.append('decision', member('n', i))
      await journal.close()
    }
    return lines()
  }
  const found = async () => {
    const result = await verifyJournal(path, { publicKeys: keys })
    return { ok: result.ok, ...result.problems[0] }
  }

  test('a changed line is named', async () => {
    const all = await filled()
    write(all.map((line, i) => (i === 5 ? line.replace('"n":3', '"n":4') : line)))
    expect(await found()).toMatchObject({
      ok: false,
      line: 7,
      what: expect.stringContaining('line 6 is not the one that was written'),
    })
  })

  test.each([0, 1, 2, 6, 11, 12, 13, 14, 15, 16, 24, 26])(
    'line index %i cannot be removed',
    async (gone) => {
      const all = await filled()
      write(all.filter((_, i) => i !== gone))
      expect((await found()).ok).toBe(false)
    },
  )

  test('each single byte that changes before the last anchor is seen', async () => {
    const all = await filled()
    const text = all.join('\n') + '\n'
    const end = text.lastIndexOf('\n', text.length - 2)
    for (let at = 0; at < end; at += 97) {
      const bytes = Buffer.from(text)
      bytes[at] = (bytes[at] ?? 0) ^ 1
      fs.writeFileSync(path, bytes)
      expect((await found()).ok, `byte ${at}`).toBe(false)
    }
  })

  test('an inserted, a repeated and a moved line are seen', async () => {
    const all = await filled()
    const forged = all[5]?.replace('"n":4', '"n":99') ?? ''
    for (const changed of [
      all.toSpliced(6, 0, forged),
      all.toSpliced(6, 0, all[5] ?? ''),
      all.toSpliced(6, 0, '{}'),
      all.toSpliced(5, 2, all[6] ?? '', all[5] ?? ''),
    ]) {
      write(changed)
      expect(await found()).toMatchObject({ ok: false, line: expect.any(Number) })
    }
    write(all.toSpliced(4, 1))
    expect(await found()).toMatchObject({ line: 5, what: 'lines 5 to 5 of P1 are missing' })
  })

  test('processes cannot be swapped, dropped from the middle, or cut at their end', async () => {
    await filled()
    await (await open('P3')).close()
    const all = lines()
    const [p1, p2, p3] = ['P1', 'P2', 'P3'].map((proc) =>
      all.filter((line) => line.startsWith(`{"v":1,"proc":"${proc}"`)),
    )
    for (const changed of [
      [p2, p1, p3],
      [p1, p3],
      [p1?.slice(0, -2), p2, p3],
      [p1, p2, p3, p2],
    ]) {
      write(changed.flatMap((part) => part ?? []))
      expect((await found()).ok).toBe(false)
    }
    write([p2, p3].flatMap((part) => part ?? []))
    expect(await verifyJournal(path)).toMatchObject({
      ok: false,
      problems: [{ line: 1, what: expect.stringContaining('lines up to 14 of P1 came before') }],
    })
  })

  test('what a collector took from stdout verifies, and a process that stands there twice does not', async () => {
    const stream = (proc: string) =>
      `${lineAfter({ proc, seq: 0, hash: GENESIS }, '2026-01-01T00:00:00.000Z', 'process.started', ',"after":null,"torn":[]')}\n`
    const verified = (...procs: string[]) => verifyJournal(Readable.from(procs.map(stream)))
    expect(await verified('P1', 'P2', 'P3')).toMatchObject({ ok: true, lines: 3, procs: 3 })
    expect(await verified('P1', 'P2', 'P1')).toMatchObject({ ok: false, problems: [{ line: 3 }] })
  })

  test('lines redone with matching hashes fail at an anchor, and at one that is held elsewhere', async () => {
    await filled()
    const anchors = join(folder, 'anchors.jsonl')
    fs.writeFileSync(
      anchors,
      lines()
        .filter((line) => line.includes('chain.anchor'))
        .join('\n'),
    )
    // Somebody with the file but not the key writes a history of his own, once with a key that he made.
    fs.rmSync(path)
    const own = generateKeyPairSync('ed25519').privateKey
    const forge = {
      sign: (text: string) => ({
        kid: 'sign-1',
        signature: sign(null, Buffer.from(text), own).toString('base64url'),
      }),
      everyLines: 1_000,
      everyMs: 60_000,
    }
    await (await open('P1', { anchor: forge })).close()
    expect(await found()).toMatchObject({
      ok: false,
      what: 'the signature of this anchor is not by key sign-1',
    })
    fs.rmSync(path)
    const journal = await open('P1', {
      anchor: { ...forge, sign: () => raise(new Error('no key')) },
    })
    await journal.close()
    expect(await verifyJournal(path, { publicKeys: keys })).toMatchObject({
      ok: true,
      lastAnchor: null,
      unanchored: 2,
    })
    const said: string[] = []
    expect(await auditVerify({ files: [path], anchors, print: (line) => said.push(line) })).toBe(1)
    expect(said.join('\n')).toContain('which an anchor held elsewhere names, is missing')
  })
})

describe('deputy audit verify', () => {
  test('checks signatures with a key ring, and prints nothing that a terminal would obey', async () => {
    const journal = await open('P1')
    await journal.append('decision', '')
    await journal.close()
    const ring = join(folder, 'keys.json')
    const jwk = createPrivateKey({
      key: privateKey.export({ format: 'pem', type: 'pkcs8' }),
    }).export({ format: 'jwk' })
    fs.writeFileSync(
      ring,
      JSON.stringify({
        version: 1,
        keys: [
          { kid: 'sign-1', use: 'sign', ...jwk },
          { kid: 'seal-1', kty: 'oct', k: 'AA' },
        ],
      }),
    )
    const said: string[] = []
    const run = () => auditVerify({ files: [path], keys: ring, print: (line) => said.push(line) })
    expect(await run()).toBe(0)
    expect(said).toEqual([
      'last anchor: line 5, for line 4 of P1, signed by sign-1; 0 lines after it',
      `${path}: 5 lines of 1 process: whole`,
    ])
    said.length = 0
    fs.appendFileSync(path, '{"v":1,"proc":"\\u001b[2J\\u202e","seq":7,"prev":"","event":"x"}\n')
    expect(await run()).toBe(1)
    expect(said[0]).toContain('\\u001b[2J\\u202e')
    // eslint-disable-next-line no-control-regex
    expect(said.join('')).not.toMatch(/[\u0000-\u001f\u202e]/)
  })

  test('a missing and an empty file are not fine', async () => {
    const print = () => undefined
    expect(await auditVerify({ files: [path], print })).toBe(1)
    fs.writeFileSync(path, '')
    expect(await auditVerify({ files: [path], print })).toBe(1)
  })
})
