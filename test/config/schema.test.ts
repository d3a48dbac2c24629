import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { parseConfig } from '../../proxy/config/parse.ts'
import { configSchema } from '../../proxy/config/schema.ts'

/** Every key of the schema that holds a value; `*` stands for a name or a place in a list. */
const leavesOf = (schema: z.core.$ZodType, path = ''): readonly string[] => {
  const under = (key: string): string => (path === '' ? key : `${path}.${key}`)
  // One that is put into shape first is about what comes of that.
  if (schema instanceof z.ZodPipe)
    return leavesOf(schema.def.in instanceof z.ZodTransform ? schema.def.out : schema.def.in, path)
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  )
    return leavesOf(schema.def.innerType, path)
  if (schema instanceof z.ZodObject)
    return Object.entries(schema.shape).flatMap(([key, value]) => leavesOf(value, under(key)))
  if (schema instanceof z.ZodArray) return leavesOf(schema.element, under('*'))
  if (schema instanceof z.ZodRecord) return leavesOf(schema.valueType, under('*'))
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((each) => leavesOf(each, path))
  return [path]
}

/** Which file carries a key out: one that nobody reads must not be accepted. */
const READERS: Readonly<Record<string, readonly string[]>> = {
  'config/schema.ts': [
    'entitlements.source',
    'entitlements.sources.*',
    'version',
    'identity.issuers.*.insecure',
    'workloads.*.insecure',
    'workloads.*.token_review.insecure',
    'connect.sign_in.insecure',
    'entitlements.http.insecure',
    'hooks.*.insecure',
    'operators_sign_in.insecure',
  ],
  'config/agents.ts': [
    ...['id', 'name', 'owner', 'logo', 'contact', 'workload'].map((key) => `agents.*.${key}`),
    ...['id', 'tenant', 'realm', 'everywhere'].map((key) => `agents.*.owner.${key}`),
  ],
  'config/load.ts': [
    'state',
    'vault.kms',
    'providers.*',
    'providers.*.id',
    'agents',
    ...[
      'provider',
      'client_id',
      'client_secret',
      'client_key',
      'client_cert.cert',
      'client_cert.key',
      'ca',
      'scopes.*',
      'operations.*',
      'operations.*.*',
      'hosts.*',
      'issuer',
    ].map((key) => `connections.*.${key}`),
    ...['authorize', 'token', 'userinfo', 'revoke', 'slot', 'insecure'].map(
      (key) => `connections.*.${key}`,
    ),
  ],
  'config/applications.ts': ['applications.*.realm'],
  'config/rules.ts': ['entitlements.scim.trust_push', 'telemetry.insecure'],
  'config/policy.ts': ['unsigned', 'data_unsigned', 'insecure'].map((key) => `policy.${key}`),
  'policy/signature.ts': ['keys.*', 'scope'].map((key) => `policy.verification.${key}`),
  'config/backend.ts': ['identity.issuers.*.tenants.*'],
  'compose/scim.ts': ['tenant', 'realm', 'user', 'bearer', 'bearer.*'].map(
    (key) => `entitlements.scim.${key}`,
  ),
  'compose/admin_events.ts': ['entitlements.http.follow'],
  'compose/signal_streams.ts': [
    ...['bearer', 'client_id', 'client_secret', 'token', 'scope'].map((key) => `signals.*.${key}`),
    ...['insecure', 'push'].map((key) => `signals.*.${key}`),
  ],
  'compose/signals.ts': [
    ...['audience', 'audience.*', 'poll', 'manage', 'jwks_uri', 'user', 'realm', 'tenant'].map(
      (key) => `signals.*.${key}`,
    ),
    'signals.*.issuer',
  ],
  'compose/issuers.ts': [
    ...['issuer', 'jwks_uri', 'jwks', 'realm', 'audience', 'user', 'agent', 'tenant'].map(
      (key) => `identity.issuers.*.${key}`,
    ),
    ...[
      'name',
      'issuer',
      'spiffe',
      'jwks_uri',
      'jwks',
      'audience',
      'max_age',
      'match.*',
      'agent',
    ].map((key) => `workloads.*.${key}`),
    ...['uri', 'dns', 'cn'].map((key) => `workloads.*.certificate.${key}`),
    ...['server', 'ca', 'token', 'cache'].map((key) => `workloads.*.token_review.${key}`),
  ],
  'compose/snapshot.ts': [
    'listeners.agent_tls.cert',
    'listeners.agent_tls.key',
    'listeners.agent_tls.client_ca',
    'connect.brand.logo',
    'policy.data',
    ...['bundle', 'bundle_auth.bearer', 'bundle_poll', 'allow_rollback', 'shadow'].map(
      (key) => `policy.${key}`,
    ),
    'vault.keys',
    'tools.files.*',
    'upstream.ca',
    'upstream.connect_timeout',
    'upstream.proxy',
    'upstream.no_proxy.*',
    'network.allow_private.*.net',
    'network.allow_private.*.host',
    'limits.policy_input',
  ],
  'compose/directories.ts': [
    'entitlements.file',
    'entitlements.http.people_realm',
    'entitlements.http.timeout',
    ...['ca', 'bind.dn', 'bind.password', 'people_realm', 'timeout', 'starttls', 'url'].map(
      (key) => `entitlements.ldap.${key}`,
    ),
  ],
  'config/directory.ts': [
    'preset',
    'url',
    'realm',
    'tenant',
    'by',
    'client_id',
    'client_secret',
    'client_key',
    'bearer',
    'subject',
    'token',
    'scope',
    'method',
    'id',
    'active',
    'groups',
    'roles',
    'entitlements',
    'manager',
    'next',
  ].map((key) => `entitlements.http.${key}`),
  'config/checks.ts': [
    'name',
    'preset',
    'url',
    'store',
    'model',
    'user',
    'relation',
    'object',
    'method',
    'answer',
    'bearer',
    'client_id',
    'client_secret',
    'client_key',
    'token',
    'scope',
    'insecure',
  ].map((key) => `entitlements.checks.*.${key}`),
  'compose/hooks.ts': ['name', 'when', 'url', 'key', 'timeout', 'operations.*'].map(
    (key) => `hooks.*.${key}`,
  ),
  'compose/checks.ts': ['entitlements.checks.*.operations.*', 'entitlements.checks.*.timeout'],
  'config/ldap.ts': [
    'preset',
    'base',
    'user',
    'id',
    'groups',
    'groups_base',
    'group_name',
    'insecure',
  ].map((key) => `entitlements.ldap.${key}`),
  'compose/doors/tools.ts': ['limits.tool_result'],
  'tools/endpoint.ts': ['tools.endpoints.*.tools.*', 'tools.endpoints.*.discovery'],
  'tools/mcp.ts': ['tools.endpoints.*.path', 'tools.endpoints.*.agents.*'],
  'serve.ts': [
    'listeners.connect',
    'listeners.operators',
    'listeners.names.*',
    'listeners.trusted_proxies.*',
    'connect.url',
    'operators_sign_in.url',
    'limits.drain',
    'limits.drain_delay',
  ],
  'compose/listeners.ts': [
    'forward.listen',
    'listeners.agent',
    'listeners.agent_tls.listen',
    'listeners.admin',
    'listeners.origins.*',
    ...['listen', 'upstream', 'user'].map((key) => `listeners.extra.*.${key}`),
    'limits.headers',
  ],
  'compose/pipeline.ts': [
    ...[
      'trust',
      'header',
      'agent_header',
      'agent_required',
      'max_age',
      'jwks_grace',
      'agent',
      'realm',
    ].map((key) => `identity.${key}`),
    ...['name', 'bearer', 'bearer.*', 'workload', 'agent', 'tenants.*', 'people.*'].map(
      (key) => `applications.*.${key}`,
    ),
    ...['read', 'write', 'delete', 'admin'].map((key) => `entitlements.max_age.${key}`),
    'audit.required',
    ...['request_body', 'inspected_body'].map((key) => `limits.${key}`),
  ],
  'compose/core.ts': [
    'telemetry.traces',
    'vault.store',
    'vault.spool',
    'connect.hold',
    'runs.hold',
    'upstream.idle_timeout',
    ...['calls', 'calls_per_agent', 'rewritten_body', 'held_calls', 'held_bytes', 'hold_max'].map(
      (key) => `limits.${key}`,
    ),
  ],
  'compose/consent.ts': [
    ...['groups', 'roles', 'entitlements'].map((key) => `entitlements.claims.${key}`),
    ...['link_ttl', 'nag_after', 'notify.webhook', 'notify.key'].map((key) => `connect.${key}`),
  ],
  'compose/pages.ts': ['return_to.*', 'sign_in', 'brand.name', 'brand.support', 'verifier.url'].map(
    (key) => `connect.${key}`,
  ),
  'compose/programs.ts': ['connect.verifier.key', 'runs.max'],
  'audit/journal.ts': ['audit.sink.*', 'audit.spool'],
  'compose/export.ts': ['audit.spool_size', 'telemetry.otlp', 'telemetry.headers.*'],
  'compose/authority.ts': ['forward.ca'],
  'compose/audit.ts': [
    'fsync',
    'user_ids',
    'inputs',
    'inputs_key',
    'rotate',
    'rotate.size',
    'rotate.every',
    'retention',
  ].map((key) => `audit.${key}`),
  'consent/code_flow.ts': ['issuer', 'client_id', 'client_secret', 'scope'].map(
    (key) => `connect.sign_in.${key}`,
  ),
  'consent/sign_in.ts': ['user', 'tenant', 'realm'].map((key) => `connect.sign_in.${key}`),
  'consent/tenants.ts': ['people', 'connections', 'calls_per_minute'].map(
    (key) => `tenants.*.${key}`,
  ),
  'api/operator.ts': ['name', 'bearer', 'bearer.*', 'may.*', 'tenants.*'].map(
    (key) => `operators.*.${key}`,
  ),
  'compose/operator_pages.ts': ['operators_sign_in.console'],
  'api/operator_sso.ts': [
    'issuer',
    'client_id',
    'scope',
    'audience',
    'roles',
    'user',
    'tenant',
    'realm',
    'max_age',
    'break_glass',
  ].map((key) => `operators_sign_in.${key}`),
  'main.ts': ['telemetry.log_level'],
}
/** Handed on as a whole: the name stands one level above in the file. */
const WHOLE = /^(?:entitlements\.(?:claims|max_age)|connect\.notify|network\.allow_private)\./

const base = {
  version: 1,
  identity: { trust: 'plain' },
  entitlements: { source: 'file', file: './people.yaml' },
  policy: { bundle: './bundle.tar.gz' },
  connections: { github: { provider: 'github' } },
  vault: { keys: './keys.json' },
  connect: { sign_in: 'local' },
}

/** RFC 7748 6.1, Alice's public key. */
const OKP = '{"kty":"OKP","crv":"X25519","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}'

describe('every key of the configuration', () => {
  test('is carried out by a file that names it', () => {
    expect([...new Set(leavesOf(configSchema))].sort()).toEqual(
      [...new Set(Object.values(READERS).flat())].sort(),
    )
    for (const [file, keys] of Object.entries(READERS)) {
      const text = readFileSync(new URL(`../../proxy/${file}`, import.meta.url), 'utf8')
      for (const key of keys) {
        const names = key.split('.').filter((name) => name !== '*')
        const name = names.at(WHOLE.test(key) ? -2 : -1) ?? ''
        expect(text, `${file} does not name ${key}`).toMatch(new RegExp(`\\b${name}\\b`))
      }
    }
  })

  test.each<[object, RegExp]>([
    [{ rotate: { size: '1KiB' }, retention: '1d' }, /^$/],
    [{ rotate: { every: '1h' } }, /^$/],
    [{ rotate: 'off' }, /^$/],
    [{ rotate: { size: '0B' } }, /audit\.rotate/],
    [{ rotate: { size: '10MB' } }, /audit\.rotate/],
    [{ rotate: { sizes: '1KiB' } }, /audit\.rotate/],
    [{ rotate: 'on' }, /audit\.rotate/],
    [{ retention: '0s' }, /audit\.retention: must be more than nothing/],
    [{ rotate: 'off', retention: '1d' }, /^audit\.retention: with rotate: off/],
    [{ sink: ['stdout'], retention: '1d' }, /^audit\.sink: names no file, so audit\.rotate/],
    [{ sink: ['stdout'], rotate: { size: '1KiB' } }, /^audit\.sink: names no file/],
    [{ inputs: 'sealed', inputs_key: OKP }, /^$/],
    // They are in a file whatever the sinks are.
    [{ inputs: 'sealed', inputs_key: OKP, sink: ['stdout'], retention: '1d' }, /^$/],
    [{ inputs: 'sealed' }, /^audit\.inputs_key: audit\.inputs says sealed: name the public JWK/],
    [{ inputs_key: OKP }, /^audit\.inputs_key: nothing is sealed for it/],
    [
      { inputs: 'sealed', inputs_key: OKP.replace('}', ',"d":"AA"}') },
      /^audit\.inputs_key: is a private key.*name the public half$/,
    ],
  ])('audit %j is carried out or refused', (audit, said) => {
    const parsed = parseConfig({ ...base, audit })
    expect('problems' in parsed ? parsed.problems.join('\n') : '').toMatch(said)
  })

  test('the configuration without them is fine', () => {
    expect(parseConfig(base)).toHaveProperty('config')
  })

  test('what another choice makes idle is refused as well', () => {
    const claims = {
      source: 'claims',
      max_age: { read: '5m', write: '5m', delete: '5m', admin: '5m' },
    }
    const of = (entitlements: object): string => {
      const parsed = parseConfig({ ...base, entitlements })
      return 'problems' in parsed ? parsed.problems.join('\n') : ''
    }
    expect(of({ ...claims, file: './people.yaml' })).toContain(
      'entitlements.file: is not read, because entitlements.source is claims: remove it',
    )
    expect(of({ ...base.entitlements, claims: { groups: '/g' } })).toContain(
      'entitlements.claims: are not read, because entitlements.source is file: remove them',
    )
    expect(of({ ...base.entitlements, scim: { bearer: 'b'.repeat(40) } })).toContain(
      'entitlements.scim: is not read, because entitlements.source is file: remove it',
    )
    const pushed = { source: 'scim', scim: { bearer: 'b'.repeat(40) } }
    expect(of(pushed)).toContain('entitlements.max_age.read: is 0s, but what is pushed has no age')
    expect(of({ ...pushed, max_age: claims.max_age })).not.toContain('pushed has no age')
    expect(of({ ...pushed, scim: { ...pushed.scim, trust_push: true } })).not.toContain('no age')
    expect(of({ source: 'scim' })).toContain('nothing says who may push: give it a bearer')
  })
})
