// A real Kubernetes API with its store, on loopback: no kubelet and no controller, so nothing runs there.
import { spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { missingProgram, quietPort, startProgram } from '../support/servers/server.ts'
import { KUBECTL, KUBERNETES, run } from './helm.ts'
import type { Ran } from './helm.ts'
import type { Tree } from '../docs.ts'

const PROGRAMS =
  process.env['DEPUTY_KUBERNETES'] ?? join(homedir(), `.cache/deputy-ci/kubernetes-${KUBERNETES}`)
export const NO_CLUSTER =
  missingProgram(join(PROGRAMS, 'kube-apiserver')) ?? missingProgram(KUBECTL)

export type Cluster = {
  readonly kubeconfig: string
  readonly issuer: string
  readonly kubectl: (args: readonly string[], input?: string) => Promise<Ran>
  /** Server-side apply, strict about fields that nobody knows. @throws Error with the answers */
  readonly apply: (text: string, ...args: readonly string[]) => Promise<void>
  /** The answer to a new object: null where it is taken, as a dry run. */
  readonly refusal: (object: Tree) => Promise<string | null>
  /** A namespace of one Pod Security level, with the account that pods run as. */
  readonly namespace: (name: string, level: string) => Promise<void>
  readonly close: () => Promise<void>
}

const ended = (child: ReturnType<typeof spawn>): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve()
    else child.once('close', () => resolve())
  })

const startApi = async (dir: string, etcd: string, port: number): Promise<() => Promise<void>> => {
  const child = spawn(
    join(PROGRAMS, 'kube-apiserver'),
    [
      `--etcd-servers=${etcd}`,
      ...['--bind-address=127.0.0.1', `--secure-port=${port}`, '--advertise-address=127.0.0.1'],
      ...[`--cert-dir=${dir}/certs`, `--token-auth-file=${dir}/tokens.csv`],
      ...['--authorization-mode=RBAC', '--endpoint-reconciler-type=none'],
      '--service-cluster-ip-range=10.96.0.0/24',
      `--service-account-issuer=https://127.0.0.1:${port}`,
      `--service-account-signing-key-file=${dir}/sa.key`,
      `--service-account-key-file=${dir}/sa.key`,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => void (said = `${said}${chunk.toString()}`.slice(-4_000)))
  const end = (): void => void child.kill('SIGTERM')
  process.once('exit', end)
  const stop = async (): Promise<void> => {
    process.off('exit', end)
    end()
    await ended(child)
  }
  const kubeconfig = `${dir}/kubeconfig`
  const ready = async (): Promise<boolean> =>
    (await run(KUBECTL, ['--kubeconfig', kubeconfig, 'get', '--raw', '/readyz'])).code === 0
  for (const late = Date.now() + 240_000; !(await ready());) {
    if (child.exitCode !== null || Date.now() > late) {
      await stop()
      throw new Error(`kube-apiserver does not serve: ${said}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  return stop
}

export const startCluster = async (): Promise<Cluster> => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-cluster-'))
  const [client, peer, port] = [await quietPort(), await quietPort(), await quietPort()]
  const [etcd, peers] = [`http://127.0.0.1:${client}`, `http://127.0.0.1:${peer}`]
  const issuer = `https://127.0.0.1:${port}`
  const token = randomBytes(24).toString('hex')
  const { privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  writeFileSync(`${dir}/sa.key`, privateKey, { mode: 0o600 })
  writeFileSync(`${dir}/tokens.csv`, `${token},admin,admin,system:masters\n`, { mode: 0o600 })
  writeFileSync(
    `${dir}/kubeconfig`,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'test',
      clusters: [
        {
          name: 'test',
          cluster: { server: issuer, 'certificate-authority': `${dir}/certs/apiserver.crt` },
        },
      ],
      users: [{ name: 'admin', user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
    }),
    { mode: 0o600 },
  )
  const stopEtcd = await startProgram({
    command: join(PROGRAMS, 'etcd'),
    args: [
      ...['--name', 'test', '--data-dir', `${dir}/etcd`, '--unsafe-no-fsync'],
      ...['--listen-client-urls', etcd, '--advertise-client-urls', etcd],
      ...['--listen-peer-urls', peers, '--initial-advertise-peer-urls', peers],
      ...['--initial-cluster', `test=${peers}`, '--log-level', 'error'],
    ],
    env: {},
    ready: `${etcd}/health`,
    withinMs: 120_000,
  })
  const stopApi = await startApi(dir, etcd, port).catch(async (error: unknown) => {
    await stopEtcd()
    throw error
  })
  const kubectl: Cluster['kubectl'] = (args, input = '') =>
    run(KUBECTL, ['--kubeconfig', `${dir}/kubeconfig`, ...args], { input })
  const apply: Cluster['apply'] = async (text, ...args) => {
    const ran = await kubectl(
      ['apply', '--server-side', '--validate=strict', '--filename', '-', ...args],
      text,
    )
    if (ran.code !== 0) throw new Error(ran.err)
  }
  return {
    kubeconfig: `${dir}/kubeconfig`,
    issuer,
    kubectl,
    apply,
    refusal: async (object) => {
      const args = ['create', '--dry-run=server', '--validate=strict', '--filename', '-']
      const { code, err } = await kubectl(args, JSON.stringify(object))
      return code === 0 ? null : err
    },
    namespace: async (name, level) => {
      const labels = { 'pod-security.kubernetes.io/enforce': level }
      const made = [
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } },
        { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: name } },
      ]
      await apply(made.map((object) => JSON.stringify(object)).join('\n---\n'))
    },
    close: async () => {
      await stopApi()
      await stopEtcd()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
