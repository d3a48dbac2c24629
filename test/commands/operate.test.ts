// The operator's commands, as processes against a running deputy; the bearer is in no argument.
import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BACKEND, READER, startHouse } from '../support/house.ts'
import type { House } from '../support/house.ts'

// Whole processes, on machines that have others to run.

let house: House
beforeAll(async () => {
  house = await startHouse()
  await house.connect('alice', 'alice-acme')
})
afterAll(() => house.close())

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const run = (
  args: readonly string[],
  env: Record<string, string> = { DEPUTY_OPERATOR_TOKEN: BACKEND },
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> =>
  new Promise((resolve) => {
    const full = [command, ...args, '--url', house.deputy.connect]
    execFile(process.execPath, full, { env: { PATH: '', ...env } }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    )
  })

test('a run is minted, its token alone on standard output, and acts', async () => {
  const args = ['runs', 'create', '--user', 'alice', '--agent', 'agent:triage']
  const { code, out, err } = await run([...args, '--connection', 'acme', '--expires-in', '60'])
  expect([code, err]).toEqual([0, expect.stringMatching(/^run \w{26} until /)])
  expect(out).toMatch(/^dpr_[\w-]{43}\n$/)
  expect((await house.call(out.trim())).status).toBe(200)
})

test('a life that is no number of seconds is refused before anybody is asked', async () => {
  const args = ['runs', 'create', '--user', 'alice', '--agent', 'a', '--connection', 'acme']
  expect(await run([...args, '--expires-in', '1h'])).toMatchObject({
    code: 64,
    err: expect.stringContaining('It must be a whole number of seconds, such as 3600.') as string,
  })
})

test('an agent is switched off and on, and listed as it stands', async () => {
  const off = await run(['agents', 'disable', 'agent:triage'])
  const line =
    /^agent:triage\tagent:triage\t\toff for everybody since 20\d\d-[\d-]+T[\d:.]+Z by operator\n$/
  expect([off.code, off.out]).toEqual([0, expect.stringMatching(line)])
  expect((await run(['agents', 'list'])).out).toBe(off.out)
  const acme = await run(['agents', 'enable', 'agent:triage', '--tenant', 'acme'])
  expect(acme.out).toBe(off.out) // wider than that tenant
  expect((await run(['agents', 'enable', 'agent:triage'])).out).toBe(
    'agent:triage\tagent:triage\t\ton\n',
  )
  expect(await run(['agents', 'list'])).toMatchObject({ code: 0, out: '' })
})

test('connections are listed and revoked, and a person erased; each with what the provider said', async () => {
  const file = join(house.deputy.dir, 'operator-token')
  writeFileSync(file, `${READER}\n`, { mode: 0o600 })
  const listed = await run(['connections', 'list', '--token-file', file], {})
  expect([listed.code, listed.out]).toEqual([
    0,
    expect.stringMatching(
      /^\w{26}\talice \(acme, corp\)\tacme\talice-acme\tactive\tagent:triage\n$/,
    ),
  ])
  const id = listed.out.split('\t')[0] ?? ''
  expect(await run(['connections', 'revoke', id])).toMatchObject({
    code: 0,
    out: `${id}\trevoked\n`,
  })
  await house.connect('alice', 'alice-acme')
  expect(await run(['connections', 'revoke', '--user', 'alice'])).toMatchObject({
    code: 0,
    out: 'alice\tacme\talice-acme\trevoked\n',
  })
  expect(await run(['people', 'erase', 'alice'])).toMatchObject({
    code: 0,
    err: expect.stringContaining('the evidence stays'),
  })
})

test('what is refused says why and ends with 1: no token, another operator’s limits, an address in the clear', async () => {
  const list = ['connections', 'list']
  expect(await run(list, {})).toMatchObject({
    code: 1,
    err: expect.stringContaining('DEPUTY_OPERATOR_TOKEN'),
  })
  const limited = await run(['people', 'erase', 'alice'], { DEPUTY_OPERATOR_TOKEN: READER })
  expect(limited).toMatchObject({ code: 1, err: expect.stringContaining('403: operator reader') })
  const clear = await new Promise<string>((resolve) => {
    const args = [command, ...list, '--url', 'http://deputy.test']
    const env = { PATH: '', DEPUTY_OPERATOR_TOKEN: BACKEND }
    execFile(process.execPath, args, { env }, (_error, _out, err) => resolve(err))
  })
  expect(clear).toContain('in the clear')
})

/** The command in a deputy's folder, without a bearer. */
const here = (
  dir: string,
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> =>
  new Promise((resolve) =>
    execFile(
      process.execPath,
      [command, ...args, '--config', join(dir, 'deputy.yaml')],
      { cwd: dir, env: { PATH: '' } },
      (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    ),
  )

test('without a bearer the deputy of this machine is asked, by a socket that is its owner’s alone', async () => {
  const { dir } = house.deputy
  expect(statSync(join(dir, 'deputy.sock')).mode & 0o777).toBe(0o600)
  await house.connect('bob', 'bob-acme')
  const listed = await here(dir, 'connections', 'list', '--user', 'bob')
  expect(listed).toMatchObject({
    code: 0,
    out: expect.stringMatching(
      /^\w{26}\tbob \(acme, corp\)\tacme\tbob-acme\tactive\tagent:triage\n$/,
    ),
  })
  const before = house.provider.requests.length
  expect(
    await here(dir, 'connections', 'revoke', '--user', 'bob', '--tenant', 'acme'),
  ).toMatchObject({ code: 0, out: 'bob\tacme\tbob-acme\trevoked\n' })
  expect(house.provider.requests.slice(before).map(({ path, status }) => [path, status])).toEqual([
    ['/token/revocation', 200],
    ['/token/revocation', 200],
  ])
  const answer = await house.call(await house.tag('bob'))
  expect(answer.headers.get('deputy-answer')).toBe('consent_required')
  expect(house.deputy.evidence().at(-1)).not.toBeUndefined()
  expect(
    house.deputy
      .evidence()
      .filter(({ event }) => event === 'connection.revoked')
      .at(-1),
  ).toMatchObject({ operator: 'local', result: 'revoked' })
})

test('keys rotate beside a deputy that has SQLite to itself, and it goes on serving', async () => {
  const { dir } = house.deputy
  await house.connect('bob', 'bob-acme')
  const rotated = await here(dir, 'keys', 'rotate')
  expect(rotated).toMatchObject({
    code: 0,
    out: expect.stringMatching(/was added to [\s\S]*under seal-\d{8}-\w{8} now: 1\n/),
  })
  expect((await house.call(await house.tag('bob'))).status).toBe(200)
  await house.connect('bob', 'bob-acme', { agent: 'agent:other' })
  expect((await house.call(await house.tag('bob', undefined, 'agent:other'))).status).toBe(200)
  const soon = await here(dir, 'keys', 'rotate', '--retire')
  expect(soon).toMatchObject({ code: 1, err: expect.stringContaining('nothing was removed') })
})

test('while nobody serves the same commands open the vault themselves, tell the provider, and leave evidence', async () => {
  const other = await startHouse()
  try {
    await other.connect('alice', 'alice-acme')
    await other.connect('bob', 'bob-acme')
    const { dir } = other.deputy
    const copy = mkdtempSync(join(tmpdir(), 'stopped-'))
    // `close` of the house takes its folder away: what was served stands in a copy.
    await other.deputy.stop()
    cpSync(dir, copy, { recursive: true, filter: (path) => !path.endsWith('.sock') })
    const listed = await here(copy, 'connections', 'list')
    expect(listed).toMatchObject({ code: 0, err: '' })
    expect(listed.out.split('\n')).toHaveLength(3)
    const id =
      listed.out
        .split('\n')
        .find((line) => line.includes('alice'))
        ?.split('\t')[0] ?? ''
    expect(await here(copy, 'connections', 'revoke', id)).toMatchObject({
      code: 0,
      out: `${id}\trevoked\n`,
    })
    expect((await here(copy, 'connections', 'list')).out).toMatch(/^\w{26}\tbob /)
    const audit = readFileSync(join(copy, 'audit.jsonl'), 'utf8')
    expect(audit).toContain('"event":"connection.revoked"')
    const verified = await new Promise<number>((resolve) =>
      execFile(
        process.execPath,
        [command, 'audit', 'verify', 'audit.jsonl', '--keys', 'keys.json'],
        { cwd: copy },
        (error) => resolve(error === null ? 0 : Number(error.code)),
      ),
    )
    expect(verified).toBe(0)
    const run = ['runs', 'create', '--user', 'bob', '--agent', 'a', '--connection', 'acme']
    expect(await here(copy, ...run, '--expires-in', '60')).toMatchObject({
      code: 1,
      err: expect.stringContaining('start it'),
    })
    expect(await here(copy, 'connections', 'revoke', '--connection', 'acme')).toMatchObject({
      code: 0,
      out: 'bob\tacme\tbob-acme\trevoked\n',
    })
  } finally {
    await other.close()
  }
})

test('a bearer is changed while deputy serves: two of them open, then the old one no more', async () => {
  const operators = [{ name: 'backend', bearer: [BACKEND, READER], may: ['connections'] }]
  const changed = await startHouse({ config: { operators } })
  try {
    const status = async (bearer: string): Promise<number> =>
      (await changed.api('GET', '/v1/admin/user_connections', undefined, bearer)).status
    expect([await status(BACKEND), await status(READER)]).toEqual([200, 200])
    const path = join(changed.deputy.dir, 'deputy.yaml')
    const old = `,${JSON.stringify(READER)}`
    const text = readFileSync(path, 'utf8')
    expect(text).toContain(old)
    writeFileSync(path, text.replace(old, ''))
    await changed.deputy.reload()
    expect([await status(BACKEND), await status(READER)]).toEqual([200, 401])
  } finally {
    await changed.close()
  }
})
