// What policy was asked, sealed by a real deputy: it opens with the investigator's key alone, is what policy saw, and
// answers what the evidence cannot.
import { generateKeyPairSync, hash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { compactDecrypt, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { policyDiff } from '../../proxy/commands/why/diff.ts'
import { policyExplain } from '../../proxy/commands/why/explain.ts'
import { startAuthServer } from '../support/authserver.ts'
import { createBrowser } from '../support/browser.ts'
import type * as Activate from '../../proxy/policy/activate.ts'
import { BUNDLE, CLIENT_SECRET, loadFolder, startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, EvidenceLine, Fields, Setup } from '../support/deputy.ts'
import { freePort } from '../support/ports.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { reply, startVendor } from '../support/vendor.ts'

const heard = vi.hoisted((): string[] => [])
vi.mock('../../proxy/policy/activate.ts', async (original) => {
  const real = await original<typeof Activate>()
  const { whole } = await import('../../proxy/policy/instance.ts')
  const activate: typeof real.activate = async (...args) => {
    const engine = await real.activate(...args)
    return {
      ...engine,
      evaluate: (input, repeated = [], agent) => {
        heard.push(whole(input, repeated))
        return engine.evaluate(input, repeated, agent)
      },
    }
  }
  return { ...real, activate }
})

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const PUBLIC = JSON.stringify(pair.publicKey.export({ format: 'jwk' }))
const PRIVATE = JSON.stringify(pair.privateKey.export({ format: 'jwk' }))
const audit = { sink: ['file:audit.jsonl'], inputs: 'sealed', inputs_key: PUBLIC }
const TOKEN = 'at-alice-0123456789abcdef'
const CANARIES = [TOKEN, 'teamid-canary-9e3b', 'header-canary-77c0']

let upstream: Upstream
const open: { close: () => Promise<unknown> }[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close()
})
const start = async (setup: Partial<Setup> = {}): Promise<Deputy> => {
  const deputy = await startDeputy({
    upstream: upstream.origin,
    held: [{ person: 'alice', token: TOKEN }],
    people: [
      { id: 'alice', groups: ['staff'] },
      { id: 'carol', groups: ['guests'] },
    ],
    ...setup,
    config: { audit, ...setup.config },
  })
  open.push(deputy)
  return deputy
}
const linesOf = (dir: string, name = 'inputs.jsonl'): readonly EvidenceLine[] =>
  readFileSync(join(dir, name), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as EvidenceLine)

type Opened = { readonly header: Fields; readonly text: string; readonly digest: string }
/** Opened by nothing of deputy's: with the private key and a JOSE library, as an investigator would. */
const opened = async (dir: string): Promise<readonly Opened[]> => {
  const keys = new Map<string, JWK>()
  const all: Opened[] = []
  for (const { event, jwe } of linesOf(dir)) {
    if (event === 'input.key') {
      const to = await importJWK(JSON.parse(PRIVATE) as JWK, 'ECDH-ES+A256KW')
      const { plaintext } = await compactDecrypt(String(jwe), to)
      const jwk = JSON.parse(Buffer.from(plaintext).toString()) as JWK
      keys.set(jwk.kid ?? '', jwk)
    }
    if (event !== 'input') continue
    const { kid = '' } = decodeProtectedHeader(String(jwe))
    const key = await importJWK(keys.get(kid) ?? { kty: 'oct', k: '' }, 'dir')
    const { plaintext, protectedHeader } = await compactDecrypt(String(jwe), key)
    const digest = `sha256:${hash('sha256', String(jwe))}`
    all.push({ header: protectedHeader, text: Buffer.from(plaintext).toString(), digest })
  }
  return all
}
const decisions = ({ evidence }: Pick<Deputy, 'evidence'>): readonly EvidenceLine[] =>
  evidence().filter(({ event }) => event === 'decision')
/** Every decision names one record, which says that it is of this decision and holds what policy was asked. */
const paired = async (deputy: Deputy): Promise<readonly Fields[]> => {
  const records = await opened(deputy.dir)
  const asked = decisions(deputy)
  expect(records).toHaveLength(asked.length)
  return asked.map(({ input, exchange, n, part, proc }) => {
    const record = records.find(({ digest }) => digest === input)
    expect(record?.header).toMatchObject({ alg: 'dir', enc: 'A256GCM', exchange, n, proc })
    expect(record?.header['part']).toBe(part)
    expect(heard).toContain(record?.text)
    return JSON.parse(record?.text ?? '{}') as Fields
  })
}
const call = async (deputy: Deputy, who: string, path: string, init: RequestInit = {}) => {
  const answer = await fetch(`${deputy.agent}/api.acme.test${path}`, {
    ...init,
    headers: { 'deputy-user': who, ...(init.headers as Record<string, string>) },
  })
  return { status: answer.status, body: (await answer.json()) as Fields }
}
const note = (title: string): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', 'x-acme-key': 'header-canary-77c0' },
  body: JSON.stringify({ title }),
})
const exchangeOf = (deputy: Deputy, at: number): string =>
  String(decisions(deputy).at(at)?.['exchange'])

type Ran = { readonly code: number; readonly out: string; readonly err: string }
const ran = async (
  work: (io: {
    print: (line: string) => void
    complain: (line: string) => void
  }) => Promise<number>,
): Promise<Ran> => {
  const [out, err]: [string[], string[]] = [[], []]
  const print = (line: string): void => void out.push(line)
  const code = await work({ print, complain: (line) => void err.push(line) })
  return { code, out: out.join('\n'), err: err.join('\n') }
}
const explain = async (dir: string, what: string, more: object = {}): Promise<Ran> => {
  writeFileSync(join(dir, 'private.jwk'), PRIVATE)
  const loaded = await loadFolder(dir)
  const inputsKey = join(dir, 'private.jwk')
  return ran((io) =>
    policyExplain({ ...io, loaded, what, evidence: [], now: false, inputsKey, ...more }),
  )
}

test('an allowed call and a refused one: sealed for the investigator, and exactly what policy saw', async () => {
  const deputy = await start()
  const path = '/notes?teamid=teamid-canary-9e3b&page=2'
  expect((await call(deputy, 'alice', path, note('x'))).status).toBe(200)
  expect((await call(deputy, 'carol', '/items/7')).status).toBe(403)
  const [allowed, refused] = await paired(deputy)
  expect(allowed).toMatchObject({
    user: { id: 'alice', groups: ['staff'] },
    operation: { id: 'acme.note' },
    request: { query: { page: ['2'] }, body: { json: { '/title': 'x' } } },
  })
  expect(refused).toMatchObject({ user: { id: 'carol' }, operation: { id: 'acme.get' } })
  await deputy.stop()
  const file = readFileSync(join(deputy.dir, 'inputs.jsonl'), 'utf8')
  const clear = JSON.stringify([allowed, refused])
  for (const canary of CANARIES)
    for (const text of [file, clear]) expect(text).not.toContain(canary)
  for (const said of ['alice', 'staff', 'acme.note']) expect(file).not.toContain(said)
  expect(linesOf(deputy.dir).map(({ event }) => event)).toContain('process.stopped')
})

test('each part of a batch has a record of its own', async () => {
  const scopes = ['User.Read', 'Mail.ReadWrite']
  const vendor = await startVendor({
    connections: { microsoft: { provider: 'microsoft', hosts: ['graph.microsoft.com'], scopes } },
    held: [{ person: 'alice', connection: 'microsoft', token: TOKEN }],
    config: { audit },
  })
  open.push(vendor)
  vendor.upstream.handle = (_seen, res) => reply(res, 200, { responses: [] })
  const requests = ['/me', '/me/messages'].map((url, i) => ({ id: `${i}`, method: 'GET', url }))
  const answer = await fetch(`${vendor.deputy.agent}/graph.microsoft.com/v1.0/$batch`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${vendor.tag('alice')}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ requests }),
  })
  expect(answer.status).toBe(200)
  const inputs = await paired(vendor.deputy)
  expect(inputs.map(({ request }) => (request as Fields)['part'])).toEqual([
    { number: 1, of: 2 },
    { number: 2, of: 2 },
  ])
})

test('a call that waited for an approval has a record for each time it was decided', async () => {
  const port = await freePort()
  const url = `http://localhost:${port}`
  const secret = 'pages-secret-0123456789abcdef0123456'
  const idp = await startAuthServer({
    clientId: 'pages',
    clientSecret: secret,
    redirectUris: [`${url}/sign-in/callback`],
    accounts: { bob: {} },
  })
  open.push(idp)
  const grants = TABLES['grants'] as unknown as Readonly<Record<string, { readonly use: Fields }>>
  const approval = { lead: { approvers: ['group:leads'], ttl_s: 900 } }
  const deputy = await start({
    people: [
      { id: 'alice', realm: 'corp', groups: ['staff'] },
      { id: 'bob', realm: 'corp', groups: ['leads'] },
    ],
    held: [{ person: { tenant: 'default', realm: 'corp', id: 'alice' }, token: TOKEN }],
    tables: {
      ...TABLES,
      grants: { ...grants, acme: { use: { ...grants['acme']?.use, approval } } },
    },
    config: {
      listeners: { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: `127.0.0.1:${port}` },
      identity: { trust: 'plain', agent: 'laptop', realm: 'corp' },
      connections: {
        acme: {
          provider: 'acme',
          client_id: 'deputy',
          client_secret: CLIENT_SECRET,
          scopes: ['notes'],
        },
      },
      connect: {
        url,
        sign_in: { issuer: idp.issuer, client_id: 'pages', client_secret: secret, realm: 'corp' },
      },
    },
  })
  const link = String((await call(deputy, 'alice', '/notes', note('held'))).body['url'])
  const sent = note('held')
  const headers = { ...(sent.headers as Record<string, string>), prefer: 'wait=30' }
  const waiting = call(deputy, 'alice', '/notes', { ...sent, headers })
  await expect.poll(() => decisions(deputy).length).toBe(2)
  const browser = createBrowser()
  let page = await browser.open(link)
  for (let prompt = /name="prompt" value="(\w+)"/.exec(page.text)?.[1]; prompt !== undefined;) {
    page = await browser.submit(page, prompt === 'login' ? { login: 'bob', password: 'x' } : {})
    prompt = /name="prompt" value="(\w+)"/.exec(page.text)?.[1]
  }
  await browser.submit(page, { answer: 'yes' })
  expect((await waiting).status).toBe(200)
  const held = decisions(deputy).at(-1)
  expect(held).toMatchObject({ n: 2, decision: { effect: 'allow' } })
  const inputs = await paired(deputy)
  expect(inputs.at(-1)?.['approvals']).toMatchObject([{ name: 'lead' }])
  expect(inputs.at(-2)?.['approvals']).toEqual([])
  await deputy.stop()
  // What nobody can make anew from the evidence: the yes, and the body.
  const told = await explain(deputy.dir, String(held?.['exchange']))
  expect(told.out).toContain('with the input that policy was asked then')
  expect(told.out).not.toContain('undetermined')
  expect(told.code).toBe(0)
})

test('explain and diff determine by the input what the evidence leaves open', async () => {
  const deputy = await start()
  await call(deputy, 'alice', '/notes', note('payroll'))
  await call(deputy, 'carol', '/items/7')
  await deputy.stop()
  const { dir } = deputy
  // Nothing says any more what the facts were.
  writeFileSync(join(dir, 'people.yaml'), JSON.stringify({ people: [] }))
  const carol = exchangeOf(deputy, 1)
  const without = await explain(dir, carol, { inputsKey: undefined })
  expect([without.code, without.out]).toEqual([2, expect.stringContaining('user.groups is not')])
  const told = await explain(dir, carol)
  expect(told.out).not.toContain('undetermined')
  expect(told.out).toContain('no_grant')
  expect(told.out).toContain('the person is in group staff (role user)')
  expect([told.code, told.err]).toEqual([0, ''])
  const loaded = await loadFolder(dir)
  const inputsKey = join(dir, 'private.jwk')
  const options = { loaded, candidate: BUNDLE, evidence: [], now: false }
  const same = await ran((io) => policyDiff({ ...io, ...options, inputsKey }))
  expect(same.out).toContain('2 the same, 0 would change, 0 undetermined')
  expect(same.out).toContain('2 of them with the input that policy was asked then')
  expect([same.code, same.err]).toEqual([0, ''])
  // A candidate that gives carol's group the role: only with her groups of then it can be told.
  const data = join(dir, 'tables')
  writeFileSync(
    join(data, 'group_roles.json'),
    JSON.stringify({ staff: ['user'], guests: ['user'] }),
  )
  const before = await ran((io) => policyDiff({ ...io, ...options, loaded, data }))
  expect(before.out).toContain('2 undetermined')
})

test('a forged record, another’s record and another key are told, and not used', async () => {
  const deputy = await start()
  await call(deputy, 'alice', '/items/7')
  await call(deputy, 'carol', '/items/7')
  await deputy.stop()
  const { dir } = deputy
  writeFileSync(join(dir, 'people.yaml'), JSON.stringify({ people: [] }))
  const file = join(dir, 'inputs.jsonl')
  const genuine = readFileSync(file, 'utf8')
  const records = linesOf(dir).filter(({ event }) => event === 'input')
  const [first = '', second = ''] = records.map(({ jwe }) => String(jwe))
  const carol = exchangeOf(deputy, 1)
  const told = async (text: string, more: object = {}): Promise<Ran> => {
    writeFileSync(file, text)
    const said = await explain(dir, carol, more)
    expect(said.code).toBe(2)
    expect(said.out).not.toContain('with the input that policy was asked then')
    expect(said.out).toContain('user.groups is not in the evidence')
    return said
  }
  const flipped = `${second.slice(0, -1)}${second.endsWith('A') ? 'B' : 'A'}`
  const changed = await told(genuine.replace(second, flipped))
  expect(changed.out).toMatch(/not used: .* is not the one that the evidence names/)
  const swapped = await told(genuine.replace(second, first))
  expect(swapped.out).toMatch(/not used: .* is in none of the files/)
  const gone = await told(genuine.replace(/^.*"event":"input.key".*\n/m, ''))
  expect(gone.out).toMatch(/not used: .* a key that none of the files has/)
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const theirs = join(dir, 'other.jwk')
  writeFileSync(theirs, JSON.stringify(other.export({ format: 'jwk' })))
  const wrong = await told(genuine, { inputsKey: theirs })
  expect(wrong.err).toContain('is sealed for another key than yours')
  // Not the private half; nothing of it is quoted.
  writeFileSync(theirs, PUBLIC)
  const half = await explain(dir, carol, { inputsKey: theirs })
  expect(half.err).toContain('is a public key, which opens nothing')
})

test('what was too long for policy was not asked, and is not kept', async () => {
  const deputy = await start({ config: { limits: { policy_input: '2KiB' } } })
  await call(deputy, 'alice', '/notes', note('x'.repeat(4_096)))
  const [decision] = decisions(deputy)
  expect(decision).toMatchObject({ decision: { reasons: ['policy_input_too_large'] } })
  expect(decision).not.toHaveProperty('input')
  expect(await opened(deputy.dir)).toEqual([])
})
