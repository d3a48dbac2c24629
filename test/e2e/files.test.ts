// Files that do not answer in place of those that deputy looks at: it says so, serves what it knows, and heals.
import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { BUNDLE, prepareFolder, startChild, startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { mount, mountDead, NO_MOUNT } from '../support/mount.ts'
import { lines, sendRaw } from '../support/raw.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const TOKEN = 'at-alice-0123456789abcdef'
const HELD = [{ person: 'alice', token: TOKEN }]
const why = NO_MOUNT === null ? '' : ` (SKIPPED: ${NO_MOUNT})`
let upstream: Upstream
const ends: (() => unknown)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})
const ready = async (deputy: Deputy): Promise<string> => {
  const origin = deputy.admin.startsWith('http') ? deputy.admin : `http://${deputy.admin}`
  const answer = await fetch(`${origin}/readyz`)
  return `${answer.status} ${await answer.text()}`
}
const verdict = async (deputy: Deputy): Promise<unknown> => {
  const { host } = new URL(deputy.agent)
  const answer = await sendRaw(
    deputy.agent,
    lines('GET /api.acme.test/a HTTP/1.1', `Host: ${host}`, 'Deputy-User: alice'),
  )
  return answer.json['code'] ?? answer.json['login']
}
const waitFor = <T>(work: () => Promise<T>): Promise<T> =>
  vi.waitFor(work, { timeout: 30_000, interval: 200 })
/** @returns what puts the file back */
const pipeInPlaceOf = (path: string): (() => void) => {
  renameSync(path, `${path}.aside`)
  spawnSync('mkfifo', [path])
  return () => renameSync(`${path}.aside`, path)
}
const NOBODY = JSON.stringify({ ...TABLES['group_roles'], staff: [] })

describe('while deputy serves', () => {
  test.each([
    ['tables/group_roles.json', 'alice'],
    ['bundle.tar.gz', 'alice'],
    ['keys.json', 'alice'],
    ['people.yaml', 'entitlements_unavailable'],
  ])('a pipe in place of %s is told, and later policies are heard', async (name, meanwhile) => {
    const folder = await prepareFolder({
      upstream: upstream.origin,
      held: HELD,
      config: { policy: { bundle: './bundle.tar.gz', data: './tables' } },
    })
    copyFileSync(BUNDLE, join(folder, 'bundle.tar.gz'))
    const deputy = await startDeputy({ upstream: upstream.origin }, folder)
    ends.push(() => deputy.close())
    const path = join(folder, name)
    const back = pipeInPlaceOf(path)
    await waitFor(async () =>
      expect(await ready(deputy)).toContain(`503 [-] file ${path}: is no file: a pipe is there`),
    )
    expect(await verdict(deputy)).toBe(meanwhile)
    const count = (): number => deputy.logged().split('a pipe is there').length
    const said = count()
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    await ready(deputy)
    expect(count()).toBe(said)
    back()
    await waitFor(async () => expect(await ready(deputy)).toBe('200 ok'))
    expect(await verdict(deputy)).toBe('alice')
    writeFileSync(join(folder, 'tables', 'group_roles.json'), NOBODY)
    await waitFor(async () => expect(await verdict(deputy)).toBe('policy_denied'))
  })

  test.skipIf(NO_MOUNT !== null)(
    `a mount that died is told, and ended within seconds${why}`,
    async () => {
      const tables = mkdtempSync(join(tmpdir(), 'deputy-tables-'))
      const config = { policy: { bundle: BUNDLE, data: tables } }
      for (const [name, table] of Object.entries(TABLES))
        writeFileSync(join(tables, `${name}.json`), JSON.stringify(table))
      const deputy = await startChild({ upstream: upstream.origin, held: HELD, config })
      const revive = await mountDead(tables)
      ends.push(async () => {
        await revive()
        await deputy.close()
        rmSync(tables, { recursive: true })
      })
      await waitFor(async () =>
        expect(await ready(deputy)).toContain(
          `503 [-] file ${tables}: the file system does not answer`,
        ),
      )
      expect(await verdict(deputy)).toBe('alice')
      await revive()
      await waitFor(async () => expect(await ready(deputy)).toBe('200 ok'))
      writeFileSync(join(tables, 'group_roles.json'), NOBODY)
      await waitFor(async () => expect(await verdict(deputy)).toBe('policy_denied'))
      const again = await mountDead(tables)
      ends.push(again)
      await waitFor(async () => expect(await ready(deputy)).toContain('does not answer'))
      expect(await deputy.stop()).toBe(0)
    },
  )
})

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const run = (verb: string, config: string): Promise<{ code: number | null; said: string }> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, [command, verb, '--config', config])
    const timer = setTimeout(() => child.kill('SIGKILL'), 20_000)
    let said = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (bytes) => (said += String(bytes)))
    child.once('close', (code) => {
      clearTimeout(timer)
      resolve({ code, said })
    })
  })

describe('at the start', () => {
  const begin = async (config: Fields): Promise<string> => {
    const folder = await prepareFolder({ upstream: upstream.origin, config })
    ends.push(() => rmSync(folder, { recursive: true }))
    return folder
  }
  const tls = { listen: '127.0.0.1:0', cert: './tls.crt', key: './tls.key' }
  const listeners = { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: '127.0.0.1:0' }
  const issuer = { issuer: 'https://idp.test', audience: 'deputy', jwks: './jwks.json' }
  test.each<[string, string, Fields]>([
    ['people.yaml', 'serve', {}],
    ['keys.json', 'serve', {}],
    ['deputy.yaml', 'serve', {}],
    ['ca.pem', 'serve', { upstream: { ca: './ca.pem' } }],
    ['tls.crt', 'serve', { listeners: { ...listeners, agent_tls: tls } }],
    [
      'jwks.json',
      'serve',
      {
        identity: { trust: 'asserted', issuers: [issuer] },
        connect: { sign_in: { issuer: 'https://idp.test', client_id: 'x', client_secret: 'y' } },
      },
    ],
    ['acme.yaml', 'serve', { providers: ['./acme.yaml'] }],
    ['secret', 'serve', { upstream: { ca: '${file:./secret}' } }],
    ['tables/x.json', 'validate', {}],
    ['bundle.tar.gz', 'validate', { policy: { bundle: './bundle.tar.gz' } }],
  ])('a pipe in place of %s ends `deputy %s` with a sentence', async (name, verb, config) => {
    const folder = await begin(config)
    const path = join(folder, name)
    rmSync(path, { force: true })
    spawnSync('mkfifo', [path])
    const { code, said } = await run(verb, join(folder, 'deputy.yaml'))
    expect(said).toContain(`${name}: is no file: a pipe is there`)
    expect(code).toBe(78)
  })

  test.skipIf(NO_MOUNT !== null)(`so does a configuration on a mount that died${why}`, async () => {
    const dead = mkdtempSync(join(tmpdir(), 'deputy-dead-'))
    const revive = await mountDead(dead)
    ends.push(async () => {
      await revive()
      rmSync(dead, { recursive: true })
    })
    const { code, said } = await run('serve', join(dead, 'deputy.yaml'))
    expect(said).toContain('the file system does not answer')
    expect(code).toBe(78)
  })
})

const AS_ROOT = process.getuid?.() === 0
describe.skipIf(AS_ROOT && NO_MOUNT !== null)(
  `a configuration that cannot be written to${AS_ROOT ? why : ''}`,
  () => {
    const readOnly = (folder: string): (() => void) => {
      if (!AS_ROOT) {
        chmodSync(folder, 0o500)
        return () => chmodSync(folder, 0o700)
      }
      mount('--bind', folder, folder)
      return mount('-o', 'remount,ro,bind', folder)
    }
    const begin = async (config: Fields): Promise<string> => {
      const folder = await prepareFolder({ upstream: upstream.origin, held: HELD, config })
      ends.push(() => rmSync(folder, { recursive: true }))
      ends.push(readOnly(folder))
      return folder
    }
    const writable = (): string => {
      const folder = mkdtempSync(join(tmpdir(), 'deputy-state-'))
      ends.push(() => rmSync(folder, { recursive: true }))
      return folder
    }

    test('is refused before anything is served, with everything that would go there', async () => {
      const state = writable()
      const elsewhere = (name: string): string => join(state, name)
      for (const [key, config] of [
        ['vault.store', {}],
        [
          'vault.spool',
          {
            vault: { store: `sqlite:${elsewhere('deputy.db')}`, keys: './keys.json' },
            audit: { sink: ['stdout'] },
          },
        ],
        [
          'audit.sink',
          {
            vault: { store: `sqlite:${elsewhere('deputy.db')}`, keys: './keys.json', spool: state },
          },
        ],
        [
          'state',
          {
            vault: { store: `sqlite:${elsewhere('deputy.db')}`, keys: './keys.json', spool: state },
            audit: { sink: ['stdout'] },
          },
        ],
        [
          'listeners',
          {
            listeners: { agent: 'unix:agent.sock', admin: '127.0.0.1:0', connect: '127.0.0.1:0' },
            state: './run',
          },
        ],
      ] as const) {
        const folder = await begin({ ...config })
        for (const verb of ['serve', 'validate']) {
          const { code, said } = await run(verb, join(folder, 'deputy.yaml'))
          expect(said, key).toMatch(
            key === 'listeners'
              ? /the folder \S+\/run does not exist: create it/
              : new RegExp(
                  `${key}: the folder ${folder}\\S* cannot be written to \\(E(ROFS|ACCES)\\)`,
                ),
          )
          expect([verb, code]).toEqual([verb, 78])
        }
      }
    })

    test('serves with `state`, where the database, the spool, the sockets, the code and the evidence are', async () => {
      const state = writable()
      const folder = await begin({
        state,
        vault: { store: 'sqlite:new.db', keys: './keys.json' },
        listeners: { agent: 'unix:agent.sock', admin: '127.0.0.1:0', connect: '127.0.0.1:0' },
      })
      const before = readdirSync(folder)
      const config = join(folder, 'deputy.yaml')
      const child = spawn(process.execPath, [command, 'serve', '--config', config], { cwd: '/' })
      let said = ''
      child.stderr.on('data', (bytes) => (said += String(bytes)))
      const ended = new Promise((resolve) => child.once('exit', resolve))
      await waitFor(async () => expect(said).toContain('deputy is ready'))
      expect(readdirSync(state)).toEqual(
        expect.arrayContaining([
          '.deputy-code',
          'agent.sock',
          'audit.jsonl',
          'deputy.sock',
          'new.db',
        ]),
      )
      for (const [words, wanted] of [
        [['connect', 'code'], /^[\w-]{4,}\n$/],
        [['connections', 'list'], /\{|\n|^$/],
        [['keys', 'rotate'], /vault\.keys: .*cannot be written/],
      ] as const) {
        const { stdout, stderr } = spawnSync(
          process.execPath,
          [command, ...words, '--config', config],
          { encoding: 'utf8', cwd: '/' },
        )
        expect(stdout + stderr, words.join(' ')).toMatch(wanted)
      }
      child.kill('SIGTERM')
      expect(await ended).toBe(0)
      expect(readdirSync(folder)).toEqual(before)
      expect(existsSync(join(state, 'new.db'))).toBe(true)
    })
  },
)
