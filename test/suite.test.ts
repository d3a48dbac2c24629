// The suite itself: run by subject, it tells what it found; run whole, it tells what was slow.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { expect, test, vi } from 'vitest'
import { failedLine } from './support/failed.ts'
import { slowest } from './support/slowest.ts'

const root = fileURLToPath(new URL('../', import.meta.url))
const { scripts }: { scripts: { readonly test: string } } = JSON.parse(
  readFileSync(`${root}package.json`, 'utf8'),
)
/** `npm test -- WORDS`, but that the files are listed and not run. */
const listed = (...words: readonly string[]): readonly string[] => {
  const [, ...command] = scripts.test.replace(/run$/, 'list --filesOnly').split(' ')
  const { stdout } = spawnSync(process.execPath, [...command, ...words], {
    cwd: root,
    encoding: 'utf8',
  })
  return stdout.trim().split('\n').toSorted()
}

test('a subject is every file with that word in its name or folder, and there may be several', () => {
  expect(listed('decide', 'scopes')).toEqual([
    'test/pipeline/decide.test.ts',
    'test/wire/scopes.test.ts',
  ])
})

test('a subject that nothing is about fails: nobody takes it for proved', () => {
  const [, ...command] = scripts.test.split(' ')
  const { stdout, stderr, status } = spawnSync(process.execPath, [...command, 'dcide'], {
    cwd: root,
    encoding: 'utf8',
  })
  expect(`${stdout}${stderr}`).toMatch(/No test files found/)
  expect(status).toBe(1)
})

test('the slowest ten of a run are told, slowest first; a subject of few files needs no list', () => {
  const files = Array.from({ length: 12 }, (_, n) => ({ file: `test/${n}.test.ts`, ms: n * 1_050 }))
  const lines = slowest(files)
  expect(lines).toHaveLength(10)
  expect(lines[0]).toBe('   11.6 s  test/11.test.ts')
  expect(lines[9]).toBe('    2.1 s  test/2.test.ts')
  expect(slowest(files.slice(0, 10))).toEqual([])
})

test('a failed test is told in one line', () => {
  expect(failedLine('test/a.test.ts', 'one > two', 'wrong\nin detail')).toBe(
    'test/a.test.ts > one > two: wrong',
  )
  expect(failedLine('test/a.test.ts', 'one', 'x'.repeat(400))).toHaveLength(300)
})

/** Sources of the tests by their name in `test/`. */
const sources = (ending: string): readonly (readonly [string, string])[] =>
  readdirSync(`${root}test`, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => [name, readFileSync(`${root}test/${name}`, 'utf8')] as const)

test('no wait of a test is shorter than those of vitest.config.ts: a busy machine would end it', () => {
  const short = sources('.test.ts').flatMap(([name, text]) =>
    [...text.matchAll(/\btimeout: ([\d_]+)/g)]
      .filter(([, ms = '']) => Number(ms.replaceAll('_', '')) < 30_000)
      .map(([found]) => `${name}: ${found}`),
  )
  expect(short).toEqual([])
})

test('tests look for each tool where .ci/run keeps it, which is another folder when its source has changed', async () => {
  const keeps = String.raw`eval "$(grep -E '^(export DEPUTY_[A-Z0-9_]+=|[a-z_0-9]+_(version|dir)=)' .ci/run)"; env`
  const { stdout } = spawnSync('bash', ['-c', keeps], {
    cwd: root,
    encoding: 'utf8',
    env: { PATH: process.env['PATH'] ?? '', HOME: homedir() },
  })
  const kept = (name: string): string | undefined =>
    new RegExp(`^${name}=(.*)$`, 'm').exec(stdout)?.[1]
  const names = {
    GO: 'DEPUTY_GOCLIENTS',
    JARS: 'DEPUTY_JAVACLIENTS',
    PEER: 'DEPUTY_GRPC',
    PYTHON: 'DEPUTY_PYCLIENTS',
  }
  for (const name of Object.values(names)) vi.stubEnv(name, undefined)
  const found = { ...(await import('./support/built.ts')) }
  expect(found).toEqual(
    Object.fromEntries(Object.entries(names).map(([name, variable]) => [name, kept(variable)])),
  )
  // All others by the version in their name. No tool is one that `npm run catalogues` downloads.
  const named = sources('.ts')
    .flatMap(([, text]) => [...text.matchAll(/\.cache\/deputy-ci\/([\w.-]+)(?![\w.$-])/g)])
    .map(([, name]) => name)
    .filter((name) => name !== 'specs-1')
  expect(named.length).toBeGreaterThan(20)
  const folders = new Set(
    [...stdout.matchAll(/\.cache\/deputy-ci\/([\w.-]+)/g)].map(([, name]) => name),
  )
  expect([...new Set(named)].filter((name) => !folders.has(name))).toEqual([])
})
