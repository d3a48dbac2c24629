// A real Kubernetes API with its store, on loopback: no kubelet and no controller, so nothing runs there.
import { spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { missingProgram, quietPort, startProgram } from '../support/servers/server.ts'
import { KUBECTL, KUBERNETES, run } from './helm.ts'
import type { Ran } from './helm.ts'
import { isTree } from '../docs.ts'
import type { Tree } from '../docs.ts'

const PROGRAMS =
  process.env['DEPUTY_KUBERNETES'] ?? join(homedir(), `.cache/deputy-ci/kubernetes-${KUBERNETES}`)
const CRDS = join(PROGRAMS, 'crds')
export const NO_CLUSTER =
  missingProgram(join(PROGRAMS, 'kube-apiserver')) ??
  missingProgram(CRDS) ??
  missingProgram(KUBECTL)

export type Answer = { readonly status: number; readonly body: Tree; readonly message: string }
export type Cluster = {
  readonly kubeconfig: string
  readonly issuer: string
  readonly kubectl: (args: readonly string[], input?: string) => Promise<Ran>
  /** Server-side apply, strict about fields that nobody knows. @throws Error with the answers */
  readonly apply: (text: string, ...args: readonly string[]) => Promise<void>
  /** A request to the API itself; 2xx or not. */
  readonly ask: (method: string, path: string, body?: unknown) => Promise<Answer>
  /** The kinds of the Prometheus operator and of the Gateway API. */
  readonly operators: () => Promise<void>
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
      // As kubeadm has it: what may not be privileged is for namespaces to say.
      ...['--service-cluster-ip-range=10.96.0.0/24', '--allow-privileged=true'],
      `--service-account-issuer=https://127.0.0.1:${port}`,
      `--service-account-signing-key-file=${dir}/sa.key`,
      `--service-account-key-file=${dir}/sa.key`,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let said = ''
  child.stderr.on(
    'data',
    (chunk: Buffer) => void (said = `${said}${chunk.toString()}`.slice(-4_000)),
  )
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

const asking =
  (origin: string, certificate: string, token: string): Cluster['ask'] =>
  (method, path, body) =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
      const options = { method, headers, ca: readFileSync(certificate) }
      const sent = request(`${origin}${path}`, options, (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('end', () => {
          const parsed: unknown = JSON.parse(Buffer.concat(chunks).toString())
          const whole = isTree(parsed) ? parsed : {}
          resolve({
            status: answer.statusCode ?? 0,
            body: whole,
            message: String(whole['message'] ?? ''),
          })
        })
      })
      sent.once('error', reject)
      sent.end(body === undefined ? undefined : JSON.stringify(body))
    })

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
  const ask = asking(issuer, `${dir}/certs/apiserver.crt`, token)
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
    ask,
    operators: async () => {
      const files = readdirSync(CRDS).map((name) => readFileSync(join(CRDS, name), 'utf8'))
      await apply(files.join('\n---\n'))
    },
    namespace: async (name, level) => {
      const labels = { 'pod-security.kubernetes.io/enforce': level }
      const made = [
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } },
        {
          apiVersion: 'v1',
          kind: 'ServiceAccount',
          metadata: { name: 'default', namespace: name },
        },
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
