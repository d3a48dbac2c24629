// What whoever runs deputy is told: standard error line by line, and the metrics of what went wrong.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { prepareFolder, startChild, startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields, Held } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const GOOD = 'at-alice-0123456789abcdef'
const held = (more: Partial<Held> = {}): Held => ({ person: 'alice', token: GOOD, ...more })
const OVER = { refresh: 'rt-alice-1', expiresIn: -10, agedMs: 3_600_000 } as const
let upstream: Upstream
const ends: (() => unknown)[] = []
beforeEach(async () => {
  upstream = await startUpstream()
  ends.push(() => upstream.close())
  upstream.people.set(GOOD, 'alice')
})
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

const call = async ({ agent }: Pick<Deputy, 'agent'>): Promise<unknown> => {
  const origin = agent.startsWith('http') ? agent : `http://${agent}`
  const answer = await fetch(`${origin}/api.acme.test/a`, { headers: { 'deputy-user': 'alice' } })
  const { code, login } = (await answer.json()) as Fields
  return code ?? login
}
const admin = async (deputy: Deputy, path: string): Promise<string> => {
  const origin = deputy.admin.startsWith('http') ? deputy.admin : `http://${deputy.admin}`
  return (await fetch(`${origin}${path}`)).text()
}
/** The value of a sample; its labels in the order of the text. */
const sample = async (deputy: Deputy, name: string): Promise<number | null> => {
  const line = (await admin(deputy, '/metrics'))
    .split('\n')
    .find((each) => each.startsWith(`${name} `))
  return line === undefined ? null : Number(line.slice(name.length + 1))
}

type Logged = Fields & { readonly level: string; readonly msg: string; readonly repeated?: number }
/** The plain lines that people and tools read; everything else is JSON. */
const PLAIN = /^(?:agent|connect|admin): \S+$|^deputy is ready$|^sign-in code for \S+: \S+$/
const read = (text: string): { readonly plain: string[]; readonly json: Logged[] } => {
  const lines = text.trimEnd().split('\n')
  return {
    plain: lines.filter((line) => !line.startsWith('{')),
    json: lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Logged),
  }
}

test('a provider is down for 200 calls: two lines, and each line of standard error is JSON or one of the few plain ones', async () => {
  const setup = { upstream: upstream.origin, held: [held()] }
  const dir = await prepareFolder(setup)
  // Node's own warnings would be plain text. This one comes once deputy has taken over.
  const warns = join(dir, 'warns.cjs')
  writeFileSync(
    warns,
    `const timer = setInterval(() => {
  if (process.listenerCount('uncaughtException') === 0) return
  clearInterval(timer)
  process.emitWarning('a module is old', 'DeprecationWarning', 'DEP9999')
}, 5)
timer.unref()`,
  )
  const child = await startChild(setup, dir, { NODE_OPTIONS: `--require=${warns}` })
  ends.push(() => child.close())
  await upstream.close()
  for (let n = 0; n < 20; n += 1) {
    const codes = await Promise.all(Array.from({ length: 10 }, () => call(child)))
    expect(new Set(codes)).toEqual(new Set(['upstream_unreachable']))
  }
  await expect.poll(() => child.logged()).toContain('a module is old')
  expect(await child.stop()).toBe(0)
  const { plain, json } = read(child.logged())
  for (const line of plain) expect(line).toMatch(PLAIN)
  for (const name of ['agent: ', 'connect: ', 'admin: ', 'deputy is ready'])
    expect(plain.filter((line) => line.startsWith(name))).toHaveLength(1)
  const down = json.filter(({ code }) => code === 'upstream_unreachable')
  expect(down.length).toBeLessThanOrEqual(2)
  expect(down.reduce((sum, { repeated = 1 }) => sum + repeated, 0)).toBe(200)
  expect(json.filter(({ level, code }) => level !== 'info' && code === undefined)).toMatchObject([
    { level: 'warn', msg: 'the runtime warns', err: { code: 'DEP9999' } },
  ])
  // Nothing is told twice.
  const said = json.filter(({ level }) => level === 'info').map(({ msg }) => msg)
  expect(new Set(said).size).toBe(said.length)
  expect(said).toContain('policy loaded')
})

test('a refresh that the provider refuses is one line and one count, without its words in a label', async () => {
  upstream.token = (_form, res) =>
    void res
      .writeHead(400, { 'content-type': 'application/json' })
      .end('{"error":"odd_word_of_theirs"}')
  const deputy = await startDeputy({ upstream: upstream.origin, held: [held(OVER)] })
  ends.push(() => deputy.close())
  for (let n = 0; n < 5; n += 1) expect(await call(deputy)).toBe('credential_unavailable')
  expect(upstream.refreshes).toHaveLength(1)
  const name = 'deputy_refresh_failures_total{provider="acme",kind="refused"}'
  expect(await sample(deputy, name)).toBe(1)
  expect(await admin(deputy, '/metrics')).not.toContain('odd_word_of_theirs')
  const lines = deputy.logged().split('\n')
  expect(
    lines.filter((line) => line.includes('odd_word_of_theirs') && !line.startsWith('["call"')),
  ).toEqual([expect.stringMatching(/^\["refresh failed"/)])
})

test('tables that cannot be used are counted and told once; so is that no policy serves', async () => {
  const deputy = await startDeputy({ upstream: upstream.origin, held: [held()] })
  ends.push(() => deputy.close())
  expect(await sample(deputy, 'deputy_policy_load_failures_total')).toBe(0)
  writeFileSync(join(deputy.dir, 'tables/grants.json'), '{"acme": 7}')
  await expect
    .poll(() => sample(deputy, 'deputy_policy_load_failures_total'))
    .toBeGreaterThanOrEqual(1)
  const told = deputy
    .logged()
    .split('\n')
    .filter((line) => line.includes('the new policy'))
  expect(told).toHaveLength(1)

  const none = await startDeputy({
    upstream: upstream.origin,
    tables: { ...TABLES, grants: { acme: 7 } },
  })
  ends.push(() => none.close())
  const lines = none.logged().split('\n')
  expect(lines.filter((line) => line.includes('no policy serves'))).toHaveLength(1)
  expect(await sample(none, 'deputy_policy_load_failures_total')).toBe(1)
})

test('a token that the vault does not take counts as spooled until it is stored', async () => {
  const deputy = await startDeputy({ upstream: upstream.origin, held: [held(OVER)] })
  ends.push(() => deputy.close())
  expect(await sample(deputy, 'deputy_spool_tokens')).toBe(0)
  const other = new DatabaseSync(join(deputy.dir, 'deputy.db'))
  ends.push(() => other.close())
  upstream.people.set('at-new-0123456789abcdef', 'alice')
  upstream.token = (_form, res) => {
    // Somebody else writes, and does not end.
    other.exec('BEGIN IMMEDIATE')
    res.writeHead(200, { 'content-type': 'application/json' }).end(
      JSON.stringify({
        access_token: 'at-new-0123456789abcdef',
        refresh_token: 'rt-alice-2',
        token_type: 'bearer',
        expires_in: 3600,
      }),
    )
  }
  expect(await call(deputy)).toBe('alice')
  expect(await sample(deputy, 'deputy_spool_tokens')).toBe(1)
  other.exec('ROLLBACK')
  await expect.poll(() => sample(deputy, 'deputy_spool_tokens')).toBe(0)
})

test('grants of a client that is not configured are a gauge, a line of /readyz and one of the log, until they are renewed', async () => {
  const name = 'deputy_grants_waiting_for_client{connection="acme"}'
  const deputy = await startDeputy({
    upstream: upstream.origin,
    held: [held({ clientId: 'former' }), held({ person: 'bob', clientId: 'deputy' })],
  })
  ends.push(() => deputy.close())
  expect(await sample(deputy, name)).toBe(1)
  expect(await admin(deputy, '/readyz')).toBe('ok')
  expect(await admin(deputy, '/readyz?verbose')).toContain(
    '[+] clients 1 grant waits at acme for client former, and deputy is configured\n',
  )
  const lines = (words: string) =>
    deputy
      .logged()
      .split('\n')
      .filter((line) => line.includes(words)).length
  expect(lines('grants belong to a client')).toBe(1)
  // As another process stores it after the person's new consent.
  const db = new DatabaseSync(join(deputy.dir, 'deputy.db'))
  db.exec(`UPDATE credentials SET client_id = 'deputy' WHERE client_id = 'former'`)
  db.close()
  expect(await admin(deputy, '/readyz?verbose')).toContain('[+] clients\n')
  expect(await sample(deputy, name)).toBe(0)
  expect(lines('grants belong to a client')).toBe(1)
  expect(lines('no grant waits for this client any more')).toBe(1)
})

test('docs/operators.md lists every metric of the house', async () => {
  const operators = readFileSync(new URL('../../docs/operators.md', import.meta.url), 'utf8')
  const row = (line: string) => /^\| (`(?:deputy|http)_.*?) \|/.exec(line)?.[1] ?? ''
  const [, table = ''] = operators.split('| metric | says |\n')
  const listed = (table.split('\n\n')[0] ?? '')
    .split('\n')
    .flatMap((line) => [...row(line).matchAll(/`(\w+)[^`]*`/g)].map(([, name = '']) => name))
    // Those of the process are the library's (e2e/metrics).
    .filter((name) => /^(?:deputy|http)_/.test(name))
  const house = new URL('../../proxy/', import.meta.url)
  const source = readdirSync(house, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(new URL(file, house), 'utf8'))
    .join('\n')
  const made = [...source.matchAll(/(?:watch|counter|gauge|histogram)\(\s*'(\w+)'/g)].map(
    ([, name]) => name,
  )
  expect(made.length).toBeGreaterThan(20)
  expect(new Set(listed)).toEqual(new Set(made))
})
