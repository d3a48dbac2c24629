// Which pods a real API server takes: each expression of the admission policies refuses a pod that all others would take.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isTree } from '../docs.ts'
import { NO_CLUSTER, happened, startCluster } from './cluster.ts'
import type { Cluster } from './cluster.ts'
import { NO_HELM, at, objectsIn, render, renderOwn } from './helm.ts'
import type { Rendering } from './helm.ts'
import * as pods from './pods.ts'
import type { Case, Pod } from './pods.ts'

const MISSING = NO_HELM ?? NO_CLUSTER
const callers = { enabled: true, issuer: 'https://cluster.example.com' }
/** Namespaces that Pod Security does not look at, so that only the chart's policies answer. */
const RELEASES = {
  sidecar: {
    values: 'sidecar',
    namespace: 'agents',
    set: {
      callers,
      keys: { existingSecret: '', secretProviderClass: 'deputy-keys' },
      state: { existingClaim: 'deputy-claim' },
      injection: { enabled: false },
    },
  },
  lockdown: {
    values: 'sidecar-full',
    namespace: 'locked',
    set: { injection: { enabled: false }, state: { existingClaim: 'deputy-claim' } },
  },
  gateway: {
    values: 'gateway',
    namespace: 'deputy',
    set: { callers, gateway: { agentNamespaces: ['crawlers'] } },
  },
} as const satisfies Readonly<Record<string, Rendering>>

const plain = (namespace: string): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'plain', namespace, labels: {} },
  spec: {
    securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [pods.beside('agent')],
  },
})
const podIn = (text: string): Pod =>
  objectsIn(text).find((each) => each['kind'] === 'Pod' && at(each, 'metadata.name') === 'agent')
const second = (pod: Pod): Pod => {
  const found = pod.spec.initContainers.find(({ name }: Pod) => name === 'second')
  if (found !== undefined) return found
  pod.spec.initContainers.push(pods.beside('second'))
  return second(pod)
}
const debug = (pod: Pod): Pod => (pod.spec.ephemeralContainers ??= [pods.beside('debug')])[0]
const labelled = (pod: Pod): Pod => {
  pod.metadata.labels = { 'deputy/inject': 'true' }
  return pod
}

const rendered =
  MISSING === null
    ? {
        sidecar: await renderOwn(RELEASES.sidecar),
        lockdown: await renderOwn(RELEASES.lockdown),
        gateway: await render(RELEASES.gateway),
      }
    : { sidecar: '', lockdown: '', gateway: '' }

/** A policy, by its name; a pod that it takes; pods that it does not. */
type Subject = {
  readonly policy: string
  readonly from: keyof typeof RELEASES
  readonly good: () => Pod
  readonly cases: readonly Case[]
}
const SUBJECTS: readonly Subject[] = [
  {
    policy: 'own-deputy-sidecar.agents',
    from: 'sidecar',
    good: () => podIn(rendered.sidecar),
    cases: [
      ...pods.AROUND,
      ...[pods.agent, second].flatMap((of) => [
        ...pods.containers(of),
        ...pods.mounts(of),
        ...pods.env(of),
      ]),
      ...pods.INHERITED,
      ...pods.SIDECAR,
      ...pods.VOLUMES,
    ],
  },
  {
    policy: 'own-deputy-sidecar.locked',
    from: 'lockdown',
    good: () => podIn(rendered.lockdown),
    cases: [
      ...pods.AROUND,
      ...pods.containers(pods.agent),
      ...pods.mounts(pods.agent),
      ...pods.env(pods.agent),
      ...pods.SIDECAR,
      ...pods.LOCKDOWN,
      ...pods.VOLUMES,
    ],
  },
  {
    policy: 'own-deputy-sidecar.locked-others',
    from: 'lockdown',
    good: () => plain('locked'),
    cases: [...pods.env(pods.agent), ...pods.VOLUMES],
  },
  {
    policy: 'deputy-gateway.deputy',
    from: 'gateway',
    good: () => labelled(plain('crawlers')),
    cases: [
      ["each pod of this namespace is an agent's", (pod) => void delete pod.metadata.labels],
      ...pods.AROUND,
      ...pods.containers(pods.agent),
    ],
  },
]

const RUNNING_IN = { sidecar: 'agents', lockdown: 'locked', gateway: 'crawlers' } as const

let cluster: Cluster
const create = async (pod: Pod): Promise<string | null> => {
  const path = `/api/v1/namespaces/${pod.metadata.namespace}/pods?dryRun=All&fieldValidation=Strict`
  const { status, message } = await cluster.ask('POST', path, pod)
  return status === 201 ? null : message
}
beforeAll(async () => {
  if (MISSING !== null) return
  cluster = await startCluster()
  await cluster.operators()
  for (const name of ['agents', 'locked', 'deputy', 'crawlers'])
    await cluster.namespace(name, 'privileged')
  for (const text of Object.values(rendered)) await cluster.apply(text)
  for (const { good } of SUBJECTS) {
    const bad = good()
    pods.VOLUMES[0]?.[1](bad)
    bad.spec.hostNetwork = true
    await happened(async () => (await create(bad)) !== null)
  }
})
afterAll(() => cluster?.close())

const expressionsOf = (policy: string, text: string): readonly string[] => {
  const found = objectsIn(text).find(
    (each) => each['kind'] === 'ValidatingAdmissionPolicy' && at(each, 'metadata.name') === policy,
  )
  const validations = at(found, 'spec.validations')
  if (!Array.isArray(validations)) throw new Error(`no policy ${policy} was rendered`)
  return validations.filter(isTree).map(({ message }) => String(message))
}
const uncovered = (policy: string, text: string, cases: readonly Case[]): readonly string[] =>
  expressionsOf(policy, text).filter((message) => !cases.some(([says]) => message.startsWith(says)))

describe.skipIf(MISSING !== null).each(SUBJECTS)(
  'the policy $policy',
  ({ policy, from, good, cases }) => {
    const denied = `ValidatingAdmissionPolicy '${policy}' with binding '${policy}' denied request: `
    test('takes a pod that is right', async () => {
      const pod = good()
      pod.metadata.name = 'another'
      expect(await create(pod)).toBeNull()
    })
    test('has a refusing test for each of its expressions', () => {
      expect(uncovered(policy, rendered[from], cases)).toEqual([])
    })
    test.each(cases)('refuses: %s', async (says, change) => {
      const pod = good()
      change(pod)
      expect(await create(pod)).toContain(`${denied}${says}`)
    })
  },
)

/** A pod that runs, or would, and changes to it that are refused: by a new version of it, or by a container put beside. */
const RUNNING: readonly Subject[] = [
  {
    policy: 'own-deputy-sidecar.agents-running',
    from: 'sidecar',
    good: () => podIn(rendered.sidecar),
  },
  {
    policy: 'own-deputy-sidecar.locked-running',
    from: 'lockdown',
    good: () => podIn(rendered.lockdown),
  },
  {
    policy: 'deputy-gateway.deputy-running',
    from: 'gateway',
    good: () => labelled(plain('crawlers')),
  },
].map((subject): Subject => {
  const sidecar = subject.from !== 'gateway'
  return {
    ...subject,
    cases: [
      ["an agent's pod stays one", (pod) => void delete pod.metadata.labels['deputy/inject']],
      ...pods.containers(debug),
      ...(sidecar ? [...pods.RUNNING, ...pods.mounts(debug), ...pods.env(debug)] : []),
      ...(subject.from === 'lockdown' ? pods.RUNNING_LOCKDOWN : []),
    ],
  } as Subject
})
describe.skipIf(MISSING !== null).each(RUNNING)(
  'the policy $policy',
  ({ policy, from, good, cases }) => {
    const path = `/api/v1/namespaces/${RUNNING_IN[from]}/pods/running`
    const found = async (): Promise<Pod> => (await cluster.ask('GET', path)).body
    const replace = async (pod: Pod): Promise<string | null> => {
      const at_ = pod.spec.ephemeralContainers === undefined ? path : `${path}/ephemeralcontainers`
      const { status, message } = await cluster.ask('PUT', `${at_}?dryRun=All`, pod)
      return status === 200 ? null : message
    }
    beforeAll(async () => {
      const pod = good()
      pod.metadata.name = 'running'
      // Each container says its own uid, so that a container that is put beside them inherits none.
      pods.agent(pod).securityContext.runAsUser = 1000
      delete pod.spec.securityContext.runAsUser
      const { status, message } = await cluster.ask('POST', path.replace(/\/running$/, ''), pod)
      expect(message).toBe('')
      expect(status).toBe(201)
    })
    test('takes changes that are right', async () => {
      const pod = await found()
      pod.metadata.labels['other'] = 'label'
      pods.agent(pod).image = 'agent:2'
      expect(await replace(pod)).toBeNull()
      debug(pod)
      expect(await replace(pod)).toBeNull()
    })
    test('has a refusing test for each of its expressions', () => {
      expect(uncovered(policy, rendered[from], cases)).toEqual([])
    })
    test.each(cases)('refuses: %s', async (says, change) => {
      const pod = await found()
      change(pod)
      expect(await replace(pod)).toContain(
        `ValidatingAdmissionPolicy '${policy}' with binding '${policy}' denied request: ${says}`,
      )
    })
  },
)

test.skipIf(MISSING !== null)('no policy is without its tests', () => {
  const made = Object.values(rendered).flatMap((text) =>
    objectsIn(text)
      .filter(({ kind }) => kind === 'ValidatingAdmissionPolicy')
      .map((policy) => String(at(policy, 'metadata.name'))),
  )
  const tried = [...SUBJECTS, ...RUNNING].map(({ policy }) => policy)
  // The same policy as the one that is tried in another namespace.
  const alike = ['own-deputy-sidecar.agents-exec', 'own-deputy-sidecar.locked-exec']
  expect(made.toSorted()).toEqual([...tried, ...alike].toSorted())
})

describe.skipIf(MISSING !== null)('a command in a container that runs', () => {
  const POLICY = 'own-deputy-sidecar.agents-exec'
  const ask = async (what: string, container: string): Promise<string> => {
    const query = `container=${container}&command=node`
    const path = `/api/v1/namespaces/agents/pods/agent/${what}?${query}`
    return (await cluster.ask('POST', path)).message
  }
  test.each(['exec', 'attach'])('is refused where it is deputy: %s', async (what) => {
    expect(await ask(what, 'deputy')).toContain(
      `ValidatingAdmissionPolicy '${POLICY}' with binding '${POLICY}' denied request: a command in deputy's container`,
    )
    // Nothing runs here, so what is admitted finds no machine.
    expect(await ask(what, 'agent')).toContain('pod agent does not have a host assigned')
  })
  test('has a refusing test for each of its expressions', () => {
    expect(expressionsOf(POLICY, rendered.sidecar)).toHaveLength(1)
  })
})

describe.skipIf(MISSING !== null)('a pod beside the agents, which runs', () => {
  const path = '/api/v1/namespaces/locked/pods/bystander'
  const replaced = async (where: string, change: (pod: Pod) => void): Promise<string> => {
    const pod: Pod = (await cluster.ask('GET', path)).body
    change(pod)
    return (await cluster.ask('PUT', `${where}?dryRun=All`, pod)).message
  }
  beforeAll(async () => {
    const pod = plain('locked')
    pod.metadata.name = 'bystander'
    expect((await cluster.ask('POST', path.replace(/\/bystander$/, ''), pod)).message).toBe('')
  })
  test('is debugged by a container that has nothing of deputy', async () => {
    expect(await replaced(`${path}/ephemeralcontainers`, debug)).toBe('')
  })
  test.each(pods.env(debug))('is debugged by no other: %s', async (says, change) => {
    const policy = 'own-deputy-sidecar.locked-others'
    expect(await replaced(`${path}/ephemeralcontainers`, change)).toContain(
      `ValidatingAdmissionPolicy '${policy}' with binding '${policy}' denied request: ${says}`,
    )
  })
  test('becomes no agent: the rules for one saw nothing of it', async () => {
    expect(await replaced(path, labelled)).toContain('and no other becomes one while it runs')
  })
})
