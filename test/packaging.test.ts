// What is published is what is tested: the packed tarball, installed in an empty folder.
import { execFile, spawn } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { findOpa } from '../proxy/commands/policy.ts'

const run = promisify(execFile)
const places = { named: process.env['DEPUTY_OPA'], path: process.env['PATH'], home: homedir() }
const opa = await findOpa(places).catch(() => null)
const dir = mkdtempSync(join(tmpdir(), 'deputy-pack-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test(
  'the packed tarball, installed in an empty folder, has a version, a first configuration, and serves',
  { timeout: 300_000 },
  async () => {
    // Packed from a copy: a half-built dist/ in the checkout would be taken for the command by whoever runs beside.
    const copy = join(dir, 'copy')
    const { stdout: files } = await run('git', [
      'ls-files',
      '-z',
      '--cached',
      '--others',
      '--exclude-standard',
    ])
    for (const file of files.split('\0').filter((name) => name !== '' && existsSync(name))) {
      mkdirSync(join(copy, dirname(file)), { recursive: true })
      copyFileSync(file, join(copy, file))
    }
    symlinkSync(join(process.cwd(), 'node_modules'), join(copy, 'node_modules'))
    await run('npm', ['pack', '--pack-destination', dir], { cwd: copy })
    const tarball = readdirSync(dir).find((name) => name.endsWith('.tgz'))
    expect(tarball).toBeDefined()
    await run('npm', ['init', '-y'], { cwd: dir })
    await run('npm', ['install', '--omit=dev', '--prefer-offline', `./${tarball ?? ''}`], {
      cwd: dir,
    })
    const { stdout } = await run('npx', ['--no', 'deputy', 'version'], { cwd: dir })
    const wanted: unknown = JSON.parse(readFileSync('package.json', 'utf8'))
    expect(wanted).toMatchObject({ version: stdout.trim() })
    const { stdout: told } = await run('npx', ['--no', 'deputy', 'init'], { cwd: dir })
    expect(told).toContain('base URL http://127.0.0.1:7410/api.github.com and')
    await ownPolicy()

    const child = spawn(process.execPath, ['node_modules/deputy-proxy/bin/deputy.js', 'serve'], {
      cwd: dir,
      env: { ...process.env, DEPUTY_CONFIG: freePorts(join(dir, 'deputy.yaml')) },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
    const exited = new Promise((resolve) => child.once('exit', resolve))
    try {
      await expect.poll(() => said).toContain('deputy is ready')
      const admin = /^admin: (\S+)$/m.exec(said)?.[1] ?? ''
      const ready = await fetch(`${admin.startsWith('http') ? '' : 'http://'}${admin}/readyz`)
      expect(ready.status).toBe(200)
      await booksWork(/^agent: (\S+)$/m.exec(said)?.[1] ?? '')
    } finally {
      child.kill('SIGTERM')
    }
    expect(await exited).toBe(0)
  },
)

/** The policy comes as source: tested, rebuilt to the same bytes, changed and built again, without a checkout. */
const ownPolicy = async (): Promise<void> => {
  const deputy = (...args: string[]) =>
    run('npx', ['deputy', 'policy', ...args], {
      cwd: dir,
      env: {
        ...process.env,
        ...(opa === null ? { DEPUTY_OPA: join(dir, 'no-opa') } : { DEPUTY_OPA: opa }),
      },
    }).then(
      ({ stdout }) => ({ code: 0, stdout }),
      (error: { code: number; stdout: string }) => error,
    )
  const shipped = (folder: string): readonly string[] =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted()
  expect(shipped(join(dir, 'policies'))).toEqual(
    shipped('policies').filter((name) => name !== 'capabilities.ts'),
  )
  if (opa === null) {
    for (const command of ['build', 'test'])
      expect(await deputy(command)).toMatchObject({
        code: 1,
        stdout: expect.stringContaining('install it (go install ') as string,
      })
    return
  }
  expect(await deputy('build', '--check')).toMatchObject({ code: 0, stdout: '' })
  const tested = await deputy('test', '--coverage', '100')
  expect([tested.code, tested.stdout]).toEqual([
    0,
    expect.stringMatching(/PASS[^]*coverage: 100 %/),
  ])
  const tables = join(dir, 'policies/deputy_data/data.json')
  writeFileSync(tables, readFileSync(tables, 'utf8').replace('"staff"', '"team"'))
  expect((await deputy('build', '--check')).code).toBe(1)
  // The probes of the starter policy speak of no group that was renamed here but "staff", which must not write.
  expect(await deputy('build')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^policies\/bundle\.tar\.gz: revision [0-9a-f]{16}\n$/) as string,
  })
  expect(await deputy('build', '--check')).toMatchObject({ code: 0 })
}

/** The written configuration with free ports, so that it runs beside anything. */
const freePorts = (path: string): string => {
  writeFileSync(
    path,
    `${readFileSync(path, 'utf8')}\nlisteners: { agent: "127.0.0.1:0", admin: "127.0.0.1:0", connect: "127.0.0.1:0" }\n`,
  )
  return path
}

const LINK = /connect your GitHub account: http:\/\/localhost:\d+\/connect\/[\w-]{20,}/
/** The README's own line and those of docs/agents.md, with what it says stands for an assertion under `plain`. */
const booksWork = async (agent: string): Promise<void> => {
  const [readme = '', agents = ''] = ['README.md', 'docs/agents.md'].map((file) =>
    readFileSync(file, 'utf8').replaceAll('http://127.0.0.1:7410', agent),
  )
  const block = (language: string, words: string): string =>
    agents
      .split(`\`\`\`${language}\n`)
      .map((piece) => piece.split('\n```')[0] ?? '')
      .find((text) => text.includes(words)) ?? `no block of ${language} has ${words}`

  const { Octokit } = await import('@octokit/rest')
  const lineOf = (text: string): string =>
    /new Octokit\(\{ baseUrl: '([^']+)', auth: assertion \}\)/.exec(text)?.[1] ?? ''
  const line = lineOf(readme)
  expect(lineOf(agents)).toBe(line)
  const octokit = new Octokit({ baseUrl: line, auth: 'user:alice@example.com' })
  await expect(octokit.rest.users.getAuthenticated()).rejects.toMatchObject({
    status: 403,
    message: expect.stringMatching(LINK),
  })
  const stranger = new Octokit({ baseUrl: line, auth: 'user:mallory@example.com' })
  await expect(stranger.rest.users.getAuthenticated()).rejects.toMatchObject({
    message: expect.stringContaining('policy does not allow'),
  })

  const script = block('js', "headers: { 'Deputy-User': assertion }")
  const lines = await run(process.execPath, [
    '--input-type=module',
    '-e',
    `const assertion = 'alice@example.com'\n${script}`,
  ])
  expect(lines.stdout).toMatch(LINK)

  // Where there is no jq, the same with what takes its place here.
  const shell = `jq() { "${process.execPath}" -e 'const [, path, file] = process.argv; console.log(JSON.parse(fs.readFileSync(file))[path.slice(1)])' "$2" "$3"; }
${block('sh', 'curl -sS -D headers.txt')}`
  const { stdout } = await run('sh', ['-c', shell], {
    cwd: dir,
    env: { ...process.env, ASSERTION: 'alice@example.com' },
  })
  expect(stdout).toMatch(/^deputy says consent_required: /)
  expect(stdout).toMatch(LINK)
}
