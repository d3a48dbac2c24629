// The program of vault.kms, on real processes: what it is asked, what it may see, and every way in which it can fail.
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  chownSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { Unreadable } from '../../proxy/files.ts'
import { createKms } from '../../proxy/vault/kms.ts'
import { hsmMissing, PKCS11, programOf, reversing, startToken } from '../support/kms.ts'

const folder = mkdtempSync(join(tmpdir(), 'deputy-kms-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)
const KEY = Buffer.alloc(32, 7)
const PATH = { PATH: '/usr/bin:/bin' }
const kmsOf = (program: string, deadline = 30_000) => createKms({ program, env: PATH, deadline })
const failure = async (asked: Promise<unknown>): Promise<Error> =>
  asked.then(
    () => {
      throw new Error('it answered')
    },
    (error: unknown) => error as Error,
  )

test('is asked in two lines, and what it wrapped it unwraps', async () => {
  const kms = kmsOf(reversing(folder))
  const wrapped = await kms.wrap('seal-1', KEY)
  expect(wrapped).toBe(KEY.toString('base64').split('').toReversed().join(''))
  expect((await kms.unwrap('seal-1', wrapped)).equals(KEY)).toBe(true)
  expect(readFileSync(at('asked'), 'utf8')).toBe('deputy-kms 1 wrap\ndeputy-kms 1 unwrap\n')
})

test('sees of the environment what is named for it, no argument, and no file of ours', async () => {
  const env = { ...PATH, DEPUTY_KMS_TOKEN: 'x' }
  const program = programOf(
    folder,
    'look',
    `cat >${at('question')}; env >${at('env')}; echo "$# $PWD" >${at('args')}; ls /proc/self/fd | wc -l >${at('fds')}
printf '{"wrapped":"w"}'`,
  )
  expect(await createKms({ program, env }).wrap('seal-1', KEY)).toBe('w')
  expect(readFileSync(at('question'), 'utf8')).toBe(
    `deputy-kms 1 wrap\n{"kid":"seal-1","key":"${KEY.toString('base64')}"}\n`,
  )
  const seen = readFileSync(at('env'), 'utf8')
  expect(seen).toContain('DEPUTY_KMS_TOKEN=x')
  expect(
    seen
      .split('\n')
      .map((line) => line.split('=')[0])
      .filter((name) => !/^(?:PATH|DEPUTY_KMS_TOKEN|PWD|_|SHLVL|OLDPWD|)$/.test(name ?? '')),
  ).toEqual([])
  expect(readFileSync(at('args'), 'utf8')).toBe('0 /\n')
})

test('is run without a shell: nothing in its name is a command', async () => {
  const program = reversing(folder, 'a b; touch pwned')
  expect((await kmsOf(program).wrap('seal-1', KEY)).length).toBe(44)
  expect(existsSync('/pwned') || existsSync('pwned')).toBe(false)
})

describe('fails closed where it', () => {
  test.each([
    ['refuses', 'echo "no such key" >&2; exit 3', /refused \(exit status 3\): no such key/],
    ['is killed', 'kill -9 $$', /was ended by SIGKILL/],
    ['answers too much', 'head -c 100000 /dev/zero', /answered more than 65536 bytes/],
    ['answers nothing', ':', /gave no \{"wrapped"/],
    ['answers no JSON', 'echo wrapped', /gave no \{"wrapped"/],
    ['answers bytes', "printf '\\377\\376'", /gave no \{"wrapped"/],
    ['answers another verb', 'echo \'{"key":"x"}\'', /gave no \{"wrapped"/],
    [
      'answers more than one object',
      'echo \'{"wrapped":"a"}{"wrapped":"b"}\'',
      /gave no \{"wrapped"/,
    ],
    ['answers a number', 'echo \'{"wrapped":7}\'', /gave no \{"wrapped"/],
    ['answers with a space', 'echo \'{"wrapped":"a b"}\'', /gave no \{"wrapped"/],
    ['answers, and fails', 'echo \'{"wrapped":"a"}\'; exit 1', /refused \(exit status 1\)/],
    [
      'gives the key back',
      `echo '{"wrapped":"${KEY.toString('base64')}"}'`,
      /gave the key itself back/,
    ],
    [
      'gives the key back in hex',
      `echo '{"wrapped":"x${KEY.toString('hex')}"}'`,
      /gave the key itself back/,
    ],
  ])('%s', async (what, lines, sentence) => {
    const program = programOf(folder, `fails-${what.replaceAll(/\W/g, '-')}`, lines)
    const error = await failure(kmsOf(program).wrap('seal-1', KEY))
    expect(error.message).toMatch(sentence)
    expect(error.message).toMatch(/^vault\.kms: .*fails-/)
    expect(error.message).not.toContain(KEY.toString('base64'))
    // Asked again it may do better.
    expect(error).toBeInstanceOf(Unreadable)
  })
  test.each([
    ['31 bytes', Buffer.alloc(31).toString('base64')],
    ['33 bytes', Buffer.alloc(33).toString('base64')],
    ['no base64', '*'.repeat(44)],
    ['a line', `${Buffer.alloc(32).toString('base64')}\\n`],
  ])('unwraps to %s', async (what, key) => {
    const program = programOf(
      folder,
      `key-${what.replaceAll(/\W/g, '-')}`,
      `printf '%s' '{"key":"${key}"}'`,
    )
    expect((await failure(kmsOf(program).unwrap('seal-1', 'w'))).message).toMatch(
      /gave no \{"key": "…"\}, base64 of 32 bytes, for unwrap of seal-1/,
    )
  })
  test('hangs: it and what it started are ended', async () => {
    const program = programOf(folder, 'hangs', `sleep 300 & echo $! >${at('child')}; wait`)
    const error = await failure(kmsOf(program, 1_000).wrap('seal-1', KEY))
    expect(error.message).toMatch(/did not answer within 1 s and was ended/)
    const pid = Number(readFileSync(at('child'), 'utf8'))
    const running = (): boolean => {
      try {
        return !/^\d+ \(sleep\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
      } catch {
        return false
      }
    }
    await expect.poll(running).toBe(false)
  })
  test('leaves somebody behind who holds its output', async () => {
    const program = programOf(folder, 'leaves', `(sleep 300) & printf '{"wrapped":"w"}'`)
    expect((await failure(kmsOf(program, 1_000).wrap('seal-1', KEY))).message).toMatch(
      /did not answer within 1 s/,
    )
  })
  test.each([
    ['base64 with slashes', (key) => key.toString('base64')],
    ['hex with colons', (key) => key.toString('hex').match(/../g)?.join(':') ?? ''],
    [
      'escapes',
      (key) => (key.toString('hex').match(/../g) ?? []).map((two) => `\\x${two}`).join(''),
    ],
    ['a list', (key) => [...key].join(', ')],
  ] satisfies readonly [string, (key: Buffer) => string][])(
    'complains of a key that it alone knows, in %s',
    async (what, write) => {
      // A slash at every eighth place of its base64.
      const key = Buffer.from('AbCdEfG/'.repeat(5) + 'QrS=', 'base64')
      writeFileSync(at('key.txt'), write(key))
      const lines = `printf 'no slot 0x000000A0 at 12:30:01, key ' >&2; cat ${at('key.txt')} >&2; exit 1`
      const program = programOf(folder, `tells-${what.replaceAll(/\W/g, '-')}`, lines)
      const { message } = await failure(kmsOf(program).unwrap('seal-1', 'w'))
      expect(message).toMatch(/: no slot 0x000000A0 at 12:30:01, key \[…\]\S{0,4}$/)
    },
  )
  test.each([
    ['base64 without its end', (key: Buffer) => key.toString('base64').replace('=', '')],
    ['capitals', (key: Buffer) => key.toString('hex').toUpperCase()],
  ])('gives the key itself back, in %s', async (what, write) => {
    const key = Buffer.alloc(32, 0xfb)
    const program = programOf(
      folder,
      `echoes-${what.replaceAll(/\W/g, '-')}`,
      `printf '{"wrapped":"v1:${write(key)}"}'`,
    )
    expect((await failure(kmsOf(program).wrap('seal-1', key))).message).toMatch(/wraps nothing/)
  })
  test('complains at length: what is told is short, one line, and holds nothing like a key', async () => {
    const program = programOf(
      folder,
      'complains',
      `read -r a; read -r b; printf 'bad\\033[31m %s\\n%s\\n' "$b" "$(head -c 40 /dev/urandom | base64 -w0)" >&2
head -c 200000 /dev/zero | tr '\\0' 'x ' >&2; exit 1`,
    )
    const { message } = await failure(kmsOf(program).wrap('seal-1', KEY))
    expect(message).toMatch(/refused \(exit status 1\): bad \[31m \{/)
    expect(message.length).toBeLessThan(600)
    expect(message).not.toMatch(/\p{Cc}|BwcHB|[A-Za-z0-9]{60}/u)
  })
})

describe('is not run where', () => {
  const good = (name: string): string =>
    programOf(folder, name, `touch ${at('ran')}; printf '{"wrapped":"w"}'`)
  const refused = async (program: string): Promise<string> => {
    const kms = kmsOf(program)
    const [error, present] = [await failure(kms.wrap('seal-1', KEY)), await failure(kms.present())]
    expect(existsSync(at('ran'))).toBe(false)
    expect(present.message).toBe(error.message)
    return error.message
  }
  test('it is absent, no file, or may not be run', async () => {
    expect(await refused(at('nowhere'))).toMatch(/vault\.kms: .*nowhere does not exist/)
    expect(await refused(folder)).toMatch(/is no file/)
    const program = good('not-executable')
    chmodSync(program, 0o644)
    expect(await refused(program)).toMatch(/may not be run by the user that runs deputy/)
  })
  test('its group or everybody may write to it, whatever leads there', async () => {
    for (const mode of [0o775, 0o757]) {
      const program = good(`writable-${mode}`)
      chmodSync(program, mode)
      const link = at(`link-${mode}`)
      symlinkSync(program, link)
      for (const each of [program, link])
        expect(await refused(each)).toMatch(/could be changed by others: it must belong to root/)
    }
  })
  test('everybody may replace it in its folder', async () => {
    mkdirSync(at('open'))
    const program = good('open/program')
    chmodSync(at('open'), 0o777)
    expect(await refused(program)).toMatch(
      /could be replaced by others, because of the folder .*open/,
    )
    chmodSync(at('open'), 0o1777)
    expect(await kmsOf(program).wrap('seal-1', KEY)).toBe('w')
    rmSync(at('ran'))
  })
  test('everybody may replace the link that leads to it', async () => {
    mkdirSync(at('links'))
    symlinkSync(good('linked'), at('links/program'))
    chmodSync(at('links'), 0o777)
    expect(await refused(at('links/program'))).toMatch(/because of the folder .*links/)
  })
  test.skipIf(process.getuid?.() !== 0)('its folder is somebody else’s', async () => {
    mkdirSync(at('theirs'))
    const program = good('theirs/program')
    chmodSync(at('theirs'), 0o755)
    chownSync(at('theirs'), 1_234, 0)
    expect(await refused(program)).toMatch(/because of the folder .*theirs/)
  })
  test.skipIf(process.getuid?.() !== 0)(
    'a group of others may replace it in its folder',
    async () => {
      mkdirSync(at('staff'))
      const program = good('staff/program')
      chownSync(at('staff'), 0, 50)
      chmodSync(at('staff'), 0o775)
      expect(await refused(program)).toMatch(/because of the folder .*staff/)
      chownSync(at('staff'), 0, 0)
      expect(await kmsOf(program).wrap('seal-1', KEY)).toBe('w')
      rmSync(at('ran'))
    },
  )
  test.skipIf(process.getuid?.() !== 0)('it belongs to somebody else', async () => {
    const program = good('of-others')
    chownSync(program, 65_534, 65_534)
    expect(await refused(program)).toMatch(/could be changed by others/)
  })
})

const missing = hsmMissing()
describe.skipIf(missing !== '')(`SoftHSM by PKCS#11${missing}`, () => {
  test('wraps and unwraps by a key that never leaves the token', async () => {
    const env: Readonly<Record<string, string>> = { ...PATH, ...startToken(folder) }
    const kms = createKms({ program: PKCS11, env, deadline: 60_000 })
    const key = randomBytes(32)
    const [once, twice] = [await kms.wrap('seal-1', key), await kms.wrap('seal-1', key)]
    expect(once).not.toBe(twice)
    expect((await kms.unwrap('seal-1', once)).equals(key)).toBe(true)
    expect((await kms.unwrap('seal-1', twice)).equals(key)).toBe(true)
    const other = createKms({
      program: PKCS11,
      env: { ...env, DEPUTY_KMS_KEY: '09' },
      deadline: 60_000,
    })
    expect((await failure(other.unwrap('seal-1', once))).message).toMatch(
      /refused \(exit status 1\)/,
    )
    writeFileSync(env['DEPUTY_KMS_PIN'] ?? '', '000000')
    expect((await failure(kms.unwrap('seal-1', once))).message).toMatch(/CKR_PIN_INCORRECT/)
  })
})
