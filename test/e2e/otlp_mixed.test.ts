// A mixed hour at a real collector: every call, whatever became of it, is there once, in order, and what is there proves
// itself. What the collector wrote down is read by nothing of deputy's; `deputy audit verify` sees only that file of bodies.
import { execFile } from 'node:child_process'
import { hash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missingOtelcol, startOtelcol, type Otelcol } from '../support/servers/otelcol.ts'
import { reply, startVendor, type Vendor } from '../support/vendor.ts'

const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const run = promisify(execFile)
const BEARER = 'operator-key-of-the-mixed-hour-0123456789'
const graph = { id: 'microsoft', host: 'graph.microsoft.com' } as const
const linear = { id: 'linear', host: 'api.linear.app' } as const
const connections = {
  microsoft: {
    provider: 'microsoft',
    hosts: [graph.host],
    scopes: ['User.Read', 'Mail.ReadWrite'],
  },
  linear: { provider: 'linear', hosts: [linear.host], scopes: ['read', 'write'] },
}

const skipped = missingOtelcol === null ? '' : ` (SKIPPED: ${missingOtelcol})`
describe.skipIf(missingOtelcol !== null)(`a mixed hour${skipped}`, () => {
  let collector: Otelcol
  let vendor: Vendor
  beforeAll(async () => {
    collector = await startOtelcol()
    vendor = await startVendor({
      connections,
      roles: ['operator-run'],
      held: ['alice', 'rita'].flatMap((person) =>
        Object.keys(connections).map((connection) => ({
          person,
          connection,
          token: `token-of-${person}-at-${connection}`,
        })),
      ),
      config: {
        audit: { sink: ['file:audit.jsonl', 'otlp'] },
        telemetry: { otlp: collector.origin },
        operators: [{ name: 'backend', bearer: BEARER, may: ['runs'] }],
      },
    })
  })
  afterAll(async () => {
    await vendor.close()
    await collector.close()
  })

  type Sent = { readonly status: number; readonly code: string | null }
  const send = async (
    tag: string,
    url: string,
    { body, ...headers }: Readonly<Record<string, string>> = {},
  ): Promise<Sent> => {
    const answer = await fetch(`${vendor.deputy.agent}/${url}`, {
      headers: { 'deputy-user': tag, 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { method: 'POST', body }),
    })
    const ended = await answer.text().then(
      () => null,
      () => 'cut',
    )
    return { status: answer.status, code: ended ?? answer.headers.get('deputy-answer') }
  }
  const me = `${graph.host}/v1.0/me`
  const batch = (...methods: readonly string[]): string =>
    JSON.stringify({
      requests: methods.map((method, i) => ({ id: String(i), method, url: '/me/messages/1' })),
    })
  const ask = (query: string): string => JSON.stringify({ query })
  const mint = async (): Promise<string> => {
    const answer = await fetch(`${vendor.deputy.connect}/v1/admin/runs`, {
      method: 'POST',
      headers: { authorization: `Bearer ${BEARER}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        user_id: 'alice',
        agent: 'agent:triage',
        connections: ['microsoft'],
        expires_in: 600,
      }),
    })
    const { token = '', ...why } = (await answer.json()) as { token?: string }
    if (token === '') throw new Error(JSON.stringify(why))
    return token
  }

  /** One of each, and what the agent was answered. */
  const hour = async (): Promise<void> => {
    const [alice, rita, dave] = ['alice', 'rita', 'dave'].map((one) => vendor.tag(one))
    if (alice === undefined || rita === undefined || dave === undefined) throw new Error('nobody')
    const { upstream } = vendor
    upstream.handle = (_seen, res) => reply(res, 200, { responses: [], data: {} })
    expect(await send(alice, me)).toEqual({ status: 200, code: null })
    // By policy, and before it.
    expect(await send(vendor.tag('carol'), me)).toEqual({ status: 403, code: 'policy_denied' })
    expect(await send('nobody knows this', me)).toMatchObject({ status: 401 })
    // Held until its time is over.
    expect(await send(dave, me, { prefer: 'wait=1' })).toMatchObject({ code: 'consent_required' })
    expect(await send(alice, `${graph.host}/v1.0/$batch`, { body: batch('GET', 'GET') })).toEqual({
      status: 200,
      code: null,
    })
    expect(
      await send(rita, `${graph.host}/v1.0/$batch`, { body: batch('GET', 'DELETE') }),
    ).toMatchObject({ status: 403 })
    const teams = '{ teams { nodes { id } } viewer { id } }'
    expect(await send(alice, `${linear.host}/graphql`, { body: ask(teams) })).toEqual({
      status: 200,
      code: null,
    })
    const token = await mint()
    expect(await send(token, me)).toEqual({ status: 200, code: null })
    expect(await send(token, `${linear.host}/graphql`, { body: ask(teams) })).toMatchObject({
      status: 403,
    })
    // The provider leaves in the middle of its answer.
    upstream.handle = (_seen, res) => {
      res.writeHead(200, { 'content-type': 'text/plain' })
      res.write('the first part', () => res.destroy())
    }
    expect(await send(alice, me)).toEqual({ status: 200, code: 'cut' })
  }

  test('each call is there once, in order, and verifies', async () => {
    for (let n = 0; n < 3; n++) await hour()
    await vendor.deputy.stop()
    const file = readFileSync(join(vendor.deputy.dir, 'audit.jsonl'), 'utf8')
    const count = file.split('\n').length - 1
    // The collector's own file, read as the OTLP/JSON that it is.
    type Logs = {
      readonly resourceLogs: readonly {
        readonly scopeLogs: readonly {
          readonly logRecords: readonly { readonly body: { readonly stringValue: string } }[]
        }[]
      }[]
    }
    const received = (): readonly string[] =>
      readFileSync(collector.received, 'utf8')
        .split('\n')
        .filter((line) => line.includes('"resourceLogs"') && line.endsWith('}'))
        .flatMap((line) => (JSON.parse(line) as Logs).resourceLogs)
        .flatMap(({ scopeLogs }) => scopeLogs)
        .flatMap(({ logRecords }) => logRecords.map(({ body }) => body.stringValue))
    await expect.poll(() => received().length).toBe(count)
    const bodies = received()

    // In order and each once: each line names the one before by its hash.
    type Line = { readonly seq: number; readonly prev: string; readonly event: string } & {
      readonly [name: string]: unknown
    }
    const lines = bodies.map((body) => JSON.parse(body) as Line)
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_, i) => i + 1))
    for (const [i, { prev }] of lines.entries())
      expect(prev).toBe(i === 0 ? '0'.repeat(64) : hash('sha256', bodies[i - 1] ?? ''))

    // What each call of an hour leaves, by its exchange; three hours leave three of each.
    const calls = new Map<string, string[]>()
    for (const line of lines) {
      const { exchange, event, part, run: by } = line
      if (typeof exchange !== 'string') continue
      const { effect } = (line['decision'] ?? {}) as { readonly effect?: string }
      const what = [event, part, by == null ? null : 'run', effect, line['result'], line['code']]
      const said = what
        .filter((one) => one !== undefined && one !== null)
        .map(String)
        .join(' ')
      calls.set(exchange, [...(calls.get(exchange) ?? []), said])
    }
    const kinds = [...calls.values()].map((each) => each.join(', ')).toSorted()
    const hours = [
      'decision allow, outcome ok',
      'decision deny',
      'refused unauthenticated',
      'decision consent_required',
      'decision 1 allow, decision 2 allow, outcome ok',
      'decision 1 allow, decision 2 deny, outcome policy_denied',
      'decision 1 allow, decision 2 allow, outcome ok',
      'decision run allow, outcome ok',
      'decision 1 run deny, decision 2 run deny',
      'decision allow, outcome interrupted',
    ]
    expect(kinds).toEqual(hours.flatMap((one) => [one, one, one]).toSorted())

    const copy = join(vendor.deputy.dir, 'from-the-collector.jsonl')
    writeFileSync(copy, bodies.map((body) => `${body}\n`).join(''))
    const keys = join(vendor.deputy.dir, 'keys.json')
    const verify = (path: string) =>
      run(process.execPath, [command, 'audit', 'verify', path, '--keys', keys])
    expect((await verify(copy)).stdout).toMatch(/: whole$/m)
    // One line less is noticed.
    const cut = join(vendor.deputy.dir, 'one-less.jsonl')
    writeFileSync(
      cut,
      bodies
        .toSpliced(9, 1)
        .map((body) => `${body}\n`)
        .join(''),
    )
    await expect(verify(cut)).rejects.toMatchObject({ code: 1 })
  })
})
