// Bad databases under a deputy that serves: full, gone, ended and started again, crowded, short of a key.
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { addKey, readRing } from '../../proxy/vault/ring_file.ts'
import { createSealer, ringText } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { secret } from '../../proxy/secret.ts'
import { AGENT, prepareFolder, startChild, startDeputy } from '../support/deputy.ts'
import type { Deputy, Held } from '../support/deputy.ts'
import { NO_SKIP, postgres, startServer } from '../support/postgres.ts'
import { lines, sendRaw } from '../support/raw.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'
import { QUIET } from '../support/log.ts'

const tokenOf = (person: string): string => `at-${person}-0123456789abcdef`
const HELD: readonly Held[] = [
  {
    person: 'alice',
    token: tokenOf('alice'),
    refresh: 'rt-alice-1',
    expiresIn: -10,
    agedMs: 3_600_000,
  },
  { person: 'bob', token: tokenOf('bob') },
]
let upstream: Upstream
const ends: (() => unknown)[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  for (const person of ['alice', 'bob']) upstream.people.set(tokenOf(person), person)
})
afterAll(() => upstream.close())
beforeEach(() => {
  upstream.refreshes.length = 0
  upstream.token = null
})
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})
const verdict = async (deputy: Pick<Deputy, 'agent'>, person: string): Promise<unknown> => {
  const answer = await sendRaw(
    deputy.agent,
    lines(
      'GET /api.acme.test/a HTTP/1.1',
      `Host: ${new URL(deputy.agent).host}`,
      `Deputy-User: ${person}`,
    ),
  )
  return answer.json['code'] ?? answer.json['login']
}
const health = async (deputy: Deputy): Promise<readonly [number, string]> => {
  const origin = deputy.admin.startsWith('http') ? deputy.admin : `http://${deputy.admin}`
  const answer = await fetch(`${origin}/readyz?verbose`)
  return [answer.status, await answer.text()]
}

/** A disk of half a megabyte, or why there is none. */
const smallDisk = (): string | null => {
  const at = mkdtempSync(join(tmpdir(), 'deputy-disk-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', at])
  if (mounted.status === 0) {
    ends.push(() => {
      spawnSync('umount', ['-l', at])
      rmSync(at, { recursive: true, force: true })
    })
    return at
  }
  rmSync(at, { recursive: true })
  return null
}
const probe = smallDisk()
for (const end of ends.splice(0)) end()
const noDisk = probe === null ? ' (SKIPPED: no file system can be mounted here)' : ''
if (probe === null && NO_SKIP) throw new Error(`DEPUTY_NO_SKIP is 1${noDisk}`)
const fill = (at: string): void => {
  const { bavail, bsize } = statfsSync(at)
  writeFileSync(join(at, 'ballast'), Buffer.alloc(bavail * bsize))
}

describe.skipIf(probe === null)(`the disk of the vault is full${noDisk}`, () => {
  const onDisk = async () => {
    const disk = smallDisk() ?? ''
    const config = { vault: { store: `sqlite:${disk}/deputy.db`, keys: './keys.json' } }
    const setup = { upstream: upstream.origin, held: HELD, config }
    const dir = await prepareFolder(setup)
    copyFileSync(join(dir, 'deputy.db'), join(disk, 'deputy.db'))
    return { disk, setup, dir }
  }

  test('already: nothing is sent that could not be stored, the others are served, and room is enough to recover', async () => {
    const { disk, setup, dir } = await onDisk()
    const deputy = await startDeputy(setup, dir)
    ends.push(() => deputy.close())
    fill(disk)
    expect(await verdict(deputy, 'alice')).toBe('vault_unavailable')
    expect(upstream.refreshes).toHaveLength(0)
    expect(await verdict(deputy, 'bob')).toBe('bob')
    rmSync(join(disk, 'ballast'))
    expect(await verdict(deputy, 'alice')).toBe('alice')
    expect(upstream.refreshes).toHaveLength(1)
  })

  test('after the provider rotated: the token is served, survives the end of the process, and is stored by the next', async () => {
    const { disk, setup, dir } = await onDisk()
    const config = JSON.parse(readFileSync(join(dir, 'deputy.yaml'), 'utf8')) as object
    const first = await startChild(setup, dir)
    ends.push(() => first.close())
    upstream.token = (form, res) => {
      fill(disk)
      upstream.people.set('at-alice-new-0123456789', 'alice')
      const answer = { access_token: 'at-alice-new-0123456789', refresh_token: 'rt-alice-2' }
      res
        .writeHead(200, { 'content-type': 'application/json' })
        .end(
          JSON.stringify({ ...answer, expires_in: 3600, was: form.get('refresh_token')?.length }),
        )
    }
    expect(await verdict(first, 'alice')).toBe('alice')
    expect(await verdict(first, 'alice')).toBe('alice')
    expect(await verdict(first, 'bob')).toBe('bob')
    expect(first.logged()).toMatch(
      /"reason":"database or disk is full".*a refreshed token could not be stored/,
    )
    await first.stop()
    expect(first.logged()).toContain('keep vault.spool')
    expect(first.logged()).not.toContain('at-alice-new')

    rmSync(join(disk, 'ballast'))
    writeFileSync(join(dir, 'deputy.yaml'), JSON.stringify(config), { mode: 0o600 })
    const second = await startChild(setup, dir)
    ends.push(() => second.close())
    expect(await verdict(second, 'alice')).toBe('alice')
    await second.stop()
    expect(upstream.refreshes.map((form) => form.get('refresh_token'))).toEqual(['rt-alice-1'])
    const db = new DatabaseSync(join(disk, 'deputy.db'))
    const rows = db.prepare(`SELECT generation FROM credentials WHERE user_id = 'alice'`).all()
    db.close()
    expect(rows).toEqual([{ generation: 2 }])
  })
})

test('a SQLite file that is moved away, or replaced by a backup, is written no more; put back, all goes on', async () => {
  const setup = { upstream: upstream.origin, held: HELD }
  const dir = await prepareFolder(setup)
  const path = join(dir, 'deputy.db')
  copyFileSync(path, `${path}.yesterday`)
  const deputy = await startDeputy(setup, dir)
  ends.push(() => deputy.close())
  renameSync(path, `${path}.away`)
  for (const replaced of [false, true]) {
    if (replaced) copyFileSync(`${path}.yesterday`, path)
    expect(await verdict(deputy, 'alice')).toBe('vault_unavailable')
    const [status, text] = await health(deputy)
    expect(status).toBe(503)
    expect(text).toMatch(/was removed or replaced while deputy runs.*Put the file back/)
  }
  expect(upstream.refreshes).toHaveLength(0)
  renameSync(`${path}.away`, path)
  expect(await verdict(deputy, 'alice')).toBe('alice')
  expect((await health(deputy))[0]).toBe(200)
})

test('a key that the ring lacks costs those under it a call, and the log says which key to bring back', async () => {
  const setup = { upstream: upstream.origin, held: HELD }
  const dir = await prepareFolder(setup)
  const keys = join(dir, 'keys.json')
  const old = (await readRing(keys)).current.kid
  addKey(keys, Date.now())
  const ring = JSON.parse(readFileSync(keys, 'utf8')) as {
    readonly current: string
    readonly keys: readonly { readonly kid: string }[]
  }
  writeFileSync(
    keys,
    ringText(
      ring.current,
      ring.keys.filter(({ kid }) => kid !== old),
    ),
    { mode: 0o600 },
  )
  const deputy = await startDeputy(setup, dir)
  ends.push(() => deputy.close())
  expect(deputy.logged()).toContain(old)
  expect(deputy.logged()).toContain('bring them back into the ring')
  expect(await verdict(deputy, 'bob')).toBe('vault_unavailable')
  expect(upstream.refreshes).toHaveLength(0)
  // Brought back while it serves.
  writeFileSync(keys, ringText(ring.current, ring.keys), { mode: 0o600 })
  expect(await verdict(deputy, 'bob')).toBe('bob')
  expect(await verdict(deputy, 'alice')).toBe('alice')
})

const server = await postgres()
const absent = 'absent' in server
describe.skipIf(absent)(`PostgreSQL${absent ? ` (SKIPPED: ${server.absent})` : ''}`, () => {
  const fleet = async (url: string) => {
    const dir = await prepareFolder({
      upstream: upstream.origin,
      config: { vault: { store: url, keys: './keys.json' } },
    })
    const store = await openPostgres(url, { log: QUIET })
    const ring = await readRing(join(dir, 'keys.json'))
    for (const person of ['alice', 'bob'])
      await createVault({
        store,
        sealer: createSealer(ring),
        clock: { now: () => Date.now(), mono: () => performance.now() },
        randomId: () => `C-${person}`,
      }).connect({
        person: { tenant: 'default', realm: 'local', id: person },
        agent: AGENT,
        connection: 'acme',
        provider: 'acme',
        account: { id: person, label: person },
        tokens: {
          access: secret(tokenOf(person)),
          refresh: secret(`rt-${person}-1`),
          scopes: ['notes'],
          expiresIn: person === 'alice' ? 1 : 3600,
        },
        scopes: ['notes'],
      })
    await store.close()
    const deputy = await startDeputy({ upstream: upstream.origin }, dir)
    ends.push(() => deputy.close())
    return deputy
  }

  test('ended and started again while deputy serves: 503 meanwhile, nothing lost, and it recovers by itself', async () => {
    const own = await startServer((stop) => void ends.push(stop))
    const deputy = await fleet(own.url)
    expect(await verdict(deputy, 'bob')).toBe('bob')
    // It goes away between the provider's answer and the store.
    upstream.token = async (_form, res) => {
      await own.stop()
      upstream.people.set('at-alice-later-0123456789', 'alice')
      const answer = { access_token: 'at-alice-later-0123456789', refresh_token: 'rt-alice-2' }
      res
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ ...answer, expires_in: 3600 }))
    }
    await new Promise((resolve) => setTimeout(resolve, 1_100)) // alice's token ends
    expect(await verdict(deputy, 'alice')).toBe('alice')
    await expect.poll(() => verdict(deputy, 'bob')).toBe('vault_unavailable')
    expect((await health(deputy))[0]).toBe(503)
    await own.start()
    await expect.poll(() => verdict(deputy, 'bob')).toBe('bob')
    expect(await verdict(deputy, 'alice')).toBe('alice')
    const select = `SELECT generation FROM credentials WHERE user_id = 'alice'`
    await expect
      .poll(() => (absent ? [] : server.sql(own.url, select)))
      .toEqual([{ generation: '2' }])
    expect(upstream.refreshes).toHaveLength(1)
  })

  test('without a connection to spare: callers wait for one of ours, and a start says what to raise', async () => {
    if (absent) throw new Error(server.absent)
    const admin = await server.fresh()
    const name = `crowded_${process.pid}`
    const database = new URL(admin).pathname.slice(1)
    await server.sql(admin, `CREATE ROLE ${name} LOGIN PASSWORD 'pw' CONNECTION LIMIT 3`)
    ends.push(() => server.sql(admin, `ALTER ROLE ${name} CONNECTION LIMIT 0`))
    await server.sql(admin, `ALTER DATABASE ${database} OWNER TO ${name}`)
    const url = new URL(admin)
    url.username = name
    url.password = 'pw'
    const store = await openPostgres(url.href, { log: QUIET })
    ends.push(() => store.close())
    const found = await Promise.all(
      Array.from({ length: 40 }, (_, n) => store.credentials.byId(`C${n}`)),
    )
    expect(found).toHaveLength(40)
    await server.sql(admin, `ALTER ROLE ${name} CONNECTION LIMIT 1`)
    await expect(openPostgres(url.href, { log: QUIET })).rejects.toThrow(
      /has no connection left: .*A deputy takes at most 15: raise max_connections/,
    )
  })
})
