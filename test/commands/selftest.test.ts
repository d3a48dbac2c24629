// The selftest's own rules, on loopback. test/netns/selftest.test.ts runs it in pods, locked and not.
import { chmodSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { execFileSync, spawn } from 'node:child_process'
import { createServer } from 'node:http'
import { createServer as createTcp, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { selftest, selftestScript, USUAL } from '../../proxy/commands/selftest.ts'
import type { SelftestOptions } from '../../proxy/commands/selftest.ts'

const dir = mkdtempSync(join(tmpdir(), 'deputy-selftest-'))
/** Whoever runs the tests is perhaps root, sees everything, and may become anybody. */
const MACHINE = ['uid', 'capabilities', 'become', 'processes', 'sockets']
const server = createServer((_, res) => res.setHeader('Deputy-Answer', 'unauthenticated').end())
let port = 0
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  ;({ port } = server.address() as AddressInfo)
  writeFileSync(join(dir, 'resolv.conf'), '# none\n')
  chmodSync(dir, 0o755)
})
afterAll(() => {
  server.close()
  rmSync(dir, { recursive: true })
})

const quiet = (): SelftestOptions => ({
  deputy: `http://127.0.0.1:${port}`,
  uid: USUAL.uid,
  ports: [],
  targets: [],
  resolvers: [],
  files: [],
  allow: MACHINE,
  resolvConf: join(dir, 'resolv.conf'),
})
const run = async (
  more: Partial<SelftestOptions> = {},
  env: Readonly<Record<string, string>> = {},
) => {
  const printed: string[] = []
  const code = await selftest({
    ...quiet(),
    ...more,
    env,
    print: (line) => void printed.push(line),
  })
  return { code, said: printed.join('\n') }
}

test('nothing reached is 0, something is 1, something untried is 2', async () => {
  expect((await run()).code).toBe(0)
  expect((await run({ targets: [`127.0.0.1:${port}`] })).code).toBe(1)
  expect((await run({ targets: ['127.0.0.1:1'] })).said).toMatch(
    /^closed +tcp +127\.0\.0\.1:1: ECONNREFUSED$/m,
  )
  const untried = await run({ targets: ['127.0.0.1:no-port'] })
  expect([untried.code, untried.said]).toEqual([2, expect.stringMatching(/^undetermined +tcp/m)])
  const both = await run({ targets: ['127.0.0.1:no-port', `127.0.0.1:${port}`] })
  expect(both.code).toBe(1)
})

test('a port of deputy that is not for agents, and a proxy beside it, are ways out', async () => {
  expect((await run({ ports: [port] })).said).toMatch(/^reached +listeners +127\.0\.0\.1 port/m)
  const proxied = await run({}, { HTTPS_PROXY: `http://localhost:${port}` })
  expect([proxied.code, proxied.said]).toEqual([
    1,
    expect.stringMatching(/^reached +proxy +localhost/m),
  ])
  expect((await run({}, { HTTP_PROXY: `http://127.0.0.1:${port}` })).code).toBe(0)
})

test('a proxy is tried as clients read it: without a scheme, of another kind; one that is no URL is untried', async () => {
  const bare = await run({}, { https_proxy: `localhost:${port}`, HTTPS_PROXY: '127.0.0.1:1' })
  expect([bare.code, bare.said]).toEqual([
    1,
    expect.stringMatching(/^reached +proxy +localhost:\d+:/m),
  ])
  expect(bare.said).toMatch(/^closed +proxy +127\.0\.0\.1:1: ECONNREFUSED$/m)
  const socks = await run({}, { all_proxy: 'socks5://u:hidden-one@127.0.0.1' })
  expect(socks.said).toMatch(/ proxy +127\.0\.0\.1:1080: /)
  const none = await run({}, { http_proxy: 'http://%%' })
  expect([none.code, none.said]).toEqual([2, expect.stringMatching(/^undetermined +proxy/m)])
  const secret = await run({}, { http_proxy: 'http://u:hidden-one@%%' })
  expect(secret.said + socks.said).not.toContain('hidden-one')
})

test('a resolver that cannot be asked ends no test', async () => {
  const named = await run({ resolvers: ['no-such-name.invalid'] })
  expect([named.code, named.said]).toEqual([2, expect.stringMatching(/^undetermined +udp/m)])
})

test('what may be reached is allowed by its kind, and no other word is one', async () => {
  const allowed = await run({ targets: [`127.0.0.1:${port}`], allow: [...MACHINE, 'tcp'] })
  expect([allowed.code, allowed.said]).toEqual([0, expect.stringMatching(/^allowed +tcp/m)])
  expect(await run({ allow: ['everything'] })).toEqual({
    code: 64,
    said: expect.stringMatching(/^--allow: everything is no kind: uid, /) as string,
  })
})

test('deputy must be there, and be deputy', async () => {
  expect((await run()).said).toMatch(/^there +deputy/m)
  expect((await run({ deputy: 'http://127.0.0.1:1' })).code).toBe(2)
  const other = createServer((_, res) => res.end())
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const { port: at } = other.address() as AddressInfo
  expect((await run({ deputy: `http://127.0.0.1:${at}` })).said).toMatch(/something else answers/)
  other.close()
  for (const no of ['nowhere', 'localhost:7410', 'file:///x'])
    expect(await run({ deputy: no })).toEqual({
      code: 64,
      said: expect.stringMatching(/^--deputy: /) as string,
    })
})

test('what never answers nor fails is told, and the process waits for that', async () => {
  const mute = createTcp((socket) => {
    socket.on('error', () => {}) // the other side leaves
    socket.once('data', () =>
      socket.write('HTTP/1.1 101 Other\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'),
    )
  })
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve))
  const { port: at } = mute.address() as AddressInfo
  const script = await selftestScript(
    { ...quiet(), deputy: `http://127.0.0.1:${at}` },
    'process.exitCode = 99\nvoid selftest({ ...given, env: {}, print: (line) => console.log(line) }).then((code) => { process.exitCode = code })',
  )
  const child = spawn(process.execPath, ['--input-type=module', '-'])
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stdin.end(script)
  const code = await new Promise((resolve) => child.once('close', resolve))
  mute.close()
  expect([code, said]).toEqual([2, expect.stringMatching(/^undetermined +deputy /m)])
})

test('a file that is deputy’s alone', async () => {
  writeFileSync(join(dir, 'keys.json'), '{}')
  const readable = await run({ files: [dir, join(dir, 'keys.json'), join(dir, 'none')] })
  expect(readable.code).toBe(1)
  expect(readable.said.match(/^reached +files/gm)).toHaveLength(2)
  expect(readable.said).toMatch(/^closed +files +\S+none: ENOENT$/m)
  const [pipe, large] = [join(dir, 'pipe'), join(dir, 'large')]
  execFileSync('mkfifo', [pipe])
  writeFileSync(large, '')
  truncateSync(large, 3 * 1024 ** 3)
  const odd = await run({ files: [large, pipe] })
  expect(odd.said.match(/^reached +files/gm)).toHaveLength(2)
})

test('without a file of resolvers it is not known whom the pod may ask', async () => {
  const ran = await run({ resolvConf: join(dir, 'none') })
  expect([ran.code, ran.said]).toEqual([2, expect.stringMatching(/^undetermined +dns.*ENOENT/m)])
})

describe('the environment', () => {
  test.each([
    ['GITHUB_TOKEN', 'anything-long'],
    ['X', 'ghp_0123456789'],
    ['X', 'eyJhbGciOiJub25lIn0.e30.'],
    ['DB', 'postgres://user:pass@db/x'],
    ['K', '-----BEGIN RSA PRIVATE KEY-----'],
    ['AWS_SECRET_ACCESS_KEY', 'wJalrXUtnFEMI'],
  ])('%s=%s is a credential, and is not shown', async (name, value) => {
    const { code, said } = await run({}, { [name]: value })
    expect(code).toBe(1)
    expect(said).toMatch(new RegExp(`look like credentials: ${name}$`, 'm'))
    expect(said).not.toContain(value)
  })
  test.each([
    ['PATH', '/usr/bin:/bin'],
    ['DEPUTY_TOKEN_FILE', '/run/secrets/deputy-agent/token'],
    ['AGENT_TOKEN', tmpdir()],
    ['OPENAI_BASE_URL', 'http://127.0.0.1:7410/api.openai.com'],
    ['API_KEY', ''],
  ])('%s=%s is none', async (name, value) => {
    expect((await run({}, { [name]: value })).code).toBe(0)
  })
})

test('what is printed holds no control characters', async () => {
  const { said } = await run({ files: [`${dir}/a\u001b[31m`] })
  expect(said).not.toContain('\u001b')
})

test('it is one program of plain JavaScript, of Node’s own modules', async () => {
  const script = await selftestScript(quiet(), '// the end')
  expect(script).toMatch(/\n\/\/ the end\n$/)
  expect(script).not.toMatch(/\breadonly\b.*: /)
  for (const [, from] of script.matchAll(/^import .* from '(.*)'$/gm))
    expect(from).toMatch(/^node:/)
})
