// The file of sealed inputs under a serving deputy: gone, full, rotated, kept for its time. Nothing leaves whose input
// could not be kept, and what was kept opens by the segment that it stands in.
import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { decisionsIn, newTally } from '../../proxy/audit/decisions.ts'
import { openInputs, type OpenedInputs } from '../../proxy/audit/opened_inputs.ts'
import { privateKeyOf } from '../../proxy/config/investigator.ts'
import { BUNDLE, prepareFolder, startChild, type Child, type Fields } from '../support/deputy.ts'
import { mount, NO_MOUNT } from '../support/mount.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const run = promisify(execFile)
const TOKEN = 'at-alice-0123456789abcdef'
const pair = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const PUBLIC = JSON.stringify(pair.publicKey.export({ format: 'jwk' }))
const mine = privateKeyOf(JSON.stringify(pair.privateKey.export({ format: 'jwk' })))

let upstream: Upstream
const open: Child[] = []
const after: (() => void)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  await Promise.all(open.splice(0).map((deputy) => deputy.close()))
  for (const end of after.splice(0)) end()
})

const setup = (audit: Fields = {}, config: Fields = {}) => ({
  upstream: upstream.origin,
  held: [{ person: 'alice', token: TOKEN }],
  config: {
    audit: { sink: ['file:audit.jsonl'], inputs: 'sealed', inputs_key: PUBLIC, ...audit },
    ...config,
  },
})
const start = async (...how: Parameters<typeof setup>): Promise<Child> => {
  const child = await startChild(setup(...how))
  open.push(child)
  return child
}
const call = async ({ agent }: Child): Promise<readonly [number, string | null]> => {
  const answer = await fetch(`${agent}/api.acme.test/items/7`, {
    headers: { 'deputy-user': 'alice' },
  })
  await answer.text()
  return [answer.status, answer.headers.get('deputy-answer')]
}
const ready = async ({ admin }: Child): Promise<readonly [number, string]> => {
  const origin = admin.startsWith('http') ? admin : `http://${admin}`
  const answer = await fetch(`${origin}/readyz?verbose`)
  return [answer.status, await answer.text()]
}
const UNAVAILABLE = [503, 'audit_unavailable'] as const
/** What opens of the decisions of a folder, by what this reads of the inputs. */
const openedOf = async (dir: string, inputs: OpenedInputs): Promise<readonly string[]> => {
  const kinds: string[] = []
  for await (const record of decisionsIn([join(dir, 'audit.jsonl')], newTally())) {
    const { input } = record
    kinds.push(input === undefined ? 'none' : (await inputs.of(record, input)).kind)
  }
  return kinds
}

test('without the file no call leaves, and once it is back they do', async () => {
  const child = await start()
  expect(await call(child)).toEqual([200, null])
  const file = join(child.dir, 'inputs.jsonl')
  expect(fs.statSync(file).mode & 0o777).toBe(0o600)
  const copy = fs.readFileSync(file)
  upstream.seen.length = 0
  fs.rmSync(file)
  expect(await call(child)).toEqual(UNAVAILABLE)
  expect(upstream.seen).toEqual([])
  expect(await ready(child)).toEqual([503, expect.stringMatching(/inputs\.jsonl was moved/)])
  fs.writeFileSync(`${file}-back`, copy)
  fs.renameSync(`${file}-back`, file)
  await expect.poll(async () => (await ready(child))[0]).toBe(200)
  expect(await call(child)).toEqual([200, null])
  await child.stop()
  const inputs = await openInputs([file], mine)
  expect(await openedOf(child.dir, inputs)).toEqual(['opened', 'opened'])
  expect(inputs.wrong).toEqual([])
})

test('with `required: false` the call leaves, and its decision names no input', async () => {
  const child = await start({ required: false })
  fs.rmSync(join(child.dir, 'inputs.jsonl'))
  expect(await call(child)).toEqual([200, null])
  const decision = child.evidence().find(({ event }) => event === 'decision')
  expect(decision).not.toHaveProperty('input')
  expect(child.logged()).toContain('what policy was asked could not be kept')
  expect((await ready(child))[0]).toBe(503)
})

test('removed for good, a signal lets deputy go on in a new file, which opens by itself', async () => {
  const child = await start()
  expect(await call(child)).toEqual([200, null])
  fs.rmSync(join(child.dir, 'inputs.jsonl'))
  expect(await call(child)).toEqual(UNAVAILABLE)
  await child.reload()
  await expect.poll(() => call(child)).toEqual([200, null])
  await child.stop()
  const inputs = await openInputs([join(child.dir, 'inputs.jsonl')], mine)
  expect((await openedOf(child.dir, inputs)).at(-1)).toBe('opened')
  expect(inputs.wrong).toEqual([])
})

test('what cannot be opened keeps deputy from starting, by the name of its key', async () => {
  const dir = await prepareFolder(setup())
  fs.symlinkSync('/dev/full', join(dir, 'inputs.jsonl'))
  await expect(startChild(setup(), dir)).rejects.toThrow(/audit\.inputs: .* is not a regular file/)
})

test('the commands read it by their options, below `state` or where it is named', async () => {
  const child = await start()
  expect(await call(child)).toEqual([200, null])
  const { dir } = child
  fs.writeFileSync(join(dir, 'mine.jwk'), JSON.stringify(pair.privateKey.export({ format: 'jwk' })))
  fs.writeFileSync(join(dir, 'people.yaml'), '{"people":[]}')
  const exchange = String(child.evidence().find(({ event }) => event === 'decision')?.['exchange'])
  const said = (...args: readonly string[]) =>
    run(process.execPath, [command, ...args, '--config', 'deputy.yaml'], { cwd: dir }).then(
      ({ stdout }) => stdout,
      (error: { readonly stdout: string; readonly stderr: string }) => error.stdout + error.stderr,
    )
  expect(await said('policy', 'explain', exchange)).toContain('undetermined: user.groups')
  const told = await said('policy', 'explain', exchange, '--inputs-key', 'mine.jwk')
  expect(told).toContain('with the input that policy was asked then')
  const named = ['--inputs', 'inputs.jsonl', '--inputs-key', 'mine.jwk']
  const same = await said('policy', 'diff', BUNDLE, ...named)
  expect(same).toContain('1 the same, 0 would change, 0 undetermined')
  const half = await said('policy', 'diff', BUNDLE, '--inputs', 'inputs.jsonl')
  expect(half).toContain('--inputs needs --inputs-key')
  expect(await said('audit', 'whois', '--user', 'alice')).toMatch(
    /^hmac:[\w-]{43}\talice\tdefault\tlocal\n$/,
  )
})

const skipped = NO_MOUNT === null ? '' : ` (SKIPPED: ${NO_MOUNT})`
test(`on a full disk no call leaves until there is room${skipped}`, async ({ skip }) => {
  if (NO_MOUNT !== null && process.env['DEPUTY_NO_SKIP'] !== '1') skip(NO_MOUNT)
  const state = fs.mkdtempSync(join(tmpdir(), 'deputy-inputs-'))
  after.push(() => fs.rmSync(state, { recursive: true, force: true }))
  after.push(mount('-t', 'tmpfs', '-o', 'size=256k', 'none', state))
  after.reverse()
  // All but the inputs is elsewhere.
  const dir = await prepareFolder(setup())
  const file = join(dir, 'deputy.yaml')
  const config = JSON.parse(fs.readFileSync(file, 'utf8')) as Fields & { audit: Fields }
  const elsewhere = {
    ...config,
    state,
    vault: { store: `sqlite:${join(dir, 'deputy.db')}`, keys: './keys.json' },
    audit: { ...config.audit, sink: [`file:${join(dir, 'audit.jsonl')}`] },
  }
  fs.writeFileSync(file, JSON.stringify(elsewhere), { mode: 0o600 })
  const child = await startChild(setup(), dir)
  open.push(child)
  expect(await call(child)).toEqual([200, null])
  const { bavail, bsize } = fs.statfsSync(state)
  const ballast = join(state, 'ballast')
  fs.writeFileSync(ballast, Buffer.alloc(bavail * bsize))
  upstream.seen.length = 0
  // What is left of the file's last block may take a few.
  await expect.poll(() => call(child)).toEqual(UNAVAILABLE)
  upstream.seen.length = 0
  expect(await call(child)).toEqual(UNAVAILABLE)
  expect(upstream.seen).toEqual([])
  expect(await ready(child)).toEqual([503, expect.stringContaining('ENOSPC')])
  fs.rmSync(ballast)
  await expect.poll(() => call(child)).toEqual([200, null])
  await child.stop()
  const inputs = await openInputs([join(state, 'inputs.jsonl')], mine)
  expect(new Set(await openedOf(dir, inputs))).toEqual(new Set(['opened']))
})

test('it is rotated and removed as the evidence is; each file opens by itself, and the chain is whole', async () => {
  const child = await start({ rotate: { size: '8KiB' } })
  for (let i = 0; i < 20; i++) expect(await call(child)).toEqual([200, null])
  await child.stop()
  const { dir } = child
  const named = (name: string): readonly string[] =>
    fs
      .readdirSync(dir)
      .filter((one) => new RegExp(`^${name}\\.jsonl(?:\\.\\d{8}T\\d{6}\\.\\d{3}Z)?$`).test(one))
      .map((one) => join(dir, one))
  const files = named('inputs')
  expect(files.length).toBeGreaterThan(2)
  for (const each of files) {
    const text = fs.readFileSync(each, 'utf8')
    const alone = await openInputs([each], mine)
    const kinds: string[] = []
    for await (const record of decisionsIn(named('audit'), newTally()))
      if (record.input !== undefined) kinds.push((await alone.of(record, record.input)).kind)
    // All that stand in it.
    const records = text.split('\n').filter((line) => line.includes('"event":"input",'))
    expect(kinds.filter((kind) => kind === 'opened')).toHaveLength(records.length)
  }
  const args = ['audit', 'verify', 'inputs.jsonl', 'audit.jsonl', '--keys', 'keys.json']
  const { stdout } = await run(process.execPath, [command, ...args], { cwd: dir })
  expect(stdout.match(/: whole$/gm)).toHaveLength(2)

  const oldest = files.toSorted()[1] ?? ''
  fs.renameSync(oldest, join(dir, 'inputs.jsonl.20200101T000000.000Z'))
  // By the retention of 400 days, which is the usual one.
  const next = await startChild(setup(), dir)
  open.push(next)
  await expect.poll(() => fs.existsSync(join(dir, 'inputs.jsonl.20200101T000000.000Z'))).toBe(false)
})
