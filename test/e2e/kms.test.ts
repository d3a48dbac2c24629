// A whole deputy whose keys an HSM wraps: by the real commands and the program that ships, with SoftHSM behind it.
import { execFile } from 'node:child_process'
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKms } from '../../proxy/vault/kms.ts'
import { createRings } from '../../proxy/vault/wrapped.ts'
import { prepareFolder, startChild, type Fields } from '../support/deputy.ts'
import { hsmMissing, PKCS11, reversing, startToken } from '../support/kms.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-kms-0123456789'
const DEPUTY = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
let upstream: Upstream
const folders: string[] = []
const temporary = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-kms-e2e-'))
  folders.push(folder)
  return folder
}
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(async () => {
  await upstream.close()
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

type Said = { readonly code: number; readonly text: string }
const command = (
  dir: string,
  env: Readonly<Record<string, string>>,
  ...words: string[]
): Promise<Said> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      [DEPUTY, ...words],
      { cwd: dir, env: { PATH: process.env['PATH'] ?? '', ...env } },
      (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), text: stdout + stderr }),
    )
  })
const setup = (kms: string) => ({
  upstream: upstream.origin,
  held: [{ person: 'alice', token: TOKEN, refresh: 'rt-alice-1' }],
  config: { vault: { store: 'sqlite:deputy.db', keys: './keys.json', kms: `exec:${kms}` } },
})
const ask = (agent: string): Promise<Response> =>
  fetch(`${agent}/acme@api.acme.test/notes`, { headers: { 'deputy-user': 'alice' } })
const keysIn = (text: string): readonly Buffer[] =>
  (JSON.parse(text) as { keys: readonly { k?: string; d?: string }[] }).keys.flatMap(({ k, d }) => {
    const key = k ?? d
    return key === undefined ? [] : [Buffer.from(key, 'base64url')]
  })
const filesBelow = (folder: string): readonly string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())

const missing = hsmMissing()
describe.skipIf(missing !== '')(`with SoftHSM${missing}`, () => {
  let hsm: string
  let env: Readonly<Record<string, string>>
  beforeAll(() => {
    hsm = temporary()
    env = startToken(hsm)
  })

  test('a stolen disk and database open nothing; with the token everything goes on, a rotation too', async () => {
    const dir = await prepareFolder(setup(PKCS11))
    const plain = keysIn(readFileSync(join(dir, 'keys.json'), 'utf8'))
    expect(plain).toHaveLength(3)
    // A key that lies there as it is ends the start, and says what to do.
    const config = ['--config', join(dir, 'deputy.yaml')]
    const before = await command(dir, env, 'serve', ...config)
    expect(before.code).toBe(78)
    expect(before.text).toMatch(/vault\.keys: keys\.0: .* run `deputy keys wrap`/)
    expect(await command(dir, env, 'keys', 'wrap', ...config)).toMatchObject({
      code: 0,
      text: expect.stringMatching(/wrapped seal-\S+, sign-\S+, hash-\S+/) as unknown,
    })
    const deputy = await startChild(setup(PKCS11), dir, env)
    try {
      expect((await ask(deputy.agent)).status).toBe(200)
      // While it serves: the new key is wrapped before it is used.
      const rotated = await command(dir, env, 'keys', 'rotate', ...config)
      expect(rotated).toMatchObject({ code: 0 })
      expect(rotated.text).toMatch(/seal-\S+ was added to .*sealed anew: 1, all in all/s)
      expect((await ask(deputy.agent)).status).toBe(200)
      await deputy.stop()

      const stolen = temporary()
      cpSync(dir, stolen, { recursive: true })
      // Whoever has the program that ships has no token, nor its PIN.
      for (const theirs of [{}, { ...env, DEPUTY_KMS_SOFTHSM2_CONF: '/nowhere' }]) {
        const at = ['--config', join(stolen, 'deputy.yaml')]
        const served = await command(stolen, theirs, 'serve', ...at)
        expect(served.code).toBe(78)
        expect(served.text).toMatch(/vault\.kms: .*kms-pkcs11\.sh refused \(exit status \d+\)/)
        expect((await command(stolen, theirs, 'keys', 'unwrap', ...at)).code).toBe(1)
        expect((await command(stolen, theirs, 'connections', 'list', ...at)).code).not.toBe(0)
      }
      const ring = JSON.parse(readFileSync(join(stolen, 'keys.json'), 'utf8')) as Fields
      writeFileSync(
        join(stolen, 'deputy.yaml'),
        readFileSync(join(stolen, 'deputy.yaml'), 'utf8').replace(/,"kms":"[^"]*"/, ''),
      )
      const bare = await command(stolen, {}, 'serve', '--config', join(stolen, 'deputy.yaml'))
      expect(bare.text).toMatch(/is wrapped by a program: name it as vault\.kms/)
      // All keys that there are, the new one too, in every form, in every file of that disk.
      const all: Buffer[] = [...plain]
      const kms = createKms({ program: PKCS11, env: { ...env, PATH: '/usr/bin:/bin' } })
      for (const { kid, wrapped } of ring['keys'] as readonly { kid: string; wrapped: string }[])
        all.push(await kms.unwrap(kid, wrapped))
      expect(new Set(all.map((key) => key.toString('hex'))).size).toBe(4)
      for (const path of filesBelow(stolen)) {
        const bytes = readFileSync(path)
        for (const key of all)
          for (const form of [
            key,
            ...(['base64', 'base64url', 'hex'] as const).map((each) => key.toString(each)),
          ])
            expect(bytes.includes(form), path).toBe(false)
        expect(bytes.includes(TOKEN), path).toBe(false)
      }
      // With the token it opens: nothing was lost.
      await createRings(kms).read(JSON.stringify(ring))
      const again = await startChild(setup(PKCS11), dir, env)
      expect((await ask(again.agent)).status).toBe(200)
      await again.stop()
      expect(await command(dir, env, 'keys', 'unwrap', ...config)).toMatchObject({ code: 0 })
      expect(keysIn(readFileSync(join(dir, 'keys.json'), 'utf8'))).toHaveLength(4)
    } finally {
      await deputy.close()
    }
  })

  test('keygen writes wrapped keys only, by --kms and by the configuration that serve would take', async () => {
    const dir = temporary()
    expect(await command(dir, env, 'keygen', '--kms', `exec:${PKCS11}`)).toMatchObject({ code: 0 })
    writeFileSync(
      join(dir, 'deputy.yaml'),
      `version: 1\nvault: { keys: ./k.json, kms: "exec:${PKCS11}" }\n`,
    )
    expect(await command(dir, env, 'keygen', '--out', 'k.json')).toMatchObject({ code: 0 })
    for (const name of ['keys.json', 'k.json']) {
      const text = readFileSync(join(dir, name), 'utf8')
      expect(keysIn(text)).toEqual([])
      expect(text.match(/"wrapped"/g)).toHaveLength(3)
      expect(statSync(join(dir, name)).mode & 0o777).toBe(0o600)
    }
    const refused = await command(dir, {}, 'keygen', '--out', 'none.json')
    expect(refused).toMatchObject({ code: 1 })
    expect(refused.text).toMatch(/refused \(exit status 2\): .*DEPUTY_KMS_MODULE/)
    expect(readdirSync(dir)).not.toContain('none.json')
    expect((await command(dir, env, 'keygen', '--kms', PKCS11)).text).toMatch(
      /--kms: is no program/,
    )
  })
})

test('a program that fails while deputy serves ends nothing, and the new key is used when it is back', async () => {
  const folder = temporary()
  const program = reversing(folder)
  const dir = await prepareFolder(setup(program))
  const config = ['--config', join(dir, 'deputy.yaml')]
  expect((await command(dir, {}, 'keys', 'wrap', ...config)).code).toBe(0)
  const deputy = await startChild(setup(program), dir)
  try {
    const ring = readFileSync(join(dir, 'keys.json'), 'utf8')
    writeFileSync(join(folder, 'down'), '')
    const failed = await command(dir, {}, 'keys', 'rotate', ...config)
    expect(failed.code).toBe(1)
    expect(failed.text).toMatch(/the key store is down/)
    expect(readFileSync(join(dir, 'keys.json'), 'utf8')).toBe(ring)
    expect((await ask(deputy.agent)).status).toBe(200)
    const down = await command(dir, {}, 'validate', ...config)
    expect(down.code).toBe(78)
    expect(down.text).toMatch(
      /vault\.kms: .*reversing refused \(exit status 3\): the key store is down/,
    )
    rmSync(join(folder, 'down'))
    expect((await command(dir, {}, 'keys', 'rotate', ...config)).code).toBe(0)
    expect((await ask(deputy.agent)).status).toBe(200)
    rmSync(program)
    const gone = await command(dir, {}, 'validate', ...config)
    expect(gone.text).toMatch(/vault\.kms: .*reversing does not exist/)
    expect((await ask(deputy.agent)).status).toBe(200)
  } finally {
    await deputy.close()
  }
})
