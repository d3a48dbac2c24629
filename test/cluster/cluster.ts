// A real Kubernetes API with its store, on loopback: no kubelet and no controller, so nothing runs there.
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../support/ports.ts'
import { missingProgram, startProgram } from '../support/servers/server.ts'
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

/** A policy acts a moment after it was taken. */
export const happened = async (check: () => Promise<boolean>): Promise<void> => {
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 50))
}

/** No path here has a space. */
const words = (text: string): readonly string[] => text.trim().split(/\s+/)

const startEtcd = (dir: string, at: string, peers: string): Promise<() => Promise<void>> =>
  startProgram({
    command: join(PROGRAMS, 'etcd'),
    args: words(`
      --name test --data-dir ${dir}/etcd --unsafe-no-fsync --log-level error
      --listen-client-urls ${at} --advertise-client-urls ${at} --listen-peer-urls ${peers}
      --initial-advertise-peer-urls ${peers} --initial-cluster test=${peers}`),
    env: {},
    ready: `${at}/health`,
    withinMs: 120_000,
  })

/** Privileged pods as kubeadm has it: what may not be is for namespaces to say. */
const startApi = (dir: string, etcd: string, issuer: string): Promise<() => Promise<void>> =>
  startProgram({
    command: join(PROGRAMS, 'kube-apiserver'),
    args: words(`
      --etcd-servers=${etcd} --endpoint-reconciler-type=none --service-cluster-ip-range=10.96.0.0/24
      --bind-address=127.0.0.1 --advertise-address=127.0.0.1 --secure-port=${new URL(issuer).port}
      --cert-dir=${dir}/certs --token-auth-file=${dir}/tokens.csv --authorization-mode=RBAC
      --service-account-issuer=${issuer} --service-account-signing-key-file=${dir}/sa.key
      --service-account-key-file=${dir}/sa.key --allow-privileged=true`),
    env: {},
    ready: async () =>
      (await run(KUBECTL, words(`--kubeconfig ${dir}/kubeconfig get --raw /readyz`))).code === 0,
    withinMs: 240_000,
  })

/** What the API server is given, and who may ask it. @returns the administrator's token */
const prepare = (dir: string, issuer: string): string => {
  const token = randomBytes(24).toString('hex')
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const server = { server: issuer, 'certificate-authority': `${dir}/certs/apiserver.crt` }
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    clusters: [{ name: 'test', cluster: server }],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
  }
  for (const [name, text] of [
    ['sa.key', privateKey.export({ type: 'pkcs8', format: 'pem' })],
    ['tokens.csv', `${token},admin,admin,system:masters\n`],
    ['kubeconfig', JSON.stringify(kubeconfig)],
  ] as const)
    writeFileSync(join(dir, name), text, { mode: 0o600 })
  return token
}

const asking =
  (origin: string, ca: Buffer, token: string): Cluster['ask'] =>
  (method, path, body) =>
    new Promise((resolve, reject) => {
      const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
      const headers = { authorization: `Bearer ${token}`, 'content-type': type }
      const sent = request(`${origin}${path}`, { method, headers, ca }, (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('end', () => {
          const parsed: unknown = JSON.parse(Buffer.concat(chunks).toString())
          const whole = isTree(parsed) ? parsed : {}
          const { message } = whole
          const said = typeof message === 'string' ? message : ''
          resolve({ status: answer.statusCode ?? 0, body: whole, message: said })
        })
      })
      sent.once('error', reject)
      sent.end(body === undefined ? undefined : JSON.stringify(body))
    })

export const startCluster = async (): Promise<Cluster> => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-cluster-'))
  const [etcd, peers] = [await freePort(), await freePort()].map(
    (port) => `http://127.0.0.1:${port}`,
  ) as [string, string]
  const issuer = `https://127.0.0.1:${await freePort()}`
  const token = prepare(dir, issuer)
  const stopEtcd = await startEtcd(dir, etcd, peers)
  const stopApi = await startApi(dir, etcd, issuer).catch(async (error: unknown) => {
    await stopEtcd()
    throw error
  })
  const kubectl: Cluster['kubectl'] = (args, input = '') =>
    run(KUBECTL, ['--kubeconfig', `${dir}/kubeconfig`, ...args], { input })
  const ask = asking(issuer, readFileSync(`${dir}/certs/apiserver.crt`), token)
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
