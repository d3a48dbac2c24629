// The chart at a real API server: every mode applied, injected, upgraded, and held to Pod Security's restricted.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CHART } from '../chart.ts'
import { isTree } from '../docs.ts'
import type { Tree } from '../docs.ts'
import { NO_CLUSTER, happened, startCluster } from './cluster.ts'
import type { Cluster } from './cluster.ts'
import { HELM, NO_HELM, at, objectsIn, render, renderOwn, run, valuesOf } from './helm.ts'
import type { Ran, Rendering } from './helm.ts'
import { agent, beside } from './pods.ts'
import type { Pod } from './pods.ts'

const MISSING = NO_HELM ?? NO_CLUSTER
const SHAPES = readdirSync(join(CHART, 'ci')).map((name) => name.replace('-values.yaml', ''))
const callers = { enabled: true, issuer: 'https://cluster.example.com' }

let cluster: Cluster
const create = (pod: Pod, dry = true) =>
  cluster.ask(
    'POST',
    `/api/v1/namespaces/${pod.metadata.namespace}/pods?fieldValidation=Strict${dry ? '&dryRun=All' : ''}`,
    pod,
  )
const labelled = (namespace: string, more: object = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'labelled', namespace, labels: { 'deputy/inject': 'true' }, ...more },
  spec: {
    securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [beside('agent'), beside('other')],
  },
})
const names = (list: unknown): readonly unknown[] =>
  Array.isArray(list) ? list.filter(isTree).map(({ name }) => name) : []

beforeAll(async () => {
  if (MISSING !== null) return
  cluster = await startCluster()
  await cluster.operators()
  for (const name of ['agents', 'crawlers', 'deputy', 'pages', 'released'])
    await cluster.namespace(name, 'restricted')
  await cluster.namespace('locked', 'privileged')
})
afterAll(() => cluster?.close())

const secret = (name: string, keys: readonly string[], namespace: string): Tree => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name, namespace },
  stringData: Object.fromEntries(keys.map((key) => [key, 'x'])),
})

describe.skipIf(MISSING !== null)('a rendering of', () => {
  test.each(SHAPES)('%s is taken whole, each field known', async (values) => {
    const namespace = values.startsWith('sidecar') ? 'agents' : 'deputy'
    await cluster.apply(await render({ values, namespace }), '--dry-run=server')
  })
  test.each(SHAPES.filter((name) => !name.startsWith('sidecar')))(
    '%s runs pods that restricted takes',
    async (values) => {
      const objects = objectsIn(await render({ values, namespace: 'pages' }))
      const account = objects.find(({ kind }) => kind === 'ServiceAccount')
      await cluster.apply(JSON.stringify(account))
      const template = at(
        objects.find(({ kind }) => kind === 'Deployment'),
        'spec.template',
      )
      const pod: Pod = { apiVersion: 'v1', kind: 'Pod', ...(isTree(template) ? template : {}) }
      pod.metadata = { ...pod.metadata, name: 'one', namespace: 'pages' }
      expect((await create(pod)).message).toBe('')
    },
  )
})

describe.skipIf(MISSING !== null)('injection', () => {
  const injected = async (pod: Pod): Promise<Pod> => {
    const { body, message } = await create(pod)
    expect(message).toBe('')
    return body
  }
  beforeAll(async () => {
    if (MISSING !== null) return
    await cluster.apply(await render({ values: 'sidecar', namespace: 'agents', set: { callers } }))
    await cluster.apply(
      await render({
        values: 'gateway',
        namespace: 'deputy',
        set: { callers, gateway: { agentNamespaces: ['crawlers'] } },
      }),
    )
    for (const namespace of ['agents', 'crawlers'])
      await happened(async () =>
        JSON.stringify((await create(labelled(namespace))).body).includes('deputy-identity'),
      )
  })
  test('puts deputy before everything else, with its volumes, in a namespace that is restricted', async () => {
    const pod = labelled('agents')
    pod.spec.initContainers = [beside('migrate')]
    pod.spec.volumes = [{ name: 'mine', emptyDir: {} }]
    const { metadata, spec } = await injected(pod)
    expect(names(spec.initContainers)).toEqual(['deputy', 'migrate'])
    expect(spec.initContainers[0]).toMatchObject({ restartPolicy: 'Always' })
    expect(names(spec.volumes)).toEqual(
      expect.arrayContaining(['mine', 'deputy-config', 'deputy-secret-keys', 'deputy-state']),
    )
    expect(metadata.labels['deputy/injected']).toBe('0.1.0')
  })
  test('puts the very container that a chart of one’s own includes', async () => {
    const text = await renderOwn({ values: 'sidecar', set: { callers } })
    const own: Pod = objectsIn(text).find(({ kind }) => kind === 'Pod')
    own.metadata.namespace = 'agents'
    // The names of the two releases differ.
    const source = JSON.stringify(own).replaceAll('own-deputy-sidecar', 'deputy-sidecar')
    const { spec } = await injected(JSON.parse(source))
    const { spec: theirs } = await injected(labelled('agents'))
    const without = (container: Pod): Pod => ({
      ...container,
      volumeMounts: container.volumeMounts.filter(({ name }: Pod) => !name.startsWith('kube-api')),
    })
    expect(spec.initContainers.map(without)).toEqual(theirs.initContainers.map(without))
    const ours = (pod: Pod): Pod =>
      pod.volumes.filter(({ name }: Pod) => name.startsWith('deputy-'))
    expect(ours(spec)).toEqual(ours(theirs))
  })
  test('gives the token to the agent’s containers and never to deputy', async () => {
    const { spec } = await injected(labelled('agents'))
    const mounted = (container: Pod): boolean =>
      names(container.volumeMounts).includes('deputy-identity')
    expect(spec.containers.map(mounted)).toEqual([true, true])
    expect(mounted(spec.initContainers[0])).toBe(false)
    const volume = spec.volumes.find(({ name }: Pod) => name === 'deputy-identity')
    expect(volume.projected.sources).toEqual([
      { serviceAccountToken: { audience: 'deputy', expirationSeconds: 600, path: 'token' } },
    ])
  })
  test('gives the token to those containers alone that an annotation names', async () => {
    const annotations = { 'deputy/agent-containers': 'agent' }
    const { spec } = await injected(labelled('agents', { annotations }))
    expect(
      spec.containers.map((each: Pod) => names(each.volumeMounts).includes('deputy-identity')),
    ).toEqual([true, false])
  })
  test('never puts a second one', async () => {
    const first = await injected(labelled('agents'))
    const again = {
      ...labelled('agents'),
      spec: {
        ...labelled('agents').spec,
        initContainers: first.spec.initContainers,
        volumes: first.spec.volumes,
      },
    }
    const { spec } = await injected(again)
    expect(names(spec.initContainers)).toEqual(['deputy'])
    const copied = await injected({
      ...first,
      metadata: { ...labelled('agents').metadata, labels: first.metadata.labels },
    })
    expect(names(copied.spec.initContainers)).toEqual(['deputy'])
  })
  test('leaves a pod without the label alone, which admission then refuses', async () => {
    const pod = labelled('agents')
    delete pod.metadata.labels
    expect((await create(pod)).message).toContain("an agent's pod needs the init container deputy")
  })
  test('gives a gateway’s agents the token and nothing else', async () => {
    const { spec } = await injected(labelled('crawlers'))
    expect(spec.initContainers).toBeUndefined()
    expect(names(agent({ spec }).volumeMounts)).toContain('deputy-identity')
  })
  test('takes the pods of helm test', async () => {
    for (const [values, namespace] of [
      ['sidecar', 'agents'],
      ['gateway', 'deputy'],
    ] as const) {
      const set =
        values === 'gateway' ? { callers, gateway: { agentNamespaces: ['crawlers'] } } : { callers }
      const tests = objectsIn(await render({ values, namespace, set })).filter(
        ({ kind }) => kind === 'Pod',
      )
      expect(tests.length).toBeGreaterThan(0)
      for (const each of tests) {
        const metadata = { ...(each['metadata'] as Tree), name: 'tried' }
        expect((await create({ ...each, metadata })).message).toBe('')
      }
    }
  })
})

describe.skipIf(MISSING !== null)('the lockdown', () => {
  const rendering = (namespace: string): Rendering => ({ values: 'sidecar-full', namespace })
  const podFor = async (namespace: string): Promise<Pod> =>
    objectsIn(await renderOwn(rendering(namespace))).find(
      ({ kind, metadata }) => kind === 'Pod' && at(metadata, 'name') === 'agent',
    )
  test('is refused where the namespace is restricted, and by whom', async () => {
    const { message } = await create(await podFor('released'))
    expect(message).toContain('violates PodSecurity "restricted')
    expect(message).toContain('deputy-lockdown')
    expect(message).not.toContain('"deputy"')
  })
  test('is taken where the namespace is privileged', async () => {
    expect((await create(await podFor('locked'))).message).toBe('')
  })
  test('is injected before deputy', async () => {
    await cluster.apply(await render(rendering('locked')))
    const spec = async (): Promise<Pod> => (await create(labelled('locked'))).body['spec']
    await happened(async () => (await spec())?.initContainers !== undefined)
    expect(names((await spec()).initContainers)).toEqual(['deputy-lockdown', 'deputy'])
  })
})

describe.skipIf(MISSING !== null)('a release', () => {
  const helm = (args: readonly string[], rendering?: Rendering): Promise<Ran> =>
    run(
      HELM,
      [
        `--kubeconfig=${cluster.kubeconfig}`,
        '--namespace=released',
        ...args,
        ...(rendering === undefined ? [] : [CHART, '--values', '-']),
      ],
      { input: rendering === undefined ? '' : valuesOf(rendering) },
    )
  const objects = async (kind: string): Promise<Tree> =>
    (await cluster.ask('GET', `/api/v1/namespaces/released/${kind}`)).body
  const gateway = {
    values: 'gateway',
    set: { gateway: { agentNamespaces: ['crawlers'] }, injection: { enabled: false } },
  }

  test('is refused while a Secret that it names is not there, or has no such key', async () => {
    const first = await helm(['install', 'deputy'], { values: 'sidecar' })
    expect(first.code).toBe(1)
    expect(first.err).toContain(
      'the Secret deputy-github is not in namespace released, and no pod that mounts it would start: make it first',
    )
    await cluster.apply(
      [
        ['deputy-github', ['client_secret']],
        ['deputy-keys', ['ring.json']],
        ['deputy-store', ['url']],
      ]
        .map(([name, keys]) =>
          JSON.stringify(secret(String(name), keys as readonly string[], 'released')),
        )
        .join('\n---\n'),
    )
    expect((await helm(['install', 'deputy'], { values: 'sidecar' })).err).toContain(
      'the Secret deputy-keys has no key keys.json',
    )
    expect((await helm(['list', '--short'])).out).toBe('')
    await cluster.apply(
      JSON.stringify(secret('deputy-keys', ['keys.json'], 'released')),
      '--force-conflicts',
    )
  })
  test('is installed, and says the next three commands', async () => {
    const { code, out, err } = await helm(['install', 'deputy'], { values: 'sidecar' })
    expect(code, err).toBe(0)
    expect(out.match(/^ {2}(?:kubectl|helm|curl) /gm)).toHaveLength(3)
  })
  test('does not become another mode: a sentence says what to do, and what is there stays', async () => {
    const before = await objects('configmaps')
    const { code, err } = await helm(['upgrade', 'deputy'], gateway)
    expect(code).toBe(1)
    expect(err).toContain(
      'mode: release deputy is a sidecar, whose pods still need what it made: install the gateway beside it under another name, move the agents, then uninstall deputy',
    )
    expect((await objects('configmaps'))['items']).toEqual(before['items'])
    expect((await helm(['history', 'deputy', '--output', 'json'])).out).toContain('"revision":1,')
  })
  test('has another mode beside it, whose objects are its own', async () => {
    const { code, err } = await helm(['install', 'second'], gateway)
    expect(code, err).toBe(0)
  })
  test('takes another configuration without new pods', async () => {
    const deployment = async (): Promise<unknown> =>
      at(
        (
          await cluster.ask(
            'GET',
            '/apis/apps/v1/namespaces/released/deployments/second-deputy-gateway',
          )
        ).body,
        'spec.template',
      )
    const before = await deployment()
    const set = { ...gateway.set, config: { telemetry: { log_level: 'debug' } } }
    const { code, err } = await helm(['upgrade', 'second'], { values: 'gateway', set })
    expect(code, err).toBe(0)
    expect(await deployment()).toEqual(before)
    const map = await cluster.ask(
      'GET',
      '/api/v1/namespaces/released/configmaps/second-deputy-gateway',
    )
    expect(at(map.body, 'data.deputy.yaml')).toBeUndefined()
    expect(JSON.stringify(map.body)).toContain('log_level: debug')
  })
})
