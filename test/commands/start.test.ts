// What a start costs is what it loads: nothing that no call needs.
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { load } from '../../proxy/config/load.ts'
import { prepareFolder } from '../support/deputy.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const dirs: string[] = []
afterAll(() => dirs.forEach((dir) => rmSync(dir, { recursive: true, force: true })))

/** Tells at the end which files, and which parts of Node, this process loaded. */
const SPY = `data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module'
const urls = []
registerHooks({ load: (url, context, next) => (urls.push(url), next(url, context)) })
process.on('exit', () => process.stderr.write('LOADED ' + [...urls, ...process.moduleLoadList].join(' ') + '\\n'))
`)}`

/** Starts deputy, lets `during` have its addresses, ends it. @returns what it loaded, and what it said */
const loadedBy = async (dir: string, during: (said: string) => Promise<void> = async () => {}) => {
  const child = spawn(
    process.execPath,
    ['--import', SPY, command, 'serve', '--config', join(dir, 'deputy.yaml')],
    { cwd: dir, env: { PATH: process.env['PATH'] ?? '' } },
  )
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const exited = new Promise((resolve) => child.once('exit', resolve))
  try {
    await expect.poll(() => said).toContain('deputy is ready')
    await during(said)
  } finally {
    child.kill('SIGTERM')
    await exited
  }
  return /^LOADED (.*)$/m.exec(said)?.[1] ?? ''
}

test(
  'a start loads neither the pages nor a client that no call needs; the first visitor loads them',
  { timeout: 120_000 },
  async () => {
    const dir = await prepareFolder({ upstream: 'http://127.0.0.1:9' })
    dirs.push(dir)
    const started = await loadedBy(dir)
    // The spy works.
    expect(started).toContain('/proxy/pipeline/pep.ts')
    for (const idle of [
      '/node_modules/hono/',
      '/@hono/node-server/',
      '/proxy/people/consent_pages.ts',
      '/proxy/quirks/',
      '/undici/lib/web/fetch/',
      'internal/deps/undici/undici',
    ])
      expect(started, idle).not.toContain(idle)

    let page = ''
    const visited = await loadedBy(dir, async (said) => {
      const connect = /^connect: (\S+)$/m.exec(said)?.[1] ?? ''
      page = await (await fetch(`${connect}/connections`)).text()
    })
    expect(page).toContain('<!doctype html>')
    expect(visited).toContain('/node_modules/hono/')
    // The second start took its own code as compiled by the first: nothing was stripped of its types.
    const third = await loadedBy(dir)
    expect(third).not.toContain('internal/deps/amaro')
    const cache = fileURLToPath(new URL('../../.cache', import.meta.url))
    expect(statSync(cache).mode & 0o777).toBe(0o700)
  },
)

test('a key given twice is found wherever it stands, with its line, also where two spellings are one key', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-yaml-'))
  dirs.push(dir)
  mkdirSync(dir, { recursive: true })
  const problemsOf = async (text: string): Promise<string> => {
    const path = join(dir, 'deputy.yaml')
    writeFileSync(path, text)
    const result = await load(path, {})
    return 'problems' in result ? result.problems.join('\n') : ''
  }
  expect(await problemsOf('version: 1\nvault:\n  keys: a\n  store: b\n  keys: c\n')).toMatch(
    /deputy\.yaml:5: .*keys stands here twice/,
  )
  expect(await problemsOf('version: 1\nproviders:\n  - id: a\n    1: x\n    "1": y\n')).toMatch(
    /deputy\.yaml:5: .*twice/,
  )
  expect(await problemsOf('a: [{ b: 1, b: 2 }]\n')).toMatch(
    /deputy\.yaml:1: .*key b stands here twice/,
  )
  expect(await problemsOf(`a: ${'['.repeat(63)}${']'.repeat(63)}\n`)).not.toMatch(/nesting/)
  expect(await problemsOf(`a: ${'['.repeat(64)}${']'.repeat(64)}\n`)).toMatch(
    /nesting is deeper than 64/,
  )
})
