// The files of a pod as the kubelet would make them from rendered volumes, in a folder that stands for the container's root.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isTree } from '../docs.ts'
import type { Tree } from '../docs.ts'
import { makeCertificate } from '../support/certificate.ts'
import { BUNDLE } from '../support/deputy.ts'
import { at, run } from './helm.ts'

export const DEPUTY = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
/** Where the image has it. */
const IMAGE_BUNDLE = '/opt/deputy-proxy/policies/bundle.tar.gz'
/** What the Secrets of `ci/` hold, by the folder that they are mounted at. */
const SECRETS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  github: { client_secret: 'x' },
  notes: { client_secret: 'x', pages_secret: 'x', bearer: 'x'.repeat(32) },
}
/** Paths of the container in a configuration, and ports, of which this machine has other free ones. */
const PATHS =
  /(?<=[ :])(?:\/etc\/deputy|\/run\/secrets\/deputy|\/var\/lib\/deputy|\/opt\/deputy-proxy)/g
const PORTS = /(?<=: (?:0\.0\.0\.0|127\.0\.0\.1)):7\d{3}$/gm

const list = (value: unknown): readonly Tree[] => (Array.isArray(value) ? value.filter(isTree) : [])
/** The pod that an agent's own chart renders, or that of the Deployment. */
const podOf = (objects: readonly Tree[]): unknown => {
  const own = objects.find(
    (each) => each['kind'] === 'Pod' && at(each, 'metadata.name') === 'agent',
  )
  const deployment = objects.find(({ kind }) => kind === 'Deployment')
  return at(own, 'spec') ?? at(deployment, 'spec.template.spec')
}

/**
 * @param root an empty folder
 * @param store what the Secret of the database holds
 * @returns the configuration's path, and what the container is started with
 */
export const materialise = async (
  objects: readonly Tree[],
  root: string,
  store: string,
): Promise<{
  readonly config: string
  readonly args: unknown
  readonly env: Readonly<Record<string, string>>
}> => {
  const pod = podOf(objects)
  const container = [...list(at(pod, 'initContainers')), ...list(at(pod, 'containers'))].find(
    ({ name }) => name === 'deputy',
  )
  const secrets = { ...SECRETS, store: { url: store, uri: store } }
  for (const { name, mountPath } of list(at(container, 'volumeMounts'))) {
    const folder = join(root, String(mountPath))
    mkdirSync(folder, { recursive: true })
    const volume = list(at(pod, 'volumes')).find((each) => each['name'] === name)
    const map = objects.find(
      (each) =>
        each['kind'] === 'ConfigMap' && at(each, 'metadata.name') === at(volume, 'configMap.name'),
    )
    const secret = at(secrets, String(mountPath).replace('/run/secrets/deputy/', ''))
    for (const [file, text] of Object.entries({ ...(map?.['data'] as Tree), ...(secret as Tree) }))
      writeFileSync(join(folder, file), String(text))
    if (name === 'deputy-secret-tls') makeCertificate(folder)
    if (name === 'deputy-policy') copyFileSync(BUNDLE, join(folder, 'bundle.tar.gz'))
  }
  await run(process.execPath, [
    DEPUTY,
    'keygen',
    '--out',
    join(root, 'run/secrets/deputy/keys/keys.json'),
  ])
  mkdirSync(dirname(join(root, IMAGE_BUNDLE)), { recursive: true })
  copyFileSync(BUNDLE, join(root, IMAGE_BUNDLE))
  const config = join(root, '/etc/deputy/deputy.yaml')
  const text = readFileSync(config, 'utf8')
  writeFileSync(config, text.replaceAll(PATHS, (path) => `${root}${path}`).replaceAll(PORTS, ':0'))
  const env = list(at(container, 'env')).map(({ name }) => [String(name), 'of-this-pod'])
  return {
    config,
    args: at(container, 'args'),
    env: Object.fromEntries(env) as Record<string, string>,
  }
}
