// The commands of docs/operate/install.md, as they stand there, in their order, at a real Kubernetes API.
import { chmodSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isTree } from '../docs.ts'
import type { Tree } from '../docs.ts'
import { NO_CLUSTER, startCluster } from './cluster.ts'
import type { Cluster } from './cluster.ts'
import { HELM, KUBECTL, NO_HELM, at, run } from './helm.ts'

const MISSING = NO_HELM ?? NO_CLUSTER
const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const BOOK = readFileSync(join(ROOT, 'docs/operate/install.md'), 'utf8')
const blocks = [...BOOK.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block = '']) => block)
const headingOf = (block: string): string =>
  [...BOOK.slice(0, BOOK.indexOf(block)).matchAll(/^#+ (.*)$/gm)].at(-1)?.[1] ?? ''

const list = (answer: Tree): readonly Tree[] =>
  Array.isArray(answer['items']) ? answer['items'].filter(isTree) : []
/**
 * In the place of controllers and kubelet, which this cluster has not: makes each namespace's account and one pod of each
 * Deployment's template; what is admitted counts as available, and pods that end have succeeded.
 */
const standIn = async ({ ask }: Cluster): Promise<void> => {
  for (const { metadata } of list((await ask('GET', '/api/v1/namespaces')).body)) {
    const path = `/api/v1/namespaces/${String(at(metadata, 'name'))}`
    await ask('POST', `${path}/serviceaccounts`, { metadata: { name: 'default' } })
    for (const pod of list((await ask('GET', `${path}/pods`)).body))
      if (at(pod, 'spec.restartPolicy') === 'Never')
        await ask('PATCH', `${path}/pods/${String(at(pod, 'metadata.name'))}/status`, {
          status: { phase: 'Succeeded' },
        })
  }
  for (const deployment of list((await ask('GET', '/apis/apps/v1/deployments')).body)) {
    const [name, namespace] = [
      at(deployment, 'metadata.name'),
      at(deployment, 'metadata.namespace'),
    ]
    const template = at(deployment, 'spec.template')
    if (!isTree(template)) continue
    const pod = {
      ...template,
      metadata: { ...(template['metadata'] as Tree), name: `${String(name)}-1` },
    }
    const made = await ask('POST', `/api/v1/namespaces/${String(namespace)}/pods?dryRun=All`, pod)
    if (made.status !== 201) continue
    const replicas = at(deployment, 'spec.replicas')
    const observedGeneration = at(deployment, 'metadata.generation')
    const path = `/apis/apps/v1/namespaces/${String(namespace)}/deployments/${String(name)}/status`
    const counts = {
      replicas,
      updatedReplicas: replicas,
      readyReplicas: replicas,
      availableReplicas: replicas,
    }
    await ask('PATCH', path, { status: { observedGeneration, ...counts } })
  }
}

describe.skipIf(MISSING !== null)('install.md', () => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-install-'))
  const going = { on: true }
  let cluster: Cluster
  let standing: Promise<void>
  beforeAll(async () => {
    if (MISSING !== null) return
    cluster = await startCluster()
    standing = (async () => {
      while (going.on) {
        await standIn(cluster)
        await new Promise((resolve) => setTimeout(resolve, 200))
      }
    })()
    symlinkSync(join(ROOT, 'helm'), join(dir, 'helm'))
    symlinkSync(KUBECTL, join(dir, 'kubectl'))
    writeFileSync(
      join(dir, 'deputy'),
      `#!/bin/sh\nexec '${process.execPath}' '${ROOT}bin/deputy.js' "$@"\n`,
    )
    chmodSync(join(dir, 'deputy'), 0o755)
  })
  afterAll(async () => {
    going.on = false
    await standing
    await cluster?.close()
    rmSync(dir, { recursive: true, force: true })
  })

  test.each(blocks.map((block) => [headingOf(block), block]))('%s', async (_, block) => {
    // `helm` is the name of the folder beside it, too.
    const script = `helm() { '${HELM}' "$@"; }\n${block}`
    const { code, out, err } = await run(
      'bash',
      ['-euo', 'pipefail', '-c', `cd '${dir}'\n${script}`],
      {
        env: { KUBECONFIG: cluster.kubeconfig, PATH: `${dir}:${process.env['PATH'] ?? ''}` },
      },
    )
    expect(code, `${out}${err}`).toBe(0)
  })
  test('shows the very template that the tests include', () => {
    const [, shown = ''] = /^```yaml-template\n([^]*?)^```$/m.exec(BOOK) ?? []
    expect(shown.length).toBeGreaterThan(100)
    expect(readFileSync(join(ROOT, 'test/cluster/own/templates/agent.yaml'), 'utf8')).toContain(
      shown,
    )
  })
  test('leaves an agent with deputy before it, which believes the cluster’s tokens', async () => {
    const { body } = await cluster.ask('GET', '/api/v1/namespaces/agents/configmaps/deputy-sidecar')
    const said = JSON.stringify(body)
    expect(said).toContain(`issuer: ${cluster.issuer}`)
    expect(said).toContain('/kubernetes.io/pod/uid: ${env:POD_UID}')
    expect(said).toContain('log_level: debug')
  })
})
