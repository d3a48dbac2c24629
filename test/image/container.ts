// The image of the Dockerfile, built and run without a Docker engine: buildah builds, crun runs.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** `.ci/run` names it: what the stand-in for the base is made of, kept for the next time. */
const KEPT = process.env['DEPUTY_IMAGE'] ?? join(homedir(), '.cache/deputy-ci/image-1')
export const UID = 65_532

const NEEDED = ['buildah', 'crun', 'mmdebstrap', 'unshare', 'npm']
/** Empty, or why no image is built: said aloud; under DEPUTY_NO_SKIP=1 it throws. */
export const imageMissing = (): string => {
  const lacking = NEEDED.filter((name) => spawnSync('which', [name]).status !== 0)
  const missing =
    process.getuid?.() !== 0
      ? 'images are built and run by root here'
      : lacking.length > 0
        ? `${lacking.join(', ')} missing: .ci/run installs Debian's packages`
        : ''
  if (missing === '') return ''
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
  process.stderr.write(`SKIPPED: ${missing}\n`)
  return ` (SKIPPED: ${missing})`
}

/** What an image says of how it is run. */
type ImageConfig = {
  readonly User: string
  readonly Env: readonly string[]
  readonly Entrypoint: readonly string[]
  readonly Cmd: readonly string[]
  readonly WorkingDir: string
  readonly Labels: Readonly<Record<string, string>>
  readonly Volumes?: object
}
export type Image = {
  /** Its files, as a folder of this machine. */
  readonly root: string
  readonly config: ImageConfig
  readonly close: () => void
}

/** What a container engine would be asked for. */
export type Asked = {
  /** Instead of the image's command. */
  readonly args?: readonly string[]
  /** Instead of the image's entrypoint. */
  readonly entrypoint?: readonly string[]
  /** `from`, a folder of this machine, is seen at `to`. */
  readonly mounts?: readonly {
    readonly from: string
    readonly to: string
    readonly writable: boolean
  }[]
  readonly env?: readonly string[]
  readonly writableRoot?: boolean
  readonly uid?: number
}

const mountOf = ({ from, to, writable }: NonNullable<Asked['mounts']>[number]) => ({
  destination: to,
  type: 'bind',
  source: from,
  options: ['bind', writable ? 'rw' : 'ro', 'nosuid', 'nodev'],
})
/** Of the runtime specification of OCI: its own processes and mounts, this machine's network, no capability. */
const specOf = (root: string, config: ImageConfig, asked: Asked): object => {
  const [uid, gid] = asked.uid === undefined ? [UID, UID] : [asked.uid, asked.uid]
  const none = { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] }
  return {
    ociVersion: '1.0.2',
    root: { path: root, readonly: asked.writableRoot !== true },
    process: {
      terminal: false,
      user: { uid, gid },
      cwd: config.WorkingDir,
      noNewPrivileges: true,
      capabilities: none,
      env: [...config.Env, ...(asked.env ?? [])],
      args: [...(asked.entrypoint ?? config.Entrypoint), ...(asked.args ?? config.Cmd)],
      rlimits: [{ type: 'RLIMIT_CORE', hard: 1 << 30, soft: 1 << 30 }],
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      ...(asked.mounts ?? []).map(mountOf),
    ],
    linux: { namespaces: ['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type })) },
  }
}

// crun wants the second hierarchy of cgroups; where a machine has another, in this process's own view alone.
const RUN = `mount --make-rprivate / && umount -R -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup &&
exec crun --cgroup-manager=disabled --root "$0/state" run --bundle "$0" --pid-file "$0/pid" "$1"`

/** Starts a container; signals to the child reach its first process. Its folder is removed when it ends. */
export const startContainer = (
  { root, config }: Pick<Image, 'root' | 'config'>,
  asked: Asked,
  stdio: 'pipe' | 'inherit' = 'pipe',
): { readonly child: ChildProcess; readonly pid: () => number } => {
  const bundle = mkdtempSync(join(tmpdir(), 'deputy-crun-'))
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(specOf(root, config, asked)))
  const id = `deputy-${process.pid}-${bundle.slice(-6)}`
  const child = spawn('unshare', ['--mount', 'sh', '-c', RUN, bundle, id], {
    stdio: ['ignore', stdio, stdio],
  })
  let [pid, ended] = [0, false]
  child.once('close', () => {
    ended = true
    rmSync(bundle, { recursive: true, force: true })
  })
  return {
    child,
    /** Of its first process, as this machine counts; 0: there is none yet. */
    pid: () => {
      if (!ended && pid === 0 && existsSync(join(bundle, 'pid')))
        pid = Number(readFileSync(join(bundle, 'pid'), 'utf8'))
      return pid
    },
  }
}

const tool = (command: string, args: readonly string[], env: NodeJS.ProcessEnv): string => {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: ROOT,
    env,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}:\n${stdout}\n${stderr}`)
  return stdout.trim()
}

/** Builds the image from this checkout, over a stand-in for its base, in a store of its own. */
export const buildImage = (args: Readonly<Record<string, string>>): Image => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-image-'))
  const env = { ...process.env, BUILDAH_ISOLATION: 'chroot' }
  const store = (name: string): NodeJS.ProcessEnv => {
    mkdirSync(name, { recursive: true })
    const conf = join(name, 'storage.conf')
    writeFileSync(
      conf,
      `[storage]\ndriver = "vfs"\ngraphroot = "${name}/root"\nrunroot = "${name}/run"\n`,
    )
    return { ...env, CONTAINERS_STORAGE_CONF: conf }
  }
  const own = store(join(folder, 'store'))
  const close = (): void => {
    tool('buildah', ['rm', '--all'], own)
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const node = join(ROOT, 'node_modules/node/bin/node')
    tool('test/image/stand-in.sh', [node, KEPT, 'localhost/stand-in:1'], own)
    const given = Object.entries({ NODE_IMAGE: 'localhost/stand-in:1', ...args })
    const flags = given.flatMap(([name, value]) => ['--build-arg', `${name}=${value}`])
    tool(
      'buildah',
      ['build', '--layers=false', '--pull-never', ...flags, '-t', 'deputy:1', '.'],
      own,
    )
    tool('buildah', ['rmi', 'localhost/stand-in:1'], own)
    const about = JSON.parse(tool('buildah', ['inspect', '--type', 'image', 'deputy:1'], own)) as {
      readonly OCIv1: { readonly config: ImageConfig }
    }
    const container = tool('buildah', ['from', '--pull-never', 'deputy:1'], own)
    const root = tool('buildah', ['mount', container], own)
    return { root, config: about.OCIv1.config, close }
  } catch (error) {
    close()
    throw error
  }
}
