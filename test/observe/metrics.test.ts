import { describe, expect, test } from 'vitest'
import { createMetrics } from '../../proxy/observe/metrics.ts'

type Sample = {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** A strict reader of the text format 0.0.4: throws at anything that a scraper would not take. */
const parse = (text: string) => {
  expect(text.endsWith('\n')).toBe(true)
  const types = new Map<string, string>()
  const helps = new Set<string>()
  const samples: Sample[] = []
  for (const line of text.slice(0, -1).split('\n')) {
    if (line === '') continue // The library parts metrics by an empty line, which the format allows.
    const meta = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)$/.exec(line)
    if (meta !== null) {
      const [, kind = '', name = '', rest = ''] = meta
      if (kind === 'HELP') {
        expect(helps.has(name), `HELP of ${name} twice`).toBe(false)
        helps.add(name)
      } else {
        expect(types.has(name), `TYPE of ${name} twice`).toBe(false)
        expect(rest).toMatch(/^(counter|gauge|histogram)$/)
        types.set(name, rest)
      }
      continue
    }
    const sample =
      /^([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*",?)+)\})? (\S+)$/.exec(line)
    if (sample === null) throw new Error(`not a sample: ${line}`)
    const [, name = '', inside = '', value = ''] = sample
    const pairs = [...inside.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)]
    const labels = Object.fromEntries(
      pairs.map(([, key = '', text = '']) => [
        key,
        text.replaceAll(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c)),
      ]),
    )
    const base = name.replace(/_(bucket|sum|count)$/, '')
    expect(types.has(name) || types.get(base) === 'histogram', `${name} has no type`).toBe(true)
    expect(Number.isNaN(Number(value)), line).toBe(false)
    samples.push({ name, labels, value: Number(value) })
  }
  // The order of labels says nothing.
  const keyOf = ({ name, labels }: Omit<Sample, 'value'>): string =>
    JSON.stringify([name, Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1))])
  const keys = samples.map(keyOf)
  expect(new Set(keys).size, 'a sample stands twice').toBe(keys.length)
  const find = (name: string, labels: Readonly<Record<string, string>> = {}) =>
    samples.find((sample) => keyOf(sample) === keyOf({ name, labels }))?.value
  return { samples, types, find }
}

const call = {
  method: 'GET',
  provider: 'github',
  effect: 'allow',
  reason: null,
  code: null,
  status: 200,
  durationMs: 30,
}

describe('metrics', () => {
  test('a fresh process shows itself in a text that parses', async () => {
    const { find, types } = parse(await createMetrics({ version: '1.2.3', commit: 'abc' }).render())
    expect(find('deputy_build_info', { version: '1.2.3', commit: 'abc' })).toBe(1)
    expect(find('process_resident_memory_bytes')).toBeGreaterThan(1e6)
    expect(find('process_cpu_seconds_total')).toBeGreaterThan(0)
    expect(
      Math.abs((find('process_start_time_seconds') ?? 0) - (Date.now() / 1000 - process.uptime())),
    ).toBeLessThan(2)
    expect(types.get('process_cpu_seconds_total')).toBe('counter')
  })

  test('calls are counted in cumulative buckets, by method, status, route and problem code', async () => {
    const metrics = createMetrics({ version: '1' })
    for (const durationMs of [1, 30, 30, 20_000]) metrics.call({ ...call, durationMs })
    metrics.call({
      ...call,
      status: 403,
      effect: 'deny',
      reason: 'not_in_group',
      code: 'policy_denied',
    })
    metrics.call({ ...call, provider: null, effect: null, status: 404, code: 'route_not_found' })
    const { find, types } = parse(await metrics.render())
    const name = 'http_server_request_duration_seconds'
    const labels = {
      http_request_method: 'GET',
      http_response_status_code: '200',
      http_route: 'github',
    }
    const bucket = (le: string) => find(`${name}_bucket`, { ...labels, le })
    expect(types.get(name)).toBe('histogram')
    expect(['0.005', '0.025', '0.05', '10', '+Inf'].map(bucket)).toEqual([1, 1, 3, 3, 4])
    expect(find(`${name}_count`, labels)).toBe(4)
    expect(find(`${name}_sum`, labels)).toBeCloseTo(20.061)
    expect(
      find(`${name}_count`, {
        ...labels,
        http_response_status_code: '403',
        error_type: 'policy_denied',
      }),
    ).toBe(1)
    expect(
      find(`${name}_count`, {
        http_request_method: 'GET',
        http_response_status_code: '404',
        error_type: 'route_not_found',
      }),
    ).toBe(1)
    expect(find('deputy_decisions_total', { provider: 'github', effect: 'allow' })).toBe(4)
    expect(
      find('deputy_decisions_total', {
        provider: 'github',
        effect: 'deny',
        reason: 'not_in_group',
      }),
    ).toBe(1)
  })

  test('a bound belongs to its bucket', async () => {
    const metrics = createMetrics({ version: '1' })
    metrics.evaluated(0.0001)
    const { find } = parse(await metrics.render())
    expect(find('deputy_policy_evaluation_duration_seconds_bucket', { le: '0.00005' })).toBe(0)
    expect(find('deputy_policy_evaluation_duration_seconds_bucket', { le: '0.0001' })).toBe(1)
  })

  test('calls under way go up and down once', async () => {
    const metrics = createMetrics({ version: '1' })
    const ends = [metrics.begin('GET'), metrics.begin('GET')]
    ends[0]?.()
    ends[0]?.()
    expect(
      parse(await metrics.render()).find('http_server_active_requests', {
        http_request_method: 'GET',
      }),
    ).toBe(1)
  })

  test('requests to providers, credentials, the journal and the policy each have their line', async () => {
    const metrics = createMetrics({ version: '1' })
    metrics.upstream({
      method: 'POST',
      status: 0,
      host: 'api.github.com',
      port: 443,
      error: 'upstream_timeout',
      seconds: 3,
    })
    metrics.credential('github', 'cached')
    metrics.audit({ lines: () => 7, refused: () => 2, waiting: () => 3, healthy: () => true })
    let revision: string | null = 'a'
    metrics.policy(() => revision)
    const first = parse(await metrics.render())
    const server = {
      http_request_method: 'POST',
      server_address: 'api.github.com',
      server_port: '443',
      error_type: 'upstream_timeout',
    }
    expect(first.find('http_client_request_duration_seconds_count', server)).toBe(1)
    expect(
      first.find('deputy_credential_requests_total', { provider: 'github', outcome: 'cached' }),
    ).toBe(1)
    expect(first.find('deputy_audit_events_total', { outcome: 'written' })).toBe(7)
    expect(first.find('deputy_audit_events_total', { outcome: 'refused' })).toBe(2)
    expect(first.find('deputy_audit_queue_length')).toBe(3)
    expect(first.find('deputy_policy_info', { revision: 'a' })).toBe(1)
    revision = 'b'
    const second = parse(await metrics.render())
    expect([
      second.find('deputy_policy_info', { revision: 'a' }),
      second.find('deputy_policy_info', { revision: 'b' }),
    ]).toEqual([undefined, 1])
    revision = null
    parse(await metrics.render())
  })
})

describe('labels', () => {
  test.each([
    'quote"',
    'back\\slash',
    'line\nend',
    '\\n',
    '"} 1\nfake_total 7',
    '__proto__',
    'constructor',
  ])('%j reads back as itself', async (nasty) => {
    const metrics = createMetrics({ version: nasty })
    metrics.call({ ...call, provider: nasty, effect: nasty })
    metrics.policy(() => nasty)
    const { find, samples } = parse(await metrics.render())
    expect(find('deputy_build_info', { version: nasty })).toBe(1)
    expect(find('deputy_policy_info', { revision: nasty })).toBe(1)
    expect(find('deputy_decisions_total', { provider: nasty, effect: nasty })).toBe(1)
    expect(samples.some(({ name }) => name === 'fake_total')).toBe(false)
  })

  test('a made-up method is _OTHER', async () => {
    const metrics = createMetrics({ version: '1' })
    for (const method of ['get', 'PROPFIND', 'X'.repeat(50)]) metrics.begin(method)
    const { samples } = parse(await metrics.render())
    expect(samples.filter(({ name }) => name === 'http_server_active_requests')).toEqual([
      { name: 'http_server_active_requests', labels: { http_request_method: '_OTHER' }, value: 3 },
    ])
  })

  test('a label that is not from a closed set after all does not eat the memory', async () => {
    const metrics = createMetrics({ version: '1' })
    for (let i = 0; i < 10_000; i++)
      metrics.call({ ...call, effect: 'deny', reason: `reason-${i}` })
    const decisions = parse(await metrics.render()).samples.filter(
      ({ name }) => name === 'deputy_decisions_total',
    )
    expect(decisions.length).toBeLessThanOrEqual(2_001)
    expect(decisions.reduce((sum, { value }) => sum + value, 0)).toBe(10_000)
  })
})
