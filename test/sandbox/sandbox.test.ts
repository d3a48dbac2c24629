import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const START = ['bin/run.js', 'test/sandbox/start.ts']
const noCurl = spawnSync('curl', ['--version']).error !== undefined

let folder = ''
let child: ChildProcess | null = null
let transcript = ''

const start = (...flags: readonly string[]): Promise<number | null> => {
  transcript = ''
  const started = spawn(process.execPath, [...START, '--dir', join(folder, 'state'), ...flags], {
    cwd: ROOT,
  })
  child = started
  for (const stream of [started.stdout, started.stderr])
    stream.on('data', (chunk: Buffer) => void (transcript += chunk.toString()))
  return new Promise((ended) => started.once('close', ended))
}
const said = async (text: string): Promise<void> => {
  await expect.poll(() => transcript, { timeout: 60_000, interval: 50 }).toContain(text)
}
/** Which of the addresses in the sandbox's configuration still answer. */
const listening = async (): Promise<readonly number[]> => {
  const text = readFileSync(join(folder, 'state/deputy.yaml'), 'utf8')
  const ports = new Set([...text.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => Number(port)))
  expect(ports.size).toBe(5)
  const open = await Promise.all(
    [...ports].map(
      (port) =>
        new Promise<readonly number[]>((done) => {
          const socket = connect(port, '127.0.0.1')
          socket.once('connect', () => {
            socket.destroy()
            done([port])
          })
          socket.once('error', () => done([]))
        }),
    ),
  )
  return open.flat()
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-sandbox-'))
})
afterEach(async () => {
  const left = child
  if (left !== null && left.exitCode === null && left.signalCode === null)
    await new Promise((ended) => {
      left.once('close', ended)
      left.kill('SIGTERM')
    })
  rmSync(folder, { recursive: true })
})

test('the play holds from consent to evidence, always under alice’s own name, and leaves no process', async () => {
  expect(await start('--once'), transcript).toBe(0)
  const lines = transcript.trimEnd().split('\n')
  const [, steps] = /^(\d+) of \1 steps held$/.exec(lines.at(-1) ?? '') ?? []
  expect(Number(steps), transcript).toBe(9)
  expect(transcript.match(/provider {2}saw (?!nothing)\S+/g)).toEqual(
    Array.from({ length: 5 }, () => 'provider  saw alice-gh'),
  )
  expect(transcript).not.toContain('fallback')
  expect(transcript).not.toContain('\u001b')
  expect(await listening()).toEqual([])
})

test.skipIf(noCurl)(
  'afterwards it stays up, its curl lines work when pasted, and Ctrl-C ends everything',
  async () => {
    const ended = start()
    await said('Ctrl-C ends everything.')
    expect(await listening()).toHaveLength(5)
    const [whoAmI = '', asBob = '', forged = '', write = ''] = transcript
      .split('\n')
      .filter((line) => line.startsWith('curl '))
    const paste = (line: string): string => {
      const { stdout } = spawnSync('sh', ['-c', line.replace('curl ', 'curl -s ')], { cwd: ROOT })
      return stdout.toString()
    }
    const { login } = JSON.parse(paste(whoAmI)) as { readonly login: string }
    expect(login).toBe('alice-gh')
    expect(paste(asBob)).toMatch(/^deputy-answer: policy_denied/im)
    expect(JSON.parse(paste(forged))).toMatchObject({ login: 'alice-gh' })
    expect(JSON.parse(paste(write))).toMatchObject({ user: { login: 'alice-gh' } })
    child?.kill('SIGINT')
    expect(await ended, transcript).toBe(130)
    expect(await listening()).toEqual([])
  },
)

test('a folder that is not a sandbox’s is never cleared', async () => {
  writeFileSync(join(folder, 'thesis.txt'), 'years of work')
  const status = await start('--once', '--dir', folder)
  expect(status).toBe(1)
  expect(transcript).toContain('name another --dir')
  expect(readFileSync(join(folder, 'thesis.txt'), 'utf8')).toBe('years of work')
})

test('another command than the checkout’s may be deputy; one that cannot be started is told', async () => {
  const log = join(folder, 'asked.log')
  const wrapper = join(folder, 'wrapper.mjs')
  writeFileSync(
    wrapper,
    `import { appendFileSync } from 'node:fs'
appendFileSync(${JSON.stringify(log)}, process.argv[2] + '\\n')
process.execve(process.execPath, [process.execPath, ${JSON.stringify(join(ROOT, 'bin/deputy.js'))}, ...process.argv.slice(2)], process.env)
`,
  )
  expect(await start('--once', '--deputy', `${process.execPath}  ${wrapper}`), transcript).toBe(0)
  expect(transcript).toContain('9 of 9 steps held')
  expect(readFileSync(log, 'utf8')).toBe('keygen\nserve\naudit\naudit\n')
  expect(await start('--once', '--deputy', join(folder, 'nothing'))).toBe(1)
  expect(transcript).toMatch(/keygen failed: .*ENOENT/)
})
