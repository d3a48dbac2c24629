// The operator's commands, as processes against a running deputy; the bearer is in no argument.
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BACKEND, READER, startHouse } from '../support/house.ts'
import type { House } from '../support/house.ts'

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
