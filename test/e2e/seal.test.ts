// Members of requests and answers that a row of the tables has sealed: for the investigator alone, before anybody gets them.
import { generateKeyPairSync, hash } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { compactDecrypt, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { auditExplain } from '../../proxy/commands/audit_explain.ts'
import { startDeputy, TABLES, type Deputy, type Fields } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const TOKEN = 'at-alice-0123456789abcdef'
const SECRET = 'iban-canary-DE02-1203-0000'
const ASKED = 'amount-canary-4711'
const use = (TABLES['grants'] as { readonly acme: { readonly use: Fields } }).acme.use
const seal = (where: 'request' | 'response', ...pointers: readonly string[]): Fields => ({
  type: 'seal',
  properties: { in: where, pointers },
})
const row = (path: string, obligations: Fields): Fields => ({
  ...use,
  path: [path, '**'],
  obligations,
})
const GRANTS: Fields = {
  use,
  pay: row('pay', {
    order: seal('request', '/amount'),
    receipt: seal('response', '/*/iban', '/id'),
  }),
  hidden: row('hidden', {
    receipt: seal('response', '/id', '/iban'),
    hide: { type: 'redact', properties: { in: 'response', pointers: ['/iban'] } },
  }),
}
const tables = {
  ...TABLES,
  grants: { ...TABLES['grants'], acme: GRANTS },
  role_grants: { ...TABLES['role_grants'], acme: { user: Object.keys(GRANTS) } },
}
const INPUTS: Fields = {
  inputs: 'sealed',
  inputs_key: JSON.stringify(pair.publicKey.export({ format: 'jwk' })),
}

let upstream: Upstream
const open: Deputy[] = []
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
})
afterAll(() => upstream.close())
afterEach(async () => {
  for (const deputy of open.splice(0)) await deputy.close()
  upstream.handle = null
  upstream.seen.length = 0
})
const start = async (audit: Fields = {}, config: Fields = {}): Promise<Deputy> => {
  const deputy = await startDeputy({
    upstream: upstream.origin,
    held: [{ person: 'alice', token: TOKEN }],
    tables,
    config: { audit: { sink: ['file:audit.jsonl'], ...INPUTS, ...audit }, ...config },
  })
  open.push(deputy)
  return deputy
}
const answering = (body: string, type = 'application/json', status = 200): void => {
  upstream.handle = (_seen, res: ServerResponse) =>
    void res.writeHead(status, { 'content-type': type }).end(body)
}
const call = async ({ agent }: Deputy, path: string, body?: string, type = 'application/json') => {
  const init = body === undefined ? {} : { method: 'POST', body, headers: { 'content-type': type } }
  const answer = await fetch(`${agent}/~alice/api.acme.test/${path}`, init)
  const text = await answer.text()
  return { status: answer.status, text, code: answer.headers.get('deputy-answer') }
}
const sealedLines = ({ evidence }: Deputy) =>
  evidence().filter(({ event }) => event === 'obligation.sealed')

type Opened = { readonly header: Fields; readonly said: Fields; readonly digest: string }
/** Opened by nothing of deputy's: with the private key and a JOSE library, as an investigator would. */
const opened = async (dir: string): Promise<readonly Opened[]> => {
  const keys = new Map<string, JWK>()
  const all: Opened[] = []
  for (const line of readFileSync(join(dir, 'inputs.jsonl'), 'utf8').trimEnd().split('\n')) {
    const { event, jwe = '' } = JSON.parse(line) as { event: string; jwe?: string }
    if (event === 'input.key') {
      const { plaintext } = await compactDecrypt(jwe, pair.privateKey)
      const jwk = JSON.parse(Buffer.from(plaintext).toString()) as JWK
      keys.set(jwk.kid ?? '', jwk)
    }
    if (event !== 'members') continue
    const { kid = '' } = decodeProtectedHeader(jwe)
    const key = await importJWK(keys.get(kid) ?? { kty: 'oct', k: '' }, 'dir')
    const { plaintext, protectedHeader } = await compactDecrypt(jwe, key)
    const said = JSON.parse(Buffer.from(plaintext).toString()) as Fields
    all.push({ header: protectedHeader, said, digest: `sha256:${hash('sha256', jwe)}` })
  }
  return all
}

const explained = async ({ dir }: Deputy, exchange: string) => {
  const [out, err]: [string[], string[]] = [[], []]
  const key = join(dir, 'private.jwk')
  writeFileSync(key, JSON.stringify(pair.privateKey.export({ format: 'jwk' })))
  const code = await auditExplain({
    exchange,
    files: [join(dir, 'audit.jsonl')],
    inputs: join(dir, 'inputs.jsonl'),
    inputsKey: key,
    print: (line) => void out.push(line),
    complain: (line) => void err.push(line),
  })
  return { code, out: out.join('\n'), err: err.join('\n') }
}

test('what a row names of the request and of the answer is sealed, joined by the exchange, and stands nowhere in clear', async () => {
  const deputy = await start()
  answering(`[{"iban":"${SECRET}","n":1.50},{"iban":"${TOKEN}"}]`)
  const paid = await call(deputy, 'pay/1', `{"amount":"${ASKED}","note":"x"}`)
  expect([paid.status, paid.text.includes(SECRET)]).toEqual([200, true])
  await deputy.stop()
  const records = await opened(deputy.dir)
  const [decision] = deputy.evidence().filter(({ event }) => event === 'decision')
  const [exchange, proc] = [decision?.['exchange'], decision?.['proc']]
  expect(records).toMatchObject([
    {
      header: { exchange, proc, in: 'request' },
      said: { obligation: 'order', in: 'request', status: null, members: { '/amount': [ASKED] } },
    },
    {
      header: { exchange, proc, in: 'response' },
      said: { obligation: 'receipt', status: 200, members: { '/id': [] } },
    },
  ])
  // The token that the provider repeats is in no record.
  const [, answer] = records
  expect(answer?.said['members']).toMatchObject({ '/*/iban': [SECRET, expect.any(String)] })
  expect(JSON.stringify(records)).not.toContain(TOKEN)
  expect(sealedLines(deputy)).toMatchObject(
    records.map(({ said, digest }, i) => ({
      exchange,
      user: { id: 'alice' },
      obligation: said['obligation'],
      in: said['in'],
      values: i + 1,
      members: digest,
    })),
  )
  const told = await explained(deputy, String(exchange))
  expect([told.code, told.err]).toEqual([0, ''])
  expect(told.out).toContain(`"members":{"/amount":["${ASKED}"]}`)
  expect(told.out).toContain(SECRET)
  // Another call's record is not taken for this one's; without its key nothing opens.
  const file = join(deputy.dir, 'inputs.jsonl')
  const genuine = readFileSync(file, 'utf8')
  writeFileSync(file, genuine.replace(/^.*"event":"members".*\n/m, ''))
  const gone = await explained(deputy, String(exchange))
  expect([gone.code, gone.err]).toEqual([2, expect.stringContaining('is in none of the files')])
  writeFileSync(file, genuine.replace(/^.*"event":"input.key".*\n/m, ''))
  const shut = await explained(deputy, String(exchange))
  expect([shut.code, shut.err]).toEqual([2, expect.stringContaining('a key that none of')])
  writeFileSync(file, genuine)
  const files = ['inputs.jsonl', 'audit.jsonl'].map((name) =>
    readFileSync(join(deputy.dir, name), 'utf8'),
  )
  for (const text of [...files, deputy.logged()])
    for (const secret of [SECRET, ASKED]) expect(text).not.toContain(secret)
})

test('kept is what the agent gets', async () => {
  const deputy = await start()
  answering(`{"id":7,"iban":"${SECRET}"}`)
  expect((await call(deputy, 'hidden/1')).text).toBe('{"id":7,"iban":"[redacted]"}')
  await deputy.stop()
  const [record] = await opened(deputy.dir)
  expect(record?.said['members']).toEqual({ '/id': [7], '/iban': ['[redacted]'] })
})

test('a field of a form is sealed as a member of JSON is', async () => {
  const deputy = await start()
  answering('{"id":7}')
  const form = 'application/x-www-form-urlencoded'
  const paid = await call(deputy, 'pay/1', `amount=${ASKED}&note=x`, form)
  expect(paid.status).toBe(200)
  const twice = await call(deputy, 'pay/1', `amount=1&amount=${ASKED}`, form)
  expect([twice.status, upstream.seen.length]).toEqual([400, 1])
  await deputy.stop()
  const [order] = await opened(deputy.dir)
  expect(order?.said).toMatchObject({ obligation: 'order', members: { '/amount': [ASKED] } })
})

test('a record of another call is not taken for this one’s', async () => {
  const deputy = await start()
  answering('{"id":7}')
  for (const path of ['hidden/1', 'hidden/2']) await call(deputy, path)
  await deputy.stop()
  const [mine, theirs] = sealedLines(deputy)
  const file = join(deputy.dir, 'audit.jsonl')
  const changed = readFileSync(file, 'utf8').replace(
    String(mine?.['members']),
    String(theirs?.['members']),
  )
  writeFileSync(file, changed)
  const told = await explained(deputy, String(mine?.['exchange']))
  expect([told.code, told.err]).toEqual([2, expect.stringContaining('belongs to another call')])
  expect(told.out).not.toContain('"/id":[7]')
})

test('what cannot be read neither leaves nor comes back', async () => {
  const deputy = await start({}, { limits: { rewritten_body: '64KiB' } })
  answering('{"id":1}')
  expect(await call(deputy, 'pay/1', 'amount=1', 'text/plain')).toMatchObject({
    status: 403,
    code: 'obligation_refused',
  })
  expect(upstream.seen).toEqual([])
  for (const [body, type, status] of [
    [`<iban>${SECRET}</iban>`, 'text/xml', 200],
    [`{"iban":"${SECRET}"`, 'application/json', 200],
    [`{"iban":"${SECRET}","more":"${'x'.repeat(70_000)}"}`, 'application/json', 200],
    [`data: {"iban":"${SECRET}"}\n\n`, 'text/event-stream', 200],
    [`<h1>${SECRET}</h1>`, 'text/html', 500],
  ] as const) {
    answering(body, type, status)
    const answer = await call(deputy, 'pay/1')
    expect(answer).toMatchObject({ status: 502, code: 'answer_not_redactable' })
    expect(answer.text).not.toContain(SECRET)
  }
  expect(sealedLines(deputy).filter((line) => line['in'] === 'response')).toEqual([])
})

test('more than 1 MiB of it does not leave', async () => {
  const deputy = await start()
  answering(JSON.stringify({ id: 'x'.repeat(1_050_000) }))
  expect(await call(deputy, 'pay/1')).toMatchObject({ status: 502, code: 'answer_not_redactable' })
  expect(await call(deputy, 'free/1')).toMatchObject({ status: 200 })
})

test('an answer whose record cannot be written does not leave; without `required` it does, and the evidence says so', async () => {
  for (const required of [true, false]) {
    const deputy = await start({ required })
    const file = join(deputy.dir, 'inputs.jsonl')
    upstream.handle = (_seen, res) => {
      rmSync(file)
      res.writeHead(200, { 'content-type': 'application/json' }).end(`{"id":"${SECRET}"}`)
    }
    const answer = await call(deputy, 'pay/1')
    expect([required, answer.status, answer.text.includes(SECRET)]).toEqual(
      required ? [true, 503, false] : [false, 200, true],
    )
    const ready = await fetch(`http://${deputy.admin}/readyz?verbose`)
    expect([ready.status, await ready.text()]).toEqual([
      503,
      expect.stringMatching(/inputs\.jsonl was moved/),
    ])
    const last = sealedLines(deputy).findLast((line) => line['in'] === 'response')
    if (required) {
      expect(answer.code).toBe('audit_unavailable')
      expect(JSON.parse(answer.text)).toMatchObject({ sent: true })
      expect(last).toBeUndefined()
    } else expect(last).toMatchObject({ members: null })
  }
})

test('without `audit.inputs: sealed` no such table is taken: not at the start, not later', async () => {
  const none = await startDeputy({ upstream: upstream.origin, tables })
  open.push(none)
  expect(none.logged()).toContain('acme.pay.obligations.order: seal needs audit.inputs: sealed')
  expect((await fetch(`http://${none.admin}/readyz`)).status).toBe(503)
  const later = await startDeputy({ upstream: upstream.origin })
  open.push(later)
  writeFileSync(join(later.dir, 'tables/grants.json'), JSON.stringify(tables.grants))
  await expect.poll(() => later.logged()).toContain('seal needs audit.inputs: sealed')
  expect((await fetch(`http://${later.admin}/readyz`)).status).toBe(200)
})
