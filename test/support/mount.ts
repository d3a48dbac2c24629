// Real mounts for tests: only root may make them, and not in every container.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const run = (command: string, args: readonly string[]): string | null => {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' })
  return status === 0 ? null : (error?.message ?? stderr.trim())
}

/** Mounts by `mount ARGS`. @returns what unmounts the last argument */
export const mount = (...args: readonly string[]): (() => void) => {
  const failed = run('mount', args)
  if (failed !== null) throw new Error(failed)
  return () => void run('umount', ['-l', args.at(-1) ?? ''])
}

const tried = (): string | null => {
  const dir = mkdtempSync(join(tmpdir(), 'mount-'))
  try {
    mount('-t', 'tmpfs', '-o', 'size=1m', 'none', dir)()
    return null
  } catch (error) {
    return `nothing can be mounted here: ${error instanceof Error ? error.message : ''}`
  } finally {
    rmSync(dir, { recursive: true })
  }
}
/** Why there are no mounts; null: there are. */
export const NO_MOUNT = tried()

/** A folder on a file system whose server never answers, as NFS without its server. @returns what ends it: calls on it fail then */
export const mountDead = async (dir: string): Promise<() => Promise<void>> => {
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0'
  const child = spawn(
    'sh',
    ['-c', `exec 3<>/dev/fuse && mount -i -t fuse -o ${options} none "$0" && echo up && cat`, dir],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const up = new Promise<true>((resolve) => child.stdout.once('data', () => resolve(true)))
  if ((await Promise.race([up, ended])) !== true) throw new Error('no dead mount could be made')
  return async () => {
    child.stdin.end()
    await ended
    run('umount', ['-l', dir])
  }
}
