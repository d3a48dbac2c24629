// The chart as Helm renders it: shapes that are kept, values that are refused, and a deputy.yaml that deputy takes.
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { CHART } from '../chart.ts'
import { isTree } from '../docs.ts'
import type { Tree } from '../docs.ts'
import { makeCertificate } from '../support/certificate.ts'
import { BUNDLE } from '../support/deputy.ts'
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

/** Values that are refused, and what is said: by the schema, or by the chart. */
const REFUSED: readonly (readonly [string, Rendering, string])[] = [
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
    'an Ingress to no pages',
    { values: 'sidecar', set: { ingress: { enabled: true } } },
    'this release serves no pages',
  ],
  [
    'a route of no Gateway',
    { values: 'pages', set: { httpRoute: { enabled: true } } },
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
  })
})

const podOf = (objects: readonly Tree[]): Tree => {
  const deployment = objects.find(({ kind }) => kind === 'Deployment')
  const pod = at(deployment, 'spec.template.spec')
  if (isTree(pod)) return pod
  throw new Error('no Deployment was rendered')
}
const list = (value: unknown): readonly Tree[] => (Array.isArray(value) ? value.filter(isTree) : [])

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

const DEPUTY = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
const IMAGE_BUNDLE = '/opt/deputy-proxy/policies/bundle.tar.gz'
/** What the Secrets hold, by the folder that they are mounted at. */
const SECRETS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  store: {
    url: 'postgres://deputy:x@db.internal/deputy',
    uri: 'postgres://deputy:x@db.internal/deputy',
  },
  github: { client_secret: 'x' },
  notes: { client_secret: 'x', pages_secret: 'x', bearer: 'x'.repeat(32) },
}

/** Makes the files that deputy's container sees, below `root`, as the kubelet would from the rendered volumes. */
const materialise = async (pod: Tree, objects: readonly Tree[], root: string): Promise<Tree> => {
  const container = [...list(pod['initContainers']), ...list(pod['containers'])].find(
    ({ name }) => name === 'deputy',
  )
  for (const { name, mountPath } of list(container?.['volumeMounts'])) {
    const folder = join(root, String(mountPath))
    mkdirSync(folder, { recursive: true })
    const volume = list(pod['volumes']).find((each) => each['name'] === name)
    const map = at(volume, 'configMap.name')
    const found = objects.find(
      (each) => each['kind'] === 'ConfigMap' && at(each, 'metadata.name') === map,
    )
    const secret = SECRETS[String(mountPath).replace('/run/secrets/deputy/', '')]
    for (const [file, text] of Object.entries({ ...(found?.['data'] as Tree), ...secret }))
      writeFileSync(join(folder, file), String(text))
    if (name === 'deputy-secret-tls') makeCertificate(folder)
    if (name === 'deputy-policy') copyFileSync(BUNDLE, join(folder, 'bundle.tar.gz'))
  }
  const keys = join(root, 'run/secrets/deputy/keys/keys.json')
  await run(process.execPath, [DEPUTY, 'keygen', '--out', keys])
  mkdirSync(dirname(join(root, IMAGE_BUNDLE)), { recursive: true })
  copyFileSync(BUNDLE, join(root, IMAGE_BUNDLE))
  return container ?? {}
}

describe.skipIf(NO_HELM !== null)('the deputy.yaml of', () => {
  test.each(SHAPES)('%s is taken by deputy', async (values) => {
    const objects = objectsIn(
      values.startsWith('sidecar') ? await renderOwn({ values }) : await render({ values }),
    )
    const root = mkdtempSync(join(dir, 'pod-'))
    const own = objects.find(
      (each) => each['kind'] === 'Pod' && at(each, 'metadata.name') === 'agent',
    )
    const spec = at(own, 'spec')
    const container = await materialise(isTree(spec) ? spec : podOf(objects), objects, root)
    const file = join(root, '/etc/deputy/deputy.yaml')
    const said = readFileSync(file, 'utf8')
    // The paths of the container, and ports that are free on this machine.
    const here = said
      .replaceAll(
        /(?<=[ :])(?:\/etc\/deputy|\/run\/secrets\/deputy|\/var\/lib\/deputy|\/opt\/deputy-proxy)/g,
        (path) => `${root}${path}`,
      )
      .replaceAll(/(?<=: (?:0\.0\.0\.0|127\.0\.0\.1)):7\d{3}$/gm, ':0')
    writeFileSync(file, here)
    expect(container['args']).toEqual(['serve', '--config', '/etc/deputy/deputy.yaml'])
    const env = { POD_UID: '75c2628b-5792-4f2d-80e5-51742aee548d' }
    expect(list(container['env']).map(({ name }) => name)).toEqual(Object.keys(env))
    const { code, out, err } = await run(
      process.execPath,
      [DEPUTY, 'validate', '--offline', '--config', file],
      { env },
    )
    expect(code, `${here}${out}${err}`).toBe(0)
  })
})
