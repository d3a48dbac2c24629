// The obligations `log` and `notification`: somebody is told before the call leaves, once, or it does not leave.
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  prepareFolder,
  startDeputy,
  TABLES,
  until,
  type Deputy,
  type Fields,
  type Setup,
} from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const KEY = 'key-of-the-application-0123456789'
const use = (TABLES['grants'] as { readonly acme: { readonly use: Fields } }).acme.use
const demanding = (path: string, type: string, properties: Fields): Fields => ({
  ...use,
  path: [path, '**'],
  obligations: { [path]: { type, properties } },
})
const GRANTS: Fields = {
  use,
  logged: demanding('logged', 'log', { level: 'warn', tags: ['money', 'a\u001b[2J\u202eb'] }),
  told: demanding('told', 'notification', {
    to: 'security-team',
    topic: 'payment',
    body: 'A payment <b>left</b>.',
  }),
}
const tables = {
  ...TABLES,
  grants: { ...TABLES['grants'], acme: GRANTS },
  role_grants: { ...TABLES['role_grants'], acme: { user: Object.keys(GRANTS) } },
}

const got: { readonly headers: IncomingHttpHeaders; readonly body: string }[] = []
let down = false
const application = createServer((req, res) => {
  let body = ''
  req.on('data', (chunk: Buffer) => (body += chunk.toString()))
  req.on('end', () => {
    if (!down) got.push({ headers: req.headers, body })
    res.writeHead(down ? 503 : 204).end()
  })
})
let upstream: Upstream
let setup: Setup
let deputy: Deputy
beforeAll(async () => {
  await new Promise<void>((resolve) => void application.listen(0, '127.0.0.1', resolve))
  const { port } = application.address() as AddressInfo
  upstream = await startUpstream()
  upstream.people.set('token-of-alice-0123456789', 'alice')
  setup = {
    upstream: upstream.origin,
    tables,
    config: {
      connect: { sign_in: 'local', notify: { webhook: `http://127.0.0.1:${port}/`, key: KEY } },
    },
    held: [{ person: 'alice', token: 'token-of-alice-0123456789' }],
  }
  deputy = await startDeputy(setup)
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
  application.close()
})
beforeEach(() => {
  upstream.seen.length = 0
  got.length = 0
  down = false
})
const call = async (path: string, of = deputy): Promise<readonly [number, string | null]> => {
  const answer = await fetch(`${of.agent}/~alice/api.acme.test/${path}`)
  await answer.text()
  return [answer.status, answer.headers.get('deputy-answer')]
}
const REFUSED = [403, 'obligation_refused']

describe('log', () => {
  test('one line and one record, with nothing that a terminal would obey', async () => {
    expect(await call('logged/x')).toEqual([200, null])
    const [record, ...more] = deputy.evidence().filter(({ event }) => event === 'obligation.log')
    expect(record).toMatchObject({
      obligation: 'logged',
      level: 'warn',
      tags: ['money', 'a\ufffd[2J\ufffdb'],
      operation: 'acme.get',
      connection: 'acme',
      user: { id: 'alice' },
    })
    expect(more).toEqual([])
    const lines = deputy.logged().split('\n')
    expect(lines.filter((line) => line.includes('policy has this call logged'))).toHaveLength(1)
    expect(deputy.logged()).not.toContain('\u202e')
  })
})

describe('notification', () => {
  test('reaches the application signed, and says whose call it is', async () => {
    expect(await call('told/x')).toEqual([200, null])
    await until(() => got.length > 0, 'the notice')
    const [first] = got
    const headers = first?.headers as Record<string, string>
    const said = new Webhook(Buffer.from(KEY), { format: 'raw' }).verify(first?.body ?? '', headers)
    expect(said).toMatchObject({
      event: 'policy.notification',
      to: ['security-team'],
      topic: 'payment',
      body: 'A payment <b>left</b>.',
      obligation: 'told',
      user_id: 'alice',
      operation: 'acme.get',
    })
    await until(
      () => deputy.evidence().some(({ event }) => event === 'notification.delivered'),
      'the record of its delivery',
    )
  })
  test('that nobody takes now waits, also through a restart, and comes once', async () => {
    const dir = await prepareFolder(setup)
    down = true
    const first = await startDeputy(setup, dir)
    expect(await call('told/x', first)).toEqual([200, null])
    await until(() => first.logged().includes('did not take a notice'), 'a try that fails')
    await first.stop()
    down = false
    const next = await startDeputy(setup, dir)
    await until(() => got.length > 0, 'the notice')
    await next.close()
    expect(got).toHaveLength(1)
  })
  test('a call does not leave where nobody is there to take the notice', async () => {
    const deaf = await startDeputy({ ...setup, config: {} })
    expect(await call('told/x', deaf)).toEqual(REFUSED)
    await deaf.close()
    expect(upstream.seen).toEqual([])
  })
})
