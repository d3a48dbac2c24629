// Metrics by prom-client, in Prometheus' text format 0.0.4, under OpenTelemetry's names. Labels come from closed sets only:
// never a user, agent, path or connection id.
import { createRequire } from 'node:module'
import type prom from 'prom-client'

// The library by its files (its version is pinned): the whole loads Node's cluster and OpenTelemetry's API, of which
// nothing is used here, and costs a start 18 ms and 3 MB more.
const part = createRequire(import.meta.url)
const Registry = part('prom-client/lib/registry.js') as typeof prom.Registry
const Counter = part('prom-client/lib/counter.js') as typeof prom.Counter
const Gauge = part('prom-client/lib/gauge.js') as typeof prom.Gauge
const Histogram = part('prom-client/lib/histogram.js') as typeof prom.Histogram

/** What a call looks like once it is over. */
type CallSeen = {
  readonly method: string
  readonly provider: string | null
  readonly effect: string | null
  readonly reason: string | null
  readonly code: string | null
  readonly status: number
  readonly durationMs: number
}

/** What a request to a provider looks like once it is over. */
export type UpstreamSeen = {
  readonly method: string
  /** 0: no answer came. */
  readonly status: number
  readonly host: string
  readonly port: number
  /** '': none. */
  readonly error: string
  readonly seconds: number
}

const HTTP_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const POLICY_BOUNDS = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05]
const AGE_BOUNDS = [0, 0.01, 0.1, 1, 5, 10, 30, 60, 300, 3_600]
const METHODS = new Set('GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE QUERY'.split(' '))
/** More children than this mean that a label is not from a closed set after all. */
const MOST_CHILDREN = 2_000
const OTHER = '_OTHER'
/** The library's own metrics, by the files that they are in; CPU time is counted here. */
const USUAL = [
  'osMemoryHeap eventLoopLag heapSizeAndUsed heapSpacesSizeAndUsed version gc',
  'processStartTime processOpenFileDescriptors processMaxFileDescriptors',
  'processResources processHandles processRequests',
].flatMap((names) => names.split(' '))
/**
 * Of these, those that it is better without: gauges whose names say that they are counters, of which Prometheus' own checks
 * complain, and what is no number while nothing was measured since the last scrape.
 */
const LEFT_OUT = [
  ...['resources', 'handles', 'requests'].map((what) => `nodejs_active_${what}_total`),
  ...['min', 'mean', 'stddev'].map((what) => `nodejs_eventloop_lag_${what}_seconds`),
]
type Collect = (
  registry: prom.Registry,
  config: { readonly eventLoopMonitoringPrecision: number },
) => void

const methodLabel = (method: string): string => (METHODS.has(method) ? method : OTHER)

type Labels = Readonly<Record<string, string>>
type Family<T> = {
  /** What is counted under these label values, in the order of the names; made once. */
  readonly with: (...values: readonly string[]) => T
}
type Add = { readonly add: (n?: number) => void }
type Observe = { readonly observe: (seconds: number) => void }

const family = <T>(names: readonly string[], child: (labels: Labels) => T): Family<T> => {
  const made = new Map<string, T>()
  const others = names.map(() => OTHER)
  const find = (values: readonly string[]): T => {
    const key = values.join('\n')
    const known = made.get(key)
    if (known !== undefined) return known
    if (made.size >= MOST_CHILDREN && values !== others) return find(others)
    // An empty label is the same as none.
    const pairs = names.map((name, i) => [name, values[i] ?? ''] as const)
    const value = child(Object.fromEntries(pairs.filter(([, text]) => text !== '')))
    made.set(key, value)
    return value
  }
  return { with: (...values) => find(values) }
}

const kindsOf = (registry: prom.Registry) => {
  const registers = [registry]
  const sum =
    (Kind: typeof Counter | typeof Gauge) =>
    (name: string, help: string, labelNames: readonly string[]): Family<Add> => {
      const metric = new Kind({ name, help, labelNames, registers })
      return family(labelNames, (labels) => ({ add: (n = 1) => metric.inc(labels, n) }))
    }
  return {
    counter: sum(Counter),
    gauge: sum(Gauge),
    histogram: (
      name: string,
      help: string,
      labelNames: readonly string[],
      bounds: readonly number[],
    ): Family<Observe> => {
      const metric = new Histogram({ name, help, labelNames, buckets: [...bounds], registers })
      return family(labelNames, (labels) => metric.labels(labels))
    },
  }
}
type Kinds = ReturnType<typeof kindsOf>

type Read = () =>
  number | readonly (readonly [labels: Readonly<Record<string, string>>, value: number])[]

/** What is counted and timed as it happens. */
const createFamilies = ({ counter, gauge, histogram }: Kinds) => {
  const request = ['http_request_method', 'http_response_status_code']
  const server = histogram(
    'http_server_request_duration_seconds',
    'Duration of calls by agents, from their headers to the end of the answer.',
    [...request, 'http_route', 'error_type'],
    HTTP_BOUNDS,
  )
  const active = gauge('http_server_active_requests', 'Calls under way.', ['http_request_method'])
  const client = histogram(
    'http_client_request_duration_seconds',
    'Duration of requests to providers.',
    [...request, 'server_address', 'server_port', 'error_type'],
    HTTP_BOUNDS,
  )
  const decisions = counter('deputy_decisions_total', 'Final answers of policy.', [
    'provider',
    'effect',
    'reason',
  ])
  const evaluation = histogram(
    'deputy_policy_evaluation_duration_seconds',
    'Duration of one evaluation of the policy.',
    [],
    POLICY_BOUNDS,
  )
  const credentials = counter(
    'deputy_credential_requests_total',
    'Credentials asked for, by where they came from.',
    ['provider', 'outcome'],
  )
  const idle = counter(
    'deputy_idle_refreshes_total',
    'Refreshes of grants that nobody used for long, by what became of them.',
    ['provider', 'outcome'],
  )
  const refreshFailures = counter(
    'deputy_refresh_failures_total',
    'Refreshes that brought no token, by provider and kind of failure.',
    ['provider', 'kind'],
  )
  const tenants = counter(
    'deputy_tenant_refusals_total',
    'What was refused because a tenant has used up a bound, by tenant and bound.',
    ['tenant', 'bound'],
  )
  const shadow = counter(
    'deputy_policy_shadow_total',
    'Decisions that policy.shadow was asked beside the policy in force, by what came of it.',
    ['result'],
  )
  const signals = counter(
    'deputy_signals_total',
    'Events that identity providers told, by the way they came and by what became of them.',
    ['via', 'outcome'],
  )
  const obligations = counter(
    'deputy_obligations_total',
    'Demands of policy with an allow, by type, and ok or the code of the refusal.',
    ['type', 'result'],
  )
  return {
    obligations,
    server,
    active,
    client,
    decisions,
    evaluation,
    credentials,
    idle,
    refreshFailures,
    tenants,
    shadow,
    signals,
  }
}

/** What sources of entitlements answer, and how old it is when it is decided by. */
const createSourceFamilies = ({ counter, histogram }: Kinds) => ({
  question: histogram(
    'deputy_entitlements_question_duration_seconds',
    'Duration of questions that a source of entitlements answered.',
    ['source'],
    HTTP_BOUNDS,
  ),
  failures: counter(
    'deputy_entitlements_failures_total',
    'Questions that a source of entitlements did not answer, by reason.',
    ['source', 'reason'],
  ),
  age: histogram(
    'deputy_entitlements_age_seconds',
    'Age of the facts that a call was decided by.',
    ['source'],
    AGE_BOUNDS,
  ),
  invalidations: counter(
    'deputy_entitlements_invalidations_total',
    'Times that what a source had said was declared void, by cause.',
    ['source', 'cause'],
  ),
  checks: histogram(
    'deputy_checks_question_duration_seconds',
    'Duration of questions about one call that an authorization service answered, by check and answer.',
    ['check', 'answer'],
    HTTP_BOUNDS,
  ),
  checkFailures: counter(
    'deputy_checks_failures_total',
    'Questions about one call that an authorization service did not answer, by check and reason.',
    ['check', 'reason'],
  ),
  hooks: histogram(
    'deputy_hooks_duration_seconds',
    'Duration of questions to hooks, by hook, by when it is asked and by what it said.',
    ['hook', 'when', 'said'],
    HTTP_BOUNDS,
  ),
  notices: counter(
    'deputy_notices_total',
    'Deliveries of what policy has told to people, by result.',
    ['result'],
  ),
})

/** One process's metrics. `render` is the text of /metrics; the rest observes, cheaply. */
export const createMetrics = (about: { readonly version: string; readonly commit?: string }) => {
  const registry = new Registry()
  const kinds = kindsOf(registry)
  const families = createFamilies(kinds)
  const sources = createSourceFamilies(kinds)
  const { server, active, client, decisions, credentials, idle, refreshFailures } = families
  const evaluated = families.evaluation.with()
  /** A value that is read when somebody asks; a list gives one sample per set of labels. */
  const watch = (name: string, type: 'counter' | 'gauge', help: string, read: Read) => {
    registry.removeSingleMetric(name)
    const options = { name, help, registers: [registry] }
    const metric = type === 'counter' ? new Counter(options) : new Gauge(options)
    const about = metric.get.bind(metric)
    metric.get = async () => {
      const value = read()
      const samples = typeof value === 'number' ? [[{}, value] as const] : value
      return { ...(await about()), values: samples.map(([labels, n]) => ({ labels, value: n })) }
    }
  }
  for (const name of USUAL)
    (part(`prom-client/lib/metrics/${name}.js`) as Collect)(registry, {
      eventLoopMonitoringPrecision: 10,
    })
  const cpu = (name: string, what: string, ...of: readonly ('user' | 'system')[]) =>
    watch(`process_cpu_${name}_total`, 'counter', `${what} CPU time spent in seconds.`, () => {
      const spent = process.cpuUsage()
      return of.reduce((sum, each) => sum + spent[each], 0) / 1e6
    })
  cpu('user_seconds', 'Total user', 'user')
  cpu('system_seconds', 'Total system', 'system')
  cpu('seconds', 'Total user and system', 'user', 'system')
  for (const name of LEFT_OUT) registry.removeSingleMetric(name)
  const { version, commit = '' } = about
  watch('deputy_build_info', 'gauge', 'The running program.', () => [
    [{ version, ...(commit === '' ? {} : { commit }) }, 1],
  ])

  return {
    /** A finished call: duration and decision. */
    call: (seen: CallSeen): void => {
      const { method, status, provider, effect, reason, code } = seen
      server
        .with(methodLabel(method), String(status), provider ?? '', code ?? '')
        .observe(seen.durationMs / 1_000)
      if (effect !== null) decisions.with(provider ?? '', effect, reason ?? '').add()
    },
    /** Counts a call as under way; the returned function ends that, once. */
    begin: (method: string): (() => void) => {
      const child = active.with(methodLabel(method))
      child.add(1)
      let ended = false
      return () => {
        if (!ended) child.add(-1)
        ended = true
      }
    },
    /** A finished request to a provider. */
    upstream: ({ method, status, host, port, error, seconds }: UpstreamSeen): void =>
      client
        .with(methodLabel(method), status === 0 ? '' : String(status), host, String(port), error)
        .observe(seconds),
    evaluated: evaluated.observe,
    /** @param type of those that deputy can carry out; `result`: ok, or a problem's code */
    obligation: (type: string, result: string): void =>
      families.obligations.with(type, result).add(),
    credential: (provider: string, outcome: 'cached' | 'refreshed' | 'reconnect' | 'error'): void =>
      credentials.with(provider, outcome).add(),
    idle: (provider: string, outcome: 'refreshed' | 'dead' | 'failed' | 'not_allowed'): void =>
      idle.with(provider, outcome).add(),
    /** @param kind of the closed set of kinds, never the provider's word */
    refreshFailed: (provider: string, kind: string): void =>
      refreshFailures.with(provider, kind).add(),
    /** @param result of a closed set */
    shadow: (result: string): void => families.shadow.with(result).add(),
    /** @param tenant one that the configuration names */
    tenantRefused: (tenant: string, bound: 'people' | 'connections' | 'calls_per_minute'): void =>
      families.tenants.with(tenant, bound).add(),
    /** Sources of entitlements; every label is of a closed set. */
    sources: {
      answered: (source: string, seconds: number): void =>
        sources.question.with(source).observe(seconds),
      failed: (source: string, reason: string): void => sources.failures.with(source, reason).add(),
      aged: (source: string, seconds: number): void => sources.age.with(source).observe(seconds),
      invalidated: (source: string, cause: string): void =>
        sources.invalidations.with(source, cause).add(),
    },
    /** Checks, by the names that the configuration gives them. */
    checks: {
      answered: (check: string, answer: boolean, seconds: number): void =>
        sources.checks.with(check, String(answer)).observe(seconds),
      failed: (check: string, reason: string): void =>
        sources.checkFailures.with(check, reason).add(),
    },
    /** Of a hook, by the name that the configuration gives it. */
    hook: (name: string, when: string, said: string, seconds: number): void =>
      sources.hooks.with(name, when, said).observe(seconds),
    notice: (result: 'taken' | 'failed' | 'given_up'): void => sources.notices.with(result).add(),
    signals: (via: 'push' | 'poll' | 'logout', outcome: 'taken' | 'again' | 'refused'): void =>
      families.signals.with(via, outcome).add(),
    /** Shows the journal's own counts and, under `deputy_policy_info`, the policy in force. */
    audit: (journal: {
      readonly lines: () => number
      readonly refused: () => number
      readonly waiting: () => number
      readonly healthy: () => boolean
    }): void => {
      watch(
        'deputy_audit_events_total',
        'counter',
        'Evidence records, by what became of them.',
        () => [
          [{ outcome: 'written' }, journal.lines()],
          [{ outcome: 'refused' }, journal.refused()],
        ],
      )
      watch('deputy_audit_healthy', 'gauge', '1: evidence is kept; 0: it is not.', () =>
        journal.healthy() ? 1 : 0,
      )
      watch('deputy_audit_queue_length', 'gauge', 'Evidence records that wait.', journal.waiting)
    },
    /** Shows the vault's connections to its server, and how often one was lacking. */
    connections: (
      of: () => Readonly<Record<'busy' | 'idle' | 'waiting' | 'failed', number>>,
    ): void => {
      watch(
        'deputy_vault_connections',
        'gauge',
        'Connections to the database of the vault.',
        () => [
          [{ state: 'busy' }, of().busy],
          [{ state: 'idle' }, of().idle],
        ],
      )
      watch(
        'deputy_vault_waiting',
        'gauge',
        'Statements that wait for a connection to the vault.',
        () => of().waiting,
      )
      watch(
        'deputy_vault_crowded_total',
        'counter',
        'Statements for which there was no connection to the vault, or no answer in time.',
        () => of().failed,
      )
    },
    policy: (revision: () => string | null): void =>
      watch('deputy_policy_info', 'gauge', 'The policy in force.', () => {
        const current = revision()
        return current === null ? [] : [[{ revision: current }, 1]]
      }),
    watch,
    /** The text of /metrics. Rejects with what a watched value throws. */
    render: (): Promise<string> => registry.metrics(),
  }
}

export type Metrics = ReturnType<typeof createMetrics>
