// Who is behind a hash of the evidence: asked of a deputy that serves, of its vault alone, and of names that are given.
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { auditWhois } from '../../proxy/commands/audit_whois.ts'
import { createSealer, newKey, parseKeyRing } from '../../proxy/vault/seal.ts'
import { loadFolder, startDeputy, type Deputy } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
let deputy: Deputy
let hash = ''
beforeAll(async () => {
  upstream = await startUpstream()
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: ['alice', 'bob'].map((person) => ({ person, token: `at-${person}-0123456789` })),
    config: { audit: { sink: ['file:audit.jsonl'], user_ids: 'hashed' } },
  })
  const headers = { 'deputy-user': 'alice' }
  await (await fetch(`${deputy.agent}/api.acme.test/items/7`, { headers })).text()
  const decision = deputy.evidence().find(({ event }) => event === 'decision')
  hash = /"id":"(hmac2:[^"]+)"/.exec(JSON.stringify(decision))?.[1] ?? ''
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})

const whois = async (hashes: readonly string[], users: readonly string[] = []) => {
  const [out, err]: [string[], string[]] = [[], []]
  const loaded = await loadFolder(deputy.dir)
  const code = await auditWhois({
    loaded,
    hashes,
    users,
    print: (line) => void out.push(line),
    complain: (line) => void err.push(line),
  })
  return { code, out, err }
}
const NOBODY = `hmac2:${'A'.repeat(43)}`
const ALICE = 'alice\tdefault\tlocal'
const ringHash = (): string => {
  const ring = parseKeyRing(readFileSync(join(deputy.dir, 'keys.json'), 'utf8'))
  return `hmac:${createSealer(ring).hmac('user', 'alice')}`
}

test('while deputy serves it is asked, and its evidence says that it was', async () => {
  expect(hash).toMatch(/^hmac2:[\w-]{43}$/)
  expect(await whois([hash])).toEqual({ code: 0, out: [`${hash}\t${ALICE}`], err: [] })
  expect(deputy.evidence().at(-1)).toMatchObject({ event: 'operator.whois', names: [hash] })
})

test('people who are named are tried, and nobody else; alone they are told as hashes', async () => {
  expect(await whois([hash], ['carol', 'alice'])).toMatchObject({ out: [`${hash}\t${ALICE}`] })
  const other = await whois([hash], ['carol'])
  expect([other.code, other.out]).toEqual([1, []])
  expect(other.err).toEqual([`${hash} is none of the 1 people tried`])
  // As lines of now name her, and as those of an earlier deputy did.
  expect(await whois([], ['alice'])).toEqual({
    code: 0,
    out: [`${hash}\t${ALICE}`, `${ringHash()}\t${ALICE}`],
    err: [],
  })
})

test('what is no hash of a person, and nothing at all, is said', async () => {
  expect((await whois(['alice'])).code).toBe(64)
  expect((await whois(['hmac2:nobody'])).code).toBe(64)
  expect((await whois([])).err).toEqual([expect.stringContaining('name hashes')])
  const { code, out, err } = await whois([NOBODY, hash])
  expect([code, out]).toEqual([1, [`${hash}\t${ALICE}`]])
  expect(err).toEqual([`${NOBODY} is none of the 2 people tried`])
  expect((await whois([], ['\u001b]0;x'])).out.join()).not.toContain('\u001b')
})

test('a line that an earlier deputy wrote is told by the ring, under an older key too', async () => {
  const old = ringHash()
  expect(await whois([old])).toEqual({ code: 0, out: [`${old}\t${ALICE}`], err: [] })
  await deputy.stop()
  const path = join(deputy.dir, 'keys.json')
  const ring = JSON.parse(readFileSync(path, 'utf8')) as { readonly keys: readonly object[] }
  const keys = [...ring.keys, newKey('hash', Date.now() + 86_400_000, randomBytes)]
  writeFileSync(path, JSON.stringify({ ...ring, keys }), { mode: 0o600 })
  // Nobody serves: the vault itself is asked.
  expect(await whois([hash])).toEqual({ code: 0, out: [`${hash}\t${ALICE}`], err: [] })
  expect(await whois([old])).toEqual({ code: 0, out: [`${old}\t${ALICE}`], err: [] })
  expect((await whois([], ['alice'])).out).toHaveLength(3)
})
