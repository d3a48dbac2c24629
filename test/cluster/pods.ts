// Pods that the admission policies must refuse, each wrong in one thing, by the beginning of what is said about it.

/** A pod as JSON, changed at any depth by a test. */
// oxlint-disable-next-line typescript/no-explicit-any
export type Pod = any
export type Case = readonly [says: string, change: (pod: Pod) => void]

export const agent = (pod: Pod): Pod => pod.spec.containers[0]
const init = (name: string) => (pod: Pod) =>
  pod.spec.initContainers.find((each: Pod) => each.name === name)
const deputy = init('deputy')
const lockdown = init('deputy-lockdown')
const volume = (pod: Pod, name: string): Pod =>
  pod.spec.volumes.find((each: Pod) => each.name === name)
export const beside = (name: string): Pod => ({
  name,
  image: 'x',
  securityContext: {
    runAsUser: 1000,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
  },
})

/** What else is in the pod that is of another source. */
const added =
  (source: Pod) =>
  ({ spec }: Pod): void =>
    void (spec.volumes ??= []).push({ name: 'mine', ...source })

export const AROUND: readonly Case[] = [
  ["a pod on the node's network", ({ spec }) => void (spec.hostNetwork = true)],
  ["a pod that sees the node's processes", ({ spec }) => void (spec.hostPID = true)],
  ["a pod that shares the node's memory", ({ spec }) => void (spec.hostIPC = true)],
  ['with a shared process namespace', ({ spec }) => void (spec.shareProcessNamespace = true)],
  ['a folder of the node', added({ hostPath: { path: '/' } })],
]

/** @param of finds the container that is wrong, or makes it */
export const containers = (of: (pod: Pod) => Pod): readonly Case[] => [
  [
    "each container of an agent's pod must say its uid",
    (pod) => {
      delete of(pod).securityContext.runAsUser
      delete pod.spec.securityContext.runAsUser
    },
  ],
  [
    "no container of an agent's pod may run as root",
    (pod) => void (of(pod).securityContext.runAsUser = 0),
  ],
  ["uid 65532 is deputy's own", (pod) => void (of(pod).securityContext.runAsUser = 65_532)],
  [
    "a container of an agent's pod is privileged",
    (pod) => void delete of(pod).securityContext.allowPrivilegeEscalation,
  ],
  [
    "a container of an agent's pod is privileged",
    (pod) => {
      delete of(pod).securityContext.allowPrivilegeEscalation
      of(pod).securityContext.privileged = true
    },
  ],
  [
    'added capabilities are a way round',
    (pod) => void (of(pod).securityContext.capabilities.add = ['NET_RAW']),
  ],
  [
    "each container of an agent's pod must give up",
    (pod) => void delete of(pod).securityContext.capabilities,
  ],
  [
    "each container of an agent's pod must give up",
    (pod) => void (of(pod).securityContext.capabilities.drop = ['KILL']),
  ],
]

/** What a container inherits from its pod. */
export const INHERITED: readonly Case[] = [
  [
    "no container of an agent's pod may run as root",
    ({ spec }) => void (spec.securityContext.runAsUser = 0),
  ],
  ["uid 65532 is deputy's own", ({ spec }) => void (spec.securityContext.runAsUser = 65_532)],
]

/** Deputy's volumes in another container. */
export const mounts = (of: (pod: Pod) => Pod): readonly Case[] =>
  ['deputy-state', 'deputy-secret-keys'].map((name) => [
    'volumes whose names begin with deputy- hold',
    (pod) => void (of(pod).volumeMounts = [{ name, mountPath: '/mine' }]),
  ])

/** Deputy's Secrets in the environment of another container. */
export const env = (of: (pod: Pod) => Pod): readonly Case[] => [
  [
    "a Secret of deputy's is read into env",
    (pod) =>
      void (of(pod).env = [
        { name: 'A', valueFrom: { secretKeyRef: { name: 'deputy-github', key: 'client_secret' } } },
      ]),
  ],
  [
    "a Secret of deputy's is read into the environment",
    (pod) => void (of(pod).envFrom = [{ secretRef: { name: 'deputy-store' } }]),
  ],
]

/** Deputy's Secrets in a volume of another name. */
export const VOLUMES: readonly Case[] = [
  ["a Secret of deputy's is a volume under", added({ secret: { secretName: 'deputy-github' } })],
  [
    "a Secret of deputy's is a source of a projected volume",
    added({ projected: { sources: [{ secret: { name: 'deputy-github' } }] } }),
  ],
  [
    "a SecretProviderClass of deputy's",
    added({
      csi: {
        driver: 'secrets-store.csi.k8s.io',
        readOnly: true,
        volumeAttributes: { secretProviderClass: 'deputy-keys' },
      },
    }),
  ],
  ["deputy's claim is a volume", added({ persistentVolumeClaim: { claimName: 'deputy-claim' } })],
]

const ITEMS = [{ key: 'deputy.yaml', path: 'people.yaml' }]
export const SIDECAR: readonly Case[] = [
  [
    "an agent's pod needs the init container deputy",
    ({ spec }) => void spec.initContainers.splice(spec.initContainers.length - 1, 1),
  ],
  [
    'deputy must start before everything else',
    ({ spec }) =>
      void spec.initContainers.splice(spec.initContainers.length - 1, 0, beside('first')),
  ],
  [
    'deputy must run as long as the agent',
    (pod) => {
      for (const key of ['restartPolicy', 'startupProbe', 'readinessProbe', 'livenessProbe'])
        delete deputy(pod)[key]
    },
  ],
  ['the image of the init container deputy must be', (pod) => void (deputy(pod).image = 'mine:1')],
  ["a command in place of deputy's own", (pod) => void (deputy(pod).command = ['node', '-e', '1'])],
  [
    "the init container deputy must serve the chart's",
    (pod) => void (deputy(pod).args = ['serve']),
  ],
  [
    "the environment of deputy is the chart's: remove envFrom",
    (pod) => void (deputy(pod).envFrom = [{ configMapRef: { name: 'mine' } }]),
  ],
  [
    "the environment of deputy is the chart's: leave its env",
    (pod) => void deputy(pod).env.push({ name: 'NODE_OPTIONS', value: '--inspect' }),
  ],
  [
    "the environment of deputy is the chart's: leave its env",
    (pod) => void (deputy(pod).env = [{ name: 'POD_UID', value: 'of-another' }]),
  ],
  [
    'a hook of lifecycle runs',
    (pod) =>
      void (deputy(pod).lifecycle = { postStart: { exec: { command: ['node', '-e', '1'] } } }),
  ],
  ...['startupProbe', 'readinessProbe', 'livenessProbe'].map((probe): Case => [
    'a probe that runs a command',
    (pod) => void (deputy(pod)[probe] = { exec: { command: ['node', '-e', '1'] } }),
  ]),
  [
    'deputy mounts its own volumes and no other',
    (pod) => {
      added({ emptyDir: {} })(pod)
      deputy(pod).volumeMounts.push({ name: 'mine', mountPath: '/mine' })
    },
  ],
  [
    'deputy mounts its own volumes and no other',
    (pod) => void (deputy(pod).volumeMounts[0].subPath = 'deputy.yaml'),
  ],
  [
    'the init container deputy must run as uid',
    (pod) => void (deputy(pod).securityContext.runAsUser = 65_531),
  ],
  [
    'the init container deputy must be unable to gain',
    (pod) => void delete deputy(pod).securityContext.allowPrivilegeEscalation,
  ],
  [
    'the init container deputy runs without capabilities',
    (pod) => void (deputy(pod).securityContext.capabilities.add = ['NET_RAW']),
  ],
  ...[
    { name: 'deputy-config', configMap: { name: 'mine' } },
    { name: 'deputy-config', configMap: { name: 'own-deputy-sidecar', items: ITEMS } },
    { name: 'deputy-secret-github', secret: { secretName: 'mine' } },
    { name: 'deputy-secret-github', secret: { secretName: 'deputy-github', items: ITEMS } },
    { name: 'deputy-state', nfs: { server: '192.0.2.1', path: '/' } },
    { name: 'deputy-identity', emptyDir: {} },
  ].map((mine): Case => [
    'volumes whose names begin with deputy- are the chart',
    (pod) => void (pod.spec.volumes[pod.spec.volumes.indexOf(volume(pod, mine.name))] = mine),
  ]),
  [
    'volumes whose names begin with deputy- are the chart',
    ({ spec }) => void spec.volumes.push({ name: 'deputy-mine', emptyDir: {} }),
  ],
]

export const LOCKDOWN: readonly Case[] = [
  [
    'the rules of the lockdown must hold before',
    ({ spec }) => void (spec.initContainers[0] = beside('first')),
  ],
  [
    'the image of the init container deputy-lockdown must be',
    (pod) => void (lockdown(pod).image = 'mine:1'),
  ],
  [
    "the init container deputy-lockdown must load the chart's rules",
    (pod) => void (lockdown(pod).command = ['nft', 'flush', 'ruleset']),
  ],
  [
    "the init container deputy-lockdown loads the chart's rules and no others",
    (pod) => void (lockdown(pod).args = ['--check']),
  ],
  [
    'the init container deputy-lockdown has no environment',
    (pod) => void (lockdown(pod).env = [{ name: 'LD_PRELOAD', value: '/mine' }]),
  ],
  [
    'the init container deputy-lockdown has no environment',
    (pod) => void (lockdown(pod).envFrom = [{ configMapRef: { name: 'mine' } }]),
  ],
  [
    'the init container deputy-lockdown loads rules and ends',
    (pod) => void (lockdown(pod).restartPolicy = 'Always'),
  ],
  [
    'the init container deputy-lockdown mounts its rules',
    (pod) =>
      void (lockdown(pod).volumeMounts = [
        { name: 'deputy-state', mountPath: '/etc/deputy-lockdown' },
      ]),
  ],
  [
    'the init container deputy-lockdown mounts its rules',
    (pod) => {
      pod.spec.volumes.push({ name: 'kube-api-access-mine', configMap: { name: 'mine' } })
      lockdown(pod).volumeMounts = [
        { name: 'kube-api-access-mine', mountPath: '/etc/deputy-lockdown' },
      ]
    },
  ],
  [
    'the init container deputy-lockdown must be unable',
    (pod) => void delete lockdown(pod).securityContext.allowPrivilegeEscalation,
  ],
  [
    'the init container deputy-lockdown has NET_ADMIN',
    (pod) => void lockdown(pod).securityContext.capabilities.add.push('NET_RAW'),
  ],
  [
    'the init container deputy-lockdown has NET_ADMIN',
    (pod) => void delete lockdown(pod).securityContext.capabilities.add,
  ],
]

/** Changes to a pod that runs. */
export const RUNNING: readonly Case[] = [
  ['the image of a running deputy', (pod) => void (deputy(pod).image = 'mine:1')],
  [
    'a container that targets deputy',
    ({ spec }) =>
      void (spec.ephemeralContainers = [{ ...beside('debug'), targetContainerName: 'deputy' }]),
  ],
]
export const RUNNING_LOCKDOWN: readonly Case[] = [
  ['the image of a running deputy', (pod) => void (lockdown(pod).image = 'mine:1')],
]
