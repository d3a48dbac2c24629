// The chart as Helm renders it: shapes that are kept, values that are refused, and a deputy.yaml that deputy takes.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { CHART } from '../chart.ts'
import { isTree } from '../docs.ts'
import type { Tree } from '../docs.ts'
import { postgres } from '../support/postgres.ts'
import { DEPUTY, materialise } from './pod_files.ts'
import {
  HELM,
  HELM_3,
  KUBERNETES,
  NO_HELM,
  at,
  objectsIn,
  render,
  renderOwn,
  run,
  template,
  valuesOf,
} from './helm.ts'
import type { Rendering } from './helm.ts'

const SHAPES = readdirSync(join(CHART, 'ci')).map((name) => name.replace('-values.yaml', ''))
const dir = mkdtempSync(join(tmpdir(), 'deputy-chart-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

describe.skipIf(NO_HELM !== null)('the chart', () => {
  test.each(SHAPES)(
    '%s is linted strictly, and rendered as it was (--update where it may change)',
    async (values) => {
      const lint = ['lint', '--strict', CHART, '--kube-version', KUBERNETES, '--values', '-']
      const { code, out, err } = await run(HELM, lint, { input: valuesOf({ values }) })
      expect(code, `${out}${err}`).toBe(0)
      await expect(await render({ values })).toMatchFileSnapshot(`golden/${values}.yaml`)
    },
  )
  test('lints as it comes, and says what it lacks', async () => {
    expect((await run(HELM, ['lint', '--strict', CHART])).code).toBe(0)
    const { code, err } = await run(HELM, ['template', 'deputy', CHART])
    expect(code).toBe(1)
    expect(err).toContain('config.connections: name the providers that agents may use')
  })
  test.each(SHAPES)('%s is the same from the oldest Helm', async (values) => {
    expect(await render({ values }, HELM_3)).toBe(await render({ values }))
  })
})

/** Every schema below one, by its path. */
const schemas = (schema: Tree, path: string): readonly (readonly [string, Tree])[] => [
  [path, schema],
  ...Object.entries((schema['properties'] ?? {}) as Tree).flatMap(([name, each]) =>
    isTree(each) ? schemas(each, path === '' ? name : `${path}.${name}`) : [],
  ),
  ...['items', 'additionalProperties'].flatMap((key) => {
    const each = schema[key]
    return isTree(each) ? schemas(each, `${path}.${key}`) : []
  }),
]
describe('values.schema.json', () => {
  const whole: Tree = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'))
  const { definitions, ...own } = whole
  const all = [...schemas(own, ''), ...schemas(at(definitions, 'config') as Tree, 'config')]
  test('has a sentence for each value', () => {
    const named = all.filter(([path]) => !/\.(?:items|additionalProperties)$/.test(path))
    const mute = named.filter(
      ([, each]) => each['$ref'] === undefined && !/[.:]/.test(String(each['description'])),
    )
    expect(named.length).toBeGreaterThan(200)
    expect(mute.map(([path]) => path)).toEqual([])
  })
  test('takes nothing that it does not know', () => {
    // A section without keys is one that this version refuses whole.
    const open = all.filter(
      ([, { properties, additionalProperties }]) =>
        isTree(properties) && Object.keys(properties).length > 0 && additionalProperties !== false,
    )
    expect(open.map(([path]) => path)).toEqual([])
  })
})

/** Values that are refused, and what is said: by the schema, or by the chart. */
type Refused = readonly [what: string, rendering: Rendering, sentence: string]
const LITERAL = 'a-literal-secret-of-32-characters'
const REFUSED: readonly Refused[] = [
  [
    'a mode that is none',
    { values: 'sidecar', set: { mode: 'mesh' } },
    "at '/mode': value must be one of",
  ],
  [
    'a value of a wrong type',
    { values: 'gateway', set: { replicas: 'two' } },
    "at '/replicas': got string, want integer",
  ],
  [
    'a value that is misspelt',
    { values: 'gateway', set: { replica: 2 } },
    "additional properties 'replica' not allowed",
  ],
  [
    'a value inside a value',
    { values: 'gateway', set: { image: { tga: 'x' } } },
    "additional properties 'tga' not allowed",
  ],
  [
    'a key of deputy.yaml that is none',
    { values: 'gateway', set: { config: { limts: {} } } },
    "additional properties 'limts' not allowed",
  ],
  [
    'an address that the chart sets',
    { values: 'gateway', set: { config: { listeners: { agent: '0.0.0.0:1' } } } },
    "additional properties 'agent' not allowed",
  ],
  [
    'a key ring that is a value',
    { values: 'gateway', set: { config: { vault: { keys: './keys.json' } } } },
    "additional properties 'keys' not allowed",
  ],
  [
    'a secret that is a value',
    { values: 'gateway', set: { secrets: { github: { value: 'x' } } } },
    "additional properties 'value' not allowed",
  ],
  [
    'a secret of deputy.yaml that is a value',
    {
      values: 'gateway',
      set: { config: { connections: { github: { client_secret: 'abc' } } } },
    },
    'config.connections.github.client_secret: is a secret',
  ],
  [
    'a secret of the environment, which nothing sets',
    {
      values: 'gateway',
      set: { config: { operators: [{ name: 'a', bearer: '${env:BEARER}', may: ['runs'] }] } },
    },
    'config.operators[].bearer: is a secret',
  ],
  [
    'the key of a hook that is a value',
    {
      values: 'gateway',
      set: {
        config: {
          hooks: [{ name: 'dlp', when: 'before', url: 'https://dlp.corp.example', key: LITERAL }],
        },
      },
    },
    'config.hooks[].key: is a secret',
  ],
  [
    'the key of a collector that is a value',
    {
      values: 'gateway',
      set: { config: { telemetry: { headers: { authorization: `Bearer ${LITERAL}` } } } },
    },
    'config.telemetry.headers.authorization: is a secret',
  ],
  [
    'a digest that is none',
    { values: 'gateway', set: { image: { digest: 'sha256:12' } } },
    "at '/image/digest'",
  ],
  [
    'a token of less than ten minutes',
    { values: 'gateway', set: { callers: { expirationSeconds: 60 } } },
    "at '/callers/expirationSeconds': minimum: got 60, want 600",
  ],
  [
    'trust: plain at a gateway',
    { values: 'gateway', set: { config: { identity: { trust: 'plain' } } } },
    'config.identity.trust: plain believes any caller, and a gateway is reached over the network: use asserted',
  ],
  [
    'trust that is told later',
    { values: 'gateway', set: { config: { identity: { trust: '${env:TRUST}' } } } },
    'config.identity.trust: ${env:TRUST} believes any caller',
  ],
  [
    'trust: plain at the pages',
    { values: 'pages', set: { config: { identity: { trust: 'plain' } } } },
    'config.identity.trust: plain believes any caller',
  ],
  [
    'no trust',
    { values: 'sidecar', set: { config: { identity: null } } },
    'config.identity: say who signs the tags',
  ],
  [
    'no connection',
    { values: 'sidecar', set: { config: { connections: null } } },
    'config.connections: name the providers',
  ],
  [
    'no address of the pages',
    { values: 'sidecar', set: { config: { connect: null } } },
    'config.connect.url: say where',
  ],
  [
    'operators at a sidecar',
    {
      values: 'sidecar',
      set: { config: { operators: [{ name: 'a', bearer: '${file:/x}', may: ['runs'] }] } },
    },
    'config.operators: a sidecar serves no operators',
  ],
  [
    'SQLite of two replicas',
    { values: 'gateway', set: { store: { kind: 'sqlite' } } },
    'store.kind: sqlite is one process',
  ],
  [
    'SQLite that is autoscaled',
    {
      values: 'gateway',
      set: { store: { kind: 'sqlite' }, replicas: 1, autoscaling: { enabled: true } },
    },
    'store.kind: sqlite is one process',
  ],
  [
    'SQLite of the pages',
    { values: 'pages', set: { store: { kind: 'sqlite' }, replicas: 1 } },
    'store.kind: the pages serve sidecars',
  ],
  [
    'SQLite that dies with its pod',
    { values: 'sidecar', set: { store: { kind: 'sqlite' } } },
    'store.kind: sqlite in a sidecar dies with its pod',
  ],
  [
    'callers of no issuer',
    { values: 'gateway', set: { callers: { enabled: true } } },
    'callers.issuer: name the issuer',
  ],
  [
    'a lockdown of a gateway',
    { values: 'gateway', set: { lockdown: { enabled: true } } },
    'lockdown.enabled: is for sidecars',
  ],
  [
    'a lockdown without nft',
    { values: 'sidecar', set: { lockdown: { enabled: true } } },
    'lockdown.image.repository: name an image that has nft',
  ],
  [
    'injection into an older cluster',
    { values: 'sidecar', kubernetes: '1.35.0' },
    'injection.enabled: MutatingAdmissionPolicy needs Kubernetes 1.36, and this is v1.35.0',
  ],
  [
    'a cluster that is too old',
    { values: 'gateway', kubernetes: '1.29.0' },
    'chart requires kubeVersion: >=1.30.0-0',
  ],
  [
    'a gateway of nobody',
    { values: 'gateway', set: { gateway: { agentNamespaces: [] } } },
    'gateway.agentNamespaces: name the namespaces',
  ],
  [
    'a gateway among its agents, whose pods could mount its Secrets',
    { values: 'gateway', namespace: 'agents' },
    "gateway.agentNamespaces: agents is the release's own namespace",
  ],
  [
    'a namespace of agents that is named twice',
    { values: 'gateway', set: { gateway: { agentNamespaces: ['agents', 'agents'] } } },
    "at '/gateway/agentNamespaces': items at 0 and 1 are equal",
  ],
  [
    'an image of no name',
    { values: 'gateway', set: { image: { repository: '' } } },
    "at '/image/repository': minLength",
  ],
  ...['http://deputy.example.com', 'deputy.example.com'].map((url): Refused => [
    `pages that no browser may reach: ${url}`,
    { values: 'gateway', set: { config: { connect: { url } } } },
    `config.connect.url: ${url} is no https`,
  ]),
  [
    'more pods than there may be',
    { values: 'gateway', set: { autoscaling: { enabled: true, minReplicas: 9 } } },
    'autoscaling.minReplicas: is more than maxReplicas',
  ],
  [
    'an Ingress to no pages',
    { values: 'sidecar', set: { ingress: { enabled: true } } },
    'this release serves no pages',
  ],
  [
    'pages that are published twice',
    {
      values: 'pages',
      set: {
        ingress: { enabled: true },
        httpRoute: { enabled: true, parentRefs: [{ name: 'g' }] },
      },
    },
    'published by one of the two',
  ],
  [
    'a route of no Gateway',
    { values: 'pages', set: { ingress: { enabled: false }, httpRoute: { enabled: true } } },
    'httpRoute.parentRefs: name the Gateway',
  ],
  [
    'no time for calls to end',
    { values: 'gateway', set: { terminationGracePeriodSeconds: 10 } },
    'terminationGracePeriodSeconds: must be more than',
  ],
  [
    'a secret from two places',
    { values: 'gateway', set: { keys: { secretProviderClass: 'x' } } },
    'the secret keys: name one of existingSecret and secretProviderClass',
  ],
  [
    'a secret from nowhere',
    { values: 'gateway', set: { secrets: { github: { existingSecret: '' } } } },
    'the secret github: name one of',
  ],
  [
    'a name that no Service can have',
    { values: 'gateway', set: { nameOverride: 'my.app' } },
    'fullnameOverride: "deputy-my.app-gateway" can be no name of a Service',
  ],
  [
    'no resolvers, which would be everybody',
    { values: 'sidecar', set: { networkPolicy: { dns: [] } } },
    'networkPolicy.dns: name the cluster',
  ],
  ...[{}, { to: [] }].map((rule): Refused => [
    `a way out to everywhere: ${JSON.stringify(rule)}`,
    {
      values: 'gateway',
      set: { networkPolicy: { egress: [{ ...rule, ports: [{ port: 443 }] }] } },
    },
    'networkPolicy.egress: a rule without `to`',
  ]),
  ...Object.entries<Tree>({
    'connections.github.client_secret': { connections: { github: { client_secret: LITERAL } } },
    'connect.sign_in.client_secret': { connect: { sign_in: { client_secret: LITERAL } } },
    'connect.notify.key': { connect: { notify: { webhook: 'https://a.example', key: LITERAL } } },
    'operators[].bearer': { operators: [{ name: 'backend', bearer: LITERAL, may: ['runs'] }] },
    'upstream.proxy': { upstream: { proxy: `http://deputy:${LITERAL}@proxy.corp:3128` } },
  }).map(([path, config]): Refused => [
    `a secret as it is: ${path}`,
    { values: 'gateway', set: { config } },
    `config.${path}: is a secret, and a ConfigMap would show it`,
  ]),
  [
    'a database that no policy lets through',
    { values: 'gateway', set: { networkPolicy: { egress: [] } } },
    'networkPolicy.egress: deputy may go to the internet',
  ],
]
describe.skipIf(NO_HELM !== null)('is refused with a sentence', () => {
  test.each(REFUSED)('%s', async (_, rendering, sentence) => {
    const { code, err } = await template(rendering)
    expect(code).toBe(1)
    expect(err).toContain(sentence)
    expect(err).not.toContain(LITERAL)
  })
})

test.skipIf(NO_HELM !== null)('listens on IPv6 where it is told to', async () => {
  const text = await render({ values: 'gateway', set: { ipv6: true } })
  expect(text).toContain("admin: '[::]:7411'")
  expect(text).not.toContain('0.0.0.0:7')
})

describe.skipIf(NO_HELM !== null)('every rendering', () => {
  test.each(SHAPES)(
    '%s holds no secret, mounts folders whole and has what restricted wants',
    async (values) => {
      const objects = objectsIn(await render({ values }))
      expect(objects.filter(({ kind }) => kind === 'Secret')).toEqual([])
      expect(JSON.stringify(objects)).not.toContain('"subPath":')
      for (const object of objects)
        expect(at(object, 'metadata.labels')).toMatchObject({
          'app.kubernetes.io/name': 'deputy',
          'app.kubernetes.io/instance': 'deputy',
        })
    },
  )
})

const database = NO_HELM === null ? await postgres() : { absent: NO_HELM }

describe.skipIf(NO_HELM !== null)('the deputy.yaml of', () => {
  const placed = async (values: string, store: string) => {
    const text = values.startsWith('sidecar')
      ? await renderOwn({ values })
      : await render({ values })
    return materialise(objectsIn(text), mkdtempSync(join(dir, 'pod-')), store)
  }
  test.each(SHAPES)('%s is taken by deputy', async (values) => {
    const { config, args, env } = await placed(values, 'postgres://deputy:x@db.internal/deputy')
    expect(args).toEqual(['serve', '--config', '/etc/deputy/deputy.yaml'])
    const { code, out, err } = await run(
      process.execPath,
      [DEPUTY, 'validate', '--offline', '--config', config],
      { env },
    )
    expect(code, `${out}${err}`).toBe(0)
  })
  test.skipIf('absent' in database).each(['sidecar', 'gateway', 'pages'])(
    '%s serves, and is ready where the probe asks',
    async (values) => {
      if ('absent' in database) return
      const { config, env } = await placed(values, await database.fresh())
      const child = spawn(process.execPath, [DEPUTY, 'serve', '--config', config], { env })
      let said = ''
      child.stderr.on('data', (chunk: Buffer) => void (said += chunk.toString()))
      try {
        await expect.poll(() => said).toContain('deputy is ready')
        const [, port = ''] = /^admin: 0\.0\.0\.0:(\d+)$/m.exec(said) ?? []
        expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200)
        expect(/^connect: /m.test(said)).toBe(values !== 'sidecar')
        expect(/^agent: (?:http:\/\/)?(.+):/m.exec(said)?.[1]).toBe(
          { sidecar: '127.0.0.1', gateway: '0.0.0.0' }[values] ?? 'unix',
        )
      } finally {
        child.kill('SIGTERM')
        await new Promise((resolve) => child.once('close', resolve))
      }
    },
  )
})
