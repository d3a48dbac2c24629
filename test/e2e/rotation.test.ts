// The file of the evidence under a serving deputy: moved, removed, cut, replaced and rotated, by hand, by
// logrotate and by deputy itself. Each ends in a whole chain, or in calls that are refused.
import { execFile, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { prepareFolder, startChild, type Child, type Setup } from '../support/deputy.ts'
import { mount, NO_MOUNT } from '../support/mount.ts'
import { lines, sendRaw } from '../support/raw.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const LOGROTATE = ['/usr/sbin/logrotate', '/usr/bin/logrotate'].find((at) => fs.existsSync(at))
const needed = LOGROTATE !== undefined || process.env['DEPUTY_NO_SKIP'] === '1'
const needs = LOGROTATE === undefined ? ' (SKIPPED: apt-get install logrotate)' : ''
const run = promisify(execFile)
const TOKEN = 'at-alice-0123456789abcdef'
let upstream: Upstream
const open: Child[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  await Promise.all(open.splice(0).map((deputy) => deputy.close()))
})

const setup = (audit: object = {}): Setup => ({
  upstream: upstream.origin,
  held: [{ person: 'alice', connection: 'acme', token: TOKEN }],
  config: { audit: { sink: ['file:audit.jsonl'], ...audit } },
})
const start = async (audit: object = {}, dir?: string): Promise<Child> => {
  const child = await startChild(setup(audit), dir)
  open.push(child)
  return child
}
const call = async (child: Child): Promise<number> =>
  (
    await sendRaw(
      child.agent,
      lines(
        'GET /api.acme.test/a HTTP/1.1',
        `Host: ${new URL(child.agent).host}`,
        'Deputy-User: alice',
        'Connection: close',
      ),
    )
  ).status
const fileOf = (child: Child) => join(child.dir, 'audit.jsonl')
const pidOf = (child: Child) =>
  Number(JSON.parse(fs.readFileSync(`${fileOf(child)}.lock`, 'utf8')).pid)
const hangUp = (child: Child) => process.kill(pidOf(child), 'SIGHUP')
const adminOf = ({ admin }: Child) => (admin.startsWith('http') ? admin : `http://${admin}`)
const ready = async (child: Child) => {
  const answer = await fetch(`${adminOf(child)}/readyz?verbose`)
  return { status: answer.status, text: await answer.text() }
}
const healthy = async (child: Child) =>
  /^deputy_audit_healthy (\d)$/m.exec(await (await fetch(`${adminOf(child)}/metrics`)).text())?.[1]
/** `audit verify` of the whole folder. */
const verified = (dir: string, ...args: readonly string[]) =>
  run(process.execPath, [command, 'audit', 'verify', ...args, '--keys', 'keys.json'], {
    cwd: dir,
  }).then(
    ({ stdout }) => ({ code: 0, out: stdout }),
    (error: { code: number; stdout: string }) => ({ code: error.code, out: error.stdout }),
  )
/** Every allowed call in the files of a folder, packed ones too. */
const decisions = (dir: string): number =>
  fs
    .readdirSync(dir)
    .filter((name) => name.startsWith('audit') && !/\.(?:lock|torn|gz)$/.test(name))
    .flatMap((name) => fs.readFileSync(join(dir, name), 'utf8').split('\n'))
    .filter((line) => line.includes('"event":"decision"')).length
/** Calls of the current file whose outcome is not there yet. */
const unfinished = (child: Child): readonly unknown[] => {
  const of = (event: string) => linked(child, event).map(({ exchange }) => exchange)
  const ended = new Set(of('outcome'))
  return of('decision').filter((exchange) => !ended.has(exchange))
}
const linked = (child: Child, event: string) =>
  child.evidence().filter((one) => one.event === event)

describe('without a word to deputy', () => {
  test.each<[string, RegExp, (file: string) => void]>([
    ['removed', /was moved or removed/, (file) => fs.rmSync(file)],
    [
      'moved to another folder',
      /was moved or removed/,
      (file) => fs.renameSync(file, join(fs.mkdtempSync(`${file}-d`), 'elsewhere')),
    ],
    ['emptied', /was cut from \d+ to 0 bytes/, (file) => fs.truncateSync(file, 0)],
    ['cut', /was cut from \d+ to 900 bytes/, (file) => fs.truncateSync(file, 900)],
    [
      'replaced by an empty one',
      /is another file than the one that was written/,
      (file) => {
        fs.writeFileSync(`${file}-new`, '')
        fs.renameSync(`${file}-new`, file)
      },
    ],
    [
      'replaced by a shorter copy',
      /is another file than the one that was written/,
      (file) => {
        const all = fs.readFileSync(file, 'utf8').split('\n')
        fs.writeFileSync(`${file}-new`, `${all.slice(0, -2).join('\n')}\n`)
        fs.renameSync(`${file}-new`, file)
      },
    ],
  ])(
    '%s: the very next call is refused, and /readyz and the metric say so',
    async (_, why, harm) => {
      const child = await start()
      expect(await call(child)).toBe(200)
      expect(await healthy(child)).toBe('1')
      // The outcome is written after the answer, and the file must rest before it is harmed.
      await expect.poll(() => unfinished(child)).toEqual([])
      const copy = fs.readFileSync(fileOf(child))
      upstream.seen.length = 0
      harm(fileOf(child))
      const told = await ready(child)
      expect(told.status).toBe(503)
      expect(told.text).toMatch(why)
      expect(await call(child)).toBe(503)
      expect(upstream.seen).toEqual([])
      expect(await healthy(child)).toBe('0')
      expect((await ready(child)).text).toMatch(/Bring the file back|Move it away/)
      // What was written is back as it was: deputy goes on by itself.
      fs.writeFileSync(`${fileOf(child)}-back`, copy)
      const { length } = copy
      fs.renameSync(`${fileOf(child)}-back`, fileOf(child))
      await expect.poll(() => ready(child)).toMatchObject({ status: 200 })
      expect(await call(child)).toBe(200)
      expect(fs.readFileSync(fileOf(child)).subarray(0, length)).toEqual(copy)
      await child.stop()
      expect(await verified(child.dir)).toMatchObject({ code: 0 })
    },
  )

  test(`something is mounted over it${NO_MOUNT === null ? '' : ` (SKIPPED: ${NO_MOUNT})`}: /readyz says so, and that it is over`, async ({
    skip,
  }) => {
    if (NO_MOUNT !== null && process.env['DEPUTY_NO_SKIP'] !== '1') skip(NO_MOUNT)
    const child = await start()
    expect(await call(child)).toBe(200)
    const other = join(child.dir, 'other')
    fs.copyFileSync(fileOf(child), other)
    const unmount = mount('--bind', other, fileOf(child))
    try {
      const told = await ready(child)
      expect(told.status).toBe(503)
      expect(told.text).toMatch(/is another file than the one that was written/)
    } finally {
      unmount()
    }
    await expect.poll(() => ready(child)).toMatchObject({ status: 200 })
    expect(await call(child)).toBe(200)
  })

  test('removed: SIGHUP goes on in a new file, and verify says what is missing', async () => {
    const child = await start()
    expect(await call(child)).toBe(200)
    fs.rmSync(fileOf(child))
    expect(await call(child)).toBe(503)
    hangUp(child)
    await expect.poll(() => call(child)).toBe(200)
    expect(await ready(child)).toMatchObject({ status: 200 })
    expect(child.evidence()[0]).toMatchObject({
      event: 'segment.started',
      why: 'hangup',
      continues: { file: null, seq: expect.any(Number) },
    })
    await child.stop()
    const { code, out } = await verified(child.dir)
    expect(code).toBe(1)
    expect(out).toMatch(/lines up to \d+ of \w+ came before, and are not here/)
  })

  test('moved within its folder: nothing is lost, so the next call passes, in a new file', async () => {
    const child = await start()
    expect(await call(child)).toBe(200)
    fs.renameSync(fileOf(child), `${fileOf(child)}.old`)
    expect(await call(child)).toBe(200)
    expect(await ready(child)).toMatchObject({ status: 200 })
    expect(child.evidence()[0]).toMatchObject({
      event: 'segment.started',
      why: 'moved',
      continues: { file: 'audit.jsonl.old' },
    })
    await child.stop()
    expect(decisions(child.dir)).toBe(2)
    expect(await verified(child.dir)).toMatchObject({ code: 0 })
    fs.rmSync(`${fileOf(child)}.old`)
    expect(await verified(child.dir)).toMatchObject({ code: 1 })
  })

  test('somebody else writes into it: what is no record is moved aside and calls go on', async () => {
    const child = await start()
    expect(await call(child)).toBe(200)
    fs.appendFileSync(fileOf(child), 'not ours')
    expect(await call(child)).toBe(200)
    await child.stop()
    expect(fs.readFileSync(`${fileOf(child)}.torn`, 'utf8')).toBe('not ours')
    expect(await verified(child.dir)).toMatchObject({ code: 0 })
  })

  test('somebody else writes a record into it: nothing leaves until that file is moved away', async () => {
    const child = await start()
    expect(await call(child)).toBe(200)
    const [first = ''] = fs.readFileSync(fileOf(child), 'utf8').split('\n')
    fs.appendFileSync(fileOf(child), `${first}\n`)
    expect(await call(child)).toBe(503)
    expect((await ready(child)).text).toMatch(/holds other lines than those that deputy wrote/)
    hangUp(child)
    expect(await call(child)).toBe(503)
    fs.renameSync(fileOf(child), `${fileOf(child)}.forged`)
    await expect.poll(() => call(child)).toBe(200)
    await child.stop()
    expect(await verified(child.dir)).toMatchObject({ code: 1 })
  })

  test('`required: false`: the call passes, and /readyz says what is wrong', async () => {
    const child = await start({ required: false })
    fs.rmSync(fileOf(child))
    expect(await call(child)).toBe(200)
    expect((await ready(child)).status).toBe(503)
  })
})

/** logrotate, as cron runs it, once. */
const logrotate = (child: Child, directives: string) => {
  const conf = join(child.dir, 'rotate.conf')
  const owner = fs.statSync(child.dir)
  fs.writeFileSync(
    conf,
    `${fileOf(child)} {\n  rotate 9\n  su ${owner.uid === 0 ? 'root root' : `#${owner.uid} #${owner.gid}`}\n${directives}\n}\n`,
    { mode: 0o600 },
  )
  const state = join(child.dir, 'rotate.state')
  const done = spawnSync(LOGROTATE ?? '', ['-f', '-s', state, conf], { encoding: 'utf8' })
  expect(done.stderr.replace(/^(?:warning|note):.*\n/gm, '')).toBe('')
  expect(done.status).toBe(0)
}

describe.runIf(needed)(`logrotate${needs}`, () => {
  const hup = (child: Child) => `  postrotate\n    kill -HUP ${pidOf(child)}\n  endscript`
  test.each<[string, (child: Child) => string]>([
    ['create', (child) => `  create 0600\n${hup(child)}`],
    ['create, packed', (child) => `  create 0600\n  compress\n${hup(child)}`],
    ['create without a signal', () => '  create 0600'],
    ['copytruncate', () => '  copytruncate'],
    ['copytruncate with a signal', (child) => `  copytruncate\n${hup(child)}`],
    ['nocreate', (child) => `  nocreate\n${hup(child)}`],
    ['nocreate without a signal', () => '  nocreate'],
    ['dates in the names', (child) => `  nocreate\n  dateext\n  dateformat -%s\n${hup(child)}`],
    ['an extension', (child) => `  create 0600\n  extension .jsonl\n${hup(child)}`],
  ])('%s: three rotations under calls, and the chain is whole', async (_, how) => {
    const child = await start()
    const directives = how(child)
    let sent = 0
    for (let n = 0; n < 3; n++) {
      for (let i = 0; i < 3; i++, sent++) expect(await call(child)).toBe(200)
      // `copytruncate` loses what is written between its copy and its cut: outcomes come after their answers.
      await expect.poll(() => unfinished(child)).toEqual([])
      logrotate(child, directives)
      // A file that was packed since is still found.
      await expect.poll(() => call(child)).toBe(200)
      sent++
      await new Promise((resolve) => setTimeout(resolve, 1_000 - (Date.now() % 1_000) + 5))
    }
    expect(await ready(child)).toMatchObject({ status: 200 })
    await child.stop()
    const whole = await verified(child.dir)
    expect(whole.out).toMatch(/and 3 files before it: \d+ lines of 1 process: whole/)
    expect(whole.code).toBe(0)
    if (!directives.includes('compress')) expect(decisions(child.dir)).toBe(sent)
    // A restart goes on after it, and so it does where the file was moved just before.
    fs.renameSync(fileOf(child), `${fileOf(child)}.moved`)
    const next = await startChild(setup(), child.dir)
    expect(await call(next)).toBe(200)
    await next.stop()
    expect((await verified(child.dir)).out).toMatch(/4 files before it: .* of 2 processes: whole/)
  })
})

describe('deputy itself', () => {
  test('closes segments by size: names sort, the chain is whole, one lock holds', async () => {
    const child = await start({ rotate: { size: '4KiB' } })
    for (let i = 0; i < 20; i++) expect(await call(child)).toBe(200)
    const closed = fs
      .readdirSync(child.dir)
      .filter((name) => /^audit\.jsonl\.\d{8}T\d{6}\.\d{3}Z$/.test(name))
      .sort()
    expect(closed.length).toBeGreaterThan(2)
    expect(fs.existsSync(`${fileOf(child)}.lock`)).toBe(true)
    const second = startChild(setup({ sink: [`file:${fileOf(child)}`] }))
    await expect(second).rejects.toThrow(/audit\.sink.*is being written by/)
    await child.stop()
    expect(decisions(child.dir)).toBe(20)
    const { code, out } = await verified(child.dir, '.')
    expect(out).toMatch(/: whole\n$/)
    expect(code).toBe(0)
    const ends = closed.map((name) =>
      fs.readFileSync(join(child.dir, name), 'utf8').trimEnd().split('\n').at(-1),
    )
    for (const end of ends) expect(end).toContain('"event":"chain.anchor"')
  })

  test('keeps segments for the retention; what it removed is known, what somebody else removed is not', async () => {
    const dir = await prepareFolder(setup({ rotate: { size: '4KiB' } }))
    const first = await startChild(setup(), dir)
    for (let i = 0; i < 12; i++) expect(await call(first)).toBe(200)
    await first.stop()
    const closed = () => fs.readdirSync(dir).filter((name) => /\.jsonl\.\d{8}T/.test(name))
    const all = closed().sort()
    // The oldest two become older than the retention.
    all
      .slice(0, 2)
      .forEach((name, n) =>
        fs.renameSync(join(dir, name), join(dir, `audit.jsonl.20200101T00000${n}.000Z`)),
      )
    const file = join(dir, 'deputy.yaml')
    const config = JSON.parse(fs.readFileSync(file, 'utf8'))
    const audit = { sink: ['file:audit.jsonl'], retention: '30d' }
    fs.writeFileSync(file, JSON.stringify({ ...config, audit }), { mode: 0o600 })
    const child = await startChild(setup(), dir)
    open.push(child)
    await expect.poll(() => closed().length).toBe(all.length - 2)
    expect(linked(child, 'segment.removed').map((one) => one['segment'])).toEqual(
      [0, 1].map((n) => ({
        file: `audit.jsonl.20200101T00000${n}.000Z`,
        proc: expect.any(String),
        seq: expect.any(Number),
        hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      })),
    )
    expect(await call(child)).toBe(200)
    await child.stop()
    const { code, out } = await verified(dir)
    expect(out).toMatch(/were removed by audit\.retention, as the evidence says/)
    expect(code).toBe(0)
    fs.rmSync(join(dir, closed().sort()[0] ?? ''))
    expect(await verified(dir)).toMatchObject({ code: 1 })
  })

  test('dies between the rename and the new file: the next start goes on and closes what was open', async () => {
    const child = await start()
    expect(await call(child)).toBe(200)
    let release = (): void => undefined
    upstream.handle = (_req, res) => void (release = () => res.end('late'))
    const hanging = call(child).catch(() => 0)
    await expect.poll(() => decisions(child.dir)).toBe(2)
    process.kill(pidOf(child), 'SIGKILL')
    await hanging
    release()
    upstream.handle = null
    // As the crash left it: the old file has its new name, nothing is at the path.
    fs.renameSync(fileOf(child), `${fileOf(child)}.20261128T120000.000Z`)
    const next = await startChild(setup(), child.dir)
    open.splice(0, open.length, next)
    expect(next.evidence()[0]).toMatchObject({ event: 'process.started', seq: 1 })
    await expect.poll(() => linked(next, 'outcome')).toHaveLength(1)
    expect(linked(next, 'outcome')[0]).toMatchObject({ result: 'unknown', sent: null })
    await next.stop()
    expect(await verified(next.dir)).toMatchObject({ code: 0 })
  })
})
