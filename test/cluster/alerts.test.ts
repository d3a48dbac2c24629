// Alerts and dashboard of the chart: rendered as they are, taken by Prometheus' own tool, and about metrics that there are.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { CHART } from '../chart.ts'
import { missingProgram } from '../support/servers/server.ts'
import { NO_HELM, objectsIn, render } from './helm.ts'

const PROMTOOL =
  process.env['DEPUTY_PROMTOOL'] ??
  join(homedir(), '.cache/deputy-ci/promtool-2.42/usr/bin/promtool')
const missing = missingProgram(PROMTOOL)
const dir = mkdtempSync(join(tmpdir(), 'deputy-alerts-'))
afterAll(() => rmSync(dir, { recursive: true }))

type Rule = {
  readonly alert: string
  readonly expr: string
  readonly for: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly runbook: string }
}
type Groups = {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[]
}
const file = join(CHART, 'files/alerts.yaml')
const alerts: Groups = parse(readFileSync(file, 'utf8'))
const rules = alerts.groups.flatMap((group) => group.rules)
type Dashboard = {
  readonly panels: readonly {
    readonly title: string
    readonly targets: readonly { readonly expr: string }[]
  }[]
}
const dashboard: Dashboard = JSON.parse(readFileSync(join(CHART, 'files/dashboard.json'), 'utf8'))
const queries = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
const docs = (name: string): string =>
  readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')

test('each alert has its paragraph, with the query as it is, and each paragraph its alert', () => {
  const page = docs('operate/alerts.md')
  for (const { alert, expr, for: long, annotations } of rules) {
    expect(page).toContain(`## ${alert}\n`)
    expect(page).toContain(`\n${expr}\nfor: ${long}\n`)
    expect(annotations.runbook).toBe(`docs/operate/alerts.md#${alert.toLowerCase()}`)
  }
  const told = [...page.matchAll(/^## (\w+)$/gm)].map(([, name]) => name)
  expect(told).toEqual(rules.map(({ alert }) => alert))
})

test('alerts and panels ask for metrics that the documentation of metrics lists', () => {
  const listed = docs('operators.md')
  for (const query of [...rules.map(({ expr }) => expr), ...queries]) {
    const names = [...query.matchAll(/\b(?:deputy|http|process|nodejs)_[a-z0-9_]+/g)]
      .map(([name]) => name.replace(/_(?:bucket|count|sum)$/, ''))
      .filter((name) => name !== 'http_response_status_code')
    expect(names.length, query).toBeGreaterThan(0)
    for (const name of names) expect(listed, query).toContain(`\`${name}`)
  }
})

describe.skipIf(NO_HELM !== null)('the chart', () => {
  test('renders them as they are, and only where they are wanted', async () => {
    const on = { monitoring: { alerts: true, dashboard: true, labels: { release: 'prom' } } }
    const objects = objectsIn(await render({ values: 'sidecar', set: on }))
    const rule = objects.find(({ kind }) => kind === 'PrometheusRule')
    expect(rule?.['spec']).toEqual(alerts)
    const map = objects.find((each) => JSON.stringify(each).includes('grafana_dashboard'))
    const data = map?.['data'] as { readonly 'deputy.json': string }
    expect(JSON.parse(data['deputy.json'])).toEqual(dashboard)
    const without = await render({ values: 'sidecar' })
    expect(without).not.toContain('PrometheusRule')
    expect(without).not.toContain('grafana_dashboard')
  })
})

describe.skipIf(missing !== null)(
  `Prometheus' own tool${missing === null ? '' : ` (SKIPPED: ${missing})`}`,
  () => {
    const tool = (...args: readonly string[]): string =>
      execFileSync(PROMTOOL, args, { cwd: dir, encoding: 'utf8', stdio: 'pipe' })
    test('takes the alerts and every query of the dashboard', () => {
      expect(tool('check', 'rules', file)).toContain(`${rules.length} rules found`)
      const each = queries.map((expr, i) => ({
        record: `panel:${i}`,
        expr: expr.replaceAll('$instance', '.*').replaceAll('$__rate_interval', '5m'),
      }))
      const path = join(dir, 'panels.yaml')
      writeFileSync(path, stringify({ groups: [{ name: 'panels', rules: each }] }))
      expect(tool('check', 'rules', path)).toContain(`${queries.length} rules found`)
    })
    /** Alert, series, its values that raise it, when; and values that do not, where these are no row of zeros. */
    type Raised = readonly [string, string, string, string, string?]
    const RAISED: readonly Raised[] = [
      [
        'DeputyCallsFail',
        'http_server_request_duration_seconds_count{http_response_status_code="502"}',
        '0+1x40',
        '30m',
      ],
      [
        'DeputyBundleStale',
        'deputy_bundle_last_success_timestamp_seconds',
        '0x40',
        '30m',
        '0+60x40',
      ],
      [
        'DeputyDirectoryFails',
        'deputy_entitlements_failures_total{source="people",reason="timeout"}',
        '0+1x40',
        '15m',
      ],
      ['DeputyFeedsFail', 'deputy_feeds_failing{feed="scim"}', '1x40', '15m'],
      ['DeputyVaultCrowded', 'deputy_vault_crowded_total', '0+1x40', '15m'],
      [
        'DeputyCertificateEnds',
        'deputy_certificate_expiry_timestamp_seconds{listener="agent_tls"}',
        '600000x90',
        '80m',
        '2000000x90',
      ],
      ['DeputyClientGone', 'deputy_grants_waiting_for_client{connection="c"}', '2x90', '80m'],
      [
        'DeputyEvidenceRejected',
        'deputy_audit_exported_total{outcome="rejected"}',
        '0 0 1 1 1',
        '4m',
      ],
      ['DeputySpansLost', 'deputy_spans_total{outcome="dropped"}', '0+1x40', '30m'],
      ['DeputyLoopLate', 'nodejs_eventloop_lag_p99_seconds', '0.4x40', '15m', '0.02x40'],
      ['DeputyAuditLost', 'deputy_audit_healthy', '1 1 0 0 0 0', '5m'],
      ['DeputyConfigRefused', 'deputy_config_last_reload_successful', '0x20', '10m'],
      ['DeputyPolicyRefused', 'deputy_policy_load_failures_total', '0 0 1 1 1', '4m'],
      ['DeputyTokensWait', 'deputy_spool_tokens', '3x30', '15m'],
      ['DeputyClockSet', 'deputy_clock_lead_seconds', '-40x10', '5m'],
      ['DeputyEvidenceWaits', 'deputy_audit_export_waiting_bytes', '70000000x30', '15m'],
      [
        'DeputyRefreshRefused',
        'deputy_refresh_failures_total{kind="our_fault",provider="github"}',
        '0+1x30',
        '10m',
      ],
      [
        'DeputyHooksFail',
        'deputy_hooks_duration_seconds_count{said="unavailable",hook="h"}',
        '0+1x30',
        '15m',
      ],
      ['DeputyPolicyErrors', 'deputy_decisions_total{effect="error"}', '0+1x30', '15m'],
    ]
    test('is asked about each alert', () => {
      expect(RAISED.map(([alert]) => alert).toSorted()).toEqual(
        rules.map(({ alert }) => alert).toSorted(),
      )
    })
    test.each(RAISED.map(([...all]) => [all[0], all[1], all[2], all[3], all[4] ?? ''] as const))(
      '%s rises when %s does, and not before',
      (alert, series, values, at, low) => {
        const [name = '', labels = ''] = series.split(/[{}]/)
        const own = rules.find((rule) => rule.alert === alert)
        const usual = /last_reload|healthy/.test(name) ? '1x30' : '0x30'
        const calm = low === '' ? usual : low
        const unit = (input: string, raised: boolean) => ({
          interval: '1m',
          input_series: [
            {
              series: `${name}{${['instance="d"', labels].filter(Boolean).join(',')}}`,
              values: input,
            },
          ],
          alert_rule_test: [
            {
              eval_time: at,
              alertname: alert,
              exp_alerts: raised ? [{ exp_labels: {}, exp_annotations: {} }] : [],
            },
          ],
        })
        const write = (raised: boolean): void =>
          writeFileSync(
            join(dir, 'test.yaml'),
            stringify({
              rule_files: [file],
              evaluation_interval: '1m',
              tests: [unit(raised ? values : calm, raised)],
            }),
          )
        write(false)
        expect(tool('test', 'rules', 'test.yaml')).toContain('SUCCESS')
        write(true)
        // Which labels it carries is not what is asked here: that it rises is.
        let said = ''
        try {
          tool('test', 'rules', 'test.yaml')
        } catch (error) {
          said = String((error as { readonly stderr?: string }).stderr)
        }
        expect(said).toContain(`alertname="${alert}"`)
        expect(said).toContain(`severity="${own?.labels.severity}"`)
      },
    )
  },
)
